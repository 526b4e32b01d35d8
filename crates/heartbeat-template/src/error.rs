//! Why a template is refused, or fails.

use thiserror::Error;

/// Why a template is refused, or fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The source is too long.
    #[error("the template has {bytes} bytes, and the most is {most}")]
    SourceTooLong {
        /// Length of the source, in bytes.
        bytes: usize,
        /// Longest source, in bytes.
        most: usize,
    },
    /// The syntax is wrong.
    #[error("the template cannot be read: {}", sentence(source))]
    Unreadable {
        /// The error of the engine.
        #[source]
        source: minijinja::Error,
    },
    /// A part of Jinja2 that a message does not need, and that no bound would hold.
    #[error("a template has no {what}, line {line}")]
    NotAllowed {
        /// What a template does not have.
        what: &'static str,
        /// The line of the template, from 1.
        line: u16,
    },
    /// A filter that does not exist.
    #[error("there is no filter `{name}`, line {line}")]
    UnknownFilter {
        /// The name in the template.
        name: String,
        /// The line of the template, from 1.
        line: u16,
    },
    /// A test that does not exist.
    #[error("there is no test `is {name}`, line {line}")]
    UnknownTest {
        /// The name in the template.
        name: String,
        /// The line of the template, from 1.
        line: u16,
    },
    /// A variable that an incident does not have.
    #[error("an incident has no `{name}`")]
    UnknownName {
        /// The name in the template.
        name: String,
    },
    /// The template writes too much.
    #[error(
        "the template writes more than {most} bytes for a sample incident, the most that a message may have"
    )]
    MessageTooLong {
        /// Longest message, in bytes.
        most: usize,
    },
    /// The template does not come to its end.
    #[error("the template takes more than {most} steps, the most that a message may take")]
    TooManySteps {
        /// Most steps of one rendering.
        most: u64,
    },
    /// The template fails for a document.
    #[error("the template fails: {}", sentence(source))]
    Fails {
        /// The error of the engine.
        #[source]
        source: minijinja::Error,
    },
    /// The document cannot be handed to the engine.
    #[error("the incident cannot be read by the template: {source}")]
    Document {
        /// The error below.
        #[source]
        source: serde_json::Error,
    },
}

fn sentence(error: &minijinja::Error) -> String {
    let line = error.line().map_or_else(String::new, |line| format!(", line {line}"));
    let why = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
    format!("{why}{line}")
}
