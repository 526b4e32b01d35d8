//! Dates, name and chain of a certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{Certificate, TlsError, provider};

/// The certificates to trust.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    roots: Arc<RootCertStore>,
    /// The certificates that a person has listed, in the file `ca` or by a variable; empty for the system's roots. One
    /// of them is trusted when a server presents it itself: a self-signed certificate is usually its own root.
    listed: Arc<[CertificateDer<'static>]>,
    /// Where they are, for a person.
    place: &'static str,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.listed == other.listed && self.place == other.place
    }
}

impl Trust {
    /// The store of the system.
    pub(super) fn of_system(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { listed: Arc::new([]), ..Self::listed("the system's roots", roots) }
    }

    /// What the variable lists that replaces the store of the system.
    pub(super) fn named_by(variable: &'static str, listed: Vec<CertificateDer<'static>>) -> Self {
        let place = if variable == "SSL_CERT_FILE" {
            "the file of SSL_CERT_FILE"
        } else {
            "the directory of SSL_CERT_DIR"
        };
        Self::listed(place, listed)
    }

    pub(super) fn only(listed: Vec<CertificateDer<'static>>) -> Self {
        Self::listed("the file `ca`", listed)
    }

    fn listed(place: &'static str, listed: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        // A store may hold certificates that rustls cannot read; the others still count.
        roots.add_parsable_certificates(listed.iter().cloned());
        Self { roots: Arc::new(roots), listed: listed.into(), place }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Verifies the chain that a server presented. Dates and name come first and separately, because webpki reports
    /// only the first problem that it meets.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        certificate: &Certificate,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let of = || Box::new(certificate.clone());
        if certificate.not_after_unix_s() < now.as_secs() {
            return Err(TlsError::Expired { certificate: of() });
        }
        if certificate.not_before_unix_s() > now.as_secs() {
            return Err(TlsError::NotYetValid { certificate: of() });
        }
        let unreadable = |error: Error| TlsError::Unreadable { why: error.to_string() };
        let (leaf, intermediates) =
            chain.split_first().ok_or_else(|| TlsError::Unreadable { why: "there is none".to_owned() })?;
        let parsed = ParsedCertificate::try_from(leaf).map_err(unreadable)?;
        if verify_server_name(&parsed, name).is_err() {
            let expected = name.to_str().into_owned();
            return Err(TlsError::WrongHost { expected, certificate: of() });
        }
        if self.listed.iter().any(|listed| listed == leaf) {
            return Ok(());
        }
        let algorithms = provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms.all)
            .map_err(|error| self.untrusted(&error, chain.len(), of()))
    }

    fn untrusted(&self, error: &Error, chain: usize, certificate: Box<Certificate>) -> TlsError {
        let by = self.place;
        let why = match error {
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => return TlsError::ChainExpired { certificate },
            Error::InvalidCertificate(CertificateError::BadSignature) => {
                format!("no certificate in {by} has signed it")
            }
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => match chain {
                1 if certificate.is_self_signed() => format!("it is self-signed, and is not listed in {by}"),
                1 => format!(
                    "its issuer is not in {by}; the server sent no intermediate certificate, which may be missing"
                ),
                _ => format!("its issuer is not in {by}"),
            },
            Error::InvalidCertificate(CertificateError::Revoked) => "it is revoked".to_owned(),
            Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            ) => "it is not a certificate for servers".to_owned(),
            // webpki does not take an authority's certificate for a server's; openssl makes such by default.
            _ if certificate.is_self_signed() => format!("it is self-signed, and is not listed in {by}"),
            other => other.to_string(),
        };
        TlsError::Untrusted { why, certificate }
    }
}

/// Accepts every certificate in the handshake, but still verifies that the server holds its key.
#[derive(Debug)]
pub(super) struct AcceptAny(pub(super) WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
