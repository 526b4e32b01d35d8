//! `[heartbeat]`: heartbeatd itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_probe::{Network, Probe, UrlError};
use heartbeat_status::parse_size;
use heartbeat_supervisor::{FuseSettings, PlanSettings};

use crate::bounds;
use crate::code::Code;
use crate::config::{Heartbeat, ListenerTls};
use crate::defaults;
use crate::diagnostic::Diagnostic;
use crate::endpoint;
use crate::keys::{self, Table};
use crate::reader::{Entry, Reader, Section, beside};
use crate::sources::{EARLY_KEYS, Sources};
use crate::units;

/// Longest path of a Unix socket, in bytes.
pub(crate) const MAX_SOCKET_BYTES: usize = 107;

/// Shortest time of `history`: one day.
const MIN_HISTORY: Duration = Duration::from_secs(86_400);
/// Smallest `history_max`, in bytes.
const MIN_HISTORY_BYTES: u64 = 1 << 20;

pub(crate) fn read(reader: &Reader<'_>, section: &Section<'_>, sources: &Sources, dir: &Path) -> Heartbeat {
    let text = |key: &str| section.get(key).and_then(|entry| reader.text(&entry));
    let path = |key: &str| {
        let entry = section.get(key)?;
        let path = reader.text(&entry)?;
        reader.only_in_a_shell(&entry, &path);
        Some(dir.join(path))
    };
    let time = |key: &str, default: Duration| reader.duration(section, key).unwrap_or(default);
    let env = |name: &str| sources.env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let runtime_dir = path("runtime_dir");
    let in_runtime_dir = || runtime_dir.as_deref().map(socket_in);
    let socket = path("socket").or_else(in_runtime_dir).unwrap_or_else(|| {
        match env("XDG_RUNTIME_DIR").filter(|_| !is_root()) {
            Some(runtime) => socket_in(&runtime.join("heartbeat")),
            None => defaults::SOCKET.into(),
        }
    });
    can_be_bound(reader, section, &socket);
    let places_of_its_own =
        |dir: Option<PathBuf>, key: &str| dir.filter(|dir| is_its_own(reader, section, key, dir));
    let runtime_dir = places_of_its_own(runtime_dir, "runtime_dir");
    let state_dir = places_of_its_own(path("state_dir"), "state_dir").unwrap_or_else(|| {
        let home = || env("HOME").map(|home| home.join(".local").join("state"));
        match env("XDG_STATE_HOME").or_else(home).filter(|_| !is_root()) {
            Some(state) => state.join("heartbeat"),
            None => defaults::STATE_DIR.into(),
        }
    });
    let runtime_dir = runtime_dir.unwrap_or_else(|| socket.parent().unwrap_or(Path::new("/")).to_owned());
    is_free(reader, section, &socket, (&state_dir, &runtime_dir));
    let count = |key: &str, bounds: (i64, i64), default: usize| {
        section.get(key).and_then(|entry| reader.ranged(&entry, "a number", bounds)).unwrap_or(default)
    };
    early(reader, section);
    let cores =
        std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let start_parallel =
        count("start_parallel", bounds::STARTS, (cores * defaults::START_PARALLEL_PER_CORE) as usize);
    let formats = [("auto", "auto"), ("pretty", "pretty"), ("json", "json")];
    Heartbeat {
        name: text("name").unwrap_or_else(host_name),
        listen: listen(reader, section),
        tls: tls(reader, section, dir),
        socket_mode: section
            .get("socket_mode")
            .and_then(|entry| reader.mode(&entry, "0660"))
            .unwrap_or(defaults::SOCKET_MODE),
        socket_group: socket_group(reader, section),
        hosts: hosts(reader, section),
        token_file: path("token_file"),
        log: section
            .get("log")
            .and_then(|entry| reader.parsed(&entry, defaults::LOG, units::log_filter))
            .unwrap_or_else(|| defaults::LOG.to_owned()),
        log_format: section
            .get("log_format")
            .and_then(|entry| reader.word(&entry, &formats))
            .unwrap_or("auto")
            .to_owned(),
        cgroups: section
            .get("cgroups")
            .and_then(|entry| reader.word(&entry, &[("auto", true), ("off", false)]))
            .unwrap_or(true),
        boot_deadline: time("boot_deadline", defaults::BOOT_DEADLINE),
        shutdown_timeout: time("shutdown_timeout", PlanSettings::default().shutdown_timeout),
        start_parallel: u32::try_from(start_parallel).unwrap_or(u32::MAX),
        max_probes_in_flight: count(
            "max_probes_in_flight",
            bounds::DESCRIPTORS,
            defaults::MAX_PROBES_IN_FLIGHT,
        ),
        max_connections: count("max_connections", bounds::DESCRIPTORS, defaults::MAX_CONNECTIONS),
        reference: reference(reader, section),
        ping: url(reader, section, ("ping", "ping URL")),
        otlp: url(reader, section, ("otlp", "URL of a collector")),
        register_networks: networks(reader, section),
        fuse: fuse(reader, &section.table(reader, "fuse")),
        history: history(reader, section),
        history_max_bytes: history_max(reader, section),
        socket,
        state_dir,
        runtime_dir,
    }
}

