//! The durable half of a realm: what the next heartbeatd has to know to go on with it.

mod generation;
mod history;
mod spoken;
mod wish;

pub(crate) use generation::Generation;
pub(crate) use history::{FailedStart, History, Suspicion};
pub(crate) use spoken::Spoken;
pub(crate) use wish::{Resting, Wish};
