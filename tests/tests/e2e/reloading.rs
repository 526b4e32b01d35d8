//! A changed configuration takes effect without touching what it does not speak of, or not at all.

use nix::sys::signal::Signal;

use crate::program::{binary, told};
use crate::supervision::{Instance, ports};
use crate::surviving::until;

impl Instance {
    pub(crate) fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let file = self.dir.path().join("heartbeat.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(text)).unwrap();
    }
}

#[test]
fn a_reload_applies_a_diff_and_nothing_untouched_moves() {
    let mut eco = Instance::start(
        "[realm.extra]\nrun = \"sleep 86388\"\n[realm.spare]\nrun = \"sleep 86387\"\nneeds = [\"extra\"]\n",
    );
    eco.wait_for_boot();
    let (db, api, worker, extra) =
        (eco.pid_of("db"), eco.pid_of("api"), eco.pid_of("worker"), eco.pid_of("extra"));
    eco.rewrite(|text| {
        let text = text.replace("sleep 86388", "sleep 86386").replace("sleep 86387", "true #");
        let (before, _) = text.split_once("[realm.spare]").unwrap();
        format!("{before}[realm.fresh]\nrun = \"sleep 86385\"\nneeds = [\"api\"]\n")
            .replace("[realm.worker]", "[realm.worker]\ntitle = \"Worker\"")
    });
    let plan = eco.cli(&["plan", "reload"]);
    let expected = "would change, nothing was done:\n  added      fresh\n  removed    spare\n  restarted  extra (run)\n  in place   worker (title)\n";
    assert_eq!((plan.status.code(), String::from_utf8_lossy(&plan.stdout).as_ref()), (Some(0), expected));
    assert_eq!(eco.pid_of("extra"), extra, "a dry run changes nothing");
    let done = eco.cli(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}", told(&done));
    assert!(
        String::from_utf8_lossy(&done.stdout).starts_with("configuration 2 is in force:"),
        "{}",
        told(&done)
    );
    let up = eco.cli(&["wait", "fresh", "extra", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    assert_eq!((eco.pid_of("db"), eco.pid_of("api"), eco.pid_of("worker")), (db, api, worker));
    assert_ne!(eco.pid_of("extra"), extra, "made of something else");
    assert_eq!(eco.realm("worker")["title"], "Worker");
    let why = loop {
        let why = eco.cli(&["why", "spare"]);
        if why.status.code() != Some(0) {
            break why;
        }
    };
    assert_eq!(why.status.code(), Some(4), "what is gone is not known any more: {}", told(&why));
    let again = eco.cli(&["reload"]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), "nothing changed: configuration 2 stays in force\n");
    // heartbeatd reports each mistake with its place, and changes nothing.
    eco.rewrite(|text| {
        text.replace("sleep 86385", "sleep 86384").replace("[realm.db]", "[realm.db]\nprot = 1")
    });
    let refused = eco.cli(&["reload"]);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("HB101"), "{}", told(&refused));
    assert_eq!(eco.status_of("fresh"), "up");
    eco.rewrite(|text| text.replace("prot = 1", "").replace("name = \"shop\"", "name = \"other\""));
    let refused = eco.cli(&["reload"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("`name`"), "{}", told(&refused));
    // The same by signal.
    eco.rewrite(|text| text.replace("name = \"other\"", "name = \"shop\""));
    eco.daemon.signal(Signal::SIGHUP);
    eco.daemon.read_until("the reload", |line| line.contains("restarted: fresh (run)"));
    let up = eco.cli(&["wait", "fresh", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    assert_eq!((eco.pid_of("db"), eco.pid_of("api"), eco.pid_of("worker")), (db, api, worker));
    eco.daemon.signal(Signal::SIGTERM);
    assert_eq!(eco.daemon.end().0, Some(0));
}

#[test]
fn a_file_that_would_block_is_named_and_blocks_nothing_else() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let pipe = eco.dir.path().join(".env");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refused = eco.cli(&["reload"]);
    let said = format!("{} is a named pipe, and only regular files are read", pipe.display());
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&said), "{}", told(&refused));
    // The signal has no other answer than the log and the status.
    eco.daemon.signal(Signal::SIGHUP);
    let warns = |eco: &Instance| {
        let status = eco.cli(&["status"]);
        let warned = "the configuration on disk cannot be loaded, so the one before stays in force";
        String::from_utf8_lossy(&status.stderr).contains(warned)
    };
    until("the status says so", || warns(&eco));
    let file = eco.dir.path().join("heartbeat.toml");
    let check = crate::program::run("heartbeatd", &["check", "--config", file.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(2), "{}", told(&check));
    std::fs::remove_file(&pipe).unwrap();
    let done = eco.cli(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}", told(&done));
    let registered = eco.cli(&["register", "later", "--tcp", &eco.listen]);
    assert_eq!(registered.status.code(), Some(0), "{}", told(&registered));
    until("the status says no more", || !warns(&eco));
    // What others may write is refused alike, with what to type.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&file, mode).unwrap();
    let refused = eco.cli(&["reload"]);
    let command = format!("chmod go-w {}", file.display());
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&command), "{}", told(&refused));
    eco.daemon.signal(Signal::SIGTERM);
    assert_eq!(eco.daemon.end().0, Some(0));
}

#[test]
fn a_realm_that_is_renamed_waits_for_its_port_and_opens_no_incident() {
    let program = binary("heartbeatd");
    let [port] = ports();
    let mut eco = Instance::start(&format!(
        "[realm.old-door]\nrun = [\"{}\", \"demo-realm\", \"--listen=127.0.0.1:{port}\"]\nport = {port}\n\
         stop.command = \"sleep 2\"\nrestart.verify_for = \"1s\"\n",
        program.display()
    ));
    eco.wait_for_boot();
    let before = eco.get("/api/incidents/");
    eco.rewrite(|text| text.replace("[realm.old-door]", "[realm.new-door]"));
    let done = eco.cli(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}", told(&done));
    let up = eco.cli(&["wait", "new-door", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let events = eco.cli(&["events", "new-door"]);
    let held = format!("port {port} is held");
    for words in [told(&events), eco.get("/api/incidents/")] {
        assert!(!words.contains("WrongProcess") && !words.contains(&held), "{before}\n{words}");
    }
    let why = eco.cli(&["why", "old-door"]);
    assert_eq!(why.status.code(), Some(4), "{}", told(&why));
}
