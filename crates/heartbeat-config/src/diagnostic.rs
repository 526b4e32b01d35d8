//! The mistakes of a configuration: all of them, located, with what to do. Four ways to print them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use heartbeat_status::sanitise;

use crate::code::Code;

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With the source line, a caret, the cause and what to type.
    Full,
    /// `file:line:column: severity[code]: message`, one per line.
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
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Where its lines begin, in bytes, ascending: a place is found without reading the text again.
    lines: Vec<usize>,
}

impl Source {
    /// Line ends are `\n`, whichever the file has: a program must not be given the CR of a multi-line string.
    pub(crate) fn new(name: String, text: String) -> Self {
        let text = if text.contains('\r') { text.replace("\r\n", "\n") } else { text };
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, lines }
    }

    /// The number of the line at `offset`, from 0.
    fn line_at(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// The lines that hold `span`, with where they begin and the number of the first, from 1.
    fn window(&self, span: Range<usize>) -> (&str, usize, usize) {
        let first = self.line_at(span.start);
        let start = self.lines.get(first).copied().unwrap_or(0);
        let after = self.lines.get(self.line_at(span.end.max(span.start)) + 1);
        let end = after.map_or(self.text.len(), |next| *next);
        (&self.text[start..end], start, first + 1)
    }
}

/// A piece of a text.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) source: Arc<Source>,
    pub(crate) span: Range<usize>,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && self.span == other.span
    }
}

impl Eq for Place {}

impl Place {
    /// The file and the line.
    pub(crate) fn line(&self) -> String {
        format!("{}:{}", self.source.name, self.line_column().0)
    }

    /// Line and column, both from 1; the column counts characters.
    pub(crate) fn line_column(&self) -> (usize, usize) {
        let start = self.span.start.min(self.source.text.len());
        let line = self.source.line_at(start);
        let before = &self.source.text[self.source.lines.get(line).copied().unwrap_or(0)..start];
        (line + 1, before.chars().count() + 1)
    }
}

/// A report moves no cursor and hides nothing: messages contain values of a file, and files can come from anywhere.
fn safe(text: &str) -> String {
    sanitise(text).replace(['\n', '\t'], " ")
}

/// Source lines as they may be shown, with every byte in its place.
fn shown(text: &str) -> Cow<'_, str> {
    if sanitise(text) == *text {
        return Cow::Borrowed(text);
    }
    let mut buffer = [0; 4];
    let kept = |c: char| {
        let c = c.encode_utf8(&mut buffer);
        if sanitise(c) == *c { c.to_owned() } else { "?".repeat(c.len()) }
    };
    Cow::Owned(text.chars().map(kept).collect())
}

/// One mistake of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which kind of mistake.
    pub code: Code,
    /// Whether it prevents the load.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The file, or another source (an environment variable).
    pub file: String,
    /// Line from 1; 0 when there is none.
    pub line: usize,
    /// Column from 1, in characters; 0 when there is none.
    pub column: usize,
    /// What to do or type.
    pub help: Option<String>,
    pub(crate) place: Option<Place>,
    label: String,
    related: Vec<(Place, String)>,
}

impl Diagnostic {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let severity = if code.is_warning() { Severity::Warning } else { Severity::Error };
        Self {
            code,
            severity,
            message: safe(&message.into()),
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
            self.file = safe(&place.source.name);
            self.place = Some(place);
        }
        self.label = safe(&label.into());
        self
    }

    pub(crate) fn said_by(mut self, origin: &str) -> Self {
        self.file = safe(origin);
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(safe(&help.into()));
        self
    }

    pub(crate) fn related(mut self, place: Option<Place>, label: impl Into<String>) -> Self {
        self.related.extend(place.map(|place| (place, safe(&label.into()))));
        self
    }

    /// The place and the code, without any text of the file: for readers who may not see values of it.
    #[must_use]
    pub fn public(&self) -> String {
        let place = match (self.file.is_empty(), self.line) {
            (true, _) => "the configuration".to_owned(),
            (false, 0) => self.file.clone(),
            (false, line) => format!("{}:{line}", self.file),
        };
        format!("{place}, {}", self.code)
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
        let title = level.primary_title(self.message.as_str()).id(self.code.as_str());
        let mut group = Group::with_title(title);
        if let Some(place) = &self.place {
            let mut here = vec![(AnnotationKind::Primary, place, self.label.as_str())];
            let mut elsewhere = Vec::new();
            for (related, label) in &self.related {
                let list =
                    if Arc::ptr_eq(&related.source, &place.source) { &mut here } else { &mut elsewhere };
                list.push((AnnotationKind::Context, related, label.as_str()));
            }
            group = group.element(snippet(&here));
            for annotation in elsewhere {
                group = group.element(snippet(&[annotation]));
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

/// The lines of one file on which something stands: nothing else of the file is looked at.
fn snippet<'a>(annotations: &[(AnnotationKind, &'a Place, &'a str)]) -> Snippet<'a, Annotation<'a>> {
    let spans = || annotations.iter().map(|(_, place, _)| &place.span);
    let start = spans().map(|span| span.start).min().unwrap_or(0);
    let end = spans().map(|span| span.end).max().unwrap_or(0);
    let source = &annotations[0].1.source;
    let (text, offset, line) = source.window(start..end);
    let mut snippet = Snippet::source(shown(text)).path(safe(&source.name)).line_start(line);
    for (kind, place, label) in annotations {
        let span = place.span.start - offset..place.span.end - offset;
        snippet = snippet.annotation(kind.span(span).label(*label));
    }
    snippet
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

/// All mistakes, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(crate) fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        let place = |diagnostic: &Diagnostic| (diagnostic.line, diagnostic.column, diagnostic.code);
        // A mistake in [defaults] is found once for every realm: equal ones stand together, and one is kept.
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

    /// Those that keep the configuration from being loaded.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
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
            Format::Short => self.iter().map(short).collect::<Vec<_>>().join("\n"),
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
        f.write_str(&self.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for Report {}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// `heartbeat.toml:3:1: error[HB101]: ...`, as compilers write it.
fn short(diagnostic: &Diagnostic) -> String {
    let help = diagnostic.help.as_ref().map_or_else(String::new, |help| format!(" (help: {help})"));
    let (place, word) = (diagnostic.where_it_is(), word(diagnostic.severity));
    format!("{place}: {word}[{}]: {}{help}", diagnostic.code, diagnostic.message)
}

fn json(diagnostic: &Diagnostic) -> serde_json::Value {
    serde_json::json!({
        "code": diagnostic.code.as_str(),
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
