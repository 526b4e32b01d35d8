//! A history that its file cannot hold: what goes, and in which order, and what stays exact.

use std::time::Duration;

use heartbeat_status::{Reason, Status};
use heartbeat_store::{
    Account, Class, HistoryDb, HistoryQuery, Measured, Quantity, RealmHistory, Sketch, StatusChange,
};

use crate::scene::{Scene, answer, sqlite};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A midnight.
const START_MS: i64 = 20_000 * DAY_MS;
/// How often is measured, and so much later than a multiple of that: no hour begins then.
const EVERY_MS: i64 = 2 * HOUR_MS;
const MEASURED_MS: i64 = 40 * MINUTE_MS;
/// Values of each measurement.
const VALUES: u64 = 40;
/// The smallest file that can be asked for.
const MAX_BYTES: u64 = 1 << 20;

fn name(realm: usize) -> String {
    format!("realm-{realm}")
}

fn change(history: &HistoryDb, at_ms: i64, realm: usize, status: Status) {
    let reason = if status == Status::Up { Reason::Healthy } else { Reason::Exited };
    history.change(StatusChange { at_ms, realm: name(realm), status, reason });
}

/// Waits until everything is written, and for so many pieces of housekeeping.
fn settle(history: &HistoryDb, pieces: usize) {
    for _ in 0..pieces {
        answer(|give| {
            history.accounts(Vec::new(), Vec::new(), move |answer| give.send(answer.is_ok()).unwrap())
        });
    }
}

fn account(history: &HistoryDb, realm: usize, from_ms: i64, to_ms: i64) -> Account {
    let (realms, window) = (vec![name(realm)], from_ms..to_ms);
    let found = answer(|give| {
        history.accounts(realms, Vec::from([window]), move |answer| give.send(answer).unwrap())
    });
    found.unwrap()[&name(realm)][0]
}

fn asked(history: &HistoryDb, realm: usize, from_ms: i64, to_ms: i64, step_ms: i64) -> RealmHistory {
    let query = HistoryQuery {
        realm: name(realm),
        probe: None,
        window: from_ms..to_ms,
        step_ms: step_ms.unsigned_abs(),
    };
    answer(|give| history.history(query, move |answer| give.send(answer.unwrap()).unwrap())).unwrap()
}

/// When the oldest chunk of each resolution begins, the finest first.
fn oldest_chunks(scene: &Scene) -> [Option<i64>; 4] {
    let file = sqlite(&scene.path("history.db"));
    let units = [HOUR_MS, 7 * DAY_MS, 7 * DAY_MS, 28 * DAY_MS];
    let mut tier = 0;
    units.map(|unit_ms| {
        let sql = "SELECT min(start) FROM chunk WHERE tier = ?1";
        let start: Option<i64> = file.query_row(sql, [tier], |row| row.get(0)).unwrap();
        tier += 1;
        start.map(|start| start * unit_ms)
    })
}

fn file_bytes(scene: &Scene) -> u64 {
    std::fs::metadata(scene.path("history.db")).unwrap().len()
}

/// A realm, and what it has really been.
struct Realm {
    status: Status,
    since_ms: i64,
    ms: [u64; 2],
}

impl Realm {
    fn counted(&mut self, now_ms: i64) {
        self.ms[usize::from(self.status != Status::Up)] += now_ms.abs_diff(self.since_ms);
        self.since_ms = now_ms;
    }
}

