//! Finds the files, layers and reads them, and builds the plan; or reports all mistakes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::{Dict, Value};
use heartbeat_process::parse_env_file;
use heartbeat_status::RealmName;

use crate::code::Code;
use crate::config::{Config, Heartbeat, Loaded, ReceiverConfig};
use crate::defaults;
use crate::diagnostic::Report;
use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::document::{Document, Parsed, scalar, without_realms};
use crate::effective::{self, Audience, EffectiveKey};
use crate::environment::from_environment;
use crate::files::{self, Files, Silent};
use crate::foreground;
use crate::heartbeat::{self, socket_in};
use crate::host;
use crate::inherited::Inherited;
use crate::interpolate::{Variables, interpolate};
use crate::keys::Table;
use crate::maintenance;
use crate::notify;
use crate::others::possible;
use crate::own_files;
use crate::plan::plan;
use crate::reader::{self, Reader, Section};
use crate::realm::{self, ReadContext, ReadRealm};
use crate::registration_rules::RegistrationRules;
use crate::sources::{EARLY_KEYS, Sources};
use crate::window::MaintenanceConfig;

/// The first file of the search order that exists: `./heartbeat.toml`, the XDG configuration directory, `/etc`.
///
/// # Errors
/// The places in which it looked.
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

/// Where the heartbeatd that would load these sources listens, as far as they say so: for those that only want to talk
/// to it. What is wrong with the rest of the configuration does not matter here.
///
/// # Errors
/// [`Report`]: other users may write the file, so it proves nothing about the heartbeatd that it names.
pub fn socket_of(sources: &Sources) -> Result<Option<PathBuf>, Report> {
    let sources = sources.clone();
    let found = files::within_silence(move |files| {
        let Ok(file) = find_file(&sources) else { return Ok(None) };
        let text = match files.read(&file) {
            Ok(text) => text,
            Err(error) if error.help().is_some() => {
                return Err(Report::new(vec![
                    files::unreadable(Code::UnreadableFile, &error).said_by(&file.display().to_string()),
                ]));
            }
            Err(_) => return Ok(None),
        };
        let text = without_realms(&text).into_owned();
        let source = Arc::new(Source::new(file.display().to_string(), text));
        let parsed = Parsed::parse(&source, &mut Vec::new());
        let dir = file.parent().map_or_else(|| sources.cwd.clone(), |dir| sources.cwd.join(dir));
        let variables = variables(Some(&parsed), &dir, &sources, files, &mut Vec::new());
        let path = |variable: &str, key: &str| {
            let written = parsed.peek("heartbeat", key).and_then(|value| value.as_str());
            let path = sources.env.get(variable).map(String::as_str).or(written)?;
            Some(dir.join(interpolate(path, Variables::new(&variables)).ok()?))
        };
        let in_runtime_dir =
            || path("HEARTBEAT__HEARTBEAT__RUNTIME_DIR", "runtime_dir").map(|dir| socket_in(&dir));
        Ok(path("HEARTBEAT__HEARTBEAT__SOCKET", "socket").or_else(in_runtime_dir))
    });
    found.unwrap_or(Ok(None))
}

/// Loads the configuration: nothing at all, or all of it.
///
/// # Errors
/// [`Report`]: everything that is wrong, located.
pub fn load(sources: &Sources) -> Result<Loaded, Report> {
    within_bounds(sources, &[], Purpose::Run)
}

/// The same for a person who asks whether a configuration is right: the warnings also name programs and directories
/// that this machine does not have now.
///
/// # Errors
/// As [`load`].
pub fn check(sources: &Sources) -> Result<Loaded, Report> {
    within_bounds(sources, &[], Purpose::Check)
}

/// Every key of the configuration in force, with its value and where it comes from; what may be a secret is left out.
///
/// # Errors
/// As [`load`].
pub fn effective(sources: &Sources) -> Result<Vec<EffectiveKey>, Report> {
    within_bounds(sources, &[], Purpose::List).map(|loaded| loaded.effective)
}

/// As [`effective`], for a reader elsewhere: without arguments of commands, texts that a probe sends, and queries of URLs.
///
/// # Errors
/// As [`load`].
pub fn shareable(sources: &Sources) -> Result<Vec<EffectiveKey>, Report> {
    within_bounds(sources, &[], Purpose::Share).map(|loaded| loaded.effective)
}

