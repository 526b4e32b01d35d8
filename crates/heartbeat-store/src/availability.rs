//! Availability: exact from the changes of a status, never from samples.

use std::ops::Range;

use heartbeat_status::Status;

/// What a time counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Up, or a oneshot that is done.
    Up,
    /// Up with a remark.
    Degraded,
    /// Down, failed, restarting or blocked; starting once it was up in this boot.
    Down,
    /// Starting for the first time in this boot: it counts as unknown.
    Starting,
    /// Stopped or paused on purpose: it does not count.
    Stopped,
    /// There is no evidence, or heartbeatd did not run.
    Unknown,
}

impl Class {
    /// Every class, in the order in which their times are stored.
    pub const ALL: [Self; 6] =
        [Self::Up, Self::Degraded, Self::Down, Self::Starting, Self::Stopped, Self::Unknown];

    /// The class of a status; `was_up` when the realm was up or degraded at some time since the host booted.
    #[must_use]
    pub const fn of(status: Status, was_up: bool) -> Self {
        match status {
            Status::Up | Status::Done => Self::Up,
            Status::Degraded => Self::Degraded,
            Status::Down | Status::Failed | Status::Restarting | Status::Blocked => Self::Down,
            Status::Starting if was_up => Self::Down,
            Status::Starting => Self::Starting,
            Status::Stopped | Status::Stopping | Status::Paused => Self::Stopped,
            Status::Unknown => Self::Unknown,
        }
    }

    /// As it is stored.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// From what is stored.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// A time in which one heartbeatd ran and the wall clock was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Counts up; a later life is right where two of them overlap.
    pub no: i64,
    /// Its first moment, in milliseconds since 1970.
    pub began_ms: i64,
    /// The last moment that is on record, in milliseconds since 1970.
    pub seen_ms: i64,
}

/// A change of a realm's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The life that has seen it.
    pub life: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What the realm is from then on.
    pub class: Class,
}

/// Milliseconds by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    ms: [u64; 6],
}

impl Account {
    /// The time spent in a class, in milliseconds.
    #[must_use]
    pub const fn ms(&self, class: Class) -> u64 {
        self.ms[class as usize]
    }

    /// Everything that is accounted for, in milliseconds.
    #[must_use]
    pub fn total_ms(&self) -> u64 {
        self.ms.iter().sum()
    }

    /// Adds a time.
    pub(crate) fn add(&mut self, class: Class, ms: u64) {
        self.ms[class as usize] += ms;
    }

    /// Adds the times of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (own, others) in self.ms.iter_mut().zip(other.ms) {
            *own += others;
        }
    }

    /// The share of the time in which it was up or degraded, of the time that counts; `None` when no time counts.
    #[must_use]
    pub fn availability(&self) -> Option<Availability> {
        let good = self.ms(Class::Up) + self.ms(Class::Degraded);
        let bad = self.ms(Class::Down);
        let unknown = self.ms(Class::Unknown) + self.ms(Class::Starting);
        let share = |good: u64, of: u64| (of > 0).then_some(good as f64 / of as f64);
        Some(Availability {
            share: share(good, good + bad)?,
            at_least: share(good, good + bad + unknown)?,
            at_most: share(good + unknown, good + bad + unknown)?,
            unknown_ms: unknown,
        })
    }
}

/// A share with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Availability {
    /// Of the time that is known, from 0 to 1.
    pub share: f64,
    /// If everything unknown was down.
    pub at_least: f64,
    /// If everything unknown was up.
    pub at_most: f64,
    /// The time that is unknown, in milliseconds.
    pub unknown_ms: u64,
}

/// Puts every millisecond of the window under one class. `changes` are of one realm, by life and within it in the order
/// in which they were seen; `lives` by their numbers. Where no life is on record, and in a life before its first
/// change, it is unknown.
#[must_use]
pub fn account(lives: &[Life], changes: &[Change], window: &Range<i64>) -> Account {
    accounts(lives, changes, window, span(window.start, window.end)).pop().unwrap_or_default()
}

/// The same for each step of the window; the last one may be shorter.
#[must_use]
pub fn accounts(lives: &[Life], changes: &[Change], window: &Range<i64>, step_ms: u64) -> Vec<Account> {
    let whole = span(window.start, window.end);
    let step_ms = step_ms.max(1);
    let steps = usize::try_from(whole.div_ceil(step_ms)).unwrap_or(usize::MAX);
    let mut accounts = vec![Account::default(); steps];
    for (from, to, class) in spans(lives, changes, window) {
        let (mut at, end) = (span(window.start, from), span(window.start, to));
        while at < end {
            let step = at / step_ms;
            let until = end.min((step + 1) * step_ms);
            if let Some(account) = usize::try_from(step).ok().and_then(|step| accounts.get_mut(step)) {
                account.add(class, until - at);
            }
            at = until;
        }
    }
    for (step, account) in (0_u64..).zip(&mut accounts) {
        let length = step_ms.min(whole - step * step_ms);
        account.add(Class::Unknown, length.saturating_sub(account.total_ms()));
    }
    accounts
}

/// The times in which something is known, with what.
fn spans(lives: &[Life], changes: &[Change], window: &Range<i64>) -> Vec<(i64, i64, Class)> {
    let mut spans = Vec::new();
    for (life, (from, to)) in lives.iter().zip(ran(lives)) {
        let (from, to) = (from.max(window.start), to.min(window.end));
        if from >= to {
            continue;
        }
        let own = changes.partition_point(|change| change.life < life.no);
        let (mut class, mut since) = (Class::Unknown, from);
        for change in changes[own..].iter().take_while(|change| change.life == life.no) {
            let at = change.at_ms.clamp(since, to);
            spans.push((since, at, class));
            (class, since) = (change.class, at);
        }
        spans.push((since, to, class));
    }
    spans
}

