//! Realms that are registered at run time: one more source of the same document, and a closed part of its grammar.
//!
//! A registration says of an external realm what `[realm.NAME]` could say of it, in JSON: how it is probed, what it
//! needs, what people call it. It is read by the reader of the files, so whatever is wrong with it is said in the same
//! words. What would run, read or name something on this machine is no part of it, and nothing is filled in for `${}`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use figment::value::{Dict, Tag, Value};
use heartbeat_graph::{DependencyGraph, Edge, GraphError};
use heartbeat_probe::{Denied, Networks, Probe};
use heartbeat_status::{ProbeKind, RealmIx, RealmName, nearest, sanitise, sanitise_line};
use heartbeat_supervisor::{Plan, RealmSpec};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::Report;
use crate::code::Code;
use crate::config::{Config, Heartbeat, Measure, RealmConfig};
use crate::diagnostic::{Diagnostic, Severity};
use crate::document::Document;
use crate::files::Files;
use crate::inherited::Inherited;
use crate::interpolate::Variables;
use crate::keys::{self, Table, reserved};
use crate::plan;
use crate::reader::{Entry, Reader, Section};
use crate::realm::{self, ReadContext, ReadRealm};
use crate::registration_rules::RegistrationRules;

/// Most of one registration, in bytes of JSON.
const MAX_REGISTRATION_BYTES: usize = 16 * 1024;
/// Most probes of a realm that is registered.
const MAX_REGISTERED_PROBES: usize = 16;
/// A realm that is registered is not asked more often.
const MIN_REGISTERED_INTERVAL: Duration = Duration::from_millis(100);
/// Methods by which a probe looks and changes nothing.
const METHODS: [&str; 2] = ["GET", "HEAD"];
/// Headers that say how to answer, and none that says what to do.
const HEADERS: [&str; 6] =
    ["accept", "accept-language", "host", "user-agent", "x-forwarded-host", "x-forwarded-proto"];
/// What people read: one line each.
const LINES: [&str; 8] = ["title", "docs", "owner", "group", "name", "http", "tcp", "host"];

/// What to do where a registration is not enough.
const BELONGS: &str = "a realm with a command, or with anything else that acts, belongs in the configuration";

/// A realm as it was registered; whether it fits in is another question ([`with_registered`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    name: RealmName,
    table: serde_json::Map<String, Json>,
}

impl Registration {
    /// The registration of `name` in the words of a request.
    ///
    /// # Errors
    /// No name of a realm, no JSON object, a member that stands twice, or more than 16 KiB.
    pub fn parse(name: &str, json: &[u8]) -> Result<Self, Report> {
        let example = "for example { \"health\": \"http://127.0.0.1:8001/api/health/\" }";
        let refused = |message: String| {
            let problem = Diagnostic::new(Code::Unfit, message).said_by(&origin(name)).help(example);
            Report::new(vec![problem])
        };
        if json.len() > MAX_REGISTRATION_BYTES {
            let long = json.len();
            return Err(refused(format!("{long} bytes are more than {MAX_REGISTRATION_BYTES}")));
        }
        let Once(value) =
            serde_json::from_slice(json).map_err(|error| refused(format!("not JSON: {error}")))?;
        Self::stored(name, value)
    }

    /// The same from what was kept ([`Registration::value`]).
    ///
    /// # Errors
    /// No name of a realm, or no JSON object.
    pub fn stored(name: &str, value: Json) -> Result<Self, Report> {
        let refused =
            |code, message: String| Report::new(vec![Diagnostic::new(code, message).said_by(&origin(name))]);
        let valid = RealmName::new(name).map_err(|error| refused(Code::BadName, error.to_string()))?;
        match value {
            Json::Object(table) => Ok(Self { name: valid, table }),
            _ => Err(refused(
                Code::Unfit,
                "a realm is a JSON object, with the keys of [realm.NAME]".to_owned(),
            )),
        }
    }

    /// Name of the registered realm.
    #[must_use]
    pub fn name(&self) -> &RealmName {
        &self.name
    }

    /// What was said of it.
    #[must_use]
    pub fn value(&self) -> Json {
        Json::Object(self.table.clone())
    }
}

/// Who said what a diagnostic is about.
fn origin(name: &str) -> String {
    format!("the registration of {}", sanitise_line(name))
}

/// A registration that does not fit in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Name of the realm.
    pub name: RealmName,
    /// Mistakes of the registration.
    pub report: Report,
    /// The only trouble is where it would have to be connected to.
    pub denied: bool,
}

