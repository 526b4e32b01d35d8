//! Renders every pair of phase and input to `docs/realm-transitions.md`, and fails when the file says otherwise.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use heartbeat_restart::WhenSpent;
use heartbeat_status::{
    CommandId, Exit, Hook, Outcome, Phase, Role, RunFact, Signal, StartError, StartFailure,
};
use heartbeat_supervisor::{Command, Effect, Found, Input, Signalling};
use heartbeat_wire::Action;

use crate::drive::{A, Depends, Drive, FAIL, bare, external, oneshot, policy, probed, secs, told};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/realm-transitions.md");

fn refused() -> StartError {
    StartError { failure: StartFailure::ProgramUnusable, message: "no such file".to_string() }
}

/// A supervisor whose first realm is in `phase`. Its second, if there is one, keeps it there.
fn in_phase(phase: Phase) -> Drive {
    let mut spec = probed("a");
    spec.restart = policy(|settings| settings.burst = 2);
    spec.probes.push(told(None, Role::Info));
    let mut d = match phase {
        Phase::Waiting => Drive::boot(vec![spec.needs(crate::drive::B), external("b")]),
        Phase::Starting => {
            let mut d = Drive::boot(vec![spec]);
            d.take();
            d.started(A);
            d.wait(Duration::from_millis(10));
            d
        }
        Phase::Running => {
            let mut d = Drive::stable(vec![spec]);
            d.until_measured(A);
            d
        }
        Phase::Stopping => {
            let mut d = Drive::stable(vec![spec]);
            d.order(Action::Restart, A);
            d
        }
        Phase::Backoff => {
            let mut d = Drive::stable(vec![spec]);
            d.exit(A, Exit::code(1));
            d.wait(secs(1));
            d.started(A);
            d.wait(Duration::from_millis(300));
            d.exit(A, Exit::code(1));
            d
        }
        Phase::Cooldown | Phase::Failed => {
            spec.restart = policy(|settings| {
                settings.burst = 1;
                settings.when_spent =
                    if phase == Phase::Failed { WhenSpent::Fail } else { WhenSpent::Cooldown };
            });
            let mut d = Drive::up(vec![spec]);
            d.exit(A, Exit::code(1));
            d.wait(secs(1));
            d.started(A);
            d.exit(A, Exit::code(1));
            d
        }
        Phase::Stopped => {
            spec.manual = true;
            Drive::boot(vec![spec])
        }
        Phase::Done => {
            let mut d = Drive::boot(vec![oneshot("a")]);
            d.take();
            d.started(A);
            d.exit(A, Exit::code(0));
            d.wait(secs(1));
            d
        }
        Phase::Stuck => {
            let mut d = Drive::up(vec![bare("a")]);
            d.order(Action::Restart, A);
            d.wait(secs(15));
            d
        }
        Phase::Unverified => {
            let mut d = Drive::stable(vec![spec]);
            d.killed(|_| Found::Unverifiable { what: "pid 7 may be it".to_string() });
            d
        }
        Phase::External => {
            let mut d = Drive::boot(vec![external("a")]);
            d.wait(Duration::from_millis(10));
            d
        }
    };
    assert_eq!(d.phase(A), phase);
    d.take();
    d
}

type Apply = fn(&mut Drive);

/// Every input, with the outcomes that are told apart.
const INPUTS: &[(&str, Apply)] = &[
    ("Boot (again)", |d| d.feed(Input::Boot)),
    ("Checked: pass", |d| d.answer(A, Outcome::Pass)),
    ("Checked: fail", |d| d.answer(A, FAIL)),
    ("Started", |d| d.started(A)),
    ("StartFailed: its program cannot be used", |d| {
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error: refused() } });
    }),
    ("StartFailed: another error", |d| {
        let run = d.run(A);
        let error = StartError { failure: StartFailure::Other, message: "no".to_string() };
        d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
    }),
    ("ProgramChecked: usable", |d| {
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::ProgramChecked { failure: None } });
    }),
    ("StartFailed: its port is taken", |d| {
        let run = d.run(A);
        let error = StartError { failure: StartFailure::PortTaken, message: "port 1 is taken".to_string() };
        d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
    }),
    ("Exited: success, tree empty", |d| d.exit(A, Exit::code(0))),
    ("Exited: failure, tree empty", |d| d.exit(A, Exit::code(1))),
    ("Exited: failure, leftovers", |d| {
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::Exited { exit: Exit::code(1), empty: false } });
    }),
    ("Emptied", |d| {
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::Emptied });
    }),
    ("StoppedBySignal", |d| {
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::StoppedBySignal { stopped: true } });
    }),
    ("HookDone: start.before", |d| {
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::HookDone { hook: Hook::Before, failure: None } });
    }),
    ("Command: start", |d| command(d, Action::Start)),
    ("Command: stop", |d| command(d, Action::Stop)),
    ("Command: restart", |d| command(d, Action::Restart)),
    ("Command: pause", |d| command(d, Action::Pause)),
    ("Command: resume", |d| command(d, Action::Resume)),
    ("Command: reset", |d| command(d, Action::Reset)),
    ("Command: signal", |d| {
        let signal = Some(Signalling { signal: Signal::HUP, tree: false });
        d.feed(Input::Command {
            id: CommandId(99),
            command: Command { signal, ..Command::new(Action::Signal, A) },
        });
    }),
    ("Reload: the same", |d| {
        let same = d.sup.plan_in_force().realms().to_vec();
        d.reload(same, &[]);
    }),
    ("Reload: made of something else", |d| {
        let same = d.sup.plan_in_force().realms().to_vec();
        d.reload(same, &[A]);
    }),
    ("Reload: removed", |d| {
        let mut realms = d.sup.plan_in_force().realms().to_vec();
        realms[0].retired = true;
        d.reload(realms, &[]);
    }),
    ("Notify: READY=1", |d| d.say(A, |said| said.ready = true)),
    ("Notify: STOPPING=1", |d| d.say(A, |said| said.stopping = true)),
    ("Forked", |d| {
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::Forked });
    }),
    ("MainChanged", |d| {
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::MainChanged { pid: 4_711 } });
    }),
    ("PortHeld: by a stranger", |d| {
        let run = d.run(A);
        d.feed(Input::Run {
            realm: A,
            run,
            fact: RunFact::PortHeld { port_owner: Some("pid 1".to_string()) },
        });
    }),
    ("Lag", |d| d.feed(Input::Lag { late: true })),
    ("Refresh", |d| d.feed(Input::Refresh { id: CommandId(99), realm: None })),
    ("Suspended", |d| d.feed(Input::Suspended { asleep: secs(60) })),
    ("Shutdown", |d| d.feed(Input::Shutdown { now: false })),
    ("Shutdown: now", |d| d.feed(Input::Shutdown { now: true })),
    ("an answer of an older generation", |d| {
        let run = heartbeat_status::RunId(u64::MAX);
        d.feed(Input::Run { realm: A, run, fact: RunFact::Exited { exit: Exit::code(1), empty: true } });
    }),
    ("time passes, its probe fails", |d| {
        let time = deadline(d);
        d.wait_answering(time, |_| FAIL);
    }),
];

