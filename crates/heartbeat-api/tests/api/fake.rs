//! A daemon without a process or a probe in it: a real `Supervisor`, driven in virtual time, whose effects are
//! answered by a script.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heartbeat_api::{
    Acknowledged, Backend, Beat, BeatError, BoxFuture, Commanded, EventRecord, HistoryError, HistoryQuestion,
    IncidentPage, Mute, NotificationCount, Output, OwnHealth, Past, ProbeCounts, RealmCounts, Rejection,
    RejectionKind, ReloadRefusal, ReportQuestion, UnknownReceiver, UpgradeError,
};
use heartbeat_restart::RestartPolicy;
use heartbeat_status::{
    CheckResult, CommandId, DeliveryState, EdgeKind, Exit, FailReason, Gate, Health, IncidentStep, Instant,
    Outcome, OwnProblem, OwnProblemKind, PhaseTimes, ProbeInfo, ProbeIx, ProbeKind, ProbePhase, RealmIx,
    RealmKind, RealmName, Reason, RestartCause, Role, RunFact, RunId, Severity, Snapshot, Status, Thresholds,
    WallAnchor, WallTime, WhileDown,
};
use heartbeat_supervisor::{
    ActionPlan, Command, Effect, Input, NeedSpec, Plan, PlanSettings, ProbeSource, ProbeSpec, RealmSpec,
    Reply, Supervisor,
};
use heartbeat_wire::{
    About, AckEntry, AvailabilityObjective, ConfigProblem, EVENT_SCHEMA, EventEntry, EvidenceDocument,
    HISTORY_SCHEMA, HistoryDocument, HistoryStep, INCIDENT_SCHEMA, IncidentDocument, IncidentLinks, LagEntry,
    LatencyEntry, NOTIFY_TEST_SCHEMA, NotificationEntry, NotifyTestDocument, NotifyTestEntry,
    ProbeFailureEntry, ProcessUsage, REGISTRATION_SCHEMA, RELOAD_SCHEMA, REPORT_SCHEMA, RealmFigures,
    RegistrationDocument, ReloadDocument, ReloadedRealm, ReportDocument, STRIPS_SCHEMA, SloEntry, StripEntry,
    StripsDocument, TimesEntry, TransitionEntry, UsageTimes,
};
use tokio::sync::watch;

pub(crate) const POSTGRES: RealmIx = RealmIx(0);
pub(crate) const API: RealmIx = RealmIx(1);
pub(crate) const MIGRATE: RealmIx = RealmIx(2);
pub(crate) const MAIL: RealmIx = RealmIx(3);

/// Virtual time begins here.
const START: Instant = Instant::from_millis(100_000);

struct Core {
    supervisor: Supervisor,
    now: Instant,
    next_id: u64,
    replies: BTreeMap<CommandId, Reply>,
    /// Realms whose probes fail.
    broken: BTreeSet<RealmIx>,
    /// The detail of their results.
    says: String,
    /// Realms whose program does not get to run.
    held: BTreeSet<RealmIx>,
    /// Realms that do not end when told to.
    deaf: BTreeSet<RealmIx>,
    runs: BTreeMap<RealmIx, RunId>,
    facts: Vec<EventRecord>,
    snapshot: Arc<Snapshot>,
}

pub(crate) struct Fake {
    core: Mutex<Core>,
    changes: watch::Sender<u64>,
    health: Mutex<OwnHealth>,
    /// Where the output of realms goes.
    outputs: Mutex<BTreeMap<RealmIx, Output>>,
    /// What is wrong with the configuration that a reload finds.
    wrong: Mutex<Vec<String>>,
    /// What the status says about the files.
    config_problem: Mutex<Option<ConfigProblem>>,
    /// Why nothing can be registered.
    rejection: Mutex<Option<Rejection>>,
    registrations: Mutex<Vec<String>>,
    output: Mutex<Vec<String>>,
    disk: Mutex<Option<String>>,
    pub(crate) mutes: Mutex<BTreeMap<String, Mute>>,
    incidents: Mutex<Vec<Arc<IncidentDocument>>>,
    pub(crate) beats: Mutex<Vec<Beat>>,
    figures: Mutex<Arc<BTreeMap<String, RealmFigures>>>,
    objectives: Mutex<Arc<Vec<SloEntry>>>,
    usage: Mutex<Arc<BTreeMap<String, ProcessUsage>>>,
    ending: AtomicBool,
    commands: AtomicU64,
    refreshes: AtomicU64,
    probes_hang: AtomicBool,
    departures: AtomicU64,
}

