//! The life of a run: from the first report of its launcher to the last process that it leaves behind.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use heartbeat_status::{Exit, ExitKind, RunFact, Signal};
use nix::errno::Errno;
use rustix::event::epoll::{self, EventFlags};

use super::{MAIN, Reaper};
use crate::channel::{self, LaunchMessage};
use crate::members::hold;
use crate::notice::{CommandResult, Key, LaunchError, Notice, Step};
use crate::record::ProcessId;
use crate::run::{Only, Owner, Run, Stage, Wanted};
use crate::spawn::captured;
use crate::tree::{self, ProcScan};
use crate::trusted::name_of;
use crate::{reserved_fds, sys};

impl Reaper {
    /// Reads all reports of the launcher and its copy about a launch. Their reports always come before what the reaper
    /// finds out about an ended process. True: there was a report.
    pub(super) fn listen(&mut self, id: u64) -> bool {
        let mut heard = false;
        loop {
            let Some(run) = self.runs.get_mut(id) else { return heard };
            let Some(socket) = &run.launch.socket else { return heard };
            let said = channel::hear(socket.as_fd());
            heard |= !matches!(said, LaunchMessage::Nothing);
            match said {
                LaunchMessage::Nothing => return heard,
                // A copy that the reaper cannot hold now has ended and reported why, or the reaper holds it at `Ready`.
                LaunchMessage::Made { pid, pidfd } => drop(self.register_child(id, pid, pidfd)),
                LaunchMessage::Sharing { pid, pidfd, log } => {
                    run.launch.shares = true;
                    self.register_waiting(id, pid, pidfd, log);
                }
                LaunchMessage::Ready { pid } => self.register_waiting(id, pid, None, None),
                LaunchMessage::Exec => (run.launch.said_exec, run.launch.is_set_up) = (true, true),
                LaunchMessage::Failed { step, errno, pid, path } => {
                    run.launch.said_exec = false;
                    // Only a process with memory of its own can find out which file is at fault.
                    let alike = run.launch.again.as_ref().map(|wanted| wanted.only);
                    run.launch.retry = alike
                        .filter(|_| run.launch.shares && step == Step::Exec && run.launch.failure.is_none())
                        .map(|only| Only { apart: true, ..only });
                    let what = failed_object(run, step, errno);
                    run.launch.failure.get_or_insert_with(|| match (step, path) {
                        (Step::Interpreter | Step::Loader, Some(path)) => {
                            LaunchError::helper(step, errno, &what, &path)
                        }
                        (Step::EnvFile, Some(why)) => {
                            LaunchError::env_file(&run.request.program, &why.to_string_lossy())
                        }
                        (step, _) => LaunchError::new(step, Some(errno), &what),
                    });
                    if let Some(pid) = pid {
                        // The copy has failed and reported why, whether the reaper can hold it or not.
                        if self.register_child(id, pid, None).is_err() {
                            self.abort(id);
                        }
                    }
                }
                LaunchMessage::End => {
                    run.launch.socket = None;
                    if run.launch.said_exec && run.launch.failure.is_none() {
                        self.started(id);
                    } else if run.main.pid == 0 {
                        self.launch_ended(id, None);
                    } else {
                        // The next look finds the end of a process that cannot be watched.
                        let _ = self.watch_end(id);
                    }
                    return true;
                }
            }
        }
    }

    /// Makes the launcher's copy the main process of a run: holds it (by `pidfd`, if the launcher has sent one), watches
    /// it, and puts it on record. If the launch has failed already, it ends here.
    ///
    /// # Errors
    /// The reaper cannot hold the copy. ESRCH: the copy is gone.
    fn register_child(&mut self, id: u64, pid: u32, pidfd: Option<OwnedFd>) -> io::Result<()> {
        let Some(run) = self.runs.get_mut(id).filter(|run| run.main.pid == 0) else { return Ok(()) };
        let (start_time, pidfd) = match pidfd {
            // A child of heartbeatd keeps its pid until the reaper collects it, and the reaper has not done that.
            Some(pidfd) => (read_child(pid)?.start_time, pidfd),
            None => hold_copy(pid)?,
        };
        (run.main.pid, run.main.start_time, run.tree.since) = (pid, start_time, start_time);
        run.main.pidfd = Some(pidfd);
        let watched = self.watch_end(id);
        let Some(run) = self.runs.get_mut(id) else { return Ok(()) };
        if let Err(error) = watched {
            run.launch.failure.get_or_insert_with(|| unwatched(&run.request.program, &error));
        }
        if run.launch.failure.is_some() {
            self.abort(id);
            return Ok(());
        }
        if let (Some(realm), Owner::Realm(key)) = (&run.realm, run.owner) {
            // The reaper reports a record that it cannot write, and goes on: a later heartbeatd finds the process by
            // its tag, and starts no second copy.
            let process = ProcessId { run: key.run, pid: run.main.pid, start_time: run.main.start_time };
            let group = run.tree.cgroup.as_ref().map(|cgroup| cgroup.dir().to_owned());
            self.records.begin(realm, process, group, run.request.identity.clone(), run.tree.word.clone());
        }
        Ok(())
    }

