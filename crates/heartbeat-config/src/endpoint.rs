//! URLs that heartbeatd posts to.

use std::path::Path;

use heartbeat_probe::{HttpError, HttpProbe, TlsOptions};

/// Why heartbeatd cannot post there, and what to write instead; `example` is a URL as TOML.
pub(crate) fn refusal(url: &str, ca: Option<&Path>, what: &str, example: &str) -> Option<(String, String)> {
    let example = || {
        let is_without =
            !url.contains("://") && HttpProbe::new(&format!("http://{url}")).is_ok() && url.contains('.');
        if is_without { "write https:// in front of it".to_owned() } else { format!("for example {example}") }
    };
    let is_https = url.starts_with("https://");
    if !url.starts_with("http://") && !is_https {
        // It may be a secret: it is not repeated.
        return Some((format!("the {what} is not an http:// or https:// URL"), example()));
    }
    if ca.is_some() && !is_https {
        let why = "`ca` is for https:// webhooks, and this one is http://";
        return Some((why.to_owned(), "write https://, or remove `ca`".to_owned()));
    }
    if url.contains('#') {
        return Some(("a fragment (`#...`) is not sent to servers".to_owned(), "remove it".to_owned()));
    }
    if url.split('/').nth(2).is_some_and(|authority| authority.contains('@')) {
        let why =
            format!("the {what} has credentials in its URL, where logs and process lists would show them");
        return Some((why, "remove them".to_owned()));
    }
    let made = if is_https {
        let options = ca.into_iter().fold(TlsOptions::default(), TlsOptions::with_ca);
        HttpProbe::with_tls(url, &options)
    } else {
        HttpProbe::new(url)
    };
    match made.err()? {
        HttpError::Tls(error) => Some((error.to_string(), "name a PEM file that can be read".to_owned())),
        _ => Some((format!("the {what} is not an http:// or https:// URL"), example())),
    }
}
