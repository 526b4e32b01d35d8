//! Servers that misbehave, on real loopback sockets. Each measurement names the reason and the stage, and is over
//! when its deadline is.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its server has failed")]

mod calm;

use std::sync::Arc;
use std::time::Duration;

use heartbeat_probe::{
    Connecting, HttpProbe, Networks, Probe, Resolving, Sockets, StatusSet, TcpProbe, clock,
};
use heartbeat_status::{CheckResult, DegradedReason, FailReason, InconclusiveReason, Outcome, ProbePhase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a hanging server is given.
const SHORT: Duration = Duration::from_millis(300);
/// What a server is given that has to be found out before the deadline.
const LONG: Duration = Duration::from_secs(10);
/// A busy machine may be this much later than the deadline.
const SLACK: Duration = Duration::from_secs(10);
const DRIP: Duration = Duration::from_millis(20);
/// Most late looks at an answer, until one of them is in time on a busy machine.
const MAX_LOOKS: usize = 20;

/// A server that treats every connection with `behave`. Ends with the runtime of its test.
async fn server<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    address
}

async fn read_request(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&chunk[..read]),
        }
    }
}

/// Answers with these bytes and closes.
async fn answers(bytes: impl Into<Vec<u8>>) -> String {
    let bytes = bytes.into();
    server(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            drain(stream).await;
        }
    })
    .await
}

/// Sends `head`, then `part` again and again, `pause` apart, for ever.
async fn repeats(head: &'static str, part: &'static [u8], pause: Duration) -> String {
    server(move |mut stream| async move {
        read_request(&mut stream).await;
        let mut sent = stream.write_all(head.as_bytes()).await;
        while sent.is_ok() {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            sent = stream.write_all(part).await;
        }
    })
    .await
}

/// Holds the connection until the other side closes it, so that no reset overtakes what was sent.
async fn drain(mut stream: TcpStream) {
    let mut chunk = [0; 1024];
    while matches!(stream.read(&mut chunk).await, Ok(read) if read > 0) {}
}

fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

fn http(address: &str) -> HttpProbe {
    HttpProbe::new(&format!("http://{address}/api/health/")).unwrap()
}

async fn measured(probe: impl Into<Probe>, timeout: Duration) -> CheckResult {
    let began = clock::now();
    let result = probe.into().measure(timeout).await;
    let took = clock::now().since(began);
    assert!(took < timeout + SLACK, "took {took:?} of {timeout:?}: {result:?}");
    assert!(!result.detail.contains('\n') && result.finished_at >= result.started_at, "{result:?}");
    result
}

#[track_caller]
fn failed(result: &CheckResult, reason: FailReason, phase: ProbePhase) {
    assert_eq!(result.outcome, Outcome::Fail { reason, phase: Some(phase) }, "{result:?}");
}

/// Found out at once, not at the deadline.
async fn at_once(probe: impl Into<Probe>, reason: FailReason, phase: ProbePhase) -> CheckResult {
    let result = measured(probe, LONG).await;
    failed(&result, reason, phase);
    assert!(result.finished_at.since(result.started_at) < LONG / 2, "waited: {result:?}");
    result
}

/// Ended by the deadline, and not before it.
async fn at_deadline(probe: impl Into<Probe>, reason: FailReason, phase: ProbePhase) -> CheckResult {
    let result = calm::measured(&probe.into(), SHORT).await;
    failed(&result, reason, phase);
    assert!(result.finished_at.since(result.started_at) >= SHORT, "too early: {result:?}");
    result
}

async fn passes(probe: impl Into<Probe>) -> CheckResult {
    let result = measured(probe, LONG).await;
    assert_eq!(result.outcome, Outcome::Pass, "{result:?}");
    result
}

