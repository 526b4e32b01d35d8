//! Why a listener cannot be opened.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A listener that cannot be opened. The message says what to do where that is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A live process answers on the socket.
    #[error("{} is served by {owner}; only one heartbeatd can hold it: stop that one, or give this one another `socket`", path.display())]
    SocketHeld {
        /// Path of the socket.
        path: PathBuf,
        /// Who answers, e.g. `heartbeatd (pid 4120)`.
        owner: String,
    },
    /// A file that is not a socket is in the way; heartbeatd does not remove it.
    #[error("{} exists and is not a socket; remove it, or set `socket` to another path", path.display())]
    NotASocket {
        /// Path in the way.
        path: PathBuf,
    },
    /// A step of opening the socket failed.
    #[error("cannot {step} {}", path.display())]
    Socket {
        /// Which step, e.g. `bind`.
        step: &'static str,
        /// Path of the socket.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
    /// Another process listens on the address.
    #[error(
        "{address} is in use by {owner}; stop it, or set `listen` in [heartbeat] to another address or \"off\""
    )]
    AddressHeld {
        /// The configured address.
        address: SocketAddr,
        /// The process that listens, e.g. `nginx (pid 812)`; `another process` where heartbeatd cannot see it.
        owner: String,
        /// The error of the kernel.
        source: io::Error,
    },
    /// Only loopback addresses are served without a token and TLS.
    #[error(
        "{address} is not a loopback address; without `tls` and `token_file`, `listen` serves 127.0.0.0/8 and [::1] only"
    )]
    NotLoopback {
        /// The configured address.
        address: SocketAddr,
    },
    /// The address cannot be bound for another reason.
    #[error("cannot listen on {address}")]
    Address {
        /// The configured address.
        address: SocketAddr,
        /// Cause of the failure.
        source: io::Error,
    },
}
