//! Several receivers, other settings, and the end.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_notify::{
    Alertmanager, MAX_QUEUED_NOTIFICATIONS, Ntfy, Receiver, Restored, RestoredState, STORM_INCIDENTS,
    STORM_WINDOW, Target,
};
use heartbeat_status::IncidentStep::{self, Failed, Opened, Resolved, Updated};
use heartbeat_status::WallTime;
use heartbeat_wire::{AckEntry, IncidentDocument, Open};

use tokio::time::{sleep, timeout};

use crate::scene::{Act, Heard, Server, UNIX_S, WALL, clock, document, event, receiver, start, start_again};

const PATIENCE: Duration = Duration::from_secs(5);

fn stall() -> Act {
    Act::Stall(String::new())
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_delays_no_other() {
    let slow = Server::start([stall(), stall()]).await;
    let fast = Server::start([]).await;
    let (notifier, reports) = start(vec![receiver("fast", &fast), receiver("slow", &slow)]);
    let before = clock();
    for seq in 1..=9 {
        notifier.notify(&event("a", seq, if seq == 1 { Opened } else { Updated }));
    }
    assert_eq!(notifier.backlog(), [("fast".to_owned(), 9), ("slow".to_owned(), 9)]);
    reports.wait_for("fast a.9 delivered").await;
    assert_eq!(clock(), before, "at once");
    assert_eq!(notifier.backlog(), [("fast".to_owned(), 0), ("slow".to_owned(), 9)]);
    reports.wait_for("slow a.9 delivered").await;
    assert!(clock() - before >= Duration::from_secs(20));
    let mut expected = vec!["a.1".to_owned(); 2];
    expected.extend((1..=9).map(|seq| format!("a.{seq}")));
    assert_eq!(slow.ids(), expected);
}

/// The one test on the real clock, which its bound makes fail rather than hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telling_works_from_any_thread() {
    let server = Server::start([]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    let told = std::thread::spawn(move || {
        notifier.notify(&event("a", 1, Opened));
        notifier
    });
    let notifier = told.join().unwrap();
    timeout(Duration::from_secs(30), reports.wait_for("ops a.1 delivered")).await.unwrap();
    notifier.close(PATIENCE).await;
    assert_eq!(server.ids(), ["a.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_bounded_and_queues_no_resolved_without_opened() {
    let server = Server::start([Act::status("200 OK"), stall()]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    notifier.notify(&event("first", 1, Opened));
    reports.wait_for("ops first.1 delivered").await;
    let flood = MAX_QUEUED_NOTIFICATIONS / 2 + 200;
    for incident in 0..flood {
        let id = format!("i{incident}");
        notifier.notify(&event(&id, 1, Opened));
        notifier.notify(&event(&id, 2, Updated));
    }
    notifier.notify(&event("first", 2, Resolved));
    let backlog = notifier.backlog()[0].1;
    assert!(backlog <= MAX_QUEUED_NOTIFICATIONS && backlog > MAX_QUEUED_NOTIFICATIONS / 2, "{backlog}");
    let lost: Vec<String> = reports.all().into_iter().filter(|line| line.contains("first.2")).collect();
    assert!(lost.is_empty(), "the end of what was told is never dropped: {lost:?}");
    let dropped = reports.all().iter().filter(|line| line.contains("dropped")).count();
    assert_eq!(dropped + backlog, 2 * flood + 1, "each is accounted for");
}

#[tokio::test(start_paused = true)]
async fn receivers_get_what_they_asked_for() {
    let (calls, all) = (Server::start([]).await, Server::start([]).await);
    let calls_only = Receiver { on: [Failed, Resolved].into(), ..receiver("calls", &calls) };
    let (notifier, reports) = start(vec![receiver("all", &all), calls_only]);
    for (seq, step) in (1..).zip([Opened, Updated, Failed, Resolved]) {
        notifier.notify(&event("a", seq, step));
    }
    notifier.notify(&event("b", 1, Opened));
    notifier.notify(&event("b", 2, Resolved));
    reports.wait_for("calls a.4 delivered").await;
    reports.wait_for("all b.2 delivered").await;
    assert_eq!(calls.ids(), ["a.3", "a.4"]);
    assert_eq!(all.ids(), ["a.1", "a.2", "a.3", "a.4", "b.1", "b.2"]);
    assert!(reports.all().iter().all(|line| line.contains("delivered")), "{:?}", reports.all());
}

#[tokio::test(start_paused = true)]
async fn an_incident_opens_for_a_realm_when_it_joins() {
    let server = Server::start([]).await;
    let web = Receiver { realms: vec!["web".to_owned()], ..Receiver::new("web", server.target()) };
    let (notifier, reports) = start(vec![web]);
    notifier.notify(&event("a", 1, Opened));
    for (seq, step) in [(2, Updated), (3, Updated), (4, Resolved)] {
        let mut joined = document("a", seq, step);
        joined.affected.push("web".to_owned());
        notifier.notify(&joined.into());
    }
    notifier.notify(&event("b", 1, Opened));
    notifier.notify(&event("b", 2, Resolved));
    reports.wait_for("web a.4 delivered").await;
    assert_eq!(server.ids(), ["a.2", "a.4"]);
    let heard = server.heard()[0].document();
    assert_eq!((heard.event, heard.seq), (Open::Known(Opened), 2));
    assert_eq!(reports.all().len(), 2, "{:?}", reports.all());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_did_not_ask_for_updated_hears_of_another_root() {
    let server = Server::start([]).await;
    let default = || Receiver::new("ops", server.target());
    let moved =
        |id: &str, seq, step| IncidentDocument { root: "redis".to_owned(), ..document(id, seq, step) };
    let (notifier, reports) = start(vec![default()]);
    notifier.notify(&event("a", 1, Opened));
    notifier.notify(&event("a", 2, Updated));
    notifier.notify(&moved("a", 3, Updated).into());
    notifier.notify(&moved("a", 4, Resolved).into());
    reports.wait_for("ops a.4 delivered").await;
    assert_eq!(server.ids(), ["a.1", "a.3", "a.4"]);
    let told = server.heard()[1].document();
    assert_eq!((told.event, told.root.as_str(), told.seq), (Open::Known(Opened), "redis", 3));
    // The next heartbeatd knows which root the receiver was told.
    let earlier = vec![restored("ops", 1, Opened, RestoredState::Delivered { message: None })];
    let (notifier, reports) = start_again(vec![default()], earlier);
    notifier.release(notifier.announce(&event("a", 1, Opened)));
    notifier.notify(&moved("a", 2, Updated).into());
    notifier.notify(&moved("a", 3, Resolved).into());
    reports.wait_for("ops a.3 delivered").await;
    assert_eq!(server.ids()[3..], ["a.2", "a.3"]);
    assert_eq!(server.heard()[3].document().event, Open::Known(Opened));
}

#[tokio::test(start_paused = true)]
async fn a_mute_holds_back_everything_but_the_end_and_sends_what_is_open_after_it() {
    let server = Server::start([]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    let mute = |realms: &[&str]| notifier.mute(realms.iter().map(|realm| (*realm).to_owned()).collect());
    notifier.notify(&event("known", 1, Opened));
    notifier.notify(&event("ends", 1, Opened));
    reports.wait_for("ops ends.1 delivered").await;
    mute(&["postgres"]);
    // One that it knows of gets worse, one ends, one comes and goes, and one comes and stays.
    notifier.notify(&event("known", 2, Failed));
    notifier.notify(&event("ends", 2, Resolved));
    notifier.notify(&event("short", 1, Opened));
    notifier.notify(&event("short", 2, Resolved));
    notifier.notify(&event("stays", 1, Opened));
    notifier.notify(&event("stays", 2, Updated));
    let announce = || {
        for (id, step) in [("known", Failed), ("stays", Updated)] {
            let announced = notifier.announce(&event(id, 2, step));
            notifier.release(announced);
        }
    };
    announce();
    reports.wait_for("ops ends.2 delivered").await;
    assert_eq!(server.ids(), ["known.1", "ends.1", "ends.2"]);
    mute(&[]);
    announce();
    announce();
    notifier.notify(&event("known", 3, Resolved));
    notifier.notify(&event("stays", 3, Resolved));
    reports.wait_for("ops stays.3 delivered").await;
    assert_eq!(server.ids()[3..], ["known.2", "stays.2", "known.3", "stays.3"]);
    let events: Vec<_> = server.heard()[3..].iter().map(|heard| heard.document().event).collect();
    assert_eq!(events, [Failed, Opened, Resolved, Resolved].map(Open::Known));
    assert!(reports.all().iter().all(|line| line.contains("delivered")), "{:?}", reports.all());
}

#[tokio::test(start_paused = true)]
async fn what_failed_while_a_receiver_was_not_to_hear_of_it_is_told_once_when_it_may() {
    let server = Server::start([Act::with("404 Not Found", "")]).await;
    let pager = Receiver { on: [Failed].into(), ..receiver("pager", &server) };
    let late = Receiver { delay: Duration::from_secs(3_600), ..pager.clone() };
    let late = Receiver { name: "late".to_owned(), ..late };
    let ops = Server::start([]).await;
    let (notifier, reports) = start(vec![late, receiver("ops", &ops), pager]);
    let mute = |realms: &[&str]| notifier.mute(realms.iter().map(|realm| (*realm).to_owned()).collect());
    // As heartbeatd does whenever it announces what is open; a document has the number of its last step.
    let announce = |seq: u64, step: IncidentStep| {
        let open = document("a", seq, step);
        notifier.release(notifier.announce(&Arc::new(open.clone())));
        let is_due = notifier.failed_is_due(&open);
        if is_due {
            notifier.release(notifier.catch_up(&event("a", seq + 1, Failed)));
        }
        is_due
    };
    mute(&["postgres"]);
    notifier.notify(&event("a", 1, Opened));
    notifier.notify(&event("a", 2, Failed));
    notifier.notify(&event("a", 3, Updated));
    assert!(!announce(3, Updated), "not while it is muted");
    mute(&[]);
    assert!(announce(3, Updated));
    reports.wait_for("ops a.4 delivered").await;
    let steps: Vec<_> = ops.heard().iter().map(|heard| heard.document().event).collect();
    assert_eq!(
        (ops.ids(), steps),
        (vec!["a.3".to_owned(), "a.4".to_owned()], vec![Opened.into(), Failed.into()])
    );
    reports.wait_for("pager a.4 ").await;
    // Its receiver does not take it: that is final, and it is not told again and again.
    assert!(!announce(5, Updated));
    assert_eq!(server.ids(), ["a.4"]);
    notifier.notify(&event("a", 6, Resolved));
    reports.wait_for("ops a.6 delivered").await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_is_reminded_of_what_is_open_silent_and_nobodys() {
    let server = Server::start([]).await;
    let four_hours = Duration::from_secs(4 * 3_600);
    let ops = Receiver { repeat: Some(four_hours), ..receiver("ops", &server) };
    let (notifier, reports) = start(vec![ops]);
    assert!(notifier.waits());
    notifier.notify(&event("a", 1, Opened));
    reports.wait_for("ops a.1 delivered").await;
    let open = document("a", 1, Opened);
    assert!(!notifier.repeat_is_due(&open));
    sleep(four_hours).await;
    assert!(notifier.repeat_is_due(&open));
    let mut acknowledged = open.clone();
    acknowledged.ack = Some(AckEntry { at: WALL, by: "Ada".to_owned(), note: None });
    assert!(!notifier.repeat_is_due(&acknowledged));
    notifier.mute(["postgres".to_owned()].into());
    assert!(!notifier.repeat_is_due(&open));
    notifier.mute([].into());
    let reminder = notifier.repeat(&event("a", 2, Opened));
    notifier.release(reminder);
    assert!(!notifier.repeat_is_due(&open), "it is in the queue");
    reports.wait_for("ops a.2 delivered").await;
    assert!(!notifier.repeat_is_due(&open), "and was just sent");
    notifier.notify(&event("a", 3, Resolved));
    reports.wait_for("ops a.3 delivered").await;
    sleep(four_hours * 2).await;
    assert!(!notifier.repeat_is_due(&open), "it is over");
    assert_eq!(server.ids(), ["a.1", "a.2", "a.3"]);
    assert_eq!(server.heard()[1].document().event, Open::Known(Opened));
}

#[tokio::test(start_paused = true)]
async fn an_alertmanager_is_told_the_newest_state_again_and_again() {
    let busy = Act::with("429 Too Many Requests", "Retry-After: 30\r\n");
    let server = Server::start([busy, Act::HangUp]).await;
    let target = || Target::Alertmanager(Alertmanager { endpoint: server.endpoint() });
    let (notifier, reports) = start(vec![Receiver::new("am", target())]);
    notifier.notify(&event("a", 1, Opened));
    server.hears(1).await;
    notifier.notify(&event("a", 2, Failed));
    reports.wait_for("am a.2 delivered").await;
    let alerts = |heard: &Heard| -> serde_json::Value { serde_json::from_str(&heard.body).unwrap() };
    let sent = server.heard();
    let last = sent.last().unwrap();
    assert!(last.at - sent[0].at >= Duration::from_secs(30), "`Retry-After` is obeyed");
    assert_eq!(alerts(last).as_array().unwrap().len(), 1);
    assert!(alerts(last)[0]["annotations"]["summary"].as_str().unwrap().contains("needs a person"));
    let before = sent.len();
    let refreshed = server.hears(before + 2).await;
    assert!(refreshed[before + 1].at - refreshed[before].at >= Duration::from_secs(60));
    notifier.notify(&event("a", 3, Resolved));
    reports.wait_for("am a.3 delivered").await;
    let over = server.heard();
    let over = alerts(over.last().unwrap());
    let seconds =
        |text: &serde_json::Value| text.as_str().unwrap().parse::<WallTime>().unwrap().as_millis() / 1_000;
    assert_eq!(u64::try_from(seconds(&over[0]["endsAt"])).unwrap(), UNIX_S, "it ends now");
    let count = server.heard().len();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(server.heard().len(), count, "what is over is not refreshed");
    assert_eq!(notifier.backlog(), [("am".to_owned(), 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_status_of_a_later_version_is_unknown() {
    let server = Server::start([]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    let mut strange = document("a", 1, Opened);
    strange.event = Open::Unknown("postponed".to_owned());
    notifier.notify(&strange.into());
    notifier.notify(&event("b", 1, Opened));
    reports.wait_for("ops b.1 delivered").await;
    assert_eq!(server.ids(), ["b.1"]);
}

#[tokio::test(start_paused = true)]
async fn other_settings_keep_the_queue_and_what_was_told() {
    let server = Server::start([Act::status("200 OK"), stall()]).await;
    let ops = receiver("ops", &server);
    let (notifier, reports) = start(vec![ops.clone()]);
    notifier.notify(&event("a", 1, Opened));
    reports.wait_for("ops a.1 delivered").await;
    notifier.notify(&event("b", 1, Opened));
    server.hears(2).await;
    notifier.replace(vec![ops.clone()]);
    notifier.replace(vec![Receiver { on: [Opened, Resolved].into(), ..ops }]);
    assert_eq!(notifier.backlog(), [("ops".to_owned(), 1)]);
    notifier.notify(&event("a", 2, Failed));
    notifier.notify(&event("a", 3, Resolved));
    reports.wait_for("ops a.3 delivered").await;
    assert_eq!(server.ids(), ["a.1", "b.1", "b.1", "a.3"]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_moves_gets_the_rest_at_its_new_address() {
    let (before, after) = (Server::start([Act::status("200 OK"), stall()]).await, Server::start([]).await);
    let (notifier, reports) = start(vec![receiver("ops", &before), receiver("gone", &before)]);
    notifier.notify(&event("a", 1, Opened));
    before.hears(2).await;
    notifier.replace(vec![receiver("ops", &after)]);
    notifier.notify(&event("a", 2, Resolved));
    reports.wait_for("ops a.2 delivered").await;
    assert_eq!(after.ids().last().unwrap(), "a.2");
    let reports = reports.all();
    assert_eq!(
        reports.iter().filter(|line| line.starts_with("ops")).count(),
        reports.len() - 1,
        "{reports:?}"
    );
    assert!(reports.iter().any(|line| line.starts_with("gone a.1")), "{reports:?}");
    assert_eq!(notifier.backlog(), [("ops".to_owned(), 0)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_out_before_it_is_in_the_outbox() {
    let server = Server::start([]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    let first = notifier.admit(&event("a", 1, Opened));
    let second = notifier.admit(&event("a", 2, Resolved));
    assert_eq!((first.notifications.len(), &*first.notifications[0].receiver), (1, "ops"));
    notifier.release(second);
    sleep(Duration::from_secs(3_600)).await;
    assert!(server.heard().is_empty(), "nor out of order");
    notifier.release(first);
    reports.wait_for("ops a.2 delivered").await;
    assert_eq!(server.ids(), ["a.1", "a.2"]);
}

fn restored(receiver: &str, seq: u64, step: IncidentStep, state: RestoredState) -> Restored {
    Restored { receiver: receiver.to_owned(), id: "a".to_owned(), seq, step, open: true, state }
}

fn due(seq: u64, step: IncidentStep, attempts: u32) -> RestoredState {
    let next_at = (attempts > 0).then(|| WallTime::from_millis(WALL.as_millis() + 40_000));
    let document = event("a", seq, step);
    RestoredState::Due { document, queued_at: WALL, attempts, next_at, digest: None }
}

#[tokio::test(start_paused = true)]
async fn the_next_heartbeatd_goes_on_where_the_last_one_was_killed() {
    let server = Server::start([]).await;
    let earlier = vec![
        restored("ops", 1, Opened, RestoredState::Delivered { message: None }),
        restored("removed", 1, Opened, due(1, Opened, 0)),
        restored("ops", 2, Failed, due(2, Failed, 5)),
    ];
    let before = clock();
    let (notifier, reports) = start_again(vec![receiver("ops", &server), receiver("new", &server)], earlier);
    assert_eq!(notifier.backlog(), [("new".to_owned(), 0), ("ops".to_owned(), 1)]);
    // The incident is still open: a receiver that is new hears of it, and the other one not again.
    let open = event("a", 2, Failed);
    notifier.release(notifier.announce(&open));
    notifier.release(notifier.announce(&open));
    notifier.notify(&event("a", 3, Resolved));
    reports.wait_for("ops a.3 delivered").await;
    reports.wait_for("new a.3 delivered").await;
    assert_eq!((clock() - before).as_secs(), 40, "the wait goes on");
    assert_eq!(server.ids(), ["a.2", "a.3", "a.2", "a.3"]);
    assert_eq!(server.heard()[0].document().event, Open::Known(Opened));
    let expected = ["removed a.1 dropped: ReceiverRemoved", "ops a.2 delivered after 6"];
    for line in expected {
        assert!(reports.all().contains(&line.to_owned()), "{:?}", reports.all());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_stays_given_up() {
    let server = Server::start([]).await;
    let earlier = vec![restored("ops", 1, Opened, RestoredState::Lost)];
    let (notifier, reports) = start_again(vec![receiver("ops", &server)], earlier);
    notifier.release(notifier.announce(&event("a", 1, Opened)));
    notifier.notify(&event("a", 2, Resolved));
    notifier.notify(&event("b", 1, Opened));
    reports.wait_for("ops b.1 delivered").await;
    assert_eq!(server.ids(), ["b.1"]);
    assert_eq!(reports.all()[0], "ops a.2 dropped: NotOpened");
}

/// A topic, whose messages are for people.
fn topic(server: &Server) -> Receiver {
    let endpoint = server.endpoint();
    Receiver { target: Target::Ntfy(Ntfy { endpoint, token: None }), ..receiver("phone", server) }
}

fn storm(
    incidents: std::ops::RangeInclusive<u32>,
    seq: u64,
    step: IncidentStep,
) -> Vec<Arc<IncidentDocument>> {
    let of = |no| IncidentDocument { root: format!("realm-{no}"), ..document(&format!("i{no}"), seq, step) };
    incidents.map(|no| Arc::new(of(no))).collect()
}

#[tokio::test(start_paused = true)]
async fn of_a_storm_people_get_five_messages_and_a_digest_and_programs_each_incident() {
    let (phone, program) = (Server::start([]).await, Server::start([]).await);
    let (notifier, reports) = start(vec![topic(&phone), receiver("program", &program)]);
    let before = clock();
    storm(1..=40, 1, Opened).iter().for_each(|document| notifier.notify(document));
    reports.wait_for("phone i5.1 delivered").await;
    assert_eq!(clock(), before, "the first ones go out at once");
    notifier.notify(&storm(7..=7, 2, Resolved)[0]);
    reports.wait_for("phone i40.1 delivered").await;
    assert_eq!(clock() - before, STORM_WINDOW);
    assert_eq!(
        phone.ids(),
        ["i1.1", "i2.1", "i3.1", "i4.1", "i5.1", "i6.1"],
        "the digest has the key of its first"
    );
    let digest = phone.heard()[STORM_INCIDENTS].clone();
    assert_eq!(digest.header("title"), "[shop] 35 incidents at once: 34 open, 1 over");
    let lines: Vec<&str> = digest.body.lines().collect();
    assert_eq!(lines[1..3], ["- realm-6 has failed: exit code 1 after 0.2 s", "- realm-7 has recovered",]);
    assert!(reports.all().contains(&"phone i7.2 delivered after 1".to_owned()), "{:?}", reports.all());
    // Their end is one, too; each receiver hears of it.
    storm(1..=40, 3, Resolved).iter().filter(|end| end.id != "i7").for_each(|end| notifier.notify(end));
    reports.wait_for("phone i40.3 delivered").await;
    assert_eq!(phone.heard().len(), 12);
    assert_eq!(phone.heard()[11].header("title"), "[shop] 34 incidents at once: 34 over");
    reports.wait_for("program i40.3 delivered").await;
    assert_eq!(program.heard().len(), 80);
}

#[tokio::test(start_paused = true)]
async fn a_digest_keeps_its_key_and_its_members_over_failures_and_a_restart() {
    let server = Server::start([Act::status("503 Not Now")]).await;
    let due = |no: u32, digest: Option<&str>| Restored {
        receiver: "phone".to_owned(),
        id: format!("i{no}"),
        seq: 1,
        step: Opened,
        open: true,
        state: RestoredState::Due {
            document: storm(no..=no, 1, Opened).remove(0),
            queued_at: WALL,
            attempts: 1,
            next_at: None,
            digest: digest.map(ToOwned::to_owned),
        },
    };
    let earlier = vec![due(6, Some("i6.1")), due(7, Some("i6.1")), due(8, Some("i8.1")), due(9, None)];
    let (notifier, reports) = start_again(vec![topic(&server)], earlier.clone());
    notifier.notify(&storm(1..=1, 1, Opened)[0]);
    reports.wait_for("phone i1.1 delivered").await;
    assert_eq!(server.ids(), ["i6.1", "i6.1", "i8.1", "i9.1", "i1.1"]);
    assert_eq!(server.heard()[1].body, server.heard()[0].body);
    assert!(server.heard()[1].body.contains("realm-6") && server.heard()[1].body.contains("realm-7"));
    assert_eq!(server.heard()[2].header("title"), "[shop] realm-8 has failed: exit code 1 after 0.2 s");
    for line in
        ["phone i7.1 retrying after 2: answered 503 Service Unavailable", "phone i7.1 delivered after 3"]
    {
        assert!(reports.all().contains(&line.to_owned()), "{:?}", reports.all());
    }
    // A program under the same name gets each.
    let program = Server::start([]).await;
    let (_notifier, reports) = start_again(vec![receiver("phone", &program)], earlier);
    reports.wait_for("phone i9.1 delivered").await;
    assert_eq!(program.ids(), ["i6.1", "i7.1", "i8.1", "i9.1"]);
}

#[tokio::test(start_paused = true)]
async fn closing_delivers_what_waits() {
    let server = Server::start([Act::with("503 Service Unavailable", "Retry-After: 3600\r\n")]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    notifier.notify(&event("a", 1, Opened));
    notifier.notify(&event("a", 2, Resolved));
    reports.wait_for("ops a.1 retrying").await;
    let before = clock();
    notifier.close(PATIENCE).await;
    assert!(clock() - before < PATIENCE, "the wait of an hour is cut short");
    assert_eq!(server.ids(), ["a.1", "a.1", "a.2"]);
    assert_eq!(reports.all()[1..], ["ops a.1 delivered after 2", "ops a.2 delivered after 1"]);
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_longer_than_its_patience() {
    let dead = Server::start([stall(), stall()]).await;
    let broken = Server::start(vec![Act::status("500 No"); 99]).await;
    let fine = Server::start([]).await;
    let receivers = vec![receiver("broken", &broken), receiver("dead", &dead), receiver("fine", &fine)];
    let (notifier, reports) = start(receivers);
    notifier.notify(&event("a", 1, Opened));
    notifier.notify(&event("a", 2, Resolved));
    let before = clock();
    notifier.close(PATIENCE).await;
    let took = clock() - before;
    assert!(took >= PATIENCE && took < PATIENCE + Duration::from_millis(50), "{took:?}");
    let (reports, attempts) = (reports.all(), broken.heard().len());
    for name in ["broken", "dead"] {
        for seq in [1, 2] {
            assert!(reports.contains(&format!("{name} a.{seq} dropped: Closing")), "{reports:?}");
        }
    }
    assert!(reports.contains(&"fine a.2 delivered after 1".to_owned()), "{reports:?}");
    assert!((2..=5).contains(&attempts), "closing is no reason to hammer: {attempts}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_fails_for_five_minutes_is_reported_and_its_fallback_hears_of_it() {
    // One refusal for good, and nothing more to deliver: the channel is archived, and without a report no operator
    // would notice.
    let archived = Server::start([Act::status("404 Not Found")]).await;
    let web = Server::start([]).await;
    let receivers = vec![
        Receiver { fallback: Some("web".to_owned()), ..receiver("chat", &archived) },
        Receiver { realms: vec!["web".to_owned()], ..receiver("web", &web) },
    ];
    let (notifier, reports) = start(receivers);
    let ours = |id: &str, seq, step| {
        let mut ours = document(id, seq, step);
        ours.root = "heartbeatd".to_owned();
        ours.into()
    };
    let before = clock();
    notifier.notify(&event("a", 1, Opened));
    reports.wait_for("chat fails: answered 404 Not Found").await;
    assert_eq!((clock() - before).as_secs(), 300);
    notifier.notify(&ours("own", 1, Opened));
    reports.wait_for("web own.1 delivered").await;
    reports.wait_for("chat own.1 delivered").await;
    assert!(reports.all().contains(&"chat works".to_owned()), "{:?}", reports.all());
    // It is over, and what follows is for those who asked for it; the end is for all who know of it.
    notifier.notify(&ours("own", 2, Resolved));
    notifier.notify(&ours("another", 1, Opened));
    reports.wait_for("web own.2 delivered").await;
    reports.wait_for("chat another.1 delivered").await;
    assert_eq!(web.ids(), ["own.1", "own.2"]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_is_reported_five_minutes_after_its_first_failure_whenever_its_next_attempt_is() {
    let ways = [
        Act::status("404 Not Found"),
        Act::status("500 No"),
        Act::HangUp,
        Act::with("503 Service Unavailable", "Retry-After: 299\r\n"),
        Act::with("503 Service Unavailable", "Retry-After: 301\r\n"),
        Act::with("503 Service Unavailable", "Retry-After: 3600\r\n"),
    ];
    for act in ways {
        let server = Server::start(vec![act.clone(); 99]).await;
        let (notifier, reports) = start(vec![receiver("chat", &server)]);
        let before = clock();
        notifier.notify(&event("a", 1, Opened));
        reports.wait_for("chat fails: ").await;
        assert_eq!((clock() - before).as_secs(), 300, "{act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_with_a_delay_hears_of_what_lasts() {
    let server = Server::start([]).await;
    // The incidents of these tests opened 123 s ago.
    let boss = |seconds| Receiver { delay: Duration::from_secs(seconds), ..receiver("boss", &server) };
    let (notifier, reports) = start(vec![boss(124)]);
    let opened = event("a", 1, Opened);
    notifier.notify(&opened);
    notifier.release(notifier.announce(&opened));
    notifier.notify(&event("b", 1, Opened));
    notifier.notify(&event("b", 2, Resolved));
    assert!(notifier.waits());
    assert_eq!(notifier.backlog(), [("boss".to_owned(), 0)]);
    // Its time has come.
    notifier.replace(vec![boss(123)]);
    notifier.release(notifier.announce(&opened));
    notifier.notify(&event("a", 2, Resolved));
    reports.wait_for("boss a.2 delivered").await;
    assert_eq!(server.ids(), ["a.1", "a.2"]);
    assert_eq!(reports.all().len(), 2, "{:?}", reports.all());
}

#[tokio::test(start_paused = true)]
async fn no_service_manager_is_fine() {
    let (notifier, reports) = start(Vec::new());
    for step in IncidentStep::ALL {
        notifier.notify(&event("a", 1, *step));
    }
    assert_eq!(notifier.backlog(), []);
    notifier.close(PATIENCE).await;
    assert!(reports.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_incidents_at_once_are_each_opened_and_resolved() {
    const REALMS: usize = 600;
    let server = Server::start([]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    for incident in 0..REALMS {
        notifier.notify(&event(&format!("i{incident}"), 1, Opened));
    }
    for incident in 0..REALMS {
        notifier.notify(&event(&format!("i{incident}"), 2, Resolved));
    }
    reports.wait_for(&format!("ops i{}.2 delivered", REALMS - 1)).await;
    assert_eq!(server.ids().len(), 2 * REALMS);
}
