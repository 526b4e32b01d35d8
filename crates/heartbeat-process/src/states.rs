//! A look at each process of a run, as evidence of what it did: without its arguments, its variables and the files that
//! it has open, since those may hold secrets.

use std::fs;
use std::time::Duration;

use crate::tree;
use crate::usage::{RunPlace, UsageReader, descriptors, ticks};

/// Most processes of a run that a look returns.
const MAX_PROCESSES: usize = 64;

/// One process of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessState {
    /// Pid of the process.
    pub pid: u32,
    /// The number of its parent.
    pub parent: u32,
    /// Its name: at most 15 characters, which the program itself may set.
    pub name: String,
    /// What it does, as the kernel abbreviates it: `R` runs, `S` sleeps, `D` waits for a disk, `T` is stopped, `Z` has
    /// ended.
    pub state: char,
    /// The function of the kernel that it waits in, where heartbeatd may read it.
    pub waits_in: Option<String>,
    /// Number of its threads.
    pub threads: u32,
    /// Processor time since its start.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// Open descriptors, where heartbeatd may count them.
    pub descriptors: Option<u64>,
}

impl UsageReader {
    /// The processes of a run, its main process first.
    #[must_use]
    pub fn states(&self, place: &RunPlace) -> Vec<ProcessState> {
        states(place, self.members(place).unwrap_or_else(|| self.tagged(place)))
    }

    /// The processes of a run that are known without a search: those of its control group, or its main process alone.
    /// This reads nothing that a hanging process can hold up.
    #[must_use]
    pub fn known_states(&self, place: &RunPlace) -> Vec<ProcessState> {
        states(place, self.members(place).unwrap_or_else(|| vec![place.main]))
    }

    fn members(&self, place: &RunPlace) -> Option<Vec<u32>> {
        match self.group(place) {
            Some(group) => group.members().ok(),
            // The kernel removes no group that has a process.
            None => (self.has_groups() && tree::stat(place.main).is_none()).then(Vec::new),
        }
    }
}

fn states(place: &RunPlace, mut pids: Vec<u32>) -> Vec<ProcessState> {
    pids.sort_unstable_by_key(|pid| (*pid != place.main, *pid));
    pids.into_iter().filter_map(state).take(MAX_PROCESSES).collect()
}

/// `None` when the process is not there.
fn state(pid: u32) -> Option<ProcessState> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may contain anything.
    let (open, close) = (line.find('(')?, line.rfind(')')?);
    let fields: Vec<&str> = line[close + 1..].split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let page = rustix::param::page_size() as u64;
    let waits_in = fs::read_to_string(format!("/proc/{pid}/wchan")).ok();
    Some(ProcessState {
        pid,
        parent: u32::try_from(number(1)?).ok()?,
        name: line.get(open + 1..close)?.to_owned(),
        state: fields.first()?.chars().next()?,
        waits_in: waits_in.filter(|function| !matches!(function.as_str(), "" | "0")),
        threads: u32::try_from(number(17)?).ok()?,
        cpu: ticks(number(11)?.saturating_add(number(12)?)),
        memory_bytes: number(21)?.saturating_mul(page),
        descriptors: descriptors(pid),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::{RealmName, RunId};

    #[test]
    fn our_own_process_is_seen_without_its_arguments() {
        let reader = UsageReader::new(None, "no-such-tag".to_owned());
        let realm = RealmName::new("no-such-realm").unwrap();
        let place = |main| RunPlace { realm: realm.clone(), run: RunId(1), main };
        let states = reader.states(&place(std::process::id()));
        let own = &states[0];
        assert_eq!((own.pid, own.parent), (std::process::id(), std::os::unix::process::parent_id()));
        assert!(
            own.threads >= 1 && own.memory_bytes > 100_000 && own.descriptors.is_some_and(|fds| fds >= 3)
        );
        assert!("RSD".contains(own.state) && own.name.len() <= 15, "{own:?}");
        assert_eq!(
            reader.known_states(&place(own.pid))[0].pid,
            own.pid,
            "without a group it is the main process"
        );
        assert_eq!(
            (reader.states(&place(u32::MAX)), reader.known_states(&place(u32::MAX))),
            (vec![], vec![])
        );
    }
}