/// [`check`] beside realms that are registered at run time, by name. The files have to load without them; that they
/// cannot need one of them is said in words of its own.
///
/// # Errors
/// As [`load`].
pub fn load_beside(sources: &Sources, registered: &[String]) -> Result<Loaded, Report> {
    within_bounds(sources, registered, Purpose::Check)
}

fn within_bounds(sources: &Sources, registered: &[String], purpose: Purpose) -> Result<Loaded, Report> {
    let (sources, registered) = (sources.clone(), registered.to_vec());
    files::within_silence(move |files| read(&sources, &registered, files, purpose)).unwrap_or_else(
        |Silent(what)| {
            let message = format!("{what} does not answer; nothing was read");
            let help = "a network mount or directory service may be away: bring it back, and try again";
            Err(Report::new(vec![Diagnostic::new(Code::Silent, message).help(help)]))
        },
    )
}

fn read(
    sources: &Sources,
    registered: &[String],
    files: &Files<'_>,
    purpose: Purpose,
) -> Result<Loaded, Report> {
    let find = || find_file(sources);
    let file = files.ask("the directory of heartbeat.toml".to_owned(), find).map_err(|places| {
        let looked = places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
        let message = format!("no configuration found; looked at {looked}");
        Report::new(vec![
            Diagnostic::new(Code::NoFile, message)
                .help("name one: `heartbeatd --config FILE`, `heartbeat-cli check FILE`; or try `heartbeatd demo`, which needs none"),
        ])
    })?;
    let mut problems = Vec::new();
    let first = files::read_one(&file, files, &mut problems);
    let mut parsed: Vec<_> = first.iter().map(|source| Parsed::parse(source, &mut problems)).collect();
    let paths =
        parsed.first().map_or_else(Vec::new, |first| files::included(first, &file, files, &mut problems));
    let (mut paths, others): (Vec<_>, Vec<_>) = paths
        .into_iter()
        .filter_map(|path| files::read_one(&path, files, &mut problems).map(|source| (path, source)))
        .unzip();
    paths.splice(..0, first.as_ref().map(|_| file.clone()));
    parsed.extend(others.iter().map(|source| Parsed::parse(source, &mut problems)));
    for included in parsed.iter().skip(1) {
        for key in EARLY_KEYS.iter().filter(|key| included.peek("heartbeat", key).is_some()) {
            let message = format!("`{key}` stands in a file that is itself included");
            problems.push(
                Diagnostic::new(Code::TooLate, message)
                    .at(included.place(&["heartbeat", key]), "too late here")
                    .help(format!("move it to {}", file.display())),
            );
        }
    }
    let dir = file.parent().map_or_else(|| sources.cwd.clone(), |dir| sources.cwd.join(dir));
    let config = assemble(parsed, dir, sources, &Asking { files, registered, purpose }, problems);
    config.map(|loaded| Loaded { config: Config { files: paths, ..loaded.config }, ..loaded })
}

/// Loads a configuration from a text, with relative paths below the current directory: for tests, and for
/// configurations that are made rather than written.
///
/// # Errors
/// As [`load`].
pub fn load_str(name: &str, text: &str, env: &BTreeMap<String, String>) -> Result<Loaded, Report> {
    let mut problems = Vec::new();
    let source = Arc::new(Source::new(name.to_owned(), text.to_owned()));
    let parsed = vec![Parsed::parse(&source, &mut problems)];
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let sources =
        Sources { file: None, env: env.clone(), bytes: Vec::new(), overrides: Vec::new(), cwd: cwd.clone() };
    let files = Files::unwatched();
    assemble(
        parsed,
        cwd,
        &sources,
        &Asking { files: &files, registered: &[], purpose: Purpose::Run },
        problems,
    )
}

/// How a configuration is read.
struct Asking<'a> {
    files: &'a Files<'a>,
    registered: &'a [String],
    purpose: Purpose,
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To be run.
    Run,
    /// To say what is wrong with it: programs and directories are looked for, too.
    Check,
    /// To list every key with its source.
    List,
    /// The same for a reader elsewhere.
    Share,
}

