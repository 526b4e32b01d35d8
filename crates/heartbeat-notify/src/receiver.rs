//! A receiver of incidents and its filters.

use std::collections::BTreeSet;
use std::time::Duration;

use heartbeat_status::{IncidentStep, WallTime};
use heartbeat_wire::IncidentDocument;

use crate::{NotifyError, Target, Template};

/// The steps that a receiver gets by default: all but `updated`.
pub const DEFAULT_STEPS: [IncidentStep; 3] =
    [IncidentStep::Opened, IncidentStep::Failed, IncidentStep::Resolved];

/// One `[notify.NAME]` of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Its name in the configuration; unique among the receivers.
    pub name: String,
    /// Where notifications go, and in which form.
    pub target: Target,
    /// How messages are worded; `None` for the words of heartbeatd.
    pub template: Option<Template>,
    /// The steps that it gets.
    ///
    /// With [`Opened`](IncidentStep::Opened), an incident begins for this receiver with its `opened`. Without,
    /// an incident begins for this receiver with the first step it asked for. In both incidents
    /// [`Resolved`](IncidentStep::Resolved) is sent only for incidents that the receiver knows of.
    pub on: BTreeSet<IncidentStep>,
    /// Only incidents whose root or affected realms are among these; empty for all incidents.
    pub realms: Vec<String>,
    /// It hears of an incident that has been open for so long; an incident that is over by then is none for it.
    pub delay: Duration,
    /// It gets `opened` again, with the next number, after an incident has been silent and open for so long. An
    /// acknowledged incident is not repeated.
    pub repeat: Option<Duration>,
    /// It does not hear of an incident that a person takes care of.
    pub unless_acknowledged: bool,
    /// The receiver that hears of it when this one has failed for [`FAILING_AFTER`](crate::FAILING_AFTER).
    pub fallback: Option<String>,
}

impl Receiver {
    /// A receiver of [`DEFAULT_STEPS`] for all realms.
    #[must_use]
    pub fn new(name: impl Into<String>, target: Target) -> Self {
        Self {
            name: name.into(),
            target,
            template: None,
            on: DEFAULT_STEPS.into(),
            realms: Vec::new(),
            delay: Duration::ZERO,
            repeat: None,
            unless_acknowledged: false,
            fallback: None,
        }
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

    /// Whether the receiver is to hear of an incident now, if it has not yet.
    ///
    /// It hears nothing of `muted` realms: neither of an incident with such a root, nor of one that concerns it only by
    /// such realms.
    pub(crate) fn is_concerned(
        &self,
        document: &IncidentDocument,
        now: WallTime,
        muted: &BTreeSet<String>,
    ) -> bool {
        let asked_for = self.realms.is_empty()
            || self.realms.iter().any(|realm| {
                !muted.contains(realm) && (*realm == document.root || document.affected.contains(realm))
            });
        let open_ms = now.as_millis().saturating_sub(document.opened_at.as_millis());
        let delay_ms = i64::try_from(self.delay.as_millis()).unwrap_or(i64::MAX);
        let is_time = self.delay.is_zero() || open_ms >= delay_ms;
        asked_for
            && !muted.contains(&document.root)
            && is_time
            && !(self.unless_acknowledged && document.ack.is_some())
    }

    /// Of a storm it gets a digest.
    pub(crate) fn folds(&self) -> bool {
        self.target.folds(self.template.as_ref())
    }

    /// Whether it may have to hear of an open incident later, though nothing happens to that.
    pub(crate) const fn waits(&self) -> bool {
        !self.delay.is_zero() || self.repeat.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::document;
    use crate::{Endpoint, Webhook};
    use heartbeat_wire::AckEntry;

    fn target() -> Target {
        Target::Webhook(Webhook { endpoint: Endpoint::new("http://h/").unwrap(), secrets: Vec::new() })
    }

    #[test]
    fn a_delay_and_an_acknowledgement_keep_an_incident_from_a_receiver() {
        let (opened, none) = (document(IncidentStep::Opened), BTreeSet::new());
        let after = |ms: i64| WallTime::from_millis(opened.opened_at.as_millis() + ms);
        let later = Receiver {
            delay: Duration::from_secs(60),
            unless_acknowledged: true,
            ..Receiver::new("boss", target())
        };
        assert!(later.waits() && !later.is_concerned(&opened, after(59_999), &none));
        assert!(later.is_concerned(&opened, after(60_000), &none));
        let mut acknowledged = opened.clone();
        acknowledged.ack = Some(AckEntry { at: after(1), by: "Ada".to_owned(), note: None });
        assert!(!later.is_concerned(&acknowledged, after(90_000), &none));
        assert!(Receiver::new("ops", target()).is_concerned(&acknowledged, after(-1), &none));
    }

    #[test]
    fn a_muted_root_concerns_nobody_and_a_muted_dependent_not_those_who_asked_for_it() {
        let (opened, now) = (document(IncidentStep::Opened), WallTime::from_millis(0));
        let muted = |realms: &[&str]| realms.iter().map(|realm| (*realm).to_owned()).collect();
        let all = Receiver::new("ops", target());
        let web =
            Receiver { realms: vec!["web".to_owned(), "mail".to_owned()], ..Receiver::new("web", target()) };
        for (realms, all_hears, web_hears) in [
            (&["postgres"][..], false, false),
            (&["api"], true, true),
            (&["web"], true, false),
            (&["mail"], true, true),
            (&[], true, true),
        ] {
            let hears = (
                all.is_concerned(&opened, now, &muted(realms)),
                web.is_concerned(&opened, now, &muted(realms)),
            );
            assert_eq!(hears, (all_hears, web_hears), "{realms:?}");
        }
    }

    #[test]
    fn a_receiver_needs_a_step_that_can_come_first() {
        let mut receiver = Receiver::new("ops", target());
        assert!(receiver.check().is_ok());
        receiver.on = BTreeSet::from([IncidentStep::Failed]);
        assert!(receiver.check().is_ok());
        receiver.on = BTreeSet::from([IncidentStep::Resolved]);
        assert!(matches!(receiver.check(), Err(NotifyError::NoFirstStep)));
        receiver.on.clear();
        assert!(receiver.check().is_err());
    }
}
