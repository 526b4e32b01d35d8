//! Commands: plans, refusals, waits.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_api::Backend as _;
use heartbeat_status::{EdgeKind, Exit, Gate, OwnProblemKind, RealmName, Status, WhileDown};
use heartbeat_supervisor::{Input, NeedSpec, RealmSpec};
use heartbeat_wire::{ActionDocument, ReloadDocument};

use crate::fake::{API, Fake, MIGRATE, POSTGRES, shop};
use crate::raw::{Answer, Listeners, post, until};

fn steps(document: &ActionDocument) -> Vec<(u32, &str, &str)> {
    let action = |step: &heartbeat_wire::ActionStep| match step.action.known() {
        Some(action) => action.as_str(),
        None => "unknown",
    };
    document.steps.iter().map(|step| (step.wave, step.realm.as_str(), action(step))).collect()
}

/// Sends a command that waits, and returns once the core has taken it.
async fn under_way(
    listeners: &Listeners,
    fake: &Arc<Fake>,
    path: &str,
    body: &str,
) -> tokio::task::JoinHandle<Answer> {
    let before = fake.commands();
    let (socket, path, body) = (listeners.socket.clone(), path.to_owned(), body.to_owned());
    let asked = tokio::spawn(async move { post(&socket, &path, &body).await });
    until("the command is taken", || fake.commands() > before).await;
    asked
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let answer = listeners.post("/api/realms/postgres/stop", r#"{"dry_run":true,"cascade":true}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let plan: ActionDocument = answer.json();
    assert!(plan.dry_run && plan.result.is_none());
    assert_eq!(steps(&plan), [(1, "api", "stop"), (2, "postgres", "stop")]);
    assert_eq!(plan.steps[1].until.as_deref(), Some("api is stopped"));
    let plan: ActionDocument =
        listeners.post("/api/realms/postgres/stop/", r#"{"dry_run":true}"#).await.json();
    assert_eq!(plan.breaks, ["api"]);
    assert!(plan.message.unwrap().starts_with("would be refused: api needs postgres"));
    assert_eq!(fake.commands(), 0);
}

#[tokio::test]
async fn what_would_break_is_refused_with_the_plan_and_a_way_out() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let problem = listeners.post("/api/realms/postgres/stop/", "{}").await.problem(409);
    assert_eq!(problem.kind, "heartbeat:would-break");
    assert!(problem.detail.contains("cascade") && problem.detail.contains("force"), "{}", problem.detail);
    assert_eq!(problem.plan.unwrap().breaks, ["api"]);
    // Of several realms, only what a dependent needs is a reason.
    let problem = listeners.post("/api/realms/postgres,migrate/restart/", "{}").await.problem(409);
    assert!(problem.detail.contains("api needs postgres; nothing was changed"), "{}", problem.detail);
    let answer = listeners.post("/api/realms/postgres/restart/", r#"{"force":true}"#).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let document: ActionDocument = answer.json();
    assert_eq!(document.result.as_deref(), Some("accepted"));

    // Several are one command with one plan, or none of it.
    let together = listeners.post("/api/realms/api,postgres/restart/", r#"{"dry_run":true}"#).await;
    let plan: ActionDocument = together.json();
    assert_eq!((plan.realms, plan.refusal), (vec!["postgres".to_owned(), "api".to_owned()], None));
    listeners.post("/api/realms/api,nobody/restart/", "{}").await.problem(404);

    let problem = listeners.post("/api/realms/mail/start/", "{}").await.problem(409);
    assert_eq!(problem.kind, "heartbeat:external");
    listeners.post("/api/realms/nobody/start/", "{}").await.problem(404);
    for bad in [r#"{"casdace":true}"#, "{", r#"{"timeout_s":0}"#, r#"{"cascade":true,"force":true}"#] {
        listeners.post("/api/realms/api/start/", bad).await.problem(400);
    }
    let problem = listeners.post("/api/realms/api/stop/", r#"{"cascad":true}"#).await.problem(400);
    assert_eq!(problem.suggestions, ["cascade"]);
}

#[tokio::test]
async fn a_stuck_realm_gets_no_second_copy() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    fake.deafen(API);
    assert_eq!(listeners.post("/api/realms/api/stop/", "{}").await.status, 202);
    fake.advance(Duration::from_secs(60));
    let problem = listeners.post("/api/realms/api/start/", "{}").await.problem(409);
    assert_eq!(problem.kind, "heartbeat:stuck", "{}", problem.detail);
    fake.input(Input::Shutdown { now: false });
    let problem = listeners.post("/api/realms/api/start/", "{}").await.problem(503);
    assert_eq!(problem.kind, "heartbeat:shutting-down");
    fake.end();
    listeners.post("/api/realms/api/start/", "{}").await.problem(503);
    listeners.post("/api/realms/api/start/", r#"{"dry_run":true}"#).await.problem(503);
}

#[tokio::test]
async fn a_signal_is_sent_to_the_realm_and_to_no_other_process() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let answer =
        listeners.post("/api/realms/api/signal/", r#"{"signal":"SIGHUP","reason":"new names"}"#).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(steps(&answer.json()), [(1, "api", "signal")]);
    let whole =
        listeners.post("/api/realms/api/signal/", r#"{"signal":"USR1","tree":true,"dry_run":true}"#).await;
    assert_eq!(whole.status, 200, "{}", whole.body);
    let problem = listeners.post("/api/realms/mail/signal/", r#"{"signal":"HUP"}"#).await.problem(409);
    assert_eq!(problem.kind, "heartbeat:not-running", "{}", problem.detail);
    for (path, bad) in [
        ("signal", "{}"),
        ("signal", r#"{"signal":"HOP"}"#),
        ("signal", r#"{"signal":"0"}"#),
        ("signal", r#"{"tree":true}"#),
        ("restart", r#"{"signal":"HUP"}"#),
        ("stop", r#"{"tree":true}"#),
    ] {
        listeners.post(&format!("/api/realms/api/{path}/"), bad).await.problem(400);
    }
    let plan = listeners.post("/api/plan/", r#"{"action":"signal","realm":"api"}"#).await;
    plan.problem(400);
}

#[tokio::test]
async fn a_restart_is_waited_for_until_it_is_verified() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let body = r#"{"wait":"verified","timeout_s":15,"reason":"new\nlibrary"}"#;
    let asked = under_way(&listeners, &fake, "/api/realms/api/restart/", body).await;
    assert!(!asked.is_finished());
    fake.advance(Duration::from_secs(30));
    let answer = asked.await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let document: ActionDocument = answer.json();
    assert_eq!(document.result.as_deref(), Some("verified"));
    assert_eq!(steps(&document), [(1, "api", "stop"), (2, "api", "start")]);
}

#[tokio::test]
async fn a_restart_whose_first_attempt_fails_is_waited_for_until_a_later_one_is_verified() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let body = r#"{"wait":"verified","timeout_s":600}"#;
    let asked = under_way(&listeners, &fake, "/api/realms/api/restart/", body).await;
    let record = || fake.snapshot().realm(API).and_then(|realm| realm.restart.clone()).unwrap();
    let first = record().id;
    fake.exited(API, Exit::code(1));
    assert!(record().id > first && record().result.is_none(), "{:?}", record());
    fake.advance(Duration::from_secs(60));
    let answer = asked.await.unwrap();
    let document: ActionDocument = answer.json();
    assert_eq!((answer.status, document.result.as_deref()), (200, Some("verified")), "{}", answer.body);
}

#[tokio::test]
async fn a_wait_for_up_is_not_satisfied_by_what_was() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    fake.hold(API);
    let asked =
        under_way(&listeners, &fake, "/api/realms/api/restart/", r#"{"wait":"up","timeout_s":15}"#).await;
    // It was up when the command came; it is not now, and several looks at it change nothing.
    for _ in 0..5 {
        fake.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    assert!(!asked.is_finished());
    fake.release(API);
    fake.advance(Duration::from_secs(30));
    let answer = asked.await.unwrap();
    assert_eq!((answer.status, answer.json::<ActionDocument>().result.as_deref()), (200, Some("up")));
}

#[tokio::test]
async fn a_stop_is_waited_for_until_nothing_runs() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let body = r#"{"wait":"up","cascade":true,"timeout_s":15}"#;
    let answer = listeners.post("/api/realms/postgres/stop/", body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let document: ActionDocument = answer.json();
    assert_eq!(document.result.as_deref(), Some("stopped"));
    // And once more: there is nothing left to do, and it is so.
    let answer = listeners.post("/api/realms/postgres/stop/", body).await;
    let again: ActionDocument = answer.json();
    assert_eq!((answer.status, again.result.as_deref(), again.steps.len()), (200, Some("stopped"), 0));
    // What is started brings along what it needs, where that is said.
    let body = r#"{"wait":"up","timeout_s":15,"lift_holds":true}"#;
    let asked = under_way(&listeners, &fake, "/api/realms/api/start/", body).await;
    fake.advance(Duration::from_secs(10));
    let answer = asked.await.unwrap();
    assert_eq!(answer.json::<ActionDocument>().result.as_deref(), Some("up"), "{}", answer.body);
}

#[tokio::test]
async fn what_an_operator_has_stopped_is_named_and_stays_stopped() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let stop = r#"{"wait":"up","force":true,"reason":"disk repair until 17:00","timeout_s":15}"#;
    assert_eq!(listeners.post("/api/realms/postgres/stop/", stop).await.status, 200);
    fake.advance(Duration::from_secs(125));
    for extra in ["", r#","cascade":true"#, r#","force":true"#] {
        let answer =
            listeners.post("/api/realms/api/start/", &format!(r#"{{"reason":"deploy"{extra}}}"#)).await;
        let problem = answer.problem(409);
        assert_eq!(problem.kind, "heartbeat:held");
        let words =
            "postgres was stopped by an operator (root) 2m ago: disk repair until 17:00; nothing was changed";
        assert!(problem.detail.starts_with(words), "{}", problem.detail);
        let plan = problem.plan.unwrap();
        assert_eq!(plan.refusal.as_deref(), Some("held"));
        let hold = &plan.holds[0];
        let said = (hold.realm.as_str(), hold.by.as_deref(), hold.reason.as_deref());
        assert_eq!(said, ("postgres", Some("root"), Some("disk repair until 17:00")));
        assert!(hold.at.is_some() && hold.ago_s.is_some_and(|ago| (125.0..130.0).contains(&ago)), "{hold:?}");
    }
    let dry = listeners.post("/api/realms/api/start/", r#"{"dry_run":true}"#).await;
    let dry: ActionDocument = dry.json();
    assert!(dry.message.unwrap().starts_with("would be refused: postgres was stopped by an operator"));
    let stopped = heartbeat_api::Backend::snapshot(&*fake);
    assert_eq!(stopped.find("postgres").unwrap().status, Status::Stopped);
}

#[tokio::test]
async fn too_late_says_what_is_missing() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    fake.hold(API);
    let answer = listeners.post("/api/realms/api/restart/", r#"{"wait":"up","timeout_s":0.05}"#).await;
    let problem = answer.problem(504);
    assert!(problem.detail.contains("api is restarting"), "{}", problem.detail);
    assert_eq!(problem.plan.unwrap().realms, ["api"]);
}

#[tokio::test]
async fn a_failed_realm_ends_the_wait() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let asked =
        under_way(&listeners, &fake, "/api/realms/api/restart/", r#"{"wait":"verified","timeout_s":15}"#)
            .await;
    let failed = || {
        let snapshot = heartbeat_api::Backend::snapshot(&*fake);
        snapshot.realm(API).is_some_and(|realm| realm.status == Status::Failed)
    };
    // Ends at every attempt, until its budget is spent.
    for _ in 0..200 {
        if failed() {
            break;
        }
        if heartbeat_api::Backend::snapshot(&*fake)
            .realm(API)
            .is_some_and(|realm| realm.process.pid.is_some())
        {
            fake.exited(API, Exit::code(1));
        }
        fake.advance(Duration::from_secs(1));
    }
    assert!(failed(), "the budget is spent at some time");
    let answer = asked.await.unwrap();
    let document: ActionDocument = answer.json();
    assert_eq!((answer.status, document.result.as_deref()), (200, Some("failed")), "{}", answer.body);
    assert!(document.message.unwrap().starts_with("api failed: "));
}

#[tokio::test]
async fn a_waiting_client_learns_of_a_later_command_or_the_end() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    fake.hold(API);
    let asked =
        under_way(&listeners, &fake, "/api/realms/api/restart/", r#"{"wait":"verified","timeout_s":15}"#)
            .await;
    assert_eq!(listeners.post("/api/realms/api/stop/", "{}").await.status, 202);
    let document: ActionDocument = asked.await.unwrap().json();
    assert_eq!(document.result.as_deref(), Some("failed"));
    assert!(document.message.unwrap().contains("taken out of this command: stopped by"));

    fake.break_probes(POSTGRES);
    let asked =
        under_way(&listeners, &fake, "/api/realms/postgres/restart/", r#"{"wait":"up","timeout_s":15}"#)
            .await;
    fake.input(Input::Shutdown { now: false });
    asked.await.unwrap().problem(503);
}

#[tokio::test]
async fn a_pause_has_a_reason_and_an_end() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    listeners.post("/api/realms/api/pause/", "{}").await.problem(400);
    listeners.post("/api/realms/api/pause/", r#"{"reason":"x","for_s":0}"#).await.problem(400);
    listeners.post("/api/realms/api/restart/", r#"{"for_s":5}"#).await.problem(400);
    let answer = listeners.post("/api/realms/api/pause/", r#"{"reason":"moving house","for_s":60}"#).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let shown = || fake.snapshot().find("api").unwrap().clone();
    assert_eq!((shown().status, shown().why.message.as_str()), (Status::Paused, "moving house"));
    fake.advance(Duration::from_secs(61));
    assert_eq!(shown().status, Status::Up, "it ended by itself");
    listeners.post("/api/realms/api/pause/", r#"{"reason":"again"}"#).await;
    listeners.post("/api/realms/api/resume/", "{}").await;
    assert!(shown().pause.is_none());
}

#[tokio::test]
async fn a_planned_failure_lists_every_realm_it_would_block() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let body = r#"{"action":"fail","realm":"postgres"}"#;
    let plan: ActionDocument = listeners.post("/api/plan/", body).await.json();
    assert!(plan.dry_run && plan.action.to_string() == "fail");
    assert_eq!(plan.breaks, ["api"]);
    assert_eq!(
        effects(&plan),
        [
            ("postgres", "is restarted"),
            ("migrate", "is not affected: it is done"),
            (
                "api",
                "keeps running; if its own probes fail too, it is blocked by postgres, and not restarted"
            ),
        ]
    );
    assert_eq!(plan.message.as_deref(), Some("1 other realm is affected"));
    assert_eq!(plan.steps.iter().map(|step| step.realm.as_str()).collect::<Vec<_>>(), ["postgres"]);
    let plan: ActionDocument =
        listeners.post("/api/plan/", r#"{"action":"stop","realm":"postgres","cascade":true}"#).await.json();
    assert_eq!(steps(&plan), [(1, "api", "stop"), (2, "postgres", "stop")]);
    let problem = listeners.post("/api/plan/", r#"{"action":"fial","realm":"postgres"}"#).await.problem(400);
    assert_eq!(problem.suggestions, ["fail"]);
    listeners.post("/api/plan/", "{").await.problem(400);
    assert_eq!(fake.commands(), 0);
}

fn effects(plan: &ActionDocument) -> Vec<(&str, &str)> {
    plan.effects.iter().map(|effect| (effect.realm.as_str(), effect.message.as_str())).collect()
}

#[tokio::test]
async fn a_failure_says_of_each_dependent_what_becomes_of_it() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let fail = async |realm: &str| -> ActionDocument {
        let body = format!(r#"{{"action":"fail","realm":"{realm}"}}"#);
        listeners.post("/api/plan/", &body).await.json()
    };
    // A oneshot is needed for the start alone.
    let plan = fail("migrate").await;
    assert_eq!(
        effects(&plan),
        [("migrate", "is run again"), ("api", "is not affected: it needed migrate only for its start"),]
    );
    assert_eq!((plan.breaks.len(), plan.message.as_deref()), (0, Some("no other realm is affected")));
    let plan = fail("mail").await;
    assert_eq!(
        effects(&plan),
        [
            ("mail", "is not restarted: heartbeatd only watches it"),
            ("api", "is not affected: it wants mail, but does not need it"),
        ]
    );
    assert_eq!(effects(&fail("api").await), [("api", "is restarted")]);
    listeners.post("/api/realms/api/stop/", r#"{"wait":"up"}"#).await;
    fake.advance(Duration::from_secs(20));
    let plan = fail("postgres").await;
    assert!(effects(&plan).contains(&("api", "is not affected: it is stopped")), "{plan:#?}");
    let plan = fail("migrate").await;
    assert_eq!(effects(&plan)[1..], [("api", "is not affected: it is stopped")], "{plan:#?}");
}

#[tokio::test]
async fn a_failure_is_foreseen_with_while_down_and_through_others() {
    let mut realms = shop();
    let mut web = RealmSpec::service(RealmName::new("web").unwrap());
    web.needs =
        vec![NeedSpec { realm: API, kind: EdgeKind::Needs, until: Gate::Up, while_down: WhileDown::Stop }];
    realms.push(web);
    let fake = Fake::cold(realms);
    let listeners = Listeners::open(&fake);
    let body = r#"{"action":"fail","realm":"postgres"}"#;
    let plan: ActionDocument = listeners.post("/api/plan/", body).await.json();
    // Nothing runs yet.
    assert_eq!(
        effects(&plan)[1..],
        [
            ("migrate", "starts only when postgres is up"),
            ("api", "starts only when postgres is up and migrate is done"),
            ("web", "starts only when api is up"),
        ]
    );
    fake.input(Input::Boot);
    fake.advance(Duration::from_secs(2));
    fake.exited(MIGRATE, Exit::code(0));
    fake.advance(Duration::from_secs(28));
    let plan: ActionDocument = listeners.post("/api/plan/", body).await.json();
    assert_eq!(
        effects(&plan).last(),
        Some(&("web", "is stopped, and starts again when api is up")),
        "{plan:#?}"
    );
    assert_eq!(plan.message.as_deref(), Some("2 other realms are affected"));
    assert_eq!(plan.breaks, ["api"]);
}

#[tokio::test]
async fn a_reload_says_what_it_changes_or_everything_that_is_wrong() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let document: ReloadDocument = listeners.post("/api/reload/", r#"{"dry_run":true}"#).await.json();
    assert!(document.dry_run && document.added == ["mail"], "{document:?}");
    let document: ReloadDocument = listeners.post("/api/reload", "").await.json();
    assert!(!document.dry_run);
    let problem = listeners.post("/api/reload/", r#"{"dryrun":true}"#).await.problem(400);
    assert!(problem.detail.contains("dry_run"), "{}", problem.detail);
    fake.misconfigure(&[
        "heartbeat.toml:3:1: HB101: unknown key `prot` in a realm",
        "heartbeat.toml:5:1: HB202: no",
    ]);
    let problem = listeners.post("/api/reload/", "{}").await.problem(422);
    assert_eq!(problem.problems.len(), 2);
    assert!(problem.detail.contains("nothing was changed"), "{}", problem.detail);
}

#[tokio::test]
async fn a_command_that_cannot_be_remembered_is_carried_out_and_says_so() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    fake.cannot_write("cannot write intent: No space left on device");
    for (body, result) in [("{}", "accepted"), (r#"{"wait":"up","force":true}"#, "up")] {
        let problem = listeners.post("/api/realms/api/start/", body).await.problem(507);
        assert_eq!((problem.kind.as_str(), problem.applied), ("heartbeat:not-remembered", Some(true)));
        assert!(
            problem.detail.starts_with("start api was carried out, but it is not on disk"),
            "{}",
            problem.detail
        );
        assert!(problem.detail.contains("No space left on device"), "{}", problem.detail);
        assert!(
            problem.detail.contains(", and a reboot or a stop of everything would"),
            "{}",
            problem.detail
        );
        assert_eq!(problem.plan.unwrap().result.as_deref(), Some(result));
    }
    assert_eq!(fake.commands(), 2);
    fake.is_sick(OwnProblemKind::Records, "No space left on device");
    let problem = listeners.post("/api/realms/api/start/", "{}").await.problem(507);
    assert!(problem.detail.contains(", and a restart of heartbeatd would forget it"), "{}", problem.detail);
    // What changes nothing is not to be remembered.
    assert_eq!(listeners.post("/api/realms/api/stop/", r#"{"dry_run":true}"#).await.status, 200);
    let problem = listeners.post("/api/realms/postgres/stop/", "{}").await.problem(409);
    assert_eq!(problem.applied, None, "what is refused was not carried out");
}

#[tokio::test]
async fn a_body_is_a_json_object() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let routes = [
        "/api/realms/api/start/",
        "/api/realms/api/stop/",
        "/api/realms/api/restart/",
        "/api/realms/api/pause/",
        "/api/realms/api/resume/",
        "/api/realms/api/reset/",
        "/api/realms/api/signal/",
        "/api/plan/",
        "/api/reload/",
        "/api/daemon/leave/",
        "/api/daemon/upgrade/",
    ];
    for path in routes {
        for body in [r#"["because",true]"#, "[true]", "true", "\"x\"", "null", "7", " [] "] {
            let problem = listeners.post(path, body).await.problem(400);
            assert!(problem.detail.contains("JSON object"), "{path} {body}: {}", problem.detail);
        }
    }
    for path in ["/api/daemon/leave/", "/api/daemon/upgrade/"] {
        listeners.post(path, r#"{"dry_run":true}"#).await.problem(400);
        listeners.post(path, "{").await.problem(400);
    }
    let json = "Content-Type: application/json";
    for method in ["PUT", "DELETE"] {
        listeners.unix(method, "/api/realms/queue/", &[json], "[1]").await.problem(400);
    }
    assert_eq!((fake.commands(), fake.registered().len()), (0, 0));
}
