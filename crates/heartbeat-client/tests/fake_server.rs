//! The client against a server that says exactly what it is told to, over a Unix socket and TCP.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its server has failed")]

use std::time::Duration;

use heartbeat_client::{Client, ClientError, GraphFormat, Host};
use heartbeat_wire::{Action, ActionRequest, Wait};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Reads one request (head, and as much body as it announces).
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let n = stream.read(&mut chunk).await.unwrap();
        seen.extend_from_slice(&chunk[..n]);
        assert!(seen.len() < MAX_REQUEST_BYTES);
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        assert!(n > 0, "the client hung up in the middle: {text}");
    }
}

async fn serve_one(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Vec<u8>) -> String {
    let request = read_request(&mut stream).await;
    // A client that gave up early has closed the pipe; that is what some tests are about.
    let _ = stream.write_all(&answer).await;
    request
}

struct Fake {
    client: Client,
    request: JoinHandle<String>,
    _dir: tempfile::TempDir,
}

fn fake(answer: impl Into<Vec<u8>>) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let answer = answer.into();
    let request = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve_one(stream, answer).await
    });
    Fake { client: Client::new(Host::Unix(path)), request, _dir: dir }
}

fn answer(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn problem(status: u16, extra: &str) -> String {
    let body = format!(
        r#"{{"type":"about:blank","title":"T","status":{status},"detail":"the detail","later":1{extra}}}"#
    );
    answer(&format!("{status} X"), "application/problem+json", &body)
}

const SUMMARY: &str = r#"{"schema":"heartbeat.status/1","instance":"k3v9","revision":7,
  "generated_at":"2026-11-23T22:40:01.123Z","name":"shop","ok":true,"status":"up","summary":{"total":2,"up":2},
  "daemon":{"version":"0.1.0","started_at":"2026-11-23T20:24:37.001Z","uptime_s":1.5,"phase":"running",
  "health":"healthy","lag_ms":{"p99":1.0,"max":2.0},"config_revision":1}}"#;

const PLAN: &str = r#"{"schema":"heartbeat.action/1","action":"stop","realms":["db"],"dry_run":false,"steps":[],
  "breaks":["api"]}"#;

#[tokio::test]
async fn a_document_comes_over_both_listeners() {
    let unix = fake(answer("200 OK", "application/json", SUMMARY));
    let document = unix.client.status(true).await.unwrap();
    assert_eq!((document.name.as_str(), document.revision, document.ok), ("shop", 7, true));
    let request = unix.request.await.unwrap();
    assert!(request.starts_with("GET /api/status/?refresh=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("\r\nhost: localhost\r\n"), "{request}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve_one(stream, answer("200 OK", "application/json", SUMMARY).into_bytes()).await
    });
    let client = Client::new(format!("http://{address}").parse().unwrap());
    assert_eq!(client.summary().await.unwrap().summary.up, 2);
    let request = server.await.unwrap();
    assert!(request.starts_with("GET /api/status/?fields=summary HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains(&format!("\r\nhost: {address}\r\n")), "{request}");
}

#[tokio::test]
async fn an_action_carries_its_request() {
    let fake = fake(answer("202 Accepted", "application/json", PLAN));
    let request = ActionRequest {
        cascade: true,
        wait: Wait::Up,
        reason: Some("why not".into()),
        ..ActionRequest::default()
    };
    let plan = fake.client.action("db", Action::Stop, &request).await.unwrap();
    assert_eq!(plan.breaks, ["api"]);
    let seen = fake.request.await.unwrap();
    assert!(seen.starts_with("POST /api/realms/db/stop/ HTTP/1.1\r\n"), "{seen}");
    assert!(seen.to_lowercase().contains("content-type: application/json"), "{seen}");
    let body = seen.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<ActionRequest>(body).unwrap(), request);
}

/// One answer per connection, in order; returns the requests.
fn fake_sequence(answers: Vec<String>) -> (Client, JoinHandle<Vec<String>>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let requests = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            requests.push(serve_one(stream, answer.into_bytes()).await);
        }
        requests
    });
    (Client::new(Host::Unix(path)), requests, dir)
}

fn shutting_down(extra: &str) -> String {
    let body = format!(
        r#"{{"type":"heartbeat:shutting-down","title":"T","status":503,"detail":"the detail"{extra}}}"#
    );
    answer("503 X", "application/problem+json", &body)
}

