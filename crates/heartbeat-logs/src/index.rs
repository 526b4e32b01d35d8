//! What heartbeatd knows of a log besides its bytes, in a file of a fixed size beside it, and the lock of the log.
//!
//! Positions count the bytes that are or were kept, from the first that the log ever had: they stay the same while the
//! bytes move from the live file to those that were set aside.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::aside::{beside, numbered};
use heartbeat_status::{frame, unframe};

/// Generations whose beginning is remembered.
const MAX_GENERATIONS: usize = 16;
/// heartbeatd pads the text to this size, in bytes: writing in place then needs no room that a full disk lacks.
const BODY_BYTES: usize = 2_000;
/// Where positions begin: above zero, for files that were set aside before there was an index.
const FIRST_POSITION: u64 = 1 << 48;
/// How many bytes heartbeatd compares to tell whether one file begins as the other.
const COMPARED_BYTES: usize = 4_096;
const MAGIC: &str = "heartbeat-log 1";

/// Device and inode: they identify a file, whatever its name is.
pub(crate) type FileId = (u64, u64);

pub(crate) fn id(meta: &std::fs::Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

/// What is missing from a log although it should be there, counted since the log exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How often heartbeatd copied and truncated the log, where the file system can do no better. Bytes written in the
    /// very moment of a truncation are gone, and their number is unknown.
    pub truncations: u64,
    /// Bytes known to be among those: heartbeatd had seen them, and had not copied them yet.
    pub cut_bytes: u64,
    /// Bytes that heartbeatd dropped before their time, since the disk had no room, or it could write nothing.
    pub dropped_bytes: u64,
    /// How often another process emptied the log: `> /dev/stderr` in a script of the realm does that.
    pub emptied: u64,
    /// Bytes in files that another process has removed while the realm wrote to them.
    pub removed_bytes: u64,
}

impl Lost {
    /// Nothing is missing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What was lost after `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            truncations: self.truncations.saturating_sub(earlier.truncations),
            cut_bytes: self.cut_bytes.saturating_sub(earlier.cut_bytes),
            dropped_bytes: self.dropped_bytes.saturating_sub(earlier.dropped_bytes),
            emptied: self.emptied.saturating_sub(earlier.emptied),
            removed_bytes: self.removed_bytes.saturating_sub(earlier.removed_bytes),
        }
    }
}

/// How far heartbeatd has copied output that lies outside the files of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copied {
    source: FileId,
    /// Where in `source` the part begins that is not copied.
    from: u64,
    /// Position of the log's end at that time. By as much as the log has grown since, more is copied.
    end: u64,
}

/// An index that is locked as long as it lives.
#[derive(Debug)]
pub(crate) struct LogIndex {
    /// `None`: the index has no file yet, and heartbeatd has moved nothing.
    file: Option<File>,
    /// Position of the first byte of the live file; what was set aside ends there.
    pub(crate) moved: u64,
    pub(crate) lost: Lost,
    /// What was lost already when this lock was taken.
    pub(crate) lost_before: Lost,
    /// Bytes dropped from the beginning of the live file: the positions of all later bytes are lower by this.
    pub(crate) dropped_heads: u64,
    /// The first bytes of the live file, which heartbeatd has set aside and is about to take out. If it dies meanwhile,
    /// a later look finds out whether it took them out.
    pub(crate) pending_bytes: u64,
    /// Generations and where they begin, the oldest first.
    pub(crate) generations: Vec<(u64, u64)>,
    /// The newest generation that was given a file, and that file.
    given: Option<(u64, FileId)>,
    copied: Option<Copied>,
}

impl LogIndex {
    /// Waits until no other process reads or changes the log.
    ///
    /// # Errors
    /// The file cannot be made, opened or locked.
    pub(crate) fn lock(log: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = regular(&mut options, &beside(log, ".ledger"))?;
        file.lock()?;
        Ok(Self::read(Some(file)).settled(log))
    }

