//! Errors of this crate: each names the field that was refused and the rule it broke.

/// Restart settings that could never be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A number that must be at least 1.
    #[error("{field} must be at least 1")]
    Zero {
        /// The configuration key.
        field: &'static str,
    },
    /// A number above the bound that keeps a realm's record small.
    #[error("{field} = {value} is above the limit of {limit}")]
    TooLarge {
        /// The configuration key.
        field: &'static str,
        /// What was asked for.
        value: u32,
        /// The largest value accepted.
        limit: u32,
    },
    /// A duration that must not be zero.
    #[error("{field} must be longer than zero")]
    NoDuration {
        /// The configuration key.
        field: &'static str,
    },
    /// An upper bound below what it bounds.
    #[error("{upper} must not be shorter than {lower}")]
    Inverted {
        /// The key of the upper bound.
        upper: &'static str,
        /// The key of what it bounds.
        lower: &'static str,
    },
}

impl PolicyError {
    /// The configuration key that is to be changed.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Zero { field } | Self::TooLarge { field, .. } | Self::NoDuration { field } => field,
            Self::Inverted { upper, .. } => upper,
        }
    }
}
