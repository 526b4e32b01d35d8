//! Durations and sizes: one way to read what people write, and one way to write for each place where people read.
//!
//! `humantime` and `bytesize` accept what heart-beat refuses (`1 day`, `5M`, `64MB`) and write what it cannot read.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// Longest duration: a hundred years. A longer one stands for "never", which another value of its key says.
const MAX_DURATION: Duration = Duration::from_secs(36_500 * 24 * 3_600);
/// Units of time in milliseconds, the largest first.
const TIMES: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Units of size in bytes, the largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

const S_PER_MINUTE: i64 = 60;
const S_PER_HOUR: i64 = 3_600;
const S_PER_DAY: i64 = 86_400;
/// From here on hours no longer matter.
const DAYS_ALONE: i64 = 100;

/// The reason why a text is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuantityError {
    /// A duration without a character.
    Empty,
    /// No numbers with units.
    NotADuration(String),
    /// A duration that is a number alone.
    NoUnitOfTime(String),
    /// A word after a number that is not a unit of time.
    NotAUnitOfTime(String),
    /// A smaller unit before a larger one, or one unit twice.
    Order(String),
    /// More than a hundred years.
    TooLong(String),
    /// No number with a unit.
    NotASize(String),
    /// A size that is a number alone.
    NoUnitOfSize(String),
    /// A word after a number that is not a unit of size.
    NotAUnitOfSize(String),
    /// More bytes than fit in 64 bits.
    TooLarge(String),
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a duration is empty"),
            Self::NotADuration(text) => {
                write!(f, "`{text}` is not a duration: a number, and ms, s, m, h, d or w right after it")
            }
            Self::NoUnitOfTime(text) => write!(f, "`{text}` has no unit; there are ms, s, m, h, d and w"),
            Self::NotAUnitOfTime(unit) => {
                write!(f, "`{unit}` is not a unit of time; there are ms, s, m, h, d and w")
            }
            Self::Order(text) => write!(f, "`{text}`: units go from large to small"),
            Self::TooLong(text) => write!(f, "`{text}` is too long: the most is 36500d"),
            Self::NotASize(text) => write!(f, "`{text}` is not a size"),
            Self::NoUnitOfSize(text) => write!(f, "`{text}` has no unit"),
            Self::NotAUnitOfSize(unit) => {
                write!(f, "`{unit}` is not a unit of size; there are B, KiB, MiB and GiB")
            }
            Self::TooLarge(text) => write!(f, "`{text}` is too large"),
        }
    }
}

impl core::error::Error for QuantityError {}

/// Reads `250ms`, `2s`, `5m`, `1h30m`, `7d`, `2w`: numbers with units, the largest unit first.
///
/// # Errors
/// For a number without a unit, an unknown unit, units that do not descend, and more than a hundred years.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let written = || text.to_owned();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(QuantityError::Empty);
    }
    let mut millis = 0u64;
    let mut left = &TIMES[..];
    while !rest.is_empty() {
        let (number, behind) = number(rest);
        let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(letters);
        match (number.is_empty(), unit.is_empty()) {
            (false, true) if behind.is_empty() => return Err(QuantityError::NoUnitOfTime(written())),
            (true, _) | (_, true) => return Err(QuantityError::NotADuration(written())),
            _ => {}
        }
        let Some(at) = left.iter().position(|(name, _)| *name == unit) else {
            let is_known = TIMES.iter().any(|(name, _)| *name == unit);
            let known = || QuantityError::Order(written());
            return Err(if is_known { known() } else { QuantityError::NotAUnitOfTime(unit.to_owned()) });
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(left[at].1));
        millis = part
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(|| QuantityError::TooLong(written()))?;
        (left, rest) = (&left[at + 1..], next);
    }
    let found = Duration::from_millis(millis);
    if found > MAX_DURATION { Err(QuantityError::TooLong(written())) } else { Ok(found) }
}

