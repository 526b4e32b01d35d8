//! What heartbeatd remembers.
//!
//! Two SQLite files, each with a thread and one connection of its own:
//!
//! - `incidents.db` ([`IncidentDb`]): every incident with its story, the notifications that are still due, who has changed
//!   what. A commit is on the disk before it is confirmed.
//! - `history.db` ([`HistoryDb`]): every change of a status, and latencies and usage in four resolutions. It can be deleted at any
//!   time.
//!
//! The rest is computed and does no I/O: [`Account`] puts every millisecond under one class and gives the availability
//! with its bounds, [`Sketch`] gives percentiles within 2 % in constant memory, [`slo`] says what is left of an
//! objective's budget.
//!
//! Nothing here is on the way of a decision. What is to be written is buffered in bounded memory and handed to the
//! thread; what is asked is answered through a callback. On a disk that is full, read-only, locked, damaged or slow the
//! store reports it, keeps what it was given, and writes it when the disk works again.
//!
//! ```
//! use std::sync::{Arc, mpsc};
//!
//! use heartbeat_status::{Instant, Reason, Status};
//! use heartbeat_store::{HistoryDb, Keep, StatusChange};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let dir = dir.path();
//! let keep = Keep { history: std::time::Duration::from_secs(730 * 86_400), max_bytes: 256 << 20 };
//! let history = HistoryDb::start(dir, keep, || Instant::ZERO, Arc::new(|report| eprintln!("{report:?}"))).unwrap();
//! history.begin("this boot".to_owned(), 0);
//! history.change(StatusChange { at_ms: 0, realm: "api".to_owned(), status: Status::Up, reason: Reason::Healthy });
//! history.minute(60_000, Vec::new());
//! let (answer, answered) = mpsc::sync_channel(1);
//! history.accounts(vec!["api".to_owned()], vec![0..120_000], move |accounts| answer.send(accounts).unwrap());
//! let accounts = answered.recv().unwrap().unwrap();
//! let availability = accounts["api"][0].availability().unwrap();
//! assert_eq!((availability.share, availability.at_least), (1.0, 0.5));
//! ```

mod availability;
mod bytes;
mod error;
mod file;
mod history;
mod incidents;
mod range_coder;
mod sketch;
pub mod slo;
mod worker;

pub use availability::{Account, Availability, Change, Class, Life, account, accounts};
pub use error::StoreError;
pub use history::{
    Glance, HOST, HistoryDb, HistoryQuery, Keep, Levels, MIN_HISTORY_BYTES, Measured, Objective, Quantity,
    RealmHistory, Standing, StatusChange, Step,
};
pub use incidents::{
    Attempt, AttemptOutcome, AuditEntry, Delivery, IncidentDb, IncidentRecord, OutboxEntry, Page, Remembered,
};
pub use sketch::{Sketch, Summary};
pub use worker::{Report, Reporter};
