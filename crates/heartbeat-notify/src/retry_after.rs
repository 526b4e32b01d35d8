//! The `Retry-After` header of an answer.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, header};

/// The wait that `Retry-After` asks for, at `unix_s` seconds since 1970: a number of seconds, or an HTTP date in any of
/// its three forms. A date in the past asks for nothing.
pub(crate) fn asked(headers: &HeaderMap, unix_s: u64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    at.checked_sub(Duration::from_secs(unix_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of 2026-11-23T22:39:58Z.
    const NOW: u64 = 1_795_473_598;

    #[test]
    fn both_forms_are_understood() {
        let wait = |text: &str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            asked(&headers, NOW).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait(" 0 "), Some(0));
        for date in
            ["Mon, 23 Nov 2026 22:41:58 GMT", "Monday, 23-Nov-26 22:41:58 GMT", "Mon Nov 23 22:41:58 2026"]
        {
            assert_eq!(wait(date), Some(120), "{date}");
        }
        assert_eq!(wait("Mon, 23 Nov 2026 22:39:57 GMT"), None, "in the past");
        for nonsense in ["", "soon", "-1", "1.5", "Mon, 99 Nov 2026 22:41:58 GMT"] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
        assert_eq!(asked(&HeaderMap::new(), NOW), None);
    }
}
