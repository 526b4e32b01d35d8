//! Notifications survive every end of heartbeatd.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use heartbeat_status::WallTime;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::program::{PATIENCE, told};
use crate::supervision::{Instance, ports};
use crate::surviving::until;

/// What the receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    /// Kills heartbeatd before it answers.
    KillThenHangUp,
    /// Kills heartbeatd after it has answered.
    AnswerThenKill,
    Refuse,
    Accept,
}

/// A receiver that honours keys, and kills heartbeatd when its plan says so.
pub(crate) struct Killer {
    pub(crate) url: String,
    heartbeatd: Arc<AtomicI32>,
    plan: Arc<Mutex<BTreeMap<String, VecDeque<Act>>>>,
    /// Every request that came, in order: its key, its incident and its event.
    heard: Arc<Mutex<Vec<[String; 3]>>>,
    /// The documents that came under each key.
    documents: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    killed: Receiver<()>,
}

impl Killer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (kills, killed) = sync_channel(64);
        let (heartbeatd, plan, heard) = (Arc::default(), Arc::default(), Arc::default());
        let killer = Self { url, heartbeatd, plan, heard, documents: Arc::default(), killed };
        let (heartbeatd, plan) = (Arc::clone(&killer.heartbeatd), Arc::clone(&killer.plan));
        let (heard, documents) = (Arc::clone(&killer.heard), Arc::clone(&killer.documents));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // heartbeatd may have been killed while it wrote.
                let Some((request, document)) = request(&stream) else { continue };
                documents.lock().unwrap().entry(request[0].clone()).or_default().insert(document);
                let event = request[2].clone();
                heard.lock().unwrap().push(request);
                let act = plan.lock().unwrap().get_mut(&event).and_then(VecDeque::pop_front);
                react(stream, act.unwrap_or(Act::Accept), &heartbeatd, &kills);
            }
        });
        killer
    }

    fn plan(&self, event: &str, acts: &[Act]) {
        self.plan.lock().unwrap().insert(event.to_owned(), acts.iter().copied().collect());
    }

    pub(crate) fn heard(&self) -> Vec<[String; 3]> {
        self.heard.lock().unwrap().clone()
    }

    /// The documents that came under each key.
    pub(crate) fn documents(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.documents.lock().unwrap().clone()
    }
}

fn react(mut stream: TcpStream, act: Act, heartbeatd: &AtomicI32, kills: &SyncSender<()>) {
    let mut answer = |status: &str| {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        // It may be gone by now.
        drop(stream.write_all(answer.as_bytes()));
    };
    match act {
        Act::Accept | Act::AnswerThenKill => answer("204 No Content"),
        Act::Refuse => answer("503 Not Now"),
        Act::KillThenHangUp => {}
    }
    if matches!(act, Act::KillThenHangUp | Act::AnswerThenKill) {
        kill(Pid::from_raw(heartbeatd.load(Ordering::SeqCst)), Signal::SIGKILL).unwrap();
        kills.send(()).unwrap();
    }
}

fn request(stream: &TcpStream) -> Option<([String; 3], String)> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut key, mut line) = (0, String::new(), String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        let (name, value) = line.trim().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "webhook-id" => value.clone_into(&mut key),
            _ => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let document: Value = serde_json::from_slice(&body).ok()?;
    let text = |field: &str| document[field].as_str().unwrap().to_owned();
    Some(([key, text("id"), text("event")], String::from_utf8(body).ok()?))
}

struct Outages {
    eco: Instance,
    killer: Killer,
    port: u16,
}

impl Outages {
    fn start() -> Self {
        Self::start_with("")
    }

    fn start_with(more: &str) -> Self {
        let killer = Killer::start();
        let [port] = ports();
        let extra = format!(
            "{more}[notify.ops]\nwebhook = \"{}\"\n[realm.mail]\nhealth = {{ tcp = \"127.0.0.1:{port}\", \
             interval = \"1s\", timeout = \"1s\", fail_after = 1, pass_after = 1, grace = \"0s\" }}\n",
            killer.url
        );
        let eco = Instance::start(&extra);
        let outages = Self { eco, killer, port };
        outages.is_killable();
        outages
    }

    fn is_killable(&self) {
        self.killer.heartbeatd.store(self.eco.daemon.pid().as_raw(), Ordering::SeqCst);
    }

