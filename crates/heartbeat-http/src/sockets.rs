//! The resolver and the sockets that a connection uses.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

use crate::ResolveError;

/// A pending lookup of a name's addresses.
pub type Resolving = Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, ResolveError>> + Send>>;

/// A pending attempt to connect.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// The resolver and the sockets that a connection uses: those of the [`System`](crate::System), or those that a test or
/// an embedder supplies.
pub trait Sockets: fmt::Debug + Send + Sync {
    /// Finds the addresses of a name.
    fn resolve(&self, host: &str, port: u16) -> Resolving;

    /// Connects to one address.
    fn connect(&self, address: SocketAddr) -> Connecting;
}
