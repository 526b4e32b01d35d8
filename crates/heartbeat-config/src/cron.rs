//! Times of a job in the five fields of crontab(5): minute, hour, day of the month, month, day of the week.

use std::fmt;

use heartbeat_status::WallTime;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A pattern that holds on no day of this long (a leap year apart by eight, at most) holds never.
const MAX_DAYS: usize = 366 * 9;
/// What crontab(5) writes in one word.
const WORDS: [(&str, &str); 6] = [
    ("@yearly", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CronError {
    /// Not five fields.
    #[error(
        "`{text}` has {found} fields; a cron pattern has five: minute, hour, day, month, day of the week"
    )]
    Fields {
        /// The text as given.
        text: String,
        /// The number of its fields.
        found: usize,
    },
    /// A field with something else than numbers, ranges, steps and names.
    #[error(
        "`{field}` is not a {name} of a cron pattern: it takes {least} to {most}, lists, ranges and steps within them"
    )]
    Field {
        /// The field as given.
        field: String,
        /// What the field stands for.
        name: &'static str,
        /// Least number that it takes.
        least: u32,
        /// Greatest number that it takes.
        most: u32,
    },
    /// A day that no calendar has.
    #[error("`{text}` holds on no day")]
    Never {
        /// The text as given.
        text: String,
    },
}

/// A pattern. Its times are those of the time zone of this host, as of cron.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both days are restricted: one of them is enough.
    either_day: bool,
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cron {
    pub(crate) fn parse(text: &str) -> Result<Self, CronError> {
        let word = WORDS.iter().find(|(word, _)| text.trim().eq_ignore_ascii_case(word));
        let fields: Vec<&str> = word.map_or(text, |(_, fields)| fields).split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(CronError::Fields { text: text.to_owned(), found: fields.len() });
        };
        let weekdays = field(weekday, "day of the week", (0, 7), (&DAYS, 0))?;
        let cron = Self {
            text: text.trim().to_owned(),
            minutes: field(minute, "minute", (0, 59), (&[], 0))?,
            hours: field(hour, "hour", (0, 23), (&[], 0))?,
            days: field(day, "day", (1, 31), (&[], 0))?,
            months: field(month, "month", (1, 12), (&MONTHS, 1))?,
            // 7 is Sunday, too.
            weekdays: weekdays | u64::from(weekdays & 1 << 7 != 0),
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        match cron.next_in(&TimeZone::UTC, WallTime::from_millis(0)) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never { text: text.to_owned() }),
        }
    }

    /// The first time after `at`; `None` beyond the calendar.
    #[must_use]
    pub fn next_after(&self, at: WallTime) -> Option<WallTime> {
        self.next_in(&TimeZone::system(), at)
    }

    fn next_in(&self, zone: &TimeZone, at: WallTime) -> Option<WallTime> {
        let after = Timestamp::from_millisecond(at.as_millis()).ok()?;
        let mut date = zone.to_datetime(after).date();
        for _ in 0..MAX_DAYS {
            if self.holds_on(date)
                && let Some(found) = self.first_on(date, zone, after)
            {
                return Some(WallTime::from_millis(found.as_millisecond()));
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn holds_on(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let is_day = if self.either_day { day || weekday } else { day && weekday };
        is_day && has(self.months, date.month())
    }

    /// A time that a change of the clocks leaves out comes as much later, and one that it repeats comes once.
    fn first_on(&self, date: Date, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        (0..24_i8).filter(|hour| has(self.hours, *hour)).find_map(|hour| {
            (0..60_i8).filter(|minute| has(self.minutes, *minute)).find_map(|minute| {
                let found = zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0)).compatible().ok()?;
                (found > after).then_some(found)
            })
        })
    }
}

fn has(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| set >> number & 1 == 1)
}

