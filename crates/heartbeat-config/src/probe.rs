//! One measured probe, from a URL or from its table.

use std::path::Path;
use std::time::Duration;

use figment::value::Value;
use heartbeat_probe::{
    DnsError, DnsProbe, ExpectationError, FileProbe, GrpcProbe, HttpError, HttpProbe, PostgresProbe, Probe,
    RedisProbe, ServerError, StatusSet, TcpError, TcpProbe, TlsOptionsError, TlsProbe, TlsProbeError,
};

use crate::advice;
use crate::bounds;
use crate::code::Code;
use crate::keys::RECORDS;
use crate::reader::{Entry, Reader, Section, beside};
use crate::tls;

/// What can be asked by a URL.
const SCHEMES: &str = "http://, https://, tcp://, unix://, tls://, redis://, rediss://, postgres://, grpc://, grpcs:// and dns://";

/// What to write instead of a text that is no URL.
const EXAMPLES: &str = "for example \"http://127.0.0.1:8001/api/health/\" or \"tcp://127.0.0.1:5432\"";

/// Methods that servers know.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// CONNECT asks a proxy for a tunnel, and small letters are another method.
fn is_no_method(text: &str) -> bool {
    text == "CONNECT" || METHODS.iter().any(|method| text != *method && text.eq_ignore_ascii_case(method))
}

/// Headers of one connection and of the length of a body: with others than those of the check it would fail.
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How a key of an HTTP probe is written.
fn example(key: &str) -> &'static str {
    match key {
        "method" => "for example method = \"HEAD\"",
        "matches" => "write a backslash in single quotes: matches = '\\d+'",
        "status" => "for example status = 200, status = \"2xx\" or status = [200, 204]",
        "headers" => "for example headers = { Accept = \"application/json\" }",
        "json" => "for example json = { \"/status\" = \"ok\" }",
        _ => "for example \"http://127.0.0.1:8001/api/health/\"",
    }
}

/// The times that a result is compared with, whatever the kind.
pub(crate) struct Times {
    pub(crate) slow: Option<Duration>,
    max_latency: Option<Duration>,
    expires: Option<Duration>,
}

impl Times {
    pub(crate) fn read(reader: &Reader<'_>, section: &Section<'_>) -> Self {
        let [slow, max_latency, expires] =
            ["slow", "max_latency", "expires"].map(|key| reader.duration(section, key));
        Self { slow, max_latency, expires }
    }

    pub(crate) fn of(&self, probe: Probe) -> Probe {
        let probe = self.slow.into_iter().fold(probe, Probe::with_slow);
        let probe = self.max_latency.into_iter().fold(probe, Probe::with_max_latency);
        self.expires.into_iter().fold(probe, Probe::with_expires)
    }
}

/// A probe from one string.
pub(crate) fn from_text(reader: &Reader<'_>, entry: &Entry<'_>, text: &str) -> Option<Probe> {
    // A command with a URL in it has no scheme.
    let scheme = text.split_once("://").map(|(scheme, _)| scheme).filter(|scheme| !scheme.contains(' '));
    let built = match scheme {
        Some("http" | "https") => HttpProbe::new(text).map(Probe::from).map_err(|error| error.to_string()),
        Some("tcp") => TcpProbe::new(&text[6..]).map(Probe::from).map_err(|error| error.to_string()),
        Some("unix") => {
            TcpProbe::new(&format!("unix:{}", &text[7..])).map(Probe::from).map_err(|error| error.to_string())
        }
        Some("tls") => TlsProbe::new(&text[6..]).map(Probe::from).map_err(|error| error.to_string()),
        Some("redis" | "rediss") => RedisProbe::new(text).map(Probe::from).map_err(|error| error.to_string()),
        Some("postgres" | "postgresql") => {
            PostgresProbe::new(text).map(Probe::from).map_err(|error| error.to_string())
        }
        Some("grpc" | "grpcs") => GrpcProbe::new(text).map(Probe::from).map_err(|error| error.to_string()),
        Some("dns") => DnsProbe::new(text).map(Probe::from).map_err(|error| error.to_string()),
        Some(other @ ("ws" | "wss")) => {
            Err(format!("{other}:// is not supported by this version of heartbeat; there are {SCHEMES}"))
        }
        Some(other) => Err(format!("`{other}` is not a kind of probe; there are {SCHEMES}")),
        // As it is written: what a variable stands for may be a secret.
        None => Err(format!("`{}` is not a URL", entry.value.as_str().unwrap_or(text))),
    };
    built
        .map_err(|why| {
            let (why, help) = target_problem(text, why, &reader.advised_health(entry));
            reader.value_problem(entry, Code::BadTarget, why, "this probe", &help);
        })
        .ok()
}

