//! Who is told of an outage, and commands that say how a realm is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::program::{PATIENCE, Running, told, wait_until};
use crate::supervision::{Instance, pid};

/// What was posted: its `webhook-id`, and the document.
pub(crate) type Posted = (String, Value);

/// A receiver that answers 500 the first time, then 204, and hands on what it was told.
pub(crate) fn receiver() -> (String, Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?key=s3cret", listener.local_addr().unwrap());
    let (sender, posted) = sync_channel(256);
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let status = if at == 0 { "500 Not Yet" } else { "204 No Content" };
            if sender.send(take(stream, status)).is_err() {
                return;
            }
        }
    });
    (url, posted)
}

fn take(stream: TcpStream, status: &str) -> Posted {
    let mut reader = BufReader::new(stream);
    let (mut length, mut id) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "webhook-id" => value.clone_into(&mut id),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(reader.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
    (id, serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_webhook_gets_an_outage_and_its_end() {
    let (url, posted) = receiver();
    let mut eco = Instance::start(&format!("[notify.ops]\nwebhook = \"{url}\"\n"));
    eco.wait_for_boot();
    kill(pid(eco.pid_of("db")), Signal::SIGKILL).unwrap();
    let next = || posted.recv_timeout(PATIENCE).expect("something to be told");
    let (refused, opened) = (next(), next());
    assert_eq!(refused, opened, "what was refused is told again, under the same id");
    let (id, document) = opened;
    assert_eq!(document["event"], "opened", "{document:#}");
    assert_eq!((&document["root"], &document["ecosystem"]), (&"db".into(), &"shop".into()));
    assert_eq!(id, format!("{}.{}", document["id"].as_str().unwrap(), document["seq"]));
    let (_, end) = next();
    assert_eq!((&end["event"], &end["id"]), (&"resolved".into(), &document["id"]), "{end:#}");
    assert!(end["duration_s"].as_f64().unwrap() > 0.0, "{end:#}");
    eco.daemon.signal(Signal::SIGTERM);
    let (code, errors) = eco.daemon.end();
    assert_eq!(code, Some(0), "{errors}");
    assert!(!errors.contains("s3cret"), "the path of a webhook is a secret: {errors}");
    assert!(posted.try_recv().is_err(), "a stop on purpose is no outage");
}

#[test]
fn a_check_command_decides_and_never_outlives_its_check() {
    let state = tempfile::tempdir().unwrap();
    let verdict = state.path().join("verdict");
    std::fs::write(&verdict, "exit 0").unwrap();
    let script = format!("echo checked by $WHO; . {}", verdict.display());
    let extra = format!(
        r#"
[realm.checked]
run = "sleep 86391"
env = {{ WHO = "heart-beat" }}
health = {{ nagios = ["sh", "-c", "{script}"], interval = "1s", timeout = "1s", fail_after = 1, name = "ping" }}
restart = {{ verify_for = "1s" }}
"#
    );
    let mut eco = Instance::start(&extra);
    eco.wait_for_boot();
    let before = eco.pid_of("checked");
    let probe = |eco: &Instance| eco.realm("checked")["probes"][0].clone();
    assert_eq!(probe(&eco)["kind"], "nagios");
    assert_eq!(probe(&eco)["detail"], "checked by heart-beat", "{:#}", probe(&eco));
    // What it prints is not for everyone who can connect to the address.
    let public = eco.get("/api/status/checked/");
    assert!(public.contains("(output)") && !public.contains("checked by heart-beat"), "{public}");
    // Degraded is a pass with a remark.
    std::fs::write(&verdict, "exit 1").unwrap();
    let line =
        eco.daemon.read_until("the remark", |line| line.contains("checked") && line.contains("degraded"));
    assert!(!line.contains("restart"), "{line}");
    assert_eq!(eco.pid_of("checked"), before);
    // One that hangs is ended with everything it has started, also what hides in a session of its own.
    std::fs::write(&verdict, "setsid sleep 86390 & sleep 86389").unwrap();
    eco.daemon.read_until("its restart", |line| line.contains("checked") && line.contains("restart"));
    std::fs::write(&verdict, "exit 0").unwrap();
    eco.daemon.read_until("its recovery", |line| line.contains("checked") && line.contains("recovered"));
    assert_ne!(eco.pid_of("checked"), before);
    let up = eco.cli(&["wait", "checked", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    for left in ["sleep 86390", "sleep 86389"] {
        let words: Vec<&str> = left.split(' ').collect();
        let line = words.join("\0");
        assert!(crate::program::processes_with(&line).is_empty(), "`{left}` is left behind");
    }
    eco.daemon.signal(Signal::SIGTERM);
    assert_eq!(eco.daemon.end().0, Some(0));
}

#[test]
fn what_the_configuration_expects_is_not_for_everyone_on_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let answer = "HTTP/1.1 200 OK\r\nx-release: 7\r\ncontent-length: 7\r\n\r\n{\"a\":1}";
            // The client may have gone.
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    let conditions = [
        ("contains", "contains = \"CANARY\""),
        ("matches", "matches = \"CANARY[0-9]\""),
        ("json", "json = { \"/a\" = \"CANARY\" }"),
        ("headers", "response_headers = { X-Release = \"CANARY\" }"),
    ];
    let realms: String = conditions
        .iter()
        .map(|(name, condition)| {
            let check = format!("http = \"{url}\", interval = \"1s\", timeout = \"1s\", fail_after = 1");
            format!("[realm.{name}]\nhealth = {{ {check}, {condition} }}\n")
        })
        .collect();
    let eco = Instance::start(&realms);
    for (name, _) in conditions {
        wait_until("it is down", || {
            let shown: Value =
                serde_json::from_slice(&eco.cli(&["status", "--json"]).stdout).unwrap_or_default();
            let is_it = |realm: &Value| realm["name"] == name && realm["status"] == "down";
            shown["realms"].as_array().is_some_and(|realms| realms.iter().any(is_it))
        });
        let own = eco.realm(name).to_string();
        assert!(own.contains("CANARY"), "{name}: {own}");
        let document = eco.get(&format!("/api/status/{name}/"));
        assert!(document.contains("(output)"), "{name}: {document}");
        for public in [document, eco.get("/api/status/"), eco.get("/"), eco.get("/api/incidents/")] {
            assert!(!public.contains("CANARY"), "{name}: {public}");
        }
    }
}

#[test]
fn events_are_shown_as_they_happen_and_followed_again_after_a_break() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let host = format!("unix:{}/run/heartbeat.sock", eco.dir.path().display());
    let mut follower = Running::start("heartbeat-cli", &["-H", &host, "events", "-f", "-n", "200", "db"]);
    follower.read_until("the past", |line| line.contains("\tStarted\t"));
    let before = eco.pid_of("db");
    kill(pid(before), Signal::SIGKILL).unwrap();
    let exited = follower.read_until("the exit", |line| line.contains("\tExited\t"));
    assert!(exited.contains("\tdb\t") && exited.contains("SIGKILL"), "{exited}");
    follower.read_until("the recovery", |line| line.contains("\tRestartVerified\t"));
    eco.daemon.read_until("the recovery of db", |line| line.contains("db") && line.contains("recovered"));
    let past = eco.cli(&["events", "-n", "200", "--json"]);
    assert_eq!(past.status.code(), Some(0), "{}", told(&past));
    let facts: Vec<Value> = String::from_utf8_lossy(&past.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let plain = eco.cli(&["events", "db"]);
    let remark = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(
        remark.contains("since heartbeatd started at") && remark.contains("heartbeat-cli incidents"),
        "{remark}"
    );
    let place = |what: &str| facts.iter().position(|fact| fact["what"] == what && fact["realm"] == "db");
    assert!(place("Exited").unwrap() < place("RestartVerified").unwrap(), "{facts:#?}");
    let opened = facts.iter().find(|fact| fact["what"] == "IncidentOpened").unwrap();
    assert!(opened["incident"].as_str().is_some_and(|id| id.len() == 36), "{opened}");
    // heartbeatd goes and comes back: it is another life, and is followed just the same.
    let Instance { daemon, dir, .. } = eco;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end().0, Some(0));
    let config = dir.path().join("heartbeat.toml");
    let again = Running::start("heartbeatd", &["--config", config.to_str().unwrap()]);
    follower.read_until("the second life", |line| line.contains("\tdb\tStarted\t"));
    follower.signal(Signal::SIGINT);
    assert_eq!(follower.end().0, Some(130));
    again.signal(Signal::SIGTERM);
    assert_eq!(again.end().0, Some(0));
}

#[test]
fn a_boot_in_which_nothing_starts_says_who_stopped_everything() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let stopped = eco.cli(&["stop", "all", "--reason", "disk repair"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", told(&stopped));
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.wait();
    eco.start_again();
    let line = eco.daemon.read_until("the end of the boot", |line| line.contains("every realm is stopped"));
    assert!(line.contains("db: stopped by ") && line.contains("disk repair"), "{line}");
    let status = eco.cli(&["status"]);
    let first = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(first.starts_with("shop: STOPPED - ") && first.contains("disk repair"), "{first}");
    eco.daemon.signal(Signal::SIGTERM);
    assert_eq!(eco.daemon.end().0, Some(0));
}

#[test]
fn an_incident_outlives_a_stop_of_heartbeatd_and_ends_when_its_realm_is_removed() {
    let (url, posted) = receiver();
    let [nobody] = crate::supervision::ports();
    let gone = format!(
        "[realm.gone]\nhealth = {{ tcp = \"127.0.0.1:{nobody}\", interval = \"1s\", timeout = \"1s\", fail_after = 1, grace = \"0s\" }}\n"
    );
    let mut eco = Instance::start(&format!("[notify.ops]\nwebhook = \"{url}\"\n\n{gone}"));
    let next = || posted.recv_timeout(PATIENCE).expect("something to be told");
    let (_, (_, opened)) = (next(), next());
    assert_eq!((&opened["event"], &opened["root"]), (&"opened".into(), &"gone".into()), "{opened:#}");
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.wait();
    assert!(posted.try_recv().is_err(), "a stop of heartbeatd is no evidence that it is well");
    let file = eco.dir.path().join("heartbeat.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&gone, "")).unwrap();
    eco.start_again();
    let (_, end) = next();
    assert_eq!((&end["event"], &end["id"]), (&"resolved".into(), &opened["id"]), "{end:#}");
    assert!(end["resolution"].as_str().unwrap().starts_with("removed from the configuration"), "{end:#}");
    eco.daemon.signal(Signal::SIGTERM);
    assert_eq!(eco.daemon.end().0, Some(0));
}
