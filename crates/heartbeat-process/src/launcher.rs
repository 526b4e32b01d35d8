//! The launcher: a small process that makes the children of heartbeatd, so that no code of heartbeatd runs between fork
//! and exec.
//!
//! It is our own program in a second role, with one thread. For each order it makes a child of heartbeatd, born in the
//! control group of the run. The order of every child: set everything up, wait for `proceed`, say `exec`, execve. If
//! heartbeatd dies before `proceed`, the socket closes and the child exits: no program runs without a record.
//!
//! Most children share the launcher's memory until execve (`Nursery`), which costs half of a copy. For them the
//! launcher does beforehand what may allocate, and opens the log. A child that may wait before it is set up, that becomes
//! another user, or that only checks its program has a copy of the memory instead, and runs ordinary Rust there.
//!
//! The launcher exits when heartbeatd closes the socket for orders.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{dup2_stdin, setsid};
use rustix::event::{PollFd, PollFlags};
use rustix::io::FdFlags;
use rustix::time::Timespec;

use crate::channel::{LaunchOrder, Specification};
use crate::child::{self, NOT_LAUNCHED, Program, begin, begin_session, enter, redirect};
use crate::failure::{Failure, failed, failed_io};
use crate::limits::{OwnLimits, set_oom_score};
use crate::notice::Step;
use crate::spec::{MAX_SPEC_BYTES, Setting};
use crate::sys::{ChildRoom, Fork, Words};
use crate::{EnvFileError, LaunchSpec, LogFiles, LogTarget, channel, program, sys};

/// The launcher's name, in its argv and for the kernel.
pub(crate) const LAUNCHER_NAME: &str = "hb-launch";
/// Where the child searches for a program without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Most children that share the launcher's memory at a time; further ones get a copy. A file system that does not answer
/// holds a child for as long as the launch may take.
const MAX_SHARING_PROCESSES: usize = 16;

/// Whether a program started under this name has the role of launcher.
#[must_use]
pub fn is_launcher(argv0: &OsStr) -> bool {
    argv0 == LAUNCHER_NAME
}

/// Runs the launcher: call it first in `main` when [`is_launcher`] says so, before any thread starts. Returns only when
/// it did not exec.
#[must_use]
pub fn launcher_main(logs: &dyn LogFiles) -> ExitCode {
    // The name for tools, and for a heartbeatd that finds the launcher in a record; nothing else depends on it.
    let _ = nix::sys::prctl::set_name(c"hb-launch");
    // A terminal signals the whole group of heartbeatd, and only heartbeatd decides what to do about it.
    let _ = setsid();
    // Every child has what the launcher has, so this is done once. It also leaves no handler, which a child would run in
    // the memory that it shares.
    sys::default_dispositions();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    // Each order takes some memory for a moment.
    sys::keep_free_memory();
    match serve(logs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Gone) => ExitCode::from(NOT_LAUNCHED),
    }
}

/// Nothing was exec'd: heartbeatd is gone, or a step failed.
struct Gone;

/// Makes children until heartbeatd closes the socket. In a copy: returns when it did not exec.
fn serve(logs: &dyn LogFiles) -> Result<(), Gone> {
    let given = sys::take_standard_input();
    // A child sets up its own standard input, so the socket moves above the three standard descriptors.
    let orders = rustix::io::fcntl_dupfd_cloexec(&given, 3).map_err(|_| Gone)?;
    // A descriptor that heartbeatd inherited from its parent (`flock`, runit, a wrapper script) may hold the number
    // that `ready_fd` names. An older kernel cannot close it; then only a start with that number fails.
    let _ = sys::close_inherited(orders.as_fd());
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(|_| Gone)?;
    dup2_stdin(&null).map_err(|_| Gone)?;
    // Descriptor 0 is /dev/null now, and stays open.
    std::mem::forget(given);
    drop(null);
    // Few programs have another score, and those that have none can share the memory then. It may be beyond our rights.
    let _ = set_oom_score(0);
    let own = OwnLimits::read();
    let mut nursery = Nursery::default();
    while let Some(order) = channel::receive_order(orders.as_fd()) {
        let LaunchOrder { spec, socket, group, capture } = order;
        if is_cancelled(&socket) {
            continue;
        }
        // Before the copy, which would have to copy every page of memory that it writes to.
        let task = match read_spec(spec) {
            Ok((spec, setting)) => Task { spec, setting, capture },
            Err(failure) => {
                say_failed_here(&socket, &failure);
                continue;
            }
        };
        let shared =
            if task.setting.apart { None } else { nursery.make(&task, &socket, group.as_ref(), &own, logs) };
        match shared {
            Some(Ok(Made { pid, pidfd, log })) => {
                channel::say_sharing(socket.as_fd(), pid, pidfd.as_fd(), log.as_ref().map(AsFd::as_fd));
                continue;
            }
            Some(Err(failure)) => {
                say_failed_here(&socket, &failure);
                continue;
            }
            None => {}
        }
        match make_copy(group.as_ref()) {
            Ok(Copy::Made(pid, pidfd)) => channel::say_made(socket.as_fd(), pid, pidfd.as_ref()),
            Ok(Copy::Itself { enter }) => {
                drop(orders);
                return copy(task, socket, group.filter(|_| enter), &own, logs);
            }
            Err(error) => say_failed_here(&socket, &not_made(group.is_some(), &error)),
        }
        // First of all: the reports end when both the launcher and the child have closed it.
        drop(socket);
    }
    Ok(())
}

