//! Adoption records: which process belongs to which realm, on disk before its program runs, and what heartbeatd itself
//! remembers of the realm.
//!
//! A record is a small framed text: a line with magic, length and checksum, then `key=value` lines. A file has room for
//! two records, a page each, and a write replaces the older one. A reader sees the last record or the new one: a kill
//! does not cut a write within a page, and the checksum reveals any other damage. (On ext4, a rename over another file
//! costs 0.7 ms, since ext4 begins to write the file to disk at once; a page costs 0.005 ms.) heartbeatd writes a new
//! file, and a record that is too long for its page, beside and renames it. It syncs nothing: a record has to survive
//! heartbeatd, not the host, which no process survives either.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use heartbeat_status::{Exit, ExitKind, RealmName, RunId, Signal, frame, unframe};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

use crate::{IdentityDigest, RecordError, tree};

const MAGIC: &str = "heartbeat-adoption/3";
/// Room of one record, in bytes.
const PAGE_BYTES: usize = 4_096;
/// Size of a file with room for two records, in bytes.
const PAGES_BYTES: usize = 2 * PAGE_BYTES;
/// Largest record in bytes; a longer file is not a record.
const MAX_RECORD_BYTES: u64 = 1024 * 1024;

/// A process on record. Only boot, pid namespace, pid and start time together name a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId {
    /// The generation of the realm.
    pub run: RunId,
    /// Its process id (pid).
    pub pid: u32,
    /// Start time of that pid in clock ticks since boot.
    pub start_time: u64,
}

/// What is on record of a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRecord {
    /// The realm it belongs to.
    pub realm: RealmName,
    /// The boot it belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// The pid namespace of its pid.
    pub pid_namespace: String,
    /// Its heartbeatd was process 1 of that namespace: when it ended, the kernel killed every process in there.
    pub init: bool,
    /// Id of the state directory of the heartbeatd that wrote it.
    pub instance_tag: String,
    /// Its main process, while that or another process of its tree is left.
    pub process: Option<ProcessId>,
    /// That process replaced the one that heartbeatd started: a pid file or the realm named it.
    pub followed: bool,
    /// The word in the environment of the processes of that run and of no other; a run of an earlier version has none.
    pub word: Option<String>,
    /// How a generation ended, from before its main process is reaped until the next one begins.
    pub exit: Option<(RunId, Exit)>,
    /// The control group it lives in.
    pub group: Option<PathBuf>,
    /// What its process was made of when it was last started; `None` when an earlier version wrote the record.
    pub identity: Option<IdentityDigest>,
    /// What heartbeatd remembers of it: one line, opaque.
    pub memory: Option<String>,
    /// Grows with every write: of two records the one with the higher edition holds.
    pub(crate) edition: u64,
}

/// Reads a file of the directory of records: only a regular one, through no link, within a bound. It does not wait on a
/// pipe.
pub(crate) fn own_file(path: &Path) -> Result<Vec<u8>, RecordError> {
    let read = |source| RecordError::Read { path: path.to_owned(), source };
    let damaged = |what| RecordError::Damaged { path: path.to_owned(), what };
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path).map_err(read)?;
    let meta = file.metadata().map_err(read)?;
    if !meta.is_file() {
        return Err(damaged("not a regular file"));
    }
    // One read, and one that finds the end.
    let mut bytes = Vec::with_capacity(meta.len().min(MAX_RECORD_BYTES) as usize + 1);
    file.take(MAX_RECORD_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > MAX_RECORD_BYTES {
        return Err(damaged("too long"));
    }
    Ok(bytes)
}

