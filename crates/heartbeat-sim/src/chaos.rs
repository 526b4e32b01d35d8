//! The faults of a run: conditions, crashes, commands, suspends, and unexpected answers.

use std::time::Duration;

use heartbeat_status::{
    Beat, CommandId, Exit, Hook, OwnProblemKind, Phase, RealmIx, RunFact, RunId, Said, Signal, StartError,
    StartFailure,
};
use heartbeat_supervisor::{Command, Input, Signalling};
use heartbeat_wire::Action;

use crate::scenario::MEMORY_LIMIT_BYTES;
use crate::sim::{Outcome, Sim};
use crate::world::{Condition, Stage};

impl Sim {
    fn any_realm(&mut self) -> RealmIx {
        let at = self.rng.usize(0..self.plan.realms().len());
        self.plan.infos()[at].ix
    }

    /// Half of the time one in a phase that is rare, if there is one.
    fn rather_rare(&mut self, otherwise: RealmIx) -> RealmIx {
        let rare = |phase: Phase| matches!(phase, Phase::Stuck | Phase::Unverified | Phase::Cooldown);
        let mut realms = self.last.realms.iter();
        let found = realms.find(|realm| rare(realm.phase)).map(|realm| realm.info.ix);
        found.filter(|_| self.rng.bool()).unwrap_or(otherwise)
    }

    /// An answer that the core did not wait for.
    pub(crate) fn disturb(&mut self) -> Outcome {
        let realm = self.any_realm();
        let what = self.rng.u32(0..100);
        let realm = if matches!(what, 83..=96) { self.rather_rare(realm) } else { realm };
        match what {
            0..=24 => {
                let conditions = [
                    Condition::Well,
                    Condition::Well,
                    Condition::Sick,
                    Condition::Sick,
                    Condition::Remark,
                    Condition::Refuses,
                    Condition::Begins,
                    Condition::Ours,
                    Condition::Random,
                ];
                self.world.conditions[realm.index()] = conditions[self.rng.usize(0..conditions.len())];
                Ok(())
            }
            25..=39 => {
                self.world.crash(&mut self.rng, self.now, realm);
                Ok(())
            }
            40..=44 => match self.world.process(realm).map(|process| (process.stage, process.run)) {
                Some((Stage::Live, run)) => {
                    let stopped = self.rng.bool();
                    self.feed(
                        Some(Input::Run { realm, run, fact: RunFact::StoppedBySignal { stopped } }),
                        Some(realm),
                    )
                }
                _ => Ok(()),
            },
            45..=62 => self.command(realm),
            63..=67 => {
                let id = self.next_id();
                let realm = self.rng.bool().then_some(realm);
                self.feed(Some(Input::Refresh { id, realm }), realm)
            }
            68..=69 => {
                let asleep = Duration::from_millis(self.rng.u64(100..120_000));
                self.now = self.now + asleep;
                self.reference.unseen += asleep;
                self.feed(Some(Input::Suspended { asleep }), None)
            }
            70..=77 => {
                let late = Duration::from_millis(self.rng.u64(0..15_000));
                self.now = self.now + late;
                self.reference.unseen += late;
                self.feed(None, None)
            }
            78..=82 => {
                let run = self.last.realms[realm.index()].process.run;
                let port_owner = self.rng.bool().then(|| "port 1 is held by pid 2".to_string());
                self.feed(
                    Some(Input::Run { realm, run, fact: RunFact::PortHeld { port_owner } }),
                    Some(realm),
                )
            }
            83..=84 => {
                let run = self.last.realms[realm.index()].process.run;
                let bytes = if self.rng.u32(0..4) == 0 { 1 } else { MEMORY_LIMIT_BYTES + 1 };
                self.feed(Some(Input::Run { realm, run, fact: RunFact::MemoryUsed { bytes } }), Some(realm))
            }
            85 if self.rng.bool() => {
                let run = self.last.realms[realm.index()].process.run;
                self.feed(Some(Input::Run { realm, run, fact: RunFact::LogInMemory }), Some(realm))
            }
            85 => {
                let run = self.last.realms[realm.index()].process.run;
                let limits = if self.rng.bool() { vec!["memory".to_string()] } else { Vec::new() };
                self.feed(Some(Input::Run { realm, run, fact: RunFact::Unbounded { limits } }), Some(realm))
            }
            86 => {
                // Only for a process that does not exist: the world knows which of the real ones is the main one.
                let run = self.last.realms[realm.index()].process.run;
                let run = if self.world.process(realm).is_none() { run } else { run.next() };
                let fact = if self.rng.bool() { RunFact::MainChanged { pid: 1 } } else { RunFact::Forked };
                self.feed(Some(Input::Run { realm, run, fact }), Some(realm))
            }
            87..=96 => self.nonsense(realm),
            97 if self.rng.bool() => self.feed(Some(Input::Boot), None),
            97 if self.rng.bool() => {
                let late = self.rng.bool();
                self.feed(Some(Input::Lag { late }), None)
            }
            97 => {
                let kind = OwnProblemKind::ALL[self.rng.usize(0..OwnProblemKind::ALL.len())];
                let message = self.rng.bool().then(|| format!("{kind} does not work"));
                self.feed(Some(Input::OwnProblem { kind, message }), None)
            }
            98 if self.rng.bool() => self.die(),
            98 => {
                let possible = self.reference.booted && self.reference.shutdown.is_none();
                if possible { self.reload() } else { Ok(()) }
            }
            _ => {
                if self.reference.booted && self.rng.u32(0..2) == 0 {
                    let now = self.reference.shutdown.is_some() && self.rng.bool();
                    let now = now || self.rng.u32(0..8) == 0;
                    return self.feed(Some(Input::Shutdown { now }), None);
                }
                Ok(())
            }
        }
    }

