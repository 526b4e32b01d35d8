//! The process that has a socket open.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;

use heartbeat_status::sanitise_line;

use super::Listeners;
use crate::tree;

/// A process that has a listening socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    /// Its process id (pid).
    pub pid: u32,
    /// Its name in the kernel (`comm`), without arguments, which may hold secrets. Safe to show.
    pub command: String,
    /// The user that it runs as; the number when that user has no name.
    pub user: String,
    /// Effective user id.
    pub uid: u32,
    /// Its start time as the kernel counts it, in clock ticks since boot: with the pid, its identity.
    pub started_at: u64,
}

impl PortOwner {
    /// A message for the operator: this process holds the port, and is not part of the realm that should.
    #[must_use]
    pub fn has_port(&self, port: u16) -> String {
        format!(
            "port {port} is held by pid {} ({}, user {}), which is not part of this realm",
            self.pid, self.command, self.user
        )
    }

    /// Describes the process with this pid; `None` when it is gone.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        describe(pid)
    }
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.command, self.pid)
    }
}

/// Whether a process has a socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Yes,
    No,
    /// heartbeatd may not read its descriptors.
    Unseen,
}

/// The first process found that has a socket open which answers on `address`. `None` when no process listens there, or
/// heartbeatd cannot see which one does.
#[must_use]
pub fn port_owner(address: SocketAddr) -> Option<PortOwner> {
    let inodes = Listeners::take().ok()?.reached_by(address);
    if inodes.is_empty() { None } else { find(&inodes).0 }
}

/// Looks into every process. True: there are some that heartbeatd may not look into.
pub(super) fn find(inodes: &[u64]) -> (Option<PortOwner>, bool) {
    let mut unseen = false;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        match holds(pid, inodes) {
            // The holder has just ended: another process may have the socket open, too.
            Held::Yes => {
                if let Some(port_owner) = describe(pid) {
                    return (Some(port_owner), unseen);
                }
            }
            Held::No => {}
            Held::Unseen => unseen = true,
        }
    }
    (None, unseen)
}

/// Whether `pid` has one of the sockets open. A process that is gone has none.
pub(super) fn holds(pid: u32, inodes: &[u64]) -> Held {
    let denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    let descriptors = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(descriptors) => descriptors,
        Err(error) if denied(&error) => return Held::Unseen,
        Err(_) => return Held::No,
    };
    let mut unseen = false;
    for entry in descriptors.flatten() {
        match fs::read_link(entry.path()) {
            Ok(link) if link.to_str().and_then(inode).is_some_and(|inode| inodes.contains(&inode)) => {
                return Held::Yes;
            }
            Err(error) if denied(&error) => unseen = true,
            Ok(_) | Err(_) => {}
        }
    }
    if unseen { Held::Unseen } else { Held::No }
}

/// The inodes of the sockets that `pid` has open, as far as heartbeatd can see them.
pub(super) fn sockets_of(pid: u32) -> Vec<u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| inode(fs::read_link(entry.path()).ok()?.to_str()?)).collect()
}

fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn describe(pid: u32) -> Option<PortOwner> {
    let started_at = tree::stat(pid)?.start_time;
    let command = sanitise_line(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/comm")).ok()?));
    let uid = effective_uid(pid)?;
    let known = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    let user = known.map_or_else(|| uid.to_string(), |user| sanitise_line(&user.name));
    Some(PortOwner { pid, command, user, uid, started_at })
}

fn effective_uid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok();
    let from_status = status.as_deref().and_then(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok())
    });
    // The name in `status` may be no UTF-8; the directory belongs to the effective user of a dumpable process.
    from_status.or_else(|| fs::metadata(format!("/proc/{pid}")).ok().map(|meta| meta.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn links_of_sockets_alone_have_an_inode() {
        assert_eq!(inode("socket:[4711]"), Some(4_711));
        for link in ["/dev/null", "pipe:[4711]", "socket:[]", "socket:[47", "socket:[x]"] {
            assert_eq!(inode(link), None, "{link}");
        }
    }

    #[test]
    fn we_hold_what_we_opened() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let found = port_owner(address).unwrap();
        assert_eq!(found.pid, std::process::id());
        assert_eq!(found.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(found.started_at, tree::stat(found.pid).unwrap().start_time);
        assert!(!found.command.is_empty() && !found.user.is_empty(), "{found:?}");
        drop(socket);
        assert_eq!(port_owner(address), None);
    }
}
