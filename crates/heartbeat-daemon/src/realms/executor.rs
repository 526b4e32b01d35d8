//! Carries out what the core wants done with processes: starts, signals, and the commands around a realm's life.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_config::RealmConfig;
use heartbeat_logs::{KeptLog, LogKeeper};
use heartbeat_process::{
    CommandResult, CommandRunId, Key, LaunchError, LaunchSpec, LogTarget, Notice, Processes,
};
use heartbeat_status::{Hook, Instant, RealmIx, RealmName, RunFact, RunId, Signal, StartError};
use heartbeat_supervisor::{Input, PersistedRealm};

use crate::realms::logs;
use crate::realms::owner::Question;

/// A check of a program takes this at most.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// A hook under way: its commands run one after the other, within one deadline.
#[derive(Debug)]
struct HookRun {
    realm: RealmIx,
    run: RunId,
    hook: Hook,
    rest: VecDeque<Arc<LaunchSpec>>,
    /// How many there are in all.
    count: usize,
    deadline: Instant,
}

/// The programs of a realm that are still to be looked at: one check at a time.
#[derive(Debug)]
struct ProgramCheck {
    realm: RealmIx,
    run: RunId,
    rest: VecDeque<Arc<LaunchSpec>>,
}

impl HookRun {
    /// The failure of the command that runs, for a person. Without its words, which may hold a secret: everybody who can
    /// connect reads this.
    fn failed(&self, how: String) -> String {
        match self.count {
            1 => how,
            count => format!("command {} of {count}: {how}", count - self.rest.len()),
        }
    }
}

/// The hands of the core.
pub(crate) struct Executor {
    processes: Processes,
    logs: LogKeeper,
    realms: Arc<Vec<RealmConfig>>,
    names: Vec<RealmName>,
    hooks: BTreeMap<CommandRunId, HookRun>,
    /// Checks of programs: at most one for each realm.
    checks: BTreeMap<CommandRunId, ProgramCheck>,
    next_command: u64,
    /// The newest process of each realm.
    pids: BTreeMap<RealmIx, (RunId, u32)>,
}

impl Executor {
    pub(crate) fn new(
        processes: Processes,
        logs: LogKeeper,
        realms: Arc<Vec<RealmConfig>>,
        names: Vec<RealmName>,
    ) -> Self {
        logs.keep(kept(&realms));
        let (hooks, checks, pids) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { processes, logs, realms, names, hooks, checks, next_command: 0, pids }
    }

    /// Starts a realm's program. Returns the answer at once when there is nothing to start.
    pub(crate) fn start(&mut self, realm: RealmIx, run: RunId) -> Option<Input> {
        let config = &self.realms[realm.index()];
        let failed =
            |error| Some(Input::Run { realm, run, fact: RunFact::StartFailed { error: start_error(error) } });
        let Some(spec) = &config.launch else { return failed(LaunchError::without_program()) };
        if let Some(error) = config.listens.and_then(heartbeat_process::port_taken) {
            return failed(error);
        }
        self.processes.launch(Key { realm, run }, &self.names[realm.index()], spec);
        None
    }

    /// Looks whether a realm's program, and the commands that run before it, can be used. Returns the answer at once when
    /// there are none.
    pub(crate) fn check_program(&mut self, realm: RealmIx, run: RunId) -> Option<Input> {
        let config = &self.realms[realm.index()];
        let rest = config.start_before.iter().chain(&config.launch).cloned().collect();
        self.next_check(ProgramCheck { realm, run, rest })
    }

    fn next_check(&mut self, mut check: ProgramCheck) -> Option<Input> {
        let ProgramCheck { realm, run, .. } = check;
        let Some(spec) = check.rest.pop_front() else {
            return Some(Input::Run { realm, run, fact: RunFact::ProgramChecked { failure: None } });
        };
        self.next_command += 1;
        let id = CommandRunId(self.next_command);
        self.processes.check_program(id, &spec, CHECK_TIMEOUT);
        self.checks.insert(id, check);
        None
    }

