//! The one thread that talks to launchers, reaps, and signals.
//!
//! It waits in one epoll for everything: orders, launchers' words, exits by pidfd, deadlines by timerfd, and
//! SIGCHLD, from which only stops and continuations are taken. No exit status is ever taken but through the pidfd
//! of the very process.

mod adopting;
mod bounds;
mod daemons;
mod deadlines;
mod life;
mod saying;
mod trees;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{RealmName, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use self::deadlines::Deadlines;
use crate::cgroup::{self, Cgroup};
use crate::notice::{Key, LaunchError, Notice, Step};
use crate::notify::Places;
use crate::processes::{ReaperCommand, ReaperQueue, Settings};
use crate::record::Origin;
use crate::record_store::RecordStore;
use crate::run::{Owner, Run, Stage};
use crate::spawn::{COMMAND_TAG, command_tag, realm_tags};
use crate::tree::ProcScan;
use crate::{LogFiles, sys};

/// Events taken from one wait.
const MAX_EVENTS: usize = 256;

/// Leftovers are looked for again after this, whatever their pidfds say: some could not be held, or fork.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What an event is about, in the low bits of its token; the number of the run stands above them.
const SOCKET: u64 = 0;
const MAIN: u64 = 1;
const LEFTOVER: u64 = 2;
const GROUP: u64 = 3;
const WORDS: u64 = 4;
const LINE: u64 = 5;
const WHAT_BITS: u32 = 3;
/// Now and then: says on record that we live, looks after adopted processes and orphans.
const TICK_EVERY: Duration = Duration::from_secs(5);
/// An adopted launcher is looked at again after this, and has to have become its program within [`MAX_LOOKS`] looks.
const LOOK_AT_LAUNCHER: Duration = Duration::from_millis(20);
const MAX_LOOKS: u32 = 250;

/// At its end the reaper tries again to remove empty control groups after this, and this many times: 1 s.
const LOOK_AT_END: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
const MAX_LOOKS_AT_END: u32 = 50;

/// Tokens of the reaper itself; runs are numbered from 1.
const QUEUE: u64 = 0;
const CHILDREN: u64 = 1;
const TICK: u64 = 2;
const FLUSH: u64 = 3;
const WHILE: u64 = 4;
const DUE: u64 = 5;
/// What a realm says within this is bounded.
const WHILE_LASTS: Duration = Duration::from_millis(100);
/// What is not urgent is written together after this.
const FLUSH_AFTER: Duration = Duration::from_millis(10);

/// What has become of a launch while it was being spawned.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    cancelled: bool,
    silent: bool,
}

type Sink = Box<dyn Fn(Notice) + Send>;

pub(crate) struct Reaper {
    epoll: OwnedFd,
    orders: Arc<ReaperQueue>,
    children: BorrowedFd<'static>,
    runs: BTreeMap<u64, Run>,
    by_owner: BTreeMap<Owner, u64>,
    /// Asked for and not spawned yet.
    expected: BTreeMap<Owner, Expected>,
    next_run: u64,
    records: RecordStore,
    tick: Option<OwnedFd>,
    deadlines: Deadlines,
    /// Until what is not urgent is written.
    flush: OwnedFd,
    flush_armed: bool,
    /// Until what was held back of what realms say is told.
    while_over: OwnedFd,
    while_armed: bool,
    collects_orphans: bool,
    /// Zombies at the last look that may have been copies of the launcher of which the reaper had not heard.
    suspects: BTreeSet<u32>,
    /// Copies of the launcher that nobody has heard of: they end at once, and are collected.
    parting: Vec<OwnedFd>,
    /// Children of ours that were the main process of a run, and are not any more.
    former: Vec<OwnedFd>,
    /// Control groups whose runs have ended, to be removed when everybody has been told.
    vacated: Vec<Cgroup>,
    /// Those that could not be removed yet.
    lingering: Vec<Cgroup>,
    groups: Option<PathBuf>,
    /// Says to others that the directory of groups is in use.
    _claim: Option<File>,
    places: Places,
    launch_timeout: Duration,
    logs: Arc<dyn LogFiles>,
    sink: Sink,
}

