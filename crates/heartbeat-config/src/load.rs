//! Finds the files, layers everything, reads it, and builds the plan; or says everything that is wrong.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use figment::value::{Dict, Value};
use heartbeat_graph::{DependencyGraph, Edge, GraphError};
use heartbeat_status::{EdgeKind, Gate, RealmIx, RealmKind, RealmName};
use heartbeat_supervisor::{NeedSpec, Plan, PlanSettings};

use crate::Report;
use crate::config::{Config, Heartbeat, Loaded};
use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::document::{Document, Parsed, scalar};
use crate::interpolate::env_file;
use crate::keys::{self, Table};
use crate::reader::{Reader, Section};
use crate::realm::{self, ReadRealm, Setting};

/// Prefix of environment variables that set keys: `HEARTBEAT__SECTION__KEY`.
const ENV_PREFIX: &str = "HEARTBEAT__";
/// Realms started between spawn and exec, a core.
const START_PARALLEL_PER_CORE: u32 = 4;
/// Most files an `include` may bring in.
const MAX_INCLUDED_FILES: usize = 1_000;

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// A file that was named; otherwise it is searched ([`find_file`]).
    pub file: Option<PathBuf>,
    /// The environment: `HEARTBEAT__*` set keys, all of it feeds `${}` and is inherited by realms.
    pub env: BTreeMap<String, String>,
    /// Keys set on the command line, as `section.key` and value.
    pub overrides: Vec<(String, String)>,
    /// Where relative paths of the search start.
    pub cwd: PathBuf,
}

impl Sources {
    /// The environment and directory of this process.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        let text = |text: std::ffi::OsString| text.into_string().ok();
        let env = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        Self { file, env, overrides: Vec::new(), cwd: std::env::current_dir().unwrap_or_else(|_| "/".into()) }
    }
}

/// The first file of the search order that exists: `./heartbeat.toml`, the XDG configuration directory, `/etc`.
///
/// # Errors
/// The places that were looked at.
pub fn find_file(sources: &Sources) -> Result<PathBuf, Vec<PathBuf>> {
    if let Some(file) = &sources.file {
        return Ok(sources.cwd.join(file));
    }
    let xdg = sources.env.get("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = sources.env.get("HOME").map(|home| Path::new(home).join(".config"));
    let mut places = vec![sources.cwd.join("heartbeat.toml")];
    places.extend(xdg.or(home).map(|dir| dir.join("heartbeat").join("heartbeat.toml")));
    places.push("/etc/heartbeat/heartbeat.toml".into());
    places.iter().find(|place| place.exists()).cloned().ok_or(places)
}

/// Loads the configuration: nothing at all, or all of it.
///
/// # Errors
/// [`Report`]: everything that is wrong, located.
pub fn load(sources: &Sources) -> Result<Loaded, Report> {
    let file = find_file(sources).map_err(|places| {
        let looked = places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
        let message = format!("no configuration found; looked at {looked}");
        Report::new(vec![
            Diagnostic::new("HB003", message)
                .help("name one with --config FILE, or try `heartbeatd demo`, which needs none"),
        ])
    })?;
    let mut problems = Vec::new();
    let mut files = Vec::new();
    let mut parsed = Vec::new();
    read_file(&file, &mut parsed, &mut files, &mut problems);
    if let Some(first) = parsed.first() {
        for included in included(first, &file, &mut problems) {
            read_file(&included, &mut parsed, &mut files, &mut problems);
        }
    }
    let dir = file.parent().map_or_else(|| sources.cwd.clone(), |dir| sources.cwd.join(dir));
    assemble(parsed, files, dir, sources, problems)
}

/// Loads a configuration from a text, with relative paths below the current directory: for tests, and for
/// configurations that are made rather than written.
///
/// # Errors
/// As [`load`].
pub fn load_str(name: &str, text: &str, env: &BTreeMap<String, String>) -> Result<Loaded, Report> {
    let mut problems = Vec::new();
    let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
    let parsed = vec![Parsed::parse(&source, &mut problems)];
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let sources = Sources { file: None, env: env.clone(), overrides: Vec::new(), cwd: cwd.clone() };
    assemble(parsed, Vec::new(), cwd, &sources, problems)
}

fn read_file(
    file: &Path,
    parsed: &mut Vec<Parsed>,
    files: &mut Vec<PathBuf>,
    problems: &mut Vec<Diagnostic>,
) {
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let source = Arc::new(Source { name, text });
            parsed.push(Parsed::parse(&source, problems));
            files.push(file.to_owned());
        }
        Err(error) => {
            let message = format!("cannot read {name}: {error}");
            problems.push(Diagnostic::new("HB004", message).said_by(&name));
        }
    }
}

