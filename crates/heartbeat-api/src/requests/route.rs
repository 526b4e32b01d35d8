//! The closed list of the contract's routes, each with the role that it requires.

use heartbeat_wire::Action;

use crate::requests::query::decoded;
use crate::requests::rule::{Rule, Verbs, administer, health, operate, read, status};
use crate::requests::suggestions;

/// The handler of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Page,
    Livez,
    Readyz,
    Health,
    Status,
    Realm,
    Graph,
    Act(Action),
    Mute,
    Unmute,
    Register,
    Events,
    Incidents,
    Incident,
    Acknowledge,
    Evidence,
    Notifications,
    TestReceiver,
    Metrics,
    History,
    Strips,
    Slo,
    Report,
    Logs,
    Reload,
    Leave,
    Upgrade,
    Plan,
    Beat,
}

/// Every route. Of two that match a path, the first one wins.
const ROUTES: &[(Endpoint, Rule)] = &[
    (Endpoint::Page, read("/")),
    (Endpoint::Livez, health("/livez")),
    (Endpoint::Readyz, health("/readyz")),
    (Endpoint::Health, health("/api/health/")),
    (Endpoint::Status, status("/api/status/")),
    (Endpoint::Realm, Rule { query: &["refresh", "transcripts"], ..read("/api/status/{realm}/") }),
    (Endpoint::Status, status("/api/realms/ecosystem-health/")),
    (
        Endpoint::Register,
        Rule { verbs: Verbs::PutDelete, query: &["dry_run"], ..administer("/api/realms/{realm}/") },
    ),
    (Endpoint::Act(Action::Start), operate("/api/realms/{realm}/start/")),
    (Endpoint::Act(Action::Stop), operate("/api/realms/{realm}/stop/")),
    (Endpoint::Act(Action::Restart), operate("/api/realms/{realm}/restart/")),
    (Endpoint::Act(Action::Pause), operate("/api/realms/{realm}/pause/")),
    (Endpoint::Act(Action::Resume), operate("/api/realms/{realm}/resume/")),
    (Endpoint::Act(Action::Reset), operate("/api/realms/{realm}/reset/")),
    (Endpoint::Act(Action::Signal), operate("/api/realms/{realm}/signal/")),
    (Endpoint::Mute, operate("/api/realms/{realm}/mute/")),
    (Endpoint::Unmute, operate("/api/realms/{realm}/unmute/")),
    (Endpoint::Events, Rule { query: &["facts", "past", "follow"], ..read("/api/events/") }),
    (Endpoint::Incidents, Rule { query: &["open", "limit", "after"], ..read("/api/incidents/") }),
    (Endpoint::Incident, read("/api/incidents/{id}/")),
    (Endpoint::Acknowledge, operate("/api/incidents/{id}/ack/")),
    (Endpoint::Evidence, Rule { on_tcp: false, ..read("/api/incidents/{id}/evidence/") }),
    (Endpoint::Notifications, Rule { on_tcp: false, ..read("/api/incidents/{id}/notifications/") }),
    (Endpoint::TestReceiver, operate("/api/notify/{receiver}/test/")),
    (Endpoint::Strips, Rule { query: &["window", "bars"], ..read("/api/history/") }),
    (Endpoint::History, Rule { query: &["from", "to", "step", "probe"], ..read("/api/history/{realm}/") }),
    (Endpoint::Slo, Rule { on_tcp: false, ..read("/api/slo/") }),
    (Endpoint::Report, Rule { on_tcp: false, query: &["month", "format"], ..read("/api/report/") }),
    (Endpoint::Metrics, read("/metrics")),
    (Endpoint::Graph, Rule { query: &["format"], ..read("/api/graph/") }),
    (
        Endpoint::Logs,
        Rule { on_tcp: false, query: &["lines", "follow", "previous"], ..read("/api/logs/{realm}/") },
    ),
    (Endpoint::Reload, operate("/api/reload/")),
    (Endpoint::Leave, administer("/api/daemon/leave/")),
    (Endpoint::Upgrade, administer("/api/daemon/upgrade/")),
    (Endpoint::Plan, operate("/api/plan/")),
    (Endpoint::Beat, Rule { query: &["run"], ..operate("/api/beat/{realm}/") }),
    (Endpoint::Beat, Rule { query: &["run"], ..operate("/api/beat/{realm}/{event}/") }),
];