/// What is wrong with the URL of a probe, and what to write instead. One with a user or a password is refused for that,
/// and not repeated.
fn target_problem(url: &str, why: String, help: &str) -> (String, String) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !authority.contains('@') {
        return (why, help.to_owned());
    }
    let help = match scheme {
        "redis" | "rediss" | "postgres" | "postgresql" => {
            "remove them; `user` and `password_file` beside the URL take their place"
        }
        "http" | "https" => {
            "remove them; headers = { Authorization = { file = \"auth.header\" } } takes their place"
        }
        _ => "remove them",
    };
    let why = "the URL has credentials in it, where logs and process lists would show them";
    (why.to_owned(), help.to_owned())
}

/// An HTTP probe from its table.
pub(crate) fn http(reader: &Reader<'_>, section: &Section<'_>, dir: &Path) -> Option<HttpProbe> {
    let entry = section.get("http")?;
    let url = reader.text(&entry);
    let refuse = |entry: &Entry<'_>, why: String| {
        let help = example(entry.path.last().map_or("", String::as_str));
        reader.value_problem(entry, Code::BadTarget, why, "here", help);
    };
    let made = url.and_then(|url| {
        let refused = |error: HttpError| {
            let meant = advice::meant_http(&url).map(|meant| format!("write http = {meant:?}"));
            let (why, help) = target_problem(&url, error.to_string(), meant.as_deref().unwrap_or(EXAMPLES));
            reader.value_problem(&entry, Code::BadTarget, why, "here", &help);
        };
        let made = if tls::is_set(section) {
            HttpProbe::with_tls(&url, &tls::options(reader, section, dir))
        } else {
            HttpProbe::new(&url)
        };
        made.map_err(refused).ok()
    });
    // What else is wrong with it is said in the same run.
    let is_url = made.is_some();
    let mut probe = made.or_else(|| HttpProbe::new("http://127.0.0.1/").ok())?;
    let mut apply = |key: &str, change: &dyn Fn(HttpProbe, &str) -> Result<HttpProbe, HttpError>| {
        if let Some(entry) = section.get(key)
            && let Some(text) = reader.text(&entry)
        {
            match change(probe.clone(), &text) {
                Ok(changed) => probe = changed,
                Err(error) => refuse(&entry, error.to_string()),
            }
        }
    };
    match section.get("method").filter(|entry| entry.value.as_str().is_some_and(is_no_method)) {
        Some(entry) => {
            let why = "a method is one that servers answer, in capitals";
            refuse(&entry, why.to_owned());
        }
        None => apply("method", &|probe, text| probe.with_method(text)),
    }
    apply("body", &|probe, text| Ok(probe.with_body(text.to_owned())));
    apply("contains", &|probe, text| Ok(probe.with_contains(text)));
    apply("matches", &|probe, text| probe.with_matches(text));
    if let Some(entry) = section.get("status")
        && let Some(set) = statuses(reader, &entry)
    {
        probe = probe.with_status(set);
    }
    for (name, value) in headers(reader, section, dir) {
        if OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            let path =
                [entry.path[..entry.path.len() - 1].to_vec(), vec!["headers".to_owned(), name.clone()]]
                    .concat();
            let message = format!("heartbeatd sets the header `{name}` itself");
            reader.value_problem(
                &Entry { path, value: entry.value },
                Code::BadTarget,
                message,
                "here",
                "remove it",
            );
            continue;
        }
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
    if section.get("method").is_some_and(|entry| entry.value.as_str() == Some("HEAD")) {
        for entry in ["contains", "matches", "json"].iter().filter_map(|key| section.get(key)) {
            let key = entry.path.last().cloned().unwrap_or_default();
            let message = format!("`{key}` never holds: the answer to HEAD has no body");
            reader.value_problem(
                &entry,
                Code::MisplacedKey,
                message,
                "here",
                "remove it, or leave `method` out",
            );
        }
    }
    for (name, text) in reader.pairs(section, "response_headers") {
        match probe.clone().with_response_header(&name, &text) {
            Ok(changed) => probe = changed,
            Err(error) => refuse(&entry, error.to_string()),
        }
    }
    if let Some(entry) = section.get("redirects")
        && let Some(most) = reader.ranged(&entry, "a number of redirects", bounds::REDIRECTS)
    {
        probe = probe.with_redirects(most);
    }
    if let Some(word) = section.get("reported_down")
        && reader.word(&word, &[("degraded", false), ("fail", true)]) == Some(true)
    {
        probe = probe.with_reported_down_failing();
    }
    if section.get("read_body").and_then(|entry| reader.boolean(&entry)) == Some(false) {
        for entry in
            ["contains", "matches", "json", "reported_down"].iter().filter_map(|key| section.get(key))
        {
            let key = entry.path.last().cloned().unwrap_or_default();
            let message = format!("`{key}` needs the body, which `read_body = false` leaves unread");
            reader.value_problem(&entry, Code::MisplacedKey, message, "here", "remove one of the two");
        }
        probe = probe.without_body();
    }
    Some(probe).filter(|_| is_url)
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
        .map_err(|error: HttpError| {
            reader.value_problem(entry, Code::BadTarget, error.to_string(), "here", example("status"))
        })
        .ok()
}

