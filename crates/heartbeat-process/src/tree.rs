//! Who is left in a process group, where the kernel only says that somebody is.

use std::fs;

/// What `/proc/PID/stat` says that identifies a process and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: char,
    pub(crate) group: u32,
    pub(crate) session: u32,
    pub(crate) start_time: u64,
}

/// Reads the stat line of a process; `None` when there is none.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(line: &str) -> Option<Stat> {
    // The name stands in parentheses and may contain anything, also parentheses and spaces.
    let rest = &line[line.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Field 22 of proc(5); state is field 3, session field 6.
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Stat { state, group, session, start_time })
}

/// Every living process at one moment: one pass over /proc for everybody who ended in the same wake-up.
#[derive(Debug)]
pub(crate) struct Sweep {
    living: Vec<(u32, Stat)>,
}

impl Sweep {
    pub(crate) fn take() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let stats = pids.filter_map(|pid| Some((pid, stat(pid)?)));
        Self { living: stats.filter(|(_, stat)| !matches!(stat.state, 'Z' | 'X')).collect() }
    }

    /// Living processes of the session or group that `leader` made, itself not counted.
    pub(crate) fn members(&self, leader: u32) -> impl Iterator<Item = u32> + '_ {
        self.living
            .iter()
            .filter(move |(pid, stat)| *pid != leader && (stat.group == leader || stat.session == leader))
            .map(|(pid, _)| *pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_confuse_the_parser() {
        let line = "42 (a) R 1 (x)) S 7 40 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        assert_eq!(parse(line), Some(Stat { state: 'S', group: 40, session: 41, start_time: 987_654 }));
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn our_own_stat_is_read() {
        let own = stat(std::process::id()).unwrap();
        assert!(own.start_time > 0 && own.group > 0);
    }
}
