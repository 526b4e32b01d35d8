//! The last failures of each probe, with what was said in each: in memory, within bounds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use heartbeat_probe::Explanation;
use heartbeat_status::{Outcome, RealmName, WallAnchor};
use heartbeat_wire::ProbeFailureEntry;

/// Failures kept per probe.
const MAX_FAILURES: usize = 20;
/// Most memory for all transcripts together, in bytes. Beyond it each probe keeps the newer half of its failures.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A realm and the name of one of its probes.
type Of = (RealmName, String);

/// Recorded failures. The tasks of the prober write, and the API reads.
#[derive(Debug, Default)]
pub(crate) struct FlightRecorder(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    probes: BTreeMap<Of, VecDeque<Explanation>>,
    bytes: usize,
}

impl FlightRecorder {
    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        // A task that panicked left whole entries behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the measurement if it failed.
    pub(crate) fn note(&self, realm: &RealmName, probe: &str, failure: Explanation) {
        if !matches!(failure.result.outcome, Outcome::Fail { .. }) {
            return;
        }
        let mut recorded = self.recorded();
        recorded.bytes += bytes(&failure);
        let own = recorded.probes.entry((realm.clone(), probe.to_owned())).or_default();
        own.push_back(failure);
        let oldest = if own.len() > MAX_FAILURES { own.pop_front() } else { None };
        recorded.bytes -= oldest.as_ref().map_or(0, bytes);
        if recorded.bytes > MAX_BYTES {
            recorded.halve();
        }
    }

    /// The failures of all probes of `realm`, newest first.
    pub(crate) fn of(&self, realm: &RealmName, anchor: WallAnchor) -> Vec<ProbeFailureEntry> {
        let recorded = self.recorded();
        let own = recorded.probes.range((realm.clone(), String::new())..);
        let mut all = Vec::new();
        for ((_, probe), failures) in own.take_while(|((of, _), _)| of == realm) {
            let entry = |failure: &Explanation| {
                ProbeFailureEntry::render(probe, &failure.result, failure.conversation.clone(), anchor)
            };
            all.extend(failures.iter().map(entry));
        }
        all.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        all
    }

    /// Forgets what is not of a realm that `keeps` names.
    pub(crate) fn retain(&self, keeps: impl Fn(&RealmName) -> bool) {
        let mut recorded = self.recorded();
        recorded.probes.retain(|(realm, _), _| keeps(realm));
        recorded.recount();
    }
}

impl Recorded {
    fn halve(&mut self) {
        for failures in self.probes.values_mut() {
            failures.drain(..failures.len().div_ceil(2));
        }
        self.probes.retain(|_, failures| !failures.is_empty());
        self.recount();
    }

    fn recount(&mut self) {
        self.bytes = self.probes.values().flatten().map(bytes).sum();
    }
}

/// Memory of one failure, in bytes.
fn bytes(failure: &Explanation) -> usize {
    let texts = failure.conversation.iter().chain([&failure.result.detail]);
    size_of::<Explanation>() + texts.map(|text| text.len() + size_of::<String>()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use heartbeat_status::{CheckResult, FailReason, Instant, ProbePhase, WallTime};

    use super::*;
    use crate::sample::measured;

    const ANCHOR: WallAnchor = WallAnchor { instant: Instant::from_nanos(0), wall: WallTime::from_millis(0) };

    fn result(at_s: u64, outcome: Outcome) -> CheckResult {
        let at = Instant::from_nanos(at_s * 1_000_000_000);
        let finished_at = at + Duration::from_millis(5);
        CheckResult { detail: format!("of {at_s}"), finished_at, ..measured(at, outcome) }
    }

    fn fails(recorder: &FlightRecorder, realm: &str, probe: &str, at_s: u64, bytes: usize) {
        let outcome = Outcome::Fail { reason: FailReason::Refused, phase: Some(ProbePhase::Connect) };
        let failure = Explanation::new(result(at_s, outcome), vec!["x".repeat(bytes)]);
        recorder.note(&name(realm), probe, failure);
    }

    fn name(text: &str) -> RealmName {
        RealmName::new(text).unwrap()
    }

    fn seen(recorder: &FlightRecorder, realm: &str) -> Vec<String> {
        recorder.of(&name(realm), ANCHOR).into_iter().filter_map(|entry| entry.result.detail).collect()
    }

    #[test]
    fn the_last_failures_of_each_probe_are_kept_and_nothing_else() {
        let recorder = FlightRecorder::default();
        for at in 0..25 {
            fails(&recorder, "api", "http", at, 10);
        }
        fails(&recorder, "api", "port", 30, 10);
        fails(&recorder, "api2", "http", 31, 10);
        let passes = Explanation::new(result(32, Outcome::Pass), Vec::new());
        recorder.note(&name("api"), "http", passes);
        let kept = seen(&recorder, "api");
        assert_eq!(kept.len(), MAX_FAILURES + 1);
        assert_eq!((kept[0].as_str(), kept[1].as_str(), kept[20].as_str()), ("of 30", "of 24", "of 5"));
        recorder.retain(|realm| realm.as_str() == "api2");
        assert_eq!((seen(&recorder, "api").len(), seen(&recorder, "api2").len()), (0, 1));
    }

    #[test]
    fn memory_is_bounded_whatever_is_said() {
        let recorder = FlightRecorder::default();
        for at in 0..2_000 {
            fails(&recorder, &format!("r{}", at % 100), "http", at, 8 * 1024);
            assert!(recorder.recorded().bytes <= MAX_BYTES, "{at}");
        }
        assert_eq!(seen(&recorder, "r99")[0], "of 1999", "the newest stay");
        let counted: usize = recorder.recorded().probes.values().flatten().map(bytes).sum();
        assert_eq!(recorder.recorded().bytes, counted);
    }
}
