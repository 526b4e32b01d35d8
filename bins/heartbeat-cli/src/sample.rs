//! Committed documents the tests of this program draw from.

use heartbeat_status::wire::{RealmDocument, StatusDocument};

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