    /// What is to be found out about who listens on the port of a realm whose process is `pid`.
    pub(crate) fn question(&self, realm: RealmIx, run: RunId) -> Option<Question> {
        let address = self.realms[realm.index()].listens?;
        let (known, pid) = self.pids.get(&realm).copied()?;
        let name = self.names[realm.index()].clone();
        (known == run).then_some(Question { realm, run, name, pid, address })
    }

    /// Where the output of a realm goes, if it goes to a file.
    pub(crate) fn log_of(&self, realm: RealmIx) -> Option<PathBuf> {
        log_of(&self.realms, realm)
    }

    /// What the adapters have of each realm.
    pub(crate) fn realms(&self) -> &[RealmConfig] {
        &self.realms
    }

    /// From now on realms are these. What runs is not touched.
    pub(crate) fn replace(&mut self, realms: Arc<Vec<RealmConfig>>, names: Vec<RealmName>) {
        self.logs.keep(kept(&realms));
        (self.realms, self.names) = (realms, names);
    }

    /// The name of a realm.
    pub(crate) fn name(&self, realm: RealmIx) -> &RealmName {
        &self.names[realm.index()]
    }

    /// A process that was taken over.
    pub(crate) fn adopted(&mut self, realm: RealmIx, run: RunId, pid: u32) {
        self.pids.insert(realm, (run, pid));
    }

    /// Puts on record what is to be remembered of a realm.
    pub(crate) fn remember(&self, realm: RealmIx, record: Option<&PersistedRealm>) {
        // Plain data: it always has a text.
        let memory = record.and_then(|record| serde_json::to_string(record).ok());
        // What waits for nothing of its process is written at once; the rest before the next start, or soon.
        let at_once = record.is_none_or(PersistedRealm::is_settled);
        self.processes.remember(&self.names[realm.index()], memory, at_once);
    }

    /// Nothing has to be remembered of any realm.
    pub(crate) fn forget_all(&self) {
        for name in &self.names {
            self.processes.remember(name, None, true);
        }
    }

    pub(crate) fn signal(&mut self, realm: RealmIx, run: RunId, signal: Signal) {
        self.processes.signal(Key { realm, run }, signal);
    }

    pub(crate) fn signal_main(&mut self, realm: RealmIx, run: RunId, signal: Signal) {
        self.processes.signal_main(Key { realm, run }, signal);
    }

    /// Runs a hook's commands. Returns the answer at once when there are none.
    pub(crate) fn hook(
        &mut self,
        now: Instant,
        realm: RealmIx,
        run: RunId,
        hook: Hook,
        timeout: Duration,
    ) -> Option<Input> {
        let config = &self.realms[realm.index()];
        let commands: VecDeque<Arc<LaunchSpec>> = match hook {
            Hook::Before => config.start_before.iter().cloned().collect(),
            Hook::After => config.start_after.iter().cloned().collect(),
            Hook::Stop => config.stop_command.iter().cloned().collect(),
            Hook::Restart => config.restart_command.iter().cloned().collect(),
        };
        let count = commands.len();
        self.next(now, HookRun { realm, run, hook, rest: commands, count, deadline: now + timeout })
    }

    fn next(&mut self, now: Instant, mut hook: HookRun) -> Option<Input> {
        let Some(spec) = hook.rest.pop_front() else {
            return Some(Input::Run {
                realm: hook.realm,
                run: hook.run,
                fact: RunFact::HookDone { hook: hook.hook, failure: None },
            });
        };
        self.next_command += 1;
        let id = CommandRunId(self.next_command);
        let left = hook.deadline.since(now);
        // As the realm itself. (By this alone nobody is taken for a process of the realm.)
        let mut spec = LaunchSpec::clone(&spec);
        let name = self.names[hook.realm.index()].as_str();
        spec.env.push(("HEARTBEAT_REALM".into(), name.into()));
        self.processes.run_command(id, &spec, left);
        self.hooks.insert(id, hook);
        None
    }

