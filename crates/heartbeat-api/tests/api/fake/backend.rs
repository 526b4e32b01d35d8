//! What the fake answers to the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heartbeat_api::{
    Acknowledged, Backend, Beat, BeatError, BoxFuture, Commanded, EventRecord, HistoryError, HistoryQuestion,
    IncidentPage, Mute, NotificationCount, Output, OwnHealth, Past, ProbeCounts, RealmCounts, Rejection,
    ReloadRefusal, ReportQuestion, UnknownReceiver, UpgradeError,
};
use heartbeat_status::{
    CheckResult, DeliveryState, FailReason, Health, IncidentStep, Instant, Outcome, PhaseTimes, ProbePhase,
    RealmIx, Reason, RestartCause, Snapshot, Status, WallAnchor, WallTime,
};
use heartbeat_supervisor::{ActionPlan, Command, Input, Reply};
use heartbeat_wire::{
    About, AckEntry, EvidenceDocument, HISTORY_SCHEMA, HistoryDocument, HistoryStep, IncidentDocument,
    LagEntry, NOTIFY_TEST_SCHEMA, NotificationEntry, NotifyTestDocument, NotifyTestEntry, ProbeFailureEntry,
    RELOAD_SCHEMA, REPORT_SCHEMA, RegistrationDocument, ReloadDocument, ReloadedRealm, ReportDocument,
    STRIPS_SCHEMA, SloEntry, StripEntry, StripsDocument, TimesEntry, TransitionEntry, UsageTimes,
};
use tokio::sync::watch;

use super::Fake;
use super::driven::START;
use super::realms::is_measured;