impl Fake {
    /// Not booted.
    pub(crate) fn cold(realms: Vec<RealmSpec>) -> Arc<Self> {
        let plan = Plan::new(PlanSettings::default(), realms).unwrap();
        let mut supervisor = Supervisor::new(plan, 7);
        let snapshot = Arc::new(supervisor.snapshot(START));
        let core = Core {
            supervisor,
            now: START,
            next_id: 0,
            replies: BTreeMap::new(),
            broken: BTreeSet::new(),
            says: "connection refused".to_owned(),
            held: BTreeSet::new(),
            deaf: BTreeSet::new(),
            runs: BTreeMap::new(),
            facts: Vec::new(),
            snapshot,
        };
        Arc::new(Self {
            core: Mutex::new(core),
            changes: watch::Sender::new(0),
            health: Mutex::new(OwnHealth { live: true, ready: true, problems: Vec::new() }),
            outputs: Mutex::default(),
            wrong: Mutex::default(),
            config_problem: Mutex::default(),
            rejection: Mutex::default(),
            registrations: Mutex::default(),
            output: Mutex::default(),
            disk: Mutex::default(),
            mutes: Mutex::default(),
            incidents: Mutex::default(),
            beats: Mutex::default(),
            figures: Mutex::default(),
            objectives: Mutex::default(),
            usage: Mutex::default(),
            ending: AtomicBool::new(false),
            commands: AtomicU64::new(0),
            refreshes: AtomicU64::new(0),
            probes_hang: AtomicBool::new(false),
            departures: AtomicU64::new(0),
        })
    }

    /// The shop, booted and 30 s old: everything is up.
    pub(crate) fn shop() -> Arc<Self> {
        let fake = Self::cold(shop());
        fake.input(Input::Boot);
        fake.advance(Duration::from_secs(2));
        fake.exited(MIGRATE, Exit::code(0));
        fake.advance(Duration::from_secs(28));
        fake
    }

    fn with<R>(&self, code: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.core.lock().unwrap();
        let result = code(&mut core);
        core.pump();
        let now = core.now;
        core.snapshot = Arc::new(core.supervisor.snapshot(now));
        drop(core);
        self.changes.send_modify(|count| *count += 1);
        result
    }

    pub(crate) fn input(&self, input: Input) {
        self.with(|core| core.supervisor.handle(core.now, input));
    }

    /// The configuration on disk is broken from now on.
    pub(crate) fn misconfigure(&self, problems: &[&str]) {
        *self.wrong.lock().unwrap() = problems.iter().map(ToString::to_string).collect();
    }

    /// Probes that fail say this.
    pub(crate) fn says(&self, detail: &str) {
        self.with(|core| core.says = detail.to_owned());
    }

    /// The configuration on disk does not take effect.
    pub(crate) fn cannot_load(&self, problem: ConfigProblem) {
        *self.config_problem.lock().unwrap() = Some(problem);
    }

    /// The output of a realm goes there.
    pub(crate) fn writes(&self, realm: RealmIx, output: Output) {
        self.outputs.lock().unwrap().insert(realm, output);
    }

    /// The last line of the output of every realm, and of an incident of the past.
    pub(crate) fn prints(&self, line: &str) {
        *self.output.lock().unwrap() = vec![line.to_owned()];
        self.remembers(vec![Arc::new(IncidentDocument {
            log_tail: vec![line.to_owned()],
            ..incident("0193", true)
        })]);
    }

    /// Nothing that operators say can be written, for that reason.
    pub(crate) fn cannot_write(&self, why: &str) {
        *self.disk.lock().unwrap() = Some(why.to_owned());
    }

    /// The incidents that are remembered, newest first.
    pub(crate) fn remembers(&self, incidents: Vec<Arc<IncidentDocument>>) {
        *self.incidents.lock().unwrap() = incidents;
    }

