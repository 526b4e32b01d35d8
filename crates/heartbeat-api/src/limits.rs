//! How much one caller, and all of them together, may take.

use std::time::Duration;

/// Largest request head (request line and headers) in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Most headers of a request.
pub(crate) const MAX_HEADER_COUNT: usize = 64;
/// Largest request body in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;
/// From the order to end until connections still busy are dropped.
pub(crate) const GRACE: Duration = Duration::from_millis(1_000);
/// From the order to drain until connections still busy are dropped.
pub(crate) const DRAIN: Duration = Duration::from_millis(2_000);
/// From the order to drain until requests still waiting for something are answered as unavailable.
pub(crate) const DRAIN_LAST_CALL: Duration = Duration::from_millis(1_500);
/// From the order to drain until commands that wait for their result are answered with what was accepted.
pub(crate) const DRAIN_HAND_OVER: Duration = Duration::from_millis(1_000);
/// While draining: how long a client that has just connected has to send its first request.
pub(crate) const DRAIN_FIRST_REQUEST: Duration = Duration::from_millis(1_500);
/// While draining: how long a connection between two requests stays open, for a request that is on its way.
pub(crate) const DRAIN_NEXT_REQUEST: Duration = Duration::from_millis(100);
/// Longest time that a connection lingers at its end for a client that is still sending.
pub(crate) const LINGER: Duration = Duration::from_millis(1_000);
/// Most bytes that are dropped then.
pub(crate) const MAX_LINGER_BYTES: usize = 16 * 1_024 * 1_024;
/// Places of the Unix socket that only root and heartbeatd's own user are given, and that no stream takes.
pub(crate) const RESERVED_PLACES: usize = 8;
/// From the order to end until requests still waiting for something are answered as unavailable.
pub(crate) const LAST_CALL: Duration = Duration::from_millis(700);
/// Pause after a failed accept (out of descriptors, mostly), so that the loop does not spin.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A refresh is answered with what is known after this, should the core's own bound fail.
pub(crate) const REFRESH_LIMIT: Duration = Duration::from_secs(12);
/// A command that the core has not even taken by then is answered as unavailable.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// A configuration that has not been read by then is answered as late; it may still take effect.
pub(crate) const RELOAD_LIMIT: Duration = Duration::from_secs(30);
/// A registration that is not on disk by then is answered as late; it may still take effect.
pub(crate) const REGISTRATION_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for the outcome of a command.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(600);
/// Wait for the outcome of a command whose plan has no bounds of its own.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// Beyond the bounds of its steps: the time a restart is watched until it counts as verified.
pub(crate) const VERIFY_SLACK: Duration = Duration::from_secs(15);
/// Age at which a body is built anew although it still means the same.
pub(crate) const BODY_AGE: Duration = Duration::from_millis(250);

/// A stream of events says at least this often that heartbeatd is there.
pub(crate) const COMMENT_EVERY: Duration = Duration::from_secs(5);
/// Frames kept for followers that are behind; one that is further behind is brought up to date instead.
pub(crate) const MAX_FRAMES_SHARED: usize = 64;
/// Most facts of the past that one can ask for.
pub(crate) const MAX_PAST_FACTS: usize = 2_000;

/// Lines of a log that are answered with when the caller does not say.
pub(crate) const DEFAULT_LOG_LINES: usize = 100;
/// Most lines of a log that one can ask for.
pub(crate) const MAX_LOG_LINES: usize = 10_000;
/// A client that follows a log sees what is written after this at the latest.
pub(crate) const LOG_LOOK_EVERY: Duration = Duration::from_millis(200);
/// The same while there is more to be read than is read at a time.
pub(crate) const LOG_CATCH_UP_EVERY: Duration = Duration::from_millis(25);

/// Longest long poll.
pub(crate) const MAX_POLL: Duration = Duration::from_secs(60);

/// What the doors allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at a time on the TCP door; one more is closed and counted. Default 256.
    pub max_connections: usize,
    /// Connections open at a time on the Unix socket, which no client over TCP can use up. Default 32.
    pub max_socket_connections: usize,
    /// From the accept, or from the end of the previous answer, until a whole request head is there. It closes
    /// slow and idle connections alike. Default 10 s.
    pub head_timeout: Duration,
    /// From the head of a request until its whole body is there. Default 5 s.
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
