//! What a child does to become its program, once everything that may wait or allocate is done.
//!
//! A child may share the memory of the launcher, which goes on meanwhile, and SIGKILL may end it at any instruction. So
//! nothing here allocates, takes a lock, or calls the C library, which keeps `errno` in memory: every call goes directly
//! to the kernel. A child that has a copy of the memory takes the same steps.
//!
//! Nor does a child that shares the memory change what the kernel keeps with a memory: its score for a lack of memory,
//! and whether it can be dumped, which follows from a change of user. Those children have a copy.

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, RawFd};

use nix::errno::Errno;
use rustix::fs::Mode;

use crate::failure::{Failure, failed, failed_io};
use crate::limits::OwnLimits;
use crate::notice::Step;
use crate::sys::Words;
use crate::{Limits, channel, sys};

/// Exit code of a child that did not exec; heartbeatd does not read it, an operator may.
pub(crate) const NOT_LAUNCHED: u8 = 125;

/// What a child that shares the launcher's memory has to become.
pub(crate) struct Task {
    /// On which it reports; the child closes no descriptor, execve does.
    pub(crate) socket: RawFd,
    /// Where its output goes; `None`: to `/dev/null`, the standard input of the launcher.
    pub(crate) output: Option<RawFd>,
    pub(crate) limits: Limits,
    pub(crate) own_limits: OwnLimits,
    pub(crate) soft_descriptors: Option<u64>,
    pub(crate) umask: Option<u32>,
    pub(crate) no_new_privileges: bool,
    pub(crate) dir: CString,
    pub(crate) program: Program,
}

/// Everything that execve needs.
pub(crate) struct Program {
    /// Where the program may be, in the order of its `PATH`.
    pub(crate) candidates: Vec<CString>,
    pub(crate) words: Words,
    pub(crate) environment: Words,
}

/// The whole of a child that shares the launcher's memory. Returns the exit code of one that did not exec.
pub(crate) fn main(task: &Task) -> u8 {
    let socket = sys::inherited(task.socket);
    if let Err(Some(Failure { step, errno, .. })) = launch(task, socket) {
        channel::say_failed(socket, step, errno, rustix::process::getpid().as_raw_pid().unsigned_abs(), None);
    }
    NOT_LAUNCHED
}

/// Returns only when it did not exec; `Err(None)`: heartbeatd is gone.
fn launch(task: &Task, socket: BorrowedFd<'_>) -> Result<(), Option<Failure>> {
    set_up(task).map_err(Some)?;
    if !channel::receive_proceed(socket) {
        return Err(None);
    }
    channel::say_exec(socket).map_err(|_| None)?;
    Err(Some(failed(Step::Exec)(task.program.execute())))
}

fn set_up(task: &Task) -> Result<(), Failure> {
    begin_session(&task.limits, &task.own_limits, task.soft_descriptors, task.umask)?;
    if task.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(at(Step::Privileges))?;
    }
    enter(&task.dir)?;
    let output = sys::inherited(task.output.unwrap_or(0));
    redirect(output)?;
    begin(Step::Exec);
    Ok(())
}

/// From here a file system that does not answer may hold the child; its name then says in which step.
pub(crate) fn begin(step: Step) {
    if let Some(name) = step.name() {
        // If this fails, the report only names the launch.
        let _ = rustix::thread::set_name(name);
    }
}

/// First of all, and before a change of user: the user may not raise limits.
pub(crate) fn begin_session(
    limits: &Limits,
    own: &OwnLimits,
    soft_descriptors: Option<u64>,
    mask: Option<u32>,
) -> Result<(), Failure> {
    rustix::process::setsid().map_err(at(Step::Session))?;
    limits.assume(own, soft_descriptors).map_err(failed(Step::Limits))?;
    if let Some(mask) = mask {
        rustix::process::umask(Mode::from_bits_truncate(mask));
    }
    Ok(())
}

pub(crate) fn enter(dir: &CStr) -> Result<(), Failure> {
    begin(Step::Directory);
    rustix::process::chdir(dir).map_err(at(Step::Directory))
}

/// Sets standard output and error, and closes all but the standard descriptors at execve. The socket stays open until
/// then: that end of file is how heartbeatd learns of the start.
pub(crate) fn redirect(output: BorrowedFd<'_>) -> Result<(), Failure> {
    rustix::stdio::dup2_stdout(output).map_err(at(Step::Descriptors))?;
    rustix::stdio::dup2_stderr(output).map_err(at(Step::Descriptors))?;
    sys::close_on_exec_from(3).map_err(failed_io(Step::Descriptors))
}

impl Program {
    /// Returns only when no candidate could be executed. As execvp does, it searches on, but reports EACCES if a
    /// candidate was there.
    pub(crate) fn execute(&self) -> Errno {
        let mut errno = Errno::ENOENT;
        for candidate in &self.candidates {
            let error = sys::execute(candidate, &self.words, &self.environment);
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => errno = Errno::EACCES,
                other => return other,
            }
        }
        errno
    }
}

fn at(step: Step) -> impl Fn(rustix::io::Errno) -> Failure {
    move |error| Failure { step, errno: error.raw_os_error(), path: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that shares memory would otherwise change the `errno` of the launcher.
    #[test]
    fn no_call_of_a_child_goes_through_the_c_library() {
        let nowhere = c"/nonexistent/directory";
        assert_eq!(
            nix::unistd::setpgid(nix::unistd::Pid::from_raw(-1), nix::unistd::Pid::from_raw(-1)),
            Err(Errno::EINVAL)
        );
        let before = std::io::Error::last_os_error().raw_os_error();
        assert_eq!(before, Some(Errno::EINVAL as i32));
        let words = || Words::new(Vec::new());
        let program = Program { candidates: vec![nowhere.to_owned()], words: words(), environment: words() };
        assert_eq!(program.execute(), Errno::ENOENT);
        assert_eq!(enter(nowhere).unwrap_err().errno, Errno::ENOENT as i32);
        assert!(sys::close_on_exec_from(u32::MAX).is_ok());
        let (socket, other) = channel::pair().unwrap();
        drop(other);
        assert!(channel::say_exec(std::os::fd::AsFd::as_fd(&socket)).is_err());
        assert!(!channel::receive_proceed(std::os::fd::AsFd::as_fd(&socket)));
        let beyond = Limits { nofile: Some(u64::MAX), ..Limits::default() };
        assert!(beyond.assume(&OwnLimits::read(), None).is_err());
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), before);
    }
}