impl Misfit {
    fn new(name: &RealmName, problems: Vec<Diagnostic>) -> Self {
        let denied = problems.iter().all(|problem| problem.code == Code::Denied);
        let said = |problem: Diagnostic| {
            if problem.file.is_empty() { problem.said_by(&origin(name.as_str())) } else { problem }
        };
        Self { name: name.clone(), report: Report::new(problems.into_iter().map(said).collect()), denied }
    }
}

/// `config`, which comes from files alone, with what was registered beside it: all of it, or nothing.
///
/// # Errors
/// Every registration that does not fit in, and why.
pub fn with_registered(config: &Config, registrations: &[Registration]) -> Result<Config, Vec<Misfit>> {
    let networks = config.heartbeat.register_networks.iter().copied();
    let networks = Arc::new(networks.fold(Networks::loopback(), Networks::with));
    let mut misfits = Vec::new();
    let mut read = Vec::new();
    for registration in registrations {
        match one(config, registration, &networks) {
            Ok(realm) => read.push(realm),
            Err(misfit) => misfits.push(misfit),
        }
    }
    let mut specs = config.plan.realms().to_vec();
    let mut realms = config.realms.clone();
    let needs: Vec<_> = read.iter_mut().map(|realm| std::mem::take(&mut realm.needs)).collect();
    for realm in read {
        specs.push(RealmSpec { registered: true, ..realm.spec });
        realms.push(realm.config);
    }
    let first = config.plan.realms().len();
    let resolve = |(at, needs): (usize, &Vec<_>)| plan::resolve(&specs[first + at].name, needs, &specs);
    let resolved: Vec<_> = needs.iter().enumerate().map(resolve).collect();
    for (at, (edges, problems)) in resolved.into_iter().enumerate() {
        if !problems.is_empty() {
            misfits.push(Misfit::new(&specs[first + at].name, problems));
        }
        specs[first + at].needs = edges;
    }
    if misfits.is_empty() {
        misfits = in_circles(&specs);
    }
    if !misfits.is_empty() {
        return Err(misfits);
    }
    let plan = Plan::new(*config.plan.settings(), specs).map_err(|error| {
        let problem = |name| Misfit::new(name, vec![Diagnostic::new(Code::BadPlan, error.to_string())]);
        registrations.iter().map(Registration::name).map(problem).collect::<Vec<_>>()
    })?;
    Ok(Config {
        heartbeat: config.heartbeat.clone(),
        plan,
        realms,
        notify: config.notify.clone(),
        maintenance: config.maintenance.clone(),
        files: config.files.clone(),
        registering: Arc::clone(&config.registering),
    })
}

/// The same with as many as fit in; the others are set aside.
#[must_use]
pub fn with_what_fits(config: Config, mut registrations: Vec<Registration>) -> (Config, Vec<Misfit>) {
    let mut aside: Vec<Misfit> = Vec::new();
    while !registrations.is_empty() {
        match with_registered(&config, &registrations) {
            Ok(config) => return (config, aside),
            Err(misfits) => {
                registrations.retain(|known| !misfits.iter().any(|misfit| misfit.name == known.name));
                aside.extend(misfits);
            }
        }
    }
    (config, aside)
}

/// Registrations whose dependencies cannot be ordered. Those of the files can be, or they would not have been loaded.
fn in_circles(specs: &[RealmSpec]) -> Vec<Misfit> {
    let names: Vec<RealmName> = specs.iter().map(|spec| spec.name.clone()).collect();
    let edges: Vec<Edge> = specs
        .iter()
        .enumerate()
        .flat_map(|(at, spec)| {
            let from = RealmIx(u32::try_from(at).unwrap_or(u32::MAX));
            spec.needs.iter().map(move |need| Edge { from, to: need.realm, kind: need.kind })
        })
        .collect();
    let Err(errors) = DependencyGraph::build(&names, &edges) else { return Vec::new() };
    let registered: BTreeSet<&RealmName> =
        specs.iter().filter(|spec| spec.registered).map(|spec| &spec.name).collect();
    let mut misfits = Vec::new();
    for error in &errors {
        let involved: Vec<&RealmName> = match error {
            GraphError::SelfEdge { realm, .. } => vec![realm],
            GraphError::DuplicateEdge { from, .. } => vec![from],
            GraphError::Cycle { path } => path.iter().map(|step| &step.from).collect(),
            _ => names.iter().collect(),
        };
        for name in involved.into_iter().filter(|name| registered.contains(name)) {
            misfits.push(Misfit::new(name, vec![plan::graph_problem(error, &|_| None)]));
        }
    }
    misfits
}

