//! The scripted world: processes that start, fail, hang, ignore TERM and leave leftovers; measurements that pass,
//! fail, get lost or come late; commands of the realms' own. It carries out effects and answers with inputs.

use std::time::Duration;

use heartbeat_status::{
    CheckId, CheckResult, DegradedReason, Exit, FailReason, Hook, InconclusiveReason, Instant, Outcome,
    PhaseTimes, ProbeIx, ProbePhase, RealmIx, RealmKind, RunFact, RunId, Signal, StartError, StartFailure,
};
use heartbeat_supervisor::{Effect, Found, Input, Plan, ProbeSource};

use crate::reference::kept;
use crate::voice::Voice;

/// How the realm's program behaves at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Well,
    Remark,
    /// It answers that it refuses work.
    Refuses,
    /// It answers that it is starting up.
    Begins,
    Sick,
    Ours,
    Random,
}

/// Where a process is, as far as the core has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Launching,
    Live,
    Leftovers,
    /// It lives, and nothing proves that it is the realm's.
    Unproven,
}

#[derive(Clone, Debug)]
enum Launch {
    Runs(u32),
    Fails(StartError),
    Dies(Exit),
}

/// A process tree, from the order to start it until the core was told that nothing is left.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) run: RunId,
    pub(crate) stage: Stage,
    pub(crate) pid: Option<u32>,
    /// Which configuration of its realm it was launched with.
    pub(crate) launch_digest: u64,
    /// The port that it was given.
    pub(crate) port: Option<u16>,
    /// Its end has begun: `stop.command` or the first signal.
    pub(crate) signalled: bool,
    launch: Option<(Instant, Launch)>,
    ends: Option<(Instant, Exit)>,
    daemon: Option<Daemon>,
    emptied: Option<Instant>,
    leaves_leftovers: bool,
    ignores_term: bool,
    /// KILL takes this long.
    kill_takes: Duration,
    voice: Option<Voice>,
}

/// A program that makes a daemon of itself.
#[derive(Clone, Copy, Debug)]
enum Daemon {
    /// The program ends then.
    Forks(Instant),
    /// It has ended, and its pid file names the daemon then.
    Appears(Instant),
}

impl Daemon {
    fn due(self) -> Instant {
        match self {
            Self::Forks(at) | Self::Appears(at) => at,
        }
    }
}

impl Process {
    /// Its program has ended, and no pid file names its daemon yet.
    pub(crate) fn has_forked(&self) -> bool {
        self.stage == Stage::Live && matches!(self.daemon, Some(Daemon::Appears(_)))
    }
}

#[derive(Clone, Debug)]
struct Measurement {
    id: CheckId,
    realm: RealmIx,
    probe: ProbeIx,
    asked: Instant,
    /// When it comes; `None`: it is lost.
    answer: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Command {
    realm: RealmIx,
    run: RunId,
    hook: Hook,
    ends: Option<Instant>,
    fails: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) processes: Vec<Option<Process>>,
    pub(crate) conditions: Vec<Condition>,
    measurements: Vec<Measurement>,
    commands: Vec<Command>,
    /// Checks of a program: whose, and when they are answered.
    program_checks: Vec<(Instant, RealmIx, RunId)>,
    /// Until when the program of each realm is missing.
    missing_until: Vec<Instant>,
    oneshot: Vec<bool>,
    /// Realms that are asked to say how they are, and their watchdogs.
    asked: Vec<Option<Option<Duration>>>,
    ports: Vec<Option<u16>>,
    pub(crate) faults: bool,
    next_pid: u32,
}

fn ports(plan: &Plan) -> Vec<Option<u16>> {
    plan.realms().iter().map(|realm| realm.port).collect()
}

enum Due {
    Voice(usize),
    Process(usize),
    Measurement(usize),
    Command(usize),
    Check(usize),
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Self {
        let oneshot: Vec<bool> = plan.realms().iter().map(|realm| realm.kind == RealmKind::Oneshot).collect();
        let count = oneshot.len();
        Self {
            processes: vec![None; count],
            conditions: vec![Condition::Well; count],
            measurements: Vec::new(),
            commands: Vec::new(),
            program_checks: Vec::new(),
            missing_until: vec![Instant::ZERO; count],
            oneshot,
            asked: asked(plan),
            ports: ports(plan),
            faults: true,
            next_pid: 100,
        }
    }

