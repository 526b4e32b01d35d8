//! Waiting: the realm should run, and its gates do not hold yet (or heartbeatd has not booted).

use core::time::Duration;

use heartbeat_status::{Instant, RestartResult, RunFact};

use super::{State, StateRequest, no_process, starting, stopped};
use crate::ctx::{Ctx, Mode};
use crate::realm::Realm;
use crate::timers::TimerKind;

/// The realm waits this long for `wants` and `after`, counted from the moment the needs hold.
const ORDER_WAIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting {
    /// The end of the wait for `wants` and `after`; set once the needs hold.
    order_until: Option<Instant>,
    behind: Option<Behind>,
}

/// What the realm waits for, whatever its gates say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The last run ended while a need was broken: no need is broken any more. Otherwise the realm would crash in a
    /// circle without a debit.
    Needs,
    /// The realm is restarted with its dependents: these are stopped.
    Dependents,
}

impl Waiting {
    /// Waiting until no need is broken any more.
    pub(crate) fn mended() -> Self {
        Self { order_until: None, behind: Some(Behind::Needs) }
    }

    pub(crate) fn behind(&self) -> Option<Behind> {
        self.behind
    }
}

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.set_state(ctx, State::waiting());
    proceed(realm, ctx);
}

/// Waits until no need is broken any more, and then for the gates.
pub(crate) fn enter_until_mended(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.set_state(ctx, State::Waiting(Waiting::mended()));
    proceed(realm, ctx);
}

/// Waits until no dependent is being stopped any more, and then for the gates.
pub(crate) fn enter_behind_dependents(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.set_state(ctx, State::Waiting(Waiting { order_until: None, behind: Some(Behind::Dependents) }));
    proceed(realm, ctx);
}

/// Starts the realm as soon as all conditions hold.
fn proceed(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if realm.shutting_down() {
        stopped::enter(realm, ctx);
        return;
    }
    if realm.wish.is_held_by_pause() {
        ctx.disarm(TimerKind::StartDue);
        return;
    }
    let State::Waiting(waiting) = &mut realm.state else { return };
    waiting.behind = waiting.behind.filter(|behind| match behind {
        Behind::Needs => realm.dependencies.needs.excuses(),
        Behind::Dependents => realm.dependencies.dependents_stopping,
    });
    if realm.dependencies.mode == Mode::Cold || !realm.dependencies.needs_hold || waiting.behind.is_some() {
        waiting.order_until = None;
        ctx.disarm(TimerKind::StartDue);
        return;
    }
    let order_until = *waiting.order_until.get_or_insert(ctx.now + ORDER_WAIT);
    if !realm.dependencies.order_holds && ctx.now < order_until {
        ctx.arm(TimerKind::StartDue, order_until);
        return;
    }
    if ctx.now < realm.history.not_before {
        ctx.arm(TimerKind::StartDue, realm.history.not_before);
        return;
    }
    starting::enter(realm, ctx);
}

/// A person wants it now.
fn forgive(realm: &mut Realm, ctx: &mut Ctx<'_>, behind: Option<Behind>) {
    if let State::Waiting(waiting) = &mut realm.state {
        waiting.behind = behind;
    }
    realm.history.not_before = realm.history.gap_until;
    proceed(realm, ctx);
}

pub(crate) fn on_exit(_realm: &mut Realm, ctx: &mut Ctx<'_>, _fact: RunFact) {
    no_process(ctx);
}

pub(crate) fn on_deadline(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    proceed(realm, ctx);
}

pub(crate) fn on_dependencies(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    proceed(realm, ctx);
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        StateRequest::Rest | StateRequest::Kill => {
            realm.close_restart(ctx, RestartResult::Abandoned);
            stopped::enter(realm, ctx);
        }
        // The realm is on its way already; the later request joins the earlier one.
        StateRequest::Run => forgive(realm, ctx, None),
        StateRequest::Again(cause) => {
            let words = realm.words_for(cause);
            realm.open_restart(ctx, cause, words);
            forgive(realm, ctx, Some(Behind::Dependents));
        }
    }
}
