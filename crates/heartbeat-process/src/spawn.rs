//! Makes the launcher and sends it orders, on a thread of its own: a spawn suspends its caller until the exec.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use heartbeat_status::{RealmName, RunId, Signal};
use nix::errno::Errno;
use nix::sys::time::{TimeVal, TimeValLike};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::Settings;
use crate::cgroup::{Cgroup, NextCgroups};
use crate::channel::{LaunchOrder, MAX_INLINE_BYTES, Specification};
use crate::launcher::LAUNCHER_NAME;
use crate::notice::{LaunchError, MAX_OUTPUT_BYTES, Step};
use crate::notify::{NotifyListener, Places};
use crate::queue::ReaperQueue;
use crate::run::{LauncherId, Only};
use crate::spec::{MAX_CAPTURE_BYTES, MAX_SPEC_BYTES, Setting};
use crate::{LaunchSpec, LogTarget, channel, reserved_fds, sys};

/// Longest time for a launcher to take an order, in seconds.
const ORDER_TIMEOUT_S: i64 = 5;

/// A launch that is under way; the launcher and its copy report on `socket`.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) socket: OwnedFd,
    pub(crate) launcher: LauncherId,
    /// Where its output is captured.
    pub(crate) capture: Option<OwnedFd>,
}

/// The process that makes the children.
#[derive(Debug)]
struct Launcher {
    pid: u32,
    pidfd: OwnedFd,
    orders: OwnedFd,
}

