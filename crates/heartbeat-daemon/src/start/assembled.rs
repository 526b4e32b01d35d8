//! heartbeatd with all its parts and nothing running: the core with its restored state, the adapters, and the API,
//! which is bound and answers nothing yet.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use heartbeat_api::{Access, Api, Limits};
use heartbeat_notify::Notifier;
use heartbeat_process::{Notice, Processes, Settings, UsageReader};
use heartbeat_status::{OwnProblemKind, RealmName};
use heartbeat_supervisor::Supervisor;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::active_config::{ActiveConfig, SharedConfig};
use crate::control::daemon_handle::DaemonHandle;
use crate::control::listeners::Listeners;
use crate::control::mutes::{Mutes, Ways};
use crate::control::reload::Reloader;
use crate::control::upgrade::Upgrader;
use crate::error::DaemonError;
use crate::inbox::{Inbox, Request};
use crate::own_health::descriptors::{self, Budget};
use crate::own_health::lag::{ProbingLag, Pulse};
use crate::own_health::lateness::Lateness;
use crate::own_health::own_problems::OwnProblems;
use crate::own_health::ping::Pinger;
use crate::own_health::recovery_problem::{Damage, RecoveryProblem};
use crate::realms::beats::Beats;
use crate::realms::commands::{CheckReplies, Commands};
use crate::realms::executor::Executor;
use crate::realms::logs::{self, RealmLogs};
use crate::realms::owner::Owners;
use crate::realms::prober::Prober;
use crate::realms::receiver_programs::ReceiverPrograms;
use crate::realms::usage::Sampler;
use crate::reporting::evidence::Witness;
use crate::reporting::history_recorder::HistoryRecorder;
use crate::reporting::incident_writer::IncidentWriter;
use crate::reporting::objectives::ObjectiveWatch;
use crate::reporting::otlp::Sender;
use crate::reporting::receivers::{self, NotificationCounts};
use crate::reporting::records::Records;
use crate::reporting::status_store::StatusStore;
use crate::reporting::trace::TraceRecorder;
use crate::reporting::trace_exporter::TraceExporter;
use crate::running::caretaker::{Care, Caretaker};
use crate::running::driver::{Driver, DriverState};
use crate::running::systemd::Manager;
use crate::start::open_incidents::ecosystem_path;
use crate::start::prepared::Prepared;
use crate::start::recovery::Recovery;
use crate::storage::databases::Databases;
use crate::storage::intent::IntentFile;
use crate::storage::lock::StateLock;
use crate::storage::spare_incidents::SpareIncidents;
use crate::{clock, random};

/// Threads of the runtime that serves the API and measures.
const WORKER_THREADS: usize = 2;

/// All parts: the driver, and those that it does not own.
pub(crate) struct Assembled {
    pub(crate) driver: Driver,
    pub(crate) runtime: Runtime,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) statuses: Arc<StatusStore>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) upgrader: Arc<Upgrader>,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) caretaker: Caretaker,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) locks: Arc<Mutex<Vec<StateLock>>>,
    /// The soft limit of descriptors that heartbeatd was started with.
    pub(crate) soft_descriptors: Option<u64>,
    pub(crate) socket: PathBuf,
}

