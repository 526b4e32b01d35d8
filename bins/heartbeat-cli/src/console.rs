//! stdout, stderr and what they are connected to.

use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;
use clap::ColorChoice;

use crate::exit::Failure;
use crate::global::{Format, Global};
use crate::style::{Hue, Style, fold};

/// Columns assumed when neither the terminal nor COLUMNS says how many there are.
const DEFAULT_COLUMNS: usize = 80;
/// A screen below this is treated as this wide: a status, a name and an age need it.
const MIN_COLUMNS: usize = 40;

/// Where a command writes. A closed pipe (`status | head`) ends nothing and changes no exit code.
pub(crate) struct Console {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    closed: bool,
    /// stdout is a terminal.
    pub(crate) terminal: bool,
    /// stderr is a terminal: notes that vanish are welcome.
    pub(crate) err_terminal: bool,
    /// A person can be asked.
    pub(crate) interactive: bool,
    /// Style of stdout.
    pub(crate) style: Style,
    /// Form of the output.
    pub(crate) form: Format,
    /// No remarks.
    pub(crate) quiet: bool,
    fixed_width: Option<usize>,
}

impl Console {
    /// The process's own streams.
    pub(crate) fn of_process(global: &Global) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let (terminal, err_terminal) = (stdout.is_terminal(), stderr.is_terminal());
        let color = match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => AutoStream::choice(&stdout) != anstream::ColorChoice::Never,
        };
        let dumb = terminal && std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            out: Box::new(stdout),
            err: Box::new(stderr),
            closed: false,
            terminal,
            err_terminal,
            interactive: io::stdin().is_terminal() && err_terminal,
            style: Style { color, ascii: global.ascii || dumb, words: false },
            form: global.form(terminal),
            quiet: global.quiet,
            fixed_width: None,
        }
    }

    /// Columns of the screen now.
    pub(crate) fn width(&self) -> usize {
        if let Some(width) = self.fixed_width {
            return width;
        }
        let screen =
            if self.terminal { crossterm::terminal::size().ok().map(|(w, _)| usize::from(w)) } else { None };
        let said = || std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        screen.filter(|width| *width > 0).or_else(said).unwrap_or(DEFAULT_COLUMNS).max(MIN_COLUMNS)
    }

    /// Writes to stdout.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Writes a line to stdout.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.print(&format!("{text}\n"))
    }

    /// A sentence on stdout: on a terminal it is broken between words, and its later lines are indented by `hang` more.
    pub(crate) fn prose(&mut self, text: &str, hang: usize) -> Result<(), Failure> {
        if !self.terminal || self.form == Format::Wide {
            return self.line(text);
        }
        let columns = self.width();
        fold(text, columns, hang).iter().try_for_each(|line| self.line(line))
    }

    /// A document on stdout, as JSON with a line end.
    pub(crate) fn json(&mut self, document: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document)?;
        self.line(&text)
    }

    /// A document on stdout, as one line of JSON.
    pub(crate) fn json_line(&mut self, document: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(document)?;
        self.line(&text)
    }

    /// The reader of stdout has closed it.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// A remark on stderr, unless remarks are unwanted. Nothing can be done about one that is lost.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.quiet {
            self.write_error(text);
        }
    }

    /// A text on stderr; on a terminal its lines are broken between words.
    fn write_error(&mut self, text: &str) {
        let columns = if self.err_terminal { self.error_width() } else { usize::MAX };
        for line in text.split('\n').flat_map(|line| fold(line, columns, 2)) {
            let _ = writeln!(self.err, "{line}");
        }
    }

    /// Columns of the terminal that stderr is.
    fn error_width(&self) -> usize {
        let screen = || crossterm::terminal::size().ok().map(|(width, _)| usize::from(width));
        self.fixed_width
            .or_else(screen)
            .filter(|width| *width > 0)
            .unwrap_or(DEFAULT_COLUMNS)
            .max(MIN_COLUMNS)
    }

    /// A remark without a line end, on a terminal only; the empty text removes it again.
    pub(crate) fn passing_note(&mut self, text: &str) {
        if self.err_terminal && !self.quiet {
            // A note that wraps could not be taken back.
            let text = self.style.cut(text, self.error_width().saturating_sub(1));
            let _ = write!(self.err, "\r\x1b[K{text}");
            let _ = self.err.flush();
        }
    }

    /// What went wrong, always.
    pub(crate) fn error(&mut self, failure: &Failure) {
        let style = Style { color: self.style.color && self.err_terminal, ..self.style };
        let word = style.paint(Hue::Bad, "error:");
        self.write_error(&format!("{word} {}", style.text(&failure.message)));
        for line in &failure.lines {
            self.write_error(&format!("  {}", style.text(line)));
        }
        if let Some(help) = &failure.help {
            self.write_error(&format!(" {} {}", style.paint(Hue::Strong, "help:"), style.text(help)));
        }
    }
}

