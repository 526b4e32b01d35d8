//! INI files as systemd and supervisord write them.

/// A section: its name, and its settings in their order.
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) settings: Vec<(String, String)>,
}

/// How lines go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continuation {
    /// A backslash at the end of a line.
    Backslash,
    /// Blanks at the beginning of the next one.
    Indent,
}

/// Reads sections; what stands before the first has the empty name.
pub(crate) fn parse(text: &str, continuation: Continuation) -> Vec<Section> {
    let mut sections = vec![Section { name: String::new(), settings: Vec::new() }];
    let mut goes_on = false;
    for line in text.lines() {
        let trimmed = line.trim();
        let settings = &mut sections.last_mut().expect("there is a first").settings;
        let indented =
            continuation == Continuation::Indent && line.starts_with([' ', '\t']) && !trimmed.is_empty();
        if (goes_on || indented) && !trimmed.starts_with(['#', ';']) {
            if let Some((_, value)) = settings.last_mut() {
                let part = match continuation {
                    Continuation::Indent => without_comment(trimmed),
                    Continuation::Backslash => trimmed.trim_end_matches('\\').trim(),
                };
                value.push(' ');
                value.push_str(part);
            }
            goes_on = continuation == Continuation::Backslash && trimmed.ends_with('\\');
            continue;
        }
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            sections.push(Section { name: name.to_owned(), settings: Vec::new() });
            continue;
        }
        let (key, value) = trimmed.split_once('=').unwrap_or((trimmed, ""));
        goes_on = continuation == Continuation::Backslash && value.ends_with('\\');
        let value = match continuation {
            // supervisord's comments may stand behind a value.
            Continuation::Indent => without_comment(value),
            Continuation::Backslash => value.trim_end_matches('\\'),
        };
        settings.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    sections
}

/// The value in front of a comment of supervisord.
fn without_comment(value: &str) -> &str {
    value.split(" ;").next().unwrap_or(value).trim()
}

/// Words of a line, with quotes and backslashes taken off: `"A=b c" D=e`.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some('"'), '\\') => match chars.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.get_or_insert_default().push(escaped),
                Some(other) => word.get_or_insert_default().extend(['\\', other]),
                None => {}
            },
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
