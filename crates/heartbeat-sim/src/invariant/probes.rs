//! Verdicts, health and staleness, against the answers to the measurements themselves.

use std::time::Duration;

use heartbeat_status::Verdict as ProbeVerdict;
use heartbeat_status::{Health, InconclusiveReason, Outcome, Phase, ProbeStatus, RealmStatus, Role};
use heartbeat_supervisor::{ProbeSource, ProbeSpec};

use super::{Verdict, View, fail, status};
use crate::reference::Answers;

/// A failing probe of a role that decides makes a realm unhealthy, and nothing else does.
pub(super) fn health_is_what_the_roles_say(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        if !matches!(realm.phase, Phase::Running | Phase::External) {
            continue;
        }
        let unattributable = Outcome::Inconclusive(InconclusiveReason::Unattributable);
        let deciding = || {
            let probes = view.plan.realm(realm.info.ix).probes.iter().zip(&realm.probes);
            probes.filter(|(spec, probe)| {
                let last = probe.last.as_ref().map(|last| last.outcome);
                spec.info.role != Role::Info && last != Some(unattributable)
            })
        };
        let name = &realm.info.name;
        let unhealthy = realm.health == Health::Unhealthy;
        let failing =
            deciding().any(|(_, probe)| !probe.stale && probe.verdict == Some(ProbeVerdict::Failing));
        fail(failing && !unhealthy, || format!("{name} has a failing probe and is {}", realm.health))?;
        let fails = |probe: &ProbeStatus| {
            let last = probe.last.as_ref().map(|last| last.outcome.passed());
            probe.verdict == Some(ProbeVerdict::Failing) || last != Some(Some(true))
        };
        fail(unhealthy && !deciding().any(|(_, probe)| fails(probe)), || {
            format!("{name} is unhealthy, and no probe that decides fails")
        })?;
    }
    Ok(())
}

/// As many failures in a row as its threshold asks for come before a verdict turns.
pub(super) fn a_failing_verdict_has_its_threshold(view: &View<'_>) -> Verdict {
    for (before, after) in view.before.realms.iter().zip(&view.after.realms) {
        let ix = after.info.ix;
        if before.probes.len() != after.probes.len() || before.process.run != after.process.run {
            continue;
        }
        let probes = view.plan.realm(ix).probes.iter().zip(&view.reference.failures[ix.index()]);
        for ((spec, failures), (was, is)) in probes.zip(before.probes.iter().zip(&after.probes)) {
            let turned = was.verdict != is.verdict && is.verdict == Some(ProbeVerdict::Failing);
            let wanted = spec.info.thresholds.fail_after() as usize;
            let measured = spec.source == ProbeSource::Measured;
            fail(turned && measured && failures.len() < wanted, || {
                format!("{} of {} fails after {failures:?}, {wanted} wanted", spec.info.name, after.info.name)
            })?;
        }
    }
    Ok(())
}

/// The probes of a realm that are measured now, with what was answered about them.
fn measured<'a>(
    view: &'a View<'_>,
    realm: &'a RealmStatus,
) -> impl Iterator<Item = (&'a ProbeSpec, &'a ProbeStatus, &'a Answers)> {
    let ix = realm.info.ix;
    let runs = matches!(realm.phase, Phase::Running | Phase::External);
    let probes =
        view.plan.realm(ix).probes.iter().zip(&realm.probes).zip(&view.reference.answers[ix.index()]);
    probes
        .map(|((spec, probe), answers)| (spec, probe, answers))
        .filter(move |(spec, probe, _)| runs && probe.current && spec.source == ProbeSource::Measured)
}

/// Counted from the answers themselves: enough passes in a row are a passing verdict, fewer do not end a failing one,
/// and no verdict fails on fewer failures in a row than its threshold.
pub(super) fn verdicts_are_what_was_answered(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        let name = &realm.info.name;
        for (at, (spec, probe, answers)) in measured(view, realm).enumerate() {
            let thresholds = &spec.info.thresholds;
            let passes = answers.passes >= thresholds.pass_after();
            fail(passes && probe.verdict != Some(ProbeVerdict::Passing), || {
                format!("{} of {name} is {:?} after {answers:?}", spec.info.name, probe.verdict)
            })?;
            let before =
                status(view.before, realm.info.ix).filter(|before| before.process.run == realm.process.run);
            let was =
                before.and_then(|before| measured(view, before).nth(at)).and_then(|(_, was, _)| was.verdict);
            let recovered =
                was == Some(ProbeVerdict::Failing) && probe.verdict == Some(ProbeVerdict::Passing);
            fail(recovered && !passes && answers.recovers, || {
                format!("{} of {name} has turned to passing after {answers:?}", spec.info.name)
            })?;
            let turned = was == Some(ProbeVerdict::Passing) && probe.verdict == Some(ProbeVerdict::Failing);
            let few = answers.fails.is_some_and(|fails| fails < thresholds.fail_after());
            fail(turned && few && thresholds.fail_if().is_none(), || {
                format!("{} of {name} has turned to failing after {answers:?}", spec.info.name)
            })?;
        }
    }
    Ok(())
}

/// A probe is stale after 30 s without a conclusive answer at the earliest, and then its realm is not said to be well.
pub(super) fn what_is_stale_has_not_been_measured(view: &View<'_>) -> Verdict {
    const STALE_AFTER_AT_LEAST: Duration = Duration::from_secs(30);
    for realm in &view.after.realms {
        let name = &realm.info.name;
        for (spec, probe, answers) in measured(view, realm) {
            let age = answers.conclusive.map(|at| view.now.since(at));
            fail(probe.stale && age.is_some_and(|age| age < STALE_AFTER_AT_LEAST), || {
                format!("{} of {name} is stale, and was answered {age:?} ago", spec.info.name)
            })?;
            let decides = spec.info.role != Role::Info;
            fail(probe.stale && decides && realm.health.is_pass(), || {
                format!("{name} is {} although {} is stale", realm.health, spec.info.name)
            })?;
        }
    }
    Ok(())
}

/// A passing verdict stands for three intervals and a timeout without a conclusive answer, for 30 s at least, and then
/// it is stale.
pub(super) fn what_has_not_been_measured_is_stale(view: &View<'_>) -> Verdict {
    const STALE_AFTER_AT_LEAST: Duration = Duration::from_secs(30);
    if !view.timed {
        return Ok(());
    }
    for realm in &view.after.realms {
        for (spec, probe, answers) in measured(view, realm) {
            let bound = STALE_AFTER_AT_LEAST.max(spec.info.interval * 3 + spec.info.timeout);
            let age = answers.unanswered_since().map(|since| view.now.since(since));
            let passes = probe.verdict == Some(ProbeVerdict::Passing) && !probe.stale;
            fail(passes && age.is_some_and(|age| age > bound), || {
                let (probe, name) = (&spec.info.name, &realm.info.name);
                format!("{probe} of {name} passes, without an answer for {age:?}, stale after {bound:?}")
            })?;
        }
    }
    Ok(())
}

/// What claims an outcome is being measured.
pub(super) fn green_is_recent(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        let measures = matches!(realm.phase, Phase::Starting | Phase::Running | Phase::External);
        for (spec, probe) in view.plan.realm(realm.info.ix).probes.iter().zip(&realm.probes) {
            fail(spec.source != ProbeSource::Process && probe.current && !measures, || {
                format!(
                    "{} of {} has an outcome while it is {}",
                    spec.info.name, realm.info.name, realm.phase
                )
            })?;
        }
    }
    Ok(())
}
