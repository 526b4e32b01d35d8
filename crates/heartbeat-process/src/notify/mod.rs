//! What realms report of themselves: through a datagram socket per realm (sd_notify), and through a FIFO whose other
//! end is a descriptor of the realm (s6's notification-fd).
//!
//! Both lie at a fixed path, so that a later heartbeatd can open them again, and the realm can go on writing when
//! heartbeatd ends. Where the disk refuses them they have no path: a start waits for no disk. Any process may send to the socket. The kernel names the sender, and the reaper believes only
//! processes of the realm's tree ([`crate::reaper`]). heartbeatd makes only what the realm is asked for: a realm that
//! reports nothing costs nothing.

mod fifo;
mod socket;
mod words;

use std::ffi::OsStr;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_status::{RealmName, Said};

use crate::{reserved_fds, tree};

pub(crate) use fifo::{Line, ReadyFifo};
pub(crate) use socket::{MAX_DATAGRAM_BYTES, NotifySocket};
pub(crate) use words::parse;

/// Signs of life and statuses that the reaper reports per realm and window ([`crate::reaper`] sets its length). It
/// merges those beyond that, and reports them at the end of the window.
pub(crate) const MAX_CHATTER_MESSAGES: u32 = 10;
/// Other messages that the reaper reports per realm and window. It reads and drops those beyond that.
pub(crate) const MAX_CHANGE_MESSAGES: u32 = 50;

/// How heartbeatd asks a realm to report that it is ready, and that it is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// heartbeatd gives the realm a socket (`NOTIFY_SOCKET`) for messages of sd_notify(3).
    pub notify: bool,
    /// heartbeatd tells the realm to report at least this often that it is well (`WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub watchdog: Option<Duration>,
    /// heartbeatd gives the realm a descriptor of this number. The realm writes a line to it when it is ready.
    pub ready_fd: Option<u32>,
}

impl Readiness {
    /// Whether heartbeatd asks the realm for any report.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.notify || self.ready_fd.is_some()
    }
}

/// Where sockets and FIFOs lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Every user may reach the sockets in it; only heartbeatd's user may list it.
    pub(crate) sockets: PathBuf,
    /// For heartbeatd alone: the launcher opens the FIFO before it changes its user.
    pub(crate) fifos: PathBuf,
}

impl Places {
    pub(crate) fn below(runtime_dir: &Path) -> Self {
        Self { sockets: runtime_dir.join("notify"), fifos: runtime_dir.join("ready") }
    }

    fn bind(&self, realm: &RealmName) -> io::Result<NotifySocket> {
        reserved_fds::with(|| in_dir(&self.sockets, 0o711, |dir| NotifySocket::bind(dir, realm)))
    }

    /// The socket of a realm that is about to start.
    fn new_socket(&self, realm: &RealmName) -> io::Result<NotifySocket> {
        let in_kernel = |_| reserved_fds::with(|| NotifySocket::bind_in_kernel(&self.sockets, realm));
        self.bind(realm).or_else(in_kernel)
    }

    /// The FIFO of a realm that is about to start.
    fn new_fifo(&self, realm: &RealmName) -> io::Result<ReadyFifo> {
        let made = reserved_fds::with(|| in_dir(&self.fifos, 0o700, |dir| ReadyFifo::make(dir, realm)));
        made.or_else(|_| reserved_fds::with(ReadyFifo::in_kernel))
    }

    /// The socket of a realm that runs already. If it cannot be bound now, every look around tries again.
    pub(crate) fn socket_of(&self, realm: &RealmName) -> NotifySocket {
        self.bind(realm).unwrap_or_else(|_| NotifySocket::missing(&self.sockets, realm))
    }

    /// The same for a realm that an earlier heartbeatd has started: where that has told it to report.
    fn socket_again(&self, realm: &RealmName, pid: u32) -> NotifySocket {
        let entries = tree::environment_entries(pid, &["NOTIFY_SOCKET=@"]);
        let address = entries.first().and_then(|entry| entry.strip_prefix("NOTIFY_SOCKET="));
        let again = address
            .and_then(|address| NotifySocket::bind_again(&self.sockets, realm, OsStr::new(address))?.ok());
        again.unwrap_or_else(|| self.socket_of(realm))
    }
}

/// Receives the reports of a realm: one per run that heartbeatd asks for any.
#[derive(Debug)]
pub(crate) struct NotifyListener {
    pub(crate) socket: Option<NotifySocket>,
    pub(crate) fifo: Option<ReadyFifo>,
    /// The reaper watches for messages.
    pub(crate) open: bool,
    /// Messages that the reaper may still report in this window: signs of life and statuses, and all others.
    pub(crate) left: (u32, u32),
    /// What the reaper reports at the end of the window.
    pub(crate) held: Option<Said>,
    /// The last process that was proven to belong to the realm: pid and start time.
    pub(crate) known: Option<(u32, u64)>,
}

impl NotifyListener {
    /// Makes the socket and the FIFO of a realm that is about to start; `None` when heartbeatd asks it for no report.
    pub(crate) fn make(places: &Places, realm: &RealmName, asked: &Readiness) -> io::Result<Option<Self>> {
        if !asked.is_asked() {
            return Ok(None);
        }
        let mut notify_listener = Self::new();
        if asked.notify {
            notify_listener.socket = Some(places.new_socket(realm)?);
        }
        if asked.ready_fd.is_some() {
            notify_listener.fifo = Some(places.new_fifo(realm)?);
        }
        Ok(Some(notify_listener))
    }

    /// Opens the socket and the FIFO again for a realm that runs already, as far as possible. `pid` is its main process.
    pub(crate) fn again(places: &Places, realm: &RealmName, asked: &Readiness, pid: u32) -> Option<Self> {
        let mut notify_listener = Self::new();
        if asked.notify {
            notify_listener.socket = Some(places.socket_again(realm, pid));
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

    /// Removes the socket and the FIFO of a run that speaks no more.
    pub(crate) fn remove(self) {
        if let Some(socket) = self.socket {
            socket.remove();
        }
        if let Some(fifo) = self.fifo {
            fifo.remove();
        }
    }
}

/// Runs `operation` in that directory. Makes the directory first when it is not there (any more).
fn in_dir<T>(dir: &Path, mode: u32, operation: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    match operation(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Other users pass through the parent directory.
            let outer = dir.parent().filter(|outer| !outer.as_os_str().is_empty());
            outer.map_or(Ok(()), |outer| DirBuilder::new().recursive(true).mode(0o711).create(outer))?;
            DirBuilder::new().recursive(true).mode(mode).create(dir)?;
            // The umask of heartbeatd must not matter.
            std::fs::set_permissions(dir, Permissions::from_mode(mode))?;
            operation(dir)
        }
        done => done,
    }
}
