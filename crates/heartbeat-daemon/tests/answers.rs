//! heartbeatd answers when its recovery is complete, and not before: held between the two, it is asked on both listeners.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in what it shares")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use heartbeat_config::load_str;
use heartbeat_daemon::{Daemon, RealmLogs, Start};
use libtest_mimic::{Arguments, Trial};

/// A client that is held back waits at least this long for an answer that must not come.
const HELD: Duration = Duration::from_millis(500);
/// Longest wait for an answer that must come.
const LONG: Duration = Duration::from_secs(60);

/// Everything that a client asks to learn whether the ecosystem is fine.
const ASKED: [&str; 5] = ["/api/status/", "/api/health/", "/api/status/watched/", "/livez", "/readyz"];

fn main() -> ExitCode {
    // heartbeatd starts copies of its own program, which is this one.
    if std::env::args_os().next().is_some_and(|name| heartbeat_process::is_launcher(&name)) {
        return heartbeat_process::launcher_main(&RealmLogs);
    }
    let test = || {
        no_answer_comes_before_recovery_is_complete();
        Ok(())
    };
    let trial = Trial::test("no_answer_comes_before_recovery_is_complete", test);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}

/// A connection that has sent its request.
trait Asked: Read {
    fn wait(&self, limit: Duration);
}

impl Asked for UnixStream {
    fn wait(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

impl Asked for TcpStream {
    fn wait(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

fn request(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

fn ask(socket: &Path, listen: &str) -> Vec<(String, Box<dyn Asked>)> {
    let mut asked: Vec<(String, Box<dyn Asked>)> = Vec::new();
    for path in ASKED {
        let mut unix = UnixStream::connect(socket).unwrap();
        unix.write_all(request(path, "localhost").as_bytes()).unwrap();
        asked.push((format!("{path} on the socket"), Box::new(unix)));
        let mut tcp = TcpStream::connect(listen).unwrap();
        tcp.write_all(request(path, listen).as_bytes()).unwrap();
        asked.push((format!("{path} over TCP"), Box::new(tcp)));
    }
    asked
}

fn no_answer_comes_before_recovery_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().display();
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = free.to_string();
    let text = format!(
        "[heartbeat]\nlisten = \"{listen}\"\nsocket = \"{base}/hb.sock\"\nstate_dir = \"{base}/state\"\nruntime_dir = \
         \"{base}/run\"\ncgroups = \"off\"\n[realm.watched]\nhealth = \"tcp://127.0.0.1:9\"\n"
    );
    let loaded = load_str("heartbeat.toml", &text, &std::collections::BTreeMap::new()).unwrap();
    let socket = loaded.config.heartbeat.socket.clone();
    let mut held = Vec::new();
    let start = Start::new(loaded.config, Box::new(|_event| {}));
    let daemon = Daemon::start_with(start, || {
        held = ask(&socket, &listen);
        for (what, connection) in &mut held {
            connection.wait(HELD);
            let read = connection.read(&mut [0; 1]);
            let kind = read.as_ref().map_err(std::io::Error::kind);
            assert!(
                matches!(kind, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)),
                "{what}: an answer before recovery is complete: {read:?}"
            );
        }
    });
    let daemon = daemon.unwrap();
    for (what, connection) in &mut held {
        connection.wait(LONG);
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
    }
    daemon.shutdown(false);
    daemon.wait().unwrap();
}
