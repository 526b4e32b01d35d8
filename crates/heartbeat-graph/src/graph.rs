//! The planned graph: orders and neighbours, ready to be asked.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use heartbeat_status::{EdgeKind, RealmIx, RealmName};

use crate::cycle::{bad_edges, cycles};
use crate::{GraphError, GraphErrors};

/// One dependency: `from` depends on `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The dependent.
    pub from: RealmIx,
    /// The realm depended upon.
    pub to: RealmIx,
    /// How it binds.
    pub kind: EdgeKind,
}

/// Edges grouped by one of their ends: a flat list and where each realm's part begins.
#[derive(Clone, Debug, Default)]
struct Rows {
    begins: Vec<u32>,
    edges: Vec<Edge>,
}

impl Rows {
    /// Groups `edges` by `end`, in the order in which they come (a counting sort).
    fn group(
        count: usize,
        edges: impl Iterator<Item = Edge> + Clone,
        end: impl Fn(&Edge) -> RealmIx,
    ) -> Self {
        let mut begins = alloc::vec![0u32; count + 1];
        let mut total = 0;
        for edge in edges.clone() {
            begins[end(&edge).index() + 1] += 1;
            total += 1;
        }
        for at in 0..count {
            begins[at + 1] += begins[at];
        }
        let blank = Edge { from: RealmIx(0), to: RealmIx(0), kind: EdgeKind::After };
        let mut sorted = alloc::vec![blank; total];
        let mut next = begins.clone();
        for edge in edges {
            let slot = &mut next[end(&edge).index()];
            sorted[*slot as usize] = edge;
            *slot += 1;
        }
        Self { begins, edges: sorted }
    }

    fn of(&self, ix: RealmIx) -> &[Edge] {
        &self.edges[self.begins[ix.index()] as usize..self.begins[ix.index() + 1] as usize]
    }
}

/// Realms and their dependencies, ordered.
#[derive(Clone, Debug, Default)]
pub struct DependencyGraph {
    start: Vec<RealmIx>,
    order: Vec<u32>,
    tier: Vec<u32>,
    dependencies: Rows,
    dependents: Rows,
}

impl DependencyGraph {
    /// Orders the realms called `names` (by [`RealmIx`]): what is depended upon first, and by name where nothing
    /// else decides.
    ///
    /// # Errors
    /// [`GraphErrors`]: all cycles, edges to oneself and duplicates.
    pub fn build(names: &[RealmName], edges: &[Edge]) -> Result<Self, GraphErrors> {
        let known = edges.iter().all(|edge| edge.from.index() < names.len() && edge.to.index() < names.len());
        if !known {
            return Err(GraphErrors(bad_edges(names, edges)));
        }
        let count = names.len();
        let dependents = Rows::group(count, edges.iter().copied(), |edge| edge.to);
        let Some((start, tier)) = plan(names, edges, &dependents) else {
            return Err(Self::explain(names, edges));
        };
        let mut order = alloc::vec![0; count];
        for (at, ix) in (0u32..).zip(&start) {
            order[ix.index()] = at;
        }
        // Walking one end in start order leaves the other end's lists in start order.
        let by_dependency = start.iter().flat_map(|ix| dependents.of(*ix)).copied();
        let dependencies = Rows::group(count, by_dependency, |edge| edge.from);
        let by_dependent = start.iter().flat_map(|ix| dependencies.of(*ix)).copied();
        let dependents = Rows::group(count, by_dependent, |edge| edge.to);
        let twice = dependencies
            .edges
            .windows(2)
            .any(|pair| (pair[0].from, pair[0].to) == (pair[1].from, pair[1].to));
        if twice {
            return Err(GraphErrors(bad_edges(names, edges)));
        }
        Ok(Self { start, order, tier, dependencies, dependents })
    }

    fn explain(names: &[RealmName], edges: &[Edge]) -> GraphErrors {
        let mut errors = bad_edges(names, edges);
        errors.extend(cycles(names, edges));
        errors.retain(|error| !matches!(error, GraphError::Cycle { edges, .. } if edges.len() < 2));
        GraphErrors(errors)
    }

    /// Position in the start order, from 0.
    #[must_use]
    pub fn order(&self, ix: RealmIx) -> u32 {
        self.order[ix.index()]
    }

