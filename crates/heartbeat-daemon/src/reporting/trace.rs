//! Traces of restarts and of the start of heartbeatd, made of events: a span for each phase.

use std::collections::BTreeMap;

use heartbeat_status::{
    Event, EventKind, Incident, Instant, Phase, RealmIx, RealmName, RestartId, RestartResult, Status,
    WallAnchor, WallTime,
};

/// Spans of one trace. What comes later is left out.
const MAX_SPANS: usize = 4_096;
/// Phases of one realm in one trace.
const MAX_PHASES: usize = 64;

/// A time that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) name: String,
    /// Which span of the same trace it is part of; `None` for the first.
    pub(crate) parent: Option<usize>,
    pub(crate) from: WallTime,
    pub(crate) to: WallTime,
    pub(crate) attributes: Vec<(&'static str, String)>,
    /// What failed, for a person.
    pub(crate) failure: Option<String>,
}

/// One restart or one boot: its root span and then the spans within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) spans: Vec<Span>,
}

/// The phases of a realm, each until the next.
#[derive(Debug)]
struct Course {
    realm: RealmName,
    began: Instant,
    phases: Vec<(Phase, Instant)>,
}

impl Course {
    fn new(realm: RealmName, began: Instant) -> Self {
        Self { realm, began, phases: Vec::new() }
    }

    fn enter(&mut self, from: Phase, to: Phase, at: Instant) {
        if self.phases.is_empty() {
            self.phases.push((from, self.began));
        }
        if self.phases.len() < MAX_PHASES {
            self.phases.push((to, at));
        }
    }

    /// Adds a span for each phase.
    fn spans(&self, spans: &mut Vec<Span>, parent: usize, end: Instant, anchor: WallAnchor) {
        for (nth, (phase, from)) in self.phases.iter().enumerate() {
            let to = self.phases.get(nth + 1).map_or(end, |(_, next)| *next).min(end);
            // A phase that is passed through at once has nothing to show.
            if to <= *from || spans.len() >= MAX_SPANS {
                continue;
            }
            spans.push(Span {
                name: phase.as_str().to_owned(),
                parent: Some(parent),
                from: anchor.wall(*from),
                to: anchor.wall(to),
                attributes: vec![("heartbeat.realm", self.realm.to_string())],
                failure: None,
            });
        }
    }
}

/// A restart that has not ended.
#[derive(Debug)]
struct OpenRestart {
    id: RestartId,
    course: Course,
    cause: &'static str,
    detail: String,
    attempt: Option<String>,
    incident: Option<String>,
}

/// The start of heartbeatd.
#[derive(Debug)]
struct Boot {
    began: Instant,
    /// The first event of the core: what was before is recovery.
    recovered: Option<Instant>,
    realms: BTreeMap<RealmIx, (Course, Option<Instant>)>,
}

/// Makes traces of events. The driver owns it; nothing here waits.
#[derive(Debug)]
pub(crate) struct TraceRecorder {
    restarts: BTreeMap<RealmIx, OpenRestart>,
    boot: Option<Boot>,
    /// The public identifier of the open incident that concerns each realm.
    incidents: BTreeMap<RealmIx, String>,
}

impl TraceRecorder {
    /// heartbeatd was started at `began`.
    pub(crate) fn new(began: Instant) -> Self {
        let boot = Boot { began, recovered: None, realms: BTreeMap::new() };
        Self { restarts: BTreeMap::new(), boot: Some(boot), incidents: BTreeMap::new() }
    }

    /// These indices belong to other realms from now on.
    pub(crate) fn hand_on(&mut self, to_others: &[RealmIx]) {
        for ix in to_others {
            self.restarts.remove(ix);
            self.incidents.remove(ix);
        }
    }

    /// An incident has come so far, under its public identifier.
    pub(crate) fn note_incident(&mut self, incident: &Incident, id: &str, is_over: bool) {
        for realm in incident.root.iter().chain(&incident.affected) {
            if let Some(restart) = self.restarts.get_mut(realm) {
                restart.incident = Some(id.to_owned());
            }
            if is_over {
                self.incidents.remove(realm);
            } else {
                self.incidents.insert(*realm, id.to_owned());
            }
        }
    }