impl Assembled {
    /// Puts the parts together and adopts the processes of an earlier heartbeatd. It starts nothing.
    ///
    /// # Errors
    /// [`DaemonError`] names the part that failed.
    pub(crate) fn new(prepared: Prepared) -> Result<Self, DaemonError> {
        let Prepared { config, mut handover, mut recovery, records, instance_tag, .. } = prepared;
        let Prepared { inbox, problems, databases, locks, kept, .. } = prepared;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .thread_name("hb-io")
            .enable_all()
            .build()
            .map_err(|source| DaemonError::Runtime { what: "runtime", source })?;
        let soft_descriptors = handover.numbers.remove("soft_descriptors").or_else(descriptors::raise);
        let budget = Budget::of(&config.realms, config.heartbeat.max_connections)?;
        let settings = Settings {
            runtime: config.heartbeat.runtime_dir.clone(),
            own_logs: config.heartbeat.state_dir.join("log"),
            soft_descriptors,
            // heartbeatd has only the children of the adapter.
            collects_orphans: true,
            records: records.clone(),
            instance_tag: instance_tag.clone(),
            groups: prepared.groups.clone(),
            ..Settings::default()
        };
        let replies = Arc::new(CheckReplies::default());
        let processes = open_processes(settings, &inbox, &replies, &problems)?;
        let commands = Arc::new(Commands::new(processes.commander(), replies));
        let counts = Arc::<NotificationCounts>::default();
        let spare = SpareIncidents::new(ecosystem_path(&records), recovery.open.unwritten());
        let spare = Arc::new(spare);
        let notifier = Arc::new(receivers::start(
            prepared.receivers,
            prepared.outbox,
            runtime.handle().clone(),
            Arc::clone(&databases.incidents),
            Arc::clone(&spare),
            ReceiverPrograms(Arc::clone(&commands)),
            (Arc::clone(&problems), Arc::clone(&counts)),
        ));

        let mut supervisor = Supervisor::new(config.plan.clone(), random::number());
        let plan = Arc::clone(supervisor.plan_in_force());
        let config = SharedConfig::new(ActiveConfig::new(1, config, plan));
        let active = config.current();
        let statuses = restored(&mut supervisor, &config, &recovery, &databases, &problems);
        let lost = prepared.lost_id.into_iter().map(|message| Damage { realm: None, message });
        let damages = lost.chain(std::mem::take(&mut recovery.damages)).collect();
        let earlier = recovery.open.damages();
        let recovery_problem = RecoveryProblem::new(clock::now(), earlier, damages, Arc::clone(&problems));
        let writes = Arc::clone(&inbox);
        let intent =
            IntentFile::open(&active.heartbeat.state_dir, recovery.intent(), move |version, problem| {
                writes.request(Request::IntentWritten { version, problem });
            })?;
        let tls = prepared.tls.map(watch::Sender::new);
        let access = Access { tls: tls.as_ref().map(watch::Sender::subscribe), ..prepared.access };
        let reloader = Arc::new(Reloader::new(
            prepared.sources,
            tls,
            Arc::clone(&inbox),
            Arc::clone(&statuses),
            intent.writer(),
            prepared.registered,
        ));
        {
            let _within = runtime.enter();
            reloader.list(active.revision);
        }
        let upgrader = Arc::new(Upgrader::new(prepared.program, Arc::clone(&commands), Arc::clone(&inbox)));
        let beats = Arc::new(Beats::open(&active.heartbeat.state_dir, recovery.open.anchor()));
        let reader = UsageReader::new(prepared.groups.clone(), instance_tag.clone());
        let sampler = Arc::new(Sampler::new(reader));
        let prober = Prober::new(
            runtime.handle(),
            Arc::clone(&inbox),
            config.clone(),
            (active.heartbeat.max_probes_in_flight, budget.probes),
            Arc::new(Owners::new(instance_tag.clone(), Arc::clone(&sampler))),
            commands,
            Arc::clone(&beats),
        );
        let witness = Witness {
            statuses: Arc::clone(&statuses),
            reader: UsageReader::new(prepared.groups, instance_tag.clone()),
            failures: prober.failures(),
            listings: Arc::clone(&reloader.listings),
        };
        let incident_writer = IncidentWriter::open(
            Arc::clone(&statuses),
            Arc::clone(&databases.incidents),
            heartbeat_process::boot_id(),
            (Arc::clone(&notifier), witness),
            spare,
        )?;
        for kept in recovery.open.orphaned(&active.plan, recovery.open.anchor()) {
            statuses.restore_ending(kept.clone());
            incident_writer.ended(kept.document);
        }
        let mutes = Arc::new(Mutes::new(
            recovery.intent().mutes,
            Ways {
                config: config.clone(),
                inbox: Arc::clone(&inbox),
                notifier: Arc::downgrade(&notifier),
                announcer: incident_writer.announcer(),
                intent: intent.writer(),
            },
        ));
        // Before the first announcement: a mute holds over a restart.
        mutes.apply();
        incident_writer.announce();
        runtime.spawn(Arc::clone(&mutes).keep());
        let handle = DaemonHandle {
            inbox: Arc::clone(&inbox),
            statuses: Arc::clone(&statuses),
            config: config.clone(),
            reloader: Arc::clone(&reloader),
            upgrader: Arc::clone(&upgrader),
            records: Records::new(
                Arc::clone(&statuses),
                &databases,
                counts,
                Arc::downgrade(&notifier),
                config.clone(),
            ),
            beats,
            mutes: Arc::clone(&mutes),
            failures: prober.failures(),
        };
        let limits = Limits {
            max_connections: budget.tcp_connections,
            max_socket_connections: budget.socket_connections,
            ..Limits::default()
        };
        let listeners = Arc::new(Listeners::bind(
            Api::new(Arc::new(handle), limits, access),
            runtime.handle().clone(),
            Arc::clone(&problems),
            &active.heartbeat,
            &mut handover,
        )?);
        let caretaker = Caretaker::start(Care {
            directories: prepared.directories,
            state_dir: active.heartbeat.state_dir.clone(),
            id: instance_tag.clone(),
            locks: Arc::clone(&locks),
            listeners: Arc::clone(&listeners),
            intent: intent.writer(),
            incidents: Arc::clone(&databases.incidents),
            history: Arc::clone(&databases.history),
            problems: Arc::clone(&problems),
        })?;
        let manager = service_manager(&kept, &recovery);
        let executor = adopted(processes, &config, recovery, &statuses, &problems)?;
        for realm in &statuses.snapshot().realms {
            if let Some(pid) = realm.process.pid {
                sampler.set_main(&realm.info.name, realm.process.run, pid);
            }
        }
        let state_dir = Arc::from(active.heartbeat.state_dir.as_path());
        runtime.spawn(Arc::clone(&sampler).watch(Arc::clone(&statuses), state_dir));
        let probing_lag = ProbingLag::default();
        runtime.spawn(probing_lag.clone().watch());
        let pinger = Pinger::start(runtime.handle(), Arc::clone(&statuses), Arc::clone(&problems));
        pinger.set(prepared.ping);
        let sender = Sender { ecosystem: statuses.name(), instance: statuses.instance().to_owned() };
        let exporter = TraceExporter::start(runtime.handle(), sender);
        exporter.set(prepared.otlp);
        let traces = TraceRecorder::new(statuses.started_at());
        let history = Arc::clone(&databases.history);
        let driver = Driver {
            supervisor,
            prober,
            executor,
            sampler,
            config,
            inbox: Arc::clone(&inbox),
            statuses: Arc::clone(&statuses),
            problems,
            listeners: Arc::clone(&listeners),
            recovery_problem,
            sink: prepared.sink,
            intent,
            manager,
            lateness: Lateness::new(Pulse::start()?, probing_lag),
            boot: heartbeat_process::boot_id(),
            incident_db: Arc::clone(&databases.incidents),
            objectives: ObjectiveWatch::new(Arc::clone(&history)),
            history: HistoryRecorder::new(history, statuses.figures(), heartbeat_process::boot_id()),
            incident_writer,
            traces,
            exporter,
            boot_deadline: Some(clock::now() + active.heartbeat.boot_deadline),
            budget,
            pinger,
            notifier: Arc::clone(&notifier),
            mutes,
            state: DriverState::default(),
        };
        let socket = active.heartbeat.socket.clone();
        Ok(Self {
            driver,
            runtime,
            inbox,
            statuses,
            reloader,
            upgrader,
            listeners,
            caretaker,
            notifier,
            locks,
            soft_descriptors,
            socket,
        })
    }
}

