//! One realm: from its table to what the core and the adapters need.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use figment::value::{Dict, Value};
use heartbeat_process::{LaunchSpec, LogTarget, Readiness, User, UserError, parse_env_file};
use heartbeat_status::{EdgeKind, Gate, RealmKind, RealmName, Signal, WhileDown, parse_size};
use heartbeat_supervisor::{ProbeSource, ProbeSpec, RealmSpec, SignalTo, StartSpec, StopSpec};

use crate::bounds;
use crate::code::Code;
use crate::config::{Measure, RealmConfig};
use crate::defaults;
use crate::files::code_of;
use crate::health;
use crate::heartbeat::MAX_SOCKET_BYTES;
use crate::inherited::Inherited;
use crate::keys::Table;
use crate::limits;
use crate::others;
use crate::reader::{Entry, Reader, Section, beside};
use crate::restart;
use crate::slo;
use crate::translated;
use crate::units;

/// Where systemd-journald takes streams.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/stdout";

/// Smallest `log.max_size` in bytes: one page.
const MIN_LOG_BYTES: u64 = 4 << 10;

/// What all realms share.
pub(crate) struct ReadContext<'a> {
    pub(crate) state_dir: &'a FsPath,
    pub(crate) socket: &'a FsPath,
    pub(crate) runtime_dir: &'a FsPath,
    /// What realms inherit from heartbeatd.
    pub(crate) inherited: &'a Inherited,
    /// Where the files stand that declare realms.
    pub(crate) dir: PathBuf,
}

/// A dependency as written: resolved once all realms are known.
#[derive(Debug)]
pub(crate) struct WrittenNeed {
    pub(crate) kind: EdgeKind,
    pub(crate) name: String,
    pub(crate) path: Vec<String>,
    pub(crate) until: Option<Gate>,
    pub(crate) while_down: WhileDown,
}

/// A realm that was read.
pub(crate) struct ReadRealm {
    pub(crate) path: Vec<String>,
    pub(crate) spec: RealmSpec,
    pub(crate) config: RealmConfig,
    pub(crate) needs: Vec<WrittenNeed>,
    /// `restart.with`, and where each name stands.
    pub(crate) with: Vec<(String, Vec<String>)>,
    pub(crate) enabled: bool,
    pub(crate) host: String,
}

const WHILE_DOWN: &[(&str, WhileDown)] =
    &[("ride", WhileDown::Ride), ("stop", WhileDown::Stop), ("restart", WhileDown::Restart)];

/// Refuses unknown keys of a realm's table and of the tables within.
pub(crate) fn check(reader: &Reader<'_>, path: &[String], values: &Dict) {
    reader.check_keys(Table::Realm, &path.to_vec(), values);
    for (name, table) in [
        ("start", Table::Start),
        ("stop", Table::Stop),
        ("restart", Table::Restart),
        ("limits", Table::Limits),
        ("log", Table::Log),
        ("slo", Table::Slo),
    ] {
        if let Some(Value::Dict(_, inner)) = values.get(name) {
            let path = path.iter().cloned().chain([name.to_owned()]).collect();
            reader.check_keys(table, &path, inner);
        }
    }
}

/// The assigned port.
fn port(reader: &Reader<'_>, section: &Section<'_>) -> Option<u16> {
    let entry = section.get("port")?;
    let port = reader.number::<u16>(&entry, "a port from 1 to 65535")?;
    if port == 0 {
        reader.value_problem(
            &entry,
            Code::WrongType,
            "`port` takes a port from 1 to 65535, not 0",
            "here",
            "for example port = 8001",
        );
    }
    Some(port).filter(|port| *port != 0)
}

/// The port as `${PORT}` within a realm: its own, as it is in its environment.
fn port_text(section: &Section<'_>, port: Option<u16>) -> Option<String> {
    // Of [defaults] each realm makes its own.
    let is_default = section.path().first().is_some_and(|first| first == "defaults");
    port.map(|port| port.to_string()).or_else(|| is_default.then(|| "1".to_owned()))
}

