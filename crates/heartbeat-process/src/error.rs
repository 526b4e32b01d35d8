//! Why the adapter itself cannot work.

use std::path::PathBuf;

/// Why the process adapter cannot work. What goes wrong with a single realm is a
/// [`LaunchError`](crate::LaunchError) instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// A kernel object of the adapter cannot be made.
    #[error("cannot make the {what} of the process adapter")]
    Make {
        /// The kernel object.
        what: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The directory of adoption records is missing, or is not a directory.
    #[error("cannot use the directory of adoption records {}", path.display())]
    Records {
        /// The path of the directory.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// Why an adoption record cannot be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file cannot be read.
    #[error("cannot read the adoption record {}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is not a whole record: it was cut short, changed, or is something else.
    #[error("the adoption record {} is damaged: {what}", path.display())]
    Damaged {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the record.
        what: &'static str,
    },
}

/// Why no run gets a control group of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// There is no hierarchy of version 2.
    #[error("no cgroup v2 is mounted")]
    NotMounted,
    /// systemd manages the control group of heartbeatd.
    #[error("{} belongs to systemd, which has not delegated it to heartbeatd (Delegate=yes)", root.display())]
    NotDelegated {
        /// The control group of heartbeatd.
        root: PathBuf,
    },
    /// The directory for the control groups of runs cannot be made.
    #[error("cannot make {}: {source}", path.display())]
    Make {
        /// The path of the directory.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// Why a program cannot be started as another user: there is no such user or group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// The user is not known on this host.
    #[error("there is no user {name}")]
    NoUser {
        /// The name that was looked up.
        name: String,
    },
    /// The group is not known on this host.
    #[error("there is no group {name}")]
    NoGroup {
        /// The name that was looked up.
        name: String,
    },
    /// More groups than the kernel takes.
    #[error("{count} groups are more than the kernel takes")]
    TooManyGroups {
        /// The number of groups that the caller named.
        count: usize,
    },
    /// The user database cannot be read.
    #[error("cannot look {name} up in the user database")]
    Read {
        /// The name that was looked up.
        name: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
}
