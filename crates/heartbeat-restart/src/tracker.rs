//! The memory of one realm's restarts, and the decision.

use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{Exit, Instant, RestartCause};

use crate::backoff::{doubled, jittered};
use crate::budget::Budget;
use crate::{RestartPolicy, WhenSpent};

/// What follows the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start it again.
    StartAt {
        /// Not before this.
        at: Instant,
        /// Debits inside the window, this one included; for display as `2 of 6`.
        attempt: u32,
    },
    /// Leave it at that, as the policy says.
    LeaveStopped {
        /// It ended with success.
        success: bool,
    },
    /// The budget is spent: one trial after a long wait.
    Cooldown {
        /// When the trial is made.
        until: Instant,
        /// Which cooldown in a row this is, from 1.
        round: u32,
    },
    /// The budget is spent, and nothing more happens by itself.
    Fail,
}

/// What has been spent, and how far the delays have grown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartTracker {
    budget: Budget,
    /// The run under way was healthy without a break for `reset_after`: its first crash restarts at once.
    stable: bool,
    /// How often the delay of counted restarts has doubled since the last stable run.
    attempts: u32,
    /// How often the delay of restarts that are not counted has doubled since the last stable run.
    uncounted: u32,
    /// Cooldowns in a row since the last reset.
    cooldowns: u32,
}

/// What a [`RestartTracker`] is made of, to be kept over a restart of heartbeatd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exhausted {
    /// When the budget was debited, oldest first.
    pub used_at: Vec<Instant>,
    /// The run under way was healthy without a break for `reset_after`.
    pub stable: bool,
    /// How often the delay of counted restarts has doubled.
    pub attempts: u32,
    /// How often the delay of restarts that are not counted has doubled.
    pub uncounted: u32,
    /// Cooldowns in a row since the last stable run.
    pub cooldowns: u32,
}

impl RestartTracker {
    /// A tracker that continues from a record.
    #[must_use]
    pub fn restored(exhausted: Exhausted) -> Self {
        let Exhausted { used_at, stable, attempts, uncounted, cooldowns } = exhausted;
        Self { budget: Budget::restored(used_at), stable, attempts, uncounted, cooldowns }
    }

    /// What it is made of.
    #[must_use]
    pub fn remembered(&self) -> Exhausted {
        Exhausted {
            used_at: self.budget.used_at().collect(),
            stable: self.stable,
            attempts: self.attempts,
            uncounted: self.uncounted,
            cooldowns: self.cooldowns,
        }
    }

    /// A realm that has not been restarted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Debits inside the window that ends at `now`.
    #[must_use]
    pub fn used(&self, policy: &RestartPolicy, now: Instant) -> u32 {
        self.budget.used(now, policy.window())
    }

    /// It has been healthy without a break since `since`: after `reset_after` the run is stable, and delays and
    /// cooldowns begin anew. What was debited inside the window stays debited: the budget is never exceeded.
    pub fn on_healthy_since(&mut self, policy: &RestartPolicy, since: Instant, now: Instant) {
        if now.since(since) >= policy.reset_after() {
            (self.stable, self.attempts, self.uncounted, self.cooldowns) = (true, 0, 0, 0);
        }
    }

    /// A new run begins: whether it is stable has to show.
    pub fn on_start(&mut self) {
        self.stable = false;
    }

    /// A person takes over: everything begins anew, the budget too.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// What was debited at `since` or later was another realm's fault.
    pub fn refund(&mut self, since: Instant) {
        let used_at = self.budget.used_at().filter(|at| *at < since).collect();
        self.budget = Budget::restored(used_at);
    }

    /// A debited restart at `now` would be within the budget.
    #[must_use]
    pub fn may_restart(&self, policy: &RestartPolicy, now: Instant) -> bool {
        self.cooldowns == 0 && self.used(policy, now) < policy.burst()
    }

