//! TLS of a target: the handshake as a phase, and the age of the certificate as a verdict.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_http::{Certificate, Stream, Tls, TlsError, TlsOptions, TlsOptionsError};
use heartbeat_status::{FailReason, ProbePhase, WallTime};

use crate::broken::{Broken, io_broken};
use crate::certificate::Note;
use crate::clock;

use crate::progress::Progress;

/// A certificate that expires within this time, or within a third of its life where that is shorter, is degraded.
const DEFAULT_EXPIRES: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Some issuers renew certificates of six days only after the fourth.
const SHARE_OF_LIFE: u64 = 3;

/// How a target is reached by TLS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Secure {
    tls: Arc<Tls>,
    alpn: Option<&'static [u8]>,
    /// `None` for the default.
    expires: Option<Duration>,
}

impl Secure {
    pub(crate) fn new(options: &TlsOptions, alpn: Option<&'static [u8]>) -> Result<Self, TlsOptionsError> {
        Ok(Self { tls: Arc::new(Tls::new(options)?), alpn, expires: None })
    }

    pub(crate) fn with_expires(self, expires: Duration) -> Self {
        Self { expires: Some(expires), ..self }
    }

    /// Shakes hands and verifies the certificate. `shows` says whether the result may repeat what it says.
    pub(crate) async fn handshake(
        &self,
        stream: Stream,
        host: &str,
        shows: bool,
        progress: &mut Progress<'_>,
    ) -> Result<Stream, Broken> {
        progress.phase = ProbePhase::Tls;
        let began = clock::now();
        let unix_s = clock::unix_s();
        let shaken = self.tls.handshake(stream, host, self.alpn, unix_s).await;
        let secured = shaken.map_err(|error| unsecured(&error, shows))?;
        progress.took(ProbePhase::Tls, began);
        let note = self.note(&secured.certificate, unix_s, shows);
        progress.note('*', format_args!("TLS: {}{}", note.text, note.origin));
        progress.certificate = Some(note);
        progress.phase = ProbePhase::FirstByte;
        Ok(secured.stream)
    }

    fn note(&self, certificate: &Certificate, unix_s: u64, shows: bool) -> Note {
        let life = certificate.not_after_unix_s().saturating_sub(certificate.not_before_unix_s());
        let margin =
            self.expires.map_or(DEFAULT_EXPIRES.as_secs().min(life / SHARE_OF_LIFE), |own| own.as_secs());
        let expires_soon = certificate.not_after_unix_s().saturating_sub(unix_s) < margin;
        let days = match certificate.days_left(unix_s) {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        let until = certificate.not_after();
        let text = match (certificate.not_after_unix_s() < unix_s, expires_soon) {
            (true, _) => format!("the certificate expired on {until}"),
            (false, true) => format!("the certificate expires in {days}, on {until}"),
            (false, false) => format!("certificate valid for {days}, until {until}"),
        };
        let origin = if shows {
            let (chain, issuer) = (certificate.chain_len(), certificate.issuer());
            format!(" ({}, issued by {issuer}, chain of {chain})", certificate.issued_to())
        } else {
            String::new()
        };
        let until_ms = certificate.not_after_unix_s().saturating_mul(1_000);
        let until = WallTime::from_millis(i64::try_from(until_ms).unwrap_or(i64::MAX));
        Note { expires_soon, until, text, origin }
    }
}

/// The verdict for a handshake that failed, or a certificate that must not be trusted.
fn unsecured(error: &TlsError, shows: bool) -> Broken {
    let reason = match error {
        TlsError::Io { source } => return io_broken(source, ProbePhase::Tls),
        TlsError::Closed => FailReason::Reset,
        TlsError::Expired { .. } | TlsError::ChainExpired { .. } => FailReason::CertExpired,
        TlsError::WrongHost { .. } | TlsError::Name { .. } => FailReason::CertHost,
        TlsError::NotYetValid { .. } | TlsError::Untrusted { .. } | TlsError::Unreadable { .. } => {
            FailReason::CertUntrusted
        }
        _ => FailReason::Protocol,
    };
    let detail = match reason {
        FailReason::CertExpired if !shows => "the certificate has expired".to_owned(),
        FailReason::CertHost if !shows => "the certificate is for another name".to_owned(),
        FailReason::CertUntrusted if !shows => "the certificate is not trusted".to_owned(),
        _ => error.to_string(),
    };
    Broken::fail(reason, ProbePhase::Tls, detail)
}
