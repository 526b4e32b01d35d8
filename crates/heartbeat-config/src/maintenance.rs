//! `[maintenance.NAME]`: windows in which heartbeatd notifies no receiver, or leaves realms alone.

use std::time::Duration;

use figment::value::{Dict, Value};
use heartbeat_status::WallTime;

use crate::code::Code;
use crate::cron::Cron;
use crate::diagnostic::Diagnostic;
use crate::keys::Table;
use crate::reader::{Entry, Reader, Section};
use crate::realm::ReadRealm;
use crate::selector;
use crate::window::{Course, MaintenanceConfig, MaintenanceEffect, WindowStart};

/// Longest window: one that is longer is a pause, which an operator begins and ends.
const MAX_LENGTH: Duration = Duration::from_secs(31 * 24 * 3_600);

const EFFECTS: [(&str, MaintenanceEffect); 2] =
    [("mute", MaintenanceEffect::Mute), ("pause", MaintenanceEffect::Pause)];

/// Reads every maintenance window.
pub(crate) fn read(reader: &Reader<'_>, written: &Dict, realms: &[ReadRealm]) -> Vec<MaintenanceConfig> {
    let mut found = Vec::new();
    for (name, value) in written {
        let path = vec!["maintenance".to_owned(), name.clone()];
        let Value::Dict(_, values) = value else {
            let place = reader.key_place(&path);
            let message = format!("maintenance window `{name}` is not a table");
            let help = format!("write [maintenance.{name}], and its keys below");
            reader.push(Diagnostic::new(Code::WrongType, message).at(place, "here").help(help));
            continue;
        };
        reader.check_keys(Table::Maintenance, &path, values);
        found.extend(window(reader, name, &Section::new(path, values), realms));
    }
    found
}

fn window(
    reader: &Reader<'_>,
    name: &str,
    section: &Section<'_>,
    realms: &[ReadRealm],
) -> Option<MaintenanceConfig> {
    let missing = |key: &str, help: &str| {
        let message = format!("maintenance window `{name}` has no `{key}`");
        let place = reader.key_place(section.path());
        reader.push(Diagnostic::new(Code::BadMaintenance, message).at(place, "this window").help(help));
    };
    let given = |key: &str, help: &str| {
        let entry = section.get(key);
        if entry.is_none() {
            missing(key, help);
        }
        entry
    };
    let chosen = given("realms", "for example realms = [\"api\"], or [\"all\"]")
        .map(|entry| selector::chosen(reader, &entry, realms));
    let start = given("start", "for example start = \"0 2 * * sun\", or \"2026-12-24T22:00:00Z\"")
        .and_then(|entry| start(reader, &entry));
    let length = given("for", "for example for = \"2h\"").and_then(|entry| length(reader, &entry, section));
    let reason = given("reason", "say why, for the people who look: reason = \"backup of the database\"")
        .and_then(|entry| reason(reader, &entry));
    let effect = match section.get("effect") {
        Some(entry) => reader.word(&entry, &EFFECTS)?,
        None => MaintenanceEffect::Mute,
    };
    let (realms, start, length, reason) = (chosen?, start?, length?, reason?);
    let window = MaintenanceConfig { name: name.to_owned(), realms, start, length, effect, reason };
    opens_and_ends(reader, section, &window).then_some(window)
}

/// Whether the window opens and ends again. One that is over is said, and loads: nothing follows from it.
fn opens_and_ends(reader: &Reader<'_>, section: &Section<'_>, window: &MaintenanceConfig) -> bool {
    let seconds = i64::try_from(heartbeat_probe::clock::unix_s()).unwrap_or(i64::MAX);
    let now = WallTime::from_millis(seconds.saturating_mul(1_000));
    let Some(entry) = section.get("start") else { return true };
    let name = &window.name;
    match window.course(now) {
        Course::Ends => true,
        Course::Over(end) => {
            let message = format!("maintenance window `{name}` ended at {end}: it has no effect any more");
            let help = format!("remove [maintenance.{name}], or write a `start` that is to come");
            let place = reader.place(&entry.path);
            reader.push(Diagnostic::new(Code::PastWindow, message).at(place, "over").help(help));
            true
        }
        Course::Endless => {
            let message =
                format!("maintenance window `{name}` has no end: it begins again before it is over");
            let help = "write a shorter `for`, or begin less often; for good, `heartbeat-cli pause REALM` does it where people see it";
            reader.value_problem(&entry, Code::BadMaintenance, message, "begins again too soon", help);
            false
        }
    }
}

/// A time, or a pattern of cron.
fn start(reader: &Reader<'_>, entry: &Entry<'_>) -> Option<WindowStart> {
    let text = reader.text(entry)?;
    if let Ok(at) = text.trim().parse::<WallTime>() {
        return Some(WindowStart::Once(at));
    }
    match Cron::parse(&text) {
        Ok(cron) => Some(WindowStart::Cron(cron)),
        Err(error) => {
            let message =
                format!("the start of a window is a time with its zone, or a cron pattern: {error}");
            let help = "for example \"2026-12-24T22:00:00+01:00\" or \"0 2 * * sun\"";
            reader.value_problem(entry, Code::BadMaintenance, message, "neither", help);
            None
        }
    }
}

fn length(reader: &Reader<'_>, entry: &Entry<'_>, section: &Section<'_>) -> Option<Duration> {
    let length = reader.duration(section, "for")?;
    if length.is_zero() || length > MAX_LENGTH {
        let days = MAX_LENGTH.as_secs() / 86_400;
        let message = format!("a window lasts up to {days} days, and not no time at all");
        let help = "for longer, `heartbeat-cli pause` a realm";
        reader.value_problem(entry, Code::BadMaintenance, message, "this length", help);
        return None;
    }
    Some(length)
}

fn reason(reader: &Reader<'_>, entry: &Entry<'_>) -> Option<String> {
    let text = reader.text(entry)?.trim().to_owned();
    if text.is_empty() {
        let message = "the reason of a window is empty";
        reader.value_problem(
            entry,
            Code::BadMaintenance,
            message,
            "here",
            "say why, for the people who look",
        );
        return None;
    }
    Some(text)
}
