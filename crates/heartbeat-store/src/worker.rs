//! A thread, a connection, and what waits for it: writes are buffered in bounded memory until they are on disk,
//! questions are answered in turn. A disk that fails, is full, locked or slow holds this thread and nothing else.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_status::Instant;
use rusqlite::Connection;

use crate::StoreError;
use crate::file::{self, Schema};

/// Questions that may wait. One beyond that is answered with [`StoreError::Busy`].
const MAX_QUESTIONS: usize = 64;
/// What could not be written is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// A disk does not answer when so many looks in a row find the same work unfinished. Looks are counted and no time: while
/// heartbeatd itself is stopped, or its host sleeps, nothing looks.
const MAX_BUSY_LOOKS: u32 = 5;
/// How long the end of heartbeatd waits for the last write.
const CLOSING_WAIT: Duration = Duration::from_secs(3);

/// What the store has to say about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It cannot write, and why. What it was given waits in memory.
    Failing(String),
    /// Everything it was given is on disk.
    Working,
    /// A damaged file has another name now, and an empty one its place.
    SetAside(String),
    /// The file was removed or replaced while it was open; there is one again.
    Removed(String),
    /// More waits than memory may hold: this much was given up.
    Lost(String),
}

/// Receives reports, on the thread of the store or of the caller of `look_after`; must not wait.
pub type Reporter = Arc<dyn Fn(Report) + Send + Sync>;

/// Is called once, when a write is on disk, or when it cannot be for now; it is tried again then.
pub(crate) type Confirm = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What the thread does with its connection.
pub(crate) trait Duty: Send + 'static {
    /// What waits to be written, bounded.
    type Batch: Default + Send;

    fn is_empty(batch: &Self::Batch) -> bool;

    /// Puts what came meanwhile behind a batch that could not be written. Returns what had to be given up, if anything.
    fn join(earlier: &mut Self::Batch, later: Self::Batch) -> Option<String>;

    /// Takes the confirmations out of a batch.
    fn confirms(batch: &mut Self::Batch) -> Vec<Confirm>;

    /// A connection was opened; what does not hold what was written is damage.
    fn opened(&mut self, connection: &mut Connection) -> Result<(), StoreError>;

    /// Saves what is whole in a damaged file.
    fn salvage(&mut self, damaged: &Path, connection: &mut Connection);

    /// The file of `orphan` has lost its name: puts what must not be lost into the new file. Returns what to report, if
    /// the file is not one that people may delete.
    fn rescue(
        &mut self,
        orphan: &Connection,
        connection: &mut Connection,
    ) -> Result<Option<String>, StoreError>;

    /// Gives up the oldest when the file is nearly as large as it may be, and more of it when something did not fit.
    fn make_room(&mut self, connection: &mut Connection, short: bool) -> Result<(), StoreError>;

    /// Writes a batch: all of it, or nothing.
    fn write(&mut self, connection: &mut Connection, batch: &Self::Batch) -> Result<(), StoreError>;

    /// Does one piece of housekeeping; true when there is more to do.
    fn upkeep(&mut self, connection: &mut Connection) -> Result<bool, StoreError>;
}

type Question = Box<dyn FnOnce(Result<&Connection, StoreError>) + Send>;

struct State<B> {
    batch: B,
    questions: VecDeque<Question>,
    closing: bool,
    ended: bool,
    /// How many looks have found the thread busy with the same work on the disk.
    busy_looks: Option<u32>,
    /// A slow disk was reported.
    slow: bool,
    /// Device and inode of the file that is open.
    file: Option<(u64, u64)>,
    /// That file is not at its path any more.
    gone: bool,
}

struct Shared<B> {
    state: Mutex<State<B>>,
    changed: Condvar,
    path: PathBuf,
    now: fn() -> Instant,
    report: Reporter,
}

