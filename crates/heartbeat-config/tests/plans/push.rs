//! Heartbeats: what `push` takes, and what it refuses.

use std::time::Duration;

use heartbeat_config::{Measure, PushSchedule};
use heartbeat_status::ProbeKind;

use crate::reading::{refused, text};

fn schedule(push: &str) -> PushSchedule {
    let config = text(&format!("[realm.job]\nhealth = {{ push = {push} }}\n"));
    let info = &config.plan.realms()[0].probes[0].info;
    assert_eq!((info.kind, info.name.as_str(), info.thresholds.fail_after()), (ProbeKind::Push, "push", 1));
    let Some(Some(Measure::Push(schedule))) = config.realms[0].probes.first() else { panic!("{push}") };
    assert_eq!(info.target, schedule.to_string());
    schedule.clone()
}

#[test]
fn a_time_or_the_pattern_of_a_job_is_taken() {
    assert_eq!(schedule("\"60s\""), PushSchedule::Every(Duration::from_secs(60)));
    assert_eq!(schedule("\"60s\"").to_string(), "a heartbeat every 60s");
    let nightly = schedule("{ cron = \"0 2 * * *\" }");
    assert_eq!(nightly.to_string(), "a heartbeat at 0 2 * * *, within 10m");
    let PushSchedule::Cron { grace, .. } = schedule("{ cron = \"@daily\", grace = \"1h\" }") else {
        panic!()
    };
    assert_eq!(grace, Duration::from_secs(3_600));
}

#[test]
fn what_no_heartbeat_can_meet_is_refused_with_the_way_out() {
    for (health, code, words) in [
        ("{ push = \"10ms\" }", "HB114", "at most once per second"),
        ("{ push = 60 }", "HB1", "push"),
        ("{ push = { grace = \"10m\" } }", "HB1", "`cron` is missing"),
        ("{ push = { cron = \"0 2 * * *\", every = \"1h\" } }", "HB101", "there are `cron` and `grace`"),
        ("{ push = { cron = \"0 2 * *\" } }", "HB1", "has 4 fields"),
        ("{ push = { cron = \"0 25 * * *\" } }", "HB1", "takes 0 to 23"),
        ("{ push = { cron = \"0 0 30 2 *\" } }", "HB1", "holds on no day"),
        ("{ push = \"60s\", interval = \"5s\" }", "HB1", "`interval` means nothing for a push probe"),
        ("{ push = \"60s\", fail_after = 2 }", "HB1", "`fail_after` means nothing for a push probe"),
        ("{ push = \"60s\", contains = \"ok\" }", "HB1", "`contains` means nothing for a push probe"),
        ("[{ push = \"60s\" }, { push = \"1h\", name = \"other\" }]", "HB1", "a second `push` probe"),
    ] {
        let report = refused(&format!("[realm.job]\nhealth = {health}\n"));
        let found = report
            .iter()
            .any(|problem| problem.code.as_str().starts_with(code) && problem.message.contains(words));
        assert!(found, "{health}: {}", report.render(heartbeat_config::Format::Short, false));
    }
}
