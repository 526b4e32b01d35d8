//! Mail to a server that misbehaves, and a bot of Slack whose channel is a double.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_notify::{
    Endpoint, Receiver, Restored, RestoredState, SlackBot, Smtp, Target, TlsOptions, Token,
};
use heartbeat_status::IncidentStep::{Failed, Opened, Resolved, Updated};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::scene::{Act, Heard, Server, clock, event, receiver, start, start_again};

/// What a mail server does in one conversation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Accept,
    /// Answers RCPT with this.
    Refuse(&'static str),
    /// Says nothing.
    Hang,
    /// Hangs up after the mail, before it has answered.
    Drop,
    /// Speaks something else.
    Garbage,
}

/// A mail server on this machine.
struct MailServer {
    port: u16,
    mails: watch::Receiver<Vec<String>>,
}

impl MailServer {
    async fn start(turns: impl IntoIterator<Item = Turn>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut turns: VecDeque<Turn> = turns.into_iter().collect();
        let (tell, mails) = watch::channel(Vec::new());
        let tell = Arc::new(tell);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let turn = turns.pop_front().unwrap_or(Turn::Accept);
                // The other side may give up at any time.
                let tell = tell.clone();
                tokio::spawn(async move { drop(converse(stream, turn, &tell).await) });
            }
        });
        Self { port, mails }
    }

    fn receiver(&self) -> Receiver {
        let to = ["ops@example.org".to_owned()];
        let url = format!("smtp://127.0.0.1:{}", self.port);
        let smtp = Smtp::new(&url, &TlsOptions::default(), None, ("hb@shop.example", &to)).unwrap();
        Receiver::new("mail", Target::Smtp(smtp))
    }

    fn mails(&self) -> Vec<String> {
        self.mails.borrow().clone()
    }
}