    /// Makes a child that waits for `proceed`, or is about to, the main process of a run, and lets it go on.
    fn register_waiting(&mut self, id: u64, pid: u32, pidfd: Option<OwnedFd>, log: Option<OwnedFd>) {
        match self.register_child(id, pid, pidfd) {
            Ok(()) => {
                self.note_log(id, log.as_ref());
                self.proceed(id);
            }
            // What the child has reported comes next, and then the end.
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {}
            Err(error) => {
                if let Some(run) = self.runs.get_mut(id) {
                    run.launch.failure.get_or_insert_with(|| unwatched(&run.request.program, &error));
                }
                self.abort(id);
            }
        }
    }

    /// Notes the log that a realm is about to write to, before the realm can change that; `log`: open, and not yet where
    /// the realm will have it.
    fn note_log(&mut self, id: u64, log: Option<&OwnedFd>) {
        let Some(run) = self.runs.get_mut(id) else { return };
        if let Owner::Realm(key) = run.owner {
            let output = match log {
                Some(log) => PathBuf::from(format!("/proc/self/fd/{}", log.as_raw_fd())),
                None => PathBuf::from(format!("/proc/{}/fd/1", run.main.pid)),
            };
            let writer = (key.run.generation(), run.main.pid);
            run.log_in_memory = self.logs.begin(&run.request.log, run.request.user.as_ref(), writer, &output);
        }
    }

    /// Lets a copy go on that is set up and on record. In this order, at every instruction either no process of the
    /// realm exists, or it is on record.
    fn proceed(&mut self, id: u64) {
        // Until now it may have waited for us.
        self.deadlines.set(id, self.launch_timeout);
        let Some(run) = self.runs.get_mut(id) else { return };
        // A child that shares memory may still be setting itself up.
        run.launch.is_set_up = !run.launch.shares;
        let told = match (&run.launch.socket, &run.launch.failure) {
            (Some(socket), None) => channel::send_proceed(socket.as_fd()),
            (_, _) => Err(Errno::ECANCELED),
        };
        // What a child has said that is gone already comes next.
        if told.is_err_and(|errno| !matches!(errno, Errno::EPIPE | Errno::ECONNRESET)) {
            self.abort(id);
        }
    }

    /// Ends a failed launch. Without `proceed` the copy ends once its socket closes; the reaper also kills it.
    pub(super) fn abort(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.launch.socket = None;
        self.kill_launch(id);
        let held = self.runs.get(id).is_some_and(|run| run.main.pidfd.is_some());
        if held {
            // One that cannot be watched is found by the next look.
            let _ = self.watch_end(id);
        } else {
            self.launch_ended(id, None);
        }
    }

    /// Handles a launch that has ended before its program ran. `None`: the reaper has not seen how it ended.
    fn launch_ended(&mut self, id: u64, exit: Option<Exit>) {
        let Some(run) = self.runs.get_mut(id) else { return };
        // A SIGKILL before the set-up comes from outside, and says nothing about the program.
        let killed =
            exit.is_none_or(|exit| matches!(exit.kind, ExitKind::Signal { signal: Signal::KILL, .. }));
        let how = exit.map_or_else(String::new, |exit| format!(" ({exit})"));
        let what = format!("of {}, which was gone{how}", run.request.program);
        let error = run.launch.failure.take().unwrap_or_else(|| match killed && !run.launch.is_set_up {
            true => LaunchError::never_tried(Step::Launcher, &what),
            false => LaunchError::new(Step::Launcher, None, &what),
        });
        let (owner, silent, captured) =
            (run.owner, run.silent, run.launch.said_exec && run.capture.is_some());
        let again = run.launch.again.take().zip(run.launch.retry.take());
        if again.is_some() {
            // The next try makes it anew. (The kernel kills what is born in a group that was killed.)
            run.tree.cgroup = None;
        }
        if captured {
            self.kill_command(id);
        }
        self.forget(id);
        if silent {
            return;
        }
        let Some((wanted, only)) = again else { return self.tell_failure(owner, error) };
        self.runs.expect(owner);
        self.spawns.push(Wanted { only, ..*wanted });
    }

