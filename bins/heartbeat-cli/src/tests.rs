//! Whole commands against a heartbeatd that says what it is told to, over a Unix socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use heartbeat_status::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::args::Cli;
use crate::console::Console;
use crate::exit::Exit;
use crate::global::Format;
use crate::sample;

const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Answers a request (its first line and its body) the n-th time that it is called.
type Answer = dyn Fn(&str, &str, usize) -> String + Send + Sync;

struct Fake {
    dir: tempfile::TempDir,
    calls: Arc<AtomicUsize>,
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn problem(status: u16, extra: &str) -> String {
    let body =
        format!(r#"{{"type":"about:blank","title":"T","status":{status},"detail":"the detail"{extra}}}"#);
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/problem+json");
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn fake(answer: impl Fn(&str, &str, usize) -> String + Send + Sync + 'static) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("h.sock")).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let (answer, count): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&calls));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let mut chunk = [0; 1024];
                    let n = stream.read(&mut chunk).await.unwrap_or(0);
                    seen.extend_from_slice(&chunk[..n]);
                    let text = String::from_utf8_lossy(&seen).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        assert!(n > 0 && seen.len() < MAX_REQUEST_BYTES, "{text}");
                        continue;
                    };
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    if n > 0 && body.len() < length.map_or(0, |length| length.parse().unwrap()) {
                        continue;
                    }
                    let line = head.lines().next().unwrap_or_default();
                    let reply = answer(line, body, count.fetch_add(1, Ordering::SeqCst));
                    // A command that was given up does not read to the end.
                    let _ = stream.write_all(reply.as_bytes()).await;
                    return;
                }
            });
        }
    });
    Fake { dir, calls }
}

impl Fake {
    async fn run(&self, args: &[&str]) -> Ran {
        let host = format!("unix:{}", self.dir.path().join("h.sock").display());
        run(&[&["-H", &host], args].concat()).await
    }
}

async fn run(args: &[&str]) -> Ran {
    let cli = Cli::try_parse_from([&["heartbeat-cli"], args].concat()).unwrap();
    let (mut console, out, err) = Console::captured(cli.global.form(false));
    console.quiet = cli.global.quiet;
    let exit = match crate::run(&cli, &mut console).await {
        Ok(exit) => exit,
        Err(failure) => {
            console.error(&failure);
            failure.exit
        }
    };
    Ran { exit, out: out.text(), err: err.text() }
}

