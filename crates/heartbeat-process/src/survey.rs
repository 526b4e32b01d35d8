//! What is left of an earlier heartbeatd: one pass over its records and one over /proc.
//!
//! A process that is proven to be a realm's comes back; one that is proven to be gone has ended. Everything else is
//! unverifiable: heartbeatd watches it, sends it no signal, and starts nothing beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::slice;

use heartbeat_status::{Exit, RealmName, RunId, Signal, unframe};
use rustix::process::{Pid, PidfdFlags};

use crate::cgroup::Cgroup;
use crate::exit::{exit_of, from_wait_status};
use crate::members::Users;
use crate::record::{Origin, ProcessRecord, own_file};
use crate::record_store::{ALIVE_FILE, ALIVE_MAGIC};
use crate::tags::{COMMAND_TAG, HOOK_SUFFIX, RUN_TAG};
use crate::tree::{self, ProcScan, Stat};
use crate::{IdentityDigest, LaunchSpec, RecordError, members, reserved_fds, sys};

/// What became of a realm's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// No process of the realm is there.
    Nothing,
    /// Its main process lives.
    Alive {
        /// The generation of the realm.
        run: RunId,
        /// Its process id (pid).
        pid: u32,
        /// It is still a copy of the launcher.
        launching: bool,
    },
    /// Its main process has ended.
    Ended {
        /// The generation of the realm.
        run: RunId,
        /// How it ended, as far as the kernel still says so.
        exit: Exit,
        /// No process of its tree is left.
        empty: bool,
    },
    /// Its main process has ended and may have left a daemon behind: heartbeatd has not followed its pid file yet.
    Forked {
        /// The generation of the realm.
        run: RunId,
        /// The process id (pid) that the main process had.
        pid: u32,
        /// How it ended, as far as the kernel still says so.
        exit: Exit,
    },
    /// A process runs that may be the realm's, and cannot be proven to be.
    Unverifiable {
        /// Which process, for an operator.
        what: String,
    },
}

/// A realm that is on record, or of which a process runs.
#[derive(Debug)]
pub struct Survivor {
    /// The realm it belongs to.
    pub realm: RealmName,
    /// What heartbeatd remembered of it in this boot.
    pub memory: Option<String>,
    /// What its process was made of.
    pub identity: Option<IdentityDigest>,
    /// What became of it.
    pub condition: Condition,
    /// How a generation ended of which no process is left, where that is on record.
    pub last_exit: Option<(RunId, Exit)>,
    pub(crate) record: Option<ProcessRecord>,
    /// Pidfds of its main process, or of what is left of its tree.
    pub(crate) held: Vec<OwnedFd>,
}

impl Survivor {
    /// Its main process lives, or may have left a daemon behind.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.condition, Condition::Alive { .. } | Condition::Forked { .. })
    }
}

/// Everything that is left.
#[derive(Debug, Default)]
pub struct Survey {
    /// Ordered by their names.
    pub realms: Vec<Survivor>,
    /// Records that could not be read. The survey sets them aside, and finds their processes by the tag.
    pub damaged: Vec<RecordError>,
}

/// Where to look for what is left, and what to trust.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Directory of adoption records.
    pub records: &'a Path,
    /// Id of the state directory; the caller holds its lock, so no other heartbeatd is at work.
    pub instance_tag: &'a str,
    /// Where control groups of realms lie, if anywhere: a process in one of them is a realm's, whatever its environment
    /// says.
    pub groups: Option<&'a Path>,
    /// Pidfds of main processes that a service manager kept meanwhile: they still know how those ended.
    pub kept: &'a BTreeMap<RealmName, OwnedFd>,
    /// Realms of the configuration that have a program, each with its specification.
    pub realms: &'a BTreeMap<RealmName, &'a LaunchSpec>,
    /// Our socket, as realms get it in their environment. A process with the same socket belongs to a heartbeatd that
    /// has lost its state directory: no two heartbeatds share a socket.
    pub socket: Option<&'a Path>,
}