    /// Length of the longest dependency path below it, counted from 1.
    #[must_use]
    pub fn tier(&self, ix: RealmIx) -> u32 {
        self.tier[ix.index()]
    }

    /// Every realm, what is depended upon first.
    #[must_use]
    pub fn start_order(&self) -> &[RealmIx] {
        &self.start
    }

    /// The exact reverse.
    pub fn stop_order(&self) -> impl DoubleEndedIterator<Item = RealmIx> + '_ {
        self.start.iter().rev().copied()
    }

    /// Direct dependents, in start order.
    #[must_use]
    pub fn dependents(&self, ix: RealmIx) -> &[Edge] {
        self.dependents.of(ix)
    }

    /// Direct dependencies, in start order.
    #[must_use]
    pub fn dependencies(&self, ix: RealmIx) -> &[Edge] {
        self.dependencies.of(ix)
    }

    /// Everybody who depends on `ix`, directly or through others, in start order.
    #[must_use]
    pub fn transitive_dependents(&self, ix: RealmIx) -> Vec<RealmIx> {
        self.reach(ix, |at| self.dependents(at), |edge| edge.from, |_| true)
    }

    /// Everything `ix` depends on, directly or through others, in start order.
    #[must_use]
    pub fn transitive_dependencies(&self, ix: RealmIx) -> Vec<RealmIx> {
        self.reach(ix, |at| self.dependencies(at), |edge| edge.to, |_| true)
    }

    /// Everybody who is blocked when `ix` fails: dependents through `needs` alone, in start order.
    #[must_use]
    pub fn impact(&self, ix: RealmIx) -> Vec<RealmIx> {
        self.reach(ix, |at| self.dependents(at), |edge| edge.from, |edge| edge.kind == EdgeKind::Needs)
    }

    fn reach<'a>(
        &'a self,
        from: RealmIx,
        edges: impl Fn(RealmIx) -> &'a [Edge],
        end: impl Fn(&Edge) -> RealmIx,
        follow: impl Fn(&Edge) -> bool,
    ) -> Vec<RealmIx> {
        let mut seen = alloc::vec![false; self.start.len()];
        let mut stack = alloc::vec![from];
        let mut found = Vec::new();
        while let Some(at) = stack.pop() {
            for edge in edges(at).iter().filter(|edge| follow(edge)) {
                let next = end(edge);
                if !core::mem::replace(&mut seen[next.index()], true) {
                    found.push(next);
                    stack.push(next);
                }
            }
        }
        found.sort_unstable_by_key(|ix| self.order(*ix));
        found
    }
}

/// Kahn's algorithm with a heap, so that names decide ties. `None` when some realms wait for each other.
fn plan(names: &[RealmName], edges: &[Edge], dependents: &Rows) -> Option<(Vec<RealmIx>, Vec<u32>)> {
    let count = names.len();
    // Names are compared once, not at every step of the heap.
    let mut by_name: Vec<u32> = (0u32..).take(count).collect();
    by_name.sort_unstable_by(|a, b| names[*a as usize].cmp(&names[*b as usize]));
    let mut rank = alloc::vec![0u32; count];
    for (at, ix) in (0u32..).zip(&by_name) {
        rank[*ix as usize] = at;
    }
    let mut waiting_for = alloc::vec![0u32; count];
    for edge in edges {
        waiting_for[edge.from.index()] += 1;
    }
    let mut ready: BinaryHeap<Reverse<u32>> =
        (0..count).filter(|at| waiting_for[*at] == 0).map(|at| Reverse(rank[at])).collect();
    let mut tier = alloc::vec![1u32; count];
    let mut start = Vec::with_capacity(count);
    while let Some(Reverse(rank_of)) = ready.pop() {
        let ix = RealmIx(by_name[rank_of as usize]);
        start.push(ix);
        for edge in dependents.of(ix) {
            let from = edge.from.index();
            tier[from] = tier[from].max(tier[ix.index()] + 1);
            waiting_for[from] -= 1;
            if waiting_for[from] == 0 {
                ready.push(Reverse(rank[from]));
            }
        }
    }
    (start.len() == count).then_some((start, tier))
}
