//! Commands to the reaper, on their way to its thread.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use heartbeat_status::{RealmName, Signal};
use rustix::event::{EventfdFlags, eventfd};

use crate::notice::{CommandRunId, Key, LaunchError};
use crate::run::{Owner, Run};
use crate::{LaunchSpec, Survivor};

/// A command to the reaper.
#[derive(Debug)]
pub(crate) enum ReaperCommand {
    Expect(Owner),
    /// The launcher has the order for this run.
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
    /// The runs of these realms are over, each with the user of its hooks: no hook up to `last` leaves anything behind,
    /// except those that still run.
    EndHooks {
        realms: Vec<(RealmName, Option<u32>)>,
        last: CommandRunId,
        running: Vec<CommandRunId>,
    },
    Close,
}

/// The commands that wait for the reaper. Callers bound its length: a launch, a cancellation and a few signals per
/// realm.
#[derive(Debug)]
pub(crate) struct ReaperQueue {
    queue: Mutex<Waiting>,
    wake: OwnedFd,
    /// Launchers up to this number take orders and do not act on them.
    distrusted: AtomicU64,
    /// The spawn thread is making a launcher: a child of ours that has no pidfd yet.
    makes_launcher: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    commands: VecDeque<ReaperCommand>,
    /// The reaper has been woken, and has not taken them yet.
    woken: bool,
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
        // The reaper only has to know of it before the next command.
        let can_wait = matches!(order, ReaperCommand::Expect(_));
        let mut waiting = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.commands.push_back(order);
        if !can_wait && !std::mem::replace(&mut waiting.woken, true) {
            drop(waiting);
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    /// This launcher has let the time of a launch go by.
    pub(crate) fn distrust(&self, launcher: u64) {
        self.distrusted.fetch_max(launcher, Ordering::Relaxed);
    }

    /// True before a launcher is made; false once it has a pidfd, or has failed.
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
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner)).commands
    }

    /// Commands wait that the reaper has not taken.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.queue.lock().unwrap_or_else(PoisonError::into_inner).commands.is_empty()
    }

    pub(crate) fn wake(&self) -> impl AsFd {
        self.wake.as_fd()
    }
}
