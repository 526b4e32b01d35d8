//! Finds cycles worth reading: short ones, and together enough that every edge on a cycle is on one of them.
//!
//! A graph can have exponentially many cycles, so not every one is listed. Realms that reach each other (a
//! strongly connected component) are searched together: for each edge between them the length of a shortest cycle
//! through it is known from one breadth-first search a realm; then, from the shortest on, an edge that no listed
//! cycle has yet gets its shortest cycle listed. So the shortest cycle of all comes first, and breaking what is listed
//! leaves no edge unexplained. Two bounds keep hopeless input from taking hopeless time.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, EdgeIndex, EdgeReference, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::diagnose::Link;

/// Most cycles listed for realms that reach each other; what remains is named in one error.
const MAX_CYCLES_PER_COMPONENT: usize = 16;
/// Most edges looked at to learn the lengths of shortest cycles, in all components together. Beyond it edges are taken
/// by name and not by length: what is listed is then still shortest through one of its edges.
const MAX_LENGTH_SEARCH_EDGES: usize = 4_000_000;

/// One finding.
pub(crate) enum Found {
    /// The links of a cycle, from its lowest rank on.
    Cycle(Vec<Link>),
    /// What is left of a component when enough of its cycles are listed.
    More {
        /// The lowest rank of the component.
        through: u32,
        /// How many realms the component has.
        realms: usize,
        /// Its links that are on no listed cycle.
        links: Vec<Link>,
    },
}

/// The cycles of `links` (ascending, without duplicates and self-edges) among `realms` realms.
pub(crate) fn find(realms: usize, links: &[Link]) -> Vec<Found> {
    let mut graph: DiGraph<(), Link> = DiGraph::with_capacity(realms, links.len());
    for _ in 0..realms {
        graph.add_node(());
    }
    // petgraph walks the edges of a node from the latest to the first: added backwards they come by name.
    for link in links.iter().rev() {
        graph.add_edge(node(link.from), node(link.to), *link);
    }
    let mut component = alloc::vec![0; realms];
    let mut components: Vec<Vec<NodeIndex>> = kosaraju_scc(&graph);
    components.retain(|members| members.len() > 1);
    for members in &mut components {
        members.sort_unstable();
    }
    components.sort_unstable();
    for (id, members) in (1u32..).zip(&components) {
        for member in members {
            component[member.index()] = id;
        }
    }
    let mut finder = Finder {
        covered: alloc::vec![false; graph.edge_count()],
        search: Bfs::new(realms),
        graph: &graph,
        component,
        budget: MAX_LENGTH_SEARCH_EDGES,
    };
    components.iter().flat_map(|members| finder.explain(members)).collect()
}

fn node(rank: u32) -> NodeIndex {
    NodeIndex::new(rank as usize)
}

/// What the search through all components shares.
struct Finder<'a> {
    graph: &'a DiGraph<(), Link>,
    /// Component by rank, from 1; 0 for realms on no cycle.
    component: Vec<u32>,
    /// By edge: it is on a listed cycle.
    covered: Vec<bool>,
    search: Bfs,
    budget: usize,
}

