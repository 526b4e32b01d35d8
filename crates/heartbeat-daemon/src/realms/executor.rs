//! Carries out the core's effects on processes: starts, signals, and the commands around a realm's life.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_config::RealmConfig;
use heartbeat_logs::{KeptLog, LogKeeper};
use heartbeat_process::{CommandResult, CommandRunId, Key, LaunchError, LaunchSpec, Notice, Processes};
use heartbeat_status::{Hook, Instant, RealmIx, RunFact, RunId, Signal, StartError};
use heartbeat_supervisor::{Input, PersistedRealm};

use crate::active_config::SharedConfig;
use crate::realms::logs;
use crate::realms::owner::Question;

/// A check of a program takes this at most.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// A hook in progress: its commands run one after the other, within one deadline.
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

/// The programs of a realm that are still to be checked, one at a time.
#[derive(Debug)]
struct ProgramCheck {
    realm: RealmIx,
    run: RunId,
    rest: VecDeque<Arc<LaunchSpec>>,
}

impl HookRun {
    /// The failure of the command that runs, for a person. It leaves out the command's arguments, which may hold a
    /// secret: every client reads this.
    fn failed(&self, how: String) -> String {
        match self.count {
            1 => how,
            count => format!("command {} of {count}: {how}", count - self.rest.len()),
        }
    }
}

/// Carries out effects, and translates notices into inputs.
pub(crate) struct Executor {
    processes: Processes,
    logs: LogKeeper,
    config: SharedConfig,
    hooks: BTreeMap<CommandRunId, HookRun>,
    /// Checks of programs: at most one for each realm.
    checks: BTreeMap<CommandRunId, ProgramCheck>,
    next_command: u64,
    /// The newest process of each realm.
    pids: BTreeMap<RealmIx, (RunId, u32)>,
}

impl Executor {
    pub(crate) fn new(processes: Processes, logs: LogKeeper, config: SharedConfig) -> Self {
        let (hooks, checks, pids) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let executor = Self { processes, logs, config, hooks, checks, next_command: 0, pids };
        executor.reconfigured();
        executor
    }

    /// Another configuration is in force. Running processes stay as they are.
    pub(crate) fn reconfigured(&self) {
        self.logs.keep(kept(&self.config.current().realms));
    }

    /// Starts a realm's program. Returns the answer at once when there is no program to start.
    pub(crate) fn start(&mut self, realm: RealmIx, run: RunId) -> Option<Input> {
        let active = self.config.current();
        let key = Key { realm, run };
        let failed = |error| input(key, RunFact::StartFailed { error: start_error(error) });
        let Some((spec, config)) =
            active.realm(realm).and_then(|config| Some((config.launch.as_ref()?, config)))
        else {
            return failed(LaunchError::without_program());
        };
        if let Some(error) = config.listens.and_then(heartbeat_process::port_taken) {
            return failed(error);
        }
        self.processes.launch(key, active.name(realm), spec);
        None
    }

    /// Checks whether a realm's program, and the commands that run before it, can be used. Returns the answer at once
    /// when there are none.
    pub(crate) fn check_program(&mut self, realm: RealmIx, run: RunId) -> Option<Input> {
        let active = self.config.current();
        let config = active.realm(realm)?;
        let rest = config.start_before.iter().chain(&config.launch).cloned().collect();
        self.next_check(ProgramCheck { realm, run, rest })
    }

    fn next_check(&mut self, mut check: ProgramCheck) -> Option<Input> {
        let ProgramCheck { realm, run, .. } = check;
        let Some(spec) = check.rest.pop_front() else {
            return input(Key { realm, run }, RunFact::ProgramChecked { failure: None });
        };
        self.next_command += 1;
        let id = CommandRunId(self.next_command);
        self.processes.check_program(id, &spec, CHECK_TIMEOUT);
        self.checks.insert(id, check);
        None
    }

    /// The question for the prober about the port of a realm.
    pub(crate) fn question(&self, realm: RealmIx, run: RunId) -> Option<Question> {
        let active = self.config.current();
        let address = active.realm(realm)?.listens?;
        let (known, pid) = self.pids.get(&realm).copied()?;
        let name = active.name(realm).clone();
        (known == run).then_some(Question { realm, run, name, pid, address })
    }

