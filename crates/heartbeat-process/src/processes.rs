//! The handle: orders go in without waiting, notices come out on the reaper's thread.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_status::{RealmName, Signal};

use crate::cgroup::Cgroup;
use crate::notice::{CommandRunId, Key, Notice};
use crate::notify::NotifyListener;
use crate::queue::{ReaperCommand, ReaperQueue};
use crate::reaper::Reaper;
use crate::record::Origin;
use crate::run::{Launching, Owner, Places, ProcessTree, Request, Run};
use crate::spawn::{Launch, SpawnQueue, Spawner};
use crate::tags::{command_tagged, random_word, tagged, tell_where};
use crate::{
    IdentityDigest, LaunchSpec, LogFiles, LogTarget, ProcessError, Readiness, Settings, Survivor,
    reserved_fds,
};

/// The launcher is made once nothing was to be started for this long.
const REFILL_AFTER: Duration = Duration::from_millis(20);

struct Wanted {
    owner: Owner,
    realm: Option<RealmName>,
    spec: LaunchSpec,
    limit: Option<Duration>,
    identity: IdentityDigest,
    /// What tells its processes from those of every other run.
    word: Option<String>,
    /// Only look whether its program can be used.
    check: bool,
}

/// Runs commands, from any thread; a clone is the same. No call waits. Once its [`Processes`] is closed nothing is run
/// and nothing is answered any more.
#[derive(Clone)]
pub struct Commander {
    orders: Arc<ReaperQueue>,
    spawns: Arc<SpawnQueue<Wanted>>,
    instance_tag: Arc<str>,
}

impl std::fmt::Debug for Commander {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commander").finish_non_exhaustive()
    }
}

impl Commander {
    /// Runs a command in a session of its own: answered by `CommandDone`, within `timeout` after its start at the
    /// latest, at which its whole process group is killed. What it leaves in its group or session when it ends by
    /// itself is killed, too. If its output is captured (an exec probe), nothing of it survives at all: it is given
    /// a tag in its environment (`HEARTBEAT_COMMAND`) by which also a daemon in a session of its own is found.
    pub fn run_command(&self, id: CommandRunId, spec: &LaunchSpec, timeout: Duration) {
        self.want(Wanted {
            owner: Owner::Command(id),
            realm: None,
            spec: command_tagged(spec, id, &self.instance_tag),
            limit: Some(timeout),
            identity: IdentityDigest::default(),
            word: None,
            check: false,
        });
    }

    /// Looks whether a program, its interpreter and its directory can be used, with the rights of its user, and starts
    /// nothing: answered by `CommandDone`, with exit code 0 or the error that a start would have.
    pub fn check_program(&self, id: CommandRunId, spec: &LaunchSpec, timeout: Duration) {
        let (log, readiness) = (LogTarget::Null, Readiness::default());
        let spec = LaunchSpec { log, readiness, pidfile: None, ..spec.clone() };
        self.want(Wanted {
            owner: Owner::Command(id),
            realm: None,
            spec: command_tagged(&spec, id, &self.instance_tag),
            limit: Some(timeout),
            identity: IdentityDigest::default(),
            word: None,
            check: true,
        });
    }

    /// Kills a running command with its whole group; no answer follows.
    pub fn cancel_command(&self, id: CommandRunId) {
        self.orders.push(ReaperCommand::Cancel { owner: Owner::Command(id) });
    }

    fn want(&self, wanted: Wanted) {
        // The reaper knows of it before the spawn, so that a signal that overtakes the spawn is not lost.
        self.orders.push(ReaperCommand::Expect(wanted.owner));
        self.spawns.push(wanted);
    }
}

/// The only spawner and reaper. No call waits.
pub struct Processes {
    commander: Commander,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processes").finish_non_exhaustive()
    }
}

