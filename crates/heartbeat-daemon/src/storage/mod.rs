//! Files and databases that outlive heartbeatd: their places, their locks, and their contents.

pub(crate) mod databases;
pub(crate) mod directories;
pub(crate) mod files;
pub(crate) mod intent;
pub(crate) mod lock;
pub(crate) mod spare_incidents;
pub(crate) mod stand_in;
pub(crate) mod state_id;
pub(crate) mod stored;
