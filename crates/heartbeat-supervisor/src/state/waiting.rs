//! Waiting: it should run, and its gates do not hold yet (or heartbeatd has not booted).

use core::time::Duration;

use heartbeat_status::{Instant, RestartResult, RunFact};

use super::{Intent, State, no_process, starting, stopped};
use crate::cx::{Cx, Mode};
use crate::realm::Realm;
use crate::timers::TimerKind;

/// `wants` and `after` are waited for this long, counted from the moment the needs hold.
const ORDER_WAIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting {
    /// Until when `wants` and `after` are waited for; set once the needs hold.
    order_until: Option<Instant>,
    /// Its last run ended while a need was broken: it waits until none is, whatever its gates say, or it would
    /// crash in a circle without a debit.
    until_mended: bool,
}

impl Waiting {
    /// Waiting until no need is broken any more.
    pub(crate) fn mended() -> Self {
        Self { order_until: None, until_mended: true }
    }

    pub(crate) fn until_mended(&self) -> bool {
        self.until_mended
    }
}

pub(crate) fn enter(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.set_state(cx, State::waiting());
    cx.disarm(TimerKind::State);
    cx.disarm(TimerKind::Second);
    proceed(realm, cx);
}

/// Waits until no need is broken any more, and then for the gates.
pub(crate) fn enter_until_mended(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.set_state(cx, State::Waiting(Waiting::mended()));
    cx.disarm(TimerKind::State);
    cx.disarm(TimerKind::Second);
    proceed(realm, cx);
}

/// Starts as soon as everything that has to hold does.
fn proceed(realm: &mut Realm, cx: &mut Cx<'_>) {
    if realm.shutting_down() {
        stopped::enter(realm, cx);
        return;
    }
    if realm.is_held_by_pause() {
        cx.disarm(TimerKind::State);
        return;
    }
    let State::Waiting(waiting) = &mut realm.state else { return };
    waiting.until_mended &= realm.around.needs.excuses();
    if realm.around.mode == Mode::Cold || !realm.around.needs_hold || waiting.until_mended {
        waiting.order_until = None;
        cx.disarm(TimerKind::State);
        return;
    }
    let order_until = *waiting.order_until.get_or_insert(cx.now + ORDER_WAIT);
    if !realm.around.order_holds && cx.now < order_until {
        cx.arm(TimerKind::State, order_until);
        return;
    }
    if cx.now < realm.not_before {
        cx.arm(TimerKind::State, realm.not_before);
        return;
    }
    starting::enter(realm, cx);
}

/// A person wants it now.
fn forgive(realm: &mut Realm, cx: &mut Cx<'_>) {
    if let State::Waiting(waiting) = &mut realm.state {
        waiting.until_mended = false;
    }
    realm.not_before = realm.gap_until;
    proceed(realm, cx);
}

pub(crate) fn on_exit(_realm: &mut Realm, cx: &mut Cx<'_>, _fact: RunFact) {
    no_process(cx);
}

pub(crate) fn on_deadline(realm: &mut Realm, cx: &mut Cx<'_>) {
    proceed(realm, cx);
}

pub(crate) fn on_around(realm: &mut Realm, cx: &mut Cx<'_>) {
    proceed(realm, cx);
}

pub(crate) fn on_command(realm: &mut Realm, cx: &mut Cx<'_>, intent: Intent) {
    match intent {
        Intent::Rest | Intent::Kill => {
            realm.close_restart(cx, RestartResult::Abandoned);
            stopped::enter(realm, cx);
        }
        // It is on its way already; the later request joins the earlier one.
        Intent::Run => forgive(realm, cx),
        Intent::Again(cause) => {
            let words = realm.words_for(cause);
            realm.open_restart(cx, cause, words);
            forgive(realm, cx);
        }
    }
}
