use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use heartbeat_http::{Connecting, ResolveError, Resolving, Sockets};

use super::*;
use crate::{Probe, TcpProbe};
use heartbeat_status::ProbePhase;

const TIMEOUT: Duration = Duration::from_millis(400);

/// A resolver and sockets that fail in one way.
#[derive(Clone, Copy, Debug)]
enum Fails {
    Resolver(Resolver),
    Connect(i32),
}

#[derive(Clone, Copy, Debug)]
enum Resolver {
    Hangs,
    FailsForNow,
    HasNoSuchName,
    CannotBeAsked(i32),
}

impl Sockets for Fails {
    fn resolve(&self, host: &str, port: u16) -> Resolving {
        let host = host.to_owned();
        Box::pin(std::future::ready(match *self {
            Self::Resolver(Resolver::Hangs) => return Box::pin(std::future::pending()),
            Self::Resolver(Resolver::FailsForNow) => Err(ResolveError::Temporary { host }),
            Self::Resolver(Resolver::HasNoSuchName) => Err(ResolveError::NotFound { host }),
            Self::Resolver(Resolver::CannotBeAsked(code)) => {
                Err(ResolveError::Io { source: io::Error::from_raw_os_error(code) })
            }
            Self::Connect(_) => Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]),
        }))
    }

    fn connect(&self, _: SocketAddr) -> Connecting {
        let Self::Connect(code) = *self else { unreachable!("a name without an address") };
        Box::pin(async move { Err(io::Error::from_raw_os_error(code)) })
    }
}

fn every_kind_that_connects() -> Vec<Probe> {
    vec![
        #[cfg(feature = "http")]
        crate::HttpProbe::new("http://db.test/").unwrap().into(),
        TcpProbe::new("db.test:80").unwrap().into(),
        #[cfg(feature = "redis")]
        crate::RedisProbe::new("redis://db.test").unwrap().into(),
        #[cfg(feature = "postgres")]
        crate::PostgresProbe::new("postgres://db.test").unwrap().into(),
    ]
}

#[tokio::test]
async fn whose_fault_it_is_that_there_is_no_connection() {
    let ours = |reason| Outcome::Inconclusive(reason);
    let theirs = |reason, phase| Outcome::Fail { reason, phase: Some(phase) };
    let resources = ours(InconclusiveReason::MonitorResources);
    let temporary = ours(InconclusiveReason::NameTemporary);
    let (resolve, connect) = (ProbePhase::Resolve, ProbePhase::Connect);
    // EMFILE, ENFILE, EADDRNOTAVAIL, ENOBUFS, ENOMEM, EAGAIN; ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT.
    let table = [
        (Fails::Resolver(Resolver::Hangs), temporary, "the resolver does not answer within 100 ms"),
        (Fails::Resolver(Resolver::FailsForNow), temporary, "the resolver does not answer for db.test"),
        (Fails::Resolver(Resolver::CannotBeAsked(24)), resources, "Too many open files"),
        (
            Fails::Resolver(Resolver::HasNoSuchName),
            theirs(FailReason::NameNotFound, resolve),
            "no address for db.test",
        ),
        (Fails::Connect(24), resources, "Too many open files"),
        (Fails::Connect(23), resources, "Too many open files in system"),
        (Fails::Connect(99), resources, "Cannot assign requested address"),
        (Fails::Connect(105), resources, "No buffer space available"),
        (Fails::Connect(12), resources, "Cannot allocate memory"),
        (Fails::Connect(11), resources, "Resource temporarily unavailable"),
        (Fails::Connect(111), theirs(FailReason::Refused, connect), "connection refused"),
        (Fails::Connect(113), theirs(FailReason::Unreachable, connect), "No route to host"),
        (
            Fails::Connect(110),
            theirs(FailReason::ConnectTimeout, connect),
            "the kernel timed the connection out",
        ),
    ];
    for (fails, outcome, detail) in table {
        for probe in every_kind_that_connects() {
            let kind = probe.kind();
            let result = probe.through(Arc::new(fails)).measure(TIMEOUT / 4).await;
            assert_eq!(result.outcome, outcome, "{kind:?}, {fails:?}: {result:?}");
            assert!(result.detail.contains(detail), "{kind:?}, {fails:?}: {}", result.detail);
            assert!(result.phases.connect.is_none() && result.latency.is_none(), "{kind:?}: {result:?}");
            let port = result.port_fact();
            let expected =
                if fails_as(fails, 111) { theirs(FailReason::NotListening, connect) } else { outcome };
            assert_eq!(port, expected, "{kind:?}, {fails:?}");
        }
    }
}

const fn fails_as(fails: Fails, wanted: i32) -> bool {
    matches!(fails, Fails::Connect(code) if code == wanted)
}

