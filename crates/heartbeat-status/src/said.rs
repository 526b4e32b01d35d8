//! What a realm says of itself: sd_notify datagrams, or a line on a descriptor it was given.

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

/// A word about its watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// `WATCHDOG=1`: it is well.
    Alive,
    /// `WATCHDOG=trigger`: it is not, and wants to be treated as if it had been silent for too long.
    Trigger,
}

/// One message of a realm, or several that add up to one. Everything in it is believed to be the realm's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `READY=1`.
    pub ready: bool,
    /// `RELOADING=1`.
    pub reloading: bool,
    /// `STOPPING=1`.
    pub stopping: bool,
    /// `STATUS=`: one safe line; empty takes the last one back.
    pub status: Option<String>,
    /// `WATCHDOG=`.
    pub beat: Option<Beat>,
    /// `WATCHDOG_USEC=`: from now on it beats at least this often; zero: not any more.
    pub watchdog: Option<Duration>,
    /// `EXTEND_TIMEOUT_USEC=`: whatever waits for it is to wait at least this long from now.
    pub extend: Option<Duration>,
}

impl Said {
    /// It says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Only a status, a sign of life, or both: the next one of the kind takes its place.
    #[must_use]
    pub fn is_chatter(&self) -> bool {
        let Self { status: _, beat, ready, reloading, stopping, watchdog, extend } = self;
        let changes = *ready || *reloading || *stopping || watchdog.is_some() || extend.is_some();
        !changes && *beat != Some(Beat::Trigger)
    }

    /// Takes a later message in, if both together mean what one after the other does: only a status, a sign of life, or
    /// both. Gives it back otherwise.
    ///
    /// # Errors
    /// The message, which has to be told apart.
    pub fn absorb(&mut self, later: Self) -> Result<(), Self> {
        if !later.is_chatter() || self.beat == Some(Beat::Trigger) {
            return Err(later);
        }
        self.status = later.status.or_else(|| self.status.take());
        self.beat = later.beat.or(self.beat);
        Ok(())
    }
}

/// What a realm has said of itself in this generation, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Says {
    /// Where it says it is.
    pub state: SaidState,
    /// Its last `STATUS=`.
    pub status: Option<String>,
    /// It beats at least this often, or is taken to hang.
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
        // A sign of life after the call for help is not the same as before it.
        let mut trigger = Said { beat: Some(Beat::Trigger), ..Said::default() };
        assert_eq!(trigger.absorb(beat.clone()), Err(beat));
    }
}
