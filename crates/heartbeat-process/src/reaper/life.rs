//! What becomes of a run: from its launcher's first word to the last process it leaves behind.

use std::os::fd::AsFd;

use heartbeat_status::{Exit, Signal};
use nix::errno::Errno;
use rustix::event::epoll::{self, EventFlags};

use super::{LEFTOVER, LOOK_AGAIN, Reaper};
use crate::books::Books;
use crate::channel::{self, Said};
use crate::notice::{CommandResult, LaunchError, Notice, Step};
use crate::record::Recorded;
use crate::run::{Owner, Run, Stage};
use crate::spares;
use crate::spawn::captured;
use crate::tree::{self, Sweep};

impl Reaper {
    /// Hears what a launcher has to say.
    pub(super) fn listen(&mut self, id: u64) {
        loop {
            let Some(run) = self.runs.get_mut(&id) else { return };
            let Some(socket) = &run.socket else { return };
            match channel::hear(socket.as_fd()) {
                Said::Nothing => return,
                Said::Ready => go(run, &mut self.books),
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

    pub(super) fn started(&mut self, id: u64) {
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
    pub(super) fn ended(&mut self, id: u64, sweep: &mut Option<Sweep>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(exit) = run.reap() else { return };
        // It cannot speak any more, and an exit is told once.
        if let Some(pidfd) = &run.pidfd {
            let _ = epoll::delete(&self.epoll, pidfd);
        }
        run.socket = None;
        run.timer = None;
        if run.stage == Stage::Launching {
            // Called off while it was being exec'd: whatever it forked meanwhile goes with it.
            run.kill_launch();
            if run.said_exec {
                run.kill_marked(&self.books.origin.mark);
            }
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
                if empty {
                    self.forget(id)
                } else {
                    self.watch_leftovers(id)
                }
                (self.sink)(Notice::Exited { key, exit, empty });
            }
        }
    }

    pub(super) fn command_ended(&mut self, id: u64, exit: Exit) {
        let Some(run) = self.runs.get(&id) else { return };
        // Whatever it left behind in its group goes with it.
        run.signal(Signal::KILL);
        run.kill_marked(&self.books.origin.mark);
        let output = captured(run.capture.as_ref());
        let (owner, silent, timed_out) = (run.owner, run.silent, run.timed_out);
        self.forget(id);
        if let (Owner::Command(id), false) = (owner, silent) {
            let result = if timed_out { CommandResult::TimedOut } else { CommandResult::Exited(exit) };
            (self.sink)(Notice::CommandDone { id, result, output });
        }
    }

    pub(super) fn watch_leftovers(&mut self, id: u64) {
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

    pub(super) fn leftover_ended(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let sweep = Sweep::take();
        if run.find_leftovers(&sweep) && !run.find_marked(&sweep, &self.books.origin.mark) {
            let owner = run.owner;
            self.forget(id);
            if let Owner::Realm(key) = owner {
                (self.sink)(Notice::Emptied { key });
            }
        } else {
            self.watch_leftovers(id);
        }
    }

    pub(super) fn deadline(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.timer = None;
        match run.stage {
            Stage::Launching if run.looks > 0 => self.look_at_launcher(id),
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

    pub(super) fn tell_failure(&self, owner: Owner, error: LaunchError) {
        (self.sink)(match owner {
            Owner::Realm(key) => Notice::StartFailed { key, error },
            Owner::Command(id) => {
                Notice::CommandDone { id, result: CommandResult::StartFailed(error), output: Vec::new() }
            }
        });
    }

    /// Nothing of it is left: its record goes, too.
    pub(super) fn forget(&mut self, id: u64) {
        let Some(run) = self.runs.remove(&id) else { return };
        self.by_owner.remove(&run.owner);
        if let (Some(realm), Owner::Realm(key)) = (&run.realm, run.owner) {
            self.books.end(realm, key.run);
        }
    }
}

/// The launcher is set up: put it on record, and let it go on. In this order: at every instruction either no
/// process of the realm exists, or it is on record.
fn go(run: &mut Run, books: &mut Books) {
    match spares::with(|| tree::read_stat(run.pid)) {
        Ok(stat) => run.start_time = stat.map_or(0, |stat| stat.start_time),
        Err(error) => {
            // Without its identity on record nobody would know it again.
            let error =
                LaunchError::new(Step::Record, error.raw_os_error(), &failed_object(run, Step::Record));
            run.failure.get_or_insert(error);
        }
    }
    if let (Some(realm), Owner::Realm(key)) = (&run.realm, run.owner) {
        // A record that cannot be written is told, and holds nobody up: without it, a later heartbeatd finds the process
        // by its mark, and starts no second copy.
        books.begin(realm, Recorded { run: key.run, pid: run.pid, start_time: run.start_time }, run.made_of);
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

pub(super) fn call_off(run: &mut Run) {
    let what = format!("with {}", run.program);
    run.failure.get_or_insert_with(|| LaunchError::new(Step::CalledOff, None, &what));
    // Exec may have been faster: then its exit says so, and the signal has ended it all the same.
    run.kill_launch();
}

fn failed_object(run: &Run, step: Step) -> String {
    match step {
        Step::Exec => format!("{}{}", run.program, as_user(run)),
        Step::Directory => format!("{} for {}{}", run.places.dir, run.program, as_user(run)),
        Step::User => {
            format!("{} for {}", run.places.user.as_deref().unwrap_or("of its own"), run.program)
        }
        Step::Log => format!("{} for {}", run.places.log, run.program),
        _ => format!("for {}", run.program),
    }
}

fn as_user(run: &Run) -> String {
    run.places.user.as_ref().map_or_else(String::new, |user| format!(" as user {user}"))
}
