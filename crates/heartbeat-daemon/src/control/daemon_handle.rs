//! The daemon as the API sees it: requests go to the core's inbox, documents come from the published snapshot.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_api::{
    Acknowledged, Backend, Beat, BeatError, Commanded, EventRecord, HistoryError, HistoryQuestion,
    IncidentPage, Mute, NotificationCount, Output, OwnHealth, Past, RealmCounts, ReloadRefusal,
    ReportQuestion, UnknownReceiver, UpgradeError,
};
use heartbeat_logs::tail;
use heartbeat_process::LogTarget;
use heartbeat_status::{DaemonPhase, Instant, ProbeKind, RealmIx, Reason, Snapshot};
use heartbeat_supervisor::{ActionPlan, Command, Reply};
use heartbeat_wire::{
    About, AckEntry, EvidenceDocument, HistoryDocument, IncidentDocument, NotificationEntry,
    NotifyTestDocument, PortOwnerEntry, ProbeFailureEntry, ReloadDocument, ReportDocument, SloEntry,
    StripsDocument,
};
use tokio::sync::{oneshot, watch};

use crate::active_config::SharedConfig;
use crate::clock;
use crate::control::mutes::Mutes;
use crate::control::registering;
use crate::control::reload::Reloader;
use crate::control::reload_error::ReloadError;
use crate::control::upgrade::Upgrader;
use crate::inbox::{Inbox, Request};
use crate::realms::beats::Beats;
use crate::realms::flight_recorder::FlightRecorder;
use crate::realms::logs;
use crate::reporting::incident_writer::{LOG_TAIL_BYTES, LOG_TAIL_LINES};
use crate::reporting::records::Records;
use crate::reporting::report;
use crate::reporting::status_store::StatusStore;
use crate::storage::stored::StoredMute;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The daemon as the API sees it.
#[derive(Debug)]
pub(crate) struct DaemonHandle {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) statuses: Arc<StatusStore>,
    pub(crate) config: SharedConfig,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) upgrader: Arc<Upgrader>,
    pub(crate) records: Records,
    pub(crate) beats: Arc<Beats>,
    pub(crate) mutes: Arc<Mutes>,
    pub(crate) failures: Arc<FlightRecorder>,
}

impl DaemonHandle {
    /// The process that holds the port of a realm, when that is a stranger.
    fn port_owner(&self, realm: RealmIx) -> Option<PortOwnerEntry> {
        let snapshot = self.statuses.snapshot();
        let wrong = snapshot.realm(realm)?.why.reason == Reason::WrongProcess;
        let address = self.config.current().realm(realm)?.listens.filter(|_| wrong)?;
        let port_owner = heartbeat_process::port_owner(address)?;
        Some(PortOwnerEntry { pid: port_owner.pid, command: port_owner.command, user: port_owner.user })
    }

    /// Asks the core; `None` when the core takes no more requests, or ends before it has answered.
    fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Boxed<Option<T>> {
        let (reply, answer) = oneshot::channel();
        let taken = self.inbox.request(request(reply));
        Box::pin(async move { if taken { answer.await.ok() } else { None } })
    }
}

/// Runs a request to its end, so that a client that disconnects leaves nothing half done.
fn to_its_end(
    work: impl Future<Output = registering::Outcome> + Send + 'static,
) -> Boxed<registering::Outcome> {
    Box::pin(async move { tokio::spawn(work).await.ok().flatten() })
}

