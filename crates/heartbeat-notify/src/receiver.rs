//! Who is told, and of what.

use std::collections::BTreeSet;

use heartbeat_status::IncidentStep;
use heartbeat_status::wire::IncidentDocument;

use crate::{NotifyError, Webhook};

/// What a receiver is told of when its configuration does not say: everything but `updated`.
pub const DEFAULT_STEPS: [IncidentStep; 3] =
    [IncidentStep::Opened, IncidentStep::Failed, IncidentStep::Resolved];

/// Somebody who is told of incidents: one `[notify.N]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its name in the configuration; unique among the receivers.
    pub name: String,
    /// Where it listens.
    pub webhook: Webhook,
    /// The steps it is told of.
    ///
    /// With [`Opened`](IncidentStep::Opened) in it, nothing of an incident is told before its `opened` was. Without,
    /// an incident begins for this receiver with the first step it asked for. In both cases
    /// [`Resolved`](IncidentStep::Resolved) is told only of incidents that it was told of before.
    pub on: BTreeSet<IncidentStep>,
    /// Tell only of incidents whose root or affected realms are among these; empty: of all.
    pub realms: Vec<String>,
}

impl Receiver {
    /// A receiver with [`DEFAULT_STEPS`], told of every realm.
    #[must_use]
    pub fn new(name: impl Into<String>, webhook: Webhook) -> Self {
        Self { name: name.into(), webhook, on: DEFAULT_STEPS.into(), realms: Vec::new() }
    }

    /// Whether it could ever be told anything.
    ///
    /// # Errors
    /// [`NotifyError::NeverTold`] when `on` is empty or only `resolved`.
    pub fn check(&self) -> Result<(), NotifyError> {
        if self.on.iter().all(|step| *step == IncidentStep::Resolved) {
            return Err(NotifyError::NeverTold);
        }
        Ok(())
    }

    /// The incident has to do with the realms this receiver asked for.
    pub(crate) fn is_concerned(&self, document: &IncidentDocument) -> bool {
        self.realms.is_empty()
            || self.realms.iter().any(|realm| *realm == document.root || document.affected.contains(realm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_must_be_able_to_hear_something() {
        let mut receiver = Receiver::new("ops", Webhook::new("http://h/").unwrap());
        assert!(receiver.check().is_ok());
        receiver.on = BTreeSet::from([IncidentStep::Failed]);
        assert!(receiver.check().is_ok());
        receiver.on = BTreeSet::from([IncidentStep::Resolved]);
        assert!(matches!(receiver.check(), Err(NotifyError::NeverTold)));
        receiver.on.clear();
        assert!(receiver.check().is_err());
    }
}