pub(crate) fn read(
    reader: &Reader<'_>,
    name: RealmName,
    section: &Section<'_>,
    setting: &ReadContext<'_>,
) -> ReadRealm {
    let port = port(reader, section);
    let port_text = port_text(section, port);
    let reader = &reader.of_realm(port_text.as_deref(), section.names_in("env"));
    let flag = |key: &str, default: bool| {
        section.get(key).and_then(|entry| reader.boolean(&entry)).unwrap_or(default)
    };
    let text = |key: &str| section.get(key).and_then(|entry| reader.text(&entry));
    let argv = program(reader, section, flag("shell", false));
    // What [defaults] say is read as if it were said of a service.
    let runs =
        section.get("run").is_some() || section.path().first().is_some_and(|first| first == "defaults");
    let host = text("host").unwrap_or_else(|| defaults::HOST.to_owned());
    let oneshot = flag("oneshot", false);
    let kind = match (runs, oneshot) {
        (false, _) => RealmKind::External,
        (true, true) => RealmKind::Oneshot,
        (true, false) => RealmKind::Service,
    };
    let user = user(reader, section);
    let env = environment(reader, section, setting, port);
    let env_file = env_file(reader, section, setting, port);
    let dir = section
        .get("dir")
        .and_then(|entry| Some(beside(reader, &entry, &setting.dir, &reader.text(&entry)?)))
        .unwrap_or_else(|| setting.dir.clone());
    let verify_owner = flag("verify_owner", true);
    let log = log(reader, section, setting, &name);
    let of_limits = section.table(reader, "limits");
    let limits = limits::read(reader, &of_limits);
    if runs {
        limits::leaves_room_for_the_log(reader, &of_limits, &limits, &log);
    }
    let no_new_privileges = flag("no_new_privileges", user.is_some());
    let umask = section.get("umask").and_then(|entry| reader.mode(&entry, "022"));
    let inherited = setting.inherited.in_place(user.as_ref(), &dir);
    let launch = |argv: Vec<String>| {
        let argv = argv.into_iter().map(OsString::from).collect();
        Arc::new(LaunchSpec {
            argv,
            inherited: Arc::clone(&inherited),
            env_file: env_file.clone(),
            env: env.clone(),
            dir: dir.clone(),
            log: log.clone(),
            umask,
            user: user.clone(),
            pidfile: None,
            limits: limits.clone(),
            no_new_privileges,
            readiness: Readiness::default(),
            input: Vec::new(),
        })
    };
    let check = |argv: Vec<String>| {
        let spec = launch(argv);
        Arc::new(LaunchSpec { log: LogTarget::Capture, ..LaunchSpec::clone(&spec) })
    };
    let (start, stop) = (section.table(reader, "start"), section.table(reader, "stop"));
    let ready_fd = ready_fd(reader, &start, oneshot, limits.nofile).filter(|_| runs && !oneshot);
    let runs_on = runs && !oneshot;
    let of = health::Of { host: &host, port, runs: runs_on, ready_fd, dir: &setting.dir, command: &check };
    let (probes, measures): (Vec<_>, Vec<_>) = health::probes(reader, section, &of).into_iter().unzip();
    let readiness = readiness(&probes, ready_fd);
    can_be_heard(reader, section, setting, &name, &readiness);
    let restart = section.table(reader, "restart");
    let commands = |section: &Section<'_>, key: &str| -> Vec<Arc<LaunchSpec>> {
        let Some(entry) = section.get(key) else { return Vec::new() };
        if one_command_in_words(reader, &entry, key) {
            return Vec::new();
        }
        reader.items(&entry).iter().filter_map(|entry| reader.command(entry)).map(launch).collect()
    };
    let pidfile = section
        .get("pidfile")
        .and_then(|entry| Some(beside(reader, &entry, &setting.dir, &reader.text(&entry)?)));
    let launch_spec =
        argv.map(|argv| Arc::new(LaunchSpec { pidfile, readiness, ..LaunchSpec::clone(&launch(argv)) }));
    let config = RealmConfig {
        probes: measures,
        start_before: commands(&start, "before"),
        start_after: commands(&start, "after"),
        restart_command: restart.get("command").and_then(|entry| reader.command(&entry)).map(launch),
        stop_command: stop.get("command").and_then(|entry| reader.command(&entry)).map(launch),
        launch: launch_spec,
        slo: slo::read(reader, section),
        listens: port.filter(|_| runs && !oneshot && verify_owner).and_then(|port| {
            let ip = if host == "localhost" { "127.0.0.1" } else { &host };
            Some(SocketAddr::new(ip.parse().ok()?, port))
        }),
    };
    if !runs {
        let checks = config.probes.iter().any(|measure| matches!(measure, Some(Measure::Command { .. })));
        external(reader, section, checks, config.restart_command.is_some());
    }
    if runs && oneshot {
        let is_probed = config.probes.iter().any(Option::is_some);
        ends(reader, section, &restart, is_probed);
    }
    let spec = RealmSpec {
        title: text("title"),
        docs: text("docs"),
        owner: text("owner"),
        group: text("group"),
        labels: reader.pairs(section, "labels"),
        critical: flag("critical", true),
        port,
        kind,
        manual: flag("manual", false),
        probes,
        start: start_spec(reader, &start, oneshot, &config),
        stop: stop_spec(reader, &stop, &config),
        restart: restart::policy(reader, &restart, oneshot),
        restart_command: config.restart_command.is_some(),
        memory_limit: config.launch.as_ref().and_then(|launch| launch.limits.memory_bytes),
        ..RealmSpec::service(name)
    };
    ReadRealm {
        path: section.path().clone(),
        needs: needs(reader, section),
        with: companions(reader, &restart),
        spec,
        config,
        enabled: flag("enabled", true),
        host,
    }
}

