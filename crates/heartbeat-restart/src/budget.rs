//! How often: at most `burst` debits within `window`.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::Instant;

/// The debits inside a sliding window. Holds at most `burst` of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    used_at: VecDeque<Instant>,
}

impl Budget {
    /// A budget that continues from a record.
    pub(crate) fn restored(mut used_at: Vec<Instant>) -> Self {
        used_at.sort_unstable();
        Self { used_at: used_at.into() }
    }

    /// What was debited, oldest first.
    pub(crate) fn used_at(&self) -> impl Iterator<Item = Instant> + '_ {
        self.used_at.iter().copied()
    }

    /// Debits inside the window that ends at `now`.
    pub(crate) fn used(&self, now: Instant, window: Duration) -> u32 {
        let inside = self.used_at.iter().filter(|used| now.since(**used) < window).count();
        u32::try_from(inside).unwrap_or(u32::MAX)
    }

    /// Takes one restart out of the budget; false (and nothing taken) when it is spent.
    pub(crate) fn take(&mut self, now: Instant, burst: u32, window: Duration) -> bool {
        while self.used_at.front().is_some_and(|used| now.since(*used) >= window) {
            self.used_at.pop_front();
        }
        if self.used_at.len() >= burst as usize {
            return false;
        }
        self.used_at.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_debit_leaves_the_window_when_its_time_has_passed_and_not_before() {
        let window = Duration::from_secs(10);
        for (nanos_before, used) in [(1, 1), (0, 0)] {
            let mut budget = Budget::default();
            let first = Instant::from_millis(5);
            assert!(budget.take(first, 1, window));
            let later = first + (window - Duration::from_nanos(nanos_before));
            assert_eq!(budget.used(later, window), used);
            assert_eq!(budget.take(later, 1, window), used == 0, "{nanos_before} ns before its end");
        }
    }

    proptest! {
        /// Whatever the history, no window of that length ever holds more than `burst` debits.
        #[test]
        fn no_window_holds_more_than_the_burst(
            gaps in proptest::collection::vec(0u64..200, 1..200), burst in 1u32..8, window in 1u64..500,
        ) {
            let length = Duration::from_millis(window);
            let mut budget = Budget::default();
            let mut now = Instant::ZERO;
            let mut taken: Vec<Instant> = Vec::new();
            for gap in gaps {
                now = now + Duration::from_millis(gap);
                // What is displayed as free can be taken, and nothing else.
                let free = budget.used(now, length) < burst;
                prop_assert_eq!(budget.take(now, burst, length), free);
                if free {
                    taken.push(now);
                }
                let inside = taken.iter().filter(|at| now.since(**at) < length).count();
                prop_assert!(inside <= burst as usize);
                prop_assert_eq!(budget.used(now, length) as usize, inside);
            }
        }
    }
}
