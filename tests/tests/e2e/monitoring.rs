//! Prometheus, Grafana and Alertmanager: what heartbeatd gives them, and what lies in `packaging/` for them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::program::{Running, run_program, told};
use crate::receiving::{Request, of_venv};
use crate::servers::lacking;
use crate::supervision::{Instance, pid, ports};
use crate::surviving::until;

const PROMTOOL: &str = "/usr/bin/promtool";
const PROMETHEUS: &str = "/usr/bin/prometheus";
const ALERTMANAGER: &str = "/usr/bin/prometheus-alertmanager";

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("packaging").join(file)
}

fn is_missing(program: &str) -> bool {
    let missing = !Path::new(program).exists();
    if missing {
        lacking(&format!("{program} is not installed"));
    }
    missing
}

/// The body of an answer; empty while there is none.
fn get(address: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let mut answer = String::new();
    let asked = TcpStream::connect(address).and_then(|mut stream| {
        stream.write_all(request.as_bytes())?;
        stream.read_to_string(&mut answer)
    });
    let body = asked.ok().and_then(|_| answer.split_once("\r\n\r\n"));
    body.map_or_else(String::new, |(_, body)| body.to_owned())
}

/// The names that begin with `heartbeat_` in PromQL: neither labels nor words of people.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("heartbeat_")).map(str::to_owned).collect()
}

fn strings(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let (true, Some(text)) = (name == key, value.as_str()) {
                    found.push(text.to_owned());
                }
                strings(value, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, found)),
        _ => {}
    }
}

