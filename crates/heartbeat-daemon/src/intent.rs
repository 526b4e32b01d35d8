//! The intent file: what operators have said, on disk and synced before they are answered.
//!
//! A thread of its own writes it, so that a slow disk holds nobody up but the answer; a disk that cannot be written to
//! holds up nothing, and is a trouble of heartbeatd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use heartbeat_status::{Pause, RealmName, WallAnchor};
use heartbeat_supervisor::Intent;

use crate::files::{self, FileError};
use crate::stored::{INTENT_MAGIC, StoredIntent, StoredPause, StoredWish};
use crate::{DaemonError, clock};

pub(crate) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("intent")
}

/// What operators have last said.
pub(crate) fn load(state_dir: &Path) -> Result<StoredIntent, FileError> {
    let path = path(state_dir);
    let Some(body) = files::read(&path, INTENT_MAGIC)? else { return Ok(StoredIntent::default()) };
    serde_json::from_str(&body).map_err(|error| files::damaged(&path, error.to_string()))
}

/// What was said about one realm, in the core's words.
pub(crate) fn intent(wish: &StoredWish, anchor: WallAnchor) -> Intent {
    let pause = wish.pause.as_ref().map(|pause| Pause {
        reason: pause.reason.clone(),
        until: pause.until.map(|until| clock::instant_of(until, anchor)),
    });
    Intent { desired: wish.desired, reason: wish.reason.clone(), pause }
}

fn wish(intent: Intent, anchor: WallAnchor) -> StoredWish {
    let pause = intent.pause.map(|pause| StoredPause {
        reason: pause.reason,
        until: pause.until.map(|until| anchor.wall(until)),
    });
    StoredWish { desired: intent.desired, reason: intent.reason, pause }
}

#[derive(Debug, Default)]
struct Pages {
    /// What is to be on disk.
    wanted: StoredIntent,
    /// Grows with every change.
    version: u64,
    /// The last version that a write was made of.
    written: u64,
    closed: bool,
}

/// The file and its thread.
pub(crate) struct IntentFile {
    pages: Arc<(Mutex<Pages>, Condvar)>,
    known: BTreeMap<RealmName, Intent>,
    thread: Option<JoinHandle<()>>,
}

impl IntentFile {
    /// `told` is called on the thread after every write, with the version it was made of and what went wrong.
    pub(crate) fn open(
        state_dir: &Path,
        stored: StoredIntent,
        told: impl Fn(u64, Option<String>) + Send + 'static,
    ) -> Result<Self, DaemonError> {
        let pages = Arc::new((Mutex::new(Pages { wanted: stored, ..Pages::default() }), Condvar::new()));
        let (path, shared) = (path(state_dir), Arc::clone(&pages));
        let thread = std::thread::Builder::new()
            .name("hb-intent".to_owned())
            .spawn(move || write_all(&path, &shared, &told))
            .map_err(|source| DaemonError::Runtime { what: "intent thread", source })?;
        Ok(Self { pages, known: BTreeMap::new(), thread: Some(thread) })
    }

    /// What is said about a realm now. Never waits. Returns the version that has it on disk, when it is news.
    pub(crate) fn say(&mut self, realm: &RealmName, intent: Intent, anchor: WallAnchor) -> Option<u64> {
        if self.known.get(realm).is_some_and(|known| *known == intent) {
            return None;
        }
        self.known.insert(realm.clone(), intent.clone());
        let wish = wish(intent, anchor);
        let (pages, wake) = &*self.pages;
        let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pages.wanted.realms.get(realm.as_str()).cloned().unwrap_or_default();
        if before == wish {
            return None;
        }
        if wish == StoredWish::default() {
            pages.wanted.realms.remove(realm.as_str());
        } else {
            pages.wanted.realms.insert(realm.to_string(), wish);
        }
        pages.version += 1;
        wake.notify_one();
        Some(pages.version)
    }
}

impl Drop for IntentFile {
    fn drop(&mut self) {
        let (pages, wake) = &*self.pages;
        pages.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It writes what is still to be written, and ends.
            let _ = thread.join();
        }
    }
}

fn write_all(path: &Path, shared: &(Mutex<Pages>, Condvar), told: &impl Fn(u64, Option<String>)) {
    let (pages, wake) = shared;
    loop {
        let guard = pages.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |pages: &mut Pages| pages.version == pages.written && !pages.closed;
        let mut guard = wake.wait_while(guard, idle).unwrap_or_else(PoisonError::into_inner);
        if guard.version == guard.written {
            return;
        }
        let (version, wanted) = (guard.version, guard.wanted.clone());
        guard.written = version;
        drop(guard);
        let written = serde_json::to_string(&wanted)
            .map_err(std::io::Error::from)
            .and_then(|body| files::write(path, INTENT_MAGIC, &body, true));
        told(version, written.err().map(|why| format!("cannot write {}: {why}", path.display())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::{Desired, Instant};
    use std::time::Duration;

    #[test]
    fn the_last_word_is_on_disk_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let anchor = clock::anchor();
        let name = RealmName::new("db").unwrap();
        let (sender, written) = std::sync::mpsc::sync_channel(8);
        let told = move |version, trouble: Option<String>| sender.send((version, trouble)).unwrap();
        let mut file = IntentFile::open(dir.path(), StoredIntent::default(), told).unwrap();
        assert_eq!(file.say(&name, Intent::default(), anchor), None, "nothing was said");
        let until = clock::now() + Duration::from_secs(3_600);
        let said = Intent {
            desired: Some(Desired::Down),
            reason: Some("move".to_owned()),
            pause: Some(Pause { reason: "upgrade".to_owned(), until: Some(until) }),
        };
        let version = file.say(&name, said.clone(), anchor).unwrap();
        assert_eq!(written.recv().unwrap(), (version, None));
        assert_eq!(file.say(&name, said.clone(), anchor), None, "no news");
        let back = intent(&load(dir.path()).unwrap().realms["db"], anchor);
        assert_eq!((back.desired, back.reason), (said.desired, said.reason));
        let drift =
            back.pause.unwrap().until.unwrap().since(Instant::ZERO).abs_diff(until.since(Instant::ZERO));
        assert!(drift < Duration::from_millis(5), "{drift:?}");
        file.say(&name, Intent::default(), anchor).unwrap();
        drop(file);
        assert!(load(dir.path()).unwrap().realms.is_empty(), "what is not wished any more is not there");
    }

    #[test]
    fn a_disk_that_cannot_be_written_to_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, written) = std::sync::mpsc::sync_channel(8);
        let told = move |_, trouble: Option<String>| sender.send(trouble).unwrap();
        let missing = dir.path().join("not-there");
        let mut file = IntentFile::open(&missing, StoredIntent::default(), told).unwrap();
        let said = Intent { desired: Some(Desired::Down), ..Intent::default() };
        file.say(&RealmName::new("db").unwrap(), said, clock::anchor());
        assert!(written.recv().unwrap().unwrap().contains("not-there"));
    }
}