    /// The file that gets the output of a realm, if there is one.
    pub(crate) fn log_of(&self, realm: RealmIx) -> Option<PathBuf> {
        self.config.current().realm(realm).and_then(logs::file_of)
    }

    /// Records a process that heartbeatd has adopted.
    pub(crate) fn adopted(&mut self, realm: RealmIx, run: RunId, pid: u32) {
        self.pids.insert(realm, (run, pid));
    }

    /// Writes the record of a realm.
    pub(crate) fn remember(&self, realm: RealmIx, record: Option<&PersistedRealm>) {
        // Plain data always serialises. The reaper keeps the text, so it takes no more room than it needs.
        let mut memory = record.and_then(|record| serde_json::to_string(record).ok());
        memory.iter_mut().for_each(String::shrink_to_fit);
        // A record that does not depend on its process is written at once; the rest before the next start, or soon.
        let at_once = record.is_none_or(PersistedRealm::is_settled);
        self.processes.remember(self.config.current().name(realm), memory, at_once);
    }

    /// Removes the records of all realms.
    pub(crate) fn forget_all(&self) {
        for realm in self.config.current().plan.realms() {
            self.processes.remember(&realm.name, None, true);
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
        let active = self.config.current();
        let config = active.realm(realm)?;
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
            let key = Key { realm: hook.realm, run: hook.run };
            return input(key, RunFact::HookDone { hook: hook.hook, failure: None });
        };
        self.next_command += 1;
        let id = CommandRunId(self.next_command);
        let left = hook.deadline.since(now);
        // As the realm itself. (This alone does not make a process one of the realm's.)
        let mut spec = LaunchSpec::clone(&spec);
        let active = self.config.current();
        spec.env.push(("HEARTBEAT_REALM".into(), active.name(hook.realm).as_str().into()));
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

    /// The runs of these realms are over: kills what their hooks have left behind. A hook of a realm without a program of
    /// its own may start that, and is left alone.
    pub(crate) fn end_hooks(&self, realms: impl IntoIterator<Item = RealmIx>, last: CommandRunId) {
        let active = self.config.current();
        let left = realms.into_iter().filter_map(|realm| {
            let config = active.realm(realm)?;
            let has_hooks = !config.start_before.is_empty()
                || !config.start_after.is_empty()
                || config.stop_command.is_some();
            let user = config.launch.as_ref().filter(|_| has_hooks)?.user.as_ref().map(|user| user.uid);
            Some((active.name(realm).clone(), user))
        });
        let left: Vec<_> = left.collect();
        if !left.is_empty() {
            self.processes.end_hooks(left, last, self.hooks.keys().copied().collect());
        }
    }

    /// The newest command of a hook.
    pub(crate) fn last_command(&self) -> CommandRunId {
        CommandRunId(self.next_command)
    }

    /// Translates a notice of the process adapter for the core; `None` when it concerns only this adapter.
    pub(crate) fn input(&mut self, now: Instant, notice: Notice) -> Option<Input> {
        match notice {
            Notice::Started { key, pid, .. } => {
                self.pids.insert(key.realm, (key.run, pid));
                input(key, RunFact::Started { pid })
            }
            Notice::MainChanged { key, pid, .. } => {
                self.pids.insert(key.realm, (key.run, pid));
                input(key, RunFact::MainChanged { pid })
            }
            Notice::StartFailed { key, error } => {
                input(key, RunFact::StartFailed { error: start_error(error) })
            }
            Notice::Run { key, fact } => input(key, fact),
            // The sink of the process adapter handles it.
            Notice::RecordsFail { .. } => None,
            Notice::CommandDone { id, result, .. } => match self.checks.remove(&id) {
                Some(check) => self.checked(check, result),
                None => {
                    let hook = self.hooks.remove(&id)?;
                    self.hook_done(now, hook, &result)
                }
            },
        }
    }

    /// Handles the result of a program check.
    fn checked(&mut self, check: ProgramCheck, result: CommandResult) -> Option<Input> {
        let key = Key { realm: check.realm, run: check.run };
        match result {
            CommandResult::StartFailed(error) => {
                input(key, RunFact::ProgramChecked { failure: Some(start_error(error)) })
            }
            CommandResult::Exited(_) => self.next_check(check),
            // The core repeats the check when its answer is overdue.
            CommandResult::TimedOut => None,
        }
    }

    /// A command of a hook has ended: the next one follows, or the hook is over.
    fn hook_done(&mut self, now: Instant, hook: HookRun, result: &CommandResult) -> Option<Input> {
        let key = Key { realm: hook.realm, run: hook.run };
        if let (Hook::Before, CommandResult::StartFailed(error)) = (hook.hook, result) {
            // No process of the realm has run: this counts as a program that could not be started.
            let mut error = start_error(error.clone());
            error.message = format!("{}: {}", hook.hook.as_str(), error.message);
            return input(key, RunFact::StartFailed { error });
        }
        match failure(result) {
            None => self.next(now, hook),
            Some(how) => {
                let failure = Some(hook.failed(how));
                input(key, RunFact::HookDone { hook: hook.hook, failure })
            }
        }
    }

    /// Ends the adapter: joins its threads, and ends its waiting launchers.
    pub(crate) fn close(self) {
        self.processes.close();
    }
}

/// The logs whose size heartbeatd bounds.
fn kept(realms: &[RealmConfig]) -> Vec<KeptLog> {
    realms.iter().filter_map(|realm| logs::kept(&realm.launch.as_ref()?.log)).collect()
}

/// A fact about a run, for the core.
fn input(Key { realm, run }: Key, fact: RunFact) -> Option<Input> {
    Some(Input::Run { realm, run, fact })
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
    use crate::sample;
    use heartbeat_status::{Exit, StartFailure};

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
        let config = sample::config(
            "[realm.a]\nrun = \"true\"\n[realm.b]\nrun = \"true\"\nlog.to = \"none\"\n[realm.c]\nhealth = \"tcp://127.0.0.1:1\"\n",
        );
        let of = |name: &str| logs::file_of(&config.realms[config.plan.find(name).unwrap().index()]);
        assert!(of("a").is_some_and(|path| path.ends_with("state/log/a.log")));
        assert_eq!((of("b"), of("c")), (None, None));
        assert_eq!(kept(&config.realms).len(), 1);
    }

