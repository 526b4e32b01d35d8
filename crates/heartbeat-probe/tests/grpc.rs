//! gRPC servers that are well, ill and hostile, in raw frames of HTTP/2. Every measurement is over when its deadline is.
#![cfg(feature = "grpc")]
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its server has failed")]

mod calm;

use std::time::Duration;

use heartbeat_probe::{GrpcProbe, Probe, clock};
use heartbeat_status::{CheckResult, FailReason, Outcome, ProbePhase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a hanging server is given.
const SHORT: Duration = Duration::from_millis(300);
/// What a server is given that has to be found out before the deadline.
const LONG: Duration = Duration::from_secs(20);
/// A busy machine may be this much later than the deadline.
const SLACK: Duration = Duration::from_secs(10);

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// Flags of frames.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers as HPACK writes them without its tables.
fn hpack(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn headers(flags: u8, headers: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, 1, &hpack(headers))
}

fn head() -> Vec<u8> {
    headers(0, &[(":status", "200"), ("content-type", "application/grpc")])
}

/// One message of gRPC.
fn message(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    frame(DATA, 0, 1, &[&[0], length.as_slice(), content].concat())
}

fn trailers(status: &str) -> Vec<u8> {
    headers(END_STREAM, &[("grpc-status", status), ("grpc-message", "no%20database")])
}

/// A whole answer with this field `status`.
fn reports(status: u8) -> Vec<u8> {
    [head(), message(&[8, status]), trailers("0")].concat()
}

/// Reads up to the end of the request.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    loop {
        let mut start = [0; 9];
        stream.read_exact(&mut start).await?;
        let length = u32::from_be_bytes([0, start[0], start[1], start[2]]);
        stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await?;
        if start[3] == DATA && start[4] & END_STREAM != 0 {
            return Ok(());
        }
    }
}

/// A server that treats every connection with `behave`, once it has read the request and sent its settings.
async fn server<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> GrpcProbe
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if read_request(&mut stream).await.is_ok()
                && stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.is_ok()
            {
                tokio::spawn(behave(stream));
            }
        }
    });
    GrpcProbe::new(&format!("grpc://{address}/shop.Orders")).unwrap()
}

/// Sends these bytes and closes.
async fn answers(bytes: impl Into<Vec<u8>>) -> GrpcProbe {
    let bytes = bytes.into();
    server(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            while matches!(stream.read(&mut [0; 1024]).await, Ok(read) if read > 0) {}
        }
    })
    .await
}

/// Sends `first`, then `part` again and again.
async fn repeats(first: Vec<u8>, part: Vec<u8>) -> GrpcProbe {
    server(move |mut stream| {
        let (first, part) = (first.clone(), part.repeat(64));
        async move {
            let mut sent = stream.write_all(&first).await;
            while sent.is_ok() {
                sent = stream.write_all(&part).await;
            }
        }
    })
    .await
}

async fn measured(probe: GrpcProbe, timeout: Duration) -> CheckResult {
    let began = clock::now();
    let result = Probe::from(probe).measure(timeout).await;
    assert!(clock::now().since(began) < timeout + SLACK, "{result:?}");
    result
}

/// Found out at once, not at the deadline.
async fn at_once(probe: GrpcProbe, reason: FailReason, phase: ProbePhase) -> CheckResult {
    let result = measured(probe, LONG).await;
    assert_eq!(result.outcome, Outcome::Fail { reason, phase: Some(phase) }, "{result:?}");
    assert!(result.finished_at.since(result.started_at) < LONG / 2, "waited: {result:?}");
    result
}

async fn at_deadline(probe: GrpcProbe, reason: FailReason, phase: ProbePhase) -> CheckResult {
    let result = calm::measured(&probe.into(), SHORT).await;
    assert_eq!(result.outcome, Outcome::Fail { reason, phase: Some(phase) }, "{result:?}");
    result
}

#[tokio::test]
async fn each_status_of_a_service_has_its_verdict() {
    let result = measured(answers(reports(1)).await, LONG).await;
    assert_eq!((&result.outcome, result.detail.as_str()), (&Outcome::Pass, "SERVING"), "{result:?}");
    assert!(result.phases.first_byte.is_some() && result.phases.body.is_some(), "{result:?}");
    for (bytes, detail) in [
        (reports(2), "reports `shop.Orders` as NOT_SERVING"),
        (reports(3), "does not know `shop.Orders`: SERVICE_UNKNOWN"),
        ([head(), message(b""), trailers("0")].concat(), "reports `shop.Orders` as UNKNOWN"),
    ] {
        let result = at_once(answers(bytes).await, FailReason::ReportedDown, ProbePhase::Body).await;
        assert_eq!(result.detail, detail);
    }
}

