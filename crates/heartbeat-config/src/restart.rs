//! `restart`: when a realm is restarted, after how long, how often.

use std::time::Duration;

use heartbeat_restart::{PolicyError, PolicySettings, RestartPolicy, RestartWhen, WhenSpent};

use crate::code::Code;
use crate::reader::{Reader, Section};
use crate::units;

/// The policy of a realm; what is wrong with it is reported, and the default stands in.
pub(crate) fn policy(reader: &Reader<'_>, section: &Section<'_>, oneshot: bool) -> RestartPolicy {
    let default = if oneshot { PolicySettings::oneshot() } else { PolicySettings::service() };
    let time = |key: &str, default: Duration| reader.duration(section, key).unwrap_or(default);
    let codes = |key: &str| -> Vec<i32> {
        let Some(entry) = section.get(key) else { return Vec::new() };
        reader
            .items(&entry)
            .iter()
            .filter_map(|entry| reader.number::<u8>(entry, "an exit code from 0 to 255"))
            .map(i32::from)
            .collect()
    };
    let whens = [
        ("always", RestartWhen::Always),
        ("on-failure", RestartWhen::OnFailure),
        ("never", RestartWhen::Never),
    ];
    let spents = [("cooldown", WhenSpent::Cooldown), ("fail", WhenSpent::Fail)];
    // An upper bound that was left out follows what it bounds.
    let (backoff, cooldown) = (time("backoff", default.backoff), time("cooldown", default.cooldown));
    let settings = PolicySettings {
        when: section.get("policy").and_then(|entry| reader.word(&entry, &whens)).unwrap_or(default.when),
        success_codes: codes("success_codes"),
        never_codes: codes("never_codes"),
        backoff,
        backoff_max: time("backoff_max", default.backoff_max.max(backoff)),
        jitter_percent: section
            .get("jitter")
            .and_then(|entry| reader.parsed(&entry, "20%", units::percentage))
            .unwrap_or(default.jitter_percent),
        min_gap: time("min_gap", default.min_gap),
        reset_after: time("reset_after", default.reset_after),
        burst: section
            .get("burst")
            .and_then(|entry| reader.number(&entry, "a number of restarts"))
            .unwrap_or(default.burst),
        window: time("window", default.window),
        when_spent: section
            .get("when_spent")
            .and_then(|entry| reader.word(&entry, &spents))
            .unwrap_or(default.when_spent),
        cooldown,
        cooldown_max: time("cooldown_max", default.cooldown_max.max(cooldown)),
        verify_for: time("verify_for", default.verify_for),
    };
    let in_both = settings.never_codes.iter().find(|code| settings.success_codes.contains(code));
    if let (Some(code), Some(entry)) =
        (in_both, section.get("never_codes").or_else(|| section.get("success_codes")))
    {
        let message = format!(
            "exit code {code} is one of `success_codes`, and one of `never_codes`, where it is a failure that stays"
        );
        reader.value_problem(&entry, Code::BadBounds, message, "here", "keep it in one of the two");
    }
    for problem in settings.problems() {
        refuse(reader, section, problem);
    }
    RestartPolicy::new(settings).unwrap_or_else(|_| RestartPolicy::service_default())
}

fn refuse(reader: &Reader<'_>, section: &Section<'_>, problem: PolicyError) {
    let (key, lower) = match problem {
        PolicyError::Inverted { upper, lower } => (upper, section.get(lower)),
        other => (other.field(), None),
    };
    // Where only what it bounds is written, that is the place.
    let Some(entry) = section.get(key).or(lower) else { return };
    let help = match problem {
        PolicyError::Inverted { upper, lower } => {
            format!("raise `{upper}`, lower `{lower}`, or leave `{upper}` out")
        }
        _ => "leave it out for its default".to_owned(),
    };
    reader.value_problem(&entry, Code::BadBounds, problem.to_string(), "here", &help);
}
