//! `history.db`: what every realm was and when, and how long its probes took. It can be deleted at any time.

mod batch;
mod chunk;
mod days;
mod lives;
mod objectives;
mod recorder;
mod room;
mod tiers;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use heartbeat_status::{Instant, ProbePhase};
use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::availability::{Account, account, accounts};
use crate::file::Schema;
use crate::sketch::{Sketch, Summary};
use crate::worker::{Reporter, Worker};

use batch::Write;
pub use batch::{Measured, Quantity, StatusChange};
use lives::ChangeReader;
pub use objectives::{Objective, Standing};
use recorder::Recorder;

/// The name under which history has the host and heartbeatd itself. No realm may be called so.
pub const HOST: &str = "heartbeatd";
/// Smallest `history_max`, in bytes.
pub const MIN_HISTORY_BYTES: u64 = 1024 * 1024;

const MIGRATIONS: &[&str] = &[include_str!("v1.sql")];
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// Steps from this length on are made of sketches, which merge exactly; shorter ones of minute summaries.
const SKETCHED_STEP_MS: u64 = 600_000;

/// How far history reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Changes of statuses.
    pub history: Duration,
    /// Largest size of the file, in bytes.
    pub max_bytes: u64,
}

/// One step of a realm's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When it begins, in milliseconds since 1970.
    pub from_ms: i64,
    /// What the realm was.
    pub account: Account,
    /// How long the probe took; `None` without a measurement.
    pub latency: Option<Summary>,
    /// What the processes used.
    pub usage: Levels,
}

/// What the processes of a realm used, each `None` without a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Levels {
    /// Summary of [`Quantity::Cpu`].
    pub cpu: Option<Summary>,
    /// Summary of [`Quantity::Memory`].
    pub memory: Option<Summary>,
    /// Summary of [`Quantity::Descriptors`].
    pub descriptors: Option<Summary>,
    /// Summary of [`Quantity::Load`].
    pub load: Option<Summary>,
    /// Summary of [`Quantity::Disk`].
    pub disk: Option<Summary>,
}

impl Levels {
    fn of(&mut self, quantity: &Quantity) -> Option<&mut Option<Summary>> {
        match quantity {
            Quantity::Cpu => Some(&mut self.cpu),
            Quantity::Memory => Some(&mut self.memory),
            Quantity::Descriptors => Some(&mut self.descriptors),
            Quantity::Load => Some(&mut self.load),
            Quantity::Disk => Some(&mut self.disk),
            Quantity::Latency(_) | Quantity::Phase(..) => None,
        }
    }
}

/// A realm's history.
#[derive(Clone, Debug, PartialEq)]
pub struct RealmHistory {
    /// When the realm was seen first, in milliseconds since 1970.
    pub first_seen_ms: i64,
    /// The probe whose latencies these are; `None` when none was measured.
    pub probe: Option<String>,
    /// The whole window.
    pub account: Account,
    /// Latencies of the whole window.
    pub latency: Option<Summary>,
    /// How long each phase of that probe took on the UTC days of the window.
    pub phases: Vec<(ProbePhase, Summary)>,
    /// What the processes used within the whole window.
    pub usage: Levels,
    /// The window in steps, the oldest first.
    pub steps: Vec<Step>,
}

/// What is asked about a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Name of the realm.
    pub realm: String,
    /// Latencies of this probe; `None`: of the first that was measured.
    pub probe: Option<String>,
    /// From when until when, in milliseconds since 1970.
    pub window: Range<i64>,
    /// Length of a step in milliseconds.
    pub step_ms: u64,
}

/// What is known of a realm at a glance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Glance {
    /// The last 24 hours.
    pub day: Account,
    /// Latencies of the last hour, by probe.
    pub latencies: BTreeMap<String, Summary>,
}

/// History on disk. Nothing here waits for the disk.
pub struct HistoryDb {
    worker: Worker<Recorder>,
}