/// Files beside the first one: `include` with one `*` in the file name, `conf.d/*.toml` by default.
fn included(first: &Parsed, file: &Path, problems: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let written: Vec<String> = match first.peek("heartbeat", "include") {
        None => vec!["conf.d/*.toml".to_owned()],
        Some(Value::Array(_, items)) => {
            items.iter().filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
        }
        Some(value) => value.as_str().map(ToOwned::to_owned).into_iter().collect(),
    };
    let mut found = Vec::new();
    for pattern in written {
        let pattern = dir.join(pattern);
        let Some(name) = pattern.file_name().and_then(|name| name.to_str()) else { continue };
        let Some((before, after)) = name.split_once('*') else {
            found.push(pattern);
            continue;
        };
        let entries = pattern.parent().map(std::fs::read_dir);
        // A directory that is not there has no files in it.
        let Some(Ok(entries)) = entries else { continue };
        let mut matching: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                    name.len() >= before.len() + after.len()
                        && name.starts_with(before)
                        && name.ends_with(after)
                })
            })
            .collect();
        matching.sort();
        found.extend(matching);
    }
    if found.len() > MAX_INCLUDED_FILES {
        let message =
            format!("`include` brings in {} files; at most {MAX_INCLUDED_FILES} are read", found.len());
        problems.push(Diagnostic::new("HB005", message).at(first.place(&["heartbeat", "include"]), "here"));
        found.clear();
    }
    found
}

fn assemble(
    parsed: Vec<Parsed>,
    files: Vec<PathBuf>,
    dir: PathBuf,
    sources: &Sources,
    mut problems: Vec<Diagnostic>,
) -> Result<Loaded, Report> {
    duplicates(&parsed, &mut problems);
    let known: Vec<String> = parsed.iter().flat_map(Parsed::realms).collect();
    let variables = variables(parsed.first(), &dir, sources, &mut problems);
    let env = from_environment(&sources.env, &known, &mut problems);
    let flags = sources.overrides.iter().map(|(key, value)| {
        (key.split('.').map(ToOwned::to_owned).collect(), format!("--set {key}"), scalar(value))
    });
    let document = Document::layer(parsed, env, flags.collect(), &mut problems);
    let problems = RefCell::new(problems);
    let reader = Reader { document: &document, variables: &variables, problems: &problems };
    let (heartbeat, realms) = read_all(&reader, sources, dir);
    let plan = plan(&reader, &heartbeat, realms);
    let problems = problems.into_inner();
    let (errors, warnings): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| problem.severity == Severity::Error);
    match plan {
        Some((plan, realms)) if errors.is_empty() => {
            Ok(Loaded { config: Config { heartbeat, plan, realms, files }, warnings: Report::new(warnings) })
        }
        _ => Err(Report::new(errors)),
    }
}

/// A realm is declared in one file.
fn duplicates(parsed: &[Parsed], problems: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (at, file) in parsed.iter().enumerate() {
        for name in file.realms() {
            if let Some(first) = seen.get(&name) {
                let path = ["realm", name.as_str()];
                let diagnostic = Diagnostic::new("HB006", format!("realm `{name}` is declared in two files"))
                    .at(file.place(&path), "again here")
                    .related(parsed[*first].place(&path), "first here")
                    .help("declare a realm in one file; what all share goes into [defaults]");
                problems.push(diagnostic);
            } else {
                seen.insert(name, at);
            }
        }
    }
}

/// What `${}` may name: the environment, and below it the `env_file` of `[heartbeat]`.
fn variables(
    first: Option<&Parsed>,
    dir: &Path,
    sources: &Sources,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<String, String> {
    let written =
        first.and_then(|first| first.peek("heartbeat", "env_file")).and_then(|value| value.as_str());
    let path = dir.join(written.unwrap_or(".env"));
    let mut variables = BTreeMap::new();
    match std::fs::read_to_string(&path) {
        Ok(text) => match env_file(&text) {
            Ok(pairs) => variables.extend(pairs),
            Err(why) => problems.push(Diagnostic::new("HB108", why).said_by(&path.display().to_string())),
        },
        // `.env` is read if it is there; a file that was named has to be.
        Err(_) if written.is_none() => {}
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            let place = first.and_then(|first| first.place(&["heartbeat", "env_file"]));
            problems.push(Diagnostic::new("HB108", message).at(place, "this file"));
        }
    }
    variables.extend(sources.env.clone());
    variables
}

type Said = (Vec<String>, String, Value);

