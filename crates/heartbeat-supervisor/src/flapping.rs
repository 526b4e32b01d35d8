//! Whether a probe flaps: Icinga's weights over its last conclusive results.

/// Results in the window.
const WINDOW_RESULTS: u32 = 20;
/// It begins to flap at this share of weighted changes, in percent ...
const START_PERCENT: u32 = 30;
/// ... and has settled below this one.
const STOP_PERCENT: u32 = 20;
/// Weight of the oldest result in the window, in hundredths; the newest weighs 120, and they lie evenly between.
const OLDEST_WEIGHT: u32 = 80;
/// From one result to the next, in hundredths.
const WEIGHT_STEP: u32 = 2;

/// The changes among the last results of one probe. It survives restarts: a realm that only passes right after each
/// restart flaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flapping {
    /// One bit per result, the newest lowest: it differed from the one before.
    changes: u32,
    last: Option<bool>,
    flapping: bool,
}

impl Flapping {
    /// The changes of the last results, and whether the probe flaps, for the record.
    pub(crate) fn parts(&self) -> (u32, bool) {
        (self.changes, self.flapping)
    }

    /// Continues from a record; `last` is whether the last result passed.
    pub(crate) fn from_parts(changes: u32, last: Option<bool>, flapping: bool) -> Self {
        Self { changes: changes & ((1 << WINDOW_RESULTS) - 1), last, flapping }
    }

    /// Notes a conclusive result.
    pub(crate) fn note(&mut self, passed: bool) {
        let changed = self.last.replace(passed).is_some_and(|last| last != passed);
        self.changes = ((self.changes << 1) | u32::from(changed)) & ((1 << WINDOW_RESULTS) - 1);
        let percent = self.percent();
        self.flapping = if self.flapping { percent >= STOP_PERCENT } else { percent >= START_PERCENT };
    }

    /// Weighted share of changes, in percent. Results that are missing count as unchanged.
    pub(crate) fn percent(&self) -> u32 {
        if self.changes == 0 {
            return 0;
        }
        let weight = |age: u32| OLDEST_WEIGHT + WEIGHT_STEP * (WINDOW_RESULTS - age);
        let sum: u32 = (0..WINDOW_RESULTS).filter(|age| self.changes >> age & 1 == 1).map(weight).sum();
        sum / WINDOW_RESULTS
    }

    pub(crate) fn flaps(&self) -> bool {
        self.flapping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(results: &str) -> Flapping {
        let mut flapping = Flapping::default();
        results.chars().for_each(|c| flapping.note(c == '+'));
        flapping
    }

    #[test]
    fn one_outage_is_no_flapping_and_alternation_is() {
        assert!(!fed("++++++++++++++++++++").flaps());
        assert!(!fed("++++++++---+++++++++").flaps(), "down and up again: two changes");
        assert!(fed("+-+-+-+-").flaps());
        assert_eq!(
            fed("+-+-+-+-+-+-+-+-+-+-+-+-").percent(),
            101,
            "every result a change: the weights' mean"
        );
    }

    #[test]
    fn it_settles_later_than_it_began() {
        let mut flapping = fed("+-+-+-+-");
        let mut calm = 0;
        while flapping.flaps() {
            flapping.note(false);
            calm += 1;
            assert!(calm <= 20, "it settles within the window");
        }
        assert!(flapping.percent() < STOP_PERCENT && calm > 5, "{calm}");
    }
}
