//! From realms to a plan: dependencies resolved, the graph checked.

use std::collections::BTreeMap;

use heartbeat_graph::{DependencyGraph, Edge, GraphError};
use heartbeat_status::{EdgeKind, Gate, ProbeKind, RealmIx, RealmKind, RealmName, nearest, sanitise_line};
use heartbeat_supervisor::{NeedSpec, Plan, PlanSettings, RealmSpec};

use crate::code::Code;
use crate::config::Heartbeat;
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::others;
use crate::reader::Reader;
use crate::realm::{self, ReadRealm};

type Planned = (Plan, Vec<crate::RealmConfig>);

/// Resolves dependencies, checks the graph, and builds the plan; `None` when something is wrong.
pub(crate) fn plan(reader: &Reader<'_>, heartbeat: &Heartbeat, realms: Vec<ReadRealm>) -> Option<Planned> {
    let (mut realms, left_out): (Vec<_>, Vec<_>) = realms.into_iter().partition(|realm| realm.enabled);
    let names: Vec<RealmName> = realms.iter().map(|realm| realm.spec.name.clone()).collect();
    let by_name: BTreeMap<&str, usize> =
        names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let disabled: Vec<&str> = left_out.iter().map(|realm| realm.spec.name.as_str()).collect();
    ports(reader, &realms);
    own_port(reader, heartbeat, &realms);
    realms.iter().for_each(|realm| other_port(reader, realm));
    let kinds: Vec<RealmKind> = realms.iter().map(|realm| realm.spec.kind).collect();
    let mut edges = Vec::new();
    let mut places = Vec::new();
    for (at, realm) in realms.iter_mut().enumerate() {
        for need in std::mem::take(&mut realm.needs) {
            let Some(to) = by_name.get(need.name.as_str()).copied() else {
                unknown(reader, &need, &names, &disabled);
                continue;
            };
            let (spec, possible) = resolved(&need, to, kinds[to]);
            if !possible {
                let place = until_place(reader, &need);
                reader.push(
                    impossible(&realm.spec.name, &need, spec.until, kinds[to])
                        .at(place, "this gate never holds"),
                );
            }
            edges.push(Edge { from: index(at), to: spec.realm, kind: need.kind });
            places.push(need.path);
            realm.spec.needs.push(spec);
        }
    }
    companions(reader, &mut realms, &by_name);
    if let Err(errors) = DependencyGraph::build(&names, &edges) {
        for error in &errors {
            let place = |edge: usize| places.get(edge).and_then(|path: &Vec<String>| reader.place(path));
            reader.push(graph_problem(error, &place));
        }
    }
    if reader.problems.borrow().iter().any(|problem| problem.severity == Severity::Error) {
        return None;
    }
    let settings = PlanSettings {
        start_parallel: heartbeat.start_parallel,
        shutdown_timeout: heartbeat.shutdown_timeout,
        fuse: heartbeat.fuse,
    };
    let (specs, configs) = realms.into_iter().map(|realm| (realm.spec, realm.config)).unzip();
    match Plan::new(settings, specs) {
        Ok(plan) => Some((plan, configs)),
        // Everything it refuses has been looked for above: a rule was added there and not here.
        Err(error) => {
            reader.push(Diagnostic::new(Code::BadPlan, error.to_string()));
            None
        }
    }
}

fn index(at: usize) -> RealmIx {
    RealmIx(u32::try_from(at).unwrap_or(u32::MAX))
}

/// A dependency on the realm at `to`, and whether its gate can ever hold.
fn resolved(need: &realm::WrittenNeed, to: usize, kind: RealmKind) -> (NeedSpec, bool) {
    let until = need.until.unwrap_or(if kind == RealmKind::Oneshot { Gate::Done } else { Gate::Up });
    let spec = NeedSpec { realm: index(to), kind: need.kind, until, while_down: need.while_down };
    (spec, need.kind != EdgeKind::Needs || possible(until, kind))
}