#[cfg(test)]
pub(crate) mod capture {
    //! A console that remembers.

    use super::*;
    use std::sync::{Arc, Mutex};

    /// A buffer that can be read while a console owns its other end.
    #[derive(Clone, Default)]
    pub(crate) struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl Pipe {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Console {
        /// A terminal of so many columns.
        pub(crate) fn with_screen(mut self, columns: usize) -> Self {
            (self.terminal, self.err_terminal, self.fixed_width) = (true, true, Some(columns));
            self
        }

        /// Not a terminal, 80 columns; returns its stdout and stderr.
        pub(crate) fn captured(form: Format) -> (Self, Pipe, Pipe) {
            let (out, err) = (Pipe::default(), Pipe::default());
            let console = Self {
                out: Box::new(out.clone()),
                err: Box::new(err.clone()),
                closed: false,
                terminal: false,
                err_terminal: false,
                interactive: false,
                style: Style::default(),
                form,
                quiet: false,
                fixed_width: Some(80),
            };
            (console, out, err)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_that_is_wrong_has_a_line_and_nothing_makes_more() {
        let (mut console, _, err) = Console::captured(Format::Plain);
        let lines = vec!["one: bad\nforged: line".to_owned(), "two: \u{1b}[31mworse".to_owned()];
        console.error(&Failure { lines, ..Failure::new(crate::exit::Exit::Usage, "2 things are wrong") });
        let text = err.text();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(
            text.contains("\n  one: bad") && text.contains("\n  two: ") && !text.contains('\u{1b}'),
            "{text}"
        );
    }

    #[test]
    fn sentences_are_broken_between_words_on_a_terminal_alone() {
        let long = "refused: redis was stopped by an operator (root) 2m ago: disk repair until 17:00";
        for columns in [40, 80, 200] {
            let (console, out, err) = Console::captured(Format::Table);
            let mut console = console.with_screen(columns);
            console.style.color = true;
            console.prose(long, 4).unwrap();
            console.note(long);
            console.error(&Failure::new(crate::exit::Exit::Refused, long).help(long));
            for text in [out.text(), err.text()] {
                let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                assert!(words(&text).windows(words(long).len()).any(|some| some == words(long)), "{text}");
                let wide = |line: &str| crate::style::visible_width(line);
                assert!(text.lines().all(|line| wide(line) <= columns), "{columns}: {text}");
                assert_eq!(text.lines().count() > 3, columns < 100 && text.contains("error:"), "{text}");
            }
        }
        let (mut console, out, _) = Console::captured(Format::Table);
        console.prose(&long.repeat(3), 4).unwrap();
        assert_eq!(out.text().lines().count(), 1, "what a program reads is one line");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let (mut console, _, _) = Console::captured(Format::Plain);
        console.out = Box::new(Broken);
        assert!(console.line("x").is_ok() && console.is_closed());
        assert!(console.line("y").is_ok());
    }
}