    /// Decides what follows a run that ended at `now` for `cause`; `exit` only when it ended by itself. `dice` is
    /// uniform over all `u32` and moves the delay within its jitter.
    pub fn decide(
        &mut self,
        policy: &RestartPolicy,
        now: Instant,
        cause: RestartCause,
        exit: Option<&Exit>,
        dice: u32,
    ) -> Decision {
        match cause {
            // A person is the bound of these.
            RestartCause::Requested | RestartCause::Reloaded => {
                return Decision::StartAt { at: now, attempt: self.used(policy, now) };
            }
            RestartCause::DependencyRestarted => return self.decide_uncounted(policy, now, dice),
            RestartCause::Exited
            | RestartCause::Unhealthy
            | RestartCause::OutOfMemory
            | RestartCause::StartTimedOut => {}
        }
        if !policy.restarts_after(exit) {
            let success = exit.is_some_and(|exit| policy.is_success(exit) && !policy.is_final(exit));
            return Decision::LeaveStopped { success };
        }
        // During a cooldown there is one trial only, and it has just failed.
        if self.cooldowns > 0 || !self.budget.take(now, policy.burst(), policy.window()) {
            return self.exhausted(policy, now);
        }
        // The first crash after a stable run restarts at once; every other one waits, and the delay doubles.
        if core::mem::take(&mut self.stable) {
            return Decision::StartAt { at: now, attempt: self.used(policy, now) };
        }
        let delay = self.delay(policy, self.attempts, dice);
        self.attempts = self.attempts.saturating_add(1);
        Decision::StartAt { at: now + delay, attempt: self.used(policy, now) }
    }

