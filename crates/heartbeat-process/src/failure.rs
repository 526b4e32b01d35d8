//! The child's report of a step that failed before the child became its program.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::notice::Step;

/// A step that failed in the child.
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: i32,
    /// What the step failed at, where that is not the program.
    pub(crate) path: Option<PathBuf>,
}

pub(crate) fn failed(step: Step) -> impl Fn(Errno) -> Failure {
    move |errno| Failure { step, errno: errno as i32, path: None }
}

pub(crate) fn failed_io(step: Step) -> impl Fn(io::Error) -> Failure {
    move |error| Failure { step, errno: error.raw_os_error().unwrap_or(0), path: None }
}
