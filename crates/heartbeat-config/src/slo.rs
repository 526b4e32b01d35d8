//! `slo`: the objectives of a realm.

use heartbeat_status::parse_duration;

use crate::code::Code;
use crate::config::Objective;
use crate::defaults;
use crate::reader::{Reader, Section};
use crate::units;

/// The objectives of a realm; `None` when it has none, and when they are wrong.
pub(crate) fn read(reader: &Reader<'_>, realm: &Section<'_>) -> Option<Objective> {
    realm.get("slo")?;
    let section = realm.table(reader, "slo");
    let availability =
        section.get("availability").map(|entry| reader.parsed(&entry, "99.9%", units::millionths));
    let latency = section.get("latency").map(|entry| reader.parsed(&entry, "300ms", parse_duration));
    let window = section.get("window").and_then(|entry| {
        let window = reader.parsed(&entry, "30d", units::long_duration)?;
        if !(defaults::MIN_SLO_WINDOW..=defaults::MAX_SLO_WINDOW).contains(&window) {
            let message = "`window` of an objective is from 1d to 365d";
            reader.value_problem(&entry, Code::OutOfRange, message, "here", "for example window = \"30d\"");
        }
        Some(window)
    });
    // `window` alone may come from [defaults], for the realms that have an objective.
    if availability.is_none() && latency.is_none() {
        return None;
    }
    Some(Objective {
        availability_millionths: availability.flatten(),
        latency: latency.flatten(),
        window: window.unwrap_or(defaults::SLO_WINDOW),
    })
}
