//! The adoption records of this heartbeatd. Only the reaper's thread writes them.
//!
//! A directory that cannot be written to stops nothing: the store keeps what should be on record, tries again, and
//! reports the failure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;

use heartbeat_status::{Exit, RealmName, RunId, frame};

use crate::record::{Origin, ProcessId, ProcessRecord};
use crate::{IdentityDigest, reserved_fds};

/// File beside the records: when heartbeatd was last alive, in clock ticks since boot. A process that started by then
/// and is in the session of a recorded process belongs to it: the session's pid was not reused by then.
pub(crate) const ALIVE_FILE: &str = "alive.now";
/// First words of that file.
pub(crate) const ALIVE_MAGIC: &str = "heartbeat-alive/1";

/// Where the store writes records.
pub(crate) trait RecordFiles {
    /// Writes a record as the newest of its file; `fresh`: into a new file.
    fn write(&mut self, record: &ProcessRecord, fresh: bool) -> io::Result<()>;
    /// Removes the file of a realm.
    fn remove(&mut self, realm: &RealmName) -> io::Result<()>;
}

/// The directory of records.
pub(crate) struct Directory(PathBuf);

impl RecordFiles for Directory {
    fn write(&mut self, record: &ProcessRecord, fresh: bool) -> io::Result<()> {
        reserved_fds::with(|| record.write(&self.0, fresh))
    }

    fn remove(&mut self, realm: &RealmName) -> io::Result<()> {
        std::fs::remove_file(ProcessRecord::path(&self.0, realm))
    }
}

pub(crate) struct RecordStore<F = Directory> {
    dir: PathBuf,
    files: F,
    pub(crate) origin: Origin,
    records: BTreeMap<RealmName, ProcessRecord>,
    /// Realms whose file this heartbeatd made with room for two: the next write goes into it.
    paged: BTreeSet<RealmName>,
    /// Realms whose record changed since it was written.
    dirty: BTreeSet<RealmName>,
    urgent: bool,
    /// Realms whose record could not be written.
    unwritten: BTreeSet<RealmName>,
    alive: Option<File>,
    /// The last known problem with writing.
    told: Option<String>,
    news: Option<Option<String>>,
}

impl RecordStore {
    pub(crate) fn new(dir: PathBuf, origin: Origin) -> Self {
        let files = Directory(dir.clone());
        Self::with(files, dir, origin)
    }
}