/// Refuses a list of the words of one command where each element is a command: no program begins with `-`.
fn one_command_in_words(reader: &Reader<'_>, entry: &Entry<'_>, key: &str) -> bool {
    let Value::Array(_, items) = entry.value else { return false };
    let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
    let Some(option) = words.iter().skip(1).find(|word| word.starts_with('-')) else { return false };
    let message = format!("each element of `{key}` is a command of its own, and `{option}` is none");
    let help = format!("write {key} = {:?}", units::joined(&words));
    reader.value_problem(entry, Code::BadCommand, message, "the words of one command", &help);
    true
}

/// What `run` says: words, or with `shell` one line for a shell.
fn program(reader: &Reader<'_>, section: &Section<'_>, shell: bool) -> Option<Vec<String>> {
    let entry = section.get("run")?;
    if !shell {
        return reader.command(&entry);
    }
    if matches!(entry.value, Value::Array(..)) {
        let help = "write run = \"a line for the shell\", or leave `shell` out";
        let message = "`run` is a list, which no shell reads, and `shell` is true";
        reader.value_problem(&entry, Code::BadCommand, message, "a list", help);
        return None;
    }
    let line = reader.text(&entry)?;
    if line.trim().is_empty() {
        reader.value_problem(
            &entry,
            Code::BadCommand,
            "the command is empty",
            "no program",
            "name a program",
        );
        return None;
    }
    if units::is_in_the_background(&line) && !line.contains("wait") {
        let help = "remove the `&`: heartbeatd waits for no realm, and watches this one";
        reader.value_problem(&entry, Code::BadCommand, units::BACKGROUND, "in this command", help);
        return None;
    }
    Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), line])
}

/// Refuses what a oneshot has no use for: it is not probed, since its exit code is its verdict.
fn ends(reader: &Reader<'_>, section: &Section<'_>, restart: &Section<'_>, is_probed: bool) {
    let refuse = |entry: Option<Entry<'_>>, key: &str, help: &str| {
        if let Some(entry) = entry.filter(is_of_its_own) {
            let message = format!("`{key}` means nothing for a oneshot");
            reader.value_problem(&entry, Code::NoEffect, message, "here", help);
        }
    };
    refuse(
        section.get("port"),
        "port",
        "remove it, or `oneshot` if it is a server; put the number into `env` if it needs it",
    );
    // One that cannot be a probe of it has been refused already.
    refuse(
        section.get("health").filter(|_| is_probed),
        "health",
        "remove it; a oneshot is done when it ends with exit code 0",
    );
    refuse(restart.get("command"), "command", "remove it; another run of a oneshot is a start");
    let always = |entry: &Entry<'_>| reader.text(entry).is_some_and(|policy| policy == "always");
    let help = "remove it: a oneshot that fails is started again; policy = \"never\" leaves it failed";
    refuse(restart.get("policy").filter(always), "policy = \"always\"", help);
}

