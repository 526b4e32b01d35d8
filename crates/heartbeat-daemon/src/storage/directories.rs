//! The directories of heartbeatd: made, checked, tightened, and made again when another process removes them. A disk
//! that is full or read-only keeps no realm from running: heartbeatd starts without what it cannot make, and tries again.
//!
//! heartbeatd cannot believe a file that another user can write, so the state and the runtime directory belong to its
//! own user, and no other user may write there.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use heartbeat_config::Heartbeat;

use crate::error::DaemonError;
use crate::storage::files::is_of_disk;

/// Permission bits of a directory that only heartbeatd looks into.
const PRIVATE: u32 = 0o700;
/// Permission bits of a directory that others pass through, to the socket or to a notify socket.
const PASSABLE: u32 = 0o711;
/// Permission bits with which another user can write.
const OTHERS_WRITE: u32 = 0o022;

/// One of them.
#[derive(Clone, Debug)]
struct Directory {
    path: PathBuf,
    mode: u32,
    what: &'static str,
    /// heartbeatd refuses it when others can write to it, because it believes the files in it.
    strict: bool,
}

/// All of them, from the outside in.
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    own: Vec<Directory>,
    /// The process adapter restores it, since it knows what to write there again.
    records: Directory,
    /// Made by the process adapter when the first realm needs them.
    later: Vec<Directory>,
    socket_parent: Option<PathBuf>,
    socket: PathBuf,
}

impl Directories {
    pub(crate) fn of(heartbeat: &Heartbeat, records: &Path) -> Self {
        let directory = |path: PathBuf, mode, what| Directory { path, mode, what, strict: false };
        let strict = |path: PathBuf, mode, what| Directory { path, mode, what, strict: true };
        let runtime = &heartbeat.runtime_dir;
        Self {
            own: vec![
                directory(heartbeat.state_dir.clone(), PRIVATE, "state directory"),
                directory(heartbeat.state_dir.join("log"), PRIVATE, "log directory"),
                directory(runtime.clone(), PASSABLE, "runtime directory"),
            ],
            records: strict(records.to_owned(), PRIVATE, "directory of adoption records"),
            later: ["notify", "ready"].map(|name| strict(runtime.join(name), PASSABLE, "directory")).into(),
            socket_parent: heartbeat.socket.parent().map(Path::to_owned),
            socket: heartbeat.socket.clone(),
        }
    }

