//! What is left of an earlier heartbeatd: one look at its records and one at /proc.
//!
//! Whatever is proven to be a realm's process comes back; what is proven to be gone is gone. Everything else is
//! unverifiable: it is watched, gets no signal, and nothing is started beside it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use heartbeat_status::{Exit, ExitKind, RealmName, RunId, Signal};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::books::{ALIVE_FILE, ALIVE_MAGIC};
use crate::frame::unframe;
use crate::group::Leaf;
use crate::record::{Origin, Record};
use crate::spawn::{COMMAND_MARK, HOOK_SUFFIX};
use crate::tree::{self, Stat, Sweep};
use crate::{RecordError, members, sys};

/// What became of a realm's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing of it is there.
    Nothing,
    /// Its main process lives.
    Alive {
        /// Its generation.
        run: RunId,
        /// Its pid.
        pid: u32,
        /// It is still the launcher.
        launching: bool,
    },
    /// Its main process has ended.
    Ended {
        /// Its generation.
        run: RunId,
        /// How, as far as the kernel still says so.
        exit: Exit,
        /// Nothing of its tree is left.
        empty: bool,
    },
    /// Something runs that may be it and cannot be proven to be.
    Unverifiable {
        /// What, for a person.
        what: String,
    },
}

/// A realm of which something is on record, or something runs.
#[derive(Debug)]
pub struct Survivor {
    /// The realm.
    pub realm: RealmName,
    /// What heartbeatd remembered of it in this boot.
    pub memory: Option<String>,
    /// What its process was made of.
    pub made_of: Option<u64>,
    /// What became of it.
    pub condition: Condition,
    /// How a generation ended of which nothing is left, where that is on record.
    pub last_exit: Option<(RunId, Exit)>,
    pub(crate) record: Option<Record>,
    /// Its main process, or whoever of it is left.
    pub(crate) held: Vec<OwnedFd>,
}

/// Everything that is left.
#[derive(Debug, Default)]
pub struct Survey {
    /// By name.
    pub realms: Vec<Survivor>,
    /// Records that could not be read. They are set aside, and what they may have been about is found by its mark.
    pub damaged: Vec<RecordError>,
}

/// Looks for what is left. `mark` is the id of the state directory; whoever asks holds its lock, so no other heartbeatd
/// is at work. `kept` are pidfds of main processes that somebody has kept meanwhile: they still know how theirs ended.
///
/// `groups` is where control groups of realms lie, if anywhere: somebody in one of them is a realm's, whatever he has made
/// of his environment.
///
/// Commands of the earlier heartbeatd (hooks and exec probes) are ended: nobody waits for them.
///
/// # Errors
/// When the directory of records cannot be read.
pub fn survey(
    records: &Path,
    mark: &str,
    groups: Option<&Path>,
    kept: &BTreeMap<RealmName, OwnedFd>,
) -> std::io::Result<Survey> {
    let origin = Origin::read(mark.to_owned());
    let mut survey = Survey::default();
    let mut known = Vec::new();
    for (path, record) in Record::all(records)? {
        match record {
            Ok(record) => known.push(record),
            Err(error) => {
                set_aside(&path);
                survey.damaged.push(error);
            }
        }
    }
    let sweep = Sweep::take();
    let mut marked = Marked::find(&sweep, mark);
    marked.add_members(&sweep, groups);
    marked.end_commands();
    let witnessed = witnessed(records).unwrap_or_else(|error| {
        survey.damaged.push(error);
        0
    });
    for record in known {
        let context = Context { origin: &origin, sweep: &sweep, marked: &marked, witnessed };
        survey.realms.extend(context.look(record, kept));
    }
    for (name, found) in &marked.realms {
        if survey.realms.iter().any(|known| known.realm == *name) {
            continue;
        }
        survey.realms.push(stray(name, found, None));
    }
    Ok(survey)
}

/// A record that is not whole is kept for whoever wants to look at it, under a name that no record has.
fn set_aside(path: &Path) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    // What cannot be set aside is found damaged again.
    let _ = std::fs::rename(path, PathBuf::from(aside));
}

/// When the earlier heartbeatd was last seen alive; 0 when it never said so.
fn witnessed(records: &Path) -> Result<u64, RecordError> {
    let path = records.join(ALIVE_FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(RecordError::Read { path, source }),
    };
    let ticks = unframe(ALIVE_MAGIC, &bytes).and_then(|text| text.trim().parse().map_err(|_| "not a number"));
    ticks.map_err(|what| {
        set_aside(&path);
        RecordError::Damaged { path, what }
    })
}

/// Living processes by the marks in their environment.
struct Marked {
    realms: BTreeMap<RealmName, Vec<(u32, Stat)>>,
    commands: Vec<(u32, Stat, bool)>,
}