impl<F: RecordFiles> RecordStore<F> {
    fn with(files: F, dir: PathBuf, origin: Origin) -> Self {
        let mut records = Self {
            dir,
            files,
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
        records.touch();
        records
    }

    fn open(&mut self, realm: &RealmName) -> &mut ProcessRecord {
        self.records.entry(realm.clone()).or_insert_with(|| self.origin.record(realm))
    }

    /// Takes over what an earlier heartbeatd had on record. The record keeps its origin until the realm starts anew: a
    /// takeover proves nothing about a process of another state directory or namespace.
    ///
    /// `identity` is what its process would be made of now, for a record to which an earlier version gave none.
    pub(crate) fn carry_over(&mut self, realm: &RealmName, record: ProcessRecord, identity: IdentityDigest) {
        let identity = record.identity.clone().or(Some(identity));
        self.records.insert(realm.clone(), ProcessRecord { identity, ..record });
    }

    /// A process of the realm is about to exist.
    pub(crate) fn begin(
        &mut self,
        realm: &RealmName,
        process: ProcessId,
        group: Option<PathBuf>,
        identity: IdentityDigest,
        word: Option<String>,
    ) {
        let ours = self.origin.record(realm);
        let record = self.open(realm);
        *record = ProcessRecord {
            process: Some(process),
            group,
            identity: Some(identity),
            word,
            memory: record.memory.take(),
            edition: record.edition,
            ..ours
        };
        self.write(realm);
    }

    /// Another process of that generation is the main one now.
    pub(crate) fn follow(&mut self, realm: &RealmName, process: ProcessId) {
        let record = self.open(realm);
        (record.process, record.followed) = (Some(process), true);
        // The exit of the process before it is not an exit of the realm.
        record.exit = None;
        self.write(realm);
    }

    /// The main process of that generation has ended. The store writes that before the reaping: a reaped exit would be
    /// lost if heartbeatd died.
    pub(crate) fn ended(&mut self, realm: &RealmName, run: RunId, exit: Exit) {
        self.open(realm).exit = Some((run, exit));
        self.write(realm);
    }

    /// No process of that generation is left.
    pub(crate) fn end(&mut self, realm: &RealmName, run: RunId) {
        let Some(record) = self.records.get_mut(realm) else { return };
        if record.process.is_some_and(|process| process.run == run) {
            (record.process, record.group, record.followed) = (None, None, false);
            self.dirty.insert(realm.clone());
        }
    }

    /// Sets what heartbeatd remembers of the realm; `None`: nothing any more.
    pub(crate) fn remember(&mut self, realm: &RealmName, memory: Option<String>, soon: bool) {
        self.open(realm).memory = memory;
        self.dirty.insert(realm.clone());
        self.urgent |= !soon;
    }

    /// A record has changed since it was written.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// A changed record must not wait.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Writes each changed record once, however often it changed.
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
            match self.files.remove(realm) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => {
                    self.records.remove(realm);
                    Ok(())
                }
            }
        } else {
            record.edition += 1;
            let record = &*record;
            let fresh = !self.paged.contains(realm);
            let written = self.files.write(record, fresh);
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

    /// Runs at every tick: records that heartbeatd lives, and tries failed writes again.
    pub(crate) fn touch(&mut self) {
        if !self.dir.is_dir() {
            // Another process removed it. The store knows everything that belongs there.
            self.alive = None;
            // Its parent is left to the caretaker, which knows who may enter it.
            let _ = DirBuilder::new().mode(0o700).create(&self.dir);
            // The store makes each file anew, so none has room for a second page.
            self.paged.clear();
            self.unwritten.extend(self.records.keys().cloned());
        }
        if self.alive.is_none() {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false).mode(0o600);
            self.alive = options.open(self.dir.join(ALIVE_FILE)).ok();
        }
        // Always of the same length, so that it replaces the last one.
        let ticks = frame(ALIVE_MAGIC, &format!("{:020}\n", crate::tree::ticks_up()));
        // Without it a later heartbeatd cannot tell some leftovers from strangers, and leaves them alone.
        let _ = self.alive.as_ref().map(|file| file.write_all_at(ticks.as_bytes(), 0));
        for realm in std::mem::take(&mut self.unwritten) {
            self.write(&realm);
        }
        if self.unwritten.is_empty() {
            self.tell(None);
        }
    }

    fn tell(&mut self, problem: Option<String>) {
        if self.told.is_some() != problem.is_some() {
            self.news = Some(problem.clone());
        }
        self.told = problem;
    }

    /// Records cannot be written (and why), or can be again: once per change.
    pub(crate) fn news(&mut self) -> Option<Option<String>> {
        self.news.take()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn name() -> RealmName {
        RealmName::new("db").unwrap()
    }

    #[test]
    fn a_record_has_the_process_and_the_memory_until_neither_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut records = RecordStore::new(dir.path().into(), Origin::read("m".into()));
        let path = ProcessRecord::path(dir.path(), &name());
        let identity: IdentityDigest = "1 run=00000005".parse().unwrap();
        records.remember(&name(), Some("{}".into()), true);
        records.flush();
        records.begin(
            &name(),
            ProcessId { run: RunId(3), pid: 9, start_time: 1 },
            None,
            identity.clone(),
            None,
        );
        let record = ProcessRecord::read(&path).unwrap();
        assert_eq!(
            (record.process.unwrap().pid, record.identity, record.memory.as_deref()),
            (9, Some(identity), Some("{}"))
        );
        records.end(&name(), RunId(2));
        assert!(ProcessRecord::read(&path).unwrap().process.is_some(), "of another generation");
        records.end(&name(), RunId(3));
        records.flush();
        assert_eq!(ProcessRecord::read(&path).unwrap().process, None);
        records.remember(&name(), None, true);
        records.flush();
        assert!(!path.exists());
    }

    /// A daemon: the process that was started ends, another one is followed, and ends as well.
    #[test]
    fn the_exit_on_record_is_that_of_the_process_on_record() {
        let dir = tempfile::tempdir().unwrap();
        let mut records = RecordStore::new(dir.path().into(), Origin::read("m".into()));
        let on_record = || {
            let record = ProcessRecord::read(&ProcessRecord::path(dir.path(), &name())).unwrap();
            (record.process.map(|process| process.pid), record.exit, record.followed)
        };
        let process = |run, pid| ProcessId { run: RunId(run), pid, start_time: 1 };
        let digest = || "1 run=00000005".parse::<IdentityDigest>().unwrap();
        for run in 1..=2 {
            records.begin(&name(), process(run, 11), None, digest(), None);
            assert_eq!(on_record(), (Some(11), None, false), "nothing of the generation before");
            records.ended(&name(), RunId(run), Exit::code(0));
            assert_eq!(on_record(), (Some(11), Some((RunId(run), Exit::code(0))), false));
            records.follow(&name(), process(run, 12));
            assert_eq!(on_record(), (Some(12), None, true), "the daemon lives");
            records.ended(&name(), RunId(run), Exit::code(3));
            assert_eq!(on_record(), (Some(12), Some((RunId(run), Exit::code(3))), true));
        }
    }

    #[test]
    fn a_record_names_the_heartbeatd_that_started_its_process_after_each_takeover() {
        let dir = tempfile::tempdir().unwrap();
        let path = ProcessRecord::path(dir.path(), &name());
        let read = || {
            let record = ProcessRecord::read(&path).unwrap();
            (record.instance_tag, record.pid_namespace, record.process.map(|process| process.pid))
        };
        let digest = || "1 run=00000005".parse::<IdentityDigest>().unwrap();
        let process = |run, pid| ProcessId { run: RunId(run), pid, start_time: 1 };
        let other = Origin { pid_namespace: "pid:[7]".into(), ..Origin::read("theirs".into()) };
        RecordStore::new(dir.path().into(), other).begin(&name(), process(1, 11), None, digest(), None);
        for takeover in 1..=3 {
            let mut records = RecordStore::new(dir.path().into(), Origin::read("ours".into()));
            records.carry_over(&name(), ProcessRecord::read(&path).unwrap(), digest());
            records.remember(&name(), Some(format!("{takeover}")), false);
            records.flush();
            assert_eq!(read(), ("theirs".to_owned(), "pid:[7]".to_owned(), Some(11)), "{takeover}");
        }
        let mut records = RecordStore::new(dir.path().into(), Origin::read("ours".into()));
        records.carry_over(&name(), ProcessRecord::read(&path).unwrap(), digest());
        records.begin(&name(), process(2, 12), None, digest(), None);
        let namespace = Origin::read(String::new()).pid_namespace;
        assert_eq!(read(), ("ours".to_owned(), namespace, Some(12)), "a start is ours");
        assert_eq!(ProcessRecord::read(&path).unwrap().memory.as_deref(), Some("3"));
    }

    /// A directory of which the `at`-th write fails, and with `for_ever` every one from it on.
    struct Failing {
        files: Directory,
        errno: i32,
        writes: usize,
        at: usize,
        for_ever: bool,
    }

    impl Failing {
        fn count(&mut self) -> io::Result<()> {
            self.writes += 1;
            let fails = self.writes == self.at || (self.for_ever && self.writes > self.at);
            if fails { Err(io::Error::from_raw_os_error(self.errno)) } else { Ok(()) }
        }
    }

    impl RecordFiles for Failing {
        fn write(&mut self, record: &ProcessRecord, fresh: bool) -> io::Result<()> {
            self.count().and_then(|()| self.files.write(record, fresh))
        }

        fn remove(&mut self, realm: &RealmName) -> io::Result<()> {
            self.count().and_then(|()| self.files.remove(realm))
        }
    }

    /// Takes `db` and `web` through the first `steps` steps of their lives.
    fn live<F: RecordFiles>(records: &mut RecordStore<F>, steps: usize) {
        let web = RealmName::new("web").unwrap();
        let process = |run, pid| ProcessId { run: RunId(run), pid, start_time: 7 };
        let digest = || "1 run=00000005".parse::<IdentityDigest>().unwrap();
        let mut step = 0;
        let mut next = |act: &mut dyn FnMut(&mut RecordStore<F>)| {
            step += 1;
            if step <= steps {
                act(records);
                records.flush();
            }
        };
        next(&mut |records| records.remember(&name(), Some("first".into()), false));
        next(&mut |records| records.begin(&name(), process(1, 11), None, digest(), Some("w1".into())));
        next(&mut |records| records.begin(&web, process(1, 12), Some("/group".into()), digest(), None));
        next(&mut |records| records.follow(&name(), process(1, 13)));
        next(&mut |records| records.remember(&web, Some("x".repeat(5_000)), true));
        next(&mut |records| records.ended(&name(), RunId(1), Exit::code(3)));
        next(&mut |records| records.end(&name(), RunId(1)));
        next(&mut |records| records.begin(&name(), process(2, 14), None, digest(), Some("w2".into())));
        next(&mut |records| records.end(&web, RunId(1)));
        next(&mut |records| records.remember(&web, None, true));
        next(&mut |records| records.remember(&name(), Some("last".into()), false));
    }
    const STEPS: usize = 11;

    /// Everything on record, without the editions.
    fn on_record(dir: &Path) -> Vec<ProcessRecord> {
        let records = ProcessRecord::all(dir).unwrap().into_iter();
        records.map(|(_, record)| ProcessRecord { edition: 0, ..record.unwrap() }).collect()
    }

    #[test]
    fn a_write_that_fails_is_made_up_for_and_loses_nothing() {
        let mut points = 0;
        for steps in 1..=STEPS {
            let clean = tempfile::tempdir().unwrap();
            live(&mut RecordStore::new(clean.path().into(), Origin::read("m".into())), steps);
            let wanted = on_record(clean.path());
            for (errno, for_ever) in [libc::ENOSPC, libc::EIO, libc::EROFS]
                .into_iter()
                .flat_map(|errno| [(errno, false), (errno, true)])
            {
                for at in 1..=steps {
                    let dir = tempfile::tempdir().unwrap();
                    let files =
                        Failing { files: Directory(dir.path().into()), errno, writes: 0, at, for_ever };
                    let mut records = RecordStore::with(files, dir.path().into(), Origin::read("m".into()));
                    live(&mut records, steps);
                    if records.files.writes < at {
                        continue;
                    }
                    points += 1;
                    if for_ever {
                        // While it lasts, the store reports it once, and every `touch` tries again.
                        assert!(records.news().unwrap().unwrap().contains("cannot write the record of"));
                        records.touch();
                        assert!(records.news().is_none() && !records.unwritten.is_empty());
                        records.files.at = usize::MAX;
                    }
                    records.touch();
                    assert_eq!(on_record(dir.path()), wanted, "{errno} at write {at} of {steps} steps");
                    assert!(records.told.is_none());
                }
            }
        }
        assert!(points > 300, "{points}");
    }

    #[test]
    fn a_directory_that_vanishes_is_made_again_with_everything_in_it() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("realms");
        std::fs::create_dir(&dir).unwrap();
        let mut records = RecordStore::new(dir.clone(), Origin::read("m".into()));
        records.remember(&name(), Some("1".into()), true);
        records.flush();
        std::fs::remove_dir_all(&dir).unwrap();
        records.remember(&name(), Some("2".into()), true);
        records.flush();
        assert!(records.news().unwrap().unwrap().contains("db"));
        records.touch();
        assert_eq!(records.news(), Some(None), "it can be written again");
        assert_eq!(
            ProcessRecord::read(&ProcessRecord::path(&dir, &name())).unwrap().memory.as_deref(),
            Some("2")
        );
    }
}
