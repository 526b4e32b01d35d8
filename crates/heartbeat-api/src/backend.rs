//! What this server needs from the daemon that runs it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{
    Exit, Instant, OwnProblem, RealmIx, RestartAttempt, RestartCause, Snapshot, WallTime,
};
use heartbeat_supervisor::{ActionPlan, Command, Reply};
use heartbeat_wire::{
    About, AckEntry, EventEntry, EvidenceDocument, HistoryDocument, IncidentDocument, NotificationEntry,
    NotifyTestDocument, PortOwnerEntry, ProbeFailureEntry, RegistrationDocument, ReloadDocument,
    ReportDocument, SloEntry, StripsDocument, TransitionEntry,
};
use tokio::sync::watch;

/// A boxed future, so that [`Backend`] can be used as a trait object.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The recent past of a realm, newest first. The daemon decides how much of it to keep.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Restarts, newest first.
    pub recent: Vec<RestartAttempt>,
    /// Failed measurements and exits.
    pub failures: Vec<TransitionEntry>,
    /// Changes of status, newest first.
    pub transitions: Vec<TransitionEntry>,
    /// Last lines of its output, the oldest first. Served on the Unix socket only.
    pub log_tail: Vec<String>,
    /// Who holds its port, when that is not the realm itself.
    pub port_owner: Option<PortOwnerEntry>,
}

/// Where the output of a realm goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To a file, with what was set aside beside it.
    File(PathBuf),
    /// To systemd-journald, under that identifier.
    Journal(String),
    /// Nowhere: it is discarded.
    Nowhere,
    /// heartbeatd has no output of it: the realm is watched, and not started here.
    Elsewhere,
}

/// How heartbeatd itself is.
#[derive(Clone, Debug, Default)]
pub struct OwnHealth {
    /// Its loop turns: `/livez` answers 200, whatever else is wrong.
    pub live: bool,
    /// Recovery is complete and it takes commands: `/readyz` answers 200.
    pub ready: bool,
    /// Everything that is wrong; while there is something, `/api/health/` answers 503.
    pub problems: Vec<OwnProblem>,
}

/// The result of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Commanded {
    /// [`Reply::Accepted`] or [`Reply::Refused`].
    pub reply: Reply,
    /// The command was carried out but is not on disk, with the reason. A reboot would forget it.
    pub unwritten: Option<String>,
}

/// The store cannot read history now.
#[derive(Debug, thiserror::Error)]
#[error("history cannot be read now: {source}")]
pub struct HistoryError {
    /// The error of the store that holds it.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why heartbeatd does not hand over to another program. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// heartbeatd was started without a program that it could run again.
    #[error("this heartbeatd was not started from a configuration file, and cannot be started again")]
    NoProgram,
    /// Another user could have replaced the program.
    #[error("this heartbeatd continues, since {why}")]
    Untrusted {
        /// What is wrong with the file, and what to type.
        why: String,
    },
    /// The program is not a heartbeatd.
    #[error("{program} does not say that it is a heartbeatd; is it the right program?")]
    NotHeartbeatd {
        /// Path of the program.
        program: String,
    },
    /// The program cannot read the state of this heartbeatd.
    #[error("{program} cannot continue with the state of this heartbeatd ({exit}): {said}")]
    CannotContinue {
        /// Path of the program.
        program: String,
        /// How the program ended.
        exit: Exit,
        /// The output of the program, in one line.
        said: String,
    },
    /// The program did not answer.
    #[error("{program} did not say within {} s whether it can continue", limit.as_secs())]
    Silent {
        /// Path of the program.
        program: String,
        /// The time limit of the check.
        limit: Duration,
    },
    /// The program could not be run.
    #[error("{why}")]
    NotStarted {
        /// Which step failed, and why.
        why: String,
    },
    /// heartbeatd is ending.
    #[error("heartbeatd is ending")]
    Ending,
}

/// Why a realm is not registered, or not removed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// What kind of refusal.
    pub kind: RejectionKind,
    /// Everything that is wrong, one line each, with the way out.
    pub problems: Vec<String>,
}

/// Kinds of refusals, by what the client can do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// The registration is wrong, or larger than the limit.
    Invalid,
    /// The registration names an address that is not allowed.
    Denied,
    /// The name belongs to the configuration.
    Configured,
    /// Other realms need the realm.
    Needed,
    /// The registration does not fit the configuration in force.
    Conflict,
    /// The limit of registrations is reached.
    Full,
    /// No such realm is registered.
    Unknown,
    /// The registration cannot be written to disk.
    NotRemembered,
}

