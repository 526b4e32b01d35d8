//! The launcher's side of a log.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use super::ledger::Ledger;
use crate::User;

/// Opens the log for appending; it belongs to whom the program runs as. `run` is the generation of a realm that begins
/// here; a command belongs to the one that is there. A directory that somebody has removed is made again. How much is in the
/// log is the business of the [`LogKeeper`](super::LogKeeper) alone.
pub(crate) fn open(path: &Path, user: Option<&User>, run: Option<u64>) -> io::Result<File> {
    match open_in_place(path, user, run) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_directory(path)?;
            open_in_place(path, user, run)
        }
        done => done,
    }
}

fn open_in_place(path: &Path, user: Option<&User>, run: Option<u64>) -> io::Result<File> {
    let Some(run) = run else { return append(path, user) };
    // Without a ledger nothing is known of generations, which is no reason not to start.
    let ledger = Ledger::lock(path);
    let log = append(path, user)?;
    if let Ok(mut ledger) = ledger {
        ledger.begin(run, log.metadata()?.len());
        // On a full disk the generation is not remembered.
        let _ = ledger.write();
    }
    Ok(log)
}

/// Makes the directory of a log, which nobody else may look into.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// What is opened for another user is given to it: somebody who may write to the directory must not make us give away the
/// file behind a link.
pub(super) fn append(path: &Path, user: Option<&User>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Opening a FIFO must not wait for somebody.
    let no_link = if user.is_some() { libc::O_NOFOLLOW } else { 0 };
    options.append(true).create(true).mode(0o600).custom_flags(no_link | libc::O_NONBLOCK);
    let log = options.open(path)?;
    let meta = log.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    if let Some(user) = user
        && (meta.uid(), meta.gid()) != (user.uid, user.gid)
    {
        if meta.nlink() > 1 {
            return Err(io::Error::from_raw_os_error(libc::EMLINK));
        }
        fchown(&log, Some(user.uid), Some(user.gid))?;
    }
    rustix::fs::fcntl_setfl(&log, rustix::fs::OFlags::APPEND)?;
    Ok(log)
}
