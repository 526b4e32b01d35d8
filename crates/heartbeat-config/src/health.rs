//! The probes of a realm: those that `port` and `run` imply, and those of `health`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use figment::value::{Dict, Value};
use heartbeat_probe::{HttpProbe, Probe, StatusSet, TcpProbe};
use heartbeat_process::LaunchSpec;
use heartbeat_status::{
    FailWindow, ProbeInfo, ProbeIx, ProbeKind, Role, Thresholds, parse_duration, sanitise_line,
};
use heartbeat_supervisor::{ProbeSource, ProbeSpec};

use crate::advice;
use crate::bounds;
use crate::code::Code;
use crate::config::Measure;
use crate::defaults::{HEALTH_PATH, INTERVAL, TIMEOUT};
use crate::keys::{self, KINDS, Table, means_something};
use crate::probe::{self, Times};
use crate::push;
use crate::reader::{Entry, Reader, Section};
use crate::resource;
use crate::words;

/// The target of a `notify` probe, for display.
pub(crate) const SD_NOTIFY: &str = "sd_notify";

/// A probe for the core, and what measures it.
pub(crate) type Pair = (ProbeSpec, Option<Measure>);

/// How often a probe looks whether a heartbeat is overdue.
const PUSH_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest interval of a probe that starts processes.
const EXEC_MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The realm whose probes are read.
pub(crate) struct Of<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
    /// It has a process that is watched.
    pub(crate) runs: bool,
    /// The descriptor on which it says that it is ready.
    pub(crate) ready_fd: Option<u32>,
    /// Where relative paths start.
    pub(crate) dir: &'a Path,
    /// Makes a check command of an argv: with the realm's directory, environment and user.
    pub(crate) command: &'a dyn Fn(Vec<String>) -> Arc<LaunchSpec>,
}

/// All probes of a realm, in the order in which they are shown.
pub(crate) fn probes(reader: &Reader<'_>, realm: &Section<'_>, of: &Of<'_>) -> Vec<Pair> {
    let (host, port) = (of.host, of.port);
    let (mut pairs, process) = match (realm.get("health"), port) {
        (Some(health), _) => written(reader, &health, of),
        (None, Some(port)) => (implied(reader, realm, host, port).into_iter().collect(), None),
        (None, None) => (Vec::new(), None),
    };
    if let Some(port) = port {
        let fact = port_fact(&pairs, host, port);
        // An implied probe has reported this already.
        if let (ProbeSource::Measured, None, Some(_), Some(entry)) =
            (fact.0.source, &fact.1, realm.get("health"), realm.get("host"))
        {
            let message = format!("`{host}` is not a host");
            reader.value_problem(
                &entry,
                Code::BadTarget,
                message,
                "this host",
                "for example host = \"127.0.0.1\"",
            );
        }
        pairs.push(fact);
    }
    if let Some(number) = of.ready_fd {
        told_on(&mut pairs, number);
    }
    if of.runs {
        pairs.push(process.unwrap_or_else(|| process_pair(basic("process", ProbeKind::Process, "pid"))));
    }
    for (at, (spec, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(other, _)| other.info.name == spec.info.name)
            && let Some(entry) = realm.get("health")
        {
            let message = format!("two probes of this realm are called `{}`", spec.info.name);
            reader.value_problem(&entry, Code::ProbeTwice, message, "here", "give each a `name` of its own");
        }
    }
    pairs
}

/// The probes of `health`: measured ones, and the process probe if it is written out.
fn written(reader: &Reader<'_>, health: &Entry<'_>, of: &Of<'_>) -> (Vec<Pair>, Option<Pair>) {
    let mut process = None;
    let mut pairs: Vec<Pair> = Vec::new();
    // Places of those that do not say their role.
    let mut by_default = Vec::new();
    if matches!(health.value, Value::Array(_, items) if items.is_empty()) {
        let help = match of.port {
            Some(port) => format!("remove it: the probe is then GET {HEALTH_PATH} on port {port}"),
            None => "for example health = \"http://127.0.0.1:8001/api/health/\"".to_owned(),
        };
        reader.value_problem(health, Code::BadProbe, "`health` has no probe", "an empty list", &help);
    }
    for entry in reader.items(health) {
        let Some(pair) = explicit(reader, &entry, of) else { continue };
        let is_told = |pair: &Pair| matches!(pair.0.source, ProbeSource::Notify { .. });
        if is_told(&pair) && pairs.iter().any(is_told) {
            let help = "keep one: a realm says what it says of itself in one place";
            reader.value_problem(&entry, Code::ProbeTwice, "a second `notify` probe", "again here", help);
        } else if pair.0.info.kind == ProbeKind::Push
            && pairs.iter().any(|other| other.0.info.kind == ProbeKind::Push)
        {
            let help = "keep one: a heartbeat names the realm, and not the probe";
            reader.value_problem(&entry, Code::ProbeTwice, "a second `push` probe", "again here", help);
        } else if pair.0.source != ProbeSource::Process {
            if !matches!(entry.value, Value::Dict(_, table) if table.contains_key("role")) {
                by_default.push(pairs.len());
            }
            pairs.push(pair);
        } else if process.replace(pair).is_some() {
            let help = "keep one: a realm has one process";
            reader.value_problem(&entry, Code::ProbeTwice, "a second `process` probe", "again here", help);
        }
    }
    let decides = of.runs || of.port.is_some() || process.is_some();
    if !decides && !pairs.is_empty() && pairs.iter().all(|(spec, _)| spec.info.role == Role::Info) {
        decide(reader, health, &mut pairs, &by_default);
    }
    (pairs, process)
}

