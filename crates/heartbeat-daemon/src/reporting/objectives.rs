//! Objectives: once per minute the watch asks history how each of them stands. An event follows when realms begin or
//! cease to use a budget too fast.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heartbeat_status::{Event, EventKind, Instant, ProbeKind, RealmInfo, RealmName, Snapshot, short_seconds};
use heartbeat_store::slo::{BURN_RULES, burn_rate, burns};
use heartbeat_store::{HistoryDb, Objective, Standing, StoreError};
use heartbeat_wire::{AvailabilityObjective, Budget, BurnEntry, Known, LatencyObjective, SloEntry};

use crate::active_config::ActiveConfig;
use crate::reporting::history_reader;
use crate::storage::databases::answer;

/// The watch asks history this often ...
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// ... and this often while it knows nothing of some realm, which may have begun just now.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The 95th percentile of fewer measurements is the slowest one.
const MIN_MEASUREMENTS: u64 = 20;

/// The answer of history, until the driver takes it.
type Answered = Arc<Mutex<Option<Vec<Standing>>>>;

/// Watches the objectives of all realms. The driver owns it; nothing here waits.
#[derive(Debug)]
pub(crate) struct ObjectiveWatch {
    database: Arc<HistoryDb>,
    answered: Answered,
    asked_at: Option<Instant>,
    /// The answer before had every objective in it.
    complete: bool,
    burning: BTreeSet<RealmName>,
}

/// How every objective stands, and the events that follow from it.
#[derive(Debug)]
pub(crate) struct Standings {
    pub(crate) entries: Vec<SloEntry>,
    pub(crate) events: Vec<Event>,
}

impl ObjectiveWatch {
    pub(crate) fn new(database: Arc<HistoryDb>) -> Self {
        Self {
            database,
            answered: Answered::default(),
            asked_at: None,
            complete: true,
            burning: BTreeSet::new(),
        }
    }

    /// The driver's loop has turned. Asks history when it is time, and takes the answer when it is there.
    pub(crate) fn turn(
        &mut self,
        (now, now_ms): (Instant, i64),
        active: &ActiveConfig,
        snapshot: &Snapshot,
    ) -> Option<Standings> {
        let every = if self.complete { LOOK_EVERY } else { LOOK_AGAIN };
        if self.asked_at.is_none_or(|at| now.since(at) >= every) {
            self.asked_at = Some(now);
            self.ask(active, now_ms);
        }
        let standings = self.answered.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(self.evaluate(now, active, snapshot, &standings))
    }

    fn ask(&self, active: &ActiveConfig, now_ms: i64) {
        let objectives = objectives(active);
        let answered = Arc::clone(&self.answered);
        let take = move |standings: Vec<Standing>| {
            *answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(standings);
        };
        if objectives.is_empty() {
            return take(Vec::new());
        }
        self.database.alive(now_ms);
        self.database.standings(objectives, now_ms, move |standings| standings.into_iter().for_each(take));
    }

    fn evaluate(
        &mut self,
        now: Instant,
        active: &ActiveConfig,
        snapshot: &Snapshot,
        standings: &[Standing],
    ) -> Standings {
        let mut evaluated = Standings { entries: Vec::new(), events: Vec::new() };
        let mut burning = BTreeSet::new();
        self.complete = true;
        for (info, entry) in entries(active, snapshot, standings) {
            let Some(entry) = entry else {
                self.complete = false;
                continue;
            };
            let name = &info.name;
            let burns = entry.availability.as_ref().and_then(AvailabilityObjective::burning).is_some();
            if burns {
                burning.insert(name.clone());
            }
            if burns != self.burning.contains(name)
                && let Some(message) = entry.availability.as_ref().map(|of| sentence(of, entry.window_s))
            {
                let kind = EventKind::ObjectiveChanged { burning: burns, message };
                let realm = Some((info.ix, name.clone()));
                evaluated.events.push(Event { seq: 0, at: now, realm, kind });
            }
            evaluated.entries.push(entry);
        }
        self.burning = burning;
        evaluated
    }
}