/// The descriptor on which it says that it is ready.
fn ready_fd(
    reader: &Reader<'_>,
    start: &Section<'_>,
    oneshot: bool,
    most_descriptors: Option<u64>,
) -> Option<u32> {
    const NUMBERS: std::ops::RangeInclusive<u32> = 3..=1_023;
    let entry = start.get("ready_fd")?;
    let number = reader.number::<u32>(&entry, "the number of a descriptor")?;
    if oneshot && is_of_its_own(&entry) {
        let help = "remove it; a oneshot is done when it ends";
        reader.value_problem(&entry, Code::NoEffect, "`ready_fd` means nothing for a oneshot", "here", help);
    } else if !NUMBERS.contains(&number) {
        let message = format!("`ready_fd` takes a descriptor from 3 to 1023, not {number}");
        let help = "0 to 2 are its standard input and output; for example ready_fd = 3";
        reader.value_problem(&entry, Code::WrongType, message, "here", help);
    } else if let Some(most) = most_descriptors.filter(|most| u64::from(number) >= *most) {
        let message = format!(
            "`ready_fd` is descriptor {number}, and `limits.nofile` leaves it those from 0 to {}",
            most - 1
        );
        let help = "write ready_fd = 3, or a higher `limits.nofile`";
        reader.value_problem(&entry, Code::BadBounds, message, "beyond the limit", help);
    }
    Some(number).filter(|number| NUMBERS.contains(number))
}

/// What its program is asked to say of itself.
fn readiness(probes: &[ProbeSpec], ready_fd: Option<u32>) -> Readiness {
    let asked = probes.iter().find_map(|probe| match probe.source {
        // One that only stands for the descriptor has no socket.
        ProbeSource::Notify { watchdog } if probe.info.target.starts_with(health::SD_NOTIFY) => {
            Some(watchdog)
        }
        _ => None,
    });
    Readiness { notify: asked.is_some(), watchdog: asked.flatten(), ready_fd }
}

/// Refuses a notify socket with too long a path, and variables that only heartbeatd sets.
fn can_be_heard(
    reader: &Reader<'_>,
    section: &Section<'_>,
    setting: &ReadContext<'_>,
    name: &RealmName,
    asked: &Readiness,
) {
    if !asked.notify {
        return;
    }
    // It is made beside its place, under a name that is one byte longer.
    let length = setting.runtime_dir.join("notify").join(format!(".{name}")).as_os_str().len();
    if let Some(entry) = section.get("health").filter(|_| length > MAX_SOCKET_BYTES) {
        let message = format!(
            "the socket on which `{name}` would be heard has a path of {length} bytes; {MAX_SOCKET_BYTES} are possible"
        );
        let help = "give [heartbeat] a shorter `runtime_dir`";
        reader.value_problem(&entry, Code::LongSocketPath, message, "heard there", help);
    }
    let written = reader.pairs(section, "env");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        if let Some(entry) = section.get("env").filter(|_| written.contains_key(name)) {
            let help = format!("remove {name} from `env`, or `notify` from `health`");
            let message = format!("heartbeatd sets `{name}` itself for a realm with a `notify` probe");
            reader.value_problem(&entry, Code::BadVariable, message, "here", &help);
        }
    }
}

