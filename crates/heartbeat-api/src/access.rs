//! Who is at the door, and what they may do.

use std::net::SocketAddr;

use http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Version};

use crate::answer::values;
use crate::problem::Trouble;
use crate::route::{Permission, Rule, Verbs};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Port of an authority that names none.
const HTTP_PORT: u16 = 80;

/// What a caller on the Unix socket may do, by the credentials of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Whoever the mode of the socket lets in.
    Read,
    /// Root, and the user heartbeatd runs as.
    Admin,
}

impl Role {
    /// The role of a peer with user id `uid`, beside a daemon that runs as `own`.
    pub(crate) fn of(uid: u32, own: u32) -> Self {
        if uid == 0 || uid == own { Self::Admin } else { Self::Read }
    }

    fn may(self, permission: Permission) -> bool {
        permission == Permission::Read || self == Self::Admin
    }
}

/// One connection's caller.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// On the Unix socket; `uid` is absent when the kernel would not say.
    Unix { role: Role, uid: Option<u32> },
    /// On the TCP door that listens at `listen`.
    Tcp { listen: SocketAddr },
}

impl Caller {
    /// Whose process it is, where that is known.
    pub(crate) fn uid(&self) -> Option<u32> {
        match self {
            Self::Unix { uid, .. } => *uid,
            Self::Tcp { .. } => None,
        }
    }

    /// What this caller sees leaves out arguments of commands and queries of URLs, which may hold secrets.
    pub(crate) fn is_public(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }

    /// Refuses a request that did not mean this server.
    pub(crate) fn check_host(&self, parts: &Parts) -> Result<(), Trouble> {
        let mut hosts = parts.headers.get_all(HOST).iter();
        let (host, another) = (hosts.next(), hosts.next());
        // RFC 9112, section 3.2.
        if another.is_some() || (host.is_none() && parts.version >= Version::HTTP_11) {
            return Err(Trouble::bad("a request has one `Host` header, which names whom it is for"));
        }
        let Self::Tcp { listen } = self else { return Ok(()) };
        let meant = |authority: &str| is_ours(authority, *listen);
        let by_target = parts.uri.authority().is_none_or(|authority| meant(authority.as_str()));
        // HTTP/1.0 has no Host, and no browser speaks it: load balancers do.
        let by_header = host.is_none_or(|host| host.to_str().is_ok_and(meant));
        if by_target && by_header {
            return Ok(());
        }
        let detail = format!(
            "this is heartbeatd at {listen}; ask it by that address or as localhost:{}",
            listen.port()
        );
        Err(Trouble::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail))
    }

    /// Refuses what this door does not serve. Before the method is looked at: it is the same for all of them.
    pub(crate) fn check_door(&self, rule: &Rule) -> Result<(), Trouble> {
        if matches!(self, Self::Unix { .. }) || rule.on_tcp {
            return Ok(());
        }
        let detail = format!("{} is served on the Unix socket only; this address is read-only", rule.name);
        Err(Trouble::new(StatusCode::FORBIDDEN, "not-on-this-door", detail))
    }

    /// Refuses a caller without the permission of the route, and a mutation a foreign page sent through a browser.
    pub(crate) fn check_permission(&self, rule: &Rule, headers: &HeaderMap) -> Result<(), Trouble> {
        if rule.verbs != Verbs::Get && is_foreign(headers) {
            let detail =
                "a page of another origin may not change anything here; send the request without a browser";
            return Err(Trouble::new(StatusCode::FORBIDDEN, "cross-site", detail));
        }
        let allowed = match self {
            Self::Unix { role, .. } => role.may(rule.permission),
            Self::Tcp { .. } => rule.permission == Permission::Read,
        };
        if allowed {
            return Ok(());
        }
        let detail = format!(
            "{} takes root or the user heartbeatd runs as; for all others this socket is read-only",
            rule.name
        );
        Err(Trouble::new(StatusCode::FORBIDDEN, "not-permitted", detail))
    }
}

/// Refuses a body that is not a JSON object; none at all is an empty one.
pub(crate) fn check_object(body: &[u8]) -> Result<(), Trouble> {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None | Some(b'{') => Ok(()),
        Some(_) => Err(Trouble::bad("the body is a JSON object; `{}` will do")),
    }
}

/// Refuses a body that does not say it is JSON: a form a browser sends by itself never does.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), Trouble> {
    let mut types = values(headers, CONTENT_TYPE);
    let essence = types.next().and_then(|value| value.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && types.next().is_none()
    {
        return Ok(());
    }
    let detail = "send the body with `Content-Type: application/json`; `{}` will do";
    Err(Trouble::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", detail))
}

fn is_ours(authority: &str, listen: SocketAddr) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    if authority.as_str().contains('@') || authority.port_u16().unwrap_or(HTTP_PORT) != listen.port() {
        return false;
    }
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || host == "127.0.0.1"
        || host == "[::1]"
        || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip == listen.ip())
}

/// A browser says it comes from somewhere else: another origin, or another site.
fn is_foreign(headers: &HeaderMap) -> bool {
    let host = values(headers, HOST).next().unwrap_or_default();
    let other_origin = headers.get_all(ORIGIN).iter().any(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        host.is_empty()
            || !origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    });
    let other_site = headers
        .get_all(SEC_FETCH_SITE)
        .iter()
        .any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    other_origin || other_site
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let listen: SocketAddr = "127.0.0.5:4327".parse().unwrap();
        for ours in ["localhost:4327", "LOCALHOST:4327", "127.0.0.1:4327", "[::1]:4327", "127.0.0.5:4327"] {
            assert!(is_ours(ours, listen), "{ours}");
        }
        let others = [
            "localhost",
            "localhost:80",
            "evil.example:4327",
            "127.0.0.6:4327",
            "a@localhost:4327",
            "",
            "localhost.:4327",
        ];
        for other in others {
            assert!(!is_ours(other, listen), "{other}");
        }
        assert!(is_ours("localhost", "127.0.0.1:80".parse().unwrap()));
    }

    #[test]
    fn foreign_pages_are_told_by_their_headers() {
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            is_foreign(&headers)
        };
        assert!(!foreign(&[("host", "localhost:1")]));
        assert!(!foreign(&[("host", "localhost:1"), ("origin", "http://localhost:1")]));
        assert!(!foreign(&[("host", "localhost:1"), ("sec-fetch-site", "same-origin")]));
        assert!(foreign(&[("host", "localhost:1"), ("origin", "http://localhost:2")]));
        assert!(foreign(&[("host", "localhost:1"), ("origin", "null")]));
        assert!(foreign(&[("origin", "http://")]));
        assert!(foreign(&[("host", "localhost:1"), ("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn root_and_the_own_user_are_admins() {
        assert_eq!(Role::of(0, 1000), Role::Admin);
        assert_eq!(Role::of(1000, 1000), Role::Admin);
        assert_eq!(Role::of(1001, 1000), Role::Read);
        let stop = crate::route::Route::of("/api/realms/api/stop/").unwrap().rule();
        let status = crate::route::Route::of("/api/status/").unwrap().rule();
        let (admin, other) = (
            Caller::Unix { role: Role::Admin, uid: Some(0) },
            Caller::Unix { role: Role::Read, uid: Some(1001) },
        );
        let may = |caller: &Caller, rule: &Rule| {
            let refused = caller.check_permission(rule, &HeaderMap::new()).err();
            refused.map_or(200, |trouble| trouble.into_answer().status().as_u16())
        };
        assert_eq!((may(&admin, &stop), may(&admin, &status)), (200, 200));
        assert_eq!((may(&other, &stop), may(&other, &status)), (403, 200));
    }
}
