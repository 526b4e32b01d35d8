//! Refresh rounds: which measurements each round waits for, and until when.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{CheckId, CommandId, Instant};

/// The core answers a round after this at the latest.
const ROUND_TIMEOUT: Duration = Duration::from_secs(10);
/// Most rounds open at a time; the core answers any further one with the results so far.
const MAX_ROUNDS: usize = 256;

#[derive(Clone, Debug)]
struct Round {
    id: CommandId,
    waiting: BTreeSet<CheckId>,
    deadline: Instant,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds {
    open: Vec<Round>,
}

impl Rounds {
    /// Opens a round. `Err` when there is nothing to wait for, or when too many rounds are open: answer at once.
    pub(crate) fn open(&mut self, now: Instant, id: CommandId, waiting: Vec<CheckId>) -> Result<(), ()> {
        if waiting.is_empty() || self.open.len() >= MAX_ROUNDS {
            return Err(());
        }
        self.open.push(Round { id, waiting: waiting.into_iter().collect(), deadline: now + ROUND_TIMEOUT });
        Ok(())
    }

    /// A measurement came back or was given up; returns the rounds that are complete now.
    pub(crate) fn settle(&mut self, id: CheckId) -> Vec<CommandId> {
        if self.open.is_empty() {
            return Vec::new();
        }
        for round in &mut self.open {
            round.waiting.remove(&id);
        }
        self.open.extract_if(.., |round| round.waiting.is_empty()).map(|round| round.id).collect()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open.iter().map(|round| round.deadline).min()
    }

    /// Rounds whose bound has passed, with the number of missing measurements.
    pub(crate) fn take_overdue(&mut self, now: Instant) -> Vec<(CommandId, u32)> {
        let overdue = self.open.extract_if(.., |round| round.deadline <= now);
        overdue.map(|round| (round.id, u32::try_from(round.waiting.len()).unwrap_or(u32::MAX))).collect()
    }
}
