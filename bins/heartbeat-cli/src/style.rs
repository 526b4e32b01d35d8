//! Marks, hues and cutting: never colour alone, never more columns than there are.

use anstyle::{AnsiColor, Color, Style as Ansi};
use heartbeat_status::{Status, sanitise, sanitise_line};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How text is put on a screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Escape sequences for colour.
    pub(crate) color: bool,
    /// Nothing but ASCII.
    pub(crate) ascii: bool,
    /// Words in the place of marks, for scripts.
    pub(crate) words: bool,
}

/// What a colour means. The mark and the word always say it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hue {
    /// As it should be.
    Ok,
    /// On its way, or with a remark.
    Attention,
    /// Not as it should be.
    Bad,
    /// On purpose, or the fault of another realm.
    Neutral,
    /// Plain text.
    Plain,
    /// A heading.
    Strong,
}

/// The hue of a status.
pub(crate) const fn hue(status: Status) -> Hue {
    match status {
        Status::Up | Status::Done => Hue::Ok,
        Status::Degraded | Status::Starting | Status::Restarting | Status::Unknown => Hue::Attention,
        Status::Down | Status::Failed => Hue::Bad,
        Status::Blocked | Status::Stopping | Status::Stopped | Status::Paused => Hue::Neutral,
    }
}

impl Style {
    /// The mark of a status.
    pub(crate) const fn mark(self, status: Status) -> &'static str {
        if !self.ascii {
            return status.mark();
        }
        match status {
            Status::Up => "*",
            Status::Done => "+",
            Status::Degraded => "~",
            Status::Starting => ".",
            Status::Restarting => "R",
            Status::Down => "X",
            Status::Failed => "F",
            Status::Blocked => "!",
            Status::Stopping => "-",
            Status::Stopped => "o",
            Status::Paused => "=",
            Status::Unknown => "?",
        }
    }

    /// Mark and hue of a probe's outcome, as its word on the wire; absent before the first result.
    pub(crate) fn outcome(self, outcome: Option<&str>) -> (&'static str, Hue) {
        if self.words {
            let word = match outcome {
                Some("pass") => "pass",
                Some("degraded") => "degraded",
                Some("fail") => "fail",
                Some(_) => "inconclusive",
                None => "pending",
            };
            return (word, Hue::Plain);
        }
        let status = match outcome {
            Some("pass") => Status::Up,
            Some("degraded") => Status::Degraded,
            Some("fail") => Status::Down,
            Some(_) => Status::Unknown,
            None => Status::Starting,
        };
        (self.mark(status), if outcome.is_none() { Hue::Neutral } else { hue(status) })
    }

    /// The mark of a probe that is not being measured: it claims nothing.
    pub(crate) fn unmeasured(self) -> (&'static str, Hue) {
        (if self.words { "not measured" } else { self.mark(Status::Stopped) }, Hue::Neutral)
    }

    /// Text of another program, made safe for a terminal in one line.
    pub(crate) fn text(self, text: &str) -> String {
        self.spelled(sanitise_line(text))
    }

    /// Text that is safe already, in the characters that the terminal has.
    pub(crate) fn spelled(self, clean: String) -> String {
        if !self.ascii || clean.is_ascii() {
            return clean;
        }
        clean.replace('…', "...").chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
    }

    /// A line of another program's output, made safe for a terminal: whole, with its spaces.
    pub(crate) fn output(self, line: &str) -> String {
        let clean = sanitise(line);
        clean.chars().map(|c| if c == '\n' || self.ascii && !c.is_ascii() { '?' } else { c }).collect()
    }

    /// `text` in the colours of `hue`.
    pub(crate) fn paint(self, hue: Hue, text: &str) -> String {
        let fg = |color: AnsiColor| Ansi::new().fg_color(Some(Color::Ansi(color)));
        let ansi = match hue {
            Hue::Plain => return text.to_owned(),
            _ if !self.color => return text.to_owned(),
            Hue::Ok => fg(AnsiColor::Green),
            Hue::Attention => fg(AnsiColor::Yellow),
            Hue::Bad => fg(AnsiColor::Red).bold(),
            Hue::Neutral => Ansi::new().dimmed(),
            Hue::Strong => Ansi::new().bold(),
        };
        format!("{ansi}{text}{ansi:#}")
    }

    /// At most `width` columns of `text`; what is cut is marked.
    pub(crate) fn cut(self, text: &str, width: usize) -> String {
        if text.width() <= width {
            return text.to_owned();
        }
        let sign = if self.ascii { "~" } else { "…" };
        let Some(room) = width.checked_sub(1) else { return String::new() };
        let mut out = String::new();
        let mut used = 0;
        for c in text.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > room {
                break;
            }
            used += wide;
            out.push(c);
        }
        out.truncate(out.trim_end().len());
        out.push_str(sign);
        out
    }

    /// `text` in at most `most` lines of at most `columns`; what is cut is marked.
    pub(crate) fn lines(self, text: &str, columns: usize, most: usize) -> Vec<String> {
        let mut lines = wrap_with(text, columns, "");
        if lines.len() > most {
            let rest = lines.split_off(most.saturating_sub(1)).join(" ");
            lines.push(self.cut(&rest, columns));
        }
        lines
    }
}

