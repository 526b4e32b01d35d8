//! Logs on disk: programs write to them by themselves, and heartbeatd bounds and reads them.
//!
//! # What it is
//! A log is one stream of bytes in several files: the live one, to which the program appends, and in front of it the
//! files that were set aside, of which `.1` is the newest. Beside them lies an index: how far the stream has moved out
//! of the live file, what was lost on the way, and where generations begin. Every change of the files or the index
//! holds the lock of the index.
//!
//! ```text
//!   program --write--> live file --LogKeeper--> .1 .. .N        last_lines, previous_lines, tail,
//!      \                                                        LogFollower: one stream over all of it
//!       \--when the file cannot be opened, or was moved: memory --LogKeeper--> live file
//! ```
//!
//! [`open`] opens the log of a program that is about to start, [`begin`], [`take_over`] and [`end`] tell which program
//! writes to which log, [`LogKeeper`] holds logs down to their size, and the rest reads.
//!
//! # What it is not
//! It starts no program, and it is never between a program and its log: the kernel writes.
//!
//! # How to use it
//! ```
//! use std::io::Write;
//!
//! let dir = std::env::temp_dir().join(format!("heartbeat-logs-{}", std::process::id()));
//! let log = dir.join("api.log");
//! // The standard output of a program; its first run begins here.
//! let mut output = heartbeat_logs::open(&log, None, Some(1))?;
//! output.write_all(b"one\ntwo\n")?;
//! let page = heartbeat_logs::last_lines(&log, 1, true)?;
//! assert_eq!((page.lines, page.cut), (vec!["two".to_owned()], true));
//! # std::fs::remove_dir_all(dir)?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod aside;
mod bound;
mod chain;
mod error;
mod follow;
mod index;
mod journal;
mod keeper;
mod open;
mod page;
mod place;
mod reopened;
mod stray;
mod tail;
mod target;
mod writers;

pub use bound::KeptLog;
pub use error::KeeperError;
pub use follow::{LogBatch, LogFollower};
pub use index::Lost;
pub use journal::connect;
pub use keeper::{LogKeeper, LogNotice};
pub use open::open;
pub use page::{LogPage, last_lines, previous_lines};
pub use place::LogPlace;
pub use stray::memory;
pub use tail::tail;
pub use target::{Owner, Target};
pub use writers::{begin, end, is_stray, take_over};
