//! Facts and lines as they come, out of server-sent events.

use std::time::Duration;

use heartbeat_http::{Body, OpenResponse};
use heartbeat_wire::{EventEntry, LogsDocument};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::transport::{broken, protocol};
use crate::{ClientError, Host};

/// heartbeatd says every 5 s that it is there: after three of these it is not.
const SILENCE: Duration = Duration::from_secs(15);
/// Longest event accepted, in bytes.
const MAX_EVENT_BYTES: usize = 32 * 1024 * 1024;

/// A stream of facts; ends with the connection, or with heartbeatd.
#[derive(Debug)]
pub struct Events(Stream);

impl Events {
    pub(crate) fn new(host: Host, opened: OpenResponse) -> Self {
        Self(Stream::new(host, opened))
    }

    /// The identifier of the last event that was read: where to go on after the stream broke.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.0.last_id.as_deref()
    }

    /// The next fact; `None` at the end of the stream. Facts that belong to a change which was not read before the
    /// stream broke come again: [`EventEntry::seq`] tells.
    ///
    /// # Errors
    /// [`ClientError`]: the connection broke, nothing was heard for 15 s, or what came is no event.
    pub async fn next(&mut self) -> Result<Option<EventEntry>, ClientError> {
        self.0.next("fact").await
    }
}

/// Lines of a realm's output as they are written; ends with the connection, or with heartbeatd.
#[derive(Debug)]
pub struct LogLines(Stream);

impl LogLines {
    pub(crate) fn new(host: Host, opened: OpenResponse) -> Self {
        Self(Stream::new(host, opened))
    }

    /// Where to go on after the stream broke, also with another heartbeatd: behind the last line that was read.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.0.last_id.as_deref()
    }

    /// The next lines; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`ClientError`]: the connection broke, nothing was heard for 15 s, or what came is no event.
    pub async fn next(&mut self) -> Result<Option<LogsDocument>, ClientError> {
        self.0.next("lines").await
    }
}

/// Events of any kind.
struct Stream {
    host: Host,
    body: Body,
    read: Vec<u8>,
    /// How much of it was looked through for the end of an event.
    searched: usize,
    last_id: Option<String>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("host", &self.host)
            .field("last_id", &self.last_id)
            .finish_non_exhaustive()
    }
}

impl Stream {
    pub(crate) fn new(host: Host, opened: OpenResponse) -> Self {
        Self { host, body: opened.body, read: Vec::new(), searched: 0, last_id: None }
    }

    /// The document of the next event of that kind; `None` at the end of the stream.
    async fn next<T: DeserializeOwned>(&mut self, kind: &str) -> Result<Option<T>, ClientError> {
        loop {
            while let Some(event) = self.take_event()? {
                if let Some(document) = self.document(kind, &event)? {
                    return Ok(Some(document));
                }
            }
            let chunk = timeout(SILENCE, self.body.chunk()).await.map_err(|_| ClientError::TimedOut {
                host: self.host.clone(),
                after: SILENCE,
                connected: true,
            })?;
            match chunk.map_err(|error| broken(&self.host, "the stream broke off", error))? {
                None => return Ok(None),
                Some(data) => self.read.extend_from_slice(&data),
            }
        }
    }

    /// The text of one event, once its empty line is there.
    fn take_event(&mut self) -> Result<Option<String>, ClientError> {
        let from = self.searched.saturating_sub(1);
        let found = self.read[from..].windows(2).position(|pair| pair == b"\n\n");
        let Some(end) = found.map(|at| from + at) else {
            self.searched = self.read.len();
            if self.read.len() > MAX_EVENT_BYTES {
                return Err(protocol(&self.host, format!("an event of more than {MAX_EVENT_BYTES} bytes")));
            }
            return Ok(None);
        };
        let event: Vec<u8> = self.read.drain(..end + 2).collect();
        self.searched = 0;
        String::from_utf8(event)
            .map(Some)
            .map_err(|_| protocol(&self.host, "an event that is not UTF-8".to_owned()))
    }

    fn document<T: DeserializeOwned>(&mut self, kind: &str, event: &str) -> Result<Option<T>, ClientError> {
        let field = |name: &str| {
            event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start)
        };
        if let Some(id) = field("id") {
            self.last_id = Some(id.to_owned());
        }
        match (field("event"), field("data")) {
            (Some(found), Some(data)) if found == kind => serde_json::from_str(data)
                .map(Some)
                .map_err(|error| protocol(&self.host, format!("an event that cannot be read: {error}"))),
            // A comment, or an event of a later version.
            _ => Ok(None),
        }
    }
}