fn history(reader: &Reader<'_>, section: &Section<'_>) -> Duration {
    let Some(entry) = section.get("history") else { return defaults::HISTORY };
    let read = reader.parsed(&entry, "2y", units::long_duration);
    if read.is_some_and(|time| time < MIN_HISTORY) {
        let message = "`history` is at least 1d";
        reader.value_problem(&entry, Code::OutOfRange, message, "here", "for example history = \"90d\"");
    }
    read.unwrap_or(defaults::HISTORY)
}

fn history_max(reader: &Reader<'_>, section: &Section<'_>) -> u64 {
    let Some(entry) = section.get("history_max") else { return defaults::HISTORY_MAX_BYTES };
    let read = reader.parsed(&entry, "256MiB", parse_size);
    if read.is_some_and(|bytes| bytes < MIN_HISTORY_BYTES) {
        let message = "`history_max` is at least 1MiB";
        let help = "for example history_max = \"64MiB\"";
        reader.value_problem(&entry, Code::OutOfRange, message, "here", help);
    }
    read.unwrap_or(defaults::HISTORY_MAX_BYTES)
}

fn socket_group(reader: &Reader<'_>, section: &Section<'_>) -> Option<u32> {
    let entry = section.get("socket_group")?;
    let name = reader.text(&entry)?;
    match reader.files.ask(format!("the group {name}"), || heartbeat_process::group_id(&name)) {
        Ok(gid) => Some(gid),
        Err(error) => {
            let help = "a group of this machine, by name or number; `getent group` lists them";
            reader.value_problem(&entry, Code::NoSuchUser, error.to_string(), "here", help);
            None
        }
    }
}

fn hosts(reader: &Reader<'_>, section: &Section<'_>) -> Vec<String> {
    let Some(entry) = section.get("hosts") else { return Vec::new() };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host = |item: &Entry<'_>| {
        let name = reader.text(item)?;
        if !name.is_empty() && name.chars().all(plain) {
            return Some(name.to_ascii_lowercase());
        }
        let message = format!("`{name}` is not the name of a host");
        let help = "leave out the scheme and the port, for example \"monitor.example.org\"";
        reader.value_problem(item, Code::BadListen, message, "here", help);
        None
    };
    reader.items(&entry).iter().filter_map(host).collect()
}

/// Directories of the system, in which each program has one of its own.
const OF_THE_SYSTEM: [&str; 24] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/dev/shm",
    "/etc",
    "/home",
    "/lib",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/run/lock",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/tmp",
];

/// Whether a directory may be one of heartbeatd alone: it makes files there, and takes what is there for its own.
fn is_its_own(reader: &Reader<'_>, section: &Section<'_>, key: &str, dir: &Path) -> bool {
    let tidy: PathBuf = dir.components().collect();
    let is_shared = OF_THE_SYSTEM.iter().any(|shared| tidy == Path::new(shared));
    if let Some(entry) = section.get(key).filter(|_| is_shared) {
        let message = format!("{} belongs to the system, and `{key}` to heartbeatd alone", tidy.display());
        let help = format!("write {key} = {:?}", tidy.join("heartbeat"));
        reader.value_problem(&entry, Code::OwnFile, message, "here", &help);
    }
    !is_shared
}

