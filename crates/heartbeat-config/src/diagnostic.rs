//! What is wrong with a configuration: all of it, located, with the way out. Four ways to print it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With the source line, a caret, the cause and what to type.
    Full,
    /// `file:line:column: code: message`, one a line.
    Short,
    /// A JSON array.
    Json,
    /// Workflow commands that GitHub shows beside the line.
    Github,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is loaded.
    Error,
    /// Loaded, but hardly meant.
    Warning,
}

/// A text that was read, and where from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: Arc<Source>,
    pub(crate) span: Range<usize>,
}

impl Place {
    /// The file and the line.
    pub(crate) fn line(&self) -> String {
        format!("{}:{}", self.source.name, self.line_column().0)
    }

    /// Line and column, both from 1; the column counts characters.
    fn line_column(&self) -> (usize, usize) {
        let before = &self.source.text[..self.span.start.min(self.source.text.len())];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `HB0xx` file, `HB1xx` key and value, `HB2xx` graph, `HB3xx` warning.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The file, or what else it came from (an environment variable).
    pub file: String,
    /// Line from 1; 0 when there is none.
    pub line: usize,
    /// Column from 1, in characters; 0 when there is none.
    pub column: usize,
    /// What to do or type.
    pub help: Option<String>,
    place: Option<Place>,
    label: String,
    related: Vec<(Place, String)>,
}

impl Diagnostic {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        let severity = if code.starts_with("HB3") { Severity::Warning } else { Severity::Error };
        Self {
            code,
            severity,
            message: message.into(),
            file: String::new(),
            line: 0,
            column: 0,
            help: None,
            place: None,
            label: String::new(),
            related: Vec::new(),
        }
    }

    pub(crate) fn at(mut self, place: Option<Place>, label: impl Into<String>) -> Self {
        if let Some(place) = place {
            (self.line, self.column) = place.line_column();
            self.file.clone_from(&place.source.name);
            self.place = Some(place);
        }
        self.label = label.into();
        self
    }

    pub(crate) fn said_by(mut self, origin: &str) -> Self {
        origin.clone_into(&mut self.file);
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn related(mut self, place: Option<Place>, label: impl Into<String>) -> Self {
        self.related.extend(place.map(|place| (place, label.into())));
        self
    }

    fn where_it_is(&self) -> String {
        match (self.file.is_empty(), self.line) {
            (true, _) => "heartbeat.toml".to_owned(),
            (false, 0) => self.file.clone(),
            (false, line) => format!("{}:{line}:{}", self.file, self.column),
        }
    }

    fn full(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str()).id(self.code);
        let mut group = Group::with_title(title);
        if let Some(place) = &self.place {
            let mut annotations = vec![(AnnotationKind::Primary, place, self.label.as_str())];
            let mut elsewhere = Vec::new();
            for (related, label) in &self.related {
                if related.source == place.source {
                    annotations.push((AnnotationKind::Context, related, label.as_str()));
                } else {
                    elsewhere.push((related, label.as_str()));
                }
            }
            let mut snippet =
                Snippet::source(place.source.text.as_str()).path(place.source.name.as_str()).line_start(1);
            for (kind, at, label) in annotations {
                snippet = snippet.annotation(kind.span(at.span.clone()).label(label));
            }
            group = group.element(snippet);
            for (at, label) in elsewhere {
                let snippet =
                    Snippet::source(at.source.text.as_str()).path(at.source.name.as_str()).line_start(1);
                group = group
                    .element(snippet.annotation(AnnotationKind::Context.span(at.span.clone()).label(label)));
            }
        } else if !self.file.is_empty() {
            group = group.element(Level::NOTE.message(format!("in {}", self.file)));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group]).to_string()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.where_it_is(), self.code, self.message)?;
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(crate) fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        let place = |diagnostic: &Diagnostic| (diagnostic.line, diagnostic.column, diagnostic.code);
        // What is wrong in [defaults] is found once for every realm: equals stand together, and one is kept.
        diagnostics.sort_by(|a, b| {
            (&a.file, place(a), &a.message, &a.help).cmp(&(&b.file, place(b), &b.message, &b.help))
        });
        diagnostics.dedup();
        Self { diagnostics }
    }

    /// Nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.diagnostics.iter()
    }

    /// As text, ending without a line break.
    #[must_use]
    pub fn render(&self, format: Format, colour: bool) -> String {
        match format {
            Format::Full => {
                let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
                let renderer = renderer.decor_style(DecorStyle::Ascii);
                let parts: Vec<String> = self.iter().map(|diagnostic| diagnostic.full(&renderer)).collect();
                parts.join("\n\n")
            }
            Format::Short => self.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            Format::Json => {
                let entries: Vec<serde_json::Value> = self.iter().map(json).collect();
                serde_json::Value::Array(entries).to_string()
            }
            Format::Github => self.iter().map(github).collect::<Vec<_>>().join("\n"),
        }
    }
}

impl<'a> IntoIterator for &'a Report {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Format::Short, false))
    }
}

impl std::error::Error for Report {}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn json(diagnostic: &Diagnostic) -> serde_json::Value {
    serde_json::json!({
        "code": diagnostic.code,
        "severity": word(diagnostic.severity),
        "message": diagnostic.message,
        "file": diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "help": diagnostic.help,
    })
}

fn github(diagnostic: &Diagnostic) -> String {
    let escaped = diagnostic.message.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let severity = word(diagnostic.severity);
    let (file, line, column, code) = (&diagnostic.file, diagnostic.line, diagnostic.column, diagnostic.code);
    format!("::{severity} file={file},line={line},col={column},title={code}::{escaped}")
}
