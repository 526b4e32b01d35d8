//! Which run writes to which log, and which output is not in the log's file.
//!
//! Readers see such output like the rest of the log, and the [`LogKeeper`](crate::LogKeeper) copies it to a file at the
//! log's path as soon as it can. Descriptors belong to the whole process, and so does this table.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::index::{FileId, LogIndex, id};
use crate::stray::{Stray, is_memory, open_again, size};
use crate::{Owner, Target, open};

/// A run waits up to this long until the output of the run before is in its log.
const MAX_FINISH_WAIT: Duration = Duration::from_millis(500);

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
    /// The file that the run was given, while the run writes to it at the log's path.
    file: Option<Given>,
    /// The run began with an empty file.
    began_empty: bool,
    /// The file of the run, or of the run before, was moved or removed, and no look has found that by itself.
    was_moved: bool,
    /// The run has ended.
    ended: bool,
    /// Output outside the file, the oldest first: of the run before, and of this one.
    stray: Vec<Stray>,
    /// The LogKeeper is copying the stray output, which is not in the table meanwhile.
    copies: bool,
}

/// The file that a run was given.
#[derive(Clone, Debug)]
struct Given {
    id: FileId,
    /// heartbeatd holds it open, to read what the run has written to it last, wherever it is then.
    file: Option<Arc<File>>,
    /// How many bytes it had at the last look.
    seen_bytes: u64,
}

impl Given {
    fn of(output: &Path, meta: &Metadata) -> Self {
        let mut options = OpenOptions::new();
        let opened = options.read(true).custom_flags(libc::O_NONBLOCK).open(output).ok();
        let is_same = |file: &File| file.metadata().is_ok_and(|own| id(&own) == id(meta));
        Self { id: id(meta), file: opened.filter(is_same).map(Arc::new), seen_bytes: meta.len() }
    }
}

/// Output that follows what is in the files of a log.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) source: Arc<File>,
    pub(crate) from: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped_bytes: u64,
    pub(crate) removed_bytes: u64,
    pub(crate) left_bytes: u64,
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
    let file = || std::fs::metadata(output).ok().filter(|meta| !in_memory && meta.is_file());
    let was_moved = file().is_some_and(|meta| finish_before(target, id(&meta)));
    let stray = in_memory.then(|| Stray::in_memory(output, run.0)).flatten();
    let began_empty = !was_moved && file().is_some_and(|meta| meta.len() == 0);
    let file = file().map(|meta| Given::of(output, &meta));
    note(Writer { began_empty, was_moved, ..Writer::new(target, owner, run, file, stray) });
    in_memory
}

/// Lets the output of the run before get to its log before the new run writes to `file`. False: it is there already.
fn finish_before(target: &Target, file: FileId) -> bool {
    let Target::File(place) = target else { return false };
    let is_behind = |before: &Writer| {
        before.copies || !before.stray.is_empty() || before.file.as_ref().is_some_and(|own| own.id != file)
    };
    if !writers().get(place).is_some_and(is_behind) {
        return false;
    }
    let (done, finished) = sync_channel(1);
    let place = place.clone();
    let finish = move || {
        find_moved(&place, Some(file), false);
        // The LogKeeper tries again, and reports it.
        let _ = copy(&place);
        // Its receiver has waited long enough, perhaps.
        let _ = done.send(());
    };
    // Without a thread the LogKeeper copies it after the first lines of the new run.
    if std::thread::Builder::new().name("hb-log-end".to_owned()).spawn(finish).is_ok() {
        let _ = finished.recv_timeout(MAX_FINISH_WAIT);
    }
    true
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
            let began_empty = meta.len() == 0;
            let file = Some(Given::of(&output, &meta));
            note(Writer { began_empty, ..Writer::new(target, owner, (run, pid), file, None) });
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
        note(Writer::new(target, owner, (run, pid), None, stray));
        return in_memory;
    }
    note(Writer::new(target, owner, (run, pid), None, None));
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

impl Writer {
    fn new(
        target: &Target,
        owner: Option<Owner>,
        (run, pid): (u64, u32),
        file: Option<Given>,
        stray: Option<Stray>,
    ) -> Self {
        Self {
            target: target.clone(),
            owner,
            run,
            pid,
            file,
            began_empty: false,
            was_moved: false,
            ended: false,
            stray: stray.into_iter().collect(),
            copies: false,
        }
    }

    /// heartbeatd has nothing to do for it any more.
    fn is_done(&self) -> bool {
        self.ended && self.file.is_none() && self.stray.is_empty() && !self.copies && !self.was_moved
    }
}

fn note(mut writer: Writer) {
    let place = writer.target.place();
    let mut writers = writers();
    if let Some(mut before) = writers.remove(&place) {
        // Of the runs before, the newest is enough: the LogKeeper would have copied their output if it could.
        before.stray.drain(..before.stray.len().saturating_sub(1));
        before.stray.append(&mut writer.stray);
        writer.stray = before.stray;
        writer.copies = before.copies;
        writer.was_moved |= before.was_moved;
    }
    // Output that goes to the journal needs no care.
    if writer.copies || !writer.stray.is_empty() || matches!(writer.target, Target::File(_)) {
        writers.insert(place, writer);
    }
}

