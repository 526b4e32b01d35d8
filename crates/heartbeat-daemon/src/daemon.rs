//! Composition: from a configuration to a running heartbeatd, and to its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_api::{Access, Api, Limits};
use heartbeat_config::{Config, Heartbeat, Sources};
use heartbeat_notify::Notifier;
use heartbeat_process::{Handover, Notice, Processes, Settings};
use heartbeat_status::{OwnProblemKind, RealmName, Snapshot, WallAnchor};
use heartbeat_supervisor::Supervisor;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::DaemonError;
use crate::RealmLogs;
use crate::clock;
use crate::control::daemon_handle::DaemonHandle;
use crate::control::listeners::Listeners;
use crate::control::registering;
use crate::control::reload::Reloader;
use crate::control::signals;
use crate::control::upgrade::{Program, Upgrader};
use crate::inbox::{Inbox, Request};
use crate::own_health::descriptors::{self, Budget};
use crate::own_health::lag::{ProbingLag, Pulse};
use crate::own_health::own_problems::OwnProblems;
use crate::own_health::recovery_problem::{Damage, RecoveryProblem};
use crate::realms::commands::Commands;
use crate::realms::executor::Executor;
use crate::realms::logs;
use crate::realms::owner::Owners;
use crate::realms::prober::Prober;
use crate::reporting::history_recorder::HistoryRecorder;
use crate::reporting::incident_writer::IncidentWriter;
use crate::reporting::receivers;
use crate::reporting::records::Records;
use crate::reporting::status_store::StatusStore;
use crate::running::caretaker::{Care, Caretaker};
use crate::running::driver::{Departure, Driver, DriverState, EventSink};
use crate::running::systemd::Manager;
use crate::start::recovery;
use crate::start::recovery::Recovery;
use crate::start::token_file;
use crate::storage::databases::Databases;
use crate::storage::directories::Directories;
use crate::storage::intent::IntentFile;
use crate::storage::lock::StateLock;
use crate::storage::state_id;
use crate::storage::stored::StoredIntent;

/// Threads of the runtime that serves the API and measures.
const WORKER_THREADS: usize = 2;
/// What the API may still take to answer after everything has stopped.
const API_GRACE: Duration = Duration::from_millis(1_500);

/// What a heartbeatd is started with.
pub struct Start {
    /// The validated configuration.
    pub config: Config,
    /// Where the configuration came from, to be read again when it is asked for.
    pub sources: Option<Sources>,
    /// Receives every event, on the driver's thread: it must not block.
    pub sink: EventSink,
    /// What the program before under this pid has handed over.
    pub handover: Handover,
    /// What a service manager has kept for us, by name.
    pub kept: Vec<(String, OwnedFd)>,
    /// What is run when heartbeatd is upgraded; `None`: it cannot be.
    pub program: Option<Program>,
}

impl Start {
    /// With a configuration that came from nowhere, and nothing before it.
    #[must_use]
    pub fn new(config: Config, sink: EventSink) -> Self {
        Self { config, sources: None, sink, handover: Handover::default(), kept: Vec::new(), program: None }
    }
}

/// How a heartbeatd has ended.
#[derive(Debug)]
pub enum Ended {
    /// Everything is stopped.
    Stopped,
    /// It was told to leave: every realm runs on.
    Left,
    /// Every realm runs on, and this is for the program that follows under the same pid.
    Upgrade(Handover),
}

/// A running heartbeatd.
pub struct Daemon {
    inbox: Arc<Inbox>,
    statuses: Arc<StatusStore>,
    reloader: Arc<Reloader>,
    driver: Option<JoinHandle<Departure>>,
    upgrader: Arc<Upgrader>,
    listeners: Arc<Listeners>,
    caretaker: Caretaker,
    soft_descriptors: Option<u64>,
    runtime: Option<Runtime>,
    notifier: Arc<Notifier>,
    socket: PathBuf,
    locks: Arc<Mutex<Vec<StateLock>>>,
}