/// Reads `64MiB`, `10KiB`, `512B` as a number of bytes.
///
/// # Errors
/// For a number without a unit, an unknown unit, and what does not fit in 64 bits.
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = number(text);
    let number: u64 = number.parse().map_err(|_| QuantityError::NotASize(text.to_owned()))?;
    let unit = unit.trim();
    let Some((_, scale)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        return Err(match unit {
            "" => QuantityError::NoUnitOfSize(text.to_owned()),
            unit => QuantityError::NotAUnitOfSize(unit.to_owned()),
        });
    };
    number.checked_mul(*scale).ok_or_else(|| QuantityError::TooLarge(text.to_owned()))
}

/// The digits at the front, and the rest.
fn number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// A duration as a file has it, in the largest unit that is whole: `250ms`, `60s`, `5m`, `7d`.
#[must_use]
pub fn written_duration(time: Duration) -> String {
    let ms = time.as_millis();
    let fits = |(unit, scale): &&(&str, u64)| {
        let scale = u128::from(*scale);
        // People count in seconds up to two minutes, and in days for months.
        let is_used = match *unit {
            "w" => false,
            "m" => ms > scale,
            _ => true,
        };
        is_used && ms > 0 && ms.is_multiple_of(scale)
    };
    let (unit, scale) = TIMES.iter().find(fits).copied().unwrap_or(("ms", 1));
    format!("{}{unit}", ms / u128::from(scale))
}

/// A size as a file has it, in the largest unit that is whole: `64MiB`, `1025B`.
#[must_use]
pub fn written_size(bytes: u64) -> String {
    let fits = |(_, scale): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*scale);
    let (unit, scale) = SIZES.iter().find(fits).copied().unwrap_or(("B", 1));
    format!("{}{unit}", bytes / scale)
}

/// Seconds in a column, in at most two units: `26s`, `4m05s`, `2h15m`, `3d04h`, `120d`.
#[must_use]
pub fn human_seconds(seconds: i64) -> String {
    let s = seconds.max(0);
    if s < S_PER_MINUTE {
        format!("{s}s")
    } else if s < S_PER_HOUR {
        format!("{}m{:02}s", s / S_PER_MINUTE, s % S_PER_MINUTE)
    } else if s < S_PER_DAY {
        format!("{}h{:02}m", s / S_PER_HOUR, s % S_PER_HOUR / S_PER_MINUTE)
    } else if s < DAYS_ALONE * S_PER_DAY {
        format!("{}d{:02}h", s / S_PER_DAY, s % S_PER_DAY / S_PER_HOUR)
    } else {
        format!("{}d", s / S_PER_DAY)
    }
}

/// As [`human_seconds`], without a part that is zero: `30d`, `1h`, `5m`, `1h30m`.
#[must_use]
pub fn short_seconds(seconds: i64) -> String {
    let mut text = human_seconds(seconds);
    let zero = ["00h", "00m", "00s"].into_iter().find_map(|zero| text.strip_suffix(zero).map(str::len));
    zero.into_iter().for_each(|length| text.truncate(length));
    text
}

/// As [`human_seconds`], with tenths below ten seconds: `0.5s`, `45s`, `5m00s`, `1h05m`.
pub(crate) fn clock_span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..10 => format!("{seconds}.{}s", time.subsec_millis() / 100),
        seconds => human_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)),
    }
}

/// Seconds in the largest unit of which there is one: `12s`, `5m`, `3h`, `2d`.
#[must_use]
pub fn coarse_seconds(seconds: u64) -> String {
    let ms = seconds.saturating_mul(1_000);
    let fits = |(unit, scale): &&(&str, u64)| *unit != "w" && ms >= *scale;
    let (unit, scale) = TIMES.iter().find(fits).copied().unwrap_or(("s", 1_000));
    format!("{}{unit}", ms / scale)
}

/// A length of time in a sentence: `0.2 s`, `95 s`, `12 min`, `3 h`, `9 days`.
#[must_use]
pub fn span_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..10 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// A size in a sentence: `80.3 MiB`.
#[must_use]
pub fn size_words(bytes: u64) -> String {
    let (unit, scale) = SIZES.iter().find(|(_, scale)| bytes >= *scale).copied().unwrap_or(("B", 1));
    let (whole, rest) = (bytes / scale, bytes % scale);
    if rest == 0 { format!("{whole} {unit}") } else { format!("{whole}.{} {unit}", rest * 10 / scale) }
}