impl Reaper {
    pub(crate) fn new(
        settings: Settings,
        origin: Origin,
        orders: Arc<ReaperQueue>,
        logs: Arc<dyn LogFiles>,
        sink: Sink,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let children = sys::child_events()?;
        epoll::add(&epoll, orders.wake(), EventData::new_u64(QUEUE), EventFlags::IN)?;
        epoll::add(&epoll, children, EventData::new_u64(CHILDREN), EventFlags::IN)?;
        let deadlines = Deadlines::new()?;
        epoll::add(&epoll, deadlines.fd(), EventData::new_u64(DUE), EventFlags::IN)?;
        let flush = new_timer()?;
        epoll::add(&epoll, &flush, EventData::new_u64(FLUSH), EventFlags::IN)?;
        let while_over = new_timer()?;
        epoll::add(&epoll, &while_over, EventData::new_u64(WHILE), EventFlags::IN)?;
        let tick = timer(TICK_EVERY, true)?;
        epoll::add(&epoll, &tick, EventData::new_u64(TICK), EventFlags::IN)?;
        if settings.collects_orphans {
            nix::sys::prctl::set_child_subreaper(true)?;
        }
        let earlier = settings.groups.as_deref().map(Cgroup::all).unwrap_or_default();
        Ok(Self {
            epoll,
            orders,
            children,
            runs: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            expected: BTreeMap::new(),
            next_run: 0,
            records: RecordStore::new(settings.records, origin),
            tick: Some(tick),
            deadlines,
            flush,
            flush_armed: false,
            while_over,
            while_armed: false,
            collects_orphans: settings.collects_orphans,
            suspects: BTreeSet::new(),
            parting: Vec::new(),
            former: Vec::new(),
            vacated: Vec::new(),
            lingering: earlier.into_iter().map(|(_, cgroup)| cgroup).collect(),
            _claim: settings.groups.as_deref().and_then(cgroup::claim),
            groups: settings.groups,
            places: Places::below(&settings.runtime),
            launch_timeout: settings.launch_timeout,
            logs,
            sink,
        })
    }

