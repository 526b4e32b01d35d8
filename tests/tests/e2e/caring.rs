//! heartbeatd looks after itself: it restores files that another process removes, reports its own problems, and
//! continues.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::program::{copy_binary, run, told};
use crate::supervision::{Instance, pid};
use crate::surviving::{gone, until};
use crate::telling::receiver;

fn socket(eco: &Instance) -> PathBuf {
    eco.dir.path().join("run/heartbeat.sock")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn notes(eco: &Instance) -> String {
    json(&eco.get("/api/health/"))["notes"].to_string()
}

#[test]
fn a_socket_that_is_removed_is_restored() {
    let eco = Instance::start("");
    eco.cli(&["status", "--wait=60s"]);
    std::fs::remove_file(socket(&eco)).unwrap();
    until("the socket to be back", || UnixStream::connect(socket(&eco)).is_ok());
    assert_eq!(eco.cli(&["status", "db"]).status.code(), Some(0));
    // Everything around it.
    let before = eco.pid_of("worker");
    std::fs::remove_dir_all(eco.dir.path().join("run")).unwrap();
    until("the socket to be back", || UnixStream::connect(socket(&eco)).is_ok());
    until("records to be back", || eco.dir.path().join("run/realms/worker").exists());
    until("the lock to be back", || eco.dir.path().join("run/realms/daemon.lock").exists());
    let mode = std::fs::metadata(eco.dir.path().join("run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o711);
    let restarted = eco.cli(&["restart", "worker", "--no-wait"]);
    assert_eq!(restarted.status.code(), Some(0), "commands are taken again: {}", told(&restarted));
    until("it to run anew", || eco.pid_of("worker") != before && eco.status_of("worker") == "up");
    until("health to be well", || notes(&eco) == "[]");
}

#[test]
fn a_socket_on_which_another_process_answers_is_left_alone() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    std::fs::remove_file(socket(&eco)).unwrap();
    let other = UnixListener::bind(socket(&eco)).unwrap();
    until("it to be told", || notes(&eco).contains("served by"));
    // A client that connects still reaches the other process.
    other.set_nonblocking(true).unwrap();
    let mut mine = UnixStream::connect(socket(&eco)).unwrap();
    mine.write_all(b"mine").unwrap();
    until("the other one to be reached", || {
        other.accept().is_ok_and(|(mut stream, _)| {
            let mut word = [0; 4];
            stream.set_nonblocking(false).unwrap();
            stream.read(&mut word).is_ok_and(|read| &word[..read] == b"mine")
        })
    });
    drop(other);
    until("the socket to be ours again", || eco.cli(&["status", "db"]).status.code() == Some(0));
    until("health to be well", || notes(&eco) == "[]");
}

#[test]
fn what_cannot_be_written_is_told_everywhere_and_the_command_is_carried_out() {
    let (url, posted) = receiver();
    let mut eco = Instance::start(&format!("[notify.ops]\nwebhook = \"{url}\"\n"));
    eco.wait_for_boot();
    let healthy = eco.cli(&["why", "heartbeatd"]);
    assert_eq!(healthy.status.code(), Some(0), "{}", told(&healthy));
    let worker = eco.pid_of("worker");
    // In the way of the intent file.
    let obstacle = eco.dir.path().join("state/intent.new");
    std::fs::create_dir(&obstacle).unwrap();
    let stopped = eco.cli(&["stop", "worker"]);
    assert_eq!(stopped.status.code(), Some(1), "{}", told(&stopped));
    assert!(told(&stopped).contains("was carried out, but it is not on disk"), "{}", told(&stopped));
    assert!(gone(worker), "a stop works all the same");
    let document = eco.cli(&["status", "--json"]);
    let document: Value = json(&String::from_utf8_lossy(&document.stdout));
    assert_eq!((&document["ok"], &document["daemon"]["health"]), (&true.into(), &"unhealthy".into()));
    assert!(document["daemon"]["notes"][0].as_str().unwrap().starts_with("cannot write "), "{document:#}");
    let status = eco.cli(&["status", "-o", "wide"]);
    assert_eq!(status.status.code(), Some(0), "exit codes stay those of the realms: {}", told(&status));
    let shown = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(shown.lines().next().unwrap().contains("; heartbeatd is unhealthy: cannot write "), "{shown}");
    assert!(
        shown.lines().any(|line| line.contains("; heartbeatd ") && line.ends_with(", unhealthy")),
        "{shown}"
    );
    let why = eco.cli(&["why", "heartbeatd"]);
    assert_eq!(why.status.code(), Some(3), "{}", told(&why));
    assert!(told(&why).contains("  you can    make room"), "{}", told(&why));
    // Webhooks are told once it has lasted, and when it is over.
    let about_heartbeatd = |event: &str| loop {
        let (_, document) = posted.recv_timeout(crate::program::PATIENCE).expect("something to be told");
        if document["root"] == "heartbeatd" && document["event"] == event {
            return document;
        }
    };
    let opened = about_heartbeatd("opened");
    assert_eq!(opened["reason"], "OwnProblem", "{opened:#}");
    std::fs::remove_dir(&obstacle).unwrap();
    let resolved = about_heartbeatd("resolved");
    assert_eq!(resolved["id"], opened["id"]);
    // The core and the list of problems each wait until the disk has worked for a while.
    until("it to be well", || eco.cli(&["why", "heartbeatd"]).status.code() == Some(0));
    // What could not be written was written by then.
    eco.kill_daemon();
    eco.start_again();
    eco.wait_for_boot();
    assert_eq!(eco.status_of("worker"), "stopped");
}

#[test]
fn a_damaged_record_is_told_until_its_realm_is_reset_and_never_concerns_liveness() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = eco.pid_of("worker");
    eco.kill_daemon();
    let record = eco.dir.path().join("run/realms/worker");
    let flipped: Vec<u8> = std::fs::read(&record).unwrap().into_iter().map(|byte| byte ^ 1).collect();
    std::fs::write(&record, flipped).unwrap();
    eco.start_again();
    until("it to answer", || eco.cli(&["status"]).status.code() != Some(5));
    until("it to be told", || notes(&eco).contains("is damaged"));
    assert_eq!(eco.get("/livez"), "ok\n");
    assert_eq!(eco.get("/readyz"), "ok\n");
    kill(pid(before), Signal::SIGKILL).unwrap();
    let reset = eco.cli(&["reset", "worker"]);
    assert_eq!(reset.status.code(), Some(0), "{}", told(&reset));
    until("health to be well", || notes(&eco) == "[]");
    until("it to run again", || eco.status_of("worker") == "up");
}

/// Requests of one client, and how many had no answer.
struct Load {
    end: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<(u32, Vec<String>)>>,
}

impl Load {
    fn start(count: usize, ask: impl Fn() -> std::io::Result<String> + Clone + Send + 'static) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let client = || {
            let (end, ask) = (Arc::clone(&end), ask.clone());
            std::thread::spawn(move || {
                let (mut good, mut bad) = (0, Vec::new());
                while !end.load(Ordering::Relaxed) {
                    match ask() {
                        Ok(answer) if answer.starts_with("HTTP/1.1 20") => good += 1,
                        Ok(answer) => bad.push(answer),
                        Err(error) => bad.push(error.to_string()),
                    }
                }
                (good, bad)
            })
        };
        let clients = (0..count).map(|_| client()).collect();
        Self { end, clients }
    }

    /// Requests that were answered; fails when one was not.
    fn stop(self) -> u32 {
        self.end.store(true, Ordering::Relaxed);
        let mut answered = 0;
        for client in self.clients {
            let (good, bad) = client.join().unwrap();
            assert!(bad.is_empty(), "{good} answered, {} lost: {:?}", bad.len(), &bad[..bad.len().min(3)]);
            answered += good;
        }
        answered
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn an_upgrade_loses_no_request_to_heartbeatd_itself() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = eco.pid_of("worker");
    let (listen, path) = (eco.listen.clone(), socket(&eco));
    let reading = Load::start(2, move || {
        let stream = std::net::TcpStream::connect(&listen)?;
        exchange(stream, "GET /api/status/ HTTP/1.0\r\n\r\n")
            .map(|answer| answer.replacen("HTTP/1.0", "HTTP/1.1", 1))
    });
    let operating = Load::start(2, move || {
        let head = "POST /api/realms/worker/start/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
        exchange(UnixStream::connect(&path)?, head)
    });
    for _ in 0..5 {
        let upgraded = eco.cli(&["daemon", "upgrade"]);
        assert_eq!(upgraded.status.code(), Some(0), "{}", told(&upgraded));
    }
    let (read, operated) = (reading.stop(), operating.stop());
    assert!(read > 0 && operated > 0, "{read} {operated}");
    assert_eq!(eco.pid_of("worker"), before);
}

#[test]
fn an_upgrade_accepts_only_a_heartbeatd() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    eco.kill_daemon();
    let own = eco.dir.path().join("own-heartbeatd");
    copy_binary("heartbeatd", &own);
    eco.start_again_from(&own);
    eco.wait_for_boot();
    for script in
        ["#!/bin/sh\nexit 0\n", "#!/bin/sh\necho fine\n", "#!/bin/sh\necho 'can go on: 3 records' >&2\n"]
    {
        let fresh = own.with_extension("new");
        std::fs::write(&fresh, script).unwrap();
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&fresh, &own).unwrap();
        let refused = eco.cli(&["daemon", "upgrade"]);
        assert_eq!(refused.status.code(), Some(7), "{}", told(&refused));
        assert!(told(&refused).contains("does not say that it is a heartbeatd"), "{}", told(&refused));
    }
    // A program that others could have written is not even asked.
    let asked = eco.dir.path().join("asked");
    std::fs::write(&own, format!("#!/bin/sh\ntouch {}\n", asked.display())).unwrap();
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o777)).unwrap();
    let refused = eco.cli(&["daemon", "upgrade"]);
    assert_eq!(refused.status.code(), Some(7), "{}", told(&refused));
    let wanted = ["can be written by every user", &format!("chmod go-w {}", own.display())];
    assert!(wanted.iter().all(|words| told(&refused).contains(*words)), "{}", told(&refused));
    assert!(!asked.exists());
    assert_eq!(eco.status_of("worker"), "up");
}

