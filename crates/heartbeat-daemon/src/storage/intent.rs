//! The intent file: the requests of operators, on disk and synced before operators get an answer.
//!
//! A thread of its own writes it, so that a slow disk delays only the answer; a disk that cannot be written to delays
//! nothing, and is a problem of heartbeatd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_status::{Pause, RealmName, WallAnchor};
use heartbeat_supervisor::{OperatorHold, OperatorIntent};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::clock;
use crate::error::DaemonError;
use crate::storage::files::{self, Disk, FileError, LocalDisk};
use crate::storage::stored::{INTENT_MAGIC, StoredIntent, StoredMute, StoredPause, StoredWish};

/// heartbeatd tries a failed write again this often.
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub(crate) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("intent")
}

/// The last requests of operators.
pub(crate) fn load(state_dir: &Path) -> Result<StoredIntent, FileError> {
    let path = path(state_dir);
    let Some(body) = files::read(&path, INTENT_MAGIC)? else { return Ok(StoredIntent::default()) };
    serde_json::from_str(&body).map_err(|error| files::damaged(&path, error.to_string()))
}

/// The request about one realm, in the core's words.
pub(crate) fn intent(wish: &StoredWish, anchor: WallAnchor) -> OperatorIntent {
    let pause = wish.pause.as_ref().map(|pause| Pause {
        reason: pause.reason.clone(),
        until: pause.until.map(|until| clock::instant_of(until, anchor)),
    });
    let hold = OperatorHold { reason: wish.reason.clone(), by: wish.by, at: wish.at };
    OperatorIntent { desired: wish.desired, hold, pause }
}

fn wish(intent: OperatorIntent, anchor: WallAnchor) -> StoredWish {
    let pause = intent.pause.map(|pause| StoredPause {
        reason: pause.reason,
        until: pause.until.map(|until| anchor.wall(until)),
    });
    let OperatorHold { reason, by, at } = intent.hold;
    StoredWish { desired: intent.desired, reason, by, at, pause }
}

/// The intent file is not as operators want it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot write {path}: {source}", path = path.display())]
pub(crate) struct IntentError {
    path: PathBuf,
    /// Shared by everyone who waits for the same write.
    source: Arc<std::io::Error>,
}

impl IntentError {
    pub(crate) fn new(path: &Path, source: std::io::Error) -> Self {
        Self { path: path.to_owned(), source: Arc::new(source) }
    }
}

/// A registration that waits for a version to be on disk.
type Waiting = (u64, oneshot::Sender<Result<(), IntentError>>);

#[derive(Debug, Default)]
struct IntentState {
    /// The wanted content of the file.
    wanted: StoredIntent,
    /// Grows with every change.
    version: u64,
    /// The last version that a write has tried.
    written: u64,
    /// The last write has not ended yet, or has failed and is repeated.
    unsettled: bool,
    /// The task with the turn, and at most one more that has given up.
    waiting: Vec<Waiting>,
    closed: bool,
}

/// Access to the same file for other threads than the driver's: for registrations, and for the caretaker.
#[derive(Clone, Debug)]
pub(crate) struct IntentWriter {
    shared_state: Arc<(Mutex<IntentState>, Condvar)>,
    path: PathBuf,
}

impl IntentWriter {
    /// Writes the file again when another process has removed it. Never waits.
    pub(crate) fn restore(&self) {
        let (shared_state, wake) = &*self.shared_state;
        let mut shared_state = shared_state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_clean = shared_state.version == shared_state.written && !shared_state.unsettled;
        if is_clean && shared_state.wanted != StoredIntent::default() && self.path.symlink_metadata().is_err()
        {
            tracing::warn!(path = %self.path.display(), "the intent file is gone: heartbeatd writes it again");
            shared_state.version += 1;
            wake.notify_one();
        }
    }

    /// Writes all registrations to disk, or returns why that failed. `None` when heartbeatd is ending.
    pub(crate) async fn write(&self, registered: BTreeMap<String, Value>) -> Option<Result<(), IntentError>> {
        self.change(|wanted| wanted.registered = registered).await
    }

    /// Writes all mutes to disk, or returns why that failed. `None` when heartbeatd is ending.
    pub(crate) async fn write_mutes(
        &self,
        mutes: BTreeMap<String, StoredMute>,
    ) -> Option<Result<(), IntentError>> {
        self.change(|wanted| wanted.mutes = mutes).await
    }

