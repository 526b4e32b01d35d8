//! Small files that are whole or not there: framed, checksummed, replaced by rename.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use heartbeat_status::{frame, unframe};
use nix::fcntl::OFlag;

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read at all.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The content is not what heartbeatd wrote.
    #[error("{path} is damaged ({what}); it has been set aside as {path}.damaged", path = path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// A disk that is full, read-only or failing: heartbeatd tries again later, and nothing waits for it.
pub(crate) fn is_of_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let failing = error.raw_os_error() == Some(nix::libc::EIO);
    failing || matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut other = path.as_os_str().to_owned();
    other.push(ending);
    PathBuf::from(other)
}

/// The steps of a write, each of which a disk may refuse.
pub(crate) trait Disk {
    /// Removes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    /// Makes a new file, and follows no link of that name.
    fn create(&mut self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }

    /// Writes all of it.
    fn fill(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    /// Syncs a file or directory to the disk.
    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Gives a file its name.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }
}

/// The disk of this machine.
#[derive(Debug)]
pub(crate) struct LocalDisk;

impl Disk for LocalDisk {}

/// Writes `body` under `magic` in place of the old file. `durable`: the file survives a power cut once this returns.
pub(crate) fn write(path: &Path, magic: &str, body: &str, durable: bool) -> io::Result<()> {
    write_on(&mut LocalDisk, path, magic, body, durable)
}

/// As [`write`], on `disk`.
pub(crate) fn write_on(
    disk: &mut impl Disk,
    path: &Path,
    magic: &str,
    body: &str,
    durable: bool,
) -> io::Result<()> {
    let fresh = beside(path, ".new");
    match disk.remove(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // A new file, and nothing that a link of the same name leads to.
    let mut file = disk.create(&fresh)?;
    let written = disk.fill(&mut file, frame(magic, body).as_bytes());
    let written = if durable { written.and_then(|()| disk.sync(&file)) } else { written };
    drop(file);
    if let Err(error) = written {
        // On a full disk this leaves part of a file, which the next heartbeatd would take for damage.
        let _ = disk.remove(&fresh);
        return Err(error);
    }
    if !durable {
        // With a rename over the old file, ext4 would write the new one to the disk at once. A reader in between finds
        // the new file beside.
        match disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    disk.rename(&fresh, path)?;
    if let (true, Some(dir)) = (durable, path.parent()) {
        disk.sync(&File::open(dir)?)?;
    }
    Ok(())
}

/// Puts a file and its name on disk, in a thread of its own, so that no start waits for a slow disk. Without that the
/// system does it within half a minute.
pub(crate) fn sync_later(path: PathBuf) {
    let sync = move || {
        for path in [Some(path.as_path()), path.parent()].into_iter().flatten() {
            let _ = File::open(path).and_then(|file| file.sync_all());
        }
    };
    let _ = std::thread::Builder::new().name("hb-sync".to_owned()).spawn(sync);
}

/// The content under `magic`; `None` when there is no such file. A damaged file is set aside.
pub(crate) fn read(path: &Path, magic: &str) -> Result<Option<String>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    if std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
        // A directory, a pipe, or a link: heartbeatd never wrote that, and it is in the way of the next write.
        return Err(damaged(path, "it is no regular file"));
    }
    if let Some(bytes) = bytes_of(path).map_err(failed)? {
        return match unframe(magic, &bytes) {
            Ok(body) => Ok(Some(body.to_owned())),
            Err(what) => Err(damaged(path, what)),
        };
    }
    // The writer has died between removing the old file and renaming the new one.
    let fresh = beside(path, ".new");
    let Some(bytes) = bytes_of(&fresh).map_err(|source| FileError::Read { path: fresh.clone(), source })?
    else {
        return Ok(None);
    };
    match unframe(magic, &bytes) {
        Ok(body) => {
            // At once: the next writer begins with that name anew. On a read-only disk there is none.
            match std::fs::rename(&fresh, path) {
                Err(error) if !is_of_disk(&error) => Err(failed(error)),
                Ok(()) | Err(_) => Ok(Some(body.to_owned())),
            }
        }
        Err(what) => Err(damaged(&fresh, what)),
    }
}