    /// A restart for another realm's fault: no debit, the first after a stable run at once, and from then on a delay
    /// that doubles up to `backoff_max`. The delay is the bound of these restarts.
    pub fn decide_uncounted(&mut self, policy: &RestartPolicy, now: Instant, dice: u32) -> Decision {
        let delay = match self.uncounted.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => self.delay(policy, doublings, dice),
        };
        self.uncounted = self.uncounted.saturating_add(1);
        Decision::StartAt { at: now + delay, attempt: self.used(policy, now) }
    }

    /// A start that failed for want of something of ours (processes, memory, descriptors): a growing delay, and
    /// no debit.
    pub fn decide_free(&mut self, policy: &RestartPolicy, now: Instant, dice: u32) -> Decision {
        let delay = self.delay(policy, self.attempts, dice);
        self.attempts = self.attempts.saturating_add(1);
        Decision::StartAt { at: now + delay, attempt: self.used(policy, now) }
    }

    fn delay(&self, policy: &RestartPolicy, doublings: u32, dice: u32) -> Duration {
        let settings = policy.settings();
        jittered(doubled(settings.backoff, doublings, settings.backoff_max), settings.jitter_percent, dice)
    }

    fn exhausted(&mut self, policy: &RestartPolicy, now: Instant) -> Decision {
        let settings = policy.settings();
        match settings.when_spent {
            WhenSpent::Fail => Decision::Fail,
            WhenSpent::Cooldown => {
                let wait = policy.cooldown(self.cooldowns);
                self.cooldowns = self.cooldowns.saturating_add(1);
                Decision::Cooldown { until: now + wait, round: self.cooldowns }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PolicySettings, RestartWhen};
    use proptest::prelude::*;

    const MIDDLE: u32 = u32::MAX / 2;

    fn crash(tracker: &mut RestartTracker, policy: &RestartPolicy, at_ms: u64) -> Decision {
        let exit = Exit::code(1);
        tracker.decide(policy, Instant::from_millis(at_ms), RestartCause::Exited, Some(&exit), MIDDLE)
    }

    /// Of a run that was healthy for `reset_after`.
    fn stable(policy: &RestartPolicy) -> RestartTracker {
        let mut tracker = RestartTracker::new();
        tracker.on_healthy_since(policy, Instant::ZERO, Instant::ZERO + policy.reset_after());
        tracker
    }

    fn delay_ms(decision: Decision, at_ms: u64) -> u128 {
        match decision {
            Decision::StartAt { at, .. } => at.since(Instant::from_millis(at_ms)).as_millis(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_crash_after_a_stable_run_restarts_at_once_and_then_it_backs_off() {
        let policy = RestartPolicy::service_default();
        let mut tracker = stable(&policy);
        let delays: Vec<u128> =
            (0..6).map(|n| delay_ms(crash(&mut tracker, &policy, n * 100), n * 100)).collect();
        // The dice is in the middle, so no jitter but for the rounding.
        assert_eq!(delays, [0, 499, 999, 1_999, 3_999, 7_999]);
        assert_eq!(tracker.used(&policy, Instant::from_millis(600)), 6);
        let exhausted = crash(&mut tracker, &policy, 600);
        assert_eq!(exhausted, Decision::Cooldown { until: Instant::from_millis(300_600), round: 1 });
    }

    #[test]
    fn without_a_stable_run_the_first_crash_waits_too() {
        let policy = RestartPolicy::service_default();
        assert_eq!(delay_ms(crash(&mut RestartTracker::new(), &policy, 0), 0), 499, "a first run");
        let mut tracker = stable(&policy);
        tracker.on_start();
        assert_eq!(delay_ms(crash(&mut tracker, &policy, 0), 0), 499, "a run after the stable one");
        let mut tracker = RestartTracker::new();
        let almost = Instant::ZERO + policy.reset_after() - Duration::from_nanos(1);
        tracker.on_healthy_since(&policy, Instant::ZERO, almost);
        assert_eq!(delay_ms(crash(&mut tracker, &policy, 0), 0), 499, "almost stable");
    }

    #[test]
    fn the_dice_move_every_delay_within_the_jitter() {
        let policy = RestartPolicy::service_default();
        let exit = Exit::code(1);
        let delay = |dice: u32| {
            let mut tracker = RestartTracker::new();
            let crashed = RestartCause::Exited;
            delay_ms(tracker.decide(&policy, Instant::ZERO, crashed, Some(&exit), dice), 0)
        };
        assert_eq!((delay(0), delay(u32::MAX)), (400, 600), "0.5 s, 20 % less and more");
        let uncounted = |dice: u32| {
            let mut tracker = RestartTracker::new();
            let _ = tracker.decide_uncounted(&policy, Instant::ZERO, dice);
            delay_ms(tracker.decide_uncounted(&policy, Instant::ZERO, dice), 0)
        };
        assert_eq!((uncounted(0), uncounted(u32::MAX)), (400, 600));
    }

    #[test]
    fn restarts_that_are_not_counted_have_a_delay_for_their_bound() {
        let policy = RestartPolicy::service_default();
        let mut tracker = RestartTracker::new();
        let mut restart = || {
            let cause = RestartCause::DependencyRestarted;
            delay_ms(tracker.decide(&policy, Instant::ZERO, cause, None, MIDDLE), 0)
        };
        let delays: Vec<u128> = (0..9).map(|_| restart()).collect();
        assert_eq!(delays, [0, 499, 999, 1_999, 3_999, 7_999, 15_999, 31_999, 59_999]);
        assert_eq!(tracker.used(&policy, Instant::ZERO), 0);
        tracker.on_healthy_since(&policy, Instant::ZERO, Instant::ZERO + policy.reset_after());
        let again = tracker.decide(&policy, Instant::ZERO, RestartCause::DependencyRestarted, None, MIDDLE);
        assert_eq!(delay_ms(again, 0), 0, "after a stable run the first is made at once again");
    }

    #[test]
    fn a_final_code_is_a_failure_even_where_it_is_a_success_code() {
        let settings = PolicySettings {
            success_codes: alloc::vec![78],
            never_codes: alloc::vec![78],
            ..PolicySettings::service()
        };
        let policy = RestartPolicy::new(settings).unwrap();
        let exit = Exit::code(78);
        let decision =
            RestartTracker::new().decide(&policy, Instant::ZERO, RestartCause::Exited, Some(&exit), 0);
        assert_eq!(decision, Decision::LeaveStopped { success: false });
    }

    #[test]
    fn cooldowns_double_until_health_resets_them() {
        let policy = RestartPolicy::new(PolicySettings { burst: 1, ..PolicySettings::service() }).unwrap();
        let mut tracker = RestartTracker::new();
        crash(&mut tracker, &policy, 0);
        let mut at = 1u64;
        let mut waits = Vec::new();
        for _ in 0..6 {
            let Decision::Cooldown { until, .. } = crash(&mut tracker, &policy, at) else { panic!() };
            waits.push(until.since(Instant::from_millis(at)).as_secs());
            at = until.as_nanos() / 1_000_000;
        }
        assert_eq!(waits, [300, 600, 1_200, 2_400, 3_600, 3_600]);
        let healthy = Instant::from_millis(at);
        tracker.on_healthy_since(&policy, healthy, healthy + Duration::from_secs(59));
        assert!(matches!(
            crash(&mut tracker.clone(), &policy, at + 59_000),
            Decision::Cooldown { round: 7, .. }
        ));
        tracker.on_healthy_since(&policy, healthy, healthy + Duration::from_secs(60));
        assert_eq!(delay_ms(crash(&mut tracker, &policy, at + 60_000), at + 60_000), 0);
    }

    #[test]
    fn requests_cost_nothing() {
        let policy = RestartPolicy::service_default();
        let mut tracker = RestartTracker::new();
        for cause in [RestartCause::Requested, RestartCause::Requested, RestartCause::Reloaded] {
            let decision = tracker.decide(&policy, Instant::ZERO, cause, None, MIDDLE);
            assert_eq!(decision, Decision::StartAt { at: Instant::ZERO, attempt: 0 });
        }
    }

    #[test]
    fn the_policy_decides_before_the_budget() {
        let never =
            RestartPolicy::new(PolicySettings { when: RestartWhen::Never, ..PolicySettings::service() })
                .unwrap();
        let mut tracker = RestartTracker::new();
        assert_eq!(crash(&mut tracker, &never, 0), Decision::LeaveStopped { success: false });
        let unhealthy = tracker.decide(&never, Instant::ZERO, RestartCause::Unhealthy, None, 0);
        assert_eq!(unhealthy, Decision::LeaveStopped { success: false });
        let oneshot = RestartPolicy::oneshot_default();
        let exit = Exit::code(0);
        let done = tracker.decide(&oneshot, Instant::ZERO, RestartCause::Exited, Some(&exit), 0);
        assert_eq!(done, Decision::LeaveStopped { success: true });
        assert_eq!(tracker.used(&oneshot, Instant::ZERO), 0);
    }

    #[test]
    fn when_spent_is_fail_it_gives_up() {
        let settings = PolicySettings { burst: 1, when_spent: WhenSpent::Fail, ..PolicySettings::service() };
        let policy = RestartPolicy::new(settings).unwrap();
        let mut tracker = RestartTracker::new();
        crash(&mut tracker, &policy, 0);
        assert_eq!(crash(&mut tracker, &policy, 1), Decision::Fail);
        tracker.reset();
        assert_eq!(delay_ms(crash(&mut tracker, &policy, 2), 2), 499);
    }

    /// Every number is another one, so that none can stand for its neighbour.
    #[test]
    fn what_is_remembered_is_what_was_restored() {
        for stable in [false, true] {
            let used_at = [1, 2, 3].map(Instant::from_millis).to_vec();
            let exhausted = Exhausted { used_at, stable, attempts: 4, uncounted: 5, cooldowns: 6 };
            assert_eq!(RestartTracker::restored(exhausted.clone()).remembered(), exhausted);
        }
    }

    #[test]
    fn a_refund_gives_back_what_was_debited_from_that_moment_on() {
        for since in 0..=5 {
            let used_at = [1, 2, 3, 4].map(Instant::from_millis);
            let before = Exhausted { used_at: used_at.to_vec(), ..Exhausted::default() };
            let mut tracker = RestartTracker::restored(before);
            tracker.refund(Instant::from_millis(since));
            let kept: Vec<_> = used_at.into_iter().filter(|at| at.as_nanos() < since * 1_000_000).collect();
            assert_eq!(tracker.remembered().used_at, kept, "since {since}");
        }
    }

    #[test]
    fn our_own_shortage_waits_without_a_debit() {
        let policy = RestartPolicy::service_default();
        let mut tracker = RestartTracker::new();
        let first = tracker.decide_free(&policy, Instant::ZERO, MIDDLE);
        assert_eq!(delay_ms(first, 0), 499, "never at once: the shortage is still there");
        assert_eq!(delay_ms(tracker.decide_free(&policy, Instant::ZERO, MIDDLE), 0), 999);
        assert_eq!(tracker.used(&policy, Instant::ZERO), 0);
    }

    proptest! {
        /// The budget of the contract: however it crashes, stays healthy or is asked to restart, debited starts
        /// within any window never exceed the burst; only the single trial of each cooldown comes on top.
        #[test]
        fn restarts_never_exceed_the_budget(
            history in proptest::collection::vec((0u64..120_000, 0u8..10), 1..200),
            burst in 1u32..6,
        ) {
            let policy = RestartPolicy::new(PolicySettings { burst, ..PolicySettings::service() }).unwrap();
            let mut tracker = RestartTracker::new();
            let mut now = Instant::ZERO;
            let mut starts: Vec<Instant> = Vec::new();
            for (gap, what) in history {
                now = now + Duration::from_millis(gap);
                if what < 2 {
                    tracker.on_healthy_since(&policy, now - Duration::from_secs(61), now);
                    continue;
                }
                let exit = Exit::code(1);
                match tracker.decide(&policy, now, RestartCause::Exited, Some(&exit), u32::from(what)) {
                    Decision::StartAt { at, attempt } => {
                        prop_assert!(attempt >= 1 && attempt <= burst);
                        starts.push(now);
                        now = now.max(at);
                    }
                    Decision::Cooldown { until, .. } => {
                        prop_assert!(until > now);
                        now = until;
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                let window = policy.window();
                let inside = starts.iter().filter(|start| now.since(**start) < window).count();
                prop_assert!(inside <= burst as usize);
            }
        }
    }
}