    pub(crate) fn cancel_hook(&mut self, realm: RealmIx, run: RunId, hook: Hook) {
        let wanted = |at: &HookRun| at.realm == realm && at.run == run && at.hook == hook;
        let ids: Vec<CommandRunId> =
            self.hooks.iter().filter(|(_, at)| wanted(at)).map(|(id, _)| *id).collect();
        for id in ids {
            self.hooks.remove(&id);
            self.processes.cancel_command(id);
        }
    }

    /// What the process adapter noticed, in the core's words; `None` when it concerns only us.
    pub(crate) fn input(&mut self, now: Instant, notice: Notice) -> Option<Input> {
        match notice {
            Notice::Started { key, pid, .. } => {
                self.pids.insert(key.realm, (key.run, pid));
                Some(Input::Run { realm: key.realm, run: key.run, fact: RunFact::Started { pid } })
            }
            Notice::StartFailed { key, error } => Some(Input::Run {
                realm: key.realm,
                run: key.run,
                fact: RunFact::StartFailed { error: start_error(error) },
            }),
            Notice::Exited { key, exit, empty } => {
                Some(Input::Run { realm: key.realm, run: key.run, fact: RunFact::Exited { exit, empty } })
            }
            Notice::Emptied { key } => {
                Some(Input::Run { realm: key.realm, run: key.run, fact: RunFact::Emptied })
            }
            Notice::MainChanged { key, pid, .. } => {
                self.pids.insert(key.realm, (key.run, pid));
                Some(Input::Run { realm: key.realm, run: key.run, fact: RunFact::MainChanged { pid } })
            }
            Notice::StoppedBySignal { key, stopped } => Some(Input::Run {
                realm: key.realm,
                run: key.run,
                fact: RunFact::StoppedBySignal { stopped },
            }),
            Notice::Said { key, said } => {
                Some(Input::Run { realm: key.realm, run: key.run, fact: RunFact::Said { said } })
            }
            Notice::Unbounded { key, limits } => {
                let limits = limits.iter().map(|limit| (*limit).to_owned()).collect();
                Some(Input::Run { realm: key.realm, run: key.run, fact: RunFact::Unbounded { limits } })
            }
            Notice::MemoryUsed { key, bytes } => {
                Some(Input::Run { realm: key.realm, run: key.run, fact: RunFact::MemoryUsed { bytes } })
            }
            Notice::LogInMemory { key } => {
                Some(Input::Run { realm: key.realm, run: key.run, fact: RunFact::LogInMemory })
            }
            // Taken by whoever forwards notices.
            Notice::RecordsFail { .. } => None,
            Notice::CommandDone { id, result, .. } if self.checks.contains_key(&id) => {
                let check = self.checks.remove(&id)?;
                let ProgramCheck { realm, run, .. } = check;
                match result {
                    CommandResult::StartFailed(error) => Some(Input::Run {
                        realm,
                        run,
                        fact: RunFact::ProgramChecked { failure: Some(start_error(error)) },
                    }),
                    CommandResult::Exited(_) => self.next_check(check),
                    // It is made again when its answer is overdue.
                    CommandResult::TimedOut => None,
                }
            }
            Notice::CommandDone { id, result, .. } => {
                let hook = self.hooks.remove(&id)?;
                if let (Hook::Before, CommandResult::StartFailed(error)) = (hook.hook, &result) {
                    // Nothing of the realm has run: it is as if its program could not be started.
                    let mut error = start_error(error.clone());
                    error.message = format!("{}: {}", hook.hook.as_str(), error.message);
                    return Some(Input::Run {
                        realm: hook.realm,
                        run: hook.run,
                        fact: RunFact::StartFailed { error },
                    });
                }
                match failure(&result) {
                    None => self.next(now, hook),
                    Some(how) => {
                        let failure = Some(hook.failed(how));
                        Some(Input::Run {
                            realm: hook.realm,
                            run: hook.run,
                            fact: RunFact::HookDone { hook: hook.hook, failure },
                        })
                    }
                }
            }
        }
    }

