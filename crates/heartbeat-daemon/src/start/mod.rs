//! From a configuration to a running heartbeatd: read once, before the first realm starts.

pub(crate) mod assembled;
pub(crate) mod open_incidents;
pub(crate) mod prepared;
pub(crate) mod recovery;
pub(crate) mod state_check;
