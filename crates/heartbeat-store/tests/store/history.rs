//! Statuses and latencies over time.

use std::collections::BTreeMap;
use std::time::Duration;

use heartbeat_status::{ProbePhase, Reason, Status};
use heartbeat_store::{
    Account, Class, HOST, HistoryDb, HistoryQuery, Measured, Objective, Quantity, RealmHistory, Sketch,
    StatusChange,
};
use proptest::prelude::*;

use crate::scene::{Scene, answer, sqlite};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A midnight.
const START_MS: i64 = 20_000 * DAY_MS;

fn change(history: &HistoryDb, at_ms: i64, status: Status) {
    let reason = if status == Status::Up { Reason::Healthy } else { Reason::Exited };
    history.change(StatusChange { at_ms, realm: "api".to_owned(), status, reason });
}

fn accounts(history: &HistoryDb, from_ms: i64, to_ms: i64) -> Option<Account> {
    let (realms, window) = (vec!["api".to_owned()], from_ms..to_ms);
    let found: BTreeMap<String, Vec<Account>> = answer(|give| {
        history.accounts(realms, Vec::from([window]), move |answer| give.send(answer).unwrap())
    })
    .unwrap();
    found.get("api").map(|accounts| accounts[0])
}

fn asked(history: &HistoryDb, from_ms: i64, to_ms: i64, step_ms: u64) -> Option<RealmHistory> {
    let query = HistoryQuery { realm: "api".to_owned(), probe: None, window: from_ms..to_ms, step_ms };
    answer(|give| history.history(query, move |answer| give.send(answer).unwrap())).unwrap()
}

fn latencies(millis: impl IntoIterator<Item = u64>) -> Vec<Measured> {
    vec![measured(Quantity::Latency("http".to_owned()), millis)]
}

fn measured(quantity: Quantity, millis: impl IntoIterator<Item = u64>) -> Measured {
    let mut values = Sketch::default();
    millis.into_iter().for_each(|millis| values.add(Duration::from_millis(millis)));
    Measured { realm: "api".to_owned(), quantity, values }
}

/// `[up, degraded, down, starting, stopped, unknown]`
fn millis(account: Account) -> [u64; 6] {
    Class::ALL.map(|class| account.ms(class))
}

#[test]
fn a_life_is_accounted_for_to_the_millisecond() {
    let scene = Scene::new();
    let history = scene.history();
    history.begin("boot".to_owned(), START_MS);
    change(&history, START_MS, Status::Starting);
    change(&history, START_MS + 1_001, Status::Up);
    change(&history, START_MS + 5_000, Status::Restarting);
    change(&history, START_MS + 5_000, Status::Starting);
    change(&history, START_MS + 5_777, Status::Up);
    history.minute(START_MS + 10_000, Vec::new());
    let account = accounts(&history, START_MS, START_MS + 10_000).unwrap();
    assert_eq!(millis(account), [3_999 + 4_223, 0, 777, 1_001, 0, 0]);
}

#[test]
fn the_time_between_two_lives_is_unknown_and_before_the_first_nothing_is_missing() {
    let scene = Scene::new();
    {
        let history = scene.history();
        history.begin("boot".to_owned(), START_MS);
        change(&history, START_MS, Status::Up);
        history.minute(START_MS + 60_000, Vec::new());
    }
    let history = scene.history();
    history.begin("boot".to_owned(), START_MS + 100_000);
    change(&history, START_MS + 100_000, Status::Starting);
    history.minute(START_MS + 160_000, Vec::new());
    let account = accounts(&history, START_MS - DAY_MS, START_MS + 160_000).unwrap();
    // In the same boot it was up already, so its start counts as down.
    assert_eq!(millis(account), [60_000, 0, 60_000, 0, 0, 40_000]);
    assert_eq!(accounts(&history, START_MS, START_MS), Some(Account::default()));
}

#[test]
fn another_boot_begins_without_evidence() {
    let scene = Scene::new();
    {
        let history = scene.history();
        history.begin("one".to_owned(), START_MS);
        change(&history, START_MS, Status::Up);
    }
    let history = scene.history();
    history.begin("two".to_owned(), START_MS + 1_000);
    change(&history, START_MS + 1_000, Status::Starting);
    history.minute(START_MS + 3_000, Vec::new());
    assert_eq!(
        millis(accounts(&history, START_MS + 1_000, START_MS + 3_000).unwrap()),
        [0, 0, 0, 2_000, 0, 0]
    );
}