impl Processes {
    /// Starts the adapter's two threads. `sink` is called on one of them for every notice, in order; it must not
    /// wait for anything.
    ///
    /// # Errors
    /// [`ProcessError`]: no descriptors or threads, or no directory for records.
    pub fn open(
        settings: Settings,
        logs: Arc<dyn LogFiles>,
        sink: impl Fn(Notice) + Send + 'static,
    ) -> Result<Self, ProcessError> {
        let records = |source| ProcessError::Records { path: settings.records.clone(), source };
        if !std::fs::metadata(&settings.records).map_err(records)?.is_dir() {
            return Err(records(std::io::ErrorKind::NotADirectory.into()));
        }
        let make = |what| move |source: std::io::Error| ProcessError::Make { what, source };
        let orders = Arc::new(ReaperQueue::new().map_err(make("order queue"))?);
        let spawns = SpawnQueue::new();
        let instance_tag = settings.instance_tag.clone();
        reserved_fds::refill();
        let spawner = Spawner::new(&settings, Arc::clone(&orders));
        let origin = Origin::read(settings.instance_tag.clone());
        let groups = settings.groups.clone();
        let reaper = Reaper::new(settings, origin, Arc::clone(&orders), logs, Box::new(sink))
            .map_err(make("reaper"))?;
        let (to_reaper, to_spawn) = (Arc::clone(&orders), Arc::clone(&spawns));
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        if let Some(groups) = groups {
            // It ends by itself, and nobody waits for it. Without it the groups stay, and harm nobody.
            let _ = named("hb-tidy").spawn(move || crate::cgroup::remove_abandoned(&groups));
        }
        let threads = vec![
            named("hb-reaper").spawn(move || reaper.run()).map_err(make("reaper thread"))?,
            named("hb-spawn")
                .spawn(move || spawn_all(&to_spawn, spawner, &to_reaper))
                .map_err(make("spawn thread"))?,
        ];
        Ok(Self { commander: Commander { orders, spawns, instance_tag: instance_tag.into() }, threads })
    }

    /// Starts a realm's program: answered by `Started` or `StartFailed`, later by `Exited`. What it is made of goes on record, so
    /// that a later heartbeatd can tell whether it would start the same.
    pub fn launch(&self, key: Key, name: &RealmName, spec: &LaunchSpec) {
        let identity = spec.identity().digest();
        let word = random_word();
        let spec = tagged(spec, name, &self.commander.instance_tag, &word);
        self.commander.want(Wanted {
            owner: Owner::Realm(key),
            realm: Some(name.clone()),
            spec,
            limit: None,
            identity,
            word: Some(word),
            check: false,
        });
    }

    /// Takes over what a [`survey`](crate::survey()) has found of a realm: what lives is watched as if it had been started
    /// here, and `Emptied` tells when what was left of it is gone. Of a launcher that has not become its program yet,
    /// `Started` or `StartFailed` is told.
    ///
    /// `spec` is what it would be started with now: of its limits those that nobody keeps are told as after a start, what it
    /// was asked to say of itself is heard again, and its log is looked after. `None`: it is not in the configuration any more.
    pub fn adopt(&self, key: Key, survivor: Survivor, spec: Option<LaunchSpec>) {
        let (survivor, spec) = (Box::new(survivor), spec.map(Box::new));
        self.commander.orders.push(ReaperCommand::Adopt { key, survivor, spec });
    }

    /// Puts on record what heartbeatd has to remember of a realm, in place of what was there: one line. It is on record
    /// before any start that is ordered after this, and otherwise within 10 ms, or at once. `None`: nothing any more.
    pub fn remember(&self, realm: &RealmName, memory: Option<String>, at_once: bool) {
        self.commander.orders.push(ReaperCommand::Remember { realm: realm.clone(), memory, soon: !at_once });
    }

    /// Signals the whole process tree of a run. KILL to a run that is still being launched calls it off. A run
    /// that is over is nobody: nothing happens.
    pub fn signal(&self, key: Key, signal: Signal) {
        self.commander.orders.push(ReaperCommand::Signal { owner: Owner::Realm(key), signal });
    }

    /// Makes a process of the tree of a run its main process: from now on its end is the end of the run. One that is not
    /// of the tree is not believed, and nothing happens; otherwise `MainChanged` tells.
    pub fn follow(&self, key: Key, pid: u32) {
        self.commander.orders.push(ReaperCommand::Follow { owner: Owner::Realm(key), pid });
    }

    /// Signals the main process of a run alone. Before it is exec'd, and once it has ended, nothing happens. While the pid file
    /// of a daemon is looked for, there is no main process: the signal goes to the tree.
    pub fn signal_main(&self, key: Key, signal: Signal) {
        self.commander.orders.push(ReaperCommand::SignalMain { key, signal });
    }