impl Marked {
    fn find(sweep: &Sweep, mark: &str) -> Self {
        let own = std::process::id();
        let mut found = Self { realms: BTreeMap::new(), commands: Vec::new() };
        let command = format!("{COMMAND_MARK}={mark}/");
        let state = format!("HEARTBEAT_STATE={mark}");
        for (pid, stat) in sweep.all().filter(|(pid, _)| *pid != own) {
            let mut entries =
                tree::environment_entries(pid, &["HEARTBEAT_STATE=", "HEARTBEAT_REALM=", &command]);
            if let Some(entry) = entries.pop_if(|entry| entry.starts_with(&command)) {
                found.commands.push((pid, stat, entry.ends_with(HOOK_SUFFIX)));
            }
            if let [marked, realm] = &entries[..]
                && *marked == state
                && let Some(Ok(name)) = realm.strip_prefix("HEARTBEAT_REALM=").map(RealmName::new)
            {
                found.realms.entry(name).or_default().push((pid, stat));
            }
        }
        found
    }

    /// Whoever lives in the control group of a realm.
    fn add_members(&mut self, sweep: &Sweep, groups: Option<&Path>) {
        for (realm, leaf) in groups.map(Leaf::all).unwrap_or_default() {
            for pid in leaf.members().unwrap_or_default() {
                let Some((_, stat)) = sweep.all().find(|(known, _)| *known == pid) else { continue };
                // Zombies are nobody, and no entry.
                let known = self.realms.entry(realm.clone()).or_default();
                if known.iter().all(|(known, _)| *known != pid) {
                    known.push((pid, stat));
                }
            }
        }
    }

    fn of(&self, realm: &RealmName) -> &[(u32, Stat)] {
        self.realms.get(realm).map_or(&[], Vec::as_slice)
    }

    /// Ends what ran for an exec probe, wherever it is, and what ran for a hook, as far as it is its session: a hook may
    /// start daemons.
    fn end_commands(&self) {
        let leads =
            |pid: u32| self.commands.iter().any(|(leader, stat, _)| *leader == pid && stat.session == pid);
        for (pid, stat, hook) in &self.commands {
            if (!hook || leads(stat.session))
                && let Some(pidfd) = hold(*pid, stat)
            {
                let _ = sys::signal_process(pidfd.as_fd(), Signal::KILL);
            }
        }
    }
}

/// The process of that pid and start time, held; `None` when it is gone.
fn hold(pid: u32, stat: &Stat) -> Option<OwnedFd> {
    members::hold(pid, stat).ok().flatten()
}

fn open(pid: u32) -> Option<OwnedFd> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    rustix::process::pidfd_open(raw, PidfdFlags::empty()).ok()
}

struct Context<'a> {
    origin: &'a Origin,
    sweep: &'a Sweep,
    marked: &'a Marked,
    /// When the earlier heartbeatd was last seen alive.
    witnessed: u64,
}

