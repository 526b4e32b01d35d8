//! Every route, its status codes, and who may do what at which door.

use heartbeat_wire::{
    GraphDocument, HealthDocument, HistoryDocument, IncidentDocument, IncidentsDocument, MuteDocument,
    NotifyTestDocument, RealmDocument, ReportDocument, SloDocument, StatusDocument, StripsDocument,
};
use std::time::Duration;

use heartbeat_status::{Health, OwnProblemKind, Status};
use heartbeat_supervisor::Input;
use tokio::time::timeout;

use crate::fake::{API, Fake, POSTGRES, incident};
use crate::raw::Listeners;

/// Routes of the contract that are built, for reading.
const BUILT: &[&str] = &[
    "/",
    "/livez",
    "/readyz",
    "/api/health/",
    "/api/status/",
    "/api/status/api/",
    "/api/realms/ecosystem-health/",
    "/api/graph/",
    "/api/incidents/",
    "/metrics",
];

/// Paths that are reserved for later: they are not served, whatever the method is.
const RESERVED: &[(&str, &str)] =
    &[("/api/config/", "/api/config/"), ("/api/openapi.json", "/api/openapi.json")];

#[tokio::test]
async fn every_route_answers_on_both_listeners_with_and_without_the_slash() {
    let listeners = Listeners::open(&Fake::shop());
    for path in BUILT {
        let bare = if *path == "/" { "/" } else { path.trim_end_matches('/') };
        for path in [bare.to_owned(), format!("{}/", bare.trim_end_matches('/'))] {
            let (unix, tcp) = (listeners.get(&path).await, listeners.tcp("GET", &path, &[], "").await);
            assert_eq!((unix.status, tcp.status), (200, 200), "{path}");
            assert_eq!(unix.body, tcp.body, "{path}");
            let head = listeners.unix("HEAD", &path, &[], "").await;
            assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
            assert_eq!(head.header("content-length"), Some(unix.body.len().to_string().as_str()), "{path}");
            assert_eq!(unix.header("x-content-type-options"), Some("nosniff"));
        }
    }
}

#[tokio::test]
async fn a_reserved_path_says_by_its_name_that_it_is_not_built() {
    let listeners = Listeners::open(&Fake::shop());
    for (path, name) in RESERVED {
        for method in ["GET", "POST"] {
            let problem = listeners.unix(method, path, &[], "").await.problem(501);
            assert_eq!(problem.kind, "heartbeat:not-built", "{path}");
            assert_eq!(problem.detail, format!("{name} is not built in this version"));
            listeners.tcp(method, path, &[], "").await.problem(501);
        }
    }
}

#[tokio::test]
async fn a_long_poll_answers_when_something_means_something_else() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let document: StatusDocument = listeners.get("/api/status/").await.json();
    let token = format!("{}-{}", document.instance, document.revision);
    // Without news it answers by its time, with the same revision.
    let same: StatusDocument = listeners.get(&format!("/api/status/?since={token}&wait=1ms")).await.json();
    assert_eq!(same.revision, document.revision);
    // One of another life, whatever its number, or an older one, is answered at once.
    let others = [
        "other-1".to_owned(),
        format!("other-{}", document.revision),
        format!("k3v8-{}", document.revision),
        format!("{}-{}", document.instance, document.revision - 1),
        format!("\"other-{}\"", document.revision),
        document.revision.to_string(),
    ];
    for other in others {
        let path = format!("/api/status/?since={}&wait=60s", other.replace('"', "%22"));
        let answer = timeout(Duration::from_secs(45), listeners.get(&path)).await;
        answer.unwrap_or_else(|_| panic!("{other} waits")).json::<StatusDocument>();
    }
    let (socket, path) = (listeners.socket.clone(), format!("/api/status/?since={token}&wait=60s"));
    let asked = tokio::spawn(async move { crate::raw::get(&socket, &path).await });
    fake.exited(POSTGRES, heartbeat_status::Exit::code(1));
    let news: StatusDocument = asked.await.unwrap().json();
    assert!(news.revision > document.revision);
    assert_eq!(news.summary.open_incidents, 1, "the outage is an incident");
    for bad in ["?wait=30s", "?since=x&wait=2h", "?since=x&wait=90s", "?since=x&wait=soon"] {
        listeners.get(&format!("/api/status/{bad}")).await.problem(400);
    }
}

