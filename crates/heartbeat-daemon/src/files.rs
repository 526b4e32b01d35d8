//! Small files that are whole or not there: framed, checksummed, replaced by rename.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use heartbeat_process::{frame, unframe};

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read at all.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{path} is damaged ({what}); it has been set aside as {path}.damaged", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut other = path.as_os_str().to_owned();
    other.push(ending);
    PathBuf::from(other)
}

/// Writes `body` under `magic` in place of what was there. `durable`: it survives the host, too, once this returns.
pub(crate) fn write(path: &Path, magic: &str, body: &str, durable: bool) -> io::Result<()> {
    let fresh = beside(path, ".new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(frame(magic, body).as_bytes())?;
    if durable {
        file.sync_all()?;
    }
    drop(file);
    if !durable {
        // Renamed over the old one, ext4 would begin to write it to the disk at once. Whoever reads in between finds the
        // new one beside.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::rename(&fresh, path)?;
    if let (true, Some(dir)) = (durable, path.parent()) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// What was written under `magic`; `None` when there is no such file. One that is damaged is set aside.
pub(crate) fn read(path: &Path, magic: &str) -> Result<Option<String>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Whole, it is the one that was about to take the name; otherwise it was never finished.
            let beside = std::fs::read(beside(path, ".new")).unwrap_or_default();
            return Ok(unframe(magic, &beside).ok().map(str::to_owned));
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    match unframe(magic, &bytes) {
        Ok(body) => Ok(Some(body.to_owned())),
        Err(what) => Err(damaged(path, what)),
    }
}

/// What was written under `magic`, or what is wrong with it; nothing is set aside.
pub(crate) fn look(path: &Path, magic: &str) -> Result<Option<String>, String> {
    match std::fs::read(path) {
        Ok(bytes) => unframe(magic, &bytes).map(|body| Some(body.to_owned())).map_err(ToOwned::to_owned),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Sets a file aside that is not what was written.
pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> FileError {
    // What cannot be set aside is found damaged again.
    let _ = std::fs::rename(path, beside(path, ".damaged"));
    FileError::Damaged { path: path.to_owned(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_comes_back_and_anything_else_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("intent");
        assert!(read(&path, "test/1").unwrap().is_none());
        write(&path, "test/1", "{\"a\":1}", true).unwrap();
        assert_eq!(read(&path, "test/1").unwrap().as_deref(), Some("{\"a\":1}"));
        std::fs::rename(&path, dir.path().join("intent.new")).unwrap();
        assert!(read(&path, "test/1").unwrap().is_some(), "about to take the name");
        std::fs::write(dir.path().join("intent.new"), "test/1 2 00").unwrap();
        assert!(read(&path, "test/1").unwrap().is_none(), "never finished");
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
