//! The child's side of a start: everything between heartbeatd and the realm's own first instruction.
//!
//! The launcher is our own program in a second role: a process with one thread that waits for specifications and makes a copy
//! of itself for each, as a child of heartbeatd, born in the control group of the run. The copy sets everything up in ordinary
//! Rust, so nothing of heartbeatd's happens between fork and exec. Its order: read the specification, set everything up, say
//! `ready`, wait for `proceed`, say `exec`, execve. If heartbeatd dies before `proceed`, its socket ends and so does the copy: no program
//! runs that is not on record. The launcher itself ends with the socket on which it is given its work.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
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

use crate::channel::LaunchOrder;
use crate::failure::{Failure, failed, failed_io};
use crate::notice::Step;
use crate::spec::{MAX_SPEC_BYTES, Setting};
use crate::sys::Fork;
use crate::{EnvFileError, LaunchSpec, LogFiles, LogTarget, channel, program, sys};

/// What a launcher is called, in its argv and for the kernel.
pub(crate) const LAUNCHER_NAME: &str = "hb-launch";
/// Where a program is looked for without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Exit code of a launcher that did not exec; nobody reads it but people.
const NOT_LAUNCHED: u8 = 125;

/// Whether a program that was started under this name is to be a launcher.
#[must_use]
pub fn is_launcher(argv0: &OsStr) -> bool {
    argv0 == LAUNCHER_NAME
}

/// The role of launcher: call it first thing in `main` when [`is_launcher`] says so, before any thread is started.
/// Returns only when nothing was exec'd.
#[must_use]
pub fn launcher_main(logs: &dyn LogFiles) -> ExitCode {
    // What it is called by tools and by a heartbeatd that finds it in a record; a failure changes nothing else.
    let _ = nix::sys::prctl::set_name(c"hb-launch");
    // Whatever a terminal sends to heartbeatd and its group is heartbeatd's to decide.
    let _ = setsid();
    match serve(logs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Gone) => ExitCode::from(NOT_LAUNCHED),
    }
}

/// There is nobody, or nothing, to work for.
struct Gone;

/// Makes copies until heartbeatd wants no more. In a copy: returns when it could not exec.
fn serve(logs: &dyn LogFiles) -> Result<(), Gone> {
    let given = sys::take_standard_input();
    // Standard input is a copy's to set up: the socket goes above the three standard descriptors.
    let orders = rustix::io::fcntl_dupfd_cloexec(&given, 3).map_err(|_| Gone)?;
    // What heartbeatd inherited from its own parent (`flock`, runit, a wrapper script) may hold a number that `ready_fd`
    // names. A kernel that cannot close it leaves it open; then only such a start fails.
    let _ = sys::close_inherited(orders.as_fd());
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(|_| Gone)?;
    dup2_stdin(&null).map_err(|_| Gone)?;
    // Descriptor 0 is /dev/null now, and stays open.
    std::mem::forget(given);
    drop(null);
    while let Some(order) = channel::receive_order(orders.as_fd()) {
        if is_cancelled(&order.socket) {
            continue;
        }
        match make_copy(order.group.as_ref()) {
            Ok(Copy::Made(pid)) => channel::say_made(order.socket.as_fd(), pid),
            Ok(Copy::Itself { enter }) => {
                drop(orders);
                return copy(order, enter, logs);
            }
            Err(error) => {
                let step = if order.group.is_some() { Step::Group } else { Step::Spawn };
                channel::say_failed(order.socket.as_fd(), step, error.raw_os_error().unwrap_or(0), 0, None);
            }
        }
    }
    Ok(())
}