/// A failure before there was a child.
fn say_failed_here(socket: &OwnedFd, failure: &Failure) {
    channel::say_failed(socket.as_fd(), failure.step, failure.errno, 0, failure.path.as_deref());
}

fn not_made(grouped: bool, error: &io::Error) -> Failure {
    let step = if grouped { Step::Group } else { Step::Spawn };
    Failure { step, errno: error.raw_os_error().unwrap_or(0), path: None }
}

/// The reaper no longer listens: it gave the launch up, or heartbeatd is gone.
fn is_cancelled(socket: &OwnedFd) -> bool {
    let mut wanted = [PollFd::new(socket, PollFlags::HUP)];
    rustix::event::poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// Older kernels do not know clone3, or its control group; system call filters of containers answer EPERM.
fn is_refused(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EINVAL | Errno::E2BIG | Errno::ENOSYS | Errno::EPERM))
}

/// The children that share the launcher's memory.
#[derive(Default)]
struct Nursery {
    rooms: Vec<ChildRoom<child::Task>>,
    /// The kernel makes no such children.
    refused: bool,
}

/// A child that shares the launcher's memory.
struct Made {
    pid: u32,
    pidfd: OwnedFd,
    /// Where its output goes, if that is a log.
    log: Option<OwnedFd>,
}

impl Nursery {
    /// Makes a child. `None`: it has to have a copy of the memory.
    fn make(
        &mut self,
        task: &Task,
        socket: &OwnedFd,
        group: Option<&OwnedFd>,
        own: &OwnLimits,
        logs: &dyn LogFiles,
    ) -> Option<Result<Made, Failure>> {
        let Task { spec, setting, capture } = task;
        if spec.limits.change_all_sharers(own) {
            return None;
        }
        let room = self.room()?;
        let prepared = || {
            let env = spec.environment().map_err(|error| env_file_failed(&error))?;
            Ok((prepare_exec(spec, env, setting.watched)?, c_path(&spec.dir, Step::Directory)?))
        };
        let (program, dir) = match prepared() {
            Ok(prepared) => prepared,
            Err(failure) => return Some(Err(failure)),
        };
        let log = matches!(spec.log, LogTarget::File { .. }).then(|| open_log(spec, setting, logs)).flatten();
        let output = log.as_ref().or(capture.as_ref()).map(AsRawFd::as_raw_fd);
        let child = child::Task {
            socket: socket.as_raw_fd(),
            output,
            limits: spec.limits.clone(),
            own_limits: *own,
            soft_descriptors: setting.soft_descriptors,
            umask: spec.umask,
            no_new_privileges: spec.no_new_privileges,
            dir,
            program,
        };
        match room.begin(child, group.map(AsFd::as_fd)) {
            Ok((pid, pidfd)) => Some(Ok(Made { pid, pidfd, log })),
            Err(error) if is_refused(&error) => {
                self.refused = true;
                None
            }
            Err(error) => Some(Err(not_made(group.is_some(), &error))),
        }
    }

    fn room(&mut self) -> Option<&mut ChildRoom<child::Task>> {
        let free = self.rooms.iter().position(ChildRoom::is_free);
        if self.refused || (free.is_none() && self.rooms.len() == MAX_SHARING_PROCESSES) {
            return None;
        }
        let at = free.unwrap_or_else(|| {
            self.rooms.push(ChildRoom::new(child::main));
            self.rooms.len() - 1
        });
        self.rooms.get_mut(at)
    }
}

enum Copy {
    Made(u32, Option<OwnedFd>),
    /// This process is the copy. `enter`: the kernel could not create it in its control group, so it must enter.
    Itself {
        enter: bool,
    },
}

fn make_copy(group: Option<&OwnedFd>) -> io::Result<Copy> {
    let (made, enter) = match sys::fork_beside(group.map(AsFd::as_fd)) {
        Err(error) if is_refused(&error) => (sys::fork_beside_by_clone()?, group.is_some()),
        made => (made?, false),
    };
    Ok(match made {
        Fork::Parent(pid, pidfd) => Copy::Made(pid, pidfd),
        Fork::Child => Copy::Itself { enter },
    })
}

