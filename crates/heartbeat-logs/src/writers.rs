//! Which run writes to which log, and which output is not in the log's file.
//!
//! Readers see such output like the rest of the log, and the [`LogKeeper`](crate::LogKeeper) copies it to a file at the
//! log's path as soon as it can. Descriptors belong to the whole process, and so does this table.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::index::{FileId, LogIndex, id};
use crate::stray::{Stray, is_memory, open_again, size};
use crate::{Owner, Target, open};

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

/// Notes that a run of a realm, with the pid of its main process, begins to write, before its program is exec'd.
/// `output` is a path in `/proc` to where its output goes. True: its output is in memory.
pub fn begin(target: &Target, owner: Option<Owner>, run: (u64, u32), output: &Path) -> bool {
    let in_memory = is_memory(output);
    let file = std::fs::metadata(output).ok().filter(|meta| !in_memory && meta.is_file());
    let stray = in_memory.then(|| Stray::in_memory(output, run.0)).flatten();
    note(target, owner, run, file, stray);
    in_memory
}

/// The same for a run that heartbeatd takes over. Output that the program has sent elsewhere is the program's own.
pub fn take_over(target: &Target, owner: Option<Owner>, run: u64, pid: u32) -> bool {
    let place = target.place();
    let live = std::fs::symlink_metadata(&place).ok().filter(Metadata::is_file);
    let mut index = LogIndex::peek(&place);
    for output in outputs_of(pid) {
        let in_memory = is_memory(&output);
        let Some(meta) = std::fs::metadata(&output).ok().filter(|meta| in_memory || meta.is_file()) else {
            continue;
        };
        if live.as_ref().is_some_and(|live| id(live) == id(&meta)) {
            note(target, owner, (run, pid), Some(meta), None);
            return false;
        }
        let link = std::fs::read_link(&output).unwrap_or_default();
        let is_known = index.as_ref().is_some_and(|index| index.knows(run, id(&meta)));
        if !in_memory && !is_known && !was_at(&place, &link) {
            let Some(moved) = LogIndex::peek(&link).filter(|moved| moved.knows(run, id(&meta))) else {
                continue;
            };
            if index.is_none() {
                index = Some(continued(&place, moved));
            }
        }
        let live_bytes = live.as_ref().map_or(0, Metadata::len);
        let stray = Stray::taken_over(&output, run, index.as_ref(), live_bytes);
        note(target, owner, (run, pid), None, stray);
        return in_memory;
    }
    note(target, owner, (run, pid), None, None);
    false
}

/// Whether a process whose output goes to `link` wrote to the log: a file that was removed, or that lies beside it. The
/// kernel names a file without the links that lead to it.
fn was_at(place: &Path, link: &Path) -> bool {
    let (Some(dir), Some(name)) = (place.parent(), place.file_name()) else { return false };
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let removed = link.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(Path::new);
    removed.map_or_else(|| link.parent() == Some(&dir), |removed| removed == dir.join(name))
}

/// Begins an index at the log's path that goes on with that of the log whose directory was moved.
fn continued(place: &Path, moved: LogIndex) -> LogIndex {
    let fresh = open::make_directory(place).and_then(|()| LogIndex::lock(place));
    match fresh {
        Ok(mut index) => {
            index.continue_with(moved);
            // On a full disk readers begin anew.
            let _ = index.write();
            index
        }
        Err(_) => moved,
    }
}

fn note(
    target: &Target,
    owner: Option<Owner>,
    (run, pid): (u64, u32),
    file: Option<Metadata>,
    now_stray: Option<Stray>,
) {
    let place = target.place();
    let mut writers = writers();
    let (mut stray, copies) =
        writers.remove(&place).map(|before| (before.stray, before.copies)).unwrap_or_default();
    // Of the runs before, the newest is enough: the LogKeeper would have copied their output if it could.
    stray.drain(..stray.len().saturating_sub(1));
    stray.extend(now_stray);
    let file = file.map(|meta| (id(&meta), meta.len()));
    // Output that goes to the journal needs no care.
    if copies || !stray.is_empty() || matches!(target, Target::File(_)) {
        let target = target.clone();
        writers.insert(place, Writer { target, owner, run, pid, file, ended: false, stray, copies });
    }
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
    let source = outputs_of(writer.pid).iter().find_map(|path| {
        let is_own = std::fs::metadata(path).is_ok_and(|meta| id(&meta) == own);
        let source = is_own.then(|| open_again(path).ok()).flatten()?;
        source.metadata().is_ok_and(|meta| id(&meta) == own).then_some(source)
    });
    // A program that has sent its output elsewhere does not need its log.
    writer.file = None;
    let Some(source) = source else { return (state, false) };
    writer.stray.push(Stray::found(source, from, writer.run));
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
    let live_meta = live.as_ref().and_then(|live| live.metadata().ok());
    // The file is at the log's path again.
    let back = live_meta.filter(|meta| stray.iter().any(|stray| stray.file() == Some(id(meta))));
    if let (Some(back), Some(index)) = (&back, &mut index) {
        stray.retain(|stray| stray.file() != Some(id(back)));
        index.forget_copied();
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
        writer.file = writer.file.or(back.map(|meta| (id(&meta), meta.len())));
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

/// Standard output and standard error of a process.
fn outputs_of(pid: u32) -> [PathBuf; 2] {
    [1, 2].map(|number| PathBuf::from(format!("/proc/{pid}/fd/{number}")))
}

#[cfg(test)]
mod tests;
