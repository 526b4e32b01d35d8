//! The open incidents of a receiver that is told the newest state of all of them, again and again, instead of one
//! message after the other.
//!
//! A plain state machine, as the queue is. An incident stays until its end has arrived.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{IncidentStep, Instant};
use heartbeat_wire::IncidentDocument;

use crate::queue::{Earlier, EarlierState, MAX_QUEUED_NOTIFICATIONS};
use crate::target::ALERT_REFRESH;
use crate::{WhyDropped, backoff};

type Document = Arc<IncidentDocument>;

/// One incident as the receiver knows it.
#[derive(Debug, Default)]
struct Mirrored {
    /// Its newest state; `None` after a restart until it is announced.
    document: Option<Document>,
    /// What was sent while another realm was its root: its alert has other labels, and ends.
    former: Option<Document>,
    is_over: bool,
    /// Numbers of the events that have not arrived, and since when each waits.
    pending: Vec<(u64, Instant)>,
}

/// One state that is sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) document: Document,
    pub(crate) is_over: bool,
}

/// What the worker does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Sends these states, all in one request.
    Send(Vec<Sent>),
    /// Waits until the next refresh or attempt is due.
    Wait(Instant),
    /// Waits for an incident.
    Idle,
}

/// The incidents that a receiver knows of, or is to know of.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    incidents: BTreeMap<Arc<str>, Mirrored>,
    /// When the next request is due.
    due_at: Option<Instant>,
    failures: u32,
}

impl Mirror {
    /// Takes over what an earlier heartbeatd left.
    pub(crate) fn restore(&mut self, now: Instant, earlier: Vec<Earlier<Document>>) {
        for Earlier { id, seq, step, open, state, .. } in earlier {
            let incident = self.incidents.entry(id).or_default();
            incident.is_over |= !open || step == IncidentStep::Resolved;
            if let EarlierState::Due { body, .. } = state {
                incident.document = Some(body);
                incident.pending.push((seq, now));
                self.due_at = Some(now);
            }
        }
        // Alertmanager ends the alert of such an incident by itself.
        self.incidents.retain(|_, incident| !incident.is_over || incident.document.is_some());
    }

    /// Number of incidents with a state that has not arrived.
    pub(crate) fn backlog(&self) -> usize {
        self.incidents.values().filter(|incident| !incident.pending.is_empty()).count()
    }

