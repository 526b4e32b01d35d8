//! How a realm is started and stopped, through the real binaries: who is signalled, what it is made of, and its environment.

use std::path::PathBuf;

use crate::program::{PATIENCE, told};
use crate::supervision::Ecosystem;

impl Ecosystem {
    fn log(&self, realm: &str) -> String {
        std::fs::read_to_string(self.path(&format!("state/log/{realm}.log"))).unwrap_or_default()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn ok(&self, args: &[&str]) {
        let output = self.cli(args);
        assert_eq!(output.status.code(), Some(0), "{args:?} {}", told(&output));
    }
}

/// Waits until it holds, bounded by [`PATIENCE`]: looks a hundred times a second.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 10 {
        if holds() {
            return;
        }
        let mut nothing: [nix::poll::PollFd<'_>; 0] = [];
        let _ = nix::poll::poll(&mut nothing, 10u16);
    }
    panic!("waited for {what}");
}

/// A script that finishes its work after TERM: its worker has no trap of its own.
#[test]
fn a_warm_shutdown_keeps_its_workers_unless_the_whole_tree_is_to_be_signalled() {
    let script = "trap 'echo asked; stop=1' TERM; (until [ -e GO ]; do sleep 0.05; done; echo finished) & \
                  echo begun; while [ -z \\\"$stop\\\" ]; do wait $!; rc=$?; done; wait $!; echo rc=$?; echo bye";
    let realms = |dir: &str| {
        let script = script.replace("GO", &format!("{dir}/go"));
        format!(
            "[realm.warm]\nrun = \"{script}\"\nshell = true\nstop.timeout = \"60s\"\n\
             [realm.whole]\nrun = \"{script}\"\nshell = true\nstop = {{ timeout = \"60s\", signal_to = \"tree\" }}\n"
        )
    };
    let go = tempfile::tempdir().unwrap();
    let mut eco = Ecosystem::start(&realms(go.path().to_str().unwrap()));
    eco.wait_for_boot();
    wait_until("both work", || ["warm", "whole"].iter().all(|realm| eco.log(realm).contains("begun")));
    eco.ok(&["stop", "warm", "whole", "--no-wait"]);
    wait_until("both are asked", || ["warm", "whole"].iter().all(|realm| eco.log(realm).contains("asked")));
    wait_until("the worker of the whole tree is gone", || eco.log("whole").contains("bye"));
    assert!(!eco.log("warm").contains("bye"), "{}", eco.log("warm"));
    std::fs::write(go.path().join("go"), "").unwrap();
    eco.ok(&["wait", "warm", "whole", "--for", "stopped", "--timeout", "60s"]);
    assert_eq!(eco.log("warm"), "begun\nasked\nfinished\nrc=0\nbye\n");
    assert!(
        eco.log("whole").contains("rc=143") && !eco.log("whole").contains("finished"),
        "{}",
        eco.log("whole")
    );
}
