//! Errors of this crate: each names the value that was refused and the rule it broke.

use alloc::string::String;

/// A realm name that breaks the naming rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("a realm name cannot be empty")]
    Empty,
    /// The name is longer than 63 bytes.
    #[error("`{name}` has {length} characters; a realm name has at most 63")]
    TooLong {
        /// The refused name.
        name: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A character outside `[a-z0-9_-]`, or a first character outside `[a-z]`.
    #[error(
        "`{name}` is not a realm name: a name has lower case letters, digits, `-` and `_`, and begins with a letter"
    )]
    BadCharacter {
        /// The refused name.
        name: String,
        /// The offending character.
        found: char,
        /// Its position, counted in characters from 1.
        position: usize,
    },
    /// A name that paths of the API use for themselves.
    #[error("`{name}` is reserved")]
    Reserved {
        /// The refused name.
        name: String,
    },
}

/// A word that is not on its closed list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}")]
pub struct ParseWordError {
    what: &'static str,
    text: String,
}

impl ParseWordError {
    pub(crate) fn new(what: &'static str, text: &str) -> Self {
        Self { what, text: text.into() }
    }

    /// What kind of word was expected, e.g. `status`.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }
}

/// Thresholds that could never be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ThresholdError {
    /// A threshold of zero results would decide on nothing.
    #[error("{name} must be at least 1")]
    Zero {
        /// Which threshold: `fail_after`, `pass_after` or `fail_if`.
        name: &'static str,
    },
    /// "k of n" with k > n can never be true; n beyond 64 does not fit the window.
    #[error("fail_if = \"{fails} of {of}\" needs 1 <= {fails} <= {of} <= 64")]
    Window {
        /// Failures wanted.
        fails: u32,
        /// Window length in results.
        of: u32,
    },
}
