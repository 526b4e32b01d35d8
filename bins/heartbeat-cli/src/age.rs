//! Durations, moments and sizes, as people read and write them.

use std::sync::OnceLock;
use std::time::Duration;

use heartbeat_status::WallTime;
pub(crate) use heartbeat_status::{age, ahead, human_seconds};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The same of a number of seconds in a document.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from f64 saturates, and no uptime is near i64::MAX"
)]
pub(crate) fn human_seconds_f64(seconds: f64) -> String {
    human_seconds(seconds as i64)
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

/// A share of one processor: `0.3%`, `12%`.
pub(crate) fn cpu(percent: f64) -> String {
    if percent < 9.95 { format!("{percent:.1}%") } else { format!("{percent:.0}%") }
}

/// A size in bytes: `4.0MiB`, `141MiB`, `1.5GiB`.
pub(crate) fn size(bytes: f64) -> String {
    const STEP: f64 = 1024.0;
    let (mut number, mut unit) = (bytes / STEP, "KiB");
    for larger in ["MiB", "GiB", "TiB"] {
        if number < STEP {
            break;
        }
        (number, unit) = (number / STEP, larger);
    }
    if number < 9.95 { format!("{number:.1}{unit}") } else { format!("{number:.0}{unit}") }
}

/// Times are shown in the zone of this machine, and not in UTC.
static LOCAL: OnceLock<()> = OnceLock::new();
/// That zone, looked up at the first time that is shown: it takes a walk through all zones, and most screens have ages
/// alone.
static ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Shows times in the zone of this machine, or of TZ.
pub(crate) fn show_local_times() {
    // Chosen once, before anything is shown.
    let _ = LOCAL.set(());
}

fn zone() -> Option<&'static TimeZone> {
    LOCAL.get().map(|()| ZONE.get_or_init(TimeZone::system))
}

/// The time of day with its zone: `22:40:01Z`, `23:40:01 CET`.
pub(crate) fn clock(time: WallTime) -> String {
    shown(time, "%H:%M:%S", zone())
}

/// The date and the time of day with its zone: `2026-11-23 22:40:01Z`.
pub(crate) fn moment(time: WallTime) -> String {
    shown(time, "%Y-%m-%d %H:%M:%S", zone())
}

/// A time beyond the calendar is shown as documents write it.
fn shown(time: WallTime, format: &str, zone: Option<&TimeZone>) -> String {
    let Ok(timestamp) = Timestamp::from_millisecond(time.as_millis()) else { return time.to_string() };
    match zone.filter(|zone| **zone != TimeZone::UTC) {
        Some(zone) => timestamp.to_zoned_datetime(zone.clone()).strftime(&format!("{format} %Z")).to_string(),
        None => timestamp.to_zoned_datetime(TimeZone::UTC).strftime(&format!("{format}Z")).to_string(),
    }
}

/// Reads `250ms`, `2s`, `5m`, `1h30m`, `7d`, `2w`: units descending, each once, never a bare number.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 6] =
        [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let wrong = || format!("`{text}` is not a duration; write 250ms, 90s, 5m, 1h30m, 7d or 2w");
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
    fn latencies_and_times_of_day_are_short() {
        assert_eq!(clock(WallTime::from_millis(1_795_473_601_123)), "22:40:01Z");
        assert_eq!(
            (latency(0.42), latency(12.2), latency(1_300.0)),
            ("0.4ms".into(), "12ms".into(), "1.3s".into())
        );
    }

    #[test]
    fn what_is_used_is_short() {
        let sizes = [0.0, 4_194_304.0, 147_849_216.0, 1_610_612_736.0, 3e15].map(size);
        assert_eq!(sizes, ["0.0KiB", "4.0MiB", "141MiB", "1.5GiB", "2728TiB"]);
        assert_eq!([0.25, 9.94, 12.4, 398.0].map(cpu), ["0.2%", "9.9%", "12%", "398%"]);
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
        assert_eq!(parse_duration("1w"), Ok(Duration::from_secs(604_800)));
        assert_eq!(parse_duration("1s250ms"), Ok(Duration::from_millis(1_250)));
        for bad in ["", "90", "s", "1m1h", "1s1s", "1.5s", "-1s", "5 s", "99999999999999999999d", "ünits"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
