//! From realms to a plan: dependencies resolved, the graph checked.

use std::collections::BTreeMap;

use heartbeat_graph::{DependencyGraph, Edge, GraphError};
use heartbeat_status::{EdgeKind, Gate, RealmIx, RealmKind, RealmName};
use heartbeat_supervisor::{NeedSpec, Plan, PlanSettings};

use crate::config::Heartbeat;
use crate::diagnostic::{Diagnostic, Severity};
use crate::keys;
use crate::reader::Reader;
use crate::realm::{self, ReadRealm};

type Planned = (Plan, Vec<crate::RealmConfig>);

/// Resolves dependencies, checks the graph, and builds the plan; `None` when something is wrong.
pub(crate) fn plan(reader: &Reader<'_>, heartbeat: &Heartbeat, realms: Vec<ReadRealm>) -> Option<Planned> {
    let (mut realms, left_out): (Vec<_>, Vec<_>) = realms.into_iter().partition(|realm| realm.enabled);
    let names: Vec<RealmName> = realms.iter().map(|realm| realm.spec.name.clone()).collect();
    let disabled: Vec<&str> = left_out.iter().map(|realm| realm.spec.name.as_str()).collect();
    ports(reader, &realms);
    let kinds: Vec<RealmKind> = realms.iter().map(|realm| realm.spec.kind).collect();
    let mut edges = Vec::new();
    let mut places = Vec::new();
    for (at, realm) in realms.iter_mut().enumerate() {
        for need in std::mem::take(&mut realm.needs) {
            let Some(to) = names.iter().position(|name| name.as_str() == need.name) else {
                unknown(reader, &need, &names, &disabled);
                continue;
            };
            let until =
                need.until.unwrap_or(if kinds[to] == RealmKind::Oneshot { Gate::Done } else { Gate::Up });
            if need.kind == EdgeKind::Needs && !possible(until, kinds[to]) {
                impossible(reader, &realm.spec.name, &need, until, kinds[to]);
            }
            let index = |at: usize| RealmIx(u32::try_from(at).unwrap_or(u32::MAX));
            edges.push(Edge { from: index(at), to: index(to), kind: need.kind });
            places.push(need.path);
            realm.spec.needs.push(NeedSpec {
                realm: index(to),
                kind: need.kind,
                until,
                while_down: need.while_down,
            });
        }
    }
    companions(reader, &mut realms, &names);
    if let Err(errors) = DependencyGraph::build(&names, &edges) {
        for error in &errors {
            graph_problem(reader, error, &places);
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
            reader.push(Diagnostic::new("HB200", error.to_string()));
            None
        }
    }
}

const fn possible(until: Gate, kind: RealmKind) -> bool {
    matches!(
        (until, kind),
        (Gate::Up, RealmKind::Service | RealmKind::External)
            | (Gate::Started, RealmKind::Service | RealmKind::Oneshot)
            | (Gate::Done, RealmKind::Oneshot)
    )
}

fn impossible(
    reader: &Reader<'_>,
    from: &RealmName,
    need: &realm::WrittenNeed,
    until: Gate,
    kind: RealmKind,
) {
    let message = format!("{from} waits for {} to be `{until}`, which a {kind} never is", need.name);
    let help = match kind {
        RealmKind::Oneshot => "a oneshot can be waited for until = \"done\" or \"started\"",
        RealmKind::Service => "a service can be waited for until = \"up\" or \"started\"",
        RealmKind::External => "an external realm can be waited for until = \"up\"",
    };
    let until: Vec<String> =
        need.path.iter().rev().skip(1).rev().cloned().chain(["until".to_owned()]).collect();
    let place = reader.place(&until).or_else(|| reader.place(&need.path));
    reader.push(Diagnostic::new("HB204", message).at(place, "this gate never holds").help(help));
}

fn unknown(reader: &Reader<'_>, need: &realm::WrittenNeed, names: &[RealmName], disabled: &[&str]) {
    let place = reader.place(&need.path);
    let diagnostic = if disabled.contains(&need.name.as_str()) {
        Diagnostic::new("HB203", format!("realm `{}` is not enabled", need.name))
            .at(place, "depends on it")
            .help(format!("enable it, or remove `{}` here", need.name))
    } else {
        let help = keys::nearest(&need.name, names.iter().map(RealmName::as_str)).map_or_else(
            || format!("declare it: [realm.{}]", need.name),
            |near| format!("did you mean `{near}`?"),
        );
        Diagnostic::new("HB202", format!("there is no realm `{}`", need.name))
            .at(place, "unknown realm")
            .help(help)
    };
    reader.push(diagnostic);
}

fn graph_problem(reader: &Reader<'_>, error: &GraphError, places: &[Vec<String>]) {
    let place = |edge: usize| places.get(edge).and_then(|path| reader.place(path));
    reader.push(match error {
        GraphError::SelfEdge { index, realm, .. } => {
            Diagnostic::new("HB205", format!("{realm} depends on itself"))
                .at(place(*index), "itself")
                .help("remove it")
        }
        GraphError::DuplicateEdge { first, second, from, to, .. } => {
            Diagnostic::new("HB206", format!("{from} depends on {to} twice"))
                .at(place(*second), "again here")
                .related(place(*first), "first here")
                .help("keep one: `needs` says more than `wants`, and `wants` more than `after`")
        }
        GraphError::Cycle { path } => {
            let names: Vec<&str> = path
                .iter()
                .map(|step| step.from.as_str())
                .chain(path.first().map(|step| step.from.as_str()))
                .collect();
            let mut diagnostic =
                Diagnostic::new("HB201", format!("realms wait for each other: {}", names.join(" -> ")));
            for (at, step) in path.iter().enumerate() {
                let label = format!("{} waits for {}", step.from, step.to);
                diagnostic = if at == 0 {
                    diagnostic.at(place(step.index), label)
                } else {
                    diagnostic.related(place(step.index), label)
                };
            }
            diagnostic.help("remove one of these; heartbeat does not choose one for you")
        }
        other => Diagnostic::new("HB200", other.to_string()),
    });
}

/// Resolves `restart.with`: other services only.
fn companions(reader: &Reader<'_>, realms: &mut [ReadRealm], names: &[RealmName]) {
    let kinds: Vec<RealmKind> = realms.iter().map(|realm| realm.spec.kind).collect();
    for (at, realm) in realms.iter_mut().enumerate() {
        for (name, path) in std::mem::take(&mut realm.with) {
            let found = names.iter().position(|known| known.as_str() == name);
            let problem = match found {
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
                "HB208",
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
            let diagnostic = Diagnostic::new("HB207", message)
                .at(reader.place(&path(realm)), format!("port of {}", realm.spec.name))
                .related(reader.place(&path(first)), format!("port of {}", first.spec.name))
                .help("give one of them another port");
            reader.push(diagnostic);
        } else {
            taken.insert((same_host(&realm.host), port), realm);
        }
    }
    if realms.is_empty() {
        reader.push(
            Diagnostic::new("HB301", "there is no realm: nothing will be started or watched")
                .help("for example [realm.api] with run = \"...\" and port = 8001"),
        );
    }
}

/// Names under which one address goes.
fn same_host(host: &str) -> &str {
    if host == "localhost" { "127.0.0.1" } else { host }
}
