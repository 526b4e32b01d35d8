//! Heartbeats of realms and jobs: what the last one reported, and whether the next one is overdue.
//!
//! The probe of kind `push` is measured as any other: it looks here. Silence counts only while heartbeatd listens, so a
//! restart, a suspend or a new generation gives the full time again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_api::{Beat, BeatEvent};
use heartbeat_config::PushSchedule;
use heartbeat_probe::{Observe, Observing, Probe};
use heartbeat_status::{
    FailReason, InconclusiveReason, Instant, Outcome, ProbeKind, RealmName, WallAnchor, WallTime, printed,
    sanitise_line,
};

use crate::clock;
use crate::storage::files;
use crate::storage::stored::{BEATS_MAGIC, StoredBeat, StoredBeats};

/// Most runs of one job in progress; beyond that heartbeatd forgets the oldest.
const MAX_RUNS: usize = 16;
/// Most characters of a message in a result.
const MAX_MESSAGE_CHARS: usize = 200;
/// If heartbeatd has not looked for this long, it was suspended, or had nothing to look at.
const UNATTENDED: Duration = Duration::from_secs(120);

/// The heartbeats of one realm, in this generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// heartbeatd listens since then.
    since: Instant,
    since_wall: WallTime,
    /// The last look of the probe.
    looked: Option<(Instant, WallTime)>,
    /// The last report of an end.
    last: Option<Report>,
    /// Runs that have begun, by their ids.
    runs: BTreeMap<String, (Instant, WallTime)>,
}

/// The end of a run, or a plain heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Report {
    at: Instant,
    at_wall: WallTime,
    /// `None` for a failure without an exit code.
    exit: Option<u8>,
    took: Option<Duration>,
    message: String,
}

impl Report {
    fn is_good(&self) -> bool {
        self.exit == Some(0)
    }

    /// `heartbeat at 02:00:12Z, after 12 s: 3 tables`
    fn words(&self) -> String {
        let mut text = match self.exit {
            Some(0) => format!("heartbeat at {}", moment(self.at_wall)),
            Some(code) => format!("reported exit code {code} at {}", moment(self.at_wall)),
            None => format!("reported a failure at {}", moment(self.at_wall)),
        };
        if let Some(took) = self.took {
            text.push_str(&format!(", after {:.1} s", took.as_secs_f64()));
        }
        if !self.message.is_empty() {
            text.push_str(": ");
            text.push_str(&printed::quoted(&self.message));
        }
        text
    }
}

impl Entry {
    fn listening(now: Instant, wall: WallTime) -> Self {
        Self { since: now, since_wall: wall, ..Self::default() }
    }

    fn take(&mut self, now: Instant, wall: WallTime, beat: &Beat) {
        let run = beat.run.clone().unwrap_or_default();
        let exit = match beat.event {
            BeatEvent::Start => {
                if self.runs.len() >= MAX_RUNS
                    && let Some(oldest) = self.runs.iter().min_by_key(|(_, begun)| **begun)
                {
                    let oldest = oldest.0.clone();
                    self.runs.remove(&oldest);
                }
                self.runs.insert(run, (now, wall));
                return;
            }
            BeatEvent::Ok => Some(0),
            BeatEvent::Fail => None,
            BeatEvent::Exit(code) => Some(code),
        };
        let took = self.runs.remove(&run).map(|(begun, _)| now.since(begun));
        let message = sanitise_line(&beat.message).chars().take(MAX_MESSAGE_CHARS).collect();
        self.last = Some(Report { at: now, at_wall: wall, exit, took, message });
    }