/// Keeps this thread from anything else.
fn block(how_long: Duration) {
    let began = clock::now();
    while clock::now().since(began) < how_long {
        std::hint::spin_loop();
    }
}

fn failing(reason: FailReason) -> Seen {
    Err(Broken::fail(reason, ProbePhase::FirstByte, "seen"))
}

async fn blocked_and_then(seen: Option<Seen>, blocked: Duration) -> CheckResult {
    measure(
        Frame { slow: Some(TIMEOUT / 8), ..Frame::new(Turn::now(TIMEOUT)) },
        async |progress: &mut Progress<'_>| {
            progress.phase = ProbePhase::FirstByte;
            // The timers are armed by now.
            tokio::task::yield_now().await;
            block(blocked);
            match seen {
                Some(seen) => {
                    tokio::task::yield_now().await;
                    seen
                }
                None => std::future::pending().await,
            }
        },
        |_| {},
    )
    .await
}

#[tokio::test]
async fn a_deadline_that_our_own_lag_ate_says_nothing_about_the_target() {
    let ours = Outcome::Inconclusive(InconclusiveReason::MonitorLag);
    // Past the deadline, and in its middle: then the timer itself is in time.
    for blocked in [TIMEOUT * 2, TIMEOUT / 2] {
        let result = blocked_and_then(None, blocked).await;
        assert_eq!(result.outcome, ours, "blocked {blocked:?}: {result:?}");
        assert!(result.detail.starts_with("heartbeatd itself was "), "{}", result.detail);
    }
}

#[tokio::test]
async fn what_our_own_lag_can_bring_about_is_excused_and_nothing_else() {
    for reason in FailReason::ALL {
        let excused = [
            FailReason::ConnectTimeout,
            FailReason::TlsTimeout,
            FailReason::HeadersTimeout,
            FailReason::BodyTimeout,
            FailReason::ExecTimeout,
            FailReason::Reset,
            FailReason::BodyIncomplete,
        ];
        assert_eq!(lag_explains(*reason), excused.contains(reason), "{reason:?}");
    }
    let late = blocked_and_then(Some(failing(FailReason::Reset)), TIMEOUT * 2).await;
    assert_eq!(late.outcome, Outcome::Inconclusive(InconclusiveReason::MonitorLag), "{late:?}");
    let reported = blocked_and_then(Some(failing(FailReason::UnexpectedStatus)), TIMEOUT * 2).await;
    assert!(
        matches!(reported.outcome, Outcome::Fail { reason: FailReason::UnexpectedStatus, .. }),
        "{reported:?}"
    );
}

#[tokio::test]
async fn our_own_lag_makes_no_answer_slow() {
    let result = blocked_and_then(Some(Ok((Outcome::Pass, String::new()))), TIMEOUT / 2).await;
    assert_eq!(result.outcome, Outcome::Pass, "{result:?}");
}

#[tokio::test]
async fn a_verdict_that_stands_survives_the_deadline() {
    let observe = async |progress: &mut Progress<'_>| {
        progress.times.first_byte = Some(Duration::from_millis(1));
        progress.settle(Broken::fail(FailReason::UnexpectedStatus, ProbePhase::FirstByte, "503"));
        std::future::pending::<Seen>().await
    };
    let result = measure(Frame::new(Turn::now(TIMEOUT)), observe, |_| {}).await;
    let phase = Some(ProbePhase::FirstByte);
    assert_eq!(result.outcome, Outcome::Fail { reason: FailReason::UnexpectedStatus, phase });
    assert_eq!(result.detail, "503");
    assert!(result.latency.unwrap() < TIMEOUT, "the latency is that of the status: {result:?}");
}

#[test]
fn the_target_gets_three_quarters_of_its_time() {
    let millis = Duration::from_millis;
    assert!(!is_too_late(millis(500), millis(2000)) && is_too_late(millis(501), millis(2000)));
    assert!(!is_too_late(millis(100), millis(200)) && is_too_late(millis(101), millis(200)));
}

#[tokio::test]
async fn our_own_lateness_makes_no_answer_slow() {
    let (late, bound) = (Duration::from_millis(1_000), Some(Duration::from_millis(900)));
    for (slow, max_latency) in [(bound, None), (None, bound), (bound, bound)] {
        let frame = Frame { slow, max_latency, ..Frame::new(Turn::now(TIMEOUT)) };
        // The answer is there; this thread does not get to run, as on a starved machine.
        let observe = async |_: &mut Progress<'_>| {
            let began = clock::now();
            while clock::now().since(began) < late {
                std::hint::spin_loop();
            }
            Ok((Outcome::Pass, String::new()))
        };
        let result = measure(frame, observe, |_| {}).await;
        assert_eq!(result.outcome, Outcome::Pass, "{result:?}");
        assert!(result.latency.is_some_and(|latency| latency >= late), "the whole time is shown");
    }
}