    /// Ends the adapter: its threads are joined, parked launchers go.
    pub(crate) fn close(self) {
        self.processes.close();
    }
}

/// The logs that are held down to their size.
fn kept(realms: &[RealmConfig]) -> Vec<KeptLog> {
    realms.iter().filter_map(|realm| logs::kept(&realm.launch.as_ref()?.log)).collect()
}

/// Where the output of a realm goes, if it goes to a file.
pub(crate) fn log_of(realms: &[RealmConfig], realm: RealmIx) -> Option<PathBuf> {
    match &realms.get(realm.index())?.launch.as_ref()?.log {
        LogTarget::File { path, .. } => Some(path.clone()),
        // What the journal has not taken yet.
        log @ LogTarget::Journal { .. } => logs::place_beside(log),
        LogTarget::Null | LogTarget::Capture => None,
    }
}

fn start_error(error: LaunchError) -> StartError {
    StartError { failure: error.failure, message: error.message }
}

fn failure(result: &CommandResult) -> Option<String> {
    match result {
        CommandResult::Exited(exit) if exit.is_zero() => None,
        CommandResult::Exited(exit) => Some(exit.to_string()),
        CommandResult::TimedOut => Some("did not end in time and was killed".to_owned()),
        CommandResult::StartFailed(error) => Some(error.message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::Exit;

    fn hook(count: usize, left: usize) -> HookRun {
        let spec =
            LaunchSpec { argv: vec!["migrate".into(), "--password=CANARY".into()], ..LaunchSpec::default() };
        HookRun {
            realm: RealmIx(0),
            run: RunId(1),
            hook: Hook::Before,
            rest: std::iter::repeat_n(Arc::new(spec), left).collect(),
            count,
            deadline: Instant::ZERO,
        }
    }

    #[test]
    fn a_hook_that_fails_is_told_by_its_place_and_never_by_its_words() {
        assert_eq!(hook(1, 0).failed("exit code 1".to_owned()), "exit code 1");
        assert_eq!(hook(3, 2).failed("exit code 1".to_owned()), "command 1 of 3: exit code 1");
        assert_eq!(hook(3, 0).failed("exit code 1".to_owned()), "command 3 of 3: exit code 1");
    }

    #[test]
    fn how_a_command_ended_is_a_failure_unless_it_ended_well() {
        assert_eq!(failure(&CommandResult::Exited(Exit::code(0))), None);
        assert_eq!(failure(&CommandResult::Exited(Exit::code(3))).as_deref(), Some("exit code 3"));
        assert_eq!(
            failure(&CommandResult::Exited(Exit::signal(Signal::KILL))).as_deref(),
            Some("killed by SIGKILL")
        );
        assert_eq!(failure(&CommandResult::TimedOut).as_deref(), Some("did not end in time and was killed"));
    }

    #[test]
    fn only_output_in_a_file_has_a_file() {
        let config = crate::sample::config(
            "[realm.a]\nrun = \"true\"\n[realm.b]\nrun = \"true\"\nlog.to = \"none\"\n[realm.c]\nhealth = \"tcp://127.0.0.1:1\"\n",
        );
        let of = |name: &str| log_of(&config.realms, config.plan.find(name).unwrap());
        assert!(of("a").is_some_and(|path| path.ends_with("state/log/a.log")));
        assert_eq!((of("b"), of("c")), (None, None));
        assert_eq!(log_of(&config.realms, RealmIx(99)), None);
        assert_eq!(kept(&config.realms).len(), 1);
    }
}
