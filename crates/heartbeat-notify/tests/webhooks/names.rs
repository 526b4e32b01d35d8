//! A resolver that does not answer, says that the name does not exist, or hangs, for hours.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heartbeat_http::{Connecting, ResolveError, Resolving, SYSTEM, Sockets};
use heartbeat_notify::{Endpoint, Receiver, Smtp, Target, TlsOptions};
use heartbeat_status::IncidentStep::{self, Opened, Resolved};
use tokio::time::sleep;

use crate::kinds::KINDS;
use crate::scene::{Server, clock, event, start_over};

/// How long names cannot be resolved: less than the time after which a notification is given up.
const OUTAGE: Duration = Duration::from_secs(60 * 60 * 60);
/// Longest wait between two attempts, with its jitter.
const LONGEST_WAIT: Duration = Duration::from_secs(360);

/// What the resolver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// EAI_AGAIN.
    TryAgain,
    /// NXDOMAIN.
    NoSuchName,
    /// No answer at all.
    Hangs,
    /// The address of this machine.
    Answers,
}

#[derive(Debug)]
struct Names(Mutex<Mood>);

impl Names {
    fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self(Mutex::new(mood)))
    }

    fn set(&self, mood: Mood) {
        *self.0.lock().unwrap() = mood;
    }
}

impl Sockets for Names {
    fn resolve(&self, host: &str, port: u16) -> Resolving {
        let (mood, host) = (*self.0.lock().unwrap(), host.to_owned());
        Box::pin(async move {
            match mood {
                Mood::TryAgain => Err(ResolveError::Temporary { host }),
                Mood::NoSuchName => Err(ResolveError::NotFound { host }),
                Mood::Hangs => std::future::pending().await,
                Mood::Answers => Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]),
            }
        })
    }

    fn connect(&self, address: SocketAddr) -> Connecting {
        SYSTEM.connect(address)
    }
}

fn ops(target: Target) -> Receiver {
    Receiver { on: IncidentStep::ALL.iter().copied().collect(), ..Receiver::new("ops", target) }
}

#[tokio::test(start_paused = true)]
async fn while_names_cannot_be_resolved_messages_wait_and_then_each_arrives_in_order_under_one_key() {
    for (kind, target) in KINDS {
        for (mood, said) in [
            (Mood::TryAgain, "cannot connect: the resolver does not answer for hooks.example.org"),
            (Mood::NoSuchName, "cannot connect: no address for hooks.example.org"),
            (Mood::Hangs, "no answer within 10s"),
        ] {
            let (server, names) = (Server::start([]).await, Names::new(mood));
            let endpoint =
                Endpoint::new(&format!("http://hooks.example.org:{}/hook", server.port())).unwrap();
            let sockets: Arc<dyn Sockets> = Arc::clone(&names) as _;
            let (notifier, reports) = start_over(vec![ops(target(endpoint))], Vec::new(), sockets);
            for (id, seq, step) in [("a", 1, Opened), ("a", 2, Resolved), ("b", 1, Opened)] {
                notifier.notify(&event(id, seq, step));
            }
            sleep(OUTAGE).await;
            assert_eq!(notifier.backlog(), [("ops".to_owned(), 3)], "{kind}, {mood:?}");
            let all = reports.all();
            let retried = format!("ops a.1 retrying after 1: {said}");
            assert_eq!(all.first(), Some(&retried), "{kind}, {mood:?}");
            assert!(all.contains(&format!("ops fails: {said}")), "{kind}, {mood:?}");
            assert!(!all.iter().any(|line| line.contains("given up")), "{kind}, {mood:?}");
            names.set(Mood::Answers);
            let back = clock();
            reports.wait_for("ops b.1 delivered after 1").await;
            assert!(clock() - back <= LONGEST_WAIT, "{kind}, {mood:?}: {:?}", clock() - back);
            assert_eq!(server.ids(), ["a.1", "a.2", "b.1"], "{kind}, {mood:?}");
            assert!(reports.all().contains(&"ops works".to_owned()), "{kind}, {mood:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_waits_for_the_resolver_as_well() {
    let to = ["ops@example.org".to_owned()];
    let smtp =
        || Smtp::new("smtp://mail.example.org", &TlsOptions::default(), None, ("shop@example.org", &to));
    for (mood, said) in [
        (Mood::TryAgain, "the resolver does not answer for mail.example.org"),
        (Mood::NoSuchName, "no address for mail.example.org"),
    ] {
        let (notifier, reports) =
            start_over(vec![ops(Target::Smtp(smtp().unwrap()))], Vec::new(), Names::new(mood));
        notifier.notify(&event("a", 1, Opened));
        sleep(OUTAGE).await;
        assert_eq!(notifier.backlog(), [("ops".to_owned(), 1)], "{mood:?}");
        let retried = format!("ops a.1 retrying after 1: cannot connect to the mail server: {said}");
        assert_eq!(reports.all().first(), Some(&retried), "{mood:?}");
    }
}
