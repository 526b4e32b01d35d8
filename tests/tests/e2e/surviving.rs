//! Supervision outlives its supervisor: heartbeatd is killed, and another one takes everything back.

use std::collections::BTreeMap;

use heartbeat_status::WallTime;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::program::{processes_with, run, told};
use crate::supervision::{Instance, pid};

fn pids(eco: &Instance, names: &[&str]) -> Vec<i64> {
    names.iter().map(|name| eco.pid_of(name)).collect()
}

pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if condition() {
            return;
        }
        let _ = nix::poll::poll(&mut [], 2u16);
    }
    panic!("waited for {what}");
}

/// It has ended; not every init collects at once what it has inherited.
pub(crate) fn gone(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// A time of a document, in milliseconds since 1970.
fn millis(at: &Value) -> i64 {
    at.as_str().unwrap().parse::<WallTime>().unwrap().as_millis()
}

const REALMS: [&str; 3] = ["db", "api", "worker"];

#[test]
fn after_a_kill_the_next_heartbeatd_takes_everything_back() {
    let mut eco = Instance::start(
        "[realm.stopped]\nrun = \"sleep 86380\"\n[realm.later]\nrun = \"sleep 86380\"\nmanual = true\n",
    );
    eco.wait_for_boot();
    let stop = eco.cli(&["stop", "stopped"]);
    assert_eq!(stop.status.code(), Some(0), "{}", told(&stop));
    let before = pids(&eco, &REALMS);
    let started = eco.realm("db")["process"]["started_at"].clone();
    let since =
        |eco: &Instance| ["db", "api", "worker", "stopped", "later"].map(|of| eco.realm(of)["since"].clone());
    let as_they_are = since(&eco);
    eco.kill_daemon();
    for alive in &before {
        assert!(kill(pid(*alive), None).is_ok(), "realms outlive heartbeatd");
    }
    eco.start_again();
    eco.wait_for_boot();
    assert_eq!(pids(&eco, &REALMS), before, "the same processes");
    let db = eco.realm("db");
    assert_eq!(db["process"]["adopted"], true, "{db:#}");
    assert!(db["flags"].as_array().unwrap().contains(&"adopted".into()), "{db:#}");
    assert_eq!((&db["restarts"]["total"], &db["status"]), (&0.into(), &"up".into()), "{db:#}");
    assert_eq!(db["process"]["started_at"], started, "the uptime is that of the process");
    assert_eq!(since(&eco), as_they_are, "and they are what they are since the same time");
    assert_eq!(eco.status_of("stopped"), "stopped", "what an operator has stopped stays stopped");
    assert!(processes_with("sleep\086380").is_empty());
    // They are supervised like any other: heartbeatd sees their end, although it is not their parent.
    kill(pid(before[2]), Signal::SIGKILL).unwrap();
    eco.daemon
        .read_until("the recovery of worker", |line| line.contains("worker") && line.contains("recovered"));
    let worker = eco.realm("worker");
    let last = &worker["process"]["last_exit"];
    assert!(
        last["signal"] == "KILL" || last.get("signal").is_none(),
        "the cause, where the kernel still says it: {worker:#}"
    );
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
    for stopped in before {
        assert!(gone(stopped), "{stopped} still runs");
    }
}

#[test]
fn what_died_while_no_heartbeatd_ran_is_restarted_once() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = pids(&eco, &REALMS);
    eco.kill_daemon();
    kill(pid(before[0]), Signal::SIGKILL).unwrap();
    until("db to be gone", || gone(before[0]));
    eco.start_again();
    eco.daemon.read_until("the recovery of db", |line| line.contains("db") && line.contains("recovered"));
    eco.wait_for_boot();
    let after = pids(&eco, &REALMS);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1..], before[1..], "nobody else is touched");
    let db = eco.realm("db");
    assert_eq!((&db["restarts"]["used"], &db["restart"]["cause"]), (&1.into(), &"exited".into()), "{db:#}");
    let incidents: Value = serde_json::from_str(&eco.get("/api/incidents/")).unwrap();
    assert_eq!(incidents["incidents"].as_array().unwrap().len(), 1, "{incidents:#}");
}