fn assemble(
    parsed: Vec<Parsed<'_>>,
    dir: PathBuf,
    sources: &Sources,
    asking: &Asking<'_>,
    mut problems: Vec<Diagnostic>,
) -> Result<Loaded, Report> {
    let Asking { files, registered, purpose } = *asking;
    let declared = declared(&parsed, &mut problems);
    let variables = variables(parsed.first(), &dir, sources, files, &mut problems);
    let env = from_environment(&sources.env, &declared, &mut problems);
    let flags = sources.overrides.iter().map(|(key, value)| {
        (key.split('.').map(ToOwned::to_owned).collect(), format!("--set {key}"), scalar(value))
    });
    let document = Document::layer(parsed, declared, env.into_iter().chain(flags), &mut problems);
    let problems = RefCell::new(problems);
    let reader = Reader::new(&document, Variables::new(&variables), &problems, files, registered);
    let (heartbeat, realms) = read_all(&reader, sources, dir.clone());
    let notify = receivers(&reader, (&dir, &Inherited::of(sources)), &realms);
    let maintenance = windows(&reader, &realms);
    if purpose == Purpose::Check {
        host::look(&reader, &realms);
        foreground::look(&reader, &realms);
        host::look_for_receivers(&reader, &notify);
        own_files::look(&reader, &heartbeat, &notify);
    }
    let effective = match purpose {
        Purpose::List => effective::effective(&reader, Audience::Owner),
        Purpose::Share => effective::effective(&reader, Audience::Elsewhere),
        Purpose::Run | Purpose::Check => Vec::new(),
    };
    let registering = Arc::new(RegistrationRules::of(&reader));
    let plan = plan(&reader, &heartbeat, realms);
    let problems = problems.into_inner();
    let (errors, warnings): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| problem.severity == Severity::Error);
    match plan {
        Some((plan, realms)) if errors.is_empty() => {
            let config =
                Config { heartbeat, plan, realms, notify, maintenance, files: Vec::new(), registering };
            Ok(Loaded { config, warnings: Report::new(warnings), effective })
        }
        // A check reports the warnings beside the errors.
        _ if purpose == Purpose::Check => Err(Report::new(errors.into_iter().chain(warnings).collect())),
        _ => Err(Report::new(errors)),
    }
}

fn receivers(reader: &Reader<'_>, place: (&Path, &Inherited), realms: &[ReadRealm]) -> Vec<ReceiverConfig> {
    match reader.document.root.get("notify") {
        Some(Value::Dict(_, written)) => notify::read(reader, place, written, realms),
        _ => Vec::new(),
    }
}

fn windows(reader: &Reader<'_>, realms: &[ReadRealm]) -> Vec<MaintenanceConfig> {
    match reader.document.root.get("maintenance") {
        Some(Value::Dict(_, written)) => maintenance::read(reader, written, realms),
        _ => Vec::new(),
    }
}

/// The file that declares each realm: one.
fn declared(parsed: &[Parsed<'_>], problems: &mut Vec<Diagnostic>) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for (at, file) in parsed.iter().enumerate() {
        for name in file.realms() {
            match seen.entry(name.clone()) {
                Entry::Vacant(place) => drop(place.insert(at)),
                Entry::Occupied(first) => {
                    let path = ["realm", name.as_str()];
                    let message = format!("realm `{name}` is declared in two files");
                    let diagnostic = Diagnostic::new(Code::DeclaredTwice, message)
                        .at(file.place(&path), "again here")
                        .related(parsed[*first.get()].place(&path), "first here")
                        .help("declare a realm in one file; what all share goes into [defaults]");
                    problems.push(diagnostic);
                }
            }
        }
    }
    seen
}

