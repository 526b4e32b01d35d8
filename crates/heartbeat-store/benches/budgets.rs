//! What history costs: `cargo bench -p heartbeat-store -- REALMS DAYS [PROBES]`, with 0 or 1 probes per realm. Prints the
//! figures of docs/benchmarks.md.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints what it has measured"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use heartbeat_status::{Reason, Status};
use heartbeat_store::{HistoryDb, HistoryQuery, Keep, Measured, Quantity, Sketch, StatusChange};

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 20_000 * DAY_MS;
/// Latencies within a minute, of a probe every 5 s.
const PER_MINUTE: usize = 12;

fn answer<T: Send + 'static>(ask: impl FnOnce(SyncSender<T>)) -> T {
    let (give, take) = sync_channel(1);
    ask(give);
    take.recv().unwrap()
}

/// Lognormal latencies around 10 ms with 1 % of outliers.
fn latencies(random: &mut fastrand::Rng) -> Sketch {
    let mut sketch = Sketch::default();
    for _ in 0..PER_MINUTE {
        let (u, v): (f64, f64) = (random.f64().max(1e-12), random.f64());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let outlier = if random.u8(..100) == 0 { 20.0 } else { 1.0 };
        sketch.add(Duration::from_secs_f64(0.010 * (0.35 * normal).exp() * outlier));
    }
    sketch
}

fn open(dir: &Path) -> HistoryDb {
    let keep = Keep { history: Duration::from_secs(730 * 86_400), max_bytes: 1 << 30 };
    HistoryDb::start(dir, keep, || heartbeat_status::Instant::ZERO, Arc::new(|report| println!("{report:?}")))
        .unwrap()
}

/// `realms` realms for `days` days, with ten changes a day, and `probed` of them with a probe.
fn fill(dir: &Path, realms: usize, days: i64, probed: usize) {
    let mut random = fastrand::Rng::with_seed(7);
    let history = open(dir);
    history.begin("boot".to_owned(), START_MS);
    let name = |realm: usize| format!("realm-{realm}");
    let change = |realm: usize, at_ms: i64, status: Status| {
        history.change(StatusChange { at_ms, realm: name(realm), status, reason: Reason::Exited });
    };
    (0..realms).for_each(|realm| change(realm, START_MS, Status::Up));
    for minute in 0..days * 1_440 {
        let at_ms = START_MS + minute * 60_000;
        let all = (0..probed).map(|realm| Measured {
            realm: name(realm),
            quantity: Quantity::Latency("http".to_owned()),
            values: latencies(&mut random),
        });
        history.minute(at_ms, all.collect());
        if minute % 144 == 143 {
            for realm in 0..realms {
                change(realm, at_ms, if minute / 144 % 2 == 0 { Status::Down } else { Status::Up });
            }
        }
        // What waits has a bound.
        if minute % 144 == 143 || (probed > 0 && minute % 10 == 9) {
            answer(|give| {
                history.accounts(Vec::new(), Vec::new(), move |answer| give.send(answer.is_ok()).unwrap())
            });
        }
    }
    history.minute(START_MS + days * DAY_MS, Vec::new());
    // Each question is behind a piece of housekeeping; there are fewer than this many left.
    for _ in 0..4 * probed.max(1) {
        answer(|give| {
            history.accounts(Vec::new(), Vec::new(), move |answer| give.send(answer.is_ok()).unwrap())
        });
    }
}

fn size(dir: &Path) -> f64 {
    std::fs::metadata(dir.join("history.db")).unwrap().len() as f64 / 1e6
}

fn timed<T>(what: &str, work: impl Fn() -> T) {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        work();
        best = best.min(began.elapsed());
    }
    println!("{what}: {:.1} ms", best.as_secs_f64() * 1e3);
}

fn main() {
    let numbers: Vec<i64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (realms, days) = (numbers.first().copied().unwrap_or(1), numbers.get(1).copied().unwrap_or(730));
    let probes = numbers.get(2).copied().unwrap_or(1).min(1);
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let count = |number: i64| usize::try_from(number).unwrap();
    fill(dir.path(), count(realms), days, count(realms * probes));
    println!(
        "{realms} realms x {days} days with {probes} probes each: {:.2} MB, written in {:.0} s",
        size(dir.path()),
        began.elapsed().as_secs_f64()
    );
    let history = open(dir.path());
    let now_ms = START_MS + days * DAY_MS;
    let query = HistoryQuery {
        realm: "realm-0".to_owned(),
        probe: None,
        window: now_ms - 30 * DAY_MS..now_ms,
        step_ms: 30 * 86_400_000,
    };
    timed("percentiles of 30 days", || {
        answer(|give| history.history(query.clone(), move |answer| give.send(answer.unwrap()).unwrap()))
    });
    timed("strips of 90 days of every realm", || {
        answer(|give| history.strips(90, now_ms, move |answer| give.send(answer.unwrap()).unwrap()))
    });
    timed("glance at every realm", || {
        answer(|give| history.glance(now_ms, move |answer| give.send(answer.unwrap()).unwrap()))
    });
}