    pub(super) fn started(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.stage = Stage::Started;
        run.launch.again = None;
        self.deadlines.clear(id);
        let (owner, limit) = (run.owner, run.request.time_limit);
        match owner {
            Owner::Realm(key) => {
                let (pid, start_time) = (run.main.pid, run.main.start_time);
                (self.sink)(Notice::Started { key, pid, start_time });
                if let Some(run) = self.runs.get(id) {
                    self.tell_unbounded(key, run);
                    self.tell_log(key, run);
                }
                // The messages that the realm has sent since exec already wait there.
                self.open_notify_listener(id);
            }
            Owner::Command(_) => {
                // Without a time limit a command could hang for ever.
                self.deadlines.set(id, limit.unwrap_or_default());
            }
        }
    }

    /// The main process has ended.
    pub(super) fn ended(&mut self, id: u64, scan: &mut Option<ProcScan>) {
        let Some(run) = self.runs.get_mut(id) else { return };
        let is_program =
            run.stage == Stage::Launching && run.launch.said_exec && run.launch.failure.is_none();
        if is_program && run.look_at_end().is_some() {
            // The reaper has read all reports, and none is a failure. (The socket may not have ended yet: the launcher
            // that has made the copy holds it for a moment, too.) What the program has said waits in the kernel, and
            // only a process that is not reaped yet is believed. It may even have named another main process.
            run.launch.socket = None;
            self.started(id);
            self.hear_words(id);
            self.hear_line(id);
        }
        let counted = self.cgroups.counts_kills();
        let Some(run) = self.runs.get_mut(id) else { return };
        let Some(exit) = run.look_at_end() else { return };
        let exit = super::bounds::with_oom(run, exit, counted);
        let told = self.tell_end_first(id, exit);
        let Some(run) = self.runs.get_mut(id) else { return };
        if let (Some(realm), Owner::Realm(key)) = (&run.realm, run.owner)
            && (run.stage == Stage::Started || run.launch.said_exec)
        {
            // The record comes first: once the reaper has reaped the process, only the record knows how it ended.
            self.records.ended(realm, key.run, exit);
        }
        run.reap();
        // The process cannot report any more, and the reaper reports an exit once.
        if let Some(pidfd) = &run.main.pidfd {
            let _ = epoll::delete(&self.epoll, pidfd);
        }
        run.launch.socket = None;
        self.deadlines.clear(id);
        if run.stage == Stage::Launching {
            // The launch was cancelled during exec: the reaper also kills what the process has forked meanwhile.
            self.kill_launch(id);
            self.launch_ended(id, Some(exit));
            return;
        }
        match run.owner {
            Owner::Command(_) => self.command_ended(id, exit),
            Owner::Realm(_)
                if run.request.pidfile.is_some()
                    && run.stage == Stage::Started
                    && run.may_have_forked(exit) =>
            {
                self.forked(id, exit);
            }
            Owner::Realm(key) if told => self.close_told(id, key),
            Owner::Realm(key) => self.main_ended(id, key, exit, scan),
        }
    }

