//! A message by an incoming webhook of Slack, or of a server that takes the same (Mattermost, Rocket.Chat).

use serde_json::{Value, json};

use super::{Letter, Message, Text, json as body};
use crate::{DeliveryError, Endpoint};

/// Longest text of a section, in characters. Slack refuses more than 3,000.
const MAX_SECTION_CHARS: usize = 2_900;
/// What begins and ends output.
const FENCE: &str = "```";

/// An incoming webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Slack {
    /// The URL that Slack gave.
    pub endpoint: Endpoint,
}

pub(super) fn message(letter: &Letter, text: &Text) -> Result<Message, DeliveryError> {
    let (fallback, blocks) = blocks(text);
    let headers = vec![("content-type", "application/json".to_owned()), ("webhook-id", letter.key.clone())];
    Ok(Message { headers, body: body(&json!({ "text": fallback, "blocks": blocks }))? })
}

/// The words for a notification on a screen, and the blocks of the message.
pub(super) fn blocks(text: &Text) -> (String, Value) {
    let section = |text: String| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } });
    let words = format!("*{}*\n{}", escaped(&text.title), escaped(&text.lines.join("\n")));
    let mut blocks = vec![section(cut(&words))];
    if !text.output.is_empty() {
        // A fence in the output would end ours.
        let output = escaped(&text.output.join("\n")).replace('`', "\u{2019}");
        blocks.push(section(format!("{FENCE}\n{}\n{FENCE}", cut(&output))));
    }
    (escaped(&text.title), blocks.into())
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_SECTION_CHARS).collect()
}

/// The three characters that mean something to Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::{document, letter};
    use heartbeat_status::IncidentStep;

    #[test]
    fn output_mentions_no_one_and_fits() {
        let mut hostile = document(IncidentStep::Opened);
        hostile.message = "<!channel> & more".to_owned();
        hostile.log_tail = vec![format!("{FENCE} <@U1> ").repeat(2_000)];
        let Message { body, .. } = message(&letter(hostile.clone()), &Text::of(&hostile, None)).unwrap();
        let sent: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(sent["text"], "[shop] postgres has failed: &lt;!channel&gt; &amp; more");
        let texts = sent["blocks"].as_array().unwrap().iter().map(|block| block["text"]["text"].as_str());
        let texts: Vec<&str> = texts.map(Option::unwrap).collect();
        assert!(texts[0].contains("*[shop] postgres has failed:"), "{texts:?}");
        assert!(texts[0].contains("heartbeat-cli why postgres"), "{texts:?}");
        assert_eq!(texts[1].matches(FENCE).count(), 2);
        assert!(texts.iter().all(|text| text.chars().count() <= 3_000 && !text.contains("<@")), "{texts:?}");
    }
}