    /// Another plan is in force: what is being measured may stand at another place now, and is called off where it
    /// is gone.
    pub(crate) fn reload(&mut self, rng: &mut fastrand::Rng, now: Instant, old: &Plan, new: &Plan) {
        (self.asked, self.ports) = (asked(new), ports(new));
        for (process, asked) in self.processes.iter_mut().zip(&self.asked) {
            let Some(process) = process.as_mut().filter(|process| process.stage == Stage::Live) else {
                continue;
            };
            match (&mut process.voice, asked) {
                (Some(voice), Some(watchdog)) => voice.follow(now, *watchdog),
                (None, Some(watchdog)) => process.voice = Some(Voice::new(rng, now, *watchdog)),
                (voice, None) => *voice = None,
            }
            if let Some(voice) = process.voice.as_mut().filter(|_| !self.faults) {
                voice.calm(now);
            }
        }
        for measurement in &mut self.measurements {
            let (before, after) = (old.realm(measurement.realm), new.realm(measurement.realm));
            let was = measurement.probe.index();
            let now = after.probes.iter().position(|probe| kept(before, probe) == Some(was));
            // The call-off finds it by its number.
            measurement.probe =
                now.map_or(ProbeIx(u16::MAX), |at| ProbeIx(u16::try_from(at).unwrap_or(u16::MAX)));
        }
    }

    /// A realm is asked to say how it is.
    pub(crate) fn asks_any(&self) -> bool {
        self.asked.iter().any(Option::is_some)
    }

    fn chance(&self, rng: &mut fastrand::Rng, percent: u32) -> bool {
        rng.u32(0..100) < percent && self.faults
    }

    /// Launches that have not been answered.
    pub(crate) fn launching(&self) -> impl Iterator<Item = RealmIx> {
        let at = self.processes.iter().enumerate();
        at.filter(|(_, process)| process.as_ref().is_some_and(|process| process.stage == Stage::Launching))
            .map(|(at, _)| RealmIx(u32::try_from(at).unwrap_or(u32::MAX)))
    }

    pub(crate) fn process(&self, realm: RealmIx) -> Option<&Process> {
        self.processes[realm.index()].as_ref()
    }

    pub(crate) fn measuring(&self, realm: RealmIx, probe: ProbeIx) -> bool {
        self.measurements.iter().any(|m| m.realm == realm && m.probe == probe)
    }

    /// A measurement that will still be answered.
    pub(crate) fn knows(&self, id: CheckId) -> bool {
        self.measurements.iter().any(|m| m.id == id)
    }

    /// A result of a realm's measurement as it would be now.
    pub(crate) fn any_result(&self, rng: &mut fastrand::Rng, now: Instant, realm: RealmIx) -> CheckResult {
        let m = Measurement { id: CheckId(0), realm, probe: ProbeIx(0), asked: now, answer: None };
        self.result(rng, now, &m)
    }

    pub(crate) fn has_command(&self, realm: RealmIx, run: RunId, hook: Hook) -> bool {
        self.commands.iter().any(|c| c.realm == realm && c.run == run && c.hook == hook)
    }

