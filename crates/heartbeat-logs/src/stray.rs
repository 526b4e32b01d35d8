//! Output that does not go to the file of its log: it is in memory, since the launcher could not open the file, or in a
//! file that another process has moved or removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FallocateFlags, MemfdFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::index::{FileId, LogIndex, id};
use crate::{Target, journal};

/// The name of a log's memory in `/proc/PID/fd`.
const MEMORY_NAME: &str = "hb-log";
/// heartbeatd keeps up to this many bytes of output that no file takes. It drops the oldest beyond that, and counts it.
const MAX_WAITING_BYTES: u64 = 1024 * 1024;
/// Read and written at a time, in bytes.
const BLOCK_BYTES: u64 = 64 * 1024;
/// A block of a file system has at most so many bytes: where a part of one is freed, zeros are left.
const MAX_FREED_BYTES: usize = 64 * 1024;
/// journald has this long to take a block.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Memory that takes the output of a program like a file that is opened for appending.
pub fn memory() -> io::Result<File> {
    let memory = rustix::fs::memfd_create(MEMORY_NAME, MemfdFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&memory, OFlags::APPEND)?;
    Ok(File::from(memory))
}

/// Whether the descriptor at a path in `/proc` is a log's memory.
pub(crate) fn is_memory(output: &Path) -> bool {
    std::fs::read_link(output)
        .is_ok_and(|target| target.to_string_lossy().starts_with(&format!("/memfd:{MEMORY_NAME}")))
}

/// Output that the LogKeeper has to copy to its log.
#[derive(Debug)]
pub(crate) struct Stray {
    pub(crate) source: Arc<File>,
    /// Where in `source` the part begins that is not copied yet.
    pub(crate) from: u64,
    /// heartbeatd frees nothing before this place in `source`: a file that was moved keeps what it had.
    kept: u64,
    /// Dropped since the last copy, in bytes.
    pub(crate) dropped_bytes: u64,
    /// Bytes that were in the file when another process removed it, and are not in the index yet.
    pub(crate) removed_bytes: u64,
    /// The first bytes of a file that was moved or removed: they are not copied, and the index does not know it yet.
    left_bytes: u64,
    /// The file that has the copy. Another process may move that, too.
    copy: Option<File>,
    pub(crate) run: u64,
    /// Its generation is not in the index.
    is_new: bool,
    /// True: in memory. False: in a file of another name, or of none.
    pub(crate) in_memory: bool,
    journal: Option<UnixStream>,
}

impl Stray {
    /// The output of a run in memory: all of it, and the run is not in the index.
    pub(crate) fn in_memory(output: &Path, run: u64) -> Option<Self> {
        let source = open_again(output).ok()?;
        Some(Self { is_new: true, in_memory: true, ..Self::new(Arc::new(source), 0, run) })
    }

    /// The output of a run that has just been found in a file that was moved or removed. The LogKeeper has seen the
    /// first `seen` bytes of it: the line that ends behind them, and all lines after it, are copied. Waits for the disk.
    pub(crate) fn found(source: Arc<File>, seen: u64, run: u64) -> Self {
        let size = size(&source);
        let from = begin_of_line(&source, seen.min(size));
        // A file that has another name now keeps what it had; what a file without a name had is lost.
        let named_elsewhere = source.metadata().is_ok_and(|meta| meta.nlink() > 0);
        let (kept, removed_bytes) = if named_elsewhere { (size, 0) } else { (0, from) };
        Self { kept, removed_bytes, left_bytes: from, ..Self::new(source, from, run) }
    }

    /// Output that an earlier heartbeatd may have copied in part, as the index tells. The live file has `live_size`
    /// bytes.
    pub(crate) fn taken_over(
        output: &Path,
        run: u64,
        index: Option<&LogIndex>,
        live_size: u64,
    ) -> Option<Self> {
        let source = open_again(output).ok()?;
        let meta = source.metadata().ok()?;
        let copied = index.and_then(|index| index.copied_of(id(&meta), live_size));
        let in_memory = is_memory(output);
        let is_new =
            in_memory && index.is_none_or(|index| index.generations.iter().all(|(of, _)| *of != run));
        // No heartbeatd has seen the move: all of it is copied, so that readers go on at the place they had.
        let kept = if copied.is_none() && !in_memory && meta.nlink() > 0 { meta.len() } else { 0 };
        let from = copied.unwrap_or_else(|| first_left(&source)).min(meta.len());
        Some(Self { is_new, in_memory, kept, ..Self::new(Arc::new(source), from, run) })
    }

    fn new(source: Arc<File>, from: u64, run: u64) -> Self {
        Self {
            source,
            from,
            kept: 0,
            dropped_bytes: 0,
            removed_bytes: 0,
            left_bytes: 0,
            copy: None,
            run,
            is_new: false,
            in_memory: false,
            journal: None,
        }
    }

    /// Device and inode of where the output is.
    pub(crate) fn file(&self) -> Option<FileId> {
        self.source.metadata().ok().map(|meta| id(&meta))
    }

