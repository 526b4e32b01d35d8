//! TCP: a connection, perhaps by TLS, and optionally text to send and an expected answer.

use bytes::Bytes;
use heartbeat_status::printed::quoted;
use heartbeat_status::{FailReason, Outcome, ProbeKind, ProbePhase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::TcpError;
use crate::broken::{Broken, io_broken};
use crate::clock;
use crate::kind::talks;
use crate::measure::Seen;
use crate::progress::Progress;
use crate::target::{Endpoint, Target};

/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 4 * 1024;
/// Most bytes of an answer that are shown.
const MAX_SHOWN_BYTES: usize = 80;

/// Connects; passes when the connection stands and, if set, the answer contains what is expected.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpProbe {
    target: Target,
    send: Option<Bytes>,
    expect: Option<Bytes>,
}

impl TcpProbe {
    /// A probe that connects to `host:port`, or to a Unix socket as `unix:/run/app.sock`.
    ///
    /// # Errors
    /// [`TcpError::Address`] when `address` is not one.
    pub fn new(address: &str) -> Result<Self, TcpError> {
        let target =
            Target::parse(address, None).ok_or_else(|| TcpError::Address { address: address.to_owned() })?;
        Ok(Self { target, send: None, expect: None })
    }

    /// Sends this once connected.
    #[must_use]
    pub fn with_send(self, send: impl Into<Bytes>) -> Self {
        Self { send: Some(send.into()), ..self }
    }

    /// Passes only when the first 4 KiB of the answer contain this. Without text to send, the server's banner is
    /// awaited.
    #[must_use]
    pub fn with_expect(self, expect: impl Into<Bytes>) -> Self {
        Self { expect: Some(expect.into()), ..self }
    }

    /// Connects by TLS, and sends and expects within the session.
    ///
    /// # Errors
    /// [`TlsOptionsError`](crate::TlsOptionsError) when a file or the system's roots cannot be used.
    #[cfg(feature = "tls")]
    pub fn with_tls(mut self, options: &crate::TlsOptions) -> Result<Self, crate::TlsOptionsError> {
        self.target.secure = Some(crate::secure::Secure::new(options, None)?);
        Ok(self)
    }

    const fn kind(&self) -> ProbeKind {
        match self.target.endpoint() {
            Endpoint::Network(_) => ProbeKind::Tcp,
            Endpoint::Unix(_) => ProbeKind::Unix,
        }
    }

    async fn talk(&self, progress: &mut Progress<'_>) -> Seen {
        let mut stream = self.target.connect(progress).await?;
        let connected = clock::now();
        let broken = |error: std::io::Error| io_broken(&error, ProbePhase::FirstByte);
        if let Some(send) = &self.send {
            progress.note('>', format_args!("{:?}", String::from_utf8_lossy(send)));
            stream.write_all(send).await.map_err(broken)?;
        }
        let Some(expect) = &self.expect else { return Ok((Outcome::Pass, String::new())) };
        let mut answer = Vec::new();
        let mut chunk = [0; 1024];
        loop {
            let read = stream.read(&mut chunk).await.map_err(broken)?;
            progress.times.first_byte.get_or_insert_with(|| clock::now().since(connected));
            progress.note('<', format_args!("{:?}", String::from_utf8_lossy(&chunk[..read])));
            answer.extend_from_slice(&chunk[..read.min(MAX_ANSWER_BYTES - answer.len())]);
            if contains(&answer, expect) {
                return Ok((Outcome::Pass, String::new()));
            }
            if read == 0 || answer.len() >= MAX_ANSWER_BYTES {
                let mut detail = format!("expected {}", crate::expected(&String::from_utf8_lossy(expect)));
                if self.target.is_trusted() {
                    let seen = String::from_utf8_lossy(&answer[..answer.len().min(MAX_SHOWN_BYTES)]);
                    detail = format!("{detail}, got {}", quoted(&format!("{seen:?}")));
                }
                return Err(Broken::fail(FailReason::ConditionFailed, ProbePhase::FirstByte, detail));
            }
        }
    }
}

talks!(TcpProbe, tcp => tcp.kind(), tcp.target.endpoint());

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}