    /// Carries out an effect.
    pub(crate) fn carry_out(
        &mut self,
        rng: &mut fastrand::Rng,
        now: Instant,
        (effect, launch_digest): (&Effect, &[u64]),
    ) {
        match effect {
            Effect::Check { id, realm, probe, timeout, .. } => {
                let answer = match rng.u32(0..40) {
                    0 if self.faults => None,
                    1 if self.faults => Some(now + *timeout + Duration::from_millis(rng.u64(0..8_000))),
                    _ => Some(now + timeout.mul_f64(f64::from(rng.u32(1..100)) / 100.0)),
                };
                self.measurements.push(Measurement {
                    id: *id,
                    realm: *realm,
                    probe: *probe,
                    asked: now,
                    answer,
                });
            }
            Effect::CancelCheck { id } => {
                // Some answers are on their way already and come all the same.
                let late = rng.u32(0..8) == 0;
                self.measurements.retain(|m| m.id != *id || (late && m.answer.is_some()));
                for m in self.measurements.iter_mut().filter(|m| m.id == *id) {
                    // It no longer stands for its probe.
                    m.probe = ProbeIx(u16::MAX);
                }
            }
            Effect::Start { realm, run } => {
                self.launch(rng, now, *realm, *run);
                if let Some(process) = self.processes[realm.index()].as_mut() {
                    process.launch_digest = launch_digest[realm.index()];
                    process.port = self.ports[realm.index()];
                }
            }
            // Some are lost.
            Effect::CheckProgram { .. } if self.chance(rng, 3) => {}
            Effect::CheckProgram { realm, run } => {
                let at = now + Duration::from_millis(rng.u64(0..200));
                self.program_checks.push((at, *realm, *run));
            }
            Effect::Signal { realm, signal, .. } => self.signal(rng, now, *realm, *signal, true),
            // The adapter knows no main process of a launch, nor of one that has ended.
            Effect::SignalMain { realm, signal, .. } => {
                if self.process(*realm).is_some_and(|process| process.stage == Stage::Live) {
                    self.signal(rng, now, *realm, *signal, false);
                }
            }
            Effect::Hook { realm, run, hook, timeout } => {
                let ends =
                    (!self.chance(rng, 5)).then(|| now + timeout.mul_f64(f64::from(rng.u32(1..60)) / 100.0));
                let fails = self.chance(rng, 10);
                if *hook == Hook::Restart && !fails && rng.bool() {
                    // It does what it is for.
                    self.conditions[realm.index()] = Condition::Well;
                }
                if let Some(process) = self.processes[realm.index()].as_mut() {
                    process.signalled |= *hook == Hook::Stop;
                }
                self.commands.push(Command { realm: *realm, run: *run, hook: *hook, ends, fails });
            }
            Effect::CancelHook { realm, run, hook } => {
                self.commands.retain(|c| !(c.realm == *realm && c.run == *run && c.hook == *hook));
            }
            Effect::Persist { .. } | Effect::Reply { .. } | Effect::Halt => {}
        }
    }

    fn launch(&mut self, rng: &mut fastrand::Rng, now: Instant, realm: RealmIx, run: RunId) {
        let takes = if self.chance(rng, 3) { rng.u64(10_000..40_000) } else { rng.u64(0..60) };
        let at = now + Duration::from_millis(takes);
        if self.chance(rng, 3) {
            self.missing_until[realm.index()] = now + Duration::from_millis(rng.u64(0..150_000));
        }
        let launch = if now < self.missing_until[realm.index()] {
            Launch::Fails(missing())
        } else if self.chance(rng, 4) {
            let failures = [StartFailure::HostExhausted, StartFailure::NeverTried, StartFailure::Other];
            let failure = failures[rng.usize(0..failures.len())];
            Launch::Fails(StartError { failure, message: format!("exec /bin/realm: {failure}") })
        } else if self.chance(rng, 2) {
            Launch::Dies(Exit::signal(Signal::KILL))
        } else {
            self.next_pid += 1;
            Launch::Runs(self.next_pid)
        };
        self.processes[realm.index()] = Some(Process {
            run,
            stage: Stage::Launching,
            pid: None,
            launch_digest: 0,
            port: None,
            signalled: false,
            launch: Some((at, launch)),
            ends: None,
            daemon: None,
            emptied: None,
            leaves_leftovers: self.chance(rng, 10),
            ignores_term: self.chance(rng, 15),
            kill_takes: if self.chance(rng, 3) {
                Duration::from_millis(rng.u64(4_000..30_000))
            } else {
                Duration::from_millis(rng.u64(0..50))
            },
            voice: None,
        });
    }

