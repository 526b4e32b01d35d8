//! The child's side of a start: everything between heartbeatd and the realm's own first instruction.
//!
//! The launcher is our own program in a second role: a process with one thread that waits for specifications and forks
//! a copy of itself for each, as a child of heartbeatd, born in the control group of the run. The copy sets everything
//! up in ordinary Rust, so no code of heartbeatd runs between fork and exec. Its order: set everything up, say `ready`,
//! wait for `proceed`, say `exec`, execve. If heartbeatd dies before `proceed`, the socket
//! closes and the copy exits: no program runs without a record. The launcher itself exits when heartbeatd closes the
//! socket for orders.

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
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, setsid};
use rustix::event::{PollFd, PollFlags};
use rustix::io::FdFlags;
use rustix::time::Timespec;

use crate::channel::{LaunchOrder, Specification};
use crate::failure::{Failure, failed, failed_io};
use crate::limits::OwnLimits;
use crate::notice::Step;
use crate::spec::{MAX_SPEC_BYTES, Setting};
use crate::sys::Fork;
use crate::{EnvFileError, LaunchSpec, LogFiles, LogTarget, channel, program, sys};

/// The launcher's name, in its argv and for the kernel.
pub(crate) const LAUNCHER_NAME: &str = "hb-launch";
/// Where the copy searches for a program without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Exit code of a launcher that did not exec; heartbeatd does not read it, an operator may.
const NOT_LAUNCHED: u8 = 125;

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
    // Every copy has what the launcher has, so this is done once.
    sys::default_dispositions();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    match serve(logs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Gone) => ExitCode::from(NOT_LAUNCHED),
    }
}

/// Nothing was exec'd: heartbeatd is gone, or a step failed.
struct Gone;

/// Makes copies until heartbeatd closes the socket. In a copy: returns when it did not exec.
fn serve(logs: &dyn LogFiles) -> Result<(), Gone> {
    let given = sys::take_standard_input();
    // A copy sets up its own standard input, so the socket moves above the three standard descriptors.
    let orders = rustix::io::fcntl_dupfd_cloexec(&given, 3).map_err(|_| Gone)?;
    // A descriptor that heartbeatd inherited from its parent (`flock`, runit, a wrapper script) may hold the number
    // that `ready_fd` names. An older kernel cannot close it; then only a start with that number fails.
    let _ = sys::close_inherited(orders.as_fd());
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(|_| Gone)?;
    dup2_stdin(&null).map_err(|_| Gone)?;
    // Descriptor 0 is /dev/null now, and stays open.
    std::mem::forget(given);
    drop(null);
    let own = OwnLimits::read();
    while let Some(order) = channel::receive_order(orders.as_fd()) {
        let LaunchOrder { spec, socket, group, capture } = order;
        if is_cancelled(&socket) {
            continue;
        }
        // Before the copy, which would have to copy every page of memory that it writes to.
        let task = match read_spec(spec) {
            Ok((spec, setting)) => Task { spec, setting, capture },
            Err(Failure { step, errno, .. }) => {
                channel::say_failed(socket.as_fd(), step, errno, 0, None);
                continue;
            }
        };
        match make_copy(group.as_ref()) {
            Ok(Copy::Made(pid, pidfd)) => channel::say_made(socket.as_fd(), pid, pidfd.as_ref()),
            Ok(Copy::Itself { enter }) => {
                drop(orders);
                return copy(task, socket, group.filter(|_| enter), &own, logs);
            }
            Err(error) => {
                let step = if group.is_some() { Step::Group } else { Step::Spawn };
                channel::say_failed(socket.as_fd(), step, error.raw_os_error().unwrap_or(0), 0, None);
            }
        }
        // First of all: the reports end when both the launcher and the copy have closed it.
        drop(socket);
    }
    Ok(())
}

