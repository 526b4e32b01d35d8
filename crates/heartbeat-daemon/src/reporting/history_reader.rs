//! History for readers: from the database to documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use heartbeat_api::HistoryQuestion;
use heartbeat_status::WallTime;
use heartbeat_store::{
    Account, Availability, Class, Glance, HistoryDb, HistoryQuery, Levels, RealmHistory, StoreError, Summary,
};
use heartbeat_wire::{
    AvailabilityEntry, HISTORY_SCHEMA, HistoryDocument, HistoryStep, LatencyEntry, LevelEntry, RealmFigures,
    STRIPS_SCHEMA, StripEntry, StripsDocument, TimesEntry, UsageTimes,
};

use crate::storage::databases::answer;

const DAY_MS: i64 = 86_400_000;
/// The latencies of the status document are of this many seconds.
const GLANCE_S: u64 = 3_600;

/// One realm over time; `None` when nothing is on record.
pub(crate) async fn history(
    database: &HistoryDb,
    question: HistoryQuestion,
) -> Result<Option<HistoryDocument>, StoreError> {
    let query = HistoryQuery {
        realm: question.realm.clone(),
        probe: question.probe.clone(),
        window: question.window_ms.clone(),
        step_ms: question.step_ms,
    };
    let found = answer(|give| database.history(query, give)).await?;
    Ok(found.map(|found| document(&question, found)))
}

fn document(question: &HistoryQuestion, found: RealmHistory) -> HistoryDocument {
    let steps = found.steps.iter().map(|step| HistoryStep {
        at: WallTime::from_millis(step.from_ms),
        times: times(&step.account),
        latency_ms: step.latency.map(|latency| entry(latency, None)),
        usage: usage(&step.usage),
    });
    HistoryDocument {
        schema: HISTORY_SCHEMA.to_owned(),
        realm: question.realm.clone(),
        from: WallTime::from_millis(question.window_ms.start),
        to: WallTime::from_millis(question.window_ms.end),
        step_s: seconds(question.step_ms),
        first_seen_at: WallTime::from_millis(found.first_seen_ms),
        times: times(&found.account),
        availability: found.account.availability().map(availability),
        latency_ms: found.latency.map(|latency| entry(latency, None)),
        phases_ms: found
            .phases
            .iter()
            .map(|(phase, latency)| (phase.to_string(), entry(*latency, None)))
            .collect(),
        usage: usage(&found.usage),
        steps: steps.collect(),
        probe: found.probe,
    }
}

/// Every realm on each of the last `days` days.
pub(crate) async fn strips(
    database: Arc<HistoryDb>,
    days: u32,
    now: WallTime,
) -> Result<StripsDocument, StoreError> {
    let found = answer(|give| database.strips(days, now.as_millis(), give)).await?;
    let today = now.as_millis().div_euclid(DAY_MS);
    let realms =
        found.into_iter().map(|(name, bars)| StripEntry { name, bars: bars.iter().map(times).collect() });
    Ok(StripsDocument {
        schema: STRIPS_SCHEMA.to_owned(),
        from: WallTime::from_millis((today + 1 - i64::from(days)) * DAY_MS),
        to: now,
        bar_s: DAY_MS.unsigned_abs() / 1_000,
        realms: realms.collect(),
    })
}

/// The figures of each realm for the status document; `probes` names the probes of each realm in their order.
pub(crate) fn figures(
    glances: &BTreeMap<String, Glance>,
    probes: &[(String, Vec<String>)],
) -> BTreeMap<String, RealmFigures> {
    let of = |(realm, probes): &(String, Vec<String>)| {
        let glance = glances.get(realm)?;
        let latencies: BTreeMap<String, LatencyEntry> = glance
            .latencies
            .iter()
            .filter(|(probe, _)| probes.contains(probe))
            .map(|(probe, latency)| (probe.clone(), entry(*latency, Some(GLANCE_S))))
            .collect();
        let latency = probes.iter().find_map(|probe| latencies.get(probe));
        let share = glance.day.availability().map(|availability| availability.share);
        let figures = RealmFigures {
            latency_ms: latency.copied(),
            latencies,
            availability: share.map(|share| ("24h".to_owned(), rounded(share, 1e6))).into_iter().collect(),
        };
        Some((realm.clone(), figures))
    };
    probes.iter().filter_map(of).collect()
}

pub(crate) fn availability(availability: Availability) -> AvailabilityEntry {
    AvailabilityEntry {
        share: availability.share,
        at_least: availability.at_least,
        at_most: availability.at_most,
        unknown_s: seconds(availability.unknown_ms),
    }
}

pub(crate) fn times(account: &Account) -> TimesEntry {
    TimesEntry {
        up_s: seconds(account.ms(Class::Up)),
        degraded_s: seconds(account.ms(Class::Degraded)),
        down_s: seconds(account.ms(Class::Down)),
        unknown_s: seconds(account.ms(Class::Unknown) + account.ms(Class::Starting)),
        paused_s: seconds(account.ms(Class::Stopped)),
    }
}

fn entry(latency: Summary, window_s: Option<u64>) -> LatencyEntry {
    let ms = |ms| rounded(ms, 1e3);
    LatencyEntry {
        p50: ms(latency.p50_ms()),
        p95: ms(latency.p95_ms()),
        p99: ms(latency.p99_ms()),
        max: ms(latency.max_ms()),
        count: latency.count,
        window_s,
    }
}

fn usage(levels: &Levels) -> UsageTimes {
    // Bytes and descriptors are whole numbers.
    let level = |summary: Summary, unit: f64, digits: f64| {
        let number = |number: f64| (number * unit * digits).round() / digits;
        LevelEntry { p50: number(summary.p50()), max: number(summary.max()) }
    };
    UsageTimes {
        cpu_percent: levels.cpu.map(|cpu| level(cpu, 0.01, 10.0)),
        rss_bytes: levels.memory.map(|memory| level(memory, 1024.0, 1.0)),
        fds: levels.descriptors.map(|count| level(count, 1.0, 1.0)),
        load: levels.load.map(|load| level(load, 0.01, 100.0)),
        disk_percent: levels.disk.map(|percent| level(percent, 0.01, 10.0)),
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// Rounded down, so that less than everything never looks like everything.
fn rounded(number: f64, per: f64) -> f64 {
    (number * per).floor() / per
}