/// More measurements than the file can hold, and changes that take a third of it: what 1,000 realms with a probe each do
/// to the default of `history_max` in a year.
#[test]
fn in_a_year_the_finest_of_the_oldest_goes_and_every_millisecond_of_statuses_stays() {
    const REALMS: usize = 10;
    const DAYS: i64 = 365;
    let scene = Scene::new();
    let history = scene.history_of(MAX_BYTES);
    let mut random = fastrand::Rng::with_seed(7);
    history.begin("boot".to_owned(), START_MS);
    let mut realms: Vec<Realm> =
        (0..REALMS).map(|_| Realm { status: Status::Up, since_ms: START_MS, ms: [0; 2] }).collect();
    (0..REALMS).for_each(|realm| change(&history, START_MS, realm, Status::Up));
    let (mut largest, mut when_hours_go) = (0, None);
    let every = usize::try_from(EVERY_MS).unwrap();
    for day in 0..DAYS {
        for at_ms in (START_MS + day * DAY_MS..START_MS + (day + 1) * DAY_MS).step_by(every) {
            let measured = (0..REALMS).map(|realm| {
                let mut values = Sketch::default();
                (0..VALUES).for_each(|_| values.add(Duration::from_micros(8_000 + random.u64(..100_000))));
                Measured { realm: name(realm), quantity: Quantity::Latency("http".to_owned()), values }
            });
            history.minute(at_ms + MEASURED_MS, measured.collect());
            if at_ms % (4 * EVERY_MS) == 0 {
                // The first realm never changes: what it was long ago is all that is known of it.
                for (no, realm) in realms.iter_mut().enumerate().skip(1) {
                    let at_ms = at_ms + random.i64(1..EVERY_MS);
                    realm.counted(at_ms);
                    realm.status = if realm.status == Status::Up { Status::Down } else { Status::Up };
                    change(&history, at_ms, no, realm.status);
                }
            }
        }
        // More pieces than a day brings: 12 of minutes, 4 of ten minutes, one each of hours, days and statuses.
        settle(&history, 20);
        if day % 5 == 4 {
            largest = largest.max(file_bytes(&scene));
            let chunks = oldest_chunks(&scene);
            if when_hours_go.is_none() && day >= 30 && chunks[2].is_none_or(|start_ms| start_ms > START_MS) {
                when_hours_go = Some((START_MS + day * DAY_MS, chunks));
            }
        }
    }
    let now_ms = START_MS + DAYS * DAY_MS;
    history.minute(now_ms, Vec::new());
    settle(&history, 32);
    assert!((MAX_BYTES / 2..=MAX_BYTES).contains(&largest), "{largest} bytes");
    assert_eq!(scene.reports.all(), []);
    // Availability, asked in three ways.
    let days = u32::try_from(DAYS + 1).unwrap();
    let strips =
        answer(|give| history.strips(days, now_ms, move |answer| give.send(answer).unwrap())).unwrap();
    for (no, realm) in realms.iter_mut().enumerate() {
        realm.counted(now_ms);
        let of = |account: &Account| [account.ms(Class::Up), account.ms(Class::Down), account.total_ms()];
        let expected = [realm.ms[0], realm.ms[1], now_ms.abs_diff(START_MS)];
        assert_eq!(of(&account(&history, no, START_MS, now_ms)), expected, "{no}");
        assert_eq!(of(&asked(&history, no, START_MS, now_ms, 30 * DAY_MS).account), expected, "{no}");
        let mut sum = Account::default();
        strips[&name(no)].iter().for_each(|day| sum.merge(day));
        assert_eq!(of(&sum), expected, "{no}");
    }
    // Nothing old is left of what is finer when the first hours have to go; a chunk of ten minutes is two weeks long.
    let (then_ms, [minutes, tens, ..]) = when_hours_go.unwrap_or_else(|| {
        panic!("a year is to be too much for the file: {largest} bytes, {:?}", oldest_chunks(&scene))
    });
    assert!(minutes.is_none_or(|start_ms| start_ms >= then_ms - 7 * DAY_MS), "{minutes:?} at {then_ms}");
    assert!(tens.is_none_or(|start_ms| start_ms >= then_ms - 28 * DAY_MS), "{tens:?} at {then_ms}");
    let year = asked(&history, 1, START_MS, now_ms, DAY_MS);
    assert!(year.steps.iter().all(|day| day.latency.is_some_and(|latency| latency.count == 12 * VALUES)));
    // What is recent is there as finely as in any file: each measurement in the step in which it was made.
    for (window_ms, step_ms) in [(DAY_MS, MINUTE_MS), (7 * DAY_MS, 10 * MINUTE_MS), (90 * DAY_MS, HOUR_MS)] {
        let recent = asked(&history, 1, now_ms - window_ms, now_ms, step_ms);
        let found: Vec<i64> =
            recent.steps.iter().filter(|step| step.latency.is_some()).map(|step| step.from_ms).collect();
        let expected = (now_ms - window_ms..now_ms).step_by(every);
        let expected: Vec<i64> = expected.map(|at_ms| at_ms + MEASURED_MS / step_ms * step_ms).collect();
        assert_eq!(found, expected, "steps of {step_ms} ms");
    }
}

/// One realm changes all the time and fills the file; another has not changed since the beginning.
#[test]
fn changes_go_from_the_oldest_on_and_a_realm_that_never_changes_is_known_all_the_time() {
    const ROUNDS: i64 = 40_000;
    const STEP_MS: i64 = 15 * MINUTE_MS;
    let scene = Scene::new();
    let history = scene.history_of(MAX_BYTES);
    history.begin("boot".to_owned(), START_MS);
    change(&history, START_MS, 0, Status::Up);
    for round in 0..ROUNDS {
        let status = if round % 2 == 0 { Status::Up } else { Status::Down };
        change(&history, START_MS + round * STEP_MS, 1, status);
        if round % 500 == 499 {
            settle(&history, 8);
        }
    }
    let now_ms = START_MS + ROUNDS * STEP_MS;
    history.minute(now_ms, Vec::new());
    settle(&history, 32);
    assert!(file_bytes(&scene) <= MAX_BYTES, "{}", file_bytes(&scene));
    assert_eq!(scene.reports.all(), []);
    let whole = now_ms.abs_diff(START_MS);
    let never = account(&history, 0, START_MS, now_ms);
    assert_eq!([never.ms(Class::Up), never.total_ms()], [whole, whole]);
    let known = account(&history, 1, START_MS, now_ms);
    assert!((whole / 4..whole).contains(&known.total_ms()), "{known:?} of {whole}");
    // All that is left is exact, from a round number of rounds on.
    let rounds = known.total_ms() / STEP_MS.unsigned_abs();
    assert_eq!(known.total_ms(), rounds * STEP_MS.unsigned_abs());
    assert_eq!(known.ms(Class::Down), rounds.div_ceil(2) * STEP_MS.unsigned_abs());
}