    fn look(&mut self, schedule: &PushSchedule, now: Instant, wall: WallTime) -> (Outcome, String) {
        let gap = |(at, at_wall): (Instant, WallTime)| {
            let stepped = wall.as_millis().saturating_sub(at_wall.as_millis());
            now.since(at) > UNATTENDED || Duration::from_millis(stepped.unsigned_abs()) > UNATTENDED
        };
        if self.looked.is_some_and(gap) {
            (self.since, self.since_wall) = (now, wall);
            for begun in self.runs.values_mut() {
                *begun = (now, wall);
            }
        }
        self.looked = Some((now, wall));
        let fail = |reason| Outcome::Fail { reason, phase: None };
        if let Some(report) = self.last.as_ref().filter(|report| !report.is_good()) {
            return (fail(FailReason::ReportedDown), report.words());
        }
        if let Some(overrun) = self.overrun(schedule, now) {
            return (fail(FailReason::MissedBeat), overrun);
        }
        if let Some(missed) = self.missed(schedule, now, wall) {
            return (fail(FailReason::MissedBeat), missed);
        }
        match &self.last {
            Some(report) => (Outcome::Pass, report.words()),
            None => {
                let detail = format!("no heartbeat yet; expected is {schedule}");
                (Outcome::Inconclusive(InconclusiveReason::NoBeatYet), detail)
            }
        }
    }

    /// A run has begun and not reported its end in time.
    fn overrun(&self, schedule: &PushSchedule, now: Instant) -> Option<String> {
        let limit = match schedule {
            PushSchedule::Every(every) => *every,
            PushSchedule::Cron { grace, .. } => *grace,
        };
        let (id, (_, wall)) = self.runs.iter().find(|(_, (begun, _))| now.since(*begun) > limit)?;
        let run = if id.is_empty() { "a run".to_owned() } else { format!("run {}", sanitise_line(id)) };
        let begun = moment(*wall);
        Some(format!("{run} began at {begun} and has not reported its end within {limit:?}"))
    }

    /// A heartbeat was due and did not come.
    fn missed(&self, schedule: &PushSchedule, now: Instant, wall: WallTime) -> Option<String> {
        let begun = || self.runs.values().copied().max();
        match schedule {
            PushSchedule::Every(every) => {
                // The first heartbeat begins the time: before it, none is expected.
                let last = self.last.as_ref()?;
                let heard = begun().map_or(last.at, |(at, _)| at.max(last.at));
                let silent = now.since(heard.max(self.since));
                (silent > *every).then(|| {
                    format!("no heartbeat for {every:?}; the last one came at {}", moment(last.at_wall))
                })
            }
            PushSchedule::Cron { cron, grace } => {
                let heard = self.last.as_ref().map(|report| report.at_wall).max(begun().map(|(_, at)| at));
                let expected = cron.next_after(heard.unwrap_or(self.since_wall).max(self.since_wall))?;
                let late = wall.as_millis().saturating_sub(expected.as_millis());
                let is_late = u64::try_from(late).is_ok_and(|late| Duration::from_millis(late) > *grace);
                is_late
                    .then(|| format!("the run due at {} has not reported within {grace:?}", moment(expected)))
            }
        }
    }
}

/// The heartbeats of all realms.
#[derive(Debug)]
pub(crate) struct Beats {
    entries: Mutex<BTreeMap<RealmName, Entry>>,
    path: PathBuf,
}

