//! The server over real sockets, in front of a real core in virtual time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in what its tests share")]

mod access;
mod actions;
mod beats;
mod closing;
mod events;
mod fake;
mod limits;
mod listeners;
mod logs;
mod mutating;
mod public;
mod raw;
mod registering;
mod routes;
mod samples;
mod unreadable;
