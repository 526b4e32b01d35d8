//! Incidents for readers: those that this heartbeatd knows, and behind them those on disk.

use std::sync::{Arc, Weak};
use std::time::Duration;

use heartbeat_api::{
    Acknowledged, HistoryError, HistoryQuestion, IncidentPage, Mute, NotificationCount, UnknownReceiver,
};
use heartbeat_notify::{Notifier, TestMessage, Tested};
use heartbeat_status::{RealmIx, Snapshot, WallTime};
use heartbeat_store::{AuditEntry, HistoryDb, IncidentDb, IncidentRecord, Page, StoreError};
use heartbeat_supervisor::Command;
use heartbeat_wire::{
    AckEntry, EVIDENCE_SCHEMA, EvidenceDocument, HistoryDocument, IncidentDocument, NOTIFY_TEST_SCHEMA,
    NotificationEntry, NotifyTestDocument, NotifyTestEntry, SloEntry, StripsDocument,
};

use crate::active_config::SharedConfig;
use crate::reporting::receivers::{self, NotificationCounts};
use crate::reporting::status_store::StatusStore;
use crate::reporting::{history_reader, incident_store, objectives};
use crate::storage::databases::{Databases, answer};
use crate::{clock, random};

/// Incidents that this heartbeatd knows, and those on disk.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    statuses: Arc<StatusStore>,
    database: Arc<IncidentDb>,
    history: Arc<HistoryDb>,
    counts: Arc<NotificationCounts>,
    /// Gone once heartbeatd ends.
    notifier: Weak<Notifier>,
    config: SharedConfig,
    boot: String,
}

impl Records {
    pub(crate) fn new(
        statuses: Arc<StatusStore>,
        databases: &Databases,
        counts: Arc<NotificationCounts>,
        notifier: Weak<Notifier>,
        config: SharedConfig,
    ) -> Self {
        let (database, history) = (Arc::clone(&databases.incidents), Arc::clone(&databases.history));
        Self { statuses, database, history, counts, notifier, config, boot: heartbeat_process::boot_id() }
    }

    /// Incidents, the newest first: identifiers begin with the time.
    pub(crate) async fn page(&self, page: IncidentPage) -> Vec<Arc<IncidentDocument>> {
        let IncidentPage { open, after, limit } = page;
        let wanted = Page { open, after: after.clone(), limit };
        let on_disk = answer(|give| self.database.page(wanted, give)).await.unwrap_or_default();
        let older = |id: &str| after.as_ref().is_none_or(|after| id < after.as_str());
        // The incidents in memory are newer than those on disk; one that is resolved in memory is not open on disk.
        let mut incidents = self.statuses.incidents_that(|document| older(&document.id));
        for document in on_disk {
            if incidents.iter().all(|known| known.id != document.id) {
                incidents.push(document);
            }
        }
        incidents.retain(|document| !open || document.resolved_at.is_none());
        incidents.sort_by(|a, b| b.id.cmp(&a.id));
        incidents.truncate(limit);
        incidents
    }

    /// One stored incident.
    pub(crate) async fn one(&self, id: String) -> Option<Arc<IncidentDocument>> {
        let known = self.statuses.incidents_that(|document| document.id == id).pop();
        if known.is_some() {
            return known;
        }
        answer(|give| self.database.one(id, give)).await.ok().flatten()
    }

    /// Counts of the results of attempts to notify receivers.
    pub(crate) fn notification_counts(&self) -> Vec<NotificationCount> {
        self.counts.list()
    }

    /// The age of the oldest notification that each receiver has not got.
    pub(crate) fn oldest_notifications(&self) -> Vec<(String, Duration)> {
        self.notifier.upgrade().map(|notifier| notifier.oldest()).unwrap_or_default()
    }

    /// The evidence of an incident.
    pub(crate) async fn evidence(&self, incident: String) -> Result<EvidenceDocument, HistoryError> {
        let id = incident.clone();
        let parts = answer(|give| self.database.evidence(id, give)).await.map_err(unreadable)?;
        let body = |name: &str| parts.iter().find(|(part, _)| part == name).map(|(_, body)| body.as_str());
        // A version that knows more may have written it.
        Ok(EvidenceDocument {
            schema: EVIDENCE_SCHEMA.to_owned(),
            incident,
            opened: body("opened").and_then(|body| serde_json::from_str(body).ok()),
            resolved: body("resolved").and_then(|body| serde_json::from_str(body).ok()),
        })
    }

    /// The notifications of an incident.
    pub(crate) async fn notifications(
        &self,
        incident: String,
    ) -> Result<Vec<NotificationEntry>, HistoryError> {
        let outbox = answer(|give| self.database.outbox_of(incident, give)).await.map_err(unreadable)?;
        Ok(outbox.into_iter().map(receivers::shown).collect())
    }