impl Backend for DaemonHandle {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.statuses.snapshot()
    }

    fn now(&self) -> Instant {
        clock::now()
    }

    fn about(&self) -> About {
        self.statuses.about()
    }

    fn past(&self, realm: RealmIx) -> Past {
        let (recent, failures, transitions) = self.statuses.past(realm);
        let log = self.config.current().realm(realm).and_then(logs::file_of);
        // A log that cannot be read is no failure here: the document shows no output.
        let log_tail =
            log.and_then(|log| tail(&log, LOG_TAIL_LINES, LOG_TAIL_BYTES).ok()).unwrap_or_default();
        Past { recent, failures, transitions, log_tail, port_owner: self.port_owner(realm) }
    }

    fn probe_failures(&self, realm: RealmIx) -> Vec<ProbeFailureEntry> {
        self.failures.of(self.config.current().name(realm), self.statuses.about().anchor)
    }

    fn output(&self, realm: RealmIx) -> Output {
        let active = self.config.current();
        match active.realm(realm).and_then(|realm| realm.launch.as_ref()).map(|launch| &launch.log) {
            Some(LogTarget::File { path, .. }) => Output::File(path.clone()),
            Some(log @ LogTarget::Journal { identifier, .. }) => match logs::place_beside(log) {
                Some(place) => Output::File(place),
                None => Output::Journal(identifier.clone()),
            },
            Some(LogTarget::Null | LogTarget::Capture) => Output::Nowhere,
            None => Output::Elsewhere,
        }
    }

    fn incidents(&self, page: IncidentPage) -> Boxed<Vec<Arc<IncidentDocument>>> {
        let records = self.records.clone();
        Box::pin(async move { records.page(page).await })
    }

    fn incident(&self, id: String) -> Boxed<Option<Arc<IncidentDocument>>> {
        let records = self.records.clone();
        Box::pin(async move { records.one(id).await })
    }

    fn history(&self, question: HistoryQuestion) -> Boxed<Result<Option<HistoryDocument>, HistoryError>> {
        let records = self.records.clone();
        Box::pin(async move { records.history(question).await })
    }

    fn strips(&self, days: u32) -> Boxed<Result<StripsDocument, HistoryError>> {
        let records = self.records.clone();
        Box::pin(async move { records.strips(days).await })
    }

    fn objectives(&self) -> Boxed<Result<Vec<SloEntry>, HistoryError>> {
        let records = self.records.clone();
        Box::pin(async move { records.objectives().await })
    }

    fn report(&self, question: ReportQuestion) -> Boxed<Result<ReportDocument, HistoryError>> {
        let records = self.records.clone();
        Box::pin(async move { report::report(&records, question).await })
    }

    fn evidence(&self, incident: String) -> Boxed<Result<EvidenceDocument, HistoryError>> {
        let records = self.records.clone();
        Box::pin(async move { records.evidence(incident).await })
    }

    fn notifications(&self, incident: String) -> Boxed<Result<Vec<NotificationEntry>, HistoryError>> {
        let records = self.records.clone();
        Box::pin(async move { records.notifications(incident).await })
    }

    fn notification_counts(&self) -> Vec<NotificationCount> {
        self.records.notification_counts()
    }

    fn oldest_notifications(&self) -> Vec<(String, Duration)> {
        self.records.oldest_notifications()
    }

    fn realm_counts(&self, realm: RealmIx) -> RealmCounts {
        self.statuses.counts(realm)
    }

    fn mute(&self, realm: String, mute: Option<Mute>) -> Boxed<Option<Option<String>>> {
        self.records.audit_mute(&realm, mute.as_ref());
        let mutes = Arc::clone(&self.mutes);
        let stored = mute.map(|Mute { reason, until, by, at }| StoredMute { reason, until, by, at });
        Box::pin(async move {
            mutes.set(realm, stored).await.map(|written| written.err().map(|error| error.to_string()))
        })
    }

    fn test_receiver(
        &self,
        receiver: String,
        dry_run: bool,
    ) -> Boxed<Result<NotifyTestDocument, UnknownReceiver>> {
        let records = self.records.clone();
        Box::pin(async move { records.test_receiver(receiver, dry_run).await })
    }

    fn acknowledge(&self, id: String, ack: AckEntry) -> Boxed<Option<Acknowledged>> {
        let records = self.records.clone();
        Box::pin(async move { records.acknowledge(id, ack).await })
    }

    fn facts(&self, after: u64) -> Vec<EventRecord> {
        self.statuses.facts(after)
    }

    fn own_health(&self) -> OwnHealth {
        let ready = self.statuses.snapshot().phase != DaemonPhase::Stopping;
        OwnHealth {
            live: self.statuses.loop_turns(clock::now()),
            ready,
            problems: self.statuses.own_problems(),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.statuses.changes()
    }

    fn plan(&self, command: Command) -> Boxed<Option<ActionPlan>> {
        self.ask(|reply| Request::Plan(command, reply))
    }

    fn command(&self, command: Command) -> Boxed<Option<Commanded>> {
        self.records.audit_command(&command);
        self.ask(|reply| Request::Command(command, reply))
    }

    fn refresh(&self, realm: Option<RealmIx>) -> Boxed<Option<Reply>> {
        let refreshed = self.ask(|reply| Request::Refresh(realm, reply));
        Box::pin(async move { Some(refreshed.await?.reply) })
    }

    fn beat(&self, realm: String, beat: Beat) -> Boxed<Option<Result<(), BeatError>>> {
        let snapshot = self.statuses.snapshot();
        let found = snapshot.realms.iter().find(|status| status.info.name.as_str() == realm);
        let refused = |error| -> Boxed<_> { Box::pin(std::future::ready(Some(Err(error)))) };
        let Some(info) = found.map(|status| Arc::clone(&status.info)) else {
            return refused(BeatError::NoSuchRealm);
        };
        if !info.probes.iter().any(|probe| probe.kind == ProbeKind::Push) {
            return refused(BeatError::NotExpected);
        }
        let beats = Arc::clone(&self.beats);
        Box::pin(async move {
            let taken = tokio::task::spawn_blocking(move || beats.take(&info.name, &beat)).await;
            taken.ok().map(Ok)
        })
    }

    fn leave(&self) -> Boxed<()> {
        let upgrader = Arc::clone(&self.upgrader);
        Box::pin(async move { upgrader.leave() })
    }

    fn upgrade(&self) -> Boxed<Result<(), UpgradeError>> {
        let upgrader = Arc::clone(&self.upgrader);
        Box::pin(async move { upgrader.upgrade().await })
    }

    fn register(&self, name: String, body: Vec<u8>, dry_run: bool) -> Boxed<registering::Outcome> {
        let reloader = Arc::clone(&self.reloader);
        to_its_end(async move { reloader.register(&name, &body, dry_run).await })
    }

    fn unregister(&self, name: String, dry_run: bool) -> Boxed<registering::Outcome> {
        let reloader = Arc::clone(&self.reloader);
        to_its_end(async move { reloader.unregister(&name, dry_run).await })
    }

    fn reload(&self, dry_run: bool) -> Boxed<Option<Result<ReloadDocument, ReloadRefusal>>> {
        let reloader = Arc::clone(&self.reloader);
        Box::pin(async move {
            let refused = |error: ReloadError| ReloadRefusal { mistakes: error.mistakes() };
            Some(reloader.reload(dry_run).await?.map_err(refused))
        })
    }
}