    /// Reports the end of a main process that has left nothing behind, before everything else that its end entails: the
    /// next start waits for the report alone. False: that is not known at once.
    fn tell_end_first(&mut self, id: u64, exit: Exit) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Owner::Realm(key), Some(realm), Some(cgroup)) = (run.owner, &run.realm, &run.tree.cgroup) else {
            return false;
        };
        // The next run has its socket at the place of this one, which has to go first.
        let is_plain = run.notify_listener.is_none() && run.request.pidfile.is_none();
        let is_empty = run.tree.leftovers.is_empty() && cgroup.is_empty().unwrap_or(false);
        if run.stage != Stage::Started || run.main.unproven || !is_plain || !is_empty {
            return false;
        }
        let tell = || (self.sink)(Notice::Run { key, fact: RunFact::Exited { exit, empty: true } });
        self.cgroups.make_next_after(tell, realm, key.run);
        true
    }

    /// Closes a run whose end is reported, and of which nothing is left.
    fn close_told(&mut self, id: u64, key: Key) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.stage = Stage::Exited;
        self.logs.end(&run.request.log, key.run.generation());
        self.forget(id);
    }

    /// The main process has ended, and no other process takes its place.
    pub(super) fn main_ended(&mut self, id: u64, key: Key, exit: Exit, scan: &mut Option<ProcScan>) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.stage = Stage::Exited;
        // Processes that the main process leaves behind do not speak for the realm.
        run.notify_listener.take().into_iter().for_each(|notify_listener| notify_listener.remove());
        self.logs.end(&run.request.log, key.run.generation());
        let empty = self.is_tree_empty(id, scan);
        if empty {
            self.forget(id);
        }
        (self.sink)(Notice::Run { key, fact: RunFact::Exited { exit, empty } });
        if !empty {
            self.watch_leftovers(id);
        }
    }

    pub(super) fn command_ended(&mut self, id: u64, exit: Exit) {
        // The reaper also kills what the command has left behind.
        self.kill_command(id);
        let Some(run) = self.runs.get(id) else { return };
        let output = captured(run.capture.as_ref());
        let (owner, silent, timed_out) = (run.owner, run.silent, run.timed_out);
        self.forget(id);
        if let (Owner::Command(id), false) = (owner, silent) {
            let result = if timed_out { CommandResult::TimedOut } else { CommandResult::Exited(exit) };
            (self.sink)(Notice::CommandDone { id, result, output });
        }
    }

    pub(super) fn deadline(&mut self, id: u64) {
        if self.listen(id) {
            // The reaper itself was late, and the launch has gone on meanwhile. A launch reports four times at most.
            if self.runs.get(id).is_some_and(|run| run.stage == Stage::Launching) {
                self.deadlines.set(id, self.launch_timeout);
            }
            return;
        }
        let Some(run) = self.runs.get_mut(id) else { return };
        match run.stage {
            Stage::Launching if run.looks > 0 => self.look_at_launcher(id),
            Stage::Launching
                if run.launch.said_exec
                    && run.launch.failure.is_none()
                    && tree::has_become_program(run.main.pid) =>
            {
                // The launcher still holds its socket, and makes no progress.
                self.orders.distrust(run.launch.launcher.number);
                run.launch.socket = None;
                self.started(id);
            }
            Stage::Launching => {
                let what = format!("the launch of {}", run.request.program);
                let is_begun = run.main.pid != 0;
                if !is_begun {
                    self.orders.distrust(run.launch.launcher.number);
                }
                // The name of the child tells the step that holds it up. Without a child the launcher itself is at work
                // on this launch, or on another one.
                let at_work = if is_begun { run.main.pid } else { run.launch.launcher.pid };
                let step = tree::command_name(at_work).and_then(|name| Step::of_name(&name));
                if step == Some(Step::Log) && run.launch.failure.is_none() {
                    // A log never prevents a start.
                    let alike = run.launch.again.as_ref().map(|wanted| wanted.only);
                    run.launch.retry = alike.map(|only| Only { log_in_memory: true, apart: true, ..only });
                }
                let error = match step {
                    Some(step) => {
                        LaunchError::unanswered(step, &failed_object(run, step, 0), self.launch_timeout)
                    }
                    None if is_begun => LaunchError::new(Step::Timeout, None, &what),
                    None => LaunchError::never_tried(Step::Timeout, &what),
                };
                run.launch.failure.get_or_insert(error);
                self.abort(id);
            }
            Stage::Started if run.request.time_limit.is_some() => {
                run.timed_out = true;
                self.signal_tree(id, Signal::KILL);
            }
            Stage::Started => {}
            Stage::Forked(_) => self.look_for_daemon(id),
            Stage::Exited => self.look_again(id),
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

    /// Forgets a run of which no process is left, and removes its record.
    pub(super) fn forget(&mut self, id: u64) {
        let Some(run) = self.runs.remove(id) else { return };
        self.deadlines.clear(id);
        run.tree.cgroup.into_iter().for_each(|cgroup| self.cgroups.vacate(cgroup));
        run.notify_listener.into_iter().for_each(|notify_listener| notify_listener.remove());
        if let (Some(realm), Owner::Realm(key)) = (&run.realm, run.owner) {
            self.records.end(realm, key.run);
        }
    }

    /// Watches the main process for its end.
    ///
    /// # Errors
    /// The kernel can watch no more: only the next look finds the end.
    pub(super) fn watch_end(&mut self, id: u64) -> io::Result<()> {
        let Some(run) = self.runs.get_mut(id).filter(|run| !run.main.watched) else { return Ok(()) };
        if let Some(pidfd) = &run.main.pidfd {
            epoll::add(&self.epoll, pidfd, Self::token(id, MAIN), EventFlags::IN)?;
            run.main.watched = true;
        }
        Ok(())
    }

    /// Kills a launch at any point: the copy, before and after it leads a group, or the program that it has become.
    pub(super) fn kill_launch(&mut self, id: u64) {
        let Some(run) = self.runs.get(id) else { return };
        if let Some(pidfd) = &run.main.pidfd {
            // An error means that the process has ended, and its pidfd reports that.
            let _ = sys::signal_process(pidfd.as_fd(), Signal::KILL);
            let _ = sys::signal_group(pidfd.as_fd(), Some(Signal::KILL));
        }
        let Some(cgroup) = &run.tree.cgroup else { return };
        for pid in cgroup.members().unwrap_or_default() {
            // A copy without a report is a child of heartbeatd all the same, and the reaper must collect it.
            let copy =
                tree::stat(pid).filter(|stat| pid != run.main.pid && stat.parent == std::process::id());
            let held = copy.and_then(|stat| hold(pid, &stat).ok().flatten());
            // For a kernel that cannot kill the group as one.
            held.iter().for_each(|pidfd| drop(sys::signal_process(pidfd.as_fd(), Signal::KILL)));
            self.children.part_with(held);
        }
        // If the kernel cannot do that, the copy ends when its socket closes.
        let _ = cgroup.kill();
    }

    pub(super) fn cancel_launch(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.launch.retry = None;
        let what = format!("of {}, which was cancelled", run.request.program);
        run.launch.failure.get_or_insert_with(|| LaunchError::new(Step::Cancelled, None, &what));
        // Exec may have been faster: then the signal ends the program, and its exit says so. The reaper ends a copy
        // that it does not hold yet as soon as it holds it.
        self.kill_launch(id);
    }
}

/// Holds a copy of the launcher: a child of heartbeatd that has not become its program, or is ending. The copy keeps
/// its pid until the reaper collects it.
fn hold_copy(pid: u32) -> io::Result<(u64, OwnedFd)> {
    let stat = read_child(pid)?;
    // The reaper knows a copy by its environment, which the kernel takes away when the copy ends.
    let is_copy = tree::is_launcher_copy(pid)
        || tree::stat(pid).is_some_and(|now| now.is_ending && now.start_time == stat.start_time);
    let pidfd = if is_copy { hold(pid, &stat)? } else { None };
    Ok((stat.start_time, pidfd.ok_or_else(gone)?))
}

/// # Errors
/// ESRCH: no child of heartbeatd has that pid.
fn read_child(pid: u32) -> io::Result<tree::Stat> {
    let stat = reserved_fds::with(|| tree::read_stat(pid))?;
    stat.filter(|stat| stat.parent == std::process::id()).ok_or_else(gone)
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(Errno::ESRCH as i32)
}

fn unwatched(program: &str, error: &io::Error) -> LaunchError {
    LaunchError::new(Step::Watch, error.raw_os_error(), &format!("of {program}"))
}

fn failed_object(run: &Run, step: Step, errno: i32) -> String {
    match step {
        Step::Exec | Step::Interpreter | Step::Loader => {
            format!("{}{}", run.request.program, as_user(run, errno))
        }
        Step::Directory => {
            format!("{} for {}{}", run.request.places.dir, run.request.program, as_user(run, errno))
        }
        Step::User => {
            format!(
                "{} for {}",
                run.request.places.user.as_deref().unwrap_or("of its own"),
                run.request.program
            )
        }
        Step::EnvFile => format!("{} for {}", run.request.places.env_file, run.request.program),
        Step::Log => format!("{} for {}", run.request.places.log, run.request.program),
        Step::Limits => match run.request.places.limits.beyond_ours() {
            beyond if beyond.is_empty() => format!("of {}", run.request.program),
            beyond => format!("of {} ({beyond})", run.request.program),
        },
        _ => format!("for {}", run.request.program),
    }
}

/// Names the user of the realm; without one, heartbeatd's own user where that user lacks a permission.
fn as_user(run: &Run, errno: i32) -> String {
    match &run.request.places.user {
        Some(user) => format!(" as user {user}"),
        None if errno == Errno::EACCES as i32 => {
            format!(" as user {} (heartbeatd's own)", name_of(nix::unistd::geteuid()))
        }
        None => String::new(),
    }
}