    /// The receiver has killed heartbeatd: the next one starts.
    fn survive(&mut self) {
        self.killer.killed.recv_timeout(PATIENCE).expect("a kill");
        self.start_again();
    }

    fn start_again(&mut self) {
        self.eco.daemon.wait();
        self.eco.start_again();
        self.is_killable();
    }

    fn incidents(&self) -> Vec<Value> {
        let output = self.eco.cli(&["incidents", "--json"]);
        // Empty while heartbeatd does not answer yet.
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let all = document["incidents"].as_array().into_iter().flatten();
        all.filter(|incident| incident["root"] == "mail").cloned().collect()
    }

    fn waits_for(&self, event: &str, count: usize) {
        let events = || self.killer.heard().iter().filter(|[.., heard]| heard == event).count();
        until(event, || events() >= count);
    }
}

#[test]
fn whenever_heartbeatd_is_killed_an_outage_is_one_incident_with_one_key_per_message() {
    use Act::{Accept, AnswerThenKill, KillThenHangUp, Refuse};
    let mut outages = Outages::start();
    // The realm is down from the beginning.
    outages.killer.plan("opened", &[KillThenHangUp, Refuse, AnswerThenKill, Accept]);
    outages.survive();
    outages.survive();
    // Killed in between, and while nothing is delivered.
    let up = outages.eco.cli(&["wait", "db", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    outages.eco.daemon.signal(Signal::SIGKILL);
    outages.start_again();
    outages.killer.plan("resolved", &[KillThenHangUp, AnswerThenKill]);
    let mail = TcpListener::bind(("127.0.0.1", outages.port)).unwrap();
    outages.survive();
    outages.survive();
    let ended = |incidents: &[Value]| {
        !incidents.is_empty() && incidents.iter().all(|incident| incident.get("resolved_at").is_some())
    };
    until("its end", || ended(&outages.incidents()));
    assert_eq!(outages.incidents().len(), 1, "{:#?}", outages.incidents());
    let id = outages.incidents()[0]["id"].as_str().unwrap().to_owned();
    until("the log", || {
        let log = outages.eco.cli(&["notify", "log", &id, "-o", "plain"]);
        let log = String::from_utf8_lossy(&log.stdout).into_owned();
        log.contains("ops\topened\tdelivered\t") && log.contains("ops\tresolved\tdelivered\t")
    });
    // The next outage begins while heartbeatd is killed again and again.
    drop(mail);
    outages.killer.plan("opened", &[AnswerThenKill]);
    outages.survive();
    outages.killer.plan("resolved", &[Refuse, Accept]);
    let before = outages.killer.heard().iter().filter(|[.., event]| event == "resolved").count();
    let _mail = TcpListener::bind(("127.0.0.1", outages.port)).unwrap();
    outages.waits_for("resolved", before + 2);
    outages.eco.daemon.signal(Signal::SIGTERM);
    outages.eco.daemon.wait();

    let heard = outages.killer.heard();
    let incidents: BTreeSet<&String> = heard.iter().map(|[_, id, _]| id).collect();
    assert_eq!(incidents.len(), 2, "{heard:#?}");
    for incident in incidents {
        for event in ["opened", "resolved"] {
            let of = heard.iter().filter(|[_, id, heard]| id == incident && heard == event);
            let keys: BTreeSet<&String> = of.map(|[key, ..]| key).collect();
            assert_eq!(keys.len(), 1, "{event}: {heard:#?}");
        }
    }
    let keys: BTreeSet<&String> = heard.iter().map(|[key, ..]| key).collect();
    assert_eq!(keys.len(), 4, "a key means one message: {heard:#?}");
}

#[test]
fn a_test_takes_the_way_of_every_notification_and_leaves_nothing_open() {
    let killer = Killer::start();
    let extra = format!(
        "[notify.ops]\nwebhook = \"{}\"\n[notify.phone]\nntfy = \"{}\"\n\
         template = \"{{{{ event }}}}: {{{{ message }}}}\"\n",
        killer.url, killer.url
    );
    let eco = Instance::start(&extra);
    let up = eco.cli(&["wait", "db", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let shown = eco.cli(&["notify", "test", "phone", "--dry-run"]);
    let text = told(&shown);
    assert_eq!(shown.status.code(), Some(0), "{text}");
    assert!(
        text.contains("title: opened: this is a test of the receiver phone, nothing has failed"),
        "{text}"
    );
    assert!(!text.contains("/hook"), "the path of a webhook is a secret: {text}");
    assert!(killer.heard().is_empty());
    let sent = eco.cli(&["notify", "test", "ops"]);
    assert_eq!(sent.status.code(), Some(0), "{}", told(&sent));
    let heard = killer.heard();
    let events: Vec<&str> = heard.iter().map(|[.., event]| event.as_str()).collect();
    assert_eq!((events, &heard[0][1]), (vec!["opened", "resolved"], &heard[1][1]));
    killer.plan("opened", &[Act::Refuse]);
    let refused = eco.cli(&["notify", "test", "ops"]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(
        told(&refused).contains("ops did not accept the test `opened`: answered 503"),
        "{}",
        told(&refused)
    );
    let unknown = eco.cli(&["notify", "test", "opps"]);
    assert_eq!(unknown.status.code(), Some(4), "{}", told(&unknown));
    assert!(told(&unknown).contains("did you mean ops?"), "{}", told(&unknown));
}

impl Outages {
    fn is_muted(&self) -> bool {
        let output = self.eco.cli(&["status", "mail", "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let realms = document["realms"].as_array().into_iter().flatten();
        let mut flags =
            realms.filter(|realm| realm["name"] == "mail").map(|realm| realm["flags"].to_string());
        flags.any(|flags| flags.contains("muted"))
    }

    fn is_open(&self) -> bool {
        self.incidents().iter().any(|incident| incident.get("resolved_at").is_none())
    }
}

#[test]
fn a_mute_holds_over_a_restart_and_what_is_open_at_its_end_is_sent_then() {
    let mut outages = Outages::start();
    outages.waits_for("opened", 1);
    let mail = TcpListener::bind(("127.0.0.1", outages.port)).unwrap();
    outages.waits_for("resolved", 1);
    let muted = outages.eco.cli(&["mute", "mail", "--for", "1h", "--reason", "the mail server moves"]);
    assert_eq!(muted.status.code(), Some(0), "{}", told(&muted));
    assert!(told(&muted).contains("`heartbeat-cli unmute mail` ends it"), "{}", told(&muted));
    until("the flag", || outages.is_muted());
    drop(mail);
    until("the outage", || outages.is_open());
    outages.eco.daemon.signal(Signal::SIGKILL);
    outages.start_again();
    until("the flag after a restart", || outages.is_muted());
    until("the outage after a restart", || outages.is_open());
    assert_eq!(outages.killer.heard().len(), 2, "{:#?}", outages.killer.heard());
    let unmuted = outages.eco.cli(&["unmute", "mail"]);
    assert_eq!(unmuted.status.code(), Some(0), "{}", told(&unmuted));
    outages.waits_for("opened", 2);
    let _mail = TcpListener::bind(("127.0.0.1", outages.port)).unwrap();
    outages.waits_for("resolved", 2);
    assert!(!outages.is_muted());
}

#[expect(clippy::disallowed_methods, reason = "a window is about the time of day")]
fn now() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    WallTime::from_millis(i64::try_from(since.as_millis()).unwrap())
}

#[test]
fn a_maintenance_window_mutes_its_realms_until_it_ends() {
    let start = now();
    let end = WallTime::from_millis(start.as_millis() + 20_000);
    let outages = Outages::start_with(&format!(
        "[maintenance.move]\nrealms = [\"ma*\"]\nstart = \"{start}\"\nfor = \"20s\"\nreason = \"it moves\"\n"
    ));
    outages.waits_for("opened", 1);
    assert!(now() >= end, "the window was over");
    until("no flag", || !outages.is_muted());
}

#[test]
fn a_service_elsewhere_is_pinged_while_heartbeatd_works() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ping/s3cret", listener.local_addr().unwrap());
    let line = format!("HEARTBEAT__HEARTBEAT__PING={url} exec \"$@\"");
    let eco = Instance::start_under(&line, "");
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = String::new();
    BufReader::new(&stream).read_line(&mut head).unwrap();
    assert_eq!(head, "GET /ping/s3cret HTTP/1.1\r\n");
    drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    eco.daemon.signal(Signal::SIGTERM);
    let (code, errors) = eco.daemon.end();
    assert_eq!(code, Some(0), "{errors}");
    assert!(!errors.contains("s3cret"), "{errors}");
}
