//! Dependency graph of realms: validated, ordered, and ready to be asked.
//!
//! # What it is
//! [`DependencyGraph::build`] takes names and edges and gives the start order (what is depended upon first, ties
//! by name), its exact reverse for stopping, tiers, direct and transitive neighbours, and the impact of a failure.
//! What cannot be ordered is told in full: every knot of realms that wait for each other with a shortest cycle,
//! every edge by its position in the input, so that a configuration can show file and line ([`GraphErrors`]).
//!
//! # What it is not
//! It knows nothing of health, processes or gates, and never breaks an edge by itself. The crate is `no_std` with
//! `alloc`; nothing in it recurses, so a chain of 100,000 realms is as good as any other graph.
//!
//! # How to use it
//! ```
//! use heartbeat_graph::{DependencyGraph, Edge};
//! use heartbeat_status::{EdgeKind, RealmIx, RealmName};
//!
//! let names: Vec<RealmName> = ["web", "db"].map(|name| RealmName::new(name).unwrap()).to_vec();
//! let (web, db) = (RealmIx(0), RealmIx(1));
//! let needs = |from, to| Edge { from, to, kind: EdgeKind::Needs };
//!
//! let graph = DependencyGraph::build(&names, &[needs(web, db)]).unwrap();
//! assert_eq!(graph.start_order(), [db, web]);
//! assert_eq!(graph.impact(db), [web]);
//!
//! let knot = DependencyGraph::build(&names, &[needs(web, db), needs(db, web)]).unwrap_err();
//! assert_eq!(knot.to_string(), "db -> web -> db");
//! ```
#![no_std]

extern crate alloc;

mod cycle;
mod error;
mod graph;

pub use error::{GraphError, GraphErrors};
pub use graph::{DependencyGraph, Edge};