impl Backend for Fake {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.core.lock().unwrap().snapshot)
    }

    fn now(&self) -> Instant {
        self.core.lock().unwrap().now
    }

    fn about(&self) -> About {
        let health = self.health.lock().unwrap();
        let notes: Vec<String> = health.problems.iter().map(|problem| problem.message.clone()).collect();
        About {
            instance: "k3v9".to_owned(),
            name: "shop".to_owned(),
            version: "0.1.0".to_owned(),
            started_at: START,
            health: if notes.is_empty() { Health::Healthy } else { Health::Unhealthy },
            notes,
            public: false,
            lag: LagEntry { p99: 1.2, max: 9.8 },
            config_revision: 1,
            config_problem: self.config_problem.lock().unwrap().clone().map(|problem| (problem, START)),
            anchor: WallAnchor { instant: START, wall: WallTime::from_millis(1_795_473_601_123) },
            incident_ids: Vec::new(),
            figures: Arc::clone(&self.figures.lock().unwrap()),
            objectives: Arc::clone(&self.objectives.lock().unwrap()),
            usage: Arc::clone(&self.usage.lock().unwrap()),
        }
    }

    fn past(&self, realm: RealmIx) -> Past {
        let snapshot = self.snapshot();
        let recent = snapshot.realm(realm).and_then(|realm| realm.restart.clone()).into_iter().collect();
        let failure = TransitionEntry {
            at: self.about().anchor.wall(START),
            from: None,
            to: None,
            reason: None,
            message: "exit code 1".to_owned(),
        };
        let transition = TransitionEntry {
            from: Some(Status::Starting.into()),
            to: Some(Status::Up.into()),
            reason: Some(Reason::Healthy.into()),
            message: "healthy".to_owned(),
            ..failure.clone()
        };
        let log_tail = self.output.lock().unwrap().clone();
        Past { recent, failures: vec![failure], transitions: vec![transition], log_tail, port_owner: None }
    }

    fn probe_failures(&self, realm: RealmIx) -> Vec<ProbeFailureEntry> {
        let result = CheckResult {
            outcome: Outcome::Fail { reason: FailReason::Refused, phase: Some(ProbePhase::Connect) },
            detail: "connection refused".to_owned(),
            started_at: START,
            finished_at: START,
            latency: None,
            phases: PhaseTimes::default(),
            unattributable: false,
            certificate_until: None,
        };
        let said = vec![format!("* no connection to realm {}", realm.index())];
        vec![ProbeFailureEntry::render("http", &result, said, self.about().anchor)]
    }

    fn output(&self, realm: RealmIx) -> Output {
        self.outputs.lock().unwrap().get(&realm).cloned().unwrap_or(Output::Nowhere)
    }

    fn beat(&self, realm: String, beat: Beat) -> BoxFuture<Option<Result<(), BeatError>>> {
        let taken = match realm.as_str() {
            "api" => {
                self.beats.lock().unwrap().push(beat);
                Ok(())
            }
            "db" => Err(BeatError::NotExpected),
            _ => Err(BeatError::NoSuchRealm),
        };
        Box::pin(std::future::ready(Some(taken)))
    }

    fn incidents(&self, page: IncidentPage) -> BoxFuture<Vec<Arc<IncidentDocument>>> {
        let mut incidents = self.incidents.lock().unwrap().clone();
        incidents.retain(|incident| !page.open || incident.resolved_at.is_none());
        incidents.retain(|incident| page.after.as_ref().is_none_or(|after| incident.id < *after));
        incidents.truncate(page.limit);
        Box::pin(std::future::ready(incidents))
    }

    fn incident(&self, id: String) -> BoxFuture<Option<Arc<IncidentDocument>>> {
        let found = self.incidents.lock().unwrap().iter().find(|incident| incident.id == id).cloned();
        Box::pin(std::future::ready(found))
    }

    fn history(&self, question: HistoryQuestion) -> BoxFuture<Result<Option<HistoryDocument>, HistoryError>> {
        let HistoryQuestion { realm, probe, window_ms, step_ms } = question;
        let step = usize::try_from(step_ms).unwrap();
        let steps = window_ms.clone().step_by(step).map(|at| HistoryStep {
            at: WallTime::from_millis(at),
            times: TimesEntry::default(),
            latency_ms: None,
            usage: UsageTimes::default(),
        });
        let document = HistoryDocument {
            schema: HISTORY_SCHEMA.to_owned(),
            realm: realm.clone(),
            probe,
            from: WallTime::from_millis(window_ms.start),
            to: WallTime::from_millis(window_ms.end),
            step_s: step_ms as f64 / 1e3,
            first_seen_at: WallTime::from_millis(0),
            times: TimesEntry::default(),
            availability: None,
            latency_ms: None,
            phases_ms: BTreeMap::new(),
            usage: UsageTimes::default(),
            steps: steps.collect(),
        };
        Box::pin(std::future::ready(Ok((realm == "api").then_some(document))))
    }

    fn objectives(&self) -> BoxFuture<Result<Vec<SloEntry>, HistoryError>> {
        let objectives = self.objectives.lock().unwrap().to_vec();
        Box::pin(std::future::ready(Ok(objectives)))
    }

    fn strips(&self, days: u32) -> BoxFuture<Result<StripsDocument, HistoryError>> {
        let bars = vec![TimesEntry::default(); usize::try_from(days).unwrap()];
        let document = StripsDocument {
            schema: STRIPS_SCHEMA.to_owned(),
            from: WallTime::from_millis(0),
            to: WallTime::from_millis(0),
            bar_s: 86_400,
            realms: vec![StripEntry { name: "api".to_owned(), bars }],
        };
        Box::pin(std::future::ready(Ok(document)))
    }

    fn report(&self, question: ReportQuestion) -> BoxFuture<Result<ReportDocument, HistoryError>> {
        let ReportQuestion { month, window_ms } = question;
        let document = ReportDocument {
            schema: REPORT_SCHEMA.to_owned(),
            name: "shop".to_owned(),
            month,
            from: WallTime::from_millis(window_ms.start),
            to: WallTime::from_millis(window_ms.end),
            generated_at: WallTime::from_millis(0),
            first_seen_at: None,
            realms: Vec::new(),
            incidents: Vec::new(),
            more_incidents: false,
        };
        Box::pin(std::future::ready(Ok(document)))
    }

    fn evidence(&self, incident: String) -> BoxFuture<Result<EvidenceDocument, HistoryError>> {
        let schema = heartbeat_wire::EVIDENCE_SCHEMA.to_owned();
        let document = EvidenceDocument { schema, incident, opened: None, resolved: None };
        Box::pin(std::future::ready(Ok(document)))
    }

    fn notifications(&self, _: String) -> BoxFuture<Result<Vec<NotificationEntry>, HistoryError>> {
        let at = WallTime::from_millis(1_795_473_598_310);
        let notification = NotificationEntry {
            receiver: "ops".to_owned(),
            seq: 1,
            event: IncidentStep::Opened.into(),
            state: DeliveryState::Due.into(),
            queued_at: at,
            attempts: 2,
            attempted_at: Some(at),
            next_at: Some(at),
            why: Some("answered 503 Service Unavailable".to_owned()),
        };
        Box::pin(std::future::ready(Ok(vec![notification])))
    }

    fn notification_counts(&self) -> Vec<NotificationCount> {
        vec![NotificationCount { receiver: "ops".to_owned(), result: "delivered", count: 7 }]
    }

    fn oldest_notifications(&self) -> Vec<(String, Duration)> {
        vec![("ops".to_owned(), Duration::from_secs(42))]
    }

    fn realm_counts(&self, realm: RealmIx) -> RealmCounts {
        let snapshot = self.snapshot();
        let Some(realm) = snapshot.realm(realm) else { return RealmCounts::default() };
        let measured = realm.info.probes.iter().filter(|probe| is_measured(probe.kind));
        let counts = measured.enumerate().map(|(nth, probe)| {
            let counts = ProbeCounts {
                outcomes: [("pass", 12_345), ("fail", 3)].into(),
                certificate_until: (nth == 0).then(|| WallTime::from_millis(1_826_000_000_000)),
            };
            (probe.name.to_string(), counts)
        });
        let restarts = [(RestartCause::Exited, 2), (RestartCause::Requested, 1)];
        RealmCounts { restarts: restarts.into(), probes: counts.collect() }
    }

    fn mute(&self, realm: String, mute: Option<Mute>) -> BoxFuture<Option<Option<String>>> {
        let mut mutes = self.mutes.lock().unwrap();
        match mute {
            Some(mute) => mutes.insert(realm, mute),
            None => mutes.remove(&realm),
        };
        Box::pin(std::future::ready(Some(self.disk.lock().unwrap().clone())))
    }

    fn test_receiver(
        &self,
        receiver: String,
        dry_run: bool,
    ) -> BoxFuture<Result<NotifyTestDocument, UnknownReceiver>> {
        let known = receiver == "ops";
        let message = NotifyTestEntry {
            event: IncidentStep::Opened.into(),
            sent: "POST http://127.0.0.1:3000 (path hidden)".to_owned(),
            delivered: (!dry_run).then_some(false),
            why: (!dry_run).then(|| "answered 404 Not Found".to_owned()),
        };
        let document =
            NotifyTestDocument { schema: NOTIFY_TEST_SCHEMA.to_owned(), receiver, messages: vec![message] };
        Box::pin(std::future::ready(if known {
            Ok(document)
        } else {
            Err(UnknownReceiver { receivers: vec!["ops".to_owned()] })
        }))
    }

    fn acknowledge(&self, id: String, ack: AckEntry) -> BoxFuture<Option<Acknowledged>> {
        let unwritten = self.disk.lock().unwrap().clone();
        let mut incidents = self.incidents.lock().unwrap();
        let acknowledged = incidents.iter_mut().find(|incident| incident.id == id).map(|incident| {
            Arc::make_mut(incident).ack = Some(ack);
            Acknowledged { incident: Arc::clone(incident), unwritten }
        });
        Box::pin(std::future::ready(acknowledged))
    }

    fn facts(&self, after: u64) -> Vec<EventRecord> {
        self.core.lock().unwrap().facts.iter().filter(|fact| fact.entry.seq > after).cloned().collect()
    }

    fn own_health(&self) -> OwnHealth {
        self.health.lock().unwrap().clone()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn leave(&self) -> BoxFuture<()> {
        self.departures.fetch_add(1, Ordering::SeqCst);
        self.ending.store(true, Ordering::SeqCst);
        Box::pin(async {})
    }

    fn upgrade(&self) -> BoxFuture<Result<(), UpgradeError>> {
        self.departures.fetch_add(1, Ordering::SeqCst);
        let ending = self.ending.load(Ordering::SeqCst);
        Box::pin(async move { if ending { Err(UpgradeError::Ending) } else { Ok(()) } })
    }

    fn plan(&self, command: Command) -> BoxFuture<Option<ActionPlan>> {
        let core = self.core.lock().unwrap();
        let plan = (!self.ending.load(Ordering::SeqCst)).then(|| core.supervisor.plan(core.now, &command));
        Box::pin(async move { plan })
    }

    fn command(&self, command: Command) -> BoxFuture<Option<Commanded>> {
        let reply = self.ask(|id| Input::Command { id, command });
        self.commands.fetch_add(1, Ordering::SeqCst);
        let unwritten = self.disk.lock().unwrap().clone();
        Box::pin(async move { Some(Commanded { reply: reply.await?, unwritten }) })
    }

    fn refresh(&self, realm: Option<RealmIx>) -> BoxFuture<Option<Reply>> {
        self.refreshes.fetch_add(1, Ordering::SeqCst);
        if self.probes_hang.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        self.ask(|id| Input::Refresh { id, realm })
    }

    fn register(
        &self,
        name: String,
        body: Vec<u8>,
        dry_run: bool,
    ) -> BoxFuture<Option<Result<RegistrationDocument, Rejection>>> {
        self.registration(name, "registered", dry_run, String::from_utf8(body).unwrap())
    }

    fn unregister(
        &self,
        name: String,
        dry_run: bool,
    ) -> BoxFuture<Option<Result<RegistrationDocument, Rejection>>> {
        self.registration(name, "removed", dry_run, String::new())
    }

    fn reload(&self, dry_run: bool) -> BoxFuture<Option<Result<ReloadDocument, ReloadRefusal>>> {
        let wrong = self.wrong.lock().unwrap().clone();
        let document = ReloadDocument {
            schema: RELOAD_SCHEMA.to_owned(),
            dry_run,
            config_revision: 2,
            added: vec!["mail".to_owned()],
            removed: Vec::new(),
            restarted: vec![ReloadedRealm { realm: "api".to_owned(), because: vec!["run".to_owned()] }],
            changed: Vec::new(),
            settings: vec!["notify.ops".to_owned()],
            warnings: Vec::new(),
        };
        let answer = if wrong.is_empty() { Ok(document) } else { Err(ReloadRefusal { mistakes: wrong }) };
        let ending = self.ending.load(Ordering::SeqCst);
        Box::pin(async move { (!ending).then_some(answer) })
    }
}