/// A realm without a program: only watched, so everything that would act on it is refused, but for a restart command of
/// its own and what bounds that.
fn external(reader: &Reader<'_>, section: &Section<'_>, has_checks: bool, has_command: bool) {
    // An unknown key that stands for one of these has been told how to be written.
    let is_meant = section.keys().any(|key| {
        others::meant(Table::Realm, key.strip_prefix("x-").unwrap_or(key))
            .is_some_and(|ours| ["run", "port", "health"].iter().any(|key| ours.starts_with(key)))
    });
    let is_told = reader.has_syntax_error_in(section.path());
    if section.get("port").is_none() && section.get("health").is_none() && !is_meant && !is_told {
        let name = section.path().last().cloned().unwrap_or_default();
        let message = format!(
            "realm `{name}` has neither `run` nor `port` nor `health`: there is nothing to run and nothing to watch"
        );
        let place = reader.key_place(section.path());
        reader.push(
            crate::diagnostic::Diagnostic::new(Code::NothingToDo, message).at(place, "this realm").help(
                "give it `run = \"...\"` to have it started, or `health = \"http://...\"` to have it watched",
            ),
        );
    }
    // It has a program, under a wrong name: that has been said, and nothing follows from it.
    if section.keys().any(others::means_run) {
        return;
    }
    // Check commands have a directory, an environment and a user.
    let of_commands = ["env", "env_file", "dir", "umask", "user", "groups", "limits", "no_new_privileges"];
    let of_commands = of_commands.into_iter().filter(|_| !has_checks && !has_command);
    let of_trees: &[(&str, &[&str])] = match (has_command, has_checks) {
        (true, _) => &[
            ("limits", &["memory", "cpu", "tasks"]),
            ("start", &["settle", "before", "after", "ready_fd", "timeout_max"]),
            ("restart", &["min_gap", "success_codes", "never_codes"]),
        ],
        (false, true) => &[("limits", &["memory", "cpu", "tasks"])],
        (false, false) => &[],
    };
    for (table, keys) in of_trees {
        let section = section.table(reader, table);
        for entry in keys.iter().filter_map(|key| section.get(key)).filter(is_of_its_own) {
            let key = entry.path.last().cloned().unwrap_or_default();
            let message = format!("`{table}.{key}` means nothing for a realm without `run`");
            reader.value_problem(&entry, Code::NoEffect, message, "here", "remove it, or add `run`");
        }
    }
    let of_processes = ["pidfile", "oneshot", "manual", "shell", "verify_owner", "stop"];
    let of_hooks = ["start", "restart", "log"].into_iter().filter(|_| !has_command);
    for key in of_commands.chain(of_processes).chain(of_hooks) {
        if let Some(entry) = section.get(key).filter(is_of_its_own) {
            reader.value_problem(
                &entry,
                Code::NoEffect,
                format!("`{key}` means nothing for a realm without `run`"),
                "here",
                "remove it, or add `run`",
            );
        }
    }
}

/// It was said of this very realm, and not of all of them.
fn is_of_its_own(entry: &Entry<'_>) -> bool {
    entry.path.first().is_some_and(|first| first == "realm")
}

/// Whom it runs as. That there is such a user is found out at load, not at three in the morning.
fn user(reader: &Reader<'_>, section: &Section<'_>) -> Option<User> {
    let groups = section.get("groups");
    let Some(entry) = section.get("user") else {
        if let Some(groups) = groups {
            let help = "name its `user` as well, or remove `groups`";
            reader.value_problem(&groups, Code::NoSuchUser, "`groups` goes with `user`", "here", help);
        }
        return None;
    };
    let help = "a user of this machine, by name or number; `getent passwd` lists them";
    let refuse = |entry: &Entry<'_>, error: UserError, help: &str| {
        reader.value_problem(entry, Code::NoSuchUser, error.to_string(), "here", help);
    };
    // What is wrong with the groups is said in the same run.
    let names: Option<Vec<String>> = groups
        .as_ref()
        .map(|groups| reader.items(groups).iter().filter_map(|item| reader.text(item)).collect());
    let name = reader.text(&entry)?;
    let found = match reader.files.ask(format!("the user {name}"), || User::find(&name)) {
        Ok(found) => found,
        Err(error) => {
            refuse(&entry, error, help);
            return None;
        }
    };
    let (Some(groups), Some(names)) = (groups, names) else { return Some(found) };
    match found.clone().with_groups(&names) {
        Ok(user) => Some(user),
        Err(error) => {
            refuse(&groups, error, "groups of this machine; `getent group` lists them");
            Some(found)
        }
    }
}

