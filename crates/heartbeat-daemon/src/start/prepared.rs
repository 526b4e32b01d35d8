//! heartbeatd before it touches any realm: its directories exist and are locked, and the state of an earlier heartbeatd
//! is read.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use heartbeat_api::{Access, Token};
use heartbeat_config::{Config, Heartbeat, Sources, own_files};
use heartbeat_http::{TlsOptionsError, TlsServer};
use heartbeat_notify::{Endpoint, Receiver};
use heartbeat_process::{Handover, PrivateFileError};
use heartbeat_status::{OwnProblemKind, RealmName};
use heartbeat_store::{Keep, OutboxEntry};
use serde_json::Value;

use crate::clock;
use crate::control::registrations;
use crate::control::upgrade::Program;
use crate::error::DaemonError;
use crate::inbox::Inbox;
use crate::own_health::own_problems::OwnProblems;
use crate::reporting::console_reporter::EventSink;
use crate::reporting::receivers;
use crate::running::systemd::Manager;
use crate::start::recovery::Recovery;
use crate::storage::databases::Databases;
use crate::storage::directories::{Directories, records_dir};
use crate::storage::files;
use crate::storage::lock::{RECORDS_LOCK, STATE_LOCK, StateLock};
use crate::storage::state_id::{self, StateId};

/// The configuration and the other arguments of a start.
pub struct Start {
    /// The validated configuration.
    pub config: Config,
    /// Where the configuration came from, for a reload; `None` for one that a program made.
    pub sources: Option<Sources>,
    /// Receives every event, on the driver's thread: it must not block.
    pub sink: EventSink,
    /// State that the earlier program under this pid has handed over.
    pub handover: Handover,
    /// Descriptors that a service manager has kept for heartbeatd, by name.
    pub kept: Vec<(String, OwnedFd)>,
    /// The program to run for an upgrade; `None`: heartbeatd cannot be upgraded.
    pub program: Option<Program>,
}

impl Start {
    /// With a configuration that came from no file, and no program before this one.
    #[must_use]
    pub fn new(config: Config, sink: EventSink) -> Self {
        Self { config, sources: None, sink, handover: Handover::default(), kept: Vec::new(), program: None }
    }
}

/// The state before anything acts.
pub(crate) struct Prepared {
    /// With the registered realms that fit, and with retired realms for processes that no file has any more.
    pub(crate) config: Config,
    pub(crate) sources: Option<Sources>,
    pub(crate) sink: EventSink,
    pub(crate) handover: Handover,
    pub(crate) kept: BTreeMap<RealmName, OwnedFd>,
    pub(crate) program: Option<Program>,
    pub(crate) receivers: Vec<Receiver>,
    /// The endpoint of the dead man's signal.
    pub(crate) ping: Option<Endpoint>,
    pub(crate) otlp: Option<Endpoint>,
    pub(crate) access: Access,
    pub(crate) tls: Option<TlsServer>,
    /// Where adoption records lie.
    pub(crate) records: PathBuf,
    pub(crate) directories: Directories,
    pub(crate) locks: Arc<Mutex<Vec<StateLock>>>,
    pub(crate) instance_tag: String,
    pub(crate) groups: Option<PathBuf>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) problems: Arc<OwnProblems>,
    pub(crate) databases: Databases,
    pub(crate) recovery: Recovery,
    /// Notifications that an earlier heartbeatd has not delivered.
    pub(crate) outbox: Vec<OutboxEntry>,
    /// All registrations on disk.
    pub(crate) registered: BTreeMap<String, Value>,
    /// Why the id of the state directory was lost, if it was.
    pub(crate) lost_id: Option<String>,
}