    /// Waits until no other process changes the log. The caller cannot write this index.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub(crate) fn look(log: &Path) -> io::Result<Self> {
        match regular(OpenOptions::new().read(true), &beside(log, ".ledger")) {
            Ok(file) => {
                file.lock_shared()?;
                Ok(Self::read(Some(file)).settled(log))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Self::read(None))
            }
            Err(error) => Err(error),
        }
    }

    /// The index as it was written last. Waits for no lock: a log that was moved may lie where others hold locks.
    pub(crate) fn peek(log: &Path) -> Option<Self> {
        let file = regular(OpenOptions::new().read(true), &beside(log, ".ledger")).ok()?;
        Some(Self { file: None, ..Self::read(Some(file)).settled(log) })
    }

    /// A damaged index says nothing: heartbeatd then does not know what it was about.
    fn read(file: Option<File>) -> Self {
        let mut bytes = vec![0; 2 * BODY_BYTES];
        let count = file.as_ref().and_then(|file| file.read_at(&mut bytes, 0).ok()).unwrap_or(0);
        let mut index = Self {
            file,
            moved: FIRST_POSITION,
            lost: Lost::default(),
            lost_before: Lost::default(),
            dropped_heads: 0,
            pending_bytes: 0,
            generations: Vec::new(),
            given: None,
            copied: None,
        };
        for line in unframe(MAGIC, &bytes[..count]).unwrap_or_default().lines() {
            let mut words = line.split_whitespace();
            let what = words.next();
            let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
            match (what, numbers.as_slice()) {
                (Some("moved"), [moved]) => index.moved = *moved,
                (Some("lost"), [truncations, cut, dropped, rest @ ..]) => {
                    index.lost = Lost {
                        truncations: *truncations,
                        cut_bytes: *cut,
                        dropped_bytes: *dropped,
                        emptied: rest.first().copied().unwrap_or(0),
                        removed_bytes: rest.get(1).copied().unwrap_or(0),
                    };
                }
                (Some("heads"), [bytes]) => index.dropped_heads = *bytes,
                (Some("pending"), [bytes]) => index.pending_bytes = *bytes,
                (Some("run"), [run, at]) => index.generations.push((*run, *at)),
                (Some("given"), [run, dev, ino]) => index.given = Some((*run, (*dev, *ino))),
                (Some("copied"), [dev, ino, from, end]) => {
                    index.copied = Some(Copied { source: (*dev, *ino), from: *from, end: *end });
                }
                _ => {}
            }
        }
        index.lost_before = index.lost;
        index
    }

    /// Finds out whether a heartbeatd that died took the pending bytes out: if it did not, the live file still begins
    /// as the newest file that was set aside.
    fn settled(mut self, log: &Path) -> Self {
        let pending = std::mem::take(&mut self.pending_bytes);
        if pending == 0 {
            return self;
        }
        let mut aside = first_bytes(&numbered(log, 1));
        aside.truncate(usize::try_from(pending).unwrap_or(usize::MAX));
        if !first_bytes(log).starts_with(&aside) {
            self.moved += pending;
        }
        self
    }

    /// Writes the index in place.
    ///
    /// # Errors
    /// The index cannot be written, which does not harm the log itself.
    pub(crate) fn write(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let Lost { truncations, cut_bytes, dropped_bytes, emptied, removed_bytes } = self.lost;
        let mut body = format!("moved {}\nheads {}\n", self.moved, self.dropped_heads);
        body.push_str(&format!("lost {truncations} {cut_bytes} {dropped_bytes} {emptied} {removed_bytes}\n"));
        if self.pending_bytes > 0 {
            body.push_str(&format!("pending {}\n", self.pending_bytes));
        }
        for (run, at) in &self.generations {
            body.push_str(&format!("run {run} {at}\n"));
        }
        if let Some((run, (dev, ino))) = self.given {
            body.push_str(&format!("given {run} {dev} {ino}\n"));
        }
        if let Some(Copied { source: (dev, ino), from, end }) = self.copied {
            body.push_str(&format!("copied {dev} {ino} {from} {end}\n"));
        }
        file.write_all_at(frame(MAGIC, &format!("{body:<BODY_BYTES$}")).as_bytes(), 0)
    }

    /// Notes that a generation begins at the end of the live file, which has `size` bytes.
    pub(crate) fn begin(&mut self, run: u64, size: u64) {
        let end = self.moved + size;
        // Another program may have cut the log.
        self.end_at(end);
        self.generations.push((run, end));
        if self.generations.len() > MAX_GENERATIONS {
            self.generations.remove(0);
        }
        // What is said of files is about the run before: an inode may come back.
        (self.given, self.copied) = (None, None);
    }

    /// Notes which file the run that has just begun was given.
    pub(crate) fn give(&mut self, run: u64, file: FileId) {
        self.given = Some((run, file));
    }

    /// Whether the run was given that file, or heartbeatd copies from it.
    pub(crate) fn knows(&self, run: u64, file: FileId) -> bool {
        self.given == Some((run, file)) || self.copied.is_some_and(|copied| copied.source == file)
    }

    /// Notes that the bytes of `source` before `from` are copied, or stay where they are. The live file has `size` bytes.
    pub(crate) fn note_copied(&mut self, source: FileId, from: u64, size: u64) {
        self.copied = Some(Copied { source, from, end: self.moved + size });
    }

    /// Where in `source` the part begins that is not copied. The live file has `size` bytes.
    pub(crate) fn copied_of(&self, source: FileId, size: u64) -> Option<u64> {
        let copied = self.copied.filter(|copied| copied.source == source)?;
        Some(copied.from + (self.moved + size).saturating_sub(copied.end))
    }

    /// The newest run writes to another file than the live one.
    pub(crate) fn is_elsewhere(&self, live: Option<FileId>) -> bool {
        self.copied.is_some() || self.given.is_some_and(|(_, file)| Some(file) != live)
    }

    /// The run writes to the live file again.
    pub(crate) fn forget_copied(&mut self) {
        self.copied = None;
    }

    /// Goes on with what another index says: that of the log before its directory was moved away.
    pub(crate) fn continue_with(&mut self, other: Self) {
        let file = self.file.take();
        *self = Self { file, ..other };
    }

    /// Notes that another program has emptied the live file, which had `before` bytes and has `size` now.
    pub(crate) fn note_emptied(&mut self, before: u64, size: u64) {
        self.lost.emptied += 1;
        self.lost.cut_bytes += before;
        self.end_at(self.moved + size);
    }

    /// No position lies behind the end of the log.
    pub(crate) fn end_at(&mut self, end: u64) {
        for at in self.positions() {
            *at = (*at).min(end);
        }
    }

    fn positions(&mut self) -> impl Iterator<Item = &mut u64> {
        let begins = self.generations.iter_mut().map(|(_, at)| at);
        begins.chain(self.copied.as_mut().map(|copied| &mut copied.end))
    }

    /// Notes that the first bytes of the live file were dropped: the positions of all later bytes become lower.
    pub(crate) fn drop_head(&mut self, bytes: u64) {
        self.lost.dropped_bytes += bytes;
        self.lower_by(bytes);
    }

    /// Notes that the first `bytes` of the log's file are not in the file at its path: another process has moved or
    /// removed the one that had them. The one at its path has `size` bytes, and the output goes on behind those.
    pub(crate) fn leave(&mut self, bytes: u64, size: u64) {
        self.lower_by(bytes.saturating_sub(size));
    }

    /// A run that has not written yet begins at the end of the live file, which has `size` bytes: the output of the run
    /// before has come after its beginning was noted. `before`: the run that the output is of.
    pub(crate) fn begin_after(&mut self, before: u64, size: u64) {
        let end = self.moved + size;
        if let Some((_, at)) = self.generations.last_mut().filter(|(newest, _)| *newest > before) {
            *at = end;
            self.copied = None;
        }
    }

    fn lower_by(&mut self, bytes: u64) {
        self.dropped_heads += bytes;
        let moved = self.moved;
        for at in self.positions().filter(|at| **at > moved) {
            *at = at.saturating_sub(bytes).max(moved);
        }
    }
}

