//! Control groups (cgroup v2): a control group for every run, so that a realm's processes are found, counted and killed by the
//! kernel, wherever they have gone.
//!
//! Where we may own some is found from the mounts and from the group that heartbeatd itself is in: a delegated one (systemd's
//! `Delegate=yes`, in which the root is left free of processes), or any that nobody else manages. On hosts with both
//! versions the second lies somewhere below (`/sys/fs/cgroup/unified`), has no controllers, and does all that is needed here.
//! Everything else falls back to groups, sessions and tags ([`crate::members`]).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use heartbeat_status::{RealmName, RunId};
use nix::errno::Errno;

use crate::{CgroupError, reserved_fds};

/// The control group of a delegated group in which heartbeatd itself sits.
const SUPERVISOR: &str = "supervisor";
/// How the directory is called that holds the groups of one state directory: this, and the id of the state directory.
const BASE_PREFIX: &str = "heartbeat-";
/// Abandoned groups are tried again after this, and this many times.
const TIDY_EVERY: rustix::time::Timespec = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
const MAX_TIDY_ROUNDS: u32 = 5;
/// Attempts to claim a directory that others remove at the same time.
const MAX_CLAIMS: u32 = 10;
/// Digits of such an id.
const ID_CHARS: usize = 16;
/// Groups that a realm has made in its own are looked into this deep.
const MAX_LEVELS: u32 = 8;
/// Looks at a file of a group; a longer one is not ours.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Finds the place for the groups of the state directory `mark`, and makes it. The root of a delegated group is left free
/// of processes: ours goes into a control group of its own.
///
/// # Errors
/// [`CgroupError`]: there are no control groups that heartbeatd may divide.
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
    // Only the root of all groups has no such file, and may have processes beside its groups.
    if own == root && root.join("cgroup.events").exists() {
        let cgroup = root.join(SUPERVISOR);
        // Where that fails, groups work all the same; only controllers cannot be enabled then.
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
        // What is mounted may be a part of all groups; ours has to be in it.
        let inside = Path::new(own).strip_prefix(&root).ok()?;
        let dir = Path::new(&at).join(inside);
        dir.join("cgroup.procs").exists().then_some(dir)
    })
}

/// Marks the directory as one of a living heartbeatd, as long as the result is held. Another heartbeatd that tidies up may
/// have removed it before it was claimed: then it is made again.
pub(crate) fn claim(base: &Path) -> Option<File> {
    for _ in 0..MAX_CLAIMS {
        let dir = reserved_fds::with(|| {
            make(base)?;
            File::open(base)
        });
        let dir = dir.ok()?;
        // Whoever tidies up holds it for a moment only.
        dir.lock_shared().ok()?;
        let inode = |meta: io::Result<fs::Metadata>| meta.map(|meta| meta.ino()).ok();
        if inode(fs::metadata(base)) == inode(dir.metadata()) {
            return Some(dir);
        }
    }
    None
}

/// Removes what other heartbeatds have left beside `base`, each killed together with its state directory: directories that
/// are named as ours are, that no living heartbeatd claims, and in which no process is. There may be tens of thousands of
/// groups in them, so this is no work for a thread that somebody waits for.
pub(crate) fn remove_abandoned(base: &Path) {
    for _ in 0..MAX_TIDY_ROUNDS {
        // One in which the kernel is still busy goes in the next round.
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

/// Removes a directory that nobody claims, and holds it meanwhile: whoever is about to claim it waits, and makes it again.
fn remove_if_abandoned(dir: &Path) -> io::Result<()> {
    let Ok(held) = File::open(dir) else { return Ok(()) };
    if held.try_lock().is_err() || !(Cgroup { dir: dir.to_owned() }.is_empty().unwrap_or(false)) {
        return Ok(());
    }
    remove(dir, MAX_LEVELS)
}

/// As mountinfo writes paths: space, tab, newline and backslash in octal.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// systemd marks what it has given away.
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
    /// Makes a fresh one: no two runs share theirs.
    pub(crate) fn make(base: &Path, realm: &RealmName, run: RunId) -> io::Result<Self> {
        let dir = base.join(format!("{realm}.{run}"));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Of an earlier life, and forgotten. EBUSY: somebody is in it.
                remove(&dir, MAX_LEVELS)?;
                fs::create_dir(&dir)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody has tidied up.
                make(base)?;
                fs::create_dir(&dir)?;
            }
            made => made?,
        }
        Ok(Self { dir })
    }

    /// One that is on record; `None` when it is gone.
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

    /// No living process is in it, or in a group that was made in it. Zombies are nobody.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        match read(&self.dir.join("cgroup.events")) {
            Ok(text) => Ok(text.lines().any(|line| line == "populated 0")),
            // A group with somebody in it cannot be removed.
            Err(error) if is_gone(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A descriptor that polls as PRI whenever [`Cgroup::is_empty`] may answer something else, from now on.
    pub(crate) fn events(&self) -> io::Result<OwnedFd> {
        let open = || {
            let mut file = File::open(self.dir.join("cgroup.events"))?;
            // What has been read is not told again.
            file.read_to_end(&mut Vec::new())?;
            Ok(file.into())
        };
        reserved_fds::with(open)
    }

    /// Kills all processes in it at once, also those that are being forked.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let write = || {
            // Not created when it is not there: kernels before 5.14 do not have it.
            let mut file = OpenOptions::new().write(true).open(self.dir.join("cgroup.kill"))?;
            io::Write::write_all(&mut file, b"1")
        };
        match reserved_fds::with(write) {
            Err(error) if is_gone(&error) && !self.dir.exists() => Ok(()),
            done => done,
        }
    }

    /// Processes in it and in the groups that were made in it.
    pub(crate) fn members(&self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        collect(&self.dir, MAX_LEVELS, &mut found)?;
        Ok(found)
    }

    /// Whether that process is in it now.
    pub(crate) fn has(&self, pid: u32) -> bool {
        // A process is in a group by name: what stands there ends with ours, or goes on below it.
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

    /// Removes it, if no process is in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove(&self.dir, MAX_LEVELS)
    }
}

fn collect(dir: &Path, depth: u32, found: &mut Vec<u32>) -> io::Result<()> {
    match reserved_fds::with(|| read(&dir.join("cgroup.procs"))) {
        Ok(text) => found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
        Err(error) if is_gone(&error) => return Ok(()),
        // A threaded group: its processes are listed where its domain is.
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

/// Removed before it was opened, or after.
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
        // Only a part of all groups is mounted, and ours is that part.
        let part = mounts.replace(" / /tmp", " /system.slice/heartbeat.service /tmp");
        if part != mounts {
            fs::write(mount.join("cgroup.procs"), "").unwrap();
            assert_eq!(own_group(&part, own), Some(mount));
        }
    }
}