/// What a client gets until the server closes, or is silent: an event stream does not end.
fn beginning(mut stream: UnixStream, path: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(std::time::Duration::from_millis(500)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut block) = (Vec::new(), [0; 65_536]);
    loop {
        match stream.read(&mut block) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&block[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !answer.is_empty() => break,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Clients wait at the socket before heartbeatd answers. There are so many realms that the recovery takes a while.
#[test]
fn no_answer_after_a_restart_shows_a_dead_realm_as_up() {
    const REALMS: [&str; 3] = ["db", "api", "worker"];
    let more = (0..400).map(|at| format!("[realm.later{at}]\nrun = \"true\"\nmanual = true\n"));
    let mut eco = Instance::start(&more.collect::<String>());
    let wait = ["wait", "db", "api", "worker", "--for", "up", "--timeout", "90s"];
    let up = eco.cli(&wait);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let dead = REALMS.map(|name| eco.pid_of(name));
    eco.kill_daemon();
    for pid_of in dead {
        kill(pid(pid_of), Signal::SIGKILL).unwrap();
    }
    until("the realms to be gone", || dead.iter().all(|pid| gone(*pid)));
    let end = Arc::new(AtomicBool::new(false));
    let names_dead = move |answer: &str| {
        let is_named =
            |pid: &i64| [",", "}", "\n"].iter().any(|next| answer.contains(&format!("\"pid\":{pid}{next}")));
        dead.iter().any(is_named) && answer.contains("\"status\":\"up\"")
    };
    let paths = [
        "/api/status/",
        "/api/status/?gate=1",
        "/api/status/db/",
        "/api/realms/ecosystem-health/",
        "/api/events/?follow=1",
        "/readyz",
    ];
    let asking = paths.map(|path| {
        let (end, socket) = (Arc::clone(&end), socket(&eco));
        std::thread::spawn(move || {
            let mut wrong = Vec::new();
            while !end.load(Ordering::Relaxed) {
                let asked = UnixStream::connect(&socket).and_then(|stream| beginning(stream, path));
                let Ok(answer) = asked else { continue };
                if names_dead(&answer) {
                    wrong.push(format!("{path}: {answer:.2000}"));
                }
            }
            wrong
        })
    });
    let host = format!("unix:{}", socket(&eco).display());
    let waiting = std::thread::spawn(move || {
        let args = ["-H", &host, "wait", "db", "api", "worker", "--for", "up", "--timeout", "90s"];
        loop {
            let waited = run("heartbeat-cli", &args);
            // Until then nobody serves the socket.
            if waited.status.code() != Some(5) {
                return (waited.status.code(), run("heartbeat-cli", &["-H", &host, "status", "--json"]));
            }
        }
    });
    eco.start_again();
    let (code, status) = waiting.join().unwrap();
    end.store(true, Ordering::Relaxed);
    assert_eq!(code, Some(0));
    let document = json(&String::from_utf8_lossy(&status.stdout));
    for realm in document["realms"].as_array().unwrap().iter().filter(|realm| realm["status"] == "up") {
        let pid = realm["process"]["pid"].as_i64().unwrap();
        assert!(!dead.contains(&pid), "`wait` was over before recovery: {realm:#}");
    }
    for asking in asking {
        let wrong = asking.join().unwrap();
        assert!(wrong.is_empty(), "{} wrong answers, the first: {}", wrong.len(), wrong[0]);
    }
}

#[test]
fn directories_of_others_are_refused_and_open_ones_are_tightened() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    eco.kill_daemon();
    let state = eco.dir.path().join("state");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    eco.start_again();
    eco.wait_for_boot();
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    if !nix::unistd::geteuid().is_root() {
        return crate::servers::lacking("only root can give a directory away");
    }
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.wait();
    std::os::unix::fs::chown(&state, Some(65_534), None).unwrap();
    let config = eco.dir.path().join("heartbeat.toml");
    let refused = run("heartbeatd", &["--config", config.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(
        told(&refused).contains("state directory") && told(&refused).contains("65534"),
        "{}",
        told(&refused)
    );
}

#[test]
fn what_cannot_be_written_of_open_incidents_is_written_when_it_can_be() {
    let mut eco = Instance::start(
        "[realm.broken]\nrun = \"false\"\nrestart = { backoff = \"30s\", jitter = \"0%\" }\n",
    );
    let up = eco.cli(&["wait", "worker", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    // The file is removed, and a new one cannot be made: even root cannot replace a directory by a file.
    let (database, fresh) =
        ["state/incidents.db", "state/incidents.db.new"].map(|name| eco.dir.path().join(name)).into();
    std::fs::create_dir(&fresh).unwrap();
    std::fs::write(fresh.join("in-the-way"), "").unwrap();
    std::fs::remove_file(&database).unwrap();
    until("it to be told", || notes(&eco).contains("incidents.db.new"));
    kill(pid(eco.pid_of("worker")), Signal::SIGKILL).unwrap();
    std::fs::remove_dir_all(&fresh).unwrap();
    // Without another incident in between.
    until("the disk to be well", || !notes(&eco).contains("incidents.db.new"));
    until("nothing to be wrong any more", || notes(&eco) == "[]");
    assert_eq!(eco.status_of("broken"), "restarting");
    let open = |eco: &Instance| {
        let list = json(&eco.get("/api/incidents/?open=1"));
        let of = |incident: &&Value| incident["root"] == "broken";
        list["incidents"].as_array().unwrap().iter().find(of).unwrap()["id"].clone()
    };
    let before = open(&eco);
    eco.kill_daemon();
    eco.start_again();
    until("it to answer", || eco.cli(&["status", "db"]).status.code() == Some(0));
    assert_eq!(open(&eco), before);
}