/// Nothing else says whether the realm is up: its probes do, unless their roles are written.
fn decide(reader: &Reader<'_>, health: &Entry<'_>, pairs: &mut [Pair], by_default: &[usize]) {
    for at in by_default {
        pairs[*at].0.info.role = Role::Ready;
    }
    if by_default.is_empty() {
        let message = "no probe of this realm says whether it is up: each has role = \"info\"".to_owned();
        let help = "remove `role` from a probe that decides, or make it \"ready\"";
        reader.value_problem(health, Code::DecidesNothing, message, "the realm stays unknown", help);
    }
}

fn basic(name: &str, kind: ProbeKind, target: &str) -> ProbeInfo {
    ProbeInfo {
        name: name.to_owned(),
        kind,
        role: default_role(kind),
        target: target.to_owned(),
        thresholds: Thresholds::default(),
        interval: INTERVAL,
        timeout: TIMEOUT,
    }
}

/// A certificate that expires is no reason to restart a realm.
const fn default_role(kind: ProbeKind) -> Role {
    match kind {
        ProbeKind::Tls | ProbeKind::Dns | ProbeKind::File | ProbeKind::Resource => Role::Info,
        _ => Role::Live,
    }
}

/// The four facts of the ecosystem: GET `/api/health/` = 200, in time, on the port (and the process).
fn implied(reader: &Reader<'_>, realm: &Section<'_>, host: &str, port: u16) -> Option<Pair> {
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let url = format!("http://{authority}{HEALTH_PATH}");
    let probe = StatusSet::only(200).and_then(|only| Ok(HttpProbe::new(&url)?.with_status(only)));
    match probe {
        Ok(probe) => {
            let probe = Probe::from(probe);
            let info = basic("http", ProbeKind::Http, &probe.target());
            Some((measured(info, None), Some(Measure::Probe(Arc::new(probe)))))
        }
        Err(error) => {
            if let Some(entry) = realm.get("host") {
                reader.value_problem(
                    &entry,
                    Code::BadTarget,
                    error.to_string(),
                    "this host",
                    "for example host = \"127.0.0.1\"",
                );
            }
            None
        }
    }
}

const fn measured(info: ProbeInfo, grace: Option<Duration>) -> ProbeSpec {
    ProbeSpec { info, source: ProbeSource::Measured, grace }
}

fn notify_pair(info: ProbeInfo, watchdog: Option<Duration>) -> Pair {
    (ProbeSpec { info, source: ProbeSource::Notify { watchdog }, grace: None }, None)
}

/// A notification is valid at once: no threshold counts up to it.
fn once() -> Thresholds {
    Thresholds::new(1, 1, None).unwrap_or_default()
}

/// The realm reports on a descriptor that it is ready: beside sd_notify, or with a probe of its own.
fn told_on(pairs: &mut Vec<Pair>, number: u32) {
    let descriptor = format!("descriptor {number}");
    match pairs.iter_mut().find(|pair| matches!(pair.0.source, ProbeSource::Notify { .. })) {
        Some((spec, _)) => spec.info.target = format!("{SD_NOTIFY}, {descriptor}"),
        None => {
            let mut info = basic("notify", ProbeKind::Notify, &descriptor);
            info.thresholds = once();
            pairs.push(notify_pair(info, None));
        }
    }
}

fn process_pair(info: ProbeInfo) -> Pair {
    (ProbeSpec { info, source: ProbeSource::Process, grace: None }, None)
}