impl Launcher {
    fn make(program: &Path) -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        // A launcher that takes no more orders must not hold up every start.
        let bound = TimeVal::seconds(ORDER_TIMEOUT_S);
        nix::sys::socket::setsockopt(&ours, nix::sys::socket::sockopt::SendTimeout, &bound)?;
        #[expect(clippy::disallowed_methods, reason = "this is the one spawner")]
        let mut command = std::process::Command::new(program);
        command
            .arg0(LAUNCHER_NAME)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // The launcher is reaped by pidfd; the standard library's handle would only know its pid.
        let pid = command.spawn()?.id();
        // Nothing else reaps it, so the pid is still its own. If no descriptor is left, dropping our end of the socket
        // ends the launcher.
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty())?;
        Ok(Self { pid, pidfd, orders: ours })
    }

    /// Ends the launcher and reaps it: it exits as soon as its socket closes.
    fn dismiss(self) {
        drop(self.orders);
        // A launcher that hangs or is stopped does not see that.
        let _ = sys::signal_process(self.pidfd.as_fd(), Signal::KILL);
        // Only a defect of ours makes this fail, and leaves no more than a zombie.
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// Hands specifications to the waiting launcher: a start then costs a message, the fork of a small process, and one
/// exec.
#[derive(Debug)]
pub(crate) struct Spawner {
    program: PathBuf,
    launcher: Option<Launcher>,
    /// How many launchers were made; also the number of the newest.
    made: u64,
    soft_descriptors: Option<u64>,
    groups: Option<PathBuf>,
    places: Places,
    /// Logs below this directory are on a file system that heartbeatd needs anyway.
    own_logs: PathBuf,
    orders: Arc<ReaperQueue>,
    next_cgroups: Arc<NextCgroups>,
}

impl Spawner {
    pub(crate) fn new(settings: &Settings, orders: Arc<ReaperQueue>, next_cgroups: Arc<NextCgroups>) -> Self {
        let Settings { launcher, soft_descriptors, groups, own_logs, .. } = settings.clone();
        let places = Places::below(&settings.runtime);
        Self {
            program: launcher,
            launcher: None,
            made: 0,
            soft_descriptors,
            groups,
            places,
            own_logs,
            orders,
            next_cgroups,
        }
    }

    /// A control group for a run; `None` where there are none, and where none can be made: then the run goes without.
    pub(crate) fn cgroup(&self, realm: &RealmName, run: RunId) -> Option<Cgroup> {
        let base = self.groups.as_ref()?;
        let made = self.next_cgroups.take(realm, run);
        made.or_else(|| reserved_fds::with(|| Cgroup::make(base, realm, run)).ok())
    }

    /// The listener for a run's messages, if the run is asked to report.
    pub(crate) fn notify_listener(
        &self,
        realm: &RealmName,
        spec: &LaunchSpec,
    ) -> Result<Option<NotifyListener>, LaunchError> {
        NotifyListener::make(&self.places, realm, &spec.readiness)
            .map_err(|error| LaunchError::new(Step::Notify, error.raw_os_error(), &self.heard(realm, &error)))
    }

    fn heard(&self, realm: &RealmName, error: &io::Error) -> String {
        let why = if error.raw_os_error().is_none() { format!(": {error}") } else { String::new() };
        let Places { sockets, fifos } = &self.places;
        format!("of {realm} in {} or {}{why}", sockets.display(), fifos.display())
    }

    /// Gives `spec` to the launcher, or to a new one when there is none or it is gone.
    pub(crate) fn hand_over(
        &mut self,
        spec: &LaunchSpec,
        cgroup: Option<&Cgroup>,
        run: Option<RunId>,
        notify_listener: Option<&NotifyListener>,
        only: Only,
    ) -> Result<Launch, LaunchError> {
        let name = spec.argv.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let failed =
            |error: io::Error| LaunchError::new(Step::Spawn, error.raw_os_error(), &format!("for {name}"));
        let of_tree = |step| {
            let name = &name;
            move |error: io::Error| {
                LaunchError::new(step, error.raw_os_error(), &format!("of the tree of {name}"))
            }
        };
        if let Some(cgroup) = cgroup {
            spec.limits.bound(cgroup.dir()).map_err(of_tree(Step::Limits))?;
        }
        let group = cgroup.map(|cgroup| reserved_fds::with(|| File::open(cgroup.dir())));
        let group = group.transpose().map_err(of_tree(Step::Group))?;
        let run = run.map(RunId::generation);
        let fifo = notify_listener.and_then(|notify_listener| notify_listener.fifo.as_ref());
        let ready = fifo.map(|fifo| fifo.path().to_owned()).zip(spec.readiness.ready_fd);
        let watched = spec.readiness.watchdog.is_some();
        let Only { check, log_in_memory, apart } = only;
        let soft_descriptors = self.soft_descriptors;
        let apart = apart || check || watched || ready.is_some() || !self.may_share(spec);
        let setting = Setting { soft_descriptors, run, ready, watched, check, log_in_memory, apart };
        let bytes = spec.encode(&setting);
        if bytes.len() > MAX_SPEC_BYTES {
            return Err(LaunchError::new(Step::Spec, Some(libc::E2BIG), &format!("of {name}")));
        }
        let memory = (bytes.len() > MAX_INLINE_BYTES).then(|| reserved_fds::with(|| sealed(&bytes)));
        let memory = memory.transpose().map_err(failed)?;
        let capture = match spec.log {
            LogTarget::Capture => Some(reserved_fds::with(capture_file).map_err(failed)?),
            LogTarget::Null | LogTarget::File { .. } | LogTarget::Journal { .. } => None,
        };
        let (socket, theirs) =
            reserved_fds::with(|| channel::pair().map_err(io::Error::from)).map_err(failed)?;
        let order = LaunchOrder {
            spec: match &memory {
                Some(memory) => Specification::Memory(memory.as_fd()),
                None => Specification::Inline(bytes),
            },
            socket: theirs.as_fd(),
            group: group.as_ref().map(AsFd::as_fd),
            capture: capture.as_ref().map(AsFd::as_fd),
        };
        if let Some(launcher) = self.launcher.take() {
            let pid = launcher.pid;
            match channel::send_order(launcher.orders.as_fd(), &order) {
                // Another process killed it while it waited, or it takes no more orders.
                Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN | Errno::EAGAIN) => launcher.dismiss(),
                sent => {
                    self.launcher = Some(launcher);
                    let launch = Launch { socket, capture, launcher: LauncherId { number: self.made, pid } };
                    return sent.map(|()| launch).map_err(|errno| failed(errno.into()));
                }
            }
        }
        let launcher = self.make_launcher().map_err(failed)?;
        self.made += 1;
        if let Err(errno) = channel::send_order(launcher.orders.as_fd(), &order) {
            launcher.dismiss();
            return Err(failed(errno.into()));
        }
        let pid = launcher.pid;
        self.launcher = Some(launcher);
        Ok(Launch { socket, capture, launcher: LauncherId { number: self.made, pid } })
    }

    /// Nothing that its set-up does before it is a child may wait, and it remains the user that the launcher is: it may
    /// share the launcher's memory.
    fn may_share(&self, spec: &LaunchSpec) -> bool {
        let opens_at_once = match &spec.log {
            LogTarget::Null | LogTarget::Capture => true,
            LogTarget::File { path, .. } => path.starts_with(&self.own_logs),
            LogTarget::Journal { .. } => false,
        };
        opens_at_once && spec.env_file.is_none() && spec.user.is_none() && spec.input.is_empty()
    }

    fn make_launcher(&self) -> io::Result<Launcher> {
        self.orders.set_makes_launcher(true);
        let made = reserved_fds::with(|| Launcher::make(&self.program));
        self.orders.set_makes_launcher(false);
        made
    }

    /// No launcher waits.
    pub(crate) fn is_short(&self) -> bool {
        self.launcher.is_none()
    }

    /// Makes a launcher, if none waits; false when one waits already, or none can be made now.
    pub(crate) fn refill(&mut self) -> bool {
        reserved_fds::refill();
        if !self.is_short() {
            return false;
        }
        // The next start tries again, and reports the error if it fails, too.
        self.launcher = self.make_launcher().ok();
        self.made += u64::from(self.launcher.is_some());
        self.launcher.is_some()
    }

    /// Dismisses the launcher if its number is at most `distrusted`.
    pub(crate) fn replace_up_to(&mut self, distrusted: u64) {
        if self.made <= distrusted {
            self.launcher.take().into_iter().for_each(Launcher::dismiss);
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.launcher.take().into_iter().for_each(Launcher::dismiss);
    }
}

/// A memory file, sealed against every change.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create(c"hb-spec", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file.into())
}

