//! Effects on realms: processes, measurements, check commands, and logs.

pub(crate) mod beats;
pub(crate) mod commands;
pub(crate) mod executor;
pub(crate) mod logs;
pub(crate) mod owner;
pub(crate) mod prober;
pub(crate) mod reference;
pub(crate) mod resources;