/// Nobody listens for it any more: it was given up, or heartbeatd is gone.
fn is_cancelled(socket: &OwnedFd) -> bool {
    let mut wanted = [PollFd::new(socket, PollFlags::HUP)];
    rustix::event::poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

enum Copy {
    Made(u32),
    /// We are the copy; the kernel could not make it in its control group.
    Itself {
        enter: bool,
    },
}

fn make_copy(group: Option<&OwnedFd>) -> io::Result<Copy> {
    let refused = |error: &io::Error| {
        // Older kernels do not know the call, or the group in it; filters of containers answer EPERM.
        let errno = error.raw_os_error().map(Errno::from_raw);
        matches!(errno, Some(Errno::EINVAL | Errno::E2BIG | Errno::ENOSYS | Errno::EPERM))
    };
    let (made, enter) = match sys::fork_beside(group.map(AsFd::as_fd)) {
        Err(error) if refused(&error) => (sys::fork_beside_by_clone()?, group.is_some()),
        made => (made?, false),
    };
    Ok(match made {
        Fork::Parent(pid) => Copy::Made(pid),
        Fork::Child => Copy::Itself { enter },
    })
}

/// What a copy does. Returns only when nothing was exec'd; `Ok` after a check.
fn copy(order: LaunchOrder<OwnedFd>, enter: bool, logs: &dyn LogFiles) -> Result<(), Gone> {
    let LaunchOrder { spec, mut socket, group, capture } = order;
    let entered = match group.filter(|_| enter) {
        Some(group) => std::fs::write(format!("/proc/self/fd/{}/cgroup.procs", group.as_raw_fd()), "0"),
        None => Ok(()),
    };
    let launched = match entered {
        Ok(()) => launch(&mut socket, File::from(spec), capture, logs),
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

/// The program can be used, and more was not asked.
struct Checked;

/// Returns only what a check has found, or that nothing was exec'd; `Err(None)`: heartbeatd is gone.
fn launch(
    kept: &mut OwnedFd,
    spec: File,
    capture: Option<OwnedFd>,
    logs: &dyn LogFiles,
) -> Result<Checked, Option<Failure>> {
    let (spec, setting) = read_spec(spec).map_err(Some)?;
    if spec.env_file.is_some() {
        begin(Step::EnvFile);
    }
    // As heartbeatd, like systemd: a file of secrets need not be readable for the user.
    let env = spec.environment().map_err(|error| Some(env_file_failed(&error)))?;
    if let Some((_, number)) = &setting.ready {
        make_way(kept, *number).map_err(|error| Some(failed_io(Step::Notify)(error)))?;
    }
    let socket = kept.as_fd();
    if let Some((fifo, number)) = set_up(&spec, &setting, capture, logs).map_err(Some)? {
        // Nothing else is open any more but our socket.
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
            // As execvp: go on searching, but remember that something was there.
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

/// From now on the copy may be held by a file system that does not answer, and its name says in which step.
fn begin(step: Step) {
    if let Some(name) = step.name() {
        // Without it the report only names the launch.
        let _ = nix::sys::prctl::set_name(name);
    }
}

/// The words take the place of a path.
fn env_file_failed(error: &EnvFileError) -> Failure {
    Failure { step: Step::EnvFile, errno: 0, path: Some(std::path::PathBuf::from(error.to_string())) }
}

fn read_spec(file: File) -> Result<(LaunchSpec, Setting), Failure> {
    use std::io::Seek;
    let mut file = file;
    let mut bytes = Vec::new();
    file.rewind().map_err(failed_io(Step::Spec))?;
    file.take(MAX_SPEC_BYTES as u64).read_to_end(&mut bytes).map_err(failed_io(Step::Spec))?;
    LaunchSpec::decode(&bytes).ok_or_else(|| failed(Step::Spec)(Errno::EINVAL))
}

/// The FIFO that is to be given a number once everything else of ours is closed.
type Ready = Option<(File, u32)>;

fn set_up(
    spec: &LaunchSpec,
    setting: &Setting,
    capture: Option<OwnedFd>,
    logs: &dyn LogFiles,
) -> Result<Ready, Failure> {
    setsid().map_err(failed(Step::Session))?;
    sys::default_dispositions();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(failed(Step::Signals))?;
    // Before it becomes somebody who may not.
    spec.limits.assume(setting.soft_descriptors).map_err(failed(Step::Limits))?;
    if let Some(mask) = spec.umask {
        umask(Mode::from_bits_truncate(mask));
    }
    let null =
        OpenOptions::new().read(true).write(true).open("/dev/null").map_err(failed_io(Step::Descriptors))?;
    // A log that cannot be opened is no reason not to start: its output is kept in memory, and nowhere if there is none.
    // heartbeatd sees that by the descriptor, and finds out why when it tries to write there itself.
    let open_log = || {
        begin(Step::Log);
        let opened = logs.open(&spec.log, spec.user.as_ref(), setting.run);
        opened.or_else(|_| logs.memory()).ok()
    };
    let log = match &spec.log {
        LogTarget::Null | LogTarget::Journal { .. } => None,
        LogTarget::Capture => Some(capture.ok_or_else(|| failed(Step::Log)(Errno::EBADF))?),
        LogTarget::File { .. } => open_log(),
    };
    let ready = match &setting.ready {
        // Its other end is ours as well: whoever dies, nobody is sent SIGPIPE.
        Some((fifo, number)) => {
            let fifo =
                OpenOptions::new().read(true).write(true).open(fifo).map_err(failed_io(Step::Notify))?;
            Some((fifo, *number))
        }
        None => None,
    };
    // The log lies where only heartbeatd may write; everything after this is done with the rights of the user.
    if let Some(user) = &spec.user {
        user.assume().map_err(failed(Step::User))?;
    }
    if spec.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(failed(Step::Privileges))?;
    }
    let log = if matches!(spec.log, LogTarget::Journal { .. }) { open_log() } else { log };
    begin(Step::Directory);
    chdir(&spec.dir).map_err(failed(Step::Directory))?;
    dup2_stdin(&null).map_err(failed(Step::Descriptors))?;
    let output = log.unwrap_or_else(|| null.into());
    dup2_stdout(&output).map_err(failed(Step::Descriptors))?;
    dup2_stderr(&output).map_err(failed(Step::Descriptors))?;
    // The socket stays open until execve closes it: that end of file is how heartbeatd learns of the start.
    sys::close_on_exec_from(3).map_err(failed_io(Step::Descriptors))?;
    Ok(ready)
}

/// Leaves that number to somebody else.
fn make_way(kept: &mut OwnedFd, number: u32) -> io::Result<()> {
    let number = RawFd::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
    if kept.as_raw_fd() == number {
        *kept = rustix::io::fcntl_dupfd_cloexec(&*kept, number + 1)?;
    }
    Ok(())
}

/// Gives a descriptor that number, over execve.
fn place(file: File, number: u32) -> io::Result<()> {
    let number = RawFd::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
    if file.as_raw_fd() == number {
        rustix::io::fcntl_setfd(&file, FdFlags::empty())?;
        // It is the program's from now on.
        let _ = file.into_raw_fd();
        return Ok(());
    }
    // The lowest free number from there on, which is that one: the launcher has closed what it inherited.
    let placed = fcntl(&file, FcntlArg::F_DUPFD(number))?;
    if placed == number { Ok(()) } else { Err(Errno::EBUSY.into()) }
}

type Exec = (Vec<CString>, Vec<CString>, Vec<CString>);

/// Everything execve needs, made before `proceed`, so that nothing but execve is left to do.
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
        // Whoever inherits the rest of it and is somebody else knows by this that it is not meant.
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