/// Finds what is left of an earlier heartbeatd. Kills its commands (hooks and exec probes): nothing waits for them.
///
/// # Errors
/// The directory of records cannot be read.
pub fn survey(search: &Search<'_>) -> std::io::Result<Survey> {
    let Search { records, instance_tag, groups, kept, .. } = *search;
    let origin = Origin::read(instance_tag.to_owned());
    let mut survey = Survey::default();
    let mut known = Vec::new();
    for (path, record) in ProcessRecord::all(records)? {
        match record {
            Ok(record) => known.push(record),
            Err(error) => {
                set_aside(&path);
                survey.damaged.push(error);
            }
        }
    }
    let scan = ProcScan::take();
    let here = |record: &&ProcessRecord| {
        (&record.boot, &record.pid_namespace) == (&origin.boot, &origin.pid_namespace)
    };
    let tagged = Tagged::find(&scan, search, known.iter().filter(here));
    let grouped = Grouped::list(&scan, groups);
    tagged.end_commands();
    let witnessed = witnessed(records).unwrap_or_else(|error| {
        survey.damaged.push(error);
        0
    });
    for record in known {
        let spec = search.realms.get(&record.realm);
        let makes_daemon = spec.is_some_and(|spec| spec.pidfile.is_some());
        let grouped = &grouped;
        let context =
            Context { origin: &origin, scan: &scan, tagged: &tagged, grouped, witnessed, makes_daemon };
        survey.realms.extend(context.look(record, kept));
    }
    let on_record: BTreeSet<RealmName> = survey.realms.iter().map(|known| known.realm.clone()).collect();
    let names: BTreeSet<&RealmName> = tagged.realms.keys().chain(grouped.cgroups.keys()).collect();
    for name in names.into_iter().filter(|name| !on_record.contains(*name)) {
        // A process of another state directory counts only while a realm of ours has this name.
        let ours = search.realms.contains_key(name);
        let found = tagged.with(&grouped, name);
        let found: Vec<(u32, Stat)> =
            found.iter().filter(|found| ours || !found.foreign).map(Found::process).collect();
        if !found.is_empty() {
            survey.realms.push(stray(name, &found, None));
        }
    }
    Ok(survey)
}

/// Keeps a damaged record for the operator, under a name that no record has.
fn set_aside(path: &Path) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    // If that fails, the next survey finds it damaged again.
    let _ = std::fs::rename(path, PathBuf::from(aside));
}

/// When the earlier heartbeatd last recorded that it lives; 0 if it never did.
fn witnessed(records: &Path) -> Result<u64, RecordError> {
    let path = records.join(ALIVE_FILE);
    let bytes = match own_file(&path) {
        Ok(bytes) => bytes,
        Err(RecordError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(0);
        }
        Err(error) => {
            set_aside(&path);
            return Err(error);
        }
    };
    let ticks = unframe(ALIVE_MAGIC, &bytes).and_then(|text| text.trim().parse().map_err(|_| "not a number"));
    ticks.map_err(|what| {
        set_aside(&path);
        RecordError::Damaged { path, what }
    })
}

/// A living process that carries the tag of a realm, or is in a control group of it.
#[derive(Clone, Debug)]
struct Found {
    pid: u32,
    stat: Stat,
    /// The word of its run.
    word: Option<String>,
    /// The control group of the realm that it lives in.
    group: Option<PathBuf>,
    /// It was started under another state directory.
    foreign: bool,
}

impl Found {
    /// It belongs to the run on record. A process in a control group is known by that alone.
    fn is_of(&self, record: &ProcessRecord) -> bool {
        match &self.group {
            Some(group) => record.group.as_ref().is_none_or(|known| known == group),
            None => !self.foreign && self.word == record.word,
        }
    }

    fn process(&self) -> (u32, Stat) {
        (self.pid, self.stat)
    }
}

