//! What the reaper is told to do, on its way to its thread.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use heartbeat_status::{RealmName, Signal};
use rustix::event::{EventfdFlags, eventfd};

use crate::notice::{Key, LaunchError};
use crate::run::{Owner, Run};
use crate::{LaunchSpec, Survivor};

/// What the reaper is told to do.
#[derive(Debug)]
pub(crate) enum ReaperCommand {
    Expect(Owner),
    /// It has been handed over.
    Spawned(Box<Run>),
    SpawnFailed {
        owner: Owner,
        error: LaunchError,
    },
    Adopt {
        key: Key,
        survivor: Box<Survivor>,
        spec: Option<Box<LaunchSpec>>,
    },
    Remember {
        realm: RealmName,
        memory: Option<String>,
        soon: bool,
    },
    Signal {
        owner: Owner,
        signal: Signal,
    },
    Follow {
        owner: Owner,
        pid: u32,
    },
    SignalMain {
        key: Key,
        signal: Signal,
    },
    Cancel {
        owner: Owner,
    },
    Close,
}

/// ReaperQueue for the reaper. Bounded by what callers may have outstanding: a launch, a call-off and a handful of
/// signals a realm.
#[derive(Debug)]
pub(crate) struct ReaperQueue {
    queue: Mutex<VecDeque<ReaperCommand>>,
    wake: OwnedFd,
    /// Launchers up to that number take orders and do nothing about them.
    distrusted: AtomicU64,
    /// A launcher is being made: a child of ours that cannot be held yet.
    makes_launcher: AtomicBool,
}

impl ReaperQueue {
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (distrusted, makes_launcher) = (AtomicU64::default(), AtomicBool::default());
        Ok(Self { queue: Mutex::default(), wake, distrusted, makes_launcher })
    }

    pub(crate) fn push(&self, order: ReaperCommand) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let first = queue.is_empty();
        queue.push_back(order);
        drop(queue);
        // Whoever was first has woken the reaper, and it has not taken any of them yet.
        if first {
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    /// That launcher has let the time of a launch go by.
    pub(crate) fn distrust(&self, launcher: u64) {
        self.distrusted.fetch_max(launcher, Ordering::Relaxed);
    }

    /// A launcher is about to be made, or it is there and held, or has failed.
    pub(crate) fn set_makes_launcher(&self, making: bool) {
        self.makes_launcher.store(making, Ordering::SeqCst);
    }

    pub(crate) fn makes_launcher(&self) -> bool {
        self.makes_launcher.load(Ordering::SeqCst)
    }

    pub(crate) fn distrusted(&self) -> u64 {
        self.distrusted.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> VecDeque<ReaperCommand> {
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn wake(&self) -> impl AsFd {
        self.wake.as_fd()
    }
}