impl Beats {
    /// Heartbeats that an earlier heartbeatd received stand until they are too old.
    pub(crate) fn open(state_dir: &std::path::Path, anchor: WallAnchor) -> Self {
        let path = state_dir.join("beats");
        let (now, wall) = (clock::now(), anchor.wall(clock::now()));
        let stored = match files::read(&path, BEATS_MAGIC) {
            Ok(body) => {
                body.and_then(|body| serde_json::from_str::<StoredBeats>(&body).ok()).unwrap_or_default()
            }
            Err(error) => {
                tracing::warn!("{error}");
                StoredBeats::default()
            }
        };
        let mut entries: BTreeMap<RealmName, Entry> = BTreeMap::new();
        let mut entry = |name: &str, change: &dyn Fn(&mut Entry)| {
            if let Ok(name) = RealmName::new(name) {
                change(entries.entry(name).or_insert_with(|| Entry::listening(now, wall)));
            }
        };
        for (name, beat) in stored.realms {
            let (at, message) = (clock::instant_of(beat.at, anchor), beat.message);
            let report = Report { at, at_wall: beat.at, exit: beat.exit, took: None, message };
            entry(&name, &|entry| entry.last = Some(report.clone()));
        }
        for (name, runs) in stored.runs {
            // A run has its full time again: its end may have been reported while no heartbeatd listened.
            entry(&name, &|entry| {
                entry.runs = runs.iter().map(|(id, begun)| (id.clone(), (now, *begun))).collect();
            });
        }
        Self { entries: Mutex::new(entries), path }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<RealmName, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new generation begins: it has sent nothing yet.
    pub(crate) fn begin(&self, realm: &RealmName) {
        let (now, wall) = (clock::now(), clock::wall());
        if let Some(entry) = self.entries().get_mut(realm) {
            *entry = Entry::listening(now, wall);
        }
    }

    /// Takes a heartbeat, and writes it to disk for the next heartbeatd. Blocks on the disk.
    pub(crate) fn take(&self, realm: &RealmName, beat: &Beat) {
        let (now, wall) = (clock::now(), clock::wall());
        let mut entries = self.entries();
        let entry = entries.entry(realm.clone()).or_insert_with(|| Entry::listening(now, wall));
        entry.take(now, wall, beat);
        let reports =
            entries.iter().filter_map(|(name, entry)| Some((name.to_string(), entry.last.as_ref()?)));
        let realms = reports.map(|(name, last)| {
            let message = last.message.clone();
            (name, StoredBeat { at: last.at_wall, exit: last.exit, message })
        });
        let runs = entries.iter().filter(|(_, entry)| !entry.runs.is_empty()).map(|(name, entry)| {
            let begun = entry.runs.iter().map(|(id, (_, begun))| (id.clone(), *begun));
            (name.to_string(), begun.collect())
        });
        let stored = StoredBeats { realms: realms.collect(), runs: runs.collect() };
        // Plain data always serialises.
        let body = serde_json::to_string(&stored).unwrap_or_default();
        // Under the lock, so that the file has the newest heartbeat.
        if let Err(error) = files::write(&self.path, BEATS_MAGIC, &body, false) {
            tracing::warn!(path = %self.path.display(), %error, "a heartbeat is not on disk");
        }
    }

    /// The probe of one realm.
    pub(crate) fn probe(self: &Arc<Self>, realm: &RealmName, schedule: &PushSchedule) -> Probe {
        let (beats, realm, schedule) = (Arc::clone(self), realm.clone(), schedule.clone());
        Probe::from(Arc::new(Expected { beats, realm, schedule }) as Arc<dyn Observe>)
    }

    fn look(&self, realm: &RealmName, schedule: &PushSchedule) -> (Outcome, String) {
        let (now, wall) = (clock::now(), clock::wall());
        let mut entries = self.entries();
        let entry = entries.entry(realm.clone()).or_insert_with(|| Entry::listening(now, wall));
        entry.look(schedule, now, wall)
    }
}

/// The probe of one realm.
#[derive(Debug)]
struct Expected {
    beats: Arc<Beats>,
    realm: RealmName,
    schedule: PushSchedule,
}

impl Observe for Expected {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Push
    }

    fn target(&self) -> String {
        self.schedule.to_string()
    }

    fn observe(&self) -> Observing<'_> {
        Box::pin(async { self.beats.look(&self.realm, &self.schedule) })
    }
}

