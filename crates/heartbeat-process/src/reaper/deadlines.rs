//! When runs are due: one kernel timer for all of them, made at the start, so that no run waits for a descriptor.
//!
//! The reaper reads no clock. The timer tells the time that has passed: what it was set to, less what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::timer::{drain, new_timer, set_timer};

/// The timer runs on for this long when no run is due, so that the reaper still knows the time that has passed.
const IDLE: Duration = Duration::from_secs(24 * 3_600);

/// At most one deadline per run, by the number of the run.
#[derive(Debug)]
pub(super) struct Deadlines {
    timer: OwnedFd,
    /// The time that had passed when the reaper set the timer, and what it set the timer to.
    set_at: Duration,
    set_to: Duration,
    due: BTreeSet<(Duration, u64)>,
    of_run: BTreeMap<u64, Duration>,
}

impl Deadlines {
    /// # Errors
    /// The kernel cannot make a timer.
    pub(super) fn new() -> io::Result<Self> {
        let timer = new_timer()?;
        set_timer(&timer, IDLE, false)?;
        Ok(Self {
            timer,
            set_at: Duration::ZERO,
            set_to: IDLE,
            due: BTreeSet::new(),
            of_run: BTreeMap::new(),
        })
    }

    /// Becomes readable when a run is due.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Makes a run due after that time, in place of its earlier deadline.
    pub(super) fn set(&mut self, run: u64, after: Duration) {
        let now = self.passed();
        let at = now + after;
        if let Some(before) = self.of_run.insert(run, at) {
            self.due.remove(&(before, run));
        }
        self.due.insert((at, run));
        self.arm(now);
    }

    /// Clears the deadline of a run. The timer may then fire for nothing.
    pub(super) fn clear(&mut self, run: u64) {
        if let Some(before) = self.of_run.remove(&run) {
            self.due.remove(&(before, run));
        }
    }

    /// Takes the runs that are due.
    pub(super) fn take_due(&mut self) -> Vec<u64> {
        drain(&self.timer);
        let now = self.passed();
        let mut runs = Vec::new();
        while let Some((at, run)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, run));
            self.of_run.remove(&run);
            runs.push(run);
        }
        self.arm(now);
        runs
    }

    fn passed(&self) -> Duration {
        let left = rustix::time::timerfd_gettime(&self.timer).map(|setting| setting.it_value);
        let left = left.map_or(Duration::ZERO, |left| {
            let nanos = u32::try_from(left.tv_nsec).unwrap_or(0);
            Duration::new(u64::try_from(left.tv_sec).unwrap_or(0), nanos)
        });
        self.set_at + self.set_to.saturating_sub(left)
    }

    fn arm(&mut self, now: Duration) {
        let wait = self.due.first().map_or(IDLE, |(at, _)| at.saturating_sub(now).min(IDLE));
        // Only an invalid descriptor would make this fail.
        if set_timer(&self.timer, wait, false).is_ok() {
            (self.set_at, self.set_to) = (now, wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn wait(deadlines: &Deadlines) {
        poll(&mut [PollFd::new(&deadlines.timer, PollFlags::IN)], None).unwrap();
    }

    #[test]
    fn runs_are_due_in_order_and_one_deadline_replaces_the_other() {
        let mut deadlines = Deadlines::new().unwrap();
        deadlines.set(1, Duration::from_millis(40));
        deadlines.set(2, Duration::from_millis(20));
        deadlines.set(3, Duration::from_millis(10));
        deadlines.set(1, Duration::from_millis(1));
        deadlines.clear(3);
        let mut due = Vec::new();
        while due.len() < 2 {
            wait(&deadlines);
            due.extend(deadlines.take_due());
        }
        assert_eq!(due, [1, 2]);
        assert!(deadlines.due.is_empty() && deadlines.of_run.is_empty());
        assert!(deadlines.passed() >= Duration::from_millis(20), "{:?}", deadlines.passed());
        deadlines.set(4, Duration::ZERO);
        wait(&deadlines);
        assert_eq!(deadlines.take_due(), [4]);
    }
}
