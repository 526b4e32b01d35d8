//! How connections end: a refusal reaches its client, and a server that hands over loses no request.

use heartbeat_api::Limits;
use heartbeat_wire::StatusDocument;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::events::Follower;
use crate::fake::Fake;
use crate::raw::{Answer, Listeners, read_all, until};

/// Reads until the head of an answer is there.
async fn head(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&bytes));
        bytes.push(byte[0]);
    }
    bytes
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let listeners = Listeners::open(&Fake::shop());
    let host = format!("Host: {}", listeners.address);
    let json = "Content-Type: application/json\r\nContent-Length: 60000";
    let wide = format!("X-Wide: {}", "w".repeat(20 * 1024));
    let unfinished = [
        (format!("POST /api/realms/api/restart/ HTTP/1.1\r\n{host}\r\n{json}\r\n\r\n"), 403),
        (format!("POST /api/status/ HTTP/1.1\r\n{host}\r\n{json}\r\n\r\n"), 405),
        (format!("POST /api/realms/api/restart/ HTTP/1.1\r\nHost: elsewhere\r\n{json}\r\n\r\n"), 421),
        (format!("GET /livez HTTP/1.1\r\n{host}\r\n{wide}\r\n"), 431),
    ];
    for (request, status) in unfinished {
        let mut stream = TcpStream::connect(listeners.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = head(&mut stream).await;
        // Python's http.client sends the body on its own: it is sent after the refusal.
        for _ in 0..15 {
            stream.write_all(&[b'x'; 4_000]).await.unwrap_or_else(|error| panic!("{status}: {error}"));
        }
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut answer).await.unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!(Answer::parse(&answer).status, status, "{request}");
    }
}

#[tokio::test]
async fn a_client_that_sends_for_ever_is_closed() {
    let fake = Fake::shop();
    let listeners = Listeners::with(&fake, Limits { max_connections: 1, ..Limits::default() });
    let mut stream = TcpStream::connect(listeners.address).await.unwrap();
    let head = format!(
        "POST /api/status/ HTTP/1.1\r\nHost: {}\r\nContent-Length: 99999999\r\n\r\n",
        listeners.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    until("the request is answered", || listeners.api.counts().requests == 1).await;
    while stream.write_all(&[b'x'; 4_096]).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_drains_answers_every_open_connection() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let mut connected = UnixStream::connect(&listeners.socket).await.unwrap();
    let mut between = UnixStream::connect(&listeners.socket).await.unwrap();
    between.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    until("both are served, one is answered", || {
        (listeners.api.counts().connections, listeners.api.counts().requests) == (2, 1)
    })
    .await;
    listeners.drain();
    connected.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let answer = Answer::parse(&read_all(connected).await);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(
        read_all(between).await.iter().filter(|byte| **byte == b'{').count(),
        0,
        "answered once, then closed"
    );
    listeners.ended().await;
}

#[tokio::test]
async fn a_server_that_drains_tells_waiting_clients_what_it_accepted() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    fake.hold(crate::fake::API);
    let socket = listeners.socket.clone();
    let waiting = tokio::spawn(async move {
        crate::raw::post(&socket, "/api/realms/api/restart/", r#"{"wait":"verified","timeout_s":60}"#).await
    });
    until("the command is taken", || fake.commands() == 1).await;
    listeners.drain();
    let problem = waiting.await.unwrap().problem(503);
    assert_eq!((problem.kind.as_str(), problem.applied), ("heartbeat:shutting-down", Some(true)));
    assert_eq!(problem.plan.unwrap().realms, ["api"]);
    listeners.ended().await;
}

#[tokio::test]
async fn a_server_that_drains_ends_streams_and_answers_long_polls_with_what_there_is() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let mut follower = Follower::open_at(&listeners, "/api/events/", None).await;
    assert!(follower.next().await.is_some(), "a snapshot");
    let document: StatusDocument = listeners.get("/api/status/").await.json();
    let path = format!("/api/status/?since={}-{}&wait=60s", document.instance, document.revision);
    let before = listeners.api.counts().requests;
    let socket = listeners.socket.clone();
    let polling = tokio::spawn(async move { crate::raw::get(&socket, &path).await });
    until("the long poll waits", || listeners.api.counts().requests > before).await;
    listeners.drain();
    let answer = polling.await.unwrap();
    assert_eq!((answer.status, answer.json::<StatusDocument>().revision), (200, document.revision));
    assert!(follower.next().await.is_none(), "the stream is over");
    listeners.ended().await;
}

#[tokio::test]
async fn streams_leave_places_on_the_socket_for_requests() {
    let fake = Fake::shop();
    let listeners = Listeners::with(&fake, Limits::default());
    let mut followers = Vec::new();
    for _ in 0..24 {
        let mut follower = Follower::open_at(&listeners, "/api/events/", None).await;
        assert!(follower.next().await.is_some());
        followers.push(follower);
    }
    let problem = listeners.get("/api/events/").await.problem(503);
    assert_eq!(problem.kind, "heartbeat:too-many-streams");
    assert_eq!(listeners.post("/api/realms/api/start/", "{}").await.status, 202, "a command has its place");
    drop(followers.pop());
    let again = async { while listeners.unix("HEAD", "/api/events/", &[], "").await.status != 200 {} };
    timeout(crate::raw::PATIENCE, again).await.expect("the place of the one that left is free again");
}
