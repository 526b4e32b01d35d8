//! What this server needs from the daemon it stands in.

use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::wire::{
    About, AckEntry, EventEntry, HistoryDocument, HolderEntry, IncidentDocument, NotificationEntry,
    RegistrationDocument, ReloadDocument, StripsDocument, TransitionEntry,
};
use heartbeat_status::{Exit, Instant, OwnProblem, RealmIx, RestartAttempt, Snapshot};
use heartbeat_supervisor::{ActionPlan, Command, Reply};
use tokio::sync::watch;

/// A boxed future, so that [`Backend`] can be used as a trait object.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The recent past of a realm, newest first. How much of it is kept is the daemon's to say.
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
    pub holder: Option<HolderEntry>,
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
    /// It is none of ours: the realm is watched, and not started here.
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

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Commanded {
    /// [`Reply::Accepted`] or [`Reply::Refused`].
    pub reply: Reply,
    /// It was carried out, but is not on disk: why not. A restart of heartbeatd would forget it.
    pub unwritten: Option<String>,
}

/// History cannot be read now.
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
    /// It was started without a program that could be run again.
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
        /// How it ended.
        exit: Exit,
        /// What it wrote, in one line.
        said: String,
    },
    /// The program did not answer.
    #[error("{program} did not say within {} s whether it can continue", limit.as_secs())]
    Silent {
        /// Path of the program.
        program: String,
        /// The time that it had.
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
    /// What is said of the realm is wrong, or more than can be registered.
    Invalid,
    /// It would be connected to where it may not be.
    Denied,
    /// The name belongs to the configuration.
    Configured,
    /// Others need it.
    Needed,
    /// It does not fit into what is in force.
    Conflict,
    /// There are as many as are taken.
    Full,
    /// No such realm is registered.
    Unknown,
    /// The disk does not take it.
    NotRemembered,
}

/// Which incidents are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentPage {
    /// Only those that are open.
    pub open: bool,
    /// Only those that are older than the one with this identifier.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// What is asked about the history of a realm.
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

/// An incident that was acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledged {
    /// As it is now.
    pub incident: Arc<IncidentDocument>,
    /// It is not on disk: why not. A restart of heartbeatd would forget it.
    pub unwritten: Option<String>,
}

/// A heartbeat of a realm or of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// What it reports.
    pub event: BeatEvent,
    /// The run that it is about, where several may be under way.
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

/// Why a heartbeat is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatError {
    /// There is no such realm.
    NoSuchRealm,
    /// The realm has no `push` probe.
    NotExpected,
}

/// How often something became of an attempt to notify a receiver, in this life of heartbeatd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationCount {
    /// Name of the receiver.
    pub receiver: String,
    /// What became of the attempts, in one word of a closed list.
    pub result: &'static str,
    /// Number of attempts.
    pub count: u64,
}

/// One thing that happened, for those who follow.
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// The revision in force before it and everything that happened together with it.
    pub revision: u64,
    /// The event itself.
    pub entry: Arc<EventEntry>,
}

/// The daemon as its readers and operators see it.
///
/// A future resolves to `None` when the daemon is ending and will not answer any more. Whatever a reply speaks of
/// is in the snapshot before the reply resolves: a reader who refreshes sees what was measured, and one who waits
/// for a restart does not see the realm as it was before.
pub trait Backend: Send + Sync + 'static {
    /// The newest published snapshot. Called for every request: must be cheap and must not wait for the core.
    fn snapshot(&self) -> Arc<Snapshot>;
    /// The monotonic clock.
    fn now(&self) -> Instant;
    /// What documents say about heartbeatd itself.
    fn about(&self) -> About;
    /// The recent past of a realm; empty for an index that is not of the plan.
    fn past(&self, realm: RealmIx) -> Past;
    /// Where the output of a realm goes. Must not wait for the core.
    fn output(&self, realm: RealmIx) -> Output;
    /// Incidents that are on record, the newest first.
    fn incidents(&self, page: IncidentPage) -> BoxFuture<Vec<Arc<IncidentDocument>>>;
    /// One incident that is on record.
    fn incident(&self, id: String) -> BoxFuture<Option<Arc<IncidentDocument>>>;
    /// What was sent about an incident, in order. Otherwise why that cannot be read.
    fn notifications(&self, incident: String) -> BoxFuture<Result<Vec<NotificationEntry>, HistoryError>>;
    /// What became of attempts to notify receivers, in a constant order. Must not wait.
    fn notification_counts(&self) -> Vec<NotificationCount>;
    /// Acknowledges an incident and answers once that is on disk or cannot be.
    fn acknowledge(&self, id: String, ack: AckEntry) -> BoxFuture<Option<Acknowledged>>;
    /// What a realm was over time; `None` when nothing is on record. Otherwise why it cannot be read.
    fn history(&self, question: HistoryQuestion) -> BoxFuture<Result<Option<HistoryDocument>, HistoryError>>;
    /// What every realm was on each of the last `days` days. Otherwise why it cannot be read.
    fn strips(&self, days: u32) -> BoxFuture<Result<StripsDocument, HistoryError>>;
    /// Facts that are remembered, in order, after the one with the number `after`. Must not wait for the core. What
    /// came with a snapshot is remembered before [`Backend::snapshot`] returns that.
    fn facts(&self, after: u64) -> Vec<EventRecord>;
    /// How heartbeatd itself is. Must not wait for the core, which may be what is ill.
    fn own_health(&self) -> OwnHealth;
    /// Moves with every published snapshot, after [`Backend::snapshot`] returns it.
    fn changes(&self) -> watch::Receiver<u64>;
    /// What `command` would do now.
    fn plan(&self, command: Command) -> BoxFuture<Option<ActionPlan>>;
    /// Does it, and answers once it is on disk or cannot be.
    fn command(&self, command: Command) -> BoxFuture<Option<Commanded>>;
    /// Measures one realm, or all, now: [`Reply::Refreshed`]. Bounded by the core (10 s).
    fn refresh(&self, realm: Option<RealmIx>) -> BoxFuture<Option<Reply>>;
    /// Takes a heartbeat of a realm, for its `push` probe.
    fn beat(&self, realm: String, beat: Beat) -> BoxFuture<Option<Result<(), BeatError>>>;
    /// Ends heartbeatd and leaves every realm running. The answer goes out before it does.
    fn leave(&self) -> BoxFuture<()>;
    /// Hands over to another heartbeatd under the same pid; otherwise why not, and nothing was changed.
    fn upgrade(&self) -> BoxFuture<Result<(), UpgradeError>>;
    /// Registers an external realm, or replaces what was registered under its name: `body` is JSON in the grammar of the
    /// configuration. Answers when it is in force and remembered over restarts, whether or not the asker waits for that.
    fn register(
        &self,
        name: String,
        body: Vec<u8>,
        dry_run: bool,
    ) -> BoxFuture<Option<Result<RegistrationDocument, Rejection>>>;
    /// Removes a realm that was registered; answers in the same way.
    fn unregister(
        &self,
        name: String,
        dry_run: bool,
    ) -> BoxFuture<Option<Result<RegistrationDocument, Rejection>>>;
    /// Reads the configuration again and puts it in force, or says what it would change (`dry_run`); otherwise what is
    /// wrong with it, one line each, and nothing was changed.
    fn reload(&self, dry_run: bool) -> BoxFuture<Option<Result<ReloadDocument, Vec<String>>>>;
}
