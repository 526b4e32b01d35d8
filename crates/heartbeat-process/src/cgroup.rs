//! Control groups (cgroup v2): each run gets its own, so that the kernel finds, counts and kills a realm's processes
//! wherever they go.
//!
//! heartbeatd makes them below its own control group, which it finds from the mounts: one that systemd delegates
//! (`Delegate=yes`, whose root stays free of processes), or any that no other program manages. On a host with both
//! versions, version 2 is mounted elsewhere (`/sys/fs/cgroup/unified`) and has no controllers, which is enough here.
//! Without control groups, heartbeatd goes by process groups, sessions and tags ([`crate::members`]).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use heartbeat_status::{RealmName, RunId};
use nix::errno::Errno;

use crate::{CgroupError, reserved_fds};

/// The control group, inside a delegated one, that heartbeatd itself moves into.
const SUPERVISOR: &str = "supervisor";
/// Prefix of the directory for the groups of one state directory; the id of the state directory follows.
const BASE_PREFIX: &str = "heartbeat-";
/// heartbeatd retries the removal of abandoned groups at this interval, in at most this many rounds.
const TIDY_EVERY: rustix::time::Timespec = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
const MAX_TIDY_ROUNDS: u32 = 5;
/// Attempts to claim a directory while other heartbeatds may remove it.
const MAX_CLAIMS: u32 = 10;
/// Hex digits of the id of a state directory.
const ID_CHARS: usize = 16;
/// Most levels of groups below that of a run that heartbeatd reads or removes.
const MAX_LEVELS: u32 = 8;
/// Room for `cgroup.events` in bytes: two short lines.
const MAX_EVENTS_BYTES: usize = 256;
/// Most bytes that [`read`] takes from a file of a group.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Finds the place for the groups of the state directory `instance_tag`, and makes it. The root of a delegated group
/// must stay free of processes, so heartbeatd moves itself into a control group of its own.
///
/// # Errors
/// [`CgroupError`]: heartbeatd has no control group that it may divide.
pub fn own_groups(instance_tag: &str) -> Result<PathBuf, CgroupError> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own_group(&mounts, &own).ok_or(CgroupError::NotMounted)?;
    let root = match own.file_name() {
        Some(name) if name == SUPERVISOR => own.parent().map_or_else(|| own.clone(), Path::to_path_buf),
        _ => own.clone(),
    };
    if Path::new("/run/systemd/system").exists() && !is_delegated(&root) {
        return Err(CgroupError::NotDelegated { root });
    }
    let base = root.join(format!("{BASE_PREFIX}{instance_tag}"));
    make(&base).map_err(|source| CgroupError::Make { path: base.clone(), source })?;
    // Only the root of the whole hierarchy has no `cgroup.events`; it may hold processes beside its groups.
    if own == root && root.join("cgroup.events").exists() {
        let cgroup = root.join(SUPERVISOR);
        // If this fails, groups still work; only their controllers cannot be enabled.
        let _ = make(&cgroup).and_then(|()| fs::write(cgroup.join("cgroup.procs"), "0"));
    }
    Ok(base)
}

/// The directory of the group of this process, from `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn own_group(mounts: &str, own: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = fields.split(' ').skip(3);
        let (root, at) = (unescaped(fields.next()?), unescaped(fields.next()?));
        // The mount may show only a part of the hierarchy; our group must be inside that part.
        let inside = Path::new(own).strip_prefix(&root).ok()?;
        let dir = Path::new(&at).join(inside);
        dir.join("cgroup.procs").exists().then_some(dir)
    })
}

/// Marks the directory as in use by a living heartbeatd, as long as the caller holds the result. Another heartbeatd
/// that tidies up may remove the directory first; then this one makes it again.
pub(crate) fn claim(base: &Path) -> Option<File> {
    for _ in 0..MAX_CLAIMS {
        let dir = reserved_fds::with(|| {
            make(base)?;
            File::open(base)
        });
        let dir = dir.ok()?;
        // A heartbeatd that tidies up holds the lock only briefly.
        dir.lock_shared().ok()?;
        let inode = |meta: io::Result<fs::Metadata>| meta.map(|meta| meta.ino()).ok();
        if inode(fs::metadata(base)) == inode(dir.metadata()) {
            return Some(dir);
        }
    }
    None
}

/// Removes the directories beside `base` of heartbeatds that were killed together with their state directories: named
/// like ours, claimed by no living heartbeatd, and without processes. They may hold tens of thousands of groups, so the
/// caller uses a thread of its own.
pub(crate) fn remove_abandoned(base: &Path) {
    for _ in 0..MAX_TIDY_ROUNDS {
        // The kernel may still be busy in one of them; the next round removes that one.
        if named_as_ours(base).iter().filter(|dir| remove_if_abandoned(dir).is_err()).count() == 0 {
            return;
        }
        let _ = rustix::event::poll(&mut [], Some(&TIDY_EVERY));
    }
}

