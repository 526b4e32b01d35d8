//! The one sanitiser for every string that reaches a terminal, a log or a page.

use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::String;

/// Longest line kept, in characters; `…` marks a cut.
const MAX_LINE_CHARS: usize = 300;
/// Longest end of a sentence that survives a cut before it, in characters.
const MAX_END_CHARS: usize = 30;

/// True for a character that could move a cursor, hide or reorder text.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    c.is_control() // C0, DEL and C1
        || matches!(c,
            '\u{200B}'..='\u{200F}'     // zero width, LRM, RLM
            | '\u{202A}'..='\u{202E}'   // bidi embedding and override
            | '\u{2060}'..='\u{206F}'   // word joiner, invisible operators, bidi isolates, deprecated controls
            | '\u{E0000}'..='\u{E007F}' // tags
            | '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{FEFF}' | '\u{2028}' | '\u{2029}')
}

/// Replaces everything that could move a cursor, hide or reorder text by `?`; keeps `\n` and `\t`.
#[must_use]
pub fn sanitise(text: &str) -> String {
    text.chars().map(|c| if is_hostile(c) && c != '\n' && c != '\t' { '?' } else { c }).collect()
}

/// One safe line: control characters out, white space folded, at most 300 characters.
///
/// ```
/// assert_eq!(heartbeat_status::sanitise_line("a\x1b[31m\nb"), "a?[31m b");
/// ```
#[must_use]
pub fn sanitise_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_LINE_CHARS * 4));
    let mut count = 0;
    let mut gap = false;
    for c in text.trim().chars() {
        if c.is_whitespace() {
            gap = true;
            continue;
        }
        if count + usize::from(gap) >= MAX_LINE_CHARS {
            line.push('…');
            break;
        }
        if gap {
            line.push(' ');
            count += 1;
            gap = false;
        }
        line.push(if is_hostile(c) { '?' } else { c });
        count += 1;
    }
    line
}

/// A message without an HTML page that a server has sent in place of an answer.
#[must_use]
pub fn without_markup(text: &str) -> Cow<'_, str> {
    let lower = text.to_ascii_lowercase();
    let Some(start) = ["<!doctype", "<html"].iter().filter_map(|tag| lower.find(tag)).min() else {
        return Cow::Borrowed(text);
    };
    // The text of heartbeatd behind the page stays.
    let end = text.rfind(", attempt ").filter(|at| *at > start).map_or("", |at| &text[at..]);
    Cow::Owned(format!("{}(an HTML page){end}", &text[..start]))
}

/// A sentence of at most `most` characters. It cuts foreign text (the body of an answer, an error of a program), and
/// keeps heartbeatd's own end of the sentence: `, attempt 2 of 6`.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let attempt = text.rfind(", attempt ").map_or("", |at| &text[at..]);
    let end =
        attempt.split(';').next().filter(|end| end.chars().count() <= MAX_END_CHARS).unwrap_or_default();
    let room = most.saturating_sub(end.chars().count() + 1);
    let kept: String = text.chars().take(room).collect();
    format!("{}…{end}", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    /// Every character that moves a cursor, hides or reorders text, from the Unicode charts: written down here, so that
    /// a range that is lost in the code is found.
    fn hostile() -> Vec<char> {
        let ranges: [(u32, u32); 14] = [
            (0x00, 0x1f),
            (0x7f, 0x9f),
            (0xad, 0xad),
            (0x61c, 0x61c),
            (0x180e, 0x180e),
            (0x200b, 0x200f),
            (0x2028, 0x2029),
            (0x202a, 0x202e),
            (0x2060, 0x2064),
            (0x2065, 0x2065),
            (0x2066, 0x2069),
            (0x206a, 0x206f),
            (0xfeff, 0xfeff),
            (0xe0000, 0xe007f),
        ];
        ranges.into_iter().flat_map(|(first, last)| first..=last).filter_map(char::from_u32).collect()
    }

    #[test]
    fn no_hostile_character_survives_in_a_text_or_a_line() {
        for c in hostile() {
            let text = alloc::format!("a{c}b");
            let kept = matches!(c, '\n' | '\t');
            assert_eq!(
                sanitise(&text),
                if kept { text.clone() } else { "a?b".to_string() },
                "{:x}",
                c as u32
            );
            let folded = if c.is_whitespace() { "a b" } else { "a?b" };
            assert_eq!(sanitise_line(&text), folded, "{:x}", c as u32);
        }
        for c in
            ['a', 'é', 'ß', '中', '🙂', '\u{ac}', '\u{ae}', '\u{2010}', '\u{2030}', '\u{205f}', '\u{2070}']
        {
            assert_eq!(sanitise(&c.to_string()), c.to_string(), "{:x} is text", c as u32);
        }
    }

    #[test]
    fn a_line_is_folded_and_bounded() {
        assert_eq!(sanitise("a\tb\nc"), "a\tb\nc");
        assert_eq!(sanitise_line("  a \t\r\n b  "), "a b");
        assert_eq!(sanitise_line(&"y".repeat(400)).chars().count(), 301);
    }

    #[test]
    fn a_long_message_is_cut_in_the_middle_and_keeps_its_end() {
        let long = alloc::format!("unhealthy: {}, attempt 1 of 6", "x".repeat(300));
        let cut = shortened(&long, 80);
        assert_eq!(cut.chars().count(), 80);
        assert!(cut.starts_with("unhealthy: xxx") && cut.ends_with("x…, attempt 1 of 6"), "{cut}");
        assert_eq!(shortened("short, attempt 1 of 6", 80), "short, attempt 1 of 6");
        let other = shortened(&alloc::format!("a, {}", "y".repeat(300)), 80);
        assert!(other.ends_with("y…") && other.chars().count() == 80, "{other}");
        // What a probe adds behind its own sentence, and a comma in foreign text, are no end worth keeping.
        let twice = shortened(&alloc::format!("http: {0}, attempt 2 of 6; http: {0}", "z".repeat(90)), 80);
        assert!(twice.ends_with("z…, attempt 2 of 6"), "{twice}");
        let foreign = shortened(&alloc::format!("http: {} (a, b)", "z".repeat(90)), 80);
        assert!(foreign.ends_with("z…"), "{foreign}");
    }

    #[test]
    fn a_page_is_no_reason() {
        let text = "http: 404 Not Found: <!DOCTYPE HTML><html lang=\"en\"><title>x</title>, attempt 2 of 6";
        assert_eq!(without_markup(text), "http: 404 Not Found: (an HTML page), attempt 2 of 6");
        assert_eq!(without_markup("a < b"), "a < b");
    }
}
