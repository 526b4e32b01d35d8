//! Why a [`LogKeeper`](crate::LogKeeper) cannot start.

/// The thread of a [`LogKeeper`](crate::LogKeeper) cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread that bounds logs")]
pub struct KeeperError {
    /// The error of the operating system.
    #[from]
    pub source: std::io::Error,
}