#[tokio::test]
async fn incidents_are_listed_and_found() {
    let listeners = Listeners::open(&Fake::shop());
    let list: IncidentsDocument = listeners.get("/api/incidents/?open=1&limit=10").await.json();
    assert_eq!((list.schema.as_str(), list.incidents.len(), list.next), ("heartbeat.incidents/1", 0, None));
    assert_eq!(listeners.get("/api/incidents/0193/").await.problem(404).kind, "heartbeat:no-such-incident");
    listeners.get("/api/incidents/?after=0193").await.problem(404);
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    // The newest first: two are open.
    let all = [("e", false), ("d", true), ("c", false), ("b", true), ("a", true)];
    fake.remembers(all.iter().map(|(id, resolved)| std::sync::Arc::new(incident(id, *resolved))).collect());
    let ids = async |query: &str| {
        let list: IncidentsDocument = listeners.get(&format!("/api/incidents/{query}")).await.json();
        let ids: Vec<String> = list.incidents.into_iter().map(|incident| incident.id).collect();
        (ids.join(""), list.next)
    };
    let page = |ids: &str, next: Option<&str>| (ids.to_owned(), next.map(str::to_owned));
    assert_eq!(ids("").await, page("edcba", None));
    assert_eq!(ids("?open=1").await, page("ec", None));
    assert_eq!(ids("?open=0").await, page("edcba", None));
    assert_eq!(ids("?limit=2").await, page("ed", Some("d")));
    assert_eq!(ids("?limit=2&after=d").await, page("cb", Some("b")));
    assert_eq!(ids("?limit=2&after=b").await, page("a", None), "the last page says so");
    assert_eq!(ids("?limit=5").await, page("edcba", None), "a page that is just full is the last one");
    assert_eq!(ids("?open=1&limit=1").await, page("e", Some("e")));
    assert_eq!(ids("?open=1&after=e").await, page("c", None));
    assert_eq!(ids("?after=a").await, page("", None));
    assert_eq!(listeners.get("/api/incidents/c/").await.json::<IncidentDocument>().id, "c");
    let ack = |body: &'static str| {
        listeners.unix("POST", "/api/incidents/c/ack/", &["content-type: application/json"], body)
    };
    let acked: IncidentDocument = ack(r#"{ "by": "Ada", "note": "looking" }"#).await.json();
    assert_eq!(
        acked.ack.as_ref().map(|ack| (ack.by.as_str(), ack.note.as_deref())),
        Some(("Ada", Some("looking")))
    );
    assert_eq!(listeners.get("/api/incidents/c/").await.json::<IncidentDocument>(), acked);
    assert!(ack("").await.json::<IncidentDocument>().ack.unwrap().by.starts_with("uid "));
    ack(r#"{ "who": "Ada" }"#).await.problem(400);
    let none =
        listeners.unix("POST", "/api/incidents/zz/ack/", &["content-type: application/json"], "").await;
    assert_eq!(none.problem(404).kind, "heartbeat:no-such-incident");
    fake.cannot_write("full");
    assert_eq!(ack("").await.problem(507).applied, Some(true));
    let test = |name: &str, body: &'static str| {
        let (path, listeners) = (format!("/api/notify/{name}/test/"), &listeners);
        async move { listeners.unix("POST", &path, &["content-type: application/json"], body).await }
    };
    let tested: NotifyTestDocument = test("ops", "").await.json();
    assert_eq!((tested.receiver.as_str(), tested.messages[0].delivered), ("ops", Some(false)));
    let shown: NotifyTestDocument = test("ops", r#"{ "dry_run": true }"#).await.json();
    assert_eq!(shown.messages[0].delivered, None);
    assert!(test("osp", "").await.problem(404).detail.ends_with("Did you mean ops?"));
    assert!(
        test("zzzzzz", "")
            .await
            .problem(404)
            .detail
            .ends_with("There are: ops; `heartbeat-cli reload` brings in a new one.")
    );
    test("ops", r#"{ "dry": true }"#).await.problem(400);
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let mute = |verb: &'static str, body: &'static str| {
        let path = format!("/api/realms/api/{verb}/");
        let listeners = &listeners;
        async move { listeners.unix("POST", &path, &["content-type: application/json"], body).await }
    };
    for bad in ["", "{}", r#"{"reason":"x"}"#, r#"{"reason":" ","for_s":60}"#, r#"{"reason":"x","for_s":0}"#]
    {
        mute("mute", bad).await.problem(400);
    }
    let muted: MuteDocument = mute("mute", r#"{"reason":"backup","for_s":60}"#).await.json();
    assert_eq!((muted.muted, muted.reason.as_deref()), (true, Some("backup")));
    assert_eq!(fake.mutes.lock().unwrap().get("api").map(|mute| mute.until), muted.until);
    let ended: MuteDocument = mute("unmute", "").await.json();
    assert!(!ended.muted && fake.mutes.lock().unwrap().is_empty());
    fake.cannot_write("full");
    assert_eq!(mute("mute", r#"{"reason":"backup","for_s":60}"#).await.problem(507).applied, Some(true));
    for bad in ["limit=0", "limit=201", "limit=x", "open=maybe"] {
        listeners.get(&format!("/api/incidents/?{bad}")).await.problem(400);
    }
}

#[tokio::test]
async fn history_has_a_window_and_steps_and_names_what_it_takes() {
    let listeners = Listeners::open(&Fake::shop());
    let query = "from=2026-11-23T00:00:00Z&to=2026-11-24T00:00:00Z&step=1h";
    let history: HistoryDocument = listeners.get(&format!("/api/history/api/?{query}")).await.json();
    assert_eq!((history.realm.as_str(), history.step_s, history.steps.len()), ("api", 3_600.0, 24));
    let default: HistoryDocument = listeners.get("/api/history/api/").await.json();
    assert_eq!((default.steps.len(), default.step_s), (60, 1_440.0));
    assert_eq!(listeners.get("/api/history/gone/").await.problem(404).kind, "heartbeat:no-history");
    for bad in [
        "step=1s",
        "step=x",
        "from=yesterday",
        "from=2030-01-01T00:00:00Z",
        "step=1m&from=2020-01-01T00:00:00Z",
    ] {
        listeners.get(&format!("/api/history/api/?{bad}")).await.problem(400);
    }
    let strips: StripsDocument = listeners.get("/api/history/?window=30d&bars=30").await.json();
    assert_eq!((strips.realms[0].bars.len(), strips.bar_s), (30, 86_400));
    assert_eq!(listeners.get("/api/history/").await.json::<StripsDocument>().realms[0].bars.len(), 90);
    for bad in ["window=90d&bars=45", "window=5h", "window=9999d", "bars=x"] {
        listeners.get(&format!("/api/history/?{bad}")).await.problem(400);
    }
}

#[tokio::test]
async fn a_report_is_of_a_month_in_the_format_that_was_asked_for() {
    let listeners = Listeners::open(&Fake::shop());
    let report: ReportDocument = listeners.get("/api/report/?month=2026-11").await.json();
    assert_eq!(
        (report.month.as_str(), report.from.to_string().as_str()),
        ("2026-11", "2026-11-01T00:00:00.000Z")
    );
    for format in ["html", "md", "csv", "json"] {
        let answer = listeners.get(&format!("/api/report/?format={format}")).await;
        assert_eq!(answer.status, 200, "{format}");
    }
    for bad in ["month=november", "month=2026-13", "format=pdf"] {
        listeners.get(&format!("/api/report/?{bad}")).await.problem(400);
    }
    let objectives: SloDocument = listeners.get("/api/slo/").await.json();
    assert!(objectives.realms.is_empty());
}

#[tokio::test]
async fn unknown_paths_and_methods_name_the_way_out() {
    let listeners = Listeners::open(&Fake::shop());
    let problem = listeners.get("/api/statsu/").await.problem(404);
    assert_eq!(problem.suggestions, ["/api/status/"]);
    listeners.get("/favicon.ico").await.problem(404);
    listeners.get("/api/realms/api/launch/").await.problem(404);
    let problem = listeners.get("/api/status/apj/").await.problem(404);
    assert_eq!(
        (problem.kind.as_str(), problem.suggestions),
        ("heartbeat:no-such-realm", vec!["api".to_owned()])
    );
    listeners.get("/api/status/%61pi/").await.json::<RealmDocument>();

    let answer = listeners.unix("POST", "/api/status/", &[], "").await;
    answer.problem(405);
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    let answer = listeners.get("/api/realms/api/start/").await;
    answer.problem(405);
    assert_eq!(answer.header("allow"), Some("POST"));
    assert_eq!(listeners.unix("DELETE", "/livez", &[], "").await.status, 405);

    let problem = listeners.get("/api/status/?gat=1").await.problem(400);
    assert_eq!(problem.suggestions[0], "gate", "a misspelt gate must not pass");
    listeners.get("/api/status/?gate=maybe").await.problem(400);
    listeners.get("/api/status/?fields=names").await.problem(400);
    listeners.get("/api/graph/?format=svg").await.problem(400);
    listeners.get("/api/graph/?x=1").await.problem(400);
}

#[tokio::test]
async fn the_status_tells_the_meaning_and_the_tag_moves_with_it() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let answer = listeners.get("/api/status/").await;
    let document: StatusDocument = answer.json();
    assert!(document.ok && document.status.is(Status::Up), "{}", answer.body);
    assert_eq!(document.realms.len(), 4);
    let tag = format!("\"k3v9-{}\"", document.revision);
    assert_eq!(answer.header("etag"), Some(tag.as_str()));
    assert_eq!(answer.header("content-type"), Some("application/json"));

    let seen = format!("If-None-Match: W/\"other-1\", {tag}");
    // A cache in between may have weakened the tag.
    for known in [seen.clone(), format!("If-None-Match: W/{tag}"), "If-None-Match: *".to_owned()] {
        let unchanged = listeners.unix("GET", "/api/status/", &[&known], "").await;
        assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""), "{known}");
        assert_eq!(unchanged.header("etag"), Some(tag.as_str()));
    }
    for other in ["\"old-4182\"", "W/\"old-4182\"", &tag.replace("k3v9", "k3v8")] {
        let changed = listeners.unix("GET", "/api/status/", &[&format!("If-None-Match: {other}")], "").await;
        assert_eq!(changed.status, 200, "{other}");
    }

    fake.exited(API, heartbeat_status::Exit::code(3));
    let answer = listeners.unix("GET", "/api/status/", &[&seen], "").await;
    let document: StatusDocument = answer.json();
    assert!(!document.ok && document.realms.iter().any(|realm| realm.status.is(Status::Restarting)));
}

#[tokio::test]
async fn the_gate_is_503_while_it_is_not_fine() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    assert_eq!(listeners.get("/api/status/?gate=1").await.status, 200);
    fake.exited(POSTGRES, heartbeat_status::Exit::code(1));
    let answer = listeners.get("/api/status/?gate=1").await;
    assert_eq!(answer.status, 503);
    assert!(!answer.json::<StatusDocument>().ok, "the gate still tells the status");
    let tag = format!("If-None-Match: {}", answer.header("etag").unwrap());
    assert_eq!(listeners.unix("GET", "/api/status/?gate=1", &[&tag], "").await.status, 503, "never 304");
    assert_eq!(listeners.get("/api/status/").await.status, 200);
    let summary: StatusDocument = listeners.get("/api/status/?fields=summary&gate=1").await.json();
    assert_eq!((summary.realms.len(), summary.summary.total), (0, 4));
}

#[tokio::test]
async fn transcripts_are_only_for_callers_that_the_server_can_identify() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let document: RealmDocument = listeners.get("/api/status/postgres/?transcripts=1").await.json();
    let [failure] = document.probe_failures.as_slice() else { panic!("{document:?}") };
    assert_eq!((failure.probe.as_str(), failure.result.reason.as_deref()), ("http", Some("Refused")));
    assert!(failure.transcript[0].starts_with("* no connection to realm "), "{failure:?}");
    // Neither another reader of the socket nor one over TCP gets them by chance.
    let document: RealmDocument = listeners.get("/api/status/postgres/").await.json();
    assert!(document.probe_failures.is_empty(), "{document:?}");
    listeners.tcp("GET", "/api/status/postgres/?transcripts=1", &[], "").await.problem(403);
    let document: RealmDocument = listeners.tcp("GET", "/api/status/postgres/", &[], "").await.json();
    assert!(document.probe_failures.is_empty(), "{document:?}");
}

#[tokio::test]
async fn a_refresh_measures_first_and_shows_the_result() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let before: RealmDocument = listeners.get("/api/status/postgres/").await.json();
    fake.advance(Duration::from_millis(100));
    let after: RealmDocument = listeners.get("/api/status/postgres/?refresh=1").await.json();
    assert!(after.realm.probes[0].at > before.realm.probes[0].at, "{:?}", after.realm.probes[0]);
    assert_eq!(fake.refreshes(), 1);
    assert_eq!(listeners.tcp("GET", "/api/status/?refresh=1", &[], "").await.status, 200);
    assert_eq!(fake.refreshes(), 2);
    listeners.get("/api/status/nobody/?refresh=1").await.problem(404);
    assert_eq!(fake.refreshes(), 2, "nothing is measured for a realm that is not there");
    fake.end();
    let problem = listeners.get("/api/status/?refresh=1").await.problem(503);
    assert_eq!(problem.kind, "heartbeat:shutting-down");
}

