//! A receiver of incidents and its filters.

use std::collections::BTreeSet;

use heartbeat_status::IncidentStep;
use heartbeat_status::wire::IncidentDocument;

use crate::{NotifyError, Webhook};

/// The steps that a receiver gets by default: all but `updated`.
pub const DEFAULT_STEPS: [IncidentStep; 3] =
    [IncidentStep::Opened, IncidentStep::Failed, IncidentStep::Resolved];

/// One `[notify.NAME]` of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Its name in the configuration; unique among the receivers.
    pub name: String,
    /// The URL that notifications are posted to.
    pub webhook: Webhook,
    /// The steps that it gets.
    ///
    /// With [`Opened`](IncidentStep::Opened), an incident begins for this receiver with its `opened`. Without,
    /// an incident begins for this receiver with the first step it asked for. In both incidents
    /// [`Resolved`](IncidentStep::Resolved) is sent only for incidents that the receiver knows of.
    pub on: BTreeSet<IncidentStep>,
    /// Only incidents whose root or affected realms are among these; empty for all incidents.
    pub realms: Vec<String>,
}

impl Receiver {
    /// A receiver of [`DEFAULT_STEPS`] for all realms.
    #[must_use]
    pub fn new(name: impl Into<String>, webhook: Webhook) -> Self {
        Self { name: name.into(), webhook, on: DEFAULT_STEPS.into(), realms: Vec::new() }
    }

    /// Checks that at least one step can begin an incident for this receiver.
    ///
    /// # Errors
    /// [`NotifyError::NoFirstStep`] when `on` is empty or only `resolved`.
    pub fn check(&self) -> Result<(), NotifyError> {
        if self.on.iter().all(|step| *step == IncidentStep::Resolved) {
            return Err(NotifyError::NoFirstStep);
        }
        Ok(())
    }

    /// Whether the incident concerns a realm that this receiver asked for.
    pub(crate) fn is_concerned(&self, document: &IncidentDocument) -> bool {
        self.realms.is_empty()
            || self.realms.iter().any(|realm| *realm == document.root || document.affected.contains(realm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_needs_a_step_that_can_come_first() {
        let mut receiver = Receiver::new("ops", Webhook::new("http://h/").unwrap());
        assert!(receiver.check().is_ok());
        receiver.on = BTreeSet::from([IncidentStep::Failed]);
        assert!(receiver.check().is_ok());
        receiver.on = BTreeSet::from([IncidentStep::Resolved]);
        assert!(matches!(receiver.check(), Err(NotifyError::NoFirstStep)));
        receiver.on.clear();
        assert!(receiver.check().is_err());
    }
}
