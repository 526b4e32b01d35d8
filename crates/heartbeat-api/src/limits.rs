//! Limits of one caller, and of all callers together.

use std::time::Duration;

/// Largest request head (request line and headers) in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Most headers of a request.
pub(crate) const MAX_HEADER_COUNT: usize = 64;
/// Largest request body in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;
/// From the order to end until the server drops connections that are still busy.
pub(crate) const GRACE: Duration = Duration::from_millis(1_000);
/// From the order to drain until the server drops connections that are still busy.
pub(crate) const DRAIN: Duration = Duration::from_millis(2_000);
/// From the order to drain until the server answers requests that still wait as unavailable.
pub(crate) const DRAIN_LAST_CALL: Duration = Duration::from_millis(1_500);
/// From the order to drain until the server answers waiting commands with what was accepted.
pub(crate) const DRAIN_HAND_OVER: Duration = Duration::from_millis(1_000);
/// While draining: how long a client that has just connected has to send its first request.
pub(crate) const DRAIN_FIRST_REQUEST: Duration = Duration::from_millis(1_500);
/// While draining: how long a connection between two requests stays open, for a request that is on its way.
pub(crate) const DRAIN_NEXT_REQUEST: Duration = Duration::from_millis(100);
/// Longest time that a connection lingers at its end for a client that is still sending.
pub(crate) const LINGER: Duration = Duration::from_millis(1_000);
/// Most bytes that the server drops during that time.
pub(crate) const MAX_LINGER_BYTES: usize = 16 * 1_024 * 1_024;
/// Places of the Unix socket reserved for root and heartbeatd's own user. No stream takes them.
pub(crate) const RESERVED_PLACES: usize = 8;
/// Those of them that are reserved for root: heartbeatd may run as another user.
pub(crate) const ROOT_PLACES: usize = 2;
/// From the order to end until the server answers requests that still wait as unavailable.
pub(crate) const LAST_CALL: Duration = Duration::from_millis(700);
/// A client that has not taken its answer after this gives its place to one that waits.
pub(crate) const TAKE_PATIENCE: Duration = Duration::from_millis(1_000);
/// Pause after a failed accept (out of descriptors, mostly), so that the loop does not spin.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// After this the server answers a refresh with the results so far, should the core's own bound fail.
pub(crate) const REFRESH_LIMIT: Duration = Duration::from_secs(12);
/// After this the server answers a command that the core has not taken as unavailable.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// After this the server answers that the reload is late; it may still take effect.
pub(crate) const RELOAD_LIMIT: Duration = Duration::from_secs(30);
/// After this the server answers that the registration is late; it may still take effect.
pub(crate) const REGISTRATION_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for the outcome of a command.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(600);
/// Wait for the outcome of a command whose plan has no bounds of its own.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// Added to the bounds of the steps: the time until a watched restart counts as verified.
pub(crate) const VERIFY_SLACK: Duration = Duration::from_secs(15);
/// Age at which the server rebuilds a body although its meaning is the same.
pub(crate) const BODY_AGE: Duration = Duration::from_millis(250);

/// A quiet stream of events shows at least this often that heartbeatd is there.
pub(crate) const COMMENT_EVERY: Duration = Duration::from_secs(5);
/// Frames kept for slow followers; a follower that is further behind gets one update instead.
pub(crate) const MAX_FRAMES_SHARED: usize = 64;
/// Deltas that are made for followers that are behind, per revision and [`BODY_AGE`]: one for each revision that such
/// followers know. Further ones get the whole snapshot, which is made once for all of them.
pub(crate) const MAX_CATCH_UP_DELTAS: usize = 8;
/// Most past facts that a client can ask for, and that are kept as frames.
pub(crate) const MAX_PAST_FACTS: usize = 2_000;

/// Lines of a log when the caller gives no number.
pub(crate) const DEFAULT_LOG_LINES: usize = 100;
/// Most lines of a log that a client can ask for.
pub(crate) const MAX_LOG_LINES: usize = 10_000;
/// A client that follows a log sees new lines after this at the latest.
pub(crate) const LOG_LOOK_EVERY: Duration = Duration::from_millis(200);
/// The same while there is more to read than fits one read.
pub(crate) const LOG_CATCH_UP_EVERY: Duration = Duration::from_millis(25);

/// Longest long poll.
pub(crate) const MAX_POLL: Duration = Duration::from_secs(60);

/// Limits of the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections on the TCP listener; the server closes and counts any further one. Default 256.
    pub max_connections: usize,
    /// Most connections on the Unix socket; TCP clients cannot use them up. Default 32.
    pub max_socket_connections: usize,
    /// From the accept, or from the end of the previous answer, until a whole request head has arrived. It closes slow
    /// and idle connections alike. Default 10 s.
    pub head_timeout: Duration,
    /// From the head of a request until its whole body has arrived. Default 5 s.
    pub body_timeout: Duration,
    /// Longest pause of a client that does not take its answer. Default 10 s.
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 256,
            max_socket_connections: 32,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
        }
    }
}
