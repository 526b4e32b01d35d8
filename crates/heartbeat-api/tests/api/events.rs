//! `/api/events/`: a snapshot first, then what changes, and nothing lost over a broken connection.

use std::collections::BTreeMap;
use std::time::Duration;

use heartbeat_api::Backend;
use heartbeat_status::{Exit, Status};
use heartbeat_wire::{DeltaDocument, EventEntry, StatusDocument};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::fake::{API, Fake, MAIL, POSTGRES};
use crate::raw::{Listeners, PATIENCE};

/// Changes after which nothing more goes into the socket of a follower that does not read.
const FRAMES_UNTIL_STUCK: usize = 400;

/// A follower. HTTP/1.0, so that the body comes as it is.
pub(crate) struct Follower(BufReader<Box<dyn AsyncRead + Unpin>>);

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) id: String,
    data: String,
}

impl Event {
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {}", self.data))
    }

    fn revision(&self) -> u64 {
        self.id.strip_prefix("k3v9.").unwrap().parse().unwrap()
    }
}

impl Follower {
    async fn open(listeners: &Listeners, query: &str, last: Option<&str>) -> Self {
        Self::open_at(listeners, &format!("/api/events/{query}"), last).await
    }

    pub(crate) async fn open_at(listeners: &Listeners, path: &str, last: Option<&str>) -> Self {
        let stream = UnixStream::connect(&listeners.socket).await.unwrap();
        Self::over(stream, ("localhost", path), last).await
    }

    /// A reader without a role.
    async fn open_tcp(listeners: &Listeners, query: &str) -> Self {
        let stream = TcpStream::connect(listeners.address).await.unwrap();
        let host = listeners.address.to_string();
        Self::over(stream, (&host, &format!("/api/events/{query}")), None).await
    }

    async fn over(
        mut stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        (host, path): (&str, &str),
        last: Option<&str>,
    ) -> Self {
        let last = last.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut follower = Self(BufReader::new(Box::new(stream)));
        let status = follower.line().await.unwrap();
        assert!(status.contains("200"), "{status}");
        let mut head = String::new();
        while let Some(line) = follower.line().await.filter(|line| !line.is_empty()) {
            head += &format!("{line}\n");
        }
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        follower
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("something in time").unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event, comments passed over; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let mut event = Event { kind: String::new(), id: String::new(), data: String::new() };
        loop {
            let line = self.line().await?;
            match line.split_once(": ") {
                Some(("event", kind)) => kind.clone_into(&mut event.kind),
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("data", data)) => data.clone_into(&mut event.data),
                _ if line.is_empty() && !event.kind.is_empty() => return Some(event),
                _ => {}
            }
        }
    }
}

fn level_revision(id: &str) -> &str {
    id.strip_prefix("k3v9.").unwrap()
}

fn changed(delta: &DeltaDocument) -> Vec<&str> {
    delta.realms.iter().map(|realm| realm.name.as_str()).collect()
}

#[tokio::test]
async fn a_snapshot_first_and_then_what_changes() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let mut follower = Follower::open(&listeners, "", None).await;
    let first = follower.next().await.unwrap();
    assert_eq!(first.kind, "snapshot");
    let document: StatusDocument = first.json();
    assert_eq!((document.revision, document.realms.len()), (first.revision(), 4));
    fake.exited(POSTGRES, Exit::code(1));
    let delta = follower.next().await.unwrap();
    assert_eq!(delta.kind, "delta");
    let document: DeltaDocument = delta.json();
    assert_eq!(document.revision, delta.revision());
    assert!(delta.revision() > first.revision());
    assert!(
        changed(&document).contains(&"postgres") && !changed(&document).contains(&"mail"),
        "{document:#?}"
    );
    assert_eq!(document.summary.restarting, 1);
    // The same for two readers, byte for byte.
    let mut other = Follower::open(&listeners, "", None).await;
    assert_eq!(other.next().await.unwrap().kind, "snapshot");
    fake.advance(Duration::from_secs(20));
    let (one, two) = (follower.next().await.unwrap(), other.next().await.unwrap());
    assert_eq!((one.id, one.data), (two.id, two.data));
}

