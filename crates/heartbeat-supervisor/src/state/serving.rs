//! Serving: the common part of a running service and an external realm. Both are measured, have a command that may
//! restart them in place, and have to prove themselves while a restart is open.

use alloc::string::String;
use core::time::Duration;

use heartbeat_status::{Instant, RealmKind, RestartCause, RestartResult, RestartStep};

use super::{InPlaceRestart, State, in_place_restart, running, stopping};
use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::timers::TimerKind;

/// How long a restart may take to be verified in a realm without `start.timeout`, beyond `verify_for`.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(60);
/// The core looks again at a verification without a decision after `start.timeout`, or at least this.
pub(crate) const VERIFY_RECHECK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(crate) struct Serving {
    /// The realm serves since then: an open restart is verified from then on.
    pub(crate) since: Instant,
    /// The stage of a restart by its own command.
    pub(crate) in_place: Option<InPlaceRestart>,
    /// Why the restart command did not help, while the core judges the open restart again.
    pub(crate) command_failure: Option<String>,
    /// After the restart command: failures count from the first pass on, or from this time.
    pub(crate) evaluated_from: Option<Instant>,
    /// A need with `while_down = "restart"` broke under this generation.
    pub(crate) restart_with_need: bool,
}

impl Serving {
    pub(crate) fn since(since: Instant) -> Self {
        Self { since, in_place: None, command_failure: None, evaluated_from: None, restart_with_need: false }
    }
}

impl Realm {
    pub(crate) fn serving(&self) -> Option<&Serving> {
        match &self.state {
            State::Running(serving) | State::External(serving) => Some(serving),
            _ => None,
        }
    }

    pub(crate) fn serving_mut(&mut self) -> Option<&mut Serving> {
        match &mut self.state {
            State::Running(serving) | State::External(serving) => Some(serving),
            _ => None,
        }
    }

    /// The stage of a restart by its own command.
    pub(crate) fn in_place(&self) -> Option<InPlaceRestart> {
        self.serving()?.in_place
    }

    /// Whether a restart is open that the measurements decide.
    fn is_verified_now(&self, oneshot: bool) -> bool {
        self.restart_open() && !oneshot && self.serving().is_some_and(|serving| serving.in_place.is_none())
    }
}

/// The verification begins now.
pub(crate) fn begin_verification(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if let Some(serving) = realm.serving_mut() {
        serving.since = ctx.now;
    }
    resume_verification(realm, ctx);
}

/// The verification continues, with its full time.
pub(crate) fn resume_verification(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let verify_for = ctx.spec.restart.verify_for();
    ctx.arm(TimerKind::Verify, ctx.now + verify_for);
    let limit = ctx.spec.start.timeout.unwrap_or(VERIFY_TIMEOUT);
    ctx.arm(TimerKind::VerifyTimeout, ctx.now + verify_for + limit);
    verify(realm, ctx);
}

/// heartbeatd did not run for a while and measured nothing, so the verification begins anew.
pub(crate) fn was_suspended(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if realm.is_verified_now(ctx.spec.kind == RealmKind::Oneshot) {
        begin_verification(realm, ctx);
    }
}

/// Closes the open restart as verified once the realm has proved itself.
pub(crate) fn verify(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let Some(since) = realm.serving().map(|serving| serving.since) else { return };
    if !realm.is_verified_now(ctx.spec.kind == RealmKind::Oneshot) {
        return;
    }
    let long_enough = ctx.now.since(since) >= ctx.spec.restart.verify_for();
    let enough_passes = realm.live_probes_pass(ctx.spec, u32::MAX).unwrap_or(true);
    // Passes prove the realm also while a need is broken; failures do not count then.
    if long_enough && enough_passes && realm.assess(ctx.spec).is_pass() {
        ctx.leave_stage();
        realm.restart_step(ctx, RestartStep::Verified);
        realm.close_restart(ctx, RestartResult::Verified);
    }
}

/// The restart was not verified in time: it has failed, unless the realm is not to blame.
fn verification_overdue(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    verify(realm, ctx);
    if !realm.restart_open() {
        return;
    }
    let runs = matches!(realm.state, State::Running(_));
    let excused = realm.dependencies.needs.excuses()
        || realm.is_spared(ctx.spec, ctx.now)
        || realm.wish.pause.is_some()
        // A realm that passes again, or fails only probes that do not restart it, is looked at again later.
        || (runs && !realm.a_live_probe_fails(ctx.spec));
    if excused {
        let limit = ctx.spec.start.timeout.unwrap_or(VERIFY_TIMEOUT).max(VERIFY_RECHECK);
        ctx.arm(TimerKind::VerifyTimeout, ctx.now + limit);
        return;
    }
    let detail = "the restart could not be verified in time";
    if runs {
        stopping::restart(realm, ctx, RestartCause::StartTimedOut, detail.into());
    } else {
        in_place_restart::failed(realm, ctx, detail);
    }
}

pub(crate) fn on_result(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    in_place_restart::on_result(realm, ctx);
    verify(realm, ctx);
    realm.evaluate(ctx);
}

pub(crate) fn on_deadline(realm: &mut Realm, ctx: &mut Ctx<'_>, timer: TimerKind) {
    match timer {
        TimerKind::ActOnFailure => realm.evaluate(ctx),
        TimerKind::Verify => verify(realm, ctx),
        TimerKind::VerifyTimeout => verification_overdue(realm, ctx),
        TimerKind::StartTimeout => running::run_too_long(realm, ctx),
        TimerKind::Retry | TimerKind::HookLost => in_place_restart::on_deadline(realm, ctx),
        _ => {}
    }
}
