//! Redirects: where an answer leads, and what may follow it there.

use std::fmt;

use ::http::header::{CONTENT_TYPE, HOST, LOCATION};
use ::http::uri::PathAndQuery;
use ::http::{Method, StatusCode, response};
use bytes::Bytes;
#[cfg(feature = "tls")]
use heartbeat_http::TlsOptions;

use crate::broken::Broken;
use crate::network::Denied;
use crate::request::{HttpRequest, Scheme};
#[cfg(feature = "tls")]
use crate::secure::Secure;
use crate::target::Target;

/// What a probe needs to follow redirects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Redirects {
    /// How many it follows.
    pub(crate) most: u8,
    /// The system's roots, for another host; `None` where the system has none.
    #[cfg(feature = "tls")]
    secure: Option<Secure>,
}

impl Redirects {
    pub(crate) fn new(most: u8) -> Self {
        Self {
            most,
            #[cfg(feature = "tls")]
            secure: Secure::new(&TlsOptions::default(), Some(crate::request::ALPN)).ok(),
        }
    }

    /// How another target speaks this scheme.
    fn secure(&self, target: &mut Target, scheme: Scheme) -> Result<(), NotFollowed> {
        if scheme == Scheme::Http {
            return Ok(());
        }
        #[cfg(feature = "tls")]
        if let Some(secure) = &self.secure {
            target.secure = Some(secure.clone());
            return Ok(());
        }
        let _ = target;
        Err(NotFollowed::NoRoots)
    }
}

/// A redirect that may be followed; one that offers a choice may not.
pub(crate) const fn is_followed(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// One request on the way to the answer that decides.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) target: Target,
    pub(crate) request: HttpRequest,
    /// What was asked so far, this request included.
    asked: Vec<(Method, String)>,
}

impl Hop {
    /// The request of the probe itself.
    pub(crate) fn first(target: &Target, request: &HttpRequest) -> Self {
        let asked = vec![(request.method.clone(), request.url(target))];
        Self { target: target.clone(), request: request.clone(), asked }
    }

    /// The request to which an answer leads, or why it is not followed.
    pub(crate) fn next(&self, head: &response::Parts, redirects: &Redirects) -> Result<Self, NotFollowed> {
        if self.asked.len() > usize::from(redirects.most) {
            return Err(NotFollowed::TooMany { most: redirects.most });
        }
        let location = head.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let (target, request) = self.led(head.status, location.ok_or(NotFollowed::NoUrl)?, redirects)?;
        let step = (request.method.clone(), request.url(&target));
        if self.asked.contains(&step) {
            return Err(NotFollowed::Circle);
        }
        let asked = self.asked.iter().cloned().chain([step]).collect();
        Ok(Self { target, request, asked })
    }

    /// A failure behind a redirect names its URL.
    pub(crate) fn blamed(&self, mut broken: Broken) -> Broken {
        if let [_, .., (_, url)] = &*self.asked {
            broken.detail = format!("at {}: {}", shown_location(url), broken.detail);
        }
        broken
    }

    fn led(
        &self,
        status: StatusCode,
        location: &str,
        redirects: &Redirects,
    ) -> Result<(Target, HttpRequest), NotFollowed> {
        let from = &self.request;
        let method = method(&from.method, status);
        let keeps_body = method == from.method && !from.body.is_empty();
        let (target, mut request) = match place(location, from)? {
            Place::Here { path } => (self.target.clone(), from.to(path)),
            Place::There { url } if !keeps_body => {
                let (mut target, request) = HttpRequest::get(&url).map_err(|_| NotFollowed::NoUrl)?;
                self.target.lead_to(&mut target).map_err(NotFollowed::Denied)?;
                redirects.secure(&mut target, request.scheme)?;
                (target, request)
            }
            Place::There { .. } => return Err(NotFollowed::Body),
        };
        if !keeps_body {
            request.body = Bytes::new();
            request.headers.remove(CONTENT_TYPE);
        }
        request.method = method;
        Ok((target, request.render()))
    }
}

/// Why a redirect is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotFollowed {
    TooMany { most: u8 },
    Circle,
    NoUrl,
    Scheme { scheme: String },
    Unencrypted,
    Body,
    Denied(Denied),
    NoRoots,
}

impl fmt::Display for NotFollowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { most } => write!(f, "`redirects` permits {most}"),
            Self::Circle => f.write_str("that was asked before"),
            Self::NoUrl => f.write_str("it is not the URL of a server"),
            Self::Scheme { scheme } => write!(f, "{scheme}: is not HTTP"),
            Self::Unencrypted => f.write_str("it leads from HTTPS to HTTP"),
            Self::Body => f.write_str("it leads elsewhere, and the body stays with its host"),
            Self::Denied(denied) => denied.fmt(f),
            Self::NoRoots => f.write_str("it leads to HTTPS, for which there are no root certificates"),
        }
    }
}

/// Where a location lies.
enum Place {
    /// On the server that sent it.
    Here {
        path: String,
    },
    There {
        url: String,
    },
}

