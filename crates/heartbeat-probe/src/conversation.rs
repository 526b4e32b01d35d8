//! What was said in one measurement, for a person who asks why a probe fails.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_status::{CheckResult, Outcome, PhaseTimes, is_hostile};

/// Most text that is kept, in bytes.
const MAX_BYTES: usize = 8 * 1024;
/// Longest line that is kept, in characters.
const MAX_LINE_CHARS: usize = 200;

/// A measurement with what was said in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The result, as [`Probe::measure`](crate::Probe::measure) returns it.
    pub result: CheckResult,
    /// One line each: `*` for a remark, `>` for what was sent, `<` for what was received; at most 8 KiB. Cookies,
    /// passwords and values of headers that the configuration sets are hidden.
    pub conversation: Vec<String>,
}

impl fmt::Display for Explanation {
    /// The conversation, how long each phase took, and the result as a sentence, which [`summary`](Self::summary)
    /// gives alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.conversation {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "* {}\n{}", phases(&self.result.phases), self.summary())
    }
}

impl Explanation {
    /// A result with the lines of its conversation.
    #[must_use]
    pub const fn new(result: CheckResult, conversation: Vec<String>) -> Self {
        Self { result, conversation }
    }

    /// The result as a sentence: `passes in 12.3 ms: 200`.
    #[must_use]
    pub fn summary(&self) -> String {
        let result = &self.result;
        let verdict = match result.outcome {
            Outcome::Pass => "passes",
            Outcome::Degraded(_) => "passes, degraded,",
            Outcome::Fail { .. } => "fails",
            Outcome::Inconclusive(_) => "is not known, since the fault is on this side,",
        };
        let took = ms(result.latency.unwrap_or_else(|| result.finished_at.since(result.started_at)));
        let colon = if result.detail.is_empty() { "" } else { ": " };
        format!("{verdict} in {took}{colon}{}", result.detail)
    }
}

/// `resolve 0.4 ms, connect 0.2 ms, first byte 11.1 ms, body 0.8 ms`
fn phases(times: &PhaseTimes) -> String {
    let named = [
        ("resolve", times.resolve),
        ("connect", times.connect),
        ("TLS", times.tls),
        ("first byte", times.first_byte),
        ("body", times.body),
    ];
    let shown: Vec<String> =
        named.into_iter().filter_map(|(name, time)| Some(format!("{name} {}", ms(time?)))).collect();
    if shown.is_empty() { "no phase was completed".to_owned() } else { shown.join(", ") }
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// What was noted so far. Most conversations are dropped unread, so little is done before a caller reads them.
#[derive(Debug, Default)]
pub(crate) struct Conversation(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    /// The lines, each with its end.
    text: String,
    /// The other end of a connection, which no line names yet.
    peer: Option<SocketAddr>,
}

impl Conversation {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note_peer(&self, peer: SocketAddr) {
        let mut notes = self.notes();
        notes.name_peer();
        notes.peer = Some(peer);
    }

    pub(crate) fn note(&self, sign: char, line: fmt::Arguments<'_>) {
        self.notes().note(sign, line);
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        let mut notes = self.notes();
        notes.name_peer();
        notes.text.lines().map(str::to_owned).collect()
    }
}

impl Notes {
    fn name_peer(&mut self) {
        if let Some(peer) = self.peer.take() {
            self.note('*', format_args!("connected to {peer}"));
        }
    }

    fn note(&mut self, sign: char, line: fmt::Arguments<'_>) {
        self.name_peer();
        let text = &mut self.text;
        if text.len() >= MAX_BYTES {
            return;
        }
        text.push(sign);
        text.push(' ');
        // A line that is cut ends its formatting early.
        let _ = Line { text: &mut *text, left: MAX_LINE_CHARS }.write_fmt(line);
        let end = text.trim_end().len();
        text.truncate(end);
        text.push('\n');
    }
}

/// One line as it is written: nothing in it can move a cursor or end it, and it is not longer than the rest of the text.
struct Line<'a> {
    text: &'a mut String,
    left: usize,
}

impl Write for Line<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for c in part.chars() {
            if self.left == 0 || self.text.len() >= MAX_BYTES {
                return Err(fmt::Error);
            }
            self.left -= 1;
            self.text.push(if is_hostile(c) { ' ' } else { c });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use heartbeat_status::{FailReason, Instant, ProbePhase};

    use super::*;

    #[test]
    fn a_result_is_one_sentence_and_its_phases_are_one_line() {
        let result = CheckResult {
            outcome: Outcome::Fail { reason: FailReason::Refused, phase: Some(ProbePhase::Connect) },
            detail: "connection refused".to_owned(),
            started_at: Instant::from_nanos(0),
            finished_at: Instant::from_nanos(1_500_000),
            latency: None,
            phases: PhaseTimes { resolve: Some(Duration::from_micros(400)), ..PhaseTimes::default() },
            unattributable: false,
            certificate_until: None,
        };
        let explanation = Explanation { result, conversation: vec!["* no connection".to_owned()] };
        let text = "* no connection\n* resolve 0.4 ms\nfails in 1.5 ms: connection refused\n";
        assert_eq!(explanation.to_string(), text);
        assert_eq!(phases(&PhaseTimes::default()), "no phase was completed");
    }

    #[test]
    fn a_line_is_safe_and_the_text_is_bounded() {
        let conversation = Conversation::default();
        conversation.note('<', format_args!("a\u{1b}[2J\nb{}", "\r\n"));
        conversation.note('>', format_args!("{}", "x".repeat(1_000)));
        conversation.note('*', format_args!(""));
        for _ in 0..1_000 {
            conversation.note('<', format_args!("{}", "é".repeat(150)));
        }
        let lines = conversation.into_lines();
        assert_eq!((lines[0].as_str(), lines[2].as_str()), ("< a [2J b", "*"));
        assert_eq!(lines[1].chars().count(), MAX_LINE_CHARS + 2);
        let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
        assert!(bytes > MAX_BYTES - 400 && bytes <= MAX_BYTES + 8, "{bytes}");
    }
}
