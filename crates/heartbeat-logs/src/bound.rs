//! Holds a log down to its size while a program writes to it.
//!
//! heartbeatd copies the oldest piece to a file of its own, and then takes it out of the live file with
//! `fallocate(FALLOC_FL_COLLAPSE_RANGE)`: the kernel does that between two writes, so a program that appends loses
//! nothing. Where the file system cannot (tmpfs, btrfs, overlays on them), heartbeatd copies everything and truncates
//! the file. Bytes written in between are lost, and heartbeatd counts that they may have been. When the disk is full,
//! it drops and counts what it cannot copy, the oldest first: the bound holds all the same.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::aside;
use crate::index::{LogIndex, Lost};

/// Before heartbeatd truncates a log, it copies what has come meanwhile, at most so often. A program that writes faster
/// than that loses the rest.
const MAX_CATCH_UPS: u32 = 8;

/// A log and its bounds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeptLog {
    /// The path of the file.
    pub path: PathBuf,
    /// heartbeatd holds the file down to this many bytes.
    pub max_bytes: u64,
    /// How many files of that size stay set aside.
    pub keep: u32,
}

/// What one call of `hold` has done.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Bytes were taken out of the live file.
    pub(crate) moved: bool,
    /// What was lost in doing so.
    pub(crate) lost: Lost,
    /// Why bytes were dropped.
    pub(crate) why: Option<io::Error>,
}

impl KeptLog {
    /// Sets the oldest pieces aside until the live file is within its bound.
    ///
    /// # Errors
    /// The log cannot be opened or shortened: it is not bounded.
    pub(crate) fn hold(&self) -> io::Result<Held> {
        let live = open_live(&self.path)?;
        let meta = live.metadata()?;
        let piece = self.piece_bytes(meta.blksize());
        let mut work = Work { log: self, live, piece, freed: 0, held: Held::default() };
        let pieces = (meta.len().div_ceil(piece)).saturating_sub(1);
        if pieces == 0 {
            return Ok(work.held);
        }
        let surplus = pieces.saturating_sub(u64::from(self.keep));
        if surplus > 0 && !work.skip(surplus * piece)? {
            return Ok(work.held);
        }
        // If the program writes faster than heartbeatd copies, the next look goes on.
        for _ in 0..self.keep {
            if work.live.metadata()?.len() <= piece || !work.set_piece_aside()? {
                break;
            }
        }
        Ok(work.held)
    }

    /// How many bytes go to one file: whole blocks, as the file system wants it.
    fn piece_bytes(&self, block_bytes: u64) -> u64 {
        let block = block_bytes.max(1);
        (self.max_bytes / block * block).max(block)
    }
}

struct Work<'a> {
    log: &'a KeptLog,
    live: File,
    piece: u64,
    /// Bytes that heartbeatd removed before their time, and has not counted yet.
    freed: u64,
    held: Held,
}