/// Paths of the contract that this version does not serve: they answer 501.
const RESERVED: &[&str] = &["/api/config/", "/api/openapi.json"];

/// The route of a request.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    pub(crate) rule: &'static Rule,
    /// The realm or the incident that the path names; empty where the route has none.
    pub(crate) name: String,
    /// The event of a heartbeat.
    pub(crate) event: Option<String>,
}

impl Route {
    /// The route of a path, with or without its trailing slash; `None` when the contract knows none.
    pub(crate) fn of(path: &str) -> Option<Self> {
        ROUTES.iter().find_map(|(endpoint, rule)| {
            let mut names = names_in(rule.name, path)?.into_iter();
            let (name, event) = (names.next().unwrap_or_default(), names.next());
            Some(Self { endpoint: *endpoint, rule, name, event })
        })
    }
}

/// The path of the contract that `path` means, where this version does not serve it.
pub(crate) fn reserved(path: &str) -> Option<&'static str> {
    RESERVED.iter().copied().find(|known| names_in(known, path).is_some())
}

/// The names in the places of the braces of `known`; `None` when `path` does not match.
fn names_in(known: &str, path: &str) -> Option<Vec<String>> {
    let (mut known, mut asked) = (segments(known), segments(path));
    let mut names = Vec::new();
    loop {
        match (known.next(), asked.next()) {
            (None, None) => return Some(names),
            (Some(known), Some(asked)) if known.starts_with('{') && !asked.is_empty() => {
                names.push(decoded(asked).into_owned());
            }
            (Some(known), Some(asked)) if known == asked => {}
            _ => return None,
        }
    }
}

fn segments(path: &str) -> std::str::Split<'_, char> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

