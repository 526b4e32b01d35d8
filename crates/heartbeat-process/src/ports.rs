//! Which process holds a port: the listening sockets of this network namespace, and the processes that have them open.

mod listeners;
mod port_owner;
mod taken;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::OnceLock;

pub use listeners::{Listener, Listeners};
pub use port_owner::{PortOwner, port_owner};
pub use taken::port_taken;

use crate::members::Users;
use crate::tags::RUN_TAG;
use crate::tree::{self, ProcScan};
use port_owner::{Held, holds, sockets_of};

/// Whose socket answers on an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// A process of the tree has the socket open, alone or with others.
    Ours,
    /// Only a process outside the tree has the socket open.
    Other(PortOwner),
    /// A socket listens whose process heartbeatd cannot identify; the text says why.
    Unattributable(&'static str),
    /// No process listens there.
    NotListening,
}

/// The processes that belong to a main process, at one moment.
#[derive(Debug)]
pub struct Tree {
    main: u32,
    instance_tag: Vec<String>,
    pids: Vec<u32>,
    /// Not older than the main process, and not in `pids`.
    others: Vec<u32>,
    strays: OnceLock<Vec<u32>>,
}

/// The environment variables that identify a realm's processes.
const TAG_NAMES: [&str; 2] = ["HEARTBEAT_REALM=", "HEARTBEAT_STATE="];

impl Tree {
    /// The tree of `main`: `main` itself, the processes of its session or group, and all their descendants. A process
    /// that has left all of these is known by the tag that heartbeatd puts into the environment of every realm. This
    /// reads the tag from `main`; if `main` has overwritten its environment, use [`Tree::tagged`].
    #[must_use]
    pub fn of(main: u32) -> Self {
        Self::at(main, tree::environment_entries(main, &[TAG_NAMES[0], TAG_NAMES[1], &format!("{RUN_TAG}=")]))
    }

    /// As [`Tree::of`], with the realm's name and the id of the state directory that started it
    /// ([`Settings::instance_tag`](crate::Settings::instance_tag)).
    #[must_use]
    pub fn tagged(main: u32, realm: &str, state: &str) -> Self {
        let word = tree::environment_entries(main, &[&format!("{RUN_TAG}=")]);
        let instance_tag = [format!("{}{realm}", TAG_NAMES[0]), format!("{}{state}", TAG_NAMES[1])];
        Self::at(main, instance_tag.into_iter().chain(word).collect())
    }

    fn at(main: u32, instance_tag: Vec<String>) -> Self {
        Self::within(main, instance_tag, &ProcScan::take())
    }

    /// The tree of `main` among the processes of a scan.
    pub(crate) fn within(main: u32, instance_tag: Vec<String>, scan: &ProcScan) -> Self {
        let of_main = tree::stat(main);
        let mut inside: BTreeSet<u32> = scan.members(main).chain([main]).collect();
        // A parent may have a higher pid than its child, once pids have wrapped around: repeat until none is added.
        loop {
            let before = inside.len();
            for (pid, stat) in scan.all() {
                if inside.contains(&stat.parent) {
                    inside.insert(pid);
                }
            }
            if inside.len() == before {
                break;
            }
        }
        let since = of_main.map_or(u64::MAX, |stat| stat.start_time);
        let others = scan.since(since).map(|(pid, _)| pid).filter(|pid| !inside.contains(pid)).collect();
        // First, since the main process usually holds the port itself.
        let rest = inside.into_iter().filter(|pid| *pid != main);
        Self {
            main,
            instance_tag,
            pids: [main].into_iter().chain(rest).collect(),
            others,
            strays: OnceLock::new(),
        }
    }

    /// The main process first, then its session, group and descendants; [`Tree::strays`] has those that only the tag
    /// tells.
    #[must_use]
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// The main process.
    #[must_use]
    pub fn main(&self) -> u32 {
        self.main
    }

    /// Processes that have left session, group and parents, and carry the tag.
    #[must_use]
    pub fn strays(&self) -> &[u32] {
        self.strays.get_or_init(|| {
            // Half a tag fits the processes of many realms.
            if self.instance_tag.len() < TAG_NAMES.len() {
                return Vec::new();
            }
            let users = Users::with(tree::real_user(self.main));
            let is_stray = |pid: &u32| tree::environment_has(*pid, &self.instance_tag) && users.have(*pid);
            self.others.iter().copied().filter(is_stray).collect()
        })
    }
}