#[tokio::test]
async fn a_command_that_was_accepted_before_an_upgrade_is_waited_for_and_not_repeated() {
    let accepted = shutting_down(&format!(r#","applied":true,"plan":{PLAN}"#));
    let nothing_left = answer("200 OK", "application/json", SUMMARY);
    let (client, requests, _dir) = fake_sequence(vec![accepted, String::new(), nothing_left]);
    let request = ActionRequest { wait: Wait::Up, timeout_s: Some(20.0), ..ActionRequest::default() };
    let done = client.action("db", Action::Stop, &request).await.unwrap();
    assert_eq!(done.result.as_deref(), Some("stopped"));
    let requests = requests.await.unwrap();
    let lines: Vec<&str> = requests.iter().filter_map(|request| request.lines().next()).collect();
    let status = "GET /api/status/ HTTP/1.1";
    assert_eq!(lines, ["POST /api/realms/db/stop/ HTTP/1.1", status, status]);
}

#[tokio::test]
async fn a_request_that_was_not_taken_before_an_upgrade_is_repeated_once() {
    let done = answer("202 Accepted", "application/json", PLAN);
    let (client, requests, _dir) = fake_sequence(vec![shutting_down(""), done]);
    client.action("db", Action::Stop, &ActionRequest::default()).await.unwrap();
    assert_eq!(requests.await.unwrap().len(), 2);
    // The server no longer answers, so the error keeps the reason of the first answer.
    let (client, requests, _dir) = fake_sequence(vec![shutting_down("")]);
    let error = client.status(false).await.unwrap_err();
    assert!(error.to_string().contains("the detail"), "{error}");
    requests.await.unwrap();
}

#[tokio::test]
async fn text_forms_of_the_graph_are_passed_on() {
    let fake = fake(answer("200 OK", "text/vnd.graphviz", "digraph {}"));
    assert_eq!(fake.client.graph_text(GraphFormat::Dot).await.unwrap(), "digraph {}");
    assert!(fake.request.await.unwrap().starts_with("GET /api/graph/?format=dot "));
}

#[tokio::test]
async fn an_ill_heartbeatd_still_says_how_it_is() {
    let body = r#"{"status":"fail","version":"0.1.0","instance":"x","notes":["the loop is late"]}"#;
    let fake = fake(answer("503 Service Unavailable", "application/json", body));
    assert_eq!(fake.client.health().await.unwrap().notes, ["the loop is late"]);
}

#[tokio::test]
async fn refusals_keep_their_kind() {
    let error = fake(problem(404, r#","near":["api"]"#)).client.realm("ap/i", false).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::NotFound { suggestions, .. } if suggestions == &["api"]),
        "{error}"
    );
    let error = fake(problem(403, "")).client.status(false).await.unwrap_err();
    assert!(matches!(&error, ClientError::Forbidden { .. }), "{error}");
    let request = ActionRequest::default();
    let with_plan = format!(r#","plan":{PLAN}"#);
    let error = fake(problem(409, &with_plan)).client.action("db", Action::Stop, &request).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused { plan: Some(plan), .. } if plan.breaks == ["api"]),
        "{error}"
    );
    let error = fake(problem(504, "")).client.action("db", Action::Stop, &request).await.unwrap_err();
    assert!(matches!(&error, ClientError::Deadline { plan: None, .. }), "{error}");
    let error = fake(problem(501, "")).client.graph().await.unwrap_err();
    assert_eq!(error.to_string(), "T (501): the detail");
}

#[tokio::test]
async fn another_program_on_the_socket_is_distinguished() {
    for strange in [
        answer("200 OK", "text/html", "<html>"),
        answer("500 Oops", "text/plain", "no"),
        "SSH-2.0-OpenSSH_9\r\n".to_owned(),
    ] {
        let error = fake(strange.clone()).client.status(false).await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{strange}: {error}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{{", u64::MAX / 2);
    let error = fake(endless).client.status(false).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "refused by its announced length: {error}");
}

#[tokio::test]
async fn a_broken_or_silent_connection_is_unreachable() {
    let error = fake("").client.status(false).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
    let error = fake(cut).client.status(false).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.sock");
    let error = Client::new(Host::Unix(path.clone())).status(false).await.unwrap_err();
    assert!(error.to_string().contains("no socket"), "{error}");
    let listener = UnixListener::bind(&path).unwrap();
    let deadline = Duration::from_millis(50);
    let silent = Client::new(Host::Unix(path.clone())).with_deadline(deadline);
    let error = silent.status(false).await.unwrap_err();
    assert!(
        matches!(error, ClientError::TimedOut { after, connected: true, .. } if after == deadline),
        "{error}"
    );
    drop(listener);
    let error = silent.status(false).await.unwrap_err();
    assert!(error.to_string().contains("no process listens"), "{error}");
}

#[tokio::test]
async fn a_realm_is_registered_and_removed() {
    const DONE: &str = r#"{"schema":"heartbeat.registration/1","dry_run":false,"config_revision":2,"realm":"shop",
      "result":"registered","targets":["tcp 127.0.0.1:1"],"needs":[]}"#;
    let server = fake(answer("201 Created", "application/json", DONE));
    let done = server.client.register("shop", br#"{"port":1}"#.to_vec(), false).await.unwrap();
    assert_eq!((done.result.as_str(), done.because.len(), done.message), ("registered", 0, None));
    let asked = server.request.await.unwrap();
    assert!(asked.starts_with("PUT /api/realms/shop/ HTTP/1.1"), "{asked}");
    assert!(asked.contains("application/json") && asked.ends_with(r#"{"port":1}"#), "{asked}");
    let server = fake(answer("200 OK", "application/json", DONE));
    server.client.unregister("../x", true).await.unwrap();
    let asked = server.request.await.unwrap();
    assert!(asked.starts_with("DELETE /api/realms/%2E%2E%2Fx/?dry_run=1 HTTP/1.1"), "{asked}");
    let server = fake(problem(409, ""));
    let refused = server.client.unregister("db", false).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { .. }), "{refused}");
}