/// Notes that the main process of a run has ended. What it has written stays until the LogKeeper has copied it.
pub fn end(target: &Target, run: u64) {
    let place = target.place();
    let mut writers = writers();
    if let Some(writer) = writers.get_mut(&place).filter(|writer| writer.run == run) {
        writer.ended = true;
        if writer.is_done() {
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

/// The output that follows the files of the log at `place`, of which `live` is the newest; the oldest first. The caller
/// holds the lock of the index.
pub(crate) fn waiting(place: &Path, live: Option<FileId>) -> Vec<Waiting> {
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
            left_bytes: stray.left_bytes(live),
        })
        .collect()
}

/// Whether a run was given another file than `live` and no look has found that yet: its output is stray soon.
pub(crate) fn is_unsettled(place: &Path, live: Option<FileId>) -> bool {
    let is_other = |own: &Given| own.file.is_some() && Some(own.id) != live;
    writers().get(place).is_some_and(|writer| writer.file.as_ref().is_some_and(is_other))
}

/// Logs with output outside their files.
pub(crate) fn stray_places() -> Vec<PathBuf> {
    writers().iter().filter(|(_, writer)| !writer.stray.is_empty()).map(|(place, _)| place.clone()).collect()
}

/// Notes how many bytes the file at the log's path had at a look.
pub(crate) fn saw(place: &Path, file: Option<FileId>, bytes: u64) {
    let mut writers = writers();
    let given = writers.get_mut(place).and_then(|writer| writer.file.as_mut());
    if let Some(given) = given.filter(|given| Some(given.id) == file) {
        given.seen_bytes = bytes;
    }
}

/// Checks whether the writer of a log still writes to the file at its path, which is `named` now. What it writes to
/// another file is stray from now on. The second part is true when the file of a run is found to be moved or removed.
pub(crate) fn look(place: &Path, named: Option<FileId>) -> (WriterState, bool) {
    let (state, was_moved, moved) = {
        let mut writers = writers();
        let Some(writer) = writers.get_mut(place) else { return (WriterState::default(), false) };
        let lives = !writer.ended;
        let state = WriterState { run: lives.then_some(writer.run), began_empty: writer.began_empty };
        let was_moved = std::mem::take(&mut writer.was_moved);
        let moved = writer.file.as_ref().filter(|own| lives && Some(own.id) != named);
        let moved = moved.map(|own| (own.clone(), writer.pid, writer.run));
        if writer.is_done() {
            writers.remove(place);
        }
        (state, was_moved, moved)
    };
    let Some((own, pid, run)) = moved else { return (state, was_moved) };
    let outputs = outputs_of(pid);
    let is_gone = |path: &PathBuf| {
        std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if outputs.iter().all(is_gone) {
        // It is ending.
        return (state, was_moved);
    }
    let source = outputs.iter().find_map(|path| {
        let is_own = std::fs::metadata(path).is_ok_and(|meta| id(&meta) == own.id);
        let source = is_own.then(|| open_again(path).ok()).flatten()?;
        source.metadata().is_ok_and(|meta| id(&meta) == own.id).then_some(source)
    });
    // A program that has sent its output elsewhere does not need its log.
    let stray = source.map(|source| Stray::found(Arc::new(source), own.seen_bytes, run));
    let found = stray.is_some();
    let mut writers = writers();
    if let Some(writer) = writers.get_mut(place).filter(|writer| writer.run == run)
        && writer.file.take_if(|file| file.id == own.id).is_some()
    {
        writer.stray.extend(stray);
    }
    (state, was_moved || found)
}

/// Finds what the runs that have ended have written to a file that was moved or removed since the last look.
pub(crate) fn look_at_ended() {
    let is_due = |writer: &Writer| writer.ended && writer.file.is_some();
    let due: Vec<PathBuf> =
        writers().iter().filter(|(_, writer)| is_due(writer)).map(|(place, _)| place.clone()).collect();
    for place in due {
        let named = std::fs::symlink_metadata(&place).ok().filter(Metadata::is_file);
        find_moved(&place, named.as_ref().map(id), true);
    }
}

/// What the run has written to its file is stray, if that is not the one at the log's path, which is `named`. A run that
/// has ended writes no more.
fn find_moved(place: &Path, named: Option<FileId>, only_ended: bool) {
    let is_due = |writer: &&Writer| writer.ended || !only_ended;
    let due = writers().get(place).filter(is_due).and_then(|writer| Some((writer.file.clone()?, writer.run)));
    let Some((own, run)) = due else { return };
    let moved = Some(own.id) != named;
    let stray = own.file.filter(|_| moved).map(|file| Stray::found(file, own.seen_bytes, run));
    let mut writers = writers();
    let Some(writer) = writers.get_mut(place).filter(|writer| writer.run == run) else { return };
    if writer.file.take_if(|file| file.id == own.id).is_none() {
        return;
    }
    writer.was_moved |= stray.is_some();
    writer.stray.extend(stray);
    if writer.is_done() {
        writers.remove(place);
    }
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
    let Some((mut stray, ended, run)) = writers().get_mut(place).map(|writer| {
        writer.copies = true;
        (std::mem::take(&mut writer.stray), writer.ended, writer.run)
    }) else {
        return Ok(());
    };
    let live_meta = live.as_ref().and_then(|live| live.metadata().ok());
    // The file is at the log's path again.
    let back = live_meta.filter(|meta| stray.iter().any(|stray| stray.file() == Some(id(meta))));
    let is_back = |stray: &&Stray| stray.file() == back.as_ref().map(id);
    let held_back =
        back.as_ref().and_then(|_| stray.iter().find(is_back)).map(|stray| Arc::clone(&stray.source));
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
        if copied.is_ok() {
            // Output is complete that no run could write any more before it was copied.
            stray.retain(|stray| !ended && stray.run == run);
        }
        stray.append(&mut writer.stray);
        (writer.stray, writer.copies) = (stray, false);
        if let (Some(meta), None) = (&back, &writer.file) {
            writer.file = Some(Given { id: id(meta), file: held_back, seen_bytes: meta.len() });
        }
        if copied.is_ok() {
            // The program of a run that is not in the table yet has not written.
            if let (Some(live), Some(index), true) = (&live, &mut index, writer.run == run) {
                index.begin_after(run, size(live));
            }
            if writer.is_done() {
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
