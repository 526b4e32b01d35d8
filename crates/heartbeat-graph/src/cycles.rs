//! Finds cycles worth reading: short ones, and together enough that every edge on a cycle is on one of them.
//!
//! A graph can have exponentially many cycles, so not every one is listed. Realms that reach each other (a strongly
//! connected component) are searched together: for each edge between them the length of a shortest cycle through it
//! is known from one breadth-first search a realm; then, from the shortest on, an edge that no listed cycle has yet
//! gets its shortest cycle listed. So the shortest cycle of all comes first, and breaking what is listed leaves no
//! edge unexplained. Two bounds keep hopeless input from taking hopeless time.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::rows::{Offsets, Rows};

/// An edge between two realms that exist and differ, by rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Where the edge is in the input.
    pub(crate) index: u32,
}

/// Most cycles listed for realms that reach each other; what remains is named in one error.
const MAX_CYCLES_PER_COMPONENT: usize = 16;
/// Most edges looked at to learn the lengths of shortest cycles, in all components together. Beyond it edges are taken
/// by name and not by length: what is listed is then still shortest through one of its edges.
const MAX_LENGTH_SEARCH_EDGES: usize = 4_000_000;

/// One thing found.
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
    let components = components(realms, links);
    let mut component = alloc::vec![0u32; realms];
    for (id, members) in (1..).zip(&components) {
        for member in members {
            component[*member as usize] = id;
        }
    }
    let of = |rank: u32| component[rank as usize];
    let inside = links.iter().filter(|link| of(link.from) != 0 && of(link.from) == of(link.to));
    let links: Vec<Link> = inside.copied().collect();
    let mut finder = Finder {
        outgoing: Offsets::counting(realms, links.iter().map(|link| link.from)),
        covered: alloc::vec![false; links.len()],
        search: Search::new(realms, &links),
        links,
        budget: MAX_LENGTH_SEARCH_EDGES,
    };
    components.iter().flat_map(|members| finder.explain(members)).collect()
}

/// Realms that reach each other, at least two together; each component ascending, and the components too.
fn components(realms: usize, links: &[Link]) -> Vec<Vec<u32>> {
    let mut graph: DiGraph<(), ()> = DiGraph::with_capacity(realms, links.len());
    for _ in 0..realms {
        graph.add_node(());
    }
    for link in links {
        graph.add_edge(NodeIndex::from(link.from), NodeIndex::from(link.to), ());
    }
    // Of petgraph's two algorithms this is the one that does not recurse.
    let components = kosaraju_scc(&graph).into_iter().filter(|members| members.len() > 1);
    let mut components: Vec<Vec<u32>> = components
        .map(|members| {
            let mut members: Vec<u32> =
                members.into_iter().filter_map(|node| u32::try_from(node.index()).ok()).collect();
            members.sort_unstable();
            members
        })
        .collect();
    components.sort_unstable();
    components
}

/// What the search through all components shares. Links are named by their position.
struct Finder {
    /// The links within components, ascending.
    links: Vec<Link>,
    /// Where the links from each rank are.
    outgoing: Offsets,
    /// By link: it is on a listed cycle.
    covered: Vec<bool>,
    search: Search,
    /// What is left of [`MAX_LENGTH_SEARCH_EDGES`].
    budget: usize,
}

impl Finder {
    /// The cycles of one component.
    fn explain(&mut self, members: &[u32]) -> Vec<Found> {
        let mut cycles: Vec<Vec<Link>> = Vec::new();
        let mut left = Vec::new();
        for at in self.by_length(members) {
            if self.covered[at] {
                continue;
            }
            if cycles.len() < MAX_CYCLES_PER_COMPONENT {
                cycles.push(self.shortest_through(at));
            } else {
                left.push(at);
            }
        }
        cycles.sort_by_cached_key(|path| (path.len(), path.iter().map(|link| link.from).collect::<Vec<_>>()));
        let mut found: Vec<Found> = cycles.into_iter().map(Found::Cycle).collect();
        if let (Some(through), false) = (members.first().copied(), left.is_empty()) {
            let links = left.into_iter().map(|at| self.links[at]).collect();
            found.push(Found::More { through, realms: members.len(), links });
        }
        found
    }