    /// Runs commands, also from other threads.
    #[must_use]
    pub fn commander(&self) -> Commander {
        self.commander.clone()
    }

    /// As [`Commander::run_command`].
    pub fn run_command(&self, id: CommandRunId, spec: &LaunchSpec, timeout: Duration) {
        self.commander.run_command(id, spec, timeout);
    }

    /// As [`Commander::check_program`].
    pub fn check_program(&self, id: CommandRunId, spec: &LaunchSpec, timeout: Duration) {
        self.commander.check_program(id, spec, timeout);
    }

    /// As [`Commander::cancel_command`].
    pub fn cancel_command(&self, id: CommandRunId) {
        self.commander.cancel_command(id);
    }

    /// Ends the adapter and joins its threads. What still runs runs on.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.commander.spawns.close();
        self.commander.orders.push(ReaperCommand::Close);
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to give back.
            let _ = thread.join();
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn_all(wanted: &SpawnQueue<Wanted>, mut spawner: Spawner, reaper: &ReaperQueue) {
    loop {
        // What waits comes first; the launcher is made when nothing does, and nothing did for a moment: making one
        // would take the processor from the start that is under way.
        let soon = || spawner.is_short().then(|| wanted.next_within(REFILL_AFTER)).flatten();
        let next = match wanted.try_next().or_else(soon) {
            Some(next) => next,
            None if spawner.refill() => continue,
            None => match wanted.next() {
                Some(next) => next,
                None => return,
            },
        };
        let Wanted { owner, realm, mut spec, limit, identity, check, word } = next;
        let program = spec.argv.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let cgroup = match (&realm, owner) {
            (Some(realm), Owner::Realm(key)) => spawner.cgroup(realm, key.run),
            _ => None,
        };
        let (run, heard) = match (&realm, owner) {
            (Some(realm), Owner::Realm(key)) => (Some(key.run), spawner.notify_listener(realm, &spec)),
            _ => (None, Ok(None)),
        };
        spawner.replace_up_to(reaper.distrusted());
        let handed = heard.and_then(|notify_listener| {
            tell_where(&mut spec, notify_listener.as_ref());
            match spawner.hand_over(&spec, cgroup.as_ref(), run, notify_listener.as_ref(), check) {
                Ok(launch) => Ok((launch, notify_listener)),
                Err(error) => {
                    // No realm will write to it.
                    notify_listener.into_iter().for_each(NotifyListener::remove);
                    Err(error)
                }
            }
        });
        reaper.push(match handed {
            Ok((Launch { socket, capture, launcher }, notify_listener)) => {
                let unbounded = match owner {
                    Owner::Realm(_) => spec.limits.unbounded(cgroup.as_ref().map(Cgroup::dir)),
                    // It has no tree that outlives it.
                    Owner::Command(_) => Vec::new(),
                };
                let request = Request {
                    program,
                    places: places(&spec),
                    identity,
                    log: spec.log,
                    user: spec.user,
                    pidfile: spec.pidfile,
                    readiness: spec.readiness,
                    unbounded,
                    time_limit: limit,
                };
                let run = Run {
                    launch: Launching { socket: Some(socket), launcher, ..Launching::default() },
                    tree: ProcessTree { cgroup, word, ..ProcessTree::default() },
                    capture,
                    notify_listener: notify_listener.map(Box::new),
                    ..Run::new(owner, realm, request)
                };
                ReaperCommand::Spawned(Box::new(run))
            }
            Err(error) => {
                // The control group is empty.
                let _ = cgroup.map(|cgroup| cgroup.remove());
                ReaperCommand::SpawnFailed { owner, error }
            }
        });
    }
}

fn places(spec: &LaunchSpec) -> Places {
    let log = match &spec.log {
        LogTarget::Null | LogTarget::Capture => String::new(),
        LogTarget::File { path, .. } => path.display().to_string(),
        LogTarget::Journal { socket, .. } => {
            format!(
                "at {}, the socket of systemd-journald (log.to = \"file\" does without),",
                socket.display()
            )
        }
    };
    let user = spec.user.as_ref().map(|user| user.name.clone());
    let env_file = spec.env_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    Places { dir: spec.dir.display().to_string(), env_file, log, user, limits: spec.limits.clone() }
}
