//! A sentence for people is made of words: the codes are for programs.

use heartbeat_status::{
    DegradedReason, Event, Exit, FailReason, InconclusiveReason, Outcome, ProbePhase, Reason, Signal,
};
use heartbeat_supervisor::{Command, Input};
use heartbeat_wire::Action;

use crate::drive::{A, B, Depends, Drive, bare, probed, secs};

/// Codes of more than one word: `Exited` may begin a sentence, `UnexpectedStatus` never does.
fn codes() -> Vec<&'static str> {
    let fails = FailReason::ALL.iter().map(|reason| reason.as_str());
    let degraded = DegradedReason::ALL.iter().map(|reason| reason.as_str());
    let ours = InconclusiveReason::ALL.iter().map(|reason| reason.as_str());
    let statuses = Reason::ALL.iter().map(|reason| reason.as_str());
    let all = fails.chain(degraded).chain(ours).chain(statuses);
    let long = |code: &&str| code.chars().filter(char::is_ascii_uppercase).count() > 1;
    all.filter(long).chain(["Refused", "Reset", "Protocol", "Redirected"]).collect()
}

fn without_codes(text: &str, outcome: Outcome) {
    for code in codes() {
        assert!(!text.contains(code), "{outcome}: {text:?} contains {code}");
    }
}

/// `not ready within 60s; http: 404, attempt 2 of 6; http: 404` says one thing twice.
fn without_repetition(text: &str) {
    let parts: Vec<&str> = text.split("; ").collect();
    for (at, part) in parts.iter().enumerate() {
        let repeated = parts.iter().enumerate().any(|(other, text)| other != at && text.starts_with(part));
        assert!(!repeated, "{text:?} says {part:?} twice");
    }
}

fn look(d: &mut Drive, events: &mut Vec<Event>, outcome: Outcome) {
    let snapshot = d.sup.snapshot(d.now);
    for realm in &snapshot.realms {
        without_codes(&realm.why.message, outcome);
        without_repetition(&realm.why.message);
        without_codes(realm.why.next.when.as_deref().unwrap_or_default(), outcome);
        without_codes(realm.restart.as_ref().map_or("", |restart| restart.detail.as_str()), outcome);
    }
    for incident in &snapshot.incidents {
        without_codes(&incident.message, outcome);
    }
    events.append(&mut d.events);
}

#[test]
fn no_sentence_contains_a_code() {
    let fails =
        FailReason::ALL.iter().map(|reason| Outcome::Fail { reason: *reason, phase: Some(ProbePhase::Body) });
    let degraded = DegradedReason::ALL.iter().map(|reason| Outcome::Degraded(*reason));
    let ours = InconclusiveReason::ALL.iter().map(|reason| Outcome::Inconclusive(*reason));
    for outcome in fails.chain(degraded).chain(ours) {
        let mut events = Vec::new();
        // While it starts, while it runs, while it is restarted, and while it is stopped.
        let mut d = Drive::boot(vec![probed("a"), bare("b").needs(A)]);
        d.launch_all();
        for _ in 0..130 {
            d.live(secs(1), |_| outcome);
            look(&mut d, &mut events, outcome);
        }
        let mut d = Drive::stable(vec![probed("a"), bare("b").needs(A)]);
        for _ in 0..60 {
            d.live(secs(1), |_| outcome);
            look(&mut d, &mut events, outcome);
        }
        d.exit(B, Exit::signal(Signal::KILL));
        look(&mut d, &mut events, outcome);
        d.command(Command { cascade: true, ..Command::new(Action::Stop, A) });
        look(&mut d, &mut events, outcome);
        d.feed(Input::Shutdown { now: true });
        look(&mut d, &mut events, outcome);
        for (_, line) in events.iter().filter_map(|event| event.kind.fact()) {
            without_codes(&line, outcome);
        }
    }
}
