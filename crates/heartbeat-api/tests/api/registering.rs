//! Realms that are registered at run time, as requests.

use heartbeat_api::RejectionKind;
use heartbeat_wire::RegistrationDocument;

use crate::fake::Fake;
use crate::raw::Listeners;

const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn a_registration_goes_through_as_it_was_said_and_new_ones_are_created() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let body = r#"{"port":8005,"needs":["postgres"]}"#;
    let answer = listeners.unix("PUT", "/api/realms/shop", &[JSON], body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.json::<RegistrationDocument>().result, "registered");
    let dry = listeners.unix("PUT", "/api/realms/shop/?dry_run=1", &[JSON], body).await;
    assert_eq!((dry.status, dry.json::<RegistrationDocument>().dry_run), (200, true), "nothing is created");
    let gone = listeners.unix("DELETE", "/api/realms/shop/", &[], "").await;
    assert_eq!((gone.status, gone.json::<RegistrationDocument>().result.as_str()), (200, "removed"));
    let asked = [
        format!("registered shop false {body}"),
        format!("registered shop true {body}"),
        "removed shop false ".to_owned(),
    ];
    assert_eq!(fake.registered(), asked);
}

#[tokio::test]
async fn a_request_without_permission_or_json_is_refused_first() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    for (method, headers) in [("PUT", &[JSON][..]), ("DELETE", &[])] {
        let problem = listeners.tcp(method, "/api/realms/shop/", headers, "{}").await.problem(403);
        assert_eq!(problem.kind, "heartbeat:not-on-this-door");
        let foreign = [headers, &["Origin: http://attacker.example"]].concat();
        let problem = listeners.unix(method, "/api/realms/shop/", &foreign, "{}").await.problem(403);
        assert_eq!(problem.kind, "heartbeat:cross-site");
    }
    listeners.unix("PUT", "/api/realms/shop/", &["Content-Type: text/plain"], "{}").await.problem(415);
    listeners.unix("PUT", "/api/realms/shop/", &[], "{}").await.problem(415);
    let long = format!("{{\"title\":\"{}\"}}", "x".repeat(65 * 1024));
    listeners.unix("PUT", "/api/realms/shop/", &[JSON], &long).await.problem(413);
    listeners.unix("PUT", "/api/realms/shop/?dryrun=1", &[JSON], "{}").await.problem(400);
    listeners.unix("PUT", "/api/realms/shop/?dry_run=maybe", &[JSON], "{}").await.problem(400);
    let answer = listeners.get("/api/realms/shop/").await;
    answer.problem(405);
    assert_eq!(answer.header("allow"), Some("PUT, DELETE"));
    assert_eq!(
        listeners.unix("PUT", "/api/realms/ecosystem-health/", &[JSON], "{}").await.status,
        405,
        "reserved"
    );
    assert!(fake.registered().is_empty());
}

#[tokio::test]
async fn every_refusal_has_its_status_and_its_words() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    for (kind, status, code) in [
        (RejectionKind::Invalid, 400, "registration"),
        (RejectionKind::Denied, 403, "address-denied"),
        (RejectionKind::Configured, 409, "configured"),
        (RejectionKind::Needed, 409, "needed"),
        (RejectionKind::Conflict, 409, "conflict"),
        (RejectionKind::Full, 409, "too-many"),
        (RejectionKind::NotRemembered, 507, "not-remembered"),
        (RejectionKind::Unknown, 404, "no-such-realm"),
    ] {
        fake.reject(kind, &["this is why"]);
        let problem = listeners.unix("PUT", "/api/realms/shop/", &[JSON], "{}").await.problem(status);
        assert_eq!(problem.kind, format!("heartbeat:{code}"));
        assert!(problem.detail.starts_with("this is why"), "{}", problem.detail);
        let problem = listeners.unix("DELETE", "/api/realms/shop/", &[], "").await.problem(status);
        assert_eq!(problem.kind, format!("heartbeat:{code}"));
    }
    fake.reject(RejectionKind::Invalid, &["one", "two"]);
    let problem = listeners.unix("PUT", "/api/realms/shop/", &[JSON], "{}").await.problem(400);
    assert_eq!(
        (problem.detail.as_str(), problem.problems.len()),
        ("nothing was changed: 2 things are wrong", 2)
    );
    fake.end();
    listeners.unix("PUT", "/api/realms/shop/", &[JSON], "{}").await.problem(503);
}