#[test]
fn an_open_incident_keeps_its_id_and_the_budget_its_debits() {
    let extra = "[realm.broken]\nrun = \"false\"\nrestart = { burst = 2, cooldown = \"1h\" }\n";
    let mut eco = Instance::start(extra);
    eco.daemon.read_until("the cooldown", |line| line.contains("broken") && line.contains("failed"));
    until("an incident that failed", || {
        let list: Value = serde_json::from_str(&eco.get("/api/incidents/")).unwrap();
        list["incidents"].as_array().unwrap().iter().any(|incident| incident["event"] == "failed")
    });
    let of = |eco: &Instance| -> Value { serde_json::from_str(&eco.get("/api/incidents/")).unwrap() };
    let before = of(&eco)["incidents"][0]["id"].clone();
    let next = eco.realm("broken")["next"]["at"].clone();
    for _ in 0..3 {
        eco.kill_daemon();
        eco.start_again();
        let up = eco.cli(&["wait", "worker", "--for", "up", "--timeout", "60s"]);
        assert_eq!(up.status.code(), Some(0), "{}", told(&up));
        let broken = eco.realm("broken");
        assert_eq!(
            (&broken["phase"], &broken["restarts"]["used"]),
            (&"cooldown".into(), &2.into()),
            "{broken:#}"
        );
        assert!(
            millis(&broken["next"]["at"]).abs_diff(millis(&next)) < 50,
            "the cooldown goes on: {broken:#}"
        );
        let list = of(&eco);
        assert_eq!(list["incidents"].as_array().unwrap().len(), 1, "{list:#}");
        assert_eq!(list["incidents"][0]["id"], before);
    }
}

#[test]
fn a_realm_that_is_not_configured_any_more_is_ended() {
    let mut eco = Instance::start("[realm.old]\nrun = \"sleep 86381\"\n");
    eco.wait_for_boot();
    let old = eco.pid_of("old");
    eco.kill_daemon();
    let file = eco.dir.path().join("heartbeat.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.split("[realm.old]").next().unwrap()).unwrap();
    eco.start_again();
    until("it to be ended", || gone(old));
    eco.wait_for_boot();
}

#[test]
fn a_realm_that_is_made_of_something_else_is_restarted() {
    let mut eco =
        Instance::start("[realm.changed]\nrun = \"sleep 86382\"\n[realm.same]\nrun = \"sleep 86383\"\n");
    eco.wait_for_boot();
    let before = pids(&eco, &["changed", "same"]);
    eco.kill_daemon();
    let file = eco.dir.path().join("heartbeat.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("sleep 86382", "sleep 86384")).unwrap();
    eco.start_again();
    until("the new one", || processes_with("sleep\086384").len() == 1);
    eco.wait_for_boot();
    assert!(gone(before[0]));
    assert_eq!(eco.pid_of("same"), before[1]);
}

#[test]
fn two_daemons_never_share_a_directory() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let file = eco.dir.path().join("heartbeat.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // Another state directory, and the same records.
    let other = eco.dir.path().join("other.toml");
    std::fs::write(
        &other,
        text.replace("/state\"", "/state2\"").replace("listen = \"127", "listen = \"off\" # 127"),
    )
    .unwrap();
    let second = run("heartbeatd", &["--config", other.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(7), "{}", told(&second));
    assert!(told(&second).contains(&eco.daemon.pid().to_string()), "{}", told(&second));
}

#[test]
fn a_runtime_directory_that_vanishes_harms_no_realm() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = pids(&eco, &REALMS);
    std::fs::remove_dir_all(eco.dir.path().join("run/realms")).unwrap();
    kill(pid(before[2]), Signal::SIGKILL).unwrap();
    eco.daemon
        .read_until("the recovery of worker", |line| line.contains("worker") && line.contains("recovered"));
    let record = eco.dir.path().join("run/realms/worker");
    until("its record", || record.exists());
    let before = pids(&eco, &REALMS);
    eco.kill_daemon();
    eco.start_again();
    eco.wait_for_boot();
    assert_eq!(pids(&eco, &REALMS), before);
}

#[test]
fn records_that_are_gone_for_good_mean_no_second_copy() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = pids(&eco, &REALMS);
    eco.kill_daemon();
    std::fs::remove_dir_all(eco.dir.path().join("run/realms")).unwrap();
    eco.start_again();
    until("the alert", || {
        let output = eco.cli(&["status", "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).is_ok_and(|document| {
            document["realms"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|realm| realm["reason"] == "Unverifiable")
                .count()
                == 3
        })
    });
    let db = eco.realm("db");
    assert_eq!(db["status"], "unknown", "{db:#}");
    assert!(db["message"].as_str().unwrap().contains(&before[0].to_string()), "{db:#}");
    for alive in &before {
        assert!(kill(pid(*alive), None).is_ok(), "no signal");
        kill(pid(*alive), Signal::SIGKILL).unwrap();
    }
    eco.wait_for_boot();
    assert!(
        before.iter().zip(pids(&eco, &REALMS)).all(|(old, new)| *old != new),
        "started once they are gone"
    );
}

/// The records name another state directory, so heartbeatd cannot verify what runs, also after it has taken over before.
#[test]
fn what_is_not_verified_stays_so_through_each_takeover() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = pids(&eco, &REALMS);
    let left = eco.cli(&["daemon", "leave"]);
    assert_eq!(left.status.code(), Some(0), "{}", told(&left));
    assert_eq!(eco.daemon.wait(), Some(0));
    let config = eco.dir.path().join("heartbeat.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let elsewhere = text.replace("/state\"", "/elsewhere\"");
    assert_ne!(text, elsewhere);
    std::fs::write(&config, elsewhere).unwrap();
    eco.start_again();
    let unverified = |eco: &Instance| {
        until("heartbeatd to answer", || eco.cli(&["status"]).status.code() != Some(5));
        for (name, pid) in REALMS.iter().zip(&before) {
            let realm = eco.realm(name);
            assert_eq!(
                (&realm["status"], &realm["reason"]),
                (&"unknown".into(), &"Unverifiable".into()),
                "{realm:#}"
            );
            assert!(realm["message"].to_string().contains(&pid.to_string()), "{realm:#}");
            assert!(kill(self::pid(*pid), None).is_ok() && !gone(*pid), "no signal");
        }
    };
    unverified(&eco);
    for _ in 0..2 {
        let upgraded = eco.cli(&["daemon", "upgrade"]);
        assert_eq!(upgraded.status.code(), Some(0), "{}", told(&upgraded));
        // The names may stand on two lines.
        let words = told(&upgraded).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("does not supervise db, api, worker: `heartbeat-cli why db`"), "{words}");
        unverified(&eco);
        eco.kill_daemon();
        eco.start_again();
        unverified(&eco);
    }
    for alive in &before {
        kill(pid(*alive), Signal::SIGKILL).unwrap();
    }
    eco.wait_for_boot();
    let after = pids(&eco, &REALMS);
    assert!(before.iter().zip(&after).all(|(old, new)| old != new), "started once they are gone");
    // What this heartbeatd has started is its own.
    let upgraded = eco.cli(&["daemon", "upgrade"]);
    assert!(
        upgraded.status.success() && told(&upgraded).contains("every realm runs on\n"),
        "{}",
        told(&upgraded)
    );
    assert_eq!(pids(&eco, &REALMS), after);
    eco.daemon.signal(Signal::SIGTERM);
}