/// The `env_file` of a realm: looked at now, so that a mistake is told at once, and read again at each start.
fn env_file(
    reader: &Reader<'_>,
    section: &Section<'_>,
    setting: &ReadContext<'_>,
    port: Option<u16>,
) -> Option<PathBuf> {
    let entry = section.get("env_file")?;
    let path = beside(reader, &entry, &setting.dir, &reader.text(&entry)?);
    match reader.files.read(&path) {
        Ok(text) => match parse_env_file(&text) {
            Ok(pairs) => {
                for name in set_by_heartbeat(port) {
                    if pairs.iter().any(|(known, _)| known == name) {
                        let message =
                            format!("heartbeatd sets `{name}` itself, and {} sets it, too", path.display());
                        let help = format!("remove {name} from that file; {}", where_from(name));
                        reader.value_problem(&entry, Code::BadVariable, message, "this file", &help);
                    }
                }
            }
            Err(error) => {
                let why = format!("{}: {error}", path.display());
                let help = "a NAME=value a line; a value over several lines stands in quotes";
                reader.value_problem(&entry, Code::BadEnvFile, why, "this file", help);
            }
        },
        Err(error) => {
            let command = error.help();
            let help = command.as_deref().unwrap_or(
                match entry.value.as_str().is_some_and(|path| path.starts_with('/')) {
                    true => "make the file, or remove the line",
                    false => "the path starts at the directory of this file",
                },
            );
            let code = code_of(Code::BadEnvFile, &error);
            reader.value_problem(&entry, code, error.to_string(), "this file", help);
        }
    }
    Some(path)
}

/// Where the value of a variable comes from that the configuration does not set.
fn where_from(name: &str) -> &'static str {
    if name == "PORT" { "it is the `port` of the realm" } else { "every realm has it" }
}

/// Variables that heartbeatd sets for every realm.
fn set_by_heartbeat(port: Option<u16>) -> impl Iterator<Item = &'static str> {
    ["HEARTBEAT_SOCKET", "HEARTBEAT_REALM", "HEARTBEAT_STATE", "HEARTBEAT_RUN", "HEARTBEAT_COMMAND"]
        .into_iter()
        .chain(port.map(|_| "PORT"))
}

