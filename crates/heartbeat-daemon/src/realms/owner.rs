//! Which process listens on a realm's port: the realm, none, or another process.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_config::ResourceBounds;
use heartbeat_probe::Probe;
use heartbeat_process::{Listeners, Ownership, Tree};
use heartbeat_status::{Instant, ProbeIx, RealmIx, RealmName, RunId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock;
use crate::realms::resources;
use crate::realms::usage::Sampler;

/// heartbeatd reads the table of listening sockets at most this often, for all realms together.
const LISTENERS_AGE: Duration = Duration::from_millis(500);

/// heartbeatd looks for other ports of a realm's processes at most this often.
const OTHER_PORTS_AGE: Duration = Duration::from_secs(5);

/// The generation of a realm, the time of the last look at its processes, and the result in words.
type OtherPorts = (RunId, Instant, Option<String>);

/// The port to look at, and its realm.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) realm: RealmIx,
    pub(crate) run: RunId,
    pub(crate) name: RealmName,
    pub(crate) pid: u32,
    pub(crate) address: SocketAddr,
}

/// The probe of a realm's resource usage, and the bounds that it checks.
type Watched = (ResourceBounds, Arc<Probe>);

/// The results so far.
#[derive(Debug)]
pub(crate) struct Owners {
    instance_tag: String,
    sampler: Arc<Sampler>,
    /// Probes of resource usage: one each.
    watches: Mutex<BTreeMap<(RealmName, ProbeIx), Watched>>,
    table: Mutex<Option<(Instant, Arc<Listeners>)>>,
    /// Sockets known to belong to a generation of a realm: one per realm.
    known: Mutex<BTreeMap<RealmIx, (RunId, u64)>>,
    /// Generations of realms whose last socket could not be attributed.
    unattributable: Mutex<BTreeMap<RealmIx, RunId>>,
    other_ports: Mutex<BTreeMap<RealmIx, OtherPorts>>,
    turns: Arc<Semaphore>,
}

impl Owners {
    pub(crate) fn new(instance_tag: String, sampler: Arc<Sampler>) -> Self {
        let (watches, table, known, unattributable, other_ports) = Default::default();
        Self {
            instance_tag,
            sampler,
            watches,
            table,
            known,
            unattributable,
            other_ports,
            turns: Arc::new(Semaphore::new(1)),
        }
    }