/// Why a configuration does not take effect. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", mistakes.join("\n"))]
pub struct ReloadRefusal {
    /// Every mistake with its place, one line each.
    pub mistakes: Vec<String>,
}

/// Which incidents the caller wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentPage {
    /// Only those that are open.
    pub open: bool,
    /// Only those that are older than the one with this identifier.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// A question about the history of a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuestion {
    /// Name of the realm.
    pub realm: String,
    /// Latencies of this probe; `None`: of the first that was measured.
    pub probe: Option<String>,
    /// From when until when, in milliseconds since 1970.
    pub window_ms: Range<i64>,
    /// Length of a step in milliseconds.
    pub step_ms: u64,
}

/// The month of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportQuestion {
    /// As a person writes it: `2026-11`.
    pub month: String,
    /// Its first moment and its end, in milliseconds since 1970.
    pub window_ms: Range<i64>,
}

/// An incident that was acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledged {
    /// The incident after the acknowledgement.
    pub incident: Arc<IncidentDocument>,
    /// Why the acknowledgement is not on disk. A restart of heartbeatd would forget it.
    pub unwritten: Option<String>,
}

/// No receiver has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are the receivers {}", .receivers.join(", "))]
pub struct UnknownReceiver {
    /// The names of all receivers.
    pub receivers: Vec<String>,
}

/// A mute of a realm: receivers of notifications hear nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// Why the realm is muted.
    pub reason: String,
    /// The end of the mute.
    pub until: WallTime,
    /// The user, by number.
    pub by: Option<u32>,
    /// The time of the request.
    pub at: WallTime,
}

/// A heartbeat of a realm or of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// What it reports.
    pub event: BeatEvent,
    /// The run that the heartbeat is about, where several may be in progress.
    pub run: Option<String>,
    /// The words of the sender.
    pub message: String,
}

/// What a heartbeat reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatEvent {
    /// A run has begun.
    Start,
    /// Everything is well, or a run has ended well.
    Ok,
    /// A run has failed.
    Fail,
    /// A run has ended with this exit code.
    Exit(u8),
}

/// Why heartbeatd refuses a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatError {
    /// There is no such realm.
    NoSuchRealm,
    /// The realm has no `push` probe.
    NotExpected,
}

/// How many attempts to notify a receiver had one result, in this life of heartbeatd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationCount {
    /// Name of the receiver.
    pub receiver: String,
    /// The result of the attempts, in one word of a closed list.
    pub result: &'static str,
    /// Number of attempts.
    pub count: u64,
}

/// What heartbeatd has counted of a realm in this life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RealmCounts {
    /// Restarts by cause; a cause that never occurred is absent.
    pub restarts: BTreeMap<RestartCause, u64>,
    /// What heartbeatd has measured, by the name of the probe.
    pub probes: BTreeMap<String, ProbeCounts>,
}

/// What heartbeatd has counted of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeCounts {
    /// Results by the word of their outcome; an outcome that never occurred is absent.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// When the certificate of its target expires, as far as it was seen.
    pub certificate_until: Option<WallTime>,
}

/// One event, for readers that follow.
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// The revision in force before this event and the events of the same step.
    pub revision: u64,
    /// The event itself.
    pub entry: Arc<EventEntry>,
}