impl Prepared {
    /// # Errors
    /// [`DaemonError`] names what could not be prepared; nothing has been started then.
    pub(crate) fn new(start: Start) -> Result<Self, DaemonError> {
        let Start { config, sources, sink, mut handover, kept, program } = start;
        let kept: BTreeMap<RealmName, OwnedFd> =
            kept.into_iter().filter_map(|(name, held)| Some((Manager::kept(&name)?, held))).collect();
        let receivers = receivers::receivers(&config.notify)
            .map_err(|(name, source)| DaemonError::Receiver { name, source })?;
        let ping = receivers::ping(config.heartbeat.ping.as_deref())
            .map_err(|source| DaemonError::Receiver { name: "ping".to_owned(), source: source.into() })?;
        let otlp = receivers::otlp(config.heartbeat.otlp.as_deref())
            .map_err(|source| DaemonError::Receiver { name: "otlp".to_owned(), source: source.into() })?;
        let heartbeat = &config.heartbeat;
        let access = access(heartbeat)?;
        let tls = tls(heartbeat).map_err(|source| DaemonError::Tls { source })?;
        let records = records_dir(heartbeat);
        let directories = Directories::of(heartbeat, &records);
        directories.prepare()?;
        let history = lost_history(heartbeat, &records);
        let locks = vec![
            StateLock::take(&heartbeat.state_dir, STATE_LOCK, &mut handover)?,
            StateLock::take(&records, RECORDS_LOCK, &mut handover)?,
        ];
        note_state_dir(heartbeat, &records);
        let StateId { id: instance_tag, lost: lost_id, .. } = state_id::of(&heartbeat.state_dir)?;
        let groups = control_groups(heartbeat, &instance_tag);
        let inbox = Arc::new(Inbox::default());
        let problems = Arc::new(OwnProblems::new(Arc::clone(&inbox)));
        // What the disk has refused above.
        let refused = directories.restore();
        if let (Some(lost), None) = (history, &refused) {
            tracing::error!("{lost}");
            problems.note_damage(lost);
        }
        problems.set(OwnProblemKind::Directories, refused);
        let databases = Databases::open(&heartbeat.state_dir, keep(heartbeat), &problems)?;
        let search = (instance_tag.as_str(), groups.as_deref());
        let mut remembered = databases.remembered();
        let outbox = std::mem::take(&mut remembered.outbox);
        let mut recovery = Recovery::look(&records, &config, search, &kept, &remembered)?;
        recovery.open.leave_out(|id| databases.has_incident(id));
        let outbox = recovery.open.outbox(outbox);
        let registered = recovery.intent().registered;
        let (config, aside) = registrations::beside(config, &registered, |name| recovery.is_there(name));
        for aside in aside {
            tracing::warn!("{aside}");
        }
        Ok(Self {
            config: recovery.retire(config),
            sources,
            sink,
            handover,
            kept,
            program,
            receivers,
            ping,
            otlp,
            access,
            tls,
            records,
            directories,
            locks: Arc::new(Mutex::new(locks)),
            instance_tag,
            groups,
            inbox,
            problems,
            databases,
            recovery,
            outbox,
            registered,
            lost_id,
        })
    }
}

/// Who may do what over the socket and over TCP.
fn access(heartbeat: &Heartbeat) -> Result<Access, DaemonError> {
    let read = |path: &PathBuf| {
        let read = heartbeat_process::read_token(path);
        let token = read.and_then(|token| {
            Token::new(&token).map_err(|short| PrivateFileError::Short { bytes: short.bytes })
        });
        token.map_err(|source| DaemonError::Token { path: path.clone(), source })
    };
    Ok(Access {
        socket_group: heartbeat.socket_group,
        hosts: heartbeat.hosts.clone(),
        token: heartbeat.token_file.as_ref().map(read).transpose()?,
        tls: None,
    })
}

/// The certificate of the TCP listener.
pub(crate) fn tls(heartbeat: &Heartbeat) -> Result<Option<TlsServer>, TlsOptionsError> {
    let files = heartbeat.tls.as_ref().filter(|_| heartbeat.listen.is_some());
    files.map(|files| own_files::tls(heartbeat, files)).transpose()
}

