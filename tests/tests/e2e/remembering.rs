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
