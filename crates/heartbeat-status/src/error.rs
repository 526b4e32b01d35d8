//! Errors of this crate: each names the value that was refused and the rule it broke.

use alloc::string::String;

/// A realm name that breaks the naming rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    Empty,
    /// The name is longer than 63 bytes.
    TooLong {
        /// The refused name.
        name: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A character outside `[a-z0-9_-]`, or a first character outside `[a-z]`.
    BadCharacter {
        /// The refused name.
        name: String,
        /// The offending character.
        found: char,
        /// Its position, counted in characters from 1.
        position: usize,
    },
    /// A name that paths of the API use for themselves.
    Reserved {
        /// The refused name.
        name: String,
    },
}

impl core::fmt::Display for NameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("a realm name cannot be empty"),
            Self::TooLong { name, length } => {
                write!(f, "`{name}` has {length} characters; a realm name has at most 63")
            }
            Self::BadCharacter { name, .. } => write!(
                f,
                "`{name}` is not a realm name: a name has lower case letters, digits, `-` and `_`, and begins with a letter"
            ),
            Self::Reserved { name } => write!(f, "`{name}` is reserved"),
        }
    }
}

impl core::error::Error for NameError {}

/// A word that is not on its closed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseWordError {
    what: &'static str,
    text: String,
}

impl core::fmt::Display for ParseWordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { what, text } = self;
        write!(f, "`{text}` is not a {what}")
    }
}

impl core::error::Error for ParseWordError {}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThresholdError {
    /// A threshold of zero results would decide on nothing.
    Zero {
        /// Which threshold: `fail_after`, `pass_after` or `fail_if`.
        name: &'static str,
    },
    /// "k of n" with k > n can never be true; n beyond 64 does not fit the window.
    Window {
        /// Failures in a row that make it failing.
        fails: u32,
        /// Window length in results.
        of: u32,
    },
}

impl core::fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Zero { name } => write!(f, "{name} must be at least 1"),
            Self::Window { fails, of } => {
                write!(f, "fail_if = \"{fails} of {of}\" needs 1 <= {fails} <= {of} <= 64")
            }
        }
    }
}

impl core::error::Error for ThresholdError {}