/// What is in force of the files: without what was registered, and what is on its way out.
#[must_use]
pub fn configured(in_force: crate::InForce<'_>, rules: &Arc<RegistrationRules>) -> Config {
    let old = in_force.plan;
    let stays = |spec: &RealmSpec| !spec.retired && !spec.registered;
    let mut places: Vec<Option<RealmIx>> = Vec::new();
    let mut next = 0;
    for spec in old.realms() {
        places.push(stays(spec).then_some(RealmIx(next)));
        next += u32::from(stays(spec));
    }
    let place = |ix: RealmIx| places.get(ix.index()).copied().flatten();
    let mut specs = Vec::new();
    let mut realms = Vec::new();
    for (spec, realm) in old.realms().iter().zip(in_force.realms).filter(|(spec, _)| stays(spec)) {
        let mut spec = spec.clone();
        spec.needs.retain_mut(|need| place(need.realm).map(|to| need.realm = to).is_some());
        spec.restart_with.retain_mut(|ix| place(*ix).map(|to| *ix = to).is_some());
        specs.push(spec);
        realms.push(realm.clone());
    }
    // A part of a plan in which every need is met is a plan.
    let plan = Plan::new(*old.settings(), specs).unwrap_or_else(|_| old.clone());
    Config {
        heartbeat: in_force.heartbeat.clone(),
        plan,
        realms,
        notify: in_force.notify.to_vec(),
        maintenance: in_force.maintenance.to_vec(),
        files: Vec::new(),
        registering: Arc::clone(rules),
    }
}

/// Reads one registration, alone.
fn one(config: &Config, registration: &Registration, networks: &Arc<Networks>) -> Result<ReadRealm, Misfit> {
    let name = &registration.name;
    if let Some(place) = config.registering.declared(name.as_str()) {
        let problem = Diagnostic::new(Code::Declared, format!("realm `{name}` is declared in {place}"))
            .help("what the configuration has is changed there; register under another name");
        return Err(Misfit::new(name, vec![problem]));
    }
    let table = dict(&registration.table);
    let path = vec!["realm".to_owned(), name.to_string()];
    let root = Dict::from([(
        "realm".to_owned(),
        Value::Dict(Tag::Default, Dict::from([(name.to_string(), Value::Dict(Tag::Default, table))])),
    )]);
    let document = Document::made(root);
    let (nothing, problems) = (BTreeMap::new(), RefCell::default());
    let files = Files::unwatched();
    let reader = Reader::new(&document, Variables::new(&nothing), &problems, &files, &[]);
    let empty = Dict::new();
    let table = match document.root.get("realm") {
        Some(Value::Dict(_, realms)) => match realms.get(name.as_str()) {
            Some(Value::Dict(_, table)) => table,
            _ => &empty,
        },
        _ => &empty,
    };
    closed(&reader, &path, table);
    let fits = problems.borrow().is_empty();
    let realm = fits.then(|| {
        let inherited = Inherited::default();
        let setting = setting(&config.heartbeat, &inherited);
        let defaults = Section::new(vec!["defaults".to_owned()], &config.registering.defaults);
        let section = Section::new(path.clone(), table).over(&defaults);
        let mut realm = realm::read(&reader, name.clone(), &section, &setting);
        bounds(&reader, &realm, &Entry { path, value: &Value::Bool(Tag::Default, true) });
        realm.config = fenced(&reader, realm.config, networks);
        realm
    });
    let problems = problems.into_inner();
    match realm {
        Some(realm) if problems.iter().all(|problem| problem.severity != Severity::Error) => Ok(realm),
        _ => Err(Misfit::new(name, problems)),
    }
}

fn setting<'a>(heartbeat: &'a Heartbeat, nothing: &'a Inherited) -> ReadContext<'a> {
    let (state_dir, socket): (&FsPath, &FsPath) = (&heartbeat.state_dir, &heartbeat.socket);
    ReadContext {
        state_dir,
        runtime_dir: &heartbeat.runtime_dir,
        socket,
        inherited: nothing,
        dir: PathBuf::from("/"),
    }
}