#[tokio::test]
async fn own_health_is_told_apart_from_the_realms() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    fake.exited(POSTGRES, heartbeat_status::Exit::code(1));
    let answer = listeners.get("/api/health/").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let answer =
        listeners.unix("GET", "/api/health/", &["Accept: application/health+json;q=0.9, */*"], "").await;
    assert_eq!(answer.header("content-type"), Some("application/health+json"));
    assert_eq!(listeners.get("/livez").await.body, "ok\n");

    fake.is_sick(OwnProblemKind::Intent, "the disk is\nfull");
    let answer = listeners.get("/api/health/").await;
    let document: HealthDocument = answer.json();
    assert_eq!((answer.status, document.status.as_str()), (503, "fail"));
    assert_eq!(document.notes, ["the disk is full"]);
    let problem = &document.problems[0];
    assert!(problem.kind.is(OwnProblemKind::Intent) && !problem.advice.is_empty(), "{problem:?}");
    let status: StatusDocument = listeners.get("/api/status/").await.json();
    assert!(status.daemon.health.is(Health::Unhealthy));
    assert_eq!(status.daemon.notes, ["the disk is\nfull"]);
}

#[tokio::test]
async fn liveness_is_the_loop_alone_and_readiness_that_commands_are_taken() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    for kind in OwnProblemKind::ALL {
        fake.is_sick(*kind, "does not work");
    }
    for (live, ready) in [(true, true), (true, false), (false, true)] {
        fake.stands(live, ready);
        let code = |good: bool| if good { 200 } else { 503 };
        assert_eq!(listeners.get("/livez").await.status, code(live));
        assert_eq!(listeners.get("/readyz").await.status, code(ready));
    }
    let listeners = Listeners::open(&Fake::shop());
    assert_eq!(listeners.get("/api/health/").await.status, 200);
}

