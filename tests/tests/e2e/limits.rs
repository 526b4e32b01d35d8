//! What a realm may have, signals, and restarts by a command of its own, in the real program.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::program::{binary, told};
use crate::supervision::{Instance, ports};

fn proc(pid: i64, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}

/// Until the file has these lines, each written by the realm itself.
fn wait_for(file: &Path, wanted: &str) {
    for _ in 0..60_000 {
        if std::fs::read_to_string(file).unwrap_or_default().contains(wanted) {
            return;
        }
        let mut nobody: [nix::poll::PollFd<'_>; 0] = [];
        let _ = nix::poll::poll(&mut nobody, 1u16);
    }
    panic!("waited for {wanted}: {:?}", std::fs::read_to_string(file));
}

#[test]
fn a_realm_gets_its_limits_and_one_that_is_not_enforced_is_flagged() {
    let extra = r#"
[realm.small]
run = "sleep 86391"
no_new_privileges = true
[realm.small.limits]
nofile = 100
core = "0B"
nice = 5
oom_score = 200
tasks = 50
"#;
    let mut eco = Instance::start(extra);
    eco.wait_for_boot();
    let pid = eco.pid_of("small");
    let limits = proc(pid, "limits");
    let row = |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("Max open files").contains("100                  100"), "{limits}");
    assert!(row("Max core file size").contains("0                    0"), "{limits}");
    assert_eq!(proc(pid, "oom_score_adj").trim(), "200");
    assert!(proc(pid, "status").contains("NoNewPrivs:\t1"));
    // Field 19 of proc(5), the 17th behind the name.
    assert_eq!(proc(pid, "stat").rsplit_once(") ").unwrap().1.split(' ').nth(16), Some("5"));
    // Either the kernel bounds the tree, or heartbeatd shows that the limit is not enforced.
    let group = proc(pid, "cgroup").lines().any(|line| line.contains("pids:") && line.contains("small."));
    let kept = proc(pid, "cgroup").lines().filter_map(|line| line.strip_prefix("0::")).any(|leaf| {
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].iter().any(|root| {
            std::fs::read_to_string(format!("{root}{leaf}/pids.max")).is_ok_and(|max| max.trim() == "50")
        })
    });
    let flags = eco.realm("small")["flags"].to_string();
    assert_eq!(kept || group, !flags.contains("unbounded"), "{flags}");
    // Other limits are another process.
    let file = eco.dir.path().join("heartbeat.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("nofile = 100", "nofile = 200");
    std::fs::write(&file, text).unwrap();
    let reload = eco.cli(&["reload"]);
    assert!(told(&reload).contains("small (limits.nofile)"), "{}", told(&reload));
    let up = eco.cli(&["wait", "small", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    assert_ne!(eco.pid_of("small"), pid);
}

#[test]
fn a_limit_that_cannot_be_given_is_a_failed_start_with_both_numbers() {
    let most: u64 = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
    let extra = format!("[realm.greedy]\nrun = \"sleep 86390\"\nlimits.nofile = {}\n", most + 1);
    let eco = Instance::start(&format!("{extra}restart = {{ burst = 1, when_spent = \"fail\" }}\n"));
    let wait = eco.cli(&["status", "greedy", "--wait=60s"]);
    assert_eq!(wait.status.code(), Some(3), "{}", told(&wait));
    let message = eco.realm("greedy")["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&format!("nofile {}", most + 1)), "{message}");
    eco.daemon.signal(Signal::SIGTERM);
}

#[test]
fn a_signal_is_sent_and_a_realm_that_does_not_run_refuses_it() {
    let out = tempfile::NamedTempFile::new().unwrap();
    let extra = format!(
        "[realm.listener]\nshell = true\nrun = \"\"\"trap 'echo told >> {out}' HUP; echo up >> {out}; while :; do sleep 0.05; done\"\"\"\n\
         [realm.resting]\nrun = \"sleep 86389\"\nmanual = true\n",
        out = out.path().display()
    );
    let mut eco = Instance::start(&extra);
    eco.wait_for_boot();
    wait_for(out.path(), "up");
    let pid = eco.pid_of("listener");
    let sent = eco.cli(&["signal", "HUP", "listener"]);
    assert_eq!(
        (sent.status.code(), told(&sent).contains("sent HUP to listener")),
        (Some(0), true),
        "{}",
        told(&sent)
    );
    wait_for(out.path(), "told");
    assert_eq!(eco.pid_of("listener"), pid);
    let refused = eco.cli(&["signal", "HUP", "resting"]);
    assert_ne!(refused.status.code(), Some(0));
    assert!(told(&refused).contains("resting has no process"), "{}", told(&refused));
    // A pattern leaves out what has no process; a name among others refuses the whole.
    let all = eco.cli(&["signal", "HUP", "all"]);
    assert_eq!(all.status.code(), Some(0), "{}", told(&all));
    assert!(told(&all).contains("left out: resting (resting has no process"), "{}", told(&all));
    assert!(told(&all).contains("sent HUP to listener"), "{}", told(&all));
    let both = eco.cli(&["signal", "HUP", "listener", "resting"]);
    assert_eq!(both.status.code(), Some(7), "{}", told(&both));
    assert!(!told(&both).contains("sent HUP to"), "{}", told(&both));
    let unknown = eco.cli(&["signal", "HOP", "listener"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", told(&unknown));
    assert!(told(&unknown).contains("unknown signal `HOP`; did you mean HUP?"), "{}", told(&unknown));
}

#[test]
fn a_restart_command_restarts_in_place_and_heals_what_is_external() {
    let dir = tempfile::tempdir().unwrap();
    let (flag, out) = (dir.path().join("well"), dir.path().join("out"));
    std::fs::write(&flag, "").unwrap();
    let extra = format!(
        r#"
[realm.inplace]
run = "sleep 86388"
restart.command = "sh -c 'echo again >> {out}'"
restart.verify_for = "100ms"

[realm.broken]
run = "sleep 86387"
restart.command = "sh -c 'exit 3'"
restart.verify_for = "100ms"

[realm.far]
env = {{ FLAG = "{flag}" }}
start.timeout = "5s"
[realm.far.health]
exec = "sh -c 'test -e {flag} || exit 2'"
interval = "1s"
timeout = "1s"
pass_after = 1
[realm.far.restart]
command = "sh -c 'echo healed >> {out}; touch $FLAG'"
verify_for = "100ms"
"#,
        out = out.display(),
        flag = flag.display()
    );
    let mut eco = Instance::start(&extra);
    eco.wait_for_boot();
    let pids = [eco.pid_of("inplace"), eco.pid_of("broken")];
    let restart = eco.cli(&["restart", "inplace"]);
    assert_eq!(restart.status.code(), Some(0), "{}", told(&restart));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "again\n");
    assert_eq!(eco.pid_of("inplace"), pids[0], "the same process");
    // What its command cannot do is done by a stop and a start, and its failure is named.
    let restart = eco.cli(&["restart", "broken"]);
    assert_eq!(restart.status.code(), Some(0), "{}", told(&restart));
    assert_ne!(eco.pid_of("broken"), pids[1]);
    let events = told(&eco.cli(&["events", "broken"]));
    assert!(events.contains("its own restart command failed: exit code 3"), "{events}");
    // An external realm turns unhealthy, and its command heals it.
    std::fs::remove_file(&flag).unwrap();
    eco.daemon.read_until("its recovery", |line| line.contains("far") && line.contains("recovered"));
    assert!(std::fs::read_to_string(&out).unwrap().contains("healed"));
    assert_eq!(eco.status_of("far"), "up");
    assert_eq!(eco.realm("far")["restart"]["cause"], "unhealthy");
}

/// The kernel enforces the limit where it counts memory; elsewhere heartbeatd samples it. The realm sees no difference.
#[test]
fn a_tree_that_uses_too_much_memory_is_restarted_and_that_is_why() {
    let flag = tempfile::NamedTempFile::new().unwrap();
    let path = flag.path().display().to_string();
    // The first time a grandchild holds on to 150 MB without a line in them; after that there is nothing to do.
    let run = format!(
        "if [ -e {path} ]; then rm {path}; (head -c 150000000 /dev/zero; exec sleep 86386) | tail; else exec sleep 86385; fi"
    );
    let extra = format!("[realm.hungry]\nshell = true\nrun = \"{run}\"\nlimits.memory = \"64MiB\"\n");
    let mut eco = Instance::start(&extra);
    eco.wait_for_boot();
    eco.daemon.read_until("its recovery", |line| line.contains("hungry") && line.contains("recovered"));
    let realm = eco.realm("hungry");
    assert_eq!(realm["restart"]["cause"], "out_of_memory", "{realm:#}");
    assert!(realm["restart"]["detail"].as_str().unwrap().contains("limit 64 MiB"), "{realm:#}");
    assert_eq!(realm["restarts"]["used"], 1, "{realm:#}");
    let incidents = told(&eco.cli(&["incidents"]));
    assert!(
        incidents.contains("OutOfMemory")
            || incidents.contains("out of memory")
            || incidents.contains("want of memory"),
        "{incidents}"
    );
    drop(flag.into_temp_path().keep());
}

#[test]
fn a_realm_and_its_hooks_have_their_own_environment_and_nothing_of_heartbeatd() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let [port] = ports();
    let program = binary("heartbeatd");
    let extra = format!(
        r#"
[realm.told]
run = ["sh", "-c", 'env > {run}; exec "$0" demo-realm --listen=127.0.0.1:{port}', "{program}"]
port = {port}
env = {{ OWN = "1" }}
start.before = "sh -c 'env > {before}'"
start.after = "sh -c 'env > {after}'"
"#,
        run = file("run").display(),
        before = file("before").display(),
        after = file("after").display(),
        program = program.display(),
    );
    let ours = "NOTIFY_SOCKET=/nonexistent/n LISTEN_FDS=0 JOURNAL_STREAM=1:2 INVOCATION_ID=abc HEARTBEAT_X=1 KEPT=1 exec \"$@\"";
    let mut eco = Instance::start_under(ours, &extra);
    eco.wait_for_boot();
    for name in ["run", "before", "after"] {
        let text = std::fs::read_to_string(file(name)).unwrap();
        let has = |entry: &str| text.lines().any(|line| line == entry);
        let socket = format!("HEARTBEAT_SOCKET={}/run/heartbeat.sock", eco.dir.path().display());
        for entry in ["KEPT=1", "OWN=1", "HEARTBEAT_REALM=told", &format!("PORT={port}"), &socket] {
            assert!(has(entry), "{name} has no {entry}: {text}");
        }
        for gone in
            ["LISTEN_FDS=", "JOURNAL_STREAM=", "INVOCATION_ID=", "HEARTBEAT_X=", "NOTIFY_SOCKET=/nonexistent"]
        {
            assert!(!text.lines().any(|line| line.starts_with(gone)), "{name} has {gone}: {text}");
        }
    }
}