    /// Notes an event; a trace when a restart or the boot ends with it.
    pub(crate) fn note(&mut self, event: &Event, anchor: WallAnchor) -> Option<Trace> {
        if let Some(boot) = &mut self.boot {
            boot.note(event);
        }
        if let EventKind::Booted { missing, .. } = &event.kind {
            return self.boot.take().map(|boot| boot.trace(event.at, anchor, missing.len()));
        }
        let (ix, name) = event.realm.as_ref()?;
        match &event.kind {
            EventKind::RestartOpened { id, cause, detail, attempt } => {
                let restart = OpenRestart {
                    id: *id,
                    course: Course::new(name.clone(), event.at),
                    cause: cause.as_str(),
                    detail: detail.clone(),
                    attempt: attempt.map(|attempt| attempt.to_string()),
                    incident: self.incidents.get(ix).cloned(),
                };
                self.restarts.insert(*ix, restart);
                None
            }
            EventKind::PhaseChanged { from, to } => {
                let restart = self.restarts.get_mut(ix)?;
                restart.course.enter(*from, *to, event.at);
                None
            }
            EventKind::RestartClosed { id, result, .. } => {
                let restart = self.restarts.remove(ix).filter(|restart| restart.id == *id)?;
                Some(restart.trace(event.at, anchor, *result))
            }
            _ => None,
        }
    }
}

impl OpenRestart {
    fn trace(self, end: Instant, anchor: WallAnchor, result: RestartResult) -> Trace {
        let mut attributes = vec![
            ("heartbeat.realm", self.course.realm.to_string()),
            ("heartbeat.restart.cause", self.cause.to_owned()),
            ("heartbeat.restart.result", result.as_str().to_owned()),
        ];
        attributes.extend(self.attempt.map(|attempt| ("heartbeat.restart.attempt", attempt)));
        attributes.extend(self.incident.map(|id| ("heartbeat.incident.id", id)));
        let failed = result == RestartResult::Failed;
        let mut spans = vec![Span {
            name: format!("restart {}", self.course.realm),
            parent: None,
            from: anchor.wall(self.course.began),
            to: anchor.wall(end),
            attributes,
            failure: failed.then_some(self.detail),
        }];
        self.course.spans(&mut spans, 0, end, anchor);
        Trace { spans }
    }
}

impl Boot {
    fn note(&mut self, event: &Event) {
        self.recovered.get_or_insert(event.at);
        let Some((ix, name)) = &event.realm else { return };
        match &event.kind {
            EventKind::PhaseChanged { from, to } => {
                let recovered = self.recovered.unwrap_or(event.at);
                let new = || (Course::new(name.clone(), recovered), None);
                let (course, ready) = self.realms.entry(*ix).or_insert_with(new);
                if ready.is_none() {
                    course.enter(*from, *to, event.at);
                }
            }
            EventKind::StatusChanged { to: Status::Up | Status::Degraded | Status::Done, .. } => {
                if let Some((_, ready)) = self.realms.get_mut(ix) {
                    ready.get_or_insert(event.at);
                }
            }
            _ => {}
        }
    }

