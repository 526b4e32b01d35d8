//! Heartbeats over the API: what is taken, of whom, and what is refused with its reason.

use heartbeat_api::{Access, Beat, BeatEvent, Token};

use crate::fake::Fake;
use crate::raw::Listeners;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn a_heartbeat_has_an_event_a_run_and_words() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let long = "x".repeat(20_000);
    for (path, words) in [
        ("/api/beat/api", "plain text"),
        ("/api/beat/api/ok/", ""),
        ("/api/beat/api/start/?run=a%20b", "{}"),
        ("/api/beat/api/fail", "no space\nleft"),
        ("/api/beat/api/3/", long.as_str()),
    ] {
        let answer = listeners.unix("POST", path, &[], words).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    let taken = std::mem::take(&mut *fake.beats.lock().unwrap());
    let beat = |event, run: Option<&str>, message: &str| Beat {
        event,
        run: run.map(str::to_owned),
        message: message.to_owned(),
    };
    let expected = [
        beat(BeatEvent::Ok, None, "plain text"),
        beat(BeatEvent::Ok, None, ""),
        beat(BeatEvent::Start, Some("a b"), "{}"),
        beat(BeatEvent::Fail, None, "no space\nleft"),
        beat(BeatEvent::Exit(3), None, &long[..10 * 1024]),
    ];
    assert_eq!(taken, expected);
}

#[tokio::test]
async fn what_is_no_heartbeat_is_refused_with_the_way_out() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let long = format!("/api/beat/api/?run={}", "r".repeat(65));
    for (path, status, words) in [
        ("/api/beat/apj/", 404, "api"),
        ("/api/beat/db/", 409, "push = \"60s\""),
        ("/api/beat/api/256/", 400, "an exit code from 0 to 255"),
        ("/api/beat/api/-1/", 400, "an exit code from 0 to 255"),
        ("/api/beat/api/+1/", 400, "an exit code from 0 to 255"),
        ("/api/beat/api/007/", 400, "an exit code from 0 to 255"),
        ("/api/beat/api/done/", 400, "start, ok, fail"),
        ("/api/beat/api/?run=a%0ab", 400, "`run`"),
        (&long, 400, "`run`"),
        ("/api/beat/api/?rid=1", 400, "`rid`"),
        ("/api/beat/api/ok/twice/", 404, "/api/"),
    ] {
        let problem = listeners.unix("POST", path, &[], "").await.problem(status);
        assert!(problem.detail.contains(words), "{path}: {}", problem.detail);
    }
    listeners.unix("GET", "/api/beat/api/", &[], "").await.problem(405);
    let foreign = listeners.unix("POST", "/api/beat/api/", &["Origin: http://evil.test"], "").await;
    foreign.problem(403);
    listeners.tcp("POST", "/api/beat/api/", &[], "").await.problem(403);
    assert!(fake.beats.lock().unwrap().is_empty());
    let guarded =
        Listeners::guarded(&fake, Access { token: Some(Token::new(TOKEN).unwrap()), ..Access::default() });
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(guarded.tcp("POST", "/api/beat/api/", &[&bearer], "").await.status, 200);
}