/// Columns `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Breaks `text` at blanks into lines of at most `columns`, the later ones indented by two.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    wrap_with(text, columns, "  ")
}

/// Breaks `text` (which may be painted) at blanks into lines of at most `columns`, the later ones begun with `indent`.
/// A word that is longer than a line is broken, too: nothing is left out.
pub(crate) fn wrap_with(text: &str, columns: usize, indent: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used, mut empty) = (String::new(), 0, true);
    for word in text.split_whitespace() {
        let wide = visible_width(word);
        if !empty && used + 1 + wide > columns {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
            (used, empty) = (width(indent), true);
        }
        if !empty {
            line.push(' ');
            used += 1;
        }
        let mut rest = word;
        while !rest.contains(ESCAPE) && used + width(rest) > columns {
            let (fits, after) = rest.split_at(fitting(rest, columns.saturating_sub(used)));
            if fits.is_empty() {
                break;
            }
            line.push_str(fits);
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
            (used, rest) = (width(indent), after);
        }
        line.push_str(rest);
        used += visible_width(rest);
        empty = false;
    }
    lines.push(line);
    lines
}

/// How many bytes of `text` fit into so many columns.
fn fitting(text: &str, columns: usize) -> usize {
    let mut used = 0;
    let beyond = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    beyond.map_or(text.len(), |(at, _)| at)
}

/// Breaks `text` (which may be painted) at blanks, so that no line is wider than `columns` unless a single word is. A
/// text that fits stays as it is. The later lines begin with the blanks of the first and `hang` more, and nothing is
/// left out: a path that is too long for the screen is still one that can be copied.
pub(crate) fn fold(text: &str, columns: usize, hang: usize) -> Vec<String> {
    if visible_width(text) <= columns {
        return vec![text.to_owned()];
    }
    let lead = text.len() - text.trim_start_matches(' ').len();
    let indent = " ".repeat((lead + hang).min(columns / 2));
    let mut lines = Vec::new();
    let (mut line, mut used, mut has_word) = (String::new(), 0, false);
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c != ' ') {
        let (gap, tail) = rest.split_at(at);
        let (word, after) = tail.split_at(tail.find(' ').unwrap_or(tail.len()));
        let wide = visible_width(word);
        if has_word && used + gap.len() + wide > columns {
            lines.push(std::mem::replace(&mut line, indent.clone()));
            used = indent.len();
        } else {
            line.push_str(gap);
            used += gap.len();
        }
        line.push_str(word);
        (used, has_word, rest) = (used + wide, true, after);
    }
    lines.push(line);
    lines
}

const ESCAPE: char = '\x1b';