/// Refuses every key that a registration cannot have, before anything of it is looked at.
fn closed(reader: &Reader<'_>, path: &[String], table: &Dict) {
    check(reader, Table::Realm, path, table);
    for (key, inner) in
        [("health", Table::Health), ("needs", Table::Need), ("wants", Table::Need), ("after", Table::Need)]
    {
        let Some(value) = table.get(key) else { continue };
        let entry = Entry { path: path.iter().cloned().chain([key.to_owned()]).collect(), value };
        for item in reader.items(&entry) {
            if let Value::Dict(_, table) = item.value {
                check(reader, inner, &item.path, table);
            }
        }
    }
    for (key, value) in table.iter().filter(|(key, _)| key.starts_with("x-")) {
        printable(reader, &Entry { path: path.iter().cloned().chain([key.clone()]).collect(), value }, key);
    }
    for (key, value) in table.iter().filter(|(key, _)| !key.starts_with("x-")) {
        literal(reader, &Entry { path: path.iter().cloned().chain([key.clone()]).collect(), value });
    }
}

fn check(reader: &Reader<'_>, table: Table, path: &[String], values: &Dict) {
    for (name, value) in values.iter().filter(|(name, _)| !name.starts_with("x-")) {
        let entry = Entry { path: path.iter().cloned().chain([name.clone()]).collect(), value };
        let refuse =
            |code, message: String, help: &str| reader.value_problem(&entry, code, message, "", help);
        if keys::find(table, name).is_some_and(|key| key.registrable) {
            if table == Table::Health {
                of_health(&entry, name, &refuse);
            }
            if LINES.contains(&name.as_str()) {
                one_line(&entry, name, &refuse);
            }
            if let (true, Value::Dict(_, labels)) = (name == "labels", value) {
                for (label, value) in labels {
                    let path = entry.path.iter().cloned().chain([label.clone()]).collect();
                    one_line(&Entry { path, value }, &format!("labels.{label}"), &refuse);
                }
            }
            continue;
        }
        match keys::find(table, name) {
            None if reserved::is_reserved(table, name) => {
                refuse(
                    Code::NotBuilt,
                    format!("`{name}` is not built yet"),
                    "a registered realm has http and tcp probes",
                );
            }
            Some(_) => refuse(
                Code::NotRegistrable,
                format!("`{name}` is not for a realm that is registered"),
                BELONGS,
            ),
            None => {
                let message = format!("unknown key `{name}` in {}", table.as_str());
                let help = match nearest(name, keys::registrable(table)) {
                    Some(suggestion) => format!("did you mean `{suggestion}`?"),
                    None => {
                        format!("there are {}", keys::registrable(table).collect::<Vec<_>>().join(", "))
                    }
                };
                refuse(Code::UnknownKey, message, &help);
            }
        }
    }
}

/// A probe that is registered looks, and does nothing else.
fn of_health(entry: &Entry<'_>, name: &str, refuse: &dyn Fn(Code, String, &str)) {
    match (name, entry.value) {
        ("method", Value::String(_, method)) if !METHODS.contains(&method.as_str()) => {
            let message = format!("`method` of a realm that is registered is {}", METHODS.join(" or "));
            refuse(Code::NotRegistrable, message, BELONGS);
        }
        ("headers", Value::Dict(_, headers)) => {
            let other = |header: &&String| !HEADERS.contains(&header.to_ascii_lowercase().as_str());
            for header in headers.keys().filter(other) {
                let message =
                    format!("the header `{}` is not for a realm that is registered", sanitise_line(header));
                refuse(
                    Code::NotRegistrable,
                    message,
                    &format!("there are {}; {BELONGS}", HEADERS.join(", ")),
                );
            }
        }
        _ => {}
    }
}

/// What people read does not move their cursor.
fn one_line(entry: &Entry<'_>, name: &str, refuse: &dyn Fn(Code, String, &str)) {
    if let Value::String(_, text) = entry.value
        && sanitise_line(text) != *text
    {
        let message = format!(
            "`{}` is one line of at most 300 characters, and none of them moves a cursor",
            sanitise_line(name)
        );
        refuse(Code::RegistrationBound, message, "write it shorter, and plain");
    }
}

/// A key of the user's own is kept and shown as it is, so nothing in it may move a cursor, hide or reorder text.
fn printable(reader: &Reader<'_>, entry: &Entry<'_>, name: &str) {
    let below = |word: &str, value| {
        let path = entry.path.iter().cloned().chain([word.to_owned()]).collect();
        printable(reader, &Entry { path, value }, word);
    };
    let hostile = |text: &str| sanitise(text) != text;
    if hostile(name) || matches!(entry.value, Value::String(_, text) if hostile(text)) {
        let message = format!("`{}` has characters that move a cursor or hide text", sanitise_line(name));
        reader.value_problem(entry, Code::RegistrationBound, message, "", "write it in plain text");
    }
    match entry.value {
        Value::Dict(_, table) => table.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(_, items) => {
            items.iter().enumerate().for_each(|(at, value)| below(&at.to_string(), value));
        }
        _ => {}
    }
}