/// A Redis or PostgreSQL probe from its table.
pub(crate) fn server(reader: &Reader<'_>, section: &Section<'_>, kind: &str, dir: &Path) -> Option<Probe> {
    let entry = section.get(kind)?;
    let url = reader.text(&entry);
    let help = match kind {
        "redis" => "for example redis = \"redis://127.0.0.1:6379\"",
        _ => "for example postgres = \"postgres://127.0.0.1:5432\"",
    };
    let refused = |error: ServerError| {
        let written = url.as_deref().unwrap_or_default();
        let (why, help) = target_problem(written, error.to_string(), help);
        reader.value_problem(&entry, Code::BadTarget, why, "here", &help);
    };
    let unexpected = |error: ExpectationError| {
        let entry = section.get("expect").unwrap_or_else(|| entry.clone());
        let help = "expect = \"< 100\" compares numbers, every other text is looked for in the answer";
        reader.value_problem(&entry, Code::BadTarget, error.to_string(), "this comparison", help);
    };
    // What else is wrong with it is said in the same run.
    let options = tls::is_set(section).then(|| tls::options(reader, section, dir));
    let password = section.get("password_file").and_then(|entry| secret(reader, &entry, dir));
    let asks = if kind == "redis" { "command" } else { "query" };
    let expect = expected(reader, section, asks);
    let command = section.get("command").and_then(|entry| reader.command(&entry)).zip(expect.clone());
    let query = section.get("query").and_then(|entry| reader.text(&entry)).zip(expect);
    let url = url.as_deref()?;
    if kind == "redis" {
        let made =
            options.map_or_else(|| RedisProbe::new(url), |options| RedisProbe::with_tls(url, &options));
        let mut probe = made.map_err(refused).ok()?;
        probe = password.into_iter().fold(probe, RedisProbe::with_password);
        if let Some((words, expect)) = command {
            probe = probe.with_command(words, &expect).map_err(unexpected).ok()?;
        }
        return Some(probe.into());
    }
    let made =
        options.map_or_else(|| PostgresProbe::new(url), |options| PostgresProbe::with_tls(url, &options));
    let mut probe = made.map_err(refused).ok()?;
    probe = password.into_iter().fold(probe, PostgresProbe::with_password);
    if let Some((sql, expect)) = query {
        probe = probe.with_query(sql, &expect).map_err(unexpected).ok()?;
    }
    Some(probe.into())
}

