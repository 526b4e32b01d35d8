//! What can be wrong with a graph. Errors carry the index of each edge in the input, so that the reader of the edges
//! from a file can point at the line of every one.

use alloc::vec::Vec;
use core::fmt;

use heartbeat_status::{EdgeKind, RealmIx, RealmName};

use crate::Edge;

/// Most realms of one cycle in its one-line text; [`GraphError::Cycle`] itself always has the full path.
const MAX_SHOWN_REALMS: usize = 100;
/// Most errors in the text of [`GraphErrors`]; the value itself has all.
const MAX_SHOWN_ERRORS: usize = 20;

/// One edge of a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleStep {
    /// Where the edge is in the input.
    pub index: usize,
    /// The edge concerned.
    pub edge: Edge,
    /// The name of the dependent.
    pub from: RealmName,
    /// The name of the dependency: the dependent of the next step, and of the first one at the end.
    pub to: RealmName,
}

/// One thing that is wrong with a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// An edge from or to a realm that does not exist.
    #[error(
        "{} lists {} under `{}`, but there are {realms} realms",
        Named(from.as_ref(), edge.from),
        Named(to.as_ref(), edge.to),
        edge.kind
    )]
    UnknownRealm {
        /// Where the edge is in the input.
        index: usize,
        /// The edge concerned.
        edge: Edge,
        /// The dependent, if it exists.
        from: Option<RealmName>,
        /// The dependency, if it exists.
        to: Option<RealmName>,
        /// How many realms there are; indices are below.
        realms: usize,
    },
    /// A realm that depends on itself.
    #[error("{realm} lists itself under `{kind}`")]
    SelfEdge {
        /// Where the edge is in the input.
        index: usize,
        /// The realm concerned.
        realm: RealmName,
        /// How it binds.
        kind: EdgeKind,
    },
    /// A pair of realms that is listed before. Also under another kind: the stronger of two kinds implies what the
    /// weaker one says, so one of the two lines means something its author does not get.
    #[error("{from} lists {to} twice: {}", Twice(*first_kind, *second_kind))]
    DuplicateEdge {
        /// Where the first edge of the pair is in the input.
        first: usize,
        /// Where this one is.
        second: usize,
        /// The dependent realm.
        from: RealmName,
        /// The realm needed.
        to: RealmName,
        /// How the first one binds.
        first_kind: EdgeKind,
        /// How this one binds.
        second_kind: EdgeKind,
    },
    /// Realms that wait for each other. No shorter cycle leads through at least one of its edges.
    #[error("{}", Path(path))]
    Cycle {
        /// The edges, from the first realm by name back to it; at least two.
        path: Vec<CycleStep>,
    },
    /// Edges on further cycles among realms of which [`GraphError::Cycle`] listed many already.
    #[error("{} more dependencies between {realms} realms around {through} lie on cycles", edges.len())]
    MoreCycles {
        /// The first by name of the realms that reach each other.
        through: RealmName,
        /// How many realms reach each other.
        realms: usize,
        /// Where the edges that lie on no listed cycle are in the input, ascending.
        edges: Vec<usize>,
    },
    /// More realms or edges than `u32` counts.
    #[error("{realms} realms with {edges} dependencies are more than a plan can hold")]
    TooLarge {
        /// How many realms.
        realms: usize,
        /// How many edges.
        edges: usize,
    },
}

/// Everything that is wrong with a graph: at least one error, in an order that does not change from run to run.
///
/// First what is wrong with single edges, in the order of the input. Then cycles: by the first realm by name of those
/// that reach each other, among these the shortest first, and then by name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", All(.0))]
pub struct GraphErrors(Vec<GraphError>);

impl GraphErrors {
    pub(crate) fn new(errors: Vec<GraphError>) -> Self {
        debug_assert!(!errors.is_empty(), "a graph that was refused has an error");
        Self(errors)
    }

    /// All errors found.
    #[must_use]
    pub fn as_slice(&self) -> &[GraphError] {
        &self.0
    }

    /// The errors, in order.
    pub fn iter(&self) -> core::slice::Iter<'_, GraphError> {
        self.0.iter()
    }
}

impl IntoIterator for GraphErrors {
    type Item = GraphError;
    type IntoIter = alloc::vec::IntoIter<GraphError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a GraphErrors {
    type Item = &'a GraphError;
    type IntoIter = core::slice::Iter<'a, GraphError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A realm by name, or by index when it has none.
struct Named<'a>(Option<&'a RealmName>, RealmIx);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "{name}"),
            None => write!(f, "realm number {}", self.1.0),
        }
    }
}

/// Two kinds of one pair.
struct Twice(EdgeKind, EdgeKind);

impl fmt::Display for Twice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 {
            write!(f, "both times under `{}`", self.0)
        } else {
            // Declared from the strongest to the weakest.
            write!(f, "under `{}` and under `{}`; `{}` is enough", self.0, self.1, self.0.min(self.1))
        }
    }
}

/// A cycle as `a -> b -> c -> a`.
struct Path<'a>(&'a [CycleStep]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.0.iter().take(MAX_SHOWN_REALMS) {
            write!(f, "{} -> ", step.from)?;
        }
        if self.0.len() > MAX_SHOWN_REALMS {
            write!(f, "({} more) -> ", self.0.len() - MAX_SHOWN_REALMS)?;
        }
        self.0.last().map_or(Ok(()), |step| write!(f, "{}", step.to))
    }
}

/// Errors in one line.
struct All<'a>(&'a [GraphError]);

impl fmt::Display for All<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().take(MAX_SHOWN_ERRORS).enumerate() {
            let between = if at == 0 { "" } else { "; " };
            write!(f, "{between}{error}")?;
        }
        if self.0.len() > MAX_SHOWN_ERRORS {
            write!(f, "; and {} more", self.0.len() - MAX_SHOWN_ERRORS)?;
        }
        Ok(())
    }
}
