//! The probes of a realm: what is implied by `port` and `run`, and what `health` says.

use std::time::Duration;

use figment::value::{Dict, Value};
use heartbeat_probe::{HttpProbe, Probe, StatusSet, TcpProbe};
use heartbeat_status::{FailWindow, ProbeInfo, ProbeIx, ProbeKind, Role, Thresholds};
use heartbeat_supervisor::{ProbeSource, ProbeSpec};

use crate::keys::Table;
use crate::reader::{Entry, Reader, Section};
use crate::units;

/// What the ecosystem's own realms answer on.
const HEALTH_PATH: &str = "/api/health/";
const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

/// A probe for the core, and what measures it.
pub(crate) type Pair = (ProbeSpec, Option<Probe>);

/// All probes of a realm, in the order in which they are shown.
pub(crate) fn probes(
    reader: &Reader<'_>,
    realm: &Section<'_>,
    host: &str,
    port: Option<u16>,
    runs: bool,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut process = None;
    match (realm.get("health"), port) {
        (Some(health), _) => {
            for entry in reader.items(&health) {
                match explicit(reader, &entry, runs) {
                    Some(pair) if pair.0.source == ProbeSource::Process => process = Some(pair),
                    Some(pair) => pairs.push(pair),
                    None => {}
                }
            }
        }
        (None, Some(port)) => pairs.extend(implied(reader, realm, host, port)),
        (None, None) => {}
    }
    if let Some(port) = port {
        pairs.push(port_fact(&pairs, host, port));
    }
    if runs {
        pairs.push(process.unwrap_or_else(|| process_pair(basic("process", ProbeKind::Process, "pid"))));
    }
    for (at, (spec, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(other, _)| other.info.name == spec.info.name)
            && let Some(entry) = realm.get("health")
        {
            let message = format!("two probes of this realm are called `{}`", spec.info.name);
            reader.value_problem(&entry, "HB112", message, "here", "give each a `name` of its own");
        }
    }
    pairs
}

fn basic(name: &str, kind: ProbeKind, target: &str) -> ProbeInfo {
    ProbeInfo {
        name: name.to_owned(),
        kind,
        role: Role::Live,
        target: target.to_owned(),
        thresholds: Thresholds::default(),
        interval: INTERVAL,
        timeout: TIMEOUT,
    }
}

/// The four facts of the ecosystem: GET `/api/health/` = 200, in time, on the port (and the process).
fn implied(reader: &Reader<'_>, realm: &Section<'_>, host: &str, port: u16) -> Option<Pair> {
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let url = format!("http://{authority}{HEALTH_PATH}");
    let probe = StatusSet::only(200).and_then(|only| Ok(HttpProbe::new(&url)?.with_status(only)));
    match probe {
        Ok(probe) => {
            let info = basic("http", ProbeKind::Http, &probe.target());
            Some((measured(info, None), Some(probe.into())))
        }
        Err(error) => {
            if let Some(entry) = realm.get("host") {
                reader.value_problem(&entry, "HB111", error.to_string(), "this host", "");
            }
            None
        }
    }
}

const fn measured(info: ProbeInfo, grace: Option<Duration>) -> ProbeSpec {
    ProbeSpec { info, source: ProbeSource::Measured, grace }
}

fn process_pair(info: ProbeInfo) -> Pair {
    (ProbeSpec { info, source: ProbeSource::Process, grace: None }, None)
}

/// The port fact: from a probe that connects there anyway, else a connection of its own.
fn port_fact(pairs: &[Pair], host: &str, port: u16) -> Pair {
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let connects = |probe: &Option<Probe>| {
        probe.as_ref().is_some_and(|probe| {
            let seen = probe.target();
            let seen = seen.strip_prefix("http://").unwrap_or(&seen);
            seen.split('/').next() == Some(target.as_str())
        })
    };
    let mut info = basic("port", ProbeKind::Port, &target);
    match pairs.iter().position(|(_, probe)| connects(probe)) {
        Some(at) => {
            let of = &pairs[at].0.info;
            (info.thresholds, info.interval, info.timeout) = (of.thresholds, of.interval, of.timeout);
            let source = ProbeSource::PortOf(ProbeIx(u16::try_from(at).unwrap_or(u16::MAX)));
            (ProbeSpec { info, source, grace: pairs[at].0.grace }, None)
        }
        None => (measured(info, None), TcpProbe::new(&target).ok().map(Probe::from)),
    }
}

/// One entry of `health`.
fn explicit(reader: &Reader<'_>, entry: &Entry<'_>, runs: bool) -> Option<Pair> {
    match entry.value {
        Value::String(..) => {
            let text = reader.text(entry)?;
            let probe = from_text(reader, entry, &text)?;
            Some((measured(basic(probe.kind().as_str(), probe.kind(), &probe.target()), None), Some(probe)))
        }
        Value::Dict(_, table) => table_entry(reader, entry, table, runs),
        _ => {
            reader.value_problem(
                entry,
                "HB110",
                "`health` takes a URL, a table, or a list of tables",
                "not one of them",
                "for example health = \"http://127.0.0.1:8001/api/health/\"",
            );
            None
        }
    }
}

