//! The first hour: what a newcomer types, what the programs print, and that both agree.

use std::path::Path;

use serde_json::Value;

use crate::program::{Running, binary, run, run_program, told};
use crate::servers::lacking;
use crate::supervision::{Instance, pid, ports};

/// What the page promises, with fivefold slack for a busy machine.
const TWO_MINUTES_S: f64 = 120.0 * 5.0;

/// A fenced block of a page: its language, the file that the line before names, and its text.
struct Block<'a> {
    language: &'a str,
    file: Option<&'a str>,
    text: &'a str,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut parts = page.split("```");
    let mut before = parts.next().unwrap_or_default();
    let mut blocks = Vec::new();
    while let (Some(block), after) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').unwrap();
        let named = before.trim_end().lines().next_back().unwrap_or_default();
        let file = named.strip_suffix("`:").and_then(|line| line.rsplit('`').next());
        blocks.push(Block { language, file, text });
        before = after.unwrap_or_default();
    }
    blocks
}

/// A shell in a directory, in which the programs are found and state stays beside the configuration.
fn shell(dir: &Path, listen: u16, line: &str) -> String {
    let programs = binary("heartbeatd").parent().unwrap().display().to_string();
    let dir = dir.display();
    format!(
        "cd {dir} && export PATH={programs}:$PATH HEARTBEAT__HEARTBEAT__LISTEN=127.0.0.1:{listen} \
         HEARTBEAT__HEARTBEAT__STATE_DIR={dir}/state HEARTBEAT__HEARTBEAT__SOCKET={dir}/run/heartbeat.sock\n{line}"
    )
}

