//! One realm inside the core. Its data is grouped by lifetime.

use heartbeat_status::{Desired, EventKind, Instant, Pause, RealmKind};

use crate::RealmSpec;
use crate::ctx::{Ctx, DependencyView, Mode};
use crate::durable::{Generation, History, Wish, Written};
use crate::evidence::Evidence;
use crate::evidence::Probing;
use crate::shown::Shown;
use crate::state::{self, Serving, State};
use crate::timers::TimerKind;

#[derive(Clone, Debug)]
pub(crate) struct Realm {
    /// The desired state.
    pub(crate) wish: Wish,
    /// The history over all generations.
    pub(crate) history: History,
    /// The process and its notifications; replaced as a whole.
    pub(crate) generation: Generation,
    /// The results of the probes in this generation.
    pub(crate) evidence: Evidence,
    /// The state of the realm.
    pub(crate) state: State,
    /// The part that other realms and readers see.
    pub(crate) shown: Shown,
    /// The summary of the neighbours.
    pub(crate) dependencies: DependencyView,
    /// The durable half as the core last emitted it.
    pub(crate) written: Written,
}

impl Realm {
    pub(crate) fn new(spec: &RealmSpec) -> Self {
        let desired = if spec.manual { Desired::Down } else { Desired::Up };
        let state = match (spec.kind, desired) {
            (RealmKind::External, _) => State::External(Serving::since(Instant::ZERO)),
            (_, Desired::Up) => State::waiting(),
            (_, Desired::Down) => State::Stopped { start_due: false },
        };
        let mut realm = Self {
            wish: Wish::new(desired),
            history: History::default(),
            generation: Generation::default(),
            evidence: Evidence {
                probes: spec.probes.iter().map(|_| Probing::new()).collect(),
                ..Evidence::default()
            },
            state,
            shown: Shown::default(),
            dependencies: DependencyView::alone(Mode::Cold),
            written: Written::default(),
        };
        realm.shown.status = realm.derive_status(spec);
        realm.shown.facts = realm.derive_facts(spec);
        realm
    }

    /// Another process of the tree is the main one. The generation and the uptime stay the same.
    pub(crate) fn main_changed(&mut self, ctx: &mut Ctx<'_>, pid: u32) {
        if self.generation.pid.is_none() {
            ctx.ignore("there is no process in this state");
            return;
        }
        self.generation.pid = Some(pid);
        self.evidence.stopped_by_signal = false;
        ctx.event(EventKind::MainChanged { run: self.generation.run, pid });
        if core::mem::take(&mut self.generation.forked) && self.has_program() {
            self.process_passes(ctx);
            state::on_daemon(self, ctx);
        }
    }

    /// The started program has ended. Until the daemon that it may have left behind is known, nothing proves that the
    /// realm runs.
    pub(crate) fn program_forked(&mut self, ctx: &mut Ctx<'_>) {
        if !self.has_program() {
            ctx.ignore("there is no process in this state");
            return;
        }
        self.generation.forked = true;
        ctx.event(EventKind::Forked { run: self.generation.run });
        self.process_stopped(ctx);
    }

    /// Whether its program was exec'd, and heartbeatd has not begun to end it.
    fn has_program(&self) -> bool {
        let execed = match &self.state {
            State::Starting(starting) => starting.execed(),
            State::Running(_) => true,
            _ => false,
        };
        execed && self.generation.pid.is_some()
    }

    /// Whether the realm should have a process now. A paused realm keeps the one it has, and only an operator gives it
    /// another one.
    pub(crate) fn wants_to_run(&self) -> bool {
        self.wish.desired == Desired::Up
            && self.dependencies.mode == Mode::Booted
            && !self.wish.is_held_by_pause()
    }

    /// Whether only a pause keeps the realm from running.
    pub(crate) fn held_by_pause(&self) -> bool {
        self.wish.is_held_by_pause()
            && self.wish.desired == Desired::Up
            && self.dependencies.mode == Mode::Booted
    }

    /// A pause begins.
    pub(crate) fn begin_pause(&mut self, ctx: &mut Ctx<'_>, pause: Pause) {
        match pause.until {
            Some(until) => ctx.arm(TimerKind::Pause, until),
            None => ctx.disarm(TimerKind::Pause),
        }
        ctx.event(EventKind::Paused { reason: pause.reason.clone(), until: pause.until });
        self.wish.pause = Some(pause);
        self.clear_cause(ctx);
    }

    /// The pause is over: measures everything afresh before it judges.
    pub(crate) fn end_pause(&mut self, ctx: &mut Ctx<'_>, expired: bool) {
        if self.wish.pause.take().is_none() {
            return;
        }
        self.wish.ordered_in_pause = false;
        ctx.disarm(TimerKind::Pause);
        ctx.event(EventKind::Resumed { expired });
        self.probe_afresh(ctx);
        state::on_resumed(self, ctx);
    }

    pub(crate) fn shutting_down(&self) -> bool {
        matches!(self.dependencies.mode, Mode::ShuttingDown | Mode::Killing)
    }

    /// Every deciding probe has a conclusive result that began after `since`.
    pub(crate) fn measured_since(&self, since: Instant) -> bool {
        self.evidence.probes.iter().all(|probe| probe.conclusive_since(since))
    }

    /// Changes the state, and reports it. Disarms the timers of the old state.
    pub(crate) fn set_state(&mut self, ctx: &mut Ctx<'_>, state: State) {
        ctx.out.timers.leave_state(ctx.ix);
        let (from, to) = (self.state.phase(), state.phase());
        self.state = state;
        if from != to {
            ctx.event(EventKind::PhaseChanged { from, to });
        }
    }
}