/// Resolves the location in an answer to `from` (RFC 3986).
fn place(location: &str, from: &HttpRequest) -> Result<Place, NotFollowed> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, rest) = match location.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => {
            let unknown = || NotFollowed::Scheme { scheme: scheme.to_owned() };
            (Scheme::parse(scheme).ok_or_else(unknown)?, rest)
        }
        _ => (from.scheme, location),
    };
    let Some(rest) = rest.strip_prefix("//") else {
        return if rest.len() == location.len() {
            here(merged(rest, &from.path))
        } else {
            Err(NotFollowed::NoUrl)
        };
    };
    if (from.scheme, scheme) == (Scheme::Https, Scheme::Http) {
        return Err(NotFollowed::Unencrypted);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = |authority: &str| {
        // A server must not lead to a Unix socket.
        let target = Target::parse(authority, Some(scheme.port())).filter(Target::is_in_a_network)?;
        Some(target.endpoint().host_header(scheme.port()).to_ascii_lowercase())
    };
    let there = host(authority).ok_or(NotFollowed::NoUrl)?;
    let own = from.headers.get(HOST).and_then(|own| own.to_str().ok()).and_then(host);
    if scheme == from.scheme && own.as_ref() == Some(&there) {
        return here(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") });
    }
    Ok(Place::There { url: format!("{}://{authority}{path}", scheme.as_str()) })
}

fn here(path: String) -> Result<Place, NotFollowed> {
    match path.parse::<PathAndQuery>() {
        Ok(_) => Ok(Place::Here { path }),
        Err(_) => Err(NotFollowed::NoUrl),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// A reference without a host, seen from `base`.
fn merged(reference: &str, base: &str) -> String {
    let (base_path, _) = base.split_once('?').unwrap_or((base, ""));
    if reference.is_empty() {
        return base.to_owned();
    }
    if reference.starts_with('?') {
        return format!("{base_path}{reference}");
    }
    let (path, query) = reference.split_at(reference.find('?').unwrap_or(reference.len()));
    let whole = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{}{path}", &base_path[..=base_path.rfind('/').unwrap_or(0)]),
    };
    let mut kept: Vec<&str> = Vec::new();
    for part in whole.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let is_directory = [".", ".."].iter().any(|end| whole.rsplit('/').next() == Some(*end));
    let slash = if is_directory && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}{query}", kept.join("/"))
}

/// The method of the next request, as browsers choose it.
fn method(asked: &Method, status: StatusCode) -> Method {
    match status {
        StatusCode::SEE_OTHER if asked != Method::HEAD => Method::GET,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if asked == Method::POST => Method::GET,
        _ => asked.clone(),
    }
}

/// A location without the parts that may hold a secret: its user, its query, its fragment.
pub(crate) fn shown_location(location: &str) -> String {
    let end = location.find(['?', '#']).unwrap_or(location.len());
    let (shown, hidden) = location.split_at(end);
    let ellipsis = match hidden.chars().next() {
        Some('?') => "?(hidden)",
        Some(_) => "#(hidden)",
        None => "",
    };
    let Some((scheme, rest)) = shown.split_once("//") else { return format!("{shown}{ellipsis}") };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}//{host}{path}{ellipsis}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_shown_without_its_user_query_and_fragment() {
        for (location, shown) in [
            ("http://elsewhere/", "http://elsewhere/"),
            ("/login/?next=/&token=canary", "/login/?(hidden)"),
            ("/login/#token=canary?x", "/login/#(hidden)"),
            ("https://ada:canary@elsewhere:8443/@b?token=canary", "https://elsewhere:8443/@b?(hidden)"),
            ("//ada:c@nary@elsewhere", "//elsewhere"),
            ("//elsewhere?to=http://ada:canary@b/", "//elsewhere?(hidden)"),
        ] {
            assert_eq!(shown_location(location), shown);
        }
    }

    #[test]
    fn a_location_is_resolved_as_a_browser_does_it() {
        let (_, from) = HttpRequest::get("http://shop.test:8001/a/b?c=d").unwrap();
        let led = |location: &str| match place(location, &from) {
            Ok(Place::Here { path }) => path,
            Ok(Place::There { url }) => url,
            Err(why) => format!("!{why}"),
        };
        for (location, there) in [
            ("/login/?next=/", "/login/?next=/"),
            ("/a#b", "/a"),
            ("", "/a/b?c=d"),
            ("?x", "/a/b?x"),
            ("c", "/a/c"),
            ("./c/", "/a/c/"),
            ("../c", "/c"),
            ("../../..", "/"),
            ("c/..", "/a/"),
            ("c:d", "!c: is not HTTP"),
            ("//shop.test:8001/x", "/x"),
            ("http://SHOP.test:8001", "/"),
            ("HTTP://shop.test:8001?x", "/?x"),
            ("http://shop.test/", "http://shop.test/"),
            ("https://shop.test:8001/", "https://shop.test:8001/"),
            ("//other/x?y", "http://other/x?y"),
            ("ftp://shop.test/", "!ftp: is not HTTP"),
            ("javascript:alert(1)", "!javascript: is not HTTP"),
            ("http:/x", "!it is not the URL of a server"),
            ("http://", "!it is not the URL of a server"),
            ("http://ada@shop.test:8001/", "!it is not the URL of a server"),
            ("http://unix:/run/docker.sock:/", "!it is not the URL of a server"),
            ("/a b", "!it is not the URL of a server"),
        ] {
            assert_eq!(led(location), there, "{location}");
        }
        let (_, from) = HttpRequest::get("https://shop.test/").unwrap();
        let why = place("http://shop.test/", &from).err();
        assert_eq!(why, Some(NotFollowed::Unencrypted));
    }

    #[test]
    fn a_method_changes_as_in_a_browser() {
        let led = |asked: Method, status: u16| method(&asked, StatusCode::from_u16(status).unwrap());
        assert_eq!((led(Method::POST, 302), led(Method::POST, 307)), (Method::GET, Method::POST));
        assert_eq!((led(Method::PUT, 303), led(Method::HEAD, 303)), (Method::GET, Method::HEAD));
        assert_eq!((led(Method::PUT, 301), led(Method::GET, 308)), (Method::PUT, Method::GET));
    }
}
