//! What to write in place of a line that is wrong: it loads as it stands, since it is made of what was written and of
//! what stands around it.

use figment::value::{Dict, Value};
use heartbeat_status::{nearest, parse_duration};

use crate::defaults::{self, HEALTH_PATH};
use crate::keys::{self, KINDS, Key, OF_TLS, RECEIVERS, Table, means_something};
use crate::translated::{Form, command, fitted, folded, is_probe, whole};
use crate::words;

use Table::{Fuse, Health, Heartbeat, Limits, Log, Notify, Realm, Restart, Slo, Start, Stop};

/// The tables within a realm.
const WITHIN_A_REALM: [Table; 7] = [Start, Stop, Restart, Limits, Log, Slo, Health];

/// A table with a line that is wrong, and the file that it stands in.
pub(crate) struct Context<'a> {
    pub(crate) table: Table,
    pub(crate) path: &'a [String],
    pub(crate) values: &'a Dict,
    pub(crate) root: &'a Dict,
}

impl<'a> Context<'a> {
    /// The realm that the table is, or stands in, with its heading.
    pub(crate) fn realm(&self) -> Option<(String, &'a Dict)> {
        let table = |value: Option<&'a Value>| match value {
            Some(Value::Dict(_, table)) => Some(table),
            _ => None,
        };
        match self.path {
            [first, name, ..] if first == "realm" => {
                let realm = table(table(self.root.get("realm"))?.get(name))?;
                Some((format!("[realm.{name}]"), realm))
            }
            [first, ..] if first == "defaults" => {
                Some(("[defaults]".to_owned(), table(self.root.get("defaults"))?))
            }
            _ => None,
        }
    }

    /// Whether the file has a table at this path.
    pub(crate) fn has(&self, path: &[&str]) -> bool {
        let mut table = Some(self.root);
        for name in path {
            table = match table.and_then(|table| table.get(*name)) {
                Some(Value::Dict(_, inner)) => Some(inner),
                _ => None,
            };
        }
        table.is_some()
    }

    /// The key, in the table itself or in one within it.
    pub(crate) fn line(&self, key: &Key, value: &Value) -> String {
        let name = key.name;
        if key.table != self.table {
            return match fitted(key, value) {
                Some(text) if key.table == Health => self.in_health(name, &text),
                Some(text) => self.within(key.table, name, &text),
                None => format!("write it as `{name}` of `{}`: {}", key.table.as_str(), key.takes.words()),
            };
        }
        if self.values.contains_key(name) {
            return format!("remove it: `{name}` is there already");
        }
        if let Some(why) = self.unfit(name, value) {
            return why;
        }
        match fitted(key, value) {
            Some(text) => format!("write {name} = {text}"),
            None => {
                let realm = self.realm().map_or(self.values, |(_, realm)| realm);
                of_another_type(self.table, name, value, realm)
                    .unwrap_or_else(|| format!("write it as `{name}`: {}", key.takes.words()))
            }
        }
    }

    /// Why a key cannot stand in the table as it is.
    fn unfit(&self, name: &str, value: &Value) -> Option<String> {
        let there = |keys: &[&'static str]| {
            let kind = keys.iter().find(|key| self.values.contains_key(**key))?;
            Some((*kind, self.values.get(*kind).and_then(Value::as_str).unwrap_or_default()))
        };
        match self.table {
            Health if name == "timeout" && !self.is_in_time(value) => {
                Some("write it as `timeout`, with an `interval` that is at least as long".to_owned())
            }
            Health => {
                let (kind, target) = there(&KINDS)?;
                if KINDS.contains(&name) {
                    Some(format!(
                        "a probe is of one kind, and this one is `{kind}`; several are a list of tables"
                    ))
                } else {
                    out_of_place(kind, target, name)
                }
            }
            Notify if RECEIVERS.contains(&name) => {
                let (kind, _) = there(&RECEIVERS)?;
                Some(format!(
                    "a receiver is of one kind, and this one is `{kind}`; write another [notify.NAME]"
                ))
            }
            Notify => {
                let (kind, url) = there(&RECEIVERS)?;
                let is_fit = match name {
                    "token_file" => ["ntfy", "pagerduty"].contains(&kind),
                    "secret_file" => kind == "webhook",
                    "on" | "repeat" | "template" => kind != "alertmanager",
                    "ca" => url.starts_with("https://"),
                    _ => true,
                };
                (!is_fit).then(|| format!("remove it: `{name}` means nothing for this `{kind}`"))
            }
            _ => None,
        }
    }

    /// One measurement runs at a time: a `timeout` is no longer than the `interval` of its probe.
    fn is_in_time(&self, timeout: &Value) -> bool {
        let time = |value: &Value| parse_duration(Form::Duration.of(value)?.trim_matches('"')).ok();
        let interval = self.values.get("interval").map_or(Some(defaults::INTERVAL), time);
        time(timeout) <= interval
    }

    /// A line of a table within a realm.
    fn within(&self, table: Table, key: &str, text: &str) -> String {
        let name = table.as_str();
        let realm = self.realm().map_or(self.values, |(_, realm)| realm);
        match realm.get(name) {
            Some(Value::Dict(_, inner)) if inner.contains_key(key) => {
                format!("remove it: `{name}` has `{key}` already")
            }
            Some(Value::Dict(..)) => format!("add {key} = {text} to `{name}`"),
            // Dotted: several such lines may stand one below the other.
            Some(_) | None => format!("write {name}.{key} = {text}"),
        }
    }

    /// A line of a probe, which needs a kind beside it.
    fn in_health(&self, key: &str, text: &str) -> String {
        let realm = self.realm().map_or(self.values, |(_, realm)| realm);
        let several =
            || format!("`health` is there already; it may be a list of tables, one of them with `{key}`");
        let text = in_time(key, text);
        let beside = |kind: &str, target: &str| {
            out_of_place(kind, target, key)
                .unwrap_or_else(|| format!("write health = {{ {kind} = {target:?}, {key} = {text} }}"))
        };
        match realm.get("health") {
            Some(Value::Dict(_, probe)) => match KINDS.iter().find(|kind| probe.contains_key(**kind)) {
                _ if probe.contains_key(key) => format!("remove it: `health` has `{key}` already"),
                Some(_) if KINDS.contains(&key) => several(),
                Some(kind) if let Some(why) = out_of_place(kind, of(probe, kind), key) => why,
                Some(_)
                    if key == "timeout" && text.contains("interval") && probe.contains_key("interval") =>
                {
                    "write it as `timeout` of `health`, with an `interval` that is at least as long"
                        .to_owned()
                }
                Some(_) => format!("add {key} = {text} to `health`"),
                None => format!("`{key}` is a key of a probe in `health`, which needs a kind first"),
            },
            Some(Value::String(_, url)) if !KINDS.contains(&key) => match of_url(url) {
                Some((kind, target)) => beside(kind, target),
                None => format!("`{key}` is a key of a probe in `health`"),
            },
            Some(_) => several(),
            None if self.table == Realm && self.goes_into_one(realm, key) => {
                "it goes into the same `health` as the others".to_owned()
            }
            None if key == "resource" => {
                "`resource` is a kind of probe in `health`, and needs a bound such as `max_memory`".to_owned()
            }
            None if KINDS.contains(&key) => format!("write health = {{ {key} = {text} }}"),
            None => match (own_address(realm), realm.contains_key("run")) {
                (Some(address), _) => {
                    let others = self.others_of_health(realm, "http", key);
                    beside("http", &format!("http://{address}{HEALTH_PATH}"))
                        .replace(" }", &format!("{others} }}"))
                }
                (None, true) if means_something("process", key) => {
                    let others = self.others_of_health(realm, "process", key);
                    format!("write health = {{ process = true, {key} = {text}{others} }}")
                }
                (None, _) if self.path.first().is_some_and(|first| first == "defaults") => {
                    format!("`{key}` is a key of a probe: write {key} = {text} in the `health` of each realm")
                }
                (None, _) => format!("`{key}` is a key of a probe: give the realm a `health` first"),
            },
        }
    }

    /// Keys of a probe that stand in the realm itself, by their name of ours: together they are one `health`.
    fn of_health(&self, realm: &'a Dict) -> Vec<(&'static Key, &'a Value)> {
        let mut found: Vec<(&'static Key, &'a Value)> = Vec::new();
        for (name, value) in realm {
            let key = words::of_another_table(name).or_else(|| {
                let own = keys::find(Realm, name).is_some() || words::is_known(name);
                let table = WITHIN_A_REALM.into_iter().find(|table| keys::find(*table, name).is_some())?;
                keys::find(table, name).filter(|_| !own)
            });
            if let Some(key) = key.filter(|key| key.table == Health)
                && !found.iter().any(|(other, _)| other.name == key.name)
            {
                found.push((key, value));
            }
        }
        found
    }

    /// Whether another line of the realm shows the whole `health`, with this key in it.
    fn goes_into_one(&self, realm: &'a Dict, key: &str) -> bool {
        let is_check = |name: &String| keys::find(Realm, name).is_none() && words::means_health(name);
        let kind = if own_address(realm).is_some() { "http" } else { "process" };
        let fits = |name: &str| means_something(kind, name);
        let first = self.of_health(realm).into_iter().map(|(first, _)| first.name).find(|name| fits(name));
        realm.keys().any(is_check) || (fits(key) && first.is_some_and(|first| first != key))
    }

    /// The other keys of a probe that stand in the realm, as far as they fit a probe of this kind.
    fn others_of_health(&self, realm: &'a Dict, kind: &str, own: &str) -> String {
        let fitting = self.of_health(realm).into_iter().filter(|(key, _)| {
            key.name != own
                && !KINDS.contains(&key.name)
                && !OF_TLS.contains(&key.name)
                && means_something(kind, key.name)
        });
        let parts =
            fitting.filter_map(|(key, value)| Some(format!(", {} = {}", key.name, fitted(key, value)?)));
        parts.collect()
    }

    /// The health check of another tool.
    pub(crate) fn health(&self, value: &Value) -> String {
        let realm = self.realm().map_or(self.values, |(_, realm)| realm);
        if realm.contains_key("health") {
            return "remove it: `health` is there already; several probes are a list of tables".to_owned();
        }
        let Some(health) = health(value, realm) else { return example(realm) };
        // What stands beside it in the realm goes into the same table.
        let table = match health.strip_prefix('"').and_then(|url| of_url(url.strip_suffix('"')?)) {
            Some((kind, target)) => format!("{{ {kind} = {target:?} }}"),
            None => health.clone(),
        };
        let kind = table.trim_start_matches("{ ").split(' ').next().unwrap_or_default();
        let others = self.others_of_health(realm, kind, "");
        let has =
            |part: &&str| !table.contains(&format!(" {}", part.split(" = ").next().unwrap_or_default()));
        let others: Vec<&str> = others.split(", ").filter(|part| !part.is_empty()).filter(has).collect();
        if others.is_empty() {
            return format!("write health = {health}");
        }
        format!("write health = {}, {} }}", table.trim_end_matches(" }"), others.join(", "))
    }

    /// A key of ours that belongs in another table: where to write it.
    pub(crate) fn elsewhere(&self, name: &str, value: &Value) -> Option<String> {
        let find = |table: Table| keys::find(table, name);
        if self.table == Realm {
            let mut found: Vec<&Key> = WITHIN_A_REALM.into_iter().filter_map(find).collect();
            found.extend(in_one_word(name).filter(|_| found.is_empty()));
            let line = self.line(found.first()?, value);
            let tables: Vec<&str> = found.iter().map(|key| key.table.as_str()).collect();
            let several = (tables.len() > 1).then(|| format!("{} have it: {line}", tables.join(" and ")));
            return Some(several.unwrap_or(line));
        }
        if WITHIN_A_REALM.contains(&self.table) {
            let (heading, realm) = self.realm()?;
            let Some(key) = find(Realm) else {
                let key = WITHIN_A_REALM.into_iter().find_map(find)?;
                let of_realm = Context {
                    table: Realm,
                    values: realm,
                    path: &self.path[..self.path.len().min(2)],
                    root: self.root,
                };
                return Some(format!("{} in {heading}", of_realm.line(key, value)));
            };
            return Some(match fitted(key, value) {
                _ if realm.contains_key(name) => format!("remove it: {heading} has `{name}` already"),
                Some(text) => format!("write {name} = {text} in {heading}, not in {}", self.table.as_str()),
                None => format!("`{name}` is a key of {heading}, not of {}", self.table.as_str()),
            });
        }
        if self.table == Heartbeat && find(Fuse).is_none() {
            let text = fitted(find(Realm)?, value)?;
            return Some(format!(
                "it is a key of realms: write {name} = {text} in [realm.NAME], or in [defaults] for all of them"
            ));
        }
        match (self.table, find(Heartbeat), find(Fuse)) {
            (Heartbeat, _, Some(key)) => Some(self.within(Fuse, name, &fitted(key, value)?)),
            (Fuse, Some(key), _) => Some(format!("write {name} = {} in [heartbeat]", fitted(key, value)?)),
            _ => None,
        }
    }
}