impl ProcessRecord {
    /// Whether the process on record still runs: the same boot, the same pid namespace, and a living process of that
    /// pid and start time. A reused pid belongs to another process.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let here = Origin::read(String::new());
        let Some(process) = self.process else { return false };
        here.boot == self.boot
            && here.pid_namespace == self.pid_namespace
            && tree::stat(process.pid)
                .is_some_and(|stat| stat.start_time == process.start_time && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Every record in `dir`, by file name, with its path. Skips temporary files of an interrupted write. A directory
    /// that is missing has none.
    ///
    /// # Errors
    /// The directory cannot be read. Each file has a result of its own.
    pub fn all(dir: &Path) -> std::io::Result<Vec<(PathBuf, Result<Self, RecordError>)>> {
        let mut paths = Vec::new();
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().contains('.') {
                paths.push(entry.path());
            }
        }
        paths.sort();
        let read = |path: PathBuf| {
            let record = Self::read(&path);
            (path, record)
        };
        Ok(paths.into_iter().map(read).collect())
    }

    fn encode(&self) -> String {
        use std::fmt::Write as _;
        let mut body = format!(
            "edition={}\nrealm={}\nboot={}\npid_namespace={}\ninit={}\nmark={}\n",
            self.edition, self.realm, self.boot, self.pid_namespace, self.init, self.instance_tag
        );
        if let Some(ProcessId { run, pid, start_time }) = self.process {
            let _ = write!(body, "run={run}\npid={pid}\nstart_time={start_time}\n");
        }
        if self.followed {
            body.push_str("followed=true\n");
        }
        if let Some(word) = &self.word {
            let _ = writeln!(body, "word={word}");
        }
        if let Some((run, exit)) = &self.exit {
            let _ = writeln!(body, "exit={run} {}", exit_text(exit));
        }
        if let Some(group) = &self.group {
            let _ = writeln!(body, "group={}", group.display());
        }
        if let Some(identity) = &self.identity {
            let _ = writeln!(body, "identity={identity}");
        }
        if let Some(memory) = &self.memory {
            let _ = writeln!(body, "memory={}", memory.replace('\n', " "));
        }
        frame(MAGIC, &body)
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let body = unframe(MAGIC, bytes)?;
        let optional = |key: &str| body.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let field = |key: &str| optional(key).ok_or("a field is missing");
        let process = match optional("pid") {
            None => None,
            Some(pid) => Some(ProcessId {
                run: RunId(field("run")?.parse().map_err(|_| "not a generation")?),
                pid: pid.parse().map_err(|_| "not a pid")?,
                start_time: field("start_time")?.parse().map_err(|_| "not a start time")?,
            }),
        };
        Ok(Self {
            realm: RealmName::new(field("realm")?).map_err(|_| "not a realm name")?,
            boot: field("boot")?.to_owned(),
            pid_namespace: field("pid_namespace")?.to_owned(),
            init: field("init")? == "true",
            instance_tag: field("mark")?.to_owned(),
            process,
            followed: optional("followed") == Some("true"),
            word: optional("word").map(str::to_owned),
            exit: optional("exit").map(|text| exit_of(text).ok_or("not an exit")).transpose()?,
            group: optional("group").map(PathBuf::from),
            // A digest of another version is ignored.
            identity: optional("identity").and_then(|text| text.parse().ok()),
            memory: optional("memory").map(str::to_owned),
            edition: field("edition")?.parse().map_err(|_| "not an edition")?,
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
    /// [`RecordError`]: unreadable, or not a whole record. No part of a damaged record is used.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let damaged = |what| RecordError::Damaged { path: path.to_owned(), what };
        Self::newest(&own_file(path)?).map_err(damaged)
    }

    /// The newest record in the bytes of a file.
    fn newest(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < PAGE_BYTES {
            return Err("too short");
        }
        if bytes.len() != PAGES_BYTES {
            return Self::decode(bytes);
        }
        let mut newest: Option<Self> = None;
        for page in bytes.chunks(PAGE_BYTES) {
            let Some(last) = page.iter().rposition(|byte| *byte != 0) else { continue };
            // A damaged record may have been the newest, so the whole file counts as damaged.
            let record = Self::decode(&page[..=last])?;
            if newest.as_ref().is_none_or(|newest| newest.edition < record.edition) {
                newest = Some(record);
            }
        }
        newest.ok_or("empty")
    }

    /// Writes the record as the newest of its file. `fresh`: into a new file, which replaces any that is there.
    pub(crate) fn write(&self, dir: &Path, fresh: bool) -> std::io::Result<()> {
        let path = Self::path(dir, &self.realm);
        let text = self.encode();
        let mut page = [0; PAGE_BYTES];
        let short = text.len() < PAGE_BYTES;
        if short {
            page[..text.len()].copy_from_slice(text.as_bytes());
        }
        let place = if self.edition.is_multiple_of(2) { 0 } else { PAGE_BYTES as u64 };
        if short && !fresh {
            return fs::OpenOptions::new().write(true).open(&path)?.write_all_at(&page, place);
        }
        // Realm names have no dot, so no realm has this name.
        let beside = dir.join(format!(".{}.new", self.realm));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        if short {
            file.set_len(PAGES_BYTES as u64)?;
            file.write_all_at(&page, place)?;
        } else {
            file.write_all(text.as_bytes())?;
        }
        drop(file);
        fs::rename(&beside, &path)
    }

    /// The record fits into its page.
    pub(crate) fn is_short(&self) -> bool {
        self.encode().len() < PAGE_BYTES
    }
}

/// An exit as words: `code 3`, `signal 11 core`, `unknown`, then `oom` if it applies.
fn exit_text(exit: &Exit) -> String {
    let kind = match exit.kind {
        ExitKind::Code(code) => format!("code {code}"),
        ExitKind::Signal { signal, core } => {
            format!("signal {}{}", signal.number(), if core { " core" } else { "" })
        }
        ExitKind::Unknown => "unknown".to_owned(),
    };
    if exit.oom { format!("{kind} oom") } else { kind }
}

fn exit_of(text: &str) -> Option<(RunId, Exit)> {
    let mut words = text.split(' ');
    let run = RunId(words.next()?.parse().ok()?);
    let (kind, number) = (words.next()?, words.next());
    let rest: Vec<&str> = words.chain(number.filter(|_| kind == "unknown")).collect();
    let kind = match kind {
        "code" => ExitKind::Code(number?.parse().ok()?),
        "signal" => {
            ExitKind::Signal { signal: Signal::new(number?.parse().ok()?)?, core: rest.contains(&"core") }
        }
        "unknown" => ExitKind::Unknown,
        _ => return None,
    };
    Some((run, Exit { kind, oom: rest.contains(&"oom") }))
}

/// The id of this boot of the host: monotonic times and start times are comparable within it. Empty when the kernel
/// does not say.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// What all records that this heartbeatd writes share.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) boot: String,
    pub(crate) pid_namespace: String,
    pub(crate) init: bool,
    pub(crate) instance_tag: String,
}

impl Origin {
    pub(crate) fn read(instance_tag: String) -> Self {
        let namespace = fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned());
        let init = std::process::id() == 1;
        Self { boot: boot_id(), pid_namespace: namespace.unwrap_or_default(), init, instance_tag }
    }

