//! Renders every pair of phase and input to `docs/realm-transitions.md`, and fails when the file says otherwise.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use heartbeat_restart::{RestartWhen, WhenSpent};
use heartbeat_status::{
    CommandId, EdgeKind, Exit, Gate, Hook, Outcome, Phase, RealmKind, RealmName, Reason, Role, RunFact,
    Signal, StartError, StartFailure, WhileDown,
};
use heartbeat_supervisor::{Command, Effect, Found, Input, RealmSpec, Signalling};
use heartbeat_wire::Action;

use crate::drive::{A, B, Depends, Drive, FAIL, bare, external, oneshot, policy, probed, secs, told};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/realm-transitions.md");

fn refused() -> StartError {
    StartError { failure: StartFailure::ProgramUnusable, message: "no such file".to_string() }
}

type Build = fn() -> Drive;

/// Every phase with its stages, and a supervisor whose first realm is there. Its second, if there is one, keeps it there.
const STAGES: &[(Phase, &str, Build)] = &[
    (Phase::Waiting, "for the gate of a need", || Drive::boot(vec![spec().needs(B), external("b")])),
    (Phase::Waiting, "until no need is broken", || {
        let mut need = bare("b");
        need.restart = policy(|settings| settings.when = RestartWhen::Never);
        let mut d =
            Drive::stable(vec![spec().edge(B, EdgeKind::Needs, Gate::Started, WhileDown::Ride), need]);
        d.exit(B, Exit::code(1));
        d.exit(A, Exit::code(1));
        d
    }),
    (Phase::Waiting, "until its dependents are stopped", || {
        let mut d = Drive::stable(vec![spec(), bare("b").needs(A)]);
        d.exit(A, Exit::code(1));
        d.wait(secs(1));
        d.started(A);
        d.exit(A, Exit::code(1));
        d.command(Command { cascade: true, ..Command::new(Action::Restart, A) });
        d
    }),
    (Phase::Starting, "its start.before runs", || Drive::boot(vec![with_hooks()])),
    (Phase::Starting, "waits for a launch slot", || {
        // The others are earlier in the order.
        let others = (1..=8).map(|at| bare(&format!("b{at}")));
        let mut spec = spec();
        spec.name = RealmName::new("z").expect("a good name");
        Drive::boot(std::iter::once(spec).chain(others).collect())
    }),
    (Phase::Starting, "the launcher is at work", || Drive::boot(vec![spec()])),
    (Phase::Starting, "its program cannot be used", || {
        let mut d = Drive::boot(vec![spec()]);
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error: refused() } });
        d
    }),
    (Phase::Starting, "executed, not ready", || {
        let mut d = Drive::boot(vec![spec()]);
        d.take();
        d.started(A);
        d.wait(Duration::from_millis(10));
        d
    }),
    (Phase::Starting, "its start.after runs", || {
        let mut d = Drive::boot(vec![with_hooks()]);
        hook(&mut d, Hook::Before);
        d.started(A);
        d.until_measured(A);
        d.answer(A, Outcome::Pass);
        d
    }),
    (Phase::Running, "serves", || {
        let mut d = Drive::stable(vec![spec()]);
        d.until_measured(A);
        d
    }),
    (Phase::Running, "a restart is verified", || {
        let mut d = Drive::stable(vec![spec()]);
        d.exit(A, Exit::code(1));
        d.started(A);
        d.until_measured(A);
        d.answer(A, Outcome::Pass);
        d
    }),
    (Phase::Running, "its restart command is due", || failing(commanded("a"), Reason::Backoff)),
    (Phase::Running, "its restart command runs", || {
        let mut d = Drive::stable(vec![commanded("a")]);
        d.order(Action::Restart, A);
        d
    }),
    (Phase::Stopping, "until its dependents are stopped", || {
        let mut d = Drive::stable(vec![spec(), bare("b").needs(A)]);
        d.command(Command { cascade: true, ..Command::new(Action::Restart, A) });
        d
    }),
    (Phase::Stopping, "the launcher is told to give up", || {
        let mut d = Drive::boot(vec![spec()]);
        d.order(Action::Stop, A);
        d
    }),
    (Phase::Stopping, "its stop.command runs", || {
        let mut spec = spec();
        spec.stop.command = true;
        let mut d = Drive::stable(vec![spec]);
        d.order(Action::Restart, A);
        d
    }),
    (Phase::Stopping, "its stop.signal is sent, for a restart", || {
        let mut d = Drive::stable(vec![spec()]);
        d.order(Action::Restart, A);
        d
    }),
    (Phase::Stopping, "an earlier heartbeatd may have sent its stop.signal", || {
        let mut d = Drive::stable(vec![spec()]);
        d.order(Action::Restart, A);
        d.killed(|_| Found::Alive { pid: 100, launching: false });
        d
    }),
    (Phase::Stopping, "KILL is sent", || {
        let mut d = Drive::stable(vec![spec()]);
        d.order(Action::Restart, A);
        d.wait(secs(11));
        d
    }),
    (Phase::Backoff, "waits for its time", || {
        let mut d = Drive::stable(vec![spec()]);
        d.exit(A, Exit::code(1));
        d.wait(secs(1));
        d.started(A);
        d.wait(Duration::from_millis(300));
        d.exit(A, Exit::code(1));
        d
    }),
    (Phase::Cooldown, "its budget is used up", || given_up(WhenSpent::Cooldown)),
    (Phase::Cooldown, "its program cannot be used", || {
        let mut d = Drive::boot(vec![spec()]);
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error: refused() } });
        d.wait(secs(61));
        d
    }),
    (Phase::Failed, "its budget is used up", || given_up(WhenSpent::Fail)),
    (Phase::Stopped, "not asked for", || {
        let mut spec = spec();
        spec.manual = true;
        Drive::boot(vec![spec])
    }),
    (Phase::Stopped, "only a pause keeps it from running", || {
        let mut d = Drive::stable(vec![spec()]);
        d.order(Action::Pause, A);
        d.exit(A, Exit::code(1));
        d
    }),
    (Phase::Done, "a oneshot that succeeded", || {
        let mut d = Drive::boot(vec![oneshot("a")]);
        d.take();
        d.started(A);
        d.exit(A, Exit::code(0));
        d.wait(secs(1));
        d
    }),
    (Phase::Stuck, "KILL did not end it", || {
        let mut d = Drive::up(vec![bare("a")]);
        d.order(Action::Restart, A);
        d.wait(secs(15));
        d
    }),
    (Phase::Unverified, "a process may be its own", || {
        let mut d = Drive::stable(vec![spec()]);
        d.killed(|_| Found::Unverifiable { what: "pid 7 may be it".to_string() });
        d
    }),
    (Phase::External, "watched", || {
        let mut d = Drive::boot(vec![external("a")]);
        d.wait(Duration::from_millis(10));
        d
    }),
    (Phase::External, "its restart command is due", || failing(outside(), Reason::Backoff)),
    (Phase::External, "its restart command runs", || {
        let mut d = Drive::up(vec![outside()]);
        d.order(Action::Restart, A);
        d
    }),
    (Phase::External, "its budget is used up", || failing(outside(), Reason::Cooldown)),
];