/// The port fact: from a probe that connects there anyway, else a connection of its own.
fn port_fact(pairs: &[Pair], host: &str, port: u16) -> Pair {
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let connects = |measure: &Option<Measure>| match measure {
        Some(Measure::Probe(probe)) => {
            let seen = probe.target();
            let seen = seen.split_once("://").map_or(seen.as_str(), |(_, rest)| rest);
            seen.split('/').next() == Some(target.as_str())
        }
        Some(Measure::Command { .. } | Measure::Push(_) | Measure::Resource(_)) | None => false,
    };
    let mut info = basic("port", ProbeKind::Port, &target);
    match pairs.iter().position(|(_, probe)| connects(probe)) {
        Some(at) => {
            let of = &pairs[at].0.info;
            (info.thresholds, info.interval, info.timeout) = (of.thresholds, of.interval, of.timeout);
            let source = ProbeSource::PortOf(ProbeIx(u16::try_from(at).unwrap_or(u16::MAX)));
            (ProbeSpec { info, source, grace: pairs[at].0.grace }, None)
        }
        None => (
            measured(info, None),
            TcpProbe::new(&target).ok().map(|probe| Measure::Probe(Arc::new(probe.into()))),
        ),
    }
}

/// One entry of `health`.
fn explicit(reader: &Reader<'_>, entry: &Entry<'_>, of: &Of<'_>) -> Option<Pair> {
    match entry.value {
        Value::String(..) => {
            let text = reader.text(entry)?;
            let probe = probe::from_text(reader, entry, &text)?;
            Some((
                measured(basic(probe.kind().as_str(), probe.kind(), &probe.target()), None),
                Some(Measure::Probe(Arc::new(probe))),
            ))
        }
        Value::Dict(_, table) => table_entry(reader, entry, table, of),
        _ => {
            reader.value_problem(
                entry,
                Code::BadProbe,
                "`health` takes a URL, a table, or a list of tables",
                "not one of them",
                &reader.advised_health(entry),
            );
            None
        }
    }
}

fn table_entry(reader: &Reader<'_>, entry: &Entry<'_>, table: &Dict, of: &Of<'_>) -> Option<Pair> {
    reader.check_keys(Table::Health, &entry.path, table);
    let section = Section::new(entry.path.clone(), table);
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| table.contains_key(*kind)).collect();
    let (kind, is_one) = match kinds.as_slice() {
        [kind] => (*kind, true),
        several => {
            one_kind(reader, entry, table, several);
            // The same run reports the other mistakes of the entry.
            (several.first().copied().unwrap_or("http"), false)
        }
    };
    if is_one {
        misplaced(reader, &section, table, kind);
    }
    let measure = if is_one { measure(reader, entry, &section, kind, of) } else { None };
    let told = matches!(measure, Some(Source::Told(_)));
    let (kind, target) = match &measure {
        Some(Source::Measured(Measure::Probe(probe))) => (probe.kind(), probe.target()),
        Some(Source::Measured(Measure::Command { spec, nagios, .. })) => {
            (if *nagios { ProbeKind::Nagios } else { ProbeKind::Exec }, command_line(spec))
        }
        Some(Source::Measured(Measure::Push(schedule))) => (ProbeKind::Push, schedule.to_string()),
        Some(Source::Measured(Measure::Resource(bounds))) => (ProbeKind::Resource, bounds.to_string()),
        Some(Source::Told(_)) => (ProbeKind::Notify, SD_NOTIFY.to_owned()),
        Some(Source::Process) => (ProbeKind::Process, "pid".to_owned()),
        None if ["exec", "nagios"].contains(&kind) => (ProbeKind::Exec, String::new()),
        None => (ProbeKind::Http, String::new()),
    };
    let mut info = basic(kind.as_str(), kind, &target);
    if let Some(name) = section.get("name").and_then(|entry| reader.text(&entry)) {
        info.name = name;
    }
    if told {
        info.thresholds = once();
    } else if info.kind == ProbeKind::Push {
        (info.thresholds, info.interval, info.timeout) = (once(), PUSH_INTERVAL, PUSH_INTERVAL);
    } else {
        timing(reader, &section, entry, &mut info);
        info.thresholds = thresholds(reader, &section);
    }
    if let Some(role) = section.get("role") {
        info.role = reader
            .word(&role, &[("live", Role::Live), ("ready", Role::Ready), ("info", Role::Info)])
            .unwrap_or(info.role);
    }
    let grace = reader.duration(&section, "grace");
    Some(match measure? {
        Source::Measured(measure) => (measured(info, grace), Some(measure)),
        Source::Told(watchdog) => notify_pair(info, watchdog),
        Source::Process => process_pair(info),
    })
}

