//! heartbeatd executes another program under its own pid: that program gets the descriptors and keeps the children.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::sys::signal::{SigSet, Signal};
use rustix::io::FdFlags;

use crate::reaper::child_signals;
use crate::sys::{self, FIRST_HANDED_OVER};

/// The variable in which the next program finds the handover: the pid that it is meant for, then `name=number` words.
/// Every program of ours removes it from the environment of its children.
const VARIABLE: &str = "HEARTBEAT_HANDOVER";

/// What one program hands to the next under the same pid.
#[derive(Debug, Default)]
pub struct Handover {
    /// Open descriptors, by name.
    pub descriptors: BTreeMap<String, OwnedFd>,
    /// Numbers, by name.
    pub numbers: BTreeMap<String, u64>,
}

impl Handover {
    /// Takes what the previous program handed over, if this one follows it under the same pid. Call it once, and before
    /// anything opens or closes a descriptor.
    #[must_use]
    pub fn receive() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let mut words = text.split(' ');
        // A forked child inherits the variable, which is not meant for it.
        if words.next()?.parse() != Ok(std::process::id()) {
            return None;
        }
        let mut handover = Self::default();
        for word in words {
            let Some((name, value)) = word.split_once('=') else { continue };
            if let Some(number) = name.strip_prefix('#') {
                handover.numbers.insert(number.to_owned(), value.parse().ok()?);
            } else if let Some(descriptor) = value.parse().ok().and_then(sys::take_handed_over) {
                // Our own children must not inherit it.
                rustix::io::fcntl_setfd(&descriptor, FdFlags::CLOEXEC).ok()?;
                handover.descriptors.insert(name.to_owned(), descriptor);
            }
        }
        Some(handover)
    }

    /// Takes, by name, the descriptors that a service manager kept for us and passes to the program that it starts
    /// (`LISTEN_FDS` of sd_listen_fds(3)). Call it once, and not after [`Handover::receive`] has found something.
    #[must_use]
    pub fn receive_from_manager() -> Vec<(String, OwnedFd)> {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Vec::new();
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
        let count = RawFd::try_from(number("LISTEN_FDS").unwrap_or(0)).unwrap_or(0);
        let numbers = FIRST_HANDED_OVER..FIRST_HANDED_OVER.saturating_add(count);
        let taken = numbers.zip(names).filter_map(|(number, name)| {
            let descriptor = sys::take_handed_over(number)?;
            rustix::io::fcntl_setfd(&descriptor, FdFlags::CLOEXEC).ok()?;
            Some((name, descriptor))
        });
        taken.collect()
    }

    fn text(&self) -> String {
        let mut text = std::process::id().to_string();
        for (name, descriptor) in &self.descriptors {
            text.push_str(&format!(" {name}={}", descriptor.as_fd().as_raw_fd()));
        }
        for (name, number) in &self.numbers {
            text.push_str(&format!(" #{name}={number}"));
        }
        text
    }

    /// Executes `program` under the same pid. Returns only when that fails: then nothing has changed.
    ///
    /// # Errors
    /// The error of execve(2), or EINVAL for an argument with a NUL.
    pub fn become_program(&self, program: &Path, args: &[OsString]) -> io::Result<Infallible> {
        let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
        let path = text(program.as_os_str())?;
        let argv: Vec<CString> = args.iter().map(|arg| text(arg)).collect::<Result<_, _>>()?;
        let mut env = Vec::new();
        for (name, value) in std::env::vars_os().filter(|(name, _)| name != VARIABLE) {
            env.push(text(&[name.as_os_str(), value.as_os_str()].join(OsStr::new("=")))?);
        }
        env.push(text(&OsString::from_vec(format!("{VARIABLE}={}", self.text()).into_bytes()))?);
        let set = |flags| {
            for descriptor in self.descriptors.values() {
                rustix::io::fcntl_setfd(descriptor, flags)?;
            }
            Ok::<(), io::Error>(())
        };
        set(FdFlags::empty())?;
        // Another version may not know that its threads hold it back.
        let held = SigSet::thread_get_mask().is_ok_and(|mask| mask.contains(Signal::SIGCHLD));
        let _ = child_signals().thread_unblock();
        let failed = nix::unistd::execve(&path, &argv, &env);
        if held {
            let _ = child_signals().thread_block();
        }
        set(FdFlags::CLOEXEC)?;
        Err(failed.err().map_or_else(|| io::ErrorKind::Other.into(), io::Error::from))
    }
}
