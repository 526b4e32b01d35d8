//! The adoption records of this life, and the one who writes them: the reaper's thread.
//!
//! A directory that cannot be written to stops nothing: what should be on record is kept here and tried again, and that
//! it is not on record is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;

use heartbeat_status::{Exit, RealmName, RunId};

use crate::frame::frame;
use crate::record::{Origin, Record, Recorded};
use crate::{IdentityDigest, spares};

/// Beside the records: when heartbeatd was last seen alive, in clock ticks since boot. Whoever had started by then and
/// is in the session of a recorded process belongs to it: its number could not have been used again.
pub(crate) const ALIVE_FILE: &str = "alive.now";
/// First words of it.
pub(crate) const ALIVE_MAGIC: &str = "heartbeat-alive/1";

pub(crate) struct Books {
    dir: PathBuf,
    pub(crate) origin: Origin,
    records: BTreeMap<RealmName, Record>,
    /// Files of this life with room for two: the next write goes into them.
    paged: BTreeSet<RealmName>,
    /// Changed since it was written.
    dirty: BTreeSet<RealmName>,
    urgent: bool,
    /// Could not be written.
    unwritten: BTreeSet<RealmName>,
    alive: Option<File>,
    /// What was told last about writing.
    told: Option<String>,
    news: Option<Option<String>>,
}

impl Books {
    pub(crate) fn new(dir: PathBuf, origin: Origin) -> Self {
        let mut books = Self {
            dir,
            origin,
            records: BTreeMap::new(),
            paged: BTreeSet::new(),
            dirty: BTreeSet::new(),
            urgent: false,
            unwritten: BTreeSet::new(),
            alive: None,
            told: None,
            news: None,
        };
        books.touch();
        books
    }

    fn open(&mut self, realm: &RealmName) -> &mut Record {
        self.records.entry(realm.clone()).or_insert_with(|| self.origin.record(realm))
    }

    /// What an earlier heartbeatd had on record is on record.
    ///
    /// `identity` is what its process would be made of now: it goes on record where an earlier version has put none.
    pub(crate) fn carry_over(&mut self, realm: &RealmName, record: Record, identity: IdentityDigest) {
        let (mark, known) = (self.origin.mark.clone(), record.identity.clone());
        let record = Record { mark, identity: known.or(Some(identity)), ..record };
        self.records.insert(realm.clone(), record);
    }

    /// A process of the realm is about to exist.
    pub(crate) fn begin(
        &mut self,
        realm: &RealmName,
        process: Recorded,
        group: Option<PathBuf>,
        identity: IdentityDigest,
        word: Option<String>,
    ) {
        let record = self.open(realm);
        (record.process, record.group, record.identity) = (Some(process), group, Some(identity));
        (record.exit, record.word) = (None, word);
        self.write(realm);
    }

    /// Another process of that generation is the main one.
    pub(crate) fn follow(&mut self, realm: &RealmName, process: Recorded) {
        self.open(realm).process = Some(process);
        self.write(realm);
    }

    /// The main process of that generation has ended, and was not reaped: what the kernel says of it would be lost with us.
    pub(crate) fn ended(&mut self, realm: &RealmName, run: RunId, exit: Exit) {
        self.open(realm).exit = Some((run, exit));
        self.write(realm);
    }

    /// Nothing of that generation is left.
    pub(crate) fn end(&mut self, realm: &RealmName, run: RunId) {
        let Some(record) = self.records.get_mut(realm) else { return };
        if record.process.is_some_and(|process| process.run == run) {
            (record.process, record.group) = (None, None);
            self.dirty.insert(realm.clone());
        }
    }

    /// heartbeatd has something to remember of the realm; `None`: nothing any more.
    pub(crate) fn remember(&mut self, realm: &RealmName, memory: Option<String>, soon: bool) {
        self.open(realm).memory = memory;
        self.dirty.insert(realm.clone());
        self.urgent |= !soon;
    }

    /// Something has changed since it was written.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Something of that must not wait.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Writes what has changed: once, however often it was said.
    pub(crate) fn flush(&mut self) {
        self.urgent = false;
        while let Some(realm) = self.dirty.pop_first() {
            self.write(&realm);
        }
    }

