//! What a thousand sleeping realms cost: memory, and time while nothing happens.

use std::time::Duration;

use crate::bed::{Bed, pause};

const REALMS: usize = 1_000;
const IDLE: Duration = Duration::from_secs(30);

/// Proportional share of the memory of a process, in KiB.
fn pss(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Fields of `/proc/PID/stat` behind the name.
fn stat(pid: i32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    rest.split(' ').map(ToOwned::to_owned).collect()
}

/// Processor time of a process so far, in ticks.
pub(crate) fn ticks(pid: i32) -> u64 {
    // utime and stime are fields 14 and 15 of the whole line.
    stat(pid).get(11..13).map_or(0, |times| times.iter().filter_map(|time| time.parse::<u64>().ok()).sum())
}

/// Launchers that wait: children of heartbeatd by that name.
fn launchers(daemon: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.trim() == "hb-launch" && stat(pid).get(1) == Some(&daemon.to_string()) {
            found.push(pid);
        }
    }
    found
}

pub(crate) fn measure() {
    let bed = Bed::new();
    let (child, stamps) = (bed.path("child"), bed.path("stamps"));
    let realm = |at: usize| {
        format!("[realm.r{at}]\nrun = [\"{child}\", \"{stamps}\", \"{at}\"]\nlog = {{ to = \"none\" }}\n")
    };
    let realms: String = (0..REALMS).map(realm).collect();
    let daemon = bed.daemon(Some(0), &realms);
    bed.wait_up();
    pause(Duration::from_secs(5));
    let pid = daemon.pid();
    let waiting = launchers(pid);
    let (own, theirs) = (pss(pid), waiting.iter().map(|pid| pss(*pid)).sum::<u64>());
    let before = ticks(pid);
    pause(IDLE);
    let used = ticks(pid) - before;
    let per_minute = used as f64 / 100.0 * 60.0 / IDLE.as_secs_f64();
    println!("\n### 1,000 sleeping realms with a process probe each, the API on\n");
    println!("| what | figure |\n|---|---|");
    println!("| memory of heartbeatd (PSS) | {:.1} MiB |", own as f64 / 1024.0);
    println!("| and of {} launcher that waits (PSS) | {:.1} MiB |", waiting.len(), theirs as f64 / 1024.0);
    println!(
        "| processor time while idle | {per_minute:.2} s a minute ({used} ticks in {} s) |",
        IDLE.as_secs()
    );
}