/// The bytes of a file of heartbeatd; `None` when there is none. It reads nothing through a link, and no file of
/// another user.
pub(crate) fn bytes_of(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (meta, own) = (file.metadata()?, nix::unistd::geteuid().as_raw());
    if !meta.is_file() || (meta.uid() != own && meta.uid() != 0) {
        let why = format!("it is not a file that heartbeatd has written (it belongs to uid {})", meta.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Why a file that is only looked at is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    /// It cannot be read.
    #[error("{0}")]
    Read(io::Error),
    /// The content is not what heartbeatd wrote.
    #[error("{0}")]
    Damaged(&'static str),
}

/// The content under `magic`; it sets nothing aside.
pub(crate) fn look(path: &Path, magic: &str) -> Result<Option<String>, LookError> {
    let Some(bytes) = bytes_of(path).map_err(LookError::Read)? else { return Ok(None) };
    unframe(magic, &bytes).map(|body| Some(body.to_owned())).map_err(LookError::Damaged)
}

/// Sets a damaged file aside.
pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> FileError {
    let aside = beside(path, ".damaged");
    if path.is_dir() || aside.is_dir() {
        // A directory cannot replace a file, and a file cannot replace a directory.
        let _ = std::fs::rename(&aside, beside(path, ".damaged.before"));
    }
    // If this fails, the next start finds the damage again.
    let _ = std::fs::rename(path, aside);
    FileError::Damaged { path: path.to_owned(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_dies_anywhere_loses_nothing_and_neither_does_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ecosystem.now");
        let fresh = dir.path().join("ecosystem.now.new");
        write(&path, "test/1", "first", false).unwrap();
        // The old file is removed, and the new one does not have its name yet.
        std::fs::rename(&path, &fresh).unwrap();
        assert_eq!(read(&path, "test/1").unwrap().as_deref(), Some("first"));
        // The next writer dies in the middle of its file.
        std::fs::write(&fresh, "test/1 6 0123").unwrap();
        assert_eq!(read(&path, "test/1").unwrap().as_deref(), Some("first"));
        write(&path, "test/1", "second", false).unwrap();
        assert_eq!(read(&path, "test/1").unwrap().as_deref(), Some("second"));
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("intent"), dir.path().join("victim"));
        write(&victim, "test/1", "theirs", true).unwrap();
        let before = std::fs::read(&victim).unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("intent.new")).unwrap();
        write(&path, "test/1", "ours", true).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), before, "not written through a link");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(look(&path, "test/1").is_err());
        assert!(matches!(read(&path, "test/1"), Err(FileError::Damaged { .. })), "not read through a link");
        assert!(dir.path().join("intent.damaged").is_symlink());
    }

    #[test]
    fn what_was_written_comes_back_and_anything_else_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("intent");
        assert!(read(&path, "test/1").unwrap().is_none());
        write(&path, "test/1", "{\"a\":1}", true).unwrap();
        assert_eq!(read(&path, "test/1").unwrap().as_deref(), Some("{\"a\":1}"));
        std::fs::rename(&path, dir.path().join("intent.new")).unwrap();
        assert!(read(&path, "test/1").unwrap().is_some(), "about to take the name");
        assert!(path.exists() && !dir.path().join("intent.new").exists(), "it has taken the name");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(dir.path().join("intent.new"), "test/1 2 00").unwrap();
        let damaged = read(&path, "test/1").unwrap_err();
        assert!(damaged.to_string().contains("intent.new.damaged"), "{damaged}");
        write(&path, "test/1", "{\"a\":1}", false).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(read(&path, "test/1"), Err(FileError::Damaged { .. })), "cut at {cut}");
            assert!(!path.exists() && dir.path().join("intent.damaged").exists());
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            assert!(read(&path, "test/1").is_err(), "byte {at}");
        }
    }
}