    fn write(&mut self, realm: &RealmName) {
        self.dirty.remove(realm);
        let Some(record) = self.records.get_mut(realm) else { return };
        let written = if record.process.is_none() && record.memory.is_none() {
            self.paged.remove(realm);
            match std::fs::remove_file(Record::path(&self.dir, realm)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => {
                    self.records.remove(realm);
                    Ok(())
                }
            }
        } else {
            record.edition += 1;
            let record = &*record;
            let fresh = !self.paged.contains(realm);
            let written = spares::with(|| record.write(&self.dir, fresh));
            if written.is_ok() && record.is_short() {
                self.paged.insert(realm.clone());
            } else {
                self.paged.remove(realm);
            }
            written
        };
        match written {
            Ok(()) => {
                self.unwritten.remove(realm);
            }
            Err(error) => {
                self.unwritten.insert(realm.clone());
                self.tell(Some(format!(
                    "cannot write the record of {realm} in {}: {error}",
                    self.dir.display()
                )));
            }
        }
    }

    /// Now and then: says that we live, and tries again what could not be written.
    pub(crate) fn touch(&mut self) {
        if !self.dir.is_dir() {
            // Somebody has removed it. Everything that belongs there is known here.
            self.alive = None;
            // The directory around it is made by whoever knows who is let into that.
            let _ = DirBuilder::new().mode(0o700).create(&self.dir);
            // No file has room for a second page any more: each is made anew.
            self.paged.clear();
            self.unwritten.extend(self.records.keys().cloned());
        }
        if self.alive.is_none() {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false).mode(0o600);
            self.alive = options.open(self.dir.join(ALIVE_FILE)).ok();
        }
        // Always of the same length: it is written over.
        let ticks = frame(ALIVE_MAGIC, &format!("{:020}\n", crate::tree::ticks_up()));
        // Without it some leftovers cannot be told from strangers, and are left alone.
        let _ = self.alive.as_ref().map(|file| file.write_all_at(ticks.as_bytes(), 0));
        for realm in std::mem::take(&mut self.unwritten) {
            self.write(&realm);
        }
        if self.unwritten.is_empty() {
            self.tell(None);
        }
    }

    fn tell(&mut self, trouble: Option<String>) {
        if self.told.is_some() != trouble.is_some() {
            self.news = Some(trouble.clone());
        }
        self.told = trouble;
    }

    /// Records cannot be written (and why), or can be again: when that has changed.
    pub(crate) fn news(&mut self) -> Option<Option<String>> {
        self.news.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> RealmName {
        RealmName::new("db").unwrap()
    }

    #[test]
    fn a_record_has_the_process_and_the_memory_until_neither_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut books = Books::new(dir.path().into(), Origin::read("m".into()));
        let path = Record::path(dir.path(), &name());
        let identity: IdentityDigest = "1 run=00000005".parse().unwrap();
        books.remember(&name(), Some("{}".into()), true);
        books.flush();
        books.begin(&name(), Recorded { run: RunId(3), pid: 9, start_time: 1 }, None, identity.clone(), None);
        let record = Record::read(&path).unwrap();
        assert_eq!(
            (record.process.unwrap().pid, record.identity, record.memory.as_deref()),
            (9, Some(identity), Some("{}"))
        );
        books.end(&name(), RunId(2));
        assert!(Record::read(&path).unwrap().process.is_some(), "of another generation");
        books.end(&name(), RunId(3));
        books.flush();
        assert_eq!(Record::read(&path).unwrap().process, None);
        books.remember(&name(), None, true);
        books.flush();
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_vanishes_is_made_again_with_everything_in_it() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("realms");
        std::fs::create_dir(&dir).unwrap();
        let mut books = Books::new(dir.clone(), Origin::read("m".into()));
        books.remember(&name(), Some("1".into()), true);
        books.flush();
        std::fs::remove_dir_all(&dir).unwrap();
        books.remember(&name(), Some("2".into()), true);
        books.flush();
        assert!(books.news().unwrap().unwrap().contains("db"));
        books.touch();
        assert_eq!(books.news(), Some(None), "it can be written again");
        assert_eq!(Record::read(&Record::path(&dir, &name())).unwrap().memory.as_deref(), Some("2"));
    }
}
