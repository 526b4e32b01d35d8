//! Connections: where the server listens, how many there are, and how they end.

pub(crate) mod client_stream;
pub(crate) mod closing;
pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod places;
pub(crate) mod port_owner;
pub(crate) mod tcp_session;
pub(crate) mod unreadable;
