//! The dependency graph of realms: whether it can be ordered, in which order, and which realms a failure blocks.
//!
//! # What it is
//! [`DependencyGraph::build`] takes names and [`Edge`]s and gives either a graph with its start order, tiers,
//! dependents and dependencies, or [`GraphErrors`] with everything that is wrong. Every kind of edge orders; `needs`
//! alone carries [`impact`](DependencyGraph::impact). The order does not depend on the machine or on the order of
//! the input: what can start next does, the first by name of several.
//!
//! Cycles are reported so that they can be fixed: each with its full path and the input index of each of its edges, the
//! shortest first, and enough of them that every edge which lies on a cycle is on one of those listed (or, in a graph
//! that is hopelessly entangled, is named in [`GraphError::MoreCycles`]). No edge is ever dropped to get an order.
//!
//! # What it is not
//! It knows no health and no process; what an edge waits for and what happens while a need is down is
//! `heartbeat-supervisor`'s. It is `no_std` with `alloc`, and nothing in it recurses, so a chain of 100,000 realms is
//! as good as any other graph.
//!
//! # How it works
//! Ordering is Kahn's algorithm over flat rows (petgraph's `toposort` has no say in ties, which is why it is not used);
//! visiting the realms in start order then fills the rows of the result already sorted. petgraph finds the strongly
//! connected components when there is no order.
//!
//! # How to use it
//! ```
//! use heartbeat_graph::{DependencyGraph, Edge};
//! use heartbeat_status::{EdgeKind, RealmIx, RealmName};
//!
//! let names = ["web", "api", "db", "cache"].map(|name| RealmName::new(name).unwrap());
//! let [web, api, db, cache] = [0, 1, 2, 3].map(RealmIx);
//! let edge = |from, to, kind| Edge { from, to, kind };
//! let mut edges = vec![
//!     edge(web, api, EdgeKind::Needs),
//!     edge(api, db, EdgeKind::Needs),
//!     edge(api, cache, EdgeKind::Wants),
//! ];
//!
//! let graph = DependencyGraph::build(&names, &edges).unwrap();
//! assert_eq!(graph.start_order(), [cache, db, api, web]);
//! assert_eq!(graph.tier(web), 3);
//! assert_eq!(graph.impact(db), [api, web]);
//! assert_eq!(graph.impact(cache), [], "wanted, not needed");
//!
//! edges.push(edge(db, web, EdgeKind::After));
//! let errors = DependencyGraph::build(&names, &edges).unwrap_err();
//! assert_eq!(errors.to_string(), "api -> db -> web -> api");
//! ```
#![no_std]

extern crate alloc;

mod arrange;
mod cycles;
mod diagnose;
mod edge;
mod error;
mod graph;
mod ranks;
mod rows;

pub use edge::Edge;
pub use error::{CycleStep, GraphError, GraphErrors};
pub use graph::DependencyGraph;
