//! Which logs another process has opened for writing and closed: a script does that with `> /dev/stderr`, which empties
//! the log. The kernel reports it for all logs of a directory through one descriptor.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// Room for events that are read at a time, in bytes.
const EVENTS_BYTES: usize = 16 * 1024;

/// Watches the directories of logs.
#[derive(Debug, Default)]
pub(crate) struct Reopened {
    inotify: Option<OwnedFd>,
    watched: BTreeMap<i32, PathBuf>,
}

impl Reopened {
    /// Watches the directories of these logs, also those that were made again. Without a descriptor it notices nothing.
    pub(crate) fn watch<'a>(&mut self, logs: impl Iterator<Item = &'a Path>) {
        let dirs: BTreeSet<&Path> = logs.filter_map(Path::parent).collect();
        if self.inotify.is_none() {
            self.inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        }
        let Some(inotify) = &self.inotify else { return };
        for dir in dirs {
            // A directory that is watched already keeps its number.
            if let Ok(number) = inotify::add_watch(inotify, dir, WatchFlags::CLOSE_WRITE) {
                self.watched.insert(number, dir.to_owned());
            }
        }
    }

    /// Files that were closed after writing since the last look.
    pub(crate) fn take(&mut self) -> BTreeSet<PathBuf> {
        let mut closed = BTreeSet::new();
        let Some(inotify) = &self.inotify else { return closed };
        let mut room = [MaybeUninit::uninit(); EVENTS_BYTES];
        let mut reader = Reader::new(inotify, &mut room);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::IGNORED) {
                self.watched.remove(&event.wd());
            }
            if let (Some(dir), Some(name)) = (self.watched.get(&event.wd()), event.file_name()) {
                closed.insert(dir.join(OsStr::from_bytes(name.to_bytes())));
            }
        }
        closed
    }
}