/// How every objective stands at `now_ms`, in start order, as far as its realm is on record.
pub(crate) async fn standing_now(
    database: &HistoryDb,
    (active, snapshot): (&ActiveConfig, &Snapshot),
    now_ms: i64,
) -> Result<Vec<SloEntry>, StoreError> {
    let objectives = objectives(active);
    if objectives.is_empty() {
        return Ok(Vec::new());
    }
    let standings = answer(|give| database.standings(objectives, now_ms, give)).await?;
    Ok(entries(active, snapshot, &standings).filter_map(|(_, entry)| entry).collect())
}

/// What history is asked about.
fn objectives(active: &ActiveConfig) -> Vec<Objective> {
    let realms = active.plan.realms().iter().zip(&active.realms);
    let objective = realms.filter_map(|(spec, config)| {
        let slo = config.slo?;
        // Facts of the realm itself, such as its process, have no latency that matters.
        let probe = spec.probes.iter().find(|probe| asks_the_realm(probe.info.kind));
        Some(Objective {
            realm: spec.name.to_string(),
            probe: probe.map(|probe| probe.info.name.to_string()),
            window: slo.window,
            latency: slo.latency,
        })
    });
    objective.collect()
}

/// Each realm with objectives, in start order; `None` when it is not on record.
fn entries<'a>(
    active: &'a ActiveConfig,
    snapshot: &'a Snapshot,
    standings: &'a [Standing],
) -> impl Iterator<Item = (&'a RealmInfo, Option<SloEntry>)> {
    snapshot.in_start_order().filter_map(move |realm| {
        let slo = active.realm(realm.info.ix)?.slo?;
        let name = realm.info.name.as_str();
        let standing = standings.iter().find(|standing| standing.objective.realm == name);
        Some((&*realm.info, standing.map(|standing| entry(slo, standing))))
    })
}

/// Whether the latency of such a probe is that of an answer.
fn asks_the_realm(kind: ProbeKind) -> bool {
    use ProbeKind::{Notify, Port, Process, Push, Resource};
    !matches!(kind, Notify | Port | Process | Push | Resource)
}

fn entry(slo: heartbeat_config::Objective, standing: &Standing) -> SloEntry {
    let (times, window_s) = (history_reader::times(&standing.account), slo.window.as_secs_f64());
    SloEntry {
        realm: standing.objective.realm.clone(),
        window_s,
        times,
        availability: slo.availability_millionths.map(|millionths| {
            let objective = f64::from(millionths) / 1e6;
            let budget = Budget::of(&times, objective, window_s);
            let rounded = |number: f64| (number * 100.0).round() / 100.0;
            let burn = |(rule, (long, short)): (&heartbeat_store::slo::BurnRule, _)| BurnEntry {
                factor: rule.factor,
                long_s: rule.long.as_secs(),
                short_s: rule.short.as_secs(),
                long_rate: rounded(burn_rate(long, objective, rule.long)),
                short_rate: rounded(burn_rate(short, objective, rule.short)),
                burning: burns(rule, long, short, objective),
            };
            AvailabilityObjective {
                objective,
                reached: standing.account.availability().map(history_reader::availability),
                budget_min: rounded(budget.allowed_s / 60.0),
                left_min: rounded(budget.left_min()),
                met: budget.attainment().met(),
                burns: BURN_RULES
                    .iter()
                    .zip(standing.burns.iter().map(|(long, short)| (long, short)))
                    .map(burn)
                    .collect(),
            }
        }),
        latency: slo.latency.zip(standing.latency).map(|(limit, (summary, fast))| {
            let fast_share = fast as f64 / summary.count.max(1) as f64;
            let is_enough = Known::of(&times, window_s).is_enough() && summary.count >= MIN_MEASUREMENTS;
            LatencyObjective {
                objective_ms: limit.as_secs_f64() * 1e3,
                p95_ms: (summary.p95_ms() * 1e3).round() / 1e3,
                fast_share: (fast_share * 1e6).floor() / 1e6,
                count: summary.count,
                met: is_enough.then_some(fast_share >= 0.95),
            }
        }),
    }
}

