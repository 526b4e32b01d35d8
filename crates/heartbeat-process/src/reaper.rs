//! The one thread that talks to launchers, reaps, and signals.
//!
//! It waits in one epoll for everything: orders, messages of launchers, exits by pidfd, deadlines by timerfd, and
//! SIGCHLD, from which it takes only stops and continuations, a moment later. It takes every exit status through the pidfd of that very
//! process.

mod adopting;
mod bounds;
mod cgroups;
mod children;
mod daemons;
mod deadlines;
mod life;
mod runs;
mod saying;
mod trees;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{RealmName, RunFact, Signal};
use nix::sys::signal::SigSet;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use self::cgroups::Cgroups;
use self::children::Children;
use self::deadlines::Deadlines;
use self::runs::{Expected, Runs};
use crate::cgroup::NextCgroups;
use crate::notice::{Key, LaunchError, Notice, Step};
use crate::notify::Places;
use crate::queue::{ReaperCommand, ReaperQueue};
use crate::record::Origin;
use crate::record_store::RecordStore;
use crate::run::{Owner, Run, Stage, Wanted};
use crate::spawn::SpawnQueue;
use crate::tags::{COMMAND_TAG, command_tag, realm_tags};
use crate::timer::{OneShot, drain, periodic};
use crate::tree::ProcScan;
use crate::{LogFiles, Settings, sys};

/// Most events from one wait.
const MAX_EVENTS: usize = 256;

/// The reaper scans for leftovers again after this, beside their pidfds: some could not be held, or fork.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What an event is about, in the low bits of its token; the id of the run is in the bits above.
const SOCKET: u64 = 0;
const MAIN: u64 = 1;
const LEFTOVER: u64 = 2;
const GROUP: u64 = 3;
const WORDS: u64 = 4;
const LINE: u64 = 5;
const WHAT_BITS: u32 = 3;
/// Interval at which the reaper records that heartbeatd lives, and checks adopted processes and orphans.
const TICK_EVERY: Duration = Duration::from_secs(5);
/// Interval at which the reaper checks an adopted launcher, which has to become its program within [`MAX_LOOKS`]
/// checks.
const LOOK_AT_LAUNCHER: Duration = Duration::from_millis(20);
const MAX_LOOKS: u32 = 250;

/// Tokens of the reaper itself; runs are numbered from 1.
const QUEUE: u64 = 0;
const CHILDREN: u64 = 1;
const TICK: u64 = 2;
const FLUSH: u64 = 3;
const NOTIFY_WINDOW: u64 = 4;
const DUE: u64 = 5;
/// The reaper bounds the messages of a realm within this time.
const NOTIFY_WINDOW_LENGTH: Duration = Duration::from_millis(100);
/// The reaper writes records that are not urgent, removes the control groups of ended runs, and asks the kernel which
/// children were stopped, together after this: a start that follows an exit waits for none of it.
const FLUSH_AFTER: Duration = Duration::from_millis(10);

type Sink = Box<dyn Fn(Notice) + Send>;

/// The signal that tells of children.
pub(crate) fn child_signals() -> SigSet {
    [nix::sys::signal::Signal::SIGCHLD].into_iter().collect()
}

/// Holds back SIGCHLD in this thread and in those that it makes, so that it wakes the reaper alone. Call it before any
/// thread starts.
pub fn leave_child_signals_to_reaper() {
    // This fails only for an invalid set of signals.
    let _ = child_signals().thread_block();
}

pub(crate) struct Reaper {
    epoll: OwnedFd,
    orders: Arc<ReaperQueue>,
    /// For a launch that is made once more.
    spawns: Arc<SpawnQueue<Wanted>>,
    /// Counts every SIGCHLD.
    child_events: BorrowedFd<'static>,
    runs: Runs,
    children: Children,
    cgroups: Cgroups,
    records: RecordStore,
    tick: OwnedFd,
    deadlines: Deadlines,
    /// A SIGCHLD has come since the reaper last asked about children.
    child_signalled: bool,
    /// Until the reaper does what can wait.
    flush: OneShot,
    /// Until the reaper reports the messages of realms that it has held back.
    notify_window: OneShot,
    places: Places,
    launch_timeout: Duration,
    logs: Arc<dyn LogFiles>,
    sink: Sink,
}