    fn signal(&mut self, rng: &mut fastrand::Rng, now: Instant, realm: RealmIx, signal: Signal, tree: bool) {
        let faults = self.faults;
        let Some(process) = self.processes[realm.index()].as_mut() else { return };
        if matches!(signal, Signal::CONT | Signal::USR1) {
            return;
        }
        process.signalled = true;
        let kill = signal == Signal::KILL;
        let takes = if kill { process.kill_takes } else { Duration::from_millis(rng.u64(0..1_500)) };
        let at = now + takes;
        match process.stage {
            Stage::Launching if kill => {
                // The launch is called off, unless exec was faster.
                if let Some((when, launch)) = process.launch.as_mut() {
                    match launch {
                        Launch::Runs(_) if rng.bool() && *when <= now + Duration::from_millis(60) => {
                            process.ends = Some((*when + takes, Exit::signal(Signal::KILL)));
                        }
                        _ if faults && rng.u32(0..6) == 0 => {}
                        _ => {
                            *when = (*when).min(at);
                            *launch = Launch::Dies(Exit::signal(Signal::KILL));
                        }
                    }
                }
            }
            Stage::Launching => {}
            Stage::Live if kill || !process.ignores_term => {
                let exit = if kill { Exit::signal(signal) } else { Exit::code(0) };
                if process.ends.as_ref().is_none_or(|(ends, _)| at < *ends) {
                    process.ends = Some((at, exit));
                }
                process.leaves_leftovers &= !(kill && tree);
            }
            Stage::Live | Stage::Unproven => {}
            Stage::Leftovers => {
                if process.emptied.is_none_or(|emptied| at < emptied) && (kill || !process.ignores_term) {
                    process.emptied = Some(at);
                }
            }
        }
    }

    /// Ends the main process of a realm by itself, if it has one.
    pub(crate) fn crash(&mut self, rng: &mut fastrand::Rng, now: Instant, realm: RealmIx) {
        let Some(process) = self.processes[realm.index()].as_mut() else { return };
        if process.stage == Stage::Live {
            let exit = match rng.u32(0..5) {
                0 => Exit::code(0),
                1 => Exit::code(7),
                2 => Exit::code(3),
                3 => Exit::signal(Signal::ABRT),
                _ => Exit::code(1),
            };
            process.ends = Some((now, exit));
        }
    }

    /// heartbeatd was killed at `now` and is back at `back`: what is not awaited any more is gone, and this is what is
    /// found of each realm.
    pub(crate) fn survive(&mut self, rng: &mut fastrand::Rng, back: Instant) -> Vec<Found> {
        self.measurements.clear();
        self.commands.clear();
        self.program_checks.clear();
        let found = (0..self.processes.len()).map(|at| self.found(rng, back, at));
        found.collect()
    }

