//! `probe`: measurements from this process, without heartbeatd, as the HEALTHCHECK of a container or to see why a probe
//! fails; and the failures that heartbeatd has recorded.

use std::time::Duration;

use heartbeat_client::Client;
use heartbeat_config::{Config, Measure, Sources, load};
use heartbeat_probe::{Explanation, Probe, UrlError};
use heartbeat_status::{ProbeInfo, WallTime, nearest};
use heartbeat_wire::ProbeFailureEntry;

use crate::age::moment;
use crate::args::ProbeArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::style::Style;

/// What a target has by default, as in a configuration.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A failure belongs to an incident that began at most this much later, in milliseconds.
const MAX_BEFORE_MS: i64 = 5 * 60 * 1000;

/// Measures once and prints the result; with `--explain`, also what was said and how long each phase took.
pub(crate) async fn run(args: &ProbeArgs, timeout: Option<Duration>, console: &mut Console) -> Outcome {
    let timeout = timeout.unwrap_or(TIMEOUT);
    if !args.target.contains("://") {
        return of_realm(args, timeout, console).await;
    }
    let probe: Probe = args.target.parse().map_err(|error: UrlError| {
        Failure::new(Exit::Usage, error.to_string()).help("for example http://127.0.0.1:8001/api/health/")
    })?;
    let explanation = probe.explain(timeout).await;
    console.print(&text(&explanation, args.explain))?;
    Ok(verdict(explanation.result.outcome.passed() == Some(true)))
}

/// Measures every probe of a realm of the configuration that needs no heartbeatd.
async fn of_realm(args: &ProbeArgs, timeout: Duration, console: &mut Console) -> Outcome {
    let config = load(&Sources::from_process(None)).map_err(|_| {
        Failure::new(Exit::Usage, "the configuration, which says how to measure a realm, cannot be loaded")
            .help("`heartbeat-cli check` says why; a URL needs no configuration")
    })?;
    let config = config.config;
    let (mut all_pass, mut measured) = (true, 0);
    for (info, measure) in probes(&config, &args.target)? {
        let Measure::Probe(probe) = measure else {
            console.line(&format!("{}: only heartbeatd measures it", info.name))?;
            continue;
        };
        let explanation = probe.explain(timeout).await;
        measured += 1;
        all_pass &= explanation.result.outcome.passed() == Some(true);
        console.line(&console.style.text(&heading(info)))?;
        console.print(&text(&explanation, args.explain))?;
    }
    if measured == 0 {
        let message = format!("only heartbeatd measures the probes of {}", args.target);
        return Err(
            Failure::new(Exit::No, message).help(format!("`heartbeat-cli why {}` shows them", args.target))
        );
    }
    Ok(verdict(all_pass))
}

/// The probes of the realm called `name` that are measured at all, with their names.
fn probes<'a>(config: &'a Config, name: &str) -> Result<Vec<(&'a ProbeInfo, &'a Measure)>, Failure> {
    let infos = config.plan.infos();
    let Some(info) = infos.iter().find(|info| info.name.as_str() == name) else {
        let shown = heartbeat_status::sanitise_line(name);
        let failure = Failure::new(
            Exit::NoSuchRealm,
            format!("`{shown}` is neither a URL nor a realm of the configuration"),
        );
        return Err(match nearest(name, infos.iter().map(|info| info.name.as_str())) {
            Some(suggestion) => failure.help(format!("did you mean {suggestion}?")),
            None => failure.help("for example http://127.0.0.1:8001/api/health/"),
        });
    };
    let measures = config.realms.get(info.ix.index()).map_or(&[][..], |realm| &realm.probes);
    let named = info.probes.iter().zip(measures);
    Ok(named.filter_map(|(info, measure)| Some((info, measure.as_ref()?))).collect())
}

/// The name of a probe and what it measures, without a query, which may hold a secret.
fn heading(info: &ProbeInfo) -> String {
    let shown = info.public_target();
    let query = if info.target[shown.len()..].starts_with('?') { "?(hidden)" } else { "" };
    format!("{}: {shown}{query}", info.name)
}

