//! Planning 100,000 realms with 1,000,000 dependencies, beside the bare toposort of petgraph.

use divan::Bencher;
use heartbeat_graph::{DependencyGraph, Edge};
use heartbeat_status::{EdgeKind, RealmIx, RealmName};
use petgraph::graph::{DiGraph, NodeIndex};

const REALMS: u32 = 100_000;
const EDGES_PER_REALM: u32 = 10;

fn main() {
    divan::main();
}

/// Each realm depends on ten earlier ones, spread by a fixed generator.
fn edges() -> Vec<Edge> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut edges = Vec::new();
    for from in 1..REALMS {
        let mut last = from;
        for _ in 0..EDGES_PER_REALM.min(from) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Strictly downwards, so that no pair comes twice.
            let step = 1 + u32::try_from(state >> 40).unwrap_or(0) % (from / EDGES_PER_REALM + 1);
            let Some(to) = last.checked_sub(step) else { break };
            edges.push(Edge { from: RealmIx(from), to: RealmIx(to), kind: EdgeKind::Needs });
            last = to;
        }
    }
    edges
}

#[divan::bench(sample_count = 10)]
fn plan(bencher: Bencher<'_, '_>) {
    let names: Vec<RealmName> =
        (0..REALMS).filter_map(|at| RealmName::new(&format!("realm-{at}")).ok()).collect();
    let edges = edges();
    bencher.bench_local(|| DependencyGraph::build(&names, &edges).map(|graph| graph.start_order().len()));
}

#[divan::bench(sample_count = 10)]
fn bare_toposort(bencher: Bencher<'_, '_>) {
    let edges = edges();
    let mut graph = DiGraph::<(), (), u32>::new();
    for _ in 0..REALMS {
        graph.add_node(());
    }
    for edge in &edges {
        graph.add_edge(NodeIndex::new(edge.from.index()), NodeIndex::new(edge.to.index()), ());
    }
    bencher.bench_local(|| petgraph::algo::toposort(&graph, None).map(|order| order.len()).ok());
}
