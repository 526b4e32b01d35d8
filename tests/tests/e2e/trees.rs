//! What lives under a realm: real programs that fork, leave their sessions and make daemons of themselves. A stopped
//! realm is an empty tree, with control groups and without.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::program::{processes_with, told};
use crate::shop::Shop;
use crate::supervision::{Instance, pid, ports};
use crate::surviving::{gone, until};

/// A main process, every descendant of it, and every process that carries the name of the realm.
fn tree(shop: &Shop, realm: &str, main: i64) -> BTreeSet<i64> {
    let id = std::fs::read_to_string(shop.dir.path().join("state/id")).unwrap();
    let marks = [format!("HEARTBEAT_REALM={realm}\0"), format!("HEARTBEAT_STATE={}\0", id.trim())];
    let mut found = BTreeSet::from([main]);
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.extend(parent.map(|parent: i64| (number, parent)));
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let environ = String::from_utf8_lossy(&environ);
        if marks.iter().all(|mark| environ.contains(mark)) {
            found.insert(number);
        }
    }
    loop {
        let before = found.len();
        let joining: Vec<i64> =
            parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(number, _)| *number).collect();
        found.extend(joining);
        if found.len() == before {
            return found;
        }
    }
}

fn all_gone(realm: &str, pids: &BTreeSet<i64>) {
    let left: Vec<&i64> = pids.iter().filter(|pid| !gone(**pid)).collect();
    assert!(left.is_empty(), "{realm} has left {left:?} behind");
}

/// nginx as it is out of the box: it makes a daemon of itself.
fn daemonised(root: &str, port: u16) -> String {
    let dir = format!("{root}/daemon");
    format!(
        r#"
[realm.daemon]
run = ["nginx", "-p", "{dir}", "-c", "nginx.conf", "-e", "stderr"]
pidfile = "{dir}/nginx.pid"
health = {{ http = "http://127.0.0.1:{port}/", interval = "1s", timeout = "1s" }}
restart = {{ verify_for = "1s" }}
start = {{ before = ["mkdir -p {dir}/temp", "sh -c 'printf \"daemon on; worker_processes 2; pid nginx.pid; events {{}} http {{ access_log off; client_body_temp_path temp/a; proxy_temp_path temp/b; fastcgi_temp_path temp/c; uwsgi_temp_path temp/d; scgi_temp_path temp/e; server {{ listen 127.0.0.1:{port}; return 200; }} }}\" > {dir}/nginx.conf'"] }}
"#
    )
}

