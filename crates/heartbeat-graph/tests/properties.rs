//! What holds for every graph that can be ordered, and for every one that cannot.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use heartbeat_graph::{CycleStep, DependencyGraph, Edge, GraphError, GraphErrors};
use heartbeat_status::{EdgeKind, RealmIx, RealmName};
use proptest::prelude::*;

/// Names in another order than indices, so that ties by name are not ties by index.
fn names(count: usize) -> Vec<RealmName> {
    (0..count).map(|at| RealmName::new(&format!("r{:03}", (at * 7_919) % 1_000)).unwrap()).collect()
}

fn ix(at: usize) -> RealmIx {
    RealmIx(u32::try_from(at).unwrap())
}

/// Realms of a graph, and edges without self-edges and duplicates; `downwards`: none that could close a cycle.
fn graphs(realms: usize, edges: usize, downwards: bool) -> impl Strategy<Value = (usize, Vec<Edge>)> {
    (2..realms).prop_flat_map(move |count| {
        let edge = (0..count, 0..count, 0..EdgeKind::ALL.len());
        let edges = proptest::collection::vec(edge, 0..edges).prop_map(move |edges| {
            let mut pairs = BTreeSet::new();
            let kept = edges.into_iter().filter(|(from, to, _)| {
                let fits = if downwards { from > to } else { from != to };
                fits && pairs.insert((*from, *to))
            });
            kept.map(|(from, to, kind)| Edge { from: ix(from), to: ix(to), kind: EdgeKind::ALL[kind] })
                .collect::<Vec<_>>()
        });
        (Just(count), edges).prop_flat_map(|(count, edges)| (Just(count), Just(edges).prop_shuffle()))
    })
}

/// Graph, and another order of the same edges.
fn permuted(downwards: bool) -> impl Strategy<Value = (usize, Vec<Edge>, Vec<Edge>)> {
    graphs(20, 60, downwards).prop_flat_map(|(count, edges)| {
        let other = Just(edges.clone()).prop_shuffle();
        (Just(count), Just(edges), other)
    })
}

/// By how many edges `to` is reached from `from`; found by brute force, 0 for itself.
fn distance(edges: &[Edge], from: RealmIx, to: RealmIx) -> Option<usize> {
    let mut reached = BTreeSet::from([from]);
    for length in 0.. {
        if reached.contains(&to) {
            return Some(length);
        }
        let next = edges.iter().filter(|edge| reached.contains(&edge.from)).map(|edge| edge.to);
        let grown: BTreeSet<RealmIx> = reached.iter().copied().chain(next).collect();
        if grown.len() == reached.len() {
            return None;
        }
        reached = grown;
    }
    None
}

/// Length of a shortest cycle through an edge.
fn shortest_through(edges: &[Edge], edge: Edge) -> Option<usize> {
    distance(edges, edge.to, edge.from).map(|length| length + 1)
}

/// The first in the order of names among what can start; one after the other, by brute force.
fn reference_order(names: &[RealmName], edges: &[Edge]) -> Vec<RealmIx> {
    let mut started: Vec<RealmIx> = Vec::new();
    while started.len() < names.len() {
        let ready = (0..names.len()).map(ix).filter(|realm| {
            !started.contains(realm)
                && edges.iter().all(|edge| edge.from != *realm || started.contains(&edge.to))
        });
        started.push(ready.min_by_key(|realm| &names[realm.index()]).unwrap());
    }
    started
}

fn cycles(errors: &GraphErrors) -> Vec<&Vec<CycleStep>> {
    errors
        .iter()
        .filter_map(|error| match error {
            GraphError::Cycle { path } => Some(path),
            _ => None,
        })
        .collect()
}

