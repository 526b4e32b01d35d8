//! Errors of the options, of the handshake and of the verification.

use std::io;
use std::path::PathBuf;

use rustls::AlertDescription;

use super::Certificate;

/// Why a TLS client cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsOptionsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file's path.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{} is not PEM: {source}", path.display())]
    Pem {
        /// The file's path.
        path: PathBuf,
        /// The error of the parser.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A file contains no certificate.
    #[error("{} contains no certificate in PEM form", path.display())]
    NoCertificate {
        /// The file's path.
        path: PathBuf,
    },
    /// A file contains no private key.
    #[error("{} contains no private key in PEM form", path.display())]
    NoKey {
        /// The file's path.
        path: PathBuf,
    },
    /// The client certificate and the key do not belong together, or the key is of an unsupported kind.
    #[error("the client certificate and its key cannot be used: {source}")]
    Identity {
        /// The error of rustls.
        #[source]
        source: rustls::Error,
    },
    /// A name that no certificate can be for.
    #[error("`{name}` is neither a host name nor an IP address")]
    ServerName {
        /// The text as given.
        name: String,
    },
    /// The host has no certificate store.
    #[error(
        "this machine has no store of root certificates: install the package `ca-certificates`, or name a file with `ca`"
    )]
    NoSystemRoots,
}

/// Why there is no TLS session that can be trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The connection broke during the handshake.
    #[error("the connection broke during the TLS handshake: {source}")]
    Io {
        /// The underlying error.
        #[source]
        source: io::Error,
    },
    /// The server closed the connection during the handshake.
    #[error("the server closed the connection during the TLS handshake")]
    Closed,
    /// The server's answer is not TLS.
    #[error("the server does not speak TLS on this port")]
    NotTls,
    /// The server ended the handshake with an alert.
    #[error("the server refused the TLS handshake: {why}")]
    Refused {
        /// The alert in plain words.
        why: String,
    },
    /// The handshake failed for another reason.
    #[error("the TLS handshake failed: {why}")]
    Handshake {
        /// The error text of rustls.
        why: String,
    },
    /// The host is not a name that a certificate can be for.
    #[error("`{host}` is neither a host name nor an IP address")]
    Name {
        /// The host.
        host: String,
    },
    /// The certificate has expired.
    #[error("the certificate expired on {} ({})", certificate.not_after(), certificate.issued_to())]
    Expired {
        /// The server's certificate.
        certificate: Box<Certificate>,
    },
    /// The certificate is not valid yet.
    #[error("the certificate is not valid before {} ({})", certificate.not_before(), certificate.issued_to())]
    NotYetValid {
        /// The server's certificate.
        certificate: Box<Certificate>,
    },
    /// The certificate is for other names.
    #[error("the certificate is not for {expected}, but {}", certificate.issued_to())]
    WrongHost {
        /// The name that was expected.
        expected: String,
        /// The server's certificate.
        certificate: Box<Certificate>,
    },
    /// No trusted root has issued the certificate.
    #[error("the certificate is not trusted: {why} ({})", certificate.issued_to())]
    Untrusted {
        /// The reason in plain words.
        why: String,
        /// The server's certificate.
        certificate: Box<Certificate>,
    },
    /// A certificate of the chain other than the server's own has expired.
    #[error("a certificate that vouches for the server's has expired ({})", certificate.issued_to())]
    ChainExpired {
        /// The server's certificate.
        certificate: Box<Certificate>,
    },
    /// The certificate cannot be read.
    #[error("the certificate cannot be read: {why}")]
    Unreadable {
        /// The error text of the parser.
        why: String,
    },
}

/// The meaning of an error of the handshake.
pub(super) fn of_handshake(error: io::Error) -> TlsError {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => TlsError::Closed,
            _ => TlsError::Io { source: error },
        };
    };
    match inner {
        rustls::Error::InvalidMessage(_) => TlsError::NotTls,
        rustls::Error::AlertReceived(alert) => TlsError::Refused { why: alert_text(*alert) },
        rustls::Error::InvalidCertificate(why) => TlsError::Unreadable { why: why.to_string() },
        other => TlsError::Handshake { why: other.to_string() },
    }
}

/// The alert that an I/O error of a session carries, in plain words: a server that speaks TLS 1.3 refuses a client's
/// certificate only after the handshake.
pub(crate) fn alert_in(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(alert_text(*alert)),
        other => Some(other.to_string()),
    }
}

fn alert_text(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::HandshakeFailure => "no protocol version or cipher in common",
        AlertDescription::ProtocolVersion => "it accepts neither TLS 1.2 nor TLS 1.3",
        AlertDescription::CertificateRequired => "it requires a client certificate",
        AlertDescription::UnknownCA
        | AlertDescription::CertificateUnknown
        | AlertDescription::BadCertificate => "it does not accept the client certificate",
        AlertDescription::CertificateExpired => "the client certificate has expired",
        AlertDescription::UnrecognisedName => "it does not serve this name",
        AlertDescription::AccessDenied => "access denied",
        other => return format!("alert {}", u8::from(other)),
    };
    text.to_owned()
}
