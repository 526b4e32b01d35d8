//! The wait before the next delivery attempt.

use std::time::Duration;

/// Wait after the first failed attempt, in milliseconds.
const FIRST_WAIT_MS: u64 = 1_000;
/// Longest wait without a `Retry-After`, in milliseconds.
const LONGEST_WAIT_MS: u64 = 5 * 60 * 1_000;
/// Random share of a wait, in both directions, so that receivers that fail together are not retried together.
const JITTER: f64 = 0.2;
/// Longest `Retry-After` that the worker obeys.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The wait after `attempt` (from 1) failed; `chance` is in `0.0..1.0`. The receiver's `Retry-After` is a minimum.
pub(crate) fn wait(attempt: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
    let doubled = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
    let own = Duration::from_millis(FIRST_WAIT_MS.saturating_mul(doubled).min(LONGEST_WAIT_MS));
    let own = own.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance);
    retry_after.map_or(own, |asked| own.max(asked.min(LONGEST_RETRY_AFTER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: f64 = 0.5;

    #[test]
    fn it_doubles_up_to_five_minutes() {
        let waits: Vec<u64> = (1..=10).map(|attempt| wait(attempt, None, MIDDLE).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        for attempt in [0, 1, 64, 65, u32::MAX] {
            let longest = wait(attempt, None, MIDDLE);
            assert!(
                (Duration::from_secs(1)..=Duration::from_secs(300)).contains(&longest),
                "{attempt}: {longest:?}"
            );
        }
    }

    #[test]
    fn jitter_is_a_fifth_to_both_sides() {
        assert_eq!(wait(1, None, 0.0), Duration::from_millis(800));
        assert!(wait(1, None, 0.999) > Duration::from_millis(1_190));
        assert!(wait(1, None, 0.999) < Duration::from_millis(1_200));
    }

    #[test]
    fn what_the_receiver_asks_for_is_a_minimum_up_to_an_hour() {
        assert_eq!(wait(1, Some(Duration::from_secs(30)), 0.0), Duration::from_secs(30));
        assert_eq!(wait(9, Some(Duration::from_secs(30)), MIDDLE), Duration::from_secs(256));
        assert_eq!(wait(1, Some(Duration::from_secs(86_400)), MIDDLE), Duration::from_secs(3_600));
    }
}
