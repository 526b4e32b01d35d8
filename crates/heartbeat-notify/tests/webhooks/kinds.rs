//! What services answer, whatever their kind: each kind of receiver goes through the same list.

use heartbeat_notify::{Endpoint, Ntfy, PagerDuty, Receiver, Slack, Target, Token, Webhook};
use heartbeat_status::IncidentStep::{self, Opened, Resolved};

use crate::scene::{Act, Server, event, start};

pub(crate) type Kind = (&'static str, fn(Endpoint) -> Target);

fn token() -> Token {
    Token::new("t0ken").unwrap()
}

/// Every kind that posts one message for each event.
pub(crate) const KINDS: [Kind; 4] = [
    ("webhook", |endpoint| Target::Webhook(Webhook { endpoint, secrets: Vec::new() })),
    ("slack", |endpoint| Target::Slack(Slack { endpoint })),
    ("pagerduty", |endpoint| Target::PagerDuty(PagerDuty { endpoint, routing_key: token() })),
    ("ntfy", |endpoint| Target::Ntfy(Ntfy { endpoint, token: Some(token()) })),
];

fn receiver(target: fn(Endpoint) -> Target, server: &Server) -> Receiver {
    Receiver {
        on: IncidentStep::ALL.iter().copied().collect(),
        ..Receiver::new("ops", target(server.endpoint()))
    }
}

/// What a service does with a request before it takes it, and what is reported then.
fn troubles() -> [(Act, &'static str); 7] {
    [
        (Act::with("429 Too Many Requests", "Retry-After: 30\r\n"), "answered 429"),
        (
            Act::with("429 Too Many Requests", "Retry-After: Mon, 24 Nov 2025 16:04:03 GMT\r\n"),
            "answered 429",
        ),
        (Act::status("503 Service Unavailable"), "answered 503"),
        // It hangs, before and within its answer.
        (Act::Stall(String::new()), "no answer within 10s"),
        (Act::Stall("HTTP/1.1 200 ".to_owned()), "no answer within 10s"),
        // It drops the connection before it has read anything, and after it has taken the message: the answer is lost.
        (Act::HangUp, "the exchange broke off"),
        (Act::Say(String::new()), "the exchange broke off"),
    ]
}

#[tokio::test(start_paused = true)]
async fn whatever_a_service_does_it_gets_each_message_in_order_under_one_key() {
    for (kind, target) in KINDS {
        for (act, report) in troubles() {
            let server = Server::start([act.clone()]).await;
            let (notifier, reports) = start(vec![receiver(target, &server)]);
            notifier.notify(&event("a", 1, Opened));
            notifier.notify(&event("a", 2, Resolved));
            reports.wait_for("ops a.2 delivered after 1").await;
            let expected = format!("ops a.1 retrying after 1: {report}");
            assert!(reports.all()[0].starts_with(&expected), "{kind}, {act:?}: {:?}", reports.all());
            // A service that has taken a message twice sees its key twice, and nothing overtakes it.
            let heard_first = !matches!(act, Act::HangUp);
            let keys: &[&str] = if heard_first { &["a.1", "a.1", "a.2"] } else { &["a.1", "a.2"] };
            assert_eq!(server.ids(), keys, "{kind}, {act:?}");
            let bodies: Vec<String> = server.heard().into_iter().map(|heard| heard.body).collect();
            assert!(!heard_first || bodies[0] == bodies[1], "{kind}: the same message again");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_for_good_holds_up_nothing_and_gets_no_end_of_what_it_refused() {
    for (kind, target) in KINDS {
        let server = Server::start([Act::status("404 Not Found")]).await;
        let (notifier, reports) = start(vec![receiver(target, &server)]);
        for (id, seq, step) in [("a", 1, Opened), ("a", 2, Resolved), ("b", 1, Opened), ("b", 2, Resolved)] {
            notifier.notify(&event(id, seq, step));
        }
        reports.wait_for("ops b.2 delivered after 1").await;
        assert!(
            reports.all()[0].starts_with("ops a.1 given up: answered 404"),
            "{kind}: {:?}",
            reports.all()
        );
        assert_eq!(server.ids(), ["a.1", "b.1", "b.2"], "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_gone_gets_nothing_more() {
    for (kind, target) in KINDS {
        let server = Server::start([Act::status("410 Gone")]).await;
        let (notifier, reports) = start(vec![receiver(target, &server)]);
        notifier.notify(&event("a", 1, Opened));
        reports.wait_for("ops disabled").await;
        notifier.notify(&event("b", 1, Opened));
        reports.wait_for("ops b.1 dropped: ReceiverDisabled").await;
        assert_eq!(server.heard().len(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_kind_names_the_incident_so_that_its_service_makes_one_conversation_of_it() {
    for (kind, target) in KINDS {
        let server = Server::start([]).await;
        let (notifier, reports) = start(vec![receiver(target, &server)]);
        notifier.notify(&event("0193-a", 1, Opened));
        notifier.notify(&event("0193-a", 2, Resolved));
        reports.wait_for("ops 0193-a.2 delivered").await;
        let bodies: Vec<String> = server.heard().into_iter().map(|heard| heard.body).collect();
        let json = || bodies.iter().map(|body| serde_json::from_str::<serde_json::Value>(body).unwrap());
        match kind {
            "webhook" => assert!(json().all(|body| body["id"] == "0193-a")),
            "pagerduty" => {
                assert!(json().all(|body| body["dedup_key"] == "0193-a" && body["routing_key"] == "t0ken"));
                let actions: Vec<_> = json().map(|body| body["event_action"].clone()).collect();
                assert_eq!(actions, ["trigger", "resolve"]);
            }
            "ntfy" => {
                let heard = server.heard();
                assert!(heard.iter().all(|heard| heard.header("authorization") == "Bearer t0ken"));
                let tags: Vec<&str> = heard.iter().map(|heard| heard.header("tags")).collect();
                assert_eq!(tags, ["rotating_light", "white_check_mark"]);
            }
            _ => assert!(bodies.iter().all(|body| body.contains("postgres")), "{bodies:?}"),
        }
    }
}