/// Opens the process adapter. Its notices go to the inbox, unless they answer a check command.
fn open_processes(
    settings: Settings,
    inbox: &Arc<Inbox>,
    replies: &Arc<CheckReplies>,
    problems: &Arc<OwnProblems>,
) -> Result<Processes, DaemonError> {
    let (inbox, replies, problems) = (Arc::clone(inbox), Arc::clone(replies), Arc::clone(problems));
    let sink = move |notice| {
        if let Notice::RecordsFail { problem } = notice {
            problems.set(OwnProblemKind::Records, problem);
        } else if let Some(notice) = replies.take(notice) {
            inbox.notice(notice);
        }
    };
    Processes::open(settings, Arc::new(RealmLogs), sink).map_err(|source| DaemonError::Processes { source })
}

/// Restores the core. The status store then has its first snapshot, and the open incidents.
fn restored(
    supervisor: &mut Supervisor,
    config: &SharedConfig,
    recovery: &Recovery,
    databases: &Databases,
    problems: &Arc<OwnProblems>,
) -> Arc<StatusStore> {
    let (active, anchor) = (config.current(), recovery.open.anchor());
    supervisor.restore(clock::now(), recovery.memory(&active.plan, &active.realms, anchor));
    let first = supervisor.snapshot(clock::now());
    let statuses = StatusStore::new(first, config.clone(), random::instance(), anchor, Arc::clone(problems));
    statuses.restore_incidents(recovery.open.over());
    statuses.restore_incidents(recovery.open.of(&active.plan));
    // The notifications first: the end of an incident is not on disk without them.
    recovery.open.give(&databases.incidents);
    statuses.save_incidents(&heartbeat_process::boot_id(), &databases.incidents);
    Arc::new(statuses)
}

/// The service manager, without the descriptors of processes that are gone.
fn service_manager(kept: &BTreeMap<RealmName, OwnedFd>, recovery: &Recovery) -> Manager {
    let manager = Manager::find();
    for realm in kept.keys().filter(|realm| !recovery.is_alive(realm)) {
        manager.forget(realm);
    }
    if std::process::id() == 1 {
        tracing::warn!(
            "as process 1: when heartbeatd ends, the kernel ends every realm with it, and nothing is adopted"
        );
    }
    manager
}

/// The executor, with the processes that an earlier heartbeatd has left running.
fn adopted(
    processes: Processes,
    config: &SharedConfig,
    recovery: Recovery,
    statuses: &StatusStore,
    problems: &Arc<OwnProblems>,
) -> Result<Executor, DaemonError> {
    let (active, alive) = (config.current(), recovery.alive());
    recovery.adopt(&active.plan, &active.realms, &processes);
    let mut executor = Executor::new(processes, logs::keeper(problems)?, config.clone());
    for realm in &statuses.snapshot().realms {
        if let Some(pid) = realm.process.pid {
            executor.adopted(realm.info.ix, realm.process.run, pid);
        }
    }
    if alive > 0 {
        tracing::info!(realms = alive, "taken over from an earlier heartbeatd");
    }
    Ok(executor)
}
