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

/// Living processes of the session or group that `leader` made, itself not counted.
pub(crate) fn members(leader: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != leader)
        .filter(|pid| {
            stat(*pid).is_some_and(|stat| {
                (stat.group == leader || stat.session == leader) && !matches!(stat.state, 'Z' | 'X')
            })
        })
        .collect()
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
