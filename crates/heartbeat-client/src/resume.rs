//! Waiting on for the result of a command after its heartbeatd was replaced by another one (an upgrade in place).
//!
//! The command was accepted, so it is not repeated: a second restart would be one too many. The realms are looked at
//! until they are where the command leads to, cannot get there, or the time is up.

use heartbeat_status::{Desired, Reason, Status};
use heartbeat_wire::{Action, ActionDocument, RealmEntry, StatusDocument, Wait};

/// How far a command has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Every realm is where the command leads to; the word for the document, and the realms that a later command has
    /// taken out of it: one entry per realm.
    Reached(&'static str, Vec<String>),
    /// One of them cannot get there any more, and why.
    Failed(String),
    /// These are still missing, one realm per entry.
    OnTheWay(Vec<String>),
}

/// What `status` says about the command of `plan`.
pub(crate) fn progress(plan: &ActionDocument, wait: Wait, status: &StatusDocument) -> Progress {
    let stopping = plan.action.is(Action::Stop);
    let wanted = if stopping { Action::Stop } else { Action::Start };
    let concerned = |realm: &&RealmEntry| {
        let steps = plan.steps.iter().filter(|step| step.action.is(wanted)).map(|step| &step.realm);
        plan.realms.iter().chain(steps).any(|name| *name == realm.name)
    };
    let (mut missing, mut taken_out) = (Vec::new(), Vec::new());
    for realm in status.realms.iter().filter(concerned) {
        match if stopping { stopped(realm) } else { up(realm) } {
            Step::There => {}
            Step::OnTheWay => missing.push(format!("{} is {} ({})", realm.name, realm.status, realm.message)),
            // The command does not name the realm: it succeeds without it.
            Step::TakenOut(why) if !plan.realms.contains(&realm.name) => taken_out.push(why),
            Step::Lost(why) => return Progress::Failed(why),
            Step::TakenOut(why) => {
                return Progress::Failed(format!("{why}; the other realms of this command go on"));
            }
        }
    }
    if !missing.is_empty() {
        return Progress::OnTheWay(missing);
    }
    let word = match (stopping, wait) {
        (true, _) => "stopped",
        (false, Wait::Verified) => "verified",
        (false, _) => "up",
    };
    Progress::Reached(word, taken_out)
}

/// How far one realm has come.
enum Step {
    There,
    OnTheWay,
    /// A later command, or the configuration, wants something else of the realm.
    TakenOut(String),
    Lost(String),
}

impl Step {
    fn reached(there: bool) -> Self {
        if there { Self::There } else { Self::OnTheWay }
    }
}

fn stopped(realm: &RealmEntry) -> Step {
    if realm.reason.is(Reason::Stuck) {
        return Step::Lost(format!("{} could not be killed: {}", realm.name, realm.message));
    }
    if realm.desired.is(Desired::Up) {
        return Step::TakenOut(format!("{} was asked to run again meanwhile", realm.name));
    }
    Step::reached(matches!(realm.status.known(), Some(Status::Stopped | Status::Done | Status::Failed)))
}