fn outage() -> Fake {
    fake(|line, _, _| {
        if line.contains("/api/status/api/") {
            ok(sample::REALM)
        } else if line.contains("/api/status/ ") || line.contains("/api/status/?") {
            ok(sample::OUTAGE)
        } else {
            problem(404, r#","near":["api"]"#)
        }
    })
}

#[tokio::test]
async fn status_answers_first_and_exits_with_what_it_says() {
    let fake = outage();
    let ran = fake.run(&["status", "--refresh"]).await;
    assert_eq!(ran.exit, Exit::NotDesired);
    assert!(ran.out.starts_with("shop: DOWN - postgres is restarting"), "{}", ran.out);
    assert!(ran.out.contains("blocked\tapi\t2026-11-23T22:39:59.004Z\tneeds postgres"), "{}", ran.out);
    assert!(!ran.out.contains('\x1b') && ran.err.is_empty());
    assert_eq!(fake.run(&["status", "dashboard", "-o", "table"]).await.exit, Exit::Holds);
    let ran = fake.run(&["status", "apo"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::NoSuchRealm, ""));
    assert!(ran.err.contains("did you mean api?"), "{}", ran.err);
}

#[tokio::test]
async fn no_heartbeatd_is_exit_5_with_a_way_out() {
    let ran = run(&["-H", "unix:/nowhere/h.sock", "status"]).await;
    assert_eq!(ran.exit, Exit::Unreachable);
    assert!(ran.err.contains("no socket") && ran.err.contains("help: "), "{}", ran.err);
    let ran = run(&["-H", "unix:/nowhere/h.sock", "status", "--wait=300ms"]).await;
    assert_eq!(ran.exit, Exit::Unreachable, "heartbeatd is waited for, and never answered");
    assert_eq!(run(&["-H", "unix:/nowhere/h.sock", "version"]).await.exit, Exit::Holds);
}

#[tokio::test]
async fn waiting_ends_when_it_holds_fails_or_is_late() {
    let later = fake(|_, _, n| ok(if n < 2 { sample::OUTAGE } else { sample::CALM }));
    let ran = later.run(&["status", "--wait=30s"]).await;
    assert_eq!((ran.exit, later.calls.load(Ordering::SeqCst)), (Exit::Holds, 3));
    assert!(ran.out.starts_with("shop: OK"), "{}", ran.out);

    let mut failed = sample::outage();
    failed.realms[0].status = Status::Failed.into();
    let failed = serde_json::to_string(&failed).unwrap();
    let fake_failed = fake(move |_, _, _| ok(&failed));
    let ran = fake_failed.run(&["wait", "postgres", "api"]).await;
    assert_eq!(ran.exit, Exit::NotDesired);
    assert!(ran.err.contains("postgres is failed: exit code 1"), "{}", ran.err);

    let ran = outage().run(&["wait", "api", "later", "--for", "up", "--timeout", "300ms"]).await;
    assert_eq!(ran.exit, Exit::Deadline);
    assert!(ran.err.contains("api is blocked: needs postgres, which is restarting"), "{}", ran.err);
    assert!(ran.err.contains("later is not known yet"), "{}", ran.err);
}

#[tokio::test]
async fn is_answers_in_a_word() {
    let fake = outage();
    let ran = fake.run(&["is", "blocked", "api"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Holds, "blocked\n"));
    let ran = fake.run(&["is", "up", "api", "mail", "-q"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::No, ""));
    assert_eq!(fake.run(&["is", "up", "api", "mail"]).await.out, "api\tblocked\nmail\tdegraded\n");
    assert_eq!(fake.run(&["is", "up", "mail"]).await.exit, Exit::Holds, "degraded is up");
    assert_eq!(fake.run(&["is", "fine", "api"]).await.exit, Exit::Usage);
    assert_eq!(fake.run(&["is", "up", "apo"]).await.exit, Exit::NoSuchRealm);
}

#[tokio::test]
async fn why_names_the_root() {
    let ran = outage().run(&["why", "api"]).await;
    assert_eq!(ran.exit, Exit::NotDesired);
    assert!(
        ran.out.contains("<- root cause") && ran.out.contains("heartbeat-cli why postgres"),
        "{}",
        ran.out
    );
    assert_eq!(outage().run(&["why", "apo"]).await.exit, Exit::NoSuchRealm);
    let ran = outage().run(&["why", "api", "--json"]).await;
    assert!(ran.out.contains("\"heartbeat.realm/1\""), "{}", ran.out);
    let ran = outage().run(&["why", "[a]*", "api"]).await;
    assert_eq!((ran.exit, ran.out.matches("<- root cause").count()), (Exit::NotDesired, 1), "{}", ran.out);
    assert_eq!(outage().run(&["why", "@none"]).await.exit, Exit::NoSuchRealm);
}

/// A heartbeatd on which stopping postgres breaks api, unless it is taken along or left alone.
fn stoppable() -> Fake {
    const STEPS: &str = r#"[{"wave":1,"realm":"postgres","action":"stop","limit_s":10.0}]"#;
    fake(|line, body, _| {
        if line.starts_with("GET") {
            return ok(sample::OUTAGE);
        }
        let (dry, forced) = (body.contains(r#""dry_run":true"#), body.contains(r#""force":true"#));
        let cascade = body.contains(r#""cascade":true"#);
        let steps = if cascade {
            STEPS.replace('[', r#"[{"wave":1,"realm":"api","action":"stop"},"#)
        } else {
            STEPS.into()
        };
        let breaks = if cascade { "[]" } else { r#"["api"]"# };
        let result = if dry { "" } else { r#","result":"stopped""# };
        let plan = format!(
            r#"{{"schema":"heartbeat.action/1","action":"stop","realms":["postgres"],"dry_run":{dry},
            "steps":{steps},"breaks":{breaks}{result}}}"#
        );
        if dry || forced || cascade { ok(&plan) } else { problem(409, &format!(r#","plan":{plan}"#)) }
    })
}

#[tokio::test]
async fn dependents_that_suffer_are_shown_before_anything_is_done() {
    let fake = stoppable();
    let ran = fake.run(&["stop", "postgres"]).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.err.contains("stop postgres breaks a running realm that needs it: api"), "{}", ran.err);
    assert!(ran.err.contains("heartbeat-cli stop postgres --cascade"), "{}", ran.err);
    assert_eq!(fake.calls.load(Ordering::SeqCst), 2, "only the status and the dry run were asked");

    let ran = fake.run(&["stop", "postgres", "--yes"]).await;
    assert_eq!(ran.exit, Exit::Holds, "{}", ran.err);
    // It had no process before, so there is no step that this command has done.
    assert_eq!(ran.out, "stop postgres: stopped\n");
    let ran = fake.run(&["stop", "postgres", "--cascade", "--no-wait"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Holds, "stop postgres: stopped\n"));
    assert!(ran.err.starts_with("stop postgres, in this order:\n  1 stop    api"), "{}", ran.err);
    let ran = fake.run(&["stop", "postgres", "--dry-run"]).await;
    assert_eq!(ran.exit, Exit::Holds);
    assert!(ran.out.starts_with("plan, nothing changed:\n  1 stop    postgres  limit 10s\n"), "{}", ran.out);
    assert!(fake.run(&["stop", "postgres", "--dry-run", "--json"]).await.out.contains("\"dry_run\": true"));
}

#[tokio::test]
async fn what_an_operator_has_stopped_is_named_and_only_a_word_lifts_it() {
    const HELD: &str = r#"{"schema":"heartbeat.action/1","action":"start","realms":["api"],"dry_run":true,
        "steps":[{"wave":1,"realm":"api","action":"start"}],"refusal":"held",
        "holds":[{"realm":"redis","by":"root","ago_s":125.0,"reason":"disk repair until 17:00"}]}"#;
    const FREE: &str = r#"{"schema":"heartbeat.action/1","action":"start","realms":["api"],"dry_run":false,
        "steps":[{"wave":1,"realm":"redis","action":"start"}],"result":"accepted"}"#;
    let fake = fake(|line, body, _| match line {
        line if line.starts_with("GET") => ok(sample::OUTAGE),
        _ if body.contains(r#""lift_holds":true"#) => ok(FREE),
        _ if body.contains(r#""dry_run":true"#) => ok(HELD),
        // Nothing else is asked.
        _ => problem(500, ""),
    });
    for args in [&["start", "api"][..], &["start", "api", "--yes"], &["restart", "api", "--cascade"]] {
        let ran = fake.run(args).await;
        assert_eq!(ran.exit, Exit::Refused, "{args:?}");
        let words = "refused: redis was stopped by an operator (root) 2m ago: disk repair until 17:00; \
            --lift-holds starts it as well";
        assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
    }
    let ran = fake.run(&["start", "api", "--lift-holds", "--no-wait"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Holds, "start api: accepted\n"));
    assert!(ran.err.contains("1 start   redis"), "what is lifted is shown: {}", ran.err);
}

#[tokio::test]
async fn a_realm_that_is_being_stopped_is_not_stopped() {
    let stopping = sample::CALM.replacen(r#""status": "up""#, r#""status": "stopping""#, 1);
    assert_ne!(stopping, sample::CALM);
    let name = {
        let document: heartbeat_wire::StatusDocument = serde_json::from_str(&stopping).unwrap();
        document.realms.iter().find(|realm| realm.status.is(Status::Stopping)).unwrap().name.clone()
    };
    let fake = fake(move |_, _, _| ok(&stopping));
    let ran = fake.run(&["is", "stopped", &name]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::No, "stopping\n"));
    assert_eq!(fake.run(&["is", "stopping", &name]).await.exit, Exit::Holds);
    let waited = fake.run(&["wait", &name, "--for", "stopped", "--timeout", "300ms"]).await;
    assert_eq!(waited.exit, Exit::Deadline);
    assert_eq!(fake.run(&["status", &name]).await.exit, Exit::Holds, "it is what was asked for");
}

#[tokio::test]
async fn an_action_that_is_late_not_allowed_or_fails_says_so() {
    const PLAN: &str = r#"{"schema":"heartbeat.action/1","action":"start","realms":["api"],"dry_run":true,
        "steps":[{"wave":1,"realm":"api","action":"start"}]}"#;
    let acting = |answer: String| {
        fake(move |line, body, _| match line {
            line if line.starts_with("GET") => ok(sample::OUTAGE),
            _ if body.contains(r#""dry_run":true"#) => ok(PLAN),
            _ => answer.clone(),
        })
    };
    let ran = acting(problem(504, "")).run(&["start", "api"]).await;
    assert_eq!(ran.exit, Exit::NotDesired);
    assert!(ran.err.contains("start api: still blocked after 5m00s: api waits for postgres"), "{}", ran.err);
    let failed =
        PLAN.replace(r#""dry_run":true"#, r#""dry_run":false,"result":"failed","message":"exit code 3""#);
    let ran = acting(ok(&failed)).run(&["start", "api"]).await;
    let told = "start api: failed (exit code 3)\nmore: heartbeat-cli why api\n";
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::No, told));
    let forbidden = fake(|_, _, _| problem(403, ""));
    assert_eq!(forbidden.run(&["restart", "api"]).await.exit, Exit::Forbidden);
}

#[tokio::test]
async fn graphs_are_drawn_here_or_passed_on() {
    const GRAPH: &str = r#"{"schema":"heartbeat.graph/1","revision":1,"generated_at":"2026-11-23T22:40:01.123Z",
        "nodes":[{"name":"db","tier":1,"order":0,"status":"up","message":"m"},
                 {"name":"api","tier":2,"order":1,"status":"later-word","message":"m"}],
        "edges":[{"from":"api","to":"db","kind":"needs","until":"up"}],"start_order":["db","api"]}"#;
    let fake = fake(|line, _, _| if line.contains("format=dot") { ok("digraph {}") } else { ok(GRAPH) });
    assert_eq!(fake.run(&["graph"]).await.out, "api ? later-word  m\n└─ db ● up\n");
    assert_eq!(fake.run(&["graph", "--format", "dot"]).await.out, "digraph {}\n");
    assert_eq!(fake.run(&["graph", "-o", "name"]).await.out, "db\napi\n");
    assert_eq!(fake.run(&["events", "-o", "name"]).await.exit, Exit::Usage);
    assert!(fake.run(&["graph", "--json"]).await.out.contains("heartbeat.graph/1"));
}

#[tokio::test]
async fn watching_prints_each_change_and_ends_with_heartbeatd_where_there_is_no_screen() {
    let fake = fake(|_, _, n| match n {
        0 | 1 => ok(sample::OUTAGE),
        2 => ok(&sample::CALM.replace("4182", "4183")),
        _ => String::new(),
    });
    let ran = fake.run(&["status", "--watch"]).await;
    assert_eq!(ran.exit, Exit::Unreachable);
    assert_eq!((ran.out.matches("shop: DOWN").count(), ran.out.matches("shop: OK").count()), (1, 1));
}

#[tokio::test]
async fn commands_that_need_no_daemon_work_without_it() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completion", shell]).await.out.contains("heartbeat-cli"), "{shell}");
    }
    assert!(run(&["man"]).await.out.contains(".TH heartbeat-cli 1"));
    let ran = run(&["-H", "unix:/nowhere"]).await;
    assert_eq!(ran.exit, Exit::Holds);
    assert!(ran.out.contains("heartbeat-cli status") && ran.err.contains("does not answer"), "{}", ran.err);
    let (console, _, _) = Console::captured(Format::Plain);
    assert_eq!(console.width(), 80);
}

#[tokio::test]
async fn a_probe_needs_no_heartbeatd_and_its_exit_code_is_the_verdict() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    // A busy machine has longer than the default.
    let open = run(&["probe", &url, "--explain", "--timeout", "20s"]).await;
    assert_eq!(open.exit, Exit::Holds, "{}", open.out);
    assert!(
        open.out.starts_with("* connected to 127.0.0.1:") && open.out.contains("passes in "),
        "{}",
        open.out
    );
    drop(listener);
    let closed = run(&["probe", &url, "--timeout", "20s"]).await;
    assert_eq!(closed.exit, Exit::No, "{}", closed.out);
    assert!(closed.out.ends_with(": connection refused\n"), "{}", closed.out);
    assert_eq!(run(&["probe", "gopher://x"]).await.exit, Exit::Usage);
}

#[tokio::test]
async fn the_recorded_failures_of_a_realm_are_shown_with_what_was_said() {
    let failure = r#"{ "at": "2026-11-23T22:39:58.000Z", "probe": "http", "outcome": "fail", "detail": "no answer",
        "transcript": ["> GET / HTTP/1.1"] }"#;
    let fake = fake(move |line, _, n| match n {
        0 if line.contains("/api/?transcripts=1 ") => {
            ok(&sample::REALM.replacen('{', &format!("{{ \"probe_failures\": [{failure}], "), 1))
        }
        _ => ok(sample::REALM),
    });
    let ran = fake.run(&["probe", "api", "--failures"]).await;
    assert_eq!(ran.exit, Exit::Holds, "{}", ran.err);
    assert!(ran.out.contains(" http: no answer\n  > GET / HTTP/1.1\n"), "{}", ran.out);
    let ran = fake.run(&["probe", "api", "--failures"]).await;
    assert!(ran.out.starts_with("no probe of ") && ran.exit == Exit::Holds, "{}", ran.out);
}

/// A heartbeatd that refuses what it is asked about a realm that it only watches.
fn watching() -> Fake {
    const PLAN: &str = r#"{"schema":"heartbeat.action/1","action":"restart","realms":["mail"],"dry_run":true,
        "steps":[],"refusal":"external","message":"would be refused: mail has no `run`"}"#;
    fake(|line, body, _| match line {
        line if line.starts_with("GET /api/status/mail") => ok(&sample::REALM
            .replace("\"api\"", "\"mail\"")
            .replace("\"running\"", "\"external\"")
            .replace("\"blocked\"", "\"down\"")),
        line if line.starts_with("GET") => ok(sample::OUTAGE),
        line if line.contains("/api/plan/") => ok(PLAN),
        _ if body.contains(r#""dry_run":true"#) => ok(PLAN),
        _ => problem(409, ""),
    })
}

#[tokio::test]
async fn what_is_refused_has_no_steps_and_the_exit_code_of_a_refusal() {
    let ran = watching().run(&["restart", "mail"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, ""), "{}", ran.err);
    for args in [&["restart", "mail", "--dry-run"][..], &["plan", "restart", "mail"]] {
        let ran = watching().run(args).await;
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, "would be refused: mail has no `run`\n"));
        let ran = watching().run(&[args, &["--json"]].concat()).await;
        assert!(ran.exit == Exit::Refused && ran.out.contains("\"message\""), "{}", ran.out);
    }
}

