//! What cannot be ordered: a shortest cycle for each knot of realms that wait for each other.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use heartbeat_status::{RealmIx, RealmName};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::{Edge, GraphError};

/// Shortest cycles, one for each strongly connected component, by the name of its first realm. `edges` are good
/// ones: known ends, no realm to itself.
pub(crate) fn cycles(names: &[RealmName], edges: &[Edge]) -> Vec<GraphError> {
    let mut graph = DiGraph::<(), usize, u32>::with_capacity(names.len(), edges.len());
    for _ in names {
        graph.add_node(());
    }
    for (at, edge) in edges.iter().enumerate() {
        graph.add_edge(NodeIndex::new(edge.from.index()), NodeIndex::new(edge.to.index()), at);
    }
    let knots = kosaraju_scc(&graph).into_iter().filter(|knot| knot.len() > 1);
    let mut found: Vec<GraphError> = knots.filter_map(|knot| shortest(&graph, names, edges, knot)).collect();
    found.sort_by_cached_key(|error| match error {
        GraphError::Cycle { names, .. } => names.clone(),
        _ => Vec::new(),
    });
    found
}

/// A shortest cycle inside one component, beginning with its first name.
fn shortest(
    graph: &DiGraph<(), usize, u32>,
    names: &[RealmName],
    edges: &[Edge],
    mut knot: Vec<NodeIndex<u32>>,
) -> Option<GraphError> {
    // Beyond this the search from every member would take long, and a cycle is a cycle.
    const MAX_STARTS: usize = 64;
    knot.sort_by_key(|node| &names[node.index()]);
    let mut best: Option<Vec<usize>> = None;
    for start in knot.iter().take(MAX_STARTS) {
        if let Some(cycle) = from(graph, *start)
            && best.as_ref().is_none_or(|best| cycle.len() < best.len())
        {
            best = Some(cycle);
        }
    }
    let mut cycle = best?;
    // The same cycle is told the same way, wherever the search happened upon it.
    let first = (0..cycle.len()).min_by_key(|at| &names[edges[cycle[*at]].from.index()])?;
    cycle.rotate_left(first);
    let names = cycle.iter().map(|at| names[edges[*at].from.index()].clone()).collect();
    Some(GraphError::Cycle { edges: cycle, names })
}

/// A shortest way from `start` back to itself, as edges in order: breadth first.
fn from(graph: &DiGraph<(), usize, u32>, start: NodeIndex<u32>) -> Option<Vec<usize>> {
    use petgraph::visit::EdgeRef;
    let mut came_by: Vec<Option<(NodeIndex<u32>, usize)>> = alloc::vec![None; graph.node_count()];
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        let mut out: Vec<_> = graph.edges(node).map(|edge| (*edge.weight(), edge.target())).collect();
        out.sort_unstable();
        for (at, next) in out {
            if next == start {
                let mut path = alloc::vec![at];
                let mut back = node;
                while let Some((previous, edge)) = came_by[back.index()].filter(|_| back != start) {
                    path.push(edge);
                    back = previous;
                }
                path.reverse();
                return Some(path);
            }
            if came_by[next.index()].is_none() {
                came_by[next.index()] = Some((node, at));
                queue.push_back(next);
            }
        }
    }
    None
}

/// Edges that can be planned at all, with everything that is wrong with the others.
pub(crate) fn bad_edges(names: &[RealmName], edges: &[Edge]) -> Vec<GraphError> {
    let name = |ix: RealmIx| names[ix.index()].clone();
    let mut errors = Vec::new();
    for (at, edge) in edges.iter().enumerate() {
        if edge.from.index() >= names.len() || edge.to.index() >= names.len() {
            errors.push(GraphError::UnknownRealm { edge: at });
        } else if edge.from == edge.to {
            errors.push(GraphError::SelfEdge { edge: at, name: name(edge.from) });
        }
    }
    if !errors.iter().any(|error| matches!(error, GraphError::UnknownRealm { .. })) {
        let mut seen: Vec<(RealmIx, RealmIx, usize)> =
            edges.iter().enumerate().map(|(at, edge)| (edge.from, edge.to, at)).collect();
        seen.sort_unstable();
        for pair in seen.windows(2) {
            let ((from, to, first), (from2, to2, second)) = (pair[0], pair[1]);
            if (from, to) == (from2, to2) && from != to {
                errors.push(GraphError::DuplicateEdge { first, second, from: name(from), to: name(to) });
            }
        }
    }
    errors
}
