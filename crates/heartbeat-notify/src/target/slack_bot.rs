//! Messages of a bot of Slack: one per incident, edited in place, with a thread below it for what people have to see.

use heartbeat_status::IncidentStep;
use heartbeat_status::sanitise_line;
use serde::Deserialize;
use serde_json::{Value, json};

use super::slack::blocks;
use super::{Letter, Message, Text, json as body};
use crate::{DeliveryError, Endpoint, Token};

/// A bot in a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct SlackBot {
    /// `chat.postMessage` of Slack's Web API.
    pub post: Endpoint,
    /// `chat.update` of Slack's Web API.
    pub update: Endpoint,
    /// The token of the bot.
    pub token: Token,
    /// The channel it writes to: a name or an identifier.
    pub channel: String,
}

/// Errors after which the same request can succeed.
const TRANSIENT: [&str; 6] = [
    "fatal_error",
    "internal_error",
    "ratelimited",
    "rate_limited",
    "request_timeout",
    "service_unavailable",
];
/// Errors of a message that is gone or can no longer be edited: another one takes its place.
const GONE: [&str; 5] =
    ["message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found", "msg_too_old"];

/// What Slack calls a message: what the outbox remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    channel: String,
    ts: String,
    /// It is about several incidents, so the end of one must not replace it.
    is_digest: bool,
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (channel, ts) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Self { channel, ts, is_digest: words.next() == Some("digest") })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digest = if self.is_digest { " digest" } else { "" };
        write!(f, "{} {}{digest}", self.channel, self.ts)
    }
}

/// One request, and where it goes.
#[derive(Debug)]
pub(crate) struct Call<'b> {
    pub(crate) endpoint: &'b Endpoint,
    pub(crate) message: Message,
}

/// What Slack answers, with status 200 also when it refuses.
#[derive(Debug, Deserialize)]
struct SlackReply {
    ok: bool,
    error: Option<String>,
    channel: Option<String>,
    ts: Option<String>,
}

/// What an answer means.
#[derive(Debug)]
pub(crate) enum Replied {
    Done(Option<String>),
    /// The message to edit or to answer is gone.
    Gone,
}

