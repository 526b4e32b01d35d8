//! Logs on disk: opened by the launcher, written by the kernel, bounded while they grow, and read again.
//!
//! A log is one stream of bytes in several files: the live one, to which the program appends, and in front of it what was
//! set aside, `.1` being the newest. Beside them lies a [`ledger`]: how far the stream has moved out of the live file, what
//! was lost on the way, and where generations begin. Whoever changes the files or the ledger holds the ledger's lock.

mod aside;
mod bound;
mod chain;
mod follow;
pub(crate) mod journal;
mod keeper;
mod ledger;
mod open;
mod page;
mod reopened;
mod tail;
pub(crate) mod writers;

pub use bound::KeptLog;
pub use follow::{LogBatch, LogFollower, LogPlace};
pub use keeper::{LogKeeper, LogNotice};
pub use ledger::Lost;
pub(crate) use open::open;
pub use page::{LogPage, MAX_PAGE_BYTES, last_lines, previous_lines};
pub use tail::tail;
pub use writers::is_stray;