impl<B> Shared<B> {
    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the thread.
pub(crate) struct Worker<D: Duty> {
    shared: Arc<Shared<D::Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Duty> Worker<D> {
    /// Starts the thread, which opens the file.
    pub(crate) fn start(
        (name, path): (&str, PathBuf),
        schema: Schema,
        duty: D,
        now: fn() -> Instant,
        report: Reporter,
    ) -> Result<Self, StoreError> {
        let state = State {
            batch: D::Batch::default(),
            questions: VecDeque::new(),
            closing: false,
            ended: false,
            busy_looks: None,
            slow: false,
            file: None,
            gone: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            path: path.clone(),
            now,
            report,
        });
        let thread = Thread {
            shared: Arc::clone(&shared),
            schema,
            duty,
            connection: None,
            orphan: None,
            checked: false,
            short: false,
            failed: false,
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || thread.run())
            .map_err(StoreError::file("start a thread for", &path))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Changes what waits to be written. Never waits for the disk.
    pub(crate) fn push(&self, change: impl FnOnce(&mut D::Batch)) {
        change(&mut self.shared.state().batch);
        self.shared.changed.notify_all();
    }

    /// Has `question` answered on the thread, after everything that was pushed before. Never waits.
    pub(crate) fn ask<T: 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        answer: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        let mut state = self.shared.state();
        if state.ended || state.questions.len() >= MAX_QUESTIONS {
            let error = if state.ended {
                StoreError::Closed
            } else {
                StoreError::Busy { path: self.shared.path.clone() }
            };
            drop(state);
            return answer(Err(error));
        }
        state.questions.push_back(Box::new(move |connection| answer(connection.and_then(question))));
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Reports a disk that holds the thread for too long, and has the file made again when another process has removed
    /// or replaced it. To be called every few seconds, by a thread that may wait for a slow disk.
    pub(crate) fn look_after(&self) {
        let mut state = self.shared.state();
        state.busy_looks = state.busy_looks.map(|looks| looks + 1);
        if state.busy_looks.is_some_and(|looks| looks > MAX_BUSY_LOOKS) {
            let known = std::mem::replace(&mut state.slow, true);
            drop(state);
            if !known {
                let path = self.shared.path.display();
                (self.shared.report)(Report::Failing(format!("the disk under {path} does not answer")));
            }
            return;
        }
        drop(state);
        let here = file_of(&self.shared.path);
        let mut state = self.shared.state();
        if state.file.is_some() && state.file != here {
            state.gone = true;
            drop(state);
            self.shared.changed.notify_all();
        }
    }
}

impl<D: Duty> Drop for Worker<D> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closing = true;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_timeout_while(state, CLOSING_WAIT, |state| !state.ended);
        let ended = waited.map_or(true, |(state, _)| state.ended);
        if let (true, Some(thread)) = (ended, self.thread.take()) {
            // One that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

struct Thread<D: Duty> {
    shared: Arc<Shared<D::Batch>>,
    schema: Schema,
    duty: D,
    connection: Option<Connection>,
    /// A connection to the file that was removed or replaced, which still has its content.
    orphan: Option<(Connection, Option<(u64, u64)>)>,
    /// The file has been looked at since it was last in doubt.
    checked: bool,
    /// Something did not fit.
    short: bool,
    /// The last try failed.
    failed: bool,
}

impl<D: Duty> Thread<D> {
    fn run(mut self) {
        let mut kept = D::Batch::default();
        let mut failed: Option<(StoreError, Instant)> = None;
        let mut more = true;
        loop {
            let retry = failed.as_ref().map(|(_, at)| (*at + RETRY_AFTER).since((self.shared.now)()));
            let (batch, questions, closing) =
                self.take(if more && failed.is_none() { Some(Duration::ZERO) } else { retry });
            if let Some(given_up) = D::join(&mut kept, batch) {
                (self.shared.report)(Report::Lost(given_up));
            }
            let due = failed.as_ref().is_none_or(|(_, at)| (self.shared.now)().since(*at) >= RETRY_AFTER);
            if due || closing {
                self.set_busy(true);
                let done = self.work(&mut kept);
                self.set_busy(false);
                match done {
                    Ok(again) => {
                        more = again;
                        if failed.take().is_some() || self.was_slow() {
                            (self.shared.report)(Report::Working);
                        }
                    }
                    Err(error) => {
                        (self.shared.report)(Report::Failing(error.to_string()));
                        failed = Some((error, (self.shared.now)()));
                    }
                }
            }
            if let Some((error, _)) = &failed {
                for confirm in D::confirms(&mut kept) {
                    confirm(Err(error.clone()));
                }
            }
            for question in questions {
                let unavailable = || failed.as_ref().map_or(StoreError::Closed, |(error, _)| error.clone());
                question(self.connection.as_ref().ok_or_else(unavailable));
            }
            if closing {
                break;
            }
        }
        drop(self.connection);
        let mut state = self.shared.state();
        state.ended = true;
        let unanswered = std::mem::take(&mut state.questions);
        drop(state);
        self.shared.changed.notify_all();
        for question in unanswered {
            question(Err(StoreError::Closed));
        }
    }

    /// Waits until there is something to do.
    fn take(&self, within: Option<Duration>) -> (D::Batch, VecDeque<Question>, bool) {
        let idle = |state: &mut State<D::Batch>| {
            D::is_empty(&state.batch) && state.questions.is_empty() && !state.closing && !state.gone
        };
        let state = self.shared.state();
        let mut state = match within {
            None => self.shared.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Some(within) => {
                let waited = self.shared.changed.wait_timeout_while(state, within, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.gone = false;
        (std::mem::take(&mut state.batch), std::mem::take(&mut state.questions), state.closing)
    }

    fn set_busy(&self, busy: bool) {
        self.shared.state().busy_looks = busy.then_some(0);
    }

    fn was_slow(&self) -> bool {
        std::mem::take(&mut self.shared.state().slow)
    }

    /// Writes what waits and does one piece of housekeeping; true when there is more to do.
    fn work(&mut self, kept: &mut D::Batch) -> Result<bool, StoreError> {
        let mut worked = self.work_on_file(kept);
        if worked.as_ref().is_err_and(StoreError::is_full) {
            // On a disk that is full for others, nothing can be given up either, and nothing is lost.
            self.short = true;
            worked = self.work_on_file(kept);
        }
        if let Err(error) = &worked {
            self.checked &= !error.doubts_the_file();
        }
        self.failed = worked.is_err();
        worked
    }

    fn work_on_file(&mut self, kept: &mut D::Batch) -> Result<bool, StoreError> {
        let (known, here) = (self.shared.state().file, file_of(&self.shared.path));
        if known != here
            && let Some(connection) = self.connection.take()
        {
            file::disown(&connection).map_err(StoreError::database("leave", &self.shared.path))?;
            self.orphan = Some((connection, known));
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open()?,
        };
        if let Some((orphan, file)) = &self.orphan {
            // A directory that was away and is back has the same file in it.
            let same = *file == self.shared.state().file;
            let removed = if same { None } else { self.duty.rescue(orphan, &mut connection)? };
            self.orphan = None;
            if let Some(removed) = removed {
                (self.shared.report)(Report::Removed(removed));
            }
        }
        let worked = self.write(&mut connection, kept);
        // What a connection believes of its file may be wrong after an error; the next try begins with a new one. A disk
        // that is full, and a file that is locked, can be read all the same.
        if worked.as_ref().map_or_else(StoreError::leaves_the_file, |_| true) {
            self.connection = Some(connection);
        }
        worked
    }

    fn write(&mut self, connection: &mut Connection, kept: &mut D::Batch) -> Result<bool, StoreError> {
        // Housekeeping may be what did not fit.
        if self.short || !D::is_empty(kept) {
            self.duty.make_room(connection, std::mem::take(&mut self.short))?;
        }
        if !D::is_empty(kept) {
            self.duty.write(connection, kept)?;
            for confirm in D::confirms(kept) {
                confirm(Ok(()));
            }
            *kept = D::Batch::default();
        } else if self.failed {
            file::try_write(connection).map_err(StoreError::database("write", &self.shared.path))?;
        }
        self.duty.upkeep(connection)
    }

    fn open(&mut self) -> Result<Connection, StoreError> {
        let path = self.shared.path.clone();
        let opened = file::open(&path, &self.schema, !self.checked).and_then(|mut connection| {
            self.duty.opened(&mut connection)?;
            Ok(connection)
        });
        let connection = match opened {
            Err(error) if error.is_damage() => {
                let aside = file::set_aside(&path)?;
                let mut connection = file::open(&path, &self.schema, false)?;
                self.duty.salvage(&aside, &mut connection);
                self.duty.opened(&mut connection)?;
                let said = format!("{error}; it was set aside as {}", aside.display());
                (self.shared.report)(Report::SetAside(said));
                connection
            }
            opened => opened?,
        };
        self.checked = true;
        let here = file_of(&path);
        self.shared.state().file = here;
        Ok(connection)
    }
}

fn file_of(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