impl Daemon {
    /// Prepares the directories, takes the locks, takes back what an earlier heartbeatd has left running, opens the doors,
    /// and only then starts the first realm.
    ///
    /// # Errors
    /// [`DaemonError`] names what could not be prepared; nothing has been started then.
    pub fn start(start: Start) -> Result<Self, DaemonError> {
        let Start { config, sources, sink, mut handover, kept, program } = start;
        let kept: BTreeMap<RealmName, OwnedFd> =
            kept.into_iter().filter_map(|(name, held)| Some((Manager::kept(&name)?, held))).collect();
        let receivers = receivers::receivers(&config.webhooks)
            .map_err(|(name, source)| DaemonError::Receiver { name, source })?;
        let access = access(&config.heartbeat)?;
        let records = records_dir(&config.heartbeat);
        let directories = Directories::of(&config.heartbeat, &records);
        directories.prepare()?;
        let locks = vec![
            take_lock(&mut handover, "lock", &config.heartbeat.state_dir)?,
            take_lock(&mut handover, "daemon.lock", &records)?,
        ];
        let locks = Arc::new(Mutex::new(locks));
        let (mark, lost_id) = state_id::of(&config.heartbeat.state_dir)?;
        let groups = control_groups(&config.heartbeat, &mark);
        let inbox = Arc::new(Inbox::default());
        let problems = Arc::new(OwnProblems::new(Arc::clone(&inbox)));
        let databases = Databases::open(&config.heartbeat.state_dir, &problems)?;
        let search = (mark.as_str(), groups.as_deref());
        let mut remembered = databases.remembered();
        let outbox = std::mem::take(&mut remembered.outbox);
        let mut recovery = Recovery::look(&records, &config, search, &kept, &remembered)?;
        let registered = recovery.intent().registered;
        let (config, aside) = registering::beside(config, &registered, |name| recovery.is_there(name));
        for aside in aside {
            tracing::warn!("{aside}");
        }
        let Config { heartbeat, plan, realms, webhooks, registering, .. } = recovery.retire(config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .thread_name("hb-io")
            .enable_all()
            .build()
            .map_err(|source| DaemonError::Runtime { what: "runtime", source })?;
        let names = plan.realms().iter().map(|realm| realm.name.clone()).collect();
        let realms = Arc::new(realms);
        let owners = Arc::new(Owners::new(mark.clone()));
        let commands = Arc::new(Commands::default());
        let soft_descriptors = handover.numbers.remove("soft_descriptors").or_else(descriptors::raise);
        let budget = Budget::of(&realms, heartbeat.max_connections)?;
        let processes = open_processes(
            (&records, &heartbeat.runtime_dir),
            (mark.clone(), groups),
            soft_descriptors,
            &inbox,
            &commands,
            &problems,
        )?;
        commands.open(processes.commander());
        let upgrader = Arc::new(Upgrader::new(program, Arc::clone(&commands), Arc::clone(&inbox)));
        let in_flight = (heartbeat.max_probes_in_flight, budget.probes);
        let mut prober =
            Prober::new(runtime.handle().clone(), Arc::clone(&inbox), in_flight, owners, commands);
        prober.equip(&plan, &realms);
        let outbox_db = Arc::clone(&databases.incidents);
        let notifier = Arc::new(receivers::start(receivers, outbox, runtime.handle().clone(), outbox_db));
        let mut supervisor = Supervisor::new(plan, random());
        let anchor = recovery.anchor();
        let plan = Arc::clone(supervisor.plan_in_force());
        supervisor.restore(clock::now(), recovery.memory(&plan, &realms, anchor));
        let first = supervisor.snapshot(clock::now());
        let statuses = Arc::new(StatusStore::new(
            first,
            Arc::clone(&realms),
            instance(),
            heartbeat.name.clone(),
            anchor,
            Arc::clone(&problems),
        ));
        statuses.restore_incidents(recovery.incidents(&plan));
        statuses.save_incidents(&heartbeat_process::boot_id(), &databases.incidents);
        databases.retire_file(recovery::ecosystem_path(&records));
        let lost = lost_id.into_iter().chain(databases.take_damages());
        let lost = lost.map(|message| Damage { realm: None, message });
        let damages = lost.chain(std::mem::take(&mut recovery.damages)).collect();
        let recovery_problem = RecoveryProblem::new(clock::now(), damages, Arc::clone(&problems));
        let incident_writer = IncidentWriter::open(
            Arc::clone(&statuses),
            Arc::clone(&databases.incidents),
            heartbeat_process::boot_id(),
            Arc::clone(&notifier),
        )?;
        for document in recovery.orphaned_incidents(&plan, anchor) {
            incident_writer.ended(document);
        }
        incident_writer.announce();
        let intent = open_intent(&heartbeat, recovery.intent(), &inbox)?;
        let reloader = Arc::new(Reloader::new(
            sources,
            Arc::clone(&inbox),
            Arc::clone(&statuses),
            intent.writer(),
            registered,
        ));
        let surface = DaemonHandle::new(
            Arc::clone(&inbox),
            Arc::clone(&statuses),
            Arc::clone(&reloader),
            Arc::clone(&upgrader),
            Records::new(Arc::clone(&statuses), &databases),
        );
        let limits = Limits {
            max_connections: budget.tcp_connections,
            max_socket_connections: budget.socket_connections,
            ..Limits::default()
        };
        let listeners = Arc::new(Listeners::bind(
            Api::new(Arc::new(surface), limits, access),
            runtime.handle().clone(),
            Arc::clone(&problems),
            &heartbeat,
            &mut handover,
        )?);
        upgrader.drains(Arc::clone(&listeners));
        let socket = heartbeat.socket.clone();
        let caretaker = Caretaker::start(Care {
            directories,
            state_dir: heartbeat.state_dir.clone(),
            id: mark,
            locks: Arc::clone(&locks),
            listeners: Arc::clone(&listeners),
            intent: intent.writer(),
            problems: Arc::clone(&problems),
        })?;
        let manager = Manager::find();
        for realm in kept.keys().filter(|realm| !recovery.is_alive(realm)) {
            manager.forget(realm);
        }
        if std::process::id() == 1 {
            tracing::warn!(
                "as process 1: when heartbeatd ends, the kernel ends every realm with it, and nothing is taken back"
            );
        }
        let alive = recovery.alive();
        recovery.adopt(&plan, &realms, &processes);
        let mut executor = Executor::new(processes, logs::keeper(&problems)?, realms, names);
        for realm in &statuses.snapshot().realms {
            if let Some(pid) = realm.process.pid {
                executor.adopted(realm.info.ix, realm.process.run, pid);
            }
        }
        if alive > 0 {
            tracing::info!(realms = alive, "taken over from an earlier heartbeatd");
        }
        let probing_lag = ProbingLag::default();
        runtime.spawn(probing_lag.clone().watch());
        let driver = Driver {
            supervisor,
            prober,
            executor,
            inbox: Arc::clone(&inbox),
            statuses: Arc::clone(&statuses),
            problems: Arc::clone(&problems),
            listeners: Arc::clone(&listeners),
            recovery_problem,
            sink,
            intent,
            manager,
            pulse: Pulse::start()?,
            probing_lag,
            boot: heartbeat_process::boot_id(),
            incident_db: Arc::clone(&databases.incidents),
            history: HistoryRecorder::new(
                Arc::clone(&databases.history),
                statuses.figures(),
                heartbeat_process::boot_id(),
            ),
            incident_writer,
            boot_deadline: Some(clock::now() + heartbeat.boot_deadline),
            budget,
            notifier: Arc::clone(&notifier),
            heartbeat,
            webhooks,
            registering,
            state: DriverState::default(),
        };
        let driver = std::thread::Builder::new()
            .name("hb-driver".to_owned())
            .spawn(move || driver.run())
            .map_err(|source| DaemonError::Runtime { what: "driver thread", source })?;
        Ok(Self {
            inbox,
            statuses,
            reloader,
            driver: Some(driver),
            upgrader,
            listeners,
            caretaker,
            soft_descriptors,
            runtime: Some(runtime),
            notifier,
            socket,
            locks,
        })
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.statuses.snapshot()
    }

    /// Changes with every published snapshot.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.statuses.changes()
    }