    /// The probe of a realm's resource usage.
    pub(crate) fn resources(&self, realm: &RealmName, probe: ProbeIx, bounds: &ResourceBounds) -> Arc<Probe> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (realm.clone(), probe);
        if let Some((known, watch)) = watches.get(&place)
            && known == bounds
        {
            return Arc::clone(watch);
        }
        let watch = Arc::new(resources::probe(realm, &self.sampler, bounds));
        watches.insert(place, (bounds.clone(), Arc::clone(&watch)));
        watch
    }

    /// Whether a stranger listens there, in words; `None` when that cannot be found out. Reads /proc: not for the
    /// driver.
    pub(crate) fn port_conflict(&self, question: &Question) -> Option<Option<String>> {
        let told = self.look(question);
        let mut unattributable = self.unattributable.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            Some(_) => unattributable.remove(&question.realm),
            None => unattributable.insert(question.realm, question.run),
        };
        told
    }

    /// Whether the last known socket of this generation could not be attributed to any process.
    pub(crate) fn is_unattributable(&self, question: &Question) -> bool {
        let unattributable = self.unattributable.lock().unwrap_or_else(PoisonError::into_inner);
        unattributable.get(&question.realm) == Some(&question.run)
    }

    fn look(&self, question: &Question) -> Option<Option<String>> {
        let mut listeners = self.listeners()?;
        if listeners.on(question.address).is_empty() {
            // The port answered, so the table is older than its socket.
            *self.table.lock().unwrap_or_else(PoisonError::into_inner) = None;
            listeners = self.listeners()?;
        }
        let here = listeners.on(question.address);
        let before = self.known().get(&question.realm).copied();
        if here.first().is_some_and(|first| before == Some((question.run, first.inode))) {
            return Some(None);
        }
        let tree = Tree::tagged(question.pid, question.name.as_str(), &self.instance_tag);
        match heartbeat_process::owner_of(&listeners, question.address, &tree) {
            Ownership::Ours => {
                if let Some(first) = here.first() {
                    self.known().insert(question.realm, (question.run, first.inode));
                }
                Some(None)
            }
            // A process answered that is in no table which heartbeatd can read.
            Ownership::NotListening => None,
            Ownership::Other(port_owner) => Some(Some(port_owner.has_port(question.address.port()))),
            Ownership::Unattributable(_) => None,
        }
    }

    /// Why nothing answers on the realm's address, where its own processes listen somewhere else. Reads /proc: not for
    /// the driver.
    pub(crate) fn elsewhere(&self, question: &Question) -> Option<String> {
        let listeners = self.listeners()?;
        let tree = || Tree::tagged(question.pid, question.name.as_str(), &self.instance_tag);
        match heartbeat_process::listens_elsewhere(&listeners, question.address, tree) {
            Some((pid, found)) => Some(misplaced(question.address, pid, found)),
            None => self.on_other_ports(question, &listeners),
        }
    }

    fn on_other_ports(&self, question: &Question, listeners: &Listeners) -> Option<String> {
        let mut known = self.other_ports.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if let Some((run, at, words)) = known.get(&question.realm)
            && *run == question.run
            && now.since(*at) < OTHER_PORTS_AGE
        {
            return words.clone();
        }
        let tree = Tree::tagged(question.pid, question.name.as_str(), &self.instance_tag);
        let found = heartbeat_process::listens_on_other_ports(listeners, question.address, &tree);
        let words = other_ports(question.address, &found);
        known.insert(question.realm, (question.run, now, words.clone()));
        words
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<RealmIx, (RunId, u64)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The permit for a look; no task waits for it, since the next measurement asks again.
    pub(crate) fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).try_acquire_owned().ok()
    }

    fn listeners(&self) -> Option<Arc<Listeners>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if let Some((at, listeners)) = &*table
            && now.since(*at) < LISTENERS_AGE
        {
            return Some(Arc::clone(listeners));
        }
        let listeners = Arc::new(Listeners::take().ok()?);
        *table = Some((now, Arc::clone(&listeners)));
        Some(listeners)
    }
}

fn misplaced(address: SocketAddr, pid: u32, found: SocketAddr) -> String {
    // A wildcard socket needs a concrete address to connect to.
    let host = match found.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!(
        "nothing listens on {address}; its own process {pid} listens on {found}: set host = \"{host}\", \
         or have it listen on {}",
        address.ip()
    )
}

