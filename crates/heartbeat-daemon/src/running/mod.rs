//! The loop that runs until heartbeatd ends, with the caretaker and the service manager.

pub(crate) mod caretaker;
pub(crate) mod decision;
pub(crate) mod driver;
pub(crate) mod new_config;
pub(crate) mod replies;
pub(crate) mod systemd;
