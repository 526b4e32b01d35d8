//! The caller of a request, and its permissions.

use std::net::SocketAddr;

use heartbeat_http::TlsServer;
use http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Version};
use tokio::sync::watch;

use crate::answers::answer::values;
use crate::answers::problem::ApiError;
use crate::requests::role::Role;
use crate::requests::rule::{Rule, Verbs};
use crate::requests::token::Token;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Ports of an authority that names none, by HTTP and by HTTPS.
const DEFAULT_PORTS: [u16; 2] = [80, 443];
/// The scheme of RFC 6750 and the blank behind it.
const BEARER: &[u8] = b"Bearer ";

/// What the configuration allows callers besides reading.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Members of this group may operate realms over the Unix socket.
    pub socket_group: Option<u32>,
    /// Names in the `Host` header, in lower case, that mean this server besides its own address.
    pub hosts: Vec<String>,
    /// Requests over TCP carry this token; without one, TCP is read-only.
    pub token: Option<Token>,
    /// The certificate of the TCP listener, which a reload may renew; without one, it speaks plain HTTP. A client that
    /// proves a certificate of its own may do what the token permits.
    pub tls: Option<watch::Receiver<TlsServer>>,
}

/// One connection's caller.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// Connected on the Unix socket; `uid` is absent when the kernel does not report it.
    Unix { role: Role, uid: Option<u32> },
    /// Connected on the TCP listener at `listen`.
    Tcp { listen: SocketAddr },
    /// Connected on the TCP listener, with the token or with a certificate that the configuration accepts.
    Proven { listen: SocketAddr },
}

impl Caller {
    /// The user of the caller's process, where it is known.
    pub(crate) fn uid(&self) -> Option<u32> {
        match self {
            Self::Unix { uid, .. } => *uid,
            Self::Tcp { .. } | Self::Proven { .. } => None,
        }
    }

    /// The caller's documents leave out arguments of commands and queries of URLs, which may hold secrets.
    pub(crate) fn is_public(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }

    /// Where a token is configured, a request over TCP without it is refused.
    pub(crate) fn authenticated(self, access: &Access, headers: &HeaderMap) -> Result<Self, ApiError> {
        let (Self::Tcp { listen }, Some(token)) = (self, &access.token) else { return Ok(self) };
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let bearer = given.next().and_then(|value| {
            let (scheme, given) = value.as_bytes().split_at_checked(BEARER.len())?;
            scheme.eq_ignore_ascii_case(BEARER).then(|| given.trim_ascii())
        });
        if given.next().is_none() && bearer.is_some_and(|bearer| token.is(bearer)) {
            return Ok(Self::Proven { listen });
        }
        let detail = "send the token of heartbeatd's `token_file` as `Authorization: Bearer TOKEN`, or use the Unix socket";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, "no-token", detail).challenge())
    }

    /// Refuses a request that was meant for another server.
    pub(crate) fn check_host(&self, access: &Access, parts: &Parts) -> Result<(), ApiError> {
        let mut hosts = parts.headers.get_all(HOST).iter();
        let (host, another) = (hosts.next(), hosts.next());
        // RFC 9112, section 3.2.
        if another.is_some() || (host.is_none() && parts.version >= Version::HTTP_11) {
            return Err(ApiError::bad("a request has one `Host` header, which names whom it is for"));
        }
        let (Self::Tcp { listen } | Self::Proven { listen }) = self else { return Ok(()) };
        let meant = |authority: &str| is_ours(authority, *listen) || is_named(authority, &access.hosts);
        let by_target = parts.uri.authority().is_none_or(|authority| meant(authority.as_str()));
        // HTTP/1.0 has no Host, and no browser speaks it: load balancers do.
        let by_header = host.is_none_or(|host| host.to_str().is_ok_and(meant));
        if by_target && by_header {
            return Ok(());
        }
        let detail = format!(
            "this is heartbeatd at {listen}; ask it by that address or as localhost:{}, or add the name to `hosts` in [heartbeat]",
            listen.port()
        );
        Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail))
    }

    /// Refuses a route that this listener does not serve, whatever the method is.
    pub(crate) fn check_listener(&self, rule: &Rule) -> Result<(), ApiError> {
        if !matches!(self, Self::Tcp { .. }) || rule.on_tcp {
            return Ok(());
        }
        let detail = if rule.takes == Role::Read {
            format!(
                "{} is served on the Unix socket only, since the output of realms may hold secrets",
                rule.name
            )
        } else {
            "commands are accepted on the Unix socket only; this address is read-only".to_owned()
        };
        Err(ApiError::new(StatusCode::FORBIDDEN, "not-on-this-door", detail))
    }

    /// Refuses a caller without the permission of the route, and a mutation that a foreign page sent through a browser.
    pub(crate) fn check_permission(&self, rule: &Rule, headers: &HeaderMap) -> Result<(), ApiError> {
        if rule.verbs != Verbs::Get && is_foreign(headers) {
            let detail =
                "a page of another origin may not change anything here; send the request without a browser";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "cross-site", detail));
        }
        let role = match self {
            Self::Unix { role, .. } => *role,
            Self::Tcp { .. } => Role::Read,
            Self::Proven { .. } => Role::Admin,
        };
        if role >= rule.takes {
            return Ok(());
        }
        let who = if rule.takes == Role::Operate {
            "root, the user that heartbeatd runs as, or a member of `socket_group`"
        } else {
            "root or the user that heartbeatd runs as"
        };
        let may = if role == Role::Operate { "start, stop and reload" } else { "read" };
        let detail = format!("{} takes {who}; you may {may} here", rule.name);
        Err(ApiError::new(StatusCode::FORBIDDEN, "not-permitted", detail))
    }
}

