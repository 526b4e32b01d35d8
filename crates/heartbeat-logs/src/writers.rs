//! Which run writes to which log, and the output that does not go to the log's file: it is in memory, since the
//! launcher could not open the file, or in a file that another process has moved or removed.
//!
//! Readers see such output like the rest of the log, and the [`LogKeeper`](crate::LogKeeper) copies it to a file at the
//! log's path as soon as it can. Descriptors belong to the whole process, and so does this table.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FallocateFlags, MemfdFlags, OFlags};

use crate::index::LogIndex;
use crate::{Owner, Target, journal, open};

/// The name of a log's memory in `/proc/PID/fd`.
const MEMORY_NAME: &str = "hb-log";
/// heartbeatd keeps up to this many bytes of output that no file takes. It drops the oldest beyond that, and counts it.
const MAX_WAITING_BYTES: u64 = 1024 * 1024;
/// Read and written at a time, in bytes.
const BLOCK_BYTES: u64 = 64 * 1024;
/// journald has this long to take a block.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Device and inode: they identify a file, whatever its name is.
pub(crate) type FileId = (u64, u64);

static WRITERS: Mutex<BTreeMap<PathBuf, Writer>> = Mutex::new(BTreeMap::new());

fn writers() -> MutexGuard<'static, BTreeMap<PathBuf, Writer>> {
    WRITERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The newest run that writes to a log.
#[derive(Debug)]
struct Writer {
    target: Target,
    owner: Option<Owner>,
    run: u64,
    /// Its main process when it began.
    pid: u32,
    /// The file that the run was given, and the size of that file then.
    file: Option<(FileId, u64)>,
    /// The run has ended.
    ended: bool,
    /// Output outside the file, the oldest first: of the run before, and of this one.
    stray: Vec<Stray>,
    /// The LogKeeper is copying the stray output, which is not in the table meanwhile.
    copies: bool,
}

/// Output that the LogKeeper has to copy to its log.
#[derive(Debug)]
struct Stray {
    source: Arc<File>,
    /// Where in `source` the part begins that is not copied yet.
    from: u64,
    /// Dropped since the last copy, in bytes.
    dropped_bytes: u64,
    /// Bytes that were in the file when another process removed it, and are not in the index yet.
    removed_bytes: u64,
    run: u64,
    /// Its generation is not in the index.
    is_new: bool,
    /// True: in memory. False: in a file of another name, or of none.
    in_memory: bool,
    journal: Option<UnixStream>,
}

/// Output that follows what is in the files of a log.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) source: Arc<File>,
    pub(crate) from: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped_bytes: u64,
    pub(crate) removed_bytes: u64,
}

/// What a look at a log's writer has found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WriterState {
    /// The generation, while its main process lives.
    pub(crate) run: Option<u64>,
    /// The run began with an empty file.
    pub(crate) began_empty: bool,
}

/// Memory that takes the output of a program like a file that is opened for appending.
pub fn memory() -> io::Result<File> {
    let memory = rustix::fs::memfd_create(MEMORY_NAME, MemfdFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&memory, OFlags::APPEND)?;
    Ok(File::from(memory))
}

/// Notes that a run of a realm, with the pid of its main process, begins to write, before its program is exec'd.
/// `output` is a path in `/proc` to where its output goes. True: its output is in memory.
pub fn begin(target: &Target, owner: Option<Owner>, run: (u64, u32), output: &Path) -> bool {
    begin_if(target, owner, run, output, |_| true)
}

/// The same for a run that heartbeatd takes over. Output that the program has sent elsewhere is the program's own.
pub fn take_over(target: &Target, owner: Option<Owner>, run: u64, pid: u32) -> bool {
    let named = std::fs::metadata(target.place()).ok().map(|meta| id(&meta));
    let is_log = |meta: &std::fs::Metadata| Some(id(meta)) == named || was_log(target, pid);
    begin_if(target, owner, (run, pid), &output_of(pid), is_log)
}

/// Whether the output of a process goes to what was that log: a file that was removed from its path, or lies beside it.
fn was_log(target: &Target, pid: u32) -> bool {
    let (place, Ok(link)) = (target.place(), std::fs::read_link(output_of(pid))) else { return false };
    let removed = link.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(Path::new);
    removed == Some(&place) || (removed.is_none() && link.parent() == place.parent())
}

