//! The only file of this crate that reads a clock.

use heartbeat_status::Instant;
use rustix::time::{ClockId, clock_gettime};

/// Now, on the monotonic clock since boot: what [`CheckResult`](heartbeat_status::CheckResult) is stamped with.
#[must_use]
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000) + u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The wall clock in seconds since 1970, by which certificates expire, files grow old, and windows of maintenance end.
/// Nothing else depends on it.
#[must_use]
pub fn unix_s() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or(0)
}