proptest! {
    #[test]
    fn the_start_order_respects_every_edge_and_breaks_ties_by_name((count, edges) in graphs(30, 80, true)) {
        let names = names(count);
        let graph = DependencyGraph::build(&names, &edges).unwrap();
        for edge in &edges {
            prop_assert!(graph.order(edge.to) < graph.order(edge.from));
        }
        prop_assert_eq!(graph.start_order(), reference_order(&names, &edges));
        for (at, realm) in graph.start_order().iter().enumerate() {
            prop_assert_eq!(graph.order(*realm) as usize, at);
        }
    }

    #[test]
    fn stopping_is_the_exact_reverse((count, edges) in graphs(30, 80, true)) {
        let graph = DependencyGraph::build(&names(count), &edges).unwrap();
        let stop: Vec<RealmIx> = graph.stop_order().collect();
        let back: Vec<RealmIx> = graph.stop_order().rev().collect();
        prop_assert!(stop.iter().rev().eq(graph.start_order()));
        prop_assert_eq!(back.as_slice(), graph.start_order());
    }

    #[test]
    fn a_tier_is_one_more_than_the_highest_below((count, edges) in graphs(30, 80, true)) {
        let graph = DependencyGraph::build(&names(count), &edges).unwrap();
        for realm in (0..count).map(ix) {
            let below = edges.iter().filter(|edge| edge.from == realm).map(|edge| graph.tier(edge.to));
            prop_assert_eq!(graph.tier(realm), below.max().unwrap_or(0) + 1);
        }
    }

    #[test]
    fn neighbours_are_exactly_the_edges_in_start_order((count, edges) in graphs(30, 80, true)) {
        let graph = DependencyGraph::build(&names(count), &edges).unwrap();
        for realm in (0..count).map(ix) {
            let mut out: Vec<Edge> = edges.iter().filter(|edge| edge.from == realm).copied().collect();
            out.sort_by_key(|edge| graph.order(edge.to));
            prop_assert_eq!(graph.dependencies(realm), out);
            let mut into: Vec<Edge> = edges.iter().filter(|edge| edge.to == realm).copied().collect();
            into.sort_by_key(|edge| graph.order(edge.from));
            prop_assert_eq!(graph.dependents(realm), into);
        }
    }

    #[test]
    fn impact_is_what_brute_force_finds((count, edges) in graphs(20, 50, true)) {
        let graph = DependencyGraph::build(&names(count), &edges).unwrap();
        let needs: Vec<Edge> = edges.iter().filter(|edge| edge.kind == EdgeKind::Needs).copied().collect();
        for realm in (0..count).map(ix) {
            let others = || graph.start_order().iter().copied().filter(|other| *other != realm);
            let hit: Vec<RealmIx> = others().filter(|at| distance(&needs, *at, realm).is_some()).collect();
            prop_assert_eq!(graph.impact(realm), hit);
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter((count, edges, other) in permuted(true)) {
        let (one, two) = (DependencyGraph::build(&names(count), &edges), DependencyGraph::build(&names(count), &other));
        prop_assert_eq!(format!("{:?}", one.unwrap()), format!("{:?}", two.unwrap()));
    }

    #[test]
    fn errors_name_the_same_whatever_the_order_of_the_input((count, edges, other) in permuted(false)) {
        let words = |edges: &[Edge]| DependencyGraph::build(&names(count), edges).map(|_| ()).map_err(|errors| {
            errors.iter().map(|error| (error.to_string(), match error {
                GraphError::Cycle { path } => path.iter().map(|step| step.edge).collect(),
                GraphError::MoreCycles { edges: left, .. } => {
                    let mut left: Vec<Edge> = left.iter().map(|index| edges[*index]).collect();
                    left.sort_by_key(|edge| (edge.from, edge.to));
                    left
                }
                _ => Vec::new(),
            })).collect::<Vec<_>>()
        });
        prop_assert_eq!(words(&edges), words(&other));
    }

    #[test]
    fn a_graph_is_refused_exactly_when_it_has_a_cycle((count, edges) in graphs(16, 40, false)) {
        let cyclic = edges.iter().any(|edge| shortest_through(&edges, *edge).is_some());
        prop_assert_eq!(DependencyGraph::build(&names(count), &edges).is_err(), cyclic);
    }

    #[test]
    fn cycles_are_real_short_and_explain_every_edge((count, edges) in graphs(16, 40, false)) {
        let names = names(count);
        let Err(errors) = DependencyGraph::build(&names, &edges) else { return Ok(()) };
        let mut explained = BTreeSet::new();
        for path in cycles(&errors) {
            prop_assert!(path.len() >= 2);
            for (at, step) in path.iter().enumerate() {
                prop_assert_eq!(step.edge, edges[step.index]);
                prop_assert_eq!(step.edge.to, path[(at + 1) % path.len()].edge.from);
                prop_assert_eq!(&step.from, &names[step.edge.from.index()]);
                prop_assert_eq!(&step.to, &names[step.edge.to.index()]);
                explained.insert(step.index);
            }
            let realms: BTreeSet<&RealmName> = path.iter().map(|step| &step.from).collect();
            prop_assert_eq!(realms.len(), path.len(), "no realm comes twice");
            prop_assert_eq!(realms.first(), Some(&&path[0].from), "the first by name begins");
            let mut lengths = path.iter().map(|step| shortest_through(&edges, step.edge));
            prop_assert!(lengths.any(|length| length == Some(path.len())), "shortest through one of its edges");
        }
        for error in &errors {
            match error {
                GraphError::Cycle { .. } => {}
                GraphError::MoreCycles { edges, .. } => explained.extend(edges),
                other => prop_assert!(false, "{}", other),
            }
        }
        let on_cycles: BTreeSet<usize> =
            (0..edges.len()).filter(|at| shortest_through(&edges, edges[*at]).is_some()).collect();
        prop_assert_eq!(explained, on_cycles);
    }

    #[test]
    fn the_first_cycle_of_realms_that_reach_each_other_is_their_shortest((count, edges) in graphs(16, 40, false)) {
        let Err(errors) = DependencyGraph::build(&names(count), &edges) else { return Ok(()) };
        let paths = cycles(&errors);
        for edge in &edges {
            let Some(_) = shortest_through(&edges, *edge) else { continue };
            let together =
                |other: RealmIx| distance(&edges, edge.from, other).is_some() && distance(&edges, other, edge.from).is_some();
            let inside = edges.iter().filter(|edge| together(edge.from) && together(edge.to));
            let shortest = inside.filter_map(|edge| shortest_through(&edges, *edge)).min();
            let first = paths.iter().find(|path| together(path[0].edge.from));
            prop_assert_eq!(first.map(|path| path.len()), shortest);
        }
    }
}