/// Nothing is filled in, and nothing is taken for what it is not.
fn literal(reader: &Reader<'_>, entry: &Entry<'_>) {
    let below = |word: String, value| {
        literal(reader, &Entry { path: entry.path.iter().cloned().chain([word]).collect(), value });
    };
    match entry.value {
        Value::String(_, text) if text.contains("${") => {
            let message = "`${` is not filled in for a realm that is registered";
            reader.value_problem(entry, Code::Variable, message, "", "write the value itself");
        }
        Value::Dict(_, table) => table.iter().for_each(|(name, value)| below(name.clone(), value)),
        Value::Array(_, items) => {
            items.iter().enumerate().for_each(|(at, value)| below(at.to_string(), value));
        }
        _ => {}
    }
}

/// Refuses a registration that asks too much of heartbeatd.
fn bounds(reader: &Reader<'_>, realm: &ReadRealm, entry: &Entry<'_>) {
    let probes = &realm.spec.probes;
    if probes.len() > MAX_REGISTERED_PROBES {
        let message = format!("{} probes are more than {MAX_REGISTERED_PROBES}", probes.len());
        reader.value_problem(
            entry,
            Code::RegistrationBound,
            message,
            "",
            "register what belongs apart under names of its own",
        );
    }
    for probe in probes.iter().filter(|probe| probe.info.interval < MIN_REGISTERED_INTERVAL) {
        let message = format!("`interval` of probe {} is below {MIN_REGISTERED_INTERVAL:?}", probe.info.name);
        reader.value_problem(entry, Code::RegistrationBound, message, "", "leave it out for 5s");
    }
}

/// Every probe connects within the networks that are permitted, or is refused.
fn fenced(reader: &Reader<'_>, config: RealmConfig, networks: &Arc<Networks>) -> RealmConfig {
    let mut fence = |measure: Measure| {
        if matches!(measure, Measure::Push(_)) {
            return measure;
        }
        let Measure::Probe(probe) = &measure else {
            reader.push(
                Diagnostic::new(Code::NotRegistrable, "a command is not for a realm that is registered")
                    .help(BELONGS),
            );
            return measure;
        };
        let fenced: Result<Probe, Denied> = match probe.kind() {
            ProbeKind::Http | ProbeKind::Tcp | ProbeKind::Unix => {
                Probe::clone(probe).within(Arc::clone(networks))
            }
            other => {
                let message = format!("a {other} probe is not for a realm that is registered");
                reader.push(
                    Diagnostic::new(Code::NotRegistrable, message)
                        .help(format!("there are http and tcp; {BELONGS}")),
                );
                return measure;
            }
        };
        match fenced {
            Ok(probe) => Measure::Probe(Arc::new(probe)),
            Err(denied) => {
                let message = format!("{} may not be probed: {denied}", probe.target());
                let help = match denied.address.filter(|_| !denied.permanent) {
                    None => "no key permits that to a realm that is registered".to_owned(),
                    Some(address) => format!(
                        "list its network under `register_networks` of [heartbeat], for example [\"{address}\"], and reload"
                    ),
                };
                reader.push(Diagnostic::new(Code::Denied, message).help(help));
                measure
            }
        }
    };
    let probes = config.probes.into_iter().map(|measure| measure.map(&mut fence)).collect();
    RealmConfig { probes, ..config }
}

fn dict(table: &serde_json::Map<String, Json>) -> Dict {
    table.iter().map(|(name, value)| (name.clone(), value_of(value))).collect()
}

fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Empty(Tag::Default, figment::value::Empty::None),
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().unwrap_or_default().into(),
        },
        Json::String(text) => text.clone().into(),
        Json::Array(items) => Value::Array(Tag::Default, items.iter().map(value_of).collect()),
        Json::Object(table) => Value::Dict(Tag::Default, dict(table)),
    }
}

/// JSON in which no member stands twice: of two, one would be ignored.
struct Once(Json);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OnceVisitor)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Once, E> {
        Ok(Once(Json::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Once(list.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Once, A::Error> {
        let mut table = serde_json::Map::new();
        while let Some((name, Once(value))) = members.next_entry::<String, Once>()? {
            if table.contains_key(&name) {
                return Err(A::Error::custom(format!("`{}` stands twice", sanitise_line(&name))));
            }
            table.insert(name, value);
        }
        Ok(Once(table.into()))
    }
}
