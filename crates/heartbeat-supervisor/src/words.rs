//! Words for people: the results of probes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use heartbeat_status::{Instant, Verdict, printed};

use crate::evidence::{Evidence, Probing};
use crate::{ProbeSpec, RealmSpec};

/// Most of the detail of a probe that a message shows, in characters.
const MAX_DETAIL_CHARS: usize = 100;

/// `postgres is degraded: sorry, too many clients already` for the suspects of a realm.
pub(crate) fn suspects(suspects: impl Iterator<Item = (String, String)>) -> String {
    let words = suspects.map(|(name, says)| alloc::format!("{name} is degraded: {says}"));
    words.collect::<Vec<_>>().join(", and ")
}

/// The part of a probe's detail that fits a message.
pub(crate) fn short(detail: &str) -> String {
    match detail.char_indices().nth(MAX_DETAIL_CHARS) {
        Some((end, _)) => printed::reclosed(format!("{}…", detail[..end].trim_end())),
        None => detail.to_string(),
    }
}

/// The error of a program that cannot be used, which heartbeatd starts as soon as it can be.
pub(crate) fn unusable(error: &str) -> String {
    format!("{error}; heartbeatd checks every second whether it can be started")
}

/// `http: 500, 3 times in a row` for one probe.
pub(crate) fn failing_probe(spec: &ProbeSpec, probe: &Probing) -> String {
    let words = probe.last.as_ref().map_or("failed", |last| last.words());
    format!("{}: {}{}", spec.info.name, short(words), times(spec, probe))
}

/// `, 3 times in a row`, or the progress of a failing probe toward its threshold.
pub(crate) fn times(spec: &ProbeSpec, probe: &Probing) -> String {
    let thresholds = &spec.info.thresholds;
    match (probe.tally.fails(), thresholds.fail_after(), thresholds.fail_if()) {
        (0, ..) | (_, 1, None) => String::new(),
        (_, _, Some(window)) => {
            let fails = probe.tally.fails_within(window);
            format!(", {fails} failures of the {} that make it down", window.fails())
        }
        (fails, goal, None) if fails >= goal => format!(", {fails} times in a row"),
        (fails, goal, None) => format!(", failure {fails} of {goal}"),
    }
}

/// `http: connection refused` for the first probe that does not pass yet.
pub(crate) fn unready_probe(spec: &RealmSpec, evidence: &Evidence, since: Instant) -> Option<String> {
    spec.probes.iter().zip(&evidence.probes).find_map(|(spec, probe)| {
        // Answers of an earlier generation do not count.
        let last = probe.last.as_ref().filter(|last| last.at >= since)?;
        let missing = probe.tally.verdict() != Some(Verdict::Passing) && last.outcome.passed() != Some(true);
        missing.then(|| format!("{}: {}", spec.info.name, short(last.words())))
    })
}

/// The obstacle to a conclusive result of the stale probes of a realm.
pub(crate) fn stale_words(spec: &RealmSpec, evidence: &Evidence) -> String {
    let stale = spec.probes.iter().zip(&evidence.probes).filter(|(_, probe)| probe.stale);
    let words = stale.filter_map(|(spec, probe)| {
        let prevented = probe.last.as_ref()?.prevented_by()?;
        Some(format!("{}: {prevented}", spec.info.name))
    });
    words.collect::<Vec<_>>().join("; ")
}

/// The remark of a degraded realm.
pub(crate) fn remark_words(spec: &RealmSpec, evidence: &Evidence) -> String {
    let remarks = spec.probes.iter().zip(&evidence.probes).filter(|(_, probe)| probe.degraded());
    let words = remarks.filter_map(|(_, probe)| Some(probe.last.as_ref()?.detail.clone()));
    let words: Vec<String> = words.filter(|words| !words.is_empty()).collect();
    if words.is_empty() { "it says so".to_string() } else { words.join("; ") }
}