impl Reaper {
    pub(crate) fn new(
        settings: Settings,
        origin: Origin,
        (orders, spawns): (Arc<ReaperQueue>, Arc<SpawnQueue<Wanted>>),
        next_cgroups: Arc<NextCgroups>,
        logs: Arc<dyn LogFiles>,
        sink: Sink,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let child_events = sys::child_events()?;
        epoll::add(&epoll, orders.wake(), EventData::new_u64(QUEUE), EventFlags::IN)?;
        epoll::add(&epoll, child_events, EventData::new_u64(CHILDREN), EventFlags::IN)?;
        let deadlines = Deadlines::new()?;
        epoll::add(&epoll, deadlines.fd(), EventData::new_u64(DUE), EventFlags::IN)?;
        let flush = OneShot::new()?;
        epoll::add(&epoll, &flush, EventData::new_u64(FLUSH), EventFlags::IN)?;
        let notify_window = OneShot::new()?;
        epoll::add(&epoll, &notify_window, EventData::new_u64(NOTIFY_WINDOW), EventFlags::IN)?;
        let tick = periodic(TICK_EVERY)?;
        epoll::add(&epoll, &tick, EventData::new_u64(TICK), EventFlags::IN)?;
        if settings.collects_orphans {
            nix::sys::prctl::set_child_subreaper(true)?;
        }
        Ok(Self {
            epoll,
            orders,
            spawns,
            child_events,
            runs: Runs::default(),
            children: Children::new(settings.collects_orphans),
            cgroups: Cgroups::new(settings.groups, next_cgroups),
            records: RecordStore::new(settings.records, origin),
            tick,
            deadlines,
            child_signalled: false,
            flush,
            notify_window,
            places: Places::below(&settings.runtime),
            launch_timeout: settings.launch_timeout,
            logs,
            sink,
        })
    }