/// The numbers of one field, as bits. `names` stand for numbers from a first one on.
fn field(
    text: &str,
    name: &'static str,
    (least, most): (u32, u32),
    (names, first): (&[&str], u32),
) -> Result<u64, CronError> {
    let refused = || CronError::Field { field: text.to_owned(), name, least, most };
    let number = |text: &str| -> Option<u32> {
        let named = (first..).zip(names).find(|(_, name)| text.eq_ignore_ascii_case(name));
        let digits = || text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        named.map(|(number, _)| number).or_else(digits).filter(|number| (least..=most).contains(number))
    };
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => number(from).zip(number(to)).ok_or_else(refused)?,
            None => {
                let from = number(range).ok_or_else(refused)?;
                (from, if step.is_some() { most } else { from })
            }
        };
        // A step longer than the field matches only once, so a step is the wrong way to write it.
        let fits = |step: &usize| (1..=(most - least) as usize).contains(step);
        let step = step.map_or(Some(1), |step| step.parse().ok().filter(fits));
        let step: usize = step.ok_or_else(refused)?;
        if from > to {
            return Err(refused());
        }
        set |= (from..=to).step_by(step).fold(0, |set, number| set | 1_u64 << number);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pattern: &str, after: &str, zone: &TimeZone) -> String {
        let after: Timestamp = after.parse().unwrap();
        let next = Cron::parse(pattern).unwrap().next_in(zone, WallTime::from_millis(after.as_millisecond()));
        Timestamp::from_millisecond(next.unwrap().as_millis()).unwrap().to_string()
    }

    #[test]
    fn the_next_time_is_the_one_that_cron_takes() {
        for (pattern, after, expected) in [
            ("0 2 * * *", "2026-11-30T01:59:59Z", "2026-11-30T02:00:00Z"),
            ("0 2 * * *", "2026-11-30T02:00:00Z", "2026-12-01T02:00:00Z"),
            ("*/15 * * * *", "2026-11-30T01:01:00Z", "2026-11-30T01:15:00Z"),
            ("5/20 8-10 * * *", "2026-11-30T10:25:00Z", "2026-11-30T10:45:00Z"),
            ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
            ("30 4 * * mon,FRI", "2026-11-30T05:00:00Z", "2026-12-04T04:30:00Z"),
            ("0 0 * * 7", "2026-11-30T00:00:00Z", "2026-12-06T00:00:00Z"),
            ("@monthly", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"),
            // One of both days is enough, as in crontab(5).
            ("0 0 13 * 5", "2026-11-30T00:00:00Z", "2026-12-04T00:00:00Z"),
            ("0 0 13 * *", "2026-11-30T00:00:00Z", "2026-12-13T00:00:00Z"),
            ("0 12 1 jan *", "2026-11-30T00:00:00Z", "2027-01-01T12:00:00Z"),
        ] {
            assert_eq!(next(pattern, after, &TimeZone::UTC), expected, "{pattern} after {after}");
        }
    }

    #[test]
    fn a_change_of_the_clocks_leaves_no_time_out_and_repeats_none() {
        // As in Berlin, without the time zones of the host: to summer at 01:00 UTC on the last Sunday of March.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(next("30 2 * * *", "2026-03-28T12:00:00Z", &zone), "2026-03-29T01:30:00Z");
        assert_eq!(next("30 2 * * *", "2026-03-29T01:30:00Z", &zone), "2026-03-30T00:30:00Z");
        assert_eq!(next("30 2 * * *", "2026-10-24T12:00:00Z", &zone), "2026-10-25T00:30:00Z");
        assert_eq!(next("30 2 * * *", "2026-10-25T00:30:00Z", &zone), "2026-10-26T01:30:00Z");
    }

    #[test]
    fn what_cron_would_not_take_is_refused() {
        for wrong in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "*/60 * * * *",
            "*/99999999999 * * * *",
            "0 */24 * * *",
            "0 0 */31 * *",
            "0 0 1 */12 *",
            "0 0 30 2 *",
            "0 0 31 4,6,9,11 *",
            "5/60 * * * *",
            "a * * * *",
            "1- * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "1,,2 * * * *",
            "0 0 31 2 *",
            "@often",
        ] {
            assert!(Cron::parse(wrong).is_err(), "{wrong}");
        }
    }
}
