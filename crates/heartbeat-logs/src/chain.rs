//! The whole log as one stream of bytes, read by position while a lock keeps its files as they are.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aside::numbered;
use crate::index::{FileId, LogIndex, id};
use crate::writers;

/// How many files that were set aside are read at most.
const MAX_ASIDE_FILES: u32 = 100;

/// Where the bytes of a stretch are.
#[derive(Debug)]
enum Source {
    File(PathBuf),
    /// In an open file, from that offset on.
    Open(Arc<File>, u64),
}

/// One file of the stream.
#[derive(Debug)]
struct Stretch {
    source: Source,
    /// Position of its first byte.
    start: u64,
    size: u64,
}

/// The files of a log, locked against being shortened.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) index: LogIndex,
    /// The live file.
    pub(crate) live: Option<FileId>,
    /// The newest first: output that waits for its place in the live file, the live file, and backwards.
    files: Vec<Stretch>,
    /// A run may have written more, which heartbeatd has not found yet: its file was moved or removed.
    pub(crate) is_incomplete: bool,
    /// The same, and heartbeatd finds it within a few looks.
    is_unsettled: bool,
}

impl Chain {
    /// Opens the log as it is now, and locks it until this is dropped: every change of the log waits.
    ///
    /// # Errors
    /// There is no log (`NotFound`), it is no ordinary file (`InvalidInput`), or it cannot be read.
    pub(crate) fn open(log: &Path) -> io::Result<Self> {
        let mut index = LogIndex::look(log)?;
        let (mut files, mut start) = (Vec::new(), index.moved);
        let live = std::fs::symlink_metadata(log);
        let file = live.as_ref().ok().map(id);
        let is_unsettled = writers::is_unsettled(log, file);
        let waiting = writers::waiting(log, file);
        for waiting in &waiting {
            index.leave(waiting.left_bytes, live.as_ref().map_or(0, std::fs::Metadata::len));
            index.lost.dropped_bytes += waiting.dropped_bytes;
            index.dropped_heads += waiting.dropped_bytes;
            index.lost.removed_bytes += waiting.removed_bytes;
        }
        let is_incomplete = waiting.is_empty() && index.is_elsewhere(file);
        match &live {
            Ok(meta) if !meta.is_file() => return Err(io::ErrorKind::InvalidInput.into()),
            Ok(meta) => files.push(Stretch { source: Source::File(log.to_owned()), start, size: meta.len() }),
            Err(_) => {}
        }
        for number in 1..=MAX_ASIDE_FILES {
            let path = numbered(log, number);
            let Ok(meta) = std::fs::symlink_metadata(&path) else { break };
            let Some(before) = start.checked_sub(meta.len()).filter(|_| meta.is_file()) else { break };
            start = before;
            files.push(Stretch { source: Source::File(path), start, size: meta.len() });
        }
        let mut end = index.moved + live.as_ref().map_or(0, std::fs::Metadata::len);
        for waiting in waiting {
            let source = Source::Open(waiting.source, waiting.from);
            files.insert(0, Stretch { source, start: end, size: waiting.bytes });
            end += waiting.bytes;
        }
        match live {
            Err(error) if files.is_empty() => Err(error),
            _ => Ok(Self { index, live: file, files, is_incomplete, is_unsettled }),
        }
    }

    /// A reader at `position` has to wait until heartbeatd has found where the log goes on.
    pub(crate) fn is_waiting(&self, position: u64) -> bool {
        self.is_unsettled || (self.is_incomplete && position > self.end())
    }

    /// Position of the oldest byte there is.
    pub(crate) fn first(&self) -> u64 {
        self.files.last().map_or(self.index.moved, |file| file.start)
    }

    /// Position behind the newest one.
    pub(crate) fn end(&self) -> u64 {
        self.files.first().map_or(self.index.moved, |file| file.start + file.size)
    }

    /// The bytes from `from` to `to`, as far as they are there.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn read(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for Stretch { source, start, size } in self.files.iter().rev() {
            let (first, last) = (from.max(*start), to.min(start + size));
            if first < last {
                let (at, count) = (first - start, last - first);
                match source {
                    Source::File(path) => fill(&open(path)?, at, count, &mut bytes)?,
                    Source::Open(file, from) => fill(file, from + at, count, &mut bytes)?,
                }
            }
        }
        Ok(bytes)
    }
}

/// Appends `count` bytes of the file from `at` on, or what there is.
pub(crate) fn fill(file: &File, at: u64, count: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let had = bytes.len();
    bytes.resize(had + usize::try_from(count).unwrap_or(0), 0);
    let mut filled = had;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], at + (filled - had) as u64) {
            // Another process has cut it.
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(())
}

pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}