#[tokio::test]
async fn a_loop_that_stands_is_told_even_when_nothing_else_is_wrong() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    fake.stands(false, true);
    let answer = listeners.get("/api/health/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json::<HealthDocument>().notes, ["the loop of heartbeatd has not turned for 10 s"]);
}

#[tokio::test]
async fn the_graph_comes_in_three_forms() {
    let listeners = Listeners::open(&Fake::shop());
    let graph: GraphDocument = listeners.get("/api/graph/").await.json();
    assert_eq!(graph.nodes.len(), 4);
    assert_eq!(graph.edges.len(), 4);
    assert_eq!(graph.start_order.last().map(String::as_str), Some("api"));
    let dot = listeners.get("/api/graph/?format=dot").await;
    assert!(dot.body.contains("\"api\" -> \"postgres\";"), "{}", dot.body);
    assert!(dot.body.contains("\"api\" -> \"mail\" [style=dashed, label=\"wants\"];"), "{}", dot.body);
    let mermaid = listeners.get("/api/graph/?format=mermaid").await;
    assert!(mermaid.body.contains("r1 -->|done| r2"), "{}", mermaid.body);
}

#[tokio::test]
async fn the_page_is_a_table_that_needs_no_script() {
    let listeners = Listeners::open(&Fake::shop());
    let page = listeners.tcp("GET", "/", &[], "").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(page.body.contains("<noscript><meta http-equiv=\"refresh\""), "{}", page.body);
    assert!(
        page.body.contains("API &lt;1&gt;") && page.body.contains("href=\"api/status/\""),
        "{}",
        page.body
    );
    assert_eq!(page.body.matches("<tr id=\"realm-").count(), 4);
    let document: StatusDocument = listeners.get("/api/status/").await.json();
    let headline = document.headline().replace('<', "&lt;").replace('>', "&gt;");
    assert!(page.body.contains(&format!("</span> {headline}</h1>")), "the CLI's first line: {}", page.body);
    for realm in &document.realms {
        let status = realm.known_status();
        let cell = format!("<span aria-hidden=\"true\">{}</span> {status}</td>", status.mark());
        assert!(page.body.contains(&cell), "{cell}: {}", page.body);
    }
    assert!(page.header("etag").is_none(), "a page says when it was so, so it is never 304");
}