/// The key of a table within a realm that is meant by both names in one: `stop_timeout`, `restart_delay`.
fn in_one_word(name: &str) -> Option<&'static Key> {
    let word = folded(name);
    WITHIN_A_REALM.into_iter().find_map(|table| {
        let rest = word.strip_prefix(table.as_str())?;
        keys::of(table).find(|key| folded(key.name) == rest || key.also.contains(&rest))
    })
}

/// One measurement runs at a time: a long `timeout` comes with an `interval` of that length.
fn in_time(key: &str, text: &str) -> String {
    let longer = parse_duration(text.trim_matches('"')).is_ok_and(|time| time > defaults::INTERVAL);
    if key == "timeout" && longer { format!("{text}, interval = {text}") } else { text.to_owned() }
}

/// The target of a probe.
fn of<'t>(probe: &'t Dict, kind: &str) -> &'t str {
    probe.get(kind).and_then(Value::as_str).unwrap_or_default()
}

/// Why a key cannot stand beside the target of a probe.
fn out_of_place(kind: &str, target: &str, key: &str) -> Option<String> {
    if !means_something(kind, key) {
        return Some(format!("remove it: `{key}` means nothing for a {kind} probe"));
    }
    let has_tls = match kind {
        "http" => target.starts_with("https://"),
        "tcp" => false,
        "redis" => target.starts_with("rediss://"),
        "grpc" => target.starts_with("grpcs://"),
        _ => true,
    };
    (OF_TLS.contains(&key) && !has_tls)
        .then(|| format!("remove it: `{key}` is for TLS, which {target} does not have"))
}