/// Paths of the Unix sockets on which some process listens. Where the kernel does not say, it is as if none did.
fn unix_listeners() -> BTreeSet<PathBuf> {
    /// `SO_ACCEPTCON` in the column of flags.
    const LISTENS: &str = "00010000";
    let table = reserved_fds::with(|| std::fs::read_to_string("/proc/net/unix")).unwrap_or_default();
    let listening = |line: &str| {
        // Number, references, protocol, flags, type, state, inode, and the path, which may have blanks.
        let mut columns = line.splitn(8, ' ');
        let is_listening = columns.nth(3) == Some(LISTENS);
        let rest = columns.last().filter(|_| is_listening)?.trim_start();
        // A short number is padded, and stands before the path then.
        let path = if rest.starts_with('/') { rest } else { rest.split_once(' ')?.1 };
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    table.lines().filter_map(listening).collect()
}

/// The control groups of realms. The processes in them are read where they matter.
struct Grouped {
    cgroups: BTreeMap<RealmName, Vec<Cgroup>>,
    living: BTreeMap<u32, Stat>,
}

impl Grouped {
    fn list(scan: &ProcScan, groups: Option<&Path>) -> Self {
        let mut cgroups = BTreeMap::<_, Vec<Cgroup>>::new();
        for (realm, cgroup) in groups.map(Cgroup::all).unwrap_or_default() {
            cgroups.entry(realm).or_default().push(cgroup);
        }
        Self { cgroups, living: scan.all().collect() }
    }

    /// The processes in the control groups of a realm.
    fn of(&self, realm: &RealmName) -> Vec<Found> {
        let mut all = Vec::new();
        for cgroup in self.cgroups.get(realm).into_iter().flatten() {
            for pid in cgroup.members().unwrap_or_default() {
                let Some(stat) = self.living.get(&pid).copied() else { continue };
                let group = Some(cgroup.dir().to_owned());
                all.push(Found { pid, stat, word: None, group, foreign: false });
            }
        }
        all
    }
}

/// What the environment of a main process on record says of it.
#[derive(Clone, Debug)]
struct MainEnvironment {
    /// It is empty: the process is still a copy of the launcher.
    is_empty: bool,
    word: Option<String>,
}

impl MainEnvironment {
    /// Of a process that the scan has not seen.
    fn read(pid: u32) -> Self {
        let beginning = format!("{RUN_TAG}=");
        let (is_empty, entries) = tree::environment_with(pid, &[&beginning]);
        let word = entries.first().and_then(|entry| entry.strip_prefix(&beginning));
        Self { is_empty, word: word.map(str::to_owned) }
    }

    /// It does not carry the word of another run. A process that has overwritten its environment carries none, and
    /// neither does a copy of the launcher, which has no environment yet: pid and start time identify both.
    fn has_word(&self, record: &ProcessRecord) -> bool {
        self.word.is_none() || self.word == record.word
    }
}

/// Living processes by the tags in their environment.
struct Tagged {
    /// Without the main processes on record.
    realms: BTreeMap<RealmName, Vec<Found>>,
    mains: BTreeMap<u32, MainEnvironment>,
    commands: Vec<(u32, Stat, bool)>,
}

impl Tagged {
    /// `known` are the records of this boot and pid namespace.
    fn find<'a>(
        scan: &ProcScan,
        search: &Search<'_>,
        known: impl Iterator<Item = &'a ProcessRecord>,
    ) -> Self {
        let own = std::process::id();
        let listeners = unix_listeners();
        let mut found = Self { realms: BTreeMap::new(), mains: BTreeMap::new(), commands: Vec::new() };
        let on_record = known.filter_map(|record| Some((record.process?.pid, record)));
        let on_record: BTreeMap<u32, &ProcessRecord> = on_record.collect();
        let command = format!("{COMMAND_TAG}={}/", search.instance_tag);
        let (state, realm, run) = ("HEARTBEAT_STATE=", "HEARTBEAT_REALM=", format!("{RUN_TAG}="));
        let (socket, place) = ("HEARTBEAT_SOCKET=", "PWD=");
        let beginnings = [&command, state, realm, &run, socket, place];
        for (pid, stat) in scan.all().filter(|(pid, _)| *pid != own) {
            let (is_empty, entries) = tree::environment_with(pid, &beginnings);
            let value = |beginning: &str| entries.iter().find_map(|entry| entry.strip_prefix(beginning));
            if let Some(record) = on_record.get(&pid) {
                let main = MainEnvironment { is_empty, word: value(&run).map(str::to_owned) };
                let is_it = record.process.is_some_and(|process| process.start_time == stat.start_time);
                let is_ours = record.instance_tag == search.instance_tag && main.has_word(record);
                found.mains.insert(pid, main);
                if is_it && is_ours && value(&command).is_none() {
                    // Its record says more of it than its tags.
                    continue;
                }
            }
            let of_any_realm = || search.realms.values().any(|spec| users_of(spec).have(pid));
            if let Some(rest) = value(&command)
                && (Users::with(None).have(pid) || of_any_realm())
            {
                found.commands.push((pid, stat, rest.ends_with(HOOK_SUFFIX)));
            }
            let (Some(id), Some(Ok(name))) = (value(state), value(realm).map(RealmName::new)) else {
                continue;
            };
            let foreign = id != search.instance_tag;
            let same_socket = || search.socket.is_some_and(|path| value(socket).map(Path::new) == Some(path));
            // Started where the realm starts, by a heartbeatd that is gone: its directories and its socket have moved.
            let same_place = || {
                let dir = search.realms.get(&name).map(|spec| spec.dir.as_path());
                let is_there = dir.is_some() && value(place).map(Path::new) == dir;
                is_there && value(socket).is_some_and(|path| !listeners.contains(Path::new(path)))
            };
            // Another user's process may copy the tag, so its tag proves nothing.
            let users = search.realms.get(&name).map_or_else(|| Users::with(None), |spec| users_of(spec));
            if (!foreign || same_socket() || same_place()) && users.have(pid) {
                let word = value(&run).map(str::to_owned);
                let process = Found { pid, stat, word, group: None, foreign };
                found.realms.entry(name).or_default().push(process);
            }
        }
        found
    }

    /// The processes of a realm, by their tags or in its control groups. What is in a group is known by that.
    fn with(&self, grouped: &Grouped, realm: &RealmName) -> Vec<Found> {
        let members = grouped.of(realm);
        let tagged = self.realms.get(realm).into_iter().flatten();
        let outside = tagged.filter(|found| members.iter().all(|member| member.pid != found.pid)).cloned();
        let mut all: Vec<Found> = outside.collect();
        all.extend(members);
        all
    }

    /// Processes of the run on record: those in its control group, and those that carry its word.
    fn of(&self, grouped: &Grouped, record: &ProcessRecord) -> Vec<(u32, Stat)> {
        let found = self.with(grouped, &record.realm);
        found.iter().filter(|found| found.is_of(record)).map(Found::process).collect()
    }

    /// Processes of a later run, which the disk has kept off the record.
    fn beyond(&self, grouped: &Grouped, record: &ProcessRecord) -> Vec<(u32, Stat)> {
        let found = self.with(grouped, &record.realm);
        let is_of_a_run = |found: &Found| found.group.is_some() || found.word.is_some();
        let is_later = |found: &&Found| !found.foreign && is_of_a_run(found) && !found.is_of(record);
        found.iter().filter(is_later).map(Found::process).collect()
    }

    /// All processes of a realm that has none on record.
    fn strays(&self, grouped: &Grouped, realm: &RealmName) -> Vec<(u32, Stat)> {
        self.with(grouped, realm).iter().map(Found::process).collect()
    }

    /// Kills all processes of an exec probe, and those of a hook that are in its own session: a hook may start daemons.
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

/// Users whose processes may be those of a realm with this specification.
fn users_of(spec: &LaunchSpec) -> Users {
    Users::with(spec.user.as_ref().map(|user| user.uid))
}

/// A pidfd of the process with that pid and start time; `None` when it is gone.
fn hold(pid: u32, stat: &Stat) -> Option<OwnedFd> {
    members::hold(pid, stat).ok().flatten()
}

/// Opens a pidfd; `None`: no process has that pid.
fn open(pid: u32) -> std::io::Result<Option<OwnedFd>> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let opened = || rustix::process::pidfd_open(raw, PidfdFlags::empty()).map_err(std::io::Error::from);
    match reserved_fds::with(opened) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

struct Context<'a> {
    origin: &'a Origin,
    scan: &'a ProcScan,
    tagged: &'a Tagged,
    grouped: &'a Grouped,
    /// When the earlier heartbeatd last recorded that it lives.
    witnessed: u64,
    /// The program of the realm makes a daemon of itself, which its pid file names.
    makes_daemon: bool,
}