impl std::fmt::Debug for HistoryDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryDb").finish_non_exhaustive()
    }
}

impl HistoryDb {
    /// Starts the thread that opens `history.db` in `dir`.
    ///
    /// # Errors
    /// [`StoreError::File`] when there is no thread. A file that cannot be opened is reported, and tried again.
    pub fn start(dir: &Path, keep: Keep, now: fn() -> Instant, report: Reporter) -> Result<Self, StoreError> {
        let path = dir.join("history.db");
        let max_bytes = keep.max_bytes.max(MIN_HISTORY_BYTES);
        let schema = Schema { migrations: MIGRATIONS, durable: false, max_bytes };
        let keep_ms = i64::try_from(keep.history.as_millis()).unwrap_or(i64::MAX / 2);
        let duty = Recorder::new(path.clone(), keep_ms);
        Ok(Self { worker: Worker::start(("hb-history-db", path), schema, duty, now, report)? })
    }

    /// heartbeatd begins to look, or the wall clock was set: nothing is known of any realm until its next change, which
    /// is to follow at once.
    pub fn begin(&self, boot: String, at_ms: i64) {
        self.worker.push(|batch| batch.push(Write::Life { boot, at_ms }));
    }

    /// A realm has another status, or has this one as a life begins.
    pub fn change(&self, change: StatusChange) {
        self.worker.push(|batch| batch.push(Write::Change(change)));
    }

    /// heartbeatd still looks.
    pub fn alive(&self, at_ms: i64) {
        self.worker.push(|batch| batch.push(Write::Alive { at_ms }));
    }

    /// heartbeatd still looks, and the measurements since the last call are these.
    pub fn minute(&self, at_ms: i64, measured: Vec<Measured>) {
        self.worker.push(|batch| {
            batch.push(Write::Alive { at_ms });
            if !measured.is_empty() {
                batch.push_minute(at_ms, measured);
            }
        });
    }

    /// The history of a realm; `None` when it is not on record.
    pub fn history(
        &self,
        query: HistoryQuery,
        answer: impl FnOnce(Result<Option<RealmHistory>, StoreError>) + Send + 'static,
    ) {
        self.worker.ask(move |connection| asked(connection, history(connection, &query)), answer);
    }

    /// What every realm was on each of the last `days` UTC days, the oldest first; today is the last.
    pub fn strips(
        &self,
        days: u32,
        now_ms: i64,
        answer: impl FnOnce(Result<BTreeMap<String, Vec<Account>>, StoreError>) + Send + 'static,
    ) {
        let read = move |connection: &Connection| {
            asked(connection, days::strips(connection, i64::from(days), now_ms))
        };
        self.worker.ask(read, answer);
    }

    /// What each realm was in each of the windows.
    pub fn accounts(
        &self,
        realms: Vec<String>,
        windows: Vec<Range<i64>>,
        answer: impl FnOnce(Result<BTreeMap<String, Vec<Account>>, StoreError>) + Send + 'static,
    ) {
        let read =
            move |connection: &Connection| asked(connection, accounts_of(connection, &realms, &windows));
        self.worker.ask(read, answer);
    }

    /// How realms stand with their objectives.
    pub fn standings(
        &self,
        objectives: Vec<Objective>,
        now_ms: i64,
        answer: impl FnOnce(Result<Vec<Standing>, StoreError>) + Send + 'static,
    ) {
        let read = move |connection: &Connection| {
            asked(connection, objectives::standings(connection, &objectives, now_ms))
        };
        self.worker.ask(read, answer);
    }

    /// Every realm at a glance.
    pub fn glance(
        &self,
        now_ms: i64,
        answer: impl FnOnce(Result<BTreeMap<String, Glance>, StoreError>) + Send + 'static,
    ) {
        self.worker.ask(move |connection| asked(connection, glance(connection, now_ms)), answer);
    }

    /// Reports a disk that does not answer, and makes the file again when another process has removed or replaced it. To
    /// be called now and then, by a thread that may wait for a slow disk.
    pub fn look_after(&self) {
        self.worker.look_after();
    }
}