    const REALMS: &str = "[realm.db]\nrun = \"sleep 9\"\nstart.before = [\"true\", \"false\"]\n[realm.web]\nrun = \"sleep 9\"\n";
    const DB: RealmIx = RealmIx(0);
    const RUN: RunId = RunId(3);
    const TIMEOUT: Duration = Duration::from_secs(60);

    /// An executor whose starts all fail, beside the directory that it needs.
    fn executor(realms: &str) -> (tempfile::TempDir, Executor) {
        let dir = tempfile::tempdir().unwrap();
        let config = SharedConfig::new(sample::active(realms));
        let logs = LogKeeper::open(|_| {}).unwrap();
        let executor = Executor::new(sample::processes(dir.path()), logs, config);
        (dir, executor)
    }

    fn done(id: u64, result: CommandResult) -> Notice {
        Notice::CommandDone { id: CommandRunId(id), result, output: Vec::new() }
    }

    fn fact(input: Option<Input>) -> RunFact {
        match input {
            Some(Input::Run { run: RUN, fact, .. }) => fact,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_commands_of_a_hook_run_one_after_the_other_until_one_fails() {
        let (_dir, mut executor) = executor(REALMS);
        let now = Instant::from_millis(1);
        assert!(executor.hook(now, DB, RUN, Hook::Before, TIMEOUT).is_none());
        assert_eq!(executor.hooks.len(), 1, "one at a time");
        assert!(
            executor.input(now, done(1, CommandResult::Exited(Exit::code(0)))).is_none(),
            "the second runs"
        );
        let RunFact::HookDone { hook, failure } =
            fact(executor.input(now, done(2, CommandResult::Exited(Exit::code(3)))))
        else {
            panic!("the hook is over");
        };
        assert_eq!((hook, failure.as_deref()), (Hook::Before, Some("command 2 of 2: exit code 3")));
        assert!(executor.hooks.is_empty());
    }

    #[test]
    fn a_hook_without_commands_is_over_at_once() {
        let (_dir, mut executor) = executor(REALMS);
        let over = fact(executor.hook(Instant::ZERO, DB, RUN, Hook::After, TIMEOUT));
        assert!(matches!(over, RunFact::HookDone { hook: Hook::After, failure: None }), "{over:?}");
    }

    #[test]
    fn a_hook_that_is_cancelled_says_nothing_more_and_others_go_on() {
        let (_dir, mut executor) = executor(REALMS);
        executor.hook(Instant::ZERO, DB, RUN, Hook::Before, TIMEOUT);
        executor.cancel_hook(DB, RunId(4), Hook::Before);
        assert_eq!(executor.hooks.len(), 1, "of another run");
        executor.cancel_hook(DB, RUN, Hook::Before);
        assert!(executor.input(Instant::ZERO, done(1, CommandResult::TimedOut)).is_none());
    }

    #[test]
    fn a_command_before_the_start_that_cannot_run_is_a_start_that_failed() {
        let (_dir, mut executor) = executor(REALMS);
        executor.hook(Instant::ZERO, DB, RUN, Hook::Before, TIMEOUT);
        let failed = CommandResult::StartFailed(LaunchError::without_program());
        let RunFact::StartFailed { error } = fact(executor.input(Instant::ZERO, done(1, failed))) else {
            panic!("a start that failed");
        };
        assert!(error.message.starts_with(Hook::Before.as_str()), "{error:?}");
    }

    #[test]
    fn a_realm_whose_port_another_process_has_is_not_launched() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (_dir, mut executor) = executor(&format!("[realm.db]\nrun = \"sleep 9\"\nport = {port}\n"));
        let RunFact::StartFailed { error } = fact(executor.start(DB, RUN)) else { panic!("refused") };
        assert_eq!(error.failure, StartFailure::PortTaken);
        drop(listener);
        // A child that another test forks at this moment has a copy of the listener until its exec. Once the port is free,
        // the executor gives the start to the process adapter.
        while let Some(input) = executor.start(DB, RUN) {
            let RunFact::StartFailed { error } = fact(Some(input)) else { panic!("refused") };
            assert_eq!(error.failure, StartFailure::PortTaken);
            std::thread::yield_now();
        }
    }

    #[test]
    fn all_programs_of_a_realm_are_looked_at_until_one_cannot_be_used() {
        let (_dir, mut executor) = executor(REALMS);
        assert!(executor.check_program(DB, RUN).is_none());
        for id in 1..=2 {
            let usable = done(id, CommandResult::Exited(Exit::code(0)));
            assert!(executor.input(Instant::ZERO, usable).is_none(), "{id} of 3");
        }
        let good = fact(executor.input(Instant::ZERO, done(3, CommandResult::Exited(Exit::code(0)))));
        assert!(matches!(good, RunFact::ProgramChecked { failure: None }), "{good:?}");
        executor.check_program(DB, RUN);
        let missing = CommandResult::StartFailed(LaunchError::without_program());
        let bad = fact(executor.input(Instant::ZERO, done(4, missing)));
        assert!(matches!(bad, RunFact::ProgramChecked { failure: Some(_) }), "{bad:?}");
    }

    #[test]
    fn the_port_is_asked_about_for_the_process_that_runs_and_for_no_earlier_one() {
        let (_dir, mut executor) = executor("[realm.db]\nrun = \"sleep 9\"\nport = 1\n");
        assert!(executor.question(DB, RUN).is_none(), "no process is known");
        let key = Key { realm: DB, run: RUN };
        executor.input(Instant::ZERO, Notice::Started { key, pid: 7, start_time: 1 });
        executor.input(Instant::ZERO, Notice::MainChanged { key, pid: 8, start_time: 2 });
        let question = executor.question(DB, RUN).unwrap();
        assert_eq!((question.pid, question.name.as_str()), (8, "db"));
        assert!(executor.question(DB, RunId(2)).is_none(), "an earlier generation");
    }
}