fn other_ports(address: SocketAddr, found: &[SocketAddr]) -> Option<String> {
    let ports: Vec<String> = found.iter().map(|found| found.port().to_string()).collect();
    let (listens, set) = match ports.as_slice() {
        [] => return None,
        [port] => (format!("port {port}"), format!("port = {port}")),
        [first @ .., last] => {
            (format!("ports {} and {last}", first.join(", ")), "`port` to the right one".to_owned())
        }
    };
    let port = address.port();
    Some(format!("it listens on {listens}, not on {port}: set {set}, or have it listen on {port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_process::UsageReader;

    fn owners() -> Owners {
        let reader = UsageReader::new(None, "no-such-tag".to_owned());
        Owners::new("no-such-tag".to_owned(), Arc::new(Sampler::new(reader)))
    }

    #[test]
    fn an_answer_from_a_socket_that_is_not_visible_is_not_attributed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let question = |run| Question {
            realm: RealmIx(0),
            run: RunId(run),
            name: RealmName::new("web").unwrap(),
            pid: std::process::id(),
            address: listener.local_addr().unwrap(),
        };
        let owners = owners();
        // A rule of the firewall leads to another network namespace, which answers.
        let elsewhere = Question { address: "127.0.0.1:1".parse().unwrap(), ..question(1) };
        assert_eq!((owners.port_conflict(&elsewhere), owners.is_unattributable(&elsewhere)), (None, true));
        assert!(!owners.is_unattributable(&question(2)), "another generation");
        assert_eq!(
            (owners.port_conflict(&question(1)), owners.is_unattributable(&question(1))),
            (Some(None), false)
        );
    }

    #[test]
    fn a_realm_that_listens_at_another_address_is_told_where() {
        let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let own = listener.local_addr().unwrap();
        let address = SocketAddr::new([127, 0, 0, 1].into(), own.port());
        let name = RealmName::new("vite").unwrap();
        let question = Question { realm: RealmIx(0), run: RunId(1), name, pid: std::process::id(), address };
        let told = owners().elsewhere(&question).unwrap();
        let (port, pid) = (own.port(), std::process::id());
        let expected = format!(
            "nothing listens on 127.0.0.1:{port}; its own process {pid} listens on 127.0.0.2:{port}: \
             set host = \"127.0.0.2\", or have it listen on 127.0.0.1"
        );
        assert_eq!(told, expected);
        let everything = misplaced("[::1]:80".parse().unwrap(), 7, "0.0.0.0:80".parse().unwrap());
        assert!(everything.ends_with("set host = \"127.0.0.1\", or have it listen on ::1"), "{everything}");
    }

    #[test]
    fn a_realm_that_listens_on_another_port_is_told_which() {
        let asked: SocketAddr = "127.0.0.1:17112".parse().unwrap();
        let told = |ports: &[u16]| {
            let found: Vec<SocketAddr> =
                ports.iter().map(|port| SocketAddr::new(asked.ip(), *port)).collect();
            other_ports(asked, &found).unwrap_or_default()
        };
        assert_eq!(told(&[]), "");
        let one = "it listens on port 17111, not on 17112: set port = 17111, or have it listen on 17112";
        assert_eq!(told(&[17_111]), one);
        assert!(
            told(&[1, 2, 3])
                .contains("listens on ports 1, 2 and 3, not on 17112: set `port` to the right one")
        );
    }

    #[test]
    fn other_ports_are_looked_for_once_in_a_while() {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (name, address) = (RealmName::new("vite").unwrap(), "127.0.0.1:1".parse().unwrap());
        let question = Question { realm: RealmIx(0), run: RunId(1), name, pid: std::process::id(), address };
        let owners = owners();
        let told = owners.elsewhere(&question).unwrap();
        assert!(told.starts_with("it listens on port") && told.contains(", not on 1: set "), "{told}");
        assert_eq!(
            owners.on_other_ports(&question, &Listeners::default()),
            Some(told),
            "as it was a moment ago"
        );
        let next = Question { run: RunId(2), ..question };
        assert_eq!(owners.on_other_ports(&next, &Listeners::default()), None, "another generation");
    }

    #[test]
    fn a_socket_is_known_as_its_own_for_one_generation_of_one_realm() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let question = |realm, run, pid| Question {
            realm: RealmIx(realm),
            run: RunId(run),
            name: RealmName::new("web").unwrap(),
            pid,
            address: listener.local_addr().unwrap(),
        };
        // No process has such a number.
        let (own, none) = (std::process::id(), u32::MAX / 2);
        let owners = owners();
        assert_eq!(owners.port_conflict(&question(0, 7, own)), Some(None));
        assert_eq!(owners.port_conflict(&question(0, 7, none)), Some(None), "it is not looked at again");
        for (realm, run) in [(0, 8), (0, 6), (1, 7)] {
            let told = owners.port_conflict(&question(realm, run, none)).flatten();
            assert!(told.as_ref().is_some_and(|told| told.contains("pid")), "{realm} {run}: {told:?}");
        }
    }

    #[test]
    fn a_listener_in_another_process_tree_is_not_the_realm() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let question = |pid| Question {
            realm: RealmIx(0),
            run: RunId(1),
            name: RealmName::new("web").unwrap(),
            pid,
            address: listener.local_addr().unwrap(),
        };
        let own = owners();
        assert_eq!(own.port_conflict(&question(std::process::id())), Some(None), "our own");
        let told = owners().port_conflict(&question(1));
        // Process 1 may be an ancestor of this test, or hide its descriptors from it.
        assert!(matches!(told, Some(None) | None) || told.flatten().is_some_and(|told| told.contains("pid")));
    }
}