/// The file beside adoption records that names the state directory of the heartbeatd that ran last, and its first words.
const STATE_DIR_FILE: &str = "state.dir";
const STATE_DIR_MAGIC: &str = "heartbeat-state-dir/1";

/// What to tell when an earlier heartbeatd has run with this state directory, and its history is gone. A state directory
/// that is new has lost nothing, whatever has run with the same runtime directory before.
fn lost_history(heartbeat: &Heartbeat, records: &Path) -> Option<String> {
    let path = heartbeat.state_dir.join("history.db");
    let was_last = || {
        let last = files::look(&records.join(STATE_DIR_FILE), STATE_DIR_MAGIC).ok().flatten();
        last.is_some_and(|last| last.trim_end() == state_dir_line(heartbeat).trim_end())
    };
    // A start that was refused leaves a lock there, and no id.
    let has_run = state_id::path(&heartbeat.state_dir).exists() || was_last();
    (has_run && !path.exists()).then(|| {
        let (path, now) = (path.display(), clock::wall());
        format!("{path} is gone, although heartbeatd has run here before: history begins anew at {now}")
    })
}

/// Writes which state directory this heartbeatd has. On a disk that refuses it, a later one misses the loss of the whole
/// directory, and nothing else.
fn note_state_dir(heartbeat: &Heartbeat, records: &Path) {
    let _ = files::write(&records.join(STATE_DIR_FILE), STATE_DIR_MAGIC, &state_dir_line(heartbeat), false);
}

fn state_dir_line(heartbeat: &Heartbeat) -> String {
    let path = std::path::absolute(&heartbeat.state_dir).unwrap_or_else(|_| heartbeat.state_dir.clone());
    format!("{}\n", path.display())
}

/// How far history reaches.
fn keep(heartbeat: &Heartbeat) -> Keep {
    Keep { history: heartbeat.history, max_bytes: heartbeat.history_max_bytes }
}

/// The directory for the control groups of realms. Without one, heartbeatd finds their trees by other means, and misses
/// a process that has left them all: that is a log message, and no error.
fn control_groups(heartbeat: &Heartbeat, instance_tag: &str) -> Option<PathBuf> {
    if !heartbeat.cgroups {
        return None;
    }
    match heartbeat_process::own_groups(instance_tag) {
        Ok(groups) => Some(groups),
        Err(why) => {
            tracing::info!("realms have no control groups of their own: {why}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn history_is_lost_where_heartbeatd_had_its_state_and_nowhere_else() {
        let base = tempfile::tempdir().unwrap();
        let (records, state) = (base.path().join("realms"), base.path().join("state"));
        for dir in [&records, &state] {
            std::fs::create_dir(dir).unwrap();
        }
        let heartbeat = |name: &str| {
            let mut heartbeat = sample::config("[realm.db]\nrun = \"sleep 9\"\n").heartbeat;
            heartbeat.state_dir = base.path().join(name);
            heartbeat
        };
        let is_lost = |name: &str| lost_history(&heartbeat(name), &records).is_some();
        assert!(!is_lost("state"), "the first start");
        note_state_dir(&heartbeat("state"), &records);
        std::fs::write(records.join(RECORDS_LOCK), "").unwrap();
        assert!(!is_lost("state2"), "a new state directory with the same runtime directory");
        assert!(is_lost("state"), "the whole directory was emptied");
        std::fs::write(state.join("history.db"), "").unwrap();
        assert!(!is_lost("state"));
        std::fs::remove_file(state.join("history.db")).unwrap();
        std::fs::remove_file(records.join(STATE_DIR_FILE)).unwrap();
        assert!(!is_lost("state"));
        std::fs::write(state.join(STATE_LOCK), "").unwrap();
        assert!(!is_lost("state"), "a start that was refused");
        std::fs::write(state.join("id"), "").unwrap();
        assert!(is_lost("state"), "the file alone was removed");
    }
}