    /// Since when the oldest of what has not arrived waits.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.incidents.values().flat_map(|incident| &incident.pending).map(|(_, since)| *since).min()
    }

    /// Takes the newest state of an incident. True when its receiver is to get it.
    ///
    /// # Errors
    /// More incidents are open than a receiver can have.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        id: &Arc<str>,
        (document, step): (&Document, IncidentStep),
        concerned: bool,
    ) -> Result<bool, WhyDropped> {
        let is_over = step == IncidentStep::Resolved;
        if !self.incidents.contains_key(id) {
            if !concerned || is_over {
                return Ok(false);
            }
            if self.incidents.len() >= MAX_QUEUED_NOTIFICATIONS {
                return Err(WhyDropped::TooManyIncidents);
            }
        }
        let incident = self.incidents.entry(Arc::clone(id)).or_default();
        let before = incident.document.replace(Arc::clone(document));
        let is_new = before.as_ref().is_none_or(|before| before.seq < document.seq);
        if let Some(before) = before.filter(|before| before.root != document.root) {
            incident.former.get_or_insert(before);
        }
        incident.is_over |= is_over;
        if is_new {
            incident.pending.push((document.seq, now));
            self.due_at = Some(now);
        }
        Ok(is_new)
    }

    /// What to do at `now`.
    pub(crate) fn next(&self, now: Instant) -> Next {
        match self.due_at {
            Some(due_at) if due_at > now => Next::Wait(due_at),
            Some(_) => Next::Send(self.states()),
            None => Next::Idle,
        }
    }

    /// Makes the next request due now, if there is something that has not arrived; otherwise nothing is due any more.
    pub(crate) fn hurry(&mut self) {
        self.due_at = (self.backlog() > 0).then_some(Instant::ZERO);
    }

    fn states(&self) -> Vec<Sent> {
        // The end of an alert must not hide that another incident has the same root.
        let open = |root: &str| {
            let mut open = self.incidents.values().filter(|incident| !incident.is_over);
            open.any(|incident| incident.document.as_ref().is_some_and(|document| document.root == root))
        };
        let mut states = Vec::new();
        for Mirrored { document, former, is_over, .. } in self.incidents.values() {
            for (document, is_over) in [(former, true), (document, *is_over)] {
                if let Some(document) = document.as_ref().filter(|document| !is_over || !open(&document.root))
                {
                    states.push(Sent { document: Arc::clone(document), is_over });
                }
            }
        }
        states
    }

    /// The request arrived at `now`: returns the events that arrived with it, by incident.
    pub(crate) fn arrived(&mut self, now: Instant, sent: &[Sent]) -> Vec<(Arc<str>, u64)> {
        let mut events = Vec::new();
        self.failures = 0;
        self.incidents.retain(|id, incident| {
            let newest =
                sent.iter().filter(|sent| *sent.document.id == **id).map(|sent| sent.document.seq).max();
            // An end that another incident with this root hides has arrived with that one.
            let root = incident.document.as_ref().map(|document| &document.root);
            let hides = |sent: &Sent| !sent.is_over && Some(&sent.document.root) == root;
            let is_hidden = incident.is_over && sent.iter().any(hides);
            let newest = newest.or(is_hidden.then_some(u64::MAX)).unwrap_or(0);
            incident.pending.retain(|(seq, _)| {
                let has_arrived = *seq <= newest;
                events.extend(has_arrived.then(|| (Arc::clone(id), *seq)));
                !has_arrived
            });
            if incident.pending.is_empty() {
                incident.former = None;
            }
            !incident.is_over || !incident.pending.is_empty()
        });
        let is_due = self.backlog() > 0;
        self.due_at = match (is_due, self.incidents.is_empty()) {
            (true, _) => Some(now),
            (false, false) => Some(now + ALERT_REFRESH),
            (false, true) => None,
        };
        events
    }

    /// The request failed: returns the number of failures in a row, and the wait. Only the newest state is sent then.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        retry_after: Option<Duration>,
        chance: f64,
    ) -> (u32, Duration) {
        self.failures = self.failures.saturating_add(1);
        let wait = backoff::wait(self.failures, retry_after, chance).min(ALERT_REFRESH);
        self.due_at = Some(now + wait);
        (self.failures, wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::document;

    const NOW: Instant = Instant::from_millis(1_000);

    fn state(id: &str, seq: u64, root: &str, step: IncidentStep) -> Document {
        let mut document = document(step);
        (document.id, document.seq, document.root) = (id.to_owned(), seq, root.to_owned());
        Arc::new(document)
    }

    fn note(mirror: &mut Mirror, state: &Document) -> bool {
        let step = state.event.known().unwrap();
        mirror.note(NOW, &state.id.as_str().into(), (state, step), true).unwrap()
    }

    /// What is sent now: the incident, its number, and whether it is over.
    fn sent(mirror: &Mirror, now: Instant) -> (Vec<Sent>, Vec<String>) {
        let Next::Send(sent) = mirror.next(now) else { return Default::default() };
        let shown = |sent: &Sent| {
            let end = if sent.is_over { " over" } else { "" };
            format!("{}.{} {}{end}", sent.document.id, sent.document.seq, sent.document.root)
        };
        let text = sent.iter().map(shown).collect();
        (sent, text)
    }

    #[test]
    fn only_the_newest_state_is_sent_again_and_again_until_the_end_has_arrived() {
        let mut mirror = Mirror::default();
        assert!(note(&mut mirror, &state("a", 1, "db", IncidentStep::Opened)));
        assert!(note(&mut mirror, &state("a", 2, "db", IncidentStep::Failed)));
        let (states, text) = sent(&mirror, NOW);
        assert_eq!(text, ["a.2 db"]);
        mirror.failed(NOW, Some(Duration::from_secs(3_600)), 0.5);
        let Next::Wait(until) = mirror.next(NOW) else { panic!("it waits") };
        assert_eq!(until, NOW + ALERT_REFRESH, "a refresh is not later than that");
        assert_eq!(mirror.oldest(), Some(NOW));
        assert_eq!(mirror.arrived(NOW, &states), [("a".into(), 1), ("a".into(), 2)]);
        assert_eq!(mirror.oldest(), None);
        assert!(matches!(mirror.next(NOW), Next::Wait(until) if until == NOW + ALERT_REFRESH));
        assert_eq!(sent(&mirror, NOW + ALERT_REFRESH).1, ["a.2 db"], "refreshed");
        assert!(note(&mut mirror, &state("a", 3, "db", IncidentStep::Resolved)));
        let (states, text) = sent(&mirror, NOW);
        assert_eq!(text, ["a.3 db over"]);
        assert_eq!(mirror.backlog(), 1);
        assert_eq!(mirror.arrived(NOW, &states), [("a".into(), 3)]);
        assert!(matches!(mirror.next(NOW + ALERT_REFRESH), Next::Idle));
    }

    #[test]
    fn an_end_while_a_request_is_under_way_is_not_lost() {
        let mut mirror = Mirror::default();
        note(&mut mirror, &state("a", 1, "db", IncidentStep::Opened));
        let (states, _) = sent(&mirror, NOW);
        note(&mut mirror, &state("a", 2, "db", IncidentStep::Resolved));
        // One that comes and goes meanwhile.
        note(&mut mirror, &state("b", 1, "web", IncidentStep::Opened));
        note(&mut mirror, &state("b", 2, "web", IncidentStep::Resolved));
        assert_eq!(mirror.arrived(NOW, &states), [("a".into(), 1)]);
        assert_eq!(sent(&mirror, NOW).1, ["a.2 db over", "b.2 web over"]);
    }

    #[test]
    fn another_root_ends_the_alert_of_the_former_and_no_end_hides_an_open_incident() {
        let mut mirror = Mirror::default();
        note(&mut mirror, &state("a", 1, "api", IncidentStep::Opened));
        let (states, _) = sent(&mirror, NOW);
        mirror.arrived(NOW, &states);
        note(&mut mirror, &state("a", 2, "db", IncidentStep::Updated));
        let (states, text) = sent(&mirror, NOW);
        assert_eq!(text, ["a.1 api over", "a.2 db"]);
        mirror.arrived(NOW, &states);
        note(&mut mirror, &state("a", 3, "db", IncidentStep::Resolved));
        note(&mut mirror, &state("b", 1, "db", IncidentStep::Opened));
        let (states, text) = sent(&mirror, NOW);
        assert_eq!(text, ["b.1 db"]);
        assert_eq!(mirror.arrived(NOW, &states), [("a".into(), 3), ("b".into(), 1)]);
        assert_eq!(sent(&mirror, NOW + ALERT_REFRESH).1, ["b.1 db"]);
    }

    #[test]
    fn an_end_that_an_earlier_heartbeatd_left_is_sent_and_an_open_incident_waits_for_its_state() {
        let mut mirror = Mirror::default();
        let over = state("a", 2, "db", IncidentStep::Resolved);
        let due = EarlierState::Due {
            body: Arc::clone(&over),
            digest: None,
            failures: 0,
            due_at: NOW,
            expires_at: NOW,
        };
        let earlier = |id: &str, seq, step, open, state| {
            let root = None;
            Earlier { id: id.into(), seq, step, open, root, state }
        };
        mirror.restore(
            NOW,
            vec![
                earlier("a", 1, IncidentStep::Opened, false, EarlierState::Delivered { message: None }),
                earlier("a", 2, IncidentStep::Resolved, false, due),
                earlier("b", 1, IncidentStep::Opened, true, EarlierState::Delivered { message: None }),
            ],
        );
        let (states, text) = sent(&mirror, NOW);
        assert_eq!(text, ["a.2 db over"]);
        assert_eq!(mirror.arrived(NOW, &states), [("a".into(), 2)]);
        assert!(note(&mut mirror, &state("b", 1, "web", IncidentStep::Opened)));
        assert_eq!(sent(&mirror, NOW).1, ["b.1 web"]);
        let gone = state("c", 2, "mail", IncidentStep::Resolved);
        assert!(!note(&mut mirror, &gone), "the end of what it does not know of");
    }
}
