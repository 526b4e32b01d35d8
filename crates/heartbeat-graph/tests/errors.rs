//! What is said of graphs that cannot be ordered, case by case, and graphs of a size that would break a naive search.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use heartbeat_graph::{DependencyGraph, Edge, GraphError, GraphErrors};
use heartbeat_status::EdgeKind::{After, Needs, Wants};
use heartbeat_status::{EdgeKind, RealmIx, RealmName};

fn names(names: &[&str]) -> Vec<RealmName> {
    names.iter().map(|name| RealmName::new(name).unwrap()).collect()
}

fn edge(from: u32, to: u32, kind: EdgeKind) -> Edge {
    Edge { from: RealmIx(from), to: RealmIx(to), kind }
}

fn refused(realms: &[&str], edges: &[Edge]) -> GraphErrors {
    DependencyGraph::build(&names(realms), edges).unwrap_err()
}

fn words(errors: &GraphErrors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_a_graph_and_realms_without_edges_start_by_name() {
    assert!(DependencyGraph::build(&[], &[]).unwrap().start_order().is_empty());
    let graph = DependencyGraph::build(&names(&["c", "a", "b"]), &[]).unwrap();
    assert_eq!(graph.start_order(), [RealmIx(1), RealmIx(2), RealmIx(0)]);
    assert_eq!(graph.tier(RealmIx(0)), 1);
}

#[test]
fn a_cycle_is_told_from_its_first_name_with_the_place_of_each_edge() {
    let edges = [edge(2, 0, Needs), edge(3, 0, Needs), edge(0, 1, Wants), edge(1, 2, After)];
    let errors = refused(&["a", "b", "c", "d"], &edges);
    assert_eq!(words(&errors), ["a -> b -> c -> a"]);
    let [GraphError::Cycle { path }] = errors.as_slice() else { panic!("{errors}") };
    assert_eq!(path.iter().map(|step| step.index).collect::<Vec<_>>(), [2, 3, 0]);
    assert_eq!(path.iter().map(|step| step.edge.kind).collect::<Vec<_>>(), [Wants, After, Needs]);
}

#[test]
fn all_cycles_are_told_the_shortest_of_each_component_first() {
    let edges = [
        // Two that wait for each other.
        edge(5, 6, Needs),
        edge(6, 5, Needs),
        // A cycle of four with a short cut, which makes it a cycle of two.
        edge(0, 1, Needs),
        edge(1, 2, Needs),
        edge(2, 3, Needs),
        edge(3, 0, Needs),
        edge(3, 2, Needs),
        // On no cycle: leads into one, leads out of one.
        edge(4, 0, Needs),
        edge(5, 4, Needs),
    ];
    let errors = refused(&["a", "b", "c", "d", "e", "y", "z"], &edges);
    assert_eq!(words(&errors), ["c -> d -> c", "a -> b -> c -> d -> a", "y -> z -> y"]);
    assert_eq!(errors.to_string(), "c -> d -> c; a -> b -> c -> d -> a; y -> z -> y");
}

#[test]
fn the_shortest_cycle_is_told_even_where_longer_ones_explain_each_of_its_edges() {
    // By name alone the two cycles of three would come first, and leave no edge of the cycle of two unexplained.
    let [a, b, x, y] = [0, 1, 2, 3];
    let pairs = [(a, x), (x, y), (y, a), (b, y), (y, x), (x, b)];
    let errors = refused(&["a", "b", "x", "y"], &pairs.map(|(from, to)| edge(from, to, Needs)));
    assert_eq!(words(&errors), ["x -> y -> x", "a -> x -> y -> a", "b -> y -> x -> b"]);
}

#[test]
fn a_pair_listed_twice_is_told_with_both_places_and_kinds() {
    let edges =
        [edge(0, 1, After), edge(0, 1, Needs), edge(0, 1, After), edge(1, 2, Wants), edge(1, 2, Wants)];
    let errors = refused(&["api", "db", "disk"], &edges);
    assert_eq!(
        words(&errors),
        [
            "api lists db twice: under `after` and under `needs`; `needs` is enough",
            "api lists db twice: both times under `after`",
            "db lists disk twice: both times under `wants`",
        ]
    );
    let places: Vec<_> = errors
        .iter()
        .map(|error| match error {
            GraphError::DuplicateEdge { first, second, .. } => (*first, *second),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(places, [(0, 1), (0, 2), (3, 4)]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let edges = [
        edge(0, 1, Needs),
        edge(0, 1, Needs),
        edge(1, 1, After),
        edge(1, 7, Wants),
        edge(8, 9, Needs),
        edge(1, 0, Needs),
    ];
    let errors = refused(&["a", "b"], &edges);
    assert_eq!(
        words(&errors),
        [
            "a lists b twice: both times under `needs`",
            "b lists itself under `after`",
            "b lists realm number 7 under `wants`, but there are 2 realms",
            "realm number 8 lists realm number 9 under `needs`, but there are 2 realms",
            "a -> b -> a",
        ]
    );
    let [_, GraphError::SelfEdge { index: 2, .. }, GraphError::UnknownRealm { index: 3, from, to, .. }, ..] =
        errors.as_slice()
    else {
        panic!("{errors}")
    };
    assert_eq!((from, to), (&names(&["b"]).pop(), &None));
}

#[test]
fn the_cycle_of_a_pair_listed_twice_has_the_first_edge() {
    let errors = refused(&["a", "b"], &[edge(1, 0, Needs), edge(0, 1, After), edge(0, 1, Needs)]);
    let Some(GraphError::Cycle { path }) = errors.as_slice().last() else { panic!("{errors}") };
    assert_eq!(path.iter().map(|step| step.index).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn an_entangled_graph_lists_some_cycles_and_names_the_other_edges() {
    // Every realm waits for every other: 190 cycles of two.
    let realms: Vec<String> = (0..20).map(|at| format!("r{at:02}")).collect();
    let realms: Vec<&str> = realms.iter().map(String::as_str).collect();
    let pairs = (0..20).flat_map(|from| (0..20).map(move |to| (from, to)));
    let edges: Vec<Edge> =
        pairs.filter(|(from, to)| from != to).map(|(from, to)| edge(from, to, Needs)).collect();
    let errors = refused(&realms, &edges);
    let (Some(GraphError::MoreCycles { through, realms, edges: left }), cycles) =
        errors.as_slice().split_last().map_or((None, &[][..]), |(last, rest)| (Some(last), rest))
    else {
        panic!("{errors}")
    };
    assert_eq!((through.as_str(), *realms), ("r00", 20));
    let listed = cycles.iter().map(|error| match error {
        GraphError::Cycle { path } => path.len(),
        other => panic!("{other}"),
    });
    assert!(left.is_sorted());
    assert_eq!(listed.sum::<usize>() + left.len(), edges.len(), "no edge is missing and none comes twice");
}

#[test]
fn long_texts_are_cut_but_values_are_whole() {
    let (graph_names, mut edges) = chain(1_000);
    edges.push(edge(0, 999, Needs));
    let errors = DependencyGraph::build(&graph_names, &edges).unwrap_err();
    let [GraphError::Cycle { path }] = errors.as_slice() else { panic!("{errors}") };
    assert_eq!(path.len(), 1_000);
    assert!(errors.to_string().contains(" -> (900 more) -> r"), "{errors}");

    let pairs: Vec<Edge> =
        (0..500).flat_map(|at| [edge(2 * at, 2 * at + 1, Needs), edge(2 * at + 1, 2 * at, Needs)]).collect();
    let errors = DependencyGraph::build(&graph_names, &pairs).unwrap_err();
    assert_eq!(errors.as_slice().len(), 500);
    assert!(errors.to_string().ends_with("; and 480 more"), "{errors}");
}

/// Each realm needs the one before it.
fn chain(realms: u32) -> (Vec<RealmName>, Vec<Edge>) {
    let names = (0..realms).map(|at| RealmName::new(&format!("r{at}")).unwrap()).collect();
    (names, (1..realms).map(|at| edge(at, at - 1, Needs)).collect())
}

#[test]
fn a_chain_of_a_hundred_thousand_realms_overflows_nothing() {
    const REALMS: u32 = 100_000;
    // A thread of its own with little stack: recursion would not survive it.
    let deep = std::thread::Builder::new().stack_size(64 * 1024).spawn(|| {
        let (names, mut edges) = chain(REALMS);
        let graph = DependencyGraph::build(&names, &edges).unwrap();
        assert_eq!(graph.tier(RealmIx(REALMS - 1)), REALMS);
        assert_eq!(graph.impact(RealmIx(0)).len(), REALMS as usize - 1);

        edges.push(edge(0, REALMS - 1, Needs));
        let errors = DependencyGraph::build(&names, &edges).unwrap_err();
        let [GraphError::Cycle { path }] = errors.as_slice() else { panic!("{errors}") };
        assert_eq!(path.len(), REALMS as usize);
    });
    deep.unwrap().join().unwrap();
}
