//! The notify socket of one realm.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use heartbeat_status::RealmName;
use nix::sys::socket::{UnixAddr, setsockopt, sockopt};

use crate::sys::{self, Datagram};

/// Longest message in bytes. The reaper ignores a longer one.
pub(crate) const MAX_DATAGRAM_BYTES: usize = 4_096;

#[derive(Debug)]
pub(crate) struct NotifySocket {
    path: PathBuf,
    /// `None`: the reaper could not bind it, and tries again.
    bound: Option<(OwnedFd, Place)>,
}

/// Where senders find a socket that is bound.
#[derive(Debug)]
enum Place {
    /// At its path: device and inode.
    Disk(u64, u64),
    /// In the kernel's abstract namespace, under this name: the disk had no room for it.
    Kernel(Vec<u8>),
}

impl NotifySocket {
    /// Binds the socket at its path in one step: a sender finds the earlier socket or this one. Credentials, not the
    /// mode, decide whom the reaper believes, since a realm may change its user by itself.
    pub(crate) fn bind(dir: &Path, realm: &RealmName) -> io::Result<Self> {
        let path = dir.join(realm.as_str());
        let aside = dir.join(format!(".{realm}"));
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixDatagram::bind(&aside)?;
        let ready = || {
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::PassCred, &true)?;
            fs::set_permissions(&aside, Permissions::from_mode(0o666))?;
            let (device, inode) = identity(&aside)?;
            fs::rename(&aside, &path)?;
            Ok::<_, io::Error>(Place::Disk(device, inode))
        };
        match ready() {
            Ok(place) => Ok(Self { path, bound: Some((socket.into(), place)) }),
            Err(error) => {
                let _ = fs::remove_file(&aside);
                Err(error)
            }
        }
    }

    /// Binds the socket to a name that the kernel chooses, which takes no disk.
    pub(crate) fn bind_in_kernel(dir: &Path, realm: &RealmName) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let name = socket.local_addr()?.as_abstract_name().map(<[u8]>::to_vec);
        Self::in_kernel(dir, realm, socket, name.ok_or(io::ErrorKind::AddrNotAvailable)?)
    }

    /// Binds it again for a realm that an earlier heartbeatd has told `address`; `None` when that is a path.
    pub(crate) fn bind_again(dir: &Path, realm: &RealmName, address: &OsStr) -> Option<io::Result<Self>> {
        let name = address.as_bytes().strip_prefix(b"@")?;
        let bound = SocketAddr::from_abstract_name(name).and_then(|name| UnixDatagram::bind_addr(&name));
        Some(bound.and_then(|socket| Self::in_kernel(dir, realm, socket, name.to_vec())))
    }

    fn in_kernel(dir: &Path, realm: &RealmName, socket: UnixDatagram, name: Vec<u8>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        Ok(Self { bound: Some((socket.into(), Place::Kernel(name))), ..Self::missing(dir, realm) })
    }

    /// A socket that could not be bound.
    pub(crate) fn missing(dir: &Path, realm: &RealmName) -> Self {
        Self { path: dir.join(realm.as_str()), bound: None }
    }

    /// What the realm is told (`NOTIFY_SOCKET`): a path, or `@` and a name.
    pub(crate) fn address(&self) -> OsString {
        match &self.bound {
            Some((_, Place::Kernel(name))) => OsStr::from_bytes(&[b"@", name.as_slice()].concat()).to_owned(),
            Some((_, Place::Disk(..))) | None => self.path.clone().into(),
        }
    }

    pub(crate) fn fd(&self) -> Option<&OwnedFd> {
        self.bound.as_ref().map(|(fd, _)| fd)
    }

    /// Whether senders find this socket, and no other one.
    pub(crate) fn is_in_place(&self) -> bool {
        self.bound.as_ref().is_some_and(|(_, place)| match place {
            Place::Disk(device, inode) => identity(&self.path).is_ok_and(|now| now == (*device, *inode)),
            Place::Kernel(_) => true,
        })
    }

    /// Reads the next message, without waiting. Closes descriptors that come with it.
    ///
    /// # Errors
    /// EAGAIN: no message waits.
    pub(crate) fn receive(&self, buffer: &mut [u8; MAX_DATAGRAM_BYTES]) -> io::Result<Datagram> {
        match &self.bound {
            Some((fd, _)) => sys::receive(fd.as_fd(), buffer),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Removes the socket, unless another one lies at its path by now.
    pub(crate) fn remove(self) {
        if matches!(self.bound, Some((_, Place::Disk(..)))) && self.is_in_place() {
            // Another process may have removed it, which is fine.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> RealmName {
        RealmName::new("db").unwrap()
    }

    #[test]
    fn messages_come_with_the_pid_of_their_sender_and_too_long_ones_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let socket = NotifySocket::bind(dir.path(), &name()).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        let mut buffer = [0; MAX_DATAGRAM_BYTES];
        assert_eq!(socket.receive(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        sender.send_to(b"READY=1", socket.address()).unwrap();
        sender.send_to(b"", socket.address()).unwrap();
        sender.send_to(&[b'x'; MAX_DATAGRAM_BYTES + 1], socket.address()).unwrap();
        let first = socket.receive(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..first.bytes], first.whole, first.sender),
            (&b"READY=1"[..], true, std::process::id())
        );
        assert_eq!(socket.receive(&mut buffer).unwrap().bytes, 0);
        assert!(!socket.receive(&mut buffer).unwrap().whole);
        socket.remove();
        assert!(!dir.path().join("db").exists());
    }

    #[test]
    fn another_one_takes_its_place_at_once_and_is_not_taken_away_by_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = NotifySocket::bind(dir.path(), &name()).unwrap();
        let second = NotifySocket::bind(dir.path(), &name()).unwrap();
        assert!(!first.is_in_place() && second.is_in_place());
        first.remove();
        assert!(second.is_in_place());
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["db"]);
    }

    #[test]
    fn without_a_disk_the_kernel_keeps_the_name() {
        let dir = Path::new("/nonexistent");
        let socket = NotifySocket::bind_in_kernel(dir, &name()).unwrap();
        let address = socket.address();
        let send = || {
            let to = SocketAddr::from_abstract_name(&address.as_bytes()[1..]).unwrap();
            UnixDatagram::unbound().unwrap().send_to_addr(b"READY=1", &to)
        };
        assert!(socket.is_in_place());
        send().unwrap();
        let received = socket.receive(&mut [0; MAX_DATAGRAM_BYTES]).unwrap();
        assert_eq!((received.bytes, received.sender), (7, std::process::id()));
        assert!(NotifySocket::bind_again(dir, &name(), &address).unwrap().is_err(), "it is held");
        socket.remove();
        assert!(send().is_err());
        let _again = NotifySocket::bind_again(dir, &name(), &address).unwrap().unwrap();
        send().unwrap();
        assert!(NotifySocket::bind_again(dir, &name(), OsStr::new("/run/db")).is_none());
    }
}
