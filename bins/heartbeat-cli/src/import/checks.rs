//! Commands that ask a service how it is, as probes that heartbeatd makes itself: then nothing has to be installed.

use crate::import::ini::words;
use crate::import::values::{needs_a_shell, text};

/// A kind of probe with its target, as TOML.
pub(crate) fn probe(command: &[String], port: impl Fn(u16) -> u16) -> Option<String> {
    let (program, rest) = command.split_first()?;
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    match program.rsplit('/').next()? {
        "curl" => curl(&rest, port),
        "wget" => wget(&rest, port),
        "redis-cli" => redis(&rest, port),
        "pg_isready" => postgres(&rest, port),
        _ => None,
    }
}

/// The words of a line that a shell reads, where they mean the same without one.
pub(crate) fn line(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    let line =
        ["|| exit 1", "|| exit", "|| false"].iter().find_map(|end| line.strip_suffix(end)).unwrap_or(line);
    // A variable in what is no address changes nothing.
    (!needs_a_shell(&line.replace('$', ""))).then(|| words(line))
}

/// The words that are no options; `None` where an option is not one of `known`, which take a value where they end in a
/// blank.
fn operands<'w>(words: &[&'w str], known: &[&str]) -> Option<(Vec<&'w str>, Vec<&'w str>)> {
    let (mut operands, mut options) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') || *word == "-" {
            operands.push(*word);
            continue;
        }
        let is_with_value = known.iter().any(|known| known.strip_suffix(' ') == Some(*word));
        if is_with_value {
            options.extend([*word, *words.next()?]);
        } else if known.contains(word) {
            options.push(*word);
        } else {
            return None;
        }
    }
    Some((operands, options))
}

fn value<'w>(options: &[&'w str], names: &[&str]) -> Option<&'w str> {
    let at = options.iter().position(|option| names.contains(option))?;
    options.get(at + 1).copied()
}

/// `http = URL`, with the port under which this machine reaches it.
fn http(url: &str, is_head: bool, passes: &str, port: impl Fn(u16) -> u16) -> Option<String> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let (scheme, rest) = url.split_once("://")?;
    let standard = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (host, inside) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, standard),
    };
    if !["localhost", "127.0.0.1", "0.0.0.0"].contains(&host) || path.contains('$') {
        return None;
    }
    let url = match port(inside) {
        port if port == standard => format!("{scheme}://127.0.0.1{path}"),
        port => format!("{scheme}://127.0.0.1:{port}{path}"),
    };
    let method = if is_head { ", method = \"HEAD\"" } else { "" };
    Some(format!("http = {}{method}, {passes}", text(&url)))
}

/// `curl -f URL`: a redirect passes, too. Without `-f` any answer passes, which is no check of ours.
fn curl(words: &[&str], port: impl Fn(u16) -> u16) -> Option<String> {
    const FAILING: [&str; 8] = ["-f", "--fail", "-sf", "-fs", "-fsS", "-sSf", "-fSs", "-sfS"];
    let known: Vec<&str> = FAILING
        .into_iter()
        .chain(["-s", "-S", "-sS", "--silent", "--show-error", "-I", "--head", "-o ", "--output "])
        .collect();
    let (operands, options) = operands(words, &known)?;
    let [url] = operands.as_slice() else { return None };
    let fails = options.iter().any(|option| FAILING.contains(option));
    let is_head = options.iter().any(|option| ["-I", "--head"].contains(option));
    fails.then(|| http(url, is_head, "status = \"200-399\"", port))?
}

/// It follows redirects.
fn wget(words: &[&str], port: impl Fn(u16) -> u16) -> Option<String> {
    const KNOWN: [&str; 11] = [
        "-q",
        "--quiet",
        "--spider",
        "-nv",
        "--no-verbose",
        "--tries=1",
        "-O ",
        "-O-",
        "-qO-",
        "-qO ",
        "-t ",
    ];
    let (operands, options) = operands(words, &KNOWN)?;
    let [url] = operands.as_slice() else { return None };
    http(url, options.contains(&"--spider"), "redirects = 10", port)
}

fn redis(words: &[&str], port: impl Fn(u16) -> u16) -> Option<String> {
    let (operands, options) = operands(words, &["-h ", "-p "])?;
    (operands.len() == 1 && operands[0].eq_ignore_ascii_case("ping")).then_some(())?;
    address("redis", &options, 6_379, port)
}

fn postgres(words: &[&str], port: impl Fn(u16) -> u16) -> Option<String> {
    const KNOWN: [&str; 10] =
        ["-h ", "--host ", "-p ", "--port ", "-U ", "--username ", "-d ", "--dbname ", "-q", "-t "];
    let (operands, options) = operands(words, &KNOWN)?;
    operands.is_empty().then_some(())?;
    address("postgres", &options, 5_432, port)
}

fn address(kind: &str, options: &[&str], standard: u16, port: impl Fn(u16) -> u16) -> Option<String> {
    let host = value(options, &["-h", "--host"]).unwrap_or("localhost");
    ["localhost", "127.0.0.1"].contains(&host).then_some(())?;
    let inside = match value(options, &["-p", "--port"]) {
        Some(port) => port.parse().ok()?,
        None => standard,
    };
    Some(format!("{kind} = \"{kind}://127.0.0.1:{}\"", port(inside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_ask_a_service_become_probes_and_others_stay_commands() {
        let outside = |port| if port == 5_432 { 5_433 } else { port };
        for (command, expected) in [
            (
                "curl -f http://localhost:8000/healthz || exit 1",
                Some("http = \"http://127.0.0.1:8000/healthz\", status = \"200-399\""),
            ),
            (
                "curl --fail -s -o /dev/null localhost/",
                Some("http = \"http://127.0.0.1/\", status = \"200-399\""),
            ),
            (
                "wget -q --spider http://localhost:3000/",
                Some("http = \"http://127.0.0.1:3000/\", method = \"HEAD\", redirects = 10"),
            ),
            ("wget -qO- http://127.0.0.1:3000", Some("http = \"http://127.0.0.1:3000/\", redirects = 10")),
            ("pg_isready -U postgres -d shop", Some("postgres = \"postgres://127.0.0.1:5433\"")),
            ("pg_isready -U $${POSTGRES_USER}", Some("postgres = \"postgres://127.0.0.1:5433\"")),
            ("pg_isready -h $HOST", None),
            ("curl -f http://localhost:$PORT/", None),
            ("curl -f http://localhost/$PATH", None),
            ("redis-cli ping", Some("redis = \"redis://127.0.0.1:6379\"")),
            ("redis-cli -a secret ping", None),
            ("curl http://localhost/", None),
            ("curl -f -H 'Host: x' http://localhost/", None),
            ("curl -f http://db:8000/", None),
            ("curl -f http://localhost/ | grep ok", None),
            ("test -f /tmp/ok", None),
        ] {
            let found = line(command).and_then(|words| probe(&words, outside));
            assert_eq!(found.as_deref(), expected, "{command}");
        }
    }
}