impl SlackBot {
    /// The requests of one letter, in order. `name` is what Slack calls the message of its incident.
    pub(crate) fn calls(
        &self,
        letter: &Letter,
        text: &Text,
        name: Option<&str>,
    ) -> Result<Vec<Call<'_>>, DeliveryError> {
        let Some(name) = name.and_then(Name::parse) else {
            return Ok(vec![self.call(&self.post, letter, text, json!({ "channel": self.channel }))?]);
        };
        let step = letter.newest.event.known();
        let edit = json!({ "channel": name.channel, "ts": name.ts });
        let answer = json!({
            "channel": name.channel,
            "thread_ts": name.ts,
            "reply_broadcast": step != Some(IncidentStep::Resolved),
        });
        let mut calls = Vec::new();
        if !name.is_digest && !letter.is_digest() {
            calls.push(self.call(&self.update, letter, text, edit)?);
        }
        // An edit is silent: what a person has to see is a message.
        if step != Some(IncidentStep::Updated) || name.is_digest {
            calls.push(self.call(&self.post, letter, text, answer)?);
        }
        Ok(calls)
    }

    /// The request for an incident of which Slack has no message.
    pub(crate) fn first(&self, letter: &Letter, text: &Text) -> Result<Message, DeliveryError> {
        self.call(&self.post, letter, text, json!({ "channel": self.channel })).map(|call| call.message)
    }

    fn call<'b>(
        &'b self,
        endpoint: &'b Endpoint,
        letter: &Letter,
        text: &Text,
        mut request: Value,
    ) -> Result<Call<'b>, DeliveryError> {
        let (fallback, blocks) = blocks(text);
        request["text"] = fallback.into();
        request["blocks"] = blocks;
        request["unfurl_links"] = false.into();
        request["metadata"] =
            json!({ "event_type": "heartbeat_incident", "event_payload": { "key": letter.key } });
        let headers = vec![
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("authorization", format!("Bearer {}", self.token.reveal())),
            ("webhook-id", letter.key.clone()),
        ];
        Ok(Call { endpoint, message: Message { headers, body: body(&request)? } })
    }

    /// What an answer to a call means, with the name of a message.
    pub(crate) fn read(letter: &Letter, answer: &[u8]) -> Result<Replied, DeliveryError> {
        let unreadable =
            || DeliveryError::Declined { why: "an answer that is none of Slack".to_owned(), is_final: false };
        let answer: SlackReply = serde_json::from_slice(answer).map_err(|_| unreadable())?;
        if answer.ok {
            let name = answer
                .channel
                .zip(answer.ts)
                .map(|(channel, ts)| Name { channel, ts, is_digest: letter.is_digest() }.to_string());
            return Ok(Replied::Done(name));
        }
        let why = answer.error.as_deref().map(sanitise_line).unwrap_or_default();
        if GONE.contains(&why.as_str()) {
            return Ok(Replied::Gone);
        }
        Err(DeliveryError::Declined { is_final: !TRANSIENT.contains(&why.as_str()), why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::{document, letter};

    fn bot() -> SlackBot {
        SlackBot {
            post: Endpoint::new("http://h/api/chat.postMessage").unwrap(),
            update: Endpoint::new("http://h/api/chat.update").unwrap(),
            token: Token::new("xoxb-1").unwrap(),
            channel: "#ops".to_owned(),
        }
    }

    fn called(step: IncidentStep, name: Option<&str>) -> Vec<Value> {
        let (bot, letter) = (bot(), letter(document(step)));
        let calls = bot.calls(&letter, &letter.text(None), name).unwrap();
        let sent = |call: Call<'_>| {
            let mut sent: Value = serde_json::from_slice(&call.message.body).unwrap();
            sent["to"] = if call.endpoint == &bot.update { "update" } else { "post" }.into();
            for rest in ["text", "blocks", "metadata", "unfurl_links"] {
                sent.as_object_mut().unwrap().remove(rest).unwrap();
            }
            sent
        };
        calls.into_iter().map(sent).collect()
    }

    #[test]
    fn an_incident_is_one_message_that_is_edited_and_answered() {
        assert_eq!(called(IncidentStep::Opened, None), [json!({ "to": "post", "channel": "#ops" })]);
        let edit = json!({ "to": "update", "channel": "C1", "ts": "17.1" });
        let answer = |broadcast: bool| json!({ "to": "post", "channel": "C1", "thread_ts": "17.1", "reply_broadcast": broadcast });
        let name = Some("C1 17.1");
        assert_eq!(called(IncidentStep::Updated, name), std::slice::from_ref(&edit));
        assert_eq!(called(IncidentStep::Failed, name), [edit.clone(), answer(true)]);
        assert_eq!(called(IncidentStep::Resolved, name), [edit, answer(false)]);
        assert_eq!(
            called(IncidentStep::Resolved, Some("C1 17.1 digest")),
            [answer(false)],
            "others are in it, too"
        );
    }

    #[test]
    fn what_slack_says_is_done_gone_later_or_never() {
        let read = |answer: &str| SlackBot::read(&letter(document(IncidentStep::Opened)), answer.as_bytes());
        assert!(
            matches!(read(r#"{"ok":true,"channel":"C1","ts":"17.1"}"#), Ok(Replied::Done(Some(name))) if name == "C1 17.1")
        );
        assert!(matches!(read(r#"{"ok":false,"error":"message_not_found"}"#), Ok(Replied::Gone)));
        for (answer, transient) in [
            (r#"{"ok":false,"error":"ratelimited"}"#, true),
            (r#"{"ok":false,"error":"invalid_auth"}"#, false),
            (r#"{"ok":false,"error":"is_archived"}"#, false),
            ("<html>", true),
        ] {
            assert_eq!(read(answer).unwrap_err().is_transient(), transient, "{answer}");
        }
    }
}