    pub(crate) fn statuses(&self) -> Arc<StatusStore> {
        Arc::clone(&self.statuses)
    }

    /// What turns the times of snapshots and events into wall times.
    #[must_use]
    pub fn anchor(&self) -> WallAnchor {
        self.statuses.about().anchor
    }

    /// The Unix socket it answers on.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs `task` beside the API until it is done or the daemon ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// Stops everything in reverse order; `now` kills at once.
    pub fn shutdown(&self, now: bool) {
        self.inbox.request(Request::Shutdown { now });
    }

    /// Lets TERM and INT stop everything in order, and the second of them at once; HUP reloads, QUIT leaves every realm
    /// running, USR2 upgrades in place. The signals by which containers and hosts are told to end do what TERM does.
    ///
    /// # Errors
    /// [`DaemonError::Runtime`] when the handlers cannot be installed.
    pub fn stop_on_signals(&self) -> Result<(), DaemonError> {
        let Some(runtime) = &self.runtime else { return Ok(()) };
        signals::obey(runtime, &self.inbox, &self.reloader, &self.upgrader)
            .map_err(|source| DaemonError::Runtime { what: "signal handlers", source })
    }

    /// Waits until everything is stopped, or is to be left, and closes the doors.
    ///
    /// # Errors
    /// [`DaemonError::Driver`] when the driver did not come to its end.
    pub fn wait(mut self) -> Result<Ended, DaemonError> {
        let departure = self.driver.take().and_then(|driver| driver.join().ok());
        // Nothing is restored any more.
        drop(self.caretaker);
        // At once: a receiver that does not answer must not keep the API of a heartbeatd that has ended.
        self.listeners.end();
        // The driver is gone, and with it every other thread that notifies.
        if let (Some(runtime), Some(notifier)) = (&self.runtime, Arc::into_inner(self.notifier)) {
            runtime.block_on(notifier.close(receivers::PATIENCE));
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(API_GRACE);
        }
        if departure != Some(Departure::Upgrade) {
            self.listeners.remove_socket();
        }
        match departure {
            Some(Departure::Stopped) => Ok(Ended::Stopped),
            Some(Departure::Left) => Ok(Ended::Left),
            Some(Departure::Upgrade) => {
                let share = |source| DaemonError::Runtime { what: "handover", source };
                let mut handover = Handover::default();
                self.listeners.hand_over(&mut handover).map_err(share)?;
                for lock in &*self.locks.lock().unwrap_or_else(PoisonError::into_inner) {
                    handover.descriptors.insert(lock.name().to_owned(), lock.share().map_err(share)?);
                }
                let soft = self.soft_descriptors.map(|soft| ("soft_descriptors".to_owned(), soft));
                handover.numbers.extend(soft);
                Ok(Ended::Upgrade(handover))
            }
            None => Err(DaemonError::Driver),
        }
    }
}