#[test]
fn where_the_clock_was_set_back_the_new_time_is_right() {
    let scene = Scene::new();
    let history = scene.history();
    history.begin("boot".to_owned(), START_MS + HOUR_MS);
    change(&history, START_MS + HOUR_MS, Status::Up);
    history.minute(START_MS + 2 * HOUR_MS, Vec::new());
    history.begin("boot".to_owned(), START_MS);
    change(&history, START_MS, Status::Down);
    history.minute(START_MS + 90 * MINUTE_MS, Vec::new());
    let account = accounts(&history, START_MS, START_MS + 90 * MINUTE_MS).unwrap();
    assert_eq!(millis(account), [0, 0, 5_400_000, 0, 0, 0]);
}

#[test]
fn a_file_that_is_deleted_begins_anew_with_what_every_realm_is() {
    let scene = Scene::new();
    let history = scene.history();
    history.begin("boot".to_owned(), START_MS);
    change(&history, START_MS, Status::Up);
    assert!(accounts(&history, START_MS, START_MS + 1).is_some());
    std::fs::remove_file(scene.path("history.db")).unwrap();
    history.minute(START_MS + MINUTE_MS, Vec::new());
    assert!(accounts(&history, START_MS, START_MS + MINUTE_MS).is_some());
    history.minute(START_MS + 2 * MINUTE_MS, Vec::new());
    let account = accounts(&history, START_MS, START_MS + 2 * MINUTE_MS).unwrap();
    assert_eq!(millis(account), [60_000, 0, 0, 0, 0, 0]);
}

