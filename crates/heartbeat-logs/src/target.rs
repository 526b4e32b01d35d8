//! Where the output of a program goes, and which user owns it.

use std::path::PathBuf;

/// Where the output of a program goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file on disk.
    File(PathBuf),
    /// The stream to journald.
    Journal {
        /// The socket that journald listens on.
        socket: PathBuf,
        /// `SYSLOG_IDENTIFIER` of every line.
        identifier: String,
    },
}

impl Target {
    /// The path that identifies the log: that of its file, or, for the journal, one that no file can have.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            // journald listens on a socket, and nothing lies below one.
            Self::Journal { socket, identifier } => socket.join(identifier),
        }
    }
}

/// The user and the group that own a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The numeric user id.
    pub uid: u32,
    /// The numeric group id.
    pub gid: u32,
}