/// What the answer to `asks` must be: neither stands without the other.
fn expected(reader: &Reader<'_>, section: &Section<'_>, asks: &str) -> Option<String> {
    for (given, missing) in [(asks, "expect"), ("expect", asks)] {
        if let Some(entry) = section.get(given).filter(|_| section.get(missing).is_none()) {
            let message =
                format!("`{given}` goes with `{missing}`: what is asked, and what the answer must be");
            let help = match missing {
                "expect" => "add expect = \"< 100\" for a number, or expect = \"...\" for a text".to_owned(),
                _ => format!("add {missing} = \"...\", or remove `expect`"),
            };
            reader.value_problem(&entry, Code::MisplacedKey, message, "here", &help);
        }
    }
    reader.text(&section.get("expect")?)
}

/// The content of a file that holds a secret, without the end of its last line.
fn secret(reader: &Reader<'_>, entry: &Entry<'_>, dir: &Path) -> Option<String> {
    let path = beside(reader, entry, dir, &reader.text(entry)?);
    match reader.files.read(&path) {
        Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => {
            let command = error.help();
            let help = command.as_deref().unwrap_or("the path starts at the directory of this file");
            reader.value_problem(entry, Code::BadTarget, error.to_string(), "this file", help);
            None
        }
    }
}

/// The headers of a request; `{ file = "..." }` takes a value from a file.
fn headers(reader: &Reader<'_>, section: &Section<'_>, dir: &Path) -> Vec<(String, String)> {
    let Some(entry) = section.get("headers") else { return Vec::new() };
    let Value::Dict(_, table) = entry.value else {
        return reader.pairs(section, "headers").into_iter().collect();
    };
    let mut found = Vec::new();
    for (name, value) in table {
        let mut path = entry.path.clone();
        path.push(name.clone());
        let text = match value {
            Value::Dict(_, file) => match file.iter().next().filter(|(key, _)| *key == "file") {
                Some((key, value)) if file.len() == 1 => {
                    path.push(key.clone());
                    secret(reader, &Entry { path, value }, dir)
                }
                _ => {
                    let message = format!("the header `{name}` takes a string or {{ file = \"...\" }}");
                    let help = "for example headers = { Authorization = { file = \"/etc/shop/token\" } }";
                    reader.value_problem(&Entry { path, value }, Code::WrongType, message, "here", help);
                    None
                }
            },
            _ => reader.text(&Entry { path, value }),
        };
        found.extend(text.map(|text| (name.clone(), text)));
    }
    found
}

/// A file probe from its table.
pub(crate) fn file(reader: &Reader<'_>, section: &Section<'_>, dir: &Path) -> Option<FileProbe> {
    let entry = section.get("file")?;
    let max_age = reader.duration(section, "max_age");
    let text = section.get("contains").and_then(|entry| reader.text(&entry));
    let probe = FileProbe::new(beside(reader, &entry, dir, &reader.text(&entry)?));
    let probe = max_age.into_iter().fold(probe, FileProbe::with_max_age);
    Some(text.into_iter().fold(probe, |probe, text| probe.with_contains(&text)))
}

