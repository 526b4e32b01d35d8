//! Composition of heartbeatd: the driver loop, the executors of effects, the clock, signals.
//!
//! # What it is
//! The adapter around the one function that decides. [`Daemon::start`] takes a validated configuration and connects the
//! other crates: the supervisor, the process adapter, the probes, the API. Data moves one way round: facts go into the
//! inbox, the driver stamps them and lets the core decide, the executors carry out the effects, and readers read the
//! status store.
//!
//! # What it is not
//! It holds no rules: `heartbeat-supervisor` decides whether and when to restart a realm. Nothing in the driver blocks:
//! threads of `heartbeat-process` start processes, measurements are tasks, readers share a snapshot.
//!
//! # How to use it
//! ```no_run
//! use heartbeat_config::{Sources, load};
//! use heartbeat_daemon::{Daemon, Start};
//!
//! let sources = Sources::from_process(None);
//! let loaded = load(&sources).expect("a configuration");
//! let start = Start { sources: Some(sources), ..Start::new(loaded.config, Box::new(|_event| {})) };
//! let daemon = Daemon::start(start)?;
//! daemon.stop_on_signals()?;
//! daemon.wait()?;
//! # Ok::<(), heartbeat_daemon::DaemonError>(())
//! ```

mod active_config;
mod clock;
mod control;
mod daemon;
pub mod demo;
mod error;
mod inbox;
mod own_health;
mod random;
mod realms;
mod reporting;
mod running;
#[cfg(test)]
mod sample;
mod start;
mod storage;

pub use control::signals::HeldSignals;
pub use control::upgrade::{Program, can_proceed};
pub use daemon::{Daemon, Ended};
pub use error::{DaemonError, ReceiverError};
pub use realms::logs::RealmLogs;
pub use reporting::console_reporter::{ConsoleReporter, ReportStyle, Sentences};
pub use start::prepared::Start;
pub use start::state_check::check_state;