fn begin_if(
    target: &Target,
    owner: Option<Owner>,
    (run, pid): (u64, u32),
    output: &Path,
    is_log: impl Fn(&std::fs::Metadata) -> bool,
) -> bool {
    let place = target.place();
    let in_memory = is_memory(output);
    let file = std::fs::metadata(output).ok().filter(|meta| meta.is_file() && is_log(meta));
    let mut writers = writers();
    let (mut stray, copies) =
        writers.remove(&place).map(|before| (before.stray, before.copies)).unwrap_or_default();
    // Of the runs before, the newest is enough: the LogKeeper would have copied their output if it could.
    stray.drain(..stray.len().saturating_sub(1));
    if in_memory && let Ok(source) = open_again(output) {
        stray.push(Stray::new(Arc::new(source), 0, run, in_memory));
    }
    let file = file.filter(|_| !in_memory).map(|meta| (id(&meta), meta.len()));
    // Output that goes to the journal needs no care.
    if in_memory || copies || !stray.is_empty() || matches!(target, Target::File { .. }) {
        let target = target.clone();
        writers.insert(place, Writer { target, owner, run, pid, file, ended: false, stray, copies });
    }
    in_memory
}

/// Notes that the main process of a run has ended. What it has written stays until the LogKeeper has copied it.
pub fn end(target: &Target, run: u64) {
    let place = target.place();
    let mut writers = writers();
    if let Some(writer) = writers.get_mut(&place).filter(|writer| writer.run == run) {
        writer.ended = true;
        if writer.stray.is_empty() && !writer.copies {
            writers.remove(&place);
        }
    }
}

/// The path of the log, if some of its output is outside its files.
#[must_use]
pub fn is_stray(target: &Target) -> Option<PathBuf> {
    let place = target.place();
    writers().get(&place).is_some_and(|writer| writer.copies || !writer.stray.is_empty()).then_some(place)
}

/// The output that follows the files of the log at `place`, the oldest first. The caller holds the lock of the index.
pub(crate) fn waiting(place: &Path) -> Vec<Waiting> {
    let writers = writers();
    let stray = writers.get(place).map_or(&[][..], |writer| &writer.stray);
    stray
        .iter()
        .map(|stray| Waiting {
            source: Arc::clone(&stray.source),
            from: stray.from,
            bytes: size(&stray.source).saturating_sub(stray.from),
            dropped_bytes: stray.dropped_bytes,
            removed_bytes: stray.removed_bytes,
        })
        .collect()
}

/// Logs with output outside their files.
pub(crate) fn stray_places() -> Vec<PathBuf> {
    writers().iter().filter(|(_, writer)| !writer.stray.is_empty()).map(|(place, _)| place.clone()).collect()
}

/// Checks whether the writer of a log still writes to the file at its path, which is `named` now. What it writes to
/// another file from `from` on is stray from now on. The second part is true when this look has found that.
pub(crate) fn look(place: &Path, named: Option<FileId>, from: u64) -> (WriterState, bool) {
    let mut writers = writers();
    let Some(writer) = writers.get_mut(place) else { return (WriterState::default(), false) };
    let began_empty = writer.file.is_some_and(|(_, bytes)| bytes == 0);
    let lives = !writer.ended;
    let state = WriterState { run: lives.then_some(writer.run), began_empty };
    let Some((own, _)) = writer.file.filter(|(own, _)| lives && Some(*own) != named) else {
        return (state, false);
    };
    let source = [1, 2].into_iter().find_map(|number| {
        let path = PathBuf::from(format!("/proc/{}/fd/{number}", writer.pid));
        let is_own = std::fs::metadata(&path).is_ok_and(|meta| id(&meta) == own);
        let source = is_own.then(|| open_again(&path).ok()).flatten()?;
        source.metadata().is_ok_and(|meta| id(&meta) == own).then_some(source)
    });
    // A program that has sent its output elsewhere does not need its log.
    writer.file = None;
    let Some(source) = source else { return (state, false) };
    // Output in a file that has another name now stays there; output in a file without a name would be lost.
    let named_elsewhere = source.metadata().is_ok_and(|meta| meta.nlink() > 0);
    let from = if named_elsewhere { size(&source) } else { from.min(size(&source)) };
    let removed_bytes = if named_elsewhere { 0 } else { from };
    writer.stray.push(Stray { removed_bytes, ..Stray::new(Arc::new(source), from, writer.run, false) });
    (state, true)
}