impl Work<'_> {
    /// Takes the lock; `None` when another file has the name meanwhile.
    fn lock(&self) -> io::Result<Option<LogIndex>> {
        let index = LogIndex::lock(&self.log.path)?;
        let (ours, named) = (self.live.metadata()?, std::fs::symlink_metadata(&self.log.path)?);
        Ok(((ours.dev(), ours.ino()) == (named.dev(), named.ino())).then_some(index))
    }

    /// Takes out what is older than everything that is kept, and removes what was set aside before. False: nothing is
    /// left to do.
    fn skip(&mut self, bytes: u64) -> io::Result<bool> {
        let Some(mut index) = self.lock()? else { return Ok(false) };
        if !self.collapse(bytes) {
            self.truncate(index, bytes)?;
            return Ok(false);
        }
        aside::clear(&self.log.path);
        index.moved += bytes;
        self.note(index);
        Ok(true)
    }

    /// Sets the oldest piece aside. False: nothing is left to do.
    fn set_piece_aside(&mut self) -> io::Result<bool> {
        let copied = self.copy_somehow(0, self.piece);
        let index = self.lock()?;
        // Another file has the name, or another process has cut this one.
        let still = self.live.metadata()?.len() > self.piece;
        let Some(mut index) = index.filter(|_| still) else {
            let _ = std::fs::remove_file(self.fresh());
            return Ok(false);
        };
        if let Err(error) = copied {
            if !is_no_room(&error) {
                return Err(error);
            }
            self.held.why = Some(error);
            if !self.collapse(self.piece) {
                self.drop_rest(index, 0)?;
                return Ok(false);
            }
            index.drop_head(self.piece);
            self.note(index);
            return Ok(true);
        }
        // In this order, a heartbeatd that dies in between leaves the piece twice, and never loses it.
        self.name_fresh()?;
        index.pending_bytes = self.piece;
        // On a full disk the index misses this: if heartbeatd dies now, positions are those of before.
        let _ = index.write();
        let collapsed = self.collapse(self.piece);
        index.pending_bytes = 0;
        if !collapsed {
            self.truncate_after_copying(index, self.piece)?;
            return Ok(false);
        }
        index.moved += self.piece;
        self.note(index);
        Ok(true)
    }

    /// Takes the first bytes out of the live file. False: the file system cannot do that.
    fn collapse(&mut self, bytes: u64) -> bool {
        let collapse = || rustix::fs::fallocate(&self.live, FallocateFlags::COLLAPSE_RANGE, 0, bytes);
        let done = rustix::io::retry_on_intr(collapse).is_ok();
        self.held.moved |= done;
        done
    }

    fn fresh(&self) -> PathBuf {
        aside::beside(&self.log.path, ".new")
    }

    fn name_fresh(&self) -> io::Result<()> {
        aside::shift(&self.log.path, self.log.keep);
        std::fs::rename(self.fresh(), aside::numbered(&self.log.path, 1))
    }

    /// Copies a part of the live file. When the disk is full, removes the oldest files to make room.
    fn copy_somehow(&mut self, from: u64, bytes: u64) -> io::Result<File> {
        loop {
            let error = match self.copy(from, bytes) {
                Ok(file) => return Ok(file),
                Err(error) => error,
            };
            if !is_no_room(&error) {
                return Err(error);
            }
            let Some((number, size)) = aside::drop_oldest(&self.log.path) else { return Err(error) };
            // The last file would have gone anyway.
            if number < self.log.keep {
                self.freed += size;
                self.held.why = Some(error);
            }
        }
    }

    /// Copies a part of the live file to a file of its own that belongs to the same user.
    fn copy(&self, from: u64, bytes: u64) -> io::Result<File> {
        let fresh = self.fresh();
        let _ = std::fs::remove_file(&fresh);
        let made = make(&fresh, &self.live).and_then(|mut file| {
            let copied = copy(&self.live, from, bytes, &mut file)?;
            if copied == bytes { Ok(file) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        });
        made.inspect_err(|_| {
            let _ = std::fs::remove_file(&fresh);
        })
    }

    /// For a file system that cannot take out a part: copies everything from `from` on, one piece per file, and
    /// truncates the live file. Does not keep what is before `from`.
    fn truncate(&mut self, index: LogIndex, from: u64) -> io::Result<()> {
        aside::clear(&self.log.path);
        let mut index = index;
        index.moved += from;
        self.copy_pieces(index, from)
    }

    /// The same, when the first piece has been set aside already.
    fn truncate_after_copying(&mut self, index: LogIndex, from: u64) -> io::Result<()> {
        let mut index = index;
        index.moved += from;
        let size = self.live.metadata()?.len();
        if size < from + self.piece {
            // The few bytes that have come since go to the same file.
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(libc::O_NOFOLLOW);
            let mut file = options.open(aside::numbered(&self.log.path, 1))?;
            file.seek(SeekFrom::End(0))?;
            return self.finish(index, from, &mut file);
        }
        self.copy_pieces(index, from)
    }

    fn copy_pieces(&mut self, mut index: LogIndex, mut from: u64) -> io::Result<()> {
        if self.log.keep == 0 {
            let size = self.live.metadata()?.len();
            index.moved += size.saturating_sub(from);
            return self.empty(index, size);
        }
        for number in 1.. {
            let size = self.live.metadata()?.len();
            // The last file takes the rest, so that no file is set aside for a few bytes.
            let whole = size < from + 2 * self.piece || number == self.log.keep;
            let bytes = if whole { size.saturating_sub(from) } else { self.piece };
            let mut file = match self.copy_somehow(from, bytes) {
                Ok(file) => file,
                Err(error) if is_no_room(&error) => {
                    self.held.why = Some(error);
                    return self.drop_rest(index, from);
                }
                Err(error) => return Err(error),
            };
            self.name_fresh()?;
            from += bytes;
            index.moved += bytes;
            if whole {
                return self.finish(index, from, &mut file);
            }
        }
        Ok(())
    }

    /// Copies what has come meanwhile, truncates, and counts what may be lost.
    fn finish(&mut self, mut index: LogIndex, mut from: u64, file: &mut File) -> io::Result<()> {
        for _ in 0..MAX_CATCH_UPS {
            let (come, had) = (self.live.metadata()?.len().saturating_sub(from), file.metadata()?.len());
            let copied = copy(&self.live, from, come, file);
            // On a full disk the copy may still have written a part.
            let there = file.metadata()?.len().saturating_sub(had);
            from += there;
            index.moved += there;
            if there == 0 || copied.is_err() {
                break;
            }
        }
        self.empty(index, from)
    }

    /// Truncates the live file, of which the first `kept` bytes are accounted for.
    fn empty(&mut self, mut index: LogIndex, kept: u64) -> io::Result<()> {
        let size = self.live.metadata()?.len();
        self.live.set_len(0)?;
        let cut = size.saturating_sub(kept);
        index.lost.truncations += 1;
        index.lost.cut_bytes += cut;
        index.end_at(index.moved);
        self.held.moved = true;
        self.note(index);
        Ok(())
    }

    /// Drops everything from `from` on: heartbeatd can neither copy it nor take it out.
    fn drop_rest(&mut self, mut index: LogIndex, from: u64) -> io::Result<()> {
        let size = self.live.metadata()?.len();
        let dropped = size.saturating_sub(from);
        index.lost.dropped_bytes += dropped;
        self.empty(index, size)
    }

    /// Counts what was lost since the lock was taken. On a full disk the index may be lost with it.
    fn note(&mut self, mut index: LogIndex) {
        index.lost.dropped_bytes += std::mem::take(&mut self.freed);
        let on_top = index.lost.since(index.lost_before);
        self.held.lost.truncations += on_top.truncations;
        self.held.lost.cut_bytes += on_top.cut_bytes;
        self.held.lost.dropped_bytes += on_top.dropped_bytes;
        self.held.lost.emptied += on_top.emptied;
        let _ = index.write();
    }
}

/// Whether a write has found no room, and would find none at the next try either.
fn is_no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge | ReadOnlyFilesystem)
        || error.raw_os_error() == Some(libc::EIO)
}

/// Opens the live file for changes: an ordinary file with no other name.
fn open_live(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Opening a FIFO must not wait for its other end.
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let live = options.open(path)?;
    let meta = live.metadata()?;
    match (meta.is_file(), meta.nlink()) {
        (true, 0 | 1) => Ok(live),
        (true, _) => Err(io::Error::from_raw_os_error(libc::EMLINK)),
        (false, _) => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file")),
    }
}

fn make(path: &Path, like: &File) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let (ours, wanted) = (file.metadata()?, like.metadata()?);
    if (ours.uid(), ours.gid()) != (wanted.uid(), wanted.gid()) {
        fchown(&file, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    Ok(file)
}

/// Appends at most `bytes` bytes from `from` on; returns how many there were.
fn copy(live: &File, from: u64, bytes: u64, to: &mut File) -> io::Result<u64> {
    let mut live = live;
    live.seek(SeekFrom::Start(from))?;
    io::copy(&mut live.take(bytes), to)
}

#[cfg(test)]
#[path = "bound/tests.rs"]
mod tests;
