//! Documents compared byte by byte with committed samples: virtual time gives the same bytes in every run.

use std::path::Path;
use std::time::Duration;

use heartbeat_status::Exit;
use heartbeat_wire::{
    ActionDocument, GraphDocument, HealthDocument, LogsDocument, Problem, RealmDocument,
    RegistrationDocument, StatusDocument,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::fake::{Fake, POSTGRES, many_measured};
use crate::raw::{Answer, Listeners, read_all};

/// Set it to any value to write the samples anew; then read the difference before committing it.
const BLESS: &str = "HEARTBEAT_BLESS";

/// `D` is what a client reads it as: nothing may be lost on the way through it.
fn compare<D: DeserializeOwned + Serialize>(name: &str, answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.body);
    let value: serde_json::Value = answer.json();
    assert_eq!(serde_json::to_value(answer.json::<D>()).unwrap(), value, "{name}");
    let text = pretty(&answer.body, &value);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name);
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let sample = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(sample == text, "{name} differs from its sample ({BLESS}=1 writes it anew):\n{text}");
}

/// Indented, with the members in the order they were sent in.
fn pretty(body: &str, value: &serde_json::Value) -> String {
    let mut text = String::new();
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let mut rest = body.chars().peekable();
    while let Some(c) = rest.next() {
        if quoted {
            text.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        let newline = |text: &mut String, depth: usize| {
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
        };
        match c {
            '{' | '[' => {
                text.push(c);
                if rest.next_if(|next| matches!(next, '}' | ']')).is_some() {
                    text.push(if c == '{' { '}' } else { ']' });
                } else {
                    depth += 1;
                    newline(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                newline(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                newline(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ => {
                text.push(c);
                quoted = c == '"';
            }
        }
    }
    text.push('\n');
    let again: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(&again, value, "indenting changes nothing");
    text
}

#[tokio::test]
async fn the_metrics_are_as_committed_and_bounded() {
    let fake = Fake::shop();
    fake.knows_everything();
    let listeners = Listeners::open(&fake);
    let answer = listeners.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/metrics.txt");
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &answer.body).unwrap();
    }
    let sample = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(sample == answer.body, "metrics.txt differs from its sample:\n{}", answer.body);
    // Every family is declared once, before its samples, and the text has its end.
    let types: Vec<&str> = sample.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let names: std::collections::BTreeSet<&str> =
        types.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names.len(), types.len(), "{types:?}");
    assert!(sample.ends_with("\n# EOF\n"));
    let realms = sample.lines().filter(|line| line.starts_with("heartbeat_realm_up{")).count();
    let of_realms = sample.lines().filter(|line| line.contains("{realm=")).count();
    assert!(of_realms <= 32 * realms, "at most 32 series per realm: {of_realms} of {realms}");
    // Readers share one body.
    assert_eq!(listeners.get("/metrics").await.body, sample);
}

/// With one measured probe for each of half of the realms and two for the others, and everything known. With
/// `--nocapture` it prints the figures of docs/benchmarks.md.
#[tokio::test]
async fn a_thousand_realms_have_a_bounded_number_of_series_in_bounded_bytes() {
    const REALMS: usize = 1_000;
    const MAX_SERIES: usize = 32_000;
    const MAX_GZIP_BYTES: usize = 400 * 1_000;
    const SCRAPES: u32 = 20;
    let fake = Fake::cold(many_measured(REALMS));
    fake.input(heartbeat_supervisor::Input::Boot);
    fake.advance(Duration::from_secs(30));
    fake.knows_everything();
    let listeners = Listeners::open(&fake);
    let plain = listeners.get("/metrics").await;
    let series = plain.body.lines().filter(|line| !line.starts_with('#')).count();
    let of_realms = plain.body.lines().filter(|line| line.starts_with("heartbeat_realm_up{")).count();
    assert_eq!(of_realms, REALMS);
    let gzip = listeners.unix("GET", "/metrics", &["Accept-Encoding: gzip"], "").await;
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let bytes: usize = gzip.header("content-length").unwrap().parse().unwrap();
    let mut figures = Vec::new();
    for accepts in ["", "Accept-Encoding: gzip\r\n"] {
        let head = format!("HEAD /metrics HTTP/1.0\r\nHost: localhost\r\n{accepts}\r\n");
        // What one scrape has used is known to a tick of the scheduler only, and that of many together is exact enough.
        let mut used = Duration::ZERO;
        for _ in 0..SCRAPES {
            fake.advance(Duration::from_millis(300));
            let before = processor_time();
            let mut stream = UnixStream::connect(&listeners.socket).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            assert!(read_all(stream).await.starts_with(b"HTTP/1.0 200"));
            used += processor_time().saturating_sub(before);
        }
        figures.push(used / SCRAPES);
    }
    println!(
        "{series} series, {} bytes, {bytes} bytes gzipped; processor time without the transfer: {figures:?}",
        plain.body.len()
    );
    assert!((28_000..=MAX_SERIES).contains(&series), "{series}");
    assert!(bytes <= MAX_GZIP_BYTES, "{bytes}");
}

/// What this thread has used so far: the server of these tests runs on it, too.
fn processor_time() -> Duration {
    let used = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = used.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

#[tokio::test]
async fn the_documents_are_as_committed() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    compare::<GraphDocument>("graph.json", &listeners.get("/api/graph/").await, 200);
    compare::<HealthDocument>("health.json", &listeners.get("/api/health/").await, 200);
    compare::<StatusDocument>("summary.json", &listeners.get("/api/status/?fields=summary").await, 200);
    let plan = listeners.post("/api/realms/postgres/restart/", r#"{"dry_run":true,"cascade":true}"#).await;
    compare::<ActionDocument>("action.json", &plan, 200);
    compare::<Problem>(
        "problem-would-break.json",
        &listeners.post("/api/realms/postgres/stop/", "{}").await,
        409,
    );
    compare::<Problem>("problem-no-such-realm.json", &listeners.get("/api/status/postgers/").await, 404);
    compare::<StatusDocument>("status-up.json", &listeners.get("/api/status/").await, 200);

    let json = ["Content-Type: application/json"];
    let body = r#"{"port":8005,"needs":["postgres"]}"#;
    let put = listeners.unix("PUT", "/api/realms/shop/", &json, body).await;
    compare::<RegistrationDocument>("registration.json", &put, 201);
    fake.reject(
        heartbeat_api::RejectionKind::Invalid,
        &["the registration of shop: HB130: `run` is not for a realm that is registered (help: a realm with a command, or with anything else that acts, belongs in the configuration)"],
    );
    let refused = listeners.unix("PUT", "/api/realms/shop/", &json, r#"{"run":"shop"}"#).await;
    compare::<Problem>("problem-registration.json", &refused, 400);

    let log = crate::logs::Log::new(&fake, POSTGRES);
    log.append("starting\n  \u{1b}[31mlistening\ton 5432\n");
    log.has_lost((3, 17), 4_096);
    compare::<LogsDocument>("logs.json", &listeners.get("/api/logs/postgres/?lines=1").await, 200);

    fake.break_probes(POSTGRES);
    fake.exited(POSTGRES, Exit::code(1));
    fake.advance(Duration::from_millis(800));
    compare::<StatusDocument>("status-outage.json", &listeners.get("/api/status/").await, 200);
    compare::<RealmDocument>("realm.json", &listeners.get("/api/status/postgres/").await, 200);
}