/// `HEARTBEAT__SECTION__KEY`: `_` stands for `-` or `_`, matched against what exists.
fn from_environment(
    env: &BTreeMap<String, String>,
    realms: &[String],
    problems: &mut Vec<Diagnostic>,
) -> Vec<Said> {
    let mut said = Vec::new();
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
        let words: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        match env_path(&words, realms) {
            Ok(path) => said.push((path, format!("the environment variable {name}"), scalar(value))),
            Err(why) => problems.push(
                Diagnostic::new("HB109", format!("{name}: {why}"))
                    .said_by(&format!("the environment variable {name}"))
                    .help("unset it, or write HEARTBEAT__SECTION__KEY, e.g. HEARTBEAT__HEARTBEAT__LISTEN or HEARTBEAT__REALM__API__PORT"),
            ),
        }
    }
    said
}

fn env_path(words: &[String], realms: &[String]) -> Result<Vec<String>, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mut path, table, rest) = match words.as_slice() {
        ["heartbeat", rest @ ..] => (vec!["heartbeat".to_owned()], Table::Heartbeat, rest),
        ["defaults", rest @ ..] => (vec!["defaults".to_owned()], Table::Realm, rest),
        ["realm", name, rest @ ..] => {
            let same = |known: &&String| known.replace('-', "_") == *name;
            let realm = realms.iter().find(same).ok_or_else(|| format!("there is no realm `{name}`"))?;
            (vec!["realm".to_owned(), realm.clone()], Table::Realm, rest)
        }
        [other, ..] => return Err(format!("there is no section `{other}`")),
        [] => return Err("names no key".to_owned()),
    };
    let (table, key) = match rest {
        [key] => (table, *key),
        ["start", key] => (Table::Start, *key),
        ["stop", key] => (Table::Stop, *key),
        ["restart", key] => (Table::Restart, *key),
        ["log", key] => (Table::Log, *key),
        _ => return Err("does not name a key".to_owned()),
    };
    if keys::find(table, key).is_none() {
        return Err(format!("there is no key `{key}` in {}", table.as_str()));
    }
    path.extend(rest.iter().map(|word| (*word).to_owned()));
    Ok(path)
}

fn read_all(reader: &Reader<'_>, sources: &Sources, dir: PathBuf) -> (Heartbeat, Vec<ReadRealm>) {
    let root = &reader.document.root;
    reader.check_keys(Table::Root, &Vec::new(), root);
    let nothing = Dict::new();
    let table = |name: &str| match root.get(name) {
        Some(Value::Dict(_, table)) => Some(table),
        _ => None,
    };
    for (name, value) in root.iter().filter(|(_, value)| !matches!(value, Value::Dict(..))) {
        if ["heartbeat", "defaults", "realm"].contains(&name.as_str()) {
            let entry = crate::reader::Entry { path: vec![name.clone()], value };
            reader.value_problem(
                &entry,
                "HB102",
                format!("`{name}` is a table"),
                "not a table",
                &format!("write [{name}]"),
            );
        }
    }
    let heartbeat_path = vec!["heartbeat".to_owned()];
    let heartbeat = table("heartbeat").unwrap_or(&nothing);
    reader.check_keys(Table::Heartbeat, &heartbeat_path, heartbeat);
    let heartbeat = heartbeat_section(reader, &Section::new(heartbeat_path, heartbeat), sources, &dir);
    let defaults_path = vec!["defaults".to_owned()];
    let defaults = table("defaults").unwrap_or(&nothing);
    realm::check(reader, &defaults_path, defaults);
    let defaults = Section::new(defaults_path, defaults);
    let mut realms = Vec::new();
    for (name, value) in table("realm").unwrap_or(&nothing) {
        let path = vec!["realm".to_owned(), name.clone()];
        let place = reader.key_place(&path);
        let Value::Dict(_, values) = value else {
            reader.push(Diagnostic::new("HB102", format!("realm `{name}` is not a table")).at(place, "here"));
            continue;
        };
        let valid = match RealmName::new(name) {
            Ok(valid) => valid,
            Err(error) => {
                reader.push(Diagnostic::new("HB117", error.to_string()).at(place, "this name"));
                continue;
            }
        };
        realm::check(reader, &path, values);
        // Relative paths start at the file that declares the realm.
        let file = reader.document.file_of(&path).map(PathBuf::from);
        let dir =
            file.as_deref().and_then(Path::parent).map_or_else(|| dir.clone(), |parent| dir.join(parent));
        let setting = Setting {
            state_dir: &heartbeat.state_dir,
            socket: &heartbeat.socket,
            inherited: &sources.env,
            dir,
        };
        realms.push(realm::read(reader, valid, &Section::new(path, values).over(&defaults), &setting));
    }
    (heartbeat, realms)
}

