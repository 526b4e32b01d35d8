//! What realms say of themselves: a datagram socket of their own (sd_notify), and a FIFO whose other end is one of their
//! descriptors (s6's notification-fd).
//!
//! Both lie at a fixed path, so that they can be opened again by whoever comes after us, and so that nothing the realm
//! writes to ends with us. Anybody may send to the socket: who has sent is what the kernel says, and it is believed only
//! from the process tree of the realm ([`crate::reaper`]). Only what is asked for is made: a realm that is not asked to say
//! anything costs nothing.

mod fifo;
mod socket;
mod words;

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_status::{RealmName, Said};

use crate::reserved_fds;

pub(crate) use fifo::{Line, ReadyFifo};
pub(crate) use socket::{MAX_DATAGRAM_BYTES, NotifySocket};
pub(crate) use words::parse;

/// Signs of life and statuses of one realm that are told within a while ([`crate::reaper`] says how long); what comes beyond
/// that becomes one with what came before, and is told at its end.
pub(crate) const MAX_CHATTER_MESSAGES: u32 = 10;
/// Everything else that is told of one realm within a while; more is read and dropped.
pub(crate) const MAX_CHANGE_MESSAGES: u32 = 50;

/// How a realm is asked to say that it is ready, and that it is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// It is given a socket (`NOTIFY_SOCKET`) for messages of sd_notify(3).
    pub notify: bool,
    /// It is told to say at least this often that it is well (`WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub watchdog: Option<Duration>,
    /// It is given a descriptor of this number, and writes a line to it when it is ready.
    pub ready_fd: Option<u32>,
}

impl Readiness {
    /// It is asked for something.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.notify || self.ready_fd.is_some()
    }
}

/// Where sockets and FIFOs lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Everybody may come in, and nobody may look around.
    pub(crate) sockets: PathBuf,
    /// Ours alone: the launcher opens what lies there before it becomes somebody else.
    pub(crate) fifos: PathBuf,
}

impl Places {
    pub(crate) fn below(runtime_dir: &Path) -> Self {
        Self { sockets: runtime_dir.join("notify"), fifos: runtime_dir.join("ready") }
    }

    fn bind(&self, realm: &RealmName) -> io::Result<NotifySocket> {
        reserved_fds::with(|| in_dir(&self.sockets, 0o711, |dir| NotifySocket::bind(dir, realm)))
    }

    /// The socket of a realm that runs already. One that cannot be bound now is tried again with every look around.
    pub(crate) fn socket_of(&self, realm: &RealmName) -> NotifySocket {
        self.bind(realm).unwrap_or_else(|_| NotifySocket::missing(&self.sockets, realm))
    }
}

/// What hears a realm: one for every run that is asked to say something.
#[derive(Debug)]
pub(crate) struct NotifyListener {
    pub(crate) socket: Option<NotifySocket>,
    pub(crate) fifo: Option<ReadyFifo>,
    /// What is said is waited for.
    pub(crate) open: bool,
    /// Messages that are told before the while is over: signs of life and statuses, and everything else.
    pub(crate) left: (u32, u32),
    /// What is told then.
    pub(crate) held: Option<Said>,
    /// Who was last proven to belong to the realm: pid and start time.
    pub(crate) known: Option<(u32, u64)>,
}

impl NotifyListener {
    /// Makes what a realm that is about to be started speaks through; `None` when it is not asked to.
    pub(crate) fn make(places: &Places, realm: &RealmName, asked: &Readiness) -> io::Result<Option<Self>> {
        if !asked.is_asked() {
            return Ok(None);
        }
        let mut notify_listener = Self::new();
        if asked.notify {
            notify_listener.socket = Some(places.bind(realm)?);
        }
        if asked.ready_fd.is_some() {
            notify_listener.fifo =
                Some(reserved_fds::with(|| in_dir(&places.fifos, 0o700, |dir| ReadyFifo::make(dir, realm)))?);
        }
        Ok(Some(notify_listener))
    }

    /// Opens again what a realm that runs already speaks through, as far as that can be done.
    pub(crate) fn again(places: &Places, realm: &RealmName, asked: &Readiness) -> Option<Self> {
        let mut notify_listener = Self::new();
        if asked.notify {
            notify_listener.socket = Some(places.socket_of(realm));
        }
        if asked.ready_fd.is_some() {
            notify_listener.fifo = reserved_fds::with(|| ReadyFifo::open(&places.fifos, realm)).ok();
        }
        asked.is_asked().then_some(notify_listener)
    }

    fn new() -> Self {
        let left = (MAX_CHATTER_MESSAGES, MAX_CHANGE_MESSAGES);
        Self { socket: None, fifo: None, open: false, left, held: None, known: None }
    }

    /// Nobody speaks any more: takes away what lies there.
    pub(crate) fn remove(self) {
        if let Some(socket) = self.socket {
            socket.remove();
        }
        if let Some(fifo) = self.fifo {
            fifo.remove();
        }
    }
}

/// Does it in that directory, which is made when it is not there (any more).
fn in_dir<T>(dir: &Path, mode: u32, operation: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    match operation(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Others pass through the directory around it.
            let around = dir.parent().filter(|around| !around.as_os_str().is_empty());
            around.map_or(Ok(()), |around| DirBuilder::new().recursive(true).mode(0o711).create(around))?;
            DirBuilder::new().recursive(true).mode(mode).create(dir)?;
            // Whatever our own mask is.
            std::fs::set_permissions(dir, Permissions::from_mode(mode))?;
            operation(dir)
        }
        done => done,
    }
}