#[tokio::test]
async fn a_broken_connection_loses_nothing() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let mut keeper = Follower::open(&listeners, "", None).await;
    keeper.next().await.unwrap();
    let mut follower = Follower::open(&listeners, "", None).await;
    let last = follower.next().await.unwrap().id;
    drop(follower);
    fake.exited(POSTGRES, Exit::code(1));
    keeper.next().await.unwrap();
    fake.exited(API, Exit::code(3));
    keeper.next().await.unwrap();
    let mut again = Follower::open(&listeners, "", Some(&last)).await;
    let missed = again.next().await.unwrap();
    assert_eq!(missed.kind, "delta", "{missed:?}");
    let document: DeltaDocument = missed.json();
    assert!(changed(&document).contains(&"postgres") && changed(&document).contains(&"api"), "{document:#?}");
    assert!(!changed(&document).contains(&"mail"), "{document:#?}");
    let of = |name: &str| document.realms.iter().find(|realm| realm.name == name).unwrap().status.known();
    assert_eq!(of("postgres"), Some(Status::Restarting));
    // Nothing missed is a delta without realms; another life, a stranger's identifier: everything.
    let mut level = Follower::open(&listeners, "", Some(&missed.id)).await;
    let nothing: DeltaDocument = level.next().await.unwrap().json();
    assert!(nothing.realms.is_empty(), "{nothing:#?}");
    // The revision of another life may be the same number.
    let same_number = format!("other.{}", level_revision(&missed.id));
    for foreign in [same_number.as_str(), "other.3", "nonsense", "k3v9.99999999", "k3v9.x"] {
        let mut follower = Follower::open(&listeners, "", Some(foreign)).await;
        assert_eq!(follower.next().await.unwrap().kind, "snapshot", "{foreign}");
    }
}

#[tokio::test]
async fn facts_tell_the_story_and_come_again_with_the_change_they_belong_to() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let mut past = Follower::open(&listeners, "?facts=only&past=3&follow=0", None).await;
    let mut seqs = Vec::new();
    while let Some(event) = past.next().await {
        assert_eq!(event.kind, "fact");
        seqs.push(event.json::<EventEntry>().seq);
    }
    assert_eq!(seqs.len(), 3);
    assert!(seqs.is_sorted(), "{seqs:?}");
    let mut follower = Follower::open(&listeners, "?facts=1", None).await;
    let first = follower.next().await.unwrap();
    assert_eq!(first.kind, "snapshot", "no past was asked for");
    fake.exited(POSTGRES, Exit::code(1));
    let mut told = Vec::new();
    let delta = loop {
        let event = follower.next().await.unwrap();
        if event.kind == "delta" {
            break event;
        }
        assert_eq!(event.id, first.id, "under the state before it");
        told.push(event.json::<EventEntry>());
    };
    let words: Vec<&str> =
        told.iter().filter_map(|fact| fact.what.known()).map(|what| what.as_str()).collect();
    assert!(words.contains(&"Exited") && words.contains(&"IncidentOpened"), "{words:?}");
    // Broken off before the change came: told again.
    let mut again = Follower::open(&listeners, "?facts=1", Some(&first.id)).await;
    for expected in &told {
        let event = again.next().await.unwrap();
        assert_eq!(event.json::<EventEntry>(), *expected);
        assert_eq!(event.id, "", "broken off here, all of it has to come again");
    }
    assert_eq!(again.next().await.unwrap().id, delta.id);
}

#[tokio::test]
async fn a_stream_lives_and_ends_with_heartbeatd() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let mut follower = Follower::open(&listeners, "", None).await;
    follower.next().await.unwrap();
    loop {
        if follower.line().await.unwrap() == ": alive" {
            break;
        }
    }
    listeners.end();
    while follower.line().await.is_some() {}
    listeners.ended().await;
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    for query in
        ["?facts=maybe", "?past=3", "?facts=1&past=9999", "?facts=1&past=x", "?follow=maybe", "?fact=1"]
    {
        listeners.get(&format!("/api/events/{query}")).await.problem(400);
    }
    let head = listeners.unix("HEAD", "/api/events/", &[], "").await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
}

