//! Hysteresis: consecutive results become a verdict. Semantics of the kubelet's thresholds.

use crate::ThresholdError;

/// "k of n": failing when at least `fails` of the last `of` conclusive results failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailWindow {
    fails: u32,
    of: u32,
}

impl FailWindow {
    /// Longest window in results.
    pub const MAX_RESULTS: u32 = 64;

    /// Validates `fails` of `of`.
    ///
    /// # Errors
    /// [`ThresholdError::Window`] unless `1 <= fails <= of <= 64`.
    pub const fn new(fails: u32, of: u32) -> Result<Self, ThresholdError> {
        if fails == 0 || fails > of || of > Self::MAX_RESULTS {
            return Err(ThresholdError::Window { fails, of });
        }
        Ok(Self { fails, of })
    }

    /// Failures in a row that make it failing.
    #[must_use]
    pub const fn fails(&self) -> u32 {
        self.fails
    }

    /// Window length in results.
    #[must_use]
    pub const fn of(&self) -> u32 {
        self.of
    }
}

/// How many results decide. Defaults: 3 consecutive failures, 2 consecutive passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    fail_after: u32,
    pass_after: u32,
    fail_if: Option<FailWindow>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { fail_after: 3, pass_after: 2, fail_if: None }
    }
}

impl Thresholds {
    /// Validates thresholds. With `fail_if` a run of `fail_after` failures decides as well.
    ///
    /// # Errors
    /// [`ThresholdError::Zero`] for a threshold of 0.
    pub const fn new(
        fail_after: u32,
        pass_after: u32,
        fail_if: Option<FailWindow>,
    ) -> Result<Self, ThresholdError> {
        if fail_after == 0 {
            return Err(ThresholdError::Zero { name: "fail_after" });
        }
        if pass_after == 0 {
            return Err(ThresholdError::Zero { name: "pass_after" });
        }
        Ok(Self { fail_after, pass_after, fail_if })
    }

    /// Consecutive failures that make a failing verdict.
    #[must_use]
    pub const fn fail_after(&self) -> u32 {
        self.fail_after
    }

    /// Consecutive passes that make a passing verdict.
    #[must_use]
    pub const fn pass_after(&self) -> u32 {
        self.pass_after
    }

    /// The "k of n" rule, if one is set.
    #[must_use]
    pub const fn fail_if(&self) -> Option<FailWindow> {
        self.fail_if
    }
}

/// The verdict of the results so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Enough passes in a row.
    Passing,
    /// Enough failures in a row.
    Failing,
}

/// The counter that is moving: `1/3` fails toward `fail_after`, or passes toward `pass_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where it stands; never above `goal`.
    pub count: u32,
    /// Where it decides.
    pub goal: u32,
}

impl core::fmt::Display for Progress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.count, self.goal)
    }
}

/// Counts conclusive results of one probe for one generation of its target.
///
/// Counters saturate. The first pass of a new generation decides at once; everything else needs its threshold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    passes: u32,
    fails: u32,
    recent: u64,
    recent_len: u32,
    passed_once: bool,
    verdict: Option<Verdict>,
}

/// The state of a [`Tally`], for a record that survives heartbeatd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TallyParts {
    /// Passes in a row.
    pub passes: u32,
    /// Failures in a row.
    pub fails: u32,
    /// One bit per result, the newest lowest: it failed.
    pub recent: u64,
    /// How many of these bits are results.
    pub recent_len: u32,
    /// There was a pass in this generation.
    pub passed_once: bool,
    /// The verdict so far.
    pub verdict: Option<Verdict>,
}

impl Tally {
    /// A tally that continues from a record.
    #[must_use]
    pub const fn from_parts(parts: TallyParts) -> Self {
        let TallyParts { passes, fails, recent, recent_len, passed_once, verdict } = parts;
        Self { passes, fails, recent, recent_len, passed_once, verdict }
    }

    /// The state for the record.
    #[must_use]
    pub const fn parts(&self) -> TallyParts {
        let Self { passes, fails, recent, recent_len, passed_once, verdict } = *self;
        TallyParts { passes, fails, recent, recent_len, passed_once, verdict }
    }

