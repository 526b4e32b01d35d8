//! Committed documents the tests of this program draw from.

use heartbeat_wire::{IncidentDocument, RealmDocument, StatusDocument};

/// One realm restarting, two blocked, one degraded, one up, one done.
pub(crate) const OUTAGE: &str = include_str!("../samples/outage.json");
/// Five up (one degraded), one done.
pub(crate) const CALM: &str = include_str!("../samples/calm.json");
/// `api` of the outage with its past.
pub(crate) const REALM: &str = include_str!("../samples/api.json");

pub(crate) fn outage() -> StatusDocument {
    serde_json::from_str(OUTAGE).unwrap()
}

pub(crate) fn calm() -> StatusDocument {
    serde_json::from_str(CALM).unwrap()
}

pub(crate) fn realm() -> RealmDocument {
    serde_json::from_str(REALM).unwrap()
}

const INCIDENT: &str = r#"{ "schema": "heartbeat.incident/1", "event": "resolved", "id": "0193a1b2-0000-7000-8000-00c0ffee1234",
        "seq": 3, "ecosystem": "shop", "root": "db", "reason": "Exited", "message": "exit code 1 after 0.2 s",
        "severity": "critical", "affected": ["api"], "opened_at": "2026-11-23T22:39:58.310Z",
        "resolved_at": "2026-11-23T22:40:08.310Z", "duration_s": 10.0, "resolution": "healthy again",
        "ack": { "at": "2026-11-23T22:40:00.000Z", "by": "Ada", "note": "looking \u001b[1mat it" },
        "timeline": [ { "at": "2026-11-23T22:39:58.310Z", "realm": "db", "what": "Exited", "detail": "exit code 1" } ],
        "log_tail": ["FATAL: \u001b[31mport in use"], "links": { "self": "/api/incidents/x/" } }"#;

pub(crate) fn incident() -> IncidentDocument {
    serde_json::from_str(INCIDENT).unwrap()
}
