//! heartbeatd's own health: its lag, its descriptors, and its problems, which become incidents like those of realms.

pub(crate) mod descriptors;
pub(crate) mod lag;
pub(crate) mod lateness;
pub(crate) mod own_problems;
pub(crate) mod ping;
pub(crate) mod recovery_problem;