/// A memory file of a fixed size for the output of a command.
fn capture_file() -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create(c"hb-output", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&memory, MAX_CAPTURE_BYTES as u64)?;
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(memory)
}

/// The beginning of the captured output, without the NULs of the unused room.
pub(crate) fn captured(capture: Option<&OwnedFd>) -> Vec<u8> {
    let mut output = vec![0; MAX_OUTPUT_BYTES];
    let count = capture.and_then(|memory| rustix::io::pread(memory, &mut output, 0).ok()).unwrap_or(0);
    output.truncate(count);
    let written = output.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    output.truncate(written);
    output
}

/// The starts that wait for the spawn thread. Callers bound their number: one launch per realm, and one command per
/// hook.
#[derive(Debug)]
pub(crate) struct SpawnQueue<T> {
    waiting: Mutex<(VecDeque<T>, bool)>,
    wake: Condvar,
}

impl<T> SpawnQueue<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::new((VecDeque::new(), false)), wake: Condvar::new() })
    }

    pub(crate) fn push(&self, item: T) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).0.push_back(item);
        self.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.wake.notify_all();
    }

    /// The next without waiting; `None` when there is none.
    pub(crate) fn try_next(&self) -> Option<T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.1 { None } else { waiting.0.pop_front() }
    }

    /// Waits for the next, at most for `patience`; `None` when none came.
    pub(crate) fn next_within(&self, patience: Duration) -> Option<T> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut (VecDeque<T>, bool)| state.0.is_empty() && !state.1;
        let woken = self.wake.wait_timeout_while(waiting, patience, idle);
        let mut waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        if waiting.1 { None } else { waiting.0.pop_front() }
    }

    /// Waits for the next; `None` once closed.
    pub(crate) fn next(&self) -> Option<T> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut (VecDeque<T>, bool)| state.0.is_empty() && !state.1;
        let mut waiting = self.wake.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
        if waiting.1 { None } else { waiting.0.pop_front() }
    }
}
