//! What the outbox has of an earlier heartbeatd.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{IncidentStep, Instant, WallTime};
use heartbeat_wire::IncidentDocument;

use crate::backoff::LONGEST_RETRY_AFTER;
use crate::queue::{ABANDON_AFTER, Earlier, EarlierState};

/// A notification of an earlier heartbeatd, as the outbox has it.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Name of the receiver.
    pub receiver: String,
    /// Id of the incident.
    pub id: String,
    /// Number of the event within the incident.
    pub seq: u64,
    /// The step that is sent.
    pub step: IncidentStep,
    /// Whether the incident is open.
    pub open: bool,
    /// How far delivery came.
    pub state: RestoredState,
}

/// How far an earlier heartbeatd came with a notification.
#[derive(Clone, Debug)]
pub enum RestoredState {
    /// It is still due.
    Due {
        /// What the receiver gets.
        document: Arc<IncidentDocument>,
        /// The time at which it was put into the outbox.
        queued_at: WallTime,
        /// Number of failed attempts.
        attempts: u32,
        /// The time of the next attempt; `None` before the first.
        next_at: Option<WallTime>,
        /// The key of the digest that it is part of.
        digest: Option<String>,
    },
    /// The receiver accepted it.
    Delivered {
        /// What the receiver calls the message.
        message: Option<String>,
    },
    /// It was given up or dropped.
    Lost,
}

impl Restored {
    pub(crate) fn is_due(&self) -> bool {
        matches!(self.state, RestoredState::Due { .. })
    }

    pub(crate) fn earlier(self, now: Instant, wall: WallTime) -> Earlier<Arc<IncidentDocument>> {
        let root = match &self.state {
            RestoredState::Due { document, .. } => Some(document.root.as_str().into()),
            RestoredState::Delivered { .. } | RestoredState::Lost => None,
        };
        let state = match self.state {
            RestoredState::Due { document, queued_at, attempts, next_at, digest } => {
                let (due_at, expires_at) = deadlines(now, wall, queued_at, next_at);
                let digest = digest.map(Into::into);
                EarlierState::Due { body: document, digest, failures: attempts, due_at, expires_at }
            }
            RestoredState::Delivered { message } => EarlierState::Delivered { message },
            RestoredState::Lost => EarlierState::Lost,
        };
        Earlier { id: self.id.into(), seq: self.seq, step: self.step, open: self.open, root, state }
    }
}

/// When the next attempt is due, and until when attempts are made. The wall clock may have been stepped since the times
/// were written, so neither lies further away than it can when it is set.
pub(crate) fn deadlines(
    now: Instant,
    wall: WallTime,
    queued_at: WallTime,
    next_at: Option<WallTime>,
) -> (Instant, Instant) {
    let between = |from: WallTime, to: WallTime| {
        Duration::from_millis(to.as_millis().saturating_sub(from.as_millis()).try_into().unwrap_or(0))
    };
    let wait = next_at.map_or(Duration::ZERO, |next_at| between(wall, next_at).min(LONGEST_RETRY_AFTER));
    let age = between(queued_at, wall).min(ABANDON_AFTER);
    (now + wait, now + (ABANDON_AFTER - age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stepped_clock_neither_ends_nor_prolongs_anything_beyond_its_bound() {
        let (now, wall) = (Instant::from_millis(1_000), WallTime::from_millis(1_764_000_000_000));
        let at = |ms: i64| WallTime::from_millis(wall.as_millis() + ms);
        let hours = |hours: u64| now + Duration::from_secs(hours * 3_600);
        assert_eq!(deadlines(now, wall, at(0), None), (now, hours(72)));
        let waited = deadlines(now, wall, at(-3_600_000), Some(at(5_000)));
        assert_eq!(waited, (now + Duration::from_secs(5), hours(71)));
        let year_ms = 365 * 86_400 * 1_000;
        assert_eq!(deadlines(now, wall, at(year_ms), Some(at(year_ms))), (hours(1), hours(72)));
        assert_eq!(deadlines(now, wall, at(-year_ms), Some(at(-year_ms))), (now, now));
    }
}