/// The daemon as its readers and operators see it.
///
/// A future resolves to `None` when the daemon is ending and does not answer any more. The backend publishes everything
/// that a reply refers to before the reply resolves: a reader who refreshes sees the new measurements, and one who
/// waits for a restart does not see the realm as it was before.
pub trait Backend: Send + Sync + 'static {
    /// The newest published snapshot. The server calls this for every request: it must be cheap and must not wait for
    /// the core.
    fn snapshot(&self) -> Arc<Snapshot>;
    /// The monotonic clock.
    fn now(&self) -> Instant;
    /// The part of documents that is about heartbeatd itself.
    fn about(&self) -> About;
    /// The recent past of a realm; empty for an index that is not of the plan.
    fn past(&self, realm: RealmIx) -> Past;
    /// The last failures of each probe of a realm with what was said in each, newest first.
    fn probe_failures(&self, realm: RealmIx) -> Vec<ProbeFailureEntry>;
    /// Where the output of a realm goes. Must not wait for the core.
    fn output(&self, realm: RealmIx) -> Output;
    /// Incidents on record, the newest first.
    fn incidents(&self, page: IncidentPage) -> BoxFuture<Vec<Arc<IncidentDocument>>>;
    /// One incident on record.
    fn incident(&self, id: String) -> BoxFuture<Option<Arc<IncidentDocument>>>;
    /// The evidence of an incident; otherwise why the store cannot read it.
    fn evidence(&self, incident: String) -> BoxFuture<Result<EvidenceDocument, HistoryError>>;
    /// The notifications of an incident, in order; otherwise why the store cannot read them.
    fn notifications(&self, incident: String) -> BoxFuture<Result<Vec<NotificationEntry>, HistoryError>>;
    /// Counts of attempts to notify receivers, in a constant order. Must not wait.
    fn notification_counts(&self) -> Vec<NotificationCount>;
    /// The age of the oldest notification that each receiver has not got; zero when none waits.
    fn oldest_notifications(&self) -> Vec<(String, Duration)>;
    /// Counts of a realm in this life of heartbeatd. Must not wait for the core.
    fn realm_counts(&self, realm: RealmIx) -> RealmCounts;
    /// Mutes a realm, or ends its mute (`None`). Answers once that is on disk, or with why it cannot be written; a restart
    /// of heartbeatd would forget it then.
    fn mute(&self, realm: String, mute: Option<Mute>) -> BoxFuture<Option<Option<String>>>;
    /// Sends a test to a receiver, or shows what it would be sent (`dry_run`); the error lists the receivers there are.
    fn test_receiver(
        &self,
        receiver: String,
        dry_run: bool,
    ) -> BoxFuture<Result<NotifyTestDocument, UnknownReceiver>>;
    /// Acknowledges an incident and answers once the acknowledgement is on disk, or cannot be written.
    fn acknowledge(&self, id: String, ack: AckEntry) -> BoxFuture<Option<Acknowledged>>;
    /// The history of a realm; `None` when nothing is on record. Otherwise why the store cannot read it.
    fn history(&self, question: HistoryQuestion) -> BoxFuture<Result<Option<HistoryDocument>, HistoryError>>;
    /// The history of every realm on each of the last `days` days. Otherwise why the store cannot read it.
    fn strips(&self, days: u32) -> BoxFuture<Result<StripsDocument, HistoryError>>;
    /// How the objectives stand now, in start order. Otherwise why the store cannot read it.
    fn objectives(&self) -> BoxFuture<Result<Vec<SloEntry>, HistoryError>>;
    /// A month in one document. Otherwise why the store cannot read it.
    fn report(&self, month: ReportQuestion) -> BoxFuture<Result<ReportDocument, HistoryError>>;
    /// Remembered facts, in order, after the one with the number `after`. Must not wait for the core. The facts of a
    /// snapshot are there before [`Backend::snapshot`] returns that snapshot.
    fn facts(&self, after: u64) -> Vec<EventRecord>;
    /// heartbeatd's own health. Must not wait for the core, which may be the part that is ill.
    fn own_health(&self) -> OwnHealth;
    /// Changes with every published snapshot, after [`Backend::snapshot`] returns it.
    fn changes(&self) -> watch::Receiver<u64>;
    /// What `command` would do now.
    fn plan(&self, command: Command) -> BoxFuture<Option<ActionPlan>>;
    /// Carries out `command`, and answers once its intent is on disk, or cannot be written.
    fn command(&self, command: Command) -> BoxFuture<Option<Commanded>>;
    /// Measures one realm, or all, now: [`Reply::Refreshed`]. Bounded by the core (10 s).
    fn refresh(&self, realm: Option<RealmIx>) -> BoxFuture<Option<Reply>>;
    /// Accepts a heartbeat of a realm, for its `push` probe.
    fn beat(&self, realm: String, beat: Beat) -> BoxFuture<Option<Result<(), BeatError>>>;
    /// Ends heartbeatd and leaves every realm running. The answer goes out first.
    fn leave(&self) -> BoxFuture<()>;
    /// Hands over to another heartbeatd under the same pid; otherwise the error says why not, and nothing was changed.
    fn upgrade(&self) -> BoxFuture<Result<(), UpgradeError>>;
    /// Registers an external realm, or replaces the registration of that name: `body` is JSON in the grammar of the
    /// configuration. Answers when the registration is on disk and in force. The work continues even if the client does
    /// not wait.
    fn register(
        &self,
        name: String,
        body: Vec<u8>,
        dry_run: bool,
    ) -> BoxFuture<Option<Result<RegistrationDocument, Rejection>>>;
    /// Removes a registered realm; answers in the same way.
    fn unregister(
        &self,
        name: String,
        dry_run: bool,
    ) -> BoxFuture<Option<Result<RegistrationDocument, Rejection>>>;
    /// Reads the configuration again and puts it in force, or says what it would change (`dry_run`); otherwise the
    /// refusal lists the mistakes, and nothing was changed.
    fn reload(&self, dry_run: bool) -> BoxFuture<Option<Result<ReloadDocument, ReloadRefusal>>>;
}
