//! Incidents that a template has to word before it is accepted.

use heartbeat_status::{IncidentStep, Reason, Severity, WallTime, What};
use heartbeat_wire::{AckEntry, INCIDENT_SCHEMA, IncidentDocument, IncidentLinks, TimelineEntry};

/// When the sample begins, in milliseconds since 1970.
const BEGIN_MS: i64 = 1_795_473_598_310;

/// One that has just been opened, with nothing that may be absent, and one at its end, with everything.
pub(crate) fn documents() -> [IncidentDocument; 2] {
    let opened = opened();
    let resolved = IncidentDocument {
        event: IncidentStep::Resolved.into(),
        seq: 2,
        affected: vec!["api".to_owned()],
        resolved_at: Some(WallTime::from_millis(BEGIN_MS + 4_000)),
        duration_s: Some(4.0),
        resolution: Some("healthy again".to_owned()),
        ack: Some(AckEntry {
            at: WallTime::from_millis(BEGIN_MS + 2_000),
            by: "Ada".to_owned(),
            note: Some("looking".to_owned()),
        }),
        log_tail: vec!["FATAL: could not bind IPv4 address".to_owned()],
        ..opened.clone()
    };
    [opened, resolved]
}

fn opened() -> IncidentDocument {
    let at = WallTime::from_millis(BEGIN_MS);
    let detail = "exit code 1".to_owned();
    IncidentDocument {
        schema: INCIDENT_SCHEMA.to_owned(),
        event: IncidentStep::Opened.into(),
        id: "01930000-0000-7000-8000-000000000000".to_owned(),
        seq: 1,
        ecosystem: "shop".to_owned(),
        root: "postgres".to_owned(),
        reason: Reason::Exited.into(),
        message: "exit code 1 after 0.2 s".to_owned(),
        severity: Severity::Critical.into(),
        affected: Vec::new(),
        opened_at: at,
        resolved_at: None,
        duration_s: None,
        resolution: None,
        ack: None,
        timeline: vec![TimelineEntry { at, realm: "postgres".to_owned(), what: What::Exited.into(), detail }],
        log_tail: Vec::new(),
        links: IncidentLinks { this: "/api/incidents/01930000-0000-7000-8000-000000000000/".to_owned() },
    }
}