/// The sentence of an event: how fast the realm uses its budget, and what is left of it.
#[expect(clippy::cast_possible_truncation, reason = "a cast from f64 saturates")]
fn sentence(objective: &AvailabilityObjective, window_s: f64) -> String {
    let percent = (objective.objective * 1e6).round() / 1e4;
    let window = short_seconds(window_s as i64);
    let left = format!("{:.1} of {:.1} minutes are left", objective.left_min, objective.budget_min);
    match objective.burning() {
        Some(burn) => {
            let (rate, long) =
                (burn.long_rate, short_seconds(i64::try_from(burn.long_s).unwrap_or(i64::MAX)));
            format!(
                "the budget of {percent} % in {window} is used {rate:.1} times too fast, measured over {long}; {left}"
            )
        }
        None => format!("the budget of {percent} % in {window} is no longer used too fast; {left}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;
    use heartbeat_store::{Account, Change, Class, Life, account};

    /// Of the last `ms` milliseconds the realm was down, and up before.
    fn down_for(ms: i64, window: Duration) -> Account {
        let window_ms = i64::try_from(window.as_millis()).unwrap();
        let lives = [Life { no: 1, began_ms: 0, seen_ms: window_ms }];
        let change = |at_ms, class| Change { life: 1, at_ms, class };
        let changes = [change(0, Class::Up), change((window_ms - ms).max(0), Class::Down)];
        account(&lives, &changes, &(0..window_ms))
    }

    fn standing(down_ms: i64, window: Duration) -> Standing {
        let objective = Objective { realm: "db".to_owned(), probe: None, window, latency: None };
        Standing {
            objective,
            account: down_for(down_ms, window),
            burns: BURN_RULES.map(|rule| (down_for(down_ms, rule.long), down_for(down_ms, rule.short))),
            latency: None,
        }
    }

    #[test]
    fn an_event_follows_when_a_budget_begins_to_burn_and_when_it_ceases() {
        let realms =
            "[realm.db]\nrun = \"true\"\nslo = { availability = \"99.9%\" }\n[realm.web]\nrun = \"true\"\n";
        let sample = sample(realms);
        let (active, snapshot) = (sample.config.current(), sample.statuses.snapshot());
        let dir = tempfile::tempdir().unwrap();
        let keep = heartbeat_store::Keep { history: Duration::from_secs(86_400), max_bytes: 1 << 20 };
        let database = HistoryDb::start(dir.path(), keep, crate::clock::now, Arc::new(|_| {})).unwrap();
        let mut watch = ObjectiveWatch::new(Arc::new(database));
        let window = Duration::from_secs(30 * 86_400);
        let mut evaluate =
            |down_ms| watch.evaluate(Instant::ZERO, &active, &snapshot, &[standing(down_ms, window)]);
        assert!(evaluate(1_000).events.is_empty(), "a second of a month");
        let burning = evaluate(120_000);
        let [SloEntry { realm, availability: Some(availability), .. }] = &burning.entries[..] else {
            panic!("{burning:?}")
        };
        assert_eq!((realm.as_str(), availability.budget_min, availability.left_min), ("db", 43.2, 41.2));
        assert_eq!(availability.burns[0].long_rate, 33.33);
        let kinds = |standings: &Standings| {
            standings.events.iter().map(|event| event.kind.clone()).collect::<Vec<_>>()
        };
        let message = "the budget of 99.9 % in 30d is used 33.3 times too fast, measured over 1h; \
                       41.2 of 43.2 minutes are left";
        let expected = EventKind::ObjectiveChanged { burning: true, message: message.to_owned() };
        assert_eq!(kinds(&burning), [expected]);
        assert!(evaluate(120_000).events.is_empty(), "the event came before");
        let calm = evaluate(0);
        assert!(matches!(kinds(&calm)[..], [EventKind::ObjectiveChanged { burning: false, .. }]), "{calm:?}");
    }
}