fn asked<T>(connection: &Connection, answer: rusqlite::Result<T>) -> Result<T, StoreError> {
    answer.map_err(StoreError::database("read", Path::new(connection.path().unwrap_or("history.db"))))
}

fn summed<'a>(sketches: impl IntoIterator<Item = &'a Sketch>) -> Option<Summary> {
    let mut sum = Sketch::default();
    sketches.into_iter().for_each(|sketch| sum.merge(sketch));
    sum.summary()
}

fn history(connection: &Connection, query: &HistoryQuery) -> rusqlite::Result<Option<RealmHistory>> {
    let HistoryQuery { realm, probe, window, step_ms } = query;
    let lives = lives::lives(connection, window)?;
    let (first_seen_ms, changes) = if realm == HOST {
        let Some(first) = lives::first_life(connection)? else { return Ok(None) };
        (first, lives::as_changes(&lives))
    } else {
        let Some(no) = lives::known_realm(connection, realm)? else { return Ok(None) };
        let mut reader = ChangeReader::new(connection)?;
        let Some(first) = reader.first_seen(no)? else { return Ok(None) };
        (first, reader.changes(no, &lives, window)?)
    };
    // Before it was there nothing is missing.
    let known = window.start.max(first_seen_ms).min(window.end)..window.end;
    let mut steps: Vec<Step> = (0_i64..)
        .zip(accounts(&lives, &changes, window, *step_ms))
        .map(|(nth, account)| Step {
            from_ms: window.start + nth * step(*step_ms),
            account,
            latency: None,
            usage: Levels::default(),
        })
        .collect();
    for step_of in steps.iter_mut().filter(|step_of| step_of.from_ms < known.start) {
        let end = step_of.from_ms + step(*step_ms);
        let part = known.start.min(end)..end.min(window.end);
        step_of.account = account(&lives, &changes, &part);
    }
    let mut found = RealmHistory {
        first_seen_ms,
        probe: None,
        account: account(&lives, &changes, &known),
        latency: None,
        phases: Vec::new(),
        usage: Levels::default(),
        steps,
    };
    let wanted = probe.clone().map(Quantity::Latency);
    if let Some((series, name)) = series_of(connection, realm, wanted.as_ref())? {
        found.probe = Quantity::probe(name);
        let (whole, steps) = levels(connection, series, query, found.steps.len())?;
        found.latency = whole;
        found.steps.iter_mut().zip(steps).for_each(|(step, latency)| step.latency = latency);
    }
    if let Some(probe) = &found.probe {
        for phase in ProbePhase::ALL {
            let quantity = Quantity::Phase(probe.clone(), *phase);
            let Some((series, _)) = series_of(connection, realm, Some(&quantity))? else { continue };
            let sum = tiers::sum(connection, series, (window.start, window.end))?;
            found.phases.extend(sum.summary().map(|summary| (*phase, summary)));
        }
    }
    let quantities = [Quantity::Cpu, Quantity::Memory, Quantity::Descriptors, Quantity::Load, Quantity::Disk];
    for quantity in quantities {
        let Some((series, _)) = series_of(connection, realm, Some(&quantity))? else { continue };
        let (whole, steps) = levels(connection, series, query, found.steps.len())?;
        let places = found.steps.iter_mut().map(|step| &mut step.usage).zip(steps);
        for (usage, level) in places.chain([(&mut found.usage, whole)]) {
            usage.of(&quantity).into_iter().for_each(|place| *place = level);
        }
    }
    Ok(Some(found))
}

fn step(step_ms: u64) -> i64 {
    i64::try_from(step_ms.max(1)).unwrap_or(i64::MAX)
}