/// The dependencies of a realm that was registered, and what is wrong with them.
pub(crate) fn resolve(
    from: &RealmName,
    needs: &[realm::WrittenNeed],
    realms: &[RealmSpec],
) -> (Vec<NeedSpec>, Vec<Diagnostic>) {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for need in needs {
        match realms.iter().position(|realm| realm.name.as_str() == need.name) {
            Some(to) => {
                let (spec, possible) = resolved(need, to, realms[to].kind);
                found.push(spec);
                if !possible {
                    problems.push(impossible(from, need, spec.until, realms[to].kind));
                }
            }
            None => {
                let suggestion = nearest(&need.name, realms.iter().map(|realm| realm.name.as_str()));
                let help = match suggestion {
                    Some(suggestion) => format!("did you mean `{suggestion}`?"),
                    None => "register it first, or declare it in the configuration".to_owned(),
                };
                let message = format!("there is no realm `{}`", sanitise_line(&need.name));
                problems.push(Diagnostic::new(Code::UnknownRealm, message).help(help));
            }
        }
    }
    (found, problems)
}

const fn possible(until: Gate, kind: RealmKind) -> bool {
    matches!(
        (until, kind),
        (Gate::Up, RealmKind::Service | RealmKind::External)
            | (Gate::Started, RealmKind::Service | RealmKind::Oneshot)
            | (Gate::Done, RealmKind::Oneshot)
    )
}

fn impossible(from: &RealmName, need: &realm::WrittenNeed, until: Gate, kind: RealmKind) -> Diagnostic {
    let what = if kind == RealmKind::External { "an external realm".to_owned() } else { format!("a {kind}") };
    let message = format!("{from} waits for {} to be `{until}`, which {what} never is", need.name);
    let help = match kind {
        RealmKind::Oneshot => "a oneshot can be waited for until = \"done\" or \"started\"",
        RealmKind::Service => "a service can be waited for until = \"up\" or \"started\"",
        RealmKind::External => "an external realm can be waited for until = \"up\"",
    };
    Diagnostic::new(Code::ImpossibleGate, message).help(help)
}

fn until_place(reader: &Reader<'_>, need: &realm::WrittenNeed) -> Option<Place> {
    let until: Vec<String> =
        need.path.iter().rev().skip(1).rev().cloned().chain(["until".to_owned()]).collect();
    reader.place(&until).or_else(|| reader.place(&need.path))
}

fn unknown(reader: &Reader<'_>, need: &realm::WrittenNeed, names: &[RealmName], disabled: &[&str]) {
    if reader.is_in_part {
        return;
    }
    let place = reader.place(&need.path);
    let diagnostic = if disabled.contains(&need.name.as_str()) {
        Diagnostic::new(Code::NotEnabled, format!("realm `{}` is not enabled", need.name))
            .at(place, "depends on it")
            .help(format!("enable it, or remove `{}` here", need.name))
    } else if reader.registered.contains(&need.name) {
        let name = &need.name;
        Diagnostic::new(
            Code::UnknownRealm,
            format!("realm `{name}` is registered at run time, and the files have to load without it"),
        )
        .at(place, "is in no file")
        .help(format!("declare it: [realm.{name}]; that takes the place of what was registered"))
    } else {
        let list: Vec<&str> = need.name.split([',', ' ']).filter(|name| !name.is_empty()).collect();
        let of_unit = need.name.strip_suffix(".service");
        let of_unit = of_unit.filter(|unit| names.iter().any(|name| name.as_str() == *unit));
        let help = if list.len() > 1 {
            format!("several names are a list: {} = {list:?}", need.kind)
        } else if let Some(unit) = of_unit {
            format!("write \"{unit}\": a realm has the name of its heading, without `.service`")
        } else {
            let declared = || others::possible(&need.name).unwrap_or_else(|| "api".to_owned());
            reader.nearest(&need.name, names).map_or_else(
                || format!("declare it: [realm.{}]", declared()),
                |suggestion| format!("did you mean `{suggestion}`?"),
            )
        };
        Diagnostic::new(Code::UnknownRealm, format!("there is no realm `{}`", need.name))
            .at(place, "unknown realm")
            .help(help)
    };
    reader.push(diagnostic);
}

