//! The handle: orders go in without waiting, notices come out on the reaper's thread.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_status::{RealmName, Signal};

use crate::cgroup::{Cgroup, NextCgroups};
use crate::notice::{CommandRunId, Key, Notice};
use crate::notify::NotifyListener;
use crate::queue::{ReaperCommand, ReaperQueue};
use crate::reaper::Reaper;
use crate::record::Origin;
use crate::run::{Launching, Only, Owner, Places, ProcessTree, Request, Run, Wanted};
use crate::spawn::{Launch, SpawnQueue, Spawner};
use crate::tags::{command_tagged, random_word, tagged, tell_where};
use crate::{
    IdentityDigest, LaunchSpec, LogFiles, LogTarget, ProcessError, Readiness, Settings, Survivor,
    reserved_fds,
};

/// The spawn thread makes a launcher after this long without a start.
const REFILL_AFTER: Duration = Duration::from_millis(20);

/// Runs commands, from any thread; a clone is the same handle. No call waits. Once its [`Processes`] is closed, it runs
/// nothing and gives no answer.
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
    /// Runs a command in a session of its own. `CommandDone` answers; at `timeout` after the start the reaper kills the
    /// whole process group. When the command ends by itself, the reaper also kills what it leaves in its group or
    /// session. If its output is captured (an exec probe), no process of it survives at all: by a tag in the
    /// environment (`HEARTBEAT_COMMAND`) the reaper finds even a daemon in a session of its own.
    pub fn run_command(&self, id: CommandRunId, spec: &LaunchSpec, timeout: Duration) {
        self.want(Wanted {
            owner: Owner::Command(id),
            realm: None,
            spec: command_tagged(spec, id, &self.instance_tag),
            limit: Some(timeout),
            identity: IdentityDigest::default(),
            word: None,
            only: Only::default(),
        });
    }

    /// Checks whether a program, its interpreter and its directory can be used, with the rights of its user, and starts
    /// nothing. `CommandDone` answers, with exit code 0 or the error that a start would have.
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
            only: Only { check: true, ..Only::default() },
        });
    }

    /// Kills a running command with its whole group; no answer follows.
    pub fn cancel_command(&self, id: CommandRunId) {
        self.orders.push(ReaperCommand::Cancel { owner: Owner::Command(id) });
    }

    fn want(&self, wanted: Wanted) {
        // The reaper learns of the run before the spawn, so that a signal that overtakes the spawn is not lost.
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
    /// Starts the adapter's two threads. One of them calls `sink` for every notice, in order; `sink` must not wait.
    ///
    /// # Errors
    /// [`ProcessError`]: no descriptors or threads, or no directory for records.
    pub fn open(
        settings: Settings,
        logs: Arc<dyn LogFiles>,
        sink: impl Fn(Notice) + Send + 'static,
    ) -> Result<Self, ProcessError> {
        // One that is missing is made as soon as the disk lets the reaper.
        let records = |source| ProcessError::Records { path: settings.records.clone(), source };
        match std::fs::metadata(&settings.records) {
            Ok(found) if !found.is_dir() => return Err(records(std::io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(records(error)),
            Ok(_) | Err(_) => {}
        }
        let make = |what| move |source: std::io::Error| ProcessError::Make { what, source };
        let orders = Arc::new(ReaperQueue::new().map_err(make("order queue"))?);
        let spawns = SpawnQueue::new();
        let instance_tag = settings.instance_tag.clone();
        reserved_fds::refill();
        let next_cgroups = Arc::<NextCgroups>::default();
        let spawner = Spawner::new(&settings, Arc::clone(&orders), Arc::clone(&next_cgroups));
        let origin = Origin::read(settings.instance_tag.clone());
        let groups = settings.groups.clone();
        let queues = (Arc::clone(&orders), Arc::clone(&spawns));
        let reaper = Reaper::new(settings, origin, queues, next_cgroups, logs, Box::new(sink));
        let reaper = reaper.map_err(make("reaper"))?;
        let (to_reaper, to_spawn) = (Arc::clone(&orders), Arc::clone(&spawns));
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        if let Some(groups) = groups {
            // The thread ends by itself, and no thread joins it. Without it the groups stay, which does no harm.
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

    /// Starts a realm's program. `Started` or `StartFailed` answers, and later `Exited`. The reaper records the
    /// identity of the process, so that a later heartbeatd can tell whether it would start the same.
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
            only: Only::default(),
        });
    }

    /// Takes over what a [`survey`](crate::survey()) found of a realm. The reaper watches living processes as if it had
    /// started them, and reports `Emptied` when the last leftover is gone. For a launcher that has not become its
    /// program yet, it reports `Started` or `StartFailed`.
    ///
    /// `spec` is what a start would use now. As after a start, the reaper reports limits that the kernel does not
    /// enforce, receives the realm's messages, and looks after its log. `None`: the realm is no longer in the
    /// configuration.
    pub fn adopt(&self, key: Key, survivor: Survivor, spec: Option<LaunchSpec>) {
        let (survivor, spec) = (Box::new(survivor), spec.map(Box::new));
        self.commander.orders.push(ReaperCommand::Adopt { key, survivor, spec });
    }

    /// Records what heartbeatd has to remember of a realm, in place of what was there: one line. The reaper writes it
    /// before any start that is ordered after this, and otherwise within 10 ms, or at once. `None` removes the line.
    pub fn remember(&self, realm: &RealmName, memory: Option<String>, at_once: bool) {
        self.commander.orders.push(ReaperCommand::Remember { realm: realm.clone(), memory, soon: !at_once });
    }

    /// Signals the whole process tree of a run. KILL cancels a run that is still being launched. For a run that is
    /// over, nothing happens.
    pub fn signal(&self, key: Key, signal: Signal) {
        self.commander.orders.push(ReaperCommand::Signal { owner: Owner::Realm(key), signal });
    }

    /// Makes a process of the tree of a run its main process: from now on its end is the end of the run. `MainChanged`
    /// reports it. A process outside the tree is refused, and nothing happens.
    pub fn follow(&self, key: Key, pid: u32) {
        self.commander.orders.push(ReaperCommand::Follow { owner: Owner::Realm(key), pid });
    }

    /// Signals the main process of a run alone. Before it is exec'd, and once it has ended, nothing happens. While the
    /// reaper waits for the pid file of a daemon, there is no main process: the signal goes to the tree.
    pub fn signal_main(&self, key: Key, signal: Signal) {
        self.commander.orders.push(ReaperCommand::SignalMain { key, signal });
    }

    /// Runs commands, also from other threads.
    #[must_use]
    pub fn commander(&self) -> Commander {
        self.commander.clone()
    }

    /// Does the same as [`Commander::run_command`].
    pub fn run_command(&self, id: CommandRunId, spec: &LaunchSpec, timeout: Duration) {
        self.commander.run_command(id, spec, timeout);
    }

    /// Does the same as [`Commander::check_program`].
    pub fn check_program(&self, id: CommandRunId, spec: &LaunchSpec, timeout: Duration) {
        self.commander.check_program(id, spec, timeout);
    }

    /// Does the same as [`Commander::cancel_command`].
    pub fn cancel_command(&self, id: CommandRunId) {
        self.commander.cancel_command(id);
    }

    /// Kills what the hooks of these realms up to `last` have left behind, each with the user that it runs as: their runs
    /// are over. Those that are `running` go on.
    pub fn end_hooks(
        &self,
        realms: Vec<(RealmName, Option<u32>)>,
        last: CommandRunId,
        running: Vec<CommandRunId>,
    ) {
        self.commander.orders.push(ReaperCommand::EndHooks { realms, last, running });
    }

    /// Ends the adapter and joins its threads. Realms run on.
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
        // Waiting starts come first. The thread makes a launcher only after a short pause, since that would take
        // processor time from the start that is under way.
        let soon = || spawner.is_short().then(|| wanted.next_within(REFILL_AFTER)).flatten();
        let next = match wanted.try_next().or_else(soon) {
            Some(next) => next,
            None if spawner.refill() => continue,
            None => match wanted.next() {
                Some(next) => next,
                None => return,
            },
        };
        let Wanted { owner, realm, mut spec, limit, identity, only, word } = next;
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
            match spawner.hand_over(&spec, cgroup.as_ref(), run, notify_listener.as_ref(), only) {
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
                    // A command has no tree that outlives it.
                    Owner::Command(_) => Vec::new(),
                };
                let request = Request {
                    program,
                    places: places(&spec),
                    identity: identity.clone(),
                    log: spec.log.clone(),
                    user: spec.user.clone(),
                    pidfile: spec.pidfile.clone(),
                    readiness: spec.readiness.clone(),
                    unbounded,
                    time_limit: limit,
                };
                let again =
                    Wanted { owner, realm: realm.clone(), spec, limit, identity, word: word.clone(), only };
                let again = Some(Box::new(again));
                let run = Run {
                    launch: Launching { socket: Some(socket), launcher, again, ..Launching::default() },
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
