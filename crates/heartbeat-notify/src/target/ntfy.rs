//! A message on a topic of an [ntfy](https://ntfy.sh) server.

use super::{Letter, Message, Text, Weight};
use crate::{Endpoint, Token};

/// A topic of an ntfy server.
#[derive(Clone, Debug, PartialEq)]
pub struct Ntfy {
    /// The URL of the topic.
    pub endpoint: Endpoint,
    /// The access token, if the server wants one.
    pub token: Option<Token>,
}

impl Ntfy {
    pub(super) fn message(&self, letter: &Letter, text: &Text) -> Message {
        let (priority, tag) = match letter.weight() {
            Weight::Over => ("default", "white_check_mark"),
            Weight::Person => ("urgent", "sos"),
            Weight::Warning => ("default", "warning"),
            Weight::Critical => ("high", "rotating_light"),
        };
        let mut headers = vec![
            ("content-type", "text/plain; charset=utf-8".to_owned()),
            ("title", ascii(&text.title)),
            ("priority", priority.to_owned()),
            ("tags", tag.to_owned()),
            ("webhook-id", letter.key.clone()),
        ];
        headers
            .extend(self.token.as_ref().map(|token| ("authorization", format!("Bearer {}", token.reveal()))));
        Message { headers, body: text.plain().into() }
    }
}

/// Headers are ASCII.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::{document, letter};
    use heartbeat_status::IncidentStep;

    #[test]
    fn a_topic_gets_a_title_a_priority_and_the_text() {
        let ntfy = Ntfy { endpoint: Endpoint::new("http://h/alerts").unwrap(), token: Token::new("tk_1") };
        let failed = document(IncidentStep::Failed);
        let Message { headers, body } = ntfy.message(&letter(failed.clone()), &Text::of(&failed, None));
        let header = |name: &str| headers.iter().find(|(of, _)| *of == name).map(|(_, value)| value.as_str());
        assert_eq!(header("title"), Some("[shop] postgres needs a person: exit code 1 after 0.2 s"));
        assert_eq!((header("priority"), header("tags")), (Some("urgent"), Some("sos")));
        assert_eq!(header("authorization"), Some("Bearer tk_1"));
        assert!(std::str::from_utf8(&body).unwrap().contains("Type: heartbeat-cli why postgres"));
    }
}