fn programs_that_fork(cgroups: &str) {
    let [port] = ports();
    let Some(shop) = Shop::open_with(cgroups, |root| daemonised(root, port)) else { return };
    shop.wait_for_all();
    let up = shop.cli(&["wait", "daemon", "--for", "up", "--timeout", "30s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    for realm in ["postgres", "api", "backoffice", "front", "daemon"] {
        let main = shop.pid_of(realm);
        let before = tree(&shop, realm, main);
        assert!(before.len() > 1, "{realm} has forked: {before:?}");
        // Alone, its main process leaves orphans that hold its port and its files.
        kill(pid(main), Signal::SIGKILL).unwrap();
        until("its successor", || ![0, main].contains(&shop.pid_of(realm)));
        all_gone(realm, &before);
        shop.wait_for_all();
        let up = shop.cli(&["wait", realm, "--for", "up", "--timeout", "30s"]);
        assert_eq!(up.status.code(), Some(0), "{}", told(&up));
        let now = tree(&shop, realm, shop.pid_of(realm));
        let stopped = shop.cli(&["stop", realm, "--yes"]);
        assert_eq!(stopped.status.code(), Some(0), "{}", told(&stopped));
        all_gone(realm, &now);
        let started = shop.cli(&["start", realm]);
        assert_eq!(started.status.code(), Some(0), "{}", told(&started));
        shop.wait_for_all();
    }
    // The daemon is the main process: not who has made it.
    let daemon = shop.realm("daemon")["process"]["pid"].as_i64().unwrap();
    let written = std::fs::read_to_string(shop.dir.path().join("daemon/nginx.pid")).unwrap();
    assert_eq!(written.trim(), daemon.to_string());
    shop.close();
}

#[test]
fn a_stopped_realm_is_an_empty_tree_whatever_it_is_made_of() {
    programs_that_fork("auto");
}

#[test]
fn a_stopped_realm_is_an_empty_tree_without_control_groups_too() {
    programs_that_fork("off");
}

#[test]
fn a_stop_of_a_hundred_of_which_ten_ignore_term_is_bounded_and_leaves_no_process() {
    let mut realms = "[defaults]\nstop = { timeout = \"2s\" }\n".to_owned();
    for at in 0..100 {
        let script = if at % 10 == 0 {
            "trap \\\"\\\" TERM; while :; do sleep 86397; done"
        } else {
            "sleep 86397 & exec sleep 86396"
        };
        let _ = writeln!(
            realms,
            "[realm.r{at}]\nrun = [\"sh\", \"-c\", \"{script}\"]\nhealth = {{ process = true, interval = \"60s\" }}"
        );
    }
    let mut eco = Instance::start(&realms);
    eco.wait_for_boot();
    let root = eco.dir.path().to_str().unwrap().to_owned();
    assert!(crate::program::processes_around(&root).len() > 190);
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
    let text = eco.daemon.seen.join("\n");
    assert_eq!(eco.daemon.wait(), Some(0), "{text}");
    assert!(!text.contains("did not end all"), "{text}");
    assert!(crate::program::processes_around(&root).is_empty(), "nobody is left");
}

#[test]
fn five_hundred_killed_at_once_are_told_apart_and_come_back() {
    const REALMS: usize = 500;
    let mut realms = String::new();
    for at in 0..REALMS {
        let _ = writeln!(
            realms,
            "[realm.r{at}]\nrun = \"sleep 863{at:03}\"\nhealth = {{ process = true, interval = \"60s\" }}\nstart = {{ settle = \"50ms\" }}\nrestart = {{ verify_for = \"1s\" }}"
        );
    }
    let mut eco = Instance::start(&realms);
    eco.wait_for_boot();
    let all = |eco: &Instance| -> Vec<Value> {
        let document: Value = serde_json::from_slice(&eco.cli(&["status", "--json"]).stdout).unwrap();
        let realms = document["realms"].as_array().unwrap().iter();
        realms.filter(|realm| realm["name"].as_str().unwrap().starts_with('r')).cloned().collect()
    };
    let pid_in = |realm: &Value| realm["process"]["pid"].as_i64().unwrap();
    let before: Vec<i64> = all(&eco).iter().map(pid_in).collect();
    assert_eq!(before.len(), REALMS);
    before.iter().for_each(|victim| kill(pid(*victim), Signal::SIGKILL).unwrap());
    let back = |realm: &Value| realm["status"] == "up" && realm["process"]["generation"] == 2;
    until("all of them to be back", || all(&eco).iter().all(back));
    for realm in all(&eco) {
        assert_eq!(realm["process"]["last_exit"]["signal"], "KILL", "{realm:#}");
        assert_eq!(realm["restarts"]["used"], 1, "{realm:#}");
    }
    let own = eco.daemon.pid();
    let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    let zombies = children.split_whitespace().filter(|child| gone(child.parse().unwrap())).count();
    assert_eq!(zombies, 0);
    assert!(before.iter().all(|victim| gone(*victim)));
    let root = eco.dir.path().to_str().unwrap().to_owned();
    drop(eco);
    assert!(processes_with(&root).is_empty());
}

/// What a hook starts in a session of its own lives as long as the run, and is gone after a start that fails, after a stop
/// and after the end of heartbeatd.
#[test]
fn what_a_hook_leaves_behind_ends_with_the_run() {
    let place = tempfile::tempdir().unwrap();
    let script = place.path().join("leave.sh");
    let text = "setsid sh -c \"touch $1; exec sleep $2\" & until [ -e $1 ]; do sleep 0.02; done\n";
    std::fs::write(&script, text).unwrap();
    let root = place.path().display();
    let hook = |seconds: u32| format!("sh {root}/leave.sh {root}/{seconds} {seconds}");
    let [fails, stopped, running] = [97_401, 97_402, 97_403].map(hook);
    let eco = Instance::start(&format!(
        "[realm.fails]\nrun = \"/no/such/program\"\nstart.before = \"{fails}\"\nrestart.policy = \"never\"\n\
         [realm.stopped]\nrun = \"sleep 97404\"\nstart.after = \"{stopped}\"\n\
         [realm.running]\nrun = \"sleep 97405\"\nstart.after = \"{running}\"\n"
    ));
    let left = |seconds: &str| processes_with(seconds).len();
    let wait = |realm: &str, status: &str| {
        let waited = eco.cli(&["wait", realm, "--for", status, "--timeout", "60s"]);
        assert_eq!(waited.status.code(), Some(0), "{realm} {}", told(&waited));
    };
    wait("stopped", "up");
    wait("running", "up");
    until("the start has failed", || eco.realm("fails")["reason"] == "StartFailed");
    until("nothing of its hook is left", || left("97401") == 0);
    until("what the others need runs", || (left("97402"), left("97403")) == (1, 1));
    assert!(eco.cli(&["stop", "stopped"]).status.success());
    until("nothing of the hook is left", || left("97402") == 0);
    eco.daemon.signal(Signal::SIGTERM);
    assert_eq!(eco.daemon.end().0, Some(0));
    assert_eq!(left("97403"), 0, "nothing is left running");
}