/// A TLS probe from its table.
pub(crate) fn tls(reader: &Reader<'_>, section: &Section<'_>, dir: &Path) -> Option<TlsProbe> {
    let entry = section.get("tls")?;
    let address = reader.text(&entry);
    let options = tls::options(reader, section, dir);
    let refused = |error: TlsProbeError| {
        let help = "for example tls = \"shop.example.org:443\"";
        reader.value_problem(&entry, Code::BadTarget, error.to_string(), "here", help);
    };
    TlsProbe::with_options(&address?, &options).map_err(refused).ok()
}

/// A gRPC probe from its table.
pub(crate) fn grpc(reader: &Reader<'_>, section: &Section<'_>, dir: &Path) -> Option<GrpcProbe> {
    let entry = section.get("grpc")?;
    let url = reader.text(&entry).map(|text| match text.contains("://") {
        true => text,
        false => format!("grpc://{text}"),
    });
    let options = tls::is_set(section).then(|| tls::options(reader, section, dir));
    let refused = |error: ServerError| {
        let help = "for example grpc = \"grpc://127.0.0.1:50051\"";
        let (why, help) = target_problem(url.as_deref().unwrap_or_default(), error.to_string(), help);
        reader.value_problem(&entry, Code::BadTarget, why, "here", &help);
    };
    let url = url.as_deref()?;
    let made = options.map_or_else(|| GrpcProbe::new(url), |options| GrpcProbe::with_tls(url, &options));
    made.map_err(refused).ok()
}

/// A DNS probe from its table.
pub(crate) fn dns(reader: &Reader<'_>, section: &Section<'_>) -> Option<DnsProbe> {
    let entry = section.get("dns")?;
    let name = reader.text(&entry);
    let words: Vec<_> = RECORDS.iter().filter_map(|word| Some((*word, word.parse().ok()?))).collect();
    let record = section.get("record").and_then(|entry| reader.word(&entry, &words));
    let expect = section.get("expect").and_then(|entry| reader.text(&entry));
    let refused = |error: DnsError| {
        let help = "for example dns = \"shop.example.org\", or dns = \"dns://192.0.2.53/shop.example.org\"";
        reader.value_problem(&entry, Code::BadTarget, error.to_string(), "here", help);
    };
    let probe = DnsProbe::new(&name?).map_err(refused).ok()?;
    let probe = record.into_iter().fold(probe, DnsProbe::with_record);
    Some(expect.into_iter().fold(probe, |probe, expect| probe.with_expect(&expect)))
}

/// A TCP probe, or one of a Unix socket, from its table.
pub(crate) fn tcp(reader: &Reader<'_>, section: &Section<'_>, kind: &str, dir: &Path) -> Option<TcpProbe> {
    let entry = section.get(kind)?;
    let made = reader.text(&entry).and_then(|address| {
        let (address, help) = match kind {
            "unix" => (format!("unix:{address}"), "for example unix = \"/run/app.sock\""),
            _ => (address, "for example tcp = \"127.0.0.1:5432\""),
        };
        let refused =
            |error: TcpError| reader.value_problem(&entry, Code::BadTarget, error.to_string(), "here", help);
        TcpProbe::new(&address).map_err(refused).ok()
    });
    let is_address = made.is_some();
    let mut probe = made.or_else(|| TcpProbe::new("127.0.0.1:1").ok())?;
    let text = |key: &str| section.get(key).and_then(|entry| reader.text(&entry));
    if let Some(send) = text("send") {
        probe = probe.with_send(send);
    }
    if let Some(expect) = text("expect") {
        probe = probe.with_expect(expect);
    }
    if kind == "tcp" && tls::is_set(section) {
        let refused = |error: TlsOptionsError| {
            let help = "name PEM files that can be read";
            reader.value_problem(&entry, Code::BadTarget, error.to_string(), "here", help);
        };
        probe = probe.with_tls(&tls::options(reader, section, dir)).map_err(refused).ok()?;
    }
    Some(probe).filter(|_| is_address)
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
