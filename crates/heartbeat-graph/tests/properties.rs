//! What holds for every graph.

use std::collections::BTreeSet;

use heartbeat_graph::{DependencyGraph, Edge, GraphError};
use heartbeat_status::{EdgeKind, RealmIx, RealmName};
use proptest::prelude::*;

fn names(count: usize) -> Vec<RealmName> {
    // Names in another order than indices, so that ties by name are not ties by index.
    (0..count).map(|at| RealmName::new(&format!("r{:03}", (at * 7_919) % 1_000)).unwrap()).collect()
}

fn edges(pairs: &[(usize, usize)], count: usize) -> Vec<Edge> {
    let set: BTreeSet<(usize, usize)> =
        pairs.iter().map(|(a, b)| (a % count, b % count)).filter(|(a, b)| a != b).collect();
    let ix = |at: usize| RealmIx(u32::try_from(at).unwrap());
    set.into_iter().map(|(from, to)| Edge { from: ix(from), to: ix(to), kind: EdgeKind::Needs }).collect()
}

/// Length of a shortest cycle through any realm, by brute force.
fn shortest_cycle(count: usize, edges: &[Edge]) -> Option<usize> {
    (0..count)
        .filter_map(|start| {
            let mut reached = BTreeSet::from([start]);
            let mut front = vec![start];
            for length in 1..=count {
                let next: Vec<usize> = edges
                    .iter()
                    .filter(|edge| front.contains(&edge.from.index()))
                    .map(|edge| edge.to.index())
                    .collect();
                if next.contains(&start) {
                    return Some(length);
                }
                front = next.into_iter().filter(|at| reached.insert(*at)).collect();
            }
            None
        })
        .min()
}

proptest! {
    #[test]
    fn acyclic_graphs_are_ordered(pairs in proptest::collection::vec((0usize..40, 0usize..40), 0..120), count in 1usize..40) {
        let acyclic: Vec<(usize, usize)> = pairs.iter().map(|(a, b)| (a % count, b % count)).filter(|(a, b)| a > b).collect();
        let mut edges = edges(&acyclic, count);
        let names = names(count);
        let graph = DependencyGraph::build(&names, &edges).unwrap();
        for edge in &edges {
            prop_assert!(graph.order(edge.to) < graph.order(edge.from));
            prop_assert!(graph.tier(edge.to) < graph.tier(edge.from));
        }
        let mut stop: Vec<RealmIx> = graph.stop_order().collect();
        stop.reverse();
        prop_assert_eq!(graph.start_order(), stop.as_slice());
        for at in 0..count {
            let ix = RealmIx(u32::try_from(at).unwrap());
            let below = graph.dependencies(ix).iter().map(|edge| graph.tier(edge.to)).max().unwrap_or(0);
            prop_assert_eq!(graph.tier(ix), below + 1);
            for dependent in graph.transitive_dependents(ix) {
                prop_assert!(graph.transitive_dependencies(dependent).contains(&ix));
            }
            let orders: Vec<u32> = graph.dependents(ix).iter().map(|edge| graph.order(edge.from)).collect();
            prop_assert!(orders.is_sorted());
        }
        // The order of the input is of no interest.
        edges.reverse();
        let again = DependencyGraph::build(&names, &edges).unwrap();
        prop_assert_eq!(again.start_order(), graph.start_order());
    }

    #[test]
    fn a_cycle_is_found_is_real_and_is_shortest(pairs in proptest::collection::vec((0usize..12, 0usize..12), 0..30), count in 2usize..12) {
        let edges = edges(&pairs, count);
        match (DependencyGraph::build(&names(count), &edges), shortest_cycle(count, &edges)) {
            (Ok(_), None) => {}
            (Err(errors), Some(length)) => {
                let mut shortest = usize::MAX;
                for error in &errors {
                    let GraphError::Cycle { edges: path, names } = error else { panic!("{error}") };
                    prop_assert_eq!(path.len(), names.len());
                    for (at, edge) in path.iter().enumerate() {
                        let next = path[(at + 1) % path.len()];
                        prop_assert_eq!(edges[*edge].to, edges[next].from);
                    }
                    shortest = shortest.min(path.len());
                }
                prop_assert_eq!(shortest, length);
            }
            (built, cycle) => prop_assert!(false, "{:?} {:?}", built.map(|_| ()), cycle),
        }
    }
}

#[test]
fn a_chain_of_a_hundred_thousand_does_not_overflow() {
    const REALMS: u32 = 100_000;
    let names: Vec<RealmName> = (0..REALMS).map(|at| RealmName::new(&format!("r{at}")).unwrap()).collect();
    let needs = |from, to| Edge { from: RealmIx(from), to: RealmIx(to), kind: EdgeKind::Needs };
    let mut edges: Vec<Edge> = (1..REALMS).map(|at| needs(at, at - 1)).collect();
    let graph = DependencyGraph::build(&names, &edges).unwrap();
    assert_eq!(graph.tier(RealmIx(REALMS - 1)), REALMS);
    assert_eq!(graph.impact(RealmIx(0)).len(), REALMS as usize - 1);
    edges.push(needs(0, REALMS - 1));
    assert!(DependencyGraph::build(&names, &edges).is_err());
}

#[test]
fn duplicates_and_edges_to_oneself_are_named() {
    let names = names(3);
    let edge = |from, to, kind| Edge { from: RealmIx(from), to: RealmIx(to), kind };
    let edges = [edge(0, 1, EdgeKind::Needs), edge(2, 2, EdgeKind::Needs), edge(0, 1, EdgeKind::After)];
    let errors = DependencyGraph::build(&names, &edges).unwrap_err();
    assert!(errors.iter().any(|error| matches!(error, GraphError::SelfEdge { edge: 1, .. })), "{errors}");
    assert!(
        errors.iter().any(|error| matches!(error, GraphError::DuplicateEdge { first: 0, second: 2, .. })),
        "{errors}"
    );
    let only_twice = [edges[0], edges[2]];
    assert!(DependencyGraph::build(&names, &only_twice).is_err());
}
