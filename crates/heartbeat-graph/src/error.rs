//! Dependencies that cannot be ordered: all of them, each with everything needed to show where it stands.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use heartbeat_status::RealmName;

/// One thing wrong with the dependencies. Edges are named by their position in the list that was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A realm depends on itself.
    #[error("{name} depends on itself")]
    SelfEdge {
        /// The edge.
        edge: usize,
        /// The realm.
        name: RealmName,
    },
    /// The same dependency is given twice, perhaps as two kinds.
    #[error("{from} depends on {to} twice")]
    DuplicateEdge {
        /// The first edge.
        first: usize,
        /// The second edge.
        second: usize,
        /// The dependent.
        from: RealmName,
        /// The dependency.
        to: RealmName,
    },
    /// An edge from or to a realm that does not exist: a defect of the caller.
    #[error("dependency number {edge} names a realm that does not exist")]
    UnknownRealm {
        /// The edge.
        edge: usize,
    },
    /// Realms that wait for each other.
    #[error("{}", cycle_words(names))]
    Cycle {
        /// The edges of a shortest cycle, in order.
        edges: Vec<usize>,
        /// Its realms in order; the first is not repeated.
        names: Vec<RealmName>,
    },
}

fn cycle_words(names: &[RealmName]) -> String {
    let mut words = String::new();
    for name in names.iter().chain(names.first()) {
        if !words.is_empty() {
            words.push_str(" -> ");
        }
        words.push_str(name.as_str());
    }
    words
}

/// Everything that is wrong, in a fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphErrors(pub(crate) Vec<GraphError>);

impl GraphErrors {
    /// One by one.
    pub fn iter(&self) -> core::slice::Iter<'_, GraphError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a GraphErrors {
    type Item = &'a GraphError;
    type IntoIter = core::slice::Iter<'a, GraphError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for GraphErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl core::error::Error for GraphErrors {}
