//! The driver loop: wait, drain everything ready, stamp one `now`, let the core decide, carry it out, publish.
//!
//! It holds no rules and never blocks: what takes time sits on threads and tasks behind the inbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_api::Commanded;
use heartbeat_config::{
    Config, Heartbeat, InForce, Merged, RegistrationRules, WebhookConfig, configured, merge,
};
use heartbeat_notify::Notifier;
use heartbeat_process::Notice;
use heartbeat_status::{
    CommandId, DaemonPhase, Event, EventKind, Instant, OwnProblemKind, ProbeIx, ProbeKind, RealmIx,
    RestartCause, RunFact,
};
use heartbeat_store::IncidentDb;
use heartbeat_supervisor::{
    Effect, Input, OperatorIntent, PersistedRealm, Plan, ProbeSource, RealmSpec, Reply, Supervisor,
};
use tokio::sync::oneshot;

use crate::clock;
use crate::control::listeners::Listeners;
use crate::control::reload;
use crate::inbox::{Batch, Inbox, Request};
use crate::own_health::descriptors::Budget;
use crate::own_health::lag::{LagMeter, ProbingLag, Pulse};
use crate::own_health::own_problems::OwnProblems;
use crate::own_health::recovery_problem::RecoveryProblem;
use crate::realms::executor::Executor;
use crate::realms::prober::Prober;
use crate::reporting::history_recorder::HistoryRecorder;
use crate::reporting::incident_writer::IncidentWriter;
use crate::reporting::receivers;
use crate::reporting::status_store::StatusStore;
use crate::running::systemd::Manager;
use crate::storage::intent::IntentFile;
use crate::storage::stored::ECOSYSTEM_NOTE;

/// Fresh numbers alone are published at most this often; a change of meaning at once.
const PUBLISH_GAP: Duration = Duration::from_millis(100);
/// The host slept when the clock that counts suspends has run ahead by more than this.
const SUSPEND_MIN: Duration = Duration::from_millis(500);
/// The loop turns at least this often, whether or not anything happens: `/livez` looks for it.
const TURN_EVERY: Duration = Duration::from_secs(5);

/// What stopping may take beyond `shutdown_timeout`: KILL, its wait, and the API.
const STOPPING_ALLOWANCE: Duration = Duration::from_secs(30);

/// How the loop has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// Everything is stopped.
    Stopped,
    /// Every realm runs on.
    Left,
    /// Every realm runs on, and another heartbeatd follows under the same pid.
    Upgrade,
}

/// Receives every event, on the driver's thread: it must not block.
pub type EventSink = Box<dyn FnMut(&Event) + Send>;

pub(crate) struct Driver {
    pub(crate) supervisor: Supervisor,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) prober: Prober,
    pub(crate) executor: Executor,
    pub(crate) statuses: Arc<StatusStore>,
    pub(crate) problems: Arc<OwnProblems>,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) recovery_problem: RecoveryProblem,
    pub(crate) sink: EventSink,
    pub(crate) incident_writer: IncidentWriter,
    pub(crate) incident_db: Arc<IncidentDb>,
    pub(crate) history: HistoryRecorder,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) webhooks: Vec<WebhookConfig>,
    pub(crate) registering: Arc<RegistrationRules>,
    pub(crate) boot_deadline: Option<Instant>,
    pub(crate) budget: Budget,
    pub(crate) intent: IntentFile,
    pub(crate) manager: Manager,
    pub(crate) pulse: Pulse,
    pub(crate) probing_lag: ProbingLag,
    /// The boot that monotonic times belong to.
    pub(crate) boot: String,
    pub(crate) state: DriverState,
}

/// What only the loop itself needs.
#[derive(Debug, Default)]
pub(crate) struct DriverState {
    replies: BTreeMap<CommandId, oneshot::Sender<Commanded>>,
    ready_replies: Vec<(CommandId, Commanded)>,
    /// Answers that wait until the version of the intent that has what was asked is on disk, or cannot be.
    held_replies: Vec<(u64, CommandId, Reply)>,
    intent: IntentOnDisk,
    ready_reloads: Vec<(oneshot::Sender<reload::Answer>, reload::Answer)>,
    next_command: u64,
    lag: LagMeter,
    published_at: Instant,
    unpublished: bool,
    asleep: Option<Duration>,
    departure: Option<Departure>,
    late: bool,
}

/// How far the intent file has come.
#[derive(Debug, Default)]
struct IntentOnDisk {
    /// The newest version that was tried.
    tried: u64,
    /// The newest version that is on disk.
    durable: u64,
    /// Why the last one is not.
    problem: Option<String>,
}