/// Where the results of a probe come from.
enum Source {
    Measured(Measure),
    Told(Option<Duration>),
    Process,
}

/// The probe of an entry; `None` when it is refused.
fn measure(
    reader: &Reader<'_>,
    entry: &Entry<'_>,
    section: &Section<'_>,
    kind: &str,
    of: &Of<'_>,
) -> Option<Source> {
    let times = Times::read(reader, section);
    let probe = |probe: Probe| Source::Measured(Measure::Probe(Arc::new(times.of(probe))));
    match kind {
        "http" => probe::http(reader, section, of.dir).map(|http| probe(http.into())),
        "tcp" | "unix" => probe::tcp(reader, section, kind, of.dir).map(|tcp| probe(tcp.into())),
        "tls" => probe::tls(reader, section, of.dir).map(|tls| probe(tls.into())),
        "file" => probe::file(reader, section, of.dir).map(|file| probe(file.into())),
        "grpc" => probe::grpc(reader, section, of.dir).map(|grpc| probe(grpc.into())),
        "dns" => probe::dns(reader, section).map(|dns| probe(dns.into())),
        "redis" | "postgres" => probe::server(reader, section, kind, of.dir).map(probe),
        "exec" | "nagios" => {
            let argv = reader.command(&section.get(kind)?)?;
            let nagios = kind == "nagios";
            Some(Source::Measured(Measure::Command { spec: (of.command)(argv), nagios, slow: times.slow }))
        }
        "resource" => resource::read(reader, entry, section, of.dir, of.runs)
            .map(|bounds| Source::Measured(Measure::Resource(bounds))),
        "push" => push::read(reader, section).map(|schedule| Source::Measured(Measure::Push(schedule))),
        "notify" => {
            let watchdog = watchdog(reader, section);
            notify(reader, entry, section, of.runs)?;
            Some(Source::Told(watchdog))
        }
        _ => process(reader, entry, section, of.runs).map(|()| Source::Process),
    }
}

/// A probe is of exactly one kind.
fn one_kind(reader: &Reader<'_>, entry: &Entry<'_>, table: &Dict, kinds: &[&str]) {
    // A key that means a kind has been refused with ours.
    let is_meant = |key: &String| keys::find(Table::Health, key).is_none() && words::means_kind(key);
    if kinds.is_empty() && table.keys().any(is_meant) {
        return;
    }
    let found =
        if kinds.is_empty() { "names no kind".to_owned() } else { format!("names {}", kinds.join(" and ")) };
    let message = format!("a probe {found}; it needs exactly one of {}", KINDS.join(", "));
    let several = "for example { tcp = \"127.0.0.1:5432\" }; several probes are a list of tables";
    let help = reader.advised_path(entry, table).filter(|_| kinds.is_empty());
    reader.value_problem(entry, Code::BadProbe, message, "this probe", help.as_deref().unwrap_or(several));
}

/// `notify = true` in a realm that can be asked; `None` when it is refused.
fn notify(reader: &Reader<'_>, probe: &Entry<'_>, section: &Section<'_>, runs: bool) -> Option<()> {
    if !runs {
        let message = "a `notify` probe needs a service with `run`; a oneshot is done when it ends";
        reader.value_problem(probe, Code::BadProbe, message, "this probe", "remove it");
        return None;
    }
    let entry = section.get("notify")?;
    if !reader.boolean(&entry)? {
        let help = "leave it out where the realm says nothing of itself";
        reader.value_problem(&entry, Code::BadProbe, "`notify` takes true", "here", help);
        return None;
    }
    Some(())
}

fn watchdog(reader: &Reader<'_>, section: &Section<'_>) -> Option<Duration> {
    let watchdog = reader.duration(section, "watchdog")?;
    if watchdog.is_zero()
        && let Some(entry) = section.get("watchdog")
    {
        let help = "for example watchdog = \"30s\", or leave it out for none";
        reader.value_problem(&entry, Code::BadTiming, "`watchdog` must be longer than zero", "here", help);
    }
    Some(watchdog).filter(|watchdog| !watchdog.is_zero())
}

/// `process = true` in a realm that has one; `None` when it is refused.
fn process(reader: &Reader<'_>, probe: &Entry<'_>, section: &Section<'_>, runs: bool) -> Option<()> {
    if !runs {
        let message = "a `process` probe needs a service with `run`; a oneshot is judged by its exit";
        reader.value_problem(probe, Code::BadProbe, message, "this probe", "remove it");
        return None;
    }
    let entry = section.get("process")?;
    if !reader.boolean(&entry)? {
        let help = "every service with `run` has its process watched";
        reader.value_problem(&entry, Code::BadProbe, "`process` takes true", "here", help);
        return None;
    }
    Some(())
}

