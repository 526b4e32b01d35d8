//! One heartbeatd per directory: locks that the kernel drops with their holder.
//!
//! One lock is on the directory itself, which takes no write: a disk that is full or read-only keeps no heartbeatd from
//! its lock. The other is on a file in it, which has the holder's pid for people. While the directory is missing and
//! cannot be made, a name stands in for it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use heartbeat_process::Handover;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use rustix::time::Timespec;

use crate::error::DaemonError;
use crate::storage::files::is_of_disk;
use crate::storage::stand_in::{self, StandIn, StandInError};

/// The file of the lock on a state directory.
pub(crate) const STATE_LOCK: &str = "lock";
/// The file of the lock on the directory of adoption records.
pub(crate) const RECORDS_LOCK: &str = "daemon.lock";

/// Longest text read from a lock file.
const MAX_HOLDER_BYTES: u64 = 64;

/// A lock whose holder is ending is tried again after this, and this many times: 2 s.
const RETRY_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
const MAX_RETRIES: u32 = 200;

/// Held for as long as it lives. Realms do not inherit it: every descriptor of ours is close-on-exec.
#[derive(Debug)]
pub(crate) struct StateLock {
    dir: PathBuf,
    name: &'static str,
    /// On the directory.
    directory: Option<Flock<File>>,
    /// On the file in it, if the disk lets heartbeatd make one.
    file: Option<Flock<File>>,
    /// The file has our pid.
    is_signed: bool,
    stand_in: Option<StandIn>,
}

impl StateLock {
    /// Takes the lock of a directory; its file is `name`. Continues with what the program before under this pid has
    /// handed over.
    ///
    /// # Errors
    /// [`DaemonError::Held`] names the holder; [`DaemonError::Prepare`] when the lock cannot be used at all.
    pub(crate) fn take(dir: &Path, name: &'static str, handover: &mut Handover) -> Result<Self, DaemonError> {
        let mut handed = |name: &str| {
            let descriptor = handover.descriptors.remove(name)?;
            Some(Flock::lock(File::from(descriptor), FlockArg::LockExclusiveNonblock))
        };
        let (file, directory) = (handed(name).transpose(), handed(&of_directory(name)).transpose());
        let failed = |(_, errno): (File, Errno)| DaemonError::Prepare {
            what: "lock that was handed over",
            path: dir.to_owned(),
            source: errno.into(),
        };
        let (file, directory) = (file.map_err(failed)?, directory.map_err(failed)?);
        let mut lock = Self { dir: dir.to_owned(), name, directory, file, is_signed: false, stand_in: None };
        lock.complete()?;
        Ok(lock)
    }

    /// Hands the lock to the heartbeatd that follows under this pid.
    pub(crate) fn hand_over(&self, handover: &mut Handover) -> io::Result<()> {
        let mut share = |name: String, lock: &Option<Flock<File>>| {
            let shared = lock.as_ref().map(|lock| lock.as_fd().try_clone_to_owned()).transpose()?;
            handover.descriptors.extend(shared.map(|shared: OwnedFd| (name, shared)));
            Ok(())
        };
        share(self.name.to_owned(), &self.file)?;
        share(of_directory(self.name), &self.directory)
    }

    /// Takes again what has disappeared, which would let a second heartbeatd in, and what the disk has refused before.
    ///
    /// # Errors
    /// As [`StateLock::take`]; heartbeatd keeps what it holds then.
    pub(crate) fn restore(&mut self) -> Result<(), DaemonError> {
        let had = self.file.is_some();
        if self.complete()? && had {
            tracing::warn!(path = %self.path().display(), "the lock was gone and is taken again");
        }
        Ok(())
    }