    /// Every realm has all figures that there are: latencies, availability, an objective, and what its process uses.
    pub(crate) fn knows_everything(&self) {
        let snapshot = self.snapshot();
        let (mut figures, mut objectives, mut usage) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for realm in &snapshot.realms {
            let name = realm.info.name.to_string();
            let n = f64::from(realm.info.ix.0);
            let latency = LatencyEntry {
                p50: 1.5 + n,
                p95: 2.5 + n,
                p99: 3.25 + n,
                max: 17.125 + n,
                count: 720,
                window_s: Some(3_600),
            };
            let measured = realm.info.probes.iter().filter(|probe| is_measured(probe.kind));
            let latencies = measured.map(|probe| (probe.name.to_string(), latency)).collect();
            let latency_ms = Some(latency);
            let availability = [("24h".to_owned(), 0.999_321)].into();
            figures.insert(name.clone(), RealmFigures { latency_ms, latencies, availability });
            let objective = AvailabilityObjective {
                objective: 0.999,
                reached: None,
                budget_min: 43.2,
                left_min: 41.2,
                met: Some(true),
                burns: Vec::new(),
            };
            objectives.push(SloEntry {
                realm: name.clone(),
                window_s: 2_592_000.0,
                times: TimesEntry::default(),
                availability: Some(objective),
                latency: None,
            });
            if let Some(pid) = realm.process.pid {
                let of = ProcessUsage {
                    pid,
                    cpu_percent: Some(1.5),
                    cpu_s: 12.5 + n,
                    rss_bytes: (64 << 20) + u64::from(pid),
                    fds: Some(12),
                };
                usage.insert(name, of);
            }
        }
        *self.figures.lock().unwrap() = Arc::new(figures);
        *self.objectives.lock().unwrap() = Arc::new(objectives);
        *self.usage.lock().unwrap() = Arc::new(usage);
    }

    /// Lets virtual time pass.
    pub(crate) fn advance(&self, by: Duration) {
        self.with(|core| core.advance(by));
    }

    /// The process of a realm ends.
    pub(crate) fn exited(&self, realm: RealmIx, exit: Exit) {
        self.with(|core| {
            let run = core.runs[&realm];
            core.supervisor
                .handle(core.now, Input::Run { realm, run, fact: RunFact::Exited { exit, empty: true } });
        });
    }

    pub(crate) fn break_probes(&self, realm: RealmIx) {
        self.with(|core| core.broken.insert(realm));
    }

    pub(crate) fn hold(&self, realm: RealmIx) {
        self.with(|core| core.held.insert(realm));
    }

    pub(crate) fn release(&self, realm: RealmIx) {
        self.with(|core| {
            core.held.remove(&realm);
            let run = core.runs[&realm];
            core.supervisor
                .handle(core.now, Input::Run { realm, run, fact: RunFact::Started { pid: pid(realm, run) } });
        });
    }

    pub(crate) fn deafen(&self, realm: RealmIx) {
        self.with(|core| core.deaf.insert(realm));
    }

    /// heartbeatd itself has a problem from now on.
    pub(crate) fn is_sick(&self, kind: OwnProblemKind, message: &str) {
        let problem = OwnProblem { kind, message: message.to_owned(), since: START };
        self.health.lock().unwrap().problems.push(problem);
    }

    /// The driver's loop does not turn any more, or everything is being stopped.
    pub(crate) fn stands(&self, live: bool, ready: bool) {
        let mut health = self.health.lock().unwrap();
        (health.live, health.ready) = (live, ready);
    }

    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    pub(crate) fn commands(&self) -> u64 {
        self.commands.load(Ordering::SeqCst)
    }

    /// How often it was told to leave or to hand over.
    pub(crate) fn departures(&self) -> u64 {
        self.departures.load(Ordering::SeqCst)
    }

    /// From now on a refresh has no end.
    pub(crate) fn probes_hang(&self) {
        self.probes_hang.store(true, Ordering::SeqCst);
    }

    pub(crate) fn refreshes(&self) -> u64 {
        self.refreshes.load(Ordering::SeqCst)
    }

    /// Registrations are rejected in this way from now on.
    pub(crate) fn reject(&self, kind: RejectionKind, problems: &[&str]) {
        let problems = problems.iter().map(ToString::to_string).collect();
        *self.rejection.lock().unwrap() = Some(Rejection { kind, problems });
    }

    /// What was asked of the registry so far.
    pub(crate) fn registered(&self) -> Vec<String> {
        self.registrations.lock().unwrap().clone()
    }

