//! Adoption records: which process is which realm's, on disk before the process exists for real.
//!
//! A record is a small framed text: a line with magic, length and checksum, then `key=value` lines. It is replaced
//! by rename, so a reader sees the old one or the new one; whatever was cut or changed is noticed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use heartbeat_status::{RealmName, RunId};

use crate::{RecordError, tree};

const MAGIC: &str = "heartbeat-adoption/1";
/// Largest record in bytes; a longer file is none.
const MAX_RECORD_BYTES: u64 = 4_096;

/// The identity of a running realm process. Only boot, pid and start time together name a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The realm.
    pub realm: RealmName,
    /// Its generation.
    pub run: RunId,
    /// Its pid.
    pub pid: u32,
    /// Start time of that pid in clock ticks since boot.
    pub start_time: u64,
    /// The boot it belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// The pid namespace the pid means something in.
    pub pid_namespace: String,
    /// Id of the state directory of the heartbeatd that started it.
    pub mark: String,
}

/// FNV-1a: every single change of a byte changes it, which is what a record needs to be told damaged.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl Record {
    /// Whether the process on record still runs: the same boot, the same pid namespace, and a living process of
    /// that pid and start time. A reused pid is somebody else.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let here = Origin::read(String::new());
        here.boot == self.boot
            && here.pid_namespace == self.pid_namespace
            && tree::stat(self.pid)
                .is_some_and(|stat| stat.start_time == self.start_time && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Every record in `dir`, by file name; temporary files of a write that was cut short are passed over.
    ///
    /// # Errors
    /// When the directory cannot be read. What a single file says is in its own result.
    pub fn all(dir: &Path) -> std::io::Result<Vec<Result<Self, RecordError>>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with('.') {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths.iter().map(|path| Self::read(path)).collect())
    }

    fn encode(&self) -> String {
        let body = format!(
            "realm={}\nrun={}\npid={}\nstart_time={}\nboot={}\npid_namespace={}\nmark={}\n",
            self.realm, self.run, self.pid, self.start_time, self.boot, self.pid_namespace, self.mark
        );
        format!("{MAGIC} {} {:016x}\n{body}", body.len(), checksum(body.as_bytes()))
    }

    fn decode(text: &str) -> Result<Self, &'static str> {
        let (head, body) = text.split_once('\n').ok_or("no head")?;
        let expected = format!("{MAGIC} {} {:016x}", body.len(), checksum(body.as_bytes()));
        if head != expected {
            return Err("head, length or checksum do not fit");
        }
        let field = |key: &str| {
            body.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .ok_or("a field is missing")
        };
        Ok(Self {
            realm: RealmName::new(field("realm")?).map_err(|_| "not a realm name")?,
            run: RunId(field("run")?.parse().map_err(|_| "not a generation")?),
            pid: field("pid")?.parse().map_err(|_| "not a pid")?,
            start_time: field("start_time")?.parse().map_err(|_| "not a start time")?,
            boot: field("boot")?.to_owned(),
            pid_namespace: field("pid_namespace")?.to_owned(),
            mark: field("mark")?.to_owned(),
        })
    }

    /// Where the record of a realm lies.
    #[must_use]
    pub fn path(dir: &Path, realm: &RealmName) -> PathBuf {
        dir.join(realm.as_str())
    }

    /// Reads one record.
    ///
    /// # Errors
    /// [`RecordError`]: unreadable, or not a whole record. A damaged record is never half believed.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let read = |source| RecordError::Read { path: path.to_owned(), source };
        let damaged = |what| RecordError::Damaged { path: path.to_owned(), what };
        if fs::metadata(path).map_err(read)?.len() > MAX_RECORD_BYTES {
            return Err(damaged("too long"));
        }
        let bytes = fs::read(path).map_err(read)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("not text"))?;
        Self::decode(text).map_err(damaged)
    }

    /// Writes the record in place of an older one.
    pub(crate) fn write(&self, dir: &Path) -> std::io::Result<()> {
        let path = Self::path(dir, &self.realm);
        // Realm names have no dot, so no realm can be called like this.
        let fresh = dir.join(format!(".{}.new", self.realm));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(self.encode().as_bytes())?;
        drop(file);
        fs::rename(&fresh, &path)
    }

    /// Removes the record of a realm, if it is still that of `run`.
    pub(crate) fn remove(dir: &Path, realm: &RealmName, run: RunId) {
        let path = Self::path(dir, realm);
        if Self::read(&path).is_ok_and(|record| record.run == run) {
            // What cannot be removed names a process that is gone, which its reader finds out.
            let _ = fs::remove_file(path);
        }
    }
}

/// What all records of this life of heartbeatd share.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) boot: String,
    pub(crate) pid_namespace: String,
    pub(crate) mark: String,
}

impl Origin {
    pub(crate) fn read(mark: String) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned());
        Self { boot: boot.trim().to_owned(), pid_namespace: namespace.unwrap_or_default(), mark }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            realm: RealmName::new("db").unwrap(),
            run: RunId(7),
            pid: 4_120,
            start_time: 99_001,
            boot: "6d1c".into(),
            pid_namespace: "pid:[4026531836]".into(),
            mark: "a1b2".into(),
        }
    }

    #[test]
    fn a_record_comes_back_and_goes_with_its_own_run_only() {
        let dir = tempfile::tempdir().unwrap();
        record().write(dir.path()).unwrap();
        let path = Record::path(dir.path(), &record().realm);
        assert_eq!(Record::read(&path).unwrap(), record());
        Record::remove(dir.path(), &record().realm, RunId(6));
        assert!(path.exists(), "the record of a later run stays");
        Record::remove(dir.path(), &record().realm, RunId(7));
        assert!(!path.exists());
    }

    #[test]
    fn only_the_very_process_is_alive() {
        let origin = Origin::read("a1b2".into());
        let start_time = tree::stat(std::process::id()).unwrap().start_time;
        let (boot, pid_namespace) = (origin.boot, origin.pid_namespace);
        let own = Record { pid: std::process::id(), start_time, boot, pid_namespace, ..record() };
        assert!(own.is_alive());
        assert!(!Record { start_time: start_time + 1, ..own.clone() }.is_alive(), "a reused pid");
        assert!(!Record { boot: "another".into(), ..own.clone() }.is_alive(), "before a reboot");
        assert!(!Record { pid_namespace: "pid:[1]".into(), ..own }.is_alive(), "another namespace");
    }

    #[test]
    fn every_truncation_and_every_bit_flip_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let whole = record().encode().into_bytes();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(Record::read(&path).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                fs::write(&path, &flipped).unwrap();
                assert!(Record::read(&path).is_err(), "byte {at} bit {bit}");
            }
        }
    }
}