/// However many followers come and however far each of them is behind, the server makes each frame once.
#[tokio::test]
async fn a_thousand_followers_that_do_not_read_cost_one_frame_and_delay_no_other() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    // What everyone has to read at the first connection is made, too.
    let mut first = Follower::open_tcp(&listeners, "?facts=1&past=9").await;
    first.next().await.unwrap();
    let before = listeners.api.counts().frames_built;
    let mut stuck = Vec::new();
    for _ in 0..1_000 {
        stuck.push(Follower::open_tcp(&listeners, "?facts=1&past=2000").await);
    }
    // The head of an answer may precede the snapshot: the last one has it.
    while stuck.last_mut().unwrap().next().await.unwrap().kind != "snapshot" {}
    assert_eq!(listeners.api.counts().frames_built, before, "all share what the first one got");
    let mut follower = Follower::open(&listeners, "?facts=1", None).await;
    let mut last = follower.next().await.unwrap().revision();
    for round in 0..10 {
        fake.exited(POSTGRES, Exit::code(1));
        fake.advance(Duration::from_secs(400));
        if round % 5 == 4 {
            let target = listeners.get("/api/status/").await.json::<StatusDocument>().revision;
            while last < target {
                // A fact that brings it up to date has no identifier.
                let event = follower.next().await.unwrap();
                last = if event.id.is_empty() { last } else { last.max(event.revision()) };
            }
        }
    }
    let (facts, changes) = (Backend::facts(&*fake, 0).len(), Backend::snapshot(&*fake).revision);
    let built = listeners.api.counts().frames_built - before;
    // For each kind of reader: the facts, the changes, and what brings those who are behind up to date.
    let most = 2 * (facts as u64 + 10 * changes);
    assert!(built <= most && most < 100_000, "{built} frames of {facts} facts and {changes} changes");
}

#[tokio::test]
async fn a_follower_that_lags_loses_no_change() {
    let fake = Fake::shop();
    let listeners = Listeners::open(&fake);
    let mut late = Follower::open(&listeners, "", None).await;
    let first: StatusDocument = late.next().await.unwrap().json();
    let mut state: BTreeMap<String, String> =
        first.realms.iter().map(|realm| (realm.name.clone(), realm.status.to_string())).collect();
    // Sees every frame being made.
    let mut keeper = Follower::open(&listeners, "", None).await;
    let mut made = keeper.next().await.unwrap().revision();
    let mut busy = async |rounds: usize| {
        for _ in 0..rounds {
            fake.exited(POSTGRES, Exit::code(1));
            fake.advance(Duration::from_secs(400));
            let target = Backend::snapshot(&*fake).revision;
            while made < target {
                made = keeper.next().await.unwrap().revision();
            }
        }
    };
    // More than a socket and everything between holds.
    busy(FRAMES_UNTIL_STUCK).await;
    fake.break_probes(MAIL);
    // More than is kept for those who are behind.
    busy(200).await;
    let end: StatusDocument = listeners.get("/api/status/").await.json();
    let mut revision = first.revision;
    let mut frames = 0;
    while revision < end.revision {
        let event = late.next().await.unwrap();
        frames += 1;
        revision = event.revision();
        let realms = match event.kind.as_str() {
            "delta" => event.json::<DeltaDocument>().realms,
            _ => event.json::<StatusDocument>().realms,
        };
        state.extend(realms.iter().map(|realm| (realm.name.clone(), realm.status.to_string())));
    }
    assert!(frames < FRAMES_UNTIL_STUCK, "it was behind: {frames} frames");
    let is: BTreeMap<String, String> =
        end.realms.iter().map(|realm| (realm.name.clone(), realm.status.to_string())).collect();
    assert_eq!(state, is);
    assert_eq!(is["mail"], "down");
}
