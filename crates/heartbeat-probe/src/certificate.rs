//! The facts about a certificate in the result of a measurement: names, chain and days left.

use heartbeat_status::{DegradedReason, Outcome, WallTime};

/// The dates and the names of a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) expires_soon: bool,
    pub(crate) until: WallTime,
    pub(crate) text: String,
    /// Its names, its issuer and the length of its chain.
    pub(crate) origin: String,
}

/// The verdict with the note of its certificate: one that expires soon degrades a pass.
pub(crate) fn noted((outcome, detail): (Outcome, String), note: Option<&Note>) -> (Outcome, String) {
    let Some(note) = note else { return (outcome, detail) };
    let outcome = match outcome {
        Outcome::Pass if note.expires_soon => Outcome::Degraded(DegradedReason::CertExpiring),
        other => other,
    };
    let detail = match (detail.is_empty(), note.expires_soon) {
        (true, _) => format!("{}{}", note.text, note.origin),
        (false, true) => format!("{detail}; {}{}", note.text, note.origin),
        (false, false) => format!("{detail}; {}", note.text),
    };
    (outcome, detail)
}
