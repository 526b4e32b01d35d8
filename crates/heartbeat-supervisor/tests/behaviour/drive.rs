//! A small driver with a hand on the clock: it feeds, polls everything, and remembers what is in flight.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_restart::{PolicySettings, RestartPolicy};
use heartbeat_status::{
    CheckId, CheckResult, CommandId, EdgeKind, Event, EventKind, Exit, FailReason, Gate, Instant, Outcome,
    Phase, PhaseTimes, ProbeInfo, ProbeIx, ProbeKind, RealmIx, RealmKind, RealmName, RealmStatus, Role,
    RunFact, RunId, Said, Signal, Status, Thresholds, WhileDown,
};
use heartbeat_supervisor::{
    Command, Effect, Found, Input, NeedSpec, OperatorIntent, PersistedRealm, Plan, PlanSettings, ProbeSource,
    ProbeSpec, RealmSpec, Reply, Restored, RestoredState, Supervisor,
};
use heartbeat_wire::Action;

pub(crate) const A: RealmIx = RealmIx(0);
pub(crate) const B: RealmIx = RealmIx(1);
pub(crate) const C: RealmIx = RealmIx(2);

pub(crate) const FAIL: Outcome = Outcome::Fail { reason: FailReason::Refused, phase: None };

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A service without probes, called `a`, `b` and so on by its place.
pub(crate) fn bare(name: &str) -> RealmSpec {
    RealmSpec::service(RealmName::new(name).expect("a good name"))
}

/// A service with one measured live probe: every 5 s, 3 failures, 2 passes.
pub(crate) fn probed(name: &str) -> RealmSpec {
    let mut spec = bare(name);
    let info = ProbeInfo {
        name: "http".to_string(),
        kind: ProbeKind::Http,
        role: Role::Live,
        target: "http://127.0.0.1:1/".to_string(),
        thresholds: Thresholds::default(),
        interval: secs(5),
        timeout: secs(2),
    };
    spec.probes.push(ProbeSpec { info, source: ProbeSource::Measured, grace: None });
    spec
}

/// A service that says of itself that it is ready and, with a watchdog, that it is well.
pub(crate) fn talking(name: &str, watchdog: Option<Duration>) -> RealmSpec {
    let mut spec = bare(name);
    spec.probes.push(told(watchdog, Role::Live));
    spec
}

pub(crate) fn told(watchdog: Option<Duration>, role: Role) -> ProbeSpec {
    let info = ProbeInfo {
        name: "notify".to_string(),
        kind: ProbeKind::Notify,
        role,
        target: "sd_notify".to_string(),
        thresholds: Thresholds::new(1, 1, None).expect("good thresholds"),
        interval: secs(5),
        timeout: secs(2),
    };
    ProbeSpec { info, source: ProbeSource::Notify { watchdog }, grace: None }
}

pub(crate) fn oneshot(name: &str) -> RealmSpec {
    let mut spec = bare(name);
    spec.kind = RealmKind::Oneshot;
    spec.start.timeout = None;
    spec.restart = RestartPolicy::oneshot_default();
    spec
}

pub(crate) fn external(name: &str) -> RealmSpec {
    let mut spec = probed(name);
    spec.kind = RealmKind::External;
    spec
}

pub(crate) fn policy(change: impl FnOnce(&mut PolicySettings)) -> RestartPolicy {
    let mut settings = PolicySettings::service();
    change(&mut settings);
    RestartPolicy::new(settings).expect("a good policy")
}

impl Depends for RealmSpec {}

/// Builds edges in a chain.
pub(crate) trait Depends: Sized + Into<RealmSpec> {
    fn edge(self, to: RealmIx, kind: EdgeKind, until: Gate, while_down: WhileDown) -> RealmSpec {
        let mut spec: RealmSpec = self.into();
        spec.needs.push(NeedSpec { realm: to, kind, until, while_down });
        spec
    }

    fn needs(self, to: RealmIx) -> RealmSpec {
        self.edge(to, EdgeKind::Needs, Gate::Up, WhileDown::Ride)
    }
}