    /// Bytes of the log before this output that the live file does not have, and that the index does not know of.
    pub(crate) fn left_bytes(&self, live: Option<FileId>) -> u64 {
        let moved_copy = self.copy.as_ref().and_then(|copy| copy.metadata().ok());
        self.left_bytes + moved_copy.filter(|copy| Some(id(copy)) != live).map_or(0, |copy| copy.len())
    }

    pub(crate) fn copy_to_file(&mut self, live: &mut File, index: &mut LogIndex) -> io::Result<()> {
        let meta = live.metadata()?;
        index.leave(self.left_bytes(Some(id(&meta))), meta.len());
        self.left_bytes = 0;
        if self.copy.as_ref().and_then(|copy| copy.metadata().ok()).is_none_or(|copy| id(&copy) != id(&meta))
        {
            self.copy = live.try_clone().ok();
        }
        if std::mem::take(&mut self.is_new) {
            index.begin(self.run, live.metadata()?.len());
        }
        let dropped = std::mem::take(&mut self.dropped_bytes);
        index.lost.dropped_bytes += dropped;
        index.dropped_heads += dropped;
        index.lost.removed_bytes += std::mem::take(&mut self.removed_bytes);
        let Some(source) = self.file() else { return Ok(()) };
        index.note_copied(source, self.from, live.metadata()?.len());
        if self.from < size(&self.source) {
            // Before the copy: if heartbeatd dies meanwhile, the next one sees how far it came.
            let _ = index.write();
        }
        let copied = self.copy_with(|bytes| live.write(bytes));
        index.note_copied(source, self.from, live.metadata()?.len());
        copied
    }

    pub(crate) fn copy_to_journal(&mut self, target: &Target) -> io::Result<()> {
        let Target::Journal { socket, identifier } = target else { return Ok(()) };
        // Also when no output waits: the operator has to learn whether journald listens.
        if self.journal.is_none() {
            let stream = UnixStream::from(journal::connect(socket, identifier)?);
            stream.set_write_timeout(Some(JOURNAL_TIMEOUT))?;
            self.journal = Some(stream);
        }
        let Some(mut stream) = self.journal.take() else { return Ok(()) };
        self.copy_with(|bytes| stream.write(bytes))?;
        self.journal = Some(stream);
        Ok(())
    }

    /// Writes the waiting output, and frees its space.
    fn copy_with(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        let (begin, end) = (self.from, size(&self.source));
        let mut block = vec![0; usize::try_from(BLOCK_BYTES.min(end.saturating_sub(begin))).unwrap_or(0)];
        let mut done = Ok(());
        while self.from < end {
            let count = match self.source.read_at(&mut block, self.from) {
                Ok(0) => break,
                Ok(read) => write(&block[..read]),
                Err(error) => Err(error),
            };
            match count {
                Ok(count) => self.from += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    done = Err(error);
                    break;
                }
            }
        }
        self.give_back(begin);
        done
    }

    /// Drops the oldest output beyond the bound.
    pub(crate) fn bound(&mut self) {
        let end = size(&self.source);
        let begin = self.from;
        let surplus = end.saturating_sub(begin).saturating_sub(MAX_WAITING_BYTES);
        self.dropped_bytes += surplus;
        self.from += surplus;
        self.give_back(begin);
    }

    /// Frees the space of the output that is done. The program goes on at the end of the file, which does not move.
    fn give_back(&self, begin: u64) {
        let begin = begin.max(self.kept);
        let bytes = self.from.saturating_sub(begin);
        if bytes > 0 {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // If the file system cannot do that, the file goes on growing, as it did.
            let _ = rustix::fs::fallocate(&*self.source, flags, begin, bytes);
        }
    }
}

/// Where the output begins that heartbeatd has not freed: what it has freed reads as zeros.
fn first_left(source: &File) -> u64 {
    let data = match rustix::fs::seek(source, SeekFrom::Data(0)) {
        Ok(at) => at,
        Err(Errno::NXIO) => return size(source),
        Err(_) => 0,
    };
    let mut block = vec![0; MAX_FREED_BYTES];
    let count = source.read_at(&mut block, data).unwrap_or(0);
    data + block[..count].iter().take_while(|byte| **byte == 0).count() as u64
}

/// Where the line begins that the byte at `at` belongs to; `at` where that is too far away to look for.
fn begin_of_line(source: &File, at: u64) -> u64 {
    let from = at.saturating_sub(BLOCK_BYTES);
    let mut block = vec![0; usize::try_from(at - from).unwrap_or(0)];
    if source.read_exact_at(&mut block, from).is_err() {
        return at;
    }
    let end = block.iter().rposition(|byte| *byte == b'\n');
    end.map_or(if from == 0 { 0 } else { at }, |end| from + end as u64 + 1)
}

/// Opens the file behind a descriptor of another process.
pub(crate) fn open_again(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

pub(crate) fn size(file: &File) -> u64 {
    file.metadata().map_or(0, |meta| meta.len())
}