/// Where a realm listens, as its `host` and `port` say.
fn own_address(realm: &Dict) -> Option<String> {
    let port = whole(realm.get("port")?).filter(|port| (1..=65_535).contains(port))?;
    let host = realm.get("host").and_then(Value::as_str).unwrap_or(defaults::HOST);
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// An example of `health`, with the address of the realm where it has one.
pub(crate) fn example(realm: &Dict) -> String {
    let address = own_address(realm).unwrap_or_else(|| "127.0.0.1:8001".to_owned());
    format!("for example health = \"http://{address}{HEALTH_PATH}\"")
}

/// The kind of a probe and its target, as a table has them.
fn of_url(url: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    Some(match scheme {
        "http" | "https" => ("http", url),
        "tcp" => ("tcp", rest),
        "unix" => ("unix", rest),
        "tls" => ("tls", rest),
        "redis" | "rediss" => ("redis", url),
        "postgres" | "postgresql" => ("postgres", url),
        "grpc" | "grpcs" => ("grpc", url),
        "dns" => ("dns", url),
        _ => return None,
    })
}

/// The key of this kind of probe that does what a key of another kind does.
pub(crate) fn in_this_kind(kind: &str, key: &str, probe: &Dict) -> Option<String> {
    let value = probe.get(key)?;
    let is_status = whole(value).is_some_and(|status| (100..=599).contains(&status));
    let ours = match (kind, key) {
        ("http", "expect") if is_status || value.as_str().is_some_and(|text| text.ends_with("xx")) => {
            "status"
        }
        ("http" | "file", "expect") => "contains",
        ("http", "send") => "body",
        ("tcp" | "unix", "contains") => "expect",
        ("tcp" | "unix", "body") => "send",
        _ => return None,
    };
    let is_free = ["method", "read_body", ours].iter().all(|key| !probe.contains_key(*key));
    let text = fitted(keys::find(Health, ours)?, value)?;
    is_free.then(|| format!("write {ours} = {text}"))
}

/// What a URL begins with, without the marks behind it.
const SCHEMES: [&str; 11] =
    ["http", "https", "tcp", "unix", "tls", "redis", "rediss", "postgres", "grpc", "grpcs", "dns"];

/// Schemes that are near to one of these, and are others.
const OTHERS: [&str; 13] =
    ["ftp", "ftps", "icmp", "imap", "ntp", "rtsp", "sftp", "smtp", "smtps", "ssh", "udp", "ws", "wss"];

/// The URL that is meant where its beginning has a slip of the keyboard: `htp://`, `http:/x`, `http//x`.
fn slipped(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_at(text.find(|c: char| !c.is_ascii_alphabetic())?);
    let address = rest.trim_start_matches([':', '/', ';', '\\']);
    let marks = &rest[..rest.len() - address.len()];
    let known = nearest(&scheme.to_ascii_lowercase(), SCHEMES.into_iter())?;
    // A scheme that is another one, such as ftp, is none that was mistyped.
    if known.len().abs_diff(scheme.len()) > 1
        || marks.len() < 2
        || !marks.contains(['/', '\\'])
        || OTHERS.contains(&scheme.to_ascii_lowercase().as_str())
    {
        return None;
    }
    let root = if known == "unix" { "/" } else { "" };
    Some(format!("{known}://{root}{address}")).filter(|url| is_probe(url))
}

/// A URL as `http` of a probe takes it, where what was written has a slip or no scheme.
pub(crate) fn meant_http(text: &str) -> Option<String> {
    let url = slipped(text).or_else(|| {
        let is_address = !text.contains("://") && text.contains(['.', ':']) && !text.starts_with(['/', ':']);
        is_address.then(|| format!("http://{text}"))
    });
    url.filter(|url| url.starts_with("http") && is_probe(url))
}

/// The URL of a probe that a text without a scheme means: a path of the realm itself, or an address.
pub(crate) fn url(text: &str, realm: &Dict) -> Option<String> {
    let text = text.trim();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let host = realm.get("host").and_then(Value::as_str).unwrap_or(defaults::HOST);
    let url = if let Some(url) = slipped(text) {
        url
    } else if text.contains("://") {
        text.to_owned()
    } else if text.starts_with('/') {
        format!("http://{}{text}", own_address(realm)?)
    } else if is_number(text) {
        format!("tcp://{host}:{text}")
    } else {
        let (address, path) = text.find('/').map_or((text, ""), |at| text.split_at(at));
        let (named, port) = address.rsplit_once(':')?;
        let host = if named.is_empty() { host } else { named };
        let scheme = if path.is_empty() { "tcp" } else { "http" };
        is_number(port).then(|| format!("{scheme}://{host}:{port}{path}"))?
    };
    is_probe(&url).then_some(url)
}

/// The URL that a command does no more than ask: `curl -f URL`.
fn asked_by(command: &str) -> Option<String> {
    const PLAIN: [&str; 10] = ["-f", "-s", "-S", "-q", "-sf", "-fs", "-fsS", "-sSf", "--fail", "--silent"];
    let line = ["|| exit 1", "|| false"].iter().find_map(|end| command.trim().strip_suffix(end));
    let mut words = line.unwrap_or(command).split_whitespace();
    let program = words.next()?.rsplit('/').next()?;
    let mut operands = words.filter(|word| !PLAIN.contains(word));
    let url = operands.next()?.trim_matches(['"', '\'']);
    let is_plain = ["curl", "wget"].contains(&program) && operands.next().is_none();
    (is_plain && url.starts_with("http") && is_probe(url)).then(|| url.to_owned())
}

/// A health check of another tool as our `health`, in TOML.
fn health(value: &Value, realm: &Dict) -> Option<String> {
    match value {
        Value::String(_, text) => match url(text, realm).or_else(|| asked_by(text)) {
            Some(url) => Some(format!("{url:?}")),
            // A path that is no program is one of a server, whose port is not known.
            None if text.split(' ').next().is_some_and(|first| first.contains("://"))
                || (text.starts_with('/') && !text.contains(' ')) =>
            {
                None
            }
            None => Some(format!("{{ exec = {} }}", command(value)?)),
        },
        Value::Num(..) => url(&whole(value)?.to_string(), realm).map(|url| format!("{url:?}")),
        Value::Array(..) => Some(format!("{{ exec = {} }}", command(value)?)),
        Value::Dict(_, table) => health_table(table, realm),
        _ => None,
    }
}

/// `{ path = "/healthz", port = 8080 }` of Kubernetes as a URL.
pub(crate) fn get(table: &Dict, realm: &Dict) -> Option<String> {
    let path = table.get("path").and_then(Value::as_str).unwrap_or("/");
    let host = table.get("host").and_then(Value::as_str).unwrap_or(defaults::HOST);
    let address = match table.get("port").and_then(whole) {
        Some(port) => format!("{host}:{port}"),
        None => own_address(realm)?,
    };
    let url = format!("http://{address}/{}", path.trim_start_matches('/'));
    is_probe(&url).then_some(url)
}

fn health_table(table: &Dict, realm: &Dict) -> Option<String> {
    let mut parts = Vec::new();
    for (key, value) in table {
        parts.push(match (folded(key).as_str(), value) {
            ("exec", Value::Dict(_, inner)) => format!("exec = {}", command(inner.get("command")?)?),
            ("test" | "command" | "cmd" | "exec" | "script", _) => format!("exec = {}", command(value)?),
            ("httpget" | "http", Value::Dict(_, inner)) => format!("http = {:?}", get(inner, realm)?),
            ("tcpsocket", Value::Dict(_, inner)) => {
                format!("tcp = \"{}:{}\"", defaults::HOST, whole(inner.get("port")?)?)
            }
            ("url" | "http" | "httpget" | "endpoint", _) => {
                let url = url(value.as_str()?, realm).filter(|url| url.starts_with("http"))?;
                format!("http = {url:?}")
            }
            ("interval" | "period" | "periodseconds", _) => {
                format!("interval = {}", Form::Duration.of(value)?)
            }
            ("timeout" | "timeoutseconds", _) => format!("timeout = {}", Form::Duration.of(value)?),
            ("retries" | "failurethreshold", _) => format!("fail_after = {}", Form::Number.of(value)?),
            ("startperiod" | "initialdelayseconds", _) => format!("grace = {}", Form::Duration.of(value)?),
            _ => return None,
        });
    }
    for part in &mut parts {
        if let Some(timeout) = part.strip_prefix("timeout = ")
            && !table.contains_key("interval")
        {
            *part = format!("timeout = {}", in_time("timeout", timeout));
        }
    }
    let is_kind = |part: &String| ["exec", "http", "tcp"].iter().any(|kind| part.starts_with(kind));
    // The kind of the probe comes first.
    parts.sort_by_key(|part| !is_kind(part));
    (parts.iter().filter(|part| is_kind(part)).count() == 1).then(|| format!("{{ {} }}", parts.join(", ")))
}

/// What to write where a value has a type that its key does not take.
pub(crate) fn of_another_type(table: Table, key: &str, value: &Value, realm: &Dict) -> Option<String> {
    let found = keys::find(table, key)?;
    let text = value.as_str();
    Some(match (table, key, value) {
        (_, _, Value::Dict(..)) if key != "env" && key != "labels" => return None,
        (Heartbeat, "listen", Value::Num(..)) => {
            let address = Value::from(format!("127.0.0.1:{}", whole(value)?));
            format!("write listen = {}", fitted(found, &address)?)
        }
        (Realm, "restart", Value::String(_, word)) => {
            let policy = match word.as_str() {
                "never" => "never",
                "on-failure" => "on-failure",
                "always" | "on" => "always",
                word if let Some(policy) = words::policy(word) => policy,
                // Of compose: the number bounds the restarts.
                word if let Some(most) =
                    word.strip_prefix("on-failure:").and_then(|most| most.parse::<u32>().ok())
                    && most > 0 =>
                {
                    return Some(format!(
                        "write restart = {{ policy = \"on-failure\", burst = {most}, when_spent = \"fail\" }}"
                    ));
                }
                _ => return Some("for example restart.policy = \"always\"".to_owned()),
            };
            format!("write restart.policy = \"{policy}\"")
        }
        (Realm, "restart", Value::Bool(_, on)) => {
            format!("write restart.policy = \"{}\"", if *on { "always" } else { "never" })
        }
        (Realm, "restart", _) => "for example restart.policy = \"always\"".to_owned(),
        (Realm, "slo", _) => {
            format!("write slo.availability = {}", fitted(keys::find(Slo, "availability")?, value)?)
        }
        (Realm, "log", _) => match text {
            Some(to @ ("none" | "journal" | "file")) => format!("write log.to = \"{to}\""),
            _ => "remove it: its output goes to a file, and its place is state_dir/log".to_owned(),
        },
        (Realm, "start" | "stop", _) if let Some(time) = Form::Duration.of(value) => {
            format!("write {key}.timeout = {time}")
        }
        (Realm, "stop", Value::String(_, word)) => match word.contains(' ') {
            true => format!("write stop.command = {}", command(value)?),
            false => format!("write stop.signal = {}", fitted(keys::find(Stop, "signal")?, value)?),
        },
        (Realm, "limits", _) => {
            format!("write limits.memory = {}", fitted(keys::find(Limits, "memory")?, value)?)
        }
        (Realm, "health", _) => match health(value, realm) {
            Some(health) => format!("write health = {health}"),
            None => example(realm),
        },
        _ => format!("write {key} = {}", fitted(found, value)?),
    })
}
