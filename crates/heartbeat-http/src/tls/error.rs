//! Errors of the options, of the handshake and of the verification.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::AlertDescription;

use super::Certificate;

/// Why a TLS client cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsOptionsError {
    /// A file cannot be read.
    Read {
        /// The file's path.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
    /// A file is not PEM.
    Pem {
        /// The file's path.
        path: PathBuf,
        /// The error of the parser.
        source: rustls::pki_types::pem::Error,
    },
    /// A file contains no certificate.
    NoCertificate {
        /// The file's path.
        path: PathBuf,
    },
    /// A file contains no private key.
    NoKey {
        /// The file's path.
        path: PathBuf,
    },
    /// The client certificate and the key do not belong together, or the key is of an unsupported kind.
    Identity {
        /// The error of rustls.
        source: rustls::Error,
    },
    /// A name that no certificate can be for.
    ServerName {
        /// The text as given.
        name: String,
    },
    /// The host has no certificate store.
    NoSystemRoots,
    /// The variable that replaces the certificate store names nothing that can be used.
    NoRoots {
        /// The name of the variable.
        variable: &'static str,
    },
}

impl fmt::Display for TlsOptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Pem { path, source } => write!(f, "{} is not PEM: {source}", path.display()),
            Self::NoCertificate { path } => write!(f, "{} contains no certificate in PEM form", path.display()),
            Self::NoKey { path } => write!(f, "{} contains no private key in PEM form", path.display()),
            Self::Identity { source } => write!(f, "the certificate and its key cannot be used together: {source}"),
            Self::ServerName { name } => write!(f, "`{name}` is neither a host name nor an IP address"),
            Self::NoRoots { variable } => write!(
                f,
                "the variable {variable} names no certificate in PEM form that can be read: correct it, or unset it"
            ),
            Self::NoSystemRoots => f.write_str("this machine has no store of root certificates: install the package `ca-certificates`, or name a file with `ca`"),
        }
    }
}

impl std::error::Error for TlsOptionsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Pem { source, .. } => Some(source),
            Self::Identity { source } => Some(source),
            _ => None,
        }
    }
}

/// Why there is no TLS session that can be trusted.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The connection broke during the handshake.
    Io {
        /// The underlying error.
        source: io::Error,
    },
    /// The server closed the connection during the handshake.
    Closed,
    /// The server's answer is not TLS.
    NotTls,
    /// The server ended the handshake with an alert.
    Refused {
        /// The alert in plain words.
        why: String,
    },
    /// The handshake failed for another reason.
    Handshake {
        /// The error text of rustls.
        why: String,
    },
    /// The host is not a name that a certificate can be for.
    Name {
        /// Name of the host.
        host: String,
    },
    /// The certificate has expired.
    Expired {
        /// The server's certificate.
        certificate: Box<Certificate>,
    },
    /// The certificate is not valid yet.
    NotYetValid {
        /// The server's certificate.
        certificate: Box<Certificate>,
    },
    /// The certificate is for other names.
    WrongHost {
        /// The name that was expected.
        expected: String,
        /// The server's certificate.
        certificate: Box<Certificate>,
    },
    /// No trusted root has issued the certificate.
    Untrusted {
        /// The reason in plain words.
        why: String,
        /// The server's certificate.
        certificate: Box<Certificate>,
    },
    /// A certificate of the chain other than the server's own has expired.
    ChainExpired {
        /// The server's certificate.
        certificate: Box<Certificate>,
    },
    /// The certificate cannot be read.
    Unreadable {
        /// The error text of the parser.
        why: String,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { source } => write!(f, "the connection broke during the TLS handshake: {source}"),
            Self::Closed => f.write_str("the server closed the connection during the TLS handshake"),
            Self::NotTls => f.write_str("the server does not speak TLS on this port"),
            Self::Refused { why } => write!(f, "the server refused the TLS handshake: {why}"),
            Self::Handshake { why } => write!(f, "the TLS handshake failed: {why}"),
            Self::Name { host } => write!(f, "`{host}` is neither a host name nor an IP address"),
            Self::Expired { certificate } => write!(
                f,
                "the certificate expired on {} ({})",
                certificate.not_after(),
                certificate.issued_to()
            ),
            Self::NotYetValid { certificate } => write!(
                f,
                "the certificate is not valid before {} ({})",
                certificate.not_before(),
                certificate.issued_to()
            ),
            Self::WrongHost { expected, certificate } => {
                write!(f, "the certificate is not for {expected}, but {}", certificate.issued_to())
            }
            Self::Untrusted { why, certificate } => {
                write!(f, "the certificate is not trusted: {why} ({})", certificate.issued_to())
            }
            Self::ChainExpired { certificate } => write!(
                f,
                "a certificate that vouches for the server's has expired ({})",
                certificate.issued_to()
            ),
            Self::Unreadable { why } => write!(f, "the certificate cannot be read: {why}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source } => Some(source),
            _ => None,
        }
    }
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