/// What a child has to become.
struct Task {
    spec: LaunchSpec,
    setting: Setting,
    /// Where captured output goes.
    capture: Option<OwnedFd>,
}

/// Runs in the copy, which still has to enter `group`. Returns only when it did not exec; `Ok` after a check.
fn copy(
    task: Task,
    mut socket: OwnedFd,
    group: Option<OwnedFd>,
    own: &OwnLimits,
    logs: &dyn LogFiles,
) -> Result<(), Gone> {
    let entered = match group {
        Some(group) => std::fs::write(format!("/proc/self/fd/{}/cgroup.procs", group.as_raw_fd()), "0"),
        None => Ok(()),
    };
    let launched = match entered {
        Ok(()) => launch(&mut socket, task, own, logs),
        Err(error) => Err(Some(failed_io(Step::Group)(error))),
    };
    match launched {
        Ok(Checked) => Ok(()),
        Err(None) => Err(Gone),
        Err(Some(Failure { step, errno, path })) => {
            channel::say_failed(socket.as_fd(), step, errno, std::process::id(), path.as_deref());
            Err(Gone)
        }
    }
}

/// The program can be used, and heartbeatd asked for no more.
struct Checked;

/// Returns only after a check, or when it did not exec; `Err(None)`: heartbeatd is gone.
fn launch(
    kept: &mut OwnedFd,
    Task { spec, setting, capture }: Task,
    own: &OwnLimits,
    logs: &dyn LogFiles,
) -> Result<Checked, Option<Failure>> {
    if spec.env_file.is_some() {
        begin(Step::EnvFile);
    }
    // Read with heartbeatd's rights, as systemd does: the user need not be able to read a file of secrets.
    let env = spec.environment().map_err(|error| Some(env_file_failed(&error)))?;
    if let Some((_, number)) = &setting.ready {
        make_way(kept, *number).map_err(|error| Some(failed_io(Step::Notify)(error)))?;
    }
    let socket = kept.as_fd();
    if let Some((fifo, number)) = set_up(&spec, &setting, capture, own, logs).map_err(Some)? {
        // Besides the FIFO, only our socket is open above the standard descriptors now.
        place(fifo, number).map_err(|error| Some(failed_io(Step::Notify)(error)))?;
    }
    let program = prepare_exec(&spec, env, setting.watched).map_err(Some)?;
    begin(Step::Exec);
    if setting.check {
        program::find(&program.candidates).map_err(Some)?;
    }
    channel::say_ready(socket).map_err(|_| None)?;
    if !channel::receive_proceed(socket) {
        return Err(None);
    }
    channel::say_exec(socket).map_err(|_| None)?;
    if setting.check {
        return Ok(Checked);
    }
    let errno = program.execute();
    Err(Some(program::helper_at_fault(&program.candidates).unwrap_or_else(|| failed(Step::Exec)(errno))))
}

/// The error text takes the place of a path.
fn env_file_failed(error: &EnvFileError) -> Failure {
    Failure { step: Step::EnvFile, errno: 0, path: Some(std::path::PathBuf::from(error.to_string())) }
}

fn read_spec(spec: Specification<OwnedFd>) -> Result<(LaunchSpec, Setting), Failure> {
    let bytes = match spec {
        Specification::Inline(bytes) => bytes,
        Specification::Memory(memory) => {
            let mut file = File::from(memory);
            let mut bytes = Vec::new();
            file.rewind().map_err(failed_io(Step::Spec))?;
            file.take(MAX_SPEC_BYTES as u64).read_to_end(&mut bytes).map_err(failed_io(Step::Spec))?;
            bytes
        }
    };
    LaunchSpec::decode(&bytes).ok_or_else(|| failed(Step::Spec)(Errno::EINVAL))
}

/// A log that cannot be opened, or has not answered, does not stop a start: the output goes to memory, or to /dev/null
/// if there is none. heartbeatd sees that by the descriptor, and learns why when it tries to write to the log itself.
fn open_log(spec: &LaunchSpec, setting: &Setting, logs: &dyn LogFiles) -> Option<OwnedFd> {
    begin(Step::Log);
    let opened = if setting.log_in_memory {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        logs.open(&spec.log, spec.user.as_ref(), setting.run)
    };
    let opened = opened.or_else(|_| logs.memory()).ok();
    let _ = nix::sys::prctl::set_name(c"hb-launch");
    opened
}

/// The FIFO, and the descriptor number that it gets once our other descriptors are closed.
type Ready = Option<(File, u32)>;

