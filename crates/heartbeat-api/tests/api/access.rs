//! Every route, at every listener, with every method: who reaches what.

use heartbeat_api::{Access, Limits, Token};
use heartbeat_wire::StatusDocument;

use crate::fake::{API, Fake};
use crate::raw::Listeners;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const JSON: &str = "Content-Type: application/json";

/// Path, methods, a body that is carried out, and whether TCP serves it without a token.
pub(crate) const ROUTES: &[(&str, &[&str], &str, bool)] = &[
    ("/", &["GET", "HEAD"], "", true),
    ("/livez", &["GET", "HEAD"], "", true),
    ("/readyz", &["GET", "HEAD"], "", true),
    ("/api/health/", &["GET", "HEAD"], "", true),
    ("/api/status/", &["GET", "HEAD"], "", true),
    ("/api/status/api/", &["GET", "HEAD"], "", true),
    ("/api/realms/ecosystem-health/", &["GET", "HEAD"], "", true),
    ("/api/graph/", &["GET", "HEAD"], "", true),
    ("/api/events/?follow=0", &["GET", "HEAD"], "", true),
    ("/api/incidents/", &["GET", "HEAD"], "", true),
    ("/api/incidents/0193/", &["GET", "HEAD"], "", true),
    ("/api/incidents/0193/ack/", &["POST"], "{}", false),
    ("/api/notify/ops/test/", &["POST"], r#"{"dry_run":true}"#, false),
    ("/api/incidents/0193/evidence/", &["GET", "HEAD"], "", false),
    ("/api/incidents/0193/notifications/", &["GET", "HEAD"], "", false),
    ("/metrics", &["GET", "HEAD"], "", true),
    ("/api/history/", &["GET", "HEAD"], "", true),
    ("/api/history/api/", &["GET", "HEAD"], "", true),
    ("/api/slo/", &["GET", "HEAD"], "", false),
    ("/api/report/", &["GET", "HEAD"], "", false),
    ("/api/logs/api/", &["GET", "HEAD"], "", false),
    ("/api/plan/", &["POST"], r#"{"action":"fail","realm":"api"}"#, false),
    ("/api/reload/", &["POST"], "{}", false),
    ("/api/beat/api/", &["POST"], "done", false),
    ("/api/beat/api/start/", &["POST"], "begins", false),
    ("/api/realms/api/start/", &["POST"], "{}", false),
    ("/api/realms/api/stop/", &["POST"], r#"{"dry_run":true}"#, false),
    ("/api/realms/api/restart/", &["POST"], r#"{"dry_run":true}"#, false),
    ("/api/realms/api/pause/", &["POST"], r#"{"reason":"x","dry_run":true}"#, false),
    ("/api/realms/api/resume/", &["POST"], r#"{"dry_run":true}"#, false),
    ("/api/realms/api/reset/", &["POST"], r#"{"dry_run":true}"#, false),
    ("/api/realms/api/signal/", &["POST"], r#"{"signal":"HUP","dry_run":true}"#, false),
    ("/api/realms/api/mute/", &["POST"], r#"{"reason":"x","for_s":60}"#, false),
    ("/api/realms/api/unmute/", &["POST"], "{}", false),
    ("/api/realms/queue/", &["PUT", "DELETE"], "{}", false),
    ("/api/daemon/upgrade/", &["POST"], "{}", false),
    // The last one: it ends heartbeatd.
    ("/api/daemon/leave/", &["POST"], "{}", false),
];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

fn fake(dir: &tempfile::TempDir) -> std::sync::Arc<Fake> {
    let fake = Fake::shop();
    fake.prints("a line of output");
    let log = dir.path().join("api.log");
    std::fs::write(&log, "a line\n").unwrap();
    fake.writes(API, heartbeat_api::Output::File(log));
    fake
}

fn guarded() -> Access {
    Access { token: Some(Token::new(TOKEN).unwrap()), ..Access::default() }
}

#[tokio::test]
async fn every_route_answers_every_method_at_every_listener_as_the_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let open = Listeners::open(&fake(&dir));
    let closed = Listeners::guarded(&fake(&dir), guarded());
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for (path, methods, body, on_tcp) in ROUTES {
        for method in METHODS {
            let body = if methods.contains(&method) { *body } else { "" };
            let served = if methods.contains(&method) { 200 } else { 405 };
            let good = |status: u16| if (200..300).contains(&status) { 200 } else { status };
            let what = format!("{method} {path}");
            let socket = open.unix(method, path, &[JSON], body).await;
            assert_eq!(good(socket.status), served, "the socket: {what} {}", socket.body);
            let tcp = open.tcp(method, path, &[JSON], body).await;
            assert_eq!(good(tcp.status), if *on_tcp { served } else { 403 }, "TCP: {what}");
            let with_token = closed.tcp(method, path, &[JSON, &bearer], body).await;
            assert_eq!(good(with_token.status), served, "with the token: {what}");
            for wrong in [&[JSON][..], &[JSON, "Authorization: Bearer 0123456789abcdef0123456789abcdeX"]] {
                let refused = closed.tcp(method, path, wrong, body).await;
                assert_eq!(refused.status, 401, "without the token: {what}");
                assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"heartbeatd\""));
            }
            assert_eq!(good(closed.unix(method, path, &[JSON], body).await.status), served, "{what}");
        }
    }
}

#[tokio::test]
async fn a_client_with_the_token_sees_what_the_socket_shows() {
    let dir = tempfile::tempdir().unwrap();
    let listeners = Listeners::guarded(&fake(&dir), guarded());
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for path in ["/api/status/api/", "/api/incidents/0193/", "/api/logs/api/"] {
        let answer = listeners.tcp("GET", path, &[&bearer], "").await;
        assert!(answer.status == 200 && answer.body.contains("a line"), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_name_of_hosts_means_this_server_and_any_other_name_does_not() {
    let access = Access { hosts: vec!["monitor.example.org".to_owned()], ..Access::default() };
    let listeners = Listeners::guarded(&Fake::shop(), access);
    for (host, status) in [
        ("monitor.example.org", 200),
        ("MONITOR.example.org:8443", 200),
        ("evil.example.org", 421),
        ("monitor.example.org.evil.example", 421),
    ] {
        let answer = listeners.tcp_bare("GET", "/api/status/", &[&format!("Host: {host}")], "").await;
        assert_eq!(answer.status, status, "{host}");
    }
    // A page of that name may not change anything, also with a name that is ours.
    let headers = ["Host: monitor.example.org", "Origin: https://monitor.example.org", JSON];
    assert_eq!(listeners.tcp_bare("POST", "/api/realms/api/stop/", &headers, "{}").await.status, 403);
}

#[tokio::test]
async fn an_idle_connection_gives_its_place_to_a_new_one_and_a_waiting_request_keeps_its_place() {
    let limits = Limits { max_connections: 2, ..Limits::default() };
    let listeners = Listeners::with(&Fake::shop(), limits);
    let document: StatusDocument = listeners.get("/api/status/").await.json();
    let mut waiting = tokio::net::TcpStream::connect(listeners.address).await.unwrap();
    let before = listeners.api.counts().requests;
    let request = format!(
        "GET /api/status/?since={}-{}&wait=60s HTTP/1.1\r\nHost: {}\r\n\r\n",
        document.instance, document.revision, listeners.address
    );
    tokio::io::AsyncWriteExt::write_all(&mut waiting, request.as_bytes()).await.unwrap();
    crate::raw::until("the long poll waits", || listeners.api.counts().requests > before).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(tokio::net::TcpStream::connect(listeners.address).await.unwrap());
        assert_eq!(
            listeners.tcp("GET", "/livez", &[], "").await.status,
            200,
            "an idle client keeps nobody out"
        );
    }
    assert_eq!(listeners.api.counts().excess, 0);
    let waits =
        tokio::time::timeout(std::time::Duration::from_millis(20), crate::raw::read_all(&mut waiting));
    assert!(waits.await.is_err(), "the long poll still waits");
}