impl IntentOnDisk {
    /// The file was written up to a version, or could not be.
    fn note(&mut self, version: u64, problem: Option<String>) {
        self.tried = version;
        if problem.is_none() {
            self.durable = version;
        }
        self.problem = problem;
    }

    /// Whether a version is on disk; `None` as long as nobody has tried.
    fn outcome(&self, version: u64) -> Option<Result<(), String>> {
        if version <= self.durable {
            return Some(Ok(()));
        }
        (version <= self.tried).then(|| Err(self.problem.clone().unwrap_or_default()))
    }
}

impl Driver {
    /// Runs until everything is stopped, or is to be left.
    pub(crate) fn run(mut self) -> Departure {
        let mut batch = Batch::default();
        // What has survived is known now, and what has not: from here on every answer is true.
        let now = clock::now();
        self.handle(now, Input::Boot);
        self.publish(now);
        self.listeners.open();
        self.manager.ready();
        self.settle(clock::now());
        self.remember_ecosystem();
        let departure = loop {
            if let Some(departure) = self.state.departure {
                break departure;
            }
            let before = clock::now();
            let turn = before + TURN_EVERY;
            let deadline = self.next_deadline().map_or(turn, |deadline| deadline.min(turn));
            self.inbox.take(&mut batch, Some(deadline.since(before)));
            let now = clock::now();
            self.statuses.note_turn(now);
            let blind = self.notice_suspend(now);
            if deadline <= now && !blind {
                // Later than it asked to be woken, or than it could begin.
                self.state.lag.note(now, now.since(deadline.max(before)));
                self.notice_lag(now);
            }
            self.manager.beat(now);
            self.feed(now, &mut batch);
            self.supervisor.handle_timeout(now);
            self.settle(now);
            self.history.turn(now, self.statuses.about_times(), &self.statuses.snapshot());
        };
        self.history.end(clock::now(), &self.statuses.snapshot());
        if departure == Departure::Stopped {
            // On purpose: the next heartbeatd starts every realm anew. What operators have said stays, and so do the incidents
            // that are open, since a stop is no evidence that their realms are well.
            self.executor.forget_all();
        }
        self.executor.close();
        departure
    }

    fn next_deadline(&self) -> Option<Instant> {
        let publish = self.state.unpublished.then(|| self.state.published_at + PUBLISH_GAP);
        let others = [publish, self.boot_deadline, self.manager.deadline(), self.recovery_problem.deadline()];
        others.into_iter().chain([self.supervisor.poll_timeout()]).flatten().min()
    }

    fn feed(&mut self, now: Instant, batch: &mut Batch) {
        for request in batch.requests.drain(..) {
            self.request(now, request);
        }
        for notice in batch.notices.drain(..) {
            self.keep_identity(&notice);
            if let Some(input) = self.executor.input(now, notice) {
                self.handle(now, input);
            }
        }
        for (realm, run, holder) in batch.holders.drain(..) {
            self.handle(now, Input::Run { realm, run, fact: RunFact::PortHeld { holder } });
        }
        for (id, result) in batch.results.drain(..) {
            if let Some(probe) = self.prober.done(id) {
                self.history.measured(probe, &result);
            }
            self.handle(now, Input::Checked { id, result });
        }
    }

    /// The service manager keeps the identity of what runs, for whoever comes after us.
    fn keep_identity(&self, notice: &Notice) {
        match notice {
            Notice::Started { key, pid, start_time } | Notice::MainChanged { key, pid, start_time } => {
                self.manager.keep(self.executor.name(key.realm), *pid, *start_time);
            }
            Notice::Exited { key, .. } => self.manager.forget(self.executor.name(key.realm)),
            _ => {}
        }
    }

    fn handle(&mut self, now: Instant, input: Input) {
        self.supervisor.handle(now, input);
        self.state.unpublished = true;
    }

