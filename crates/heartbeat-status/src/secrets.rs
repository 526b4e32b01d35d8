//! Secrets that stand inside a text: the user and the password of a URL, what follows `Authorization:`, `password=` and
//! the like. A reader without a role gets `(hidden)` in their place, whichever sentence or document they are in.

use alloc::vec::Vec;
use core::ops::Range;

/// Stands for a secret that a reader may not see.
const HIDDEN: &[u8] = b"(hidden)";
/// Stands for what a server or a program has said, and is no secret itself.
const OUTPUT: &[u8] = b"(output)";
/// Words before `=` or `:` whose value is a secret, alone or at the end of a longer name such as `DB_PASSWORD`.
const NAMES: [&[u8]; 9] = [
    b"password",
    b"passwd",
    b"pwd",
    b"secret",
    b"token",
    b"api_key",
    b"api-key",
    b"apikey",
    b"authorization",
];
/// Schemes of HTTP authentication, which stand before what proves the caller.
const SCHEMES: [&[u8]; 2] = [b"bearer", b"basic"];
/// Shortest proof after the name of a scheme, in bytes: shorter words are prose.
const MIN_PROOF_BYTES: usize = 8;

/// What a secret stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    /// Texts within JSON, which escapes quotes. It stays JSON: no secret reaches over the end of a string.
    Json,
}

/// The text with every secret hidden; `None` when there is none.
pub(crate) fn hidden(text: &[u8], form: Form) -> Option<Vec<u8>> {
    let mut shown = Vec::new();
    let mut from = 0;
    let mut at = 0;
    while at < text.len() {
        match secret_at(text, at, form).filter(|secret| !secret.is_empty()) {
            Some(secret) => {
                shown.extend_from_slice(&text[from..secret.start]);
                shown.extend_from_slice(HIDDEN);
                from = secret.end;
                at = secret.end;
            }
            None => at += 1,
        }
    }
    (from > 0).then(|| {
        shown.extend_from_slice(&text[from..]);
        shown
    })
}

/// The secret that the word before `at` announces.
fn secret_at(text: &[u8], at: usize, form: Form) -> Option<Range<usize>> {
    match text[at] {
        b':' => user_of_url(text, at).or_else(|| value_of_name(text, at, form)),
        b'=' => value_of_name(text, at, form),
        b' ' => proof(text, at),
        _ => None,
    }
}

/// The user and the password of a URL whose scheme ends at `at`.
fn user_of_url(text: &[u8], at: usize) -> Option<Range<usize>> {
    let from = at + text[at..].strip_prefix(b"://").map(|_| 3)?;
    let url = &text[from..from + text[from..].iter().take_while(|byte| !ends_word(**byte)).count()];
    let authority = &url[..url.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(url.len())];
    let last_at = |part: &[u8]| part.iter().rposition(|byte| *byte == b'@');
    // A password that was not encoded may contain what ends an authority: then no port follows the colon.
    let has_port = || {
        let port = authority.iter().rposition(|byte| *byte == b':').map(|colon| &authority[colon + 1..]);
        port.is_none_or(|port| port.iter().all(u8::is_ascii_digit) || authority.ends_with(b"]"))
    };
    let end = last_at(authority).or_else(|| if has_port() { None } else { last_at(url) })?;
    Some(from..from + end)
}

/// The value behind the `=` or `:` at `at`, where the name before it means a secret.
fn value_of_name(text: &[u8], at: usize, form: Form) -> Option<Range<usize>> {
    let quotes = [if form == Form::Json { b"\\\"".as_slice() } else { b"\"" }, b"'", b"`"];
    let before = &text[..at];
    let name = quotes.iter().find_map(|quote| before.strip_suffix(*quote)).unwrap_or(before);
    let known = NAMES.iter().find(|known| ends_with(name, known))?;
    let is_header = *known == b"authorization" || *known == b"api-key";
    let spaces = |from: usize| from + text[from..].iter().take_while(|byte| **byte == b' ').count();
    let word = |from: usize| {
        let is_of_value = |byte: u8| !ends_word(byte) && !b"&;,)".contains(&byte);
        from + text[from..].iter().take_while(|byte| is_of_value(**byte)).count()
    };
    // `password: required` is prose, `"password": "x"` and `Authorization: x` are not.
    let mut from = if is_header || name.len() < before.len() { spaces(at + 1) } else { at + 1 };
    let opened = quotes.iter().find(|quote| text[from..].starts_with(quote));
    from += opened.map_or(0, |quote| quote.len());
    if text[from..].starts_with(OUTPUT) {
        return None;
    }
    let mut end = opened.and_then(|quote| closing(text, from, quote, form)).unwrap_or_else(|| word(from));
    if is_header && SCHEMES.iter().any(|scheme| text[from..end].eq_ignore_ascii_case(scheme)) {
        from = spaces(end);
        end = word(from);
    }
    Some(from..end)
}