#[tokio::test]
async fn several_realms_have_one_plan_as_the_command_itself_makes_it() {
    const PLAN: &str = r#"{"schema":"heartbeat.action/1","action":"stop","realms":["worker","postgres"],"dry_run":true,
        "steps":[{"wave":1,"realm":"worker","action":"stop"},{"wave":2,"realm":"postgres","action":"stop"}]}"#;
    let fake = fake(|line, body, _| match line {
        line if line.starts_with("GET") => ok(sample::OUTAGE),
        line if line.contains("/realms/worker,postgres/stop/") && body.contains(r#""dry_run":true"#) => {
            ok(PLAN)
        }
        _ => problem(409, ""),
    });
    let ran = fake.run(&["plan", "stop", "postgres", "work*"]).await;
    let expected = "plan, nothing changed:\n  1 stop    worker\n  2 stop    postgres\n";
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Holds, expected), "{}", ran.err);
    let same = fake.run(&["stop", "postgres", "work*", "--dry-run"]).await;
    assert_eq!((same.exit, same.out, same.err), (ran.exit, ran.out, ran.err));
    assert_eq!(fake.run(&["plan", "stop", "@none"]).await.exit, Exit::NoSuchRealm);
    assert_eq!(fake.run(&["plan", "reload", "postgres"]).await.exit, Exit::Usage);
}