    /// Makes missing directories, tightens open ones, and refuses those of another user. What the disk refuses is left
    /// to [`Directories::restore`].
    pub(crate) fn prepare(&self) -> Result<(), DaemonError> {
        for directory in self.own.iter().chain([&self.records]) {
            match directory.make().and_then(|()| self.trust(directory)) {
                Err(source) if !is_of_disk(&source) => return Err(directory.error(source)),
                Ok(()) | Err(_) => {}
            }
        }
        for directory in self.later.iter().filter(|directory| directory.path.symlink_metadata().is_ok()) {
            self.trust(directory).map_err(|source| directory.error(source))?;
        }
        match self.socket_parent.as_ref().map(|parent| (parent, make_socket_parent(parent))) {
            Some((parent, Err(source))) if !is_of_disk(&source) => {
                Err(DaemonError::Prepare { what: "directory of the socket", path: parent.clone(), source })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Makes missing directories again. Returns what is wrong and cannot be repaired.
    pub(crate) fn restore(&self) -> Option<String> {
        let made = self.own.iter().find_map(|directory| {
            if directory.path.is_dir() {
                return None;
            }
            match directory.make() {
                Ok(()) => {
                    tracing::warn!(path = %directory.path.display(), "the {} was gone and is made again", directory.what);
                    None
                }
                Err(error) => Some(directory.says(&format!("is missing, and cannot be made: {error}"))),
            }
        });
        let refused = || {
            // Among logs their keeper makes room, and reports what it cannot write.
            let written = self.own.iter().filter(|directory| !directory.path.ends_with("log"));
            written.chain([&self.records]).find_map(|directory| {
                let error = refusal(&directory.path)?;
                Some(directory.says(&format!("cannot be written to: {error}")))
            })
        };
        made.or_else(refused)
    }

    fn trust(&self, directory: &Directory) -> io::Result<()> {
        let path = &directory.path;
        let link = fs::symlink_metadata(path)?;
        let meta = fs::metadata(path)?;
        let own = nix::unistd::geteuid().as_raw();
        // Only root and heartbeatd's own user may say by a link where the directory is.
        let trusted_link = !link.is_symlink() || link.uid() == own || link.uid() == 0;
        if !meta.is_dir() || meta.uid() != own || !trusted_link {
            return Err(foreign(&meta, own));
        }
        if directory.strict && meta.mode() & OTHERS_WRITE != 0 {
            return Err(foreign(&meta, own));
        }
        let extra = meta.mode() & 0o7777 & !directory.mode;
        if extra == 0 {
            return Ok(());
        }
        if !self.is_ours_alone(path) {
            // Other users may have to reach other files in it.
            return if meta.mode() & OTHERS_WRITE == 0 { Ok(()) } else { Err(foreign(&meta, own)) };
        }
        tracing::info!(path = %path.display(), from = format!("{:o}", meta.mode() & 0o7777), "the {} is tightened", directory.what);
        fs::set_permissions(path, Permissions::from_mode(meta.mode() & directory.mode))
    }

    /// Whether it contains only files of heartbeatd.
    fn is_ours_alone(&self, path: &Path) -> bool {
        let inner = self
            .own
            .iter()
            .chain([&self.records])
            .chain(&self.later)
            .map(|directory| directory.path.as_path());
        let known: Vec<&Path> = inner.chain([self.socket.as_path()]).collect();
        let is_file =
            |name: &str| FILES.iter().any(|file| name == *file || name.starts_with(&format!("{file}.")));
        let Ok(entries) = fs::read_dir(path) else { return false };
        let is_log_or_record = path.ends_with("log") || path.ends_with("realms") || path.ends_with("run");
        let is_adapters = path.ends_with("notify") || path.ends_with("ready");
        is_log_or_record
            || is_adapters
            || entries.flatten().all(|entry| {
                known.contains(&entry.path().as_path()) || is_file(&entry.file_name().to_string_lossy())
            })
    }
}

/// Files of heartbeatd in its state and runtime directory, alone or with an ending.
const FILES: &[&str] = &[
    "lock",
    "daemon",
    "id",
    "intent",
    "beats",
    "ecosystem",
    "alive",
    "incidents",
    "history",
    "heartbeat",
    "log",
    "run",
    "realms",
    "notify",
    "ready",
];

impl Directory {
    fn make(&self) -> io::Result<()> {
        if self.path.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(self.mode).create(&self.path)?;
        // Whatever heartbeatd's own umask is.
        fs::set_permissions(&self.path, Permissions::from_mode(self.mode))
    }

    fn error(&self, source: io::Error) -> DaemonError {
        DaemonError::Prepare { what: self.what, path: self.path.clone(), source }
    }

    fn says(&self, what: &str) -> String {
        format!("the {} {} {what}", self.what, self.path.display())
    }
}

/// Why no file can be made in a directory that is there: found without a write, so that it says the same at every look.
fn refusal(dir: &Path) -> Option<io::Error> {
    use rustix::fs::{Access, StatVfs, access, statvfs};
    use rustix::io::Errno;
    let is_full = |disk: StatVfs| {
        let blocks = if nix::unistd::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
        // A file system that counts no files has no end of them.
        (blocks == 0 && disk.f_blocks > 0) || (disk.f_ffree == 0 && disk.f_files > 0)
    };
    match access(dir, Access::WRITE_OK) {
        // It may go at any moment, and then the next round makes it.
        Err(Errno::NOENT) => None,
        Err(errno) => Some(errno.into()),
        Ok(()) => statvfs(dir).is_ok_and(is_full).then(|| Errno::NOSPC.into()),
    }
}

/// Makes the directory of the socket when it is missing; otherwise its owner is up to the configuration.
pub(crate) fn make_socket_parent(parent: &Path) -> io::Result<()> {
    if parent.as_os_str().is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(PASSABLE).create(parent)
}

fn foreign(meta: &Metadata, own: u32) -> io::Error {
    let why = format!(
        "it must be a directory of heartbeatd's own user (uid {own}) that no other user can write to (it belongs to uid {}, mode {:o}); correct that, or configure another",
        meta.uid(),
        meta.mode() & 0o7777
    );
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// The directory of adoption records: in the runtime directory, if that outlives heartbeatd. systemd removes a
/// directory that it has made when the service ends, unless the unit says otherwise: the one in `packaging/` does, and
/// sets this variable.
pub(crate) fn records_dir(heartbeat: &Heartbeat) -> PathBuf {
    let removed = std::env::var("RUNTIME_DIRECTORY").is_ok_and(|dirs| {
        dirs.split(':').any(|dir| !dir.is_empty() && heartbeat.runtime_dir.starts_with(dir))
    });
    let preserved = std::env::var_os("HEARTBEAT_RUNTIME_PRESERVED").is_some_and(|said| said == "yes");
    if removed && !preserved { heartbeat.state_dir.join("run") } else { heartbeat.runtime_dir.join("realms") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_config::load_str;

    fn directories(base: &Path) -> Directories {
        let text = format!(
            "[heartbeat]\nlisten = \"off\"\nstate_dir = \"{0}/state\"\nruntime_dir = \"{0}/run\"\nsocket = \"{0}/run/hb.sock\"\n[realm.a]\nrun = \"true\"\n",
            base.display()
        );
        let loaded = load_str("test.toml", &text, &std::collections::BTreeMap::new()).unwrap();
        Directories::of(&loaded.config.heartbeat, &base.join("run/realms"))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_too_open_is_tightened() {
        let base = tempfile::tempdir().unwrap();
        let directories = directories(base.path());
        directories.prepare().unwrap();
        let (state, run) = (base.path().join("state"), base.path().join("run"));
        for (path, open) in
            [(&state, 0o755), (&run, 0o777), (&state.join("log"), 0o775), (&run.join("realms"), 0o755)]
        {
            fs::set_permissions(path, Permissions::from_mode(open)).unwrap();
        }
        fs::write(state.join("lock"), "1").unwrap();
        fs::write(state.join("intent.new"), "1").unwrap();
        directories.prepare().unwrap();
        assert_eq!((mode(&state), mode(&state.join("log"))), (0o700, 0o700));
        assert_eq!((mode(&run), mode(&run.join("realms"))), (0o711, 0o700));
    }

    #[test]
    fn a_directory_that_is_shared_is_left_as_it_is_unless_others_can_write_there() {
        let base = tempfile::tempdir().unwrap();
        let directories = directories(base.path());
        directories.prepare().unwrap();
        let state = base.path().join("state");
        fs::write(state.join("manage.py"), "").unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
        directories.prepare().unwrap();
        assert_eq!(mode(&state), 0o755, "an application lives there");
        fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
        let refused = directories.prepare().unwrap_err();
        let why = std::error::Error::source(&refused).unwrap().to_string();
        assert!(why.contains("mode 777"), "{why}");
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: only root can give a directory away");
        }
        for name in ["state", "state/log", "run", "run/realms", "run/notify"] {
            let base = tempfile::tempdir().unwrap();
            let directories = directories(base.path());
            directories.prepare().unwrap();
            fs::create_dir_all(base.path().join(name)).unwrap();
            std::os::unix::fs::chown(base.path().join(name), Some(65_534), None).unwrap();
            assert!(directories.prepare().is_err(), "{name}");
        }
    }

    #[test]
    fn what_disappears_is_made_again_and_what_cannot_be_made_is_told() {
        let base = tempfile::tempdir().unwrap();
        let directories = directories(base.path());
        directories.prepare().unwrap();
        fs::remove_dir_all(base.path().join("run")).unwrap();
        fs::remove_dir_all(base.path().join("state/log")).unwrap();
        assert_eq!(directories.restore(), None);
        assert_eq!(mode(&base.path().join("run")), 0o711);
        assert_eq!(mode(&base.path().join("state/log")), 0o700);
        fs::remove_dir_all(base.path().join("run")).unwrap();
        fs::write(base.path().join("run"), "in the way").unwrap();
        let told = directories.restore().unwrap();
        assert!(told.contains("runtime directory") && told.contains("cannot be made"), "{told}");
    }
}