pub(crate) struct Drive {
    pub(crate) sup: Supervisor,
    pub(crate) now: Instant,
    /// Since the last [`Drive::take`].
    pub(crate) effects: Vec<Effect>,
    pub(crate) events: Vec<Event>,
    /// What is on record of each realm.
    pub(crate) records: BTreeMap<RealmIx, (PersistedRealm, OperatorIntent)>,
    /// How often a record was written.
    pub(crate) writes: u32,
    /// What measurements say beside their outcome.
    pub(crate) detail: String,
    in_flight: Vec<(CheckId, RealmIx, ProbeIx)>,
    commands: u64,
}

impl Drive {
    /// Not booted.
    pub(crate) fn cold(realms: Vec<RealmSpec>) -> Self {
        let plan = Plan::new(PlanSettings::default(), realms).expect("a good plan");
        let sup = Supervisor::new(plan, 1);
        let now = Instant::from_millis(1_000_000);
        Self {
            sup,
            now,
            effects: Vec::new(),
            events: Vec::new(),
            records: BTreeMap::new(),
            writes: 0,
            detail: String::new(),
            in_flight: Vec::new(),
            commands: 0,
        }
    }

    pub(crate) fn boot(realms: Vec<RealmSpec>) -> Self {
        let mut drive = Self::cold(realms);
        drive.feed(Input::Boot);
        drive
    }

    /// Booted, and everything that starts at once runs and passes.
    pub(crate) fn up(realms: Vec<RealmSpec>) -> Self {
        let mut drive = Self::boot(realms);
        for _ in 0..40 {
            drive.launch_all();
            drive.answer_all(Outcome::Pass);
            drive.wait(Duration::from_millis(500));
        }
        drive.take();
        drive
    }

    /// Up for so long that the run counts as stable.
    pub(crate) fn stable(realms: Vec<RealmSpec>) -> Self {
        let mut drive = Self::up(realms);
        drive.wait_answering(secs(60), |_| Outcome::Pass);
        drive.take();
        drive
    }

    /// heartbeatd is killed, and another one goes on: with what is on record, and with what `found` says of each realm.
    pub(crate) fn killed(&mut self, found: impl Fn(RealmIx) -> Found) {
        self.killed_with(|_| {}, found);
    }

    /// The same, with a change of what comes back.
    pub(crate) fn killed_with(
        &mut self,
        change: impl FnOnce(&mut RestoredState),
        found: impl Fn(RealmIx) -> Found,
    ) {
        let incidents = self.sup.snapshot(self.now).incidents;
        let health_restarts = self.sup.health_restarts();
        let plan = (**self.sup.plan_in_force()).clone();
        let realms = plan.infos().iter().map(|info| {
            let found = found(info.ix);
            let kept = self.records.get(&info.ix).cloned();
            let run = Some(self.run(info.ix)).filter(|_| found != Found::Nothing);
            let (record, intent) = kept.unzip();
            Restored { realm: info.name.clone(), record, run, found, intent, changed: false }
        });
        let realms = realms.collect();
        let incidents = incidents.iter().map(|incident| (**incident).clone()).collect();
        let mut memory = RestoredState { realms, incidents, health_restarts };
        change(&mut memory);
        self.come_back(memory);
    }

    /// The host is booted anew: nothing runs, and nothing is remembered but what operators have said.
    pub(crate) fn rebooted(&mut self) {
        self.killed_with(
            |memory| {
                for realm in &mut memory.realms {
                    (realm.record, realm.run) = (None, None);
                }
                memory.incidents.clear();
                memory.health_restarts.clear();
            },
            |_| Found::Nothing,
        );
    }

    fn come_back(&mut self, memory: RestoredState) {
        self.sup = Supervisor::new((**self.sup.plan_in_force()).clone(), 2);
        self.in_flight.clear();
        self.take();
        self.sup.restore(self.now, memory);
        self.feed(Input::Boot);
    }

    pub(crate) fn feed(&mut self, input: Input) {
        self.sup.handle(self.now, input);
        self.poll();
    }

