//! How often each probe is measured, and when it is its turn.
//!
//! Intervals run from start to start on the monotonic clock. A probe keeps its slot, hash(realm, probe) modulo the
//! interval, over restarts. Where several rules apply the fastest wins, within three bounds: a check command runs at
//! most once per second, an external realm is measured at most five times per interval, and no interval shrinks while
//! heartbeatd itself lags.

use core::time::Duration;

use heartbeat_status::{Instant, ProbeKind, RealmKind, Verdict};

use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::state::State;
use crate::timers::{TimerKind, probe_ix};
use crate::{ProbeSource, ProbeSpec, RealmSpec};

/// Wake-ups cost more than probes, so slots are rounded up to this: one wake-up serves many.
const COALESCE: Duration = Duration::from_millis(10);
/// Interval while a realm starts.
const STARTING_INTERVAL: Duration = Duration::from_millis(250);
/// Interval while a counter moves, a gate or a verification waits, or an action is pending.
pub(crate) const TRANSITION_INTERVAL: Duration = Duration::from_secs(1);
/// Check commands never run more often than this.
const EXEC_MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Interval while down: from this ...
const DOWN_INTERVAL: Duration = Duration::from_secs(5);
/// ... growing to this.
const DOWN_MAX_INTERVAL: Duration = Duration::from_secs(30);
/// External realms are never measured faster than a fifth of their interval.
const EXTERNAL_DIVISOR: u32 = 5;

