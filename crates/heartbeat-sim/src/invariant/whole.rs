//! The core as a whole: its revision, timers, replies and shutdown.

use std::time::Duration;

use heartbeat_status::{RealmStatus, Signal};
use heartbeat_supervisor::Effect;

use super::{Verdict, View, fail};

pub(super) fn revision_is_monotone_and_told(view: &View<'_>) -> Verdict {
    fail(view.after.revision < view.before.revision, || "the revision went back".to_string())?;
    let moved = view.after.revision != view.before.revision;
    // What happens next is part of the meaning, and no event of its own: a probe that begins to measure.
    let only_next = view.after.realms.iter().zip(&view.before.realms).all(|(after, before)| {
        let mut as_before = RealmStatus::clone(after);
        as_before.why.next.clone_from(&before.why.next);
        as_before.means_the_same(before)
    });
    fail(moved && !only_next && view.events.is_empty() && view.before.revision > 0, || {
        let pairs = view.after.realms.iter().zip(&view.before.realms);
        let changed = pairs.filter(|(a, b)| !a.means_the_same(b)).map(|(a, b)| {
            let words = |r: &RealmStatus| {
                let verdicts: Vec<_> = r.probes.iter().map(|probe| (probe.verdict, probe.stale)).collect();
                let (why, flags, pid) = (&r.why, &r.flags, r.process.pid);
                let action = why.next.action;
                let total = r.restarts.total;
                format!(
                    "{} {} {} {:?} {} {flags:?} {pid:?} {total} {:?} {verdicts:?}",
                    r.status, r.phase, why.reason, why.since, action, r.blocked_by
                )
            };
            format!("\n  {}: {}\n  -> {}", a.info.name, words(b), words(a))
        });
        format!("the revision moved without an event: {}", changed.collect::<String>())
    })?;
    for pair in view.events.windows(2) {
        fail(pair[1].seq != pair[0].seq + 1, || format!("event {} follows {}", pair[1].seq, pair[0].seq))?;
    }
    Ok(())
}

pub(super) fn no_timer_in_the_past(view: &View<'_>) -> Verdict {
    let past = view.timed && view.timeout.is_some_and(|at| at <= view.now);
    fail(past, || format!("a timer at {:?} is left at {:?}", view.timeout, view.now))
}

pub(super) fn replies_are_due(view: &View<'_>) -> Verdict {
    const REPLY_BOUND_MS: u64 = 10_000;
    let bound = Duration::from_millis(REPLY_BOUND_MS);
    let overdue =
        view.reference.open.iter().find(|(_, asked)| view.timed && view.now.since(*asked) > bound * 2);
    fail(overdue.is_some(), || format!("{overdue:?} has not been answered"))
}

pub(super) fn nothing_runs_once_halted(view: &View<'_>) -> Verdict {
    let acts = view.effects.iter().find(|effect| {
        matches!(effect, Effect::Start { .. } | Effect::Check { .. } | Effect::Hook { .. })
            || matches!(effect, Effect::Signal { signal, .. } if *signal != Signal::KILL)
    });
    let ended = view.reference.finished && acts.is_some();
    fail(ended, || format!("after Halt: {acts:?}"))
}

pub(super) fn shutdown_is_bounded(view: &View<'_>) -> Verdict {
    // The bound, then KILL and its wait, or a launch that is called off and does not answer.
    const AFTERMATH_MS: u64 = 25_000;
    let Some(since) = view.reference.shutdown else { return Ok(()) };
    let bound =
        view.plan.settings().shutdown_timeout + Duration::from_millis(AFTERMATH_MS) + view.reference.unseen;
    fail(view.timed && !view.reference.finished && view.now.since(since) > bound, || {
        let phases: Vec<String> =
            view.after.realms.iter().map(|realm| format!("{}: {}", realm.info.name, realm.phase)).collect();
        format!("not halted within {bound:?}: {}", phases.join(", "))
    })
}