    fn registration(
        &self,
        realm: String,
        result: &str,
        dry_run: bool,
        body: String,
    ) -> BoxFuture<Option<Result<RegistrationDocument, Rejection>>> {
        let ending = self.ending.load(Ordering::SeqCst);
        self.registrations.lock().unwrap().push(format!("{result} {realm} {dry_run} {body}"));
        let answer = match self.rejection.lock().unwrap().clone() {
            Some(rejection) => Err(rejection),
            None => Ok(RegistrationDocument {
                schema: REGISTRATION_SCHEMA.to_owned(),
                dry_run,
                config_revision: 2,
                realm,
                result: result.to_owned(),
                because: Vec::new(),
                targets: vec!["http http://127.0.0.1:8005/api/health/".to_owned()],
                needs: vec!["postgres".to_owned()],
                message: None,
            }),
        };
        Box::pin(async move { (!ending).then_some(answer) })
    }

    fn ask(&self, input: impl FnOnce(CommandId) -> Input) -> BoxFuture<Option<Reply>> {
        if self.ending.load(Ordering::SeqCst) {
            return Box::pin(async { None });
        }
        let id = self.with(|core| {
            core.next_id += 1;
            let id = CommandId(core.next_id);
            core.supervisor.handle(core.now, input(id));
            id
        });
        let reply = self.core.lock().unwrap().replies.remove(&id);
        Box::pin(async move { reply })
    }
}

impl Core {
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        self.pump();
        while let Some(at) = self.supervisor.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.supervisor.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    fn remember(&mut self, event: &heartbeat_status::Event) {
        let Some((what, detail)) = event.kind.fact() else { return };
        let entry = EventEntry {
            schema: EVENT_SCHEMA.to_owned(),
            seq: event.seq,
            at: WallTime::from_millis(0),
            realm: event.realm.as_ref().map(|(_, name)| name.to_string()),
            what: what.into(),
            detail,
            incident: None,
        };
        self.facts.push(EventRecord { revision: self.snapshot.revision, entry: Arc::new(entry) });
    }

    /// Answers every effect at once, as the script says.
    fn pump(&mut self) {
        loop {
            while let Some(event) = self.supervisor.poll_event() {
                self.remember(&event);
            }
            let Some(effect) = self.supervisor.poll_effect() else { return };
            match effect {
                Effect::Start { realm, run } => {
                    self.runs.insert(realm, run);
                    if !self.held.contains(&realm) {
                        self.supervisor.handle(
                            self.now,
                            Input::Run { realm, run, fact: RunFact::Started { pid: pid(realm, run) } },
                        );
                    }
                }
                Effect::Check { id, realm, .. } => {
                    let result = self.measured(realm);
                    self.supervisor.handle(self.now, Input::Checked { id, result });
                }
                Effect::Signal { realm, run, signal } | Effect::SignalMain { realm, run, signal }
                    if !self.deaf.contains(&realm) =>
                {
                    let exit = Exit::signal(signal);
                    self.supervisor.handle(
                        self.now,
                        Input::Run { realm, run, fact: RunFact::Exited { exit, empty: true } },
                    );
                }
                Effect::Reply { id, reply } => {
                    self.replies.insert(id, reply);
                }
                _ => {}
            }
        }
    }

    fn measured(&self, realm: RealmIx) -> CheckResult {
        let broken = self.broken.contains(&realm);
        let latency = Duration::from_micros(2_300);
        let outcome = if broken {
            Outcome::Fail { reason: FailReason::Refused, phase: Some(ProbePhase::Connect) }
        } else {
            Outcome::Pass
        };
        let phases = if broken {
            PhaseTimes::default()
        } else {
            PhaseTimes {
                connect: Some(Duration::from_micros(200)),
                first_byte: Some(Duration::from_micros(2_000)),
                body: Some(Duration::from_micros(100)),
                ..PhaseTimes::default()
            }
        };
        CheckResult {
            outcome,
            detail: if broken { self.says.clone() } else { "200".to_owned() },
            started_at: self.now,
            finished_at: self.now,
            latency: (!broken).then_some(latency),
            phases,
            unattributable: false,
            certificate_until: None,
        }
    }
}

fn pid(realm: RealmIx, run: RunId) -> u32 {
    4_000 + realm.0 * 100 + u32::try_from(run.0).unwrap()
}

