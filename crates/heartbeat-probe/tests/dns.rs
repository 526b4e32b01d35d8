//! DNS servers that are well, ill and hostile, on loopback sockets. Every measurement is over when its deadline is.
#![cfg(feature = "dns")]
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its server has failed")]

mod calm;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_probe::{DnsProbe, Probe, clock};
use heartbeat_status::{CheckResult, FailReason, Outcome, ProbePhase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// What a hanging server is given.
const SHORT: Duration = Duration::from_millis(300);
/// What a server is given that has to be found out before the deadline.
const LONG: Duration = Duration::from_secs(20);
/// A busy machine may be this much later than the deadline.
const SLACK: Duration = Duration::from_secs(10);

/// Flags of an answer, and the bit of one that is cut.
const ANSWER: u16 = 0x8180;
const CUT: u16 = 0x0200;
/// Types of records.
const A: u16 = 1;
const CNAME: u16 = 5;
const TXT: u16 = 16;
/// The name in the question, as a pointer to it.
const ASKED: &[u8] = &[0xc0, 12];

fn name(text: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    let mut name: Vec<u8> = text.split('.').flat_map(label).collect();
    name.push(0);
    name
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [owner, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length.to_be_bytes(), data].concat()
}

/// The answer to `query` with these flags and records.
fn answer(query: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(records.len()).unwrap();
    let start = [&query[..2], &flags.to_be_bytes(), &[0, 1], &count.to_be_bytes(), &[0, 0, 0, 0]].concat();
    [&start, &query[12..], &records.concat()].concat()
}

fn address(last: u8) -> Vec<u8> {
    record(ASKED, A, &[192, 0, 2, last])
}

/// A server that answers each datagram with those of `over_udp`, and each TCP connection with `over_tcp`.
async fn server(
    over_udp: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    over_tcp: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
) -> SocketAddr {
    let (socket, listener) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            break (socket, listener);
        }
    };
    let at = listener.local_addr().unwrap();
    let socket = Arc::new(socket);
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            for datagram in over_udp(&query[..length]) {
                let _ = socket.send_to(&datagram, from).await;
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Ok(length) = stream.read_u16().await else { continue };
            let mut query = vec![0; usize::from(length)];
            if stream.read_exact(&mut query).await.is_ok() {
                let _ = stream.write_all(&over_tcp(&query)).await;
            }
        }
    });
    at
}

/// A server that answers with these records.
async fn answers(flags: u16, records: Vec<Vec<u8>>) -> DnsProbe {
    probe(server(move |query| vec![answer(query, flags, &records)], |_| Vec::new()).await)
}

fn probe(at: SocketAddr) -> DnsProbe {
    DnsProbe::new(&format!("dns://{at}/shop.test")).unwrap()
}

async fn measured(probe: DnsProbe, timeout: Duration) -> CheckResult {
    let began = clock::now();
    let result = Probe::from(probe).measure(timeout).await;
    assert!(clock::now().since(began) < timeout + SLACK, "{result:?}");
    result
}

async fn fails(probe: DnsProbe, reason: FailReason) -> CheckResult {
    let result = measured(probe, LONG).await;
    assert_eq!(result.outcome, Outcome::Fail { reason, phase: Some(ProbePhase::FirstByte) }, "{result:?}");
    assert!(result.finished_at.since(result.started_at) < LONG / 2, "waited: {result:?}");
    result
}

async fn passes(probe: DnsProbe) -> CheckResult {
    let result = measured(probe, LONG).await;
    assert_eq!(result.outcome, Outcome::Pass, "{result:?}");
    result
}

#[tokio::test]
async fn a_name_has_records_and_the_expected_one_is_among_them() {
    let two = || answers(ANSWER, vec![address(1), address(2)]);
    let result = passes(two().await).await;
    assert_eq!(result.detail, "192.0.2.1, 192.0.2.2");
    assert!(result.phases.first_byte.is_some() && result.latency.is_some(), "{result:?}");
    passes(two().await.with_expect("192.0.2.2")).await;
    let result = fails(two().await.with_expect("192.0.2.3"), FailReason::ConditionFailed).await;
    assert_eq!(result.detail, "expected \"192.0.2.3\", got 192.0.2.1, 192.0.2.2");
    let text = answers(ANSWER, vec![record(ASKED, TXT, b"\x0bv=spf1 -all")]).await;
    passes(text.clone().with_record("TXT".parse().unwrap()).with_expect("spf1")).await;
    let result = fails(text, FailReason::ConditionMissing).await;
    assert_eq!(result.detail, "shop.test has no A record");
}

