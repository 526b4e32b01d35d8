//! A daemon without a process or a probe in it: a real `Supervisor`, driven in virtual time, whose effects are
//! answered by a script.

mod backend;
mod driven;
mod realms;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heartbeat_api::{Backend, Beat, BoxFuture, Mute, Output, OwnHealth, Rejection, RejectionKind};
use heartbeat_status::{CommandId, Exit, OwnProblem, OwnProblemKind, RealmIx, RunFact};
use heartbeat_supervisor::{Input, Plan, PlanSettings, RealmSpec, Reply, Supervisor};
use heartbeat_wire::{
    AvailabilityObjective, ConfigProblem, IncidentDocument, LatencyEntry, ProcessUsage, REGISTRATION_SCHEMA,
    RealmFigures, RegistrationDocument, SloEntry, TimesEntry,
};
use tokio::sync::watch;

use driven::{Core, START, pid};
use realms::is_measured;
pub(crate) use realms::{incident, many, many_measured, probe, shop};

pub(crate) const POSTGRES: RealmIx = RealmIx(0);
pub(crate) const API: RealmIx = RealmIx(1);
pub(crate) const MIGRATE: RealmIx = RealmIx(2);
pub(crate) const MAIL: RealmIx = RealmIx(3);

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
