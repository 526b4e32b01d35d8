//! `register` and `unregister`: realms that run somewhere else, watched from now on.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use heartbeat_client::{Client, ClientError};
use heartbeat_wire::RegistrationDocument;
use serde_json::{Map, Value, json};

use crate::args::RegisterArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::style::Style;

/// heartbeatd takes no more; one byte beyond says that there is more.
const MAX_BODY_BYTES: u64 = 64 * 1024 + 1;

/// Registers a realm, or replaces what was registered under its name.
pub(crate) async fn register(client: &Client, args: &RegisterArgs, console: &mut Console) -> Outcome {
    let body = match &args.from {
        Some(path) => read(path)?,
        None => serde_json::to_vec(&body(args))?,
    };
    let document = client.register(&args.realm, body, args.dry_run).await.map_err(of_usage)?;
    told(&document, console)
}

/// Removes a realm that was registered.
pub(crate) async fn unregister(
    client: &Client,
    realm: &str,
    dry_run: bool,
    console: &mut Console,
) -> Outcome {
    let document = client.unregister(realm, dry_run).await?;
    told(&document, console)
}

/// What the flags say, in the grammar of the configuration.
fn body(args: &RegisterArgs) -> Value {
    let probe = |kind: &str, target: &String| {
        let mut probe = Map::from_iter([(kind.to_owned(), json!(target))]);
        probe.extend(args.interval.as_ref().map(|interval| ("interval".to_owned(), json!(interval))));
        Value::Object(probe)
    };
    let mut health: Vec<Value> = args.http.iter().map(|url| probe("http", url)).collect();
    health.extend(args.tcp.iter().map(|address| probe("tcp", address)));
    // Two probes of one kind need names of their own.
    for (at, probe) in health.iter_mut().enumerate().skip(1) {
        probe["name"] = json!(format!("probe-{}", at + 1));
    }
    let mut body = Map::from_iter([("health".to_owned(), Value::Array(health))]);
    if !args.need.is_empty() {
        body.insert("needs".to_owned(), json!(args.need));
    }
    for (key, value) in [("title", &args.title), ("group", &args.group)] {
        body.extend(value.as_ref().map(|value| (key.to_owned(), json!(value))));
    }
    if args.not_critical {
        body.insert("critical".to_owned(), json!(false));
    }
    Value::Object(body)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(MAX_BODY_BYTES).read_to_end(&mut body)
    } else {
        File::open(path).and_then(|file| file.take(MAX_BODY_BYTES).read_to_end(&mut body))
    };
    read.map_err(|error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display())))?;
    Ok(body)
}

/// What is wrong with a registration is what is wrong with a configuration.
fn of_usage(error: ClientError) -> Failure {
    match error {
        ClientError::Problem(problem) if matches!(problem.status, 400 | 413) => {
            let lines = if problem.problems.len() > 1 { problem.problems } else { Vec::new() };
            Failure { lines, ..Failure::new(Exit::Usage, problem.detail) }
        }
        other => other.into(),
    }
}

fn told(document: &RegistrationDocument, console: &mut Console) -> Outcome {
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(document)?;
        return Ok(Exit::Holds);
    }
    console.line(&line(document, console.style))?;
    if let Some(message) = &document.message {
        let message = console.style.text(message);
        console.note(&message);
    }
    Ok(Exit::Holds)
}

fn line(document: &RegistrationDocument, style: Style) -> String {
    let name = style.text(&document.realm);
    let list = |words: &[String]| words.iter().map(|word| style.text(word)).collect::<Vec<_>>().join(", ");
    let targets = list(&document.targets);
    let (is, was) = if document.dry_run { ("would be", "would not be") } else { ("is", "is not") };
    match document.result.as_str() {
        "registered" => format!("{name} {is} registered: {targets}"),
        "replaced" if document.because.is_empty() => {
            format!("{name} {is} registered as it was, in other words")
        }
        "replaced" => format!("{name} {is} registered anew ({}): {targets}", list(&document.because)),
        "unchanged" => format!("{name} is registered like this already: {targets}"),
        "removed" => format!("{name} {was} registered any more"),
        other => format!("{name}: {}", style.text(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> RegisterArgs {
        RegisterArgs { realm: "shop".to_owned(), ..RegisterArgs::default() }
    }

    #[test]
    fn flags_are_the_grammar_of_the_configuration() {
        let one = RegisterArgs { http: vec!["http://127.0.0.1:1/".to_owned()], ..args() };
        assert_eq!(body(&one), json!({ "health": [{ "http": "http://127.0.0.1:1/" }] }));
        let all = RegisterArgs {
            http: vec!["http://127.0.0.1:1/".to_owned()],
            tcp: vec!["127.0.0.1:2".to_owned()],
            interval: Some("1s".to_owned()),
            need: vec!["db".to_owned(), "api".to_owned()],
            title: Some("Shop".to_owned()),
            group: Some("web".to_owned()),
            not_critical: true,
            ..args()
        };
        let expected = json!({
            "health": [
                { "http": "http://127.0.0.1:1/", "interval": "1s" },
                { "tcp": "127.0.0.1:2", "interval": "1s", "name": "probe-2" },
            ],
            "needs": ["db", "api"], "title": "Shop", "group": "web", "critical": false,
        });
        assert_eq!(body(&all), expected);
    }

    #[test]
    fn every_result_has_its_line() {
        let mut document = RegistrationDocument {
            schema: heartbeat_wire::REGISTRATION_SCHEMA.to_owned(),
            dry_run: false,
            config_revision: 2,
            realm: "shop".to_owned(),
            result: "registered".to_owned(),
            because: Vec::new(),
            targets: vec!["tcp 127.0.0.1:2".to_owned()],
            needs: Vec::new(),
            message: None,
        };
        let style = Style { color: false, ascii: true, words: true };
        assert_eq!(line(&document, style), "shop is registered: tcp 127.0.0.1:2");
        document.dry_run = true;
        assert_eq!(line(&document, style), "shop would be registered: tcp 127.0.0.1:2");
        document.result = "removed".to_owned();
        assert_eq!(line(&document, style), "shop would not be registered any more");
        (document.dry_run, document.result) = (false, "replaced".to_owned());
        document.because = vec!["health".to_owned()];
        assert_eq!(line(&document, style), "shop is registered anew (health): tcp 127.0.0.1:2");
    }
}