    pub(crate) fn run(mut self) {
        // The other threads may hold it back.
        let _ = child_signals().thread_unblock();
        let mut events = Vec::with_capacity(MAX_EVENTS);
        let mut open = true;
        while open {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // epoll itself fails: a defect, and no reason to spin.
                Err(_) => return,
            }
            // One scan of /proc for every process that ended before it.
            let mut scan = None;
            let mut flush = false;
            for event in &events {
                match event.data.u64() {
                    QUEUE => open = self.take_orders(),
                    CHILDREN => {
                        drain(self.child_events);
                        self.child_signalled = true;
                    }
                    TICK => self.on_tick(),
                    FLUSH => {
                        self.flush.take();
                        flush = true;
                    }
                    NOTIFY_WINDOW => self.end_notify_window(),
                    DUE => self.deadlines.take_due().into_iter().for_each(|run| self.deadline(run)),
                    token => self.run_event(token >> WHAT_BITS, token & ((1 << WHAT_BITS) - 1), &mut scan),
                }
            }
            self.do_what_waits(flush);
            if let Some(problem) = self.records.news() {
                (self.sink)(Notice::RecordsFail { problem });
            }
        }
    }

    /// Writes the changed records if one is urgent, and does all that waits if its time has come or no timer can be set.
    fn do_what_waits(&mut self, time_has_come: bool) {
        if self.records.is_urgent() {
            self.records.flush();
        }
        let waits = self.records.is_dirty() || self.cgroups.has_vacated() || self.child_signalled;
        if waits && (time_has_come || !self.flush.set(FLUSH_AFTER)) {
            self.records.flush();
            self.cgroups.remove_vacated();
            if std::mem::take(&mut self.child_signalled) {
                self.children_changed();
                self.collect_orphans();
            }
        }
    }

    fn token(run: u64, what: u64) -> EventData {
        EventData::new_u64(run << WHAT_BITS | what)
    }

    /// False after the order to close.
    fn take_orders(&mut self) -> bool {
        drain(self.orders.wake());
        for order in self.orders.take() {
            match order {
                ReaperCommand::Expect(owner) => {
                    self.runs.expect(owner);
                }
                ReaperCommand::Spawned(mut run) => {
                    let expected = self.runs.no_longer_expected(run.owner).unwrap_or_default();
                    run.silent = expected.silent;
                    let captured = run.capture.is_some();
                    run.tree.tags =
                        self.tags(run.owner, run.realm.as_ref(), captured, run.tree.word.as_deref());
                    self.watch(run, expected.cancelled);
                }
                ReaperCommand::SpawnFailed { owner, error } => {
                    if self.runs.no_longer_expected(owner).is_some_and(|expected| !expected.silent) {
                        self.tell_failure(owner, error);
                    }
                }
                ReaperCommand::Adopt { key, survivor, spec } => {
                    self.adopt(key, *survivor, spec.map(|spec| *spec).unwrap_or_default());
                }
                ReaperCommand::Remember { realm, memory, soon } => {
                    self.records.remember(&realm, memory, soon)
                }
                ReaperCommand::Signal { owner, signal } => self.signal(owner, signal),
                ReaperCommand::Follow { owner, pid } => self.follow(owner, pid),
                ReaperCommand::SignalMain { key, signal } => self.signal_main(key, signal),
                ReaperCommand::Cancel { owner } => self.cancel(owner),
                ReaperCommand::EndHooks { realms, last, running } => {
                    self.end_hooks(&realms, last, &running);
                }
                ReaperCommand::Close => {
                    self.records.flush();
                    self.end_commands();
                    self.close();
                    return false;
                }
            }
        }
        true
    }

    /// Kills all commands: they end with the adapter, while realms run on.
    fn end_commands(&mut self) {
        let is_command = |run: &Run| matches!(run.owner, Owner::Command(_));
        let commands: Vec<u64> =
            self.runs.all().filter(|(_, run)| is_command(run)).map(|(id, _)| id).collect();
        for id in commands {
            self.signal_tree(id, Signal::KILL);
        }
    }

    /// Cleans up everything but what still runs.
    fn close(&mut self) {
        self.children.wait_for_parting();
        let runs = &self.runs;
        self.cgroups.close(|cgroup| runs.all().any(|(_, run)| run.tree.cgroup.as_ref() == Some(cgroup)));
    }

    /// Entries in the environment of all processes of a run. None for a hook: it may leave daemons behind on purpose.
    fn tags(
        &self,
        owner: Owner,
        realm: Option<&RealmName>,
        captured: bool,
        word: Option<&str>,
    ) -> Vec<String> {
        let instance_tag = &self.records.origin.instance_tag;
        match (owner, realm) {
            (Owner::Realm(_), Some(realm)) => realm_tags(realm, instance_tag, word),
            (Owner::Command(id), _) if captured => {
                vec![format!("{COMMAND_TAG}={}", command_tag(id, instance_tag))]
            }
            _ => Vec::new(),
        }
    }

    fn watch(&mut self, mut run: Box<Run>, cancelled: bool) {
        let id = self.runs.next_id();
        let watch = |fd: &OwnedFd, what| epoll::add(&self.epoll, fd, Self::token(id, what), EventFlags::IN);
        let speaks = run.launch.socket.as_ref().map_or(Ok(()), |socket| watch(socket, SOCKET));
        self.deadlines.set(id, self.launch_timeout);
        if let Err(errno) = speaks {
            let what = format!("of {}", run.request.program);
            run.launch.failure = Some(LaunchError::new(Step::Watch, Some(errno.raw_os_error()), &what));
        }
        let failed = run.launch.failure.is_some();
        self.runs.insert(id, run);
        if failed {
            self.abort(id);
        } else if cancelled {
            self.cancel_launch(id);
        }
    }

    fn signal(&mut self, owner: Owner, signal: Signal) {
        if let Some(expected) = self.runs.expected(owner) {
            expected.cancelled |= signal == Signal::KILL;
            return;
        }
        let Some(id) = self.runs.id_of(owner) else { return };
        let Some(run) = self.runs.get_mut(id) else { return };
        match run.stage {
            Stage::Launching if signal == Signal::KILL => self.cancel_launch(id),
            // The realm's program does not run yet, and only it could handle the signal.
            Stage::Launching => {}
            Stage::Started | Stage::Forked(_) | Stage::Exited => self.signal_tree(id, signal),
        }
    }

    fn signal_main(&mut self, key: Key, signal: Signal) {
        let Some(id) = self.runs.id_of(Owner::Realm(key)) else { return };
        let Some(run) = self.runs.get(id).filter(|run| !run.main.unproven) else { return };
        match (run.stage, &run.main.pidfd) {
            (Stage::Started, Some(pidfd)) => {
                // An error means that it has ended, and its pidfd reports that.
                let _ = sys::signal_process(pidfd.as_fd(), signal);
            }
            // The pid file has not named the daemon yet: only the tree is known.
            (Stage::Forked(_), _) => self.signal_tree(id, signal),
            (Stage::Started | Stage::Launching | Stage::Exited, _) => {}
        }
    }

    fn cancel(&mut self, owner: Owner) {
        if let Some(expected) = self.runs.expected(owner) {
            *expected = Expected { cancelled: true, silent: true };
            return;
        }
        let Some(id) = self.runs.id_of(owner) else { return };
        let Some(run) = self.runs.get_mut(id) else { return };
        run.silent = true;
        match run.stage {
            Stage::Launching => self.cancel_launch(id),
            Stage::Started | Stage::Forked(_) | Stage::Exited => self.signal_tree(id, Signal::KILL),
        }
    }

    /// Takes stops and continuations, and no exits: those come by pidfd.
    fn children_changed(&mut self) {
        self.children.collect_ended();
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WCONTINUED | WaitPidFlag::WNOHANG;
        loop {
            match nix::sys::wait::waitid(Id::All, flags) {
                Ok(WaitStatus::Stopped(pid, _)) => self.stopped_by_signal(pid.as_raw(), true),
                Ok(WaitStatus::Continued(pid)) => self.stopped_by_signal(pid.as_raw(), false),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn stopped_by_signal(&mut self, pid: i32, stopped_by_signal: bool) {
        let found = self
            .runs
            .all_mut()
            .map(|(_, run)| run)
            .find(|run| i64::from(run.main.pid) == i64::from(pid) && run.stage == Stage::Started);
        let Some(run) = found else { return };
        run.main.stopped_by_signal = Some(stopped_by_signal);
        if let Owner::Realm(key) = run.owner {
            (self.sink)(Notice::Run { key, fact: RunFact::StoppedBySignal { stopped: stopped_by_signal } });
        }
    }

    fn run_event(&mut self, id: u64, what: u64, scan: &mut Option<ProcScan>) {
        // The run was closed in this very batch: its later events mean nothing.
        if self.runs.get(id).is_none() {
            return;
        }
        match what {
            SOCKET => drop(self.listen(id)),
            MAIN => {
                // Its last messages come first: whether it exec'd decides what its end means.
                let _ = self.listen(id);
                self.hear_words(id);
                self.hear_line(id);
                self.ended(id, scan);
            }
            GROUP => self.cgroup_changed(id),
            WORDS => self.hear_words(id),
            LINE => self.hear_line(id),
            _ => self.leftover_ended(id),
        }
    }
}
