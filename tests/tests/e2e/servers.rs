//! heartbeatd with real servers: Redis and PostgreSQL, watched in their own protocols and run as their own users.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown};
use serde_json::Value;

use crate::program::{Running, run, told};
use crate::supervision::ports;

/// The newest PostgreSQL that is installed, and the user it runs as.
pub(crate) fn postgres() -> Option<(PathBuf, User)> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let newest =
        versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("postgres").exists()).max();
    Some((newest?, User::from_name("postgres").ok()??))
}

/// A test of a real server that the machine lacks is skipped, with the reason; where everything is installed, it fails.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
pub(crate) fn lacking(what: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{what}: .ci/run installs it");
    eprintln!("skipped: {what}");
}

#[test]
fn redis_and_postgres_are_run_watched_and_brought_back() {
    let Some((bin, owner)) = postgres() else { return lacking("PostgreSQL is not installed") };
    if !std::path::Path::new("/usr/bin/redis-server").exists() {
        return lacking("Redis is not installed");
    }
    if !nix::unistd::geteuid().is_root() {
        return lacking("only root can run PostgreSQL as another user");
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    // The realm's user has to reach its own directory below.
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
    let data = dir.path().join("pg");
    std::fs::create_dir(&data).unwrap();
    chown(&data, Some(owner.uid), Some(owner.gid)).unwrap();
    let [redis, sql] = ports();
    let (bin, data) = (bin.display(), data.display());
    let text = format!(
        r#"
[heartbeat]
name = "servers"
listen = "off"
socket = "{root}/run/heartbeat.sock"
state_dir = "{root}/state"
runtime_dir = "{root}/run"

[defaults]
restart = {{ verify_for = "1s" }}

[realm.redis]
run = ["redis-server", "--port", "{redis}", "--bind", "127.0.0.1", "--save", "", "--dir", "{root}"]
port = {redis}
health = {{ redis = "redis://127.0.0.1:{redis}", interval = "1s", timeout = "1s" }}

[realm.postgres]
run = ["{bin}/postgres", "-D", "{data}/main", "-p", "{sql}", "-k", "{data}", "-h", "127.0.0.1"]
user = "postgres"
port = {sql}
health = {{ postgres = "postgres://127.0.0.1:{sql}", interval = "1s", timeout = "1s" }}
start = {{ before = ["sh -c 'test -e {data}/main/PG_VERSION || {bin}/initdb -D {data}/main --auth=trust'"] }}
stop = {{ signal = "INT" }}

[realm.worker]
run = "sleep 86398"
needs = ["redis", "postgres"]
"#
    );
    let file = dir.path().join("heartbeat.toml");
    std::fs::write(&file, text).unwrap();
    let mut daemon = Running::start("heartbeatd", &["--config", file.to_str().unwrap()]);
    let host = format!("unix:{root}/run/heartbeat.sock");
    let cli = |args: &[&str]| run("heartbeat-cli", &[&["-H", host.as_str()], args].concat());
    let up = cli(&["status", "--wait=80s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let realm = |name: &str| {
        let output = cli(&["status", "--json"]);
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
        document["realms"].as_array().unwrap().iter().find(|realm| realm["name"] == name).unwrap().clone()
    };
    let pid_of = |name: &str| realm(name)["process"]["pid"].as_i64().unwrap();
    let (sql_pid, redis_pid, worker_pid) = (pid_of("postgres"), pid_of("redis"), pid_of("worker"));
    let detail = |name: &str| realm(name)["probes"][0]["detail"].as_str().unwrap_or_default().to_owned();
    assert_eq!((detail("redis").as_str(), detail("postgres").as_str()), ("PONG", "ready"));

    // A killed PostgreSQL leaves children with sessions of their own; the next one starts on an empty tree.
    kill(Pid::from_raw(i32::try_from(sql_pid).unwrap()), Signal::SIGKILL).unwrap();
    daemon.read_until("postgres to recover", |line| line.contains("postgres") && line.contains("recovered"));
    // A halted one is found out by what it does not answer, and replaced.
    kill(Pid::from_raw(i32::try_from(redis_pid).unwrap()), Signal::SIGSTOP).unwrap();
    daemon.read_until("redis to recover", |line| line.contains("redis") && line.contains("recovered"));
    let up = cli(&["wait", "redis", "postgres", "worker", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    assert_ne!(pid_of("postgres"), sql_pid);
    assert_ne!(pid_of("redis"), redis_pid);
    assert_eq!(pid_of("worker"), worker_pid, "somebody else's fault restarts nobody");
    daemon.signal(Signal::SIGTERM);
    let (code, errors) = daemon.end();
    assert_eq!(code, Some(0), "{errors}");
    assert!(crate::program::processes_with(root).is_empty(), "nothing is left");
}
