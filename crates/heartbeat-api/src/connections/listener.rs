//! Opening the two listeners.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

use crate::connections::port_owner;
use crate::error::BindError;

/// Connections that the kernel queues until the server accepts them.
const BACKLOG_CONNECTIONS: i32 = 1_024;

/// Opens the Unix socket at `path` with permission bits `mode` (e.g. `0o660`), owned by `group` where one is given,
/// non-blocking.
///
/// Removes a socket on which no process answers. No client can connect before the mode is set, because the socket
/// listens only then.
///
/// # Errors
/// [`BindError::SocketHeld`] names a live holder; nothing was changed then.
pub fn bind_unix(path: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, BindError> {
    let failed = |step: &'static str| move |source| BindError::Socket { step, path: path.to_owned(), source };
    clear_the_way(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(io::Error::from)
        .map_err(failed("create a socket for"))?;
    let address = UnixAddr::new(path).map_err(io::Error::from).map_err(failed("bind"))?;
    bind(fd.as_raw_fd(), &address).map_err(io::Error::from).map_err(failed("bind"))?;
    permit_unix(path, mode, group)?;
    let backlog = Backlog::new(BACKLOG_CONNECTIONS).unwrap_or(Backlog::MAXCONN);
    listen(&fd, backlog).map_err(io::Error::from).map_err(failed("listen on"))?;
    Ok(UnixListener::from(fd))
}

/// Gives the socket at `path` its group and its permission bits.
///
/// # Errors
/// [`BindError::Socket`]: heartbeatd may not give the socket to that group.
pub fn permit_unix(path: &Path, mode: u32, group: Option<u32>) -> Result<(), BindError> {
    let failed = |step: &'static str| move |source| BindError::Socket { step, path: path.to_owned(), source };
    if group.is_some() {
        chown(path, None, group).map_err(failed("set the group of"))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o777)).map_err(failed("set the mode of"))
}

/// Removes the socket of a dead daemon, and nothing else.
fn clear_the_way(path: &Path) -> Result<(), BindError> {
    let failed = |step: &'static str| move |source| BindError::Socket { step, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let owner = port_owner::peer(&stream).unwrap_or_else(|| "another process".to_owned());
            Err(BindError::SocketHeld { path: path.to_owned(), owner })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the stale socket"))
        }
        // No right to connect, or a full backlog: a process may well be there.
        Err(error) => Err(failed("find out who serves")(error)),
    }
}

/// Listens on `address`, non-blocking. Never on another port instead. An address other than loopback is served only if
/// `is_protected`, by TLS and a token.
///
/// # Errors
/// [`BindError::AddressHeld`] names the holder where /proc tells.
pub fn bind_tcp(address: SocketAddr, is_protected: bool) -> Result<TcpListener, BindError> {
    if !is_protected && !address.ip().is_loopback() {
        return Err(BindError::NotLoopback { address });
    }
    let listener = TcpListener::bind(address).map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            let owner = port_owner::listener(address).unwrap_or_else(|| "another process".to_owned());
            return BindError::AddressHeld { address, owner, source };
        }
        BindError::Address { address, source }
    })?;
    listener.set_nonblocking(true).map_err(|source| BindError::Address { address, source })?;
    Ok(listener)
}