    /// Puts another plan in force.
    pub(crate) fn reload(&mut self, realms: Vec<RealmSpec>, restart: &[RealmIx]) {
        let plan = Plan::new(PlanSettings::default(), realms).expect("a good plan");
        let restart: Vec<(RealmIx, String)> =
            restart.iter().map(|realm| (*realm, "run".to_string())).collect();
        self.sup.reload(self.now, plan, &restart, "a test".to_string());
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(effect) = self.sup.poll_effect() {
            match &effect {
                Effect::Check { id, realm, probe, .. } => self.in_flight.push((*id, *realm, *probe)),
                Effect::Persist { realm, record, intent } => {
                    self.writes += 1;
                    match record {
                        Some(record) => {
                            self.records.insert(*realm, ((**record).clone(), intent.clone()));
                        }
                        None => {
                            self.records.remove(realm);
                        }
                    }
                    continue;
                }
                Effect::CancelCheck { id } => self.in_flight.retain(|(known, ..)| known != id),
                _ => {}
            }
            self.effects.push(effect);
        }
        while let Some(event) = self.sup.poll_event() {
            self.events.push(event);
        }
    }

    /// Lets time pass, timer by timer. No adapter answers meanwhile.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.sup.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.sup.handle_timeout(self.now);
            self.poll();
        }
        self.now = until;
    }

    /// Lets time pass; every measurement is answered at once.
    pub(crate) fn wait_answering(&mut self, time: Duration, answer: impl Fn(RealmIx) -> Outcome) {
        let until = self.now + time;
        loop {
            let flights = std::mem::take(&mut self.in_flight);
            for (id, realm, _) in flights {
                self.checked(id, answer(realm), "");
            }
            let Some(at) = self.sup.poll_timeout().filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            self.sup.handle_timeout(self.now);
            self.poll();
        }
        self.now = until;
    }

    /// Lets time pass; every measurement is answered at once, what is told to end ends, and what is to start has
    /// started.
    pub(crate) fn live(&mut self, time: Duration, answer: impl Fn(RealmIx) -> Outcome) {
        const STEP: Duration = Duration::from_millis(100);
        let until = self.now + time;
        while self.now < until {
            self.wait_answering(STEP.min(until.since(self.now)), &answer);
            let told: Vec<RealmIx> = self.signals().into_iter().map(|(realm, _)| realm).collect();
            for realm in told {
                if self.phase(realm) == Phase::Stopping {
                    self.exit(realm, Exit::signal(Signal::TERM));
                }
            }
            self.launch_all_keeping_events();
        }
    }

    fn checked(&mut self, id: CheckId, outcome: Outcome, detail: &str) {
        let result = CheckResult {
            outcome,
            detail: if detail.is_empty() { self.detail.clone() } else { detail.to_string() },
            started_at: self.now,
            finished_at: self.now,
            latency: outcome.passed().map(|_| Duration::from_millis(3)),
            phases: PhaseTimes::default(),
            unattributable: false,
            certificate_until: None,
        };
        self.feed(Input::Checked { id, result });
    }

    pub(crate) fn in_flight(&self, realm: RealmIx) -> usize {
        self.in_flight.iter().filter(|(_, owner, _)| *owner == realm).count()
    }

    /// Lets time pass until the realm is being measured anew.
    pub(crate) fn until_measured(&mut self, realm: RealmIx) {
        assert!(self.sup.poll_timeout().is_some(), "nothing would ever be measured");
        let until = self.now + secs(600);
        while self.in_flight(realm) == 0 {
            assert!(self.now < until, "it is not measured any more");
            self.wait(Duration::from_millis(10));
        }
    }

    pub(crate) fn answer(&mut self, realm: RealmIx, outcome: Outcome) {
        self.answer_saying(realm, outcome, "");
    }

    pub(crate) fn answer_saying(&mut self, realm: RealmIx, outcome: Outcome, detail: &str) {
        let (mine, others) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|(_, owner, _)| *owner == realm);
        self.in_flight = others;
        let mine: Vec<(CheckId, RealmIx, ProbeIx)> = mine;
        for (id, ..) in mine {
            self.checked(id, outcome, detail);
        }
    }

    /// Answers what is being measured of a realm, each probe with its own outcome.
    pub(crate) fn answer_probes<const N: usize>(&mut self, realm: RealmIx, outcomes: [Outcome; N]) {
        let (mine, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|(_, owner, _)| *owner == realm);
        self.in_flight = others;
        for (id, _, probe) in mine {
            self.checked(id, outcomes[probe.index()], "");
        }
    }

    pub(crate) fn answer_all(&mut self, outcome: Outcome) {
        for (id, ..) in std::mem::take(&mut self.in_flight) {
            self.checked(id, outcome, "");
        }
    }

    /// Everything that was asked to start has started; what happened is kept.
    pub(crate) fn launch_all_keeping_events(&mut self) {
        for realm in self.starts() {
            if self.phase(realm) == Phase::Starting {
                self.started(realm);
            }
        }
        self.take_effects();
    }

    /// What was done since the last time; what happened is kept.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// What happened since the last time.
    pub(crate) fn take(&mut self) -> Vec<Effect> {
        self.events.clear();
        std::mem::take(&mut self.effects)
    }

    /// Realms a start was asked for since the last [`Drive::take`].
    pub(crate) fn starts(&self) -> Vec<RealmIx> {
        let starts = self.effects.iter().filter_map(|effect| match effect {
            Effect::Start { realm, .. } => Some(*realm),
            _ => None,
        });
        starts.collect()
    }

    /// Signals since the last [`Drive::take`], CONT left out.
    pub(crate) fn signals(&self) -> Vec<(RealmIx, Signal)> {
        let signals = self.effects.iter().filter_map(|effect| match effect {
            Effect::Signal { realm, signal, .. } | Effect::SignalMain { realm, signal, .. } => {
                Some((*realm, *signal)).filter(|_| *signal != Signal::CONT)
            }
            _ => None,
        });
        signals.collect()
    }

    pub(crate) fn status(&mut self, realm: RealmIx) -> Arc<RealmStatus> {
        Arc::clone(&self.sup.snapshot(self.now).realms[realm.index()])
    }

    pub(crate) fn word(&mut self, realm: RealmIx) -> Status {
        self.status(realm).status
    }

    pub(crate) fn phase(&mut self, realm: RealmIx) -> Phase {
        self.status(realm).phase
    }

    pub(crate) fn message(&mut self, realm: RealmIx) -> String {
        self.status(realm).why.message.clone()
    }

    pub(crate) fn run(&mut self, realm: RealmIx) -> RunId {
        self.status(realm).process.run
    }

    /// The launcher has exec'd the realm's program.
    pub(crate) fn started(&mut self, realm: RealmIx) {
        let run = self.run(realm);
        self.feed(Input::Run { realm, run, fact: RunFact::Started { pid: 100 + realm.0 } });
    }

    /// Everything that was asked to start has started.
    pub(crate) fn launch_all(&mut self) {
        for realm in self.starts() {
            if self.phase(realm) == Phase::Starting {
                self.started(realm);
            }
        }
        self.take();
    }

    /// The realm says something of itself, in its current generation.
    pub(crate) fn say(&mut self, realm: RealmIx, change: impl FnOnce(&mut Said)) {
        let mut said = Said::default();
        change(&mut said);
        let run = self.run(realm);
        self.feed(Input::Run { realm, run, fact: RunFact::Said { said } });
    }

    pub(crate) fn exit(&mut self, realm: RealmIx, exit: Exit) {
        let run = self.run(realm);
        self.feed(Input::Run { realm, run, fact: RunFact::Exited { exit, empty: true } });
    }

    pub(crate) fn command(&mut self, command: Command) -> Reply {
        self.commands += 1;
        let id = CommandId(self.commands);
        let planned = self.sup.plan(self.now, &command);
        self.feed(Input::Command { id, command });
        let reply = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Reply { id: answered, reply } if *answered == id => Some(reply.clone()),
            _ => None,
        });
        let reply = reply.expect("a command is answered at once");
        match &reply {
            Reply::Accepted { plan, .. } | Reply::Refused { plan } => {
                assert_eq!(*plan, planned, "the dry run")
            }
            Reply::Refreshed { .. } => panic!("that was no refresh"),
        }
        reply
    }

    /// When the last restart of a realm was decided, since the last [`Drive::take`].
    pub(crate) fn restart_opened(&self, realm: RealmIx) -> Option<Instant> {
        let opened = self.events.iter().rev().find(|event| {
            let of = event.realm.as_ref().is_some_and(|(ix, _)| *ix == realm);
            of && matches!(event.kind, EventKind::RestartOpened { .. })
        });
        opened.map(|event| event.at)
    }

    pub(crate) fn order(&mut self, action: Action, realm: RealmIx) -> Reply {
        self.command(Command { force: true, ..Command::new(action, realm) })
    }
}
