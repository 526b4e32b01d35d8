//! Time as data. This crate reads no clock: the driver stamps and passes times in.

#[cfg(feature = "serde")]
use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A point on the monotonic clock since boot (`CLOCK_MONOTONIC`), in nanoseconds.
///
/// Meaningful together with a boot id: it survives a restart of heartbeatd, serialises and replays. Arithmetic
/// saturates: time never wraps and never panics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment of boot.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds since boot.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since boot.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since boot.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The next multiple of `step` at or after this instant, for coalescing wake-ups.
    #[must_use]
    pub fn rounded_up(self, step: Duration) -> Self {
        let step = as_nanos(step).max(1);
        Self(self.0.div_ceil(step).saturating_mul(step))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(as_nanos(by)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(as_nanos(by)))
    }
}

fn as_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A wall-clock time in milliseconds since the Unix epoch. For display and documents only: nothing is decided on it.
///
/// Displays as RFC 3339 UTC with milliseconds:
///
/// ```
/// use heartbeat_status::WallTime;
///
/// let time: WallTime = "2026-11-23T22:40:01.123Z".parse().unwrap();
/// assert_eq!(time.as_millis(), 1_795_473_601_123);
/// assert_eq!(time.to_string(), "2026-11-23T22:40:01.123Z");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i64);

impl WallTime {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

#[cfg(feature = "serde")]
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            // Out of jiff's range (years beyond ±9999): still a number a person can read.
            Err(_) => write!(f, "@{}ms", self.0),
        }
    }
}

/// A text that is not a moment of RFC 3339.
#[cfg(feature = "serde")]
#[derive(Clone, Debug)]
pub struct TimeError(jiff::Error);

#[cfg(feature = "serde")]
impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "serde")]
impl core::error::Error for TimeError {}

#[cfg(feature = "serde")]
impl core::str::FromStr for WallTime {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let timestamp: jiff::Timestamp = text.parse().map_err(TimeError)?;
        Ok(Self(timestamp.as_millisecond()))
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for WallTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for WallTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One reading of both clocks at the same moment: what turns an [`Instant`] into a [`WallTime`] for display.
///
/// Kept until the wall clock is stepped, so that a `since` in a document does not jitter from body to body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallAnchor {
    /// The monotonic reading.
    pub instant: Instant,
    /// The wall reading taken with it.
    pub wall: WallTime,
}

impl WallAnchor {
    /// The wall time of `at` as this anchor sees it, for instants before and after the anchor.
    #[must_use]
    pub fn wall(&self, at: Instant) -> WallTime {
        const NANOS_PER_MILLI: i128 = 1_000_000;
        let ahead = (i128::from(at.0) - i128::from(self.instant.0)).div_euclid(NANOS_PER_MILLI);
        WallTime(self.wall.0.saturating_add(i64::try_from(ahead).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn instants_saturate_instead_of_wrapping() {
        let late = Instant::from_nanos(u64::MAX);
        assert_eq!(late + Duration::from_secs(1), late);
        assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(Instant::ZERO.since(late), Duration::ZERO);
        assert_eq!(
            Instant::from_millis(1_501).rounded_up(Duration::from_millis(10)),
            Instant::from_millis(1_510)
        );
        assert_eq!(
            Instant::from_millis(1_510).rounded_up(Duration::from_millis(10)),
            Instant::from_millis(1_510)
        );
    }

    #[test]
    fn an_anchor_maps_both_ways() {
        let anchor =
            WallAnchor { instant: Instant::from_millis(5_000), wall: WallTime::from_millis(1_000_000) };
        assert_eq!(anchor.wall(Instant::from_millis(6_500)), WallTime::from_millis(1_001_500));
        assert_eq!(anchor.wall(Instant::from_millis(500)), WallTime::from_millis(995_500));
    }

    #[test]
    fn wall_times_beyond_the_calendar_still_print() {
        assert_eq!(WallTime::from_millis(i64::MAX).to_string(), "@9223372036854775807ms");
        assert_eq!(WallTime::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }
}
