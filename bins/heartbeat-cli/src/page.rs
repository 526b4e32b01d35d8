//! The page of an explanation: lines with a heading on the left.

use crate::style::{Hue, Style, width, wrap_with};

/// Columns of the headings on the left.
const LABEL: usize = 10;

/// An explanation: lines with a heading on the left.
pub(crate) struct Page {
    pub(crate) out: String,
    columns: usize,
    pub(crate) style: Style,
}

impl Page {
    pub(crate) fn new(columns: usize, style: Style) -> Self {
        Self { out: String::new(), columns, style }
    }

    /// A line without a heading, as it is.
    pub(crate) fn push(&mut self, line: &str) {
        self.out += line;
        self.out.push('\n');
    }

    /// A line with a heading; an empty heading continues the last one.
    pub(crate) fn line(&mut self, label: &str, text: &str) {
        let pad = " ".repeat(LABEL.saturating_sub(width(label)));
        let label = self.style.paint(Hue::Neutral, label);
        let indent = " ".repeat(LABEL + 3);
        let room = self.columns.saturating_sub(indent.len());
        for (at, line) in wrap_with(text, room, "  ").iter().enumerate() {
            let lead = if at == 0 { format!("  {label}{pad} ") } else { indent.clone() };
            self.out += format!("{lead}{line}").trim_end();
            self.out.push('\n');
        }
    }

    /// Lines under one heading.
    pub(crate) fn lines(&mut self, label: &str, lines: impl IntoIterator<Item = String>) {
        for (at, line) in lines.into_iter().enumerate() {
            self.line(if at == 0 { label } else { "" }, &line);
        }
    }
}