fn set_up(
    spec: &LaunchSpec,
    setting: &Setting,
    capture: Option<OwnedFd>,
    own: &OwnLimits,
    logs: &dyn LogFiles,
) -> Result<Ready, Failure> {
    begin_session(&spec.limits, own, setting.soft_descriptors, spec.umask)?;
    let log = match &spec.log {
        LogTarget::Null | LogTarget::Journal { .. } => None,
        LogTarget::Capture => Some(capture.ok_or_else(|| failed(Step::Log)(Errno::EBADF))?),
        LogTarget::File { .. } => open_log(spec, setting, logs),
    };
    let ready = match &setting.ready {
        // Opened for reading, too: no program gets SIGPIPE when heartbeatd dies.
        Some((fifo, number)) => {
            let fifo =
                OpenOptions::new().read(true).write(true).open(fifo).map_err(failed_io(Step::Notify))?;
            Some((fifo, *number))
        }
        None => None,
    };
    // Only heartbeatd may write where the log lies, so the log is open by now. The rest runs with the rights of the
    // user.
    if let Some(user) = &spec.user {
        user.assume().map_err(failed(Step::User))?;
    }
    if spec.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(failed(Step::Privileges))?;
    }
    let log = if matches!(spec.log, LogTarget::Journal { .. }) { open_log(spec, setting, logs) } else { log };
    enter(&c_path(&spec.dir, Step::Directory)?)?;
    // The standard input of the launcher is /dev/null, open for reading and writing.
    let null = io::stdin();
    let output = log.as_ref().map_or_else(|| null.as_fd(), AsFd::as_fd);
    redirect(output)?;
    if !spec.input.is_empty() {
        let input = input_file(&spec.input).map_err(failed_io(Step::Descriptors))?;
        dup2_stdin(&input).map_err(failed(Step::Descriptors))?;
    }
    Ok(ready)
}

/// A memory file of which a program reads its input.
fn input_file(input: &[u8]) -> io::Result<File> {
    let memory = rustix::fs::memfd_create(c"hb-input", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(input)?;
    file.rewind()?;
    Ok(file)
}

/// Moves our socket off `number`, which the FIFO will take.
fn make_way(kept: &mut OwnedFd, number: u32) -> io::Result<()> {
    let number = RawFd::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
    if kept.as_raw_fd() == number {
        *kept = rustix::io::fcntl_dupfd_cloexec(&*kept, number + 1)?;
    }
    Ok(())
}

/// Puts the file at descriptor `number`, open across execve.
fn place(file: File, number: u32) -> io::Result<()> {
    let number = RawFd::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
    if file.as_raw_fd() == number {
        rustix::io::fcntl_setfd(&file, FdFlags::empty())?;
        // The program owns it from now on.
        let _ = file.into_raw_fd();
        return Ok(());
    }
    // F_DUPFD takes the lowest free number from there on. That is `number`, since the launcher closed what it
    // inherited.
    let placed = fcntl(&file, FcntlArg::F_DUPFD(number))?;
    if placed == number { Ok(()) } else { Err(Errno::EBUSY.into()) }
}

fn c_path(path: &std::path::Path, step: Step) -> Result<CString, Failure> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| failed(step)(Errno::EINVAL))
}

/// Makes everything that execve needs before `proceed`, so that only execve is left to do.
fn prepare_exec(
    spec: &LaunchSpec,
    env: BTreeMap<OsString, OsString>,
    watched: bool,
) -> Result<Program, Failure> {
    let invalid = || failed(Step::Exec)(Errno::EINVAL);
    let c_string = |text: OsString| CString::new(text.into_vec()).map_err(|_| invalid());
    let name = spec.argv.first().filter(|name| !name.is_empty()).ok_or_else(invalid)?;
    let argv = spec.argv.iter().cloned().map(c_string).collect::<Result<_, _>>()?;
    let path = env.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| DEFAULT_PATH.into());
    let env = env.into_iter().map(|(name, value)| {
        let mut pair = name;
        pair.push("=");
        pair.push(value);
        c_string(pair)
    });
    let mut env: Vec<CString> = env.collect::<Result<_, _>>()?;
    if watched {
        // A child that inherits the watchdog's variables sees by this pid that they are not meant for it.
        env.push(c_string(format!("WATCHDOG_PID={}", std::process::id()).into())?);
    }
    let candidates = if name.as_bytes().contains(&b'/') {
        vec![c_string(name.clone())?]
    } else {
        std::env::split_paths(&path)
            .map(|dir| c_string(dir.join(name).into_os_string()))
            .collect::<Result<_, _>>()?
    };
    Ok(Program { candidates, words: Words::new(argv), environment: Words::new(env) })
}