    /// An empty record of `realm`.
    pub(crate) fn record(&self, realm: &RealmName) -> ProcessRecord {
        ProcessRecord {
            realm: realm.clone(),
            boot: self.boot.clone(),
            pid_namespace: self.pid_namespace.clone(),
            init: self.init,
            instance_tag: self.instance_tag.clone(),
            process: None,
            followed: false,
            word: None,
            exit: None,
            group: None,
            identity: None,
            memory: None,
            edition: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ProcessRecord {
        ProcessRecord {
            realm: RealmName::new("db").unwrap(),
            boot: "6d1c".into(),
            pid_namespace: "pid:[4026531836]".into(),
            init: false,
            instance_tag: "a1b2".into(),
            process: Some(ProcessId { run: RunId(7), pid: 4_120, start_time: 99_001 }),
            followed: true,
            word: Some("c3d4".into()),
            exit: Some((RunId(6), Exit::code(3))),
            group: Some("/sys/fs/cgroup/heartbeat-a1b2/db.7".into()),
            identity: "1 dir=00000001 run=12345678".parse().ok(),
            memory: Some(r#"{"run":7,"detail":"a=b"}"#.into()),
            edition: 4,
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = ProcessRecord::path(dir.path(), &record().realm);
        let read = || ProcessRecord::read(&path).unwrap();
        let bare = ProcessRecord {
            process: None,
            followed: false,
            word: None,
            exit: None,
            group: None,
            identity: None,
            memory: None,
            init: true,
            ..record()
        };
        let long = ProcessRecord { memory: Some("x".repeat(10_000)), edition: 6, ..record() };
        record().write(dir.path(), true).unwrap();
        assert_eq!(read(), record());
        let next = ProcessRecord { edition: 5, ..bare.clone() };
        next.write(dir.path(), false).unwrap();
        assert_eq!(read(), next, "the newest of two");
        assert!(!long.is_short());
        long.write(dir.path(), false).unwrap();
        assert_eq!(read(), long, "a file of its own");
        let short = ProcessRecord { edition: 7, ..bare };
        short.write(dir.path(), true).unwrap();
        assert_eq!(read(), short);
        fs::write(dir.path().join(".db.new"), "cut sho").unwrap();
        fs::write(dir.path().join("alive.now"), "1").unwrap();
        assert_eq!(ProcessRecord::all(dir.path()).unwrap().len(), 1, "what is no record is passed over");
    }

    #[test]
    fn every_kind_of_exit_comes_back() {
        let signal = |core| ExitKind::Signal { signal: Signal::KILL, core };
        for kind in [ExitKind::Code(0), ExitKind::Code(255), signal(false), signal(true), ExitKind::Unknown] {
            for oom in [false, true] {
                let exit = Exit { kind, oom };
                assert_eq!(exit_of(&format!("7 {}", exit_text(&exit))), Some((RunId(7), exit)), "{exit}");
            }
        }
        assert_eq!((exit_of("7 code"), exit_of("code 0"), exit_of("")), (None, None, None));
    }

    #[test]
    fn only_the_very_process_is_alive() {
        let origin = Origin::read("a1b2".into());
        let start_time = tree::stat(std::process::id()).unwrap().start_time;
        let process = ProcessId { run: RunId(1), pid: std::process::id(), start_time };
        let (boot, pid_namespace) = (origin.boot, origin.pid_namespace);
        let own = ProcessRecord { process: Some(process), boot, pid_namespace, ..record() };
        assert!(own.is_alive());
        let reused = ProcessId { start_time: start_time + 1, ..process };
        assert!(!ProcessRecord { process: Some(reused), ..own.clone() }.is_alive(), "a reused pid");
        assert!(!ProcessRecord { boot: "another".into(), ..own.clone() }.is_alive(), "before a reboot");
        assert!(!ProcessRecord { pid_namespace: "pid:[1]".into(), ..own }.is_alive(), "another namespace");
    }

    #[test]
    fn a_pipe_or_a_link_in_place_of_a_record_is_no_record_and_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(ProcessRecord::read(&pipe), Err(RecordError::Damaged { .. })));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert!(matches!(ProcessRecord::read(&link), Err(RecordError::Read { .. })));
        assert!(matches!(ProcessRecord::read(dir.path()), Err(RecordError::Damaged { .. })));
    }

    #[test]
    fn every_truncation_and_every_bit_flip_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        record().write(dir.path(), true).unwrap();
        ProcessRecord { edition: 5, ..record() }.write(dir.path(), false).unwrap();
        let whole = fs::read(&path).unwrap();
        assert!(ProcessRecord::newest(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(ProcessRecord::newest(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut flipped = whole.clone();
        for at in 0..whole.len() {
            for bit in 0..8 {
                flipped[at] ^= 1 << bit;
                assert!(ProcessRecord::newest(&flipped).is_err(), "byte {at} bit {bit}");
                flipped[at] = whole[at];
            }
        }
    }
}
