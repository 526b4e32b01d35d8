//! The restart transaction of a realm: opened, counted against its budget or not, and closed with a result.

use alloc::boxed::Box;
use alloc::string::String;

use heartbeat_restart::RestartWhen;
use heartbeat_status::{
    Attempt, EventKind, Instant, RestartAttempt, RestartCause, RestartId, RestartResult, RestartStep, Status,
};

use crate::RealmSpec;
use crate::ctx::Ctx;
use crate::realm::Realm;

impl Realm {
    /// Whether a restart of the realm is open.
    pub(crate) fn restart_open(&self) -> bool {
        self.history.open().is_some()
    }

    /// Whether a restart for the realm's health is open.
    pub(crate) fn is_healing(&self) -> bool {
        self.history.open().is_some_and(|restart| restart.cause == RestartCause::Unhealthy)
    }

    /// Opens a restart transaction for a fault that was detected now, or joins the open one.
    pub(crate) fn open_restart(
        &mut self,
        ctx: &mut Ctx<'_>,
        cause: RestartCause,
        detail: String,
    ) -> RestartId {
        self.history.faulted |= cause.is_debited();
        if let Some(record) = self.history.open() {
            return record.id;
        }
        let attempt = self.history.tracker.used(&ctx.spec.restart, ctx.now) + 1;
        self.open_attempt(ctx, cause, detail, Some(attempt))
    }

    /// Opens a restart transaction that does not count against the budget, or joins the open one.
    pub(crate) fn open_uncounted(&mut self, ctx: &mut Ctx<'_>, cause: RestartCause, detail: String) {
        if !self.restart_open() {
            self.open_attempt(ctx, cause, detail, None);
        }
    }

    /// A fault was detected now: opens the restart that follows, if one does. Without budget, or by its policy, the realm
    /// is not started again. A restart of a realm that may blame a need for the fault is not counted.
    pub(crate) fn open_next(
        &mut self,
        ctx: &mut Ctx<'_>,
        cause: RestartCause,
        detail: String,
        may_blame: bool,
    ) {
        self.history.faulted |= cause.is_debited();
        let policy = &ctx.spec.restart;
        if may_blame {
            self.open_uncounted(ctx, cause, detail);
        } else if policy.when() != RestartWhen::Never && self.history.tracker.may_restart(policy, ctx.now) {
            self.open_restart(ctx, cause, detail);
        }
    }

    /// Opens a restart transaction with its number in the budget, which has counted it already. None is open.
    pub(crate) fn open_attempt(
        &mut self,
        ctx: &mut Ctx<'_>,
        cause: RestartCause,
        detail: String,
        attempt: Option<u32>,
    ) -> RestartId {
        self.history.faulted |= cause.is_debited();
        self.history.restarts_opened += 1;
        let id = RestartId(self.history.restarts_opened);
        // The fault was detected when the realm went down; the circuit breaker may have held its restart since then.
        let by_probes = cause == RestartCause::Unhealthy && self.shown.status == Status::Down;
        let detected = if by_probes { self.shown.status_since.min(ctx.now) } else { ctx.now };
        let steps = alloc::vec![(RestartStep::Detected, detected)];
        self.history.relapsed |=
            cause.is_debited() && self.was_verified_since(detected - ctx.spec.restart.reset_after());
        let of = Attempt::counted(cause, attempt, ctx.spec.restart.burst());
        ctx.event(EventKind::RestartOpened { id, cause, detail: detail.clone(), attempt: of });
        self.history.restart = Some(RestartAttempt { id, cause, detail, attempt, steps, result: None });
        id
    }

    /// Whether the last restart was for a fault, and was verified at `since` or later.
    fn was_verified_since(&self, since: Instant) -> bool {
        let last = self.history.restart.as_ref().filter(|last| last.cause.is_debited());
        let verified = last.filter(|last| last.result == Some(RestartResult::Verified));
        verified.and_then(|last| last.steps.last()).is_some_and(|(_, at)| *at > since)
    }

    /// Restarts that count against the budget, with the open one: the tracker counts that only when the old run has
    /// ended.
    pub(crate) fn budget_used(&self, spec: &RealmSpec, now: Instant) -> u32 {
        let open = self.history.open();
        let attempt = open.and_then(|open| Attempt::counted(open.cause, open.attempt, spec.restart.burst()));
        self.history.tracker.used(&spec.restart, now).max(attempt.map_or(0, |attempt| attempt.number))
    }

    /// An operator resets the budget. The open restart counts as the operator's from now on.
    pub(crate) fn forget_attempts(&mut self) {
        self.history.tracker.reset();
        self.history.relapsed = false;
        if let Some(open) = self.history.open_mut() {
            open.attempt = None;
        }
    }

    /// The detail of a restart for this cause when no failure explains it.
    pub(crate) fn words_for(&self, cause: RestartCause) -> String {
        match (cause, &self.shown.renewed) {
            (RestartCause::Requested, _) => "requested".into(),
            (RestartCause::Reloaded, Some(keys)) => alloc::format!("reloaded ({keys})"),
            (RestartCause::Reloaded, None) => "reloaded".into(),
            (RestartCause::DependencyRestarted, _) => match &self.shown.restarted_with {
                Some(with) => alloc::format!("restarted together with {with}"),
                None => "a realm that it needs was restarted".into(),
            },
            (other, _) => other.as_str().into(),
        }
    }

    /// Reports a cooldown, or that heartbeatd has given up.
    pub(crate) fn tell_given_up(&mut self, ctx: &mut Ctx<'_>, until: Option<Instant>) {
        let retry_in = until.map(|until| until.since(ctx.now));
        let (burst, window) = (ctx.spec.restart.burst(), ctx.spec.restart.window());
        if self.history.tracker.used(&ctx.spec.restart, ctx.now) >= burst {
            ctx.event(EventKind::BudgetSpent { burst, window, retry_in });
        } else {
            let why = self.history.failure.clone().unwrap_or_else(|| "the trial failed".into());
            ctx.event(EventKind::CooldownBegan { why, retry_in });
        }
    }

    /// Notes a step of the open restart, once.
    pub(crate) fn restart_step(&mut self, ctx: &Ctx<'_>, step: RestartStep) {
        if let Some(record) = self.history.open_mut()
            && record.steps.iter().all(|(known, _)| *known != step)
        {
            record.steps.push((step, ctx.now));
        }
    }

    /// Closes the open restart, if there is one.
    pub(crate) fn close_restart(&mut self, ctx: &mut Ctx<'_>, result: RestartResult) {
        let Some(record) = self.history.open_mut() else { return };
        record.result = Some(result);
        if result != RestartResult::Verified {
            record.steps.push((RestartStep::Ended, ctx.now));
        }
        let detected = record.steps.first().map_or(ctx.now, |(_, at)| *at);
        let took_ms = u64::try_from(ctx.now.since(detected).as_millis()).unwrap_or(u64::MAX);
        let id = record.id;
        let attempt = Attempt::counted(record.cause, record.attempt, ctx.spec.restart.burst());
        let restart = Box::new(record.clone());
        ctx.event(EventKind::RestartClosed { id, attempt, result, took_ms, restart });
        if let Some(serving) = self.serving_mut() {
            serving.command_failure = None;
        }
    }
}