impl Backend for Fake {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.core.lock().unwrap().snapshot)
    }

    fn now(&self) -> Instant {
        self.core.lock().unwrap().now
    }

    fn about(&self) -> About {
        let health = self.health.lock().unwrap();
        let notes: Vec<String> = health.problems.iter().map(|problem| problem.message.clone()).collect();
        About {
            instance: "k3v9".to_owned(),
            name: "shop".to_owned(),
            version: "0.1.0".to_owned(),
            started_at: START,
            health: if notes.is_empty() { Health::Healthy } else { Health::Unhealthy },
            notes,
            public: false,
            lag: LagEntry { p99: 1.2, max: 9.8 },
            config_revision: 1,
            config_problem: self.config_problem.lock().unwrap().clone().map(|problem| (problem, START)),
            anchor: WallAnchor { instant: START, wall: WallTime::from_millis(1_795_473_601_123) },
            incident_ids: Vec::new(),
            figures: Arc::clone(&self.figures.lock().unwrap()),
            objectives: Arc::clone(&self.objectives.lock().unwrap()),
            usage: Arc::clone(&self.usage.lock().unwrap()),
        }
    }

    fn past(&self, realm: RealmIx) -> Past {
        let snapshot = self.snapshot();
        let recent = snapshot.realm(realm).and_then(|realm| realm.restart.clone()).into_iter().collect();
        let failure = TransitionEntry {
            at: self.about().anchor.wall(START),
            from: None,
            to: None,
            reason: None,
            message: "exit code 1".to_owned(),
        };
        let transition = TransitionEntry {
            from: Some(Status::Starting.into()),
            to: Some(Status::Up.into()),
            reason: Some(Reason::Healthy.into()),
            message: "healthy".to_owned(),
            ..failure.clone()
        };
        let log_tail = self.output.lock().unwrap().clone();
        Past { recent, failures: vec![failure], transitions: vec![transition], log_tail, port_owner: None }
    }

    fn probe_failures(&self, realm: RealmIx) -> Vec<ProbeFailureEntry> {
        let result = CheckResult {
            outcome: Outcome::Fail { reason: FailReason::Refused, phase: Some(ProbePhase::Connect) },
            detail: "connection refused".to_owned(),
            started_at: START,
            finished_at: START,
            latency: None,
            phases: PhaseTimes::default(),
            unattributable: false,
            certificate_until: None,
        };
        let said = vec![format!("* no connection to realm {}", realm.index())];
        vec![ProbeFailureEntry::render("http", &result, said, self.about().anchor)]
    }

    fn output(&self, realm: RealmIx) -> Output {
        self.outputs.lock().unwrap().get(&realm).cloned().unwrap_or(Output::Nowhere)
    }

    fn beat(&self, realm: String, beat: Beat) -> BoxFuture<Option<Result<(), BeatError>>> {
        let taken = match realm.as_str() {
            "api" => {
                self.beats.lock().unwrap().push(beat);
                Ok(())
            }
            "db" => Err(BeatError::NotExpected),
            _ => Err(BeatError::NoSuchRealm),
        };
        Box::pin(std::future::ready(Some(taken)))
    }

    fn incidents(&self, page: IncidentPage) -> BoxFuture<Vec<Arc<IncidentDocument>>> {
        let mut incidents = self.incidents.lock().unwrap().clone();
        incidents.retain(|incident| !page.open || incident.resolved_at.is_none());
        incidents.retain(|incident| page.after.as_ref().is_none_or(|after| incident.id < *after));
        incidents.truncate(page.limit);
        Box::pin(std::future::ready(incidents))
    }

    fn incident(&self, id: String) -> BoxFuture<Option<Arc<IncidentDocument>>> {
        let found = self.incidents.lock().unwrap().iter().find(|incident| incident.id == id).cloned();
        Box::pin(std::future::ready(found))
    }

    fn history(&self, question: HistoryQuestion) -> BoxFuture<Result<Option<HistoryDocument>, HistoryError>> {
        let HistoryQuestion { realm, probe, window_ms, step_ms } = question;
        let step = usize::try_from(step_ms).unwrap();
        let steps = window_ms.clone().step_by(step).map(|at| HistoryStep {
            at: WallTime::from_millis(at),
            times: TimesEntry::default(),
            latency_ms: None,
            usage: UsageTimes::default(),
        });
        let document = HistoryDocument {
            schema: HISTORY_SCHEMA.to_owned(),
            realm: realm.clone(),
            probe,
            from: WallTime::from_millis(window_ms.start),
            to: WallTime::from_millis(window_ms.end),
            step_s: step_ms as f64 / 1e3,
            first_seen_at: WallTime::from_millis(0),
            times: TimesEntry::default(),
            availability: None,
            latency_ms: None,
            phases_ms: BTreeMap::new(),
            usage: UsageTimes::default(),
            steps: steps.collect(),
        };
        Box::pin(std::future::ready(Ok((realm == "api").then_some(document))))
    }

    fn objectives(&self) -> BoxFuture<Result<Vec<SloEntry>, HistoryError>> {
        let objectives = self.objectives.lock().unwrap().to_vec();
        Box::pin(std::future::ready(Ok(objectives)))
    }

    fn strips(&self, days: u32) -> BoxFuture<Result<StripsDocument, HistoryError>> {
        let bars = vec![TimesEntry::default(); usize::try_from(days).unwrap()];
        let document = StripsDocument {
            schema: STRIPS_SCHEMA.to_owned(),
            from: WallTime::from_millis(0),
            to: WallTime::from_millis(0),
            bar_s: 86_400,
            realms: vec![StripEntry { name: "api".to_owned(), bars }],
        };
        Box::pin(std::future::ready(Ok(document)))
    }

    fn report(&self, question: ReportQuestion) -> BoxFuture<Result<ReportDocument, HistoryError>> {
        let ReportQuestion { month, window_ms } = question;
        let document = ReportDocument {
            schema: REPORT_SCHEMA.to_owned(),
            name: "shop".to_owned(),
            month,
            from: WallTime::from_millis(window_ms.start),
            to: WallTime::from_millis(window_ms.end),
            generated_at: WallTime::from_millis(0),
            first_seen_at: None,
            realms: Vec::new(),
            incidents: Vec::new(),
            more_incidents: false,
        };
        Box::pin(std::future::ready(Ok(document)))
    }

    fn evidence(&self, incident: String) -> BoxFuture<Result<EvidenceDocument, HistoryError>> {
        let schema = heartbeat_wire::EVIDENCE_SCHEMA.to_owned();
        let document = EvidenceDocument { schema, incident, opened: None, resolved: None };
        Box::pin(std::future::ready(Ok(document)))
    }

    fn notifications(&self, _: String) -> BoxFuture<Result<Vec<NotificationEntry>, HistoryError>> {
        let at = WallTime::from_millis(1_795_473_598_310);
        let notification = NotificationEntry {
            receiver: "ops".to_owned(),
            seq: 1,
            event: IncidentStep::Opened.into(),
            state: DeliveryState::Due.into(),
            queued_at: at,
            attempts: 2,
            attempted_at: Some(at),
            next_at: Some(at),
            why: Some("answered 503 Service Unavailable".to_owned()),
        };
        Box::pin(std::future::ready(Ok(vec![notification])))
    }

    fn notification_counts(&self) -> Vec<NotificationCount> {
        vec![NotificationCount { receiver: "ops".to_owned(), result: "delivered", count: 7 }]
    }

    fn oldest_notifications(&self) -> Vec<(String, Duration)> {
        vec![("ops".to_owned(), Duration::from_secs(42))]
    }

    fn realm_counts(&self, realm: RealmIx) -> RealmCounts {
        let snapshot = self.snapshot();
        let Some(realm) = snapshot.realm(realm) else { return RealmCounts::default() };
        let measured = realm.info.probes.iter().filter(|probe| is_measured(probe.kind));
        let counts = measured.enumerate().map(|(nth, probe)| {
            let counts = ProbeCounts {
                outcomes: [("pass", 12_345), ("fail", 3)].into(),
                certificate_until: (nth == 0).then(|| WallTime::from_millis(1_826_000_000_000)),
            };
            (probe.name.to_string(), counts)
        });
        let restarts = [(RestartCause::Exited, 2), (RestartCause::Requested, 1)];
        RealmCounts { restarts: restarts.into(), probes: counts.collect() }
    }

    fn mute(&self, realm: String, mute: Option<Mute>) -> BoxFuture<Option<Option<String>>> {
        let mut mutes = self.mutes.lock().unwrap();
        match mute {
            Some(mute) => mutes.insert(realm, mute),
            None => mutes.remove(&realm),
        };
        Box::pin(std::future::ready(Some(self.disk.lock().unwrap().clone())))
    }

    fn test_receiver(
        &self,
        receiver: String,
        dry_run: bool,
    ) -> BoxFuture<Result<NotifyTestDocument, UnknownReceiver>> {
        let known = receiver == "ops";
        let message = NotifyTestEntry {
            event: IncidentStep::Opened.into(),
            sent: "POST http://127.0.0.1:3000 (path hidden)".to_owned(),
            delivered: (!dry_run).then_some(false),
            why: (!dry_run).then(|| "answered 404 Not Found".to_owned()),
        };
        let document =
            NotifyTestDocument { schema: NOTIFY_TEST_SCHEMA.to_owned(), receiver, messages: vec![message] };
        Box::pin(std::future::ready(if known {
            Ok(document)
        } else {
            Err(UnknownReceiver { receivers: vec!["ops".to_owned()] })
        }))
    }

    fn acknowledge(&self, id: String, ack: AckEntry) -> BoxFuture<Option<Acknowledged>> {
        let unwritten = self.disk.lock().unwrap().clone();
        let mut incidents = self.incidents.lock().unwrap();
        let acknowledged = incidents.iter_mut().find(|incident| incident.id == id).map(|incident| {
            Arc::make_mut(incident).ack = Some(ack);
            Acknowledged { incident: Arc::clone(incident), unwritten }
        });
        Box::pin(std::future::ready(acknowledged))
    }

    fn facts(&self, after: u64) -> Vec<EventRecord> {
        self.core.lock().unwrap().facts.iter().filter(|fact| fact.entry.seq > after).cloned().collect()
    }

    fn own_health(&self) -> OwnHealth {
        self.health.lock().unwrap().clone()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn leave(&self) -> BoxFuture<()> {
        self.departures.fetch_add(1, Ordering::SeqCst);
        self.ending.store(true, Ordering::SeqCst);
        Box::pin(async {})
    }

    fn upgrade(&self) -> BoxFuture<Result<(), UpgradeError>> {
        self.departures.fetch_add(1, Ordering::SeqCst);
        let ending = self.ending.load(Ordering::SeqCst);
        Box::pin(async move { if ending { Err(UpgradeError::Ending) } else { Ok(()) } })
    }

    fn plan(&self, command: Command) -> BoxFuture<Option<ActionPlan>> {
        let core = self.core.lock().unwrap();
        let plan = (!self.ending.load(Ordering::SeqCst)).then(|| core.supervisor.plan(core.now, &command));
        Box::pin(async move { plan })
    }

    fn command(&self, command: Command) -> BoxFuture<Option<Commanded>> {
        let reply = self.ask(|id| Input::Command { id, command });
        self.commands.fetch_add(1, Ordering::SeqCst);
        let unwritten = self.disk.lock().unwrap().clone();
        Box::pin(async move { Some(Commanded { reply: reply.await?, unwritten }) })
    }

    fn refresh(&self, realm: Option<RealmIx>) -> BoxFuture<Option<Reply>> {
        self.refreshes.fetch_add(1, Ordering::SeqCst);
        if self.probes_hang.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        self.ask(|id| Input::Refresh { id, realm })
    }

    fn register(
        &self,
        name: String,
        body: Vec<u8>,
        dry_run: bool,
    ) -> BoxFuture<Option<Result<RegistrationDocument, Rejection>>> {
        self.registration(name, "registered", dry_run, String::from_utf8(body).unwrap())
    }

    fn unregister(
        &self,
        name: String,
        dry_run: bool,
    ) -> BoxFuture<Option<Result<RegistrationDocument, Rejection>>> {
        self.registration(name, "removed", dry_run, String::new())
    }

    fn reload(&self, dry_run: bool) -> BoxFuture<Option<Result<ReloadDocument, ReloadRefusal>>> {
        let wrong = self.wrong.lock().unwrap().clone();
        let document = ReloadDocument {
            schema: RELOAD_SCHEMA.to_owned(),
            dry_run,
            config_revision: 2,
            added: vec!["mail".to_owned()],
            removed: Vec::new(),
            restarted: vec![ReloadedRealm { realm: "api".to_owned(), because: vec!["run".to_owned()] }],
            changed: Vec::new(),
            settings: vec!["notify.ops".to_owned()],
            warnings: Vec::new(),
        };
        let answer = if wrong.is_empty() { Ok(document) } else { Err(ReloadRefusal { mistakes: wrong }) };
        let ending = self.ending.load(Ordering::SeqCst);
        Box::pin(async move { (!ending).then_some(answer) })
    }
}