/// A size in a column: `4.0MiB`, `141MiB`, `1.5GiB`.
#[must_use]
pub fn short_size(bytes: u64) -> String {
    const STEP: f64 = 1024.0;
    let (mut number, mut unit) = (bytes as f64 / STEP, "KiB");
    for larger in ["MiB", "GiB", "TiB"] {
        if number < STEP {
            break;
        }
        (number, unit) = (number / STEP, larger);
    }
    if number < 9.95 { format!("{number:.1}{unit}") } else { format!("{number:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn durations_have_units() {
        let read = |text: &str| parse_duration(text).map(|time| time.as_millis());
        for (text, millis) in [
            ("250ms", 250),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1s250ms", 1_250),
            ("7d", 604_800_000),
            (" 1w ", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(read(text), Ok(millis), "{text}");
        }
        let long = "99999999999999999999d";
        for bad in [
            "", "5", "5x", "s", "1.5s", "1s1m", "1s1s", "1m1h", "1s 2s", "-1s", "5 s", "36501d", "ünits",
            long,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let words = |text: &str| format!("{}", parse_duration(text).unwrap_err());
        assert_eq!(words("90"), "`90` has no unit; there are ms, s, m, h, d and w");
        assert_eq!(words("5y"), "`y` is not a unit of time; there are ms, s, m, h, d and w");
        assert_eq!(
            words("2 minutes"),
            "`2 minutes` is not a duration: a number, and ms, s, m, h, d or w right after it"
        );
        assert_eq!(words("1s1m"), "`1s1m`: units go from large to small");
        assert_eq!(words(long), format!("`{long}` is too long: the most is 36500d"));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("512 B"), Ok(512));
        for bad in ["64MB", "64", "MiB", "99999999999GiB", "-1B"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let times = [0, 250, 5_000, 60_000, 61_000, 120_000, 300_000, 3_600_000, 5_400_000, 86_400_000];
        let written = times.map(|millis| written_duration(ms(millis)));
        assert_eq!(written, ["0ms", "250ms", "5s", "60s", "61s", "2m", "5m", "1h", "90m", "1d"]);
        for (text, millis) in written.iter().zip(times) {
            assert_eq!(parse_duration(text), Ok(ms(millis)));
        }
        for (bytes, text) in [(0, "0B"), (1_025, "1025B"), (64 << 20, "64MiB"), (5 << 30, "5GiB")] {
            assert_eq!(written_size(bytes), text);
            assert_eq!(parse_size(text), Ok(bytes));
        }
    }

    #[test]
    fn people_read_few_digits() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (245, "4m05s"),
            (8_124, "2h15m"),
            (273_600, "3d04h"),
            (86_400 * 120, "120d"),
        ] {
            assert_eq!(human_seconds(seconds), text);
        }
        assert_eq!([500, 45_000, 300_000].map(|time| clock_span(ms(time))), ["0.5s", "45s", "5m00s"]);
        assert_eq!(
            [240, 95_000, 725_000, 10_900_000, 864_000_000].map(|time| span_words(ms(time))),
            ["0.2 s", "95 s", "12 min", "3 h", "10 days"]
        );
        assert_eq!([0, 12, 300, 11_000, 200_000].map(coarse_seconds), ["0s", "12s", "5m", "3h", "2d"]);
        assert_eq!(
            [0, 900, 1 << 20, 84_200_000, u64::MAX].map(size_words),
            ["0 B", "900 B", "1 MiB", "80.2 MiB", "17179869183.9 GiB"]
        );
        assert_eq!(
            [0, 4_194_304, 147_849_216, 1_610_612_736, 3_000_000_000_000_000].map(short_size),
            ["0.0KiB", "4.0MiB", "141MiB", "1.5GiB", "2728TiB"]
        );
    }
}
