//! Every route that changes something: by whom, from where, and with which content it is taken.

use crate::fake::Fake;
use crate::raw::Doors;

/// Method, path, and a body that would be carried out.
const ROUTES: &[(&str, &str, &str)] = &[
    ("POST", "/api/realms/api/start/", "{}"),
    ("POST", "/api/realms/api/signal/", r#"{"signal":"HUP"}"#),
    ("POST", "/api/realms/api/restart/", "{}"),
    ("POST", "/api/realms/api/pause/", r#"{"reason":"test"}"#),
    ("POST", "/api/realms/api/resume/", "{}"),
    ("POST", "/api/realms/api/reset/", "{}"),
    ("POST", "/api/realms/api/stop/", "{}"),
    ("POST", "/api/plan/", r#"{"action":"fail","realm":"api"}"#),
    ("POST", "/api/reload/", "{}"),
    ("PUT", "/api/realms/queue/", "{}"),
    ("DELETE", "/api/realms/queue/", ""),
    ("POST", "/api/daemon/upgrade/", "{}"),
    // The last one: it ends heartbeatd.
    ("POST", "/api/daemon/leave/", "{}"),
];

const JSON: &str = "Content-Type: application/json";

/// What the fake was asked to do.
fn asked(fake: &Fake) -> (u64, usize, u64) {
    (fake.commands(), fake.registered().len(), fake.departures())
}

#[tokio::test]
async fn what_no_form_of_a_page_can_send_is_required() {
    let fake = Fake::shop();
    let doors = Doors::open(&fake);
    let wrong: &[&[&str]] = &[
        &[],
        &["Content-Type: text/plain"],
        &["Content-Type: application/x-www-form-urlencoded"],
        &["Content-Type: multipart/form-data; boundary=x"],
        &["Content-Type: application/jsonx"],
        &["Content-Type: text/plain", JSON],
        &[JSON, "Content-Type: text/plain"],
    ];
    for (method, path, body) in ROUTES.iter().filter(|(method, ..)| *method != "DELETE") {
        for headers in wrong {
            let answer = doors.unix(method, path, headers, body).await;
            assert_eq!(answer.problem(415).kind, "heartbeat:not-json", "{method} {path} {headers:?}");
        }
    }
    assert_eq!(asked(&fake), (0, 0, 0));
}

#[tokio::test]
async fn a_request_of_a_foreign_page_is_refused_on_every_route() {
    let fake = Fake::shop();
    let doors = Doors::open(&fake);
    for (method, path, body) in ROUTES {
        for foreign in [
            "Origin: http://evil.example",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            let answer = doors.unix(method, path, &[JSON, foreign], body).await;
            assert_eq!(answer.problem(403).kind, "heartbeat:cross-site", "{method} {path} {foreign}");
        }
    }
    assert_eq!(asked(&fake), (0, 0, 0));
}

#[tokio::test]
async fn a_request_for_two_hosts_is_refused_on_every_route() {
    let fake = Fake::shop();
    let doors = Doors::open(&fake);
    for (method, path, body) in ROUTES {
        for second in ["Host: localhost", "Host: evil.example"] {
            doors.unix(method, path, &[JSON, second], body).await.problem(400);
            doors.tcp(method, path, &[JSON, second], body).await.problem(400);
        }
    }
    assert_eq!(asked(&fake), (0, 0, 0));
}

#[tokio::test]
async fn nothing_that_changes_something_is_taken_over_tcp_or_by_another_method() {
    let fake = Fake::shop();
    let doors = Doors::open(&fake);
    for (method, path, body) in ROUTES {
        let answer = doors.tcp(method, path, &[JSON], body).await;
        assert_eq!(answer.problem(403).kind, "heartbeat:not-on-this-door", "{method} {path}");
        for other in ["GET", "HEAD", "PATCH", "OPTIONS"] {
            let status = doors.unix(other, path, &[JSON], "").await.status;
            assert_eq!(status, 405, "{other} {path}");
        }
    }
    assert_eq!(asked(&fake), (0, 0, 0));
}

#[tokio::test]
async fn every_route_is_taken_from_those_who_may() {
    let fake = Fake::shop();
    let doors = Doors::open(&fake);
    for (method, path, body) in ROUTES {
        let answer = doors.unix(method, path, &[JSON], body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
    }
    assert_eq!(asked(&fake), (7, 2, 2));
}
