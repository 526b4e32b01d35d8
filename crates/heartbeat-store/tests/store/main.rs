//! The store against real files.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod damage;
mod disk;
mod history;
mod incidents;
mod scene;
mod years;