fn named_as_ours(base: &Path) -> Vec<PathBuf> {
    let Some(root) = base.parent() else { return Vec::new() };
    let is_ours = |dir: &PathBuf| {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix(BASE_PREFIX).is_some_and(|id| {
            id.len() == ID_CHARS
                && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        })
    };
    directories(root).into_iter().filter(|dir| dir != base && is_ours(dir)).collect()
}

/// Removes a directory that no heartbeatd claims. Holds the lock meanwhile: a heartbeatd that wants to claim it waits,
/// and makes it again.
fn remove_if_abandoned(dir: &Path) -> io::Result<()> {
    let Ok(held) = File::open(dir) else { return Ok(()) };
    if held.try_lock().is_err() || !(Cgroup { dir: dir.to_owned() }.is_empty().unwrap_or(false)) {
        return Ok(());
    }
    remove(dir, MAX_LEVELS)
}

/// Whether groups below `dir` can have this controller. True where the kernel does not say.
pub(crate) fn has_controller(dir: &Path, name: &str) -> bool {
    let listed = fs::read_to_string(dir.join("cgroup.controllers"));
    listed.map_or(true, |listed| listed.split_whitespace().any(|known| known == name))
}

/// Undoes the octal escapes of mountinfo: space, tab, newline and backslash.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// systemd sets one of these attributes on a group that it delegates.
fn is_delegated(dir: &Path) -> bool {
    ["trusted.delegate", "user.delegate"].iter().any(|name| {
        let mut value = [0u8; 1];
        matches!(rustix::fs::getxattr(dir, *name, &mut value), Ok(1) if value == *b"1")
    })
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The group of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// Makes a new group: no two runs share one.
    pub(crate) fn make(base: &Path, realm: &RealmName, run: RunId) -> io::Result<Self> {
        let dir = Self::place(base, realm, run);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // An earlier heartbeatd left it. EBUSY: it still has a process.
                remove(&dir, MAX_LEVELS)?;
                fs::create_dir(&dir)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Another heartbeatd has removed `base`.
                make(base)?;
                fs::create_dir(&dir)?;
            }
            made => made?,
        }
        Ok(Self { dir })
    }

    /// The group of a run below `base`; `None` when it has none.
    pub(crate) fn of_run(base: &Path, realm: &RealmName, run: RunId) -> Option<Self> {
        Self::at(Self::place(base, realm, run))
    }

    fn place(base: &Path, realm: &RealmName, run: RunId) -> PathBuf {
        base.join(format!("{realm}.{run}"))
    }

    /// The group at a recorded path; `None` when it is gone.
    pub(crate) fn at(dir: PathBuf) -> Option<Self> {
        dir.join("cgroup.procs").exists().then_some(Self { dir })
    }

    /// Every control group below `base`, with the realm it is named after.
    pub(crate) fn all(base: &Path) -> Vec<(RealmName, Self)> {
        let entries = fs::read_dir(base).into_iter().flatten().flatten();
        let cgroups = entries.filter_map(|entry| {
            let name = entry.file_name();
            let (realm, _) = name.to_str()?.split_once('.')?;
            Some((RealmName::new(realm).ok()?, Self { dir: entry.path() }))
        });
        cgroups.collect()
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// No living process is in the group or in a group below it. Zombies do not count.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        let mut events = [0; MAX_EVENTS_BYTES];
        // The kernel writes the whole of it into one read.
        let read = File::open(self.dir.join("cgroup.events")).and_then(|mut file| file.read(&mut events));
        match read {
            Ok(bytes) => Ok(events[..bytes].split(|byte| *byte == b'\n').any(|line| line == b"populated 0")),
            // The kernel removes no group that has a process, so this one is empty.
            Err(error) if is_gone(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A descriptor that polls as PRI from now on whenever the answer of [`Cgroup::is_empty`] may have changed.
    pub(crate) fn events(&self) -> io::Result<OwnedFd> {
        let open = || {
            let mut file = File::open(self.dir.join("cgroup.events"))?;
            // The descriptor reports only changes after this read.
            file.read_to_end(&mut Vec::new())?;
            Ok(file.into())
        };
        reserved_fds::with(open)
    }

    /// Kills all processes in the group at once, also those that are being forked.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let write = || {
            // Opened without `create`: kernels before 5.14 have no such file.
            let mut file = OpenOptions::new().write(true).open(self.dir.join("cgroup.kill"))?;
            io::Write::write_all(&mut file, b"1")
        };
        match reserved_fds::with(write) {
            Err(error) if is_gone(&error) && !self.dir.exists() => Ok(()),
            done => done,
        }
    }

    /// Processes in the group and in the groups below it.
    pub(crate) fn members(&self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        collect(&self.dir, MAX_LEVELS, &mut found)?;
        Ok(found)
    }

    /// Whether process `pid` is in the group now.
    pub(crate) fn has(&self, pid: u32) -> bool {
        // /proc names the group by its path, which ends with our two directory names or continues below them.
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let Some(theirs) = text.lines().find_map(|line| line.strip_prefix("0::")) else { return false };
        let tail = |dir: &Path| -> Option<String> {
            let (base, cgroup) = (dir.parent()?.file_name()?.to_str()?, dir.file_name()?.to_str()?);
            Some(format!("/{base}/{cgroup}"))
        };
        tail(&self.dir).is_some_and(|tail| {
            theirs.split_once(&tail).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Removes the group, if it has no process.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove(&self.dir, MAX_LEVELS)
    }
}

/// Groups for runs that are likely to begin at once, made while the core still decides about them.
#[derive(Debug, Default)]
pub(crate) struct NextCgroups(Mutex<BTreeMap<RealmName, (RunId, Cgroup)>>);

/// Most groups that heartbeatd makes ahead: when more realms end at once, their restarts wait for each other anyway.
const MAX_NEXT_CGROUPS: usize = 4;

impl NextCgroups {
    /// Makes the group for the next run of a realm, after `tell`, which makes the core decide about that run. A caller of
    /// [`NextCgroups::take`] waits meanwhile.
    pub(crate) fn make_after(&self, tell: impl FnOnce(), base: &Path, realm: &RealmName, run: RunId) {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tell();
        if next.len() == MAX_NEXT_CGROUPS || next.contains_key(realm) {
            return;
        }
        let dir = Cgroup::place(base, realm, run);
        if fs::create_dir(&dir).is_ok() {
            next.insert(realm.clone(), (run, Cgroup { dir }));
        }
    }

    /// The group of that run, if it was made ahead.
    pub(crate) fn take(&self, realm: &RealmName, run: RunId) -> Option<Cgroup> {
        let (made_for, cgroup) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(realm)?;
        if made_for == run {
            return Some(cgroup);
        }
        // Otherwise the next heartbeatd removes it.
        let _ = cgroup.remove();
        None
    }

    /// Removes those that no run has taken.
    pub(crate) fn remove_all(&self) {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, (_, cgroup))) = next.pop_first() {
            // As above.
            let _ = cgroup.remove();
        }
    }
}

