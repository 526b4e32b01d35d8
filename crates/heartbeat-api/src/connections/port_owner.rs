//! Which process holds a port or a socket that heartbeatd should serve.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use heartbeat_process::PortOwner;
use nix::sys::socket::{getsockopt, sockopt};

/// The process at the other end of a connected Unix socket.
pub(crate) fn peer(stream: &UnixStream) -> Option<String> {
    let pid = getsockopt(stream, sockopt::PeerCredentials).ok()?.pid();
    let pid = u32::try_from(pid).ok()?;
    Some(PortOwner::of(pid).map_or_else(|| format!("pid {pid}"), |owner| owner.to_string()))
}

/// The process that listens on `address`.
pub(crate) fn listener(address: SocketAddr) -> Option<String> {
    heartbeat_process::port_owner(address).map(|owner| owner.to_string())
}
