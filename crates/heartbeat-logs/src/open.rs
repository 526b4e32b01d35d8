//! The launcher's side of a log.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::Owner;
use crate::aside::beside;
use crate::index::{LogIndex, id};

/// Opens the log for appending, and gives it to the user of the program. `run` is the generation of a realm that begins
/// here; a command belongs to the current one. Makes a directory again that another process has removed. The
/// [`LogKeeper`](crate::LogKeeper) alone bounds the size of the log.
///
/// # Errors
/// The log cannot be opened: its output belongs into [`memory`](crate::memory).
pub fn open(path: &Path, owner: Option<Owner>, run: Option<u64>) -> io::Result<File> {
    match open_in_place(path, owner, run) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_directory(path)?;
            open_in_place(path, owner, run)
        }
        done => done,
    }
}

fn open_in_place(path: &Path, owner: Option<Owner>, run: Option<u64>) -> io::Result<File> {
    let Some(run) = run else { return append(path, owner) };
    // Without an index heartbeatd knows no generations, which is no reason not to start.
    let index = LogIndex::lock(path);
    let log = append(path, owner)?;
    if let Ok(mut index) = index {
        let meta = log.metadata()?;
        index.begin(run, meta.len());
        index.give(run, id(&meta));
        // On a full disk the index misses the generation.
        let _ = index.write();
    }
    Ok(log)
}

/// Makes the directory of a log, which is closed to other users.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Opens the file of a log for appending, and gives it to its user. Never writes through a link, whose target another
/// process may have chosen. Sets a link at the log's path aside as `.replaced`, and begins a fresh file.
pub(crate) fn append(path: &Path, owner: Option<Owner>) -> io::Result<File> {
    match append_to_own(path, owner) {
        Err(error) if is_link(&error) => {
            std::fs::rename(path, replaced(path))?;
            append_to_own(path, owner)
        }
        done => done,
    }
}

/// Where `append` sets a link aside that lay at the path of a log.
pub(crate) fn replaced(path: &Path) -> PathBuf {
    beside(path, ".replaced")
}

/// Whether the path is a symbolic link, or one of several names of its file.
fn is_link(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ELOOP | libc::EMLINK))
}

/// # Errors
/// ELOOP: a symbolic link; EMLINK: the file has other names; EINVAL: no file.
fn append_to_own(path: &Path, owner: Option<Owner>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Opening a FIFO must not wait for its other end.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let log = options.append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let meta = log.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    if meta.nlink() > 1 {
        return Err(io::Error::from_raw_os_error(libc::EMLINK));
    }
    if let Some(Owner { uid, gid }) = owner
        && (meta.uid(), meta.gid()) != (uid, gid)
    {
        fchown(&log, Some(uid), Some(gid))?;
    }
    rustix::fs::fcntl_setfl(&log, rustix::fs::OFlags::APPEND)?;
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_of_another_user_changes_its_owner() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("db.log");
        for owner in [Owner { uid: 65_534, gid: 65_534 }, Owner { uid: 0, gid: 0 }] {
            let meta = append(&log, Some(owner)).unwrap().metadata().unwrap();
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (owner.uid, owner.gid, 0o600));
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_and_a_fresh_file_is_begun() {
        let dir = tempfile::tempdir().unwrap();
        let (log, other) = (dir.path().join("db.log"), dir.path().join("theirs"));
        let own = Owner { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() };
        for owner in [None, Some(own)] {
            for hard in [false, true] {
                std::fs::write(&other, "theirs\n").unwrap();
                let link = if hard { std::fs::hard_link } else { std::os::unix::fs::symlink };
                link(&other, &log).unwrap();
                append(&log, owner).unwrap().write_all(b"ours\n").unwrap();
                let text = |path: &Path| std::fs::read_to_string(path).unwrap();
                assert_eq!((text(&log).as_str(), text(&other).as_str()), ("ours\n", "theirs\n"));
                assert_eq!(text(&replaced(&log)), "theirs\n", "nothing is lost");
                std::fs::remove_file(&log).unwrap();
            }
        }
    }
}
