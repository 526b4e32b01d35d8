//! The driver loop: wait, drain everything ready, stamp one `now`, let the core decide, carry it out, publish.
//!
//! It holds no rules and never blocks: slow work is done by threads and tasks behind the inbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_config::{Config, configured};
use heartbeat_notify::Notifier;
use heartbeat_process::{Notice, ProcessState, RunPlace};
use heartbeat_status::{
    DaemonPhase, Event, EventKind, Incident, IncidentNo, IncidentStep, Instant, OwnProblemKind, ProbeIx,
    ProbeKind, RealmIx, RealmStatus, Reason, RestartCause, RunFact, Status, printed,
};
use heartbeat_store::IncidentDb;
use heartbeat_supervisor::{Effect, Input, OperatorIntent, PersistedRealm, ProbeSource, Reply, Supervisor};

use crate::active_config::{ActiveConfig, SharedConfig};
use crate::clock;
use crate::control::listeners::Listeners;
use crate::control::mutes::Mutes;
use crate::control::reload_error::ReloadError;
use crate::inbox::{Batch, Inbox, ReloadAnswer, Request};
use crate::own_health::descriptors::Budget;
use crate::own_health::lateness::Lateness;
use crate::own_health::own_problems::OwnProblems;
use crate::own_health::ping::Pinger;
use crate::own_health::recovery_problem::{Damage, RecoveryProblem};
use crate::realms::executor::Executor;
use crate::realms::prober::Prober;
use crate::realms::usage::Sampler;
use crate::reporting::console_reporter::EventSink;
use crate::reporting::history_recorder::HistoryRecorder;
use crate::reporting::incident_store::Step;
use crate::reporting::incident_writer::IncidentWriter;
use crate::reporting::objectives::ObjectiveWatch;
use crate::reporting::status_store::StatusStore;
use crate::reporting::trace::TraceRecorder;
use crate::reporting::trace_exporter::TraceExporter;
use crate::running::decision::{Decision, Departure, Question, decide};
use crate::running::new_config::NewConfig;
use crate::running::replies::Replies;
use crate::running::systemd::Manager;
use crate::storage::intent::IntentFile;
use crate::storage::stored::{ECOSYSTEM_NOTE, StoredEcosystem};

/// The loop publishes fresh numbers alone at most this often, as often as the API makes an answer of them; a change of
/// meaning at once.
const PUBLISH_GAP: Duration = Duration::from_millis(250);
/// The loop turns at least this often, whether or not anything happens: `/livez` checks that.
const TURN_EVERY: Duration = Duration::from_secs(5);

/// Most incidents that open in one step whose processes the loop looks at: a look takes a fraction of a millisecond.
const MAX_LOOKS_PER_STEP: usize = 8;

/// Time for stopping beyond `shutdown_timeout`: KILL, its wait, and the API.
const STOPPING_ALLOWANCE: Duration = Duration::from_secs(30);

/// The loop, and everything that it owns.
pub(crate) struct Driver {
    pub(crate) config: SharedConfig,
    pub(crate) supervisor: Supervisor,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) prober: Prober,
    pub(crate) executor: Executor,
    pub(crate) sampler: Arc<Sampler>,
    pub(crate) statuses: Arc<StatusStore>,
    pub(crate) problems: Arc<OwnProblems>,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) recovery_problem: RecoveryProblem,
    pub(crate) sink: EventSink,
    pub(crate) incident_writer: IncidentWriter,
    pub(crate) incident_db: Arc<IncidentDb>,
    pub(crate) history: HistoryRecorder,
    pub(crate) objectives: ObjectiveWatch,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) mutes: Arc<Mutes>,
    pub(crate) pinger: Pinger,
    pub(crate) traces: TraceRecorder,
    pub(crate) exporter: TraceExporter,
    pub(crate) boot_deadline: Option<Instant>,
    pub(crate) budget: Budget,
    pub(crate) intent: IntentFile,
    pub(crate) manager: Manager,
    pub(crate) lateness: Lateness,
    /// The boot of the monotonic times.
    pub(crate) boot: String,
    pub(crate) state: DriverState,
}