#[test]
fn every_metric_that_the_rules_and_the_dashboard_query_exists() {
    let eco = Instance::start("");
    let metrics = || get(&eco.listen, "/metrics");
    until("the metrics", || metrics().ends_with("# EOF\n"));
    let text = metrics();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let known: BTreeSet<String> = families
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let rules = std::fs::read_to_string(packaging("prometheus/heartbeat.rules.yml")).unwrap();
    let queries: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert_eq!(queries.len(), 12, "{queries:?}");
    let dashboard = std::fs::read_to_string(packaging("grafana/heartbeat.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut panels = Vec::new();
    strings(&dashboard["panels"], "expr", &mut panels);
    strings(&dashboard["templating"], "query", &mut panels);
    assert!(panels.len() >= 12, "{panels:?}");
    let asked = metrics_in(&format!("{} {}", queries.join(" "), panels.join(" ")));
    assert!(asked.len() >= 8, "{asked:?}");
    let missing: Vec<&String> = asked.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?} of {known:?}");
    // Every metric is documented.
    let page = packaging("../docs/how-to/metrics.md");
    let documented = metrics_in(&std::fs::read_to_string(page).unwrap());
    let silent: Vec<&String> = known.difference(&documented).collect();
    assert!(silent.is_empty(), "docs/how-to/metrics.md does not have {silent:?}");
}

#[test]
fn a_real_prometheus_scrapes_every_metric() {
    if is_missing(PROMETHEUS) {
        return;
    }
    let eco = Instance::start("");
    let dir = tempfile::tempdir().unwrap();
    let [port] = ports();
    let address = format!("127.0.0.1:{port}");
    let config = dir.path().join("prometheus.yml");
    let scrape = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: heartbeat\n    static_configs:\n      - targets: [\"{}\"]\n",
        eco.listen
    );
    std::fs::write(&config, scrape).unwrap();
    let words = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dir.path().join("data").display()),
        format!("--web.listen-address={address}"),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let _prometheus = Running::start_program(Path::new(PROMETHEUS), &words, &[]);
    let known = || -> BTreeSet<String> {
        let names = get(&address, "/api/v1/label/__name__/values");
        let names: Value = serde_json::from_str(&names).unwrap_or_default();
        names["data"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    // The last family of a scrape has arrived: so has all of it.
    until("a scrape", || known().contains("heartbeat_realm_status"));
    let up = get(&address, "/api/v1/query?query=up%7Bjob%3D%22heartbeat%22%7D");
    assert!(up.contains("\"1\"]"), "{up}");
    for name in ["heartbeat_realm_restarts_total", "heartbeat_probe_results_total", "heartbeat_build_info"] {
        until(name, || known().contains(name));
    }
}

#[test]
fn promtool_has_nothing_to_say_of_the_metrics() {
    if is_missing(PROMTOOL) {
        return;
    }
    let eco = Instance::start("[notify.ops]\nwebhook = \"http://127.0.0.1:9/\"\n");
    until("the metrics", || get(&eco.listen, "/metrics").ends_with("# EOF\n"));
    let mut stream = TcpStream::connect(&eco.listen).unwrap();
    let request =
        format!("GET /metrics HTTP/1.0\r\nHost: {}\r\nAccept: text/plain;version=0.0.4\r\n\r\n", eco.listen);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    let file = eco.dir.path().join("metrics.txt");
    std::fs::write(&file, body).unwrap();
    let line = format!("{PROMTOOL} check metrics < {}", file.display());
    let checked = run_program(Path::new("/bin/sh"), &["-c", &line]);
    assert!(
        checked.status.success() && checked.stdout.is_empty() && checked.stderr.is_empty(),
        "{}",
        told(&checked)
    );
}

#[test]
fn the_alert_rules_fire_when_they_are_to_and_not_before() {
    if is_missing(PROMTOOL) {
        return;
    }
    for args in [["check", "rules"], ["test", "rules"]] {
        let file = if args[0] == "check" { "heartbeat.rules.yml" } else { "heartbeat.rules.test.yml" };
        let file = packaging("prometheus").join(file);
        let tested = run_program(Path::new(PROMTOOL), &[args[0], args[1], file.to_str().unwrap()]);
        assert!(tested.status.success(), "{}", told(&tested));
    }
}

#[test]
fn a_real_alertmanager_has_an_alert_while_an_incident_is_open() {
    if is_missing(ALERTMANAGER) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [port, mail] = ports();
    let address = format!("127.0.0.1:{port}");
    let config = dir.path().join("alertmanager.yml");
    std::fs::write(&config, "route: { receiver: none }\nreceivers: [{ name: none }]\n").unwrap();
    let words = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", dir.path().join("data").display()),
        format!("--web.listen-address={address}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let _alertmanager = Running::start_program(Path::new(ALERTMANAGER), &words, &[]);
    let alerts = || -> Vec<Value> {
        let all: Value = serde_json::from_str(&get(&address, "/api/v2/alerts")).unwrap_or_default();
        let all = all.as_array().into_iter().flatten();
        all.filter(|alert| alert["labels"]["realm"] == "mail").cloned().collect()
    };
    until("Alertmanager", || get(&address, "/-/ready").contains("OK"));
    let extra = format!(
        "[notify.am]\nalertmanager = \"http://{address}/\"\n[realm.mail]\nhealth = {{ tcp = \"127.0.0.1:{mail}\", \
         interval = \"1s\", timeout = \"1s\", fail_after = 1, pass_after = 1, grace = \"0s\" }}\n"
    );
    let eco = Instance::start(&extra);
    until("the alert", || !alerts().is_empty());
    let alert = &alerts()[0];
    assert_eq!(alert["labels"]["alertname"], "HeartbeatIncident", "{alert:#}");
    assert_eq!(
        (&alert["labels"]["ecosystem"], &alert["status"]["state"]),
        (&"shop".into(), &"active".into())
    );
    let since = alert["startsAt"].as_str().unwrap();
    assert!(since < alert["endsAt"].as_str().unwrap(), "{alert:#}");
    let _mail = TcpListener::bind(("127.0.0.1", mail)).unwrap();
    // Alertmanager lists no alert that is over.
    until("its end", || alerts().is_empty());
    let sent = eco.cli(&["notify", "test", "am"]);
    assert_eq!(sent.status.code(), Some(0), "{}", told(&sent));
}

/// Checks a request of OTLP against the messages of the specification; prints the name of each span.
const COLLECT: &str = "
import base64, json, sys
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
request = json.load(open(sys.argv[1]))
for spans in (scope['spans'] for of in request['resourceSpans'] for scope in of['scopeSpans']):
    for span in spans:
        # The JSON of OTLP has identifiers in hexadecimal digits, that of protobuf in base64.
        for key, size in (('traceId', 16), ('spanId', 8), ('parentSpanId', 8)):
            if key in span:
                raw = bytes.fromhex(span[key])
                assert len(raw) == size and any(raw), span
                span[key] = base64.b64encode(raw).decode()
parsed = json_format.ParseDict(request, ExportTraceServiceRequest(), ignore_unknown_fields=False)
for span in parsed.resource_spans[0].scope_spans[0].spans:
    assert span.start_time_unix_nano <= span.end_time_unix_nano, span
    print(span.name)
";

/// A collector that is not there for its first request, and takes every other one.
fn collector() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::<Mutex<Vec<Value>>>::default();
    let takes = Arc::clone(&taken);
    std::thread::spawn(move || {
        for (nth, mut stream) in listener.incoming().flatten().enumerate() {
            let Some(request) = Request::read(&stream) else { continue };
            assert!(request.line().starts_with("POST /v1/traces HTTP/1.1"), "{}", request.line());
            assert_eq!(request.header("content-type"), "application/json");
            let answer = if nth == 0 {
                "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
            } else {
                takes.lock().unwrap().push(serde_json::from_str(&request.body).unwrap());
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            };
            // heartbeatd may have ended meanwhile.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    (url, taken)
}

fn spans_in(requests: &[Value]) -> Vec<Value> {
    let scopes =
        requests.iter().flat_map(|request| request["resourceSpans"][0]["scopeSpans"].as_array().unwrap());
    scopes.flat_map(|scope| scope["spans"].as_array().unwrap()).cloned().collect()
}

/// Every span has an identifier of its own and lies within its parent, which is part of the same trace.
fn check_shape(spans: &[Value]) {
    let hex = |value: &Value, digits: usize| {
        let text = value.as_str().unwrap();
        assert!(text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
        text.to_owned()
    };
    let nanos = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let ids: BTreeSet<String> = spans.iter().map(|span| hex(&span["spanId"], 16)).collect();
    assert_eq!(ids.len(), spans.len(), "{spans:#?}");
    for span in spans {
        hex(&span["traceId"], 32);
        assert!(nanos(&span["startTimeUnixNano"]) <= nanos(&span["endTimeUnixNano"]), "{span}");
        assert_eq!(span["kind"], 1, "{span}");
        assert!(["code", "message"].iter().any(|key| span["status"].get(key).is_some()), "{span}");
        let Some(parent) = span.get("parentSpanId") else { continue };
        let parent = spans.iter().find(|other| other["spanId"] == *parent).expect("its parent");
        assert_eq!(parent["traceId"], span["traceId"]);
        assert!(nanos(&parent["startTimeUnixNano"]) <= nanos(&span["startTimeUnixNano"]), "{parent} {span}");
        assert!(nanos(&parent["endTimeUnixNano"]) >= nanos(&span["endTimeUnixNano"]), "{parent} {span}");
    }
}

#[test]
fn the_boot_and_every_restart_are_traces_that_name_their_incident() {
    let (url, taken) = collector();
    let eco = Instance::start_under(&format!("HEARTBEAT__HEARTBEAT__OTLP={url} exec \"$@\""), "");
    let up = eco.cli(&["wait", "db", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let roots = || -> Vec<Value> {
        spans_in(&taken.lock().unwrap())
            .into_iter()
            .filter(|span| span.get("parentSpanId").is_none())
            .collect()
    };
    until("the trace of the boot", || roots().iter().any(|root| root["name"] == "boot"));
    kill(pid(eco.pid_of("db")), Signal::SIGKILL).unwrap();
    let attribute = |span: &Value, key: &str| {
        let mut all = span["attributes"].as_array().unwrap().iter();
        let found = all.find(|of| of["key"] == key);
        found.map_or_else(String::new, |of| of["value"]["stringValue"].as_str().unwrap().to_owned())
    };
    // On a busy machine an attempt may fail: each is a trace of its own.
    let verified = || {
        let is_it = |root: &Value| {
            root["name"] == "restart db" && attribute(root, "heartbeat.restart.result") == "verified"
        };
        roots().into_iter().find(is_it)
    };
    until("the trace of the restart", || verified().is_some());
    let restart = verified().unwrap();
    let requests = taken.lock().unwrap().clone();
    let spans = spans_in(&requests);
    check_shape(&spans);
    let boots = roots().iter().filter(|root| root["name"] == "boot").count();
    assert_eq!(boots, 1, "one trace, although its request was repeated");
    assert!(!attribute(&restart, "heartbeat.restart.cause").is_empty(), "{restart}");
    let output = eco.cli(&["incidents", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let incidents = document["incidents"].as_array().unwrap().iter();
    let ids: Vec<&str> = incidents
        .filter(|incident| incident["root"] == "db")
        .map(|incident| incident["id"].as_str().unwrap())
        .collect();
    assert!(ids.contains(&attribute(&restart, "heartbeat.incident.id").as_str()), "{restart}, {ids:?}");
    let of_restart =
        |name: &str| spans.iter().any(|span| span["name"] == name && span["traceId"] == restart["traceId"]);
    assert!(of_restart("running"), "{spans:#?}");
    // What the specification's own messages say of it.
    let Some(python) = of_venv("python") else { return };
    if !run_program(&python, &["-c", "import opentelemetry.proto"]).status.success() {
        return lacking("opentelemetry-proto is not in target/voice-venv");
    }
    for request in &requests {
        let file = eco.dir.path().join("request.json");
        std::fs::write(&file, request.to_string()).unwrap();
        let parsed = run_program(&python, &["-c", COLLECT, file.to_str().unwrap()]);
        assert!(parsed.status.success(), "{}", told(&parsed));
    }
}