async fn converse(
    mut stream: TcpStream,
    turn: Turn,
    tell: &watch::Sender<Vec<String>>,
) -> std::io::Result<()> {
    match turn {
        Turn::Hang => return std::future::pending().await,
        Turn::Garbage => return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
        _ => stream.write_all(b"220 mail ready\r\n").await?,
    }
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    let mut mail = None::<String>;
    while let Some(line) = lines.next_line().await? {
        if let Some(text) = &mut mail {
            if line == "." {
                if turn == Turn::Drop {
                    return Ok(());
                }
                tell.send_modify(|all| all.push(std::mem::take(text)));
                mail = None;
                write.write_all(b"250 taken\r\n").await?;
            } else {
                text.push_str(&line);
                text.push('\n');
            }
            continue;
        }
        let answer = match (line.split([' ', ':']).next().unwrap_or_default(), turn) {
            ("EHLO", _) => "250 mail",
            ("RCPT", Turn::Refuse(answer)) => answer,
            ("DATA", _) => {
                mail = Some(String::new());
                "354 go on"
            }
            _ => "250 fine",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

fn line<'m>(mail: &'m str, name: &str) -> &'m str {
    mail.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_mail_is_tried_again_under_the_same_identifier_until_the_server_takes_it() {
    let turns = [Turn::Refuse("451 later"), Turn::Hang, Turn::Drop, Turn::Garbage, Turn::Accept];
    let server = MailServer::start(turns).await;
    let (notifier, reports) = start(vec![server.receiver()]);
    let before = clock();
    notifier.notify(&event("a", 1, Opened));
    reports.wait_for("mail a.1 delivered after 5").await;
    assert!(clock() - before >= Duration::from_secs(30), "one of them hung");
    notifier.notify(&event("a", 2, Resolved));
    reports.wait_for("mail a.2 delivered after 1").await;
    let mails = server.mails();
    let ids: Vec<&str> = mails.iter().map(|mail| line(mail, "Message-ID: ")).collect();
    assert_eq!(ids, ["<a.1@shop.example>", "<a.2@shop.example>"]);
    assert!(mails.iter().all(|mail| line(mail, "References: ") == "<a@shop.example>"), "{mails:#?}");
    for why in [
        "the mail server refuses it: 451 later",
        "the mail server took longer than 30s",
        "the connection to the mail server broke",
        "the mail server does not speak SMTP",
    ] {
        assert!(reports.all().iter().any(|line| line.contains(why)), "{why}: {:#?}", reports.all());
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_is_refused_for_good_blocks_nothing() {
    let server = MailServer::start([Turn::Refuse("550 no such user\u{1b}[2J")]).await;
    let (notifier, reports) = start(vec![server.receiver()]);
    notifier.notify(&event("a", 1, Opened));
    notifier.notify(&event("b", 1, Opened));
    reports.wait_for("mail b.1 delivered after 1").await;
    reports.wait_for("mail a.1 given up: the mail server refuses it: 550 no such user").await;
    assert!(!reports.all().iter().any(|line| line.contains('\u{1b}')));
    assert_eq!(server.mails().len(), 1);
}

fn says(body: &str) -> Act {
    Act::Say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn posted() -> Act {
    says(r#"{"ok":true,"channel":"C1","ts":"17.1"}"#)
}

fn bot(server: &Server) -> Receiver {
    let at = |method: &str| {
        Endpoint::new(&server.url().replace("/hook/?key=k", &format!("/api/chat.{method}"))).unwrap()
    };
    let token = Token::new("xoxb-1").unwrap();
    let bot = SlackBot { post: at("postMessage"), update: at("update"), token, channel: "#ops".to_owned() };
    Receiver { target: Target::SlackBot(bot), ..receiver("chat", server) }
}

/// What is called, and in which thread.
fn calls(heard: &[Heard]) -> Vec<String> {
    let call = |heard: &Heard| {
        let body: serde_json::Value = serde_json::from_str(&heard.body).unwrap();
        let method = heard.head.split(' ').nth(1).unwrap().replace("/api/chat.", "");
        let of =
            ["ts", "thread_ts"].iter().find_map(|key| Some(format!(" {key} {}", body.get(*key)?.as_str()?)));
        format!("{method}{}", of.unwrap_or_default())
    };
    heard.iter().map(call).collect()
}

#[tokio::test(start_paused = true)]
async fn a_bot_edits_its_message_and_answers_it_also_after_a_restart() {
    let server = Server::start([
        posted(),
        posted(),
        says(r#"{"ok":false,"error":"ratelimited"}"#),
        posted(),
        posted(),
        posted(),
    ])
    .await;
    let (notifier, reports) = start(vec![bot(&server)]);
    notifier.notify(&event("a", 1, Opened));
    notifier.notify(&event("a", 2, Updated));
    notifier.notify(&event("a", 3, Failed));
    reports.wait_for("chat a.3 delivered after 2").await;
    let expected =
        ["postMessage", "update ts 17.1", "update ts 17.1", "update ts 17.1", "postMessage thread_ts 17.1"];
    assert_eq!(calls(&server.heard()), expected);
    drop(notifier);
    // The outbox has the name of the message.
    let server = Server::start([posted(), posted()]).await;
    let known = Restored {
        receiver: "chat".to_owned(),
        id: "a".to_owned(),
        seq: 3,
        step: Failed,
        open: true,
        state: RestoredState::Delivered { message: Some("C1 17.1".to_owned()) },
    };
    let (notifier, reports) = start_again(vec![bot(&server)], vec![known]);
    notifier.notify(&event("a", 4, Resolved));
    reports.wait_for("chat a.4 delivered after 1").await;
    assert_eq!(calls(&server.heard()), ["update ts 17.1", "postMessage thread_ts 17.1"]);
    assert_eq!(server.heard()[0].header("authorization"), "Bearer xoxb-1");
}

#[tokio::test(start_paused = true)]
async fn a_bot_posts_anew_when_its_message_is_gone_and_gives_up_what_slack_declines() {
    let server = Server::start([
        posted(),
        says(r#"{"ok":false,"error":"message_not_found"}"#),
        says(r#"{"ok":true,"channel":"C1","ts":"18.1"}"#),
        says(r#"{"ok":false,"error":"is_archived"}"#),
        posted(),
    ])
    .await;
    let (notifier, reports) = start(vec![bot(&server)]);
    notifier.notify(&event("a", 1, Opened));
    notifier.notify(&event("a", 2, Updated));
    reports.wait_for("chat a.2 delivered").await;
    notifier.notify(&event("a", 3, Updated));
    reports.wait_for("chat a.3 given up: Slack says is_archived").await;
    notifier.notify(&event("b", 1, Opened));
    reports.wait_for("chat b.1 delivered").await;
    assert_eq!(
        calls(&server.heard()),
        ["postMessage", "update ts 17.1", "postMessage", "update ts 18.1", "postMessage"]
    );
}
