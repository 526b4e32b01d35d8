//! The one thread that talks to launchers, reaps, and signals.
//!
//! It waits in one epoll for everything: orders, launchers' words, exits by pidfd, deadlines by timerfd, and
//! SIGCHLD, from which only stops and continuations are taken. No exit status is ever taken but through the pidfd
//! of the very process.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{Exit, Signal};
use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::channel::{self, Said};
use crate::notice::{CommandResult, LaunchError, Notice, Step};
use crate::processes::{Order, Orders, Settings};
use crate::record::{Origin, Record};
use crate::run::{Owner, Places, Run, Stage};
use crate::spawn::Launcher;
use crate::tree::Sweep;
use crate::{sys, tree};

/// Events taken from one wait.
const MAX_EVENTS: usize = 256;

/// Leftovers are looked for again after this, whatever their pidfds say: some could not be held, or fork.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What an event is about, in the low bits of its token; the number of the run stands above them.
const SOCKET: u64 = 0;
const MAIN: u64 = 1;
const TIMER: u64 = 2;
const LEFTOVER: u64 = 3;
const WHAT_BITS: u32 = 2;
/// Tokens of the reaper itself; runs are numbered from 1.
const ORDERS: u64 = 0;
const CHILDREN: u64 = 1;

/// What has become of a launch while it was being spawned.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    called_off: bool,
    silent: bool,
}

type Sink = Box<dyn Fn(Notice) + Send>;

pub(crate) struct Reaper {
    epoll: OwnedFd,
    orders: Arc<Orders>,
    children: BorrowedFd<'static>,
    runs: BTreeMap<u64, Run>,
    by_owner: BTreeMap<Owner, u64>,
    /// Asked for and not spawned yet.
    expected: BTreeMap<Owner, Expected>,
    next_run: u64,
    records: PathBuf,
    origin: Origin,
    launch_timeout: Duration,
    sink: Sink,
}

