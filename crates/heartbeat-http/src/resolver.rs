//! The operating system's resolver and sockets.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::{Connecting, ResolveError, Resolving, Sockets};

/// Most addresses of one name that are used.
const MAX_ADDRESSES_RESOLVED: usize = 64;
/// The addresses of `localhost`, which needs no resolver.
const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// Most names that the process resolves at a time. getaddrinfo blocks a thread and cannot be cancelled:
/// a resolver that hangs holds this many threads and no more.
pub(crate) const MAX_LOOKUPS: usize = 8;
static LOOKUPS: Lookups = Lookups::new(getaddrinfo);

/// The resolver and the sockets of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

/// The only instance of [`System`].
pub static SYSTEM: System = System;

impl Sockets for System {
    fn resolve(&self, host: &str, port: u16) -> Resolving {
        if host.eq_ignore_ascii_case("localhost") {
            let known = LOCALHOST.map(|address| SocketAddr::new(address, port)).to_vec();
            return Box::pin(std::future::ready(Ok(known)));
        }
        Box::pin(LOOKUPS.lookup(host.to_owned(), port))
    }

    fn connect(&self, address: SocketAddr) -> Connecting {
        Box::pin(TcpStream::connect(address))
    }
}

fn getaddrinfo(host: &str) -> io::Result<Vec<IpAddr>> {
    let found = (host, 0).to_socket_addrs()?;
    Ok(found.take(MAX_ADDRESSES_RESOLVED).map(|address| address.ip()).collect())
}

/// What a lookup found.
type Found = Result<Vec<IpAddr>, Arc<io::Error>>;

/// The lookups that are under way, one per name: a caller that asks for such a name shares its answer.
struct Lookups {
    slots: Semaphore,
    under_way: Mutex<BTreeMap<String, watch::Receiver<Option<Found>>>>,
    ask: fn(&str) -> io::Result<Vec<IpAddr>>,
}

impl Lookups {
    const fn new(ask: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Self { slots: Semaphore::const_new(MAX_LOOKUPS), under_way: Mutex::new(BTreeMap::new()), ask }
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<String, watch::Receiver<Option<Found>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lookup(&'static self, host: String, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        loop {
            let known = self.under_way().get(&host).cloned();
            let mut answer = match known {
                Some(answer) => answer,
                None => {
                    let slot = self.slots.acquire().await;
                    let slot = slot.map_err(|error| ResolveError::Io { source: io::Error::other(error) })?;
                    self.begin(&host, slot)
                }
            };
            // A runtime that ends before the lookup has begun takes it away: another one begins.
            let Ok(found) = answer.wait_for(Option::is_some).await.map(|found| found.clone()) else {
                continue;
            };
            return match found {
                Some(Ok(found)) => Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
                Some(Err(error)) => Err(refusal(&host, &error)),
                None => continue,
            };
        }
    }

    /// Begins to look up a name, unless another caller has begun meanwhile. The thread keeps its slot until the resolver
    /// returns, even after every caller has cancelled.
    fn begin(&'static self, host: &str, slot: SemaphorePermit<'static>) -> watch::Receiver<Option<Found>> {
        let mut under_way = self.under_way();
        if let Some(answer) = under_way.get(host) {
            return answer.clone();
        }
        let (answer, receiver) = watch::channel(None);
        under_way.insert(host.to_owned(), receiver.clone());
        drop(under_way);
        let lookup = Lookup { of: self, host: host.to_owned(), answer, _slot: slot };
        // Its answer comes through the channel.
        drop(tokio::task::spawn_blocking(move || lookup.run()));
        receiver
    }
}

/// One lookup that is under way, until it is dropped.
struct Lookup {
    of: &'static Lookups,
    host: String,
    answer: watch::Sender<Option<Found>>,
    _slot: SemaphorePermit<'static>,
}

impl Lookup {
    fn run(self) {
        let found = (self.of.ask)(&self.host).map_err(Arc::new);
        self.answer.send_replace(Some(found));
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.of.under_way().remove(&self.host);
    }
}

