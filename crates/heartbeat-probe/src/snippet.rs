//! The beginning of a failing answer's body, for the detail: a 503 usually names its cause there.

use std::time::Duration;

use ::http::HeaderMap;
use ::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use heartbeat_http::Body;
use heartbeat_status::is_hostile;

use crate::html;

/// Largest part of a body that is read for the detail, in bytes.
const MAX_READ_BYTES: usize = 4 * 1024;
/// Largest part of a body that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 200;
/// Longest wait for the body of a failing answer, which usually arrives with its head.
const PATIENCE: Duration = Duration::from_millis(500);

/// Reads the beginning of the body of a failing answer, and whether that was all of it; `None` where it is not text or
/// does not arrive.
pub(crate) async fn read(headers: &HeaderMap, body: &mut Body) -> Option<(Vec<u8>, bool)> {
    if !may_be_text(headers) {
        return None;
    }
    tokio::time::timeout(PATIENCE, body.read(MAX_READ_BYTES)).await.ok()?.ok()
}

/// The first characters of a text or JSON body, on one line.
pub(crate) fn of(headers: &HeaderMap, body: &[u8], whole: bool) -> Option<String> {
    if !may_be_text(headers) {
        return None;
    }
    let body = &body[..body.len().min(MAX_READ_BYTES)];
    let text = match (headers.contains_key(CONTENT_TYPE), std::str::from_utf8(body)) {
        (_, Ok(text)) => text.to_owned(),
        // The end of what was read may lie within a character.
        (false, Err(error)) if error.error_len().is_none() => {
            String::from_utf8_lossy(&body[..error.valid_up_to()]).into_owned()
        }
        (false, Err(_)) => return None,
        (true, Err(_)) => String::from_utf8_lossy(body).into_owned(),
    };
    let (shown, more) = one_line(&if is_html(&text) { html::words(&text) } else { text });
    let ellipsis = if more || !whole { "…" } else { "" };
    (!shown.is_empty()).then(|| format!("{shown}{ellipsis}"))
}

/// Whatever its type says: many servers call everything a page.
fn is_html(text: &str) -> bool {
    let start = text.trim_start().as_bytes();
    ["<!doctype html", "<html"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes())))
}

/// White space folded, everything that could move a cursor or reorder text left out; whether there is more of it.
fn one_line(text: &str) -> (String, bool) {
    let words = text.split_whitespace().map(|word| word.replace(is_hostile, ""));
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => (line[..end].trim_end().to_owned(), true),
        None => (line, false),
    }
}

/// Text, JSON, or no type at all; and not compressed.
fn may_be_text(headers: &HeaderMap) -> bool {
    if coding(headers).is_some() {
        return false;
    }
    match media_type(headers) {
        None => true,
        Some(kind) => kind.starts_with("text/") || is_json_type(&kind),
    }
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    Some(media_type_in(headers.get(CONTENT_TYPE)?.as_bytes()))
}

fn media_type_in(value: &[u8]) -> String {
    let kind = String::from_utf8_lossy(value).to_ascii_lowercase();
    kind.split(';').next().unwrap_or_default().trim().to_owned()
}

fn is_json_type(kind: &str) -> bool {
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The value of a `Content-Type` names JSON.
pub(crate) fn is_json_value(value: &[u8]) -> bool {
    is_json_type(&media_type_in(value))
}

/// The answer says that its body is JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| is_json_type(&kind))
}

/// How the body is compressed, though the request asked for none.
pub(crate) fn coding(headers: &HeaderMap) -> Option<String> {
    let coding = String::from_utf8_lossy(headers.get(CONTENT_ENCODING)?.as_bytes()).trim().to_owned();
    Some(coding).filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: Option<&str>, coding: Option<&str>) -> HeaderMap {
        let pairs = [(CONTENT_TYPE, kind), (CONTENT_ENCODING, coding)];
        let set = pairs.into_iter().filter_map(|(name, value)| Some((name, value?.parse().unwrap())));
        set.collect()
    }

    #[test]
    fn a_text_is_one_safe_line_of_two_hundred_characters() {
        let shown = |kind: Option<&str>, body: &[u8]| of(&headers(kind, None), body, true);
        let text = Some("text/plain; charset=utf-8");
        assert_eq!(shown(text, b" one\r\n\ttwo ").as_deref(), Some("one two"));
        let hostile = "\x1b[2J\x1b]0;title\x07database: \u{202e}no connection\nmore\n";
        assert_eq!(
            shown(text, hostile.as_bytes()).as_deref(),
            Some("[2J]0;titledatabase: no connection more")
        );
        assert_eq!(shown(text, &[b'x'; 200]).unwrap(), "x".repeat(200));
        assert_eq!(shown(text, &[b'x'; 201]).unwrap(), format!("{}…", "x".repeat(200)));
        assert_eq!(of(&headers(text, None), b"so far", false).as_deref(), Some("so far…"));
        assert_eq!(shown(text, b" \n\x1b "), None);
        assert_eq!(shown(text, b"caf\xe9").as_deref(), Some("caf\u{fffd}"));
    }

    #[test]
    fn of_a_page_its_words_are_shown() {
        let shown = |body: &str| of(&headers(Some("text/html"), None), body.as_bytes(), true);
        let page = " <!DOCTYPE HTML>\n<html><head><title>Error response</title></head><body><p>File not found.</body></html>";
        assert_eq!(shown(page).as_deref(), Some("Error response: File not found."));
        assert_eq!(shown("<b>no page</b>").as_deref(), Some("<b>no page</b>"), "it says no more than that");
        assert_eq!(shown("<html></html>"), None);
    }

    #[test]
    fn only_text_and_json_are_shown() {
        let shown = |kind: Option<&str>, body: &[u8]| of(&headers(kind, None), body, true).is_some();
        for kind in ["application/json", "Application/JSON; x=y", "application/health+json", "text/html"] {
            assert!(shown(Some(kind), b"{}"), "{kind}");
        }
        for kind in ["application/octet-stream", "image/png", "application/x-json", "x/y+json"] {
            assert!(!shown(Some(kind), b"{}"), "{kind}");
        }
        assert!(shown(None, b"{}") && !shown(None, b"\xff\xfe"));
        let cut_within_a_character = "é".repeat(MAX_READ_BYTES);
        assert!(!shown(None, &cut_within_a_character.as_bytes()[1..][..MAX_READ_BYTES - 1]));
        assert!(shown(None, &cut_within_a_character.as_bytes()[..MAX_READ_BYTES + 1]));
        assert!(shown(None, &cut_within_a_character.as_bytes()[..MAX_READ_BYTES - 1]));
        let coded = headers(Some("text/plain"), Some("gzip"));
        assert_eq!((of(&coded, b"ok", true), coding(&coded).as_deref()), (None, Some("gzip")));
        assert_eq!(coding(&headers(None, Some("identity"))), None);
    }
}