/// Kills heartbeatd at random moments of a busy ecosystem: 20 times, or `HEARTBEAT_KILLS` times.
#[test]
fn random_kills_of_a_busy_ecosystem_lose_and_duplicate_nothing() {
    let kills: u32 = std::env::var("HEARTBEAT_KILLS").ok().map_or(20, |text| text.parse().expect("a number"));
    let mut extra = String::new();
    for quiet in 0..6 {
        extra.push_str(&format!("[realm.quiet{quiet}]\nrun = \"sleep 8637{quiet}\"\nneeds = [\"db\"]\n"));
    }
    for busy in 0..4 {
        extra.push_str(&format!(
            "[realm.busy{busy}]\nrun = [\"sh\", \"-c\", \"exec sleep 0.{}\"]\nrestart = {{ burst = 1000, window = \"1m\", backoff = \"20ms\", backoff_max = \"60ms\", min_gap = \"10ms\" }}\n",
            busy + 1
        ));
    }
    extra.push_str("[realm.forked]\nrun = [\"sh\", \"-c\", \"sleep 86376 & exec sleep 86377\"]\n");
    let mut eco = Instance::start(&extra);
    let quiet: Vec<String> = (0..6)
        .map(|at| format!("quiet{at}"))
        .chain(["db", "api", "worker", "forked"].map(str::to_owned))
        .collect();
    let wait = |eco: &Instance| {
        let mut args = vec!["wait"];
        args.extend(quiet.iter().map(String::as_str));
        args.extend(["--for", "up", "--timeout", "80s"]);
        let up = eco.cli(&args);
        assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    };
    wait(&eco);
    let of = |eco: &Instance| -> BTreeMap<String, i64> {
        quiet.iter().map(|name| (name.clone(), eco.pid_of(name))).collect()
    };
    let before = of(&eco);
    let seed = u64::from(std::process::id());
    let mut dice = fastrand::Rng::with_seed(seed);
    for round in 0..kills {
        // Somewhere between the first instruction of a heartbeatd and a few rounds of everything.
        let millis = dice.u16(0..400);
        let _ = nix::poll::poll(&mut [], millis);
        eco.kill_daemon();
        if dice.u32(0..4) == 0 {
            // Again, at any moment of taking back.
            eco.start_again();
            let _ = nix::poll::poll(&mut [], dice.u16(0..40));
            eco.kill_daemon();
        }
        for (name, known) in &before {
            assert!(!gone(*known), "round {round} of seed {seed}: {name} was harmed");
        }
        eco.start_again();
        if round % 4 == 0 {
            wait(&eco);
            assert_eq!(of(&eco), before, "round {round} of seed {seed}");
        }
    }
    wait(&eco);
    assert_eq!(of(&eco), before);
    for name in &quiet {
        let realm = eco.realm(name);
        assert_eq!(realm["restarts"]["total"], 0, "{realm:#}");
    }
    let dir = eco.dir.path().to_str().unwrap();
    for (word, copies) in [("sleep\086370", 1), ("sleep\086375", 1), ("sleep\086376", 1), ("sleep\086377", 1)]
    {
        assert_eq!(processes_with(word).len(), copies, "{word:?}");
    }
    for busy in 0..4 {
        let mine = format!("sleep\00.{}", busy + 1);
        let own = processes_with(&mine).into_iter().filter(|pid| {
            let env = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            String::from_utf8_lossy(&env).contains(dir)
        });
        assert!(own.count() <= 1, "two copies of busy{busy}");
    }
    let busy = eco.realm("busy0");
    assert!(busy["restarts"]["total"].as_u64().unwrap() > u64::from(kills), "it went on meanwhile: {busy:#}");
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
    for stopped in before.values() {
        assert!(gone(*stopped), "{stopped} still runs");
    }
    assert!(processes_with("sleep\086376").is_empty(), "what it had forked is gone, too");
}