/// The lock of a directory: the one that was handed over, or a new one.
fn take_lock(handover: &mut Handover, name: &'static str, dir: &Path) -> Result<StateLock, DaemonError> {
    match handover.descriptors.remove(name) {
        Some(descriptor) => StateLock::inherit(descriptor, dir, name),
        None => StateLock::take(dir, name),
    }
}

/// Who may do what over the socket and over TCP.
fn access(heartbeat: &Heartbeat) -> Result<Access, DaemonError> {
    let read = |path: &PathBuf| {
        token_file::read(path).map_err(|source| DaemonError::Token { path: path.clone(), source })
    };
    Ok(Access {
        socket_group: heartbeat.socket_group,
        hosts: heartbeat.hosts.clone(),
        token: heartbeat.token_file.as_ref().map(read).transpose()?,
    })
}

/// Where adoption records lie: in the runtime directory, if that outlives us. systemd removes one that it has made when
/// the service ends, unless the unit says otherwise, which the one of `packaging/` does, in this variable, too.
pub(crate) fn records_dir(heartbeat: &Heartbeat) -> PathBuf {
    let removed = std::env::var("RUNTIME_DIRECTORY").is_ok_and(|dirs| {
        dirs.split(':').any(|dir| !dir.is_empty() && heartbeat.runtime_dir.starts_with(dir))
    });
    let preserved = std::env::var_os("HEARTBEAT_RUNTIME_PRESERVED").is_some_and(|said| said == "yes");
    if removed && !preserved { heartbeat.state_dir.join("run") } else { heartbeat.runtime_dir.join("realms") }
}