/// The reaper no longer listens: it gave the launch up, or heartbeatd is gone.
fn is_cancelled(socket: &OwnedFd) -> bool {
    let mut wanted = [PollFd::new(socket, PollFlags::HUP)];
    rustix::event::poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

enum Copy {
    Made(u32, Option<OwnedFd>),
    /// This process is the copy. `enter`: the kernel could not create it in its control group, so it must enter.
    Itself {
        enter: bool,
    },
}

fn make_copy(group: Option<&OwnedFd>) -> io::Result<Copy> {
    let refused = |error: &io::Error| {
        // Older kernels do not know clone3, or its control group; system call filters of containers answer EPERM.
        let errno = error.raw_os_error().map(Errno::from_raw);
        matches!(errno, Some(Errno::EINVAL | Errno::E2BIG | Errno::ENOSYS | Errno::EPERM))
    };
    let (made, enter) = match sys::fork_beside(group.map(AsFd::as_fd)) {
        Err(error) if refused(&error) => (sys::fork_beside_by_clone()?, group.is_some()),
        made => (made?, false),
    };
    Ok(match made {
        Fork::Parent(pid, pidfd) => Copy::Made(pid, pidfd),
        Fork::Child => Copy::Itself { enter },
    })
}

/// What a copy has to become.
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
    let (program, argv, env) = prepare_exec(&spec, env, setting.watched).map_err(Some)?;
    begin(Step::Exec);
    if setting.check {
        program::find(&program).map_err(Some)?;
    }
    channel::say_ready(socket).map_err(|_| None)?;
    if !channel::receive_proceed(socket) {
        return Err(None);
    }
    channel::say_exec(socket).map_err(|_| None)?;
    if setting.check {
        return Ok(Checked);
    }
    let mut errno = Errno::ENOENT;
    for candidate in &program {
        match execve(candidate, &argv, &env) {
            Ok(never) => match never {},
            // Like execvp: search on, but report EACCES if a candidate was there.
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(Errno::EACCES) => errno = Errno::EACCES,
            Err(other) => {
                errno = other;
                break;
            }
        }
    }
    Err(Some(program::helper_at_fault(&program).unwrap_or_else(|| failed(Step::Exec)(errno))))
}

/// From here a file system that does not answer may hold the copy; its name then says in which step.
fn begin(step: Step) {
    if let Some(name) = step.name() {
        // If this fails, the report only names the launch.
        let _ = nix::sys::prctl::set_name(name);
    }
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

/// The FIFO, and the descriptor number that it gets once our other descriptors are closed.
type Ready = Option<(File, u32)>;

fn set_up(
    spec: &LaunchSpec,
    setting: &Setting,
    capture: Option<OwnedFd>,
    own: &OwnLimits,
    logs: &dyn LogFiles,
) -> Result<Ready, Failure> {
    setsid().map_err(failed(Step::Session))?;
    // Before the change of user: the user may not raise limits.
    spec.limits.assume(own, setting.soft_descriptors).map_err(failed(Step::Limits))?;
    if let Some(mask) = spec.umask {
        umask(Mode::from_bits_truncate(mask));
    }
    // A log that cannot be opened, or has not answered, does not stop a start: the output goes to memory, or to
    // /dev/null if there is none.
    // heartbeatd sees that by the descriptor, and learns why when it tries to write to the log itself.
    let open_log = || {
        begin(Step::Log);
        let opened = if setting.log_in_memory {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            logs.open(&spec.log, spec.user.as_ref(), setting.run)
        };
        opened.or_else(|_| logs.memory()).ok()
    };
    let log = match &spec.log {
        LogTarget::Null | LogTarget::Journal { .. } => None,
        LogTarget::Capture => Some(capture.ok_or_else(|| failed(Step::Log)(Errno::EBADF))?),
        LogTarget::File { .. } => open_log(),
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
    let log = if matches!(spec.log, LogTarget::Journal { .. }) { open_log() } else { log };
    begin(Step::Directory);
    chdir(&spec.dir).map_err(failed(Step::Directory))?;
    // The standard input of the launcher is /dev/null, open for reading and writing.
    let null = io::stdin();
    let output = log.as_ref().map_or_else(|| null.as_fd(), AsFd::as_fd);
    if !spec.input.is_empty() {
        let input = input_file(&spec.input).map_err(failed_io(Step::Descriptors))?;
        dup2_stdin(&input).map_err(failed(Step::Descriptors))?;
    }
    dup2_stdout(output).map_err(failed(Step::Descriptors))?;
    dup2_stderr(output).map_err(failed(Step::Descriptors))?;
    // The socket stays open until execve closes it: that end of file is how heartbeatd learns of the start.
    sys::close_on_exec_from(3).map_err(failed_io(Step::Descriptors))?;
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

type Exec = (Vec<CString>, Vec<CString>, Vec<CString>);

/// Makes everything that execve needs before `proceed`, so that only execve is left to do.
fn prepare_exec(
    spec: &LaunchSpec,
    env: BTreeMap<OsString, OsString>,
    watched: bool,
) -> Result<Exec, Failure> {
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
    Ok((candidates, argv, env))
}