/// Everything that heartbeatd answers a client of the realm `db`, which asks without a pause until `end` is set.
fn client(
    address: String,
    end: std::sync::Arc<std::sync::atomic::AtomicBool>,
) -> std::thread::JoinHandle<(u32, u32)> {
    use std::io::{Read, Write};
    std::thread::spawn(move || {
        let (mut good, mut bad) = (0, 0);
        while !end.load(std::sync::atomic::Ordering::Relaxed) {
            let asked = std::net::TcpStream::connect(&address).and_then(|mut stream| {
                stream.write_all(
                    b"GET /api/health/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                )?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).map(|_| answer)
            });
            match asked {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => good += 1,
                Ok(_) | Err(_) => bad += 1,
            }
        }
        (good, bad)
    })
}

#[test]
fn leaving_leaves_every_realm_running() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = pids(&eco, &REALMS);
    let left = eco.cli(&["daemon", "leave"]);
    assert_eq!(left.status.code(), Some(0), "{}", told(&left));
    let code = eco.daemon.wait();
    assert_eq!(code, Some(0));
    assert!(before.iter().all(|pid| !gone(*pid)));
    eco.start_again();
    eco.wait_for_boot();
    assert_eq!(pids(&eco, &REALMS), before);
    eco.daemon.signal(Signal::SIGQUIT);
    assert_eq!(eco.daemon.wait(), Some(0), "QUIT says the same");
    assert!(before.iter().all(|pid| !gone(*pid)));
    eco.start_again();
    eco.wait_for_boot();
    assert_eq!(pids(&eco, &REALMS), before);
}