/// Keys of another kind are refused, not ignored.
fn misplaced(reader: &Reader<'_>, section: &Section<'_>, table: &Dict, kind: &str) {
    for key in table.keys().filter(|key| !means_something(kind, key)) {
        if let Some(entry) = section.get(key) {
            let message = format!("`{key}` means nothing for a {kind} probe");
            let help = advice::in_this_kind(kind, key, table);
            reader.value_problem(
                &entry,
                Code::MisplacedKey,
                message,
                "here",
                help.as_deref().unwrap_or("remove it"),
            );
        }
    }
}

/// A command as people read it.
fn command_line(spec: &LaunchSpec) -> String {
    let words: Vec<_> = spec.argv.iter().map(|word| word.to_string_lossy()).collect();
    sanitise_line(&words.join(" "))
}

fn timing(reader: &Reader<'_>, section: &Section<'_>, entry: &Entry<'_>, info: &mut ProbeInfo) {
    let interval = reader.duration(section, "interval");
    let timeout = reader.duration(section, "timeout");
    info.interval = interval.unwrap_or(INTERVAL);
    // A short interval alone asks for a timeout that fits.
    info.timeout = timeout.unwrap_or(TIMEOUT.min(info.interval));
    let at = |key: &str| section.get(key).unwrap_or_else(|| entry.clone());
    let mut fits = true;
    let mut refuse = |key: &str, message: String, label: &str, help: &str| {
        fits = false;
        reader.value_problem(&at(key), Code::BadTiming, message, label, help);
    };
    for (key, time) in [("interval", info.interval), ("timeout", info.timeout)] {
        if time.is_zero() && (key == "interval" || timeout.is_some()) {
            let help = format!("for example {key} = \"2s\"");
            refuse(key, format!("`{key}` must be longer than zero"), "here", &help);
        }
    }
    if info.kind.runs_a_command() && !info.interval.is_zero() && info.interval < EXEC_MIN_INTERVAL {
        let message = "a probe that runs a command runs at most once per second".to_owned();
        refuse("interval", message, "too often", "write interval = \"1s\" or more");
    }
    if info.timeout > info.interval && !info.interval.is_zero() {
        let message =
            format!("`timeout` ({:?}) is longer than `interval` ({:?})", info.timeout, info.interval);
        let text = crate::defaults::duration;
        let help = format!(
            "one measurement runs at a time: write timeout = {}, or interval = {}",
            text(info.interval),
            text(info.timeout)
        );
        refuse("timeout", message, "longer than the interval", &help);
    }
    // Read with the measure: one that is wrong has been refused there.
    let read = |key: &str| {
        let text = section.get(key)?.value.as_str()?.to_owned();
        parse_duration(&text).ok()
    };
    for key in ["slow", "max_latency"] {
        if let Some(bound) = read(key).filter(|bound| fits && *bound > info.timeout) {
            let text = crate::defaults::duration;
            let message = format!(
                "`{key}` ({bound:?}) is longer than `timeout` ({:?}): a check that takes so long has failed before",
                info.timeout
            );
            let help = format!(
                "write {key} = {}; for {bound:?}, `timeout` and `interval` have to be at least as long",
                text(info.timeout / 2)
            );
            reader.value_problem(&at(key), Code::BadTiming, message, "never reached", &help);
        }
    }
    if fits {
        return;
    }
    (info.interval, info.timeout) = (INTERVAL, TIMEOUT);
}

fn thresholds(reader: &Reader<'_>, section: &Section<'_>) -> Thresholds {
    let default = Thresholds::default();
    let window = section.get("fail_if").and_then(|entry| {
        reader.parsed(&entry, "3 of 5", |text| {
            let (fails, of) =
                text.split_once(" of ").ok_or_else(|| format!("`{text}` is not like \"3 of 5\""))?;
            let parse = |part: &str| {
                part.trim().parse::<u32>().map_err(|_| format!("`{text}` is not like \"3 of 5\""))
            };
            FailWindow::new(parse(fails)?, parse(of)?).map_err(|error| error.to_string())
        })
    });
    let [fails, passes] =
        [("fail_after", default.fail_after()), ("pass_after", default.pass_after())].map(|(key, default)| {
            let read = section.get(key);
            let read = read.and_then(|entry| {
                let within = bounds::RESULTS;
                reader.within(&entry, "a number of results", within, Code::BadThreshold)
            });
            read.unwrap_or(default)
        });
    Thresholds::new(fails, passes, window).unwrap_or(default)
}
