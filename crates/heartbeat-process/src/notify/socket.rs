//! The notify socket of one realm.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use heartbeat_status::RealmName;
use nix::sys::socket::{setsockopt, sockopt};

use crate::sys::{self, Datagram};

/// Longest message in bytes. The reaper ignores a longer one.
pub(crate) const MAX_DATAGRAM_BYTES: usize = 4_096;

#[derive(Debug)]
pub(crate) struct NotifySocket {
    path: PathBuf,
    /// `None`: the reaper could not bind it, and tries again.
    bound: Option<(OwnedFd, (u64, u64))>,
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
            let id = identity(&aside)?;
            fs::rename(&aside, &path)?;
            Ok::<_, io::Error>(id)
        };
        match ready() {
            Ok(id) => Ok(Self { path, bound: Some((socket.into(), id)) }),
            Err(error) => {
                let _ = fs::remove_file(&aside);
                Err(error)
            }
        }
    }

    /// A socket that could not be bound.
    pub(crate) fn missing(dir: &Path, realm: &RealmName) -> Self {
        Self { path: dir.join(realm.as_str()), bound: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fd(&self) -> Option<&OwnedFd> {
        self.bound.as_ref().map(|(fd, _)| fd)
    }

    /// Whether this socket, and no other one, lies at its path.
    pub(crate) fn is_in_place(&self) -> bool {
        self.bound.as_ref().is_some_and(|(_, id)| identity(&self.path).is_ok_and(|now| now == *id))
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
        if self.is_in_place() {
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
        sender.send_to(b"READY=1", socket.path()).unwrap();
        sender.send_to(b"", socket.path()).unwrap();
        sender.send_to(&[b'x'; MAX_DATAGRAM_BYTES + 1], socket.path()).unwrap();
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
}