/// Where the quote closes that opened before `from`, within its line and its text.
fn closing(text: &[u8], from: usize, quote: &[u8], form: Form) -> Option<usize> {
    let mut at = from;
    while at < text.len() {
        if text[at..].starts_with(quote) {
            return Some(at);
        }
        let ends = text[at].is_ascii_control() || (form == Form::Json && text[at] == b'"');
        if ends {
            return None;
        }
        // In JSON a backslash and what it escapes are one character.
        at += if form == Form::Json && text[at] == b'\\' { 2 } else { 1 };
    }
    None
}

/// What proves the caller, behind the name of a scheme that ends at `at`: it has digits, or capitals inside.
fn proof(text: &[u8], at: usize) -> Option<Range<usize>> {
    SCHEMES.iter().find(|scheme| {
        let before = at.checked_sub(scheme.len() + 1).map(|before| text[before]);
        ends_with(&text[..at], scheme) && !before.is_some_and(|byte| byte.is_ascii_alphanumeric())
    })?;
    let from = at + 1;
    let is_of_proof = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let word = &text[from..from + text[from..].iter().take_while(|byte| is_of_proof(byte)).count()];
    let is_prose = word.iter().skip(1).all(|byte| byte.is_ascii_lowercase() || *byte == b'.');
    (word.len() >= MIN_PROOF_BYTES && !is_prose).then(|| from..from + word.len())
}

/// A word of a text ends there, and in a document the text itself may.
fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte.is_ascii_control() || b"\"\\'<>`".contains(&byte)
}

fn ends_with(text: &[u8], ending: &[u8]) -> bool {
    text.len().checked_sub(ending.len()).is_some_and(|from| text[from..].eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn shown(text: &str) -> String {
        let plain = hidden(text.as_bytes(), Form::Text)
            .map_or(text.into(), |shown| String::from_utf8(shown).unwrap());
        let json = serde_json::to_vec(text).unwrap();
        let json: String = serde_json::from_slice(&hidden(&json, Form::Json).unwrap_or(json)).unwrap();
        assert_eq!(json, plain, "a document hides what a text does");
        plain
    }

    #[test]
    fn secrets_of_every_form_are_hidden() {
        for (text, expected) in [
            (
                "cannot reach postgres://shop:s3cret@db:5432/shop?x=1",
                "cannot reach postgres://(hidden)@db:5432/shop?x=1",
            ),
            ("redis://:s3cret@127.0.0.1:6379/0, twice", "redis://(hidden)@127.0.0.1:6379/0, twice"),
            ("https://s3cret@example.org/repo", "https://(hidden)@example.org/repo"),
            ("amqp://shop:s3/c?r@et@mq/", "amqp://(hidden)@mq/"),
            ("a (http://u:s3cret@h) b https://v:s3cret@i/", "a (http://(hidden)@h) b https://(hidden)@i/"),
            ("Authorization: Bearer s3cret", "Authorization: Bearer (hidden)"),
            ("authorization:s3cret next", "authorization:(hidden) next"),
            ("X-Api-Key: s3cret", "X-Api-Key: (hidden)"),
            ("sent Bearer eyJhbGciOi.s3cret, refused", "sent Bearer (hidden), refused"),
            ("Basic c2hvcDpzM2NyZXQ=", "Basic (hidden)"),
            ("host=db DB_PASSWORD=s3cret user=shop", "host=db DB_PASSWORD=(hidden) user=shop"),
            ("GET /x?token=s3cret&page=2", "GET /x?token=(hidden)&page=2"),
            ("{'password': 's3cret', 'user': 'shop'}", "{'password': '(hidden)', 'user': 'shop'}"),
            (r#"{"client_secret": "s3cret"}"#, r#"{"client_secret": "(hidden)"}"#),
            (r#"password="s3cret","#, r#"password="(hidden)","#),
            (r#"password="correct horse battery" next"#, r#"password="(hidden)" next"#),
            (r"secret='correct \horse' next", "secret='(hidden)' next"),
            ("password=\"no end\nnext", "password=\"(hidden) end\nnext"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for text in [
            "http://127.0.0.1:8001/api/health/: connection refused",
            "https://wiki.example.org/@team/page?p=3",
            "http://[::1]:8001/@x",
            "wants a password: none is configured",
            "password",
            "the body does not contain \"MY SECRET\": (output)",
            "the token expired",
            "Basic authentication is required",
            "answers 401 Unauthorized: Bearer token is required",
            "mail to ops@example.org",
            "",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn a_document_stays_json_whatever_stands_in_it() {
        let texts =
            ["x://u:p", "a://b:c@", "password=", "token:", "\"password\":\"", "Authorization: ", "é://ü:p@h"];
        for (one, other) in texts.iter().flat_map(|one| texts.iter().map(move |other| (one, other))) {
            let json =
                serde_json::to_vec(&serde_json::json!({ "one": one, "more": [other, "next"] })).unwrap();
            let read: serde_json::Value =
                serde_json::from_slice(&hidden(&json, Form::Json).unwrap_or(json)).unwrap();
            assert_eq!(read["more"][1], "next", "{one} {other}");
        }
    }
}