    fn request(&mut self, now: Instant, request: Request) {
        match request {
            Request::Command(command, reply) => {
                let id = self.expect_reply(reply);
                self.handle(now, Input::Command { id, command });
            }
            Request::Refresh(realm, reply) => {
                let id = self.expect_reply(reply);
                self.handle(now, Input::Refresh { id, realm });
            }
            Request::Plan(command, reply) => {
                // The asker may have gone: then nobody needs the answer.
                let _ = reply.send(self.supervisor.plan(now, &command));
            }
            Request::Reload { config, dry_run, reply } => {
                if !dry_run {
                    self.manager.reloading(now);
                }
                let answer = self.reload(now, *config, dry_run);
                if !dry_run {
                    self.manager.ready();
                }
                self.state.ready_reloads.push((reply, answer));
            }
            Request::Register { config, dry_run, reply } => {
                let answer = self.reload(now, *config, dry_run);
                self.state.ready_reloads.push((reply, answer));
            }
            Request::Files { reply } => {
                let plan = Arc::clone(self.supervisor.plan_in_force());
                let config = configured(self.in_force(&plan, &[]), &self.registering);
                // The asker may have gone: then nobody needs the answer.
                let _ = reply.send(Box::new(config));
            }
            Request::IntentWritten { version, problem } => {
                self.problems.set(OwnProblemKind::Intent, problem.clone());
                self.state.intent.note(version, problem);
            }
            Request::OwnProblem { kind, message } => self.handle(now, Input::OwnProblem { kind, message }),
            Request::Leave { upgrade } => {
                // Whoever has begun to stop everything is not to be left with half of it.
                if self.supervisor.daemon_phase() != DaemonPhase::Stopping {
                    let departure = if upgrade { Departure::Upgrade } else { Departure::Left };
                    self.state.departure = Some(departure);
                } else if upgrade {
                    // It has drained them for nothing.
                    self.listeners.open();
                }
            }
            Request::Shutdown { now: at_once } => {
                self.manager.stopping(self.heartbeat.shutdown_timeout + STOPPING_ALLOWANCE);
                self.handle(now, Input::Shutdown { now: at_once });
            }
        }
    }

    /// Puts another configuration in force: all of it, or nothing.
    fn reload(&mut self, now: Instant, config: Config, dry_run: bool) -> reload::Answer {
        if self.supervisor.daemon_phase() == DaemonPhase::Stopping {
            return Err(vec!["heartbeatd is stopping everything".to_owned()]);
        }
        let old = Arc::clone(self.supervisor.plan_in_force());
        let registering = Arc::clone(&config.registering);
        let vacant = self.supervisor.vacant();
        let Merged { config, restart, changes } = merge(self.in_force(&old, &vacant), config)?;
        self.budget.admit(&config.realms).map_err(|refused| vec![refused.to_string()])?;
        let receivers = receivers::receivers(&config.webhooks)
            .map_err(|(name, error)| vec![format!("the receiver {name} cannot be told: {error}")])?;
        if !dry_run {
            // Where a realm stands in its file may be all that has changed.
            self.registering = registering;
        }
        if dry_run || changes.is_empty() {
            return Ok((changes, self.statuses.config_revision()));
        }
        let Config { heartbeat, plan, realms, webhooks, .. } = config;
        let realms = Arc::new(realms);
        let same = |(old, new): (&RealmSpec, &RealmSpec)| old.name == new.name;
        let handed_on = old.realms().iter().zip(plan.realms()).zip(plan.infos());
        let handed_on: Vec<RealmIx> =
            handed_on.filter(|(pair, _)| !same(*pair)).map(|(_, info)| info.ix).collect();
        self.prober.equip(&plan, &realms);
        let names = plan.realms().iter().map(|realm| realm.name.clone()).collect();
        self.executor.replace(Arc::clone(&realms), names);
        self.statuses.reconfigure(realms, &handed_on);
        self.history.reconfigured();
        self.notifier.replace(receivers);
        self.incident_writer.announce();
        // Still booting: it counts from the start of heartbeatd, as before.
        let started_at = self.statuses.started_at();
        self.boot_deadline = self.boot_deadline.map(|_| started_at + heartbeat.boot_deadline);
        (self.heartbeat, self.webhooks) = (heartbeat, webhooks);
        // Both are in the same order.
        let keys = changes.restarted.iter().map(|(_, keys)| keys.join(", "));
        let restart: Vec<(RealmIx, String)> = restart.into_iter().zip(keys).collect();
        self.supervisor.reload(now, plan, &restart, changes.to_string());
        self.state.unpublished = true;
        Ok((changes, self.statuses.config_revision()))
    }

