//! The launcher's side of a log.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use super::ledger::Ledger;
use crate::User;

/// Opens the log for appending; it belongs to whom the program runs as. `run` is the generation of a realm that begins
/// here; a command belongs to the one that is there. How much is in it is the business of the
/// [`LogKeeper`](super::LogKeeper) alone.
pub(crate) fn open(path: &Path, user: Option<&User>, run: Option<u64>) -> io::Result<File> {
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

fn append(path: &Path, user: Option<&User>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let Some(user) = user else { return options.open(path) };
    // Whoever may write to the directory must not make us give away the file behind a link.
    let log = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
    let meta = log.metadata()?;
    if (meta.uid(), meta.gid()) != (user.uid, user.gid) && meta.is_file() {
        if meta.nlink() > 1 {
            return Err(io::Error::from_raw_os_error(libc::EMLINK));
        }
        fchown(&log, Some(user.uid), Some(user.gid))?;
    }
    Ok(log)
}
