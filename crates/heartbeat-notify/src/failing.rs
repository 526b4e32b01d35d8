//! Whether a receiver fails, and since when.

use std::time::Duration;

use heartbeat_status::Instant;

/// A receiver that has failed for so long is a problem that is reported.
pub const FAILING_AFTER: Duration = Duration::from_secs(5 * 60);

/// What is known of a receiver's failures.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    /// Since the first failure after the last success.
    since: Option<Instant>,
    /// Why the last attempt failed.
    why: String,
    is_reported: bool,
}

impl Failing {
    /// An attempt failed.
    pub(crate) fn failed(&mut self, now: Instant, why: String) {
        self.since.get_or_insert(now);
        self.why = why;
    }

    /// An attempt succeeded, or the receiver is another one now. True when its failure was reported.
    pub(crate) fn works(&mut self) -> bool {
        std::mem::take(self).is_reported
    }

    /// When its failure becomes a problem.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.since.filter(|_| !self.is_reported).map(|since| since + FAILING_AFTER)
    }

    /// Why it fails, once, when it has failed for long enough.
    pub(crate) fn review(&mut self, now: Instant) -> Option<String> {
        let is_due = self.deadline().is_some_and(|deadline| deadline <= now);
        self.is_reported |= is_due;
        is_due.then(|| self.why.clone())
    }

    /// Its failure is reported.
    pub(crate) const fn is_reported(&self) -> bool {
        self.is_reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_reported_once_when_it_has_lasted_and_its_end_when_it_was_reported() {
        let at = |seconds: u64| Instant::from_millis(1_000) + Duration::from_secs(seconds);
        let mut failing = Failing::default();
        assert_eq!((failing.deadline(), failing.review(at(900))), (None, None));
        failing.failed(at(0), "refused".to_owned());
        failing.failed(at(100), "timed out".to_owned());
        assert_eq!((failing.deadline(), failing.review(at(299))), (Some(at(300)), None));
        assert!(!failing.works(), "it was not reported");
        failing.failed(at(1_000), "refused".to_owned());
        assert_eq!(failing.review(at(1_300)), Some("refused".to_owned()));
        assert_eq!((failing.review(at(1_400)), failing.is_reported()), (None, true));
        assert!(failing.works() && !failing.is_reported());
        assert!(!failing.works());
    }
}
