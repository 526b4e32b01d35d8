//! Whole ecosystems in virtual time: every rule of the supervisor as an invariant, checked after every step.
//!
//! # What it is
//! A seed decides a plan (3 to 12 realms, random edges, probes, policies), a world (processes that crash, hang,
//! ignore TERM and leave leftovers; measurements that fail, get lost and come late) and everything that happens
//! in it: commands, refreshes, suspends, shutdowns, unexpected answers. [`Sim::run`] drives the real
//! `heartbeat-supervisor` through it and checks the invariants after every step: no start before the gates
//! hold, never two copies, the budget is never exceeded, a later stop wins. Once the faults stop, all that can
//! run has to be up.
//!
//! # What it is not
//! It is part of no product, starts no process and reads no clock: years pass in seconds, and a seed always replays.
//!
//! # How to use it
//! ```
//! use heartbeat_sim::{Options, Sim};
//!
//! let report = Sim::run(7, Options::default());
//! assert!(report.violation.is_none(), "{report}");
//! assert!(report.steps >= 200);
//! ```
//! A failing seed prints itself; `HEARTBEAT_SEED=7 cargo test -p heartbeat-sim one_seed` runs it again and prints
//! every input, effect and event. `HEARTBEAT_SEEDS=1000000` makes the normal run longer.

mod chaos;
mod coverage;
mod error;
mod faults;
mod invariant;
mod recording;
mod reference;
mod report;
mod scenario;
mod sim;
mod statuses;
mod voice;
mod world;

pub use coverage::{Coverage, INPUTS, column};
pub use error::ScenarioError;
pub use recording::{Recorded, RecordedExit, RecordedHook, RecordedOutcome, RecordedSaid, Recording, Step};
pub use report::{Options, Report, Violation};
pub use sim::Sim;
pub use statuses::{Change, StatusLog};