/// A realm with one probe, and an informational one for what it reports.
fn spec() -> RealmSpec {
    let mut spec = probed("a");
    spec.restart = policy(|settings| settings.burst = 2);
    spec.probes.push(told(None, Role::Info));
    spec
}

fn with_hooks() -> RealmSpec {
    let mut spec = spec();
    (spec.start.before, spec.start.after) = (true, true);
    spec
}

fn commanded(name: &str) -> RealmSpec {
    let mut spec = probed(name);
    spec.restart_command = true;
    spec.restart = policy(|settings| settings.burst = 2);
    spec
}

fn outside() -> RealmSpec {
    RealmSpec { kind: RealmKind::External, ..commanded("a") }
}

fn hook(d: &mut Drive, hook: Hook) {
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::HookDone { hook, failure: None } });
}

/// The realm fails until it is so for this reason; commands before that succeed and do not help.
fn failing(spec: RealmSpec, reason: Reason) -> Drive {
    let mut d = Drive::up(vec![spec]);
    let until = d.now + secs(900);
    while d.status(A).why.reason != reason {
        assert!(d.now < until, "it never is so: {}", d.message(A));
        if d.effects.iter().any(|effect| matches!(effect, Effect::Hook { .. })) {
            d.take();
            hook(&mut d, Hook::Restart);
        }
        d.wait_answering(Duration::from_millis(100), |_| FAIL);
    }
    d
}

fn given_up(when_spent: WhenSpent) -> Drive {
    let mut spec = spec();
    spec.restart = policy(|settings| (settings.burst, settings.when_spent) = (1, when_spent));
    let mut d = Drive::up(vec![spec]);
    d.exit(A, Exit::code(1));
    d.wait(secs(1));
    d.started(A);
    d.exit(A, Exit::code(1));
    d
}

/// In this place, with nothing left of the way there.
fn placed(phase: Phase, stage: &str, build: Build) -> Drive {
    let mut d = build();
    assert_eq!(d.phase(A), phase, "{stage}");
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
         Every phase of a realm, in each of its stages, with every input: what the realm does. A test of `heartbeat-supervisor` renders this page from the\n\
         code and fails when it is out of date\n\
         (`HEARTBEAT_BLESS=1 cargo test -p heartbeat-supervisor transitions` renders it again).\n\n\
         The realm has one probe, an informational `notify` probe, a budget of two restarts, and otherwise the defaults. *ignored*: counted and reported as an event; nothing changes.\n\
         A dash means no effect. In the last line of each table, the deadline of the stage passes.\n",
    );
    for (phase, stage, build) in STAGES {
        let _ = write!(text, "\n## {phase}: {stage}\n\n| input | then | effects |\n|---|---|---|\n");
        for (name, apply) in INPUTS {
            let mut d = placed(*phase, stage, *build);
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
fn every_phase_is_on_the_page() {
    for phase in Phase::ALL {
        assert!(STAGES.iter().any(|(known, ..)| known == phase), "{phase}");
    }
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
