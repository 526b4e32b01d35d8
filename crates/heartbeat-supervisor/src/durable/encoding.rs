//! How this crate stores values of other crates. Names and shapes only grow: a missing value has its default. Times are
//! nanoseconds of the monotonic clock, so a record is valid within one boot only.

use core::marker::PhantomData;
use core::time::Duration;

use heartbeat_restart::{Exhausted, RestartTracker};
use heartbeat_status::{
    Exit, ExitKind, Instant, LastExit, Pause, RestartAttempt, RestartCause, RestartId, RestartResult,
    RestartStep, RunId, Signal,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use alloc::string::String;
use alloc::vec::Vec;

/// The stored form of a `T`.
pub(crate) trait Stored<T> {
    fn of(value: &T) -> Self;
    fn value(self) -> T;
}

/// `#[serde(with = "Via::<S>")]` stores a field as an `S`.
pub(crate) struct Via<S>(PhantomData<S>);

impl<S> Via<S> {
    pub(crate) fn serialize<T, Z: Serializer>(value: &T, serializer: Z) -> Result<Z::Ok, Z::Error>
    where
        S: Stored<T> + Serialize,
    {
        S::of(value).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>
    where
        S: Stored<T> + Deserialize<'de>,
    {
        S::deserialize(deserializer).map(S::value)
    }
}

impl<T, S: Stored<T>> Stored<Option<T>> for Option<S> {
    fn of(value: &Option<T>) -> Self {
        value.as_ref().map(S::of)
    }

    fn value(self) -> Option<T> {
        self.map(S::value)
    }
}

/// A type that is stored as its number.
macro_rules! numbers {
    ($($type:ty: $of:expr, $value:expr;)+) => {$(
        impl Stored<$type> for u64 {
            fn of(value: &$type) -> Self {
                let of: fn(&$type) -> u64 = $of;
                of(value)
            }

            fn value(self) -> $type {
                let value: fn(u64) -> $type = $value;
                value(self)
            }
        }
    )+};
}

numbers! {
    Instant: |at| at.as_nanos(), Instant::from_nanos;
    Duration: |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Duration::from_nanos;
    RunId: |run| run.0, RunId;
    RestartId: |restart| restart.0, RestartId;
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn is_false(flag: &bool) -> bool {
    !*flag
}

/// How a process ended: a code, a signal (`true`: it dumped core), or unknown; and whether memory had run out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredExit {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<(i32, bool)>,
    #[serde(skip_serializing_if = "is_false")]
    oom: bool,
}

impl Stored<Exit> for StoredExit {
    fn of(exit: &Exit) -> Self {
        let (code, signal) = match exit.kind {
            ExitKind::Code(code) => (Some(code), None),
            ExitKind::Signal { signal, core } => (None, Some((signal.number(), core))),
            ExitKind::Unknown => (None, None),
        };
        Self { code, signal, oom: exit.oom }
    }

    fn value(self) -> Exit {
        let signal = self.signal.and_then(|(number, core)| Some((Signal::new(number)?, core)));
        let kind = match (self.code, signal) {
            (Some(code), _) => ExitKind::Code(code),
            (None, Some((signal, core))) => ExitKind::Signal { signal, core },
            (None, None) => ExitKind::Unknown,
        };
        Exit { kind, oom: self.oom }
    }
}

/// The last exit, as two keys.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredLastExit {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit: Option<(StoredExit, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ran_ns: Option<u64>,
}

impl Stored<Option<LastExit>> for StoredLastExit {
    fn of(last: &Option<LastExit>) -> Self {
        let ran_ns = last.and_then(|last| last.ran_for).map(|ran_for| u64::of(&ran_for));
        Self { last_exit: last.map(|last| (StoredExit::of(&last.exit), u64::of(&last.at))), ran_ns }
    }

    fn value(self) -> Option<LastExit> {
        let ran_for = self.ran_ns.value();
        self.last_exit.map(|(exit, at)| LastExit { exit: exit.value(), at: at.value(), ran_for })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredPause {
    reason: String,
    until_ns: Option<u64>,
}

impl Stored<Pause> for StoredPause {
    fn of(pause: &Pause) -> Self {
        Self { reason: pause.reason.clone(), until_ns: Stored::of(&pause.until) }
    }

    fn value(self) -> Pause {
        Pause { reason: self.reason, until: self.until_ns.value() }
    }
}

/// The budget of restarts, as keys of their own.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredTracker {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    debits_ns: Vec<u64>,
    #[serde(skip_serializing_if = "is_false")]
    stable: bool,
    #[serde(skip_serializing_if = "is_zero")]
    attempts: u32,
    #[serde(skip_serializing_if = "is_zero")]
    uncounted: u32,
    #[serde(skip_serializing_if = "is_zero")]
    cooldowns: u32,
}

impl Stored<RestartTracker> for StoredTracker {
    fn of(tracker: &RestartTracker) -> Self {
        let Exhausted { used_at, stable, attempts, uncounted, cooldowns } = tracker.remembered();
        Self { debits_ns: used_at.iter().map(u64::of).collect(), stable, attempts, uncounted, cooldowns }
    }

    fn value(self) -> RestartTracker {
        let Self { debits_ns, stable, attempts, uncounted, cooldowns } = self;
        let used_at = debits_ns.into_iter().map(Stored::value).collect();
        RestartTracker::restored(Exhausted { used_at, stable, attempts, uncounted, cooldowns })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredRestart {
    id: u64,
    cause: RestartCause,
    detail: String,
    /// Zero where the budget does not count the restart.
    attempt: u32,
    steps: Vec<(RestartStep, u64)>,
    result: Option<RestartResult>,
}

impl Stored<RestartAttempt> for StoredRestart {
    fn of(restart: &RestartAttempt) -> Self {
        let RestartAttempt { id, cause, detail, attempt, steps, result } = restart.clone();
        let steps = steps.iter().map(|(step, at)| (*step, u64::of(at))).collect();
        Self { id: id.0, cause, detail, attempt: attempt.unwrap_or(0), steps, result }
    }

    fn value(self) -> RestartAttempt {
        let Self { id, cause, detail, attempt, steps, result } = self;
        let steps = steps.into_iter().map(|(step, at)| (step, at.value())).collect();
        let attempt = Some(attempt).filter(|attempt| *attempt > 0);
        RestartAttempt { id: RestartId(id), cause, detail, attempt, steps, result }
    }
}