/// `cargo bench -p heartbeat-tests --bench figures -- hostile` measures a thousand of them.
#[tokio::test]
async fn a_hundred_hostile_servers_at_once_are_over_when_their_deadlines_are() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    let servers = [
        repeats("", b"", Duration::from_millis(50)).await,
        repeats("HTTP/1.1 200 OK\r\nx: ", &[b'x'; 4096], Duration::ZERO).await,
        repeats("HTTP/1.1 200 OK\r\n", b"x-a: b\r\n", Duration::ZERO).await,
        repeats("HTTP/1.1 200", b" ", DRIP).await,
        repeats(head, b" ", DRIP).await,
        repeats("", b"HTTP/1.1 100 Continue\r\n\r\n", Duration::ZERO).await,
        answers("junk\r\n").await,
        answers(head).await,
        answers("").await,
        server(|stream| async move { reset(stream) }).await,
    ];
    let under_way: Vec<_> = servers
        .iter()
        .cycle()
        .take(100)
        .map(|address| tokio::spawn(measured(http(address), SHORT)))
        .collect();
    for measurement in under_way {
        let result = measurement.await.unwrap();
        assert_ne!(result.outcome, Outcome::Pass, "{result:?}");
    }
}

// Connecting.

#[tokio::test]
async fn a_closed_port_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let result = at_once(http(&address), FailReason::Refused, ProbePhase::Connect).await;
    assert!(result.phases.connect.is_none() && result.latency.is_none());
    let port = Outcome::Fail { reason: FailReason::NotListening, phase: Some(ProbePhase::Connect) };
    assert_eq!(result.port_fact(), port);
    at_once(TcpProbe::new(&address).unwrap(), FailReason::Refused, ProbePhase::Connect).await;
}

#[tokio::test]
async fn a_port_that_nothing_listens_on_is_not_reached_by_a_connection_to_itself() {
    /// Connects every socket to its own address, as the kernel does by chance where the port is in the range of local
    /// ports.
    #[derive(Debug)]
    struct ToThemselves;

    impl Sockets for ToThemselves {
        fn resolve(&self, _: &str, port: u16) -> Resolving {
            Box::pin(std::future::ready(Ok(vec![([127, 0, 0, 1], port).into()])))
        }

        fn connect(&self, _: std::net::SocketAddr) -> Connecting {
            Box::pin(async {
                let socket = tokio::net::TcpSocket::new_v4()?;
                socket.bind(([127, 0, 0, 1], 0).into())?;
                let own = socket.local_addr()?;
                socket.connect(own).await
            })
        }
    }

    let probes: [Probe; 2] = [http("127.0.0.1:1").into(), TcpProbe::new("127.0.0.1:1").unwrap().into()];
    for probe in probes {
        let probe = probe.through(Arc::new(ToThemselves));
        let result = at_once(probe, FailReason::SelfConnected, ProbePhase::Connect).await;
        assert_eq!(result.port_fact(), result.outcome, "the port fact is no better");
    }
}

#[tokio::test]
async fn localhost_is_found_on_either_family() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let port = listener.local_addr().unwrap().port();
    passes(TcpProbe::new(&format!("localhost:{port}")).unwrap()).await;
    passes(TcpProbe::new(&format!("[::1]:{port}")).unwrap()).await;
}

#[tokio::test]
async fn a_full_backlog_is_a_connect_timeout() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    // Fills the backlog with connections that the server never accepts, until the kernel answers no more.
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        held.push(stream);
        assert!(held.len() < 64, "the backlog never fills");
    }
    at_deadline(http(&address.to_string()), FailReason::ConnectTimeout, ProbePhase::Connect).await;
}

// Until the head of the answer.

#[tokio::test]
async fn accepts_and_hangs() {
    let address = server(drain).await;
    let result = at_deadline(http(&address), FailReason::HeadersTimeout, ProbePhase::FirstByte).await;
    assert_eq!(result.port_fact(), Outcome::Pass, "it listens");
    assert!(result.latency.is_none() && result.phases.first_byte.is_none());
}