/// What `${}` may name: the environment, and below it the `env_file` of `[heartbeat]`.
fn variables(
    first: Option<&Parsed<'_>>,
    dir: &Path,
    sources: &Sources,
    files: &Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<String, String> {
    let written =
        first.and_then(|first| first.peek("heartbeat", "env_file")).and_then(|value| value.as_str());
    let path = dir.join(written.unwrap_or(defaults::ENV_FILE));
    let mut variables = BTreeMap::new();
    match files.read(&path) {
        Ok(text) => match parse_env_file(&text) {
            Ok(pairs) => variables.extend(pairs),
            Err(error) => {
                let diagnostic = Diagnostic::new(Code::BadEnvFile, error.to_string());
                problems.push(diagnostic.said_by(&path.display().to_string()));
            }
        },
        // `.env` is read if it is there; a file that was named has to be.
        Err(error) if written.is_none() && error.is_missing() => {}
        Err(error) => {
            let place = first.and_then(|first| first.place(&["heartbeat", "env_file"]));
            let diagnostic = files::unreadable(Code::BadEnvFile, &error).said_by(&path.display().to_string());
            problems.push(diagnostic.at(place, "this file"));
        }
    }
    variables.extend(sources.env.clone());
    variables
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
        let is_ours = ["heartbeat", "defaults", "realm", "notify", "maintenance"].contains(&name.as_str());
        if is_ours && !reader.refuse_a_list(name, value) {
            let entry = reader::Entry { path: vec![name.clone()], value };
            reader.value_problem(
                &entry,
                Code::WrongType,
                format!("`{name}` is a table"),
                "not a table",
                &format!("write [{name}]"),
            );
        }
    }
    let heartbeat_path = vec!["heartbeat".to_owned()];
    let heartbeat = table("heartbeat").unwrap_or(&nothing);
    reader.check_keys(Table::Heartbeat, &heartbeat_path, heartbeat);
    for (name, below) in [("fuse", Table::Fuse), ("tls", Table::Tls)] {
        if let Some(Value::Dict(_, keys)) = heartbeat.get(name) {
            let path = heartbeat_path.iter().cloned().chain([name.to_owned()]).collect();
            reader.check_keys(below, &path, keys);
        }
    }
    let heartbeat = heartbeat::read(reader, &Section::new(heartbeat_path, heartbeat), sources, &dir);
    let defaults_path = vec!["defaults".to_owned()];
    let defaults = table("defaults").unwrap_or(&nothing);
    realm::check(reader, &defaults_path, defaults);
    let written = table("realm").unwrap_or(&nothing);
    let realms = realms(reader, written, &Section::new(defaults_path, defaults), &heartbeat, sources, &dir);
    (heartbeat, realms)
}

fn realms(
    reader: &Reader<'_>,
    written: &Dict,
    defaults: &Section<'_>,
    heartbeat: &Heartbeat,
    sources: &Sources,
    dir: &Path,
) -> Vec<ReadRealm> {
    let inherited = Inherited::of(sources);
    // Read once on their own, so that a mistake in [defaults] is found even where no realm uses it.
    if let Ok(name) = RealmName::new("defaults") {
        let setting = ReadContext {
            state_dir: &heartbeat.state_dir,
            socket: &heartbeat.socket,
            runtime_dir: &heartbeat.runtime_dir,
            inherited: &inherited,
            dir: dir.to_owned(),
        };
        realm::read(reader, name, defaults, &setting);
    }
    let mut realms = Vec::new();
    for (name, value) in written {
        let path = vec!["realm".to_owned(), name.clone()];
        let place = reader.key_place(&path);
        let Value::Dict(_, values) = value else {
            reader.push(
                Diagnostic::new(Code::WrongType, format!("realm `{name}` is not a table"))
                    .at(place, "here")
                    .help(format!("write [realm.{name}], and its keys below")),
            );
            continue;
        };
        let valid = RealmName::new(name).or_else(|error| {
            let diagnostic = Diagnostic::new(Code::BadName, error.to_string()).at(place, "this name");
            reader.push(diagnostic.help(renamed(name)));
            // What else is wrong with it is said in the same run.
            RealmName::new(&format!("no-name-{}", realms.len()))
        });
        let Ok(valid) = valid else { continue };
        realm::check(reader, &path, values);
        // Relative paths start at the file that declares the realm.
        let file = reader.document.file_of(&path).map(PathBuf::from);
        let dir =
            file.as_deref().and_then(Path::parent).map_or_else(|| dir.to_owned(), |parent| dir.join(parent));
        let setting = ReadContext {
            state_dir: &heartbeat.state_dir,
            socket: &heartbeat.socket,
            runtime_dir: &heartbeat.runtime_dir,
            inherited: &inherited,
            dir,
        };
        realms.push(realm::read(reader, valid, &Section::new(path, values).over(defaults), &setting));
    }
    realms
}

/// A heading like the one that was written, but possible.
fn renamed(name: &str) -> String {
    match possible(name) {
        Some(like) => format!("for example [realm.{like}]"),
        None => "choose another one, for example [realm.api]".to_owned(),
    }
}
