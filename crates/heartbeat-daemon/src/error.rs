//! Why heartbeatd cannot run: the operation that failed, and its source.

use std::net::SocketAddr;
use std::path::PathBuf;

use heartbeat_api::BindError;
use heartbeat_logs::KeeperError;
use heartbeat_notify::{NotifyError, SecretError};
use heartbeat_process::ProcessError;
use heartbeat_store::StoreError;

use crate::start::token_file::TokenFileError;

/// Why a receiver of notifications cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// Its URL, its certificates or its steps.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// The file of its secret or its token.
    #[error("cannot use {path}", path = path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: TokenFileError,
    },
    /// What is in the file of its secret.
    #[error("{path} holds no secret", path = path.display())]
    Secret {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: SecretError,
    },
    /// What is in the file of its token.
    #[error("{path} holds no token: it is empty, or has more than one word", path = path.display())]
    Token {
        /// Path of the file.
        path: PathBuf,
    },
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
    /// A directory or file of ours cannot be made or opened.
    #[error("cannot prepare the {what} {path}{}", way_out(source), path = path.display())]
    Prepare {
        /// What it is for.
        what: &'static str,
        /// Path that was used.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// Another heartbeatd holds the state directory.
    #[error("another heartbeatd{} holds the state directory {dir}", holder_words(*.holder), dir = state_dir.display())]
    Held {
        /// Path of the directory.
        state_dir: PathBuf,
        /// Its pid, where the lock file says so.
        holder: Option<u32>,
    },
    /// What an earlier heartbeatd has written cannot be read.
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
    /// The address cannot be served. Never another port instead.
    #[error("cannot listen on {address}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why not, with its holder where that can be known.
        source: BindError,
    },
    /// heartbeatd never listens without the token that is configured.
    #[error("heartbeatd does not listen without its `token_file` {path}", path = path.display())]
    Token {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenFileError,
    },
    /// A receiver of notifications cannot be told anything.
    #[error("the receiver {name} cannot be told")]
    Receiver {
        /// Its name in the configuration.
        name: String,
        /// Cause of the failure.
        source: ReceiverError,
    },
    /// The store of incidents cannot begin.
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
        /// What is needed, in descriptors.
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
    /// Logs cannot be looked after.
    #[error("cannot look after the logs of realms")]
    Logs {
        /// Cause of the failure.
        source: KeeperError,
    },
    /// A thread or the runtime of the API and the probes cannot be started.
    #[error("cannot start the {what}")]
    Runtime {
        /// What was to be started.
        what: &'static str,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// The driver ended without having stopped everything.
    #[error("the driver ended by a defect; realms may still run")]
    Driver,
}

/// What a user without privileges can do where the defaults are root's.
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