/// What heartbeatd makes in its state directory, and in its runtime directory.
const IN_STATE_DIR: [&str; 11] = [
    "lock",
    "daemon",
    "id",
    "intent",
    "beats",
    "ecosystem",
    "alive",
    "incidents.db",
    "history.db",
    "log",
    "run",
];
const IN_RUNTIME_DIR: [&str; 3] = ["realms", "notify", "ready"];

/// Refuses a socket in a place that heartbeatd needs for something else.
fn is_free(reader: &Reader<'_>, section: &Section<'_>, socket: &Path, (state, runtime): (&Path, &Path)) {
    let of_state = IN_STATE_DIR.iter().map(|name| state.join(name));
    let taken = of_state.chain(IN_RUNTIME_DIR.iter().map(|name| runtime.join(name)));
    let taken = taken.chain([state.to_owned(), runtime.to_owned()]);
    let is_in = |place: &PathBuf| {
        *socket == *place || (place != state && place != runtime && socket.starts_with(place))
    };
    if let Some(place) = taken.into_iter().find(is_in)
        && let Some(entry) = section.get("socket")
    {
        let message =
            format!("heartbeatd keeps something else at {}, so the socket cannot be there", place.display());
        let help = format!("write socket = {:?}, or leave it out", socket_in(runtime));
        reader.value_problem(&entry, Code::OwnFile, message, "here", &help);
    }
}

/// The socket of a heartbeatd whose `socket` is not configured, in its runtime directory.
pub(crate) fn socket_in(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("heartbeat.sock")
}

/// A Unix socket has a short path.
fn can_be_bound(reader: &Reader<'_>, section: &Section<'_>, socket: &Path) {
    let length = socket.as_os_str().len();
    if length <= MAX_SOCKET_BYTES {
        return;
    }
    let message = format!("the path of the socket has {length} bytes; {MAX_SOCKET_BYTES} are possible");
    let help =
        "write a shorter `socket` or `runtime_dir`, for example socket = \"/run/heartbeat/heartbeat.sock\"";
    match section.get("socket").or_else(|| section.get("runtime_dir")) {
        Some(entry) => reader.value_problem(&entry, Code::LongSocketPath, message, "too long", help),
        None => {
            reader.push(Diagnostic::new(Code::LongSocketPath, message).said_by("XDG_RUNTIME_DIR").help(help))
        }
    }
}

fn fuse(reader: &Reader<'_>, section: &Section<'_>) -> FuseSettings {
    let default = FuseSettings::default();
    let number = |key: &str, default: u32, bounds: (i64, i64)| {
        section.get(key).and_then(|entry| reader.ranged(&entry, "a number", bounds)).unwrap_or(default)
    };
    let time = |key: &str, default: Duration| reader.duration(section, key).unwrap_or(default);
    FuseSettings {
        unhealthy_percent: number("unhealthy_percent", default.unhealthy_percent, bounds::PERCENT),
        min_realms: number("min_realms", default.min_realms, bounds::REALMS),
        window: time("window", default.window),
        hold: time("hold", default.hold),
        restarts: number("restarts", default.restarts, bounds::RESTARTS),
        per: time("per", default.per),
        parallel: number("parallel", default.parallel, bounds::REALMS),
    }
}

/// URLs of probes, which are kept as texts: each is a probe, as it was read.
fn reference(reader: &Reader<'_>, section: &Section<'_>) -> Vec<String> {
    let Some(entry) = section.get("reference") else { return Vec::new() };
    let parse = |text: &str| {
        let parsed: Result<Probe, UrlError> = text.parse();
        parsed.map(|_| text.to_owned()).map_err(|error| error.to_string())
    };
    reader
        .items(&entry)
        .iter()
        .filter_map(|item| reader.parsed(item, "tcp://192.168.1.1:53", parse))
        .collect()
}