/// Paths of the contract that resemble an unknown one. The braces are filled with the words of the request.
pub(crate) fn nearest_paths(path: &str) -> Vec<String> {
    // `OPTIONS *` names the server, and no path of it.
    if !path.starts_with('/') {
        return Vec::new();
    }
    let asked: Vec<&str> = segments(path).collect();
    let filled: Vec<String> = ROUTES
        .iter()
        .map(|(_, rule)| rule.name)
        .chain(RESERVED.iter().copied())
        .map(|known| {
            let mut filled = String::from("/");
            for (at, segment) in segments(known).enumerate() {
                let own = asked.get(at).filter(|_| segment.starts_with('{'));
                filled.push_str(own.unwrap_or(&segment));
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
    use crate::requests::role::Role;

    /// The contract's list: the path, its methods, the role that it takes, and whether TCP serves it without a token.
    const CONTRACT: &[(&str, &str, Role, bool)] = &[
        ("/", "GET, HEAD", Role::Read, true),
        ("/livez", "GET, HEAD", Role::Read, true),
        ("/readyz", "GET, HEAD", Role::Read, true),
        ("/api/health/", "GET, HEAD", Role::Read, true),
        ("/api/status/", "GET, HEAD", Role::Read, true),
        ("/api/status/{realm}/", "GET, HEAD", Role::Read, true),
        ("/api/realms/ecosystem-health/", "GET, HEAD", Role::Read, true),
        ("/api/realms/{realm}/", "PUT, DELETE", Role::Admin, false),
        ("/api/realms/{realm}/start/", "POST", Role::Operate, false),
        ("/api/realms/{realm}/stop/", "POST", Role::Operate, false),
        ("/api/realms/{realm}/restart/", "POST", Role::Operate, false),
        ("/api/realms/{realm}/pause/", "POST", Role::Operate, false),
        ("/api/realms/{realm}/resume/", "POST", Role::Operate, false),
        ("/api/realms/{realm}/reset/", "POST", Role::Operate, false),
        ("/api/realms/{realm}/signal/", "POST", Role::Operate, false),
        ("/api/realms/{realm}/mute/", "POST", Role::Operate, false),
        ("/api/realms/{realm}/unmute/", "POST", Role::Operate, false),
        ("/api/events/", "GET, HEAD", Role::Read, true),
        ("/api/incidents/", "GET, HEAD", Role::Read, true),
        ("/api/incidents/{id}/", "GET, HEAD", Role::Read, true),
        ("/api/incidents/{id}/ack/", "POST", Role::Operate, false),
        ("/api/incidents/{id}/evidence/", "GET, HEAD", Role::Read, false),
        ("/api/incidents/{id}/notifications/", "GET, HEAD", Role::Read, false),
        ("/api/notify/{receiver}/test/", "POST", Role::Operate, false),
        ("/api/history/", "GET, HEAD", Role::Read, true),
        ("/api/history/{realm}/", "GET, HEAD", Role::Read, true),
        ("/api/slo/", "GET, HEAD", Role::Read, false),
        ("/api/report/", "GET, HEAD", Role::Read, false),
        ("/metrics", "GET, HEAD", Role::Read, true),
        ("/api/graph/", "GET, HEAD", Role::Read, true),
        ("/api/logs/{realm}/", "GET, HEAD", Role::Read, false),
        ("/api/reload/", "POST", Role::Operate, false),
        ("/api/daemon/leave/", "POST", Role::Admin, false),
        ("/api/daemon/upgrade/", "POST", Role::Admin, false),
        ("/api/plan/", "POST", Role::Operate, false),
        ("/api/beat/{realm}/", "POST", Role::Operate, false),
        ("/api/beat/{realm}/{event}/", "POST", Role::Operate, false),
    ];

    #[test]
    fn every_route_is_served_to_the_callers_that_the_contract_names() {
        let served: Vec<_> =
            ROUTES.iter().map(|(_, rule)| (rule.name, rule.verbs.allow(), rule.takes, rule.on_tcp)).collect();
        for row in &served {
            assert!(CONTRACT.contains(row), "the contract has no such row: {row:?}");
        }
        assert_eq!(served.len(), CONTRACT.len(), "a route is missing, or is there twice");
    }

    #[test]
    fn every_path_of_the_contract_is_a_route_with_and_without_its_slash() {
        for (endpoint, rule) in ROUTES {
            let bare = rule.name.strip_suffix('/').unwrap_or(rule.name);
            for path in [bare.to_owned(), format!("{bare}/")] {
                let route = Route::of(&path).unwrap_or_else(|| panic!("{path}"));
                assert_eq!((route.endpoint, route.rule.name), (*endpoint, rule.name), "{path}");
                assert_eq!(!route.name.is_empty(), rule.name.contains('{'), "{path}");
            }
        }
    }

    #[test]
    fn a_path_is_served_or_reserved_and_never_both() {
        for path in RESERVED {
            assert!(Route::of(path).is_none(), "{path}");
            assert_eq!(reserved(path.trim_end_matches('/')), Some(*path));
        }
        assert!(ROUTES.iter().all(|(_, rule)| reserved(rule.name).is_none()));
    }

    #[test]
    fn a_route_that_mutates_is_never_on_tcp_and_never_a_get() {
        for (_, rule) in ROUTES {
            assert_eq!(rule.takes > Role::Read, rule.verbs != Verbs::Get, "{}", rule.name);
            assert!(!(rule.on_tcp && rule.takes > Role::Read), "{}", rule.name);
        }
    }

    #[test]
    fn near_paths_keep_the_words_of_the_caller() {
        assert_eq!(nearest_paths("/api/statsu"), ["/api/status/"]);
        assert!(nearest_paths("/api/realms/db/strat").contains(&"/api/realms/db/start/".to_owned()));
        assert!(nearest_paths("/favicon.ico").is_empty() && nearest_paths("*").is_empty());
        for empty in ["/api//status", "/api/status//", "/api/status/%zz/x", "/api/realms/db/strat/"] {
            assert!(Route::of(empty).is_none(), "{empty}");
        }
    }
}