/// From when to when each life is right: until a later one began.
fn ran(lives: &[Life]) -> Vec<(i64, i64)> {
    let mut later = i64::MAX;
    let mut spans: Vec<(i64, i64)> = Vec::with_capacity(lives.len());
    for life in lives.iter().rev() {
        spans.push((life.began_ms, life.seen_ms.min(later)));
        later = later.min(life.began_ms);
    }
    spans.reverse();
    spans
}

fn span(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn life(no: i64, began_ms: i64, seen_ms: i64) -> Life {
        Life { no, began_ms, seen_ms }
    }

    const fn change(life: i64, at_ms: i64, class: Class) -> Change {
        Change { life, at_ms, class }
    }

    #[test]
    fn every_status_has_its_class() {
        for status in Status::ALL {
            let expected = match status.as_str() {
                "up" | "done" => Class::Up,
                "degraded" => Class::Degraded,
                "down" | "failed" | "restarting" | "blocked" | "starting" => Class::Down,
                "stopped" | "stopping" | "paused" => Class::Stopped,
                _ => Class::Unknown,
            };
            assert_eq!(Class::of(*status, true), expected, "{status}");
        }
        assert_eq!(Class::of(Status::Starting, false), Class::Starting);
        for class in Class::ALL {
            assert_eq!(Class::from_number(class.number()), Some(class));
        }
        assert_eq!(Class::from_number(6), None);
    }

    #[test]
    fn time_without_heartbeatd_is_unknown_and_never_up() {
        let lives = [life(1, 0, 100), life(2, 150, 300)];
        let changes = [change(1, 0, Class::Up), change(2, 150, Class::Up), change(2, 250, Class::Down)];
        let account = account(&lives, &changes, &(0..300));
        assert_eq!(
            (account.ms(Class::Up), account.ms(Class::Down), account.ms(Class::Unknown)),
            (200, 50, 50)
        );
        let availability = account.availability().unwrap();
        assert!((availability.share - 0.8).abs() < 1e-9);
        assert!((availability.at_least - 200.0 / 300.0).abs() < 1e-9);
        assert!((availability.at_most - 250.0 / 300.0).abs() < 1e-9);
        assert_eq!(availability.unknown_ms, 50);
    }

    #[test]
    fn the_state_of_an_earlier_life_is_no_evidence_in_a_later_one() {
        let lives = [life(1, 0, 100), life(2, 100, 200)];
        let account = account(&lives, &[change(1, 0, Class::Up), change(2, 150, Class::Up)], &(0..200));
        assert_eq!((account.ms(Class::Up), account.ms(Class::Unknown)), (150, 50));
    }

    #[test]
    fn where_the_clock_was_set_back_the_later_life_is_right() {
        let lives = [life(1, 0, 1_000), life(2, 400, 900)];
        let changes = [change(1, 0, Class::Up), change(1, 500, Class::Down), change(2, 400, Class::Degraded)];
        let account = account(&lives, &changes, &(0..1_000));
        assert_eq!(
            (account.ms(Class::Up), account.ms(Class::Degraded), account.ms(Class::Down)),
            (400, 500, 0)
        );
        assert_eq!(account.ms(Class::Unknown), 100);
    }

    #[test]
    fn a_pause_does_not_count_and_a_window_without_any_time_has_no_availability() {
        let lives = [life(1, 0, 100)];
        let account = account(&lives, &[change(1, 0, Class::Stopped)], &(0..100));
        assert_eq!(account.ms(Class::Stopped), 100);
        assert_eq!(account.availability(), None);
    }

    proptest! {
        #[test]
        fn every_millisecond_is_counted_once(
            spans in prop::collection::vec((0_i64..500, 0_i64..500), 0..6),
            changes in prop::collection::vec((0_i64..6, 0_i64..900, 0_u8..6), 0..30),
            window in (0_i64..900, 0_i64..900),
        ) {
            let lives: Vec<Life> = (0_i64..).zip(&spans).map(|(no, (began, len))| life(no, *began, began + len)).collect();
            let mut changes: Vec<Change> =
                changes.iter().map(|(no, at, class)| change(*no, *at, Class::from_number(*class).unwrap())).collect();
            changes.sort_by_key(|change| (change.life, change.at_ms));
            let window = window.0.min(window.1)..window.0.max(window.1);
            let account = account(&lives, &changes, &window);
            prop_assert_eq!(account.total_ms(), span(window.start, window.end));
            let mut steps = Account::default();
            for step in accounts(&lives, &changes, &window, 37) {
                steps.merge(&step);
            }
            prop_assert_eq!(steps, account);
            if let Some(availability) = account.availability() {
                prop_assert!(availability.at_least <= availability.share + 1e-12);
                prop_assert!(availability.share <= availability.at_most + 1e-12);
            }
        }

        #[test]
        fn the_parts_of_a_window_add_up(cut in 0_i64..300, changes in prop::collection::vec((0_i64..300, 0_u8..6), 0..20)) {
            let lives = [life(1, 10, 280)];
            let mut changes: Vec<Change> =
                changes.iter().map(|(at, class)| change(1, *at, Class::from_number(*class).unwrap())).collect();
            changes.sort_by_key(|change| change.at_ms);
            let mut parts = account(&lives, &changes, &(0..cut));
            parts.merge(&account(&lives, &changes, &(cut..300)));
            prop_assert_eq!(parts, account(&lives, &changes, &(0..300)));
        }
    }
}