fn from_text(reader: &Reader<'_>, entry: &Entry<'_>, text: &str) -> Option<Probe> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let built = match scheme {
        Some("http") => HttpProbe::new(text).map(Probe::from).map_err(|error| error.to_string()),
        Some("tcp") => TcpProbe::new(&text[6..]).map(Probe::from).map_err(|error| error.to_string()),
        Some(
            other @ ("https" | "postgres" | "postgresql" | "redis" | "unix" | "grpc" | "tls" | "dns" | "ws"
            | "wss"),
        ) => Err(format!(
            "{other}:// is not supported by this version of heartbeat; there are http:// and tcp://"
        )),
        Some(other) => Err(format!("`{other}` is not a kind of probe; there are http:// and tcp://")),
        None => Err(format!("`{text}` is not a URL")),
    };
    built
        .map_err(|why| {
            reader.value_problem(
                entry,
                "HB111",
                why,
                "this probe",
                "for example \"http://127.0.0.1:8001/api/health/\" or \"tcp://127.0.0.1:5432\"",
            )
        })
        .ok()
}

fn table_entry(reader: &Reader<'_>, entry: &Entry<'_>, table: &Dict, runs: bool) -> Option<Pair> {
    reader.check_keys(Table::Health, &entry.path, table);
    let section = Section::new(entry.path.clone(), table);
    let kinds: Vec<&str> =
        ["http", "tcp", "process"].into_iter().filter(|kind| table.contains_key(*kind)).collect();
    let [kind] = kinds.as_slice() else {
        let later =
            table.keys().any(|key| crate::keys::find(Table::Health, key).is_some_and(|key| !key.built));
        if !kinds.is_empty() || !later {
            let found = if kinds.is_empty() {
                "names no kind".to_owned()
            } else {
                format!("names {}", kinds.join(" and "))
            };
            reader.value_problem(
                entry,
                "HB110",
                format!("a probe {found}; it needs exactly one of http, tcp, process"),
                "this probe",
                "",
            );
        }
        return None;
    };
    misplaced(reader, &section, table, kind);
    let probe = match *kind {
        "http" => Some(http(reader, &section)?.into()),
        "tcp" => Some(tcp(reader, &section)?.into()),
        _ => {
            if !runs {
                reader.value_problem(
                    entry,
                    "HB110",
                    "a `process` probe needs a service with `run`; a oneshot is judged by its exit",
                    "this probe",
                    "",
                );
                return None;
            }
            let entry = section.get("process")?;
            if reader.boolean(&entry)? {
                None
            } else {
                reader.value_problem(
                    &entry,
                    "HB110",
                    "`process` takes true",
                    "here",
                    "every service with `run` has its process watched",
                );
                return None;
            }
        }
    };
    let (kind, target) = probe
        .as_ref()
        .map_or((ProbeKind::Process, "pid".to_owned()), |probe: &Probe| (probe.kind(), probe.target()));
    let mut info = basic(kind.as_str(), kind, &target);
    if let Some(name) = section.get("name").and_then(|entry| reader.text(&entry)) {
        info.name = name;
    }
    timing(reader, &section, entry, &mut info);
    info.thresholds = thresholds(reader, &section, entry);
    if let Some(role) = section.get("role") {
        info.role = reader
            .word(&role, &[("live", Role::Live), ("ready", Role::Ready), ("info", Role::Info)])
            .unwrap_or(Role::Live);
    }
    let grace = reader.duration(&section, "grace");
    Some(match probe {
        Some(probe) => (measured(info, grace), Some(probe)),
        None => process_pair(info),
    })
}

/// Keys of another kind are refused, not ignored.
fn misplaced(reader: &Reader<'_>, section: &Section<'_>, table: &Dict, kind: &str) {
    let of_http = ["method", "headers", "body", "status", "contains", "matches", "json"];
    let of_tcp = ["send", "expect"];
    for key in table.keys() {
        let stranger = (kind != "http" && of_http.contains(&key.as_str()))
            || (kind != "tcp" && of_tcp.contains(&key.as_str()))
            || (kind == "process" && (key == "slow" || key == "grace"));
        if stranger && let Some(entry) = section.get(key) {
            reader.value_problem(
                &entry,
                "HB113",
                format!("`{key}` means nothing for a {kind} probe"),
                "here",
                "remove it",
            );
        }
    }
}

fn timing(reader: &Reader<'_>, section: &Section<'_>, entry: &Entry<'_>, info: &mut ProbeInfo) {
    let interval = reader.duration(section, "interval");
    let timeout = reader.duration(section, "timeout");
    info.interval = interval.unwrap_or(INTERVAL);
    // A short interval alone asks for a timeout that fits.
    info.timeout = timeout.unwrap_or(TIMEOUT.min(info.interval));
    if info.timeout.is_zero() || info.interval.is_zero() {
        reader.value_problem(
            entry,
            "HB114",
            "`interval` and `timeout` must be longer than zero",
            "this probe",
            "",
        );
    } else if info.timeout > info.interval {
        let message =
            format!("`timeout` ({:?}) is longer than `interval` ({:?})", info.timeout, info.interval);
        let help = "one measurement is in flight at a time: lower the timeout or raise the interval";
        reader.value_problem(entry, "HB114", message, "this probe", help);
    } else {
        return;
    }
    (info.interval, info.timeout) = (INTERVAL, TIMEOUT);
}