    fn found(&mut self, rng: &mut fastrand::Rng, back: Instant, at: usize) -> Found {
        let oneshot = self.oneshot[at];
        let Some(process) = self.processes[at].as_mut() else { return Found::Nothing };
        match process.stage {
            // Without heartbeatd a launcher goes no further than it has been told to.
            Stage::Launching if rng.bool() => {
                self.processes[at] = None;
                return Found::Nothing;
            }
            Stage::Launching => match process.launch.clone() {
                Some((when, Launch::Runs(pid))) if when <= back => {
                    process.launch = None;
                    process.stage = Stage::Live;
                    process.pid = Some(pid);
                    process.voice = self.asked[at].map(|watchdog| Voice::new(rng, when, watchdog));
                    if oneshot {
                        let ends = when + Duration::from_millis(rng.u64(0..3_000));
                        process.ends.get_or_insert((ends, Exit::code(0)));
                    }
                }
                Some((_, Launch::Runs(pid))) => return Found::Alive { pid, launching: true },
                _ => {
                    self.processes[at] = None;
                    return Found::Nothing;
                }
            },
            Stage::Live | Stage::Leftovers | Stage::Unproven => {}
        }
        let faults = self.faults;
        let Some(process) = self.processes[at].as_mut() else { return Found::Nothing };
        if let Some(voice) = process.voice.as_mut() {
            voice.survive(rng, back);
        }
        if process.stage == Stage::Live {
            match process.ends {
                Some((ends, exit)) if ends <= back => {
                    process.ends = None;
                    process.stage = Stage::Leftovers;
                    process.pid = None;
                    let exit = if rng.bool() { exit } else { Exit::unknown() };
                    if !process.leaves_leftovers {
                        self.processes[at] = None;
                        return Found::Ended { exit, empty: true };
                    }
                    return Found::Ended { exit, empty: false };
                }
                _ if faults && rng.u32(0..12) == 0 => {
                    process.stage = Stage::Unproven;
                    process.emptied = rng.bool().then(|| back + Duration::from_millis(rng.u64(0..60_000)));
                }
                _ => {}
            }
        }
        if process.stage == Stage::Live {
            while let Some(daemon) = process.daemon.filter(|daemon| daemon.due() <= back) {
                match daemon {
                    Daemon::Forks(at) => process.daemon = Some(Daemon::Appears(appears(rng, at, faults))),
                    Daemon::Appears(_) => {
                        self.next_pid += 1;
                        (process.daemon, process.pid) = (None, Some(self.next_pid));
                    }
                }
            }
            let pid = process.pid.unwrap_or_default();
            return match process.daemon {
                Some(Daemon::Appears(_)) => Found::Forked { pid },
                Some(Daemon::Forks(_)) | None => Found::Alive { pid, launching: false },
            };
        }
        if process.emptied.is_some_and(|emptied| emptied <= back) {
            self.processes[at] = None;
            return Found::Nothing;
        }
        if process.stage == Stage::Unproven {
            return Found::Unverifiable { what: "something runs there".to_string() };
        }
        Found::Ended { exit: Exit::unknown(), empty: false }
    }

    /// A person has ended what could not be proven to be the realm's, or says that it is nothing of it.
    pub(crate) fn forget_unproven(&mut self, realm: RealmIx) {
        let process = &mut self.processes[realm.index()];
        if process.as_ref().is_some_and(|process| process.stage == Stage::Unproven) {
            *process = None;
        }
    }

    /// Faults stop: everything that is left behaves.
    pub(crate) fn calm(&mut self, now: Instant) {
        self.faults = false;
        self.missing_until.fill(Instant::ZERO);
        self.conditions.fill(Condition::Well);
        for process in self.processes.iter_mut().flatten() {
            process.ignores_term = false;
            process.kill_takes = Duration::from_millis(10);
            if let Some(voice) = process.voice.as_mut() {
                voice.calm(now);
            }
            if let Some((at, _)) = process.launch.as_mut() {
                *at = (*at).min(now + Duration::from_millis(50));
            }
            if let Some((at, _)) = process.ends.as_mut() {
                *at = (*at).min(now + Duration::from_millis(50));
            }
            if let Some(Daemon::Forks(at) | Daemon::Appears(at)) = process.daemon.as_mut() {
                *at = (*at).min(now + Duration::from_millis(50));
            }
            if process.signalled && process.stage == Stage::Live && process.ends.is_none() {
                process.ends = Some((now + Duration::from_millis(50), Exit::code(0)));
            }
            if matches!(process.stage, Stage::Leftovers | Stage::Unproven) {
                process.emptied = Some(now + Duration::from_millis(50));
            }
        }
    }

    fn earliest(&self) -> Option<(Instant, Due)> {
        let processes = self.processes.iter().enumerate().filter_map(|(at, process)| {
            let process = process.as_ref()?;
            let due = match process.stage {
                Stage::Launching => process.launch.as_ref().map(|(at, _)| *at),
                Stage::Live => {
                    process.ends.iter().map(|(at, _)| *at).chain(process.daemon.map(Daemon::due)).min()
                }
                Stage::Leftovers | Stage::Unproven => process.emptied,
            }?;
            Some((due, Due::Process(at)))
        });
        let voices = self.processes.iter().enumerate().filter_map(|(at, process)| {
            let process = process.as_ref().filter(|process| process.stage == Stage::Live)?;
            Some((process.voice.as_ref()?.next?, Due::Voice(at)))
        });
        let measurements = self.measurements.iter().enumerate();
        let measurements = measurements.filter_map(|(at, m)| Some((m.answer?, Due::Measurement(at))));
        let commands =
            self.commands.iter().enumerate().filter_map(|(at, c)| Some((c.ends?, Due::Command(at))));
        let checks = self.program_checks.iter().enumerate().map(|(at, (when, ..))| (*when, Due::Check(at)));
        voices.chain(processes).chain(measurements).chain(commands).chain(checks).min_by_key(|(at, _)| *at)
    }

