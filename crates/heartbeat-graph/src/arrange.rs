//! Orders an acyclic graph. Linear in realms and edges, but for a heap of the realms that are ready.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use heartbeat_status::{EdgeKind, RealmIx};

use crate::Edge;
use crate::ranks::Ranks;
use crate::rows::{Offsets, Rows};

/// What rows are filled with before they are written.
const BLANK: Edge = Edge { from: RealmIx(0), to: RealmIx(0), kind: EdgeKind::After };

/// What the order is made of; see [`DependencyGraph`](crate::DependencyGraph).
pub(crate) struct Arranged {
    pub(crate) start: Vec<RealmIx>,
    pub(crate) order: Vec<u32>,
    pub(crate) tier: Vec<u32>,
    pub(crate) dependencies: Rows<Edge>,
    pub(crate) dependents: Rows<Edge>,
}

/// What a realm still waits for, side by side because it is read together.
#[derive(Clone, Copy)]
struct Pending {
    /// Dependencies that are not in the order yet.
    left: u32,
    /// One more than the highest tier among those that are.
    tier: u32,
    /// Where its row of dependencies ends; the next one to be written is `left` before it.
    end: u32,
}

/// The order, or `None` when something is wrong with the edges: [`diagnose`](crate::diagnose) knows what.
pub(crate) fn arrange(ranks: &Ranks, edges: &[Edge]) -> Option<Arranged> {
    let mut pending = alloc::vec![Pending { left: 0, tier: 1, end: 0 }; ranks.len()];
    let mut needed = alloc::vec![0u32; ranks.len()];
    for edge in edges {
        if edge.from == edge.to {
            return None;
        }
        pending.get_mut(edge.from.index())?.left += 1;
        *needed.get_mut(edge.to.index())? += 1;
    }
    let offsets = Offsets::of(pending.iter().map(|pending| pending.left));
    for (at, pending) in pending.iter_mut().enumerate() {
        pending.end = offsets.begin(at) + pending.left;
    }
    let mut dependents = by_dependency(Offsets::of(needed.into_iter()), edges);
    let (start, flat) = order(ranks, &mut pending, &dependents)?;
    let dependencies = Rows { offsets, flat };
    sort(&mut dependents, &start, &dependencies)?;
    let mut order = alloc::vec![0; ranks.len()];
    for (at, ix) in (0u32..).zip(&start) {
        order[ix.index()] = at;
    }
    let tier = pending.iter().map(|pending| pending.tier).collect();
    Some(Arranged { start, order, tier, dependencies, dependents })
}

/// The dependents of each realm, in the order of the input.
fn by_dependency(offsets: Offsets, edges: &[Edge]) -> Rows<Edge> {
    let mut cursors = offsets.cursors();
    let mut flat = alloc::vec![BLANK; edges.len()];
    for edge in edges {
        let cursor = &mut cursors[edge.to.index()];
        flat[*cursor as usize] = *edge;
        *cursor += 1;
    }
    Rows { offsets, flat }
}

/// Kahn's algorithm; of everything that is ready the first by name goes next. `None` when a cycle is in the way.
///
/// Beside the order it gives the rows of dependencies, each in start order: realms are visited in start order, so
/// appending them to the rows of their dependents sorts without comparing anything.
fn order(
    ranks: &Ranks,
    pending: &mut [Pending],
    dependents: &Rows<Edge>,
) -> Option<(Vec<RealmIx>, Vec<Edge>)> {
    let free = (0..pending.len()).filter(|at| pending[*at].left == 0);
    let mut ready: BinaryHeap<Reverse<u32>> = free.map(|at| Reverse(ranks.rank(at))).collect();
    let mut start = Vec::with_capacity(pending.len());
    let mut dependencies = alloc::vec![BLANK; dependents.flat.len()];
    while let Some(Reverse(rank)) = ready.pop() {
        let to = ranks.realm(rank);
        start.push(to);
        let above = pending[to.index()].tier + 1;
        for edge in dependents.of(to) {
            let waiting = &mut pending[edge.from.index()];
            dependencies[(waiting.end - waiting.left) as usize] = *edge;
            waiting.tier = waiting.tier.max(above);
            waiting.left -= 1;
            if waiting.left == 0 {
                ready.push(Reverse(ranks.rank(edge.from.index())));
            }
        }
    }
    (start.len() == pending.len()).then_some((start, dependencies))
}

/// Puts the dependents of each realm in start order, in the same way. The dependencies hold every edge, so the rows
/// are written anew over themselves. `None` when a pair of realms comes twice: in a sorted row it lies side by side.
fn sort(dependents: &mut Rows<Edge>, start: &[RealmIx], dependencies: &Rows<Edge>) -> Option<()> {
    let mut cursors = dependents.offsets.cursors();
    for from in start {
        let mut last = None;
        for edge in dependencies.of(*from) {
            if last.replace(edge.to) == Some(edge.to) {
                return None;
            }
            let cursor = &mut cursors[edge.to.index()];
            dependents.flat[*cursor as usize] = *edge;
            *cursor += 1;
        }
    }
    Some(())
}