/// A series within the window of the question, and within each of its steps.
fn levels(
    connection: &Connection,
    series: i64,
    query: &HistoryQuery,
    count: usize,
) -> rusqlite::Result<(Option<Summary>, Vec<Option<Summary>>)> {
    let window = (query.window.start, query.window.end);
    let whole = tiers::sum(connection, series, window)?.summary();
    if count == 1 {
        return Ok((whole, vec![whole]));
    }
    let at = |from_ms: i64| usize::try_from((from_ms - window.0).max(0) / step(query.step_ms)).ok();
    let mut steps = vec![None; count];
    if query.step_ms < SKETCHED_STEP_MS {
        for (from_ms, summary) in tiers::minutes(connection, series, window)? {
            let Some(step) = at(from_ms).and_then(|at| steps.get_mut(at)) else { continue };
            *step = Some(step.map_or(summary, |known: Summary| known.at_most(summary)));
        }
        return Ok((whole, steps));
    }
    let sketches = tiers::sketches(connection, series, window)?;
    let mut sums: BTreeMap<usize, Vec<&Sketch>> = BTreeMap::new();
    for (from_ms, sketch) in &sketches {
        sums.entry(at(*from_ms).unwrap_or(usize::MAX)).or_default().push(sketch);
    }
    for (at, sketches) in sums {
        steps.get_mut(at).into_iter().for_each(|step| *step = summed(sketches.iter().copied()));
    }
    Ok((whole, steps))
}

/// The number of a series and the name under which it is stored; without a quantity, that of the first probe.
fn series_of(
    connection: &Connection,
    realm: &str,
    quantity: Option<&Quantity>,
) -> rusqlite::Result<Option<(i64, String)>> {
    let sql = "SELECT no, probe FROM series
        WHERE realm = ?1 AND (probe = ?2 OR (?2 IS NULL AND (probe NOT LIKE '=%' OR probe LIKE '==%')))
        ORDER BY no LIMIT 1";
    let name = quantity.map(Quantity::name);
    connection.query_row(sql, params![realm, name], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn accounts_of(
    connection: &Connection,
    realms: &[String],
    windows: &[Range<i64>],
) -> rusqlite::Result<BTreeMap<String, Vec<Account>>> {
    let from = windows.iter().map(|window| window.start).min().unwrap_or(0);
    let to = windows.iter().map(|window| window.end).max().unwrap_or(0);
    let lives = lives::lives(connection, &(from..to))?;
    let mut reader = ChangeReader::new(connection)?;
    let mut found = BTreeMap::new();
    for realm in realms {
        let Some(no) = lives::known_realm(connection, realm)? else { continue };
        let first = reader.first_seen(no)?.unwrap_or(to);
        let changes = reader.changes(no, &lives, &(from..to))?;
        let of = |window: &Range<i64>| {
            account(&lives, &changes, &(window.start.max(first).min(window.end)..window.end))
        };
        found.insert(realm.clone(), windows.iter().map(of).collect());
    }
    Ok(found)
}

fn glance(connection: &Connection, now_ms: i64) -> rusqlite::Result<BTreeMap<String, Glance>> {
    let names: Vec<String> = lives::realms(connection)?.into_iter().map(|(_, name)| name).collect();
    let day = now_ms - 24 * HOUR_MS..now_ms;
    let mut found: BTreeMap<String, Glance> = BTreeMap::new();
    for (realm, accounts) in accounts_of(connection, &names, &[day])? {
        let day = accounts.into_iter().next().unwrap_or_default();
        found.insert(realm, Glance { day, ..Glance::default() });
    }
    let mut all = connection.prepare("SELECT no, realm, probe FROM series")?;
    let series = all.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))?;
    for row in series {
        let (no, realm, name): (i64, String, String) = row?;
        let Some(probe) = Quantity::probe(name) else { continue };
        let sketches = tiers::sketches(connection, no, (now_ms - HOUR_MS, now_ms + MINUTE_MS))?;
        if let Some(summary) = summed(sketches.iter().map(|(_, sketch)| sketch)) {
            found.entry(realm).or_default().latencies.insert(probe, summary);
        }
    }
    Ok(found)
}
