//! Who writes to which log, and the output that does not go to its file: in memory, since the file could not be opened, or in
//! a file that somebody has moved or removed.
//!
//! Such output is read and shown like the rest of the log, and the [`LogKeeper`](super::LogKeeper) copies it to a file at the
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

use super::ledger::Ledger;
use super::{journal, open};
use crate::{LogTarget, User, tree};

/// What the memory of a log is called, in `/proc/PID/fd`.
const MEMORY_NAME: &str = "hb-log";
/// Output that no file takes is kept up to this many bytes; beyond that the oldest is dropped, and counted.
const MAX_WAITING_BYTES: u64 = 1024 * 1024;
/// Read and written at a time, in bytes.
const BLOCK_BYTES: u64 = 64 * 1024;
/// journald has this long to take a block.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Device and inode: which file it is, whatever it is called.
pub(super) type FileId = (u64, u64);

static WRITERS: Mutex<BTreeMap<PathBuf, Writer>> = Mutex::new(BTreeMap::new());

fn writers() -> MutexGuard<'static, BTreeMap<PathBuf, Writer>> {
    WRITERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The newest run that writes to a log.
#[derive(Debug)]
struct Writer {
    target: LogTarget,
    user: Option<User>,
    run: u64,
    /// Its main process: pid and kernel start time.
    process: (u32, u64),
    /// The file that it was given, and how long that was.
    file: Option<(FileId, u64)>,
    /// It has ended.
    ended: bool,
    /// Output beside the file, the oldest first: of the run before, and of this one.
    stray: Vec<Stray>,
    /// The stray output is being copied, and not in the table.
    copies: bool,
}

/// Output that has to be copied to where it belongs.
#[derive(Debug)]
struct Stray {
    source: Arc<File>,
    /// Where in `source` the part begins that was not copied.
    from: u64,
    /// Dropped since the last copy, in bytes.
    dropped_bytes: u64,
    run: u64,
    /// Its generation is not in the ledger.
    is_new: bool,
    /// In memory, or in a file of another name, or of none.
    in_memory: bool,
    journal: Option<UnixStream>,
}

/// Output that follows what is in the files of a log.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) source: Arc<File>,
    pub(super) from: u64,
    pub(super) bytes: u64,
    pub(super) dropped_bytes: u64,
}

/// What a look at a log's writer has found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WriterState {
    /// The generation, while its main process lives.
    pub(super) run: Option<u64>,
    /// It began with an empty file.
    pub(super) began_empty: bool,
}

/// Where a log is known by, beside its files: the file itself, or what is never one.
pub(crate) fn place(target: &LogTarget) -> Option<PathBuf> {
    match target {
        LogTarget::File { path, .. } => Some(path.clone()),
        // journald listens on a socket, and nothing lies below one.
        LogTarget::Journal { socket, identifier } => Some(socket.join(identifier)),
        LogTarget::Null | LogTarget::Capture => None,
    }
}

/// Memory that takes the output of a program like a file that is opened for appending.
pub(crate) fn memory() -> io::Result<File> {
    let memory = rustix::fs::memfd_create(MEMORY_NAME, MemfdFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&memory, OFlags::APPEND)?;
    Ok(File::from(memory))
}

/// A run of a realm begins to write; its program has not been exec'd, or it is taken over. True: its output is in memory.
pub(crate) fn begin(target: &LogTarget, user: Option<&User>, run: u64, process: (u32, u64)) -> bool {
    begin_if(target, user, run, process, |_| true)
}

/// The same of a run that is taken over: its program may have sent its output elsewhere long ago, and that is its own.
pub(crate) fn take_over(target: &LogTarget, user: Option<&User>, run: u64, process: (u32, u64)) -> bool {
    let named = place(target).and_then(|place| std::fs::metadata(place).ok()).map(|meta| id(&meta));
    begin_if(target, user, run, process, |meta| Some(id(meta)) == named || was_log(target, process.0))
}

/// The output of a process goes to what was that log: it has its name, and was removed, or lies beside it.
fn was_log(target: &LogTarget, pid: u32) -> bool {
    let (Some(place), Ok(link)) = (place(target), std::fs::read_link(output_of(pid))) else { return false };
    let removed = link.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(Path::new);
    removed == Some(&place) || (removed.is_none() && link.parent() == place.parent())
}

