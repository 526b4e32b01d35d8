//! Composition of heartbeatd: the driver loop, the executors of effects, the clock, signals.
//!
//! # What it is
//! The adapter around the one function that decides. [`Daemon::start`] takes a validated configuration and ties
//! together what the other crates are: the supervisor, the process adapter, the probes, the API. Data moves one
//! way round: what was noticed goes into the inbox, the driver stamps it and lets the core decide, the executors
//! carry out the effects, and readers read what was statuses.
//!
//! # What it is not
//! It holds no rules: whether something is restarted, and when, is decided in `heartbeat-supervisor`. Nothing in
//! the driver blocks: processes are started on threads of `heartbeat-process`, measurements are tasks, readers
//! share a snapshot.
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

mod caretaker;
mod clock;
mod commands;
mod console_reporter;
mod daemon;
mod daemon_handle;
mod databases;
pub mod demo;
mod descriptors;
mod directories;
mod driver;
mod error;
mod executor;
mod files;
mod history_reader;
mod history_recorder;
mod inbox;
mod incident_store;
mod incident_writer;
mod intent;
mod lag;
mod listeners;
mod lock;
mod logs;
mod own_problems;
mod owner;
mod past;
mod prober;
mod receivers;
mod records;
mod recovery;
mod recovery_problem;
mod registering;
mod reload;
#[cfg(test)]
mod sample;
mod signals;
mod state_id;
mod status_store;
mod stored;
mod systemd;
mod token_file;
mod upgrade;

pub use console_reporter::{ConsoleReporter, ReportStyle, Sentences};
pub use daemon::{Daemon, Ended, Start};
pub use driver::EventSink;
pub use error::DaemonError;
pub use logs::RealmLogs;
pub use recovery::check_state;
pub use signals::HeldSignals;
pub use token_file::TokenFileError;
pub use upgrade::{Program, can_go_on};