    /// When the world has something to say next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.earliest().map(|(at, _)| at)
    }

    /// What it says, if it is time.
    pub(crate) fn say(&mut self, rng: &mut fastrand::Rng, now: Instant) -> Option<Input> {
        let (at, due) = self.earliest()?;
        if at > now {
            return None;
        }
        match due {
            Due::Voice(at) => self.voice_speaks(rng, now, at),
            Due::Process(at) => self.process_speaks(rng, now, at),
            Due::Measurement(at) => {
                let m = self.measurements.swap_remove(at);
                Some(Input::Checked { id: m.id, result: self.result(rng, now, &m) })
            }
            Due::Check(at) => {
                let (_, realm, run) = self.program_checks.swap_remove(at);
                let failure = (now < self.missing_until[realm.index()]).then(missing);
                Some(Input::Run { realm, run, fact: RunFact::ProgramChecked { failure } })
            }
            Due::Command(at) => {
                let c = self.commands.swap_remove(at);
                let failure = c.fails.then(|| "exit code 1".to_string());
                Some(Input::Run {
                    realm: c.realm,
                    run: c.run,
                    fact: RunFact::HookDone { hook: c.hook, failure },
                })
            }
        }
    }

    fn voice_speaks(&mut self, rng: &mut fastrand::Rng, now: Instant, at: usize) -> Option<Input> {
        let faults = self.faults;
        let process = self.processes[at].as_mut()?;
        let said = process.voice.as_mut()?.speak(rng, now, (process.signalled, faults));
        if said.stopping && !process.signalled && rng.u32(0..4) != 0 {
            // As it says.
            let ends = now + Duration::from_millis(rng.u64(0..15_000));
            process.ends.get_or_insert((ends, Exit::code(0)));
        }
        let realm = RealmIx(u32::try_from(at).unwrap_or(u32::MAX));
        Some(Input::Run { realm, run: process.run, fact: RunFact::Said { said } })
    }

    fn process_speaks(&mut self, rng: &mut fastrand::Rng, now: Instant, at: usize) -> Option<Input> {
        let realm = RealmIx(u32::try_from(at).unwrap_or(u32::MAX));
        let crashes = self.chance(rng, 8);
        let oneshot = self.oneshot[at];
        let oneshot_fails = self.chance(rng, 25);
        let faults = self.faults;
        let process = self.processes[at].as_mut()?;
        let run = process.run;
        match process.stage {
            Stage::Launching => match process.launch.take()?.1 {
                Launch::Runs(pid) => {
                    process.stage = Stage::Live;
                    process.pid = Some(pid);
                    process.voice = self.asked[at].map(|watchdog| Voice::new(rng, now, watchdog));
                    if !self.faults
                        && let Some(voice) = process.voice.as_mut()
                    {
                        voice.calm(now);
                    }
                    if oneshot {
                        let exit = Exit::code(i32::from(oneshot_fails));
                        process.ends.get_or_insert((now + Duration::from_millis(rng.u64(0..3_000)), exit));
                    } else if crashes {
                        let exit = Exit::code(1);
                        process.ends.get_or_insert((now + Duration::from_millis(rng.u64(0..10_000)), exit));
                    }
                    if !oneshot && rng.u32(0..12) == 0 {
                        let runs = Duration::from_millis(rng.u64(0..if faults { 3_000 } else { 400 }));
                        process.daemon = Some(Daemon::Forks(now + runs));
                    }
                    Some(Input::Run { realm, run, fact: RunFact::Started { pid } })
                }
                Launch::Fails(error) => {
                    self.processes[at] = None;
                    Some(Input::Run { realm, run, fact: RunFact::StartFailed { error } })
                }
                Launch::Dies(exit) => {
                    self.processes[at] = None;
                    Some(Input::Run { realm, run, fact: RunFact::Exited { exit, empty: true } })
                }
            },
            Stage::Live if process.ends.is_none_or(|(ends, _)| ends > now) => {
                let fact = match process.daemon.take()? {
                    Daemon::Forks(at) => {
                        process.daemon = Some(Daemon::Appears(appears(rng, at, faults)));
                        RunFact::Forked
                    }
                    Daemon::Appears(_) => {
                        self.next_pid += 1;
                        process.pid = Some(self.next_pid);
                        RunFact::MainChanged { pid: self.next_pid }
                    }
                };
                Some(Input::Run { realm, run, fact })
            }
            Stage::Live => {
                let (_, exit) = process.ends.take()?;
                let empty = !process.leaves_leftovers;
                if empty {
                    self.processes[at] = None;
                } else {
                    process.stage = Stage::Leftovers;
                    process.pid = None;
                    if !self.faults {
                        process.ignores_term = false;
                    }
                }
                Some(Input::Run { realm, run, fact: RunFact::Exited { exit, empty } })
            }
            Stage::Leftovers | Stage::Unproven => {
                self.processes[at] = None;
                Some(Input::Run { realm, run, fact: RunFact::Emptied })
            }
        }
    }

    fn result(&self, rng: &mut fastrand::Rng, now: Instant, m: &Measurement) -> CheckResult {
        let condition = self.conditions[m.realm.index()];
        let outcome = match (condition, rng.u32(0..10)) {
            (Condition::Well, _) | (Condition::Random, 0..=4) => Outcome::Pass,
            (Condition::Refuses, _) => Outcome::Degraded(DegradedReason::ReportedDegraded),
            (Condition::Begins, _) => {
                Outcome::Fail { reason: FailReason::StartingUp, phase: Some(ProbePhase::FirstByte) }
            }
            (Condition::Remark, _) | (Condition::Random, 5) => Outcome::Degraded(DegradedReason::Slow),
            (Condition::Ours, _) | (Condition::Random, 6) => {
                Outcome::Inconclusive(InconclusiveReason::MonitorLag)
            }
            (Condition::Sick, 0..=4) | (Condition::Random, 7 | 8) => {
                Outcome::Fail { reason: FailReason::Refused, phase: Some(ProbePhase::Connect) }
            }
            (Condition::Sick | Condition::Random, _) => {
                Outcome::Fail { reason: FailReason::UnexpectedStatus, phase: Some(ProbePhase::FirstByte) }
            }
        };
        let latency = outcome.passed().map(|_| now.since(m.asked));
        CheckResult {
            outcome,
            detail: String::new(),
            started_at: m.asked,
            finished_at: now,
            latency,
            phases: PhaseTimes::default(),
            unattributable: false,
            certificate_until: None,
        }
    }
}

/// When the pid file names a daemon.
fn appears(rng: &mut fastrand::Rng, forked: Instant, late: bool) -> Instant {
    forked + Duration::from_millis(rng.u64(0..if late { 4_000 } else { 400 }))
}

fn missing() -> StartError {
    let message = "cannot execute /bin/realm: No such file or directory".to_string();
    StartError { failure: StartFailure::ProgramUnusable, message }
}

/// Realms that are asked to say how they are.
fn asked(plan: &Plan) -> Vec<Option<Option<Duration>>> {
    let of = |probe: &heartbeat_supervisor::ProbeSpec| match probe.source {
        ProbeSource::Notify { watchdog } => Some(watchdog),
        ProbeSource::Measured | ProbeSource::Process | ProbeSource::PortOf(_) => None,
    };
    plan.realms().iter().map(|realm| realm.probes.iter().find_map(of)).collect()
}
