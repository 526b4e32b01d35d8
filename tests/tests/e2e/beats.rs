//! Heartbeats of jobs: `beat` and `run-beat`, and what is left of them after heartbeatd was killed.

use serde_json::Value;

use crate::program::told;
use crate::supervision::Instance;

/// The result of the `push` probe, and what it says, once it is `outcome`.
fn seen(eco: &Instance, realm: &str, outcome: &str) -> String {
    loop {
        let probe = eco.realm(realm)["probes"][0].clone();
        if probe["outcome"] == outcome {
            assert_eq!(probe["kind"], "push");
            return probe["detail"].as_str().unwrap_or_default().to_owned();
        }
    }
}

fn until(eco: &Instance, realm: &str, status: &str) -> Value {
    loop {
        let found = eco.realm(realm);
        if found["status"] == status {
            return found;
        }
    }
}

#[test]
fn a_job_reports_its_end_and_a_killed_heartbeatd_forgets_nothing() {
    let mut eco = Instance::start(
        "[realm.backup]\nhealth = { push = { cron = \"0 2 * * *\", grace = \"10m\" } }\ncritical = false\n",
    );
    eco.wait_for_boot();
    assert!(seen(&eco, "backup", "inconclusive").starts_with("no heartbeat yet"));
    let failed = eco.cli(&["run-beat", "backup", "--", "sh", "-c", "echo dumped; exit 3"]);
    assert_eq!(failed.status.code(), Some(3), "{}", told(&failed));
    assert_eq!(String::from_utf8_lossy(&failed.stdout), "dumped\n", "the output is the command's own");
    let down = until(&eco, "backup", "down");
    assert!(seen(&eco, "backup", "fail").starts_with("reported exit code 3 at "), "{down:#}");
    eco.kill_daemon();
    let alone = eco.cli(&["run-beat", "backup", "--", "true"]);
    assert_eq!(alone.status.code(), Some(0), "a job runs without heartbeatd: {}", told(&alone));
    eco.start_again();
    eco.wait_for_boot();
    let still = until(&eco, "backup", "down");
    assert_eq!(still["since"], down["since"], "nothing has changed: {still:#}");
    let good = eco.cli(&["run-beat", "backup", "--", "true"]);
    assert_eq!(good.status.code(), Some(0), "{}", told(&good));
    until(&eco, "backup", "up");
    assert!(seen(&eco, "backup", "pass").starts_with("heartbeat at "));
    let words = eco.cli(&["beat", "backup", "fail", "--message", "no space left"]);
    assert_eq!(words.status.code(), Some(0), "{}", told(&words));
    assert!(seen(&eco, "backup", "fail").ends_with(": no space left"));
    for (args, code) in [
        (&["beat", "db"][..], 7),
        (&["beat", "bakup"], 4),
        (&["beat", "backup", "done"], 2),
        (&["run-beat", "backup", "--", "/no/such/program"], 127),
        (&["run-beat", "backup"], 2),
    ] {
        let refused = eco.cli(args);
        assert_eq!(refused.status.code(), Some(code), "{args:?}: {}", told(&refused));
    }
}