    /// Takes what is not held. True: the lock on the file is new.
    fn complete(&mut self) -> Result<bool, DaemonError> {
        if !self.dir.is_dir() {
            self.stand_in()?;
            return Ok(false);
        }
        if let (None, Some(holder)) = (&self.stand_in, stand_in::holder(&self.dir)) {
            return Err(self.held(Some(holder)));
        }
        if !holds(&self.directory, std::fs::metadata(&self.dir)) {
            let opened = File::open(&self.dir).map_err(|source| self.failed("directory to lock", source))?;
            self.directory = Some(self.lock(opened)?);
        }
        let path = self.path();
        let mut is_new = false;
        if !holds(&self.file, std::fs::symlink_metadata(&path)) {
            match open(&path) {
                Ok(file) => {
                    self.file = Some(self.lock(file)?);
                    (is_new, self.is_signed) = (true, false);
                }
                // The lock on the directory is enough to keep others out.
                Err(error) if is_of_disk(&error) => self.file = None,
                Err(source) => return Err(self.failed("lock file", source)),
            }
        }
        if self.file.is_some() && !self.is_signed {
            match sign(&path) {
                Ok(()) => self.is_signed = true,
                Err(error) if is_of_disk(&error) => {}
                Err(source) => return Err(self.failed("lock file", source)),
            }
        }
        self.stand_in = None;
        Ok(is_new)
    }

    /// Holds the name of the directory. One that a process of another user has taken protects from nothing.
    fn stand_in(&mut self) -> Result<(), DaemonError> {
        if let Some(stand_in) = &self.stand_in {
            stand_in.dismiss_askers();
            return Ok(());
        }
        match StandIn::take(&self.dir) {
            Ok(stand_in) => self.stand_in = Some(stand_in),
            Err(StandInError::Held(holder)) => return Err(self.held(Some(holder))),
            Err(StandInError::Refused(error)) => {
                tracing::warn!(path = %self.dir.display(), "a missing directory has no lock: {error}");
            }
        }
        Ok(())
    }

    fn lock(&self, file: File) -> Result<Flock<File>, DaemonError> {
        let mut locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        for _ in 0..MAX_RETRIES {
            let Err((mut file, Errno::EWOULDBLOCK)) = locked else { break };
            // A heartbeatd that was killed a moment ago holds the lock until the kernel is done with it.
            let holder = holder(&mut file);
            if holder.is_some_and(|pid| !heartbeat_process::is_ending(pid)) {
                return Err(self.held(holder));
            }
            let _ = rustix::event::poll(&mut [], Some(&RETRY_AFTER));
            locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        }
        locked.map_err(|(mut file, errno)| match errno {
            Errno::EWOULDBLOCK => self.held(holder(&mut file)),
            errno => self.failed("lock file", errno.into()),
        })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(self.name)
    }

    fn held(&self, holder: Option<u32>) -> DaemonError {
        // Records stand below the runtime directory, or below the state directory where that does not outlive heartbeatd.
        let (what, dir, key) = match self.dir.file_name().and_then(|name| name.to_str()) {
            Some("realms") if self.name != STATE_LOCK => {
                ("runtime directory", self.dir.parent(), "runtime_dir")
            }
            Some("run") if self.name != STATE_LOCK => ("state directory", self.dir.parent(), "state_dir"),
            _ => ("state directory", None, "state_dir"),
        };
        let dir = dir.unwrap_or(&self.dir).to_owned();
        DaemonError::Held { what, dir, key, holder }
    }

    fn failed(&self, what: &'static str, source: io::Error) -> DaemonError {
        DaemonError::Prepare { what, path: self.path(), source }
    }
}

/// The name under which the lock on the directory is handed over.
fn of_directory(name: &str) -> String {
    format!("{name}.directory")
}

/// Whether the lock is on what lies there now.
fn holds(lock: &Option<Flock<File>>, there: io::Result<Metadata>) -> bool {
    let identity = |meta: io::Result<Metadata>| meta.map(|meta| (meta.dev(), meta.ino())).ok();
    let held = lock.as_ref().and_then(|lock| identity(lock.metadata()));
    held.is_some() && held == identity(there)
}

/// Opens the lock file, or makes it. One that is there can be locked without any right to write to it.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.custom_flags(OFlag::O_NOFOLLOW.bits()).read(true).mode(0o600);
    let made = options.clone().write(true).create(true).truncate(false).open(path);
    match made {
        Err(error) if is_of_disk(&error) => options.open(path).map_err(|_| error),
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            Err(io::Error::other("it is a symbolic link, which heartbeatd does not follow; remove the link"))
        }
        made => made,
    }
}

/// Writes our pid into the lock file, over another one: a full disk has room for that.
fn sign(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.custom_flags(OFlag::O_NOFOLLOW.bits()).write(true).open(path)?;
    let pid = format!("{}\n", std::process::id());
    file.write_all_at(pid.as_bytes(), 0)?;
    file.set_len(pid.len() as u64)
}

