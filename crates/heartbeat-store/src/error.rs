//! Why something could not be kept or read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// SQLite or the disk refused.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Database {
        /// What was tried, e.g. `write`.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operation.
        source: Arc<rusqlite::Error>,
    },
    /// The file could not be made, renamed or looked at.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operation.
        source: Arc<std::io::Error>,
    },
    /// A later version has written the file. Nothing was changed.
    #[error(
        "{path} was written by a newer heartbeatd (its form is {found}, this heartbeatd knows up to {known}): install the \
         newer heartbeatd, or move the file away",
        path = path.display()
    )]
    Newer {
        /// Path of the file.
        path: PathBuf,
        /// Form that the file has.
        found: i64,
        /// The newest form that is known.
        known: i64,
    },
    /// Something that is no regular file is in the place of the database.
    #[error("{path} is {found}, and only a regular file can be a database", path = path.display())]
    NotAFile {
        /// Path of the place.
        path: PathBuf,
        /// What is there, e.g. `a named pipe`.
        found: &'static str,
    },
    /// Too many questions wait for an answer.
    #[error("too many requests for {path} wait", path = path.display())]
    Busy {
        /// Path of the file.
        path: PathBuf,
    },
    /// A value was damaged after it was written.
    #[error("{path} holds a damaged {what}", path = path.display())]
    DamagedValue {
        /// What it was.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
    },
    /// The disk has not answered in time.
    #[error("the disk does not answer")]
    Slow,
    /// The store has come to its end.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn database(what: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Database { what, path, source: Arc::new(source) }
    }

    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { what, path, source: Arc::new(source) }
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Database { source, .. } => source.sqlite_error_code(),
            _ => None,
        }
    }

    /// The file is no database any more, or parts of it are not what was written.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            || matches!(self, Self::DamagedValue { .. } | Self::NotAFile { .. })
    }

    /// There is no room: on the disk, or within the largest size of the file.
    pub(crate) fn is_full(&self) -> bool {
        self.code() == Some(ErrorCode::DiskFull)
    }

    /// Nothing was written, and what a connection believes of its file is true.
    pub(crate) fn leaves_the_file(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// After an error of the disk, what a connection believes of its file may be wrong.
    pub(crate) fn doubts_the_file(&self) -> bool {
        self.is_damage() || matches!(self.code(), Some(ErrorCode::SystemIoFailure))
    }
}