/// Its own variables.
fn environment(
    reader: &Reader<'_>,
    section: &Section<'_>,
    setting: &ReadContext<'_>,
    port: Option<u16>,
) -> Vec<(OsString, OsString)> {
    let mut env = reader.pairs(section, "env");
    if let Some(entry) = section.get("env") {
        impossible_variables(reader, &entry, &env);
        env.values().for_each(|value| reader.only_in_a_shell(&entry, value));
        for name in set_by_heartbeat(port).filter(|name| env.contains_key(*name)) {
            let help = format!("remove {name} from `env`; {}", where_from(name));
            reader.value_problem(
                &entry,
                Code::BadVariable,
                format!("heartbeatd sets `{name}` itself"),
                "here",
                &help,
            );
        }
    }
    env.insert("HEARTBEAT_SOCKET".to_owned(), setting.socket.to_string_lossy().into_owned());
    if let Some(port) = port {
        env.insert("PORT".to_owned(), port.to_string());
    }
    env.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// What execve cannot hand on.
fn impossible_variables(reader: &Reader<'_>, entry: &Entry<'_>, written: &BTreeMap<String, String>) {
    for (name, value) in written {
        let why = if name.is_empty() {
            "a variable has no name"
        } else if name.contains(['=', '\0']) {
            "the name of a variable has no `=` and no NUL byte"
        } else if value.contains('\0') {
            "the value of a variable has no NUL byte"
        } else {
            continue;
        };
        let message = format!("`{}` cannot be in an environment: {why}", name.escape_default());
        reader.value_problem(
            entry,
            Code::BadVariable,
            message,
            "here",
            "for example env = { LEVEL = \"info\" }",
        );
    }
}

/// Where the output of a realm may go.
#[derive(Clone, Copy)]
enum To {
    File,
    Journal,
    None,
}

fn log(reader: &Reader<'_>, section: &Section<'_>, setting: &ReadContext<'_>, name: &RealmName) -> LogTarget {
    let log = section.table(reader, "log");
    let to = log.get("to").and_then(|entry| {
        reader.word(&entry, &[("file", To::File), ("journal", To::Journal), ("none", To::None)])
    });
    let max_bytes = log.get("max_size").and_then(|entry| {
        let bytes = reader.parsed(&entry, "10MiB", parse_size)?;
        if bytes < MIN_LOG_BYTES {
            let message = "`max_size` is at least 4KiB: a smaller log is set aside with each line";
            let help = "for example max_size = \"1MiB\"; to = \"none\" keeps no output at all";
            reader.value_problem(&entry, Code::OutOfRange, message, "here", help);
        }
        Some(bytes)
    });
    let max_bytes = max_bytes.unwrap_or(defaults::LOG_MAX_BYTES);
    let keep = log
        .get("keep")
        .and_then(|entry| reader.ranged(&entry, "a number of files", bounds::LOG_FILES))
        .unwrap_or(defaults::LOG_KEEP);
    match to.unwrap_or(To::File) {
        To::File => {
            let path = setting.state_dir.join("log").join(format!("{name}.log"));
            LogTarget::File { path, max_bytes, keep }
        }
        To::Journal => LogTarget::Journal { socket: JOURNAL_SOCKET.into(), identifier: name.to_string() },
        To::None => LogTarget::Null,
    }
}

fn start_spec(reader: &Reader<'_>, section: &Section<'_>, oneshot: bool, config: &RealmConfig) -> StartSpec {
    let default = StartSpec::default();
    let given = reader.duration(section, "timeout");
    if given.is_some_and(|timeout| timeout.is_zero())
        && let Some(entry) = section.get("timeout")
    {
        let help = "for example timeout = \"60s\"";
        reader.value_problem(&entry, Code::BadTiming, "`timeout` must be longer than zero", "here", help);
    }
    let given = given.filter(|timeout| !timeout.is_zero());
    let timeout = given.or(if oneshot { None } else { default.timeout });
    let settle = reader.duration(section, "settle").unwrap_or(default.settle);
    // A realm that is probed has no use for the default.
    let counts = section.get("settle").is_some() || config.probes.iter().all(Option::is_none);
    if let Some(timeout) = timeout.filter(|timeout| counts && settle > *timeout)
        && let Some(entry) = section.get("settle").or_else(|| section.get("timeout"))
    {
        let message = format!(
            "`settle` ({settle:?}) is longer than `timeout` ({timeout:?}): without a live probe every start would fail"
        );
        let help = format!("write a shorter settle, or timeout = {}", defaults::duration(settle * 2));
        reader.value_problem(&entry, Code::BadBounds, message, "here", &help);
    }
    let timeout_max = section.get("timeout_max").and_then(|entry| {
        let longest = reader.duration(section, "timeout_max")?;
        if timeout.is_some_and(|timeout| longest < timeout) {
            let message = "`timeout_max` is shorter than `timeout`".to_owned();
            reader.value_problem(
                &entry,
                Code::BadBounds,
                message,
                "here",
                "it bounds how far `timeout` may be extended",
            );
            return None;
        }
        Some(longest)
    });
    StartSpec {
        timeout,
        timeout_max,
        settle,
        before: !config.start_before.is_empty(),
        after: !config.start_after.is_empty(),
    }
}

fn stop_spec(reader: &Reader<'_>, section: &Section<'_>, config: &RealmConfig) -> StopSpec {
    let default = StopSpec::default();
    let signal = section.get("signal").and_then(|entry| {
        let signal = reader
            .parsed(&entry, "TERM", |text| text.parse().map_err(|_| format!("`{text}` is not a signal")))?;
        ends_a_process(reader, &entry, signal).then_some(signal)
    });
    StopSpec {
        signal: signal.unwrap_or(default.signal),
        signal_to: section
            .get("signal_to")
            .and_then(|entry| reader.word(&entry, &[("main", SignalTo::Main), ("tree", SignalTo::Tree)]))
            .unwrap_or(default.signal_to),
        timeout: reader.duration(section, "timeout").unwrap_or(default.timeout),
        command: config.stop_command.is_some(),
    }
}

/// Signals that stop a process, let it continue, or that the kernel sends about other things: none of them makes a
/// program end. WINCH is not among them, since Apache httpd ends at it.
const ENDS_NOTHING: [&str; 7] = ["CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG"];

/// Whether a program can end at this signal; one at which none does is refused.
fn ends_a_process(reader: &Reader<'_>, entry: &Entry<'_>, signal: Signal) -> bool {
    let name = signal.to_string();
    let ends = !ENDS_NOTHING.contains(&name.trim_start_matches("SIG"));
    if !ends {
        let message =
            format!("no program ends at {name}, so every stop would last `stop.timeout` and then kill");
        let help = "write the signal at which the program ends, for example signal = \"TERM\", or remove it";
        reader.value_problem(entry, Code::OutOfRange, message, "ends nothing", help);
    }
    ends
}

fn needs(reader: &Reader<'_>, section: &Section<'_>) -> Vec<WrittenNeed> {
    let standard = section
        .get("while_down")
        .and_then(|entry| reader.word(&entry, WHILE_DOWN))
        .unwrap_or(WhileDown::Ride);
    let mut found = Vec::new();
    for (key, kind) in [("needs", EdgeKind::Needs), ("wants", EdgeKind::Wants), ("after", EdgeKind::After)] {
        let Some(entry) = section.get(key) else { continue };
        for item in reader.items(&entry) {
            found.extend(need(reader, &item, kind, standard));
        }
    }
    found
}

fn need(reader: &Reader<'_>, item: &Entry<'_>, kind: EdgeKind, standard: WhileDown) -> Option<WrittenNeed> {
    let Value::Dict(_, table) = item.value else {
        let name = reader.text(item)?;
        return Some(WrittenNeed { kind, name, path: item.path.clone(), until: None, while_down: standard });
    };
    if !table.contains_key("realm")
        && let Some(items) = translated::conditions(table).filter(|_| !table.is_empty())
    {
        let key = kind.as_str();
        let message = "this is compose's table of conditions; here each dependency is an item of a list";
        let help = format!("write {key} = {items}");
        reader.value_problem(item, Code::NeedWithoutRealm, message, "this one", &help);
        return None;
    }
    reader.check_keys(Table::Need, &item.path, table);
    let inner = Section::new(item.path.clone(), table);
    let named = inner.get("realm");
    if named.is_none() {
        let help = match kind {
            EdgeKind::Needs => "for example { realm = \"db\", until = \"started\" }",
            _ => "for example { realm = \"db\" }",
        };
        reader.value_problem(item, Code::NeedWithoutRealm, "a dependency names no realm", "this one", help);
    }
    let untils = [("up", Gate::Up), ("started", Gate::Started), ("done", Gate::Done)];
    let until = inner.get("until").and_then(|entry| reader.word(&entry, &untils));
    let while_down =
        inner.get("while_down").and_then(|entry| reader.word(&entry, WHILE_DOWN)).unwrap_or(standard);
    if kind != EdgeKind::Needs {
        for key in ["until", "while_down"] {
            if let Some(entry) = inner.get(key) {
                reader.value_problem(
                    &entry,
                    Code::NeedsOnly,
                    format!("`{key}` means something under `needs` only"),
                    "here",
                    "move the dependency to `needs`, or remove the key",
                );
            }
        }
    }
    let entry = named?;
    let name = reader.text(&entry)?;
    Some(WrittenNeed { kind, name, path: entry.path, until, while_down })
}

fn companions(reader: &Reader<'_>, restart: &Section<'_>) -> Vec<(String, Vec<String>)> {
    let Some(entry) = restart.get("with") else { return Vec::new() };
    reader.items(&entry).iter().filter_map(|item| Some((reader.text(item)?, item.path.clone()))).collect()
}