    /// A tally without results and without a verdict.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one conclusive result. Returns the new verdict when it changed.
    pub fn observe(&mut self, passed: bool, thresholds: &Thresholds) -> Option<Verdict> {
        self.recent = (self.recent << 1) | u64::from(!passed);
        self.recent_len = (self.recent_len + 1).min(FailWindow::MAX_RESULTS);
        if passed {
            self.passes = self.passes.saturating_add(1);
            self.fails = 0;
        } else {
            self.fails = self.fails.saturating_add(1);
            self.passes = 0;
        }
        let first_pass = passed && !self.passed_once;
        self.passed_once |= passed;
        let next = if first_pass || (passed && self.passes >= thresholds.pass_after()) {
            // The old failures of a "k of n" window must not fail it again with its next failure alone.
            self.forget_window_on_recovery();
            Some(Verdict::Passing)
        } else if !passed && (self.fails >= thresholds.fail_after() || self.window_fails(thresholds)) {
            Some(Verdict::Failing)
        } else {
            self.verdict
        };
        if next == self.verdict {
            return None;
        }
        self.verdict = next;
        next
    }

    /// Sets the verdict without a threshold: a process exit, a stranger on the port, an explicit "down".
    pub fn decide(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
    }

    /// A failure that counts toward nothing ends the run of passes all the same: passes around it are not consecutive.
    pub fn interrupt(&mut self) {
        self.passes = 0;
    }

    /// Forgets the run of failures and keeps the verdict: a need was to blame, so they never counted.
    pub fn forgive(&mut self) {
        self.fails = 0;
        self.recent = 0;
        self.recent_len = 0;
    }

    fn forget_window_on_recovery(&mut self) {
        if self.verdict == Some(Verdict::Failing) {
            self.recent = 0;
            self.recent_len = 0;
        }
    }

    fn window_fails(&self, thresholds: &Thresholds) -> bool {
        thresholds.fail_if().is_some_and(|window| self.fails_within(window) >= window.fails())
    }

    /// Failures among the last results that a window looks at.
    #[must_use]
    pub const fn fails_within(&self, window: FailWindow) -> u32 {
        let mask = if window.of() >= u64::BITS { u64::MAX } else { (1 << window.of()) - 1 };
        (self.recent & mask).count_ones()
    }

    /// The verdict so far; `None` before there is enough evidence.
    #[must_use]
    pub const fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// Consecutive passes, saturating.
    #[must_use]
    pub const fn passes(&self) -> u32 {
        self.passes
    }

    /// Consecutive failures, saturating.
    #[must_use]
    pub const fn fails(&self) -> u32 {
        self.fails
    }