impl Finder<'_> {
    /// The cycles of one component.
    fn explain(&mut self, members: &[NodeIndex]) -> Vec<Found> {
        let edges = self.by_length(members);
        let mut cycles: Vec<Vec<Link>> = Vec::new();
        let mut left = Vec::new();
        for edge in edges {
            if self.covered[edge.index()] {
                continue;
            }
            if cycles.len() < MAX_CYCLES_PER_COMPONENT {
                cycles.push(self.shortest_through(edge));
            } else {
                left.push(self.graph[edge]);
            }
        }
        cycles
            .sort_by_cached_key(|path| (path.len(), path.iter().map(|link| link.from).collect::<Vec<u32>>()));
        let mut found: Vec<Found> = cycles.into_iter().map(Found::Cycle).collect();
        if let (Some(first), false) = (members.first(), left.is_empty()) {
            let through = u32::try_from(first.index()).unwrap_or(u32::MAX);
            found.push(Found::More { through, realms: members.len(), links: left });
        }
        found
    }

    /// The edges inside a component, by the length of a shortest cycle through each, then by name.
    fn by_length(&mut self, members: &[NodeIndex]) -> Vec<EdgeIndex> {
        let size: usize = members.iter().map(|from| self.inside(*from).count()).sum();
        let mut edges: Vec<(u32, EdgeIndex)> = Vec::with_capacity(size);
        for from in members {
            let affordable = self.budget >= size;
            if affordable {
                self.budget -= size;
                self.search.towards(self.graph, &self.component, *from, None);
            }
            let length = |to: NodeIndex| if affordable { self.search.distance[to.index()] } else { u32::MAX };
            edges.extend(self.inside(*from).map(|edge| (length(edge.target()), edge.id())));
        }
        // Stable, and the members come by name.
        edges.sort_by_key(|(length, _)| *length);
        edges.into_iter().map(|(_, edge)| edge).collect()
    }

    /// The edges from a realm to realms of its component.
    fn inside(&self, from: NodeIndex) -> impl Iterator<Item = EdgeReference<'_, Link>> {
        let of = |realm: NodeIndex| self.component[realm.index()];
        self.graph.edges(from).filter(move |edge| of(edge.target()) == of(from))
    }

    /// A shortest cycle through an edge, from its lowest rank on. Marks its edges as covered.
    fn shortest_through(&mut self, edge: EdgeIndex) -> Vec<Link> {
        let first = self.graph[edge];
        self.search.towards(self.graph, &self.component, node(first.from), Some(node(first.to)));
        self.covered[edge.index()] = true;
        let mut path = alloc::vec![first];
        let mut at = first.to;
        while at != first.from {
            let next = self.search.onwards[at as usize];
            self.covered[next.index()] = true;
            path.push(self.graph[next]);
            at = self.graph[next].to;
        }
        let lowest = path.iter().enumerate().min_by_key(|(_, link)| link.from).map_or(0, |(at, _)| at);
        path.rotate_left(lowest);
        path
    }
}

/// Breadth-first search against the edges, within a component. Its memory is reused from search to search.
struct Bfs {
    /// By rank: how many edges lead to the goal.
    distance: Vec<u32>,
    /// By rank: the next edge on the way to the goal.
    onwards: Vec<EdgeIndex>,
    /// By rank: the search that wrote the other two.
    seen: Vec<u32>,
    /// The number of this search, from 1.
    search: u32,
    queue: VecDeque<NodeIndex>,
}

impl Bfs {
    fn new(realms: usize) -> Self {
        Self {
            distance: alloc::vec![0; realms],
            onwards: alloc::vec![EdgeIndex::end(); realms],
            seen: alloc::vec![0; realms],
            search: 0,
            queue: VecDeque::new(),
        }
    }

    /// Finds the shortest ways to `goal`, from everywhere or until the way from `from` is found.
    fn towards(
        &mut self,
        graph: &DiGraph<(), Link>,
        component: &[u32],
        goal: NodeIndex,
        from: Option<NodeIndex>,
    ) {
        self.search += 1;
        self.queue.clear();
        self.queue.push_back(goal);
        self.seen[goal.index()] = self.search;
        self.distance[goal.index()] = 0;
        while let Some(at) = self.queue.pop_front() {
            if from == Some(at) {
                return;
            }
            for edge in graph.edges_directed(at, Direction::Incoming) {
                let before = edge.source().index();
                if component[before] == component[goal.index()] && self.seen[before] != self.search {
                    self.seen[before] = self.search;
                    self.distance[before] = self.distance[at.index()] + 1;
                    self.onwards[before] = edge.id();
                    self.queue.push_back(edge.source());
                }
            }
        }
    }
}
