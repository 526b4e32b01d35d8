//! Commands that span more than one realm, or more than one heartbeatd.

use std::os::unix::fs::PermissionsExt;

use crate::program::{run, told};
use crate::supervision::Instance;
use crate::surviving::until;

/// The CLI in a thread of its own.
fn beside(eco: &Instance, args: &'static [&str]) -> std::thread::JoinHandle<std::process::Output> {
    let host = format!("unix:{}/run/heartbeat.sock", eco.dir.path().display());
    std::thread::spawn(move || run("heartbeat-cli", &[&["-H", host.as_str()], args].concat()))
}

fn generation(eco: &Instance, realm: &str) -> u64 {
    eco.realm(realm)["process"]["generation"].as_u64().unwrap()
}

#[test]
fn a_restart_that_an_upgrade_interrupts_ends_with_its_true_result() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = eco.pid_of("worker");
    let first = generation(&eco, "worker");
    // It is verified for five seconds, which an upgrade interrupts.
    let restart = beside(&eco, &["restart", "worker"]);
    until("the new process of worker", || {
        let pid = eco.realm("worker")["process"]["pid"].as_i64();
        pid.is_some_and(|pid| pid != before)
    });
    let upgraded = eco.cli(&["daemon", "upgrade"]);
    assert_eq!(upgraded.status.code(), Some(0), "{}", told(&upgraded));
    let done = restart.join().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", told(&done));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(text.contains("restart worker: verified"), "{text}");
    assert_eq!(generation(&eco, "worker"), first + 1, "the command was not repeated");
}

#[test]
fn a_stop_that_an_upgrade_interrupts_ends_with_its_true_result() {
    let mut eco = Instance::start(
        "[realm.deaf]\nrun = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 0.1; done\"]\nstop = { timeout = \"4s\" }\n",
    );
    eco.wait_for_boot();
    let stop = beside(&eco, &["stop", "deaf"]);
    until("deaf is being stopped", || eco.realm("deaf")["status"] == "stopping");
    let upgraded = eco.cli(&["daemon", "upgrade"]);
    assert_eq!(upgraded.status.code(), Some(0), "{}", told(&upgraded));
    let done = stop.join().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", told(&done));
    assert_eq!(eco.realm("deaf")["status"], "stopped");
}

#[test]
fn a_restart_of_all_restarts_each_realm_once_and_leaves_external_realms_out() {
    let mut eco = Instance::start("[realm.mail]\nhealth = \"tcp://127.0.0.1:9\"\ncritical = false\n");
    eco.wait_for_boot();
    let realms = ["db", "api", "worker"];
    let before = realms.map(|realm| generation(&eco, realm));
    let done = eco.cli(&["restart", "all", "--cascade", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", told(&done));
    let after = realms.map(|realm| generation(&eco, realm));
    assert_eq!(after, before.map(|generation| generation + 1), "{}", told(&done));
    assert!(!String::from_utf8_lossy(&done.stdout).contains("mail"), "{}", told(&done));
    // Named, it is refused with the reason.
    let refused = eco.cli(&["restart", "mail"]);
    assert_eq!(refused.status.code(), Some(7), "{}", told(&refused));
}

#[test]
fn a_reload_shows_the_warnings_of_check() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let file = eco.dir.path().join("heartbeat.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("sleep 86399", "no-such-program-here 1")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let check = eco.cli(&["check", &file]);
    assert!(told(&check).contains("no-such-program-here"), "{}", told(&check));
    for args in [&["plan", "reload"][..], &["reload", "--dry-run"], &["reload"]] {
        let output = eco.cli(args);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            warnings.contains("warning: ") && warnings.contains("no-such-program-here"),
            "{args:?}: {warnings}"
        );
    }
}

#[test]
fn heartbeatd_begins_with_what_it_supervises_and_how_to_see_it() {
    let mut eco = Instance::start("");
    let file = eco.dir.path().join("heartbeat.toml");
    let socket = eco.dir.path().join("run/heartbeat.sock");
    let first = eco.daemon.read_until("the first line", |_| true);
    let second = eco.daemon.read_until("the second line", |_| true);
    assert!(first.ends_with(&format!("supervises 3 realms of {}", file.display())), "{first}");
    let command = format!("heartbeat-cli -H unix:{} status", socket.display());
    assert!(second.contains(&command) && second.contains(&format!("http://{}/", eco.listen)), "{second}");
    eco.wait_for_boot();
}

#[test]
fn heartbeatd_never_listens_without_its_token() {
    let token = tempfile::NamedTempFile::new().unwrap();
    let path = token.path().to_str().unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    std::fs::write(path, secret).unwrap();
    let extra = format!("[heartbeat]\ntoken_file = \"{path}\"\n");
    let add = |eco: &str| eco.replacen("[heartbeat]\n", &extra, 1);
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let file = eco.dir.path().join("heartbeat.toml");
    std::fs::write(&file, add(&std::fs::read_to_string(&file).unwrap())).unwrap();
    let refused = eco.cli(&["reload"]);
    assert!(told(&refused).contains("token_file"), "it needs a new start: {}", told(&refused));
    eco.daemon.signal(nix::sys::signal::Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let config = file.to_str().unwrap();
    let open = run("heartbeatd", &["--config", config]);
    assert_eq!(open.status.code(), Some(1), "{}", told(&open));
    assert!(told(&open).contains("chmod 600") && !told(&open).contains(secret), "{}", told(&open));
}

#[test]
fn a_restart_goes_on_without_a_dependent_that_another_operator_stops() {
    let gate = tempfile::NamedTempFile::new().unwrap();
    let mut eco = Instance::start(&format!(
        "[realm.base]\nrun = \"sleep 86371\"\nrestart.verify_for = \"1s\"\n\
         start.before = \"sh -c 'until test -e {}; do sleep 0.1; done'\"\n\
         [realm.over]\nrun = \"sleep 86372\"\nneeds = [\"base\"]\nrestart.verify_for = \"1s\"\n",
        gate.path().display()
    ));
    eco.wait_for_boot();
    // Until the file is back, base is on its way.
    let path = gate.path().to_owned();
    drop(gate);
    let restart = beside(&eco, &["restart", "base", "--cascade", "--timeout", "300s"]);
    until("over to wait for base", || eco.realm("over")["phase"] == "waiting");
    let stopped = eco.cli(&["stop", "over", "--reason", "a new version"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", told(&stopped));
    std::fs::write(&path, "").unwrap();
    let done = restart.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = told(&done);
    assert_eq!(done.status.code(), Some(0), "{text}");
    assert!(
        text.contains("restart base: verified (over was taken out of this command: stopped by"),
        "{text}"
    );
    assert!(text.contains("a new version)") && text.contains("heartbeat-cli why over"), "{text}");
    assert_eq!((eco.status_of("base"), eco.status_of("over")), ("up".to_owned(), "stopped".to_owned()));
}
