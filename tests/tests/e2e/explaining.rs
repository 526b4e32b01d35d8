//! What heartbeatd has recorded of a probe that fails.

use nix::sys::signal::{Signal, kill};

use crate::program::{binary, told};
use crate::supervision::{Instance, pid, ports};

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
