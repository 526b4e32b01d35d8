//! Facts as they happen, out of server-sent events.

use std::time::Duration;

use heartbeat_status::wire::EventEntry;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::transport::{Connection, Opened, protocol, unreachable};
use crate::{ClientError, Host};

/// heartbeatd says every 5 s that it is there: after three of these it is not.
const SILENCE: Duration = Duration::from_secs(15);
/// Longest event accepted, in bytes.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// A stream of facts; ends with the connection, or with heartbeatd.
pub struct Events {
    host: Host,
    body: Incoming,
    _connection: Connection,
    read: Vec<u8>,
    last_id: Option<String>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("host", &self.host)
            .field("last_id", &self.last_id)
            .finish_non_exhaustive()
    }
}

impl Events {
    pub(crate) fn new(host: Host, opened: Opened) -> Self {
        let Opened { response, connection } = opened;
        Self { host, body: response.into_body(), _connection: connection, read: Vec::new(), last_id: None }
    }

    /// The identifier of the last event that was read: where to go on after the stream broke.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next fact; `None` at the end of the stream. Facts that belong to a change which was not read before the
    /// stream broke come again: [`EventEntry::seq`] tells.
    ///
    /// # Errors
    /// [`ClientError`]: the connection broke, nothing was heard for 15 s, or what came is no event.
    pub async fn next(&mut self) -> Result<Option<EventEntry>, ClientError> {
        loop {
            while let Some(event) = self.take_event()? {
                if let Some(fact) = self.fact(&event)? {
                    return Ok(Some(fact));
                }
            }
            let frame = timeout(SILENCE, self.body.frame())
                .await
                .map_err(|_| ClientError::TimedOut { host: self.host.clone(), after: SILENCE })?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    return Err(unreachable(&self.host, format!("the stream broke off: {error}"), error));
                }
            }
        }
    }

    /// The text of one event, once its empty line is there.
    fn take_event(&mut self) -> Result<Option<String>, ClientError> {
        let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") else {
            if self.read.len() > MAX_EVENT_BYTES {
                return Err(protocol(&self.host, format!("an event of more than {MAX_EVENT_BYTES} bytes")));
            }
            return Ok(None);
        };
        let event: Vec<u8> = self.read.drain(..end + 2).collect();
        String::from_utf8(event)
            .map(Some)
            .map_err(|_| protocol(&self.host, "an event that is not UTF-8".to_owned()))
    }

    fn fact(&mut self, event: &str) -> Result<Option<EventEntry>, ClientError> {
        let field = |name: &str| {
            event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start)
        };
        if let Some(id) = field("id") {
            self.last_id = Some(id.to_owned());
        }
        match (field("event"), field("data")) {
            (Some("fact"), Some(data)) => serde_json::from_str(data)
                .map(Some)
                .map_err(|error| protocol(&self.host, format!("a fact that cannot be read: {error}"))),
            // A comment, or an event of a later version.
            _ => Ok(None),
        }
    }
}