/// Classifies an error of getaddrinfo, of which the standard library keeps only the text.
fn refusal(host: &str, source: &io::Error) -> ResolveError {
    let host = host.to_owned();
    if let Some(code) = source.raw_os_error() {
        return ResolveError::Io { source: io::Error::from_raw_os_error(code) };
    }
    let text = source.to_string();
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if says(&["Temporary failure", "Try again", "Non-recoverable failure", "System error"]) {
        ResolveError::Temporary { host }
    } else if says(&["Memory allocation failure", "Out of memory"]) {
        ResolveError::Io { source: io::Error::from_raw_os_error(rustix::io::Errno::NOMEM.raw_os_error()) }
    } else {
        ResolveError::NotFound { host }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    use super::*;

    #[test]
    fn a_temporary_failure_is_not_a_missing_name() {
        let classified = |text: &str| {
            let error = io::Error::other(format!("failed to lookup address information: {text}"));
            refusal("db", &error)
        };
        for text in [
            "Temporary failure in name resolution",
            "Try again",
            "Non-recoverable failure in name resolution",
        ] {
            assert!(matches!(classified(text), ResolveError::Temporary { .. }), "{text}");
        }
        for text in
            ["Name or service not known", "No address associated with hostname", "Name does not resolve"]
        {
            assert!(matches!(classified(text), ResolveError::NotFound { .. }), "{text}");
        }
        let ours = |error: ResolveError| match error {
            ResolveError::Io { source } => crate::is_shortage(&source),
            _ => false,
        };
        assert!(ours(classified("Memory allocation failure")));
        assert!(
            ours(refusal("db", &io::Error::from_raw_os_error(24))),
            "EMFILE of the resolver's own socket"
        );
    }

    /// Lookups that have begun and not ended, and whether they may end.
    static HANGING: AtomicUsize = AtomicUsize::new(0);
    static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    fn hangs(_: &str) -> io::Result<Vec<IpAddr>> {
        HANGING.fetch_add(1, Ordering::SeqCst);
        let released = RELEASED.0.lock().unwrap();
        drop(RELEASED.1.wait_while(released, |released| !*released).unwrap());
        HANGING.fetch_sub(1, Ordering::SeqCst);
        Ok(Vec::new())
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_holds_a_bounded_number_of_threads() {
        static LOOKUPS: Lookups = Lookups::new(hangs);
        let slots = &LOOKUPS.slots;
        let asked: Vec<_> =
            (0..MAX_LOOKUPS).map(|at| tokio::spawn(LOOKUPS.lookup(format!("db{at}"), 80))).collect();
        while HANGING.load(Ordering::SeqCst) < MAX_LOOKUPS {
            tokio::task::yield_now().await;
        }
        let free_while_asking = slots.available_permits();
        // Callers that give up do not free the threads of their lookups.
        for task in asked {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        let hanging = (HANGING.load(Ordering::SeqCst), slots.available_permits());
        *RELEASED.0.lock().unwrap() = true;
        RELEASED.1.notify_all();
        // Asserted only now: the runtime of a test that fails earlier would wait for these threads.
        assert_eq!(
            (free_while_asking, hanging),
            (0, (MAX_LOOKUPS, 0)),
            "slots that are free, lookups that hang"
        );
        while slots.available_permits() < MAX_LOOKUPS {
            tokio::task::yield_now().await;
        }
        assert_eq!(HANGING.load(Ordering::SeqCst), 0);
        assert!(LOOKUPS.under_way().is_empty());
    }

    /// Lookups of one name that have begun, and whether they may end.
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    static ANSWERED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    fn answers_when_told(_: &str) -> io::Result<Vec<IpAddr>> {
        BEGUN.fetch_add(1, Ordering::SeqCst);
        let answered = ANSWERED.0.lock().unwrap();
        drop(ANSWERED.1.wait_while(answered, |answered| !*answered).unwrap());
        Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
    }

    #[tokio::test]
    async fn those_who_ask_for_one_name_at_a_time_share_one_lookup() {
        const CALLERS: u16 = 100;
        static LOOKUPS: Lookups = Lookups::new(answers_when_told);
        let ask = |port| tokio::spawn(LOOKUPS.lookup("db".to_owned(), port));
        let first = ask(1);
        while BEGUN.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (1..=CALLERS).map(ask).collect();
        // The one who began gives up: the lookup goes on for the others.
        first.abort();
        for _ in 0..CALLERS {
            tokio::task::yield_now().await;
        }
        let (begun, free) = (BEGUN.load(Ordering::SeqCst), LOOKUPS.slots.available_permits());
        *ANSWERED.0.lock().unwrap() = true;
        ANSWERED.1.notify_all();
        let mut found = Vec::new();
        for other in others {
            found.extend(other.await.unwrap().unwrap());
        }
        assert_eq!((begun, free), (1, MAX_LOOKUPS - 1), "lookups, slots that are free");
        let ports: Vec<u16> = found.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, (1..=CALLERS).collect::<Vec<_>>(), "each has its own port");
        // The next one asks again: nothing is remembered.
        ask(1).await.unwrap().unwrap();
        assert_eq!(BEGUN.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_system_has_as_many_slots_as_it_says() {
        assert_eq!((MAX_LOOKUPS, LOOKUPS.slots.available_permits()), (8, 8));
    }

    #[tokio::test]
    async fn localhost_needs_no_resolver() {
        for name in ["localhost", "LocalHost"] {
            let found = SYSTEM.resolve(name, 80).await.unwrap();
            assert_eq!(found, LOCALHOST.map(|address| SocketAddr::new(address, 80)), "{name}");
        }
    }
}