    async fn change(&self, change: impl FnOnce(&mut StoredIntent)) -> Option<Result<(), IntentError>> {
        let (reply, written) = oneshot::channel();
        {
            let (shared_state, wake) = &*self.shared_state;
            let mut shared_state = shared_state.lock().unwrap_or_else(PoisonError::into_inner);
            if shared_state.closed {
                return None;
            }
            change(&mut shared_state.wanted);
            shared_state.version += 1;
            let version = shared_state.version;
            shared_state.waiting.push((version, reply));
            wake.notify_one();
        }
        written.await.ok()
    }
}

/// The file and its thread.
pub(crate) struct IntentFile {
    shared_state: Arc<(Mutex<IntentState>, Condvar)>,
    path: PathBuf,
    /// The last request about each realm, and the version that has it.
    known: BTreeMap<RealmName, (OperatorIntent, u64)>,
    thread: Option<JoinHandle<()>>,
}

impl IntentFile {
    /// The thread calls `told` after every write, with the version and the error.
    pub(crate) fn open(
        state_dir: &Path,
        stored: StoredIntent,
        told: impl Fn(u64, Option<IntentError>) + Send + 'static,
    ) -> Result<Self, DaemonError> {
        Self::open_on(LocalDisk, state_dir, stored, told)
    }

    fn open_on(
        mut disk: impl Disk + Send + 'static,
        state_dir: &Path,
        stored: StoredIntent,
        told: impl Fn(u64, Option<IntentError>) + Send + 'static,
    ) -> Result<Self, DaemonError> {
        let shared_state =
            Arc::new((Mutex::new(IntentState { wanted: stored, ..IntentState::default() }), Condvar::new()));
        let (path, shared) = (path(state_dir), Arc::clone(&shared_state));
        let own = path.clone();
        let thread = std::thread::Builder::new()
            .name("hb-intent".to_owned())
            .spawn(move || write_all(&mut disk, &own, &shared, &told))
            .map_err(|source| DaemonError::Runtime { what: "intent thread", source })?;
        Ok(Self { shared_state, path, known: BTreeMap::new(), thread: Some(thread) })
    }

    /// For other threads.
    pub(crate) fn writer(&self) -> IntentWriter {
        IntentWriter { shared_state: Arc::clone(&self.shared_state), path: self.path.clone() }
    }

    /// The version that has the last request about a realm; 0 when all of them are on disk already.
    pub(crate) fn version_of(&self, realm: &RealmName) -> u64 {
        self.known.get(realm).map_or(0, |(_, version)| *version)
    }

    /// Sets the request about a realm. Never waits.
    pub(crate) fn say(&mut self, realm: &RealmName, intent: OperatorIntent, anchor: WallAnchor) {
        if self.known.get(realm).is_some_and(|(known, _)| *known == intent) {
            return;
        }
        let version = self.version_of(realm);
        let (known, wish) = (intent.clone(), wish(intent, anchor));
        let version = self.write(realm, wish).unwrap_or(version);
        self.known.insert(realm.clone(), (known, version));
    }

    /// Returns the version that has it, if it is new.
    fn write(&self, realm: &RealmName, wish: StoredWish) -> Option<u64> {
        let (shared_state, wake) = &*self.shared_state;
        let mut shared_state = shared_state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shared_state.wanted.realms.get(realm.as_str()).cloned().unwrap_or_default();
        if before == wish {
            return None;
        }
        if wish == StoredWish::default() {
            shared_state.wanted.realms.remove(realm.as_str());
        } else {
            shared_state.wanted.realms.insert(realm.to_string(), wish);
        }
        shared_state.version += 1;
        wake.notify_one();
        Some(shared_state.version)
    }
}

impl Drop for IntentFile {
    fn drop(&mut self) {
        let (shared_state, wake) = &*self.shared_state;
        shared_state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread writes the rest, and ends.
            let _ = thread.join();
        }
    }
}

