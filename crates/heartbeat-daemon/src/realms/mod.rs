//! Effects on realms: processes, measurements, check commands, and logs.

pub(crate) mod commands;
pub(crate) mod executor;
pub(crate) mod logs;
pub(crate) mod owner;
pub(crate) mod prober;