    /// The links of a component, by the length of a shortest cycle through each, then by name.
    fn by_length(&mut self, members: &[u32]) -> Vec<usize> {
        let size = members.iter().map(|from| self.outgoing.range(*from as usize).len()).sum();
        let mut links: Vec<(u32, usize)> = Vec::with_capacity(size);
        // As many links as realms are one cycle: there is nothing to choose from.
        let is_one_cycle = size == members.len();
        for from in members {
            let affordable = !is_one_cycle && self.budget >= size;
            if affordable {
                self.budget -= size;
                self.search.towards(*from, None, &self.links);
            }
            let length = |at: usize| self.search.distance[self.links[at].to as usize];
            let out = self.outgoing.range(*from as usize);
            links.extend(out.map(|at| (if affordable { length(at) } else { u32::MAX }, at)));
        }
        links.sort_unstable();
        links.into_iter().map(|(_, at)| at).collect()
    }

    /// A shortest cycle through a link, from its lowest rank on. Marks its links as covered.
    fn shortest_through(&mut self, at: usize) -> Vec<Link> {
        let first = self.links[at];
        self.search.towards(first.from, Some(first.to), &self.links);
        self.covered[at] = true;
        let mut path = alloc::vec![first];
        let mut rank = first.to;
        while rank != first.from {
            let next = self.search.onwards[rank as usize] as usize;
            self.covered[next] = true;
            path.push(self.links[next]);
            rank = self.links[next].to;
        }
        let lowest = path.iter().enumerate().min_by_key(|(_, link)| link.from).map_or(0, |(at, _)| at);
        path.rotate_left(lowest);
        path
    }
}

/// Breadth-first search against the links, within a component. Its memory is reused from search to search.
struct Search {
    /// By rank: the links to it, ascending.
    incoming: Rows<u32>,
    /// By rank: how many links lead to the goal.
    distance: Vec<u32>,
    /// By rank: the next link on the way to the goal.
    onwards: Vec<u32>,
    /// By rank: the search that wrote the other two.
    seen: Vec<u32>,
    /// The number of this search, from 1.
    number: u32,
    queue: VecDeque<u32>,
}

impl Search {
    fn new(realms: usize, links: &[Link]) -> Self {
        let offsets = Offsets::counting(realms, links.iter().map(|link| link.to));
        let mut cursors = offsets.cursors();
        let mut flat = alloc::vec![0; links.len()];
        for (at, link) in (0u32..).zip(links) {
            let cursor = &mut cursors[link.to as usize];
            flat[*cursor as usize] = at;
            *cursor += 1;
        }
        Self {
            incoming: Rows { offsets, flat },
            distance: alloc::vec![0; realms],
            onwards: alloc::vec![0; realms],
            seen: alloc::vec![0; realms],
            number: 0,
            queue: VecDeque::new(),
        }
    }

    /// Finds the shortest ways to `goal`, from everywhere or until the way from `from` is found.
    fn towards(&mut self, goal: u32, from: Option<u32>, links: &[Link]) {
        self.number += 1;
        self.queue.clear();
        self.queue.push_back(goal);
        self.seen[goal as usize] = self.number;
        self.distance[goal as usize] = 0;
        while let Some(at) = self.queue.pop_front() {
            if from == Some(at) {
                return;
            }
            let further = self.distance[at as usize] + 1;
            for link in self.incoming.row(at as usize) {
                let before = links[*link as usize].from;
                if self.seen[before as usize] != self.number {
                    self.seen[before as usize] = self.number;
                    self.distance[before as usize] = further;
                    self.onwards[before as usize] = *link;
                    self.queue.push_back(before);
                }
            }
        }
    }
}
