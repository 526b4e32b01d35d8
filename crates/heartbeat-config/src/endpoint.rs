//! URLs that heartbeatd posts to.

use std::path::Path;

use heartbeat_probe::{HttpError, HttpProbe, TlsOptions};

/// Why incidents cannot be posted there, and what to write instead.
pub(crate) fn refusal(url: &str, ca: Option<&Path>, what: &str) -> Option<(String, String)> {
    let example = || "for example \"http://127.0.0.1:3000/api/incidents/\"".to_owned();
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
        let options = TlsOptions { ca: ca.map(Path::to_owned), ..TlsOptions::default() };
        HttpProbe::with_tls(url, &options)
    } else {
        HttpProbe::new(url)
    };
    match made.err()? {
        HttpError::Tls(error) => Some((error.to_string(), "name a PEM file that can be read".to_owned())),
        _ => Some((format!("the {what} is not an http:// or https:// URL"), example())),
    }
}
