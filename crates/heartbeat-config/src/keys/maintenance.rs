//! `[maintenance.NAME]`.

use super::Table::Maintenance;
use super::{Key, Takes};

/// What a window does.
const EFFECTS: &[&str] = &["mute", "pause"];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        Maintenance,
        "realms",
        Takes::Texts("selectors"),
        "The realms: names, `all`, patterns (`web*`), `@group`, `label=value`, `+api` (with what it needs), `api+` (with what needs it).",
        "[\"a\"]",
    )
    .also(&["services", "programs", "targets"]),
    Key::new(
        Maintenance,
        "start",
        Takes::Text("RFC 3339 time or cron pattern"),
        "When a window begins: once, at a time with its zone; or again and again, by the five fields of crontab(5) in the time zone of the host.",
        "\"0 2 * * sun\"",
    )
    .also(&["cron", "at", "begin", "schedule"]),
    Key::new(Maintenance, "for", Takes::Duration, "How long a window lasts.", "\"2h\"")
        .also(&["duration", "length"]),
    Key::new(
        Maintenance,
        "effect",
        Takes::Word(EFFECTS),
        "`mute`: heartbeatd acts as ever, and receivers hear nothing; what is still open at the end of the window is sent then. `pause`: heartbeatd neither acts nor alerts.",
        "\"pause\"",
    )
    .default(|| "\"mute\"".to_owned())
    .also(&["action", "mode"]),
    Key::new(
        Maintenance,
        "reason",
        Takes::Text("string"),
        "Why there is a window, for the people who look.",
        "\"backup of the database\"",
    )
    .also(&["comment", "why"]),
];