impl Context<'_> {
    fn look(&self, record: Record, kept: &BTreeMap<RealmName, OwnedFd>) -> Option<Survivor> {
        let here = record.boot == self.origin.boot;
        let strays = self.marked.of(&record.realm);
        if !here || (record.init && record.pid_namespace != self.origin.pid_namespace) {
            // Of another boot, or of a namespace that ended with its heartbeatd: nothing of it is left or means anything.
            return None;
        }
        let foreign = record.mark != self.origin.mark || record.pid_namespace != self.origin.pid_namespace;
        let Some(process) = record.process else {
            let condition = Condition::Nothing;
            let survivor = survivor(record, condition, Vec::new());
            return Some(if strays.is_empty() {
                survivor
            } else {
                stray(&survivor.realm, strays, survivor.record)
            });
        };
        if foreign {
            let whose = if record.mark == self.origin.mark {
                "in another pid namespace"
            } else {
                "by another heartbeatd"
            };
            let what = format!(
                "pid {} on record was started {whose}, and cannot be verified from here",
                process.pid
            );
            return Some(survivor(record, Condition::Unverifiable { what }, Vec::new()));
        }
        // In this order: whoever has that pid and start time had them when it was held, too.
        let pidfd = open(process.pid);
        let stat = tree::stat(process.pid).filter(|stat| stat.start_time == process.start_time);
        if let (Some(stat), Some(pidfd)) = (stat, pidfd) {
            if !matches!(stat.state, 'Z' | 'X') {
                let launching = tree::is_launcher_copy(process.pid);
                let condition = Condition::Alive { run: process.run, pid: process.pid, launching };
                return Some(survivor(record, condition, vec![pidfd]));
            }
            let exit = exit_of(&pidfd, process.pid, process.start_time);
            return Some(self.ended(record, exit));
        }
        let on_record = record.exit.filter(|(run, _)| *run == process.run).map(|(_, exit)| exit);
        let exit = on_record.or_else(|| {
            let kept = kept.get(&record.realm)?;
            sys::exit_of_reaped(kept.as_fd()).map(from_wait_status)
        });
        Some(self.ended(record, exit.unwrap_or(Exit::unknown())))
    }

    fn ended(&self, record: Record, exit: Exit) -> Survivor {
        let Some(process) = record.process else { return survivor(record, Condition::Nothing, Vec::new()) };
        let held: Vec<OwnedFd> =
            self.leftovers(&record).into_iter().filter_map(|(pid, stat)| hold(pid, &stat)).collect();
        let leaf = record.group.clone().and_then(Leaf::at);
        let deserted = leaf.is_none_or(|leaf| leaf.is_empty().unwrap_or(false));
        let condition = Condition::Ended { run: process.run, exit, empty: deserted && held.is_empty() };
        survivor(record, condition, held)
    }

    /// Who is left of a tree whose main process has ended: its marked processes, and those of its session and group who
    /// had started while it was known to live.
    fn leftovers(&self, record: &Record) -> Vec<(u32, Stat)> {
        let Some(process) = record.process else { return Vec::new() };
        let mut left = self.marked.of(&record.realm).to_vec();
        // A process of that number today is another one, and so are its session and group.
        let reused = self.sweep.all().any(|(pid, _)| pid == process.pid);
        for (pid, stat) in self.sweep.all().filter(|_| !reused) {
            let member = stat.session == process.pid || stat.group == process.pid;
            if member && stat.start_time <= self.witnessed && !left.iter().any(|(known, _)| *known == pid) {
                left.push((pid, stat));
            }
        }
        left
    }
}

fn survivor(record: Record, condition: Condition, held: Vec<OwnedFd>) -> Survivor {
    Survivor {
        realm: record.realm.clone(),
        memory: record.memory.clone(),
        made_of: record.made_of,
        condition,
        last_exit: record.exit,
        record: Some(record),
        held,
    }
}

/// Processes that carry the mark of a realm and are not on record.
fn stray(realm: &RealmName, found: &[(u32, Stat)], record: Option<Record>) -> Survivor {
    let held = found.iter().filter_map(|(pid, stat)| hold(*pid, stat)).collect();
    let named = |(pid, _): &(u32, Stat)| match tree::command_name(*pid) {
        Some(name) => format!("{pid} ({name})"),
        None => pid.to_string(),
    };
    let pids: Vec<String> = found.iter().map(named).collect();
    let what = format!("pid {} carries its mark and is not on record", pids.join(", "));
    Survivor {
        realm: realm.clone(),
        memory: record.as_ref().and_then(|record| record.memory.clone()),
        made_of: record.as_ref().and_then(|record| record.made_of),
        condition: Condition::Unverifiable { what },
        last_exit: None,
        record,
        held,
    }
}

/// How a process ended that may or may not be our child, and may or may not have been reaped by somebody else.
pub(crate) fn exit_of(pidfd: &OwnedFd, pid: u32, start_time: u64) -> Exit {
    /// Between the two looks of one round somebody may reap it; not twice.
    const LOOKS: u32 = 2;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    if let Ok(Some(status)) = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options) {
        return crate::run::exit_of_status(&status);
    }
    for _ in 0..LOOKS {
        let zombie = tree::stat(pid).filter(|stat| stat.start_time == start_time);
        if let Some(status) = zombie.and_then(|stat| stat.wait_status) {
            return from_wait_status(status);
        }
        if let Some(status) = sys::exit_of_reaped(pidfd.as_fd()) {
            return from_wait_status(status);
        }
    }
    Exit::unknown()
}

/// What wait(2) says, in our words.
fn from_wait_status(status: i32) -> Exit {
    const CORE_FLAG: i32 = 0x80;
    let signal = status & 0x7f;
    let kind = if signal == 0 {
        ExitKind::Code(status >> 8 & 0xff)
    } else {
        match Signal::new(signal) {
            Some(signal) => ExitKind::Signal { signal, core: status & CORE_FLAG != 0 },
            None => ExitKind::Unknown,
        }
    };
    Exit { kind, oom: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses_are_read() {
        assert_eq!(from_wait_status(0), Exit::code(0));
        assert_eq!(from_wait_status(7 << 8), Exit::code(7));
        assert_eq!(from_wait_status(9), Exit::signal(Signal::KILL));
        let aborted = from_wait_status(6 | 0x80);
        assert!(matches!(aborted.kind, ExitKind::Signal { signal: Signal::ABRT, core: true }));
    }
}
