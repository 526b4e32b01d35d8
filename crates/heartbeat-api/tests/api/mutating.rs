//! Every route that changes something: by whom, from where, and with which content it is taken.

use std::sync::Arc;

use heartbeat_api::{Access, Token};

use crate::fake::Fake;
use crate::raw::Listeners;

/// Method, path, and a body that would be carried out.
const ROUTES: &[(&str, &str, &str)] = &[
    ("POST", "/api/realms/api/start/", "{}"),
    ("POST", "/api/realms/api/signal/", r#"{"signal":"HUP"}"#),
    ("POST", "/api/realms/api/restart/", "{}"),
    ("POST", "/api/realms/api/pause/", r#"{"reason":"test"}"#),
    ("POST", "/api/realms/api/resume/", "{}"),
    ("POST", "/api/realms/api/reset/", "{}"),
    ("POST", "/api/realms/api/stop/", "{}"),
    ("POST", "/api/incidents/0193/ack/", "{}"),
    ("POST", "/api/notify/ops/test/", r#"{"dry_run":true}"#),
    ("POST", "/api/beat/api/", "{}"),
    ("POST", "/api/beat/api/fail/", "{}"),
    ("POST", "/api/plan/", r#"{"action":"fail","realm":"api"}"#),
    ("POST", "/api/reload/", "{}"),
    ("PUT", "/api/realms/queue/", "{}"),
    ("DELETE", "/api/realms/queue/", ""),
    ("POST", "/api/daemon/upgrade/", "{}"),
    // The last one: it ends heartbeatd.
    ("POST", "/api/daemon/leave/", "{}"),
];

const JSON: &str = "Content-Type: application/json";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const BEARER: &str = "Authorization: Bearer 0123456789abcdef0123456789abcdef";

/// What the fake was asked to do: commands, registrations, departures, heartbeats.
fn asked(fake: &Fake) -> (u64, usize, u64, usize) {
    (fake.commands(), fake.registered().len(), fake.departures(), fake.beats.lock().unwrap().len())
}

/// Every route of the table was carried out, and none twice.
const EVERYTHING: (u64, usize, u64, usize) = (7, 2, 2, 2);
const NOTHING: (u64, usize, u64, usize) = (0, 0, 0, 0);

/// The shop, with an incident that can be acknowledged.
fn shop() -> Arc<Fake> {
    let fake = Fake::shop();
    fake.prints("a line");
    fake
}

fn with_token(fake: &Arc<Fake>) -> Listeners {
    Listeners::guarded(fake, Access { token: Some(Token::new(TOKEN).unwrap()), ..Access::default() })
}

/// Origins that a page of heartbeatd itself at `host` has.
fn own_origins(host: &str) -> [String; 2] {
    [format!("http://{host}"), format!("https://{host}")]
}

/// Origins that resemble `host` and are another page: by its begin, its end, its user, its port, its scheme.
fn foreign_origins(host: &str) -> Vec<String> {
    let name = host.split(':').next().unwrap_or(host);
    let like = [
        "http://HOST.evil.example",
        "http://HOST@evil.example",
        "http://evil.example@HOST",
        "http://evil.example/HOST",
        "http://evil.example#HOST",
        "http://evilHOST",
        "http://evil.HOST",
        "http://HOST0",
        "http://HOST.",
        "http://HOST/",
        "http://NAME:1",
        "http://NAME:65536",
        "http://NAME.:80",
        "http:///HOST",
        "http:HOST",
        "//HOST",
        "HOST",
        "ws://HOST",
        "file://HOST",
        "chrome-extension://HOST",
        "http://evil.example http://HOST",
        "http://HOST http://evil.example",
        "http://",
        "https://evil.example",
        "null",
        "",
    ];
    like.iter().map(|origin| origin.replace("HOST", host).replace("NAME", name)).collect()
}

#[tokio::test]
async fn what_no_form_of_a_page_can_send_is_required() {
    let fake = shop();
    let listeners = Listeners::open(&fake);
    let wrong: &[&[&str]] = &[
        &[],
        &["Content-Type: text/plain"],
        &["Content-Type: application/x-www-form-urlencoded"],
        &["Content-Type: multipart/form-data; boundary=x"],
        &["Content-Type: application/jsonx"],
        &["Content-Type: text/plain", JSON],
        &[JSON, "Content-Type: text/plain"],
        &[JSON, "Content-Encoding: gzip"],
    ];
    // A heartbeat has a message of any kind for its body.
    let takes_json = |(method, path): (&str, &str)| method != "DELETE" && !path.starts_with("/api/beat/");
    for (method, path, body) in ROUTES.iter().filter(|(method, path, _)| takes_json((method, path))) {
        for headers in wrong {
            let answer = listeners.unix(method, path, headers, body).await;
            assert_eq!(answer.problem(415).kind, "heartbeat:not-json", "{method} {path} {headers:?}");
        }
    }
    assert_eq!(asked(&fake), NOTHING);
}

#[tokio::test]
async fn a_request_of_a_foreign_page_is_refused_on_every_route() {
    let fake = shop();
    let listeners = Listeners::open(&fake);
    let guarded = with_token(&fake);
    let (host, own) = (guarded.address.to_string(), format!("Origin: http://{}", guarded.address));
    let on_tcp = foreign_origins(&host).into_iter().map(|origin| vec![format!("Origin: {origin}")]);
    let on_unix = ["http://localhost.evil.example", "http://evil.example", "null"];
    let on_unix = on_unix.map(|origin| vec![format!("Origin: {origin}")]).into_iter();
    let sites = ["cross-site", "same-site", "SAME-ORIGIN", "", "same-origin, cross-site"];
    let sites = || sites.iter().map(|site| vec![format!("Sec-Fetch-Site: {site}")]);
    // One header that is right does not make up for another one.
    let mixed = [
        vec![own.clone(), "Origin: http://evil.example".to_owned()],
        vec!["Origin: http://evil.example".to_owned(), own.clone()],
        vec![own, "Sec-Fetch-Site: cross-site".to_owned()],
        vec!["Sec-Fetch-Site: same-origin".to_owned(), "Origin: http://evil.example".to_owned()],
    ];
    let on_tcp: Vec<Vec<String>> = on_tcp.chain(sites()).chain(mixed).collect();
    let on_unix: Vec<Vec<String>> = on_unix.chain(sites()).collect();
    for (method, path, body) in ROUTES {
        for foreign in &on_unix {
            let headers: Vec<&str> = [JSON].into_iter().chain(foreign.iter().map(String::as_str)).collect();
            let answer = listeners.unix(method, path, &headers, body).await;
            assert_eq!(answer.problem(403).kind, "heartbeat:cross-site", "{method} {path} {foreign:?}");
        }
        for foreign in &on_tcp {
            let own = [JSON, BEARER].into_iter();
            let headers: Vec<&str> = own.chain(foreign.iter().map(String::as_str)).collect();
            let answer = guarded.tcp(method, path, &headers, body).await;
            assert_eq!(answer.problem(403).kind, "heartbeat:cross-site", "{method} {path} {foreign:?}");
        }
    }
    assert_eq!(asked(&fake), NOTHING);
}

#[tokio::test]
async fn a_request_of_its_own_page_is_taken_on_every_route() {
    for at in 0..own_origins("").len() {
        for site in ["same-origin", "none"] {
            let fake = shop();
            let guarded = with_token(&fake);
            let origin = format!("Origin: {}", own_origins(&guarded.address.to_string())[at]);
            let site = format!("Sec-Fetch-Site: {site}");
            for (method, path, body) in ROUTES {
                let answer = guarded.tcp(method, path, &[JSON, BEARER, &origin, &site], body).await;
                assert!((200..300).contains(&answer.status), "{method} {path} {origin}: {}", answer.body);
            }
            assert_eq!(asked(&fake), EVERYTHING);
        }
    }
}

#[tokio::test]
async fn a_request_for_two_hosts_is_refused_on_every_route() {
    let fake = shop();
    let listeners = Listeners::open(&fake);
    for (method, path, body) in ROUTES {
        for second in ["Host: localhost", "Host: evil.example"] {
            listeners.unix(method, path, &[JSON, second], body).await.problem(400);
            listeners.tcp(method, path, &[JSON, second], body).await.problem(400);
        }
    }
    assert_eq!(asked(&fake), NOTHING);
}

#[tokio::test]
async fn nothing_that_changes_something_is_taken_over_tcp_or_by_another_method() {
    let fake = shop();
    let listeners = Listeners::open(&fake);
    for (method, path, body) in ROUTES {
        let answer = listeners.tcp(method, path, &[JSON], body).await;
        assert_eq!(answer.problem(403).kind, "heartbeat:not-on-this-door", "{method} {path}");
        for other in ["GET", "HEAD", "PATCH", "OPTIONS"] {
            let status = listeners.unix(other, path, &[JSON], "").await.status;
            assert_eq!(status, 405, "{other} {path}");
        }
    }
    assert_eq!(asked(&fake), NOTHING);
}

#[tokio::test]
async fn every_route_is_accepted_from_clients_with_permission() {
    let fake = shop();
    let listeners = Listeners::open(&fake);
    for (method, path, body) in ROUTES {
        let answer = listeners.unix(method, path, &[JSON], body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
    }
    assert_eq!(asked(&fake), EVERYTHING);
}
