//! What a reader without a role sees: no arguments of commands, no queries of URLs, no output of realms, no text of the
//! configuration.

use std::time::Duration;

use heartbeat_status::{OwnProblemKind, ProbeKind, printed};
use heartbeat_supervisor::{Input, ProbeSource};
use heartbeat_wire::{AckEntry, ConfigProblem, StatusDocument, TimelineEntry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::access::ROUTES;
use crate::fake::{self, API, Fake, POSTGRES};
use crate::raw::Listeners;

/// In arguments and queries.
const SECRET: &str = "CANARY";
/// In a file that heartbeatd cannot load.
const IN_FILE: &str = "VALUE-IN-FILE";
/// In the output of a realm.
const OUTPUT: &str = "printed by a realm";

/// Every document that reads, whether it shows targets of probes, and whether it shows why the files do not load.
const DOCUMENTS: &[(&str, bool, bool)] = &[
    ("/", false, true),
    ("/api/status/", true, true),
    ("/api/status/?fields=summary", false, true),
    ("/api/status/api/", true, false),
    ("/api/status/postgres/", true, false),
    ("/api/realms/ecosystem-health/", true, true),
    ("/api/graph/", false, false),
    ("/api/graph/?format=dot", false, false),
    ("/api/graph/?format=mermaid", false, false),
    ("/api/incidents/", false, false),
    ("/api/health/", false, true),
    ("/metrics", false, false),
    ("/livez", false, false),
    ("/readyz", false, false),
];

fn secretive() -> std::sync::Arc<Fake> {
    let mut realms = fake::shop();
    let exec = format!("python -m worker.ping --token {SECRET}");
    realms[POSTGRES.index()].probes.push(fake::probe("exec", ProbeKind::Exec, &exec, ProbeSource::Measured));
    let http = format!("http://127.0.0.1:8001/api/health/?key={SECRET}");
    realms[API.index()].probes.push(fake::probe("keyed", ProbeKind::Http, &http, ProbeSource::Measured));
    let fake = Fake::cold(realms);
    fake.input(Input::Boot);
    fake.advance(Duration::from_secs(30));
    fake.prints(OUTPUT);
    let whole = format!("heartbeat.toml:12:9: HB111: `matches = \"{IN_FILE}\"` is no pattern");
    fake.cannot_load(ConfigProblem::new(
        whole,
        "heartbeat.toml:12, HB111; run `heartbeat-cli check` on the host",
    ));
    fake
}

#[tokio::test]
async fn no_document_over_tcp_shows_arguments_queries_or_output() {
    let fake = secretive();
    fake.exited(POSTGRES, heartbeat_status::Exit::code(1));
    let listeners = Listeners::open(&fake);
    for (path, shows_targets, shows_config) in DOCUMENTS {
        // In either order: what was built for one must not be served to the other.
        let first = listeners.tcp("GET", path, &[], "").await;
        let own = listeners.get(path).await;
        let again = listeners.tcp("GET", path, &[], "").await;
        for answer in [&first, &again] {
            assert!(answer.status == 200, "{path}: {}", answer.body);
            assert!(!answer.body.contains(SECRET), "{path}: {}", answer.body);
            assert!(!answer.body.contains(IN_FILE), "{path}: {}", answer.body);
            assert_eq!(
                answer.body.contains("heartbeat.toml:12, HB111"),
                *shows_config,
                "{path}: {}",
                answer.body
            );
        }
        assert_eq!(own.body.contains(SECRET), *shows_targets, "{path}: {}", own.body);
        assert_eq!(own.body.contains(IN_FILE), *shows_config, "{path}: {}", own.body);
    }
    let document: StatusDocument = listeners.tcp("GET", "/api/status/", &[], "").await.json();
    let targets: Vec<&str> =
        document.realms.iter().flat_map(|realm| &realm.probes).map(|probe| probe.target.as_str()).collect();
    assert!(
        targets.contains(&"python") && targets.contains(&"http://127.0.0.1:8001/api/health/"),
        "{targets:?}"
    );
}

/// The first bytes of a stream, up to the end of its first event.
async fn first_event(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, host: &str) -> String {
    stream.write_all(format!("GET /api/events/ HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    while text.matches("\n\n").count() < 1 || !text.contains("event: snapshot") {
        let mut bytes = [0; 4_096];
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{text}");
        text += &String::from_utf8_lossy(&bytes[..read]);
    }
    text
}

#[tokio::test]
async fn no_event_over_tcp_shows_arguments_or_queries() {
    let listeners = Listeners::open(&secretive());
    let tcp = TcpStream::connect(listeners.address).await.unwrap();
    let text = first_event(tcp, &listeners.address.to_string()).await;
    assert!(!text.contains(SECRET) && !text.contains(IN_FILE), "{text}");
    let text = first_event(UnixStream::connect(&listeners.socket).await.unwrap(), "localhost").await;
    assert!(text.contains(SECRET) && text.contains(IN_FILE), "{text}");
}

#[tokio::test]
async fn what_a_command_has_printed_is_shown_to_callers_with_a_role() {
    const PRINTED: &str = "password=hunter2";
    let text = format!("exit code 1: {}", printed::quoted(PRINTED));
    let fake = secretive();
    fake.says(&text);
    fake.break_probes(API);
    fake.advance(Duration::from_secs(12));
    let mut incident = fake::incident("0193", false);
    incident.message = format!("{text}, 3 times in a row");
    let at = incident.opened_at;
    let what = heartbeat_status::What::ProbeFailed.into();
    incident.timeline.push(TimelineEntry { at, realm: "api".to_owned(), what, detail: text });
    fake.remembers(vec![std::sync::Arc::new(incident)]);
    let listeners = Listeners::open(&fake);
    let events = ["/api/events/?facts=1&past=1000&follow=0", "/api/incidents/0193/"];
    let mut shown = Vec::new();
    for path in DOCUMENTS.iter().map(|(path, ..)| *path).chain(events) {
        let public = listeners.tcp("GET", path, &[], "").await;
        let own = listeners.get(path).await;
        assert!(!public.body.contains(PRINTED), "{path}: {}", public.body);
        for answer in [&public, &own] {
            assert!(!answer.body.contains(['\u{FDD0}', '\u{FDD1}']), "{path}: {}", answer.body);
        }
        if own.body.contains(PRINTED) {
            assert!(public.body.contains("exit code 1: (output)"), "{path}: {}", public.body);
            shown.push(path);
        }
    }
    for path in ["/api/incidents/", "/api/incidents/0193/"] {
        assert!(shown.contains(&path), "{path} does not show it to anyone: {shown:?}");
    }
}

#[tokio::test]
async fn no_answer_without_a_role_shows_a_secret_that_stands_in_a_sentence() {
    let text = format!(
        "cannot reach postgres://shop:{SECRET}@db/shop?token={SECRET}: Authorization: Bearer {SECRET}"
    );
    let fake = secretive();
    fake.says(&text);
    fake.break_probes(API);
    fake.advance(Duration::from_secs(12));
    fake.is_sick(OwnProblemKind::Notifications, &text);
    let mut incident = fake::incident("0193", true);
    let (at, what) = (incident.opened_at, heartbeat_status::What::ProbeFailed.into());
    incident.message.clone_from(&text);
    incident.resolution = Some(text.clone());
    incident.ack = Some(AckEntry { at, by: text.clone(), note: Some(text.clone()) });
    incident.timeline.push(TimelineEntry { at, realm: "api".to_owned(), what, detail: text });
    fake.remembers(vec![std::sync::Arc::new(incident)]);
    let listeners = Listeners::open(&fake);
    let served = ROUTES.iter().filter(|(.., without_token)| *without_token).map(|(path, ..)| *path);
    let more = [
        "/api/status/?fields=summary",
        "/api/graph/?format=dot",
        "/api/graph/?format=mermaid",
        "/api/events/?facts=1&past=1000&follow=0",
        "/api/status/password=CANARY/",
    ];
    let mut shown = Vec::new();
    for path in served.chain(more) {
        let public = listeners.tcp("GET", path, &[], "").await;
        let own = listeners.get(path).await;
        assert!(!public.body.contains(SECRET), "{path}: {}", public.body);
        if own.body.contains(SECRET) {
            shown.push(path);
        }
    }
    let public = listeners.tcp("GET", "/api/status/", &[], "").await;
    assert!(public.body.contains("postgres://(hidden)@db/shop?token=(hidden)"), "{}", public.body);
    for path in ["/api/status/", "/api/health/", "/api/incidents/", "/api/incidents/0193/"] {
        assert!(shown.contains(&path), "{path} shows it to no one: {shown:?}");
    }
}

#[tokio::test]
async fn output_of_realms_is_shown_on_the_socket_alone() {
    let fake = secretive();
    let listeners = Listeners::open(&fake);
    for path in ["/api/status/api/", "/api/incidents/", "/api/incidents/0193/"] {
        let public = listeners.tcp("GET", path, &[], "").await;
        let own = listeners.get(path).await;
        let public_again = listeners.tcp("GET", path, &[], "").await;
        assert_eq!((public.status, own.status), (200, 200), "{path}");
        assert!(own.body.contains(OUTPUT), "{path}: {}", own.body);
        for answer in [public, public_again] {
            assert!(
                !answer.body.contains(OUTPUT) && !answer.body.contains("log_tail"),
                "{path}: {}",
                answer.body
            );
        }
    }
}