fn collect(dir: &Path, depth: u32, found: &mut Vec<u32>) -> io::Result<()> {
    match reserved_fds::with(|| read(&dir.join("cgroup.procs"))) {
        Ok(text) => found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
        Err(error) if is_gone(&error) => return Ok(()),
        // A threaded group: the kernel lists its processes in its domain.
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => {}
        Err(error) => return Err(error),
    }
    if depth > 0 {
        for below in directories(dir) {
            collect(&below, depth - 1, found)?;
        }
    }
    Ok(())
}

fn remove(dir: &Path, depth: u32) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) if depth > 0 && error.raw_os_error() == Some(Errno::EBUSY as i32) => {
            let below = directories(dir);
            if below.is_empty() {
                return Err(error);
            }
            below.iter().try_for_each(|below| remove(below, depth - 1))?;
            fs::remove_dir(dir)
        }
        done => done,
    }
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The group was removed before its file was opened (ENOENT), or after (ENODEV).
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOENT | Errno::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "29 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
        30 29 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        31 29 0:28 / ROOT rw,nosuid - cgroup2 cgroup2 rw\n";

    #[test]
    fn our_own_group_is_found_also_on_a_hybrid_host() {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("with space");
        let ours = mount.join("system.slice/heartbeat.service");
        fs::create_dir_all(&ours).unwrap();
        let escaped = mount.display().to_string().replace(' ', "\\040");
        let mounts = HYBRID.replace("ROOT", &escaped);
        let own = "5:cpu:/\n0::/system.slice/heartbeat.service\n";
        assert_eq!(own_group(&mounts, own), None, "there is no such group");
        fs::write(ours.join("cgroup.procs"), "").unwrap();
        assert_eq!(own_group(&mounts, own), Some(ours));
        assert_eq!(own_group(&mounts, "5:cpu:/\n"), None);
        assert_eq!(own_group("", own), None);
        // The mount shows only our part of the hierarchy.
        let part = mounts.replace(" / /tmp", " /system.slice/heartbeat.service /tmp");
        if part != mounts {
            fs::write(mount.join("cgroup.procs"), "").unwrap();
            assert_eq!(own_group(&part, own), Some(mount));
        }
    }
}
