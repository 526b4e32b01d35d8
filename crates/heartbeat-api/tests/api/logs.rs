//! `/api/logs/{realm}/`: the last lines, the generation before, and a stream that nothing interrupts.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use heartbeat_api::Output;
use heartbeat_status::RealmIx;
use heartbeat_wire::LogsDocument;

use crate::events::Follower;
use crate::fake::{API, Fake, MAIL, MIGRATE, POSTGRES};
use crate::raw::Listeners;

/// The log of a realm.
pub(crate) struct Log {
    dir: tempfile::TempDir,
}

impl Log {
    pub(crate) fn new(fake: &Arc<Fake>, realm: RealmIx) -> Self {
        let log = Self { dir: tempfile::tempdir().unwrap() };
        fake.writes(realm, Output::File(log.path("")));
        log
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.dir.path().join(format!("out.log{ending}"))
    }

    pub(crate) fn append(&self, text: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(self.path("")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// As the ledger beside it says.
    pub(crate) fn has_lost(&self, (truncations, cut): (u64, u64), dropped: u64) {
        self.say(&format!("moved 1000000\nlost {truncations} {cut} {dropped}\n"));
    }

    fn say(&self, index: &str) {
        let framed = heartbeat_status::frame("heartbeat-log 1", &format!("{index:<2000}"));
        std::fs::write(self.path(".ledger"), framed).unwrap();
    }
}

#[tokio::test]
async fn the_last_lines_are_given_at_the_socket_alone() {
    let fake = Fake::shop();
    let (listeners, log) = (Listeners::open(&fake), Log::new(&fake, API));
    let none = listeners.get("/api/logs/api/").await.problem(404);
    assert_eq!(
        (none.kind.as_str(), none.detail.contains("another process has removed it")),
        ("heartbeat:no-log", true)
    );
    log.append("one\ntwo\n\u{202e}three");
    let document: LogsDocument = listeners.get("/api/logs/api").await.json();
    assert_eq!(
        (document.lines.as_slice(), document.cut),
        (&["one", "two", "?three"].map(str::to_owned)[..], false)
    );
    let document: LogsDocument = listeners.get("/api/logs/api/?lines=1").await.json();
    assert_eq!((document.lines, document.cut, document.lost), (vec!["?three".to_owned()], true, None));
    listeners.tcp("GET", "/api/logs/api/", &[], "").await.problem(403);
    listeners.tcp("GET", "/api/logs/api/?follow=1", &[], "").await.problem(403);
    for bad in ["lines=-1", "lines=10001", "lines=x", "follow=2", "follow=1&previous=1", "line=1"] {
        listeners.get(&format!("/api/logs/api/?{bad}")).await.problem(400);
    }
    assert_eq!(listeners.get("/api/logs/apy/").await.problem(404).suggestions, ["api"]);
}

#[tokio::test]
async fn what_has_no_file_says_where_to_look() {
    let fake = Fake::shop();
    fake.writes(POSTGRES, Output::Journal("postgres".to_owned()));
    fake.writes(MAIL, Output::Elsewhere);
    let listeners = Listeners::open(&fake);
    for (realm, word) in [
        ("postgres", "journalctl -t postgres"),
        ("mail", "heartbeatd does not start mail"),
        ("migrate", "log.to"),
    ] {
        let problem = listeners.get(&format!("/api/logs/{realm}/")).await.problem(404);
        assert!(problem.kind == "heartbeat:no-log" && problem.detail.contains(word), "{}", problem.detail);
    }
    // A directory in its place is none of its lines.
    let log = Log::new(&fake, MIGRATE);
    std::fs::create_dir(log.path("")).unwrap();
    listeners.get("/api/logs/migrate/").await.problem(500);
}

#[tokio::test]
async fn the_generation_before_is_told_from_the_newest() {
    let fake = Fake::shop();
    let (listeners, log) = (Listeners::open(&fake), Log::new(&fake, API));
    log.append("in the second\nthe third\n");
    assert_eq!(listeners.get("/api/logs/api/?previous=1").await.problem(404).kind, "heartbeat:no-previous");
    std::fs::write(log.path(".1"), "the first\nthe second begins\n").unwrap();
    log.say("moved 1000\nheads 0\nlost 0 0 0\nrun 6 972\nrun 7 982\nrun 8 1014\n");
    let document: LogsDocument = listeners.get("/api/logs/api/?previous=1").await.json();
    assert_eq!(document.generation, Some(7));
    assert_eq!(document.lines, ["the second begins", "in the second"]);
    // All of them, without the question.
    let document: LogsDocument = listeners.get("/api/logs/api/").await.json();
    assert_eq!((document.generation, document.lines.len()), (None, 4));
}

#[tokio::test]
async fn a_follower_sees_every_line_once_whatever_happens_to_the_file() {
    let fake = Fake::shop();
    let (listeners, log) = (Listeners::open(&fake), Log::new(&fake, API));
    log.append("old\nlast\nunfin");
    let mut follower = Follower::open_at(&listeners, "/api/logs/api/?follow=1&lines=1", None).await;
    let first: LogsDocument = follower.next().await.unwrap().json();
    assert_eq!((first.lines.as_slice(), first.cut), (&["last".to_owned()][..], true));
    log.append("ished\n");
    let event = follower.next().await.unwrap();
    assert_eq!(event.json::<LogsDocument>().lines, ["unfinished"]);
    // Set aside between two looks.
    std::fs::rename(log.path(""), log.path(".1")).unwrap();
    log.append("after\n");
    let size = std::fs::metadata(log.path(".1")).unwrap().len();
    log.say(&format!("moved {}\nlost 0 0 0\n", (1u64 << 48) + size));
    let set_aside = follower.next().await.unwrap();
    assert_eq!(set_aside.json::<LogsDocument>().lines, ["after"]);
    // A broken stream goes on behind what was read.
    drop(follower);
    log.append("meanwhile\n");
    let mut follower = Follower::open_at(&listeners, "/api/logs/api/?follow=1", Some(&set_aside.id)).await;
    assert_eq!(follower.next().await.unwrap().json::<LogsDocument>().lines, ["meanwhile"]);
    log.append("and on\n");
    assert_eq!(follower.next().await.unwrap().json::<LogsDocument>().lines, ["and on"]);
    listeners.end();
    assert!(follower.next().await.is_none(), "the end of heartbeatd is the end of the stream");
}

#[tokio::test]
async fn a_follower_that_cannot_keep_up_learns_what_it_missed() {
    let fake = Fake::shop();
    let (listeners, log) = (Listeners::open(&fake), Log::new(&fake, API));
    log.append("begin\n");
    let mut follower = Follower::open_at(&listeners, "/api/logs/api/?follow=1", None).await;
    follower.next().await.unwrap();
    log.append(&"0123456789\n".repeat(1_000_000));
    log.append("end\n");
    let (mut missed, mut shown) = (0, 0);
    loop {
        let document: LogsDocument = follower.next().await.unwrap().json();
        missed += document.missed_bytes;
        shown += document.lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>();
        if document.lines.last().is_some_and(|line| line == "end") {
            break;
        }
    }
    assert_eq!(missed + shown, 11_000_004, "every byte is shown or counted");
    assert!(missed > 5_000_000, "{missed}");
}

#[tokio::test]
async fn a_bad_place_is_refused() {
    let fake = Fake::shop();
    let (listeners, log) = (Listeners::open(&fake), Log::new(&fake, API));
    log.append("x\n");
    for id in ["k3v9.7", "-1-0-0", "1-2"] {
        let header = format!("Last-Event-ID: {id}");
        listeners.unix("GET", "/api/logs/api/?follow=1", &[&header], "").await.problem(400);
    }
}
