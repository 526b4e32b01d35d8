//! One heartbeatd per state directory: a lock that the kernel drops with its holder, and the holder's pid inside.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use rustix::time::Timespec;

use crate::error::DaemonError;

/// Longest text read from a lock file.
const MAX_HOLDER_BYTES: u64 = 64;

/// A lock whose holder is ending is tried again after this, and this many times: 2 s.
const RETRY_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
const MAX_RETRIES: u32 = 200;

/// Held for as long as it lives. Realms do not inherit it: every descriptor of ours is close-on-exec.
#[derive(Debug)]
pub(crate) struct StateLock {
    file: Flock<File>,
    dir: PathBuf,
    name: &'static str,
}

impl StateLock {
    /// Continues with a lock of the program before under this pid.
    pub(crate) fn inherit(descriptor: OwnedFd, dir: &Path, name: &'static str) -> Result<Self, DaemonError> {
        match Flock::lock(File::from(descriptor), FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { file, dir: dir.to_owned(), name }),
            Err((_, errno)) => Err(DaemonError::Prepare {
                what: "lock that was handed over",
                path: dir.to_owned(),
                source: errno.into(),
            }),
        }
    }

    /// The name of its file.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The same lock for the heartbeatd that follows under this pid.
    pub(crate) fn share(&self) -> std::io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Takes the lock again when its file has disappeared, which would let a second heartbeatd in.
    ///
    /// # Errors
    /// As [`StateLock::take`]; the lock on the file that has gone is kept then.
    pub(crate) fn restore(&mut self) -> Result<(), DaemonError> {
        let identity =
            |meta: std::io::Result<std::fs::Metadata>| meta.map(|meta| (meta.dev(), meta.ino())).ok();
        let held = identity(self.file.metadata());
        if !self.dir.is_dir() {
            // The lock comes back with the directory, which the caretaker restores.
            return Ok(());
        }
        if held.is_some() && identity(std::fs::symlink_metadata(self.dir.join(self.name))) == held {
            return Ok(());
        }
        *self = Self::take(&self.dir, self.name)?;
        tracing::warn!(path = %self.dir.join(self.name).display(), "the lock was gone and is taken again");
        Ok(())
    }

    /// Takes the lock of a directory, which is the file `name` in it.
    ///
    /// # Errors
    /// [`DaemonError::Held`] names the holder; [`DaemonError::Prepare`] when the file cannot be used at all.
    pub(crate) fn take(state_dir: &Path, name: &'static str) -> Result<Self, DaemonError> {
        let path = state_dir.join(name);
        let prepare = |source| DaemonError::Prepare { what: "lock file", path: path.clone(), source };
        let mut options = OpenOptions::new();
        let file = options
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(prepare)?;
        let mut locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        for _ in 0..MAX_RETRIES {
            let Err((mut file, Errno::EWOULDBLOCK)) = locked else { break };
            // A heartbeatd that was killed a moment ago holds the lock until the kernel is done with it.
            let holder = holder(&mut file);
            if holder.is_some_and(|pid| !heartbeat_process::is_ending(pid)) {
                return Err(DaemonError::Held { state_dir: state_dir.to_owned(), holder });
            }
            let _ = rustix::event::poll(&mut [], Some(&RETRY_AFTER));
            locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        }
        match locked {
            Ok(mut file) => {
                file.set_len(0).map_err(prepare)?;
                file.rewind().map_err(prepare)?;
                writeln!(file, "{}", std::process::id()).map_err(prepare)?;
                Ok(Self { file, dir: state_dir.to_owned(), name })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                Err(DaemonError::Held { state_dir: state_dir.to_owned(), holder: holder(&mut file) })
            }
            Err((_, errno)) => Err(prepare(errno.into())),
        }
    }
}

/// The pid in the lock file; `None` when the holder has not written it yet.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    // The pid is a courtesy: without it the refusal stands.
    file.rewind().and_then(|()| file.take(MAX_HOLDER_BYTES).read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_with_the_name_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path(), "lock").unwrap();
        match StateLock::take(dir.path(), "lock") {
            Err(DaemonError::Held { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        StateLock::take(dir.path(), "lock").unwrap();
    }

    #[test]
    fn a_holder_that_is_gone_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path(), "lock").unwrap();
        // As after kill -9: the lock is held a moment longer than its holder lives. No process has that number.
        std::fs::write(dir.path().join("lock"), "4194305\n").unwrap();
        let begun = std::sync::Arc::new(std::sync::Barrier::new(2));
        let second = std::thread::spawn({
            let (dir, begun) = (dir.path().to_owned(), std::sync::Arc::clone(&begun));
            move || {
                begun.wait();
                StateLock::take(&dir, "lock").map(drop)
            }
        });
        begun.wait();
        drop(first);
        second.join().unwrap().unwrap();
        // One that lives is not waited for, and one that never goes is refused in the end.
        let _first = StateLock::take(dir.path(), "lock").unwrap();
        std::fs::write(dir.path().join("lock"), "4194305\n").unwrap();
        match StateLock::take(dir.path(), "lock") {
            Err(DaemonError::Held { holder, .. }) => assert_eq!(holder, Some(4_194_305)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lock_whose_file_is_removed_is_taken_again_and_never_from_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = StateLock::take(dir.path(), "lock").unwrap();
        first.restore().unwrap();
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        first.restore().unwrap();
        assert!(matches!(StateLock::take(dir.path(), "lock"), Err(DaemonError::Held { .. })));
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        let _second = StateLock::take(dir.path(), "lock").unwrap();
        assert!(matches!(first.restore(), Err(DaemonError::Held { .. })));
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("victim"), "theirs").unwrap();
        std::os::unix::fs::symlink(dir.path().join("victim"), dir.path().join("lock")).unwrap();
        assert!(matches!(StateLock::take(dir.path(), "lock"), Err(DaemonError::Prepare { .. })));
        assert_eq!(std::fs::read_to_string(dir.path().join("victim")).unwrap(), "theirs");
    }
}