/// A name that the configuration lists, at any port: a proxy may listen elsewhere.
fn is_named(authority: &str, hosts: &[String]) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    !authority.as_str().contains('@') && hosts.iter().any(|host| authority.host().eq_ignore_ascii_case(host))
}

fn is_ours(authority: &str, listen: SocketAddr) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let is_port = match authority.port_u16() {
        Some(port) => port == listen.port(),
        None => DEFAULT_PORTS.contains(&listen.port()),
    };
    if authority.as_str().contains('@') || !is_port {
        return false;
    }
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || host == "127.0.0.1"
        || host == "[::1]"
        // A listener of all addresses has each of them; a page that a browser was led to has a name.
        || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip == listen.ip() || listen.ip().is_unspecified())
}

/// The browser says that the request comes from another origin or another site.
fn is_foreign(headers: &HeaderMap) -> bool {
    let host = values(headers, HOST).next().unwrap_or_default();
    let other_origin = headers.get_all(ORIGIN).iter().any(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        host.is_empty()
            || !["http://", "https://"]
                .iter()
                .filter_map(|scheme| origin.strip_prefix(scheme))
                .any(|origin| origin.eq_ignore_ascii_case(host))
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
        let all = "0.0.0.0:443".parse().unwrap();
        assert!(is_ours("10.1.2.3", all) && is_ours("[fd00::1]:443", all) && !is_ours("evil.example", all));
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
    fn each_role_has_the_routes_of_those_before_it() {
        let routes = [
            ("/api/status/", Role::Read),
            ("/api/logs/api/", Role::Read),
            ("/api/plan/", Role::Operate),
            ("/api/reload/", Role::Operate),
            ("/api/realms/api/stop/", Role::Operate),
            ("/api/realms/api/", Role::Admin),
            ("/api/daemon/leave/", Role::Admin),
            ("/api/daemon/upgrade/", Role::Admin),
        ];
        for (path, takes) in routes {
            let rule = crate::requests::route::Route::of(path).unwrap().rule;
            for role in [Role::Read, Role::Operate, Role::Admin] {
                let refused =
                    Caller::Unix { role, uid: None }.check_permission(rule, &HeaderMap::new()).err();
                let status = refused.map_or(200, |refusal| refusal.into_answer(true).status().as_u16());
                assert_eq!(status, if role >= takes { 200 } else { 403 }, "{path} {role:?}");
            }
        }
    }

    #[test]
    fn a_token_is_the_bearer_alone() {
        let token = Token::new("0123456789abcdef0123456789abcdef\n").unwrap();
        let access = Access { token: Some(token), ..Access::default() };
        let caller = Caller::Tcp { listen: "127.0.0.1:4327".parse().unwrap() };
        let status = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            });
            caller.authenticated(&access, &headers).map_or_else(
                |refusal| refusal.into_answer(true).status().as_u16(),
                |caller| if caller.is_public() { 0 } else { 200 },
            )
        };
        for good in ["Bearer 0123456789abcdef0123456789abcdef", "bearer  0123456789abcdef0123456789abcdef "] {
            assert_eq!(status(&[good]), 200, "{good}");
        }
        let right = "Bearer 0123456789abcdef0123456789abcdef";
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer 0123",
            "Basic 0123456789abcdef0123456789abcdef",
            &format!("{right}0"),
        ] {
            assert_eq!(status(&[bad]), 401, "{bad}");
        }
        assert_eq!((status(&[]), status(&[right, right])), (401, 401));
    }

    #[test]
    fn a_listed_name_means_this_server_at_any_port() {
        let hosts = ["monitor.example.org".to_owned()];
        for ours in ["monitor.example.org", "Monitor.Example.org:8443"] {
            assert!(is_named(ours, &hosts), "{ours}");
        }
        for other in ["evil.example", "monitor.example.org.evil.example", "a@monitor.example.org", ""] {
            assert!(!is_named(other, &hosts), "{other}");
        }
    }
}
