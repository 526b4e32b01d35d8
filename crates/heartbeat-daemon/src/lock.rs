//! One heartbeatd a state directory: a lock that the kernel drops with its holder, and the holder's pid inside.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::DaemonError;

/// Longest text read from a lock file.
const MAX_HOLDER_BYTES: u64 = 64;

/// Held for as long as it lives. Realms do not inherit it: every descriptor of ours is close-on-exec.
#[derive(Debug)]
pub(crate) struct StateLock {
    file: Flock<File>,
    dir: PathBuf,
    name: &'static str,
}

impl StateLock {
    /// Goes on with a lock that the program before under this pid had taken.
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

    /// The same lock for whoever follows under this pid.
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
            // It comes back with the directory, which others restore.
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
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0).map_err(prepare)?;
                file.rewind().map_err(prepare)?;
                writeln!(file, "{}", std::process::id()).map_err(prepare)?;
                Ok(Self { file, dir: state_dir.to_owned(), name })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                // Who holds it is a courtesy: without it the refusal stands.
                let _ = Read::by_ref(&mut file).take(MAX_HOLDER_BYTES).read_to_string(&mut text);
                Err(DaemonError::Held { state_dir: state_dir.to_owned(), holder: text.trim().parse().ok() })
            }
            Err((_, errno)) => Err(prepare(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_who_is_first() {
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