#[tokio::test]
async fn the_page_draws_the_graph_and_rings_the_root() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let calm = listeners.tcp("GET", "/", &[], "").await;
    assert_eq!(calm.body.matches("<line class=\"").count(), 4, "{}", calm.body);
    assert!(
        !calm.body.contains(" root\">") && calm.body.contains("<title>postgres is up</title>"),
        "{}",
        calm.body
    );
    fake.exited(POSTGRES, heartbeat_status::Exit::code(1));
    let page = listeners.tcp("GET", "/", &[], "").await;
    let document: StatusDocument = listeners.get("/api/status/").await.json();
    assert_eq!(document.roots.len(), 1, "{document:?}");
    assert_eq!(page.body.matches(" root\">").count(), 1, "{}", page.body);
    assert!(page.body.contains("<title>postgres is restarting, the root cause</title>"), "{}", page.body);
}

#[tokio::test]
async fn tcp_reads_only_and_only_under_its_own_names() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let json = "Content-Type: application/json";
    for action in ["start", "stop", "restart"] {
        let path = format!("/api/realms/api/{action}/");
        let problem = listeners.tcp("POST", &path, &[json], "{}").await.problem(403);
        assert_eq!(problem.kind, "heartbeat:not-on-this-door");
        listeners.tcp("GET", &path, &[], "").await.problem(403);
    }
    assert_eq!(fake.commands(), 0);

    let port = listeners.address.port();
    for ours in ["localhost", "127.0.0.1", "[::1]"] {
        let host = format!("Host: {ours}:{port}");
        assert_eq!(listeners.tcp_bare("GET", "/livez", &[&host], "").await.status, 200, "{ours}");
    }
    let rebound = format!("Host: attacker.example:{port}");
    let own = format!("Host: {}", listeners.address);
    for (headers, status) in [
        (vec![rebound.as_str()], 421),
        (vec!["Host: localhost"], 421),
        (vec!["Host: "], 421),
        (vec![], 400),
        (vec![own.as_str(), own.as_str()], 400),
        (vec![own.as_str(), rebound.as_str()], 400),
        (vec![rebound.as_str(), own.as_str()], 400),
    ] {
        for path in ["/api/status/", "/livez", "/api/health/"] {
            listeners.tcp_bare("GET", path, &headers, "").await.problem(status);
        }
    }
    let target = format!("http://attacker.example:{port}/api/status/");
    listeners.tcp_bare("GET", &target, &[&own], "").await.problem(421);
}