impl Context<'_> {
    fn look(&self, record: ProcessRecord, kept: &BTreeMap<RealmName, OwnedFd>) -> Option<Survivor> {
        let here = record.boot == self.origin.boot;
        if !here || (record.init && record.pid_namespace != self.origin.pid_namespace) {
            // The record is of another boot, or of a namespace that ended with its heartbeatd: nothing of it is left or
            // means anything.
            return None;
        }
        let foreign = record.instance_tag != self.origin.instance_tag
            || record.pid_namespace != self.origin.pid_namespace;
        let Some(process) = record.process else {
            let strays = self.tagged.strays(self.grouped, &record.realm);
            let survivor = survivor(record, Condition::Nothing, Vec::new());
            return Some(if strays.is_empty() {
                survivor
            } else {
                stray(&survivor.realm, &strays, survivor.record)
            });
        };
        if foreign {
            let whose = if record.instance_tag == self.origin.instance_tag {
                "in another pid namespace"
            } else {
                "by another heartbeatd"
            };
            let what = format!(
                "pid {} on record was started {whose}, and cannot be verified from here",
                process.pid
            );
            // In another namespace the number means another process, or none.
            if record.pid_namespace != self.origin.pid_namespace {
                return Some(survivor(record, Condition::Unverifiable { what }, Vec::new()));
            }
            let found = self.on_record(&record, process.pid, process.start_time);
            if found.is_empty() {
                let exit = record.exit.filter(|(run, _)| *run == process.run).map(|(_, exit)| exit);
                let (run, exit) = (process.run, exit.unwrap_or(Exit::unknown()));
                return Some(survivor(record, Condition::Ended { run, exit, empty: true }, Vec::new()));
            }
            let held = found.iter().filter_map(|(pid, stat)| hold(*pid, stat)).collect();
            return Some(survivor(record, Condition::Unverifiable { what }, held));
        }
        // The pidfd first: a process that has the pid and start time after that also had them when it was opened.
        let looked = open(process.pid).and_then(|pidfd| {
            let stat = reserved_fds::with(|| tree::read_stat(process.pid))?;
            Ok((pidfd, stat))
        });
        let (pidfd, stat) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                let what = format!("pid {} on record cannot be looked at: {error}", process.pid);
                return Some(survivor(record, Condition::Unverifiable { what }, Vec::new()));
            }
        };
        let environment = self.tagged.mains.get(&process.pid).cloned();
        let environment = environment.unwrap_or_else(|| MainEnvironment::read(process.pid));
        let stat = stat.filter(|stat| stat.start_time == process.start_time && environment.has_word(&record));
        if let (Some(stat), Some(pidfd)) = (stat, pidfd) {
            if !matches!(stat.state, 'Z' | 'X') {
                let launching = environment.is_empty && tree::is_launcher_copy(process.pid);
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

    /// The process that has this pid since that time, those of its session and group, and those that carry the word of its
    /// run, whatever heartbeatd started them.
    fn on_record(&self, record: &ProcessRecord, pid: u32, start_time: u64) -> Vec<(u32, Stat)> {
        let is_it = |found: u32, stat: &Stat| found == pid && stat.start_time == start_time;
        let reused = self.scan.all().any(|(found, stat)| found == pid && !is_it(found, &stat));
        let word = record.word.as_ref().map(|word| format!("{RUN_TAG}={word}"));
        let is_member = |found: u32, stat: &Stat| {
            let by_number = !reused && (stat.session == pid || stat.group == pid);
            let by_word =
                || word.as_ref().is_some_and(|word| tree::environment_has(found, slice::from_ref(word)));
            stat.start_time >= start_time && (by_number || by_word())
        };
        let is_alive = |stat: &Stat| !matches!(stat.state, 'Z' | 'X');
        let all = self.scan.all();
        all.filter(|(found, stat)| is_alive(stat) && (is_it(*found, stat) || is_member(*found, stat)))
            .collect()
    }

    fn ended(&self, record: ProcessRecord, exit: Exit) -> Survivor {
        let Some(process) = record.process else { return survivor(record, Condition::Nothing, Vec::new()) };
        let later = self.tagged.beyond(self.grouped, &record);
        if !later.is_empty() {
            // Only its own record would prove what it is.
            return stray(&record.realm.clone(), &later, Some(ProcessRecord { process: None, ..record }));
        }
        let held: Vec<OwnedFd> =
            self.leftovers(&record).into_iter().filter_map(|(pid, stat)| hold(pid, &stat)).collect();
        let cgroup = record.group.clone().and_then(Cgroup::at);
        let deserted = cgroup.is_none_or(|cgroup| cgroup.is_empty().unwrap_or(false));
        let (run, pid, empty) = (process.run, process.pid, deserted && held.is_empty());
        let may_have_forked = exit.is_zero() || exit == Exit::unknown();
        let condition = if self.makes_daemon && !record.followed && !empty && may_have_forked {
            Condition::Forked { run, pid, exit }
        } else {
            Condition::Ended { run, exit, empty }
        };
        survivor(record, condition, held)
    }

    /// What is left of a tree whose main process has ended: its tagged processes, and those of its session and group
    /// that started before the earlier heartbeatd was last known to live.
    fn leftovers(&self, record: &ProcessRecord) -> Vec<(u32, Stat)> {
        let Some(process) = record.process else { return Vec::new() };
        let mut left = self.tagged.of(self.grouped, record);
        // A process that has this pid today is another one, and so are its session and group.
        let reused = self.scan.all().any(|(pid, _)| pid == process.pid);
        for (pid, stat) in self.scan.all().filter(|_| !reused) {
            let member = stat.session == process.pid || stat.group == process.pid;
            if member && stat.start_time <= self.witnessed && !left.iter().any(|(known, _)| *known == pid) {
                left.push((pid, stat));
            }
        }
        left
    }
}

fn survivor(record: ProcessRecord, condition: Condition, held: Vec<OwnedFd>) -> Survivor {
    Survivor {
        realm: record.realm.clone(),
        memory: record.memory.clone(),
        identity: record.identity.clone(),
        condition,
        last_exit: record.exit,
        record: Some(record),
        held,
    }
}

/// Processes that carry the tag of a realm and are not on record.
fn stray(realm: &RealmName, found: &[(u32, Stat)], record: Option<ProcessRecord>) -> Survivor {
    let held = found.iter().filter_map(|(pid, stat)| hold(*pid, stat)).collect();
    let named = |(pid, _): &(u32, Stat)| match tree::command_name(*pid) {
        Some(name) => format!("{pid} ({name})"),
        None => pid.to_string(),
    };
    let pids: Vec<String> = found.iter().map(named).collect();
    let what = format!("pid {} carries its instance tag and is not on record", pids.join(", "));
    Survivor {
        realm: realm.clone(),
        memory: record.as_ref().and_then(|record| record.memory.clone()),
        identity: record.as_ref().and_then(|record| record.identity.clone()),
        condition: Condition::Unverifiable { what },
        last_exit: None,
        record,
        held,
    }
}