/// An incident of postgres, resolved or still open.
pub(crate) fn incident(id: &str, resolved: bool) -> IncidentDocument {
    let at = WallTime::from_millis(1_795_473_601_123);
    IncidentDocument {
        schema: INCIDENT_SCHEMA.to_owned(),
        event: if resolved { IncidentStep::Resolved } else { IncidentStep::Opened }.into(),
        id: id.to_owned(),
        seq: 1,
        ecosystem: "shop".to_owned(),
        root: "postgres".to_owned(),
        reason: Reason::Exited.into(),
        message: "exit code 1".to_owned(),
        severity: Severity::Critical.into(),
        affected: vec!["api".to_owned()],
        opened_at: at,
        resolved_at: resolved.then_some(at),
        duration_s: resolved.then_some(1.0),
        resolution: resolved.then(|| "healthy again".to_owned()),
        ack: None,
        timeline: Vec::new(),
        log_tail: Vec::new(),
        links: IncidentLinks { this: format!("/api/incidents/{id}/") },
    }
}

fn name(name: &str) -> RealmName {
    RealmName::new(name).unwrap()
}

pub(crate) fn probe(name: &str, kind: ProbeKind, target: &str, source: ProbeSource) -> ProbeSpec {
    let info = ProbeInfo {
        name: name.to_owned(),
        kind,
        role: Role::Live,
        target: target.to_owned(),
        thresholds: Thresholds::default(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
    };
    ProbeSpec { info, source, grace: None }
}

fn needs(realm: RealmIx, until: Gate) -> NeedSpec {
    NeedSpec { realm, kind: EdgeKind::Needs, until, while_down: WhileDown::Ride }
}

/// Four realms: a database, an API on it, a oneshot before it, and an external mail server.
pub(crate) fn shop() -> Vec<RealmSpec> {
    let mut postgres = RealmSpec::service(name("postgres"));
    postgres.probes = vec![
        probe("tcp", ProbeKind::Tcp, "127.0.0.1:5432", ProbeSource::Measured),
        probe("process", ProbeKind::Process, "pid", ProbeSource::Process),
    ];
    let mut api = RealmSpec::service(name("api"));
    api.title = Some("API <1>".to_owned());
    api.port = Some(8001);
    api.labels.insert("team".to_owned(), "core".to_owned());
    api.probes = vec![
        probe("http", ProbeKind::Http, "http://127.0.0.1:8001/api/health/", ProbeSource::Measured),
        probe("port", ProbeKind::Port, "127.0.0.1:8001", ProbeSource::PortOf(ProbeIx(0))),
        probe("process", ProbeKind::Process, "pid", ProbeSource::Process),
    ];
    api.needs = vec![
        needs(POSTGRES, Gate::Up),
        needs(MIGRATE, Gate::Done),
        NeedSpec { realm: MAIL, kind: EdgeKind::Wants, until: Gate::Up, while_down: WhileDown::Ride },
    ];
    let mut migrate = RealmSpec::service(name("migrate"));
    migrate.kind = RealmKind::Oneshot;
    migrate.start.timeout = None;
    migrate.restart = RestartPolicy::oneshot_default();
    migrate.needs = vec![needs(POSTGRES, Gate::Up)];
    let mut mail = RealmSpec::service(name("mail"));
    mail.kind = RealmKind::External;
    mail.critical = false;
    mail.probes = vec![probe("http", ProbeKind::Http, "http://10.0.0.9/healthz", ProbeSource::Measured)];
    vec![postgres, api, migrate, mail]
}

/// `count` independent realms with a probe each.
pub(crate) fn many(count: usize) -> Vec<RealmSpec> {
    (0..count)
        .map(|n| {
            let mut realm = RealmSpec::service(name(&format!("realm-{n}")));
            realm.probes = vec![
                probe("http", ProbeKind::Http, "http://127.0.0.1:8001/api/health/", ProbeSource::Measured),
                probe("process", ProbeKind::Process, "pid", ProbeSource::Process),
            ];
            realm
        })
        .collect()
}

/// As [`many`], with a port each; every other one is measured by two probes.
/// Whether heartbeatd measures probes of this kind, and does not look at what it knows of the process.
fn is_measured(kind: ProbeKind) -> bool {
    !matches!(kind, ProbeKind::Process | ProbeKind::Port)
}

pub(crate) fn many_measured(count: usize) -> Vec<RealmSpec> {
    let mut realms = many(count);
    for (n, realm) in realms.iter_mut().enumerate() {
        realm.probes.push(probe("port", ProbeKind::Port, "127.0.0.1:8001", ProbeSource::PortOf(ProbeIx(0))));
        if n % 2 == 1 {
            realm.probes.push(probe("tcp", ProbeKind::Tcp, "127.0.0.1:8002", ProbeSource::Measured));
        }
    }
    realms
}
