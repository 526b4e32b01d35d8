//! Deliveries to real servers on the loopback, on a clock that jumps over every wait.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its scene has failed")]

mod answers;
mod kinds;
mod mails;
mod names;
mod queues;
mod scene;
mod secure;