#[tokio::test]
async fn aliases_are_followed_and_circles_of_them_are_not() {
    let alias = |from: &str, to: &str| record(&name(from), CNAME, &name(to));
    let chain = vec![
        alias("shop.test", "a.test"),
        alias("a.test", "b.test"),
        record(&name("B.test"), A, &[192, 0, 2, 9]),
    ];
    assert_eq!(passes(answers(ANSWER, chain).await).await.detail, "192.0.2.9");
    let open = vec![alias("shop.test", "a.test")];
    fails(answers(ANSWER, open).await, FailReason::ConditionMissing).await;
    let circle = vec![alias("shop.test", "a.test"), alias("a.test", "shop.test")];
    let result = fails(answers(ANSWER, circle).await, FailReason::Protocol).await;
    assert!(result.detail.contains("a circle of them"), "{result:?}");
    let long = (0..100).map(|at| alias(&format!("n{at}.test"), &format!("n{}.test", at + 1)));
    let long = [vec![alias("shop.test", "n0.test")], long.collect()].concat();
    fails(answers(ANSWER, long).await, FailReason::Protocol).await;
}

#[tokio::test]
async fn an_error_of_the_server_says_which() {
    for (code, reason, words) in [
        (3, FailReason::NameNotFound, "there is no shop.test"),
        (2, FailReason::UnexpectedStatus, "the DNS server reports that it failed"),
        (5, FailReason::UnexpectedStatus, "the DNS server refuses to answer"),
    ] {
        let result = fails(answers(ANSWER | code, Vec::new()).await, reason).await;
        assert_eq!(result.detail, words);
    }
}

#[tokio::test]
async fn an_answer_to_another_question_is_passed_over() {
    let at = server(
        |query| {
            let mut other = answer(query, ANSWER, &[address(66)]);
            other[1] ^= 1;
            let mut name = answer(query, ANSWER, &[address(66)]);
            name[13] = b'x';
            let echo = query.to_vec();
            vec![other, name, echo, b"junk".to_vec(), Vec::new(), answer(query, ANSWER, &[address(1)])]
        },
        |_| Vec::new(),
    );
    assert_eq!(passes(probe(at.await)).await.detail, "192.0.2.1");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_comes_over_tcp() {
    let framed = |message: Vec<u8>| {
        let length = u16::try_from(message.len()).unwrap();
        [&length.to_be_bytes(), message.as_slice()].concat()
    };
    let cut = |query: &[u8]| vec![answer(query, ANSWER | CUT, &[])];
    let many = move |query: &[u8]| framed(answer(query, ANSWER, &(1..=100).map(address).collect::<Vec<_>>()));
    let result = passes(probe(server(cut, many).await).with_expect("192.0.2.100")).await;
    assert!(result.detail.ends_with("192.0.2.4 and 96 more"), "{result:?}");
    fails(probe(server(cut, |_| vec![0xff; 70_000]).await), FailReason::Protocol).await;
    fails(probe(server(cut, |_| vec![0, 99, 1, 2]).await), FailReason::Protocol).await;
    let wrong =
        move |query: &[u8]| framed(answer(&[b"\xff\xff", &query[2..]].concat(), ANSWER, &[address(1)]));
    let other = measured(probe(server(cut, wrong).await), LONG).await;
    assert!(matches!(other.outcome, Outcome::Fail { reason: FailReason::Protocol, .. }), "{other:?}");
}

#[tokio::test]
async fn an_answer_that_is_damaged_or_circular_is_none() {
    // A record whose name points at itself, one that is cut, and one that announces more than there is.
    let own_position = u8::try_from(12 + name("shop.test").len() + 4).unwrap();
    for damaged in [
        record(&[0xc0, own_position], A, &[192, 0, 2, 1]),
        ASKED.to_vec(),
        [ASKED, &[0, 1, 0, 1, 0, 0, 0, 60, 0xff, 0xff, 1]].concat(),
    ] {
        let result = fails(answers(ANSWER, vec![damaged]).await, FailReason::Protocol).await;
        assert!(result.detail.starts_with("not a DNS answer"), "{result:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_fails_at_the_deadline_and_one_that_is_gone_at_once() {
    let silent = probe(server(|_| Vec::new(), |_| Vec::new()).await);
    let result = calm::measured(&silent.into(), SHORT).await;
    let expected = Outcome::Fail { reason: FailReason::HeadersTimeout, phase: Some(ProbePhase::FirstByte) };
    assert_eq!(result.outcome, expected, "{result:?}");
    assert!(result.finished_at.since(result.started_at) >= SHORT && result.latency.is_none(), "{result:?}");
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    fails(probe(gone), FailReason::Refused).await;
}

#[tokio::test]
async fn a_query_that_is_lost_is_sent_again() {
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let second = move |query: &[u8]| match seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Vec::new(),
        _ => vec![answer(query, ANSWER, &[address(1)])],
    };
    let result = measured(probe(server(second, |_| Vec::new()).await), Duration::from_secs(4)).await;
    assert_eq!(result.outcome, Outcome::Pass, "{result:?}");
}