fn begin_if(
    target: &LogTarget,
    user: Option<&User>,
    run: u64,
    process: (u32, u64),
    is_log: impl Fn(&std::fs::Metadata) -> bool,
) -> bool {
    let Some(place) = place(target) else { return false };
    let output = output_of(process.0);
    let in_memory = is_memory(&output);
    let file = std::fs::metadata(&output).ok().filter(|meta| meta.is_file() && is_log(meta));
    let mut writers = writers();
    let (mut stray, copies) =
        writers.remove(&place).map(|before| (before.stray, before.copies)).unwrap_or_default();
    // Of the runs before, the newest is enough: nothing can be copied, or it would have been.
    stray.drain(..stray.len().saturating_sub(1));
    if in_memory && let Ok(source) = open_again(&output) {
        let source = Arc::new(source);
        let (from, dropped_bytes) = (0, 0);
        stray.push(Stray { source, from, dropped_bytes, run, is_new: true, in_memory, journal: None });
    }
    let file = file.filter(|_| !in_memory).map(|meta| (id(&meta), meta.len()));
    // Nobody has to look after what is as it should be in the journal.
    if in_memory || copies || !stray.is_empty() || matches!(target, LogTarget::File { .. }) {
        let (target, user) = (target.clone(), user.cloned());
        writers.insert(place, Writer { target, user, run, process, file, ended: false, stray, copies });
    }
    in_memory
}

/// The main process of a run has ended. What it has written stays until it is copied.
pub(crate) fn end(target: &LogTarget, run: u64) {
    let Some(place) = place(target) else { return };
    let mut writers = writers();
    if let Some(writer) = writers.get_mut(&place).filter(|writer| writer.run == run) {
        writer.ended = true;
        if writer.stray.is_empty() && !writer.copies {
            writers.remove(&place);
        }
    }
}

/// Output of that log is somewhere beside its files.
#[must_use]
pub fn is_stray(target: &LogTarget) -> Option<PathBuf> {
    let place = place(target)?;
    writers().get(&place).is_some_and(|writer| writer.copies || !writer.stray.is_empty()).then_some(place)
}

/// What follows the files of the log at `place`, the oldest first. The caller holds the lock of the ledger.
pub(super) fn waiting(place: &Path) -> Vec<Waiting> {
    let writers = writers();
    let stray = writers.get(place).map_or(&[][..], |writer| &writer.stray);
    stray
        .iter()
        .map(|stray| Waiting {
            source: Arc::clone(&stray.source),
            from: stray.from,
            bytes: size(&stray.source).saturating_sub(stray.from),
            dropped_bytes: stray.dropped_bytes,
        })
        .collect()
}

/// Logs beside whose files there is output.
pub(super) fn stray_places() -> Vec<PathBuf> {
    writers().iter().filter(|(_, writer)| !writer.stray.is_empty()).map(|(place, _)| place.clone()).collect()
}

/// Looks whether the writer of a log still writes to the file at its path, which is `named` now; what it writes to another
/// file from `from` on is stray from now on. The second part is true when that has just been found.
pub(super) fn look(place: &Path, named: Option<FileId>, from: u64) -> (WriterState, bool) {
    let mut writers = writers();
    let Some(writer) = writers.get_mut(place) else { return (WriterState::default(), false) };
    let began_empty = writer.file.is_some_and(|(_, bytes)| bytes == 0);
    let lives = !writer.ended && tree::is_process(writer.process.0, writer.process.1);
    let state = WriterState { run: lives.then_some(writer.run), began_empty };
    let Some((own, _)) = writer.file.filter(|(own, _)| lives && Some(*own) != named) else {
        return (state, false);
    };
    let source = [1, 2].into_iter().find_map(|number| {
        let path = PathBuf::from(format!("/proc/{}/fd/{number}", writer.process.0));
        let is_own = std::fs::metadata(&path).is_ok_and(|meta| id(&meta) == own);
        let source = is_own.then(|| open_again(&path).ok()).flatten()?;
        source.metadata().is_ok_and(|meta| id(&meta) == own).then_some(source)
    });
    // A program that has sent its output elsewhere does not need its log.
    writer.file = None;
    let Some(source) = source else { return (state, false) };
    // What stands in a file that has another name now is in its place there; of one without a name it would be lost.
    let named_elsewhere = source.metadata().is_ok_and(|meta| meta.nlink() > 0);
    let from = if named_elsewhere { size(&source) } else { from.min(size(&source)) };
    let (run, is_new) = (writer.run, false);
    let source = Arc::new(source);
    writer.stray.push(Stray { source, from, dropped_bytes: 0, run, is_new, in_memory: false, journal: None });
    (state, true)
}