/// The process of the tree that listens on the port of `address`, but at another address, and that address: some
/// programs take `localhost` for `::1`. `None` when no such process can be seen.
#[must_use]
pub fn listens_elsewhere(
    listeners: &Listeners,
    address: SocketAddr,
    tree: impl FnOnce() -> Tree,
) -> Option<(u32, SocketAddr)> {
    let beside = listeners.beside(address);
    // A scan over all processes is only worth it where a process listens.
    let tree = if beside.is_empty() { return None } else { tree() };
    let pids = || tree.pids().iter().chain(tree.strays());
    beside.iter().find_map(|listener| {
        let pid = pids().find(|pid| holds(**pid, &[listener.inode]) == Held::Yes)?;
        Some((*pid, listener.address))
    })
}

/// Most ports to report for a realm that does not listen on the expected one.
const MAX_OTHER_PORTS: usize = 3;

/// Where the processes of a tree listen on other ports than that of `address`: at most three, ascending by port.
#[must_use]
pub fn listens_on_other_ports(listeners: &Listeners, address: SocketAddr, tree: &Tree) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for pid in tree.pids() {
        let open = sockets_of(*pid);
        let held = listeners.on_other_ports(address.port()).filter(|socket| open.contains(&socket.inode));
        found.extend(held.map(|socket| socket.address));
    }
    found.sort_by_key(|address| (address.port(), address.ip()));
    found.dedup_by_key(|address| address.port());
    found.truncate(MAX_OTHER_PORTS);
    found
}

/// Whether the listener on `address` belongs to the process tree. What counts is the socket that a connection to
/// `address` would reach; if there are several (`SO_REUSEPORT`), one of the tree is enough.
///
/// It reads the descriptors of the tree first, and those of all processes only to name a stranger.
#[must_use]
pub fn owner_of(listeners: &Listeners, address: SocketAddr, tree: &Tree) -> Ownership {
    let inodes = listeners.reached_by(address);
    if inodes.is_empty() {
        return Ownership::NotListening;
    }
    let mut unseen = false;
    let held = |pid: &u32, unseen: &mut bool| match holds(*pid, &inodes) {
        Held::Yes => true,
        Held::No => false,
        Held::Unseen => {
            *unseen = true;
            false
        }
    };
    if tree.pids().iter().any(|pid| held(pid, &mut unseen))
        || tree.strays().iter().any(|pid| held(pid, &mut unseen))
    {
        return Ownership::Ours;
    }
    if unseen {
        return Ownership::Unattributable("the descriptors of its processes must not be read");
    }
    match port_owner::find(&inodes) {
        (Some(port_owner), _) => Ownership::Other(port_owner),
        (None, true) => Ownership::Unattributable("the descriptors of some processes must not be read"),
        (None, false) => Ownership::Unattributable("no process that can be seen from here holds it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn its_own_listener_on_another_port_is_found() {
        let (one, two) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::]:0").unwrap());
        let ours = [&one, &two].map(|socket| socket.local_addr().unwrap());
        let asked = SocketAddr::from(([127, 0, 0, 1], 1));
        let tree = Tree::of(std::process::id());
        let found = listens_on_other_ports(&Listeners::take().unwrap(), asked, &tree);
        // Other tests of this process may listen, too.
        assert!(found.len() <= MAX_OTHER_PORTS && !found.is_empty());
        assert!(found.is_sorted_by_key(|address| address.port()), "{found:?}");
        let of_its_own = listens_on_other_ports(&Listeners::take().unwrap(), ours[0], &tree);
        assert!(of_its_own.iter().all(|address| address.port() != ours[0].port()));
        let none = listens_on_other_ports(&Listeners::default(), asked, &tree);
        assert_eq!(none, []);
    }

    #[test]
    fn its_own_listener_at_another_address_is_found() {
        let socket = TcpListener::bind("127.0.0.2:0").unwrap();
        let (own, port) = (socket.local_addr().unwrap(), socket.local_addr().unwrap().port());
        let listeners = Listeners::take().unwrap();
        let asked = SocketAddr::from(([127, 0, 0, 1], port));
        let of = |main| move || Tree::of(main);
        let found = listens_elsewhere(&listeners, asked, of(std::process::id()));
        assert_eq!(found, Some((std::process::id(), own)));
        assert_eq!(listens_elsewhere(&listeners, own, || unreachable!("it is reached there")), None);
        drop(socket);
        let listeners = Listeners::take().unwrap();
        assert_eq!(listens_elsewhere(&listeners, asked, || unreachable!("no scan for nothing")), None);
    }
}
