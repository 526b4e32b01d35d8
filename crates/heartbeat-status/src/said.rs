//! The notifications of a realm: sd_notify datagrams, or a line on a descriptor that it was given.

use alloc::string::String;
use core::time::Duration;

closed_list! {
    /// Where a realm says it is.
    pub enum SaidState ("what a realm says of itself") {
        /// It runs and has not said that it is ready.
        Starting = "starting",
        /// `READY=1`, or a line on its descriptor.
        Ready = "ready",
        /// `RELOADING=1`, until the next `READY=1`.
        Reloading = "reloading",
        /// `STOPPING=1`: it is about to end by itself.
        Stopping = "stopping",
    }
}

/// The content of a watchdog message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// `WATCHDOG=1`: the realm is well.
    Alive,
    /// `WATCHDOG=trigger`: the realm is not well, and asks heartbeatd to treat it as silent for too long.
    Trigger,
}

/// One message of a realm, or several merged into one. The sender has been verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// It sent `READY=1`.
    pub ready: bool,
    /// It sent `RELOADING=1`.
    pub reloading: bool,
    /// It sent `STOPPING=1`.
    pub stopping: bool,
    /// `STATUS=`: one safe line; an empty one takes the last one back.
    pub status: Option<String>,
    /// What `WATCHDOG=` said last.
    pub beat: Option<Beat>,
    /// `WATCHDOG_USEC=`: from now on the realm sends a keep-alive at least this often; zero turns the watchdog off.
    pub watchdog: Option<Duration>,
    /// `EXTEND_TIMEOUT_USEC=`: every timeout of the realm ends this much from now at the earliest.
    pub extend: Option<Duration>,
}

impl Said {
    /// Whether the message is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it has only a status, a keep-alive, or both: the next such message replaces it.
    #[must_use]
    pub fn is_chatter(&self) -> bool {
        let Self { status: _, beat, ready, reloading, stopping, watchdog, extend } = self;
        let changes = *ready || *reloading || *stopping || watchdog.is_some() || extend.is_some();
        !changes && *beat != Some(Beat::Trigger)
    }

    /// Merges a later message, if both have only a status, a keep-alive, or both: then the merged one means the same.
    /// Returns the later message otherwise.
    ///
    /// # Errors
    /// The message, which has to be delivered separately.
    pub fn absorb(&mut self, later: Self) -> Result<(), Self> {
        if !later.is_chatter() || self.beat == Some(Beat::Trigger) {
            return Err(later);
        }
        self.status = later.status.or_else(|| self.status.take());
        self.beat = later.beat.or(self.beat);
        Ok(())
    }
}

/// The present state of a realm's notifications in this generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Says {
    /// The state that the realm reports.
    pub state: SaidState,
    /// Its last `STATUS=`.
    pub status: Option<String>,
    /// The realm sends a keep-alive at least this often, or counts as hanging.
    pub watchdog: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_only_repeats_is_absorbed_and_what_changes_something_is_not() {
        let beat = Said { beat: Some(Beat::Alive), ..Said::default() };
        let status = |text: &str| Said { status: Some(text.to_string()), ..Said::default() };
        let mut first = Said { ready: true, ..status("a") };
        assert_eq!(first.absorb(beat.clone()), Ok(()));
        assert_eq!(first.absorb(status("b")), Ok(()));
        let sum = Said { ready: true, status: Some("b".to_string()), ..beat.clone() };
        assert_eq!(first, sum);
        for other in [
            Said { ready: true, ..Said::default() },
            Said { stopping: true, ..Said::default() },
            Said { beat: Some(Beat::Trigger), ..Said::default() },
            Said { extend: Some(Duration::from_secs(1)), ..Said::default() },
        ] {
            assert_eq!(first.absorb(other.clone()), Err(other));
        }
        // A keep-alive after the trigger means something else than one before it.
        let mut trigger = Said { beat: Some(Beat::Trigger), ..Said::default() };
        assert_eq!(trigger.absorb(beat.clone()), Err(beat));
    }
}