/// Columns that a word takes once the terminal has acted on its colours (the only escapes there are: `ESC [ .. m`).
pub(crate) fn visible_width(word: &str) -> usize {
    let mut rest = word;
    let mut columns = 0;
    while let Some((before, after)) = rest.split_once(ESCAPE) {
        columns += width(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    columns + width(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_mark_in_both_sets() {
        for style in [Style::default(), Style { ascii: true, ..Style::default() }] {
            let mut marks: Vec<_> = Status::ALL.iter().map(|status| style.mark(*status)).collect();
            marks.sort_unstable();
            marks.dedup();
            assert_eq!(marks.len(), Status::ALL.len());
            assert!(marks.iter().all(|mark| mark.width() == 1 && (!style.ascii || mark.is_ascii())));
        }
    }

    #[test]
    fn cutting_counts_columns_and_not_characters() {
        let style = Style::default();
        assert_eq!(style.cut("abcdef", 6), "abcdef");
        assert_eq!(style.cut("abcdef", 5), "abcd…");
        assert_eq!(style.cut("日本語", 4), "日…");
        assert_eq!(style.cut("abc def", 5), "abc…", "no blank before the sign");
        assert_eq!(style.cut("abc", 0), "");
        assert_eq!(Style { ascii: true, ..Style::default() }.cut("abcdef", 3), "ab~");
    }

    #[test]
    fn wrapping_never_exceeds_the_width() {
        let lines = wrap("shop: DOWN - postgres is restarting and averyveryverylongword ends", 20);
        assert!(lines.iter().all(|line| line.width() <= 20), "{lines:?}");
        assert_eq!(lines[0], "shop: DOWN -");
        assert!(lines[1].starts_with("  postgres"));
        assert!(lines.concat().contains("averyveryverylongw  ord ends"), "{lines:?}");
        assert_eq!(wrap("a 日本語日本語", 6), ["a", "  日本", "  語日", "  本語"]);
        let style = Style::default();
        assert_eq!(style.lines("one two three four", 5, 9), ["one", "two", "three", "four"]);
        assert_eq!(style.lines("one two three four", 5, 2), ["one", "two…"]);
        assert_eq!(style.lines("one", 5, 2), ["one"]);
        let style = Style { color: true, ..Style::default() };
        let painted =
            format!("{} is {}", style.paint(Hue::Strong, "api"), style.paint(Hue::Bad, "down here"));
        assert_eq!(wrap(&painted, 16).len(), 1, "colours take no columns");
        assert_eq!(wrap(&painted, 12).len(), 2);
    }

    #[test]
    fn folding_breaks_between_words_and_leaves_nothing_out() {
        let text = "    22:39:58Z  api   Exited  exit code 1 after 0.2 s /a/path/that/is/longer/than/the/whole/screen end";
        for columns in [20, 40, 80] {
            let lines = fold(text, columns, 4);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&lines.join(" ")), words(text), "no word is broken or lost at {columns}");
            let fits = |line: &String| line.width() <= columns || words(line).len() == 1;
            assert!(lines.iter().all(fits), "{columns}: {lines:?}");
            assert!(lines[1..].iter().all(|line| line.starts_with("        ")), "{lines:?}");
        }
        assert_eq!(fold("a  b", 80, 2), ["a  b"], "a line that fits stays as it is");
        let style = Style { color: true, ..Style::default() };
        let painted =
            format!("{} {}", style.paint(Hue::Bad, "restart failed"), style.paint(Hue::Ok, "twice"));
        assert_eq!(fold(&painted, 20, 2).len(), 1, "colours take no columns");
        let lines = fold(&painted, 10, 2);
        assert_eq!(lines.len(), 3);
        let sequences = |text: &str| text.matches("\x1b[").count();
        assert_eq!(lines.iter().map(|line| sequences(line)).sum::<usize>(), sequences(&painted), "{lines:?}");
        assert!(lines.iter().all(|line| visible_width(line) <= 10), "{lines:?}");
    }

    #[test]
    fn hostile_text_is_harmless() {
        assert_eq!(Style { ascii: true, ..Style::default() }.text("é\x1b[31m"), "??[31m");
        assert_eq!(Style::default().paint(Hue::Bad, "x"), "x");
        assert!(Style { color: true, ..Style::default() }.paint(Hue::Bad, "x").contains("\x1b["));
    }
}
