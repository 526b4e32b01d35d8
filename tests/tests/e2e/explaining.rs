//! What heartbeatd has recorded of a probe that fails.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};

use crate::program::{binary, told};
use crate::supervision::{Instance, pid, ports};
use crate::surviving::until;

/// 503 with `Retry-After` while a realm starts: `status` and `why` say that it is starting up, in its own words, and
/// heartbeatd leaves it alone until it is up.
#[test]
fn a_service_that_asks_for_time_while_it_starts_is_starting_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let is_ready = Arc::new(AtomicBool::new(false));
    let ready = Arc::clone(&is_ready);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let answer = match ready.load(Ordering::SeqCst) {
                true => "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
                false => {
                    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: text/plain\r\nContent-Length: 9\r\nConnection: close\r\n\r\nmigrating"
                }
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let mut eco = Instance::start(&format!(
        "[realm.slow]\nrun = \"sleep 1000\"\nhealth = \"http://127.0.0.1:{port}/api/health/\"\n"
    ));
    until("it to answer", || eco.cli(&["status", "slow"]).status.code() != Some(5));
    until("the realm to ask for time", || eco.realm("slow")["reason"] == "StartingUp");
    let pid = eco.pid_of("slow");
    let why = told(&eco.cli(&["why", "slow"]));
    assert!(why.contains("503 Service Unavailable: migrating"), "{why}");
    is_ready.store(true, Ordering::SeqCst);
    eco.wait_for_boot();
    assert_eq!((eco.pid_of("slow"), eco.status_of("slow").as_str()), (pid, "up"));
}

/// A process that accepts and does not answer is busy rather than dead: `why` says so, and the recorder has what was
/// sent to it.
#[test]
fn a_busy_service_is_called_busy_and_the_conversation_is_on_record() {
    let [port] = ports();
    let program = binary("heartbeatd");
    let mut eco = Instance::start(&format!(
        r#"
[realm.busy]
run = ["{}", "demo-realm", "--listen=127.0.0.1:{port}"]
port = {port}
health = {{ http = "http://127.0.0.1:{port}/api/health/?token=hunter2", role = "ready", interval = "1s", timeout = "500ms" }}
"#,
        program.display()
    ));
    eco.wait_for_boot();
    let stopped = pid(eco.pid_of("busy"));
    kill(stopped, Signal::SIGSTOP).unwrap();
    let shown = loop {
        let why = eco.cli(&["why", "busy"]);
        if told(&why).contains("all workers busy?") {
            break eco.cli(&["probe", "busy", "--failures"]);
        }
    };
    let text = told(&shown);
    assert_eq!(shown.status.code(), Some(0), "{text}");
    for line in
        ["accepted the connection, but no answer within 500 ms", "> GET /api/health/?(hidden) HTTP/1.1"]
    {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    kill(stopped, Signal::SIGCONT).unwrap();
}
