//! What holds a directory that is missing and cannot be made: a name in the kernel's abstract namespace of sockets,
//! which needs no disk.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt};

/// Held for as long as it lives.
#[derive(Debug)]
pub(crate) struct StandIn(UnixListener);

/// Why the name cannot be taken.
#[derive(Debug)]
pub(crate) enum StandInError {
    /// Another heartbeatd holds it.
    Held(u32),
    /// The kernel refuses, or a process that is no heartbeatd of ours has the name.
    Refused(io::Error),
}

impl StandIn {
    /// Takes the name of a directory.
    pub(crate) fn take(dir: &Path) -> Result<Self, StandInError> {
        let address = address(dir).map_err(StandInError::Refused)?;
        let taken = UnixListener::bind_addr(&address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(Self(listener))
        });
        taken.map_err(|error| holder(dir).map_or(StandInError::Refused(error), StandInError::Held))
    }

    /// Lets go of those that have asked who holds the name: the queue of connections is bounded.
    pub(crate) fn dismiss_askers(&self) {
        while self.0.accept().is_ok() {}
    }
}

/// The heartbeatd that holds the name of a directory. Any user can take a name, so only a process of root or of our own
/// user counts; one that sees other mounts means another directory of the same path.
pub(crate) fn holder(dir: &Path) -> Option<u32> {
    let stream = UnixStream::connect_addr(&address(dir).ok()?).ok()?;
    let peer = getsockopt(&stream, sockopt::PeerCredentials).ok()?;
    let mounts = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let trusted = peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw();
    let same = mounts(&peer.pid().to_string()).is_some_and(|its| Some(its) == mounts("self"));
    u32::try_from(peer.pid()).ok().filter(|_| trusted && same)
}

/// Abstract names are short, and paths may be long.
fn address(dir: &Path) -> io::Result<SocketAddr> {
    let mut hasher = DefaultHasher::new();
    OsStr::hash(std::path::absolute(dir)?.as_os_str(), &mut hasher);
    SocketAddr::from_abstract_name(format!("heartbeatd/{:016x}", hasher.finish()))
}
