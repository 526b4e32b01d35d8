//! The result of a run.

use std::fmt;

use heartbeat_status::Instant;
use heartbeat_supervisor::Effect;

use crate::{Coverage, Recording, StatusLog};

/// How a seed is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Steps with faults, before everything comes to rest.
    pub steps: u32,
    /// Keep every input, to be replayed.
    pub record: bool,
    /// Keep every input, effect and event as text.
    pub trace: bool,
    /// Keep what every realm was and when.
    pub statuses: bool,
}

impl Default for Options {
    /// 400 steps with faults, nothing recorded or traced.
    fn default() -> Self {
        Self { steps: 400, record: false, trace: false, statuses: false }
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its unique name.
    pub invariant: &'static str,
    /// The evidence against it.
    pub detail: String,
    /// After which step, counted from 1.
    pub step: u64,
    /// At which virtual time.
    pub at: Instant,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed used.
    pub seed: u64,
    /// Inputs and timeouts fed.
    pub steps: u64,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// Which pairs of phase and input were hit.
    pub coverage: Coverage,
    /// Every input, when asked for.
    pub recording: Option<Recording>,
    /// A hash over all effects in order.
    pub digest: u64,
    /// Every input, effect and event as text, when asked for.
    pub trace: Vec<String>,
    /// What every realm was and when, when asked for.
    pub statuses: Option<StatusLog>,
}

impl Report {
    pub(crate) fn new(seed: u64) -> Self {
        const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        Self {
            seed,
            steps: 0,
            violation: None,
            coverage: Coverage::default(),
            recording: None,
            digest: FNV_OFFSET,
            trace: Vec::new(),
            statuses: None,
        }
    }

    pub(crate) fn broken(seed: u64, detail: String) -> Self {
        let violation = Violation { invariant: "the_scenario_is_valid", detail, step: 0, at: Instant::ZERO };
        Self { violation: Some(violation), ..Self::new(seed) }
    }

    /// FNV-1a over what an effect is about; its text would cost more than the run.
    pub(crate) fn digest(&mut self, effect: &Effect) {
        let parts = match effect {
            Effect::Check { id, probe, run, .. } => [1, id.0, u64::from(probe.0), run.0],
            Effect::CancelCheck { id } => [2, id.0, 0, 0],
            Effect::Start { realm, run } => [3, u64::from(realm.0), run.0, 0],
            Effect::CheckProgram { realm, run } => [11, u64::from(realm.0), run.0, 0],
            Effect::Signal { realm, run, signal } => {
                [4, u64::from(realm.0), run.0, u64::from(signal.number().unsigned_abs())]
            }
            Effect::SignalMain { realm, run, signal } => {
                [10, u64::from(realm.0), run.0, u64::from(signal.number().unsigned_abs())]
            }
            Effect::Hook { realm, run, hook, .. } => [5, u64::from(realm.0), run.0, *hook as u64],
            Effect::CancelHook { realm, run, hook } => [6, u64::from(realm.0), run.0, *hook as u64],
            Effect::Reply { id, .. } => [7, id.0, 0, 0],
            Effect::Halt => [8, 0, 0, 0],
            Effect::Persist { realm, .. } => [9, u64::from(realm.0), 0, 0],
        };
        const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
        for part in parts {
            self.digest = (self.digest ^ part).wrapping_mul(FNV_PRIME);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.violation {
            None => write!(f, "seed {}: {} steps, every invariant held", self.seed, self.steps),
            Some(violation) => write!(
                f,
                "seed {}: {} does not hold at step {} ({:?}): {}\n  replay: HEARTBEAT_SEED={} cargo test -p heartbeat-sim one_seed",
                self.seed, violation.invariant, violation.step, violation.at, violation.detail, self.seed
            ),
        }
    }
}
