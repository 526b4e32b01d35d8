use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::*;
use crate::Check;

/// A heartbeatd that answers the requests of one service in turn and returns them.
fn heartbeatd(dir: &tempfile::TempDir, answers: &'static [&'static str]) -> (PathBuf, Requests) {
    let socket = dir.path().join("heartbeat.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (sender, requests) = tokio::sync::mpsc::channel(answers.len());
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut piece) = (String::new(), [0; 1024]);
            loop {
                let read = stream.read(&mut piece).unwrap();
                request.push_str(std::str::from_utf8(&piece[..read]).unwrap());
                let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() == length.map_or(0, |length| length.parse().unwrap()) {
                    break;
                }
            }
            write!(stream, "HTTP/1.1 {answer}").unwrap();
            sender.blocking_send(request).unwrap();
        }
    });
    (socket, requests)
}

type Requests = tokio::sync::mpsc::Receiver<String>;

const FINE: &str = "200 OK\r\ncontent-length: 2\r\n\r\n{}";
const UNKNOWN: &str = "404 Not Found\r\ncontent-length: 30\r\n\r\n{\"detail\": \"no realm `shop`.\"}";

#[tokio::test]
async fn it_registers_sends_heartbeats_and_registers_again_where_it_was_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, mut requests) = heartbeatd(&dir, &[FINE, FINE, FINE, UNKNOWN, FINE, FINE]);
    let gone = Check::new("database", async || Verdict::Fail("gone".to_owned()));
    let checks = Checks::start([gone]);
    while checks.verdict() != Verdict::Fail("database: gone".to_owned()) {
        tokio::task::yield_now().await;
    }
    let registration = Registration::new("shop", "http://127.0.0.1:8001/api/health/").needs(["postgres"]);
    let registration = Registration { interval: Duration::from_millis(2), ..registration };
    let registered = registration.at(socket).start(checks);
    let put = requests.recv().await.unwrap();
    assert!(put.starts_with("PUT /api/realms/shop/ HTTP/1.1\r\n"), "{put}");
    let body: Value = serde_json::from_str(put.split_once("\r\n\r\n").unwrap().1).unwrap();
    let health = json!(["http://127.0.0.1:8001/api/health/", { "push": "6ms" }]);
    assert_eq!(body, json!({ "health": health, "needs": ["postgres"] }));
    for _ in 0..3 {
        let beat = requests.recv().await.unwrap();
        assert!(beat.starts_with("POST /api/beat/shop/fail/ HTTP/1.1\r\n"), "{beat}");
        assert!(beat.ends_with("database: gone"), "{beat}");
    }
    let again = requests.recv().await.unwrap();
    assert!(again.starts_with("PUT "), "the third heartbeat was refused: {again}");
    assert!(requests.recv().await.unwrap().starts_with("POST "));
    drop(registered);
}

#[tokio::test]
async fn a_verdict_that_changes_is_told_before_the_next_heartbeat_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, mut requests) = heartbeatd(&dir, &[FINE, FINE, FINE]);
    let well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = Arc::clone(&well);
    let evaluate = move || {
        let well = seen.load(std::sync::atomic::Ordering::SeqCst);
        async move { if well { Verdict::Pass } else { Verdict::Fail("gone".to_owned()) } }
    };
    let checks = Checks::start([Check::new("database", evaluate).every(Duration::from_millis(5))]);
    checks.changed_from(&Verdict::Warn("not evaluated yet".to_owned())).await;
    let registration = Registration::new("shop", "http://127.0.0.1:1/").every(Duration::from_secs(3_600));
    let registered = registration.at(socket).start(checks);
    assert!(requests.recv().await.unwrap().starts_with("PUT "));
    assert!(requests.recv().await.unwrap().starts_with("POST /api/beat/shop/fail/"));
    well.store(true, std::sync::atomic::Ordering::SeqCst);
    // Without the change it would come after an hour.
    assert!(requests.recv().await.unwrap().starts_with("POST /api/beat/shop/ok/"));
    drop(registered);
}

#[tokio::test]
async fn what_went_wrong_is_there_to_be_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, _requests) = heartbeatd(&dir, &[UNKNOWN]);
    for (socket, said) in [
        (dir.path().join("none.sock"), "no heartbeatd answers at "),
        (socket, "heartbeatd refused: no realm `shop`."),
    ] {
        let registered = Registration::new("shop", "http://127.0.0.1:1/").at(socket).start(Checks::start([]));
        let error = loop {
            match registered.last_error() {
                Some(error) => break error,
                None => tokio::task::yield_now().await,
            }
        };
        assert!(error.to_string().starts_with(said), "{error}");
    }
    let named = ask(&PathBuf::new(), Method::PUT, "/api/realms/a b/", String::new()).await.unwrap_err();
    assert!(matches!(named, RegistrationError::Name(_)), "{named}");
}
