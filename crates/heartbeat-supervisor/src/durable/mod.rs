//! The durable half of a realm, version 1: what the next heartbeatd has to know to continue with the realm. Each type
//! writes and reads itself; names only grow, so that a heartbeatd reads the records of an older one.

mod encoding;
mod generation;
mod history;
mod persisted;
mod spoken;
mod state;
mod wish;
mod written;

pub(crate) use encoding::Stored;
pub(crate) use generation::Generation;
pub(crate) use history::{History, Suspicion};
pub use persisted::PersistedRealm;
pub(crate) use persisted::{StoredOutcome, StoredProbe, StoredResult};
pub(crate) use spoken::Spoken;
pub(crate) use state::{StoredState, Why};
pub(crate) use wish::{Resting, Wish};
pub(crate) use written::{Place, Written};
