//! An outage as receivers hear of it: one root cause, one incident, one notification.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::{Instant, OwnProblemKind, RealmIx, Reason};

/// An incident within one life of the core, counted from 1. At the rim it has an identifier that is unique for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentNo(pub u64);

impl fmt::Display for IncidentNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

closed_list! {
    /// What has just happened to an incident; what receivers of notifications are told.
    pub enum IncidentStep ("incident event") {
        /// The outage is confirmed.
        Opened = "opened",
        /// Its root, or the set of affected realms, has changed.
        Updated = "updated",
        /// A person is needed: for example, the restart budget is used up.
        Failed = "failed",
        /// It is over. Sent if and only if `opened` was.
        Resolved = "resolved",
    }
}

closed_list! {
    /// How far a notification has come.
    pub enum DeliveryState ("state of a notification") {
        /// It is to be delivered.
        Due = "due",
        /// The receiver accepted it.
        Delivered = "delivered",
        /// Every attempt failed.
        GivenUp = "given-up",
        /// It was dropped without another attempt.
        Dropped = "dropped",
    }
}

closed_list! {
    /// How much an incident matters.
    pub enum Severity ("severity") {
        /// Its root, or a realm that it blocks, counts for the ecosystem.
        Critical = "critical",
        /// No realm concerned counts for the ecosystem.
        Warning = "warning",
    }
}

/// One outage: its root, and every realm that it affects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The number of the incident.
    pub no: IncidentNo,
    /// The realm at its root; `None` when the incident is about heartbeatd itself.
    pub root: Option<RealmIx>,
    /// The part of heartbeatd with the problem, when the incident is about one.
    pub problem: Option<OwnProblemKind>,
    /// Why it was opened: the code.
    pub reason: Reason,
    /// Why, for a person, with the figures of this case.
    pub message: String,
    /// How much it matters.
    pub severity: Severity,
    /// Realms blocked by its root at any time since it opened, in the order in which they became blocked.
    pub affected: Vec<RealmIx>,
    /// When the outage was seen.
    pub opened_at: Instant,
    /// The budget was used up at some time since: a person is needed.
    pub failed: bool,
}

impl Incident {
    /// Whether the realm is the root or is affected.
    #[must_use]
    pub fn concerns(&self, realm: RealmIx) -> bool {
        self.root == Some(realm) || self.affected.contains(&realm)
    }
}
