//! One dependency between two realms.

use heartbeat_status::{EdgeKind, RealmIx};

/// A dependency: `from` depends on `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The dependent: starts later, stops earlier.
    pub from: RealmIx,
    /// The dependency: starts earlier, stops later.
    pub to: RealmIx,
    /// How it binds. Every kind orders; only [`EdgeKind::Needs`] carries [`impact`](crate::DependencyGraph::impact).
    pub kind: EdgeKind,
}
