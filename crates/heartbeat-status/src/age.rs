//! Ages and times to come, as people read them.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

use crate::WallTime;
use crate::quantity::human_seconds;

const MS_PER_S: i64 = 1_000;

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
        let at = WallTime::from_millis;
        assert_eq!(age(at(0), at(26_900)), "26s");
        assert_eq!(ahead(at(3_001), at(0)), "in 4s");
        assert_eq!(ahead(at(999), at(0)), "in <1s");
        assert_eq!(ahead(at(0), at(5)), "now");
    }
}