#[test]
fn an_upgrade_under_load_fails_no_request_of_a_client() {
    let mut eco = Instance::start(
        "[realm.crashing]\nrun = [\"sh\", \"-c\", \"exec sleep 0.2\"]\nrestart = { burst = 1000, window = \"1m\", backoff = \"20ms\", backoff_max = \"60ms\", min_gap = \"10ms\" }\n",
    );
    let up = eco.cli(&["wait", "db", "api", "worker", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let before = pids(&eco, &REALMS);
    let daemon = eco.daemon.pid();
    let end = std::sync::Arc::default();
    let port = eco.realm("db")["port"].as_u64().unwrap();
    let clients: Vec<_> =
        (0..4).map(|_| client(format!("127.0.0.1:{port}"), std::sync::Arc::clone(&end))).collect();
    for _ in 0..3 {
        let upgraded = eco.cli(&["daemon", "upgrade"]);
        assert_eq!(upgraded.status.code(), Some(0), "{}", told(&upgraded));
        assert_eq!(pids(&eco, &REALMS), before, "no realm is restarted");
        assert_eq!(eco.daemon.pid(), daemon, "the same process");
        assert!(!eco.get("/api/status/").is_empty(), "the address is served on");
    }
    end.store(true, std::sync::atomic::Ordering::Relaxed);
    for client in clients {
        let (good, bad) = client.join().unwrap();
        assert!(good > 0 && bad == 0, "{good} answered, {bad} not");
    }
    let crashing = eco.realm("crashing");
    assert_ne!(crashing["status"], "failed", "{crashing:#}");
    let zombies = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        stat.contains(&format!(") Z {daemon} "))
    });
    let count = zombies.count();
    assert!(count <= 2, "{count} children were never collected");
    // The realms are its children still: how one ends is known exactly.
    kill(pid(before[2]), Signal::SIGKILL).unwrap();
    eco.daemon
        .read_until("the recovery of worker", |line| line.contains("worker") && line.contains("recovered"));
    assert_eq!(eco.realm("worker")["process"]["last_exit"]["signal"], "KILL");
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
}

#[test]
fn an_upgrade_that_fails_leaves_the_old_one_at_work() {
    use std::os::unix::fs::PermissionsExt;
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = pids(&eco, &REALMS);
    eco.kill_daemon();
    let own = eco.dir.path().join("own-heartbeatd");
    crate::program::copy_binary("heartbeatd", &own);
    eco.start_again_from(&own);
    eco.wait_for_boot();
    let replace = |script: &str| {
        let fresh = own.with_extension("new");
        std::fs::write(&fresh, script).unwrap();
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&fresh, &own).unwrap();
    };
    replace("#!/bin/sh\necho \"cannot read records of the future\"; exit 3\n");
    let refused = eco.cli(&["daemon", "upgrade"]);
    assert_eq!(refused.status.code(), Some(7), "{}", told(&refused));
    assert!(told(&refused).contains("records of the future"), "{}", told(&refused));
    assert_eq!(pids(&eco, &REALMS), before);
    // One that says it can, and cannot be run.
    replace("#!/bin/sh\nrm \"$0\"; echo \"heartbeatd 9.9.9 can go on: 0 records\"; exit 0\n");
    eco.daemon.signal(Signal::SIGUSR2);
    until("the program to be gone", || !own.exists());
    until("the old one to answer again", || eco.cli(&["status", "db"]).status.code() == Some(0));
    assert_eq!(pids(&eco, &REALMS), before);
    kill(pid(before[2]), Signal::SIGKILL).unwrap();
    until("it to be at work", || eco.pid_of("worker") != before[2] && eco.status_of("worker") == "up");
    eco.daemon.signal(Signal::SIGTERM);
    until("everything to be stopped", || before.iter().all(|pid| gone(*pid)));
}

#[test]
fn a_command_before_a_start_is_ended_and_made_anew() {
    let mut eco = Instance::start(
        "[realm.prepared]\nrun = \"sleep 86351\"\nstart = { before = [\"sleep 86350\"], timeout = \"5m\" }\n",
    );
    until("the command", || processes_with("sleep\086350").len() == 1);
    let before = processes_with("sleep\086350");
    eco.kill_daemon();
    assert_eq!(processes_with("sleep\086350"), before, "it outlives heartbeatd");
    eco.start_again();
    until("another one", || {
        let now = processes_with("sleep\086350");
        now.len() == 1 && now != before
    });
    kill(pid(i64::from(processes_with("sleep\086350")[0])), Signal::SIGKILL).unwrap();
    assert!(processes_with("sleep\086351").is_empty(), "nothing is started on a command that failed");
}

