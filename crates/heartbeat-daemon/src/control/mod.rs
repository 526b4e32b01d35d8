//! Input from people and programs: the API's listeners, signals, reloads, registrations, upgrades.

pub(crate) mod config_listings;
pub(crate) mod daemon_handle;
pub(crate) mod listeners;
pub(crate) mod mutes;
pub(crate) mod registering;
pub(crate) mod registrations;
pub(crate) mod reload;
pub(crate) mod reload_error;
pub(crate) mod signals;
pub(crate) mod upgrade;
