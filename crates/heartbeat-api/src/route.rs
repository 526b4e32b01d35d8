//! The closed list of routes of the contract. A route names the role that it takes; there is no other way in.

use heartbeat_status::wire::Action;

use crate::access::Role;
use crate::query::decoded;
use crate::suggestions;

/// The methods of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbs {
    /// GET, and HEAD as GET.
    Get,
    /// POST, with a body.
    Post,
    /// PUT and DELETE.
    PutDelete,
}

impl Verbs {
    pub(crate) fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::PutDelete => "PUT, DELETE",
        }
    }

    pub(crate) fn take(self, method: &http::Method) -> bool {
        self.allow().split(", ").any(|verb| verb == method.as_str())
    }
}

/// What is fixed about a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// As the contract writes it.
    pub(crate) name: &'static str,
    pub(crate) verbs: Verbs,
    /// The lowest role that it takes.
    pub(crate) takes: Role,
    /// Served on loopback TCP without a token.
    pub(crate) on_tcp: bool,
    /// Otherwise it answers 501.
    pub(crate) built: bool,
    /// Names its query may have.
    pub(crate) query: &'static [&'static str],
    /// Any other name is passed over: monitors add numbers of their own against caches.
    pub(crate) any_query: bool,
}

/// A route of the contract; what is in braces there is in the variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Page,
    Livez,
    Readyz,
    Health,
    Status,
    EcosystemHealth,
    Realm(String),
    Graph,
    Act(String, Action),
    Register(String),
    Events,
    Incidents,
    Incident(String),
    Acknowledge(String),
    History(String),
    Strips,
    Logs(String),
    Beat,
    Reload,
    Leave,
    Upgrade,
    Config,
    Plan,
    Metrics,
    OpenApi,
}

/// Every path of the contract, for "did you mean".
const PATHS: &[&str] = &[
    "/",
    "/livez",
    "/readyz",
    "/metrics",
    "/api/status/",
    "/api/status/{realm}/",
    "/api/realms/ecosystem-health/",
    "/api/realms/{realm}/",
    "/api/realms/{realm}/start/",
    "/api/realms/{realm}/stop/",
    "/api/realms/{realm}/restart/",
    "/api/realms/{realm}/pause/",
    "/api/realms/{realm}/resume/",
    "/api/realms/{realm}/reset/",
    "/api/realms/{realm}/signal/",
    "/api/health/",
    "/api/events/",
    "/api/incidents/",
    "/api/incidents/{id}/",
    "/api/incidents/{id}/ack/",
    "/api/history/",
    "/api/history/{realm}/",
    "/api/graph/",
    "/api/logs/{realm}/",
    "/api/beat/{realm}/",
    "/api/reload/",
    "/api/daemon/leave/",
    "/api/daemon/upgrade/",
    "/api/config/",
    "/api/plan/",
    "/api/openapi.json",
];

impl Route {
    /// The route of a path, with or without its trailing slash; `None` when the contract knows none.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let segments = segments(path);
        let name = |segment: &str| Some(decoded(segment).into_owned()).filter(|name| !name.is_empty());
        Some(match *segments.as_slice() {
            [] => Self::Page,
            ["livez"] => Self::Livez,
            ["readyz"] => Self::Readyz,
            ["metrics"] => Self::Metrics,
            ["api", "health"] => Self::Health,
            ["api", "status"] => Self::Status,
            ["api", "status", realm] => Self::Realm(name(realm)?),
            ["api", "realms", "ecosystem-health"] => Self::EcosystemHealth,
            ["api", "realms", realm] => Self::Register(name(realm)?),
            ["api", "realms", realm, action] => Self::Act(name(realm)?, action.parse().ok()?),
            ["api", "graph"] => Self::Graph,
            ["api", "events"] => Self::Events,
            ["api", "incidents"] => Self::Incidents,
            ["api", "incidents", id] => Self::Incident(name(id)?),
            ["api", "incidents", id, "ack"] => Self::Acknowledge(name(id)?),
            ["api", "history"] => Self::Strips,
            ["api", "history", realm] => Self::History(name(realm)?),
            ["api", "logs", realm] => Self::Logs(name(realm)?),
            ["api", "beat", _] | ["api", "beat", _, _] => Self::Beat,
            ["api", "reload"] => Self::Reload,
            ["api", "daemon", "leave"] => Self::Leave,
            ["api", "daemon", "upgrade"] => Self::Upgrade,
            ["api", "config"] => Self::Config,
            ["api", "plan"] => Self::Plan,
            ["api", "openapi.json"] => Self::OpenApi,
            _ => return None,
        })
    }

    /// What is fixed about it.
    pub(crate) fn rule(&self) -> Rule {
        match self {
            Self::Page => read("/"),
            Self::Livez => health("/livez"),
            Self::Readyz => health("/readyz"),
            Self::Health => health("/api/health/"),
            Self::Status => status("/api/status/"),
            Self::EcosystemHealth => status("/api/realms/ecosystem-health/"),
            Self::Realm(_) => Rule { query: &["refresh"], ..read("/api/status/{realm}/") },
            Self::Graph => Rule { query: &["format"], ..read("/api/graph/") },
            Self::Act(_, Action::Start) => operate("/api/realms/{realm}/start/"),
            Self::Act(_, Action::Stop) => operate("/api/realms/{realm}/stop/"),
            Self::Act(_, Action::Restart) => operate("/api/realms/{realm}/restart/"),
            Self::Act(_, Action::Pause) => operate("/api/realms/{realm}/pause/"),
            Self::Act(_, Action::Resume) => operate("/api/realms/{realm}/resume/"),
            Self::Act(_, Action::Reset) => operate("/api/realms/{realm}/reset/"),
            Self::Act(_, Action::Signal) => operate("/api/realms/{realm}/signal/"),
            Self::Register(_) => {
                Rule { verbs: Verbs::PutDelete, query: &["dry_run"], ..administer("/api/realms/{realm}/") }
            }
            Self::Events => Rule { query: &["facts", "past", "follow"], ..read("/api/events/") },
            Self::Incidents => Rule { query: &["open", "limit", "after"], ..read("/api/incidents/") },
            Self::Incident(_) => read("/api/incidents/{id}/"),
            Self::Acknowledge(_) => operate("/api/incidents/{id}/ack/"),
            Self::History(_) => {
                Rule { query: &["from", "to", "step", "probe"], ..read("/api/history/{realm}/") }
            }
            Self::Strips => Rule { query: &["window", "bars"], ..read("/api/history/") },
            Self::Logs(_) => {
                let query = &["lines", "follow", "previous"];
                Rule { on_tcp: false, query, ..read("/api/logs/{realm}/") }
            }
            Self::Beat => later(operate("/api/beat/{realm}/")),
            Self::Reload => operate("/api/reload/"),
            Self::Leave => administer("/api/daemon/leave/"),
            Self::Upgrade => administer("/api/daemon/upgrade/"),
            Self::Config => later(Rule { on_tcp: false, ..read("/api/config/") }),
            Self::Plan => operate("/api/plan/"),
            Self::Metrics => later(read("/metrics")),
            Self::OpenApi => later(read("/api/openapi.json")),
        }
    }
}

