//! Orders an acyclic graph. Linear in realms and edges, but for a heap of the realms that are ready.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use heartbeat_status::{EdgeKind, RealmIx};

use crate::Edge;
use crate::ranks::Ranks;
use crate::rows::{Offsets, Rows};

/// What the order is made of; see [`DependencyGraph`](crate::DependencyGraph).
pub(crate) struct Arranged {
    pub(crate) start: Vec<RealmIx>,
    pub(crate) order: Vec<u32>,
    pub(crate) tier: Vec<u32>,
    pub(crate) dependencies: Rows<Edge>,
    pub(crate) dependents: Rows<Edge>,
}

/// What a realm still waits for, side by side because they are read together.
#[derive(Clone, Copy)]
struct Pending {
    /// Dependencies that are not in the order yet.
    left: u32,
    /// One more than the highest tier among those that are.
    tier: u32,
}

/// The order, or `None` when something is wrong with the edges: [`diagnose`](crate::diagnose) knows what.
pub(crate) fn arrange(ranks: &Ranks, edges: &[Edge]) -> Option<Arranged> {
    let realms = ranks.len();
    let mut pending = alloc::vec![Pending { left: 0, tier: 1 }; realms];
    let mut needed = alloc::vec![0u32; realms];
    for edge in edges {
        if edge.from == edge.to {
            return None;
        }
        pending.get_mut(edge.from.index())?.left += 1;
        *needed.get_mut(edge.to.index())? += 1;
    }
    let lengths = Offsets::of(pending.iter().map(|pending| pending.left));
    let unsorted = by_dependency(Offsets::of(needed.iter().copied()), edges);
    let start = order(ranks, &mut pending, &unsorted)?;
    let mut position = alloc::vec![0; realms];
    for (at, ix) in (0u32..).zip(&start) {
        position[ix.index()] = at;
    }
    let dependencies = dependencies(lengths, &start, &unsorted)?;
    let dependents = dependents(unsorted.offsets, &start, &dependencies);
    let tier = pending.iter().map(|pending| pending.tier).collect();
    Some(Arranged { start, order: position, tier, dependencies, dependents })
}

/// The dependents of each realm, in the order of the input.
fn by_dependency(offsets: Offsets, edges: &[Edge]) -> Rows<(RealmIx, EdgeKind)> {
    let mut cursors = offsets.cursors();
    let mut flat = alloc::vec![(RealmIx(0), EdgeKind::After); edges.len()];
    for edge in edges {
        let cursor = &mut cursors[edge.to.index()];
        flat[*cursor as usize] = (edge.from, edge.kind);
        *cursor += 1;
    }
    Rows { offsets, flat }
}

/// Kahn's algorithm; of everything that is ready the first by name goes next. `None` when a cycle is in the way.
fn order(
    ranks: &Ranks,
    pending: &mut [Pending],
    dependents: &Rows<(RealmIx, EdgeKind)>,
) -> Option<Vec<RealmIx>> {
    let free = (0..pending.len()).filter(|at| pending[*at].left == 0);
    let mut ready: BinaryHeap<Reverse<u32>> = free.map(|at| Reverse(ranks.rank(at))).collect();
    let mut start = Vec::with_capacity(pending.len());
    while let Some(Reverse(rank)) = ready.pop() {
        let ix = ranks.realm(rank);
        start.push(ix);
        let above = pending[ix.index()].tier + 1;
        for (dependent, _) in dependents.of(ix) {
            let waiting = &mut pending[dependent.index()];
            waiting.tier = waiting.tier.max(above);
            waiting.left -= 1;
            if waiting.left == 0 {
                ready.push(Reverse(ranks.rank(dependent.index())));
            }
        }
    }
    (start.len() == pending.len()).then_some(start)
}

/// The dependencies of each realm in start order: visiting the realms in start order fills every row in it, so
/// nothing is compared. `None` when a pair of realms comes twice, because then its two edges lie side by side.
fn dependencies(
    offsets: Offsets,
    start: &[RealmIx],
    unsorted: &Rows<(RealmIx, EdgeKind)>,
) -> Option<Rows<Edge>> {
    let mut cursors = offsets.cursors();
    let blank = Edge { from: RealmIx(0), to: RealmIx(0), kind: EdgeKind::After };
    let mut flat = alloc::vec![blank; unsorted.flat.len()];
    for to in start {
        for (from, kind) in unsorted.of(*to) {
            let cursor = cursors[from.index()] as usize;
            if cursor > offsets.begin(from.index()) as usize && flat[cursor - 1].to == *to {
                return None;
            }
            flat[cursor] = Edge { from: *from, to: *to, kind: *kind };
            cursors[from.index()] += 1;
        }
    }
    Some(Rows { offsets, flat })
}

/// The dependents of each realm in start order, in the same way.
fn dependents(offsets: Offsets, start: &[RealmIx], dependencies: &Rows<Edge>) -> Rows<Edge> {
    let mut cursors = offsets.cursors();
    let mut flat = dependencies.flat.clone();
    for from in start {
        for edge in dependencies.of(*from) {
            let cursor = &mut cursors[edge.to.index()];
            flat[*cursor as usize] = *edge;
            *cursor += 1;
        }
    }
    Rows { offsets, flat }
}
