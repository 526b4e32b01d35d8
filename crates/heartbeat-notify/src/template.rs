//! The template of a message: minijinja over the fields of the incident document.

use std::sync::Arc;

use heartbeat_status::wire::IncidentDocument;
use minijinja::{Environment, Value, context};
use serde::Deserialize;

use crate::NotifyError;

/// Most instructions of one rendering: a template that loops for ever ends here.
const MAX_INSTRUCTIONS: u64 = 200_000;
/// Longest rendered message, in bytes.
const MAX_RENDERED_BYTES: usize = 64 * 1024;

/// How a receiver wants its messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    source: Arc<str>,
}

impl Template {
    /// Compiles the template once, so that a mistake shows before there is an incident.
    ///
    /// # Errors
    /// [`NotifyError::Template`] when it is not a template.
    pub fn new(source: &str) -> Result<Self, NotifyError> {
        environment().template_from_str(source).map_err(|source| NotifyError::Template { source })?;
        Ok(Self { source: source.into() })
    }

    /// The message for a document. `title` and `text` are what heartbeatd says without a template.
    pub(crate) fn render(
        &self,
        document: &IncidentDocument,
        (title, text): (&str, &str),
    ) -> Result<String, minijinja::Error> {
        let unreadable = |error: serde_json::Error| {
            minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string())
        };
        let fields = serde_json::to_value(document).and_then(Value::deserialize).map_err(unreadable)?;
        let words = context! { title => title, text => text, ..fields };
        let mut rendered = environment().render_str(&self.source, words)?;
        rendered.truncate(rendered.floor_char_boundary(MAX_RENDERED_BYTES));
        Ok(rendered)
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(MAX_INSTRUCTIONS));
    environment
}

#[cfg(test)]
mod tests {
    use heartbeat_status::wire::{AckEntry, TEMPLATE_NAMES};
    use heartbeat_status::{IncidentStep, WallTime};

    use super::*;
    use crate::target::sample::document;

    fn rendered(source: &str) -> String {
        let document = document(IncidentStep::Opened);
        let template = Template::new(source).unwrap();
        template
            .render(
                &document,
                ("[shop] postgres has failed: exit code 1 after 0.2 s", "Type: heartbeat-cli why postgres"),
            )
            .unwrap()
    }

    #[test]
    fn a_template_sees_the_document_and_the_words_of_heartbeatd() {
        assert_eq!(
            rendered("{{ root }}/{{ event }}: {{ affected | join('+') }}"),
            "postgres/opened: api+web"
        );
        assert_eq!(rendered("{{ timeline[0].detail }}{% if ack %} acked{% endif %}"), "exit code 1");
        assert_eq!(
            rendered("{\"content\": {{ title | tojson }}}"),
            r#"{"content": "[shop] postgres has failed: exit code 1 after 0.2 s"}"#
        );
        assert!(rendered("{{ text }}").contains("heartbeat-cli why postgres"));
    }

    #[test]
    fn every_name_is_one_of_the_document_or_of_the_message() {
        let mut document = document(IncidentStep::Resolved);
        document.resolution = Some("healthy again".to_owned());
        document.ack = Some(AckEntry { at: WallTime::from_millis(1), by: "Ada".to_owned(), note: None });
        let text = ("", "");
        for name in TEMPLATE_NAMES {
            let template = Template::new(&format!("{{% if {name} is defined %}}yes{{% endif %}}")).unwrap();
            assert_eq!(template.render(&document, text).unwrap(), "yes", "{name}");
        }
        let fields = serde_json::to_value(&document).unwrap();
        for field in fields.as_object().unwrap().keys() {
            assert!(TEMPLATE_NAMES.contains(&field.as_str()), "{field}");
        }
    }

    #[test]
    fn a_mistake_is_found_at_once_and_a_loop_ends() {
        let error = Template::new("{{ root ").unwrap_err().to_string();
        assert!(error.starts_with("the template cannot be read: "), "{error}");
        let document = document(IncidentStep::Opened);
        let endless =
            Template::new("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}");
        let text = ("", "");
        assert!(endless.unwrap().render(&document, text).is_err());
    }
}
