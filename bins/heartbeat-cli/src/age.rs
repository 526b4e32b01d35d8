//! Durations and moments, as people read and write them.

use std::sync::OnceLock;
use std::time::Duration;

use heartbeat_status::WallTime;
use jiff::Timestamp;
use jiff::tz::TimeZone;

const MS_PER_S: i64 = 1_000;
const S_PER_MINUTE: i64 = 60;
const S_PER_HOUR: i64 = 3_600;
const S_PER_DAY: i64 = 86_400;
/// From here on hours no longer matter.
const DAYS_ALONE: i64 = 100;

/// Seconds for a person, in at most two units: `26s`, `4m05s`, `2h15m`, `3d04h`, `120d`.
pub(crate) fn human_seconds(seconds: i64) -> String {
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

/// The same of a number of seconds in a document.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from f64 saturates, and no uptime is near i64::MAX"
)]
pub(crate) fn human_seconds_f64(seconds: f64) -> String {
    human_seconds(seconds as i64)
}

/// How long ago `then` was at `now`.
pub(crate) fn age(then: WallTime, now: WallTime) -> String {
    human_seconds(now.as_millis().saturating_sub(then.as_millis()) / MS_PER_S)
}

/// When `then` is, seen from `now`: `in 3s`, `in <1s`, `now`.
pub(crate) fn ahead(then: WallTime, now: WallTime) -> String {
    let ms = then.as_millis().saturating_sub(now.as_millis());
    match ms {
        ..=0 => "now".to_owned(),
        1..MS_PER_S => "in <1s".to_owned(),
        // Rounded up, so that a countdown ends at 1 and not at 0.
        _ => format!("in {}", human_seconds(ms.saturating_add(MS_PER_S - 1) / MS_PER_S)),
    }
}

/// A latency: `0.4ms`, `12ms`, `1.3s`.
pub(crate) fn latency(ms: f64) -> String {
    if ms < 9.95 {
        format!("{ms:.1}ms")
    } else if ms < 999.5 {
        format!("{ms:.0}ms")
    } else {
        format!("{:.1}s", ms / 1_000.0)
    }
}

/// The zone in which times are shown: UTC unless another one was chosen.
static ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Shows times in the zone of this machine, or of TZ.
pub(crate) fn show_local_times() {
    // Chosen once, before anything is shown.
    let _ = ZONE.set(TimeZone::system());
}

/// The time of day with its zone: `22:40:01Z`, `23:40:01 CET`.
pub(crate) fn clock(time: WallTime) -> String {
    shown(time, "%H:%M:%S", ZONE.get())
}

/// The date and the time of day with its zone: `2026-11-23 22:40:01Z`.
pub(crate) fn moment(time: WallTime) -> String {
    shown(time, "%Y-%m-%d %H:%M:%S", ZONE.get())
}

/// A time beyond the calendar is shown as documents write it.
fn shown(time: WallTime, format: &str, zone: Option<&TimeZone>) -> String {
    let Ok(timestamp) = Timestamp::from_millisecond(time.as_millis()) else { return time.to_string() };
    match zone.filter(|zone| **zone != TimeZone::UTC) {
        Some(zone) => timestamp.to_zoned_datetime(zone.clone()).strftime(&format!("{format} %Z")).to_string(),
        None => timestamp.to_zoned_datetime(TimeZone::UTC).strftime(&format!("{format}Z")).to_string(),
    }
}

/// Reads `250ms`, `2s`, `5m`, `1h30m`, `7d`: units descending, each once, never a bare number.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let wrong = || format!("`{text}` is not a duration; write 250ms, 90s, 5m or 1h30m");
    let mut rest = text;
    let mut allowed = &UNITS[..];
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let at = allowed.iter().position(|(unit, _)| *unit == &rest[..letters]).ok_or_else(wrong)?;
        total = number.checked_mul(allowed[at].1).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
        allowed = &allowed[at + 1..];
        rest = &rest[letters..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
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
        assert_eq!(clock(at(1_795_473_601_123)), "22:40:01Z");
        assert_eq!(
            (latency(0.42), latency(12.2), latency(1_300.0)),
            ("0.4ms".into(), "12ms".into(), "1.3s".into())
        );
    }

    #[test]
    fn times_are_shown_with_their_zone() {
        let time = WallTime::from_millis(1_795_473_601_123);
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(shown(time, "%H:%M:%S", Some(&berlin)), "23:40:01 CET");
        assert_eq!(shown(time, "%Y-%m-%d %H:%M:%S", None), "2026-11-23 22:40:01Z");
        assert_eq!(moment(time), "2026-11-23 22:40:01Z", "UTC until another zone is chosen");
        let far = WallTime::from_millis(i64::MAX);
        assert_eq!(clock(far), far.to_string());
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("1s250ms"), Ok(Duration::from_millis(1_250)));
        for bad in ["", "90", "s", "1m1h", "1s1s", "1.5s", "-1s", "5 s", "99999999999999999999d", "ünits"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