    fn in_force<'a>(&'a self, plan: &'a Plan, vacant: &'a [RealmIx]) -> InForce<'a> {
        InForce {
            heartbeat: &self.heartbeat,
            plan,
            realms: self.executor.realms(),
            webhooks: &self.webhooks,
            vacant,
        }
    }

    fn expect_reply(&mut self, reply: oneshot::Sender<Commanded>) -> CommandId {
        self.state.next_command += 1;
        let id = CommandId(self.state.next_command);
        self.state.replies.insert(id, reply);
        id
    }

    /// The host was suspended while we waited, or nothing of heartbeatd ran: nothing measured before that says anything.
    /// True when that was so.
    fn notice_suspend(&mut self, now: Instant) -> bool {
        let stopped = self.pulse.blind(now);
        let boot_time = clock::boot_time().since(now);
        let known = *self.state.asleep.get_or_insert(boot_time);
        let slept = (boot_time > known + SUSPEND_MIN).then(|| {
            self.state.asleep = Some(boot_time);
            boot_time - known
        });
        let Some(asleep) = stopped.into_iter().chain(slept).max() else { return false };
        let ms = u64::try_from(asleep.as_millis()).unwrap_or(u64::MAX);
        self.history.blind();
        tracing::warn!(ms, "heartbeatd did not run: everything is measured afresh before it is judged");
        self.handle(now, Input::Suspended { asleep });
        true
    }

    /// What belongs to no single realm goes on record.
    fn remember_ecosystem(&self) {
        let health_restarts = self.supervisor.health_restarts();
        let ecosystem = self.statuses.ecosystem(&self.boot, &health_restarts);
        // Text and numbers: nothing in it can fail.
        self.incident_db.note(ECOSYSTEM_NOTE, serde_json::to_string(&ecosystem).unwrap_or_default());
    }

    /// Carries out what was decided, tells what happened, publishes, and only then answers: whoever is told
    /// "done" finds it done.
    fn settle(&mut self, now: Instant) {
        while let Some(effect) = self.supervisor.poll_effect() {
            if let Some(input) = self.carry_out(now, effect) {
                self.handle(now, input);
            }
        }
        for (version, id, reply) in std::mem::take(&mut self.state.held_replies) {
            self.answer(version, id, reply);
        }
        self.recovery_problem.pass(now);
        let mut told = false;
        while let Some(event) = self.supervisor.poll_event() {
            told = true;
            let unhealthy = RestartCause::Unhealthy;
            let granted =
                matches!(&event.kind, EventKind::RestartOpened { cause, .. } if *cause == unhealthy);
            let step = self.statuses.note(&event);
            if granted {
                self.remember_ecosystem();
            }
            if let Some(step) = step {
                let log = step.output_of.and_then(|root| self.executor.log_of(root));
                let id = step.document.id.clone();
                if !self.incident_writer.step(step, log) {
                    self.statuses.skip_step(&id);
                }
            }
            self.recovery_problem.note(&event);
            self.history.note(&event);
            if matches!(event.kind, EventKind::Booted | EventKind::Reloaded { .. }) {
                give_back_memory();
            }
            (self.sink)(&event);
        }
        if told {
            self.statuses.save_incidents(&self.boot, &self.incident_db);
        }
        let due = self.state.unpublished && now.since(self.state.published_at) >= PUBLISH_GAP;
        let reloads = std::mem::take(&mut self.state.ready_reloads);
        if told || due || !self.state.ready_replies.is_empty() {
            self.publish(now);
        }
        for (id, reply) in self.state.ready_replies.drain(..) {
            if let Some(waiting) = self.state.replies.remove(&id) {
                let _ = waiting.send(reply);
            }
        }
        for (reply, answer) in reloads {
            // Who has gone does not want to know.
            let _ = reply.send(answer);
        }
        if self.boot_deadline.is_some_and(|deadline| now >= deadline) {
            self.boot_deadline = None;
            self.warn_of_slow_boot();
        }
    }

    fn publish(&mut self, now: Instant) {
        self.state.published_at = now;
        self.state.unpublished = false;
        let snapshot = self.supervisor.snapshot(now);
        self.manager.status(&snapshot);
        let (driver, probing) = (self.state.lag.read(), self.probing_lag.read());
        self.statuses.publish(snapshot, (driver.0.max(probing.0), driver.1.max(probing.1)));
    }

    /// An operator is answered when what he said is on disk, since it outlives heartbeatd from then on; or when it cannot be.
    fn answer(&mut self, version: u64, id: CommandId, reply: Reply) {
        match self.state.intent.outcome(version) {
            Some(written) => {
                self.state.ready_replies.push((id, Commanded { reply, unwritten: written.err() }));
            }
            None => self.state.held_replies.push((version, id, reply)),
        }
    }

    /// The version of the intent that has everything a command has changed.
    fn version_of(&self, reply: &Reply) -> u64 {
        let Reply::Accepted { plan, .. } = reply else { return 0 };
        let realms = plan.realms.iter().copied().chain(plan.steps.iter().map(|step| step.realm));
        realms.map(|realm| self.intent.version_of(self.executor.name(realm))).max().unwrap_or(0)
    }

    /// On record before whatever follows from it is done.
    fn remember(&mut self, realm: RealmIx, record: Option<&PersistedRealm>, intent: OperatorIntent) {
        self.executor.remember(realm, record);
        let anchor = self.statuses.about_times();
        self.intent.say(self.executor.name(realm), intent, anchor);
    }

    fn carry_out(&mut self, now: Instant, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Check { id, realm, probe, run, timeout } => {
                let owner = self.executor.question(realm, run).filter(|_| self.looks_at_port(realm, probe));
                let spec = &self.supervisor.plan_in_force().realm(realm).probes[probe.index()];
                let is_port_fact = spec.info.kind == ProbeKind::Port;
                self.prober.check(now, id, (realm, probe), timeout, owner, is_port_fact);
                None
            }
            Effect::CancelCheck { id } => {
                self.prober.cancel(id);
                None
            }
            Effect::Start { realm, run } => self.executor.start(realm, run),
            Effect::CheckProgram { realm, run } => self.executor.check_program(realm, run),
            Effect::Signal { realm, run, signal } => {
                self.executor.signal(realm, run, signal);
                None
            }
            Effect::SignalMain { realm, run, signal } => {
                self.executor.signal_main(realm, run, signal);
                None
            }
            Effect::Hook { realm, run, hook, timeout } => self.executor.hook(now, realm, run, hook, timeout),
            Effect::CancelHook { realm, run, hook } => {
                self.executor.cancel_hook(realm, run, hook);
                None
            }
            Effect::Persist { realm, record, intent } => {
                self.remember(realm, record.as_deref(), intent);
                None
            }
            Effect::Reply { id, reply } => {
                self.answer(self.version_of(&reply), id, reply);
                None
            }
            Effect::Halt => {
                self.state.departure = Some(Departure::Stopped);
                None
            }
        }
    }

    /// A probe that is the port fact of its realm, or that brings it along.
    fn looks_at_port(&self, realm: RealmIx, probe: ProbeIx) -> bool {
        let plan = self.supervisor.plan_in_force();
        plan.realm(realm).probes.iter().enumerate().any(|(at, spec)| {
            let own = at == probe.index() && spec.info.kind == ProbeKind::Port;
            own || spec.source == ProbeSource::PortOf(probe)
        })
    }

    /// One of our own loops is late, or all are in time again.
    fn notice_lag(&mut self, now: Instant) {
        let deciding = self.state.lag.is_late(now);
        let late = deciding || self.probing_lag.is_late(now);
        if late != self.state.late {
            self.state.late = late;
            let problem = late.then(|| {
                let (what, lag) = if deciding {
                    ("the loop that decides", self.state.lag.read())
                } else {
                    ("the threads that measure", self.probing_lag.read())
                };
                format!("heartbeatd is overloaded: {what} lags by {} ms (p99)", lag.0.as_millis())
            });
            self.problems.set(OwnProblemKind::Loop, problem);
            self.handle(now, Input::Lag { late });
        }
    }

    fn warn_of_slow_boot(&self) {
        let snapshot = self.statuses.snapshot();
        if snapshot.phase != DaemonPhase::Booting {
            return;
        }
        for realm in snapshot.in_start_order().filter(|realm| !realm.status.is_ok()) {
            tracing::warn!(realm = %realm.info.name, status = %realm.status, why = %realm.why.message,
                "not up by boot_deadline");
        }
    }
}
/// Reading configurations and starting everything takes memory that is not needed any more: whoever runs for months should not
/// keep it. On a thread of its own, since it takes milliseconds; where none can be had it is kept.
fn give_back_memory() {
    let named = std::thread::Builder::new().name("hb-trim".to_owned());
    let _ = named.spawn(heartbeat_process::give_back_free_memory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_waits_for_its_version_and_says_when_it_is_not_on_disk() {
        let full = || Some("cannot write intent: No space left on device".to_owned());
        let mut on_disk = IntentOnDisk::default();
        assert_eq!(on_disk.outcome(0), Some(Ok(())), "nothing was said");
        assert_eq!(on_disk.outcome(1), None, "nobody has tried yet");
        on_disk.note(1, full());
        assert_eq!(on_disk.outcome(1), Some(Err(full().unwrap())));
        assert_eq!(on_disk.outcome(2), None);
        // A later command about the same realm finds the same state, without another try.
        assert_eq!(on_disk.outcome(1), Some(Err(full().unwrap())));
        on_disk.note(3, None);
        for version in 0..=3 {
            assert_eq!(on_disk.outcome(version), Some(Ok(())), "{version}");
        }
        on_disk.note(4, full());
        assert_eq!(on_disk.outcome(3), Some(Ok(())), "what is on disk stays there");
        assert_eq!(on_disk.outcome(4), Some(Err(full().unwrap())));
    }
}