#[tokio::test]
async fn a_deadline_is_a_sentence_and_what_is_pending_a_line() {
    const PLAN: &str = r#"{"schema":"heartbeat.action/1","action":"start","realms":["postgres"],"dry_run":true,
        "steps":[{"wave":1,"realm":"postgres","action":"start"}]}"#;
    let fake = fake(|line, body, _| match line {
        line if line.starts_with("GET") => ok(sample::OUTAGE),
        _ if body.contains(r#""dry_run":true"#) => ok(PLAN),
        _ => problem(504, ""),
    });
    let ran = fake.run(&["start", "postgres"]).await;
    let expected = "error: the detail\n  start postgres (restarting): exit code 1 after 0.2 s, attempt 2 of 6\n help: `heartbeat-cli why postgres` says more\n";
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Deadline, expected));
}

#[tokio::test]
async fn a_table_of_some_realms_is_headed_by_those_and_its_hint_is_about_the_first_row() {
    let fake = outage();
    let ran = fake.run(&["status", "dashboard", "-o", "table"]).await;
    assert!(
        ran.out.starts_with("dashboard: OK - 1 up; not shown: 3 realms that are not fine\n"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("1 of 6 realms; heartbeatd") && !ran.out.contains("more:"), "{}", ran.out);
    let ran = fake.run(&["status", "worker", "mail", "-o", "table"]).await;
    assert!(ran.out.starts_with("mail, worker: DOWN - worker is blocked"), "{}", ran.out);
    assert!(ran.out.contains("more: heartbeat-cli why postgres"), "the root of the first row: {}", ran.out);
}

#[tokio::test]
async fn a_plugin_answers_in_one_line_whatever_happens() {
    let ran = outage().run(&["nagios"]).await;
    assert!(ran.exit.code() == 2 && ran.out.starts_with("HEARTBEAT CRITICAL - shop: DOWN"), "{}", ran.out);
    assert_eq!(ran.out.lines().count(), 1);
    let ran = run(&["-H", "unix:/nowhere/h.sock", "nagios"]).await;
    assert_eq!((ran.exit.code(), ran.err.as_str()), (3, ""));
    assert!(ran.out.starts_with("HEARTBEAT UNKNOWN - heartbeatd does not answer"), "{}", ran.out);
    assert_eq!(outage().run(&["nagios", "nobody"]).await.exit.code(), 3);
}

#[tokio::test]
async fn logs_of_all_are_those_that_heartbeatd_runs_and_an_empty_one_says_so() {
    let fake = fake(|line, _, _| match line {
        line if line.starts_with("GET /api/logs/") => {
            let realm = line.split('/').nth(3).unwrap_or_default();
            ok(&serde_json::to_string(&heartbeat_wire::LogsDocument::new(realm, Vec::new())).unwrap())
        }
        _ => ok(sample::OUTAGE),
    });
    let ran = fake.run(&["logs"]).await;
    assert_eq!(ran.exit, Exit::Holds, "{}", ran.err);
    assert!(ran.err.contains("api has written nothing yet") && !ran.err.contains("mail"), "{}", ran.err);
    let none = fake.run(&["logs", "-n", "0"]).await;
    assert_eq!((none.exit, none.err.as_str()), (Exit::Holds, ""), "none were asked for");
}

#[tokio::test]
async fn words_are_explained_without_heartbeatd() {
    let ran = run(&["-H", "unix:/nowhere/h.sock", "explain", "restart.backoff", "HB101"]).await;
    assert_eq!(ran.exit, Exit::Holds);
    assert!(
        ran.out.contains("default    \"500ms\"") && ran.out.contains("no such key in this table"),
        "{}",
        ran.out
    );
    let ran = run(&["explain", "backof"]).await;
    assert!(ran.exit == Exit::Usage && ran.err.contains("did you mean backoff?"), "{}", ran.err);
    let ran = run(&["schema"]).await;
    assert!(
        serde_json::from_str::<serde_json::Value>(&ran.out)
            .is_ok_and(|schema| schema["definitions"]["realm"].is_object())
    );
}

#[tokio::test]
async fn quiet_prints_neither_steps_nor_what_went_well() {
    let ran = stoppable().run(&["stop", "postgres", "--yes", "-q"]).await;
    assert_eq!((ran.exit, ran.out.as_str(), ran.err.as_str()), (Exit::Holds, "", ""));
}

#[tokio::test]
async fn all_leaves_out_what_heartbeatd_only_watches_and_keeps_the_order_of_the_graph() {
    let document = sample::OUTAGE;
    let fake = fake(move |line, body, _| {
        if line.starts_with("GET") {
            return ok(document);
        }
        let realm = line.split('/').nth(3).unwrap_or_default();
        let dry = body.contains(r#""dry_run":true"#);
        let rest = match (realm, dry) {
            ("mail", _) => {
                r#","steps":[],"refusal":"external","message":"would be refused: mail has no `run`""#
            }
            (_, true) => r#","steps":[]"#,
            (_, false) => r#","steps":[],"result":"accepted""#,
        };
        ok(&format!(
            r#"{{"schema":"heartbeat.action/1","action":"restart","realms":["{realm}"],"dry_run":{dry}{rest}}}"#
        ))
    });
    let ran = fake.run(&["restart", "all", "--cascade", "--no-wait"]).await;
    assert_eq!(ran.exit, Exit::Holds, "{}", ran.err);
    let acted: Vec<&str> = ran.out.trim_end().split([' ', ':']).filter(|word| !word.is_empty()).collect();
    let (acted, together) = (&acted[1..acted.len() - 1], ran.out.lines().count());
    assert_eq!(together, 1, "one request for all: {}", ran.out);
    let order: Vec<String> = sample::outage().realms.iter().map(|realm| realm.name.clone()).collect();
    let order: Vec<&str> = order.iter().map(String::as_str).filter(|name| *name != "mail").collect();
    assert_eq!(acted, order, "{}", ran.out);
    assert!(ran.err.starts_with("left out: mail (no `run`"), "{}", ran.err);
    let named = fake.run(&["restart", "mail"]).await;
    assert_eq!((named.exit, named.out.as_str()), (Exit::Refused, ""), "named, it is refused");
    assert!(named.err.contains("mail has no `run`") && !named.err.contains("--cascade"), "{}", named.err);
}

#[tokio::test]
async fn the_advice_about_what_is_only_watched_is_what_works() {
    let ran = watching().run(&["why", "mail"]).await;
    let advice: Vec<&str> =
        ran.out.lines().filter(|line| line.contains("heartbeat-cli")).map(str::trim).collect();
    assert_eq!(
        advice,
        [
            "you can    heartbeat-cli why --refresh mail # ask for fresh probes",
            "heartbeat-cli pause mail --reason TEXT # no alerts while it is repaired",
        ],
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn a_failure_shows_what_the_realm_said_last_and_where_there_is_more() {
    const DONE: &str = r#"{"schema":"heartbeat.action/1","action":"restart","realms":["api"],"dry_run":DRY,
        "steps":[{"wave":1,"realm":"postgres","action":"start"},{"wave":2,"realm":"api","action":"start"}]RESULT}"#;
    let fake = fake(|line, body, _| match line {
        line if line.starts_with("GET /api/status/postgres") => {
            let output =
                (1..=9).map(|line| format!("\"line {line}\\u001b[31m\"")).collect::<Vec<_>>().join(",");
            ok(&sample::REALM.replacen('{', &format!("{{ \"log_tail\": [{output}], "), 1))
        }
        line if line.starts_with("GET") => ok(sample::OUTAGE),
        _ if body.contains(r#""dry_run":true"#) => ok(&DONE.replace("DRY", "true").replace("RESULT", "")),
        _ => ok(&DONE
            .replace("DRY", "false")
            .replace("RESULT", r#","result":"failed","message":"exit code 1""#)),
    });
    let ran = fake.run(&["restart", "api"]).await;
    let expected = "restart api: failed (exit code 1)\n  postgres | line 5?[31m\n  postgres | line 6?[31m\n  postgres | line 7?[31m\n  postgres | line 8?[31m\n  postgres | line 9?[31m\nmore: heartbeat-cli why postgres\n";
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::No, expected), "{}", ran.err);
}

#[tokio::test]
async fn selectors_are_shown_before_anything_happens_and_none_is_guessed() {
    let acting = || {
        fake(|line, body, _| {
            if line.starts_with("GET") {
                return ok(sample::OUTAGE);
            }
            let realm = line.split('/').nth(3).unwrap_or_default();
            let (dry, result) = if body.contains(r#""dry_run":true"#) {
                ("true", "")
            } else {
                ("false", r#","result":"accepted""#)
            };
            ok(&format!(
                r#"{{"schema":"heartbeat.action/1","action":"stop","realms":["{realm}"],"dry_run":{dry},"steps":[],
                "breaks":[]{result}}}"#
            ))
        })
    };
    let ran = acting().run(&["stop", "postgres", "work*", "--no-wait"]).await;
    assert!(ran.err.starts_with("stop worker, postgres\n"), "dependents first: {}", ran.err);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Holds, "stop worker postgres: accepted\n"));
    for (args, help) in [
        (&["stop", "@none"][..], "`@none` selects no realm"),
        (&["stop", "elsewhere"], "no realm is called `elsewhere`"),
        (&["stop", "wrker"], "did you mean worker?"),
        (&["events", "wrker"], "did you mean worker?"),
        (&["logs", "wrker"], "did you mean worker?"),
        (&["is", "up", "wrker"], "did you mean worker?"),
        (&["status", "wrker"], "did you mean worker?"),
        (&["pause", "wrker", "--reason", "x"], "did you mean worker?"),
    ] {
        let ran = acting().run(args).await;
        assert!(ran.exit == Exit::NoSuchRealm && ran.err.contains(help), "{args:?}: {}", ran.err);
        assert_eq!(
            ran.err.matches("did you mean").count(),
            usize::from(help.starts_with("did")),
            "{}",
            ran.err
        );
        assert!(!ran.err.contains("/api/"), "{}", ran.err);
    }
}

#[tokio::test]
async fn a_run_that_heartbeatd_does_not_know_of_is_remarked_once() {
    let ran = fake(|_, _, _| problem(404, "")).run(&["run-beat", "api", "--", "true"]).await;
    assert_eq!(
        (ran.exit, ran.err.matches("heartbeatd does not know of this run").count()),
        (Exit::Child(0), 1)
    );
}

#[tokio::test]
async fn the_number_of_events_is_that_of_the_realms_that_are_named() {
    const FACTS: &str = "event: fact\nid: k.1\ndata: {\"schema\":\"heartbeat.event/1\",\"seq\":N,\"at\":\"2026-11-23T22:39:58.310Z\",\"realm\":\"R\",\"what\":\"Started\",\"detail\":\"dN\"}\n\n";
    let fake = fake(|line, _, _| {
        if !line.contains("/api/events/") {
            return ok(sample::OUTAGE);
        }
        let facts = ["api", "api", "api", "worker", "worker"];
        let past = line.split("past=").nth(1).and_then(|rest| rest.split(['&', ' ']).next()?.parse().ok());
        let skipped = facts.len().saturating_sub(past.unwrap_or(0));
        let facts = facts.iter().enumerate().skip(skipped);
        let body: String = facts
            .map(|(at, realm)| {
                FACTS.replace('N', &(at + 1).to_string()).replace("\"R\"", &format!("\"{realm}\""))
            })
            .collect();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    });
    let ran = fake.run(&["events", "api", "-n", "2"]).await;
    let details: Vec<&str> = ran.out.lines().filter_map(|line| line.rsplit('\t').next()).collect();
    assert_eq!((ran.exit, details), (Exit::Holds, vec!["d2", "d3"]), "{} {}", ran.out, ran.err);
    assert!(ran.err.starts_with("the newest 2 of 3 events since heartbeatd started at"), "{}", ran.err);
}