#[tokio::test]
async fn one_byte_of_the_head_at_a_time() {
    let address = repeats("HTTP/1.1 200 OK\r\nx: ", b"y", DRIP).await;
    at_deadline(http(&address), FailReason::HeadersTimeout, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn endless_headers() {
    let address = repeats("HTTP/1.1 200 OK\r\n", b"x-again: and again\r\n", Duration::ZERO).await;
    at_once(http(&address), FailReason::HeadersTooLarge, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn one_huge_header() {
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(100 * 1024));
    at_once(http(&answers(head).await), FailReason::HeadersTooLarge, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn thousands_of_small_headers() {
    let head = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "a: b\r\n".repeat(3000));
    at_once(http(&answers(head).await), FailReason::HeadersTooLarge, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn a_head_of_thirty_kib_is_fine() {
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(30 * 1024));
    passes(http(&answers(head).await)).await;
}

#[tokio::test]
async fn endless_interim_answers() {
    let address = repeats("", b"HTTP/1.1 100 Continue\r\n\r\n", Duration::ZERO).await;
    at_once(http(&address), FailReason::Protocol, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn one_interim_answer_is_fine() {
    let address =
        answers("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    #[cfg(feature = "regex")]
    passes(http(&address).with_matches("^ok$").unwrap()).await;
    passes(http(&address).with_contains("ok")).await;
}

#[tokio::test]
async fn junk_instead_of_http() {
    at_once(http(&answers("SSH-2.0-OpenSSH_9.9\r\n").await), FailReason::Protocol, ProbePhase::FirstByte)
        .await;
    at_once(http(&answers(vec![0; 512]).await), FailReason::Protocol, ProbePhase::FirstByte).await;
    at_once(http(&answers("HTTP/9.1 200 OK\r\n\r\n").await), FailReason::Protocol, ProbePhase::FirstByte)
        .await;
}

#[tokio::test]
async fn bytes_in_the_wrong_order() {
    let address = answers("content-length: 2\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok").await;
    at_once(http(&address), FailReason::Protocol, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn two_lengths_that_disagree() {
    let address = answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok").await;
    at_once(http(&address), FailReason::Protocol, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn reset_at_once() {
    let address = server(|stream| async move { reset(stream) }).await;
    at_once(http(&address), FailReason::Reset, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn reset_in_the_middle_of_the_head() {
    let address = server(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        reset(stream);
    })
    .await;
    at_once(http(&address), FailReason::Reset, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn closed_without_an_answer() {
    at_once(http(&answers("").await), FailReason::Reset, ProbePhase::FirstByte).await;
}

// The status.

#[tokio::test]
async fn a_redirect_says_where_to() {
    let address = answers(
        "HTTP/1.1 302 Found\r\nlocation: http://elsewhere/?token=canary\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let result = at_once(http(&address), FailReason::Redirected, ProbePhase::FirstByte).await;
    assert!(result.detail.contains("302") && result.detail.contains("http://elsewhere/"), "{result:?}");
    assert!(!result.detail.contains("canary"), "{result:?}");
}

#[tokio::test]
async fn a_status_that_fails_does_not_wait_for_a_body_that_does_not_come() {
    let reset_in_the_body = server(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\ncontent-length: 100\r\n\r\nsome").await;
        // The head has arrived before the reset does.
        let _ = stream.flush().await;
        tokio::time::sleep(DRIP).await;
        reset(stream);
    })
    .await;
    for address in [
        repeats("HTTP/1.1 500 Oops\r\n\r\n", b"x", DRIP).await,
        repeats("HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\n", b"", DRIP).await,
        answers("HTTP/1.1 500 Oops\r\ncontent-length: 100\r\n\r\ncut").await,
        reset_in_the_body,
    ] {
        let result = at_once(http(&address), FailReason::UnexpectedStatus, ProbePhase::FirstByte).await;
        assert_eq!(result.detail, "500 Internal Server Error", "{result:?}");
        assert!(result.latency.unwrap() < LONG / 20, "the latency is that of the status: {result:?}");
    }
    let slow = repeats("HTTP/1.1 500 Oops\r\n\r\n", b"x", DRIP).await;
    let result = calm::measured(&http(&slow).into(), SHORT).await;
    failed(&result, FailReason::UnexpectedStatus, ProbePhase::FirstByte);
    let address = answers("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    passes(http(&address).with_status("2xx,503".parse::<StatusSet>().unwrap())).await;
    let head = http(&answers("HTTP/1.1 503 Busy\r\ncontent-length: 90\r\n\r\n").await);
    let head = head.with_method("HEAD").unwrap();
    let result = at_once(head, FailReason::UnexpectedStatus, ProbePhase::FirstByte).await;
    assert_eq!(result.detail, "503 Service Unavailable");
}

#[tokio::test]
async fn a_failing_answer_says_why_in_its_own_words() {
    let text = "HTTP/1.1 503 Busy\r\ncontent-type: application/json\r\n\r\n{\"status\":\"down\",\n \"db\":\"too many clients\"}\n";
    let address = answers(text).await;
    let result = at_once(http(&address), FailReason::UnexpectedStatus, ProbePhase::FirstByte).await;
    let words = "{\"status\":\"down\", \"db\":\"too many clients\"}";
    assert_eq!(result.detail, format!("503 Service Unavailable: {words}"));
    let passing = text.replace("503 Busy", "200 OK");
    let condition = http(&answers(passing).await).with_json("/status", "ok".into()).unwrap();
    let result = at_once(condition, FailReason::ConditionFailed, ProbePhase::Body).await;
    assert_eq!(result.detail, format!("/status is \"down\", not \"ok\": {words}"));
    let long = format!("HTTP/1.1 503 Busy\r\ncontent-type: text/plain\r\n\r\n{}", "x".repeat(5000));
    let result = measured(http(&answers(long).await), LONG).await;
    assert_eq!(result.detail, format!("503 Service Unavailable: {}…", "x".repeat(200)));
    let mut bytes = b"HTTP/1.1 503 Busy\r\ncontent-type: application/octet-stream\r\n\r\n".to_vec();
    bytes.extend(0..=255);
    assert_eq!(measured(http(&answers(bytes).await), LONG).await.detail, "503 Service Unavailable");
}

#[tokio::test]
async fn no_part_of_the_body_of_a_foreign_target_is_shown() {
    let networks = Arc::new(Networks::loopback());
    let secret = "CANARY";
    for answer in [
        "HTTP/1.1 503 Busy\r\ncontent-type: text/plain\r\n\r\nCANARY",
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nCANARY",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"status\":\"CANARY\"}",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"status\":\"warn\",\"output\":\"CANARY\"}",
    ] {
        let address = answers(answer).await;
        let plain = || http(&address);
        let conditions = vec![
            plain(),
            plain().with_contains("y"),
            #[cfg(feature = "regex")]
            plain().with_matches("^y").unwrap(),
            plain().with_json("/status", "y".into()).unwrap(),
            plain().with_json("", "y".into()).unwrap(),
        ];
        for probe in conditions {
            let result = measured(Probe::from(probe).within(Arc::clone(&networks)).unwrap(), LONG).await;
            assert!(!result.detail.contains(secret), "{answer}: {}", result.detail);
        }
        let tcp = TcpProbe::new(&address).unwrap().with_send("\r\n\r\n").with_expect("y y");
        let shown = measured(tcp.clone(), LONG).await.detail;
        assert!(shown.contains("HTTP/1.1"), "one that the configuration names is quoted: {shown}");
        let hidden = measured(Probe::from(tcp).within(Arc::clone(&networks)).unwrap(), LONG).await.detail;
        assert_eq!(hidden, "expected \"y y\"");
    }
}

#[tokio::test]
async fn a_condition_on_a_compressed_body_names_the_compression() {
    let text = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-type: text/plain\r\n\r\n\x1f\u{8b}bytes";
    let address = answers(text).await;
    let fails = FailReason::ConditionFailed;
    let result = at_once(http(&address).with_contains("ok"), fails, ProbePhase::Body).await;
    assert!(result.detail.contains("Content-Encoding: gzip"), "{}", result.detail);
    let json = http(&address).with_json("/status", "ok".into()).unwrap();
    let result = at_once(json, FailReason::ConditionMissing, ProbePhase::Body).await;
    assert!(result.detail.contains("Content-Encoding: gzip"), "{}", result.detail);
    passes(http(&address)).await;
}

/// Ten megabytes in ten kilobytes, which a probe never inflates.
#[tokio::test]
async fn a_compression_bomb_is_not_inflated() {
    const INFLATED_BYTES: usize = 10 * 1024 * 1024;
    let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![b'0'; INFLATED_BYTES], 9);
    assert!(bomb.len() < 16 * 1024, "{}", bomb.len());
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-type: application/json\r\n\r\n";
    let address = answers([head.as_bytes(), &bomb].concat()).await;
    passes(http(&address)).await;
    let wants = http(&address).with_contains("0000");
    let result = at_once(wants, FailReason::ConditionFailed, ProbePhase::Body).await;
    assert!(result.detail.contains("Content-Encoding: deflate"), "{}", result.detail);
}

#[tokio::test]
async fn a_503_that_names_a_time_says_that_the_service_is_starting() {
    for (retry_after, reason) in [
        ("retry-after: 5\r\n", FailReason::StartingUp),
        ("Retry-After: Mon, 30 Nov 2026 12:00:00 GMT\r\n", FailReason::StartingUp),
        ("", FailReason::UnexpectedStatus),
    ] {
        let head = format!("HTTP/1.1 503 Service Unavailable\r\n{retry_after}");
        let answer = format!("{head}content-type: text/plain\r\ncontent-length: 9\r\n\r\nmigrating");
        let result = measured(http(&answers(answer).await), LONG).await;
        failed(&result, reason, ProbePhase::FirstByte);
        assert!(result.detail.contains("503") && result.detail.contains("migrating"), "{}", result.detail);
    }
}

#[tokio::test]
async fn the_request_is_the_one_that_is_promised() {
    let (heard, mut requests) = tokio::sync::mpsc::channel(4);
    let address = server(move |mut stream| {
        let heard = heard.clone();
        async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            heard.send(String::from_utf8(request).unwrap()).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    passes(http(&address)).await;
    let request = requests.recv().await.unwrap();
    let mut lines: Vec<String> = request.trim_end().lines().map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "GET /api/health/ HTTP/1.1");
    lines.sort();
    let agent = concat!("user-agent: heartbeat-probe/", env!("CARGO_PKG_VERSION"));
    let host = format!("host: {address}");
    assert_eq!(lines, ["accept-encoding: identity", "accept: */*", "connection: close", &host, agent]);
}

#[tokio::test]
async fn the_default_port_is_not_sent() {
    /// Port 80 of every host is this listener.
    #[derive(Debug)]
    struct ThisPort(u16);

    impl Sockets for ThisPort {
        fn resolve(&self, _: &str, port: u16) -> Resolving {
            Box::pin(std::future::ready(Ok(vec![([127, 0, 0, 1], port).into()])))
        }

        fn connect(&self, address: std::net::SocketAddr) -> Connecting {
            assert_eq!(address.port(), 80);
            Box::pin(TcpStream::connect(("127.0.0.1", self.0)))
        }
    }

    // As many virtual hosts do, it compares the header with its name.
    let address = server(|mut stream| async move {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let good = String::from_utf8(request).unwrap().lines().any(|line| line == "host: app.test");
        let status = if good { "200 OK" } else { "404 Not Found" };
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
    })
    .await;
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    for url in ["http://app.test/", "http://app.test:80/"] {
        let probe = Probe::from(HttpProbe::new(url).unwrap());
        assert_eq!(probe.target(), "http://app.test:80/");
        passes(probe.through(Arc::new(ThisPort(port)))).await;
    }
}

#[tokio::test]
async fn a_204_has_no_body_to_meet_a_condition() {
    let address = answers("HTTP/1.1 204 No Content\r\n\r\n").await;
    passes(http(&address)).await;
    at_once(http(&address).with_contains("ok"), FailReason::ConditionFailed, ProbePhase::Body).await;
}

// The body.

#[tokio::test]
async fn one_byte_of_the_body_at_a_time() {
    let address = repeats("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", b"x", DRIP).await;
    let result = at_deadline(http(&address), FailReason::BodyTimeout, ProbePhase::Body).await;
    assert!(result.phases.first_byte.is_some());
}

#[tokio::test]
async fn a_head_and_then_nothing() {
    let address = server(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
        drain(stream).await;
    })
    .await;
    at_deadline(http(&address), FailReason::BodyTimeout, ProbePhase::Body).await;
}

#[tokio::test]
async fn an_endless_body_passes_unless_a_condition_needs_it() {
    let address = repeats("HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 4096], Duration::ZERO).await;
    passes(http(&address)).await;
    at_once(http(&address).with_contains("y"), FailReason::BodyTooLarge, ProbePhase::Body).await;
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_whole() {
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: 65536\r\n\r\n{}end", "x".repeat(65533));
    passes(http(&answers(text).await).with_contains("end")).await;
    let text = format!("HTTP/1.1 200 OK\r\n\r\n{}end", "x".repeat(65533));
    passes(http(&answers(text).await).with_contains("end")).await;
    let text = format!("HTTP/1.1 200 OK\r\n\r\n{}end", "x".repeat(65534));
    at_once(http(&answers(text).await).with_contains("end"), FailReason::BodyTooLarge, ProbePhase::Body)
        .await;
}

#[tokio::test]
async fn a_body_cut_short() {
    let address = answers("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok").await;
    at_once(http(&address), FailReason::BodyIncomplete, ProbePhase::Body).await;
    let address = answers("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel").await;
    at_once(http(&address), FailReason::BodyIncomplete, ProbePhase::Body).await;
}

#[tokio::test]
async fn a_reset_in_the_body() {
    let address = server(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok").await;
        reset(stream);
    })
    .await;
    let result = measured(http(&address), LONG).await;
    // The kernel may drop what was received when the reset comes in: then there never was a head.
    let reset = |phase| Outcome::Fail { reason: FailReason::Reset, phase: Some(phase) };
    assert!([reset(ProbePhase::Body), reset(ProbePhase::FirstByte)].contains(&result.outcome), "{result:?}");
}

#[tokio::test]
async fn chunked_garbage() {
    let address = answers("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a size\r\nhello").await;
    at_once(http(&address), FailReason::Protocol, ProbePhase::Body).await;
    let address =
        answers("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nx").await;
    at_once(http(&address), FailReason::Protocol, ProbePhase::Body).await;
}

#[tokio::test]
async fn chunks_and_trailers_are_fine() {
    let text =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\nx-sum: 1\r\n\r\n";
    passes(http(&answers(text).await).with_contains("ok")).await;
}

#[tokio::test]
async fn more_than_the_content_length_is_not_read() {
    let address = answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more").await;
    passes(http(&address).with_contains("ok")).await;
}

#[tokio::test]
async fn http_1_0_ends_with_the_connection() {
    let address = answers("HTTP/1.0 200 OK\r\n\r\nok").await;
    let result = passes(http(&address).with_contains("ok")).await;
    assert!(result.phases.body.is_some() && result.phases.connect.is_some());
}

#[tokio::test]
async fn two_hundred_and_down_is_degraded() {
    let text = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{\"status\":\"DOWN\"}";
    let address = answers(text).await;
    let result = measured(http(&address), LONG).await;
    assert_eq!(result.outcome, Outcome::Degraded(DegradedReason::ReportedDown), "{result:?}");
    at_once(http(&address).with_reported_down_failing(), FailReason::ReportedDown, ProbePhase::Body).await;
}

#[tokio::test]
async fn slow_is_degraded_and_the_queue_is_told_apart() {
    let address = server(|mut stream| async move {
        read_request(&mut stream).await;
        tokio::time::sleep(DRIP).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        drain(stream).await;
    })
    .await;
    let probe = Probe::from(http(&address)).with_slow(DRIP / 4);
    let queued_at = heartbeat_status::Instant::ZERO;
    let result = probe.measure_queued(queued_at, LONG).await;
    assert_eq!(result.outcome, Outcome::Degraded(DegradedReason::Slow));
    assert_eq!(result.phases.queue, Some(result.started_at.since(queued_at)));
    assert!(result.latency.unwrap() >= DRIP && result.latency.unwrap() < LONG, "{result:?}");
}

// TCP.

#[tokio::test]
async fn tcp_banners() {
    let address = server(|mut stream| async move {
        let _ = stream.write_all(b"220 ready\r\n").await;
        drain(stream).await;
    })
    .await;
    let probe = || TcpProbe::new(&address).unwrap();
    passes(probe()).await;
    passes(probe().with_expect("220 ")).await;
    at_deadline(probe().with_expect("221 "), FailReason::HeadersTimeout, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn a_tcp_answer_that_is_another_or_endless() {
    let address = server(|mut stream| async move {
        let mut ping = [0; 4];
        let _ = stream.read_exact(&mut ping).await;
        let _ = stream.write_all(if &ping == b"PING" { b"+PONG" } else { b"-ERR!" }).await;
        let _ = stream.shutdown().await;
        drain(stream).await;
    })
    .await;
    let probe = |send: &'static str| TcpProbe::new(&address).unwrap().with_send(send).with_expect("+PONG");
    passes(probe("PING")).await;
    at_once(probe("GNIP"), FailReason::ConditionFailed, ProbePhase::FirstByte).await;

    let endless =
        server(|mut stream| async move { while stream.write_all(&[b'x'; 1000]).await.is_ok() {} }).await;
    let probe = TcpProbe::new(&endless).unwrap().with_expect("y");
    at_once(probe, FailReason::ConditionFailed, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn a_tcp_reset_is_a_reset() {
    let address = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 1]).await;
        reset(stream);
    })
    .await;
    let probe = TcpProbe::new(&address).unwrap().with_send("x").with_expect("y");
    at_once(probe, FailReason::Reset, ProbePhase::FirstByte).await;
}

// Ourselves.

#[tokio::test]
async fn our_own_lag_is_not_their_failure() {
    let address = server(drain).await;
    let probe = Probe::from(http(&address));
    let block = async {
        // The whole runtime stands still past the deadline, as it does on a starved machine.
        tokio::task::yield_now().await;
        let began = clock::now();
        while clock::now().since(began) < SHORT * 3 {
            std::hint::spin_loop();
        }
    };
    let (result, ()) = tokio::join!(probe.measure(SHORT), block);
    assert_eq!(result.outcome, Outcome::Inconclusive(InconclusiveReason::MonitorLag), "{result:?}");
}

#[tokio::test]
async fn an_answer_that_is_there_counts_however_late_we_look() {
    for _ in 0..MAX_LOOKS {
        if let Some(result) = looked_at_late().await {
            assert_eq!(result.outcome, Outcome::Pass, "{result:?}");
            return;
        }
    }
    panic!("this machine is too busy to answer in time");
}

/// The result of a measurement whose answer came in time and was looked at after the deadline; `None` when it was over
/// before.
async fn looked_at_late() -> Option<CheckResult> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Its own thread: it answers while our runtime stands still.
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let read = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        read
    });
    let probe = Probe::from(http(&address));
    let began = clock::now();
    let mut measuring = std::pin::pin!(probe.measure(SHORT));
    // Polls until the request is out, and then not again until the deadline is long past.
    while !server.is_finished() {
        tokio::select! {
            biased;
            _ = &mut measuring => return None,
            () = tokio::task::yield_now() => {}
        }
    }
    if clock::now().since(began) >= SHORT {
        return None;
    }
    while clock::now().since(began) < SHORT * 3 {
        std::hint::spin_loop();
    }
    assert!(server.join().unwrap() > 0);
    Some(measuring.await)
}

#[tokio::test]
async fn a_measurement_that_is_dropped_closes_its_connection_and_leaves_no_task() {
    let (tells, mut told) = tokio::sync::mpsc::channel(2);
    let address = server(move |stream| {
        let tells = tells.clone();
        async move {
            let _ = tells.send("connected").await;
            drain(stream).await;
            let _ = tells.send("closed").await;
        }
    })
    .await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let probe = Probe::from(http(&address));
    let before = tasks();
    tokio::select! {
        result = probe.measure(LONG) => panic!("{result:?}"),
        word = told.recv() => assert_eq!(word, Some("connected")),
    }
    assert_eq!(tokio::time::timeout(LONG, told.recv()).await, Ok(Some("closed")));
    let gone = async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();
}

#[test]
fn the_future_stays_small() {
    let probe = Probe::from(http("127.0.0.1:1"));
    let size = size_of_val(&probe.measure(LONG));
    assert!(size <= 4096, "{size} bytes in flight per probe");
}

// Conditions on the head, and bodies that name what is wrong.

#[tokio::test]
async fn headers_latency_and_bodies_that_are_not_read() {
    let address = answers("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{\"status\":\"DOWN\"}").await;
    let probe = || http(&address);
    passes(probe().without_body().with_response_header("Content-Type", "json").unwrap()).await;
    let missing = probe().with_response_header("x-served-by", "app").unwrap();
    at_once(missing, FailReason::ConditionMissing, ProbePhase::FirstByte).await;
    let other = probe().with_response_header("content-type", "html").unwrap();
    at_once(other, FailReason::ConditionFailed, ProbePhase::FirstByte).await;
    let hasty = Probe::from(probe().without_body()).with_max_latency(Duration::ZERO);
    let late = measured(hasty, LONG).await;
    assert_eq!(late.outcome, Outcome::Fail { reason: FailReason::OverLimit, phase: None }, "{late:?}");
    assert!(late.detail.starts_with("answered after "), "{}", late.detail);
}

#[tokio::test]
async fn a_body_names_the_dependencies_that_are_down() {
    let body = r#"{"status":"DOWN","components":{"db":{"status":"DOWN","details":{"error":"no connection"}},"disk":{"status":"UP"}}}"#;
    let head = |status: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let result = measured(http(&answers(head("200 OK")).await), LONG).await;
    assert_eq!(result.outcome, Outcome::Degraded(DegradedReason::ReportedDown), "{result:?}");
    assert_eq!(result.detail, "200: reports DOWN: db (no connection)");
    let result = measured(http(&answers(head("503 Service Unavailable")).await), LONG).await;
    failed(&result, FailReason::UnexpectedStatus, ProbePhase::FirstByte);
    assert_eq!(result.detail, "503 Service Unavailable: reports DOWN: db (no connection)");
}

#[tokio::test]
async fn an_explanation_has_the_conversation_without_the_secrets() {
    let address = answers("HTTP/1.1 503 Busy\r\ncontent-type: text/plain\r\n\r\nno database").await;
    let probe = Probe::from(http(&address).with_header("authorization", "Bearer hunter2").unwrap());
    let explanation = probe.explain(LONG).await;
    failed(&explanation.result, FailReason::UnexpectedStatus, ProbePhase::FirstByte);
    let text = explanation.conversation.join("\n");
    for line in [
        format!("* connected to {address}"),
        "> GET /api/health/ HTTP/1.1".to_owned(),
        "> authorization: (hidden)".to_owned(),
        "< HTTP/1.1 503 Service Unavailable".to_owned(),
        "< content-type: text/plain".to_owned(),
        "< no database".to_owned(),
    ] {
        assert!(explanation.conversation.contains(&line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn of_a_server_that_does_not_answer_the_request_is_explained() {
    let address = server(drain).await;
    for explanation in [
        Probe::from(http(&address)).explain(SHORT).await,
        Probe::from(http(&address)).explain_queued(clock::now(), SHORT).await,
    ] {
        let lines = &explanation.conversation;
        assert_eq!(lines[0], format!("* connected to {address}"), "{lines:?}");
        assert_eq!(lines[1], "> GET /api/health/ HTTP/1.1", "{lines:?}");
    }
    let answering = answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let explained = Probe::from(http(&answering)).explain(LONG).await.conversation;
    assert_eq!(explained.last().map(String::as_str), Some("< ok"), "{explained:?}");
    let passes = Probe::from(http(&answering)).explain_queued(clock::now(), LONG).await;
    assert_eq!((passes.result.outcome, passes.conversation), (Outcome::Pass, Vec::new()));
}
