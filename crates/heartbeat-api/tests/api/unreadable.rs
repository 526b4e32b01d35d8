//! What is no request: every refusal is a problem that says what to do, on the address and on the socket.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::fake::Fake;
use crate::raw::{Answer, Listeners, read_all};

/// What a client sends, the status, the code of the problem, and a word of its detail.
struct Case {
    sent: String,
    status: u16,
    code: &'static str,
    word: &'static str,
}

fn case(sent: impl Into<String>, status: u16, code: &'static str, word: &'static str) -> Case {
    Case { sent: sent.into(), status, code, word }
}

fn cases() -> Vec<Case> {
    let get = |more: &str| format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let post = |more: &str, body: &str| {
        format!(
            "POST /api/reload/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}\r\n{body}"
        )
    };
    let headers: String = (0..100).map(|n| format!("X-{n}: 1\r\n")).collect();
    let mut cases = vec![
        case(get(&format!("X-Wide: {}\r\n", "w".repeat(17 * 1024))), 431, "head-too-large", "16384"),
        case(get(&headers), 431, "head-too-large", "64"),
        case(format!("GET /{} HTTP/1.1\r\n\r\n", "p".repeat(70 * 1024)), 431, "head-too-large", "the body"),
        case(format!("GET /?{} HTTP/1.1\r\n\r\n", "q=1&".repeat(5_000)), 431, "head-too-large", "the body"),
        case("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", 505, "http-version", "--http1.1"),
    ];
    let closing = "Host: localhost\r\nConnection: close\r\n\r\n";
    let unserved = [
        ("CONNECT localhost", 405, "method", "GET"),
        ("OPTIONS *", 404, "no-such-route", "/api/status/"),
        ("TRACE /livez", 405, "method", "GET"),
        ("BREW /livez", 405, "method", "GET"),
    ];
    cases.extend(
        unserved.map(|(line, status, code, word)| {
            case(format!("{line} HTTP/1.1\r\n{closing}"), status, code, word)
        }),
    );
    let broken = [
        "garbage\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET /livez\r\n\r\n".to_owned(),
        "GET  /livez HTTP/1.1\r\n\r\n".to_owned(),
        "GET /livez HTTP/9.9\r\n\r\n".to_owned(),
        "GET /livez HTTP/2.0\r\n\r\n".to_owned(),
        "G@T /livez HTTP/1.1\r\n\r\n".to_owned(),
        "GET /\u{7f} HTTP/1.1\r\n\r\n".to_owned(),
        get("no colon\r\n"),
        get("Bad Name: 1\r\n"),
        get("X: a\0b\r\n"),
        get("X: a\rb\r\n"),
        post("Content-Length: abc\r\n", "{}"),
        post("Content-Length: -1\r\n", "{}"),
        post("Content-Length: 1\r\nContent-Length: 2\r\n", "{}"),
        post("Content-Length: 99999999999999999999999\r\n", "{}"),
        post("Transfer-Encoding: gzip\r\n", "{}"),
        // A client hello of TLS.
        "\u{16}\u{3}\u{1}\0\u{5}hello\r\n\r\n".to_owned(),
    ];
    cases.extend(broken.map(|sent| case(sent, 400, "bad-request", "request line")));
    cases
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, sent: &str) -> Vec<u8> {
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(sent.as_bytes()).await;
    read_all(stream).await
}

#[tokio::test]
async fn every_refusal_is_a_problem_that_says_what_to_do() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    for Case { sent, status, code, word } in cases() {
        let shown: String = sent.chars().take(60).collect();
        let to_address = sent.replace("localhost", &listeners.address.to_string());
        let tcp = answer(TcpStream::connect(listeners.address).await.unwrap(), &to_address).await;
        let unix = answer(UnixStream::connect(&listeners.socket).await.unwrap(), &sent).await;
        for bytes in [tcp, unix] {
            println!("  {shown:?}");
            let problem = Answer::parse(&bytes).problem(status);
            assert_eq!(problem.kind, format!("heartbeat:{code}"), "{shown:?}");
            assert!(problem.detail.contains(word), "{shown:?}: {}", problem.detail);
        }
    }
    assert_eq!(fake.commands(), 0);
}

#[tokio::test]
async fn a_refusal_comes_after_the_answers_to_the_requests_before_it() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let good = "GET /api/status/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let sent = format!("{good}{good}garbage\r\n\r\n{good}");
    let bytes = answer(UnixStream::connect(&listeners.socket).await.unwrap(), &sent).await;
    let text = String::from_utf8_lossy(&bytes);
    let statuses: Vec<&str> = text.matches("HTTP/1.1 200").chain(text.matches("HTTP/1.1 400")).collect();
    assert_eq!(statuses, ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 400"], "{text}");
    let last = text.rfind("HTTP/1.1 ").unwrap();
    assert_eq!(Answer::parse(&bytes[last..]).problem(400).kind, "heartbeat:bad-request");
}

#[tokio::test]
async fn an_upgrade_that_is_not_served_is_answered_as_if_it_was_not_asked_for() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    for protocol in ["websocket", "h2c", "TLS/1.0"] {
        let headers = [format!("Upgrade: {protocol}"), "Connection: upgrade".to_owned()];
        let answer = listeners.unix("GET", "/livez", &headers.each_ref().map(String::as_str), "").await;
        assert_eq!(answer.status, 200, "{protocol}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_told_so() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let head = "POST /api/reload/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    for rest in ["Content-Length: 9\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"] {
        let sent = format!("{head}{rest}");
        let mut stream = UnixStream::connect(&listeners.socket).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let problem = Answer::parse(&read_all(stream).await).problem(400);
        assert!(problem.detail.contains("could not be read"), "{}", problem.detail);
    }
    assert_eq!(fake.commands(), 0);
}
