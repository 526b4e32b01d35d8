//! Text that a command of the user has printed, inside of the sentences of heartbeatd.
//!
//! The output of a check command may hold what only its owner should read, as a log may. It is quoted where it enters,
//! between two characters that Unicode reserves for the inside of programs, and it stays quoted in every sentence that is
//! made of it. The same holds for what a target has answered. Where a text leaves heartbeatd, the quotes go: with the
//! output for a reader without a role, and alone for everyone else. That reader does not see the secrets that stand in
//! the rest either.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::secrets::{self, Form};

/// Before the output, and behind it.
const QUOTES: [char; 2] = ['\u{FDD0}', '\u{FDD1}'];
/// The same in UTF-8.
const OPEN: &[u8] = "\u{FDD0}".as_bytes();
const CLOSE: &[u8] = "\u{FDD1}".as_bytes();
/// Stands for output that a reader may not see.
const WITHHELD: &str = "(output)";

/// Quotes what a command has printed, or a target has answered.
#[must_use]
pub fn quoted(output: &str) -> String {
    let inside = output.chars().filter(|c| !QUOTES.contains(c));
    core::iter::once(QUOTES[0]).chain(inside).chain([QUOTES[1]]).collect()
}

/// Text from elsewhere, in which nothing is quoted.
#[must_use]
pub fn unquoted(text: &str) -> Cow<'_, str> {
    if text.contains(QUOTES) { text.replace(QUOTES, "").into() } else { text.into() }
}

/// The beginning of a quoted text, with its closing quote where the cut has taken that away.
#[must_use]
pub fn reclosed(mut text: String) -> String {
    if text.rfind(QUOTES[0]).is_some_and(|open| !text[open..].contains(QUOTES[1])) {
        text.push(QUOTES[1]);
    }
    text
}

/// The text for a reader without a role.
///
/// ```
/// use heartbeat_status::printed;
///
/// let text = format!("exit code 1: {}, 3 times in a row", printed::quoted("password=hunter2"));
/// assert_eq!(printed::withheld(&text), "exit code 1: (output), 3 times in a row");
/// assert_eq!(printed::unquoted(&text), "exit code 1: password=hunter2, 3 times in a row");
/// ```
#[must_use]
pub fn withheld(text: &str) -> Cow<'_, str> {
    let public = without_output(text);
    match secrets::hidden(public.as_bytes(), Form::Text) {
        // Only whole characters are hidden.
        Some(shown) => String::from_utf8_lossy(&shown).into_owned().into(),
        None => public,
    }
}

fn without_output(text: &str) -> Cow<'_, str> {
    if !text.contains(QUOTES) {
        return text.into();
    }
    let mut public = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, quoted)) = rest.split_once(QUOTES[0]) {
        public.push_str(before);
        public.push_str(WITHHELD);
        // What is not closed is withheld to its end.
        rest = quoted.split_once(QUOTES[1]).map_or("", |(_, behind)| behind);
    }
    public.push_str(rest);
    public.replace(QUOTES, "").into()
}

/// A document in JSON, for a reader with or without a role (`public`).
#[must_use]
pub fn document(json: Vec<u8>, public: bool) -> Vec<u8> {
    let json = without_quotes(json, public);
    let shown = if public { secrets::hidden(&json, Form::Json) } else { None };
    shown.unwrap_or(json)
}

fn without_quotes(json: Vec<u8>, public: bool) -> Vec<u8> {
    // Both quotes begin with these two bytes, which hardly any other character does.
    if !json.windows(2).any(|bytes| bytes == &OPEN[..2]) {
        return json;
    }
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while at < json.len() {
        let rest = &json[at..];
        if rest.starts_with(OPEN) {
            at += OPEN.len();
            if public {
                out.extend_from_slice(WITHHELD.as_bytes());
                at += quoted_bytes(&json[at..]);
            }
        } else if rest.starts_with(CLOSE) {
            at += CLOSE.len();
        } else {
            out.push(json[at]);
            at += 1;
        }
    }
    out
}

/// How many bytes of a JSON string are quoted: up to the closing quote, or to the end of the string.
fn quoted_bytes(json: &[u8]) -> usize {
    let mut at = 0;
    while at < json.len() {
        if json[at..].starts_with(CLOSE) {
            return at + CLOSE.len();
        }
        match json[at] {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn output_cannot_close_its_own_quotes() {
        let text = quoted("a\u{FDD1}secret\u{FDD0}b");
        assert_eq!(withheld(&text), "(output)");
        assert_eq!(unquoted(&text), "asecretb");
    }

    #[test]
    fn what_was_cut_is_withheld_to_its_end_or_closed_again() {
        let text = format!("down: {}, again", quoted("secret"));
        let cut = &text[..text.find("cret").unwrap()];
        assert_eq!(withheld(cut), "down: (output)");
        assert_eq!(withheld(&format!("{}, again", reclosed(cut.to_string()))), "down: (output), again");
        assert_eq!(reclosed(text.clone()), text);
        assert_eq!(withheld("nothing quoted"), "nothing quoted");
    }

    #[test]
    fn a_document_stays_json_whatever_is_in_it() {
        let hostile = "a \"quote\" \\ and \u{1}\u{FDDF} a tab\t";
        for text in [quoted(hostile), quoted(hostile).replace('\u{FDD1}', ""), hostile.to_string()] {
            let json = serde_json::to_vec(&[&text, "next"]).unwrap();
            let public: [String; 2] = serde_json::from_slice(&document(json.clone(), true)).unwrap();
            assert_eq!(public, [withheld(&text).as_ref(), "next"]);
            let own: [String; 2] = serde_json::from_slice(&document(json, false)).unwrap();
            assert_eq!(own, [unquoted(&text).as_ref(), "next"]);
        }
    }
}
