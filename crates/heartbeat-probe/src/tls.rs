//! TLS: a handshake, and nothing behind it.

use heartbeat_http::TlsOptions;
use heartbeat_status::{Outcome, ProbeKind};

use crate::TlsProbeError;
use crate::kind::talks;
use crate::measure::Seen;
use crate::progress::Progress;
use crate::secure::Secure;
use crate::target::Target;

/// Port of an address that names none.
const DEFAULT_PORT: u16 = 443;

/// Connects, shakes hands and verifies the certificate. Degraded when it expires soon.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsProbe {
    target: Target,
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
        Ok(Self { target })
    }

    async fn talk(&self, progress: &mut Progress<'_>) -> Seen {
        drop(self.target.connect(progress).await?);
        // The note of the certificate is the whole detail.
        Ok((Outcome::Pass, String::new()))
    }
}

talks!(TlsProbe, tls => ProbeKind::Tls, tls.target.endpoint());
