//! The connection tests of monit as probes.

use crate::import::monit_words::{Word, value_after};
use crate::import::values::text;

/// Most failures in a row that a probe of ours waits for.
const MAX_FAILURES: u64 = 1_000;
/// What monit waits for an answer where the test says nothing, in seconds.
const DEFAULT_TIMEOUT_S: u64 = 5;

/// One probe.
pub(crate) struct Connection {
    /// What it asks, as the inside of a table.
    asks: String,
}

impl Connection {
    /// A probe in words of ours.
    pub(crate) fn other(asks: String) -> Self {
        Self { asks }
    }

    /// The probe of a test, with remarks on what is not quite the same; an error where it is none.
    pub(crate) fn read(
        statement: &[Word],
        address: &str,
        cycle_s: u64,
    ) -> Result<(Self, Vec<String>), String> {
        let has = |word: &str| statement.iter().any(|there| there.is(word));
        let after = |word: &str| value_after(statement, word);
        let mut remarks = Vec::new();
        let target = target(statement, address, &mut remarks)?;
        let mut parts = vec![target];
        let http = parts[0].starts_with("http");
        if http {
            let code = after("status").filter(|code| code.parse::<u16>().is_ok());
            parts.extend(code.map(|code| format!("status = {code}")));
            parts.extend(after("content").map(|pattern| format!("matches = {}", text(&pattern))));
            parts.extend(
                after("method").map(|method| format!("method = {}", text(&method.to_ascii_uppercase()))),
            );
            parts.extend(after("hostheader").map(|host| format!("headers = {{ Host = {} }}", text(&host))));
        } else {
            let meant = |text: String| text.replace("\\r", "\r").replace("\\n", "\n");
            parts.extend(after("send").map(|send| format!("send = {}", text(&meant(send)))));
            if let Some(expect) = after("expect") {
                remarks.push("`expect` is a text that the answer contains, and no pattern".to_owned());
                parts.push(format!("expect = {}", text(&meant(expect))));
            }
        }
        if has("certificate")
            && let Some(days) = after("valid").and_then(|_| days(statement))
        {
            parts.push(format!("expires = \"{days}d\""));
        }
        for word in ["username", "password", "checksum", "headers"] {
            if has(word) {
                remarks.push(format!("`{word}` is left out: see `heartbeat-cli explain health`"));
            }
        }
        let timeout_s = after("timeout").and_then(|word| word.parse().ok()).unwrap_or(DEFAULT_TIMEOUT_S);
        parts.push(format!("timeout = \"{}s\"", timeout_s.clamp(1, cycle_s)));
        parts.push(threshold(statement));
        if has("retry") {
            remarks
                .push("`retry`: what monit asks again at once is asked at the next interval here".to_owned());
        }
        if !has("restart") && !has("start") {
            // An alert changes nothing in the service.
            parts.push("role = \"ready\"".to_owned());
        }
        if ["exec", "stop", "unmonitor"].iter().any(|action| has(action)) {
            remarks.push(
                "what monit would do then is not done: the realm is down, and an incident opens".to_owned(),
            );
        }
        Ok((Self { asks: parts.join(", ") }, remarks))
    }

    /// One table, or a list of them with names.
    pub(crate) fn all(probes: &[Self], cycle_s: u64) -> String {
        let table = |at: usize, probe: &Self| {
            let name = if at == 0 || probe.asks.contains("name = ") {
                String::new()
            } else {
                format!(", name = \"test-{}\"", at + 1)
            };
            let interval = if probe.asks.contains("interval = ") {
                String::new()
            } else {
                format!(", interval = \"{cycle_s}s\"")
            };
            format!("{{ {}{name}{interval} }}", probe.asks)
        };
        let tables: Vec<String> = probes.iter().enumerate().map(|(at, probe)| table(at, probe)).collect();
        match tables.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        }
    }
}

/// `certificate valid > 30 days`.
fn days(statement: &[Word]) -> Option<u64> {
    let at = statement.iter().position(|word| word.is("days") || word.is("day"))?;
    statement.get(at.checked_sub(1)?)?.text.parse().ok()
}

/// `for 3 cycles`, `3 times within 5 cycles`; once without one.
fn threshold(statement: &[Word]) -> String {
    let number =
        |at: Option<usize>| statement.get(at?)?.text.parse::<u64>().ok().filter(|number| *number > 0);
    let cycles = statement.iter().position(|word| word.is("cycles") || word.is("cycle"));
    let times = statement.iter().position(|word| word.is("times"));
    let before = |at: Option<usize>| number(at.and_then(|at| at.checked_sub(1)));
    match (before(times), before(cycles)) {
        (Some(times), Some(cycles)) if times <= cycles => format!("fail_if = \"{times} of {cycles}\""),
        (_, Some(cycles)) => format!("fail_after = {cycles}"),
        _ => {
            let retries = value_after(statement, "retry").and_then(|count| count.parse::<u64>().ok());
            format!("fail_after = {}", retries.unwrap_or_default().clamp(1, MAX_FAILURES))
        }
    }
}

/// What is asked, and how.
fn target(statement: &[Word], address: &str, remarks: &mut Vec<String>) -> Result<String, String> {
    let after = |word: &str| value_after(statement, word);
    if let Some(url) = after("url") {
        return Ok(format!("http = {}", text(&url)));
    }
    if let Some(path) = after("unixsocket").or_else(|| after("unix")) {
        let protocol = after("protocol").or_else(|| after("proto"));
        if let Some(protocol) = protocol.filter(|protocol| !protocol.eq_ignore_ascii_case("default")) {
            remarks.push(format!(
                "{protocol} is not spoken on a Unix socket: it is watched that the socket accepts connections"
            ));
        }
        return Ok(format!("unix = {}", text(&path)));
    }
    let host = match after("host").or_else(|| after("hostname")).unwrap_or_else(|| address.to_owned()) {
        host if host.eq_ignore_ascii_case("localhost") => "127.0.0.1".to_owned(),
        host => host,
    };
    let port = after("port").ok_or("heartbeatd has nothing like it")?;
    let protocol = after("protocol").or_else(|| after("proto")).unwrap_or_default().to_ascii_lowercase();
    let has = |word: &str| statement.iter().any(|there| there.is(word));
    let tls = has("ssl") || has("tls") || has("tcpssl") || protocol == "https";
    if has("udp") {
        return Err("heartbeatd has no probe over UDP: write one with exec".to_owned());
    }
    let path = after("request").unwrap_or_else(|| "/".to_owned());
    Ok(match protocol.as_str() {
        "http" | "https" => {
            let scheme = if tls { "https" } else { "http" };
            format!("http = {}", text(&format!("{scheme}://{host}:{port}{path}")))
        }
        "redis" => format!("redis = {}", text(&format!("redis://{host}:{port}"))),
        "pgsql" | "postgresql" => format!("postgres = {}", text(&format!("postgres://{host}:{port}"))),
        other => {
            if !other.is_empty() && other != "default" {
                remarks
                    .push(format!("{other} is not spoken: it is watched that the port accepts connections"));
            }
            format!("{} = {}", if tls { "tls" } else { "tcp" }, text(&format!("{host}:{port}")))
        }
    })
}
