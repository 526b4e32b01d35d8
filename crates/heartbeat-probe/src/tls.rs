//! TLS: a handshake, and nothing behind it.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_http::{Sockets, TlsOptions};
use heartbeat_status::{CheckResult, Outcome, ProbeKind};

use crate::measure::{Frame, Progress, Seen, Turn, measure};
use crate::secure::Secure;
use crate::target::Target;
use crate::{Denied, Networks, TlsProbeError};

/// Port of an address that names none.
const DEFAULT_PORT: u16 = 443;

/// Connects, shakes hands and verifies the certificate. Degraded when it expires soon.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsProbe {
    target: Target,
    slow: Option<Duration>,
}

impl TlsProbe {
    /// A probe of `host[:port]` (port 443 by default) with the system's roots.
    ///
    /// # Errors
    /// [`TlsProbeError`] when `address` is not one, or this machine has no root certificates.
    pub fn new(address: &str) -> Result<Self, TlsProbeError> {
        Self::with_options(address, &TlsOptions::default())
    }

    /// A probe with other roots, a client certificate, or another name to verify.
    ///
    /// # Errors
    /// As for [`new`](Self::new), and when a file cannot be used.
    pub fn with_options(address: &str, options: &TlsOptions) -> Result<Self, TlsProbeError> {
        let refused = || TlsProbeError::Address { address: address.to_owned() };
        let mut target = Target::parse(address, Some(DEFAULT_PORT)).ok_or_else(refused)?;
        target.secure = Some(Secure::new(options, None)?);
        Ok(Self { target, slow: None })
    }

    /// Degrades when the certificate expires within this time; 14 days, or a third of its life, by default.
    #[must_use]
    pub fn with_expires(mut self, expires: Duration) -> Self {
        self.target.secure = self.target.secure.map(|secure| secure.with_expires(expires));
        self
    }

    /// A pass that takes longer is degraded.
    #[must_use]
    pub fn with_slow(self, slow: Duration) -> Self {
        Self { slow: Some(slow), ..self }
    }

    /// Connects to addresses in `networks` only, checked after each resolution. The target is then untrusted: no part of
    /// its certificate is shown.
    ///
    /// # Errors
    /// [`Denied`] for an address or `localhost` that is known to be outside.
    pub fn within(self, networks: Arc<Networks>) -> Result<Self, Denied> {
        Ok(Self { target: self.target.within(networks)?, ..self })
    }

    pub(crate) const fn kind(&self) -> ProbeKind {
        ProbeKind::Tls
    }

    pub(crate) fn through(self, sockets: Arc<dyn Sockets>) -> Self {
        Self { target: self.target.through(sockets), ..self }
    }

    /// The address as `host:port`.
    #[must_use]
    pub fn target(&self) -> String {
        self.target.endpoint().to_string()
    }

    pub(crate) async fn measure(&self, turn: Turn<'_>) -> CheckResult {
        let frame = Frame::new(turn, self.slow);
        measure(frame, async |progress| self.shake(progress).await).await
    }

    async fn shake(&self, progress: &mut Progress<'_>) -> Seen {
        drop(self.target.connect(progress).await?);
        // The note of the certificate is the whole detail.
        Ok((Outcome::Pass, String::new()))
    }
}