const fn read(name: &'static str) -> Rule {
    Rule {
        name,
        verbs: Verbs::Get,
        takes: Role::Read,
        on_tcp: true,
        built: true,
        query: &[],
        any_query: false,
    }
}

const fn health(name: &'static str) -> Rule {
    Rule { any_query: true, ..read(name) }
}

const fn status(name: &'static str) -> Rule {
    Rule { query: &["refresh", "gate", "fields", "since", "wait"], ..read(name) }
}

const fn operate(name: &'static str) -> Rule {
    Rule { verbs: Verbs::Post, takes: Role::Operate, on_tcp: false, ..read(name) }
}

const fn administer(name: &'static str) -> Rule {
    Rule { takes: Role::Admin, ..operate(name) }
}

const fn later(rule: Rule) -> Rule {
    Rule { built: false, ..rule }
}

fn segments(path: &str) -> Vec<&str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() { Vec::new() } else { path.split('/').collect() }
}

/// Paths of the contract near to one that is not of it, with its own words where the contract has braces.
pub(crate) fn nearest_paths(path: &str) -> Vec<String> {
    let asked = segments(path);
    let filled: Vec<String> = PATHS
        .iter()
        .map(|known| {
            let mut filled = String::from("/");
            for (at, segment) in segments(known).iter().enumerate() {
                let own = asked.get(at).filter(|_| segment.starts_with('{'));
                filled.push_str(own.unwrap_or(segment));
                filled.push('/');
            }
            if known.ends_with('/') || filled == "/" {
                filled
            } else {
                filled.trim_end_matches('/').to_owned()
            }
        })
        .collect();
    suggestions::nearest(&format!("/{}/", asked.join("/")), filled.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_contract_is_a_route_with_and_without_its_slash() {
        for path in PATHS {
            let route = Route::of(path).unwrap_or_else(|| panic!("{path}"));
            let bare = path.strip_suffix('/').unwrap_or(path);
            assert_eq!(Route::of(bare).as_ref(), Some(&route), "{bare}");
            assert_eq!(Route::of(&format!("{bare}/")).as_ref(), Some(&route), "{bare}/");
        }
    }

    #[test]
    fn who_mutates_is_never_on_tcp_and_never_a_get() {
        for path in PATHS {
            let rule = Route::of(path).unwrap().rule();
            assert_eq!(rule.takes > Role::Read, rule.verbs != Verbs::Get, "{path}");
            assert!(!(rule.on_tcp && rule.takes > Role::Read), "{path}");
        }
    }

    #[test]
    fn near_paths_keep_the_words_of_the_caller() {
        assert_eq!(nearest_paths("/api/statsu"), ["/api/status/"]);
        assert!(nearest_paths("/api/realms/db/strat").contains(&"/api/realms/db/start/".to_owned()));
        assert!(nearest_paths("/favicon.ico").is_empty());
        assert_eq!(Route::of("/api//status"), None);
        assert_eq!(Route::of("/api/status//"), None);
    }
}