    /// The counter that is moving, capped at its goal.
    #[must_use]
    pub fn progress(&self, thresholds: &Thresholds) -> Progress {
        // With no pass and no counted failure since the verdict, the next failure is the first that counts.
        if self.fails > 0 || (self.passes == 0 && self.verdict.is_some()) {
            Progress { count: self.fails.min(thresholds.fail_after()), goal: thresholds.fail_after() }
        } else {
            let count = if self.verdict == Some(Verdict::Passing) && self.passes > 0 {
                thresholds.pass_after()
            } else {
                self.passes.min(thresholds.pass_after())
            };
            Progress { count, goal: thresholds.pass_after() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn feed(tally: &mut Tally, thresholds: &Thresholds, results: &str) -> Option<Verdict> {
        results.chars().fold(None, |_, c| tally.observe(c == '+', thresholds))
    }

    #[test]
    fn thresholds_are_consecutive() {
        let thresholds = Thresholds::default();
        let mut tally = Tally::new();
        feed(&mut tally, &thresholds, "+--+--+--");
        assert_eq!(tally.verdict(), Some(Verdict::Passing), "two failures in a row are not three");
        assert_eq!(tally.progress(&thresholds).to_string(), "2/3");
        assert_eq!(feed(&mut tally, &thresholds, "-"), Some(Verdict::Failing));
        assert_eq!(feed(&mut tally, &thresholds, "+"), None, "back after two passes, not one");
        assert_eq!(tally.progress(&thresholds).to_string(), "1/2");
        assert_eq!(feed(&mut tally, &thresholds, "+"), Some(Verdict::Passing));
    }

    #[test]
    fn passes_around_a_failure_that_does_not_count_are_not_consecutive() {
        let thresholds = Thresholds::default();
        let mut tally = Tally::new();
        feed(&mut tally, &thresholds, "+---+");
        assert_eq!(tally.progress(&thresholds).to_string(), "1/2");
        tally.interrupt();
        assert_eq!(feed(&mut tally, &thresholds, "+"), None, "the first of two");
        assert_eq!(feed(&mut tally, &thresholds, "+"), Some(Verdict::Passing));
        tally.interrupt();
        assert_eq!((tally.verdict(), tally.fails()), (Some(Verdict::Passing), 0));
        assert_eq!(tally.progress(&thresholds).to_string(), "0/3", "no failure counts so far");
    }

    #[test]
    fn the_first_pass_decides_even_after_failures() {
        let mut tally = Tally::new();
        assert_eq!(feed(&mut tally, &Thresholds::default(), "----+"), Some(Verdict::Passing));
    }

    #[test]
    fn a_window_catches_what_a_run_misses() {
        let window = FailWindow::new(3, 5).unwrap();
        let thresholds = Thresholds::new(10, 2, Some(window)).unwrap();
        let mut tally = Tally::new();
        assert_eq!(feed(&mut tally, &thresholds, "+-+-+-"), Some(Verdict::Failing));
    }

    #[test]
    fn failures_before_the_window_do_not_count() {
        let window = FailWindow::new(2, 3).unwrap();
        let thresholds = Thresholds::new(10, 2, Some(window)).unwrap();
        let mut tally = Tally::new();
        assert_eq!(feed(&mut tally, &thresholds, "+-++-"), None, "one of the last three");
        assert_eq!(tally.verdict(), Some(Verdict::Passing));
        assert_eq!(feed(&mut tally, &thresholds, "+-"), Some(Verdict::Failing), "`-+-`");
    }

    #[test]
    fn a_recovery_forgets_the_failures_of_its_window() {
        let window = FailWindow::new(3, 5).unwrap();
        let thresholds = Thresholds::new(10, 2, Some(window)).unwrap();
        let mut tally = Tally::new();
        assert_eq!(feed(&mut tally, &thresholds, "+---"), Some(Verdict::Failing));
        assert_eq!(feed(&mut tally, &thresholds, "++"), Some(Verdict::Passing));
        // The last five are `--++-`.
        assert_eq!(feed(&mut tally, &thresholds, "-"), None, "what was before the recovery counts once");
        assert_eq!(feed(&mut tally, &thresholds, "--"), Some(Verdict::Failing));
    }

    #[test]
    fn impossible_thresholds_are_refused() {
        assert_eq!(Thresholds::new(0, 1, None), Err(ThresholdError::Zero { name: "fail_after" }));
        assert_eq!(Thresholds::new(1, 0, None), Err(ThresholdError::Zero { name: "pass_after" }));
        for (fails, of) in [(0, 5), (6, 5), (1, 65)] {
            assert_eq!(FailWindow::new(fails, of), Err(ThresholdError::Window { fails, of }));
        }
    }

    proptest! {
        /// A verdict of failing always has its run (or window) of failures behind it, whatever came before.
        #[test]
        fn failing_needs_its_evidence(results in proptest::collection::vec(any::<bool>(), 0..200), goal in 1u32..6) {
            let thresholds = Thresholds::new(goal, 2, None).unwrap();
            let mut tally = Tally::new();
            let mut run = 0;
            for passed in results {
                run = if passed { 0 } else { run + 1 };
                if tally.observe(passed, &thresholds) == Some(Verdict::Failing) {
                    prop_assert!(run >= goal);
                }
                let progress = tally.progress(&thresholds);
                prop_assert!(progress.count <= progress.goal);
            }
        }
    }
}
