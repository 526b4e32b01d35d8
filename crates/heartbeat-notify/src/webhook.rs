//! The URL of a receiver.

use std::fmt;

use heartbeat_http::Address;
use http::{Uri, uri};

use crate::NotifyError;

/// Port of `http://` when the URL names none.
const HTTP_PORT: u16 = 80;

/// A URL that notifications are posted to, checked and taken apart once.
///
/// Printed without its path and query, which often are the only secret of a webhook.
///
/// ```
/// use heartbeat_notify::{NotifyError, Webhook};
///
/// let webhook = Webhook::new("http://127.0.0.1:3000/api/incidents/?key=s3cret")?;
/// assert_eq!(webhook.to_string(), "http://127.0.0.1:3000");
/// assert!(matches!(Webhook::new("https://hooks.example.org/"), Err(NotifyError::TlsNotBuilt)));
/// # Ok::<(), NotifyError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    address: Address,
    /// Path and query: the target of the request.
    target: String,
}

impl Webhook {
    /// Takes `http://NAME[:PORT][/PATH][?QUERY]`.
    ///
    /// # Errors
    /// [`NotifyError`] for anything else; `https://`, credentials and fragments have errors of their own.
    pub fn new(url: &str) -> Result<Self, NotifyError> {
        let unusable = |why| Err(NotifyError::Unusable { why });
        if url.contains('#') {
            return unusable("a fragment (`#...`) is not sent to servers");
        }
        let parts = url.parse::<Uri>().map_err(|source| NotifyError::NotAUrl { source })?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return unusable("expected `http://NAME[:PORT]/PATH`");
        };
        if authority.as_str().contains('@') {
            return Err(NotifyError::CredentialsInUrl);
        }
        if scheme == uri::Scheme::HTTPS {
            return Err(NotifyError::TlsNotBuilt);
        }
        if scheme != uri::Scheme::HTTP {
            return unusable("only `http://` is spoken");
        }
        let address = Address::parse(authority.as_str(), Some(HTTP_PORT));
        let address =
            address.ok_or(NotifyError::Unusable { why: "expected a host and a port from 1 to 65535" })?;
        let target = parts.path_and_query.as_ref().map_or("", uri::PathAndQuery::as_str);
        // `http://name?query` is a URL; its request still begins with a slash.
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target = format!("{slash}{target}");
        Ok(Self { address, target })
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// The value of the `Host` header; the default port is no part of it.
    pub(crate) fn host_header(&self) -> String {
        self.address.host_header(HTTP_PORT)
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.host_header())
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({self}/...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let taken = |url: &str| {
            let webhook = Webhook::new(url).unwrap();
            (webhook.address.to_string(), webhook.host_header(), webhook.target)
        };
        let expect = |address: &str, host: &str, target: &str| {
            (address.to_owned(), host.to_owned(), target.to_owned())
        };
        assert_eq!(taken("http://example.org"), expect("example.org:80", "example.org", "/"));
        assert_eq!(taken("http://example.org:80/"), expect("example.org:80", "example.org", "/"));
        assert_eq!(
            taken("http://127.0.0.1:3000/a/?b=c"),
            expect("127.0.0.1:3000", "127.0.0.1:3000", "/a/?b=c")
        );
        assert_eq!(taken("http://[::1]:8080/x"), expect("[::1]:8080", "[::1]:8080", "/x"));
        assert_eq!(taken("HTTP://h?q"), expect("h:80", "h", "/?q"));
    }

    #[test]
    fn what_cannot_be_posted_to_is_refused() {
        assert!(matches!(Webhook::new("https://example.org/"), Err(NotifyError::TlsNotBuilt)));
        assert!(matches!(Webhook::new("http://me:pw@example.org/"), Err(NotifyError::CredentialsInUrl)));
        assert!(matches!(Webhook::new("https://me@example.org/"), Err(NotifyError::CredentialsInUrl)));
        for url in [
            "",
            "/path",
            "example.org",
            "ftp://example.org/",
            "http://",
            "http://h:0/",
            "http://h:70000/",
            "http://h:/",
        ] {
            assert!(Webhook::new(url).is_err(), "{url}");
        }
        assert!(matches!(Webhook::new("http://h/#top"), Err(NotifyError::Unusable { .. })));
    }

    #[test]
    fn the_path_is_never_printed() {
        let webhook = Webhook::new("http://h:1/s3cret?s3cret").unwrap();
        assert!(!format!("{webhook} {webhook:?}").contains("s3cret"));
        let refused = Webhook::new("http://u:s3cret@h/s3cret").unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("s3cret"));
    }
}