impl Reaper {
    pub(crate) fn new(
        settings: Settings,
        origin: Origin,
        orders: Arc<Orders>,
        sink: Sink,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let children = sys::child_events()?;
        epoll::add(&epoll, orders.wake(), EventData::new_u64(ORDERS), EventFlags::IN)?;
        epoll::add(&epoll, children, EventData::new_u64(CHILDREN), EventFlags::IN)?;
        Ok(Self {
            epoll,
            orders,
            children,
            runs: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            expected: BTreeMap::new(),
            next_run: 0,
            records: settings.records,
            origin,
            launch_timeout: settings.launch_timeout,
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
            let mut sweep = None;
            for event in &events {
                match event.data.u64() {
                    ORDERS => open = self.take_orders(),
                    CHILDREN => self.children_changed(),
                    token => self.run_event(token >> WHAT_BITS, token & ((1 << WHAT_BITS) - 1), &mut sweep),
                }
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
                Order::Expect(owner) => {
                    self.expected.insert(owner, Expected::default());
                }
                Order::Spawned { owner, realm, program, places, limit, launcher } => {
                    let expected = self.expected.remove(&owner).unwrap_or_default();
                    let mut run = new_run(owner, realm, (program, places), limit, launcher);
                    run.silent = expected.silent;
                    self.watch(run, expected.called_off);
                }
                Order::SpawnFailed { owner, error } => {
                    if self.expected.remove(&owner).is_some_and(|expected| !expected.silent) {
                        self.tell_failure(owner, error);
                    }
                }
                Order::Signal { owner, signal } => self.signal(owner, signal),
                Order::Cancel { owner } => self.cancel(owner),
                Order::Close => {
                    self.end_commands();
                    return false;
                }
            }
        }
        true
    }

    /// Realms run on when the adapter ends; commands belong to it.
    fn end_commands(&self) {
        for run in self.runs.values().filter(|run| matches!(run.owner, Owner::Command(_))) {
            run.signal(Signal::KILL);
        }
    }

    fn watch(&mut self, mut run: Run, called_off: bool) {
        self.next_run += 1;
        let id = self.next_run;
        run.timer = self.timer(id, self.launch_timeout);
        if run.timer.is_none() {
            // Without a bound nothing is launched.
            run.failure = Some(LaunchError::new(Step::Spawn, Some(Errno::EMFILE as i32), &run.program));
            run.socket = None;
            run.kill_launch();
        }
        let watched = run.socket.as_ref().map(|socket| {
            epoll::add(&self.epoll, socket, Self::token(id, SOCKET), EventFlags::IN)
                .and_then(|()| epoll::add(&self.epoll, &run.pidfd, Self::token(id, MAIN), EventFlags::IN))
        });
        if let Some(Err(errno)) = watched {
            run.failure = Some(LaunchError::new(Step::Spawn, Some(errno.raw_os_error()), &run.program));
            // Without its socket it never gets its `go`.
            run.socket = None;
            let _ = sys::signal_process(run.pidfd.as_fd(), Signal::KILL);
        }
        if called_off {
            call_off(&mut run);
        }
        self.by_owner.insert(run.owner, id);
        self.runs.insert(id, run);
    }

    fn timer(&self, run: u64, after: Duration) -> Option<OwnedFd> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).ok()?;
        let value = Timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            // Zero would disarm it.
            tv_nsec: i64::from(after.subsec_nanos()).max(i64::from(after.as_secs() == 0)),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once).ok()?;
        epoll::add(&self.epoll, &timer, Self::token(run, TIMER), EventFlags::IN).ok()?;
        Some(timer)
    }

    fn signal(&mut self, owner: Owner, signal: Signal) {
        if let Some(expected) = self.expected.get_mut(&owner) {
            expected.called_off |= signal == Signal::KILL;
            return;
        }
        let Some(run) = self.by_owner.get(&owner).and_then(|id| self.runs.get_mut(id)) else { return };
        match run.stage {
            Stage::Launching if signal == Signal::KILL => call_off(run),
            // Nothing of the realm runs yet that could make sense of it.
            Stage::Launching => {}
            Stage::Started | Stage::Exited => run.signal(signal),
        }
    }

    fn cancel(&mut self, owner: Owner) {
        if let Some(expected) = self.expected.get_mut(&owner) {
            *expected = Expected { called_off: true, silent: true };
            return;
        }
        if let Some(run) = self.by_owner.get(&owner).and_then(|id| self.runs.get_mut(id)) {
            run.silent = true;
            match run.stage {
                Stage::Launching => call_off(run),
                Stage::Started | Stage::Exited => run.signal(Signal::KILL),
            }
        }
    }

    /// Takes stops and continuations, and no exit: those belong to the pidfds.
    fn children_changed(&mut self) {
        drain(self.children);
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WCONTINUED | WaitPidFlag::WNOHANG;
        loop {
            match nix::sys::wait::waitid(Id::All, flags) {
                Ok(WaitStatus::Stopped(pid, _)) => self.halted(pid.as_raw(), true),
                Ok(WaitStatus::Continued(pid)) => self.halted(pid.as_raw(), false),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn halted(&self, pid: i32, halted: bool) {
        let found = self
            .runs
            .values()
            .find(|run| i64::from(run.pid) == i64::from(pid) && run.stage == Stage::Started);
        if let Some(Owner::Realm(key)) = found.map(|run| run.owner) {
            (self.sink)(Notice::Halted { key, halted });
        }
    }

    fn run_event(&mut self, id: u64, what: u64, sweep: &mut Option<Sweep>) {
        // Closed in this very batch: its later events mean nothing.
        if !self.runs.contains_key(&id) {
            return;
        }
        match what {
            SOCKET => self.listen(id),
            MAIN => {
                // Its last words come first: whether it was exec'd decides what its end means.
                self.listen(id);
                self.ended(id, sweep);
            }
            TIMER => self.deadline(id),
            _ => self.leftover_ended(id),
        }
    }

    /// Hears what a launcher has to say.
    fn listen(&mut self, id: u64) {
        loop {
            let Some(run) = self.runs.get_mut(&id) else { return };
            let Some(socket) = &run.socket else { return };
            match channel::hear(socket.as_fd()) {
                Said::Nothing => return,
                Said::Ready => go(run, &self.records, &self.origin),
                Said::Exec => run.said_exec = true,
                Said::Failed { step, errno } => {
                    run.said_exec = false;
                    let what = failed_object(run, step);
                    run.failure.get_or_insert_with(|| LaunchError::new(step, Some(errno), &what));
                }
                Said::End => {
                    run.socket = None;
                    if run.said_exec && run.failure.is_none() {
                        self.started(id);
                    }
                    return;
                }
            }
        }
    }

    fn started(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.stage = Stage::Started;
        run.timer = None;
        let (owner, limit) = (run.owner, run.limit);
        match owner {
            Owner::Realm(key) => {
                (self.sink)(Notice::Started { key, pid: run.pid, start_time: run.start_time });
            }
            Owner::Command(_) => {
                let timer = limit.and_then(|limit| self.timer(id, limit));
                if let Some(run) = self.runs.get_mut(&id) {
                    if timer.is_none() {
                        // A command without a bound would be one that can hang for ever.
                        run.timed_out = true;
                        run.signal(Signal::KILL);
                    }
                    run.timer = timer;
                }
            }
        }
    }

    /// The main process has ended.
    fn ended(&mut self, id: u64, sweep: &mut Option<Sweep>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(exit) = run.reap() else { return };
        // It cannot speak any more, and an exit is told once.
        let _ = epoll::delete(&self.epoll, &run.pidfd);
        run.socket = None;
        run.timer = None;
        if run.stage == Stage::Launching {
            // Called off while it was being exec'd: whatever it forked meanwhile goes with it.
            run.kill_launch();
            let error = run.failure.take().unwrap_or_else(|| {
                let what = format!("of {}, which ended with {exit}", run.program);
                LaunchError::new(Step::Launcher, None, &what)
            });
            let (owner, silent) = (run.owner, run.silent);
            self.forget(id);
            if !silent {
                self.tell_failure(owner, error);
            }
            return;
        }
        match run.owner {
            Owner::Command(_) => self.command_ended(id, exit),
            Owner::Realm(key) => {
                run.stage = Stage::Exited;
                let empty = run.find_leftovers(sweep.get_or_insert_with(Sweep::take));
                // Whoever is told that nothing is left finds nothing left, its record included.
                if empty {
                    self.forget(id)
                } else {
                    self.watch_leftovers(id)
                }
                (self.sink)(Notice::Exited { key, exit, empty });
            }
        }
    }

    fn command_ended(&mut self, id: u64, exit: Exit) {
        let Some(run) = self.runs.get(&id) else { return };
        // Whatever it left behind in its group goes with it.
        run.signal(Signal::KILL);
        let (owner, silent, timed_out) = (run.owner, run.silent, run.timed_out);
        self.forget(id);
        if let (Owner::Command(id), false) = (owner, silent) {
            let result = if timed_out { CommandResult::TimedOut } else { CommandResult::Exited(exit) };
            (self.sink)(Notice::CommandDone { id, result });
        }
    }

    fn watch_leftovers(&mut self, id: u64) {
        let Some(run) = self.runs.get(&id) else { return };
        for leftover in &run.leftovers {
            // One that cannot be watched is found by the next look.
            let _ = epoll::add(&self.epoll, leftover, Self::token(id, LEFTOVER), EventFlags::IN);
        }
        let timer = self.timer(id, LOOK_AGAIN);
        if let Some(run) = self.runs.get_mut(&id) {
            run.timer = timer;
        }
    }

    fn leftover_ended(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.find_leftovers(&Sweep::take()) {
            let owner = run.owner;
            self.forget(id);
            if let Owner::Realm(key) = owner {
                (self.sink)(Notice::Emptied { key });
            }
        } else {
            self.watch_leftovers(id);
        }
    }

    fn deadline(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.timer = None;
        match run.stage {
            Stage::Launching => {
                let what = format!("the launch of {}", run.program);
                run.failure.get_or_insert_with(|| LaunchError::new(Step::Timeout, None, &what));
                run.socket = None;
                run.kill_launch();
            }
            Stage::Started => {
                run.timed_out = true;
                run.signal(Signal::KILL);
            }
            Stage::Exited => self.leftover_ended(id),
        }
    }

    fn tell_failure(&self, owner: Owner, error: LaunchError) {
        (self.sink)(match owner {
            Owner::Realm(key) => Notice::StartFailed { key, error },
            Owner::Command(id) => Notice::CommandDone { id, result: CommandResult::StartFailed(error) },
        });
    }

    /// Nothing of it is left: its record goes, too.
    fn forget(&mut self, id: u64) {
        let Some(run) = self.runs.remove(&id) else { return };
        self.by_owner.remove(&run.owner);
        if let (Some(realm), Owner::Realm(key)) = (&run.realm, run.owner) {
            Record::remove(&self.records, realm, key.run);
        }
    }
}

fn new_run(
    owner: Owner,
    realm: Option<heartbeat_status::RealmName>,
    (program, places): (String, Places),
    limit: Option<Duration>,
    launcher: Launcher,
) -> Run {
    Run {
        owner,
        realm,
        program,
        stage: Stage::Launching,
        pid: launcher.pid,
        pidfd: launcher.pidfd,
        start_time: 0,
        socket: Some(launcher.socket),
        said_exec: false,
        failure: None,
        timer: None,
        limit,
        timed_out: false,
        silent: false,
        leftovers: Vec::new(),
        places,
    }
}

/// The launcher is set up: put it on record, and let it go on. In this order: at every instruction either no
/// process of the realm exists, or it is on record.
fn go(run: &mut Run, records: &std::path::Path, origin: &Origin) {
    run.start_time = tree::stat(run.pid).map_or(0, |stat| stat.start_time);
    if let (Some(realm), Owner::Realm(key)) = (&run.realm, run.owner) {
        let record = Record {
            realm: realm.clone(),
            run: key.run,
            pid: run.pid,
            start_time: run.start_time,
            boot: origin.boot.clone(),
            pid_namespace: origin.pid_namespace.clone(),
            mark: origin.mark.clone(),
        };
        if let Err(error) = record.write(records) {
            run.failure = Some(LaunchError::new(Step::Record, error.raw_os_error(), &format!("of {realm}")));
        }
    }
    let told = match (&run.socket, &run.failure) {
        (Some(socket), None) => channel::send_go(socket.as_fd()),
        (_, _) => Err(Errno::ECANCELED),
    };
    if told.is_err() {
        // Without `go` it ends by itself as soon as the socket is closed.
        run.socket = None;
    }
}

fn call_off(run: &mut Run) {
    let what = format!("with {}", run.program);
    run.failure.get_or_insert_with(|| LaunchError::new(Step::CalledOff, None, &what));
    // Exec may have been faster: then its exit says so, and the signal has ended it all the same.
    run.kill_launch();
}

fn failed_object(run: &Run, step: Step) -> String {
    match step {
        Step::Exec => run.program.clone(),
        Step::Directory => format!("{} for {}", run.places.dir, run.program),
        Step::Log => format!("{} for {}", run.places.log, run.program),
        _ => format!("for {}", run.program),
    }
}

fn drain(events: impl AsFd) {
    let mut count = [0; 8];
    // Only resets the counter; that it was zero already is no news.
    let _ = rustix::io::read(events, &mut count);
}