/// FNV-1a over `realm/probe`: the probe's place within its interval.
fn slot_hash(realm: &str, probe: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = realm.bytes().chain(core::iter::once(b'/')).chain(probe.bytes());
    bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// The first slot of the grid after `now`.
fn next_slot(now: Instant, interval: Duration, hash: u64) -> Instant {
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    let offset = hash % interval;
    let past = now.as_nanos().saturating_sub(offset);
    let slots = past / interval + u64::from(now.as_nanos() >= offset);
    Instant::from_nanos(offset.saturating_add(slots.saturating_mul(interval))).rounded_up(COALESCE)
}

/// The least time between two measurements, whatever asks for one.
fn min_gap(spec: &RealmSpec, at: usize) -> Duration {
    let info = &spec.probes[at].info;
    let command = if info.kind.runs_a_command() { EXEC_MIN_INTERVAL } else { Duration::ZERO };
    let external = if spec.kind == RealmKind::External { info.interval / EXTERNAL_DIVISOR } else { command };
    command.max(external)
}

impl Realm {
    pub(crate) fn interval(&self, spec: &RealmSpec, at: usize, lagging: bool) -> Duration {
        let base = spec.probes[at].info.interval;
        let probe = &self.evidence.probes[at];
        let verdict = probe.tally.verdict();
        let down = verdict == Some(Verdict::Failing) && probe.tally.passes() == 0 && probe.proven;
        let counts = verdict.is_none() || probe.tally.fails() > 0 || verdict == Some(Verdict::Failing);
        let transitional = (counts && !down)
            || self.restart_open()
            || self.dependencies.dependents_waiting
            || self.restart_is_pending(spec);
        // Reading the heartbeats of a realm costs nothing, and the next one has to show at once.
        let looks = spec.probes[at].info.kind == ProbeKind::Push;
        let interval = if lagging || looks {
            base
        } else if matches!(self.state, State::Starting(_)) {
            base.min(STARTING_INTERVAL)
        } else if transitional {
            base.min(TRANSITION_INTERVAL)
        } else if down {
            // The first rounds at max(interval, 5 s), then growing.
            let grown = base.max(DOWN_INTERVAL).saturating_mul(1 << (probe.down_rounds / 4).min(8));
            grown.min(base.max(DOWN_MAX_INTERVAL))
        } else {
            base
        };
        interval.max(min_gap(spec, at))
    }

    /// The interval in force, for display; `None` for passive probes and while the probe is not measured.
    pub(crate) fn shown_interval(&self, spec: &RealmSpec, at: usize, lagging: bool) -> Option<Duration> {
        let measured = spec.probes[at].source == ProbeSource::Measured;
        (measured && self.evidence.probing).then(|| self.interval(spec, at, lagging))
    }

    /// The earliest moment at which the probe may be measured again, whatever asks for it.
    pub(crate) fn earliest(&self, spec: &RealmSpec, at: usize) -> Instant {
        self.evidence.probes[at].begun_at.map_or(Instant::ZERO, |begun| begun + min_gap(spec, at))
    }

    /// Measures a probe as soon as it may be measured.
    pub(crate) fn measure_soon(&self, ctx: &mut Ctx<'_>, at: usize) {
        ctx.arm(TimerKind::Slot(probe_ix(at)), self.earliest(ctx.spec, at).max(ctx.now));
    }

    /// Arms the next slot of the grid.
    pub(crate) fn schedule(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        let hash = slot_hash(ctx.spec.name.as_str(), &ctx.spec.probes[at].info.name);
        let next = next_slot(ctx.now, self.interval(ctx.spec, at, ctx.out.lagging), hash);
        ctx.arm(TimerKind::Slot(probe_ix(at)), next);
    }

    /// Brings forward the slots whose interval has become shorter since they were armed.
    pub(crate) fn hasten(&mut self, ctx: &mut Ctx<'_>) {
        if !self.evidence.probing {
            return;
        }
        for (at, _) in measured(ctx.spec) {
            let latest = ctx.now + self.interval(ctx.spec, at, ctx.out.lagging) + COALESCE;
            let armed = ctx.out.timers.deadline(ctx.ix, TimerKind::Slot(probe_ix(at)));
            if armed.is_some_and(|armed| armed > latest) {
                self.schedule(ctx, at);
            }
        }
    }
}

/// The probes that are measured on a schedule.
fn measured(spec: &RealmSpec) -> impl Iterator<Item = (usize, &ProbeSpec)> {
    spec.probes.iter().enumerate().filter(|(_, spec)| spec.source == ProbeSource::Measured)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use super::*;

    /// The names alone decide, so this holds or does not on every machine.
    #[test]
    fn in_any_100_ms_at_most_three_times_the_mean_of_probes_begins() {
        const REALMS: usize = 1_000;
        const WINDOW: Duration = Duration::from_millis(100);
        for (prefix, probe, seconds) in
            [("realm-", "http", 1), ("t", "http", 5), ("web", "redis", 5), ("service-", "tcp", 10)]
        {
            let (interval, now) = (Duration::from_secs(seconds), Instant::from_millis(123_456));
            let slot = |at: usize| next_slot(now, interval, slot_hash(&format!("{prefix}{at}"), probe));
            let mut slots: Vec<Instant> = (0..REALMS).map(slot).collect();
            slots.sort();
            let begins = |from: Instant| {
                let within = |slot: Instant| slot >= from && slot < from + WINDOW;
                slots.iter().filter(|slot| within(**slot) || within(**slot + interval)).count()
            };
            let most = slots.iter().map(|slot| begins(*slot)).max().unwrap_or_default();
            let windows = usize::try_from(interval.as_millis() / WINDOW.as_millis()).unwrap();
            assert!(
                most * windows <= 3 * REALMS,
                "{prefix}: {most} of {REALMS} in {WINDOW:?} of {interval:?}"
            );
        }
    }

    #[test]
    fn slots_lie_on_a_fixed_grid_and_ahead() {
        let interval = Duration::from_secs(5);
        for hash in [0u64, 7, 123_456_789_000, u64::MAX] {
            let mut at = Instant::from_millis(3);
            let mut previous = None;
            for _ in 0..20 {
                let next = next_slot(at, interval, hash);
                assert!(next > at, "{hash}: {next:?} after {at:?}");
                if let Some(previous) = previous {
                    assert_eq!(next.since(previous), interval, "start to start");
                }
                previous = Some(next);
                at = next;
            }
        }
    }
}