#[test]
fn a_newcomer_moves_from_three_tools() {
    if !Path::new("/usr/bin/python3").exists() {
        return lacking("Python 3 is not installed");
    }
    let page = heartbeat_tests::workspace_root().join("docs/how-to/move-in-two-minutes.md");
    let mut page = std::fs::read_to_string(page).unwrap();
    let [api, web, mailer, listen] = ports();
    for (written, free) in [("8201", api), ("8202", web), ("8203", mailer)] {
        page = page.replace(written, &free.to_string());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = None;
    let mut typed = 0;
    for block in blocks(&page) {
        if let Some(file) = block.file {
            std::fs::write(dir.path().join(file), block.text).unwrap();
            continue;
        }
        assert_eq!(block.language, "sh", "{}", block.text);
        for line in block.text.lines() {
            typed += 1;
            if line == "heartbeatd" {
                let script = shell(dir.path(), listen, "exec heartbeatd");
                let mut running = Running::start_program(Path::new("/bin/sh"), &["-c", &script], &[]);
                running.read_until("how to see the status", |line| line.contains("heartbeat-cli"));
                daemon = Some(running);
                continue;
            }
            let output = run_program(Path::new("/bin/sh"), &["-c", &shell(dir.path(), listen, line)]);
            assert_eq!(output.status.code(), Some(0), "{line}\n{}", told(&output));
            if line.starts_with("heartbeat-cli import") {
                let report = String::from_utf8_lossy(&output.stderr);
                for said in ["4 realms", "worker: ", "mailer: ", "PORT is 5000", "next: heartbeat-cli check"]
                {
                    assert!(report.contains(said), "{said}: {report}");
                }
            }
        }
    }
    assert!(typed > 9 && daemon.is_some(), "{typed} lines");
    let line = "heartbeat-cli status --json";
    let status = run_program(Path::new("/bin/sh"), &["-c", &shell(dir.path(), listen, line)]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(status["daemon"]["uptime_s"].as_f64().unwrap() < TWO_MINUTES_S, "{status:#}");
}

#[test]
fn boot_agrees_with_the_event_log() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let boot = eco.cli(&["boot", "--json"]);
    assert_eq!(boot.status.code(), Some(0), "{}", told(&boot));
    let boot: Value = serde_json::from_slice(&boot.stdout).unwrap();
    let millis = |time: &Value| {
        let time: heartbeat_status::WallTime = time.as_str().unwrap().parse().unwrap();
        time.as_millis()
    };
    let began = millis(&boot["started_at"]);
    let events = String::from_utf8(eco.cli(&["events", "-n", "2000", "--json"]).stdout).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for realm in boot["realms"].as_array().unwrap() {
        let of_it = |event: &&Value| event["realm"] == realm["realm"];
        let first = |wanted: &dyn Fn(&Value) -> bool| {
            let event = events.iter().filter(of_it).find(|event| wanted(event));
            event.map(|event| millis(&event["at"]) - began).unwrap_or_else(|| panic!("{realm}: {events:#?}"))
        };
        let started = first(&|event| event["what"] == "Started");
        let ready = first(&|event| {
            event["what"] == "StatusChanged" && event["detail"].as_str().unwrap().contains("-> up")
        });
        let seconds = |key: &str| (realm[key].as_f64().unwrap() * 1_000.0).round();
        #[expect(clippy::cast_precision_loss, reason = "a start takes less than 2^53 ms")]
        let expected = (started as f64, ready as f64, (ready - started) as f64);
        assert_eq!((seconds("started_s"), seconds("ready_s"), seconds("took_s")), expected, "{realm}");
    }
    let chain = eco.cli(&["boot", "--chain", "--ascii", "-o", "table"]);
    let text = String::from_utf8_lossy(&chain.stdout).into_owned();
    let names: Vec<&str> = text
        .lines()
        .skip(1)
        .map(|line| line.trim_start_matches([' ', '`', '-']).split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["worker", "api", "db"], "{text}");
    let blame = eco.cli(&["boot", "--blame"]);
    assert!(["db", "api", "worker"].iter().all(|name| told(&blame).contains(name)), "{}", told(&blame));
}

#[test]
fn exit_codes_are_the_same_in_every_format() {
    let eco = Instance::start("[realm.broken]\nrun = \"false\"\nrestart.policy = \"never\"\n");
    let failed = eco.cli(&["status", "--wait=60s"]);
    assert_eq!(failed.status.code(), Some(3), "{}", told(&failed));
    let up = eco.cli(&["wait", "db", "worker", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    for (args, code) in [
        (&["status"][..], 3),
        (&["status", "db"], 0),
        (&["is", "up", "broken"], 1),
        (&["why", "broken"], 3),
        (&["show", "nothing"], 4),
        (&["stop", "db"], 7),
        (&["incidents"], 0),
    ] {
        for format in ["table", "wide", "plain", "json", "ndjson", "name"] {
            let output = eco.cli(&[args, &["-o", format]].concat());
            assert_eq!(output.status.code(), Some(code), "{args:?} -o {format}: {}", told(&output));
        }
    }
}

#[test]
fn every_command_with_json_prints_json_alone() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    for args in [
        &["status"][..],
        &["why", "api"],
        &["show", "api"],
        &["incidents"],
        &["graph"],
        &["plan", "fail", "db"],
        &["plan", "restart", "db", "--cascade"],
        &["is", "up", "db"],
        &["wait", "db"],
        &["history", "db"],
        &["boot"],
        &["doctor"],
        &["nagios"],
        &["version"],
        &["reload", "--dry-run"],
        &["restart", "worker"],
        &["logs", "db"],
        &["events"],
    ] {
        let output = eco.cli(&[args, &["--json"]].concat());
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        // A stream has a document per line; everything else is one document.
        let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
        let is_stream = args[0] == "events";
        let good = if is_stream { text.lines().all(is_json) } else { is_json(&text) };
        assert!(good, "{args:?} {}", told(&output));
    }
}

#[test]
fn completions_have_the_names_of_realms() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let socket = format!("unix:{}/run/heartbeat.sock", eco.dir.path().display());
    let program = binary("heartbeat-cli");
    let script = format!(
        "COMPLETE=bash _CLAP_COMPLETE_INDEX=2 _CLAP_COMPLETE_COMP_TYPE=9 _CLAP_COMPLETE_SPACE=true _CLAP_IFS=' ' \
         HEARTBEAT_SOCKET={socket} exec {} -- heartbeat-cli why ''",
        program.display()
    );
    let output = run_program(Path::new("/bin/sh"), &["-c", &script]);
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in ["db", "api", "worker", "all"] {
        assert!(names.split_whitespace().any(|word| word == name), "{name}: {}", told(&output));
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = run("heartbeat-cli", &["completion", shell]);
        assert!(script.status.success() && !script.stdout.is_empty(), "{shell}: {}", told(&script));
    }
}

#[test]
fn nothing_connects_to_anywhere_but_this_machine() {
    if !Path::new("/usr/bin/strace").exists() {
        return lacking("strace is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let state = dir.path().join("demo");
    let program = binary("heartbeatd");
    let args = [
        "-f",
        "-e",
        "trace=connect,sendto",
        "-o",
        trace.to_str().unwrap(),
        program.to_str().unwrap(),
        "demo",
        "--calm",
        "--dir",
        state.to_str().unwrap(),
    ];
    let mut demo = Running::start_program(Path::new("/usr/bin/strace"), &args, &[]);
    demo.read_until("the last realm to be up", |line| line.contains(" web ") && line.contains(" up "));
    // strace ends with what it traces.
    let strace = demo.pid();
    let children = std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
    let traced = children.split_whitespace().next().unwrap().parse().unwrap();
    nix::sys::signal::kill(pid(traced), nix::sys::signal::Signal::SIGTERM).unwrap();
    demo.wait();
    let trace = std::fs::read_to_string(&trace).unwrap();
    let addressed: Vec<&str> = trace.lines().filter(|line| line.contains("sa_family=AF_INET")).collect();
    assert!(!addressed.is_empty(), "probes were seen: {trace}");
    let outside: Vec<&&str> =
        addressed.iter().filter(|line| !line.contains("127.0.0.1") && !line.contains("\"::1\"")).collect();
    assert!(outside.is_empty(), "{outside:#?}");
}
