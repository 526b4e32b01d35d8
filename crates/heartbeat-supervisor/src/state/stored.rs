//! From a state to its stored form, and back.

use heartbeat_status::Instant;

use super::waiting::Behind;
use super::{Backoff, Cooldown, Failed, Serving, Starting, State, Stopping, Waiting};
use crate::durable::StoredState;

impl State {
    /// The stored form; `deadline` is that of its stage.
    pub(crate) fn stored(&self, deadline: Option<Instant>) -> StoredState {
        match self {
            Self::Waiting(waiting) if waiting.behind() == Some(Behind::Needs) => StoredState::Mended,
            Self::Waiting(_) => StoredState::Waiting,
            Self::Starting(starting) => starting.stored(),
            Self::Running(serving) => StoredState::Running { ready_ns: serving.since.as_nanos() },
            Self::Stopping(stopping) => stopping.stored(deadline),
            Self::Backoff(backoff) => StoredState::Backoff { until_ns: backoff.until.as_nanos() },
            Self::Cooldown(cooldown) => {
                StoredState::Cooldown { until_ns: cooldown.until.as_nanos(), why: cooldown.why.clone() }
            }
            Self::Stopped { .. } => StoredState::Stopped,
            Self::Failed(failed) => StoredState::Failed { why: failed.why.clone() },
            Self::Done => StoredState::Done,
            Self::Stuck { .. } => StoredState::Stuck,
            Self::Unverified { what, .. } => StoredState::Unverified { what: what.clone() },
            Self::External(_) => StoredState::External,
        }
    }

    pub(crate) fn restored(stored: StoredState) -> Self {
        match stored {
            StoredState::Waiting => Self::waiting(),
            StoredState::Mended => Self::Waiting(Waiting::mended()),
            StoredState::Preparing { launching, before } => {
                Self::Starting(Starting::preparing(launching, before))
            }
            StoredState::Started => Self::Starting(Starting::started()),
            StoredState::Running { ready_ns } => Self::Running(Serving::since(Instant::from_nanos(ready_ns))),
            StoredState::Stopping { cause, exit, killing, launching, told, deadline_ns } => {
                let deadline = Instant::from_nanos(deadline_ns);
                Self::Stopping(Stopping::restored(cause, exit, (killing, launching, told), deadline))
            }
            StoredState::Backoff { until_ns } => {
                Self::Backoff(Backoff { until: Instant::from_nanos(until_ns) })
            }
            StoredState::Cooldown { until_ns, why } => {
                Self::Cooldown(Cooldown { until: Instant::from_nanos(until_ns), why })
            }
            StoredState::Stopped => Self::Stopped { start_due: false },
            StoredState::Failed { why } => Self::Failed(Failed { why }),
            StoredState::Done => Self::Done,
            StoredState::Stuck => Self::Stuck { cause: None },
            StoredState::Unverified { what } => Self::Unverified { what, cause: None },
            StoredState::External => Self::External(Serving::since(Instant::ZERO)),
        }
    }
}