/// Opens a regular file, and waits for no other end of a FIFO.
fn regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
}

fn first_bytes(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; COMPARED_BYTES];
    let file = regular(OpenOptions::new().read(true), path);
    let count = file.and_then(|file| file.read_at(&mut bytes, 0)).unwrap_or(0);
    bytes.truncate(count);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_comes_back_and_damage_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("db.log");
        let mut index = LogIndex::lock(&log).unwrap();
        (index.moved, index.lost.truncations, index.lost.emptied) = (u64::MAX / 2, 7, 3);
        for run in 0..40 {
            index.begin(run, run * 1_000_000_000);
        }
        index.write().unwrap();
        let (known, file) = (index.generations.clone(), beside(&log, ".ledger"));
        drop(index);
        let again = LogIndex::look(&log).unwrap();
        assert_eq!((again.moved, again.lost.truncations, again.lost.emptied), (u64::MAX / 2, 7, 3));
        assert_eq!((again.generations.len(), &again.generations), (MAX_GENERATIONS, &known));
        drop(again);
        let size = std::fs::metadata(&file).unwrap().len();
        LogIndex::lock(&log).unwrap().write().unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().len(), size, "in place");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let damaged = LogIndex::look(&log).unwrap();
        assert_eq!((damaged.moved, damaged.generations.len()), (FIRST_POSITION, 0));
    }

    #[test]
    fn what_is_no_file_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("db.log");
        let index = beside(&log, ".ledger");
        nix::unistd::mkfifo(&index, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(LogIndex::look(&log).is_err() && LogIndex::lock(&log).is_err(), "a FIFO");
        std::fs::remove_file(&index).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &index).unwrap();
        assert!(LogIndex::look(&log).is_err() && LogIndex::lock(&log).is_err(), "a link");
        std::fs::remove_file(&index).unwrap();
        std::fs::create_dir(&index).unwrap();
        assert!(LogIndex::look(&log).is_err() && LogIndex::lock(&log).is_err(), "a directory");
    }

    #[test]
    fn a_death_while_bytes_are_taken_out_leaves_positions_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("db.log");
        let mut index = LogIndex::lock(&log).unwrap();
        (index.moved, index.pending_bytes) = (1_000, 4);
        index.write().unwrap();
        drop(index);
        std::fs::write(numbered(&log, 1), "one\n").unwrap();
        std::fs::write(&log, "one\ntwo\n").unwrap();
        assert_eq!(LogIndex::look(&log).unwrap().moved, 1_000, "before");
        std::fs::write(&log, "two\n").unwrap();
        let settled = LogIndex::lock(&log).unwrap();
        assert_eq!((settled.moved, settled.pending_bytes), (1_004, 0), "after");
        settled.write().unwrap();
        drop(settled);
        assert_eq!(LogIndex::look(&log).unwrap().moved, 1_004, "once");
    }

    #[test]
    fn what_was_dropped_brings_the_rest_nearer() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = LogIndex::lock(&dir.path().join("db.log")).unwrap();
        index.moved = 100;
        index.generations = vec![(1, 40), (2, 110), (3, 200)];
        index.drop_head(50);
        assert_eq!(index.generations, [(1, 40), (2, 100), (3, 150)]);
        assert_eq!(index.lost.dropped_bytes, 50);
        index.begin(4, 20);
        assert_eq!(index.generations, [(1, 40), (2, 100), (3, 120), (4, 120)], "cut by somebody else");
    }
}