#[tokio::test]
async fn a_foreign_page_changes_nothing() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let json = "Content-Type: application/json";
    for foreign in ["Origin: http://attacker.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        let answer = listeners.unix("POST", "/api/realms/api/restart/", &[json, foreign], "{}").await;
        assert_eq!(answer.problem(403).kind, "heartbeat:cross-site", "{foreign}");
    }
    for wrong in ["Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "X-None: 1"]
    {
        listeners.unix("POST", "/api/realms/api/restart/", &[wrong], "{}").await.problem(415);
    }
    assert_eq!(fake.commands(), 0);
    let charset = "Content-Type: application/json; charset=utf-8";
    assert_eq!(listeners.unix("POST", "/api/realms/api/start/", &[charset], "").await.status, 202);
}

#[tokio::test]
async fn before_the_boot_everything_has_its_place_already() {
    let fake = Fake::cold(crate::fake::shop());
    let listeners = Listeners::open(&fake);
    let document: StatusDocument = listeners.get("/api/status/").await.json();
    assert_eq!(document.summary.total, 4);
    assert!(!document.ok, "nobody has said yet that anything is fine");
    fake.input(Input::Boot);
    assert_eq!(listeners.get("/api/status/").await.status, 200);
}

#[tokio::test]
async fn one_connection_serves_one_request_after_the_other() {
    let listeners = Listeners::open(&Fake::shop());
    let mut stream = tokio::net::UnixStream::connect(&listeners.socket).await.unwrap();
    let one = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /api/status/api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, format!("{one}{one}{last}").as_bytes()).await.unwrap();
    let bytes = crate::raw::read_all(stream).await;
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert_eq!(listeners.api.counts().connections, 1);
}

