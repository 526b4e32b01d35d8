//! What history costs: `cargo bench -p heartbeat-store -- REALMS DAYS [PROBES] [KIB]`, with 0 or 1 probes per realm, and
//! so many KiB as `history_max`. Prints the figures of docs/benchmarks.md.
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
use heartbeat_store::{Class, HistoryDb, HistoryQuery, Keep, Measured, Quantity, Sketch, StatusChange};

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

fn open(dir: &Path, max_bytes: u64) -> HistoryDb {
    let keep = Keep { history: Duration::from_secs(730 * 86_400), max_bytes };
    HistoryDb::start(dir, keep, || heartbeat_status::Instant::ZERO, Arc::new(|report| println!("{report:?}")))
        .unwrap()
}

/// Waits until everything is written, and for so many pieces of housekeeping.
fn settle(history: &HistoryDb, pieces: usize) {
    for _ in 0..pieces {
        answer(|give| {
            history.accounts(Vec::new(), Vec::new(), move |answer| give.send(answer.is_ok()).unwrap())
        });
    }
}

/// Minutes between two changes of a realm.
const CHANGE_MINUTES: i64 = 144;

/// `realms` realms for `days` days, with ten changes a day, and `probed` of them with a probe. Returns the largest size of
/// the file meanwhile.
fn fill(dir: &Path, max_bytes: u64, realms: usize, days: i64, probed: usize) -> f64 {
    let mut random = fastrand::Rng::with_seed(7);
    let history = open(dir, max_bytes);
    history.begin("boot".to_owned(), START_MS);
    let name = |realm: usize| format!("realm-{realm}");
    let change = |realm: usize, at_ms: i64, status: Status| {
        history.change(StatusChange { at_ms, realm: name(realm), status, reason: Reason::Exited });
    };
    (0..realms).for_each(|realm| change(realm, START_MS, Status::Up));
    let mut largest: f64 = 0.0;
    for minute in 0..days * 1_440 {
        let at_ms = START_MS + minute * 60_000;
        let all = (0..probed).map(|realm| Measured {
            realm: name(realm),
            quantity: Quantity::Latency("http".to_owned()),
            values: latencies(&mut random),
        });
        history.minute(at_ms, all.collect());
        let changes = minute % CHANGE_MINUTES == CHANGE_MINUTES - 1;
        if changes {
            let status = if minute / CHANGE_MINUTES % 2 == 0 { Status::Down } else { Status::Up };
            (0..realms).for_each(|realm| change(realm, at_ms, status));
        }
        // What waits has a bound, and a piece of housekeeping is for twelve series: more of them than an hour brings.
        if changes || minute % 60 == 59 {
            settle(&history, 4 + probed / 8);
            largest = largest.max(size(dir));
        }
    }
    history.minute(START_MS + days * DAY_MS, Vec::new());
    settle(&history, 4 * probed.max(1));
    largest
}

/// What a realm was in all that time: `[up, down]` in milliseconds.
fn expected(days: i64) -> [u64; 2] {
    let (mut ms, mut since, mut is_down) = ([0; 2], 0, false);
    let length = days * 1_440;
    for minute in (CHANGE_MINUTES - 1..length).step_by(CHANGE_MINUTES.unsigned_abs() as usize).chain([length])
    {
        ms[usize::from(is_down)] += (minute - since).unsigned_abs() * 60_000;
        (since, is_down) = (minute, !is_down);
    }
    ms
}

/// How many days of each resolution are in the file.
fn reach(dir: &Path, now_ms: i64) -> Vec<String> {
    let file = rusqlite::Connection::open(dir.join("history.db")).unwrap();
    let hour = DAY_MS / 24;
    let tiers =
        [("minutes", hour, hour / 60), ("ten minutes", 7 * DAY_MS, hour / 6), ("hours", 7 * DAY_MS, hour)];
    let days = ("days", 28 * DAY_MS, DAY_MS);
    let mut found = Vec::new();
    for (tier, (what, chunk_ms, slot_ms)) in (0_i64..).zip(tiers.into_iter().chain([days])) {
        let oldest = |sql: &str| file.query_row(sql, [tier], |row| row.get::<_, Option<i64>>(0)).unwrap();
        let chunk = oldest("SELECT min(start) FROM chunk WHERE tier = ?1").map(|start| start * chunk_ms);
        let row = oldest("SELECT min(slot) FROM entry WHERE tier = ?1").map(|slot| slot * slot_ms);
        let from_ms = [chunk, row].into_iter().flatten().min().unwrap_or(now_ms).max(START_MS);
        found.push(format!("{what} {:.1}", (now_ms - from_ms) as f64 / DAY_MS as f64));
    }
    let oldest: i64 = file.query_row("SELECT min(at) FROM transition", [], |row| row.get(0)).unwrap();
    found.push(format!("changes {:.1}", (now_ms - oldest) as f64 / DAY_MS as f64));
    found
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
    let max_bytes = numbers.get(3).map_or(1 << 30, |kib| kib.unsigned_abs() << 10);
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let count = |number: i64| usize::try_from(number).unwrap();
    let largest = fill(dir.path(), max_bytes, count(realms), days, count(realms * probes));
    println!(
        "{realms} realms x {days} days with {probes} probes each: {:.2} MB, never more than {largest:.2} MB of {:.2} MB, \
         written in {:.0} s",
        size(dir.path()),
        max_bytes as f64 / 1e6,
        began.elapsed().as_secs_f64()
    );
    let history = open(dir.path(), max_bytes);
    let now_ms = START_MS + days * DAY_MS;
    println!("days on record: {}", reach(dir.path(), now_ms).join(", "));
    let account = answer(|give| {
        let (realms, whole) = (vec!["realm-0".to_owned()], START_MS..now_ms);
        history.accounts(realms, Vec::from([whole]), move |found| {
            give.send(found.unwrap()["realm-0"][0]).unwrap()
        })
    });
    let found = [account.ms(Class::Up), account.ms(Class::Down)];
    println!("a realm was up and down for {found:?} ms, and really for {:?} ms", expected(days));
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