/// Edges of a cycle that its message names and shows; it counts the rest.
const MAX_SHOWN_EDGES: usize = 10;

/// `place` is where an edge stands.
pub(crate) fn graph_problem(error: &GraphError, place: &dyn Fn(usize) -> Option<Place>) -> Diagnostic {
    match error {
        GraphError::SelfEdge { index, realm, .. } => {
            Diagnostic::new(Code::SelfEdge, format!("{realm} depends on itself"))
                .at(place(*index), "itself")
                .help("remove it")
        }
        GraphError::DuplicateEdge { first, second, from, to, .. } => {
            Diagnostic::new(Code::EdgeTwice, format!("{from} depends on {to} twice"))
                .at(place(*second), "again here")
                .related(place(*first), "first here")
                .help("keep one: `needs` says more than `wants`, and `wants` more than `after`")
        }
        GraphError::Cycle { path } => {
            let more = path.len().saturating_sub(MAX_SHOWN_EDGES);
            let mut names: Vec<String> =
                path.iter().take(MAX_SHOWN_EDGES).map(|step| step.from.to_string()).collect();
            if more > 0 {
                names.push(format!("and {more} more"));
            }
            names.extend(path.first().map(|step| step.from.to_string()));
            let mut diagnostic =
                Diagnostic::new(Code::Cycle, format!("realms wait for each other: {}", names.join(" -> ")));
            for (at, step) in path.iter().enumerate().take(MAX_SHOWN_EDGES) {
                let label = format!("{} waits for {}", step.from, step.to);
                diagnostic = if at == 0 {
                    diagnostic.at(place(step.index), label)
                } else {
                    diagnostic.related(place(step.index), label)
                };
            }
            diagnostic.help("remove one of these; heartbeat does not choose one for you")
        }
        other => Diagnostic::new(Code::BadPlan, other.to_string()),
    }
}

/// Resolves `restart.with`: other services only.
fn companions(reader: &Reader<'_>, realms: &mut [ReadRealm], by_name: &BTreeMap<&str, usize>) {
    let kinds: Vec<RealmKind> = realms.iter().map(|realm| realm.spec.kind).collect();
    for (at, realm) in realms.iter_mut().enumerate() {
        for (name, path) in std::mem::take(&mut realm.with) {
            let problem = match by_name.get(name.as_str()).copied() {
                Some(to) if to == at => "it is this very realm".to_owned(),
                Some(to) if kinds[to] != RealmKind::Service => {
                    format!("it is a {}, not a service", kinds[to])
                }
                Some(to) => {
                    realm.spec.restart_with.push(RealmIx(u32::try_from(to).unwrap_or(u32::MAX)));
                    continue;
                }
                None => "there is no such realm".to_owned(),
            };
            let diagnostic = Diagnostic::new(
                Code::BadCompanion,
                format!("{} cannot be restarted with `{name}`: {problem}", realm.spec.name),
            );
            reader.push(
                diagnostic
                    .at(reader.place(&path), "here")
                    .help("name other services that run on this machine"),
            );
        }
    }
}