    fn trace(self, end: Instant, anchor: WallAnchor, missing: usize) -> Trace {
        let span = |name: &str, parent, from, to: Instant| Span {
            name: name.to_owned(),
            parent,
            from: anchor.wall(from),
            to: anchor.wall(to.max(from)),
            attributes: Vec::new(),
            failure: None,
        };
        let recovered = self.recovered.unwrap_or(end);
        let mut root = span("boot", None, self.began, end);
        root.attributes.push(("heartbeat.boot.realms", self.realms.len().to_string()));
        root.failure = (missing > 0).then(|| format!("{missing} realms are not up"));
        let mut spans = vec![root, span("recovery", Some(0), self.began, recovered)];
        for (course, ready) in self.realms.values() {
            if spans.len() >= MAX_SPANS {
                break;
            }
            let (parent, until) = (spans.len(), ready.unwrap_or(end).min(end));
            let mut realm = span(course.realm.as_str(), Some(0), course.began, until);
            realm.attributes.push(("heartbeat.realm", course.realm.to_string()));
            spans.push(realm);
            course.spans(&mut spans, parent, until, anchor);
        }
        Trace { spans }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use heartbeat_status::{IncidentNo, Reason, RestartAttempt, RestartCause, Severity};

    const ANCHOR: WallAnchor = WallAnchor { instant: Instant::ZERO, wall: WallTime::from_millis(1_000_000) };

    fn event(at_ms: u64, kind: EventKind) -> Event {
        let realm = Some((RealmIx(0), RealmName::new("db").unwrap()));
        Event { seq: 1, at: Instant::from_millis(at_ms), realm, kind }
    }

    fn phase(at_ms: u64, from: Phase, to: Phase) -> Event {
        event(at_ms, EventKind::PhaseChanged { from, to })
    }

    fn opened(at_ms: u64) -> Event {
        let (id, cause) = (RestartId(7), RestartCause::Exited);
        event(at_ms, EventKind::RestartOpened { id, cause, detail: "exit code 1".to_owned(), attempt: None })
    }

    fn closed(at_ms: u64, result: RestartResult) -> Event {
        let (id, cause, detail) = (RestartId(7), RestartCause::Exited, String::new());
        let (steps, ended) = (Vec::new(), Some(result));
        let restart = Box::new(RestartAttempt { id, cause, detail, attempt: None, steps, result: ended });
        event(at_ms, EventKind::RestartClosed { id, attempt: None, result, took_ms: 1, restart })
    }

    /// A restart of `db` within an incident.
    pub(crate) fn restart(result: RestartResult) -> Trace {
        let mut recorder = TraceRecorder::new(Instant::ZERO);
        let no_trace = [
            opened(1_000),
            phase(1_000, Phase::Running, Phase::Backoff),
            phase(1_500, Phase::Backoff, Phase::Starting),
            phase(1_600, Phase::Starting, Phase::Running),
        ];
        for event in &no_trace {
            assert_eq!(recorder.note(event, ANCHOR), None);
        }
        let incident = Incident {
            no: IncidentNo(1),
            root: Some(RealmIx(0)),
            problem: None,
            reason: Reason::Exited,
            message: String::new(),
            severity: Severity::Critical,
            affected: Vec::new(),
            opened_at: Instant::ZERO,
            failed: false,
        };
        recorder.note_incident(&incident, "0193-a", false);
        // It ends before the restart is verified, and still names the restart's reason.
        recorder.note_incident(&incident, "0193-a", true);
        recorder.note(&closed(6_600, result), ANCHOR).unwrap()
    }

    /// Name, parent, and how long each lasted in milliseconds.
    fn shown(trace: &Trace) -> Vec<(&str, Option<usize>, i64)> {
        let length = |span: &Span| span.to.as_millis() - span.from.as_millis();
        trace.spans.iter().map(|span| (span.name.as_str(), span.parent, length(span))).collect()
    }

    #[test]
    fn a_restart_has_a_span_for_each_phase_and_names_its_incident() {
        let trace = restart(RestartResult::Verified);
        let expected = [
            ("restart db", None, 5_600),
            ("backoff", Some(0), 500),
            ("starting", Some(0), 100),
            ("running", Some(0), 5_000),
        ];
        assert_eq!(shown(&trace), expected);
        let root = &trace.spans[0];
        assert!(root.attributes.contains(&("heartbeat.incident.id", "0193-a".to_owned())), "{root:?}");
        assert_eq!((root.from, root.failure.as_deref()), (WallTime::from_millis(1_001_000), None));
        let failed = restart(RestartResult::Failed);
        assert_eq!(failed.spans[0].failure.as_deref(), Some("exit code 1"));
    }

    #[test]
    fn a_boot_has_the_recovery_and_each_realm_until_it_is_up() {
        let mut recorder = TraceRecorder::new(Instant::from_millis(100));
        let up = EventKind::StatusChanged {
            from: Status::Starting,
            to: Status::Up,
            reason: Reason::Healthy,
            message: String::new(),
        };
        for event in [
            phase(400, Phase::Waiting, Phase::Starting),
            phase(700, Phase::Starting, Phase::Running),
            event(900, up),
            // What comes after is not part of its start.
            phase(950, Phase::Running, Phase::Stopping),
        ] {
            assert_eq!(recorder.note(&event, ANCHOR), None);
        }
        let booted = EventKind::Booted { adopted: 0, missing: Vec::new() };
        let trace = recorder.note(&event(1_000, booted.clone()), ANCHOR).unwrap();
        let expected = [
            ("boot", None, 900),
            ("recovery", Some(0), 300),
            ("db", Some(0), 500),
            ("starting", Some(2), 300),
            ("running", Some(2), 200),
        ];
        assert_eq!(shown(&trace), expected);
        assert_eq!(recorder.note(&event(2_000, booted), ANCHOR), None, "a boot is one trace");
    }

    #[test]
    fn a_trace_is_bounded_however_much_a_realm_changes() {
        let mut recorder = TraceRecorder::new(Instant::ZERO);
        recorder.note(&opened(0), ANCHOR);
        for at in 1..10_000 {
            recorder.note(&phase(at, Phase::Backoff, Phase::Starting), ANCHOR);
        }
        let trace = recorder.note(&closed(10_000, RestartResult::Abandoned), ANCHOR).unwrap();
        assert!(trace.spans.len() <= MAX_PHASES + 1, "{}", trace.spans.len());
        assert_eq!(recorder.note(&closed(10_001, RestartResult::Verified), ANCHOR), None, "it has ended");
    }
}
