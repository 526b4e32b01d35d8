//! The output of a realm.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::LOGS_SCHEMA;

/// `heartbeat.logs/1`: lines of a realm's output; the whole answer, or one event of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsDocument {
    /// The schema of the document: [`LOGS_SCHEMA`].
    pub schema: String,
    /// Name of the realm.
    pub realm: String,
    /// The generation that wrote it, when the client asked for the previous one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// There are more lines before these.
    pub cut: bool,
    /// In a stream: bytes of output before these lines that are not shown, since they were lost, rotated away, or more
    /// than the reader takes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed_bytes: u64,
    /// What of the output is lost, or may be; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostEntry>,
    /// The oldest first. Made safe to show: no control characters, at most 4,096 characters each.
    pub lines: Vec<String>,
}

impl LogsDocument {
    /// Lines of a realm, and nothing else to say of them.
    #[must_use]
    pub fn new(realm: &str, lines: Vec<String>) -> Self {
        Self {
            schema: LOGS_SCHEMA.into(),
            realm: realm.into(),
            generation: None,
            cut: false,
            missed_bytes: 0,
            lost: None,
            lines,
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Output of a realm that is lost although its log is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEntry {
    /// For a person.
    pub message: String,
    /// How often heartbeatd copied and truncated the log because the file system offers nothing better; output in the
    /// moment of a truncation may be lost.
    pub truncations: u64,
    /// Bytes that are known to be lost that way.
    pub cut_bytes: u64,
    /// Bytes that heartbeatd dropped because it had no room to set them aside.
    pub dropped_bytes: u64,
    /// How often a program of the realm has emptied the log.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub emptied: u64,
    /// Bytes in files that another process has removed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub removed_bytes: u64,
}

impl LostEntry {
    /// With its words.
    #[must_use]
    pub fn new(
        truncations: u64,
        cut_bytes: u64,
        dropped_bytes: u64,
        emptied: u64,
        removed_bytes: u64,
    ) -> Self {
        let mut said = Vec::new();
        if removed_bytes > 0 {
            said.push(format!(
                "another process has removed the log, and {removed_bytes} bytes of output with it; heartbeatd keeps what was written since"
            ));
        }
        if emptied > 0 {
            said.push(format!(
                "emptied at least {} by a program of the realm: `> /dev/stderr` does that, `>&2` does not",
                times(emptied)
            ));
        }
        if truncations > 0 {
            said.push(format!(
                "may have lost output: copied and truncated {}, {cut_bytes} bytes known to be lost",
                times(truncations)
            ));
        }
        if dropped_bytes > 0 {
            said.push(format!("dropped {dropped_bytes} bytes: no room to set them aside"));
        }
        Self { message: said.join("; "), truncations, cut_bytes, dropped_bytes, emptied, removed_bytes }
    }
}

/// A count in words: "once", "3 times".
fn times(count: u64) -> String {
    if count == 1 { String::from("once") } else { format!("{count} times") }
}
