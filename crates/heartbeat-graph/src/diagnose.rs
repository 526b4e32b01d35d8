//! Says everything that is wrong with a graph that could not be ordered.

use alloc::vec::Vec;

use heartbeat_status::RealmName;

use crate::cycles::{self, Found, Link};
use crate::ranks::Ranks;
use crate::{CycleStep, Edge, GraphError, GraphErrors};

/// An error when `u32` cannot count realms or edges.
pub(crate) fn too_large(realms: usize, edges: usize) -> Option<GraphErrors> {
    let fits = u32::try_from(realms).is_ok() && u32::try_from(edges).is_ok();
    (!fits).then(|| GraphErrors::new(alloc::vec![GraphError::TooLarge { realms, edges }]))
}

/// Every error of a graph that [`arrange`](crate::arrange::arrange) refused.
pub(crate) fn diagnose(names: &[RealmName], ranks: &Ranks, edges: &[Edge]) -> GraphErrors {
    let mut errors: Vec<(usize, GraphError)> = Vec::new();
    let mut links = Vec::with_capacity(edges.len());
    for (index, edge) in (0u32..).zip(edges) {
        match (ranks.get(edge.from), ranks.get(edge.to)) {
            (Some(from), Some(to)) if from == to => {
                let at = index as usize;
                let realm = names[edge.from.index()].clone();
                errors.push((at, GraphError::SelfEdge { index: at, realm, kind: edge.kind }));
            }
            (Some(from), Some(to)) => links.push(Link { from, to, index }),
            _ => errors.push((index as usize, unknown(names, index as usize, *edge))),
        }
    }
    links.sort_unstable();
    for pair in links.chunk_by(|a, b| (a.from, a.to) == (b.from, b.to)) {
        let (first, more) = (pair[0].index as usize, &pair[1..]);
        errors.extend(more.iter().map(|link| {
            let second = link.index as usize;
            (second, duplicate(names, edges, first, second))
        }));
    }
    // One edge of each pair is enough to find its cycles: the first in the input.
    links.dedup_by_key(|link| (link.from, link.to));
    errors.sort_by_key(|(index, _)| *index);
    let mut errors: Vec<GraphError> = errors.into_iter().map(|(_, error)| error).collect();
    for found in cycles::find(names.len(), &links) {
        errors.push(match found {
            Found::Cycle(path) => {
                GraphError::Cycle { path: path.iter().map(|link| step(names, edges, *link)).collect() }
            }
            Found::More { through, realms, links } => {
                let mut edges: Vec<usize> = links.iter().map(|link| link.index as usize).collect();
                edges.sort_unstable();
                let through = names[ranks.realm(through).index()].clone();
                GraphError::MoreCycles { through, realms, edges }
            }
        });
    }
    GraphErrors::new(errors)
}

fn unknown(names: &[RealmName], index: usize, edge: Edge) -> GraphError {
    let name = |at: usize| names.get(at).cloned();
    let (from, to) = (name(edge.from.index()), name(edge.to.index()));
    GraphError::UnknownRealm { index, edge, from, to, realms: names.len() }
}

fn duplicate(names: &[RealmName], edges: &[Edge], first: usize, second: usize) -> GraphError {
    let edge = edges[second];
    GraphError::DuplicateEdge {
        first,
        second,
        from: names[edge.from.index()].clone(),
        to: names[edge.to.index()].clone(),
        first_kind: edges[first].kind,
        second_kind: edge.kind,
    }
}

fn step(names: &[RealmName], edges: &[Edge], link: Link) -> CycleStep {
    let index = link.index as usize;
    let edge = edges[index];
    let (from, to) = (names[edge.from.index()].clone(), names[edge.to.index()].clone());
    CycleStep { index, edge, from, to }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_u32_cannot_count_is_refused() {
        let most = u32::MAX as usize;
        assert_eq!(too_large(most, most), None);
        for (realms, edges) in [(most + 1, 0), (0, most + 1)] {
            let errors = too_large(realms, edges).unwrap();
            assert_eq!(errors.as_slice(), [GraphError::TooLarge { realms, edges }]);
        }
    }
}
