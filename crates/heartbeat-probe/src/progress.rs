//! How far a measurement has come.

use std::net::SocketAddr;
use std::time::Duration;

use heartbeat_status::{Instant, PhaseTimes, ProbePhase};

use crate::broken::Broken;
use crate::clock;
use crate::conversation::Conversation;

/// The progress of a measurement. It outlives the future that is dropped at the deadline.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    pub(crate) phase: ProbePhase,
    pub(crate) times: PhaseTimes,
    /// The time that the target has.
    pub(crate) timeout: Duration,
    /// What the certificate of a TLS session says, once there is one.
    #[cfg(feature = "tls")]
    pub(crate) certificate: Option<crate::certificate::Note>,
    pub(crate) conversation: Option<&'a Conversation>,
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "the other probes note every conversation whole")
    )]
    pub(crate) notes_passes: bool,
    /// The request is out, and the conversation does not have it yet: most conversations are of a pass, which the caller
    /// does not read.
    pub(crate) sent_unnoted: bool,
    /// The verdict, and when it was reached, while the measurement still collects details for it.
    pub(crate) settled: Option<(Broken, Instant)>,
}

impl Default for Progress<'_> {
    fn default() -> Self {
        Self {
            phase: ProbePhase::Resolve,
            times: PhaseTimes::default(),
            timeout: Duration::ZERO,
            #[cfg(feature = "tls")]
            certificate: None,
            conversation: None,
            notes_passes: false,
            sent_unnoted: false,
            settled: None,
        }
    }
}

impl Progress<'_> {
    /// Notes a line if the caller asked for the conversation.
    pub(crate) fn note(&self, sign: char, line: std::fmt::Arguments<'_>) {
        if let Some(conversation) = self.conversation {
            conversation.note(sign, line);
        }
    }

    /// Notes the other end of a connection.
    pub(crate) fn note_peer(&self, peer: SocketAddr) {
        if let Some(conversation) = self.conversation {
            conversation.note_peer(peer);
        }
    }

    /// The caller reads the conversation even if the target passes.
    #[cfg(feature = "http")]
    pub(crate) const fn notes_passes(&self) -> bool {
        self.notes_passes
    }

    /// Notes headers, without the values of those that are secret.
    #[cfg(any(feature = "http", feature = "grpc"))]
    pub(crate) fn note_headers(&self, sign: char, headers: &http::HeaderMap) {
        for (name, value) in headers {
            if value.is_sensitive() || *name == http::header::SET_COOKIE {
                self.note(sign, format_args!("{name}: (hidden)"));
            } else {
                self.note(sign, format_args!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
            }
        }
    }

    /// A phase that began then is over. The times of several requests add up.
    pub(crate) fn took(&mut self, phase: ProbePhase, began: Instant) {
        let times = &mut self.times;
        let time = match phase {
            ProbePhase::Queue => &mut times.queue,
            ProbePhase::Resolve => &mut times.resolve,
            ProbePhase::Connect => &mut times.connect,
            ProbePhase::Tls => &mut times.tls,
            ProbePhase::FirstByte => &mut times.first_byte,
            ProbePhase::Body => &mut times.body,
        };
        *time = Some(time.unwrap_or_default() + clock::now().since(began));
    }

    /// Fixes the verdict and its latency: the deadline no longer changes them.
    pub(crate) fn settle(&mut self, verdict: Broken) {
        self.settled = Some((verdict, clock::now()));
    }
}