/// A realm with an open restart is `restarting` until the restart is verified.
fn up(realm: &RealmEntry) -> Step {
    if realm.status.is(Status::Failed) {
        return Step::Lost(format!("{} failed: {}", realm.name, realm.message));
    }
    if realm.desired.is(Desired::Down) {
        let how = realm.message.trim_start_matches("being ");
        return Step::TakenOut(format!("{} was taken out of this command: {how}", realm.name));
    }
    Step::reached(matches!(realm.status.known(), Some(Status::Up | Status::Degraded | Status::Done)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REALM: &str = r#"{"name":"db","kind":"service","tier":1,"order":0,"labels":{},"critical":true,"status":"up",
      "health":"healthy","phase":"running","desired":"up","flags":[],"since":"2026-11-23T22:39:58.310Z","reason":"Healthy",
      "message":"words","next":{"action":"none"},"restarts":{"total":0,"used":0,"burst":6,"window_s":600},"probes":[],
      "needs":[],"needed_by":[],"blocked_by":[]}"#;

    fn status(realms: &[(&str, &str, &str, &str)]) -> StatusDocument {
        let realms: Vec<String> = realms
            .iter()
            .map(|(name, status, desired, reason)| {
                REALM
                    .replace("\"db\"", &format!("\"{name}\""))
                    .replace("\"status\":\"up\"", &format!("\"status\":\"{status}\""))
                    .replace("\"desired\":\"up\"", &format!("\"desired\":\"{desired}\""))
                    .replace("Healthy", reason)
            })
            .collect();
        let text = format!(
            r#"{{"schema":"heartbeat.status/1","instance":"k3v9","revision":7,
              "generated_at":"2026-11-23T22:40:01.123Z","name":"shop","ok":true,"status":"up",
              "summary":{{"total":1,"up":1}},"daemon":{{"version":"0.1.0","started_at":"2026-11-23T20:24:37.001Z",
              "uptime_s":1.5,"phase":"running","health":"healthy","lag_ms":{{"p99":1.0,"max":2.0}},"config_revision":1}},
              "realms":[{}]}}"#,
            realms.join(",")
        );
        serde_json::from_str(&text).unwrap()
    }

    fn plan(action: &str, step: &str) -> ActionDocument {
        let text = format!(
            r#"{{"schema":"heartbeat.action/1","action":"{action}","realms":["api"],"dry_run":false,"breaks":[],
              "steps":[{{"wave":1,"realm":"db","action":"{step}"}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_start_ends_when_every_realm_of_the_plan_is_up_or_one_cannot_be() {
        let plan = plan("start", "start");
        let progress = |db: &str, api: &str, desired: &str| {
            let status = status(&[
                ("db", db, desired, "Healthy"),
                ("api", api, "up", "Healthy"),
                ("other", "failed", "up", "Stuck"),
            ]);
            progress(&plan, Wait::Up, &status)
        };
        let reached =
            |taken_out: &[&str]| Progress::Reached("up", taken_out.iter().map(ToString::to_string).collect());
        assert_eq!(progress("up", "degraded", "up"), reached(&[]));
        assert_eq!(progress("done", "up", "up"), reached(&[]));
        for on_the_way in ["restarting", "starting", "blocked", "down", "unknown", "later-word"] {
            let missing = format!("db is {on_the_way} (words)");
            assert_eq!(progress(on_the_way, "up", "up"), Progress::OnTheWay(vec![missing]));
        }
        assert_eq!(progress("failed", "up", "up"), Progress::Failed("db failed: words".to_owned()));
        assert_eq!(progress("stopped", "up", "down"), reached(&["db was taken out of this command: words"]));
    }

    #[test]
    fn a_restart_is_verified_when_no_restart_is_open_any_more() {
        let plan = plan("restart", "stop");
        let at = |api: &str| status(&[("db", "restarting", "up", "Exited"), ("api", api, "up", "Healthy")]);
        assert_eq!(progress(&plan, Wait::Verified, &at("up")), Progress::Reached("verified", Vec::new()));
        let mut named = plan.clone();
        named.realms.push("db".to_owned());
        let stopped =
            status(&[("db", "stopped", "down", "StoppedByOperator"), ("api", "up", "up", "Healthy")]);
        let words = "db was taken out of this command: words; the other realms of this command go on";
        assert_eq!(progress(&named, Wait::Verified, &stopped), Progress::Failed(words.to_owned()));
        assert!(matches!(progress(&plan, Wait::Verified, &at("restarting")), Progress::OnTheWay(_)));
    }

    #[test]
    fn a_stop_ends_when_nothing_of_any_realm_is_left() {
        let plan = plan("stop", "stop");
        let progress = |db: (&str, &str, &str)| {
            let status = status(&[("db", db.0, db.1, db.2), ("api", "stopped", "down", "StoppedByOperator")]);
            progress(&plan, Wait::Up, &status)
        };
        assert_eq!(
            progress(("stopped", "down", "StoppedByOperator")),
            Progress::Reached("stopped", Vec::new())
        );
        assert!(matches!(progress(("stopping", "down", "Stopping")), Progress::OnTheWay(_)));
        assert!(matches!(progress(("failed", "down", "Stuck")), Progress::Failed(_)));
        let again = Progress::Reached("stopped", vec!["db was asked to run again meanwhile".to_owned()]);
        assert_eq!(progress(("up", "up", "Healthy")), again);
    }
}
