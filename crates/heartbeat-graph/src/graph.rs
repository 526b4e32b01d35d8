//! The graph of a plan, ordered, and what can be asked of it.

use alloc::vec::Vec;

use heartbeat_status::{EdgeKind, RealmIx, RealmName};

use crate::arrange::{Arranged, arrange};
use crate::diagnose::{diagnose, too_large};
use crate::ranks::Ranks;
use crate::rows::Rows;
use crate::{Edge, GraphErrors};

/// A dependency graph that can be ordered. Immutable; built once for each plan.
///
/// Lists are in start order. They depend on the set of edges alone, never on the order in which they were given.
#[derive(Clone, Debug)]
pub struct DependencyGraph {
    start: Vec<RealmIx>,
    order: Vec<u32>,
    tier: Vec<u32>,
    dependencies: Rows<Edge>,
    dependents: Rows<Edge>,
}

impl DependencyGraph {
    /// Validates and orders. `names` are the realms by [`RealmIx`]; `edges` come in any order.
    ///
    /// Whatever can start next does; of several the first by name (and of equal names, which a plan refuses
    /// elsewhere, the first by index). Every kind of edge orders. Takes about linear time and recurses nowhere.
    ///
    /// # Errors
    /// [`GraphErrors`] holds everything that is wrong, not the first thing: edges of realms that do not exist,
    /// edges from a realm to itself, pairs that are listed twice (under whatever kinds), and cycles.
    pub fn build(names: &[RealmName], edges: &[Edge]) -> Result<Self, GraphErrors> {
        if let Some(errors) = too_large(names.len(), edges.len()) {
            return Err(errors);
        }
        let ranks = Ranks::of(names);
        let Some(arranged) = arrange(&ranks, edges) else {
            return Err(diagnose(names, &ranks, edges));
        };
        let Arranged { start, order, tier, dependencies, dependents } = arranged;
        Ok(Self { start, order, tier, dependencies, dependents })
    }

    /// The position of a realm in the start order, from 0.
    ///
    /// # Panics
    /// When `ix` is not of this graph.
    #[must_use]
    pub fn order(&self, ix: RealmIx) -> u32 {
        self.order[ix.index()]
    }

    /// How many realms are on the longest path of dependencies that begins with this one: 1 without any.
    ///
    /// # Panics
    /// When `ix` is not of this graph.
    #[must_use]
    pub fn tier(&self, ix: RealmIx) -> u32 {
        self.tier[ix.index()]
    }

    /// Every realm, dependencies first.
    #[must_use]
    pub fn start_order(&self) -> &[RealmIx] {
        &self.start
    }

    /// Every realm, dependents first: exactly the reverse of [`start_order`](Self::start_order).
    pub fn stop_order(&self) -> impl DoubleEndedIterator<Item = RealmIx> + ExactSizeIterator {
        self.start.iter().rev().copied()
    }

    /// The edges to this realm, by start order of who depends on it.
    ///
    /// # Panics
    /// When `ix` is not of this graph.
    #[must_use]
    pub fn dependents(&self, ix: RealmIx) -> &[Edge] {
        self.dependents.of(ix)
    }

    /// The edges from this realm, by start order of what it depends on.
    ///
    /// # Panics
    /// When `ix` is not of this graph.
    #[must_use]
    pub fn dependencies(&self, ix: RealmIx) -> &[Edge] {
        self.dependencies.of(ix)
    }

    /// Every realm that breaks when this one fails: those that need it, those that need them, and so on; in start
    /// order, without the realm itself. `wants` and `after` carry nothing.
    ///
    /// # Panics
    /// When `ix` is not of this graph.
    #[must_use]
    pub fn impact(&self, ix: RealmIx) -> Vec<RealmIx> {
        let mut seen = alloc::vec![false; self.start.len()];
        seen[ix.index()] = true;
        let mut stack = alloc::vec![ix];
        let mut found = Vec::new();
        while let Some(at) = stack.pop() {
            for edge in self.dependents.of(at).iter().filter(|edge| edge.kind == EdgeKind::Needs) {
                if !core::mem::replace(&mut seen[edge.from.index()], true) {
                    found.push(edge.from);
                    stack.push(edge.from);
                }
            }
        }
        found.sort_unstable_by_key(|found| self.order(*found));
        found
    }
}
