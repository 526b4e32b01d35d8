//! What a receiver answers, and what follows from it.

use std::time::Duration;

use heartbeat_notify::{ABANDON_AFTER, ATTEMPT_TIMEOUT, Receiver};
use heartbeat_status::IncidentStep::{Failed, Opened, Resolved};
use tokio::net::TcpListener;

use crate::scene::{Act, Server, UNIX_S, clock, event, receiver, start, target};

#[tokio::test(start_paused = true)]
async fn an_incident_arrives_as_a_standard_webhook() {
    let server = Server::start([]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    let opened = event("0193-a", 1, Opened);
    notifier.notify(&opened);
    reports.wait_for("ops 0193-a.1 delivered after 1").await;

    let heard = &server.heard()[0];
    assert!(heard.head.starts_with("POST /hook/?key=k HTTP/1.1\r\n"), "{}", heard.head);
    assert_eq!(heard.document(), *opened);
    assert_eq!(heard.header("content-type"), "application/json");
    assert_eq!(heard.header("user-agent"), concat!("heartbeat/", env!("CARGO_PKG_VERSION")));
    assert_eq!(heard.header("webhook-id"), "0193-a.1");
    assert_eq!(heard.header("webhook-timestamp"), UNIX_S.to_string());
    assert_eq!(format!("http://{}", heard.header("host")), server.endpoint().to_string());
    assert_eq!(notifier.backlog(), [("ops".to_owned(), 0)]);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_in_order_and_under_the_same_id() {
    let acts = [Act::status("500 Internal Server Error"), Act::status("502 Bad Gateway")];
    let server = Server::start(acts).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    notifier.notify(&event("a", 1, Opened));
    notifier.notify(&event("b", 1, Opened));
    notifier.notify(&event("a", 2, Resolved));
    reports.wait_for("ops a.2 delivered").await;

    assert_eq!(server.ids(), ["a.1", "a.1", "a.1", "b.1", "a.2"]);
    let at: Vec<_> = server.heard().iter().map(|heard| heard.at).collect();
    let (first, second) = (at[1] - at[0], at[2] - at[1]);
    assert!((800..=1_210).contains(&first.as_millis()), "{first:?}");
    assert!((1_600..=2_410).contains(&second.as_millis()), "{second:?}");
    let expected = [
        "ops a.1 retrying after 1: answered 500 Internal Server Error",
        "ops a.1 retrying after 2: answered 502 Bad Gateway",
        "ops a.1 delivered after 3",
        "ops b.1 delivered after 1",
        "ops a.2 delivered after 1",
    ];
    assert_eq!(reports.all(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_will_not_pass_is_given_up_at_once_and_holds_up_nothing() {
    let answers = ["400 Bad Request", "404 Not Found", "422 Unprocessable Content", "408 Request Timeout"];
    let later = ["425 Too Early", "429 Too Many Requests", "500 Oops"];
    let server = Server::start(answers.into_iter().chain(later).map(Act::status)).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    for id in ["a", "b", "c", "d"] {
        notifier.notify(&event(id, 1, Opened));
    }
    reports.wait_for("ops d.1 delivered after 5").await;
    assert_eq!(server.ids(), ["a.1", "b.1", "c.1", "d.1", "d.1", "d.1", "d.1", "d.1"]);
    assert!(reports.all()[0].contains("ops a.1 given up: answered 400 Bad Request"), "{:?}", reports.all());
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline_however_far_it_got() {
    for said in ["", "HTTP/1.1 200 OK\r\nContent-"] {
        let server = Server::start([Act::Stall(said.to_owned())]).await;
        let (notifier, reports) = start(vec![receiver("ops", &server)]);
        let before = clock();
        notifier.notify(&event("a", 1, Opened));
        reports.wait_for("ops a.1 retrying after 1: no answer within 10s").await;
        let took = clock() - before;
        assert!(took >= ATTEMPT_TIMEOUT && took < ATTEMPT_TIMEOUT + Duration::from_millis(50), "{took:?}");
        reports.wait_for("ops a.1 delivered after 2").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_curl_reads_is_an_answer() {
    let answers = [
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=b;\r\n\tPath=/\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-Served-By : app\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    ];
    let server = Server::start(answers.map(|answer| Act::Say(answer.to_owned()))).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    for seq in 1..=4 {
        notifier.notify(&event("a", seq, if seq == 1 { Opened } else { Failed }));
    }
    reports.wait_for("ops a.4 delivered after 1").await;
    assert_eq!(server.ids(), ["a.1", "a.2", "a.3", "a.4"], "each is told once");
}

#[tokio::test(start_paused = true)]
async fn hanging_up_and_nonsense_are_tried_again() {
    let server = Server::start([Act::HangUp, Act::Say("SSH-2.0-OpenSSH\r\n".to_owned())]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    notifier.notify(&event("a", 1, Opened));
    reports.wait_for("ops a.1 delivered after 3").await;
    assert!(reports.all()[0].contains("retrying after 1: the exchange broke off"), "{:?}", reports.all());
    assert!(reports.all()[1].contains("retrying after 2: the exchange broke off"), "{:?}", reports.all());
}

#[tokio::test(start_paused = true)]
async fn success_is_in_the_head_whatever_follows_it() {
    let announced = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n{}", "x".repeat(200_000));
    let stuck = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_owned();
    let acts = [Act::Stall(announced), Act::Stall(endless), Act::Stall(stuck), Act::status("202 Accepted")];
    let server = Server::start(acts).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    for id in ["a", "b", "c", "d"] {
        notifier.notify(&event(id, 1, Opened));
    }
    reports.wait_for("ops d.1 delivered").await;
    assert_eq!(server.ids(), ["a.1", "b.1", "c.1", "d.1"]);
    let at: Vec<_> = server.heard().iter().map(|heard| heard.at).collect();
    assert!(at[2] - at[1] < Duration::from_secs(1), "a flood is left as soon as it is one");
    assert_eq!((at[3] - at[2]).as_secs(), 10, "what is stuck is left at the deadline of the attempt");
}

#[tokio::test(start_paused = true)]
async fn gone_disables_the_receiver() {
    let server = Server::start([Act::status("200 OK"), Act::status("410 Gone")]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    for (id, seq, step) in [("a", 1, Opened), ("b", 1, Opened), ("a", 2, Resolved)] {
        notifier.notify(&event(id, seq, step));
    }
    reports.wait_for("a.2 dropped").await;
    notifier.notify(&event("c", 1, Opened));
    // The same settings again do not bring it back.
    notifier.replace(vec![receiver("ops", &server)]);
    notifier.notify(&event("d", 1, Opened));
    let expected = [
        "ops a.1 delivered after 1",
        "ops b.1 given up: answered 410 Gone: it wants no more notifications",
        "ops disabled",
        "ops a.2 dropped: ReceiverDisabled",
        "ops c.1 dropped: ReceiverDisabled",
        "ops d.1 dropped: ReceiverDisabled",
    ];
    assert_eq!(reports.all(), expected);
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_respected() {
    let later = Act::with("503 Service Unavailable", "Retry-After: 90\r\n");
    let much_later = Act::with("429 Too Many Requests", "Retry-After: 999999\r\n");
    let on_a_date = Act::with("503 Service Unavailable", "Retry-After: Mon, 24 Nov 2025 16:04:03 GMT\r\n");
    let server = Server::start([later, much_later, on_a_date]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    notifier.notify(&event("a", 1, Opened));
    reports.wait_for("ops a.1 delivered after 4").await;
    let at: Vec<_> = server.heard().iter().map(|heard| heard.at).collect();
    assert_eq!((at[1] - at[0]).as_secs(), 90);
    assert_eq!((at[2] - at[1]).as_secs(), 3_600);
    assert_eq!((at[3] - at[2]).as_secs(), 120, "two minutes after `UNIX_S`");
}

#[tokio::test(start_paused = true)]
async fn redirects_are_not_followed() {
    let elsewhere = Server::start([]).await;
    let location = format!("Location: {}\r\n", elsewhere.url());
    let acts = ["301 Moved Permanently", "307 Temporary Redirect"].map(|status| Act::with(status, &location));
    let server = Server::start(acts).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    notifier.notify(&event("a", 1, Opened));
    reports.wait_for("ops a.1 delivered after 3").await;
    assert!(reports.all()[0].contains("redirects are not followed"), "{:?}", reports.all());
    assert!(elsewhere.heard().is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_three_days_it_is_abandoned_and_its_end_is_not_sent() {
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let ops = Receiver::new("ops", target(&format!("http://{nobody}/")));
    let (notifier, reports) = start(vec![ops]);
    let before = clock();
    notifier.notify(&event("a", 1, Opened));
    notifier.notify(&event("a", 2, Failed));
    notifier.notify(&event("a", 3, Resolved));
    reports.wait_for("ops a.1 given up: cannot connect").await;
    let took = clock() - before;
    assert!(took <= ABANDON_AFTER && took > ABANDON_AFTER - Duration::from_secs(400), "{took:?}");
    reports.wait_for("ops a.3 dropped: NotOpened").await;
    let attempts = reports.all().iter().filter(|line| line.contains("retrying")).count();
    assert!((720..1_100).contains(&attempts), "about every five minutes: {attempts}");
    assert_eq!(notifier.backlog(), [("ops".to_owned(), 0)]);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_fits_no_header_is_given_up_at_once() {
    let server = Server::start([]).await;
    let (notifier, reports) = start(vec![receiver("ops", &server)]);
    notifier.notify(&event("a\nb", 1, Opened));
    notifier.notify(&event("c", 1, Opened));
    reports.wait_for("ops c.1 delivered after 1").await;
    assert!(reports.all()[0].contains("given up: the request cannot be made"), "{:?}", reports.all());
}