#[test]
fn records_of_another_user_are_not_believed() {
    use std::os::unix::fs::PermissionsExt;
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = pids(&eco, &REALMS);
    eco.kill_daemon();
    let records = eco.dir.path().join("run/realms");
    std::fs::set_permissions(&records, std::fs::Permissions::from_mode(0o777)).unwrap();
    let config = eco.dir.path().join("heartbeat.toml");
    let refused = run("heartbeatd", &["--config", config.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("no other user can write to"), "{}", told(&refused));
    std::fs::set_permissions(&records, std::fs::Permissions::from_mode(0o700)).unwrap();
    eco.start_again();
    eco.wait_for_boot();
    assert_eq!(pids(&eco, &REALMS), before);
}

#[test]
fn a_full_runtime_directory_stops_nothing() {
    if !nix::unistd::geteuid().is_root() {
        return crate::servers::lacking("a file system of its own takes root");
    }
    let mount =
        "run=$(dirname \"$3\")/run; mkdir -p $run; mount -t tmpfs -o size=256k tmpfs $run; exec \"$@\"";
    let line = format!("exec unshare --mount sh -c '{mount}' sh \"$@\"");
    let mut eco = Instance::start_under(&line, "");
    // Its file system is seen through its own eyes only.
    let inside = format!("/proc/{}/root{}", eco.daemon.pid(), eco.dir.path().display());
    let cli = |args: &[&str]| {
        let host = format!("unix:{inside}/run/heartbeat.sock");
        let mut all = vec!["-H", &host];
        all.extend_from_slice(args);
        run("heartbeat-cli", &all)
    };
    let up = cli(&["status", "--wait=60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let fill = format!("{inside}/run/fill");
    let mut file = std::fs::File::create(&fill).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 512]).is_ok() {}
    let worker = eco.get("/api/status/worker/");
    let worker: Value = serde_json::from_str(&worker).unwrap();
    let before = worker["realm"]["process"]["pid"].as_i64().unwrap();
    kill(pid(before), Signal::SIGKILL).unwrap();
    eco.daemon
        .read_until("the recovery of worker", |line| line.contains("worker") && line.contains("recovered"));
    // A record that is there needs no more room, so the new process is on record, too.
    let worker: Value = serde_json::from_str(&eco.get("/api/status/worker/")).unwrap();
    let after = worker["realm"]["process"]["pid"].as_i64().unwrap();
    assert_ne!(after, before);
    until("its record", || {
        let record = std::fs::read(format!("{inside}/run/realms/worker")).unwrap();
        String::from_utf8_lossy(&record).contains(&format!("pid={after}\n"))
    });
    // What could not be written leaves no part of a file, which the next heartbeatd would take for damage.
    until("no rest of a file", || {
        let names = std::fs::read_dir(format!("{inside}/run/realms")).unwrap().flatten();
        names.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().ends_with(".new"))
    });
    drop(file);
}

#[test]
fn without_any_directory_of_ours_nothing_is_started_twice() {
    let mut eco = Instance::start("[realm.lonely]\nrun = \"sleep 86393\"\n");
    eco.wait_for_boot();
    let before: Vec<i64> = ["lonely", "db", "api", "worker"].iter().map(|name| eco.pid_of(name)).collect();
    eco.kill_daemon();
    for dir in ["state", "run"] {
        std::fs::remove_dir_all(eco.dir.path().join(dir)).unwrap();
    }
    eco.start_again();
    until("it to answer", || eco.cli(&["status"]).status.code() != Some(5));
    until("that it knows of them", || {
        ["lonely", "db", "api", "worker"].iter().all(|name| eco.status_of(name) == "unknown")
    });
    let lonely = eco.realm("lonely");
    assert_eq!(lonely["reason"], "Unverifiable", "{lonely:#}");
    assert!(lonely["message"].to_string().contains(&before[0].to_string()), "{lonely:#}");
    assert!(eco.get("/api/incidents/").contains("\"root\":\"lonely\""), "somebody is told");
    assert!(before.iter().all(|pid| !gone(*pid)), "no signal, and no second copy");
    // What a person has looked at and ended is started.
    kill(pid(before[0]), Signal::SIGKILL).unwrap();
    until("the next one", || eco.status_of("lonely") == "up");
    for left in &before[1..] {
        kill(pid(*left), Signal::SIGKILL).unwrap();
    }
    eco.daemon.signal(Signal::SIGTERM);
}
