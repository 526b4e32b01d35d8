//! How long to wait before the next attempt: doubling, bounded, jittered.

use core::time::Duration;

/// `first` doubled `doublings` times, at most `max`.
#[must_use]
pub(crate) fn doubled(first: Duration, doublings: u32, max: Duration) -> Duration {
    // Beyond 2^31 every configurable delay has reached its bound.
    const MAX_DOUBLINGS: u32 = 31;
    first.saturating_mul(1 << doublings.min(MAX_DOUBLINGS)).min(max)
}

/// `delay` moved by up to ±`percent`, as `dice` (uniform over all `u32`) says.
#[must_use]
pub(crate) fn jittered(delay: Duration, percent: u8, dice: u32) -> Duration {
    let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
    let spread = u128::from(nanos) * u128::from(percent) / 100;
    // 0 ..= 2 x spread, then moved down by one spread.
    let offset = 2 * spread * u128::from(dice) / u128::from(u32::MAX);
    let moved = u128::from(nanos) - spread + offset;
    Duration::from_nanos(u64::try_from(moved).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_double_up_to_their_bound() {
        let (first, max) = (Duration::from_millis(500), Duration::from_secs(60));
        let delays: alloc::vec::Vec<u128> = (0..9).map(|n| doubled(first, n, max).as_millis()).collect();
        assert_eq!(delays, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(doubled(first, u32::MAX, max), max);
    }

    #[test]
    fn jitter_reaches_both_ends() {
        let delay = Duration::from_secs(10);
        assert_eq!(jittered(delay, 20, 0), Duration::from_secs(8));
        assert_eq!(jittered(delay, 20, u32::MAX), Duration::from_secs(12));
        assert_eq!(jittered(delay, 0, 12_345), delay);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share(millis in 1u64..4_000_000, percent in 0u8..=90, dice: u32) {
            let delay = Duration::from_millis(millis);
            let moved = jittered(delay, percent, dice);
            let share = f64::from(percent) / 100.0;
            prop_assert!(moved.as_secs_f64() >= delay.as_secs_f64() * (1.0 - share) - 1e-6);
            prop_assert!(moved.as_secs_f64() <= delay.as_secs_f64() * (1.0 + share) + 1e-6);
        }
    }
}