/// `2026-11-30 02:00:12 UTC`
fn moment(at: WallTime) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time} UTC"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    const MINUTE: u64 = 60;

    /// One realm in virtual time; both clocks go at the same pace.
    struct Bench {
        entry: Entry,
        schedule: PushSchedule,
        now: Instant,
        /// Seconds that the wall clock was stepped by.
        stepped_s: i64,
    }

    impl Bench {
        /// A realm with this `push`, to which heartbeatd begins to listen at midnight.
        fn of(push: &str) -> Self {
            let config = sample::config(&format!("[realm.a]\nhealth = {{ push = {push} }}\n"));
            let Some(Some(heartbeat_config::Measure::Push(schedule))) = config.realms[0].probes.first()
            else {
                panic!("{push}")
            };
            let now = Instant::from_millis(1_000_000);
            let bench = Self { entry: Entry::default(), schedule: schedule.clone(), now, stepped_s: 0 };
            Self { entry: Entry::listening(now, bench.wall()), ..bench }
        }

        fn wall(&self) -> WallTime {
            // 2026-11-30T00:00:00Z where the monotonic clock is at 1,000 s.
            let since = i64::try_from(self.now.as_nanos() / 1_000_000).unwrap() - 1_000_000;
            WallTime::from_millis(1_795_996_800_000 + since + self.stepped_s * 1_000)
        }

        /// Looks every second for `seconds`; returns the last result.
        fn after(&mut self, seconds: u64) -> (Outcome, String) {
            let mut seen = None;
            for _ in 0..seconds {
                self.now = self.now + Duration::from_secs(1);
                seen = Some(self.look());
            }
            seen.unwrap()
        }

        fn look(&mut self) -> (Outcome, String) {
            let (now, wall) = (self.now, self.wall());
            self.entry.look(&self.schedule, now, wall)
        }

        fn beat(&mut self, event: BeatEvent, run: Option<&str>) {
            let beat = Beat { event, run: run.map(str::to_owned), message: "3 tables\nand more".to_owned() };
            let (now, wall) = (self.now, self.wall());
            self.entry.take(now, wall, &beat);
        }
    }

    const NOTHING_YET: Outcome = Outcome::Inconclusive(InconclusiveReason::NoBeatYet);
    const MISSED: Outcome = Outcome::Fail { reason: FailReason::MissedBeat, phase: None };
    const FAILED: Outcome = Outcome::Fail { reason: FailReason::ReportedDown, phase: None };

    #[test]
    fn silence_fails_after_its_time_and_a_heartbeat_ends_it() {
        let mut job = Bench::of("\"60s\"");
        assert_eq!(
            job.after(60),
            (NOTHING_YET, "no heartbeat yet; expected is a heartbeat every 60s".to_owned())
        );
        assert_eq!(job.after(3_600).0, NOTHING_YET, "none is expected before the first");
        job.beat(BeatEvent::Ok, None);
        let words = "heartbeat at 2026-11-30 01:01:00 UTC: 3 tables and more";
        let (outcome, detail) = job.after(60);
        assert_eq!((outcome, &*printed::unquoted(&detail)), (Outcome::Pass, words));
        assert!(
            !printed::withheld(&detail).contains("tables"),
            "what a client sends may hold secrets: {detail}"
        );
        let silence = "no heartbeat for 60s; the last one came at 2026-11-30 01:01:00 UTC";
        assert_eq!(job.after(1), (MISSED, silence.to_owned()));
    }

    #[test]
    fn a_failure_stands_until_the_next_good_end() {
        let mut job = Bench::of("\"10m\"");
        job.beat(BeatEvent::Fail, None);
        assert_eq!(job.after(1).0, FAILED);
        job.beat(BeatEvent::Start, None);
        assert_eq!(job.after(1).0, FAILED, "a run that has only begun proves nothing");
        job.beat(BeatEvent::Exit(2), None);
        let (outcome, words) = job.after(1);
        assert_eq!(outcome, FAILED);
        assert!(words.starts_with("reported exit code 2 at ") && words.contains("after 1.0 s"), "{words}");
        job.beat(BeatEvent::Exit(0), None);
        assert_eq!(job.after(1).0, Outcome::Pass);
    }

    #[test]
    fn a_run_that_does_not_end_in_time_fails_and_others_do_not_end_it() {
        let mut job = Bench::of("{ cron = \"0 2 * * *\", grace = \"10m\" }");
        job.beat(BeatEvent::Start, Some("a"));
        job.after(MINUTE);
        job.beat(BeatEvent::Start, Some("b"));
        job.beat(BeatEvent::Ok, Some("b"));
        assert_eq!(job.after(9 * MINUTE).0, Outcome::Pass);
        let (outcome, words) = job.after(1);
        assert_eq!(outcome, MISSED);
        assert!(words.starts_with("run a began at 2026-11-30 00:00:00 UTC and has not"), "{words}");
        job.beat(BeatEvent::Ok, Some("a"));
        assert_eq!(job.after(1).0, Outcome::Pass);
    }

    #[test]
    fn a_job_that_misses_its_time_fails_after_its_grace() {
        // The pattern is read in the time zone of the host, so the test asks the pattern for the due time.
        let mut job = Bench::of("{ cron = \"30 * * * *\", grace = \"10m\" }");
        let first = job.schedule.clone();
        let PushSchedule::Cron { cron, .. } = first else { panic!() };
        let due = cron.next_after(job.wall()).unwrap().as_millis() - job.wall().as_millis();
        let due_s = u64::try_from(due).unwrap() / 1_000;
        assert_eq!(job.after(due_s + 10 * MINUTE).0, NOTHING_YET);
        assert_eq!(job.after(1).0, MISSED);
        job.beat(BeatEvent::Ok, None);
        assert_eq!(job.after(50 * MINUTE).0, Outcome::Pass);
        assert_eq!(job.after(20 * MINUTE).0, MISSED, "the next one");
    }

    #[test]
    fn no_beat_is_due_for_a_time_in_which_heartbeatd_did_not_listen() {
        let mut job = Bench::of("\"60s\"");
        job.beat(BeatEvent::Ok, None);
        job.after(30);
        // heartbeatd was stopped by a signal for an hour, and heartbeats wait in its socket.
        job.now = job.now + Duration::from_secs(3_600);
        assert_eq!(job.look().0, Outcome::Pass);
        assert_eq!(job.after(61).0, MISSED);
        let mut nightly = Bench::of("{ cron = \"0 * * * *\", grace = \"5m\" }");
        nightly.beat(BeatEvent::Ok, None);
        nightly.after(1);
        // The host slept: the monotonic clock stood still.
        nightly.stepped_s = 3_600 * 5;
        assert_eq!(nightly.after(1).0, Outcome::Pass);
    }

    #[test]
    fn a_step_of_the_wall_clock_changes_no_verdict_of_an_interval() {
        for step in [-86_400, 3_600 * 24 * 365] {
            let mut job = Bench::of("\"60s\"");
            job.beat(BeatEvent::Ok, None);
            job.after(1);
            job.stepped_s = step;
            assert_eq!(job.after(60).0, Outcome::Pass, "{step}");
        }
    }

    #[test]
    fn runs_are_bounded_and_the_oldest_is_forgotten() {
        let mut job = Bench::of("\"1h\"");
        for run in 0..MAX_RUNS + 8 {
            job.beat(BeatEvent::Start, Some(&format!("run-{run:02}")));
            job.after(1);
        }
        assert_eq!(job.entry.runs.len(), MAX_RUNS);
        assert_eq!(job.entry.runs.keys().next().map(String::as_str), Some("run-08"));
    }

    #[test]
    fn the_next_heartbeatd_knows_the_last_heartbeat_and_a_new_generation_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let realm = RealmName::new("a").unwrap();
        let schedule = PushSchedule::Every(Duration::from_secs(600));
        let beat = |event| Beat { event, run: None, message: String::new() };
        let first = Beats::open(dir.path(), clock::anchor());
        first.take(&realm, &beat(BeatEvent::Start));
        first.take(&realm, &beat(BeatEvent::Exit(3)));
        let second = Beats::open(dir.path(), clock::anchor());
        assert_eq!(second.look(&realm, &schedule).0, FAILED);
        second.take(&realm, &beat(BeatEvent::Ok));
        let third = Beats::open(dir.path(), clock::anchor());
        assert_eq!(third.look(&realm, &schedule).0, Outcome::Pass);
        third.begin(&realm);
        assert_eq!(third.look(&realm, &schedule).0, NOTHING_YET);
        third.take(&realm, &beat(BeatEvent::Start));
        let begun = |beats: &Beats| beats.entries()[&realm].runs.clone();
        assert_eq!(begun(&Beats::open(dir.path(), clock::anchor())).len(), 1, "a run in progress");
        third.take(&realm, &beat(BeatEvent::Ok));
        assert_eq!(begun(&Beats::open(dir.path(), clock::anchor())).len(), 0);
        std::fs::write(dir.path().join("beats"), "torn").unwrap();
        let fourth = Beats::open(dir.path(), clock::anchor());
        assert_eq!(fourth.look(&realm, &schedule).0, NOTHING_YET, "a damaged file is set aside");
    }
}
