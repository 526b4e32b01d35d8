//! `heartbeat.toml`: located diagnostics, then a validated configuration and plan.
//!
//! # What it is
//! [`load`] finds the files, layers them with the environment and flags, reads every key through one table
//! ([`keys`]), and gives a [`Config`]: what the core supervises ([`Plan`](heartbeat_supervisor::Plan)) and
//! what the adapters need beside it. Or it gives a [`Report`]: *everything* that is wrong in one run, each with a
//! code, file, line, column, cause, and what to type.
//!
//! A realm that is registered at run time ([`Registration`]) is read by the same reader, within a closed part of the
//! grammar: it is watched, and nothing of it runs, reads or acts ([`with_registered`]).
//!
//! # What it is not
//! It runs nothing and connects to nothing. A key that this version does not carry out is an error that names it:
//! nothing is accepted and ignored.
//!
//! # How to use it
//! ```
//! use std::collections::BTreeMap;
//! use heartbeat_config::{Format, load_str};
//!
//! let text = "[realm.db]\nrun = \"sleep 60\"\n[realm.api]\nrun = \"sleep 60\"\nneeds = [\"db\"]\n";
//! let loaded = load_str("heartbeat.toml", text, &BTreeMap::new()).unwrap();
//! assert_eq!(loaded.config.plan.realms().len(), 2);
//!
//! let report = load_str("heartbeat.toml", "[realm.api]\nrun = \"sleep 60\"\nprot = 8001\n", &BTreeMap::new()).unwrap_err();
//! assert_eq!(
//!     report.render(Format::Short, false),
//!     "heartbeat.toml:3:1: error[HB101]: unknown key `prot` in a realm (help: did you mean `port`?)"
//! );
//! ```

mod advice;
#[cfg(test)]
mod advice_test;
mod bounds;
mod code;
mod config;
mod cron;
mod defaults;
mod diagnostic;
mod document;
mod effective;
mod endpoint;
mod environment;
mod files;
mod foreground;
mod health;
mod heartbeat;
mod host;
mod inherited;
mod interpolate;
mod keys;
mod limits;
mod load;
mod maintenance;
mod notify;
mod others;
pub mod own_files;
mod plan;
mod probe;
mod push;
mod reader;
mod realm;
mod reference;
mod registration;
mod registration_rules;
mod reload;
mod resource;
mod restart;
mod schema;
mod selector;
mod slo;
mod sources;
mod tls;
mod translated;
mod units;
mod window;
mod words;

pub use code::Code;
pub use config::{
    Config, Heartbeat, ListenerTls, Loaded, Measure, Objective, RealmConfig, ReceiverConfig, ReceiverTarget,
};
pub use cron::Cron;
pub use diagnostic::{Diagnostic, Format, Report, Severity};
pub use effective::EffectiveKey;
pub use heartbeat_process::parse_env_file;
pub use keys::{Key, Table, Takes, keys};
pub use load::{check, effective, find_file, load, load_beside, load_str, shareable, socket_of};
pub use own_files::OwnFileError;
pub use push::PushSchedule;
pub use reference::{codes_page, keys_called, keys_page};
pub use registration::{Misfit, Registration, configured, with_registered, with_what_fits};
pub use registration_rules::RegistrationRules;
pub use reload::{Changed, Changes, InForce, MergeError, Merged, merge, with_retired};
pub use resource::{Least, ResourceBounds};
pub use schema::schema;
pub use sources::Sources;
pub use window::{MaintenanceConfig, MaintenanceEffect, WindowStart};
pub use words::{Meaning, meanings};
