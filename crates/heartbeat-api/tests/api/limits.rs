//! What one caller can take: a bounded number of bytes, connections and seconds.

use std::time::Duration;

use heartbeat_api::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fake::{self, Fake};
use crate::raw::{Answer, Listeners, exchange, read_all, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_share_one_body() {
    let fake = Fake::cold(fake::many(200));
    fake.input(heartbeat_supervisor::Input::Boot);
    fake.advance(Duration::from_secs(20));
    let listeners = std::sync::Arc::new(Listeners::open(&fake));
    let mut readers = JoinSet::new();
    for reader in 0..1_000 {
        let listeners = listeners.clone();
        readers.spawn(async move {
            if reader % 2 == 0 {
                listeners.get("/api/status/").await
            } else {
                listeners.tcp("GET", "/api/status", &[], "").await
            }
        });
    }
    let mut first: Option<String> = None;
    while let Some(answer) = readers.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200);
        let first = first.get_or_insert_with(|| answer.body.clone());
        assert_eq!(*first, answer.body);
    }
    // One for each kind of reader: time stands still here, and so does the meaning.
    assert_eq!(listeners.api.counts().bodies_built, 2);
    assert_eq!(listeners.api.counts().requests, 1_000);
    fake.advance(Duration::from_millis(249));
    let revision = heartbeat_api::Backend::snapshot(&*fake).revision;
    listeners.get("/api/realms/ecosystem-health/").await;
    fake.advance(Duration::from_millis(1));
    listeners.get("/api/status/").await;
    assert_eq!(heartbeat_api::Backend::snapshot(&*fake).revision, revision);
    assert_eq!(listeners.api.counts().bodies_built, 3, "a quarter of a second later the figures are fresh");
}

#[tokio::test]
async fn a_body_is_compressed_once_for_all_clients_that_take_it() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let plain = listeners.get("/api/status/").await;
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
    let takes = ["Accept-Encoding: br, gzip"];
    let gzip = listeners.unix("GET", "/api/status/", &takes, "").await;
    assert_eq!((gzip.header("content-encoding"), &gzip.body), (Some("gzip"), &plain.body));
    assert_eq!(listeners.api.counts().bodies_built, 1);
    // The same meaning, and other bytes.
    let (tag, weak) = (plain.header("etag").unwrap(), gzip.header("etag").unwrap());
    assert_eq!(weak, format!("W/{tag}"));
    for known in [tag, weak] {
        let known = format!("If-None-Match: {known}");
        let same = listeners.unix("GET", "/api/status/", &[takes[0], &known], "").await;
        assert_eq!((same.status, same.body.as_str(), same.header("content-encoding")), (304, "", None));
    }
    for path in ["/metrics", "/api/status/api/"] {
        let answer = listeners.tcp("GET", path, &takes, "").await;
        assert_eq!(answer.header("content-encoding"), Some("gzip"), "{path}");
    }
    let small = listeners.unix("GET", "/livez", &takes, "").await;
    assert_eq!((small.status, small.header("content-encoding")), (200, None));
}