fn heartbeat_section(reader: &Reader<'_>, section: &Section<'_>, sources: &Sources, dir: &Path) -> Heartbeat {
    let text = |key: &str| section.get(key).and_then(|entry| reader.text(&entry));
    let path = |key: &str| text(key).map(|path| dir.join(path));
    let time =
        |key: &str, default: u64| reader.duration(section, key).unwrap_or(Duration::from_secs(default));
    let env = |name: &str| sources.env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let socket = path("socket").unwrap_or_else(|| match env("XDG_RUNTIME_DIR").filter(|_| !is_root()) {
        Some(runtime) => runtime.join("heartbeat").join("heartbeat.sock"),
        None => "/run/heartbeat/heartbeat.sock".into(),
    });
    let state_dir = path("state_dir").unwrap_or_else(|| {
        let home = || env("HOME").map(|home| home.join(".local").join("state"));
        match env("XDG_STATE_HOME").or_else(home).filter(|_| !is_root()) {
            Some(state) => state.join("heartbeat"),
            None => "/var/lib/heartbeat".into(),
        }
    });
    let runtime_dir =
        path("runtime_dir").unwrap_or_else(|| socket.parent().unwrap_or(Path::new("/")).to_owned());
    let count = |key: &str, default: usize| {
        let read = section.get(key).and_then(|entry| {
            let number: usize = reader.number(&entry, "a number")?;
            if number == 0 {
                reader.value_problem(&entry, "HB118", format!("`{key}` must be at least 1"), "here", "");
            }
            Some(number.max(1))
        });
        read.unwrap_or(default)
    };
    let cores =
        std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let start_parallel = count("start_parallel", (cores * START_PARALLEL_PER_CORE) as usize);
    let formats = [("auto", "auto"), ("pretty", "pretty"), ("json", "json")];
    let mode =
        |text: &str| u32::from_str_radix(text, 8).map_err(|_| format!("`{text}` is not an octal mode"));
    Heartbeat {
        name: text("name").unwrap_or_else(host_name),
        listen: listen(reader, section),
        socket_mode: section
            .get("socket_mode")
            .and_then(|entry| reader.parsed(&entry, "0660", mode))
            .unwrap_or(0o660),
        log: text("log").unwrap_or_else(|| "info".to_owned()),
        log_format: section
            .get("log_format")
            .and_then(|entry| reader.word(&entry, &formats))
            .unwrap_or("auto")
            .to_owned(),
        boot_deadline: time("boot_deadline", 300),
        shutdown_timeout: time("shutdown_timeout", 60),
        start_parallel: u32::try_from(start_parallel).unwrap_or(u32::MAX),
        max_probes_in_flight: count("max_probes_in_flight", 1_024),
        max_connections: count("max_connections", 256),
        socket,
        state_dir,
        runtime_dir,
    }
}

fn listen(reader: &Reader<'_>, section: &Section<'_>) -> Option<SocketAddr> {
    let standard = SocketAddr::from(([127, 0, 0, 1], 4_327));
    let Some(entry) = section.get("listen") else { return Some(standard) };
    let text = reader.text(&entry)?;
    if text == "off" {
        return None;
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => return Some(address),
        Ok(address) => {
            let message = format!("{address} is not a loopback address");
            let help = "anything else needs TLS and a token, which this version does not support; use 127.0.0.1 and a reverse proxy";
            reader.value_problem(&entry, "HB119", message, "not loopback", help);
        }
        Err(_) => reader.value_problem(
            &entry,
            "HB119",
            format!("`{text}` is not an address"),
            "here",
            "for example \"127.0.0.1:4327\", or \"off\"",
        ),
    }
    None
}

fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if read.trim().is_empty() { "localhost".to_owned() } else { read.trim().to_owned() }
}

fn is_root() -> bool {
    // The owner of our own /proc entry is our effective user.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

type Planned = (Plan, Vec<crate::RealmConfig>);

/// Resolves dependencies, checks the graph, and builds the plan; `None` when something is wrong.
fn plan(reader: &Reader<'_>, heartbeat: &Heartbeat, realms: Vec<ReadRealm>) -> Option<Planned> {
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
    reader.push(
        Diagnostic::new("HB204", message).at(reader.place(&need.path), "this gate never holds").help(help),
    );
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
            diagnostic.help("remove one of these; none is broken for you")
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
            let message = format!("{} and {} both have port {port}", first.spec.name, realm.spec.name);
            let diagnostic = Diagnostic::new("HB207", message)
                .at(reader.place(&path(realm)), "again here")
                .related(reader.place(&path(first)), "first here")
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