/// State of the loop alone.
#[derive(Debug, Default)]
pub(crate) struct DriverState {
    replies: Replies,
    published_at: Instant,
    unpublished: bool,
    departure: Option<Departure>,
}

impl Driver {
    /// Runs until everything is stopped, or heartbeatd leaves.
    pub(crate) fn run(mut self) -> Departure {
        let mut batch = Batch::default();
        // Recovery is complete: from here on every answer is true.
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
            self.inbox.take(&mut batch, deadline.since(before));
            let now = clock::now();
            self.statuses.note_turn(now);
            let blind = self.notice_suspend(now);
            if deadline <= now && !blind {
                // The loop ran later than its deadline, or than it could begin.
                self.notice_lag(now, now.since(deadline.max(before)));
            }
            self.manager.beat(now);
            for decision in decide(&mut batch, self.supervisor.daemon_phase()) {
                self.carry_through(now, decision);
            }
            self.supervisor.handle_timeout(now);
            self.settle(now);
            let used = || self.sampler.take_minute();
            self.history.turn(now, self.statuses.about_times(), &self.statuses.snapshot(), used);
            self.look_at_objectives(now);
        };
        self.history.end(clock::now(), &self.statuses.snapshot(), || self.sampler.take_minute());
        if departure == Departure::Stopped {
            // On purpose: the next heartbeatd starts every realm anew. The operators' requests stay, and so do the open
            // incidents, since a stop is no evidence that their realms are well.
            self.executor.forget_all();
            let count = self.config.current().plan.realms().len();
            let all = (0..count).filter_map(|ix| u32::try_from(ix).ok()).map(RealmIx);
            self.executor.end_hooks(all, self.executor.last_command());
        }
        self.executor.close();
        departure
    }

    /// Publishes how the objectives stand, with an event for each budget that realms begin or cease to use too fast.
    fn look_at_objectives(&mut self, now: Instant) {
        let now_ms = self.statuses.about_times().wall(now).as_millis();
        let (active, snapshot) = (self.config.current(), self.statuses.snapshot());
        let Some(standings) = self.objectives.turn((now, now_ms), &active, &snapshot) else { return };
        self.statuses.set_objectives(standings.entries);
        for event in &standings.events {
            self.statuses.note(event);
            (self.sink)(event);
        }
        self.state.unpublished |= !standings.events.is_empty();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let publish = self.state.unpublished.then(|| self.state.published_at + PUBLISH_GAP);
        let others = [publish, self.boot_deadline, self.manager.deadline(), self.recovery_problem.deadline()];
        others.into_iter().chain([self.supervisor.poll_timeout()]).flatten().min()
    }

    fn carry_through(&mut self, now: Instant, decision: Decision) {
        match decision {
            Decision::Input(input) => self.handle(now, input),
            Decision::Ask(question, reply) => {
                let id = self.state.replies.expect(reply);
                self.handle(
                    now,
                    match question {
                        Question::Command(command) => Input::Command { id, command },
                        Question::Refresh(realm) => Input::Refresh { id, realm },
                    },
                );
            }
            // Here and below: a client that has gone needs no answer.
            Decision::Foretell(command, reply) => drop(reply.send(self.supervisor.plan(now, &command))),
            Decision::Configure { config, dry_run, announced, reply } => {
                if announced {
                    self.manager.reloading(now);
                }
                let answer = self.reload(now, *config, dry_run);
                if announced {
                    self.manager.ready();
                }
                self.state.replies.reloaded(reply, answer);
            }
            Decision::ShowFiles(reply) => {
                let active = self.config.current();
                let config = configured(active.in_force(&[]), &active.registering);
                let _ = reply.send(Box::new(config));
            }
            Decision::NoteIntent { version, problem } => {
                self.problems.set(OwnProblemKind::Intent, problem.as_ref().map(ToString::to_string));
                self.state.replies.note_intent(version, problem);
            }
            Decision::NoteDamage(message) => {
                self.recovery_problem.add(now, Damage { realm: None, message });
            }
            Decision::ShowMuted(realms) => {
                let plan = self.supervisor.plan_in_force();
                let muted = realms.into_iter().filter_map(|(realm, mute)| Some((plan.find(&realm)?, mute)));
                let muted = muted.collect();
                self.supervisor.set_muted(muted);
                self.state.unpublished = true;
            }
            Decision::Notice(notice) => {
                self.keep_identity(&notice);
                if let Some(input) = self.executor.input(now, notice) {
                    self.handle(now, input);
                }
            }
            Decision::Result(id, result) => {
                if let Some(probe) = self.prober.done(id) {
                    self.history.measured(probe, &result);
                    self.statuses.measured(probe, &result);
                }
                self.handle(now, Input::Checked { id, result });
            }
            Decision::Drain => {
                let inbox = Arc::clone(&self.inbox);
                self.listeners.drain_then(move || {
                    inbox.request(Request::Leave { upgrade: true });
                });
            }
            Decision::Leave(departure) => self.state.departure = Some(departure),
            Decision::Reopen => self.listeners.open(),
            Decision::Stop { at_once } => {
                let allowed = self.config.current().heartbeat.shutdown_timeout + STOPPING_ALLOWANCE;
                self.manager.stopping(allowed);
                self.handle(now, Input::Shutdown { now: at_once });
            }
        }
    }

    /// Gives the service manager the identity of a running process, for the next heartbeatd.
    fn keep_identity(&self, notice: &Notice) {
        match notice {
            Notice::Started { key, pid, start_time } | Notice::MainChanged { key, pid, start_time } => {
                self.sampler.set_main(self.config.current().name(key.realm), key.run, *pid);
                self.manager.keep(self.config.current().name(key.realm), *pid, *start_time);
            }
            Notice::Run { key, fact: RunFact::Exited { .. } } => {
                self.manager.forget(self.config.current().name(key.realm))
            }
            _ => {}
        }
    }

    fn handle(&mut self, now: Instant, input: Input) {
        self.supervisor.handle(now, input);
        self.state.unpublished = true;
    }

    /// Puts another configuration in force: all of it, or nothing.
    fn reload(&mut self, now: Instant, config: Config, dry_run: bool) -> ReloadAnswer {
        if self.supervisor.daemon_phase() == DaemonPhase::Stopping {
            return Err(ReloadError::Stopping);
        }
        let active = self.config.current();
        let registering = Arc::clone(&config.registering);
        let new = NewConfig::fit(&active, &self.supervisor.vacant(), self.budget, config)?;
        if !dry_run && new.changes.is_empty() {
            // Perhaps only the position of a realm in its file has changed.
            self.config.replace(ActiveConfig { registering, ..ActiveConfig::clone(&active) });
        }
        if dry_run || new.changes.is_empty() {
            return Ok((new.changes, active.revision));
        }
        let handed_on = new.handed_on(&active.plan);
        let NewConfig { config, changes, restart, receivers, ping, otlp, budget } = new;
        // First the side that gives descriptors away.
        self.listeners.resize(budget.tcp_connections, budget.socket_connections);
        self.prober.grant(budget.probes);
        self.budget = budget;
        let revision = active.revision + 1;
        self.supervisor.reload(now, config.plan.clone(), &restart, changes.to_string());
        let plan = Arc::clone(self.supervisor.plan_in_force());
        self.config.replace(ActiveConfig::new(revision, config, plan));
        self.executor.reconfigured();
        self.prober.reconfigured();
        self.statuses.hand_on(&handed_on);
        self.history.reconfigured();
        self.notifier.replace(receivers);
        self.pinger.set(ping);
        self.exporter.set(otlp);
        self.traces.hand_on(&handed_on);
        self.mutes.reconfigured();
        self.incident_writer.announce();
        // Still booting: the deadline counts from the start of heartbeatd, as before.
        let deadline = self.statuses.started_at() + self.config.current().heartbeat.boot_deadline;
        self.boot_deadline = self.boot_deadline.map(|_| deadline);
        self.state.unpublished = true;
        Ok((changes, revision))
    }

    /// Detects that the host slept, or that no thread of heartbeatd ran: earlier measurements say nothing then. True
    /// when that was so.
    fn notice_suspend(&mut self, now: Instant) -> bool {
        let ahead = clock::boot_time().since(now);
        let Some(asleep) = self.lateness.blind(now, ahead) else { return false };
        let ms = u64::try_from(asleep.as_millis()).unwrap_or(u64::MAX);
        self.history.blind();
        tracing::warn!(ms, "heartbeatd did not run: everything is measured afresh before it is judged");
        self.handle(now, Input::Suspended { asleep });
        true
    }

    /// Writes the state that belongs to no single realm.
    fn remember_ecosystem(&self) {
        let health_restarts = self.supervisor.health_restarts();
        let ecosystem = StoredEcosystem {
            damages: self.recovery_problem.stored(),
            ..self.statuses.ecosystem(&self.boot, &health_restarts)
        };
        // Text and numbers always serialise.
        self.incident_db.note(ECOSYSTEM_NOTE, serde_json::to_string(&ecosystem).unwrap_or_default());
    }

    /// Carries out the effects, reports the events, publishes, and only then answers: a client that gets "done" finds
    /// it done.
    fn settle(&mut self, now: Instant) {
        let mut events: Vec<Event> = std::iter::from_fn(|| self.supervisor.poll_event()).collect();
        // The hooks of a next run come after this one.
        let last = self.executor.last_command();
        let mut looked = None;
        while let Some(effect) = self.supervisor.poll_effect() {
            if !matches!(effect, Effect::Start { .. } | Effect::Persist { .. } | Effect::Check { .. }) {
                // It may end processes that the look has to see.
                looked.get_or_insert_with(|| self.look_at_failed(&events));
            }
            if let Some(input) = self.carry_out(now, effect) {
                self.handle(now, input);
            }
        }
        let mut processes = looked.unwrap_or_else(|| self.look_at_failed(&events));
        self.prober.dispatch();
        self.state.replies.release();
        self.recovery_problem.pass(now);
        events.extend(std::iter::from_fn(|| self.supervisor.poll_event()));
        let told = !events.is_empty();
        if self.supervisor.daemon_phase() != DaemonPhase::Stopping {
            self.executor.end_hooks(events.iter().filter_map(over), last);
        }
        for event in events {
            let unhealthy = RestartCause::Unhealthy;
            let granted =
                matches!(&event.kind, EventKind::RestartOpened { cause, .. } if *cause == unhealthy);
            let step = self.statuses.note(&event);
            self.trace(&event, step.as_ref());
            if granted {
                self.remember_ecosystem();
            }
            if let Some(step) = step {
                let log = step.output_of.and_then(|root| self.executor.log_of(root));
                let id = step.document.id.clone();
                let processes = processes.remove(&step.incident.no).unwrap_or_default();
                if !self.incident_writer.step(step, log, processes) {
                    self.statuses.skip_step(&id);
                }
            }
            self.recovery_problem.note(&event);
            self.history.note(&event);
            if matches!(event.kind, EventKind::Booted { .. } | EventKind::Reloaded { .. }) {
                give_back_memory();
            }
            if matches!(event.kind, EventKind::Booted { .. }) {
                self.report_held(&event);
            }
            (self.sink)(&event);
        }
        if self.recovery_problem.take_changed() {
            self.remember_ecosystem();
        }
        if told {
            self.statuses.save_incidents(&self.boot, &self.incident_db);
        }
        let due = self.state.unpublished && now.since(self.state.published_at) >= PUBLISH_GAP;
        if told || due || self.state.replies.has_ready() {
            self.publish(now);
        }
        self.state.replies.send();
        if self.boot_deadline.is_some_and(|deadline| now >= deadline) {
            self.boot_deadline = None;
            self.warn_of_slow_boot();
        }
    }

    /// A look at the processes of the realms whose incidents open. A start does not wait for it.
    fn look_at_failed(&self, events: &[Event]) -> BTreeMap<IncidentNo, Vec<ProcessState>> {
        let opened = events.iter().filter_map(|event| match &event.kind {
            EventKind::Incident { step: IncidentStep::Opened, incident, .. } => Some(incident),
            _ => None,
        });
        let look = |incident: &Arc<Incident>| {
            let snapshot = self.statuses.snapshot();
            let realm = snapshot.realm(incident.root?)?;
            let (name, process) = (realm.info.name.clone(), &realm.process);
            let place = RunPlace { realm: name, run: process.run, main: process.pid? };
            Some((incident.no, self.sampler.states(&place)))
        };
        opened.take(MAX_LOOKS_PER_STEP).filter_map(look).collect()
    }

    fn trace(&mut self, event: &Event, step: Option<&Step>) {
        if let Some(Step { step, incident, document, .. }) = step {
            self.traces.note_incident(incident, &document.id, *step == IncidentStep::Resolved);
        }
        if let Some(trace) = self.traces.note(event, self.statuses.about_times()) {
            self.exporter.export(trace);
        }
    }

    /// Realms that an operator stopped in an earlier life change nothing at a boot, so that no event names them.
    fn report_held(&mut self, booted: &Event) {
        let snapshot = self.supervisor.snapshot(booted.at);
        let is_held = |realm: &&Arc<RealmStatus>| realm.why.reason == Reason::StoppedByOperator;
        for realm in snapshot.in_start_order().filter(is_held) {
            let (from, to) = (realm.status, realm.status);
            let (reason, message) = (realm.why.reason, realm.why.message.clone());
            let kind = EventKind::StatusChanged { from, to, reason, message };
            let realm = Some((realm.info.ix, realm.info.name.clone()));
            (self.sink)(&Event { realm, kind, ..booted.clone() });
        }
    }

    fn publish(&mut self, now: Instant) {
        self.state.published_at = now;
        self.state.unpublished = false;
        let snapshot = self.supervisor.snapshot(now);
        self.manager.status(&snapshot);
        self.statuses.publish(snapshot, self.lateness.read());
    }

    /// The version of the intent that has every change of a command.
    fn version_of(&self, reply: &Reply) -> u64 {
        let Reply::Accepted { plan, .. } = reply else { return 0 };
        let active = self.config.current();
        let realms = plan.realms.iter().copied().chain(plan.steps.iter().map(|step| step.realm));
        realms.map(|realm| self.intent.version_of(active.name(realm))).max().unwrap_or(0)
    }

    /// Writes the record before any effect that follows from it.
    fn remember(&mut self, realm: RealmIx, record: Option<&PersistedRealm>, intent: OperatorIntent) {
        self.executor.remember(realm, record);
        let anchor = self.statuses.about_times();
        self.intent.say(self.config.current().name(realm), intent, anchor);
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
            Effect::Start { realm, run } => {
                self.prober.begin(self.config.current().name(realm));
                self.executor.start(realm, run)
            }
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
                let version = self.version_of(&reply);
                self.state.replies.answer(version, id, reply);
                None
            }
            Effect::Halt => {
                self.state.departure = Some(Departure::Stopped);
                None
            }
        }
    }

    /// Whether a probe is the port fact of its realm, or produces it.
    fn looks_at_port(&self, realm: RealmIx, probe: ProbeIx) -> bool {
        let plan = self.supervisor.plan_in_force();
        plan.realm(realm).probes.iter().enumerate().any(|(at, spec)| {
            let own = at == probe.index() && spec.info.kind == ProbeKind::Port;
            own || spec.source == ProbeSource::PortOf(probe)
        })
    }

    /// The loop woke up `by` too late: it, or the threads that measure, may be late for long, or in time again.
    fn notice_lag(&mut self, now: Instant, by: Duration) {
        if let Some(problem) = self.lateness.note(now, by) {
            let late = problem.is_some();
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
            let why = printed::unquoted(&realm.why.message);
            tracing::warn!(realm = %realm.info.name, status = %realm.status, %why, "not up by boot_deadline");
        }
    }
}

/// The realm whose run is over by this event.
fn over(event: &Event) -> Option<RealmIx> {
    let is_over = match &event.kind {
        EventKind::RunExited { .. } | EventKind::StartFailed { .. } => true,
        EventKind::StatusChanged { to, .. } => matches!(to, Status::Stopped | Status::Failed),
        _ => false,
    };
    event.realm.as_ref().filter(|_| is_over).map(|(realm, _)| *realm)
}

/// Reading configurations and starting everything takes memory that heartbeatd no longer needs, and it runs for months.
/// Giving it back takes milliseconds, so a thread of its own does that; without one heartbeatd keeps the memory.
fn give_back_memory() {
    let named = std::thread::Builder::new().name("hb-trim".to_owned());
    let _ = named.spawn(heartbeat_process::give_back_free_memory);
}
