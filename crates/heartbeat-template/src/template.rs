//! The template of a message: read once, rendered for every notification.

use std::fmt;
use std::sync::Arc;

use heartbeat_wire::{IncidentDocument, TEMPLATE_NAMES};
use minijinja::syntax::SyntaxConfig;
use minijinja::{ErrorKind, Value, context, machinery};
use serde::Deserialize;

use crate::message::{MAX_MESSAGE_BYTES, Message};
use crate::{TemplateError, language, sample};

/// Longest source of a template, in bytes.
pub(crate) const MAX_SOURCE_BYTES: usize = 16 * 1024;
/// Most steps of one rendering: minijinja's fuel, of which an instruction and 64 bytes of text take one each.
pub const MAX_STEPS: u64 = 100_000;

/// How a receiver wants its messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    source: Arc<str>,
}

impl Template {
    /// Reads the template and words two sample incidents with it, so that a mistake shows before there is an incident.
    ///
    /// # Errors
    /// [`TemplateError`], which says what is wrong and in which line.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TemplateError::SourceTooLong { bytes: source.len(), most: MAX_SOURCE_BYTES });
        }
        let unreadable = |source| TemplateError::Unreadable { source };
        // Before the engine compiles it: the engine computes with constants then.
        language::check(&machinery::parse(source, "template", SyntaxConfig::default()).map_err(unreadable)?)?;
        let environment = language::environment(MAX_STEPS);
        let compiled = environment.template_from_str(source).map_err(unreadable)?;
        let mut unknown: Vec<String> = compiled.undeclared_variables(false).into_iter().collect();
        unknown.retain(|name| !TEMPLATE_NAMES.contains(&name.as_str()));
        unknown.sort();
        if let Some(name) = unknown.into_iter().next() {
            return Err(TemplateError::UnknownName { name });
        }
        let template = Self { source: source.into() };
        for document in sample::documents() {
            if template.write(&document, ("title", "text"))?.is_full {
                return Err(TemplateError::MessageTooLong { most: MAX_MESSAGE_BYTES });
            }
        }
        Ok(template)
    }

    /// It says `title` or `text`: a message about several incidents has a place in it.
    #[must_use]
    pub fn has_words(&self) -> bool {
        let environment = language::environment(MAX_STEPS);
        let compiled = environment.template_from_str(&self.source);
        let used = compiled.map(|compiled| compiled.undeclared_variables(false)).unwrap_or_default();
        used.contains("title") || used.contains("text")
    }

    /// The message for a document, cut at [`MAX_MESSAGE_BYTES`]. `title` and `text` are the words of heartbeatd.
    ///
    /// # Errors
    /// [`TemplateError::Fails`] and [`TemplateError::TooManySteps`] for a document that differs much from the samples.
    pub fn render(&self, document: &IncidentDocument, own: (&str, &str)) -> Result<String, TemplateError> {
        Ok(self.write(document, own)?.into_text())
    }

    fn write(
        &self,
        document: &IncidentDocument,
        (title, text): (&str, &str),
    ) -> Result<Message, TemplateError> {
        let fields = serde_json::to_value(document)
            .and_then(Value::deserialize)
            .map_err(|source| TemplateError::Document { source })?;
        let words = context! { title => title, text => text, ..fields };
        let environment = language::environment(MAX_STEPS);
        let mut message = Message::default();
        let rendered = environment
            .template_from_str(&self.source)
            .and_then(|compiled| compiled.render_captured_to(words, &mut message).map(drop));
        match rendered {
            Err(error) if error.kind() == ErrorKind::OutOfFuel => {
                Err(TemplateError::TooManySteps { most: MAX_STEPS })
            }
            Err(source) if !message.is_full => Err(TemplateError::Fails { source }),
            Ok(()) | Err(_) => Ok(message),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OWN: (&str, &str) =
        ("[shop] postgres has failed: exit code 1 after 0.2 s", "Type: heartbeat-cli why postgres");

    fn rendered(source: &str) -> String {
        let [_, resolved] = sample::documents();
        Template::new(source).unwrap().render(&resolved, OWN).unwrap()
    }

    fn refused(source: &str) -> String {
        Template::new(source).expect_err(source).to_string()
    }

    #[test]
    fn a_template_sees_the_document_and_the_words_of_heartbeatd() {
        assert_eq!(rendered("{{ root }}/{{ event }}: {{ affected | join('+') }}"), "postgres/resolved: api");
        assert_eq!(rendered("{{ timeline[0].detail }}{% if ack %} acked{% endif %}"), "exit code 1 acked");
        assert_eq!(
            rendered("{\"content\": {{ title | tojson }}}"),
            r#"{"content": "[shop] postgres has failed: exit code 1 after 0.2 s"}"#
        );
        assert!(rendered("{{ text }}").contains("heartbeat-cli why postgres"));
        assert_eq!(
            rendered("{{ affected }}{% if duration_s %}{{ duration_s / 2 - 1 }}{% endif %} {{ root ~ '!' }}"),
            "['api']1.0 postgres!"
        );
        assert_eq!(rendered("{{ 'end' if event in ['resolved', 'failed'] else 'begin' }}"), "end");
        assert_eq!(
            rendered(
                "{% set who = ack.by if ack else '-' %}{% for line in timeline if line.realm == root %}{{ loop.index }} {{ line.detail[:4] | upper }} {{ who }}{% endfor %}"
            ),
            "1 EXIT Ada"
        );
    }

    #[test]
    fn a_template_with_the_words_of_heartbeatd_has_a_place_for_a_digest() {
        for (source, has_words) in [
            ("{{ title }}", true),
            ("{% if root %}{{ text | upper }}{% endif %}", true),
            ("{{ root }} text", false),
        ] {
            assert_eq!(Template::new(source).unwrap().has_words(), has_words, "{source}");
        }
    }

    #[test]
    fn every_name_is_one_of_the_document_or_of_the_message() {
        for name in TEMPLATE_NAMES {
            assert_eq!(rendered(&format!("{{% if {name} is defined %}}yes{{% endif %}}")), "yes", "{name}");
        }
        let [_, resolved] = sample::documents();
        let fields = serde_json::to_value(&resolved).unwrap();
        for field in fields.as_object().unwrap().keys() {
            assert!(TEMPLATE_NAMES.contains(&field.as_str()), "{field}");
        }
    }

    #[test]
    fn every_filter_and_test_of_the_language_is_one_of_the_engine_and_no_other_is_left() {
        let environment = language::environment(MAX_STEPS);
        let mut state = environment.empty_state();
        for name in language::FILTERS {
            let error =
                state.apply_filter(name, &[]).map_or_else(|error| error.kind(), |_| ErrorKind::NonKey);
            assert_ne!(error, ErrorKind::UnknownFilter, "{name}");
        }
        for name in language::TESTS {
            let error =
                state.perform_test(name, &[]).map_or_else(|error| error.kind(), |_| ErrorKind::NonKey);
            assert_ne!(error, ErrorKind::UnknownTest, "{name}");
        }
        assert_eq!(environment.globals().map(|(name, _)| name).collect::<BTreeSet<_>>(), BTreeSet::new());
        // `map` and `select` take a filter or a test by its name, past the check of the language.
        for by_name in
            ["affected | map('zip', affected)", "affected | map('batch', 2)", "affected | map('pprint')"]
        {
            let error = refused(&format!("{{{{ {by_name} | list }}}}"));
            assert_eq!(error, "the template fails: unknown filter, line 1");
        }
    }

    #[test]
    fn a_mistake_names_its_line() {
        let unreadable = refused("{{ root ");
        assert!(
            unreadable.starts_with("the template cannot be read: unexpected end of input"),
            "{unreadable}"
        );
        assert_eq!(refused("a\n{{ root | uper }}"), "there is no filter `uper`, line 2");
        assert_eq!(refused("{% if root is nice %}{% endif %}"), "there is no test `is nice`, line 1");
        assert_eq!(refused("{{ rot }}"), "an incident has no `rot`");
        // An incident that was opened has no acknowledgement.
        assert!(refused("{{ root }}\n{{ ack.by }}").starts_with("the template fails: "));
        assert!(refused("{{ 1 / 0 }}{{ root.a.b }}").starts_with("the template fails: "));
        assert!(refused(&"x".repeat(MAX_SOURCE_BYTES + 1)).contains("16385 bytes, and the most is 16384"));
    }

    /// Each of these kept minijinja alone busy for seconds to years, or made it ask for gigabytes.
    #[test]
    fn no_template_makes_a_list_that_no_bound_counts() {
        let doubled = |step: &str| format!("{{% set x = affected %}}{}{{{{ x }}}}", step.repeat(64));
        let cases = [
            ("{{ [1] * 100000000 }}".to_owned(), "`*`"),
            ("{{ affected * 100000000 }}".to_owned(), "`*`"),
            ("{{ 100000000 * ['x'] | tojson }}".to_owned(), "`*`"),
            ("{{ ([1] * 100000000) == ([1] * 100000000) }}".to_owned(), "`*`"),
            ("{{ 'x' * 1000000000 }}".to_owned(), "`*`"),
            ("{{ 9 ** 999999999 }}".to_owned(), "`**`"),
            (doubled("{% set x = x + x %}"), "`+`"),
            (doubled("{% set x = [x, x] %}"), "list with variables in it"),
            (doubled("{% set x = (x, x) %}"), "list with variables in it"),
            (doubled("{% set x = {'a': x, 'b': x} %}"), "table of its own"),
            (doubled("{% set x = x | zip(x) %}"), "filter `zip`"),
            ("{% for x in [[root, root]] %}{% endfor %}".to_owned(), "list with variables in it"),
            ("{{ range(9999) }}".to_owned(), "functions"),
            ("{{ affected | tojson | default(dict(a=1)) }}".to_owned(), "functions"),
            (
                "{% for x in timeline recursive %}{{ loop(timeline) }}{% endfor %}".to_owned(),
                "`recursive` loop",
            ),
            ("{{ affected | join(*affected) }}".to_owned(), "`*` before an argument"),
            ("{% do affected.append(1) %}".to_owned(), "`do`"),
            ("{% autoescape 'json' %}{{ root }}{% endautoescape %}".to_owned(), "`autoescape`"),
        ];
        for (source, what) in cases {
            let error = refused(&source);
            assert!(error.contains(what), "{source}: {error}");
        }
        let refused_macro = refused("{% macro a() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}");
        assert!(refused_macro.contains("cannot be read"), "{refused_macro}");
        assert!(refused("{{ affected | tojson(indent=1000000000) }}").starts_with("the template fails: "));
    }

    #[test]
    fn a_template_that_does_too_much_is_refused() {
        let nested = |depth: usize| {
            let digits = format!("{:?}", (0..40).collect::<Vec<_>>());
            format!("{}{}", format!("{{% for a in {digits} %}}").repeat(depth), "{% endfor %}".repeat(depth))
        };
        assert!(Template::new(&nested(2)).is_ok());
        let steps = "takes more than 100000 steps";
        assert!(refused(&nested(5)).contains(steps));
        let doubling = format!("{{% set x = root %}}{}", "{% set x = x ~ x %}".repeat(64));
        assert!(refused(&doubling).contains(steps));
        for wide in ["{{ root | indent(1000000000) }}", "{{ '%999999999s' | format(root) }}"] {
            assert!(refused(wide).contains(steps), "{wide}");
        }
        let replaced = "{% set x = 'aaaaaaaaaaaaaaaaaaaa' %}{% set x = x | replace('a', x) %}";
        let replaced = format!("{replaced}{}", "{% set x = x | replace('a', x) %}".repeat(9));
        assert!(refused(&replaced).contains(steps));
        let long = format!(
            "{}{}{}",
            "{% for a in 'xxxxxxxxxxxxxxxxxxxx' | list %}".repeat(2),
            "x".repeat(200),
            "{% endfor %}".repeat(2)
        );
        assert!(refused(&long).contains("more than 65536 bytes"), "{}", refused(&long));
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_between_letters() {
        let [mut document, _] = sample::documents();
        document.message = "ä".repeat(MAX_MESSAGE_BYTES);
        let template = Template::new("x{{ message }}").unwrap();
        assert_eq!(template.render(&document, OWN).unwrap().len(), MAX_MESSAGE_BYTES - 1);
        document.message = "x".repeat(MAX_MESSAGE_BYTES - 1);
        assert_eq!(template.render(&document, OWN).unwrap().len(), MAX_MESSAGE_BYTES);
    }

    #[test]
    fn a_document_unlike_the_samples_costs_a_bounded_number_of_steps() {
        let [mut document, _] = sample::documents();
        document.affected = (0..1_000).map(|number| format!("realm-{number}")).collect();
        let every = "{% for a in affected %}{% for b in affected %}{{ a }}{% endfor %}{% endfor %}";
        let template = Template::new(every).unwrap();
        let short = template.render(&document, OWN).unwrap();
        assert_eq!(short.len(), MAX_MESSAGE_BYTES);
        let silent = Template::new(&every.replace("{{ a }}", "{% if a == b %}{% endif %}")).unwrap();
        let error = silent.render(&document, OWN).unwrap_err();
        assert!(matches!(error, TemplateError::TooManySteps { .. }), "{error}");
    }
}