    pub(crate) fn run(mut self) {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        let mut open = true;
        while open {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // Nothing can be waited for any more: a defect, and no reason to spin.
                Err(_) => return,
            }
            // One look at /proc for everybody who ended before it.
            let mut scan = None;
            let mut flush = false;
            for event in &events {
                match event.data.u64() {
                    QUEUE => open = self.take_orders(),
                    CHILDREN => self.children_changed(),
                    TICK => self.look_around(),
                    FLUSH => {
                        drain(&self.flush);
                        flush = true;
                    }
                    WHILE => self.while_is_over(),
                    DUE => self.deadlines.take_due().into_iter().for_each(|run| self.deadline(run)),
                    token => self.run_event(token >> WHAT_BITS, token & ((1 << WHAT_BITS) - 1), &mut scan),
                }
            }
            if events.iter().any(|event| event.data.u64() == CHILDREN) {
                self.collect_orphans();
            }
            self.write_books(flush);
            self.remove_cgroups(false);
            if let Some(trouble) = self.records.news() {
                (self.sink)(Notice::RecordsFail { trouble });
            }
        }
    }

    /// Writes what is urgent, and the rest when its time has come.
    fn write_books(&mut self, time_has_come: bool) {
        if self.records.is_urgent() || time_has_come {
            self.records.flush();
            self.flush_armed = false;
        } else if self.records.is_dirty() && !self.flush_armed {
            self.flush_armed = set_timer(&self.flush, FLUSH_AFTER, false).is_ok();
            if !self.flush_armed {
                self.records.flush();
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
                    self.expected.insert(owner, Expected::default());
                }
                ReaperCommand::Spawned(mut run) => {
                    let expected = self.expected.remove(&run.owner).unwrap_or_default();
                    run.silent = expected.silent;
                    let captured = run.capture.is_some();
                    run.tags = self.tags(run.owner, run.realm.as_ref(), captured, run.word.as_deref());
                    self.watch(*run, expected.cancelled);
                }
                ReaperCommand::SpawnFailed { owner, error } => {
                    if self.expected.remove(&owner).is_some_and(|expected| !expected.silent) {
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

    /// Realms run on when the adapter ends; commands belong to it.
    fn end_commands(&mut self) {
        let is_command = |run: &Run| matches!(run.owner, Owner::Command(_));
        let commands: Vec<u64> =
            self.runs.iter().filter(|(_, run)| is_command(run)).map(|(id, _)| *id).collect();
        for id in commands {
            self.signal_tree(id, Signal::KILL);
        }
    }

    /// Leaves nothing behind but what runs.
    fn close(&mut self) {
        for launcher in self.parting.drain(..) {
            // It has nothing left to do but to end.
            let _ = rustix::process::waitid(WaitId::PidFd(launcher.as_fd()), WaitIdOptions::EXITED);
        }
        self.remove_cgroups(true);
        let removable = |cgroup: &Cgroup| cgroup.is_empty().unwrap_or(false);
        for _ in 0..MAX_LOOKS_AT_END {
            if !self.lingering.iter().any(removable) {
                break;
            }
            // The kernel may still be busy with what has just ended.
            let _ = rustix::event::poll(&mut [], Some(&LOOK_AT_END));
            self.remove_cgroups(true);
        }
        if let Some(groups) = &self.groups {
            // As long as a realm lives there is one in it.
            let _ = std::fs::remove_dir(groups);
        }
    }

    /// What stands in the environment of all processes of a run. Of a hook nothing does: whom it leaves behind on purpose is
    /// its own.
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

    fn watch(&mut self, mut run: Run, cancelled: bool) {
        self.next_run += 1;
        let id = self.next_run;
        let watch = |fd: &OwnedFd, what| epoll::add(&self.epoll, fd, Self::token(id, what), EventFlags::IN);
        let speaks = run.socket.as_ref().map_or(Ok(()), |socket| watch(socket, SOCKET));
        self.deadlines.set(id, self.launch_timeout);
        if let Err(errno) = speaks {
            let what = format!("of {}", run.program);
            run.failure = Some(LaunchError::new(Step::Watch, Some(errno.raw_os_error()), &what));
        }
        let failed = run.failure.is_some();
        self.by_owner.insert(run.owner, id);
        self.runs.insert(id, run);
        if failed {
            self.abort(id);
        } else if cancelled {
            self.cancel_launch(id);
        }
    }

    fn signal(&mut self, owner: Owner, signal: Signal) {
        if let Some(expected) = self.expected.get_mut(&owner) {
            expected.cancelled |= signal == Signal::KILL;
            return;
        }
        let Some(id) = self.by_owner.get(&owner).copied() else { return };
        let Some(run) = self.runs.get_mut(&id) else { return };
        match run.stage {
            Stage::Launching if signal == Signal::KILL => self.cancel_launch(id),
            // Nothing of the realm runs yet that could make sense of it.
            Stage::Launching => {}
            Stage::Started | Stage::Forked(_) | Stage::Exited => self.signal_tree(id, signal),
        }
    }

    fn signal_main(&mut self, key: Key, signal: Signal) {
        let Some(id) = self.by_owner.get(&Owner::Realm(key)).copied() else { return };
        let Some(run) = self.runs.get(&id).filter(|run| !run.unproven) else { return };
        match (run.stage, &run.pidfd) {
            (Stage::Started, Some(pidfd)) => {
                // Gone meanwhile: then its end says so.
                let _ = sys::signal_process(pidfd.as_fd(), signal);
            }
            // Its pid file has not named the daemon yet: the tree is all that is known of it.
            (Stage::Forked(_), _) => self.signal_tree(id, signal),
            (Stage::Started | Stage::Launching | Stage::Exited, _) => {}
        }
    }

    fn cancel(&mut self, owner: Owner) {
        if let Some(expected) = self.expected.get_mut(&owner) {
            *expected = Expected { cancelled: true, silent: true };
            return;
        }
        let Some(id) = self.by_owner.get(&owner).copied() else { return };
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.silent = true;
        match run.stage {
            Stage::Launching => self.cancel_launch(id),
            Stage::Started | Stage::Forked(_) | Stage::Exited => self.signal_tree(id, Signal::KILL),
        }
    }

    /// Takes stops and continuations, and no exit: those belong to the pidfds.
    fn children_changed(&mut self) {
        drain(self.children);
        self.parting.retain(|launcher| !collect(launcher));
        self.former.retain(|child| !collect(child));
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
            .values_mut()
            .find(|run| i64::from(run.pid) == i64::from(pid) && run.stage == Stage::Started);
        let Some(run) = found else { return };
        run.stopped_by_signal = stopped_by_signal;
        if let Owner::Realm(key) = run.owner {
            (self.sink)(Notice::StoppedBySignal { key, stopped: stopped_by_signal });
        }
    }

    fn run_event(&mut self, id: u64, what: u64, scan: &mut Option<ProcScan>) {
        // Closed in this very batch: its later events mean nothing.
        if !self.runs.contains_key(&id) {
            return;
        }
        match what {
            SOCKET => drop(self.listen(id)),
            MAIN => {
                // Its last words come first: whether it was exec'd decides what its end means.
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

/// Takes the end of a launcher, if it has come.
fn collect(launcher: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    !matches!(rustix::process::waitid(WaitId::PidFd(launcher.as_fd()), options), Ok(None))
}

/// A kernel timer: once after that time, or every time.
fn timer(after: Duration, again: bool) -> io::Result<OwnedFd> {
    let timer = new_timer()?;
    set_timer(&timer, after, again)?;
    Ok(timer)
}

/// One that is not armed.
fn new_timer() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?)
}

fn set_timer(timer: &OwnedFd, after: Duration, again: bool) -> io::Result<()> {
    let value = Timespec {
        tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        // Zero would disarm it.
        tv_nsec: i64::from(after.subsec_nanos()).max(i64::from(after.as_secs() == 0)),
    };
    let interval = if again { value } else { Timespec { tv_sec: 0, tv_nsec: 0 } };
    let setting = Itimerspec { it_interval: interval, it_value: value };
    rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &setting)?;
    Ok(())
}

fn drain(events: impl AsFd) {
    let mut count = [0; 8];
    // Only resets the counter; that it was zero already is no news.
    let _ = rustix::io::read(events, &mut count);
}
