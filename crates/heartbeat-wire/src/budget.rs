//! The budget of an objective: the downtime that it allows in its window, and whether enough of the window is known to
//! judge it. `slo`, `report` and `history` all ask here, so they cannot disagree.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use heartbeat_status::short_seconds;

use crate::{AvailabilityEntry, TimesEntry};

/// From this share of the counted time on, what is known is enough to judge an objective.
const ENOUGH_KNOWN: f64 = 0.5;
/// Times are exact to the millisecond; sums of seconds are not quite.
const EXACT_S: f64 = 0.000_5;

/// How much of a window is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Up, degraded or down, in seconds.
    pub known_s: f64,
    /// The window without the time in which the realm was stopped or paused on purpose, in seconds.
    pub counted_s: f64,
}

impl Known {
    /// Of the times of a window, or of the part of it that is on record.
    #[must_use]
    pub fn of(times: &TimesEntry, window_s: f64) -> Self {
        Self {
            known_s: times.up_s + times.degraded_s + times.down_s,
            counted_s: (window_s - times.paused_s).max(0.0),
        }
    }

    /// Whether that is enough to judge an objective.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.known_s > 0.0 && self.known_s >= ENOUGH_KNOWN * self.counted_s
    }

    /// A share of that time in words: `99.95 % (99.90-99.97, unknown 3h)`, `100.00 %, known for 8s of 30d`.
    #[must_use]
    pub fn share(&self, share: Option<&AvailabilityEntry>) -> String {
        match share {
            None => "nothing is known".to_owned(),
            Some(share) if self.is_enough() => share.to_string(),
            Some(share) => format!("{share}, {self}"),
        }
    }
}

impl fmt::Display for Known {
    /// `known for 8s of 30d`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |seconds: f64| short_seconds(seconds as i64);
        write!(f, "known for {} of {}", span(self.known_s), span(self.counted_s))
    }
}

/// The downtime that an objective allows in its whole window, and what was used of it. Time that is unknown, or not
/// there yet, uses nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// How much of the window is known.
    pub known: Known,
    /// Downtime that the objective allows, in seconds.
    pub allowed_s: f64,
    /// Downtime that was used, in seconds.
    pub used_s: f64,
}

/// What can be said of an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attainment {
    /// Even if everything unknown was down.
    Met,
    /// As far as is known, and that is enough.
    MetAsKnown,
    /// More downtime than is allowed, whatever the rest was.
    Missed,
    /// Too little is known.
    Unjudged,
}

impl Attainment {
    /// Whether the objective is met; `None` when too little is known.
    #[must_use]
    pub const fn met(self) -> Option<bool> {
        match self {
            Self::Met | Self::MetAsKnown => Some(true),
            Self::Missed => Some(false),
            Self::Unjudged => None,
        }
    }
}

impl Budget {
    /// Of the times of a window, or of the part of it that is on record. `objective` is a share below 1.
    #[must_use]
    pub fn of(times: &TimesEntry, objective: f64, window_s: f64) -> Self {
        let known = Known::of(times, window_s);
        Self { known, allowed_s: known.counted_s * (1.0 - objective), used_s: times.down_s }
    }

    /// What is left, in minutes; below zero when more was used than is allowed.
    #[must_use]
    pub fn left_min(&self) -> f64 {
        (self.allowed_s - self.used_s) / 60.0
    }

    /// What can be said of the objective.
    #[must_use]
    pub fn attainment(&self) -> Attainment {
        let unknown_s = (self.known.counted_s - self.known.known_s).max(0.0);
        if self.used_s > self.allowed_s + EXACT_S {
            Attainment::Missed
        } else if self.known.known_s > 0.0 && self.used_s + unknown_s <= self.allowed_s + EXACT_S {
            Attainment::Met
        } else if self.known.is_enough() {
            Attainment::MetAsKnown
        } else {
            Attainment::Unjudged
        }
    }

    /// The attainment in words: `met`, `missed`, `not judged yet, known for 8s of 30d`.
    #[must_use]
    pub fn verdict(&self) -> String {
        match self.attainment() {
            Attainment::Met => "met".to_owned(),
            Attainment::MetAsKnown => "met as far as is known".to_owned(),
            Attainment::Missed => "missed".to_owned(),
            Attainment::Unjudged => format!("not judged yet, {}", self.known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTH_S: f64 = 30.0 * 86_400.0;

    fn times(up_s: f64, down_s: f64) -> TimesEntry {
        TimesEntry { up_s, down_s, ..TimesEntry::default() }
    }

    #[test]
    fn a_budget_begins_full_and_can_be_overdrawn() {
        let left = |down_s| Budget::of(&times(0.0, down_s), 0.999, MONTH_S).left_min();
        assert!((left(0.0) - 43.2).abs() < 1e-6);
        assert!((left(60.0) - 42.2).abs() < 1e-6);
        assert!(left(3_600.0) < 0.0);
    }

    #[test]
    fn an_objective_is_judged_only_with_enough_known_time() {
        let verdict = |up_s, down_s| Budget::of(&times(up_s, down_s), 0.999, MONTH_S).verdict();
        assert_eq!(verdict(8.0, 0.0), "not judged yet, known for 8s of 30d");
        assert_eq!(
            verdict(4.0, 4.0),
            "not judged yet, known for 8s of 30d",
            "half of 8 s is little of a month"
        );
        assert_eq!(verdict(60.0, 3_000.0), "missed", "whatever the rest will be");
        assert_eq!(verdict(MONTH_S / 2.0, 60.0), "met as far as is known");
        assert_eq!(verdict(MONTH_S - 2_592.0, 0.0), "met", "the rest cannot use more than the budget");
        assert_eq!(verdict(MONTH_S - 2_592.0, 2_592.0), "met", "exactly the budget");
        assert_eq!(verdict(0.0, 0.0), "not judged yet, known for 0s of 30d");
        let paused = TimesEntry { paused_s: MONTH_S - 100.0, up_s: 100.0, ..TimesEntry::default() };
        assert_eq!(Budget::of(&paused, 0.999, MONTH_S).verdict(), "met", "a pause does not count");
        let all = TimesEntry { paused_s: MONTH_S, ..TimesEntry::default() };
        assert_eq!(Budget::of(&all, 0.999, MONTH_S).attainment().met(), None, "no time counts");
    }

    #[test]
    fn a_share_of_little_says_of_how_much() {
        let entry = AvailabilityEntry { share: 1.0, at_least: 1.0, at_most: 1.0, unknown_s: 0.0 };
        let share = |up_s| Known::of(&times(up_s, 0.0), MONTH_S).share(Some(&entry));
        assert_eq!(share(8.0), "100.00 %, known for 8s of 30d");
        assert_eq!(share(MONTH_S), "100.00 %");
        assert_eq!(Known::of(&times(0.0, 0.0), MONTH_S).share(None), "nothing is known");
        let bounds = AvailabilityEntry { share: 1.0, at_least: 0.95, at_most: 1.0, unknown_s: 0.4 };
        assert_eq!(
            bounds.to_string(),
            "100.00 % (95.00-100.00, unknown 1s)",
            "no bounds beside `unknown 0s`"
        );
    }
}
