//! Receivers that do exactly what they are told to, and a record of what is reported.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heartbeat_http::{Sockets, System};
use heartbeat_notify::{
    Clock, Endpoint, NoPrograms, Notifier, Outside, Receiver, Report, Restored, Target, Webhook,
};
use heartbeat_status::{IncidentStep, Reason, Severity, WallTime};
use heartbeat_wire::{INCIDENT_SCHEMA, IncidentDocument, IncidentLinks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Longest wait of a test, in paused time: it advances by itself while no task has work.
const BOUND: Duration = Duration::from_secs(40 * 24 * 60 * 60);
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// What the wall clock says in these tests.
pub(crate) const UNIX_S: u64 = 1_764_000_123;
pub(crate) const WALL: WallTime = WallTime::from_millis(1_764_000_123_000);

/// The clock of the tests, which stands still while any task works.
pub(crate) fn clock() -> Instant {
    sleep(Duration::ZERO).deadline()
}

/// What a receiver does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers with this head and body.
    Say(String),
    /// Answers with this, and leaves the connection open.
    Stall(String),
    /// Hangs up before it has read anything.
    HangUp,
}

impl Act {
    pub(crate) fn status(status: &str) -> Self {
        Self::with(status, "")
    }

    pub(crate) fn with(status: &str, headers: &str) -> Self {
        Self::Say(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 2\r\n\r\n{{}}"))
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    pub(crate) fn document(&self) -> IncidentDocument {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A receiver of notifications.
pub(crate) struct Server {
    port: u16,
    heard: watch::Receiver<Vec<Heard>>,
}

impl Server {
    /// Does these things with its first requests, and answers 200 after that.
    pub(crate) async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut acts: VecDeque<Act> = acts.into_iter().collect();
        let (tell, heard) = watch::channel(Vec::new());
        let tell = Arc::new(tell);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let act = acts.pop_front().unwrap_or_else(|| Act::status("200 OK"));
                tokio::spawn(serve(stream, act, tell.clone()));
            }
        });
        Self { port, heard }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook/?key=k", self.port)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.url()).unwrap()
    }

    pub(crate) fn target(&self) -> Target {
        target(&self.url())
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.borrow().clone()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.heard().iter().map(|heard| heard.header("webhook-id").to_owned()).collect()
    }

    /// Waits until this many requests have come.
    pub(crate) async fn hears(&self, count: usize) -> Vec<Heard> {
        let mut heard = self.heard.clone();
        let enough = heard.wait_for(|heard| heard.len() >= count);
        timeout(BOUND, enough).await.expect("requests in time").unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, act: Act, tell: Arc<watch::Sender<Vec<Heard>>>) {
    if matches!(act, Act::HangUp) {
        return;
    }
    let heard = read_request(&mut stream).await;
    tell.send_modify(|all| all.push(heard));
    // The other side may give up at any time; that is what some tests are about.
    match act {
        Act::Say(answer) => drop(stream.write_all(answer.as_bytes()).await),
        Act::Stall(answer) => {
            drop(stream.write_all(answer.as_bytes()).await);
            drop(stream.read(&mut [0; 16]).await);
        }
        Act::HangUp => {}
    }
}

async fn read_request(stream: &mut TcpStream) -> Heard {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "the request broke off");
        seen.extend_from_slice(&chunk[..n]);
        assert!(seen.len() < MAX_REQUEST_BYTES);
        let text = String::from_utf8(seen.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let heard = Heard { at: clock(), head: head.to_owned(), body: body.to_owned() };
            if heard.body.len() >= heard.header("content-length").parse::<usize>().unwrap() {
                return heard;
            }
        }
    }
}

/// Everything that was reported, in one line each.
#[derive(Clone)]
pub(crate) struct Reports {
    tell: Arc<watch::Sender<Vec<String>>>,
}

impl Reports {
    pub(crate) fn all(&self) -> Vec<String> {
        self.tell.borrow().clone()
    }

