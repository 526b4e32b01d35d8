//! TLS: one handshake, and the verification of the certificate after it.
//!
//! rustls ends a handshake whose certificate it rejects, and then nothing can be reported about that certificate. It
//! also skips the verification when it resumes a session. So the handshake here accepts every certificate (the server
//! still proves that it holds the key), never resumes, and [`Tls::handshake`] verifies dates, name and chain before it
//! returns the session.

mod certificate;
mod error;
mod files;
mod server;
mod verify;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

pub use certificate::Certificate;
pub(crate) use error::alert_in;
pub use error::{TlsError, TlsOptionsError};
pub use server::TlsServer;
pub use tokio_rustls::server::TlsStream as TlsServerStream;

use crate::Stream;
use verify::{AcceptAny, Trust};

/// How to connect by TLS. The default verifies against the system's roots and presents no certificate.
///
/// ```
/// use heartbeat_http::TlsOptions;
///
/// let options = TlsOptions::default().with_ca("/etc/shop/ca.pem").with_server_name("shop.internal");
/// assert!(!options.no_verify);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Accepts every certificate. A probe with this set sees the server, but does not prove which server it is.
    pub no_verify: bool,
    /// A PEM file of the only certificates to trust, instead of the system's roots.
    pub ca: Option<PathBuf>,
    /// PEM files of a client certificate chain and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the certificate must be for, and that is sent as SNI, instead of the host.
    pub server_name: Option<String>,
}

impl TlsOptions {
    /// Trusts only the certificates in this PEM file.
    #[must_use]
    pub fn with_ca(self, file: impl Into<PathBuf>) -> Self {
        Self { ca: Some(file.into()), ..self }
    }

    /// Presents a client certificate: PEM files of its chain and of its private key.
    #[must_use]
    pub fn with_identity(self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { identity: Some((chain.into(), key.into())), ..self }
    }

    /// Expects a certificate for this name instead of the host, and sends the name as SNI.
    #[must_use]
    pub fn with_server_name(self, name: impl Into<String>) -> Self {
        Self { server_name: Some(name.into()), ..self }
    }

    /// Accepts every certificate.
    #[must_use]
    pub fn without_verification(self) -> Self {
        Self { no_verify: true, ..self }
    }
}

/// A client of TLS servers, made once from [`TlsOptions`].
///
/// Two are equal when they trust the same certificates, present the same one and expect the same name, wherever these
/// come from: a reload sees a replaced file.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// `None`: every certificate is accepted.
    trust: Option<Trust>,
    server_name: Option<ServerName<'static>>,
    identity: Option<Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The private key stays out of it.
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.trust == other.trust && self.server_name == other.server_name && self.identity == other.identity
    }
}

/// A session whose certificate was verified.
#[derive(Debug)]
#[non_exhaustive]
pub struct Secured {
    /// The session; the peer's certificate has been verified.
    pub stream: Stream,
    /// The server's certificate.
    pub certificate: Certificate,
}

impl Tls {
    /// Reads the files and the system's roots.
    ///
    /// # Errors
    /// [`TlsOptionsError`] names the file or the value that cannot be used.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsOptionsError> {
        let trust = match (options.no_verify, &options.ca) {
            (true, _) => None,
            (false, Some(path)) => Some(Trust::only(files::certificates(path)?)),
            (false, None) => Some(system_trust()?),
        };
        let server_name = options.server_name.as_deref().map(|name| {
            ServerName::try_from(name.to_owned())
                .map_err(|_| TlsOptionsError::ServerName { name: name.to_owned() })
        });
        let identity = options.identity.as_ref().map(|(cert, key)| files::identity(cert, key)).transpose()?;
        let config = match &identity {
            None => plain_config(),
            Some((chain, key)) => {
                let refused = |source| TlsOptionsError::Identity { source };
                let config =
                    builder().with_client_auth_cert(chain.clone(), key.clone_key()).map_err(refused)?;
                Arc::new(without_resumption(config))
            }
        };
        Ok(Self { config, trust, server_name: server_name.transpose()?, identity: identity.map(Arc::new) })
    }

    /// Shakes hands over `stream` with `host`, offering the protocol `alpn` where given, and verifies the certificate
    /// at `unix_s` seconds since 1970.
    ///
    /// # Errors
    /// [`TlsError`]: no session, or a certificate that must not be trusted.
    pub async fn handshake(
        &self,
        stream: Stream,
        host: &str,
        alpn: Option<&[u8]>,
        unix_s: u64,
    ) -> Result<Secured, TlsError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => {
                ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name { host: host.to_owned() })?
            }
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connecting = match alpn {
            Some(alpn) => connector.with_alpn(vec![alpn.to_vec()]).connect(name.clone(), stream),
            None => connector.connect(name.clone(), stream),
        };
        let stream = Box::pin(connecting).await.map_err(error::of_handshake)?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = Certificate::read(chain)?;
        if let Some(trust) = &self.trust {
            trust.verify(chain, &certificate, &name, UnixTime::since_unix_epoch(secs(unix_s)))?;
        }
        Ok(Secured { stream: Stream::Tls(Box::new(stream)), certificate })
    }
}

impl Tls {
    /// The same at the time of day, for programs that have no clock of their own to answer for.
    ///
    /// # Errors
    /// [`TlsError`]: no session, or a certificate that must not be trusted.
    pub async fn handshake_now(
        &self,
        stream: Stream,
        host: &str,
        alpn: Option<&[u8]>,
    ) -> Result<Secured, TlsError> {
        self.handshake(stream, host, alpn, UnixTime::now().as_secs()).await
    }
}

const fn secs(unix_s: u64) -> std::time::Duration {
    std::time::Duration::from_secs(unix_s)
}

/// The provider is named here and never taken from the process: another crate may install another one.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let algorithms = provider().signature_verification_algorithms;
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap_or_else(|_| unreachable!("ring has cipher suites for TLS 1.2 and 1.3"))
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny(algorithms)))
}

fn without_resumption(mut config: ClientConfig) -> ClientConfig {
    // Every measurement is a whole handshake, and memory does not grow with the number of servers.
    config.resumption = Resumption::disabled();
    config
}

/// All clients without a certificate of their own share one configuration.
fn plain_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    Arc::clone(CONFIG.get_or_init(|| Arc::new(without_resumption(builder().with_no_client_auth()))))
}

/// Variables that replace the system's roots, as OpenSSL reads them.
const ROOT_VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The system's roots, or those that a variable names, read once per process.
fn system_trust() -> Result<Trust, TlsOptionsError> {
    static TRUST: OnceLock<Trust> = OnceLock::new();
    if let Some(trust) = TRUST.get() {
        return Ok(trust.clone());
    }
    let is_set = |variable: &&str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    let variable = ROOT_VARIABLES.into_iter().find(is_set);
    let found = rustls_native_certs::load_native_certs();
    let trust = match variable {
        Some(variable) => Trust::named_by(variable, found.certs),
        None => Trust::of_system(found.certs),
    };
    if trust.is_empty() {
        return Err(match variable {
            Some(variable) => TlsOptionsError::NoRoots { variable },
            None => TlsOptionsError::NoSystemRoots,
        });
    }
    Ok(TRUST.get_or_init(|| trust).clone())
}

#[cfg(test)]
mod tests;