#[tokio::test]
async fn a_call_that_is_refused_says_why() {
    // An answer without a message ends with its head.
    let only_head = |status| {
        let pairs = [(":status", "200"), ("grpc-status", status), ("grpc-message", "no%20database")];
        headers(END_STREAM, &pairs)
    };
    for (bytes, detail) in [
        (only_head("5"), "does not know `shop.Orders`: NOT_FOUND"),
        (only_head("12"), "has no health service grpc.health.v1: UNIMPLEMENTED"),
        (only_head("14"), "answered UNAVAILABLE: no database"),
        ([head(), trailers("8")].concat(), "answered RESOURCE_EXHAUSTED: no database"),
    ] {
        let result = at_once(answers(bytes).await, FailReason::UnexpectedStatus, ProbePhase::Body).await;
        assert_eq!(result.detail, detail);
    }
    let proxy = headers(END_STREAM, &[(":status", "502")]);
    let result = at_once(answers(proxy).await, FailReason::UnexpectedStatus, ProbePhase::FirstByte).await;
    assert!(result.detail.starts_with("answered 502 Bad Gateway"), "{result:?}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_told_from_a_bad_one() {
    let cut = frame(DATA, END_STREAM, 1, &[0, 0, 0, 0, 2, 8, 1]);
    for (bytes, words) in [
        ([head(), cut].concat(), "it ends without a grpc-status"),
        ([head(), trailers("many")].concat(), "it ends without a grpc-status"),
        ([head(), trailers("0")].concat(), "it has no message"),
        ([head(), message(&[8]), trailers("0")].concat(), "its message is damaged"),
        ([head(), message(&[0; 5000]), trailers("0")].concat(), "without a grpc-status"),
    ] {
        let result = at_once(answers(bytes).await, FailReason::Protocol, ProbePhase::Body).await;
        assert!(result.detail.contains(words), "{result:?}");
    }
}

#[tokio::test]
async fn a_server_that_ends_the_exchange_has_reset_it() {
    for (bytes, words) in [
        (frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]), "the server ended the exchange: "),
        (frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]), "the server ended the exchange: refused stream"),
        (Vec::new(), "closed before an answer"),
    ] {
        let result = at_once(answers(bytes).await, FailReason::Reset, ProbePhase::FirstByte).await;
        assert!(result.detail.starts_with(words), "{result:?}");
    }
    let reset = server(|stream| async move { stream.set_zero_linger().unwrap() }).await;
    at_once(reset, FailReason::Reset, ProbePhase::FirstByte).await;
    let rest = [head(), frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])].concat();
    at_once(answers(rest).await, FailReason::Reset, ProbePhase::Body).await;
    at_once(answers(head()).await, FailReason::BodyIncomplete, ProbePhase::Body).await;
}

#[tokio::test]
async fn whatever_comes_without_end_is_cut() {
    let line = hpack(&[("x-filler", &"x".repeat(100))]);
    let open = frame(HEADERS, 0, 1, &hpack(&[(":status", "200")]));
    for (first, part) in [
        (open, frame(CONTINUATION, 0, 1, &line)),
        (Vec::new(), headers(0, &[(":status", "103")])),
        (Vec::new(), frame(PING, 0, 0, &[0; 8])),
        (Vec::new(), frame(SETTINGS, 0, 0, b"")),
    ] {
        let result = measured(repeats(first, part).await, LONG).await;
        let ends = matches!(
            result.outcome,
            Outcome::Fail {
                reason: FailReason::Protocol | FailReason::Reset,
                phase: Some(ProbePhase::FirstByte)
            }
        );
        assert!(ends && result.finished_at.since(result.started_at) < LONG / 2, "{result:?}");
    }
    let result = measured(repeats(head(), message(&[8, 1])).await, LONG).await;
    let reason = FailReason::Protocol;
    assert_eq!(result.outcome, Outcome::Fail { reason, phase: Some(ProbePhase::Body) }, "{result:?}");
}

#[tokio::test]
async fn what_does_not_speak_http2_is_no_grpc() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
            while matches!(stream.read(&mut [0; 1024]).await, Ok(read) if read > 0) {}
        }
    });
    let probe = GrpcProbe::new(&format!("grpc://{address}")).unwrap();
    at_once(probe, FailReason::Protocol, ProbePhase::FirstByte).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_busy_and_one_that_stops_is_late() {
    let hangs = |first: Vec<u8>| {
        server(move |mut stream| {
            let first = first.clone();
            async move {
                let _ = stream.write_all(&first).await;
                while matches!(stream.read(&mut [0; 1024]).await, Ok(read) if read > 0) {}
            }
        })
    };
    let result =
        at_deadline(hangs(Vec::new()).await, FailReason::HeadersTimeout, ProbePhase::FirstByte).await;
    assert!(result.detail.contains("all workers busy?"), "{result:?}");
    let started = [head(), message(&[8, 1])].concat();
    at_deadline(hangs(started).await, FailReason::BodyTimeout, ProbePhase::Body).await;
}