fn thresholds(reader: &Reader<'_>, section: &Section<'_>, entry: &Entry<'_>) -> Thresholds {
    let number = |key: &str, default: u32| {
        section.get(key).and_then(|entry| reader.number(&entry, "a number of results")).unwrap_or(default)
    };
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
    match Thresholds::new(
        number("fail_after", default.fail_after()),
        number("pass_after", default.pass_after()),
        window,
    ) {
        Ok(thresholds) => thresholds,
        Err(error) => {
            reader.value_problem(entry, "HB115", error.to_string(), "this probe", "");
            default
        }
    }
}

fn http(reader: &Reader<'_>, section: &Section<'_>) -> Option<HttpProbe> {
    let entry = section.get("http")?;
    let url = reader.text(&entry)?;
    let refuse = |entry: &Entry<'_>, why: String| reader.value_problem(entry, "HB111", why, "here", "");
    let mut probe = match HttpProbe::new(&url) {
        Ok(probe) => probe,
        Err(error) => {
            refuse(&entry, error.to_string());
            return None;
        }
    };
    let mut apply = |key: &str, change: &dyn Fn(HttpProbe, &str) -> Result<HttpProbe, String>| {
        if let Some(entry) = section.get(key)
            && let Some(text) = reader.text(&entry)
        {
            match change(probe.clone(), &text) {
                Ok(changed) => probe = changed,
                Err(why) => refuse(&entry, why),
            }
        }
    };
    apply("method", &|probe, text| probe.with_method(text).map_err(|error| error.to_string()));
    apply("body", &|probe, text| Ok(probe.with_body(text.to_owned())));
    apply("contains", &|probe, text| Ok(probe.with_contains(text)));
    apply("matches", &|probe, text| probe.with_matches(text).map_err(|error| error.to_string()));
    if let Some(entry) = section.get("status")
        && let Some(set) = statuses(reader, &entry)
    {
        probe = probe.with_status(set);
    }
    for (name, value) in reader.pairs(section, "headers") {
        match probe.clone().with_header(&name, &value) {
            Ok(changed) => probe = changed,
            Err(error) => refuse(&entry, error.to_string()),
        }
    }
    if let Some(json) = section.get("json") {
        match json.value {
            Value::Dict(_, pointers) => {
                for (pointer, expected) in pointers {
                    match probe.clone().with_json(pointer, to_json(expected)) {
                        Ok(changed) => probe = changed,
                        Err(error) => refuse(&json, error.to_string()),
                    }
                }
            }
            _ => refuse(&json, "`json` takes a table of JSON pointers: { \"/status\" = \"ok\" }".to_owned()),
        }
    }
    if let Some(slow) = reader.duration(section, "slow") {
        probe = probe.with_slow(slow);
    }
    Some(probe)
}

fn statuses(reader: &Reader<'_>, entry: &Entry<'_>) -> Option<StatusSet> {
    let mut parts = Vec::new();
    for item in reader.items(entry) {
        match item.value {
            Value::Num(..) => parts.push(reader.number::<u16>(&item, "an HTTP status")?.to_string()),
            _ => parts.push(reader.text(&item)?),
        }
    }
    let text = parts.join(",");
    text.parse()
        .map_err(|error: heartbeat_probe::HttpError| {
            reader.value_problem(entry, "HB111", error.to_string(), "here", "")
        })
        .ok()
}

fn tcp(reader: &Reader<'_>, section: &Section<'_>) -> Option<TcpProbe> {
    let entry = section.get("tcp")?;
    let address = reader.text(&entry)?;
    let mut probe = TcpProbe::new(&address)
        .map_err(|error| reader.value_problem(&entry, "HB111", error.to_string(), "here", ""))
        .ok()?;
    let text = |key: &str| section.get(key).and_then(|entry| reader.text(&entry));
    if let Some(send) = text("send") {
        probe = probe.with_send(send);
    }
    if let Some(expect) = text("expect") {
        probe = probe.with_expect(expect);
    }
    if let Some(slow) = reader.duration(section, "slow") {
        probe = probe.with_slow(slow);
    }
    Some(probe)
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(_, text) => text.clone().into(),
        Value::Char(_, c) => c.to_string().into(),
        Value::Bool(_, value) => (*value).into(),
        Value::Num(_, number) => number
            .to_i128()
            .and_then(|number| i64::try_from(number).ok())
            .map_or_else(|| number.to_f64().into(), Into::into),
        Value::Empty(..) => serde_json::Value::Null,
        Value::Dict(_, table) => table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect(),
        Value::Array(_, items) => items.iter().map(to_json).collect(),
    }
}

/// A percentage for [`Reader::parsed`].
pub(crate) fn percentage(text: &str) -> Result<u8, String> {
    units::percentage(text)
}
