//! What heartbeatd remembers over its own end.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::told;
use crate::supervision::Ecosystem;
use crate::surviving::until;

fn incidents(eco: &Ecosystem, query: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&eco.get(&format!("/api/incidents/{query}"))).unwrap();
    list["incidents"].as_array().unwrap().clone()
}

fn of(eco: &Ecosystem, root: &str) -> Vec<Value> {
    incidents(eco, "?limit=200").into_iter().filter(|incident| incident["root"] == root).collect()
}

#[test]
fn an_incident_survives_every_end_and_is_over_on_evidence_alone() {
    let mut eco = Ecosystem::start(
        "[realm.late]\nrun = [\"sh\", \"-c\", \"test -e ready && exec sleep 86381; exit 3\"]\nrestart = { backoff = \"300ms\", backoff_max = \"300ms\", min_gap = \"100ms\", burst = 1000 }\n",
    );
    until("it to answer", || eco.cli(&["status", "db"]).status.code() == Some(0));
    until("an incident", || !of(&eco, "late").is_empty());
    let id = of(&eco, "late")[0]["id"].as_str().unwrap().to_owned();
    let end = &id[id.len() - 8..];
    let acked = eco.cli(&["ack", end, "--by", "Ada", "--note", "the disk is on its way"]);
    assert_eq!(acked.status.code(), Some(0), "{}", told(&acked));
    assert!(told(&acked).contains("acknowledged by Ada"), "{}", told(&acked));
    let none = eco.cli(&["ack", "nothing"]);
    assert_eq!(none.status.code(), Some(4), "{}", told(&none));

    // Stopped with all its realms, which is no evidence that the realm is well.
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
    eco.daemon.wait();
    eco.start_again();
    until("it to answer", || eco.cli(&["status", "db"]).status.code() == Some(0));
    let one = |eco: &Ecosystem| {
        let found = of(eco, "late");
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!((&found[0]["id"], &found[0]["ack"]["by"]), (&id.as_str().into(), &"Ada".into()));
        found[0].clone()
    };
    assert_eq!(one(&eco)["resolved_at"], Value::Null);

    // Killed.
    eco.kill_daemon();
    eco.start_again();
    until("it to answer", || eco.cli(&["status", "db"]).status.code() == Some(0));
    assert_eq!(one(&eco)["resolved_at"], Value::Null);

    std::fs::write(eco.dir.path().join("ready"), "").unwrap();
    until("its end", || one(&eco)["resolved_at"] != Value::Null);
    let resolved = one(&eco);

    // Resolved ones are on record, too, and a page goes on where the one before ended.
    eco.kill_daemon();
    eco.start_again();
    until("it to answer", || eco.cli(&["status", "db"]).status.code() == Some(0));
    assert_eq!(one(&eco), resolved);
    let all = incidents(&eco, "?limit=200");
    let mut paged: Vec<Value> = Vec::new();
    loop {
        let after =
            paged.last().map_or_else(String::new, |last| format!("&after={}", last["id"].as_str().unwrap()));
        let page = incidents(&eco, &format!("?limit=1{after}"));
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let story = eco.cli(&["incidents", end]);
    assert!(told(&story).contains("the disk is on its way"), "{}", told(&story));
}

#[test]
fn history_tells_up_from_down_and_counts_no_time_without_heartbeatd() {
    let mut eco = Ecosystem::start("");
    eco.wait_for_boot();
    let history = |eco: &Ecosystem| -> Value {
        serde_json::from_str(&eco.get("/api/history/worker/?step=1h")).unwrap()
    };
    until("some time up", || history(&eco)["up_s"].as_f64().unwrap() > 0.5);
    let down = eco.cli(&["stop", "worker"]);
    assert_eq!(down.status.code(), Some(0), "{}", told(&down));
    until("some time stopped", || history(&eco)["paused_s"].as_f64().unwrap() > 0.0);
    let before = history(&eco);
    eco.kill_daemon();
    std::fs::metadata(eco.dir.path().join("state/history.db")).unwrap();
    eco.start_again();
    until("it to answer", || eco.cli(&["status", "db"]).status.code() == Some(0));
    let after = history(&eco);
    assert_eq!((&after["first_seen_at"], &after["up_s"]), (&before["first_seen_at"], &before["up_s"]));
    assert!(after["unknown_s"].as_f64() > before["unknown_s"].as_f64(), "{before:#} {after:#}");
    let shown = eco.cli(&["history", "worker", "--since", "1h"]);
    assert_eq!(shown.status.code(), Some(0), "{}", told(&shown));
    assert_eq!(eco.cli(&["history", "nothing"]).status.code(), Some(4));
    let strips: Value = serde_json::from_str(&eco.get("/api/history/?window=2d")).unwrap();
    assert!(strips["realms"].as_array().unwrap().iter().any(|realm| realm["name"] == "worker"), "{strips:#}");
}

#[test]
fn the_status_and_history_have_what_the_processes_of_a_realm_use() {
    let mut eco = Ecosystem::start("");
    eco.wait_for_boot();
    let process = |eco: &Ecosystem| -> Value {
        let status: Value = serde_json::from_str(&eco.get("/api/status/worker/")).unwrap();
        status["realm"]["process"].clone()
    };
    // The second look has something to compare with.
    until("the second look", || process(&eco)["cpu_percent"].as_f64().is_some());
    let used = process(&eco);
    assert!(used["rss_bytes"].as_u64().unwrap() > 100_000 && used["fds"].as_u64().unwrap() >= 3, "{used:#}");
    let shown = eco.cli(&["show", "worker"]);
    assert!(told(&shown).contains("  uses       cpu "), "{}", told(&shown));
    let wide = eco.cli(&["status", "-o", "wide"]);
    assert!(told(&wide).contains("MEMORY") && told(&wide).contains("MiB"), "{}", told(&wide));

    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
    eco.daemon.wait();
    eco.start_again();
    until("it to answer", || eco.cli(&["status", "db"]).status.code() == Some(0));
    let history: Value = serde_json::from_str(&eco.get("/api/history/worker/?step=1h")).unwrap();
    for quantity in ["cpu_percent", "rss_bytes", "fds"] {
        assert!(history[quantity]["max"].as_f64() >= history[quantity]["p50"].as_f64(), "{history:#}");
        assert!(history[quantity]["max"].as_f64().is_some(), "{history:#}");
    }
}

#[test]
fn a_month_has_its_page_and_an_objective_its_budget() {
    let eco = Ecosystem::start(
        "[realm.mail]\nrun = [\"sleep\", \"86380\"]\nslo = { availability = \"99.9%\" }\n\
         [realm.late]\nrun = [\"sh\", \"-c\", \"exit 3\"]\n\
         restart = { backoff = \"300ms\", backoff_max = \"300ms\", min_gap = \"100ms\", burst = 1000 }\n",
    );
    until("it to answer", || eco.cli(&["status", "db"]).status.code() == Some(0));
    until("an incident", || !of(&eco, "late").is_empty());
    let shown = |arguments: &[&str]| String::from_utf8(eco.cli(arguments).stdout).unwrap();
    until("the objective", || shown(&["slo"]).contains("minutes are left"));
    assert!(shown(&["slo"]).starts_with("mail\n"), "{}", shown(&["slo"]));
    let wide = shown(&["status", "-o", "wide"]);
    assert!(wide.contains("BUDGET") && wide.contains("m left"), "{wide}");
    let report: Value = serde_json::from_str(&shown(&["report", "--json"])).unwrap();
    let realms = report["realms"].as_array().unwrap();
    let of_name = |name: &str| realms.iter().find(|realm| realm["name"] == name).unwrap();
    assert_eq!((&of_name("late")["incidents"], &of_name("mail")["incidents"]), (&1.into(), &0.into()));
    let page = shown(&["report", "-o", "html"]);
    assert!(page.starts_with("<!doctype html>") && page.contains("99.9 %, met"), "{page}");
    let refused = eco.cli(&["status", "-o", "html"]);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
}
