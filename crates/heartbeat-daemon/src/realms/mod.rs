//! Effects on realms: processes, measurements, check commands, logs, and what they use.

pub(crate) mod beats;
pub(crate) mod commands;
pub(crate) mod executor;
pub(crate) mod flight_recorder;
pub(crate) mod host;
pub(crate) mod logs;
pub(crate) mod owner;
pub(crate) mod prober;
pub(crate) mod receiver_programs;
pub(crate) mod reference;
pub(crate) mod resources;
pub(crate) mod usage;
