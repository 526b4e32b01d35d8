//! The FIFO through which a realm reports with one line that it is ready.
//!
//! The launcher opens it for reading and writing, and so does the reaper: neither end ever sees the other one close. A
//! line stays in the FIFO until the reaper reads it, also while no heartbeatd runs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use heartbeat_status::RealmName;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

/// The longest line. Longer text without a newline is noise.
const MAX_LINE_BYTES: usize = 4_096;
/// How much of what comes after the line the reaper discards at a time.
const MAX_DRAIN_BYTES: usize = 64 * 1024;

/// What the FIFO says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// No line yet.
    Nothing,
    /// A whole line: the realm is ready.
    Whole,
    /// Something other than a line.
    Noise,
}

#[derive(Debug)]
pub(crate) struct ReadyFifo {
    path: PathBuf,
    file: File,
    seen_bytes: usize,
    /// The reaper ignores everything that comes now.
    pub(crate) done: bool,
}

impl ReadyFifo {
    /// Makes a fresh FIFO, without what an earlier run has left in it.
    pub(crate) fn make(dir: &Path, realm: &RealmName) -> io::Result<Self> {
        let path = dir.join(realm.as_str());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Self::open(dir, realm)
    }

    /// A pipe in place of a FIFO, which takes no disk. The launcher opens it through /proc; a later heartbeatd cannot.
    pub(crate) fn in_kernel() -> io::Result<Self> {
        let (pipe, _) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let fd_of = |process: &str, fd: RawFd| PathBuf::from(format!("/proc/{process}/fd/{fd}"));
        let mut fifo = Self::open_at(fd_of("self", pipe.as_raw_fd()))?;
        fifo.path = fd_of(&std::process::id().to_string(), fifo.file.as_raw_fd());
        Ok(fifo)
    }

    /// Opens the existing FIFO.
    pub(crate) fn open(dir: &Path, realm: &RealmName) -> io::Result<Self> {
        Self::open_at(dir.join(realm.as_str()))
    }

    fn open_at(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path)?;
        if !file.metadata()?.file_type().is_fifo() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self { path, file, seen_bytes: 0, done: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Reads on, without waiting.
    pub(crate) fn hear(&mut self) -> Line {
        let mut bytes = [0; MAX_LINE_BYTES];
        while !self.done {
            let room = MAX_LINE_BYTES.saturating_sub(self.seen_bytes);
            let line = match self.file.read(&mut bytes[..room]) {
                Ok(count) if bytes[..count].contains(&b'\n') => Line::Whole,
                // The longest line, and no newline.
                Ok(0) => Line::Noise,
                Ok(count) => {
                    self.seen_bytes += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Line::Nothing,
            };
            self.done = true;
            return line;
        }
        Line::Nothing
    }

    /// Discards what came after the line, so that a realm that goes on writing does not block.
    pub(crate) fn drain(&mut self) {
        if self.done {
            let mut bytes = vec![0; MAX_DRAIN_BYTES];
            let _ = self.file.read(&mut bytes);
        }
    }

    /// Removes the FIFO, unless another one lies at its path by now.
    pub(crate) fn remove(self) {
        let id = |meta: &std::fs::Metadata| (meta.dev(), meta.ino());
        let (ours, there) = (self.file.metadata(), std::fs::symlink_metadata(&self.path));
        if let (Ok(ours), Ok(there)) = (ours, there)
            && id(&ours) == id(&there)
        {
            // Another process may have removed it, which is fine.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_line_is_readiness_and_endless_bytes_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let name = RealmName::new("db").unwrap();
        let mut fifo = ReadyFifo::make(dir.path(), &name).unwrap();
        let mut realm = OpenOptions::new().read(true).write(true).open(fifo.path()).unwrap();
        assert_eq!(fifo.hear(), Line::Nothing);
        realm.write_all(b"rea").unwrap();
        assert_eq!(fifo.hear(), Line::Nothing);
        // Another reader goes on where the first one stopped.
        drop(fifo);
        realm.write_all(b"dy\n").unwrap();
        let mut fifo = ReadyFifo::open(dir.path(), &name).unwrap();
        assert_eq!((fifo.hear(), fifo.hear()), (Line::Whole, Line::Nothing));
        realm.write_all(&[b'x'; 60_000]).unwrap();
        fifo.drain();
        realm.write_all(&[b'x'; 60_000]).unwrap();
        fifo.remove();
        assert!(!dir.path().join("db").exists());
        let mut fifo = ReadyFifo::make(dir.path(), &name).unwrap();
        let mut realm = OpenOptions::new().read(true).write(true).open(fifo.path()).unwrap();
        realm.write_all(&[b'x'; MAX_LINE_BYTES]).unwrap();
        assert_eq!(fifo.hear(), Line::Noise);
        realm.write_all(b"\n").unwrap();
        assert_eq!(fifo.hear(), Line::Nothing);
    }

    #[test]
    fn without_a_disk_a_pipe_does() {
        let mut fifo = ReadyFifo::in_kernel().unwrap();
        let mut realm = OpenOptions::new().read(true).write(true).open(fifo.path()).unwrap();
        assert_eq!(fifo.hear(), Line::Nothing, "and it waits for nothing");
        realm.write_all(b"ready\n").unwrap();
        assert_eq!(fifo.hear(), Line::Whole);
        fifo.remove();
        realm.write_all(b"more\n").unwrap();
    }
}
