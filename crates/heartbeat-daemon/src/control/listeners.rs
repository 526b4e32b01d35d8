//! The listeners of the API: bound at once, served when recovery is complete, drained for an upgrade, and restored when
//! another process removes the socket.

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heartbeat_api::{Api, BindError, Closing};
use heartbeat_config::Heartbeat;
use heartbeat_process::Handover;
use heartbeat_status::OwnProblemKind;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::DaemonError;
use crate::own_health::own_problems::OwnProblems;
use crate::storage::files;

/// The key that hands over the identity of the socket.
const SOCKET_INODE: &str = "socket_inode";

/// Why there is no socket at its path.
#[derive(Debug, thiserror::Error)]
enum RestoreError {
    /// Its directory is gone as well.
    #[error("cannot make {} again", path.display())]
    Parent {
        /// Path of the directory.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// The socket cannot be bound.
    #[error("the socket {} is missing, and cannot be made", path.display())]
    Socket {
        /// Path of the socket.
        path: PathBuf,
        /// Cause of the failure.
        source: BindError,
    },
}

impl RestoreError {
    fn socket(path: &Path, source: BindError) -> Self {
        Self::Socket { path: path.to_owned(), source }
    }

    /// The failure with all of its causes, for a person.
    fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }
}

/// One listening socket. A copy of it stays here, so that clients which connect while it is not served wait.
#[derive(Debug)]
struct Listening {
    socket: OwnedFd,
    closing: watch::Sender<Closing>,
    serving: Option<JoinHandle<()>>,
}

impl Listening {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, closing: watch::Sender::new(Closing::Open), serving: None }
    }
}

#[derive(Debug)]
struct State {
    /// `None`: the disk refuses a socket at its path, and the caretaker tries again.
    unix: Option<Listening>,
    /// The inode of the socket in its directory: another inode there is not heartbeatd's.
    inode: Option<u64>,
    tcp: Option<Listening>,
    /// The listeners are served; otherwise they only exist.
    open: bool,
}

/// The listeners. The tasks that open, drain and restore them share this.
#[derive(Debug)]
pub(crate) struct Listeners {
    api: Api,
    runtime: Handle,
    problems: Arc<OwnProblems>,
    path: PathBuf,
    mode: u32,
    group: Option<u32>,
    state: Mutex<State>,
}