#[tokio::test]
async fn load_balancers_and_monitors_get_what_http_requires() {
    let listeners = Listeners::open(&Fake::shop());
    let port = listeners.address.port();
    let ask = async |request: String| {
        let stream = tokio::net::TcpStream::connect(listeners.address).await.unwrap();
        crate::raw::exchange(stream, &request).await
    };
    for path in ["/livez", "/readyz", "/api/health/", "/api/status/"] {
        assert_eq!(
            ask(format!("GET {path} HTTP/1.0\r\n\r\n")).await.status,
            200,
            "as HAProxy and Nagios: {path}"
        );
        ask(format!("GET {path} HTTP/1.0\r\nHost: evil.example:{port}\r\n\r\n")).await.problem(421);
        ask(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n")).await.problem(400);
        let head = ask(format!("HEAD {path} HTTP/1.0\r\n\r\n")).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
    }
    ask("GET http://evil.example/livez HTTP/1.0\r\n\r\n".to_owned()).await.problem(421);
    for path in ["/livez", "/readyz", "/api/health/"] {
        let busted = format!("{path}?uptime_kuma_cachebuster=0.123&_=1&_=2");
        assert_eq!(listeners.tcp("GET", &busted, &[], "").await.status, 200, "{busted}");
    }
    listeners.tcp("GET", "/api/status/?uptime_kuma_cachebuster=0.123", &[], "").await.problem(400);
}

#[tokio::test]
async fn lists_of_the_documents_are_present_when_they_are_empty() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let value = async |path: &str| listeners.get(path).await.json::<serde_json::Value>();
    let status = value("/api/status/").await;
    for pointer in ["/roots", "/daemon/notes", "/realms"] {
        assert!(status.pointer(pointer).is_some_and(serde_json::Value::is_array), "{pointer}");
    }
    let realm = value("/api/status/mail/").await;
    for pointer in ["/recent", "/failures", "/transitions"] {
        assert!(realm.pointer(pointer).is_some_and(serde_json::Value::is_array), "{pointer}");
    }
    let health = value("/api/health/").await;
    for pointer in ["/notes", "/problems"] {
        assert_eq!(health.pointer(pointer), Some(&serde_json::json!([])), "{pointer}");
    }
}
