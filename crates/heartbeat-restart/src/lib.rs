//! Restart policy: when to restart, after how long, how often, and when to stop trying.
//!
//! # What it is
//! Three small rules and the memory they need. [`RestartPolicy`] is what is configured. [`RestartTracker`]
//! remembers what one realm has used: a budget of `burst` restarts in a sliding `window`, a delay that doubles
//! with every attempt, a cooldown that doubles with every trial. Its [`Decision`] says what follows the end of a
//! run. The words are systemd's (`Restart=`, burst, `RestartPreventExitStatus=`) and the kubelet's (backoff).
//!
//! # What it is not
//! It starts nothing, reads no clock and rolls no dice: time and randomness are arguments, so a history replays. The
//! crate is `no_std` with `alloc`. Dependencies between realms belong to the supervisor: it never passes a realm here
//! that ends because of another one.
//!
//! # How to use it
//! ```
//! use heartbeat_restart::{Decision, RestartPolicy, RestartTracker};
//! use heartbeat_status::{Exit, Instant, RestartCause};
//!
//! let policy = RestartPolicy::service_default(); // 6 restarts in 10 minutes, 0.5 s doubling to 60 s
//! let mut tracker = RestartTracker::new();
//! let now = Instant::from_millis(1_000);
//! let exit = Exit::code(1);
//! tracker.on_healthy_since(&policy, Instant::ZERO, Instant::ZERO + policy.reset_after());
//! let decision = tracker.decide(&policy, now, RestartCause::Exited, Some(&exit), 0);
//! assert_eq!(decision, Decision::StartAt { at: now, attempt: 1 }, "at once after a stable run");
//! ```
#![no_std]

extern crate alloc;

mod backoff;
mod budget;
mod error;
mod policy;
mod tracker;

pub use error::PolicyError;
pub use policy::{PolicySettings, RestartPolicy, RestartWhen, WhenSpent};
pub use tracker::{Decision, Exhausted, RestartTracker};
