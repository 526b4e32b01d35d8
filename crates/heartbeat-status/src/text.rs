//! The one sanitiser for every string that reaches a terminal, a log or a page.

use alloc::string::String;

/// Longest line kept, in characters; what is cut is marked with `…`.
const MAX_LINE_CHARS: usize = 300;

fn is_hostile(c: char) -> bool {
    c.is_control() // C0, DEL and C1
        || matches!(c,
            '\u{200B}'..='\u{200F}'   // zero width, LRM, RLM
            | '\u{202A}'..='\u{202E}' // bidi embedding and override
            | '\u{2060}'..='\u{2064}' // word joiner, invisible operators
            | '\u{2066}'..='\u{2069}' // bidi isolates
            | '\u{061C}' | '\u{FEFF}' | '\u{2028}' | '\u{2029}')
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn nothing_hostile_survives() {
        let nasty = "x\u{1b}]0;t\u{7}\u{9b}31m\u{202e}abc\u{200b}\u{feff}";
        let clean = sanitise(nasty);
        assert!(clean.chars().all(|c| !is_hostile(c)), "{clean:?}");
        assert_eq!(sanitise("a\tb\nc"), "a\tb\nc".to_string());
        assert_eq!(sanitise_line("  a \t\r\n b  "), "a b");
        assert_eq!(sanitise_line(&"y".repeat(400)).chars().count(), 301);
    }
}