fn command(d: &mut Drive, action: Action) {
    d.feed(Input::Command { id: CommandId(99), command: Command::new(action, A) });
}

/// Long enough for the deadline of the phase, and no longer.
fn deadline(d: &mut Drive) -> Duration {
    match d.phase(A) {
        Phase::Starting => secs(60),
        Phase::Stopping => secs(10),
        Phase::Backoff => secs(1),
        Phase::Cooldown => secs(300),
        _ => secs(3),
    }
}

fn words(effects: &[Effect]) -> String {
    let mut words: Vec<String> = Vec::new();
    for effect in effects {
        let word = match effect {
            Effect::Check { .. } => "Check".to_string(),
            Effect::CancelCheck { .. } => "CancelCheck".to_string(),
            Effect::Start { .. } => "Start".to_string(),
            Effect::CheckProgram { .. } => "CheckProgram".to_string(),
            Effect::Signal { signal, .. } if *signal == Signal::CONT => continue,
            Effect::Signal { signal, .. } => format!("Signal {signal}"),
            Effect::SignalMain { signal, .. } if *signal == Signal::CONT => continue,
            Effect::SignalMain { signal, .. } => format!("SignalMain {signal}"),
            Effect::Hook { hook, .. } => format!("Hook {}", hook.as_str()),
            Effect::CancelHook { hook, .. } => format!("CancelHook {}", hook.as_str()),
            Effect::Reply { reply, .. } => match reply {
                heartbeat_supervisor::Reply::Accepted { .. } => "Reply accepted".to_string(),
                heartbeat_supervisor::Reply::Refused { .. } => "Reply refused".to_string(),
                heartbeat_supervisor::Reply::Refreshed { .. } => "Reply refreshed".to_string(),
            },
            Effect::Persist { .. } => continue,
            Effect::Halt => "Halt".to_string(),
        };
        if words.last() != Some(&word) {
            words.push(word);
        }
    }
    words.join(", ")
}

fn render() -> String {
    let mut text = String::from(
        "# Transitions of a realm\n\n\
         Every phase of a realm with every input: what the realm does. A test of `heartbeat-supervisor` renders this page from the\n\
         code and fails when it is out of date\n\
         (`HEARTBEAT_BLESS=1 cargo test -p heartbeat-supervisor transitions` renders it again).\n\n\
         The realm has one probe, an informational `notify` probe, a budget of two restarts, and otherwise the defaults. In `starting` its\n\
         program has been executed and a first measurement is in progress; `stopping` is a restart that an operator requested; `waiting` waits for an\n\
         external realm that has no result yet. *ignored*: counted and reported as an event; nothing changes.\n\
         A dash means no effect. In the last line of each table, the deadline of the phase passes.\n",
    );
    for phase in Phase::ALL {
        let _ = write!(text, "\n## {phase}\n\n| input | then | effects |\n|---|---|---|\n");
        for (name, apply) in INPUTS {
            let mut d = in_phase(*phase);
            let ignored = d.sup.snapshot(d.now).ignored;
            apply(&mut d);
            let after = d.phase(A);
            let ignored = d.sup.snapshot(d.now).ignored > ignored;
            let then = if after == *phase { "(stays)".to_string() } else { format!("**{after}**") };
            let mut effects = words(&d.effects);
            if ignored {
                effects =
                    if effects.is_empty() { "*ignored*".into() } else { format!("{effects}, *ignored*") };
            }
            if effects.is_empty() {
                effects.push('-');
            }
            let _ = writeln!(text, "| {name} | {then} | {effects} |");
        }
    }
    text
}

#[test]
fn the_page_is_what_the_code_does() {
    let rendered = render();
    let path = Path::new(FILE);
    if std::env::var_os("HEARTBEAT_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("docs")).expect("docs can be made");
        std::fs::write(path, &rendered).expect("the page can be written");
    }
    let written = std::fs::read_to_string(path).expect("docs/realm-transitions.md");
    for (line, (written, rendered)) in written.lines().zip(rendered.lines()).enumerate() {
        assert_eq!(written, rendered, "docs/realm-transitions.md, line {}", line + 1);
    }
    assert_eq!(written.len(), rendered.len(), "docs/realm-transitions.md has another length");
}