fn write_all(
    disk: &mut impl Disk,
    path: &Path,
    shared: &(Mutex<IntentState>, Condvar),
    told: &impl Fn(u64, Option<IntentError>),
) {
    let (shared_state, wake) = shared;
    let mut retry_due = false;
    loop {
        let guard = shared_state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |shared_state: &mut IntentState| {
            shared_state.version == shared_state.written && !shared_state.closed
        };
        let mut guard = if retry_due {
            let waited = wake.wait_timeout_while(guard, RETRY_AFTER, idle);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            wake.wait_while(guard, idle).unwrap_or_else(PoisonError::into_inner)
        };
        if guard.closed && guard.version == guard.written {
            return;
        }
        let (version, wanted) = (guard.version, guard.wanted.clone());
        (guard.written, guard.unsettled) = (version, true);
        drop(guard);
        let written = serde_json::to_string(&wanted)
            .map_err(std::io::Error::from)
            .and_then(|body| files::write_on(disk, path, INTENT_MAGIC, &body, true));
        let problem = written.err().map(|source| IntentError::new(path, source));
        retry_due = problem.is_some();
        shared_state.lock().unwrap_or_else(PoisonError::into_inner).unsettled = retry_due;
        told(version, problem.clone());
        let mut guard = shared_state.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, waiting) =
            std::mem::take(&mut guard.waiting).into_iter().partition(|(of, _)| *of <= version);
        guard.waiting = waiting;
        drop(guard);
        let done: Vec<Waiting> = done;
        for (_, waiting) in done {
            // A caller that has gone needs no result.
            let _ = waiting.send(problem.clone().map_or(Ok(()), Err));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use nix::libc;

    use super::*;
    use heartbeat_status::{Desired, Instant, WallTime};

    #[test]
    fn the_last_word_is_on_disk_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let anchor = clock::anchor();
        let name = RealmName::new("db").unwrap();
        let (sender, written) = std::sync::mpsc::sync_channel(8);
        let told = move |version, problem: Option<IntentError>| {
            sender.send((version, problem.map(|problem| problem.to_string()))).unwrap();
        };
        let mut file = IntentFile::open(dir.path(), StoredIntent::default(), told).unwrap();
        file.say(&name, OperatorIntent::default(), anchor);
        assert_eq!(file.version_of(&name), 0, "nothing was said");
        let until = clock::now() + Duration::from_secs(3_600);
        let said = OperatorIntent {
            desired: Some(Desired::Down),
            hold: OperatorHold {
                reason: Some("move".to_owned()),
                by: Some(0),
                at: Some(anchor.wall(clock::now())),
            },
            pause: Some(Pause { reason: "upgrade".to_owned(), until: Some(until) }),
        };
        file.say(&name, said.clone(), anchor);
        let version = file.version_of(&name);
        assert_eq!(written.recv().unwrap(), (version, None));
        file.say(&name, said.clone(), anchor);
        assert_eq!(file.version_of(&name), version, "no news");
        let back = intent(&load(dir.path()).unwrap().realms["db"], anchor);
        assert_eq!((back.desired, back.hold), (said.desired, said.hold));
        let drift =
            back.pause.unwrap().until.unwrap().since(Instant::ZERO).abs_diff(until.since(Instant::ZERO));
        assert!(drift < Duration::from_millis(5), "{drift:?}");
        file.say(&name, OperatorIntent::default(), anchor);
        drop(file);
        assert!(load(dir.path()).unwrap().realms.is_empty(), "what is not wished any more is not there");
    }

    #[tokio::test]
    async fn what_is_registered_is_on_disk_when_it_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let file = IntentFile::open(dir.path(), StoredIntent::default(), |_, _| {}).unwrap();
        let book = file.writer();
        let registered = BTreeMap::from([("shop".to_owned(), serde_json::json!({ "port": 8001 }))]);
        assert!(book.write(registered.clone()).await.unwrap().is_ok());
        assert_eq!(load(dir.path()).unwrap().registered, registered);
        std::fs::create_dir(dir.path().join("intent.new")).unwrap();
        let refused = book.write(BTreeMap::new()).await.unwrap().unwrap_err().to_string();
        assert!(refused.starts_with("cannot write "), "{refused}");
        assert_eq!(load(dir.path()).unwrap().registered, registered, "it is what it was");
        drop(file);
        assert!(book.write(BTreeMap::new()).await.is_none(), "the thread that writes it is gone");
    }

    #[tokio::test]
    async fn a_mute_is_on_disk_beside_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = IntentFile::open(dir.path(), StoredIntent::default(), |_, _| {}).unwrap();
        let (writer, at) = (file.writer(), WallTime::from_millis(1_795_473_598_000));
        let registered = BTreeMap::from([("shop".to_owned(), serde_json::json!({ "port": 8001 }))]);
        assert!(writer.write(registered.clone()).await.unwrap().is_ok());
        let mute = StoredMute { reason: "move".to_owned(), until: at, by: Some(0), at };
        let mutes = BTreeMap::from([("db".to_owned(), mute)]);
        assert!(writer.write_mutes(mutes.clone()).await.unwrap().is_ok());
        let read = load(dir.path()).unwrap();
        assert_eq!((read.mutes, read.registered), (mutes, registered));
    }

    #[test]
    fn a_file_that_is_removed_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, written) = std::sync::mpsc::sync_channel(8);
        let told = move |_, problem: Option<IntentError>| {
            sender.send(problem.map(|problem| problem.to_string())).unwrap();
        };
        let mut file = IntentFile::open(dir.path(), StoredIntent::default(), told).unwrap();
        let (writer, name) = (file.writer(), RealmName::new("db").unwrap());
        writer.restore();
        file.say(
            &name,
            OperatorIntent { desired: Some(Desired::Down), ..OperatorIntent::default() },
            clock::anchor(),
        );
        assert_eq!(written.recv().unwrap(), None);
        writer.restore();
        std::fs::remove_file(path(dir.path())).unwrap();
        writer.restore();
        assert_eq!(written.recv().unwrap(), None);
        assert_eq!(load(dir.path()).unwrap().realms["db"].desired, Some(Desired::Down));
        assert!(written.try_recv().is_err(), "once, and nothing was written without a need");
    }

    #[test]
    fn a_file_that_the_disk_refuses_is_not_called_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (full, steps) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let disk = Failing { errno: libc::ENOSPC, at: 1, for_ever: Arc::clone(&full), steps };
        let (sender, written) = std::sync::mpsc::sync_channel(8);
        let told = move |version, problem: Option<IntentError>| {
            // The test hears no more than it waits for.
            let _ = sender.send((version, problem.is_none()));
        };
        let mut file = IntentFile::open_on(disk, dir.path(), StoredIntent::default(), told).unwrap();
        let (writer, name) = (file.writer(), RealmName::new("db").unwrap());
        let said = OperatorIntent { desired: Some(Desired::Down), ..OperatorIntent::default() };
        file.say(&name, said, clock::anchor());
        assert_eq!(written.recv().unwrap(), (1, false));
        for _ in 0..3 {
            writer.restore();
            assert_eq!(file.shared_state.0.lock().unwrap().version, 1, "it is repeated in any case");
        }
        full.store(false, Ordering::SeqCst);
        assert!(written.iter().any(|news| news == (1, true)), "and written when there is room");
        std::fs::remove_file(path(dir.path())).unwrap();
        writer.restore();
        assert!(written.iter().any(|news| news == (2, true)));
        assert_eq!(load(dir.path()).unwrap().realms["db"].desired, Some(Desired::Down));
    }

    #[test]
    fn what_was_written_before_there_were_registrations_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let old = r#"{"realms":{"db":{"desired":"down"}}}"#;
        files::write(&path(dir.path()), INTENT_MAGIC, old, true).unwrap();
        let read = load(dir.path()).unwrap();
        assert_eq!((read.realms["db"].desired, read.registered.len()), (Some(Desired::Down), 0));
        assert_eq!(serde_json::to_string(&read).unwrap(), old, "and written as it was");
    }

    /// A disk whose `at`-th step fails, and every step from it on while `for_ever`.
    struct Failing {
        errno: i32,
        at: usize,
        for_ever: Arc<AtomicBool>,
        steps: Arc<AtomicUsize>,
    }

    impl Failing {
        fn step(&mut self) -> io::Result<()> {
            let step = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
            let fails = step == self.at || (step > self.at && self.for_ever.load(Ordering::SeqCst));
            if fails { Err(io::Error::from_raw_os_error(self.errno)) } else { Ok(()) }
        }
    }

    impl Disk for Failing {
        fn remove(&mut self, path: &Path) -> io::Result<()> {
            self.step().and_then(|()| LocalDisk.remove(path))
        }

        fn create(&mut self, path: &Path) -> io::Result<File> {
            self.step().and_then(|()| LocalDisk.create(path))
        }

        fn fill(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
            let step = self.step();
            // A full disk takes a part.
            let taken = if step.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
            LocalDisk.fill(file, taken).and(step)
        }

        fn sync(&mut self, _: &File) -> io::Result<()> {
            self.step()
        }

        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.step().and_then(|()| LocalDisk.rename(from, to))
        }
    }

    /// Orders of operators, one after the other.
    fn orders() -> [(RealmName, OperatorIntent); 4] {
        let name = |name| RealmName::new(name).unwrap();
        let desired = |desired| OperatorIntent { desired: Some(desired), ..OperatorIntent::default() };
        let long = OperatorHold { reason: Some("why ".repeat(2_000)), by: Some(0), at: None };
        let held = OperatorIntent { hold: long, ..desired(Desired::Down) };
        [
            (name("db"), desired(Desired::Down)),
            (name("web"), held),
            (name("db"), OperatorIntent::default()),
            (name("web"), desired(Desired::Up)),
        ]
    }

    /// Runs all orders on a disk that fails this way; returns the number of its steps.
    fn order_on_failing_disk(errno: i32, at: usize, permanent: bool) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let (for_ever, steps) = (Arc::new(AtomicBool::new(permanent)), Arc::new(AtomicUsize::new(0)));
        let disk = Failing { errno, at, for_ever: Arc::clone(&for_ever), steps: Arc::clone(&steps) };
        let (sender, written) = std::sync::mpsc::sync_channel(8);
        let told = move |version, problem: Option<IntentError>| {
            sender.send((version, problem.map(|problem| problem.to_string()))).unwrap();
        };
        let mut file = IntentFile::open_on(disk, dir.path(), StoredIntent::default(), told).unwrap();
        let (anchor, context) = (clock::anchor(), format!("{errno} at step {at}, for ever: {permanent}"));
        let mut before = StoredIntent::default();
        for (realm, said) in orders() {
            file.say(&realm, said, anchor);
            // A machine that is busy for seconds sees a failed write repeated meanwhile.
            let version = file.version_of(&realm);
            let (_, problem) = written.iter().find(|(told, _)| *told == version).unwrap();
            let on_disk = load(dir.path()).unwrap_or_else(|error| {
                // The very first write was cut, and its rest could not be removed: heartbeatd notices that.
                assert!(before == StoredIntent::default() && problem.is_some(), "{context}: {error}");
                StoredIntent::default()
            });
            let wanted = file.shared_state.0.lock().unwrap().wanted.clone();
            match problem {
                None => assert_eq!(on_disk, wanted, "{context}: it is on disk when it is said to be"),
                Some(problem) => {
                    assert!(problem.starts_with("cannot write "), "{problem}");
                    assert!(on_disk == before || on_disk == wanted, "{context}: {on_disk:?}");
                }
            }
            before = on_disk;
        }
        for_ever.store(false, Ordering::SeqCst);
        let (last, said) = (RealmName::new("last").unwrap(), Some(Desired::Down));
        file.say(&last, OperatorIntent { desired: said, ..OperatorIntent::default() }, anchor);
        let wanted = file.shared_state.0.lock().unwrap().wanted.clone();
        let (_, problem) = written.iter().find(|(told, _)| *told == file.version_of(&last)).unwrap();
        drop(file);
        if problem.is_none() {
            assert_eq!(
                load(dir.path()).unwrap(),
                wanted,
                "{context}: everything, once the disk takes it again"
            );
        }
        steps.load(Ordering::SeqCst)
    }

    #[test]
    fn whichever_step_of_a_write_fails_the_file_is_whole_and_nothing_is_lost() {
        let mut points = 0;
        for errno in [libc::ENOSPC, libc::EIO, libc::EROFS, libc::EDQUOT] {
            for permanent in [false, true] {
                // Until a run has fewer steps than `at`.
                for at in 1.. {
                    if order_on_failing_disk(errno, at, permanent) < at {
                        break;
                    }
                    points += 1;
                }
            }
        }
        assert!(points > 150, "{points}");
    }

    #[test]
    fn a_disk_that_cannot_be_written_to_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, written) = std::sync::mpsc::sync_channel(8);
        let told = move |_, problem: Option<IntentError>| {
            sender.send(problem.map(|problem| problem.to_string())).unwrap();
        };
        let missing = dir.path().join("not-there");
        let mut file = IntentFile::open(&missing, StoredIntent::default(), told).unwrap();
        let said = OperatorIntent { desired: Some(Desired::Down), ..OperatorIntent::default() };
        file.say(&RealmName::new("db").unwrap(), said, clock::anchor());
        assert!(written.recv().unwrap().unwrap().contains("not-there"));
    }
}
