//! Why heartbeatd cannot run: the operation that failed, and its source.

use std::net::SocketAddr;
use std::path::PathBuf;

use heartbeat_api::BindError;
use heartbeat_config::OwnFileError;
use heartbeat_http::TlsOptionsError;
use heartbeat_logs::KeeperError;
use heartbeat_notify::{NotifyError, TemplateError};
use heartbeat_process::{PrivateFileError, ProcessError};
use heartbeat_store::StoreError;

/// Why heartbeatd cannot use a receiver of notifications.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// The URL, the certificates or the steps are invalid.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// The template is none.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The file of its secret, token or login cannot be used.
    #[error(transparent)]
    File(#[from] OwnFileError),
}

impl ReceiverError {
    /// The error with its cause.
    pub(crate) fn in_full(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

/// Why heartbeatd cannot start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// heartbeatd cannot make or open a directory or file of its own.
    #[error("cannot prepare the {what} {path}{}", way_out(source), path = path.display())]
    Prepare {
        /// The purpose of the path.
        what: &'static str,
        /// Path that was used.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// Another heartbeatd holds a directory that belongs to one heartbeatd alone.
    #[error(
        "another heartbeatd{} holds the {what} {dir}: stop that one, or set another `{key}` in [heartbeat]",
        holder_words(*.holder), dir = dir.display()
    )]
    Held {
        /// The purpose of the directory.
        what: &'static str,
        /// Path of the directory.
        dir: PathBuf,
        /// The key of `[heartbeat]` that moves it.
        key: &'static str,
        /// The pid of that heartbeatd, where the lock file has it.
        holder: Option<u32>,
    },
    /// The state of an earlier heartbeatd cannot be read.
    #[error("cannot read the state {path}: {why}", path = path.display())]
    State {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        why: String,
    },
    /// The Unix socket cannot be served.
    #[error("cannot listen on the socket {path}", path = path.display())]
    Socket {
        /// Path that was used.
        path: PathBuf,
        /// Cause of the failure.
        source: BindError,
    },
    /// The address cannot be served. heartbeatd never takes another port instead.
    #[error("cannot listen on {address}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The reason, with the holder of the port where it is known.
        source: BindError,
    },
    /// heartbeatd never listens without the token that is configured.
    #[error("heartbeatd does not listen without its `token_file` {path}", path = path.display())]
    Token {
        /// Path of the file.
        path: PathBuf,
        /// The fault of the file.
        source: PrivateFileError,
    },
    /// heartbeatd never listens without the TLS that is configured.
    #[error("heartbeatd does not listen without the certificate and the key of `tls`")]
    Tls {
        /// The fault of a file.
        source: TlsOptionsError,
    },
    /// A receiver of notifications cannot be used.
    #[error("the receiver {name} cannot be told")]
    Receiver {
        /// Its name in the configuration.
        name: String,
        /// Cause of the failure.
        source: ReceiverError,
    },
    /// The store of incidents cannot start.
    #[error("the store of incidents cannot begin")]
    Store {
        /// Cause of the failure.
        source: StoreError,
    },
    /// The limit of open descriptors is too low for the realms of the configuration.
    #[error(
        "the limit of open files is {limit}, and {realms} realms need {needed}; raise it with `ulimit -n {needed}`, or with \
         LimitNOFILE={needed} in the unit"
    )]
    Descriptors {
        /// What the kernel allows, in descriptors.
        limit: u64,
        /// The required number of descriptors.
        needed: u64,
        /// Realms that have a program.
        realms: usize,
    },
    /// The process adapter cannot run.
    #[error("cannot start processes")]
    Processes {
        /// Cause of the failure.
        source: ProcessError,
    },
    /// heartbeatd cannot look after logs.
    #[error("cannot look after the logs of realms")]
    Logs {
        /// Cause of the failure.
        source: KeeperError,
    },
    /// A thread or the runtime of the API and the probes cannot be started.
    #[error("cannot start the {what}")]
    Runtime {
        /// The thread or runtime.
        what: &'static str,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// The driver ended without having stopped everything.
    #[error("the driver ended by a defect; realms may still run")]
    Driver,
}

/// The advice for a user without privileges where the defaults are root's.
fn way_out(source: &std::io::Error) -> &'static str {
    if source.kind() == std::io::ErrorKind::PermissionDenied {
        " (run heartbeatd as root, or set `state_dir`, `runtime_dir` and `socket` in [heartbeat] to where this user may write)"
    } else {
        ""
    }
}

fn holder_words(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}
