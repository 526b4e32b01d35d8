//! Dates, name and chain of a certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{Certificate, TlsError, TlsOptionsError, provider, system_roots};

/// The certificates to trust.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    roots: Arc<RootCertStore>,
    /// The certificates of the file `ca`; empty for the system's roots. One of them is trusted when a server presents
    /// it itself: a self-signed certificate is usually its own root.
    listed: Arc<[CertificateDer<'static>]>,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.listed == other.listed
    }
}

impl Trust {
    pub(super) fn system() -> Result<Self, TlsOptionsError> {
        Ok(Self { roots: system_roots()?, listed: Arc::new([]) })
    }

    pub(super) fn only(listed: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(listed.iter().cloned());
        Self { roots: Arc::new(roots), listed: listed.into() }
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
        let by = if self.listed.is_empty() { "the system's roots" } else { "the file `ca`" };
        let why = match error {
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => return TlsError::ChainExpired { certificate },
            Error::InvalidCertificate(CertificateError::BadSignature) => {
                format!("no certificate in {by} has signed it")
            }
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => match chain {
                1 if certificate.is_self_signed() => format!("it is self-signed, and {by} does not list it"),
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
            _ if certificate.is_self_signed() => format!("it is self-signed, and {by} does not list it"),
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
