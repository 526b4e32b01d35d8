//! What the caller gives the notifier: clocks, a way to start programs, a resolver and sockets.

use std::sync::Arc;

use heartbeat_http::{Sockets, System};
use heartbeat_status::{Instant, WallTime};

use crate::Programs;

/// The caller's clocks. Neither may block.
pub struct Clock {
    /// The monotonic clock.
    pub now: Box<dyn Fn() -> Instant + Send + Sync>,
    /// The wall clock.
    pub wall: Box<dyn Fn() -> WallTime + Send + Sync>,
}

impl Clock {
    pub(crate) fn unix_s(&self) -> u64 {
        u64::try_from((self.wall)().as_millis() / 1_000).unwrap_or(0)
    }
}

/// Everything that a delivery uses and the notifier does not own.
pub struct Outside {
    /// The caller's clocks.
    pub clock: Clock,
    /// Starts the programs of receivers.
    pub programs: Arc<dyn Programs>,
    /// Finds and connects to servers.
    pub sockets: Arc<dyn Sockets>,
}

impl Outside {
    /// With the resolver and the sockets of the operating system.
    pub fn new(clock: Clock, programs: impl Programs + 'static) -> Self {
        Self { clock, programs: Arc::new(programs), sockets: Arc::new(System) }
    }
}
