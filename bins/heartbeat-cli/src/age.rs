//! Latencies and moments, as people read them.

use std::sync::OnceLock;

use heartbeat_status::WallTime;
pub(crate) use heartbeat_status::{age, ahead, human_seconds, parse_duration, short_size as size};
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
}
