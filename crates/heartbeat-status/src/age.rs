//! Ages and times to come, as people read them.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

use crate::WallTime;

const MS_PER_S: i64 = 1_000;
const S_PER_MINUTE: i64 = 60;
const S_PER_HOUR: i64 = 3_600;
const S_PER_DAY: i64 = 86_400;
/// From here on hours no longer matter.
const DAYS_ALONE: i64 = 100;

/// Seconds for a person, in at most two units: `26s`, `4m05s`, `2h15m`, `3d04h`, `120d`.
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

/// How long ago `then` was at `now`.
#[must_use]
pub fn age(then: WallTime, now: WallTime) -> String {
    human_seconds(now.as_millis().saturating_sub(then.as_millis()) / MS_PER_S)
}

/// When `then` is, seen from `now`: `in 3s`, `in <1s`, `now`.
#[must_use]
pub fn ahead(then: WallTime, now: WallTime) -> String {
    let ms = then.as_millis().saturating_sub(now.as_millis());
    match ms {
        ..=0 => "now".to_owned(),
        1..MS_PER_S => "in <1s".to_owned(),
        // Rounded up, so that a countdown ends at 1 and not at 0.
        _ => format!("in {}", human_seconds(ms.saturating_add(MS_PER_S - 1) / MS_PER_S)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
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
        let at = WallTime::from_millis;
        assert_eq!(age(at(0), at(26_900)), "26s");
        assert_eq!(ahead(at(3_001), at(0)), "in 4s");
        assert_eq!(ahead(at(999), at(0)), "in <1s");
        assert_eq!(ahead(at(0), at(5)), "now");
    }
}