impl Listeners {
    /// Takes over the listeners that were handed over, and binds the rest. It answers nothing yet: clients wait.
    pub(crate) fn bind(
        api: Api,
        runtime: Handle,
        problems: Arc<OwnProblems>,
        heartbeat: &Heartbeat,
        handover: &mut Handover,
    ) -> Result<Self, DaemonError> {
        let share = |source| DaemonError::Runtime { what: "listeners", source };
        let (path, mode, group) = (heartbeat.socket.clone(), heartbeat.socket_mode, heartbeat.socket_group);
        let inode = handover.numbers.remove(SOCKET_INODE);
        let inherited = handover.descriptors.remove("socket").map(UnixListener::from).filter(|listener| {
            // A listener for another path is of no use here, nor one whose path another process has taken.
            let here = listener.local_addr().is_ok_and(|at| at.as_pathname() == Some(&path));
            here && inode_of(&path).is_some_and(|found| inode.is_none_or(|inode| inode == found))
        });
        let unix = match inherited {
            Some(listener) => heartbeat_api::permit_unix(&path, mode, group).map(|()| listener),
            None => heartbeat_api::bind_unix(&path, mode, group),
        };
        let unix = match unix {
            Ok(listener) => Some(listener),
            Err(source) if is_of_disk(&source) => {
                problems.report(OwnProblemKind::Socket, RestoreError::socket(&path, source).in_full());
                None
            }
            Err(source) => return Err(DaemonError::Socket { path, source }),
        };
        let is_protected = heartbeat
            .tls
            .as_ref()
            .is_some_and(|tls| heartbeat.token_file.is_some() || tls.client_ca.is_some());
        let tcp = match heartbeat.listen {
            None => None,
            Some(address) => {
                let inherited = handover.descriptors.remove("tcp").map(TcpListener::from);
                let same = |listener: &TcpListener| listener.local_addr().is_ok_and(|at| at == address);
                let listener = match inherited.filter(same) {
                    Some(listener) => listener,
                    None => heartbeat_api::bind_tcp(address, is_protected)
                        .map_err(|source| DaemonError::Listen { address, source })?,
                };
                listener.set_nonblocking(true).map_err(share)?;
                Some(Listening::new(listener.into()))
            }
        };
        unix.as_ref().map_or(Ok(()), |unix| unix.set_nonblocking(true)).map_err(share)?;
        let inode = unix.as_ref().and_then(|_| inode_of(&path));
        let unix = unix.map(|unix| Listening::new(unix.into()));
        let state = State { unix, inode, tcp, open: false };
        Ok(Self { api, runtime, problems, path, mode, group, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers from now on, beginning with the clients that have waited.
    pub(crate) fn open(&self) {
        let mut state = self.state();
        state.open = true;
        let State { unix, tcp, .. } = &mut *state;
        for (listening, is_unix) in [(unix.as_mut(), true), (tcp.as_mut(), false)] {
            let Some(listening) = listening else { continue };
            if let Err(error) = self.serve(listening, is_unix) {
                self.problems.report(OwnProblemKind::Socket, format!("cannot serve the API: {error}"));
            }
        }
    }

    fn serve(&self, listening: &mut Listening, is_unix: bool) -> std::io::Result<()> {
        let _entered = self.runtime.enter();
        let socket = listening.socket.as_fd().try_clone_to_owned()?;
        listening.closing.send_replace(Closing::Open);
        let (api, closing) = (self.api.clone(), listening.closing.subscribe());
        let serving = if is_unix {
            let listener = tokio::net::UnixListener::from_std(socket.into())?;
            self.runtime.spawn(async move { api.serve_unix(listener, closing).await })
        } else {
            let listener = tokio::net::TcpListener::from_std(socket.into())?;
            self.runtime.spawn(async move { api.serve_tcp(listener, closing).await })
        };
        listening.serving = Some(serving);
        Ok(())
    }

    /// Sets the number of connections from now on.
    pub(crate) fn resize(&self, tcp_connections: usize, socket_connections: usize) {
        self.api.resize(tcp_connections, socket_connections);
    }

    /// Accepts no more connections, answers the accepted ones within 2 s, and calls `then`. A client that connects
    /// meanwhile waits for the next heartbeatd.
    pub(crate) fn drain_then(&self, then: impl FnOnce() + Send + 'static) {
        let serving = self.close(Closing::Draining);
        self.runtime.spawn(async move {
            for serving in serving {
                // A task that panicked answers nothing more.
                let _ = serving.await;
            }
            then();
        });
    }

    /// Ends idle connections at once, and requests in progress soon.
    pub(crate) fn end(&self) {
        self.close(Closing::Ended);
    }

    fn close(&self, how: Closing) -> Vec<JoinHandle<()>> {
        let mut state = self.state();
        state.open = false;
        let State { unix, tcp, .. } = &mut *state;
        unix.iter_mut()
            .chain(tcp)
            .filter_map(|listening| {
                listening.closing.send_replace(how);
                listening.serving.take()
            })
            .collect()
    }

    /// Binds the socket again when it is gone from its path, but never over one on which another process answers.
    pub(crate) fn restore(&self) {
        let mut state = self.state();
        if !state.open {
            return;
        }
        if state.inode.is_some() && inode_of(&self.path) == state.inode {
            return self.problems.clear(OwnProblemKind::Socket);
        }
        match self.bind_anew() {
            Ok(listener) => {
                let mut unix = Listening::new(listener.into());
                let served =
                    self.serve(&mut unix, true).map_err(|error| format!("cannot serve the API: {error}"));
                state.inode = inode_of(&self.path);
                if let Some(old) = state.unix.replace(unix) {
                    tracing::warn!(socket = %self.path.display(), "another process has removed the socket: it is restored");
                    // The old socket answers its connected clients; no other client finds it any more.
                    old.closing.send_replace(Closing::Draining);
                }
                self.problems.set(OwnProblemKind::Socket, served.err());
            }
            Err(error) => self.problems.report(OwnProblemKind::Socket, error.in_full()),
        }
    }

    fn bind_anew(&self) -> Result<UnixListener, RestoreError> {
        if let Some(parent) = self.path.parent() {
            let made = crate::storage::directories::make_socket_parent(parent);
            made.map_err(|source| RestoreError::Parent { path: parent.to_owned(), source })?;
        }
        heartbeat_api::bind_unix(&self.path, self.mode, self.group)
            .map_err(|source| RestoreError::socket(&self.path, source))
    }

    /// Hands the listeners to the next heartbeatd under the same pid.
    pub(crate) fn hand_over(&self, handover: &mut Handover) -> std::io::Result<()> {
        let state = self.state();
        handover.numbers.extend(state.inode.map(|inode| (SOCKET_INODE.to_owned(), inode)));
        if let Some(unix) = &state.unix {
            handover.descriptors.insert("socket".to_owned(), unix.socket.try_clone()?);
        }
        if let Some(tcp) = &state.tcp {
            handover.descriptors.insert("tcp".to_owned(), tcp.socket.try_clone()?);
        }
        Ok(())
    }

    /// Removes the socket if it is heartbeatd's own. A leftover would only make the next start look twice.
    pub(crate) fn remove_socket(&self) {
        let inode = self.state().inode;
        if inode.is_some() && inode_of(&self.path) == inode {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode_of(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.ino())
}

/// The disk refuses a socket at that path, or the directory for it.
fn is_of_disk(error: &BindError) -> bool {
    let BindError::Socket { source, .. } = error else { return false };
    files::is_of_disk(source) || source.kind() == std::io::ErrorKind::NotFound
}
