//! The words every part of heart-beat shares.
//!
//! # What it is
//! Layer 0 of heart-beat: identifiers ([`RealmName`], [`RunId`]), time as data ([`Instant`], [`WallTime`]),
//! what a probe saw ([`CheckResult`]), how results become a verdict ([`Thresholds`], [`Tally`]), the three axes
//! of a realm ([`Desired`], [`Phase`], [`Health`]) with the one word for people derived from them ([`Status`]),
//! facts in the past tense ([`Event`]), and the [`Snapshot`] that all readers share. With the feature `serde`, words, times
//! and results of probes have the JSON that the documents of `heartbeat-wire` are made of.
//!
//! # What it is not
//! It decides nothing (`heartbeat-supervisor` does), reads no clock and performs no I/O. The crate is `no_std`
//! with `alloc`, so both are compile errors rather than conventions.
//!
//! # How to use it
//! A probe that must fail three times in a row before it counts as failing:
//!
//! ```
//! use heartbeat_status::{Tally, Thresholds, Verdict};
//!
//! let thresholds = Thresholds::default(); // fail_after 3, pass_after 2
//! let mut tally = Tally::new();
//! assert_eq!(tally.observe(true, &thresholds), Some(Verdict::Passing), "the first pass of a generation decides");
//! assert_eq!(tally.observe(false, &thresholds), None);
//! assert_eq!(tally.observe(false, &thresholds), None);
//! assert_eq!(tally.observe(false, &thresholds), Some(Verdict::Failing));
//! ```
#![no_std]

extern crate alloc;

#[macro_use]
mod word;

mod action;
mod age;
mod error;
mod event;
mod exit;
mod fact;
mod frame;
mod health;
mod id;
mod incident;
mod info;
#[cfg(feature = "serde")]
mod open;
mod outcome;
mod own_problem;
pub mod printed;
mod quantity;
mod restart;
#[cfg(feature = "serde")]
mod result;
mod run_fact;
mod said;
mod secrets;
mod snapshot;
mod start_failure;
mod status;
#[cfg(feature = "suggestions")]
mod suggestions;
mod tally;
mod text;
mod time;

pub use action::{Action, Wait};
pub use age::{age, ahead};
pub use error::{NameError, ParseWordError, ThresholdError};
pub use event::{Event, EventKind};
pub use exit::{Exit, ExitKind, Signal};
pub use fact::What;
pub use frame::{frame, unframe};
pub use health::Health;
pub use id::{CheckId, CommandId, ProbeIx, RealmIx, RealmName, RestartId, RunId};
pub use incident::{DeliveryState, Incident, IncidentNo, IncidentStep, Severity};
pub use info::{EdgeKind, Gate, NeedInfo, ProbeInfo, ProbeKind, RealmInfo, RealmKind, Role, WhileDown};
#[cfg(feature = "serde")]
pub use open::Open;
pub use outcome::{
    CheckResult, DegradedReason, FailReason, InconclusiveReason, Outcome, OutcomeReason, PhaseTimes,
    ProbePhase,
};
pub use own_problem::{OwnProblem, OwnProblemKind};
pub use quantity::{
    QuantityError, coarse_seconds, human_seconds, parse_duration, parse_size, short_seconds, short_size,
    size_words, span_words, written_duration, written_size,
};
pub use restart::{Attempt, RestartAttempt, RestartCause, RestartResult, RestartStep};
#[cfg(feature = "serde")]
pub use result::{PhasesEntry, ResultEntry, millis};
pub use run_fact::{Hook, RunFact, StartError};
pub use said::{Beat, Said, SaidState, Says};
pub use snapshot::{
    DaemonPhase, LastExit, LastResult, NeedStatus, ProbeStatus, ProcessStatus, RealmStatus, RestartCounts,
    Snapshot,
};
pub use start_failure::StartFailure;
pub use status::{
    Desired, Flag, Mute, NeedState, Next, NextAction, Pause, Phase, Reason, Status, StatusFacts, Why,
};
#[cfg(feature = "suggestions")]
pub use suggestions::{nearest, suggestions};
pub use tally::{FailWindow, Progress, Tally, TallyParts, Thresholds, Verdict};
pub use text::{is_hostile, sanitise, sanitise_line, shortened, without_markup};
#[cfg(feature = "serde")]
pub use time::TimeError;
pub use time::{Instant, WallAnchor, WallTime};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
