//! The operating system's resolver and sockets.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::{Connecting, ResolveError, Sockets};

/// Most addresses of one name that are used.
const MAX_ADDRESSES_RESOLVED: usize = 64;
/// The addresses of `localhost`, which needs no resolver.
const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// Most names that the process resolves at a time. getaddrinfo blocks a thread and cannot be cancelled:
/// a resolver that hangs holds this many threads and no more.
pub const MAX_LOOKUPS: usize = 8;
static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// A pending lookup of a name's addresses.
pub type Resolving = Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, ResolveError>> + Send>>;

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
        Box::pin(lookup(&LOOKUPS, host.to_owned(), port, getaddrinfo))
    }

    fn connect(&self, address: SocketAddr) -> Connecting {
        Box::pin(TcpStream::connect(address))
    }
}

fn getaddrinfo(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (host, port).to_socket_addrs().map(|found| found.take(MAX_ADDRESSES_RESOLVED).collect())
}

/// Runs `ask` on a thread that keeps its slot until the resolver returns, even after the caller has cancelled.
async fn lookup(
    slots: &'static Semaphore,
    host: String,
    port: u16,
    ask: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let failed = |source| ResolveError::Io { source };
    let slot = slots.acquire().await.map_err(|error| failed(io::Error::other(error)))?;
    let name: Arc<str> = host.into();
    let asked = Arc::clone(&name);
    let ask = move || {
        let found = ask(&asked, port);
        drop(slot);
        found
    };
    let found = tokio::task::spawn_blocking(ask).await.map_err(|error| failed(io::Error::other(error)))?;
    found.map_err(|error| refusal(&name, error))
}

/// Classifies an error of getaddrinfo, of which the standard library keeps only the text.
fn refusal(host: &str, source: io::Error) -> ResolveError {
    let host = host.to_owned();
    if source.raw_os_error().is_some() {
        return ResolveError::Io { source };
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
            refusal("db", error)
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
        assert!(ours(refusal("db", io::Error::from_raw_os_error(24))), "EMFILE of the resolver's own socket");
    }

    /// Lookups that have begun and not ended, and whether they may end.
    static HANGING: AtomicUsize = AtomicUsize::new(0);
    static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    fn hangs(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        HANGING.fetch_add(1, Ordering::SeqCst);
        let released = RELEASED.0.lock().unwrap();
        drop(RELEASED.1.wait_while(released, |released| !*released).unwrap());
        HANGING.fetch_sub(1, Ordering::SeqCst);
        Ok(Vec::new())
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_holds_a_bounded_number_of_threads() {
        static SLOTS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);
        let asked: Vec<_> =
            (0..MAX_LOOKUPS).map(|_| tokio::spawn(lookup(&SLOTS, "db".to_owned(), 80, hangs))).collect();
        while HANGING.load(Ordering::SeqCst) < MAX_LOOKUPS {
            tokio::task::yield_now().await;
        }
        let free_while_asking = SLOTS.available_permits();
        // Callers that give up do not free the threads of their lookups.
        for task in asked {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        let hanging = (HANGING.load(Ordering::SeqCst), SLOTS.available_permits());
        *RELEASED.0.lock().unwrap() = true;
        RELEASED.1.notify_all();
        // Asserted only now: the runtime of a test that fails earlier would wait for these threads.
        assert_eq!(
            (free_while_asking, hanging),
            (0, (MAX_LOOKUPS, 0)),
            "slots that are free, lookups that hang"
        );
        while SLOTS.available_permits() < MAX_LOOKUPS {
            tokio::task::yield_now().await;
        }
        assert_eq!(HANGING.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_system_has_as_many_slots_as_it_says() {
        assert_eq!((MAX_LOOKUPS, LOOKUPS.available_permits()), (8, 8));
    }

    #[tokio::test]
    async fn localhost_needs_no_resolver() {
        for name in ["localhost", "LocalHost"] {
            let found = SYSTEM.resolve(name, 80).await.unwrap();
            assert_eq!(found, LOCALHOST.map(|address| SocketAddr::new(address, 80)), "{name}");
        }
    }
}