/// Copies stray output to where it belongs.
///
/// # Errors
/// It cannot be written there. The oldest of what waits is dropped then, beyond its bound.
pub(super) fn copy(place: &Path) -> io::Result<()> {
    // The lock of the ledger comes first, as for readers.
    let target = writers().get(place).map(|writer| (writer.target.clone(), writer.user.clone()));
    let Some((target, user)) = target else { return Ok(()) };
    let opened = match &target {
        LogTarget::File { path, .. } => Some(open_target(path, user.as_ref())),
        _ => None,
    };
    let (mut ledger, mut live) = match opened {
        Some(Ok((ledger, live))) => (Some(ledger), Some(live)),
        Some(Err(error)) => {
            bound(place);
            return Err(error);
        }
        None => (None, None),
    };
    // Nobody waits for the disk: the table is free meanwhile, and readers wait for the ledger.
    let Some(mut stray) = writers().get_mut(place).map(|writer| {
        writer.copies = true;
        std::mem::take(&mut writer.stray)
    }) else {
        return Ok(());
    };
    if let Some(own) = live.as_ref().and_then(|live| live.metadata().ok()) {
        // It has been put back.
        stray.retain(|stray| stray.source.metadata().map_or(true, |meta| id(&meta) != id(&own)));
    }
    let mut copied = Ok(());
    for stray in &mut stray {
        copied = match (&mut live, &mut ledger) {
            (Some(live), Some(ledger)) => stray.copy_to_file(live, ledger),
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
            // What no living run writes to has come to its end.
            let (ended, run) = (writer.ended, writer.run);
            writer.stray.retain(|stray| !ended && stray.run == run);
            if ended {
                writers.remove(place);
            }
        }
    }
    drop(writers);
    if let Some(ledger) = &ledger {
        // On a full disk the generation is not remembered.
        let _ = ledger.write();
    }
    copied
}

/// Whether the newest run writes to a file that was moved or removed.
pub(super) fn is_moved(place: &Path) -> bool {
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
    fn copy_to_file(&mut self, live: &mut File, ledger: &mut Ledger) -> io::Result<()> {
        if std::mem::take(&mut self.is_new) {
            ledger.begin(self.run, live.metadata()?.len());
        }
        let dropped = std::mem::take(&mut self.dropped_bytes);
        ledger.lost.dropped_bytes += dropped;
        ledger.dropped_heads += dropped;
        self.copy_with(|bytes| live.write(bytes))
    }

    fn copy_to_journal(&mut self, target: &LogTarget) -> io::Result<()> {
        let LogTarget::Journal { socket, identifier } = target else { return Ok(()) };
        // Also when nothing waits: whether somebody listens is what is to be told.
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

    /// Writes what waits, and gives its room back.
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

    /// Drops the oldest beyond the bound.
    fn bound(&mut self) {
        let end = size(&self.source);
        let begin = self.from;
        let surplus = end.saturating_sub(begin).saturating_sub(MAX_WAITING_BYTES);
        self.dropped_bytes += surplus;
        self.from += surplus;
        self.give_back(begin);
    }

    /// Gives back the room of what is behind us. The program goes on at the end of the file, which does not move.
    fn give_back(&self, begin: u64) {
        let bytes = self.from.saturating_sub(begin);
        if bytes > 0 {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Where that cannot be done, the file goes on growing, as it did.
            let _ = rustix::fs::fallocate(&*self.source, flags, begin, bytes);
        }
    }
}

fn open_target(path: &Path, user: Option<&User>) -> io::Result<(Ledger, File)> {
    let open = || -> io::Result<_> { Ok((Ledger::lock(path)?, open::append(path, user)?)) };
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

pub(super) fn id(meta: &std::fs::Metadata) -> FileId {
    (meta.dev(), meta.ino())
}