fn open_intent(
    heartbeat: &Heartbeat,
    stored: StoredIntent,
    inbox: &Arc<Inbox>,
) -> Result<IntentFile, DaemonError> {
    let inbox = Arc::clone(inbox);
    IntentFile::open(&heartbeat.state_dir, stored, move |version, problem| {
        inbox.request(Request::IntentWritten { version, problem });
    })
}

/// Where realms get control groups of their own. Without any, their trees are found by other means, and what has left them
/// all is missed: worth a word, and no more.
fn control_groups(heartbeat: &Heartbeat, mark: &str) -> Option<PathBuf> {
    if !heartbeat.cgroups {
        return None;
    }
    match heartbeat_process::own_groups(mark) {
        Ok(groups) => Some(groups),
        Err(why) => {
            tracing::info!("realms have no control groups of their own: {why}");
            None
        }
    }
}

fn open_processes(
    (records, runtime_dir): (&Path, &Path),
    (mark, groups): (String, Option<PathBuf>),
    soft_descriptors: Option<u64>,
    inbox: &Arc<Inbox>,
    commands: &Arc<Commands>,
    problems: &Arc<OwnProblems>,
) -> Result<Processes, DaemonError> {
    let settings = Settings {
        runtime: runtime_dir.to_owned(),
        soft_descriptors,
        // heartbeatd has no children but those of the adapter.
        collects_orphans: true,
        records: records.to_owned(),
        instance_tag: mark,
        groups,
        ..Settings::default()
    };
    let (inbox, commands, problems) = (Arc::clone(inbox), Arc::clone(commands), Arc::clone(problems));
    let sink = move |notice| {
        if let Notice::RecordsFail { problem } = notice {
            problems.set(OwnProblemKind::Records, problem);
            return;
        }
        if let Some(notice) = commands.take(notice) {
            inbox.notice(notice);
        }
    };
    Processes::open(settings, Arc::new(RealmLogs), sink).map_err(|source| DaemonError::Processes { source })
}

/// Seeds and names: read once, so the kernel's source is asked directly. Without it the clock has to do.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    match File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes)) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => clock::now().as_nanos() ^ (u64::from(std::process::id()) << 32),
    }
}

/// Random bytes for identifiers.
pub(crate) fn random_bytes() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&random().to_ne_bytes());
    bytes[8..].copy_from_slice(&random().to_ne_bytes()[..2]);
    bytes
}

/// A short name for this life of heartbeatd.
fn instance() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    const LENGTH_CHARS: u32 = 6;
    let seed = random();
    (0..LENGTH_CHARS)
        .map(|at| char::from(ALPHABET[usize::try_from(seed >> (5 * at) & 31).unwrap_or(0)]))
        .collect()
}