    /// Sends a test to a receiver, or shows it; otherwise the names of all receivers.
    pub(crate) async fn test_receiver(
        &self,
        receiver: String,
        dry_run: bool,
    ) -> Result<NotifyTestDocument, UnknownReceiver> {
        let Some(notifier) = self.notifier.upgrade() else {
            return Err(UnknownReceiver { receivers: Vec::new() });
        };
        let (ecosystem, id) = (self.statuses.name(), incident_store::new_id(clock::wall(), random::bytes()));
        let test = notifier.test(&receiver, TestMessage { ecosystem, id, dry_run });
        let names = || -> Vec<String> { notifier.backlog().into_iter().map(|(name, _)| name).collect() };
        let test = test.ok_or_else(|| UnknownReceiver { receivers: names() })?;
        drop(notifier);
        let messages = test.await.into_iter().map(tested).collect();
        Ok(NotifyTestDocument { schema: NOTIFY_TEST_SCHEMA.to_owned(), receiver, messages })
    }

    /// The history of a realm.
    pub(crate) async fn history(
        &self,
        question: HistoryQuestion,
    ) -> Result<Option<HistoryDocument>, HistoryError> {
        self.history_until_now();
        history_reader::history(&self.history, question).await.map_err(unreadable)
    }

    /// The present status of a realm counts until the driver's loop has last turned.
    fn history_until_now(&self) -> WallTime {
        let now = self.now();
        self.history.alive(now.as_millis());
        now
    }

    /// The history of every realm by day.
    pub(crate) async fn strips(&self, days: u32) -> Result<StripsDocument, HistoryError> {
        let now = self.history_until_now();
        let strips = history_reader::strips(Arc::clone(&self.history), days, now).await;
        strips.map_err(unreadable)
    }

    /// How the objectives stand now.
    pub(crate) async fn objectives(&self) -> Result<Vec<SloEntry>, HistoryError> {
        let now_ms = self.history_until_now().as_millis();
        let (active, snapshot) = (self.config.current(), self.snapshot());
        objectives::standing_now(&self.history, (&active, &snapshot), now_ms).await.map_err(unreadable)
    }

    /// The newest snapshot.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.statuses.snapshot()
    }

    /// The time until which the present status of a realm counts.
    pub(crate) fn now(&self) -> WallTime {
        self.statuses.about_times().wall(self.statuses.turned_at())
    }

    /// Name of the ecosystem.
    pub(crate) fn name(&self) -> String {
        self.statuses.about().name
    }

    /// The share of the time in which a realm is to be up.
    pub(crate) fn objective(&self, realm: RealmIx) -> Option<f64> {
        let slo = self.config.current().realm(realm)?.slo?;
        slo.availability_millionths.map(|millionths| f64::from(millionths) / 1e6)
    }

    /// Acknowledges an incident. `None`: no incident has that identifier.
    pub(crate) async fn acknowledge(&self, id: String, ack: AckEntry) -> Option<Acknowledged> {
        let entry = AuditEntry {
            at: ack.at,
            by: ack.by.clone(),
            action: "ack".to_owned(),
            target: id.clone(),
            detail: ack.note.clone().unwrap_or_default(),
        };
        let incident = if let Some(document) = self.statuses.acknowledge(&id, ack.clone()) {
            self.statuses.save_incidents(&self.boot, &self.database);
            Arc::new(document)
        } else {
            // The incident is over, and from before this heartbeatd.
            let mut document = self.one(id).await?;
            Arc::make_mut(&mut document).ack = Some(ack);
            let record = IncidentRecord { document: Arc::clone(&document), state: None };
            self.database.record(record, Vec::new(), None);
            document
        };
        self.database.audit(entry);
        let written = answer(|give| self.database.flush(Box::new(give))).await;
        Some(Acknowledged { incident, unwritten: written.err().map(|error| error.to_string()) })
    }

    /// Writes a mute, or its end, to the audit.
    pub(crate) fn audit_mute(&self, realm: &str, mute: Option<&Mute>) {
        let by = mute.and_then(|mute| mute.by);
        self.database.audit(AuditEntry {
            at: clock::wall(),
            by: by.map_or_else(|| "unknown".to_owned(), |uid| format!("uid {uid}")),
            action: if mute.is_some() { "mute" } else { "unmute" }.to_owned(),
            target: realm.to_owned(),
            detail: mute.map_or_else(String::new, |mute| format!("until {}: {}", mute.until, mute.reason)),
        });
    }

    /// Writes the command and its user to the audit.
    pub(crate) fn audit_command(&self, command: &Command) {
        let snapshot = self.statuses.snapshot();
        let names = command.realms.iter().filter_map(|ix| snapshot.realm(*ix));
        let names: Vec<String> = names.map(|realm| realm.info.name.to_string()).collect();
        self.database.audit(AuditEntry {
            at: command.at.unwrap_or(WallTime::from_millis(0)),
            by: command.by.map_or_else(|| "unknown".to_owned(), |uid| format!("uid {uid}")),
            action: command.action.to_string(),
            target: names.join(", "),
            detail: command.reason.clone().unwrap_or_default(),
        });
    }
}

fn tested(tested: Tested) -> NotifyTestEntry {
    let Tested { step, sent, result } = tested;
    let why = result.as_ref().and_then(|result| result.as_ref().err()).map(ToString::to_string);
    NotifyTestEntry { event: step.into(), sent, delivered: result.map(|result| result.is_ok()), why }
}

fn unreadable(error: StoreError) -> HistoryError {
    HistoryError { source: Box::new(error) }
}