    /// A command that causes no fault by itself.
    pub(crate) fn request(&mut self) -> Outcome {
        let realm = self.any_realm();
        match self.rng.u32(0..10) {
            0 => {
                let id = self.next_id();
                self.feed(Some(Input::Refresh { id, realm: None }), None)
            }
            // A program that beats at its configured rate would miss a beat under another rate.
            1 if !self.world.asks_any() => self.reload(),
            _ => {
                let actions = [
                    Action::Start,
                    Action::Restart,
                    Action::Restart,
                    Action::Reset,
                    Action::Pause,
                    Action::Resume,
                ];
                let action = actions[self.rng.usize(0..actions.len())];
                let (cascade, id) = (self.rng.bool(), self.next_id());
                let command = Command { cascade, force: !cascade, ..Command::new(action, realm) };
                self.feed(Some(Input::Command { id, command }), Some(realm))
            }
        }
    }

    pub(crate) fn next_id(&mut self) -> CommandId {
        self.next_command += 1;
        CommandId(self.next_command)
    }

    fn command(&mut self, realm: RealmIx) -> Outcome {
        let actions = [
            Action::Start,
            Action::Start,
            Action::Stop,
            Action::Restart,
            Action::Pause,
            Action::Resume,
            Action::Reset,
            Action::Signal,
        ];
        let mut command = Command::new(actions[self.rng.usize(0..actions.len())], realm);
        if self.rng.u32(0..6) == 0 {
            let other = self.any_realm();
            command.realms.push(other);
        }
        match self.rng.u32(0..3) {
            0 => command.cascade = true,
            1 => command.force = true,
            _ => {}
        }
        command.lift_holds = self.rng.u32(0..4) == 0;
        if command.action == Action::Pause && self.rng.bool() {
            command.duration = Some(Duration::from_millis(self.rng.u64(1..60_000)));
        }
        if command.action == Action::Signal {
            let signal = [Signal::USR1, Signal::KILL][self.rng.usize(0..2)];
            command.signal = Some(Signalling { signal, tree: self.rng.bool() });
        }
        let id = self.next_id();
        self.feed(Some(Input::Command { id, command }), Some(realm))
    }

    /// An answer to a question that is long over, or to none. The core must ignore it.
    fn nonsense(&mut self, realm: RealmIx) -> Outcome {
        let status = &self.last.realms[realm.index()];
        let (phase, mut run) = (status.phase, status.process.run);
        let process = self.world.process(realm).map(|process| process.stage);
        let kind = self.rng.u32(0..9);
        let old = self.rng.u32(0..4) == 0 && run.0 > 0;
        if old {
            run = RunId(run.0 - 1);
        }
        let hook = [Hook::Before, Hook::After, Hook::Stop, Hook::Restart][self.rng.usize(0..4)];
        // While a process exists, only lies that contradict earlier facts.
        let believable = !old
            && match kind {
                0 => process.is_some_and(|stage| stage == Stage::Launching) || phase == Phase::Stuck,
                1 => process.is_some_and(|stage| stage == Stage::Launching) || phase == Phase::Stuck,
                2 => process.is_some(),
                3 => matches!(process, Some(Stage::Leftovers | Stage::Unproven)) || phase == Phase::Stuck,
                4 => process.is_some(),
                5 => self.world.has_command(realm, run, hook),
                // A lie of the realm itself would count as its own report.
                6 => process.is_some(),
                7 => matches!(phase, Phase::Starting | Phase::Cooldown),
                _ => false,
            };
        if believable {
            return Ok(());
        }
        let input = match kind {
            0 => Input::Run { realm, run, fact: RunFact::Started { pid: 1 } },
            1 => {
                let error =
                    StartError { failure: StartFailure::NeverTried, message: "never asked for".to_string() };
                Input::Run { realm, run, fact: RunFact::StartFailed { error } }
            }
            2 => Input::Run {
                realm,
                run,
                fact: RunFact::Exited { exit: Exit::signal(Signal::KILL), empty: self.rng.bool() },
            },
            3 => Input::Run { realm, run, fact: RunFact::Emptied },
            4 => Input::Run { realm, run, fact: RunFact::StoppedBySignal { stopped: self.rng.bool() } },
            5 => Input::Run {
                realm,
                run,
                fact: RunFact::HookDone { hook, failure: self.rng.bool().then(|| "no".to_string()) },
            },
            6 => {
                let beat = if self.rng.bool() { Some(Beat::Alive) } else { None };
                let said = Said { ready: true, stopping: self.rng.bool(), beat, ..Said::default() };
                Input::Run { realm, run, fact: RunFact::Said { said } }
            }
            7 => Input::Run { realm, run, fact: RunFact::ProgramChecked { failure: None } },
            _ => return self.late_answer(realm),
        };
        self.feed(Some(input), Some(realm))
    }

    fn late_answer(&mut self, realm: RealmIx) -> Outcome {
        let known = self.known_checks.iter().find(|(id, owner)| *owner == realm && !self.world.knows(*id));
        let Some((id, _)) = known.copied() else { return Ok(()) };
        let result = self.world.any_result(&mut self.rng, self.now, realm);
        self.feed(Some(Input::Checked { id, result }), Some(realm))
    }
}
