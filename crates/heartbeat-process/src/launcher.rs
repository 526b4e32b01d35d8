//! The child's side of a start: everything between the spawn and the realm's own first instruction.
//!
//! It runs in a process of its own, with one thread and ordinary Rust, so nothing here happens between fork and
//! exec. The order: read the specification, set everything up, say `ready`, wait for `go`, say `exec`, execve. If
//! heartbeatd dies before `go`, the socket ends and so does the launcher: no program runs that is not on record.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, setsid};
use rustix::io::FdFlags;

use crate::notice::Step;
use crate::spec::{MAX_SPEC_BYTES, Setting};
use crate::sys::Fork;
use crate::{LaunchSpec, LogTarget, channel, log, sys};

/// What a launcher is called, in its argv and for the kernel.
pub(crate) const LAUNCHER_NAME: &str = "hb-launch";
/// Exit code of a launcher that did not exec; nobody reads it but people.
const NOT_LAUNCHED: u8 = 125;

/// Whether a program that was started under this name is to be a launcher.
#[must_use]
pub fn is_launcher(argv0: &OsStr) -> bool {
    argv0 == LAUNCHER_NAME
}

struct Failure {
    step: Step,
    errno: i32,
}

fn failed(step: Step) -> impl Fn(Errno) -> Failure {
    move |errno| Failure { step, errno: errno as i32 }
}

fn failed_io(step: Step) -> impl Fn(io::Error) -> Failure {
    move |error| Failure { step, errno: error.raw_os_error().unwrap_or(0) }
}

/// The role of launcher: call it first thing in `main` when [`is_launcher`] says so, before any thread is started.
/// Returns only when nothing was exec'd.
#[must_use]
pub fn launcher_main() -> ExitCode {
    // What it is called by tools and by a heartbeatd that finds it in a record; a failure changes nothing else.
    let _ = nix::sys::prctl::set_name(c"hb-launch");
    let socket = sys::take_standard_input();
    // Standard input is about to be replaced: keep the socket above the three standard descriptors.
    let Ok(mut kept) = rustix::io::fcntl_dupfd_cloexec(&socket, 3) else {
        return ExitCode::from(NOT_LAUNCHED);
    };
    // Descriptor 0 stays open as it is until /dev/null takes its place.
    std::mem::forget(socket);
    let Some((spec, capture)) = channel::receive_spec(kept.as_fd()) else {
        return ExitCode::from(NOT_LAUNCHED);
    };
    match launch(&mut kept, File::from(spec), capture.map(File::from)) {
        Ok(Parted) => return ExitCode::SUCCESS,
        Err(Some(failure)) => channel::say_failed(kept.as_fd(), failure.step, failure.errno),
        Err(None) => {}
    }
    ExitCode::from(NOT_LAUNCHED)
}

/// A copy of this launcher goes on in the control group of the realm.
struct Parted;

/// `Err(None)`: heartbeatd is gone.
fn launch(kept: &mut OwnedFd, spec: File, capture: Option<File>) -> Result<Parted, Option<Failure>> {
    let (spec, setting) = read_spec(spec).map_err(Some)?;
    if let Some((_, number)) = &setting.ready {
        make_way(kept, *number).map_err(|error| Some(failed_io(Step::Notify)(error)))?;
    }
    let socket = kept.as_fd();
    if let Some(group) = &setting.group
        && enter(group).map_err(|error| Some(failed_io(Step::Group)(error)))? == Fork::Parent
    {
        return Ok(Parted);
    }
    if let Some((fifo, number)) = set_up(&spec, &setting, capture).map_err(Some)? {
        // Nothing else is open any more but our socket.
        place(fifo, number).map_err(|error| Some(failed_io(Step::Notify)(error)))?;
    }
    let (program, argv, env) = prepare_exec(&spec, setting.watched).map_err(Some)?;
    channel::say_ready(socket).map_err(|_| None)?;
    if !channel::receive_go(socket) {
        return Err(None);
    }
    channel::say_exec(socket).map_err(|_| None)?;
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
    Err(Some(failed(Step::Exec)(errno)))
}

/// Goes on in that control group: as a process that is born in it, or by entering it where the kernel cannot do that.
fn enter(group: &Path) -> io::Result<Fork> {
    let dir = File::open(group)?;
    match sys::fork_into(dir.as_fd()) {
        Err(error)
            if matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EINVAL | Errno::ENOSYS)) =>
        {
            std::fs::write(group.join("cgroup.procs"), "0").map(|()| Fork::Child)
        }
        forked => forked,
    }
}

fn read_spec(file: File) -> Result<(LaunchSpec, Setting), Failure> {
    use std::io::Seek;
    let mut file = file;
    let mut bytes = Vec::new();
    file.rewind().map_err(failed_io(Step::Spec))?;
    file.take(MAX_SPEC_BYTES as u64).read_to_end(&mut bytes).map_err(failed_io(Step::Spec))?;
    LaunchSpec::decode(&bytes).ok_or(Failure { step: Step::Spec, errno: Errno::EINVAL as i32 })
}

/// The FIFO that is to be given a number once everything else of ours is closed.
type Ready = Option<(File, u32)>;

fn set_up(spec: &LaunchSpec, setting: &Setting, capture: Option<File>) -> Result<Ready, Failure> {
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
    let log = match &spec.log {
        LogTarget::Null | LogTarget::Journal { .. } => None,
        LogTarget::Capture => Some(capture.ok_or(Failure { step: Step::Log, errno: Errno::EBADF as i32 })?),
        LogTarget::File { path, .. } => {
            Some(log::open(path, spec.user.as_ref(), setting.run).map_err(failed_io(Step::Log))?)
        }
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
    let log = match &spec.log {
        // journald notes who connects.
        LogTarget::Journal { socket, identifier } => {
            Some(log::journal::connect(socket, identifier).map_err(failed_io(Step::Log))?.into())
        }
        _ => log,
    };
    chdir(&spec.dir).map_err(failed(Step::Directory))?;
    let output = log.as_ref().unwrap_or(&null);
    dup2_stdin(&null).map_err(failed(Step::Descriptors))?;
    dup2_stdout(output).map_err(failed(Step::Descriptors))?;
    dup2_stderr(output).map_err(failed(Step::Descriptors))?;
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
    // The lowest that is free from there on, which is that one: nothing else of ours is open there.
    let placed = fcntl(&file, FcntlArg::F_DUPFD(number))?;
    if placed == number { Ok(()) } else { Err(Errno::EBUSY.into()) }
}

type Exec = (Vec<CString>, Vec<CString>, Vec<CString>);

/// Everything execve needs, made before `go`, so that nothing but execve is left to do.
fn prepare_exec(spec: &LaunchSpec, watched: bool) -> Result<Exec, Failure> {
    let invalid = || Failure { step: Step::Exec, errno: Errno::EINVAL as i32 };
    let c_string = |text: OsString| CString::new(text.into_vec()).map_err(|_| invalid());
    let name = spec.argv.first().filter(|name| !name.is_empty()).ok_or_else(invalid)?;
    let argv = spec.argv.iter().cloned().map(c_string).collect::<Result<_, _>>()?;
    let env = spec.env.iter().map(|(name, value)| {
        let mut pair = name.clone();
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
        let path = spec
            .env
            .iter()
            .rev()
            .find(|(key, _)| key == "PATH")
            .map_or("/usr/local/bin:/usr/bin:/bin".into(), |(_, path)| path.clone());
        std::env::split_paths(&path)
            .map(|dir| c_string(dir.join(name).into_os_string()))
            .collect::<Result<_, _>>()?
    };
    Ok((candidates, argv, env))
}