#[tokio::test]
async fn excess_connections_are_closed_and_counted_per_listener() {
    let fake = Fake::shop();
    let listeners =
        Listeners::with(&fake, Limits { max_connections: 2, max_socket_connections: 2, ..Limits::default() });
    fake.hold(fake::API);
    let body = r#"{"wait":"up","timeout_s":600}"#;
    let head =
        "POST /api/realms/api/restart/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut held = Vec::new();
    for waits in 1..=2 {
        let mut waiting = UnixStream::connect(&listeners.socket).await.unwrap();
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        waiting.write_all(request.as_bytes()).await.unwrap();
        until("the command is taken", || fake.commands() == waits).await;
        held.push(waiting);
    }
    let excess = UnixStream::connect(&listeners.socket).await.unwrap();
    assert!(read_all(excess).await.is_empty(), "closed without an answer");
    assert_eq!(listeners.api.counts().excess, 1);
    assert_eq!(listeners.tcp("GET", "/livez", &[], "").await.status, 200, "the address has its own");
    drop(held.pop());
    // A place that is free again is given away again.
    drop(connect_when_free(&listeners).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fewer_connections_close_the_newest_streams_and_leave_a_place_for_requests() {
    let fake = Fake::shop();
    let listeners = Listeners::with(&fake, Limits { max_connections: 8, ..Limits::default() });
    let mut streams = Vec::new();
    for followed in 1..=5 {
        let mut stream = TcpStream::connect(listeners.address).await.unwrap();
        let request = format!("GET /api/events/ HTTP/1.1\r\nHost: {}\r\n\r\n", listeners.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert!(first.starts_with(b"HTTP/1.1 200"), "stream {followed}");
        streams.push(stream);
    }
    listeners.api.resize(3, 32);
    for stream in streams.drain(2..) {
        let ended = timeout(Duration::from_secs(60), read_all(stream)).await;
        assert!(ended.is_ok(), "the newest are closed");
    }
    for stream in &streams {
        let mut more = vec![0; 1 << 16];
        while stream.try_read(&mut more).is_ok_and(|read| read > 0) {}
        let read = stream.try_read(&mut more);
        assert!(read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "it goes on");
    }
    // The places of those that are closed are free a moment later; until then a connection is closed without an answer.
    let mut answer = Vec::new();
    let answered = async {
        while answer.is_empty() {
            let mut stream = TcpStream::connect(listeners.address).await.unwrap();
            let request =
                format!("GET /livez HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", listeners.address);
            let _ = stream.write_all(request.as_bytes()).await;
            answer = read_all(stream).await;
        }
    };
    timeout(Duration::from_secs(60), answered).await.expect("streams leave a place for requests");
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn refreshes_that_wait_leave_a_place_for_requests() {
    let fake = Fake::shop();
    fake.probes_hang();
    let listeners = Listeners::with(&fake, Limits { max_connections: 4, ..Limits::default() });
    let mut waiting = Vec::new();
    for path in [
        "/api/status/?refresh=1",
        "/api/status/postgres/?refresh=1",
        "/api/realms/ecosystem-health/?refresh=1",
    ] {
        let mut stream = TcpStream::connect(listeners.address).await.unwrap();
        // Two at once: the second waits for the first.
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", listeners.address).repeat(2);
        stream.write_all(request.as_bytes()).await.unwrap();
        waiting.push(stream);
        until("it waits for the probes", || fake.refreshes() as usize == waiting.len()).await;
    }
    for path in ["/api/status/?refresh=1", "/api/status/postgres/?refresh=1"] {
        let problem = listeners.tcp("GET", path, &[], "").await.problem(503);
        assert_eq!(problem.kind, "heartbeat:too-many-streams");
    }
    assert_eq!(listeners.tcp("GET", "/api/status/", &[], "").await.status, 200, "a place is left");
    assert_eq!(fake.refreshes(), 3);
    // The place of the one that leaves is free again.
    drop(waiting.pop());
    let request = format!("GET /api/status/?refresh=1 HTTP/1.1\r\nHost: {}\r\n\r\n", listeners.address);
    let again = async {
        while fake.refreshes() == 3 {
            let mut stream = TcpStream::connect(listeners.address).await.unwrap();
            // It has no answer once it waits, and 503 until then.
            let _ = stream.write_all(request.as_bytes()).await;
            let _ = timeout(Duration::from_millis(20), stream.read(&mut [0; 16])).await;
        }
    };
    timeout(Duration::from_secs(60), again).await.expect("the place is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_do_not_come_lock_no_command_out() {
    let fake = Fake::shop();
    let listeners =
        Listeners::with(&fake, Limits { body_timeout: Duration::from_secs(600), ..Limits::default() });
    let head = "POST /api/realms/api/start/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    let mut held = Vec::new();
    for round in 1..=5 {
        for _ in 0..80 {
            let mut slow = UnixStream::connect(&listeners.socket).await.unwrap();
            // The server may have closed it already for the next one.
            let _ = slow.write_all(head.as_bytes()).await;
            held.push(slow);
        }
        let answer = listeners.post("/api/realms/api/start/", "{}").await;
        assert_eq!(answer.status, 202, "round {round}: {}", answer.body);
        held.drain(..held.len().saturating_sub(80));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_take_their_answers_lock_no_reader_out() {
    let fake = Fake::cold(fake::many(2_000));
    let write_timeout = Duration::from_secs(600);
    let listeners = Listeners::with(&fake, Limits { write_timeout, max_connections: 3, ..Limits::default() });
    let request = format!("GET /api/status/ HTTP/1.1\r\nHost: {}\r\n\r\n", listeners.address);
    let mut deaf = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(listeners.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        deaf.push(stream);
    }
    until("they are answered", || listeners.api.counts().requests >= 3).await;
    let answered = async {
        loop {
            let mut stream = TcpStream::connect(listeners.address).await.unwrap();
            let request =
                format!("GET /livez HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", listeners.address);
            let _ = stream.write_all(request.as_bytes()).await;
            if read_all(stream).await.starts_with(b"HTTP/1.1 200") {
                return;
            }
        }
    };
    timeout(Duration::from_secs(60), answered).await.expect("one of them gives way");
    drop(deaf);
}

#[tokio::test]
async fn slow_and_idle_clients_are_closed() {
    let fake = Fake::shop();
    let short = Duration::from_millis(100);
    let listeners =
        Listeners::with(&fake, Limits { head_timeout: short, body_timeout: short, ..Limits::default() });
    // Each within its time, with room for a busy machine: fifty times as long.
    let bounded = async {
        // Slow-loris: half a head, and then nothing.
        let mut slow = TcpStream::connect(listeners.address).await.unwrap();
        slow.write_all(b"GET /livez HTTP/1.1\r\nHost: ").await.unwrap();
        assert!(read_all(slow).await.is_empty());
        // Nothing at all.
        assert!(read_all(UnixStream::connect(&listeners.socket).await.unwrap()).await.is_empty());
        // Kept alive and idle.
        let mut idle = UnixStream::connect(&listeners.socket).await.unwrap();
        idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert!(read_all(idle).await.starts_with(b"HTTP/1.1 200"), "answered, then closed");
        // A body that does not come.
        let stream = UnixStream::connect(&listeners.socket).await.unwrap();
        let head = "POST /api/realms/api/start/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
        exchange(stream, head).await.problem(408);
    };
    timeout(50 * short, bounded).await.expect("closed in time");
    assert_eq!(fake.commands(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_closed() {
    let fake = Fake::cold(fake::many(2_000));
    let listeners = Listeners::with(
        &fake,
        Limits { write_timeout: Duration::from_millis(100), max_socket_connections: 1, ..Limits::default() },
    );
    let mut deaf = UnixStream::connect(&listeners.socket).await.unwrap();
    deaf.write_all(b"GET /api/status/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    until("it is asked for", || listeners.api.counts().bodies_built == 1).await;
    // The one place comes free although the client never reads and never goes.
    connect_when_free(&listeners).await;
    drop(deaf);
}

#[tokio::test]
async fn a_waiting_client_is_not_idle_and_one_that_leaves_frees_its_place() {
    let fake = Fake::shop();
    let limits =
        Limits { head_timeout: Duration::from_millis(50), max_socket_connections: 1, ..Limits::default() };
    let listeners = Listeners::with(&fake, limits);
    fake.hold(fake::API);
    let late = listeners.post("/api/realms/api/restart/", r#"{"wait":"up","timeout_s":0.4}"#).await;
    late.problem(504);
    let before = fake.commands();
    let body = r#"{"wait":"up","timeout_s":600}"#;
    let head =
        "POST /api/realms/api/restart/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    // On a busy machine a head may come later than its limit: then once more.
    while fake.commands() == before {
        let mut leaving = connect_when_free(&listeners).await;
        let _ = leaving.write_all(request.as_bytes()).await;
        let mut byte = [0];
        let closed = leaving.read(&mut byte);
        tokio::select! {
            _ = closed => {}
            () = until("the command is taken", || fake.commands() > before) => {}
        }
    }
    connect_when_free(&listeners).await;
}

/// A connection that is served: the one before it has given its place back.
async fn connect_when_free(listeners: &Listeners) -> UnixStream {
    for _ in 0..2_000 {
        let served = listeners.api.counts().connections;
        let excess = listeners.api.counts().excess;
        let stream = UnixStream::connect(&listeners.socket).await.unwrap();
        let counts = || listeners.api.counts();
        until("it is served or closed", || counts().connections > served || counts().excess > excess).await;
        if counts().connections > served {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the place never comes free");
}

#[tokio::test]
async fn large_heads_and_bodies_are_refused() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let wide = format!("X-Wide: {}", "w".repeat(17 * 1024));
    assert_eq!(listeners.tcp("GET", "/livez", &[&wide], "").await.status, 431);
    let many: Vec<String> = (0..100).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(listeners.tcp("GET", "/livez", &many, "").await.status, 431);
    let body = format!("{{\"reason\":\"{}\"}}", "r".repeat(65 * 1024));
    listeners.post("/api/realms/api/start/", &body).await.problem(413);
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let head = "POST /api/realms/api/start/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let stream = UnixStream::connect(&listeners.socket).await.unwrap();
    exchange(stream, &format!("{head}{chunked}")).await.problem(413);
    assert_eq!(fake.commands(), 0);
    let body = format!("{{\"reason\":\"{}\"}}", "r".repeat(60 * 1024));
    assert_eq!(listeners.post("/api/realms/api/start/", &body).await.status, 202);
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_answers_waiting_clients() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    fake.hold(fake::API);
    let mut idle = UnixStream::connect(&listeners.socket).await.unwrap();
    let waiting = tokio::spawn({
        let socket = listeners.socket.clone();
        async move {
            let mut stream = UnixStream::connect(socket).await.unwrap();
            let body = r#"{"wait":"up","timeout_s":60}"#;
            let head = "POST /api/realms/api/restart/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length";
            stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
            read_all(stream).await
        }
    });
    until("the command is taken", || fake.commands() == 1).await;
    let (socket, address) = (listeners.socket.clone(), listeners.address);
    listeners.end();
    let mut byte = [0];
    assert_eq!(idle.read(&mut byte).await.unwrap_or(0), 0, "idle connections end at once");
    listeners.ended().await;
    let answer = Answer::parse(&waiting.await.unwrap());
    assert_eq!(
        answer.problem(503).kind,
        "heartbeat:shutting-down",
        "what would go on for a minute is told so"
    );
    assert!(UnixStream::connect(&socket).await.is_err());
    assert!(TcpStream::connect(address).await.is_err());
}