fn url(reader: &Reader<'_>, section: &Section<'_>, (key, what): (&str, &str)) -> Option<String> {
    let entry = section.get(key)?;
    let url = reader.text(&entry)?;
    let example = keys::find(Table::Heartbeat, key).map_or("", |key| key.example);
    let refused = endpoint::refusal(&url, None, what, example);
    if let Some((why, help)) = &refused {
        reader.value_problem(&entry, Code::BadReceiver, why.clone(), "here", help);
    }
    refused.is_none().then_some(url)
}

fn networks(reader: &Reader<'_>, section: &Section<'_>) -> Vec<Network> {
    let Some(entry) = section.get("register_networks") else { return Vec::new() };
    let parse = |text: &str| text.parse().map_err(|error: heartbeat_probe::NetworkError| error.to_string());
    reader.items(&entry).iter().filter_map(|item| reader.parsed(item, "10.0.0.0/8", parse)).collect()
}

/// What was used before everything was layered: only the plain texts of the first file could be.
fn early(reader: &Reader<'_>, section: &Section<'_>) {
    for key in EARLY_KEYS {
        let Some(entry) = section.get(key) else { continue };
        if reader.place(&entry.path).is_none() {
            let help = "it is needed before flags are: write it into the file";
            reader.value_problem(
                &entry,
                Code::BadOverride,
                format!("`{key}` is read from the file only"),
                "here",
                help,
            );
        }
        let items = if key == "include" { reader.items(&entry) } else { vec![entry] };
        for item in items {
            if item.value.as_str().is_some_and(|text| text.contains("${")) {
                let message = format!("`{key}` is read before there are variables");
                reader.value_problem(
                    &item,
                    Code::Variable,
                    message,
                    "in this string",
                    "write the path as it is",
                );
            } else {
                reader.text(&item);
            }
        }
    }
}

fn listen(reader: &Reader<'_>, section: &Section<'_>) -> Option<SocketAddr> {
    let Some(entry) = section.get("listen") else { return Some(defaults::LISTEN) };
    let text = reader.text(&entry)?;
    if text == "off" {
        return None;
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => return Some(address),
        Ok(address) => {
            let by_certificate = section.table(reader, "tls").get("client_ca").is_some();
            let is_missing =
                |key: &&str| section.get(key).is_none() && !(by_certificate && *key == "token_file");
            let missing: Vec<&str> = ["tls", "token_file"].into_iter().filter(is_missing).collect();
            if missing.is_empty() {
                return Some(address);
            }
            let message = format!(
                "{address} is not a loopback address, and there is no `{}`",
                missing.join("` and no `")
            );
            let help = "add tls = { cert = \"/etc/heartbeat/cert.pem\", key = \"/etc/heartbeat/key.pem\" } and token_file = \"/etc/heartbeat/token\", or use 127.0.0.1 and a reverse proxy";
            reader.value_problem(&entry, Code::BadListen, message, "not loopback", help);
        }
        Err(_) => reader.value_problem(
            &entry,
            Code::BadListen,
            format!("`{text}` is not an address"),
            "here",
            "for example \"127.0.0.1:4327\", or \"off\"",
        ),
    }
    None
}

/// Both files, relative to the file that names them.
fn tls(reader: &Reader<'_>, section: &Section<'_>, dir: &Path) -> Option<ListenerTls> {
    let entry = section.get("tls")?;
    let below = section.table(reader, "tls");
    let path = |key: &str| {
        let entry = below.get(key)?;
        Some(beside(reader, &entry, dir, &reader.text(&entry)?))
    };
    let (cert, key, client_ca) = (path("cert"), path("key"), path("client_ca"));
    for key in ["cert", "key"].into_iter().filter(|key| below.get(key).is_none()) {
        let message = format!("`tls` has no `{key}`: it takes a certificate and its private key");
        let help =
            "for example tls = { cert = \"/etc/heartbeat/cert.pem\", key = \"/etc/heartbeat/key.pem\" }";
        reader.value_problem(&entry, Code::BadListen, message, "here", help);
    }
    Some(ListenerTls { cert: cert?, key: key?, client_ca })
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
