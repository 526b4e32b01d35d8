//! What was said in one measurement, for a person who asks why a probe fails.

use std::sync::{Mutex, PoisonError};

use heartbeat_status::{CheckResult, sanitise_line};

/// Most lines that are kept.
const MAX_LINES: usize = 200;
/// Longest line that is kept, in characters.
const MAX_LINE_CHARS: usize = 200;

/// A measurement with what was said in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The result, as [`Probe::measure`](crate::Probe::measure) returns it.
    pub result: CheckResult,
    /// One line each: `*` for a remark, `>` for what was sent, `<` for what was received. Values of headers that the
    /// configuration sets are hidden.
    pub conversation: Vec<String>,
}

/// The lines so far.
#[derive(Debug, Default)]
pub(crate) struct Conversation(Mutex<Vec<String>>);

impl Conversation {
    pub(crate) fn note(&self, sign: char, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MAX_LINES {
            let line: String = sanitise_line(line).chars().take(MAX_LINE_CHARS).collect();
            lines.push(format!("{sign} {line}").trim_end().to_owned());
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