/// Copies stray output to its log.
///
/// # Errors
/// The log cannot be written. `copy` then drops the oldest waiting output beyond the bound.
pub(crate) fn copy(place: &Path) -> io::Result<()> {
    // The lock of the index comes first, as for readers.
    let target = writers().get(place).map(|writer| (writer.target.clone(), writer.owner));
    let Some((target, owner)) = target else { return Ok(()) };
    let opened = match &target {
        Target::File(path) => Some(open_target(path, owner)),
        _ => None,
    };
    let (mut index, mut live) = match opened {
        Some(Ok((index, live))) => (Some(index), Some(live)),
        Some(Err(error)) => {
            bound(place);
            return Err(error);
        }
        None => (None, None),
    };
    // No user of the table waits for the disk: the table is free meanwhile, and readers wait for the index.
    let Some(mut stray) = writers().get_mut(place).map(|writer| {
        writer.copies = true;
        std::mem::take(&mut writer.stray)
    }) else {
        return Ok(());
    };
    if let Some(own) = live.as_ref().and_then(|live| live.metadata().ok()) {
        // The file is at the log's path again.
        stray.retain(|stray| stray.source.metadata().map_or(true, |meta| id(&meta) != id(&own)));
    }
    let mut copied = Ok(());
    for stray in &mut stray {
        copied = match (&mut live, &mut index) {
            (Some(live), Some(index)) => stray.copy_to_file(live, index),
            _ => stray.copy_to_journal(&target),
        };
        if copied.is_err() {
            break;
        }
    }
    if copied.is_err() {
        stray.iter_mut().for_each(Stray::bound);
    }
    let mut writers = writers();
    if let Some(writer) = writers.get_mut(place) {
        stray.append(&mut writer.stray);
        (writer.stray, writer.copies) = (stray, false);
        if copied.is_ok() {
            // Stray output that no living run writes to is complete.
            let (ended, run) = (writer.ended, writer.run);
            writer.stray.retain(|stray| !ended && stray.run == run);
            if ended {
                writers.remove(place);
            }
        }
    }
    drop(writers);
    if let Some(index) = &index {
        // On a full disk the index misses the generation.
        let _ = index.write();
    }
    copied
}

/// Whether the newest run writes to a file that was moved or removed.
pub(crate) fn is_moved(place: &Path) -> bool {
    let writers = writers();
    writers.get(place).is_some_and(|writer| {
        !writer.ended && writer.stray.iter().any(|stray| stray.run == writer.run && !stray.in_memory)
    })
}

fn bound(place: &Path) {
    if let Some(writer) = writers().get_mut(place) {
        writer.stray.iter_mut().for_each(Stray::bound);
    }
}

impl Stray {
    /// Output in memory is all of its run, which is not in the index.
    fn new(source: Arc<File>, from: u64, run: u64, in_memory: bool) -> Self {
        let (dropped_bytes, removed_bytes) = (0, 0);
        Self { source, from, dropped_bytes, removed_bytes, run, is_new: in_memory, in_memory, journal: None }
    }

    fn copy_to_file(&mut self, live: &mut File, index: &mut LogIndex) -> io::Result<()> {
        if std::mem::take(&mut self.is_new) {
            index.begin(self.run, live.metadata()?.len());
        }
        let dropped = std::mem::take(&mut self.dropped_bytes);
        index.lost.dropped_bytes += dropped;
        index.dropped_heads += dropped;
        index.lost.removed_bytes += std::mem::take(&mut self.removed_bytes);
        self.copy_with(|bytes| live.write(bytes))
    }

    fn copy_to_journal(&mut self, target: &Target) -> io::Result<()> {
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
    fn bound(&mut self) {
        let end = size(&self.source);
        let begin = self.from;
        let surplus = end.saturating_sub(begin).saturating_sub(MAX_WAITING_BYTES);
        self.dropped_bytes += surplus;
        self.from += surplus;
        self.give_back(begin);
    }

    /// Frees the space of the output that is done. The program goes on at the end of the file, which does not move.
    fn give_back(&self, begin: u64) {
        let bytes = self.from.saturating_sub(begin);
        if bytes > 0 {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // If the file system cannot do that, the file goes on growing, as it did.
            let _ = rustix::fs::fallocate(&*self.source, flags, begin, bytes);
        }
    }
}

fn open_target(path: &Path, owner: Option<Owner>) -> io::Result<(LogIndex, File)> {
    let open = || -> io::Result<_> { Ok((LogIndex::lock(path)?, open::append(path, owner)?)) };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            open::make_directory(path)?;
            open()
        }
        done => done,
    }
}

fn output_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/fd/1"))
}

fn is_memory(output: &Path) -> bool {
    std::fs::read_link(output)
        .is_ok_and(|target| target.to_string_lossy().starts_with(&format!("/memfd:{MEMORY_NAME}")))
}

fn open_again(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn size(file: &File) -> u64 {
    file.metadata().map_or(0, |meta| meta.len())
}

pub(crate) fn id(meta: &std::fs::Metadata) -> FileId {
    (meta.dev(), meta.ino())
}
