//! Availability as history computes it, and the simulator's own account: the same to the millisecond.

use std::collections::BTreeMap;

use heartbeat_sim::{Options, Sim, StatusLog};
use heartbeat_status::{Instant, RealmName, Status};
use heartbeat_store::{Account, Change, Class, Life, account};

const SEEDS: u64 = 500;

fn ms(at: Instant) -> i64 {
    i64::try_from(at.as_nanos() / 1_000_000).expect("a virtual time")
}

/// Milliseconds up, degraded, down, starting for the first time, stopped, unknown.
type Times = [u64; 6];

/// As the documentation says what counts as what, for each millisecond that the simulator has seen.
fn own_account(log: &StatusLog) -> BTreeMap<RealmName, Times> {
    let mut times = BTreeMap::<RealmName, Times>::new();
    for ((realm, status, was_up), ms) in &log.durations {
        let place = match status.as_str() {
            "up" | "done" => 0,
            "degraded" => 1,
            "down" | "failed" | "restarting" | "blocked" => 2,
            "starting" if *was_up => 2,
            "starting" => 3,
            "stopped" | "stopping" | "paused" => 4,
            _ => 5,
        };
        times.entry(realm.clone()).or_default()[place] += ms;
    }
    times
}

/// As history computes it from lives and changes.
fn of_history(log: &StatusLog, realm: &RealmName) -> Account {
    let number = |life: usize| i64::try_from(life).expect("a few lives");
    let lives: Vec<Life> = log
        .lives
        .iter()
        .enumerate()
        .map(|(no, (began, seen))| Life { no: number(no), began_ms: ms(*began), seen_ms: ms(*seen) })
        .collect();
    let mut was_up = false;
    let mut changes = Vec::new();
    for change in log.changes.iter().filter(|change| change.realm == *realm) {
        was_up |= matches!(change.status, Status::Up | Status::Done | Status::Degraded);
        let class = Class::of(change.status, was_up);
        changes.push(Change { life: number(change.life), at_ms: ms(change.at), class });
    }
    let from = changes.first().map_or(0, |change| change.at_ms);
    let to = lives.last().map_or(from, |life| life.seen_ms);
    account(&lives, &changes, &(from..to))
}

/// What there is to know about a realm whose accounts differ.
fn told(log: &StatusLog, realm: &RealmName) -> String {
    let changes = log.changes.iter().filter(|change| change.realm == *realm);
    let changes: Vec<_> = changes.map(|change| (change.life, ms(change.at), change.status)).collect();
    let durations: Vec<_> = log.durations.iter().filter(|((name, ..), _)| name == realm).collect();
    format!("lives {:?}, changes {changes:?}, durations {durations:?}", log.lives)
}

#[test]
fn availability_is_the_account_of_the_simulator_to_the_millisecond() {
    let (mut realms, mut deaths, mut seen) = (0, 0, [0; 6]);
    for seed in 0..SEEDS {
        let report = Sim::run(seed, Options { statuses: true, ..Options::default() });
        assert!(report.violation.is_none(), "{report}");
        let log = report.statuses.expect("asked for");
        deaths += log.lives.len() - 1;
        for (realm, own) in own_account(&log) {
            let found = of_history(&log, &realm);
            // What the simulator has not seen, since no heartbeatd ran or the realm was not there, is unknown or stopped:
            // it is no part of its account.
            for (place, class) in Class::ALL.into_iter().enumerate().filter(|(place, _)| *place < 4) {
                assert_eq!(
                    found.ms(class),
                    own[place],
                    "seed {seed}, {realm}, {class:?}: {}",
                    told(&log, &realm)
                );
                seen[place] += own[place];
            }
            assert!(
                found.ms(Class::Stopped) >= own[4] && found.ms(Class::Unknown) >= own[5],
                "seed {seed}, {realm}"
            );
            realms += 1;
        }
    }
    println!("{SEEDS} seeds, {realms} realms, {deaths} deaths of heartbeatd; ms by class: {seen:?}");
    assert!(deaths > 0 && seen[..4].iter().all(|ms| *ms > 0), "{deaths} deaths, {seen:?}");
}