#[test]
fn steps_have_their_times_and_their_percentiles() {
    let scene = Scene::new();
    let history = scene.history();
    history.begin("boot".to_owned(), START_MS);
    change(&history, START_MS, Status::Up);
    for minute in 0..30 {
        let slow = if minute >= 20 { 100 } else { 0 };
        history.minute(START_MS + minute * MINUTE_MS, latencies((1..=12).map(|n| n + slow)));
    }
    change(&history, START_MS + 25 * MINUTE_MS, Status::Down);
    history.minute(START_MS + 30 * MINUTE_MS, Vec::new());
    let ten = asked(&history, START_MS, START_MS + 30 * MINUTE_MS, 600_000).unwrap();
    assert_eq!((ten.probe.as_deref(), ten.steps.len(), ten.first_seen_ms), (Some("http"), 3, START_MS));
    let p50: Vec<f64> = ten.steps.iter().map(|step| step.latency.unwrap().p50_ms()).collect();
    assert!((p50[0] - 6.0).abs() < 0.2 && (p50[2] - 106.0).abs() < 3.0, "{p50:?}");
    assert_eq!(ten.steps[0].latency.unwrap().count, 120);
    assert_eq!(millis(ten.steps[2].account), [300_000, 0, 300_000, 0, 0, 0]);
    assert_eq!(ten.latency.unwrap().count, 360);
    assert_eq!(millis(ten.account), [1_500_000, 0, 300_000, 0, 0, 0]);
    let one = asked(&history, START_MS, START_MS + 30 * MINUTE_MS, 60_000).unwrap();
    assert_eq!(one.steps.len(), 30);
    assert!((one.steps[29].latency.unwrap().max_ms() - 112.0).abs() < 3.0);
    assert_eq!(asked(&history, START_MS - HOUR_MS, START_MS, 60_000).unwrap().latency, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// `history`, `report`, `slo` and the strips ask in different ways, and get the same account of the same time.
    #[test]
    fn every_question_about_the_same_time_has_the_same_account(
        lives in prop::collection::vec((0_i64..12 * HOUR_MS, prop::collection::vec((1_i64..3 * HOUR_MS, 0..Status::ALL.len()), 0..8)), 1..6),
        days in 1_i64..4,
    ) {
        let scene = Scene::new();
        let history = scene.history();
        let mut now_ms = START_MS;
        for (gap_ms, changes) in &lives {
            now_ms += gap_ms;
            history.begin("boot".to_owned(), now_ms);
            change(&history, now_ms, Status::Up);
            for (after_ms, status) in changes {
                now_ms += after_ms;
                change(&history, now_ms, Status::ALL[*status]);
            }
            history.minute(now_ms, Vec::new());
            accounts(&history, START_MS, now_ms);
        }
        // From a midnight, so that the strips can be asked as well.
        let from_ms = now_ms.div_euclid(DAY_MS) * DAY_MS - (days - 1) * DAY_MS;
        let now_ms = now_ms.max(from_ms + 1);
        settled(&history, &scene);
        let expected = accounts(&history, from_ms, now_ms).unwrap();
        let asked = asked(&history, from_ms, now_ms, 7 * HOUR_MS.unsigned_abs()).unwrap();
        prop_assert_eq!(asked.account, expected);
        let sum = |accounts: &mut dyn Iterator<Item = Account>| {
            accounts.fold(Account::default(), |mut sum, account| {
                sum.merge(&account);
                sum
            })
        };
        prop_assert_eq!(sum(&mut asked.steps.iter().map(|step| step.account)), expected);
        let window = Duration::from_millis(now_ms.abs_diff(from_ms));
        let objective = Objective { realm: "api".to_owned(), probe: None, window, latency: None };
        let standings =
            answer(|give| history.standings(vec![objective], now_ms, move |answer| give.send(answer).unwrap()));
        prop_assert_eq!(standings.unwrap()[0].account, expected);
        let strips = answer(|give| {
            history.strips(u32::try_from(days).unwrap(), now_ms, move |answer| give.send(answer).unwrap())
        });
        prop_assert_eq!(sum(&mut strips.unwrap()["api"].iter().copied()), expected);
    }
}

/// Days of one probe, a minute at a time.
fn days(history: &HistoryDb, days: i64) {
    history.begin("boot".to_owned(), START_MS);
    change(history, START_MS, Status::Up);
    for minute in 0..days * 24 * 60 {
        let day = u64::try_from(minute / (24 * 60)).unwrap();
        history.minute(START_MS + minute * MINUTE_MS, latencies([10 + day, 20 + day, 40]));
        if minute % 50 == 49 {
            // The queue is bounded: what is pushed is written before more is.
            accounts(history, START_MS, START_MS + 1);
        }
    }
}

fn settled(history: &HistoryDb, scene: &Scene) -> (i64, i64) {
    // Each question is behind one piece of housekeeping.
    let count =
        |sql: &str| sqlite(&scene.path("history.db")).query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let mut before = (i64::MAX, -1);
    loop {
        accounts(history, START_MS, START_MS + 1);
        let now = (count("SELECT count(*) FROM entry"), count("SELECT count(*) FROM chunk"));
        if now == before {
            return now;
        }
        before = now;
    }
}

#[test]
fn what_is_over_is_packed_and_says_the_same() {
    let scene = Scene::new();
    let history = scene.history();
    days(&history, 9);
    let end_ms = START_MS + 9 * DAY_MS;
    history.minute(end_ms, Vec::new());
    let (rows, chunks) = settled(&history, &scene);
    // Of minutes at most an hour is left, of hours and days at most a month.
    assert!(rows < 60 + 2 * 144 + 2 * 24 + 28, "{rows} rows");
    assert!(chunks > 10, "{chunks} chunks");
    let all = asked(&history, START_MS, end_ms, 86_400_000).unwrap();
    assert_eq!(all.latency.unwrap().count, 9 * 24 * 60 * 3);
    for (day, step) in (0_u32..).zip(&all.steps) {
        let latency = step.latency.unwrap();
        assert_eq!(latency.count, 24 * 60 * 3, "day {day}");
        assert!((latency.p50_ms() - f64::from(20 + day)).abs() < 0.7, "day {day}: {}", latency.p50_ms());
    }
    // Minutes are kept for a week.
    let early = asked(&history, START_MS, START_MS + HOUR_MS, 60_000).unwrap();
    assert_eq!(early.steps[0].latency, None);
    let late = asked(&history, end_ms - DAY_MS, end_ms - DAY_MS + HOUR_MS, 60_000).unwrap();
    assert!(late.steps.iter().all(|step| step.latency.unwrap().count == 3));
}

#[test]
fn strips_have_a_day_each_and_today_is_the_last() {
    let scene = Scene::new();
    let history = scene.history();
    history.begin("boot".to_owned(), START_MS + 12 * HOUR_MS);
    change(&history, START_MS + 12 * HOUR_MS, Status::Up);
    history.minute(START_MS + 36 * HOUR_MS, Vec::new());
    change(&history, START_MS + 36 * HOUR_MS, Status::Down);
    let now_ms = START_MS + 49 * HOUR_MS;
    history.minute(now_ms, Vec::new());
    settled(&history, &scene);
    let strips = answer(|give| history.strips(4, now_ms, move |answer| give.send(answer).unwrap())).unwrap();
    let strip: Vec<[u64; 6]> = strips["api"].iter().copied().map(millis).collect();
    let hours = |hours: u64| hours * 3_600_000;
    assert_eq!(strip[0], [0; 6], "it was not there");
    assert_eq!(strip[1], [hours(12), 0, 0, 0, 0, 0]);
    assert_eq!(strip[2], [hours(12), 0, hours(12), 0, 0, 0]);
    assert_eq!(strip[3], [0, 0, hours(1), 0, 0, 0]);
    // A damaged day is computed anew.
    let damage = sqlite(&scene.path("history.db"));
    damage.execute_batch("UPDATE day SET data = x'00112233'").unwrap();
    let again = answer(|give| history.strips(4, now_ms, move |answer| give.send(answer).unwrap())).unwrap();
    assert_eq!(again, strips);
}

#[test]
fn a_glance_has_a_day_of_statuses_and_an_hour_of_latencies() {
    let scene = Scene::new();
    let history = scene.history();
    history.begin("boot".to_owned(), START_MS);
    change(&history, START_MS, Status::Up);
    for minute in 0..180 {
        history.minute(START_MS + minute * MINUTE_MS, latencies([if minute < 100 { 500 } else { 5 }]));
    }
    let now_ms = START_MS + 180 * MINUTE_MS;
    history.minute(now_ms, Vec::new());
    let glance = answer(|give| history.glance(now_ms, move |answer| give.send(answer).unwrap())).unwrap();
    assert_eq!(millis(glance["api"].day), [10_800_000, 0, 0, 0, 0, 0]);
    let latency = glance["api"].latencies["http"];
    assert_eq!(latency.count, 60);
    assert!(latency.max_ms() < 6.0, "{}", latency.max_ms());
}

#[test]
fn when_the_file_is_full_the_finest_of_the_oldest_goes_and_statuses_stay() {
    let scene = Scene::new();
    let history = scene.history_of(1 << 20);
    history.begin("boot".to_owned(), START_MS);
    change(&history, START_MS, Status::Up);
    let oldest_hour = || -> Option<i64> {
        let sql = "SELECT min(start) FROM chunk WHERE tier = 0";
        sqlite(&scene.path("history.db")).query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let (mut hour, mut packed) = (0, false);
    loop {
        assert!(hour < 1_000, "nothing goes");
        for minute in 0..60 {
            let at_ms = START_MS + hour * HOUR_MS + minute * MINUTE_MS;
            let many = (0..60).map(|probe| {
                let quantity = Quantity::Latency(format!("p{probe}"));
                measured(quantity, [u64::try_from(probe + minute + hour).unwrap() % 40, 30, 90])
            });
            history.minute(at_ms, many.collect());
        }
        hour += 1;
        accounts(&history, START_MS, START_MS + 1);
        let oldest = oldest_hour();
        packed |= oldest.is_some();
        // All of the finest may go at once.
        if packed && hour >= 24 && oldest.is_none_or(|oldest| oldest > START_MS / HOUR_MS) {
            break;
        }
    }
    settled(&history, &scene);
    let size = std::fs::metadata(scene.path("history.db")).unwrap().len();
    assert!(size <= 1 << 20, "{size}");
    assert_eq!(scene.reports.all(), []);
    let account = accounts(&history, START_MS, START_MS + hour * HOUR_MS - MINUTE_MS).unwrap();
    assert_eq!(account.ms(Class::Up), account.total_ms());
}

#[test]
fn usage_has_a_history_of_its_own_beside_every_probe() {
    let scene = Scene::new();
    let history = scene.history();
    history.begin("boot".to_owned(), START_MS);
    change(&history, START_MS, Status::Up);
    let minute = |at_ms: i64, cpu: f64, kib: f64| {
        let of = |quantity, number| {
            let mut values = Sketch::default();
            values.add_number(number);
            Measured { realm: "api".to_owned(), quantity, values }
        };
        // Usage is on record before any probe has been measured, and a probe may be called as it likes.
        let usage = [of(Quantity::Cpu, cpu), of(Quantity::Memory, kib), of(Quantity::Descriptors, 88.0)];
        let odd = measured(Quantity::Latency("=cpu".to_owned()), [7]);
        history.minute(at_ms, usage.into_iter().chain([odd]).collect());
    };
    minute(START_MS + MINUTE_MS - 1, 150.0, 100_000.0);
    minute(START_MS + 2 * MINUTE_MS - 1, 9_800.0, 200_000.0);
    let found = asked(&history, START_MS, START_MS + 2 * MINUTE_MS, 60_000).unwrap();
    assert_eq!(found.probe.as_deref(), Some("=cpu"));
    assert!((found.latency.unwrap().max_ms() - 7.0).abs() < 0.2, "{found:?}");
    let near = |found: Option<heartbeat_store::Summary>, number: f64| {
        let max = found.unwrap().max();
        assert!((max - number).abs() <= 0.02 * number, "{max} is not {number}");
    };
    near(found.usage.cpu, 9_800.0);
    near(found.usage.memory, 200_000.0);
    near(found.usage.descriptors, 88.0);
    near(found.steps[0].usage.cpu, 150.0);
    near(found.steps[1].usage.memory, 200_000.0);
    let (give, take) = std::sync::mpsc::sync_channel(1);
    history.glance(START_MS + 2 * MINUTE_MS, move |glances| give.send(glances.unwrap()).unwrap());
    let glances = take.recv().unwrap();
    assert_eq!(glances["api"].latencies.keys().collect::<Vec<_>>(), ["=cpu"]);
}

#[test]
fn phases_have_a_sketch_of_each_day() {
    let scene = Scene::new();
    let history = scene.history();
    history.begin("boot".to_owned(), START_MS);
    change(&history, START_MS, Status::Up);
    let of = |probe: &str, phase, millis| measured(Quantity::Phase(probe.to_owned(), phase), [millis]);
    for day in 0..40 {
        let at_ms = START_MS + day * DAY_MS;
        let day = u64::try_from(day).unwrap();
        let both = [of("http", ProbePhase::Connect, 10 + day), of("http", ProbePhase::FirstByte, 200)];
        history.minute(at_ms, latencies([7]).into_iter().chain(both).collect());
        history.minute(
            at_ms + HOUR_MS,
            vec![of("http", ProbePhase::Connect, 10 + day), of("other", ProbePhase::Tls, 9)],
        );
        // What is pushed is written before more is: the queue is bounded.
        accounts(&history, START_MS, START_MS + 1);
    }
    settled(&history, &scene);
    let found = asked(&history, START_MS, START_MS + 40 * DAY_MS, DAY_MS.unsigned_abs()).unwrap();
    assert_eq!(found.probe.as_deref(), Some("http"));
    let phases: Vec<_> = found.phases.iter().map(|(phase, summary)| (*phase, summary.count)).collect();
    assert_eq!(
        phases,
        [(ProbePhase::Connect, 80), (ProbePhase::FirstByte, 40)],
        "each, and of this probe alone"
    );
    let connect = found.phases[0].1;
    assert!((connect.p50_ms() - 29.5).abs() < 1.5 && (connect.max_ms() - 49.0).abs() < 1.0, "{connect:?}");
    assert_eq!(found.latency.unwrap().count, 40, "a phase is no latency");
    let last =
        asked(&history, START_MS + 39 * DAY_MS, START_MS + 40 * DAY_MS, DAY_MS.unsigned_abs()).unwrap();
    assert_eq!(last.phases[0].1.count, 2);
}

#[test]
fn the_host_has_a_history_and_heartbeatd_is_up_while_it_lives() {
    let scene = Scene::new();
    let history = scene.history();
    let of_host = |history: &HistoryDb| {
        let query =
            HistoryQuery { realm: HOST.to_owned(), probe: None, window: 0..4 * MINUTE_MS, step_ms: 60_000 };
        answer(|give| history.history(query, move |answer| give.send(answer.unwrap()).unwrap()))
    };
    assert_eq!(of_host(&history), None);
    history.begin("boot".to_owned(), MINUTE_MS);
    let mut load = Sketch::default();
    load.add_number(150.0);
    let measured = Measured { realm: HOST.to_owned(), quantity: Quantity::Load, values: load };
    history.minute(2 * MINUTE_MS - 1, vec![measured]);
    history.alive(3 * MINUTE_MS);
    let found = of_host(&history).unwrap();
    assert_eq!((found.first_seen_ms, millis(found.account)[0]), (MINUTE_MS, 2 * 60_000));
    let load = found.steps[1].usage.load.unwrap();
    assert!((load.p50() - 150.0).abs() <= 3.0, "{load:?}");
    assert_eq!((found.usage.disk, found.latency), (None, None));
}