/// The process that holds the lock: the one that has signed the file, or the one that the kernel names, since a disk may
/// have refused the signature.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    // The pid is a courtesy: without it the refusal stands.
    let read = file.rewind().and_then(|()| file.take(MAX_HOLDER_BYTES).read_to_string(&mut text));
    let signed = read.ok().and_then(|_| text.trim().parse().ok());
    let alive = signed.filter(|pid| !heartbeat_process::is_ending(*pid));
    alive.or_else(|| named_by_kernel(file)).or(signed)
}

/// The holder in /proc/locks, which has lines such as `7: FLOCK  ADVISORY  WRITE 4120 fe:01:1573 0 EOF`.
fn named_by_kernel(file: &File) -> Option<u32> {
    let meta = file.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let object = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let found = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&object.as_str());
        words.get(4).filter(|_| found)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(dir: &Path, name: &'static str) -> Result<StateLock, DaemonError> {
        StateLock::take(dir, name, &mut Handover::default())
    }

    #[test]
    fn the_second_is_refused_with_the_name_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path(), "lock").unwrap();
        match take(dir.path(), "lock") {
            Err(DaemonError::Held { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        take(dir.path(), "lock").unwrap();
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process of its own takes the lock, and ends")]
    fn a_holder_that_is_gone_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        // As after kill -9: the lock is held a moment longer than its holder lives. No process has that number.
        std::fs::write(&path, "4194305\n").unwrap();
        let held = File::open(&path).unwrap();
        let mut holder = std::process::Command::new("flock");
        let taken = holder.args(["--nonblock", "0"]).stdin(held.try_clone().unwrap()).status();
        drop(holder);
        match taken {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return println!("skipped: flock of util-linux is not installed");
            }
            taken => assert!(taken.unwrap().success()),
        }
        let begun = std::sync::Arc::new(std::sync::Barrier::new(2));
        let second = std::thread::spawn({
            let (dir, begun) = (dir.path().to_owned(), std::sync::Arc::clone(&begun));
            move || {
                begun.wait();
                take(&dir, "lock").map(drop)
            }
        });
        begun.wait();
        drop(held);
        second.join().unwrap().unwrap();
    }

    #[test]
    fn a_lock_whose_file_is_removed_is_taken_again_and_never_from_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = take(dir.path(), "lock").unwrap();
        first.restore().unwrap();
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        first.restore().unwrap();
        assert!(matches!(take(dir.path(), "lock"), Err(DaemonError::Held { .. })));
        // The lock on the directory keeps another one out until then.
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        assert!(matches!(take(dir.path(), "lock"), Err(DaemonError::Held { .. })));
        // Another directory of that name.
        let aside = dir.path().with_extension("aside");
        std::fs::rename(dir.path(), &aside).unwrap();
        std::fs::create_dir(dir.path()).unwrap();
        let _second = take(dir.path(), "lock").unwrap();
        assert!(matches!(first.restore(), Err(DaemonError::Held { .. })));
        std::fs::remove_dir_all(aside).unwrap();
    }

    #[test]
    fn a_file_without_a_pid_does_not_hide_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let _first = take(dir.path(), "lock").unwrap();
        for text in ["", "4194305\n"] {
            std::fs::write(dir.path().join("lock"), text).unwrap();
            match take(dir.path(), "lock") {
                Err(DaemonError::Held { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_has_one_holder_before_and_after_it_is_made() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("missing");
        let mut first = take(&dir, "lock").unwrap();
        let is_held = || match take(&dir, "lock") {
            Err(DaemonError::Held { holder, .. }) => holder == Some(std::process::id()),
            _ => false,
        };
        assert!(is_held());
        std::fs::create_dir(&dir).unwrap();
        assert!(is_held(), "it is there, and the first has not seen that");
        first.restore().unwrap();
        assert!(is_held(), "and when it has");
        drop(first);
        take(&dir, "lock").unwrap();
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("victim"), "theirs").unwrap();
        std::os::unix::fs::symlink(dir.path().join("victim"), dir.path().join("lock")).unwrap();
        let Err(DaemonError::Prepare { source, .. }) = take(dir.path(), "lock") else {
            panic!("it was taken")
        };
        assert!(source.to_string().contains("remove the link"), "{source}");
        assert_eq!(std::fs::read_to_string(dir.path().join("victim")).unwrap(), "theirs");
    }
}
