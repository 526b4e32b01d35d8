//! The server's side of TLS: its certificate, and the handshake with a client.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{TlsOptionsError, files, provider};

/// The first byte of a handshake. No method of HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

/// A server of TLS, made once from its certificate chain and its key.
#[derive(Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The private key stays out of it.
        f.debug_struct("TlsServer").finish_non_exhaustive()
    }
}

impl TlsServer {
    /// Reads the PEM files of the certificate chain and of its private key.
    ///
    /// # Errors
    /// [`TlsOptionsError`] names the file that cannot be used; the key has to be the one of the certificate.
    pub fn new(cert: &Path, key: &Path) -> Result<Self, TlsOptionsError> {
        Self::made(cert, key, WebPkiClientVerifier::no_client_auth())
    }

    /// The same, for clients whose certificate one of the authorities in the PEM file `ca` has issued. One without a
    /// certificate is refused, unless `optional`.
    ///
    /// # Errors
    /// As [`TlsServer::new`].
    pub fn for_clients(cert: &Path, key: &Path, ca: &Path, optional: bool) -> Result<Self, TlsOptionsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(files::certificates(ca)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = if optional { verifier.allow_unauthenticated() } else { verifier };
        // Only a file without any authority makes none.
        let verifier =
            verifier.build().map_err(|_| TlsOptionsError::NoCertificate { path: ca.to_owned() })?;
        Self::made(cert, key, verifier)
    }

    fn made(cert: &Path, key: &Path, clients: Arc<dyn ClientCertVerifier>) -> Result<Self, TlsOptionsError> {
        let (chain, key) = files::identity(cert, key)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap_or_else(|_| unreachable!("ring has cipher suites for TLS 1.2 and 1.3"))
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .map_err(|source| TlsOptionsError::Identity { source })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    /// Shakes hands with a client. The caller bounds the time.
    ///
    /// # Errors
    /// When the client ends the handshake or does not speak TLS.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await
    }

    /// Whether the client of a session has proven a certificate of [`TlsServer::for_clients`].
    #[must_use]
    pub fn has_certificate<S>(session: &TlsStream<S>) -> bool {
        session.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty())
    }

    /// Whether a connection that begins with this byte speaks TLS.
    #[must_use]
    pub const fn is_spoken(first: u8) -> bool {
        first == HANDSHAKE
    }
}
