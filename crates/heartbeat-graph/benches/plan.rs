//! What ordering a large plan costs, beside petgraph's bare `toposort` of the same edges in the same run:
//! `cargo bench -p heartbeat-graph --bench plan`.
//!
//! The bare run gets its graph already built and does neither ties nor tiers, rows or duplicates; `build` starts from
//! names and a list of edges. The graphs are random and the same in every run.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has nobody to tell")]

use divan::Bencher;
use heartbeat_graph::{DependencyGraph, Edge};
use heartbeat_status::{EdgeKind, RealmIx, RealmName};
use petgraph::graph::{DiGraph, NodeIndex};

fn main() {
    divan::main();
}

/// Realms and edges of a plan.
#[derive(Clone, Copy)]
struct Size {
    realms: u32,
    edges: usize,
    shape: Shape,
}

/// Where the ends of an edge are.
#[derive(Clone, Copy)]
enum Shape {
    /// Anywhere: indices, names and edges are in no order. Memory is read at random.
    Scattered,
    /// Dependencies have lower indices than dependents, close by, and edges come by dependent: the memory layout that
    /// helps an algorithm most, and so the hardest lower bound to stay near.
    Tidy,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = match self.shape {
            Shape::Scattered => "scattered",
            Shape::Tidy => "tidy",
        };
        write!(f, "{} realms, {} edges, {shape}", self.realms, self.edges)
    }
}

const SIZES: [Size; 4] = [
    Size { realms: 100, edges: 300, shape: Shape::Scattered },
    Size { realms: 10_000, edges: 100_000, shape: Shape::Scattered },
    Size { realms: 100_000, edges: 1_000_000, shape: Shape::Tidy },
    Size { realms: 100_000, edges: 1_000_000, shape: Shape::Scattered },
];
/// How far below a dependent its dependencies are in a tidy plan.
const TIDY_REACH: u32 = 1_000;

/// splitmix64: small, good enough, and the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (((mixed >> 32) * u64::from(end)) >> 32) as u32
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u32 + 1) as usize);
        }
    }
}

/// Names and random edges without duplicates and cycles.
fn plan(size: Size) -> (Vec<RealmName>, Vec<Edge>) {
    let mut dice = Dice(size.edges as u64);
    let mut names: Vec<RealmName> = (0..size.realms)
        .map(|at| RealmName::new(&format!("team-{}-service-{at}", at % 7)).unwrap())
        .collect();
    let mut realms: Vec<RealmIx> = (0..size.realms).map(RealmIx).collect();
    let reach = match size.shape {
        Shape::Scattered => size.realms,
        Shape::Tidy => TIDY_REACH,
    };
    let mut pairs = std::collections::BTreeSet::new();
    while pairs.len() < size.edges {
        let from = dice.below(size.realms);
        let below = dice.below(reach) + 1;
        if below <= from {
            pairs.insert((from, from - below));
        }
    }
    if matches!(size.shape, Shape::Scattered) {
        dice.shuffle(&mut names);
        dice.shuffle(&mut realms);
    }
    let realm = |at: u32| realms[at as usize];
    let mut edges: Vec<Edge> = pairs
        .into_iter()
        .map(|(from, to)| Edge {
            from: realm(from),
            to: realm(to),
            kind: EdgeKind::ALL[dice.below(3) as usize],
        })
        .collect();
    if matches!(size.shape, Shape::Scattered) {
        dice.shuffle(&mut edges);
    }
    (names, edges)
}

/// The same edges for petgraph, from the dependency to the dependent.
fn bare(names: &[RealmName], edges: &[Edge]) -> DiGraph<(), EdgeKind> {
    let mut graph = DiGraph::with_capacity(names.len(), edges.len());
    for _ in names {
        graph.add_node(());
    }
    for edge in edges {
        graph.add_edge(NodeIndex::new(edge.to.index()), NodeIndex::new(edge.from.index()), edge.kind);
    }
    graph
}

/// The floor: `toposort` alone, of a graph that exists.
#[divan::bench(args = SIZES, sample_count = 20)]
fn a_bare_toposort(bencher: Bencher<'_, '_>, size: Size) {
    let (names, edges) = plan(size);
    let graph = bare(&names, &edges);
    bencher.bench_local(|| petgraph::algo::toposort(&graph, None).unwrap());
}

/// `toposort` from the same list of edges that `build` starts from.
#[divan::bench(args = SIZES, sample_count = 20)]
fn b_toposort_from_a_list(bencher: Bencher<'_, '_>, size: Size) {
    let (names, edges) = plan(size);
    bencher.bench_local(|| petgraph::algo::toposort(&bare(&names, &edges), None).unwrap());
}

/// Everything: ranks, order, tiers, both directions in start order.
#[divan::bench(args = SIZES, sample_count = 20)]
fn c_build(bencher: Bencher<'_, '_>, size: Size) {
    let (names, edges) = plan(size);
    bencher.bench_local(|| DependencyGraph::build(&names, &edges).unwrap());
}

/// The way of an error: the same plan with one edge from the bottom to the top, which closes many cycles.
#[divan::bench(args = SIZES, sample_count = 20)]
fn d_one_cycle(bencher: Bencher<'_, '_>, size: Size) {
    let (names, mut edges) = plan(size);
    let graph = DependencyGraph::build(&names, &edges).unwrap();
    let top = *graph.start_order().iter().max_by_key(|ix| graph.tier(**ix)).unwrap();
    let below = |ix: &RealmIx| graph.dependencies(*ix).first().map(|edge| edge.to);
    let bottom = std::iter::successors(Some(top), below).last().unwrap();
    edges.push(Edge { from: bottom, to: top, kind: EdgeKind::Needs });
    bencher.bench_local(|| DependencyGraph::build(&names, &edges).unwrap_err());
}

/// The worst of errors: half of the edges the other way round, so that nearly all realms reach each other.
#[divan::bench(args = SIZES, sample_count = 5)]
fn e_entangled(bencher: Bencher<'_, '_>, size: Size) {
    let (names, mut edges) = plan(size);
    for edge in edges.iter_mut().step_by(2) {
        (edge.from, edge.to) = (edge.to, edge.from);
    }
    bencher.bench_local(|| DependencyGraph::build(&names, &edges).unwrap_err());
}
