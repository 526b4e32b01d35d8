//! A place in a log.

use std::fmt;
use std::str::FromStr;

use crate::index::LogIndex;

/// A place in a log that stays the same while its files are set aside, also when heartbeatd dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlace {
    pub(crate) position: u64,
    /// How often the log had been truncated, and how much dropped from its beginning, when this place was taken.
    pub(crate) truncations: u64,
    pub(crate) dropped_heads: u64,
}

impl LogPlace {
    pub(crate) fn at(index: &LogIndex, position: u64) -> Self {
        Self { position, truncations: index.lost.truncations, dropped_heads: index.dropped_heads }
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.position, self.truncations, self.dropped_heads)
    }
}

impl FromStr for LogPlace {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.splitn(3, '-');
        let mut next = || numbers.next().unwrap_or_default().parse();
        Ok(Self { position: next()?, truncations: next()?, dropped_heads: next()? })
    }
}
