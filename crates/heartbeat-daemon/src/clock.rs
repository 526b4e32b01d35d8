//! The clocks of heartbeatd: the one file of this crate that reads them.

use heartbeat_status::{Instant, WallAnchor, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// Someone has stepped a wall clock that differs from the anchor by more than this.
const STEP_MILLIS: i64 = 250;

fn read(id: ClockId) -> (i64, i64) {
    let time = clock_gettime(id);
    (time.tv_sec, time.tv_nsec)
}

fn nanos(id: ClockId) -> u64 {
    let (seconds, nanos) = read(id);
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000) + u64::try_from(nanos).unwrap_or(0)
}

/// Now, on the monotonic clock since boot.
#[must_use]
pub(crate) fn now() -> Instant {
    Instant::from_nanos(nanos(ClockId::Monotonic))
}

/// The processor time that the calling thread has used.
#[must_use]
pub(crate) fn thread_cpu() -> std::time::Duration {
    std::time::Duration::from_nanos(nanos(ClockId::ThreadCPUTime))
}

/// Time since boot with suspends counted: where it is ahead of [`now`], the host slept.
#[must_use]
pub(crate) fn boot_time() -> Instant {
    Instant::from_nanos(nanos(ClockId::Boottime))
}

/// The wall clock.
#[must_use]
pub(crate) fn wall() -> WallTime {
    let (seconds, nanos) = read(ClockId::Realtime);
    WallTime::from_millis(seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000))
}

/// The monotonic moment of a wall time, by the anchor; the beginning of time for one before the boot.
#[must_use]
pub(crate) fn instant_of(at: WallTime, anchor: WallAnchor) -> Instant {
    let ahead = at.as_millis().saturating_sub(anchor.wall.as_millis());
    let by = std::time::Duration::from_millis(ahead.unsigned_abs());
    if ahead >= 0 { anchor.instant + by } else { anchor.instant - by }
}

/// The wall clock in seconds since 1970.
#[must_use]
pub(crate) fn unix_s() -> u64 {
    u64::try_from(wall().as_millis() / 1_000).unwrap_or(0)
}

/// Both clocks read together.
#[must_use]
pub(crate) fn anchor() -> WallAnchor {
    WallAnchor { instant: now(), wall: wall() }
}

/// `anchor`, or a fresh one when the wall clock was stepped since it was taken. Otherwise the times in documents stay
/// the same, since they all derive from one anchor.
#[must_use]
pub(crate) fn still_true(anchor: WallAnchor) -> WallAnchor {
    let fresh = self::anchor();
    let drift = fresh.wall.as_millis().saturating_sub(anchor.wall(fresh.instant).as_millis());
    if drift.abs() > STEP_MILLIS { fresh } else { anchor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn the_clock_goes_forward_and_the_anchor_holds() {
        let first = now();
        let held = anchor();
        assert!(now() >= first);
        assert_eq!(still_true(held), held);
        let stepped = WallAnchor { wall: WallTime::from_millis(held.wall.as_millis() - 3_600_000), ..held };
        assert!(still_true(stepped).wall.as_millis() >= held.wall.as_millis());
        assert!(boot_time() + Duration::from_millis(1) >= first);
    }
}
