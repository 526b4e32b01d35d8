//! What `/proc` says of the processes of a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::adopting::until;
use super::rustix_yield;

pub(crate) fn kill_main(pid: u32) {
    nix::sys::signal::kill(Pid::from_raw(i32::try_from(pid).unwrap()), nix::sys::signal::SIGKILL).unwrap();
}

/// The launcher that waits, once no copy of it is left.
pub(crate) fn the_launcher() -> u32 {
    let mut tries = 0u32;
    loop {
        if let [launcher] = launchers()[..] {
            return launcher;
        }
        tries += 1;
        assert!(tries < 10_000, "no launcher waits");
        rustix_yield();
    }
}

/// Descriptors of which this process waits for events.
pub(crate) fn watched() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = descriptors.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    texts.map(|text| text.lines().filter(|line| line.starts_with("tfd:")).count()).sum()
}

/// The launchers of this very process: others may run beside it.
pub(crate) fn launchers() -> Vec<u32> {
    let ours = format!(" {} ", std::process::id());
    let of_ours = |path: &PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.get(2..).is_some_and(|rest| rest.starts_with(&ours)))
    };
    let pid = |path: PathBuf| path.file_name()?.to_str()?.parse().ok();
    processes_called(&["hb-launch"]).into_iter().filter(of_ours).filter_map(pid).collect()
}

pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The reaper reports an end first and closes afterwards what belonged to the run, also before `most` was counted.
pub(crate) fn wait_for_at_most(most: usize) {
    until(|| descriptors() <= most);
}

/// Orphans of an earlier test come to this program, and its `Processes` may have gone before they ended.
pub(crate) fn collect_zombies() {
    for zombie in zombies() {
        let pid = Pid::from_raw(i32::try_from(zombie).unwrap());
        // It has ended, so nothing is waited for.
        let _ = waitpid(pid, None);
    }
}

pub(crate) fn zombies() -> Vec<u32> {
    let ours = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if fields[0] == "Z" && fields[1] == ours {
            found.push(head.split(' ').next().unwrap().parse().unwrap());
        }
    }
    found
}

/// Living processes of this test that were called so.
pub(crate) fn processes_called(argv: &[&str]) -> Vec<PathBuf> {
    let wanted: Vec<u8> = argv.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let is_called = |pid: &u32| {
        let path = PathBuf::from(format!("/proc/{pid}"));
        std::fs::read(path.join("cmdline")).is_ok_and(|line| line == wanted) && !is_zombie(&path)
    };
    let guard = nix::unistd::getppid().as_raw().unsigned_abs();
    let called: Vec<u32> = descendants(guard).into_iter().filter(is_called).collect();
    called.into_iter().map(|pid| PathBuf::from(format!("/proc/{pid}"))).collect()
}

/// Everything below a process, zombies too.
pub(crate) fn descendants(of: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let (mut found, mut at) = (children.remove(&of).unwrap_or_default(), 0);
    while let Some(pid) = found.get(at) {
        found.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    found
}

pub(crate) fn is_zombie(process: &Path) -> bool {
    std::fs::read_to_string(process.join("stat")).map_or(true, |stat| stat.contains(") Z "))
}