const fn verdict(passes: bool) -> Exit {
    if passes { Exit::Holds } else { Exit::No }
}

fn text(explanation: &Explanation, explain: bool) -> String {
    if explain { explanation.to_string() } else { format!("{}\n", explanation.summary()) }
}

/// The failures of a realm's probes that heartbeatd has recorded, the oldest first, each with what was said.
pub(crate) async fn failures(client: &Client, realm: &str, console: &mut Console) -> Outcome {
    let document = client.realm_with_transcripts(realm).await?;
    match console.form {
        Format::Json => console.json(&document.probe_failures)?,
        Format::Ndjson => document.probe_failures.iter().try_for_each(|entry| console.json_line(entry))?,
        _ if document.probe_failures.is_empty() => {
            let name = console.style.text(&document.realm.name);
            console.line(&format!("no probe of {name} has failed since heartbeatd started"))?;
        }
        _ => {
            for failure in document.probe_failures.iter().rev() {
                recorded(failure, console.style).iter().try_for_each(|line| console.line(line))?;
            }
        }
    }
    Ok(Exit::Holds)
}

/// One recorded failure: a headline, and the conversation below it.
fn recorded(failure: &ProbeFailureEntry, style: Style) -> Vec<String> {
    let detail = failure.result.detail.as_deref().unwrap_or("failed");
    let headline = format!("{}  {}: {detail}", moment(failure.at), failure.probe);
    let said = failure.transcript.iter().map(|line| format!("  {}", style.text(line)));
    [style.text(&headline)].into_iter().chain(said).collect()
}

/// The last failure shortly before `at` with what was said in it: an incident that began then began with it.
pub(crate) fn before(failures: &[ProbeFailureEntry], at: WallTime, style: Style) -> Vec<String> {
    let is_shortly_before = |failure: &&ProbeFailureEntry| {
        (0..=MAX_BEFORE_MS).contains(&(at.as_millis() - failure.at.as_millis()))
    };
    let found = failures.iter().find(is_shortly_before);
    found.map_or_else(Vec::new, |failure| recorded(failure, style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_of_a_realm_are_those_of_the_configuration() {
        let text =
            "[realm.db]\nrun = \"x\"\nport = 1\nhealth = [\"redis://127.0.0.1\", { exec = \"ping\" }]\n";
        let config = heartbeat_config::load_str("heartbeat.toml", text, &std::collections::BTreeMap::new())
            .unwrap()
            .config;
        let found = probes(&config, "db").unwrap_or_default();
        let names: Vec<&str> = found.iter().map(|(info, _)| info.name.as_str()).collect();
        assert_eq!(names, ["redis", "exec", "port"]);
        let http = ProbeInfo { target: "http://db/x?token=canary".to_owned(), ..found[0].0.clone() };
        assert_eq!(heading(&http), "redis: http://db/x?(hidden)");
        let failure = probes(&config, "dv").unwrap_err();
        assert_eq!((failure.exit, failure.help.as_deref()), (Exit::NoSuchRealm, Some("did you mean db?")));
    }

    #[test]
    fn an_incident_shows_the_failure_that_it_began_with() {
        let failure = |at: &str, detail: &str| {
            serde_json::json!({ "at": at, "probe": "http", "outcome": "fail", "reason": "HeadersTimeout",
                "detail": detail, "transcript": ["> GET / HTTP/1.1", "< \u{1b}[2Jx"] })
        };
        let entries = serde_json::json!([
            failure("2026-11-23T22:40:00.000Z", "later"),
            failure("2026-11-23T22:39:58.000Z", "too late"),
        ]);
        let failures: Vec<ProbeFailureEntry> = serde_json::from_value(entries).unwrap();
        let at = |text: &str| before(&failures, text.parse().unwrap(), Style::default());
        let said = at("2026-11-23T22:39:58.310Z");
        assert!(said[0].ends_with("http: too late"), "{said:?}");
        assert_eq!(said[1..], ["  > GET / HTTP/1.1", "  < ?[2Jx"], "nothing that moves the cursor");
        assert!(at("2026-11-24T22:39:58.310Z").is_empty() && at("2026-11-22T22:39:58.310Z").is_empty());
    }
}