/// Two realms cannot listen on one port.
fn ports(reader: &Reader<'_>, realms: &[ReadRealm]) {
    let mut taken: BTreeMap<(&str, u16), &ReadRealm> = BTreeMap::new();
    for realm in realms.iter().filter(|realm| realm.spec.kind != RealmKind::External) {
        let Some(port) = realm.spec.port else { continue };
        let path =
            |realm: &ReadRealm| realm.path.iter().cloned().chain(["port".to_owned()]).collect::<Vec<_>>();
        if let Some(first) = taken.get(&(same_host(&realm.host), port)) {
            let message = format!(
                "{} and {} both have port {port} on {}",
                first.spec.name, realm.spec.name, realm.host
            );
            let diagnostic = Diagnostic::new(Code::PortTwice, message)
                .at(reader.place(&path(realm)), format!("port of {}", realm.spec.name))
                .related(reader.place(&path(first)), format!("port of {}", first.spec.name))
                .help("give one of them another port");
            reader.push(diagnostic);
        } else {
            taken.insert((same_host(&realm.host), port), realm);
        }
    }
    let is_wrong = reader.problems.borrow().iter().any(|problem| problem.severity == Severity::Error);
    if realms.is_empty() && !is_wrong {
        reader.push(
            Diagnostic::new(Code::NoRealm, "there is no realm: nothing will be started or watched")
                .help("for example [realm.api] with run = \"...\" and port = 8001"),
        );
    }
}

/// A realm cannot listen where heartbeatd does.
fn own_port(reader: &Reader<'_>, heartbeat: &Heartbeat, realms: &[ReadRealm]) {
    let Some(listen) = heartbeat.listen else { return };
    let there = |realm: &&ReadRealm| {
        realm.spec.kind != RealmKind::External
            && realm.spec.port == Some(listen.port())
            && same_host(&realm.host).parse() == Ok(listen.ip())
    };
    for realm in realms.iter().filter(there) {
        let path: Vec<String> = realm.path.iter().cloned().chain(["port".to_owned()]).collect();
        let listens = ["heartbeat".to_owned(), "listen".to_owned()];
        let message = format!("{} and heartbeatd itself both have {listen}", realm.spec.name);
        let diagnostic = Diagnostic::new(Code::OwnPort, message)
            .at(reader.place(&path), format!("port of {}", realm.spec.name))
            .related(reader.place(&listens), "heartbeatd listens here")
            .help("give the realm another port, or [heartbeat] another `listen`");
        reader.push(diagnostic);
    }
}

/// Kinds of probes that ask the port on which a program serves.
const OF_A_PORT: [ProbeKind; 5] =
    [ProbeKind::Http, ProbeKind::Tcp, ProbeKind::Redis, ProbeKind::Postgres, ProbeKind::Grpc];

/// Warns of a realm whose probes all ask other ports of this machine than its own.
fn other_port(reader: &Reader<'_>, realm: &ReadRealm) {
    let Some(port) = realm.spec.port else { return };
    let asked: Vec<(ProbeKind, u16)> = realm
        .spec
        .probes
        .iter()
        .filter(|probe| OF_A_PORT.contains(&probe.info.kind))
        .filter_map(|probe| Some((probe.info.kind, port_at(&probe.info.target, same_host(&realm.host))?)))
        .collect();
    let Some((kind, other)) = asked.first().filter(|_| asked.iter().all(|(_, asked)| *asked != port)) else {
        return;
    };
    let at = |words: &[&str]| {
        let path = realm.path.iter().cloned().chain(words.iter().map(ToString::to_string));
        reader.place(&path.collect::<Vec<_>>())
    };
    let health = at(&["health", kind.as_str()]).or_else(|| at(&["health", "0", kind.as_str()]));
    let message = format!("`health` of {} asks port {other}, and its `port` is {port}", realm.spec.name);
    let diagnostic = Diagnostic::new(Code::OtherPort, message)
        .at(health.or_else(|| at(&["health"])), format!("port {other}"))
        .related(at(&["port"]), format!("port {port}"))
        .help(format!("write port = {other}, or {port} in `health`; heartbeatd checks both as they are"));
    reader.push(diagnostic);
}

/// The port of a target on this machine; a Unix socket, another machine and a URL without a port have none.
fn port_at(target: &str, host: &str) -> Option<u16> {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    let (_, authority) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (named, port) = authority.rsplit_once(':')?;
    let named = named.trim_matches(['[', ']']);
    (same_host(named) == host).then(|| port.parse().ok())?
}

/// Names under which one address goes.
fn same_host(host: &str) -> &str {
    if host == "localhost" { "127.0.0.1" } else { host }
}