    /// Waits for a report that contains this.
    pub(crate) async fn wait_for(&self, part: &str) {
        let mut reports = self.tell.subscribe();
        let found = reports.wait_for(|all| all.iter().any(|line| line.contains(part)));
        assert!(timeout(BOUND, found).await.is_ok(), "no report with {part}, but {:#?}", self.all());
    }

    fn add(&self, report: &Report) {
        let line = match report {
            Report::Delivered { receiver, id, seq, attempts, .. } => {
                format!("{receiver} {id}.{seq} delivered after {attempts}")
            }
            Report::Retrying { receiver, id, seq, attempt, error, in_ms } => {
                assert!(*in_ms > 0);
                format!("{receiver} {id}.{seq} retrying after {attempt}: {error}")
            }
            Report::GivenUp { receiver, id, seq, error } => {
                format!("{receiver} {id}.{seq} given up: {error}")
            }
            Report::Dropped { receiver, id, seq, why } => format!("{receiver} {id}.{seq} dropped: {why:?}"),
            Report::Disabled { receiver } => format!("{receiver} disabled"),
            Report::Failing { receiver, why } => format!("{receiver} fails: {why}"),
            Report::Works { receiver } => format!("{receiver} works"),
            other => format!("{other:?}"),
        };
        self.tell.send_modify(|all| all.push(line));
    }
}

pub(crate) fn start(receivers: Vec<Receiver>) -> (Notifier, Reports) {
    start_again(receivers, Vec::new())
}

/// A notifier that goes on with what the outbox has.
pub(crate) fn start_again(receivers: Vec<Receiver>, restored: Vec<Restored>) -> (Notifier, Reports) {
    start_over(receivers, restored, Arc::new(System))
}

/// A notifier with this resolver and these sockets.
pub(crate) fn start_over(
    receivers: Vec<Receiver>,
    restored: Vec<Restored>,
    sockets: Arc<dyn Sockets>,
) -> (Notifier, Reports) {
    let reports = Reports { tell: Arc::new(watch::channel(Vec::new()).0) };
    let sink = Mutex::new(reports.clone());
    let report = move |report: Report| sink.lock().unwrap().add(&report);
    let (began, runtime) = (clock(), Handle::current());
    let now = move || {
        let _timers = runtime.enter();
        heartbeat_status::Instant::from_millis(1_000) + (clock() - began)
    };
    let clock = Clock { now: Box::new(now), wall: Box::new(|| WALL) };
    let outside = Outside { sockets, ..Outside::new(clock, NoPrograms) };
    (Notifier::start(receivers, restored, Handle::current(), outside, report), reports)
}

/// A webhook without a signature.
pub(crate) fn target(url: &str) -> Target {
    Target::Webhook(Webhook { endpoint: Endpoint::new(url).unwrap(), secrets: Vec::new() })
}

/// A receiver of everything.
pub(crate) fn receiver(name: &str, server: &Server) -> Receiver {
    Receiver { on: IncidentStep::ALL.iter().copied().collect(), ..Receiver::new(name, server.target()) }
}

/// An event of an incident of `postgres`.
pub(crate) fn event(id: &str, seq: u64, step: IncidentStep) -> Arc<IncidentDocument> {
    Arc::new(document(id, seq, step))
}

pub(crate) fn document(id: &str, seq: u64, step: IncidentStep) -> IncidentDocument {
    IncidentDocument {
        schema: INCIDENT_SCHEMA.to_owned(),
        event: step.into(),
        id: id.to_owned(),
        seq,
        ecosystem: "shop".to_owned(),
        root: "postgres".to_owned(),
        reason: Reason::Exited.into(),
        message: "exit code 1 after 0.2 s".to_owned(),
        severity: Severity::Critical.into(),
        affected: vec!["api".to_owned()],
        opened_at: WallTime::from_millis(1_764_000_000_000),
        resolved_at: None,
        duration_s: None,
        resolution: None,
        ack: None,
        timeline: Vec::new(),
        log_tail: vec!["FATAL: could not bind".to_owned()],
        links: IncidentLinks { this: format!("/api/incidents/{id}/") },
    }
}
