//! Maintenance windows: when they are open.

use std::time::Duration;

use heartbeat_status::{RealmName, WallTime};

use crate::cron::Cron;

/// One table `[maintenance.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceConfig {
    /// Name from the configuration.
    pub name: String,
    /// The realms it is about.
    pub realms: Vec<RealmName>,
    /// When it begins.
    pub start: WindowStart,
    /// How long it lasts.
    pub length: Duration,
    /// What it does.
    pub effect: MaintenanceEffect,
    /// Why there is one.
    pub reason: String,
}

/// When a window begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowStart {
    /// One window at this time.
    Once(WallTime),
    /// Again and again.
    Cron(Cron),
}

/// What a window does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintenanceEffect {
    /// Receivers hear nothing; heartbeatd acts as ever.
    Mute,
    /// heartbeatd neither acts nor alerts.
    Pause,
}

/// Starts in a row of which each lies within the window before it: a window that has not ended after so many has no
/// end. A pattern repeats within a month, but for the days of months and of leap years.
const MAX_STARTS: usize = 1_500;

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It opens, and ends.
    Ends,
    /// It ended then, and does not open again.
    Over(WallTime),
    /// It begins again before it ends, each time.
    Endless,
}

impl MaintenanceConfig {
    /// The end of the window that is open at `now`.
    #[must_use]
    pub fn open_until(&self, now: WallTime) -> Option<WallTime> {
        let start = match &self.start {
            WindowStart::Once(start) => *start,
            // The first that is not over yet.
            WindowStart::Cron(cron) => cron.next_after(later(now, -self.length_ms()))?,
        };
        let end = later(start, self.length_ms());
        (start <= now && now < end).then_some(end)
    }

    /// When the next window after `now` begins.
    #[must_use]
    pub fn next_start(&self, now: WallTime) -> Option<WallTime> {
        match &self.start {
            WindowStart::Once(start) => Some(*start).filter(|start| *start > now),
            WindowStart::Cron(cron) => cron.next_after(now),
        }
    }

    /// What becomes of it after `now`.
    pub(crate) fn course(&self, now: WallTime) -> Course {
        let cron = match &self.start {
            WindowStart::Once(start) => {
                let end = later(*start, self.length_ms());
                return if end <= now { Course::Over(end) } else { Course::Ends };
            }
            WindowStart::Cron(cron) => cron,
        };
        // A pattern that no day has is no cron pattern.
        let Some(mut start) = cron.next_after(now) else { return Course::Ends };
        for _ in 0..MAX_STARTS {
            match cron.next_after(start) {
                Some(next) if next <= later(start, self.length_ms()) => start = next,
                Some(_) | None => return Course::Ends,
            }
        }
        Course::Endless
    }

    fn length_ms(&self) -> i64 {
        i64::try_from(self.length.as_millis()).unwrap_or(i64::MAX)
    }
}

fn later(at: WallTime, ms: i64) -> WallTime {
    WallTime::from_millis(at.as_millis().saturating_add(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: WindowStart, minutes: u64) -> MaintenanceConfig {
        MaintenanceConfig {
            name: "night".to_owned(),
            realms: Vec::new(),
            start,
            length: Duration::from_secs(minutes * 60),
            effect: MaintenanceEffect::Mute,
            reason: "backup".to_owned(),
        }
    }

    fn at(text: &str) -> WallTime {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_start_until_just_before_its_end() {
        let once = window(WindowStart::Once(at("2026-11-30T02:00:00Z")), 30);
        let end = at("2026-11-30T02:30:00Z");
        assert_eq!(once.open_until(at("2026-11-30T01:59:59.999Z")), None);
        assert_eq!(once.open_until(at("2026-11-30T02:00:00Z")), Some(end));
        assert_eq!(once.open_until(at("2026-11-30T02:29:59.999Z")), Some(end));
        assert_eq!(once.open_until(end), None);
        assert_eq!(once.next_start(at("2026-11-30T01:00:00Z")), Some(at("2026-11-30T02:00:00Z")));
        assert_eq!(once.next_start(at("2026-11-30T02:00:00Z")), None);
    }

    #[test]
    fn a_repeated_window_opens_again_and_one_that_overlaps_itself_stays_open() {
        // At every hour, so that the time zone of the host does not matter.
        let hourly = window(WindowStart::Cron(Cron::parse("0 * * * *").unwrap()), 10);
        assert_eq!(hourly.open_until(at("2026-11-30T02:05:00Z")), Some(at("2026-11-30T02:10:00Z")));
        assert_eq!(hourly.open_until(at("2026-11-30T02:00:00Z")), Some(at("2026-11-30T02:10:00Z")));
        assert_eq!(hourly.open_until(at("2026-11-30T02:10:00Z")), None);
        assert_eq!(hourly.next_start(at("2026-11-30T02:05:00Z")), Some(at("2026-11-30T03:00:00Z")));
        let always = window(WindowStart::Cron(Cron::parse("0 * * * *").unwrap()), 90);
        assert_eq!(always.course(at("2026-11-30T02:00:00Z")), Course::Endless);
        assert_eq!(hourly.course(at("2026-11-30T02:00:00Z")), Course::Ends);
        let once = window(WindowStart::Once(at("2026-11-30T02:00:00Z")), 30);
        assert_eq!(once.course(at("2026-11-30T02:29:59Z")), Course::Ends);
        let end = at("2026-11-30T02:30:00Z");
        assert_eq!(once.course(end), Course::Over(end));
        // All working days, but the weekend ends it.
        let week = window(WindowStart::Cron(Cron::parse("0 0 * * mon-fri").unwrap()), 24 * 60);
        assert_eq!(week.course(at("2026-11-30T02:00:00Z")), Course::Ends);
        for minute in 0..60 {
            let now = at(&format!("2026-11-30T02:{minute:02}:00Z"));
            assert!(always.open_until(now).is_some(), "{minute}");
        }
    }
}
