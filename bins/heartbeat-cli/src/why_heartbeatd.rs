//! `why heartbeatd`: what is wrong with heartbeatd itself, since when, and what to do about it.

use heartbeat_client::Client;
use heartbeat_status::{Reason, Status, WallTime};
use heartbeat_wire::{HealthDocument, IncidentDocument, OwnProblemEntry, StatusDocument};

use crate::age::{age, clock, human_seconds_f64, latency};
use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::page::Page;
use crate::style::{Hue, Style, hue, wrap};

/// The name under which heartbeatd itself is a root of incidents; no realm can have it.
pub(crate) const NAME: &str = "heartbeatd";

/// Open incidents that are looked at: there is at most one per kind of problem, among those of the realms.
const MAX_INCIDENTS: usize = 100;

/// Explains heartbeatd itself: exit 0 when it is healthy, 3 otherwise.
pub(crate) async fn run(client: &Client, console: &mut Console) -> Outcome {
    let health = client.health().await?;
    let exit = if is_healthy(&health) { Exit::Holds } else { Exit::NotDesired };
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(&health)?;
        return Ok(exit);
    }
    let ecosystem = client.summary().await?;
    // Without the list of incidents, the rest is true all the same.
    let open =
        client.incidents(true, MAX_INCIDENTS, None).await.map(|found| found.incidents).unwrap_or_default();
    let columns = if console.terminal { console.width() } else { usize::MAX };
    console.print(&explain(&health, &ecosystem, &open, columns, console.style))?;
    Ok(exit)
}

fn is_healthy(health: &HealthDocument) -> bool {
    health.status == "pass"
}

fn explain(
    health: &HealthDocument,
    ecosystem: &StatusDocument,
    open: &[IncidentDocument],
    columns: usize,
    style: Style,
) -> String {
    let now = ecosystem.generated_at;
    let name = style.paint(Hue::Strong, NAME);
    let answer = if is_healthy(health) {
        let state = style.paint(hue(Status::Up), &format!("{} healthy", style.mark(Status::Up)));
        format!("{name} is {state}: it does its work in time, and everything it writes is on disk")
    } else {
        let state = style.paint(hue(Status::Down), &format!("{} unhealthy", style.mark(Status::Down)));
        let first = health.problems.iter().map(|problem| problem.since).min();
        let since = first.map(|since| format!(" since {} ({})", clock(since), age(since, now)));
        let notes: Vec<String> = health.notes.iter().map(|note| style.text(note)).collect();
        format!("{name} is {state}{}: {}", since.unwrap_or_default(), notes.join("; "))
    };
    let mut page = Page::new(columns, style);
    for line in wrap(answer.trim_end(), columns) {
        page.push(&line);
    }
    for problem in &health.problems {
        page.line("problem", &problem_line(problem, now, style));
        page.line("you can", &style.text(&problem.advice));
    }
    let is_over = |incident: &&IncidentDocument| {
        let persists = health.problems.iter().any(|problem| problem.message == incident.message);
        incident.root == NAME && !persists && (incident.reason.is(Reason::OwnProblem) || is_healthy(health))
    };
    for incident in open.iter().filter(is_over) {
        page.line("incident", &incident_line(incident, now, style));
    }
    let lag = health.lag_ms;
    page.line("lag", &format!("its loop is {} late (p99), {} at most", latency(lag.p99), latency(lag.max)));
    let daemon = &ecosystem.daemon;
    page.line(
        "daemon",
        &format!(
            "version {}, up {}, {}, configuration number {}",
            style.text(&daemon.version),
            human_seconds_f64(daemon.uptime_s),
            style.text(&daemon.phase.to_string()),
            daemon.config_revision
        ),
    );
    if let Some(problem) = &daemon.config_problem {
        let since =
            daemon.config_problem_since.map(|since| format!(" since {} ({})", clock(since), age(since, now)));
        let line = format!(
            "the file on disk cannot be loaded{}, so the configuration before stays in force: {}",
            since.unwrap_or_default(),
            style.text(problem)
        );
        page.line("config", &line);
        page.line("you can", "heartbeat-cli check # shows every mistake; then heartbeat-cli reload");
    }
    if !is_healthy(health) {
        page.line("more", "heartbeat-cli incidents # what was told, and when");
    }
    page.out
}

/// An incident whose problem is over, or has other words by now.
fn incident_line(incident: &IncidentDocument, now: WallTime, style: Style) -> String {
    let end = if incident.reason.is(Reason::OwnProblem) {
        "it ends by itself once its problem has stayed away for 5 s, or 30 s after a start of heartbeatd"
            .to_owned()
    } else {
        format!(
            "it is still open, and ends by itself; `heartbeat-cli incident {}` says more",
            style.text(&incident.id)
        )
    };
    format!(
        "since {} ({}): {}: {end}",
        clock(incident.opened_at),
        age(incident.opened_at, now),
        style.text(&incident.message)
    )
}

fn problem_line(problem: &OwnProblemEntry, now: WallTime, style: Style) -> String {
    format!(
        "{} since {} ({}): {}",
        style.text(&problem.kind.to_string()),
        clock(problem.since),
        age(problem.since, now),
        style.text(&problem.message)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use heartbeat_status::OwnProblemKind;
    use heartbeat_wire::LagEntry;

    fn health(problems: Vec<OwnProblemEntry>) -> HealthDocument {
        HealthDocument {
            status: if problems.is_empty() { "pass" } else { "fail" }.to_owned(),
            version: "0.1.0".to_owned(),
            instance: "k3v9".to_owned(),
            notes: problems.iter().map(|problem| problem.message.clone()).collect(),
            problems,
            lag_ms: LagEntry { p99: 1.2, max: 9.8 },
        }
    }

    #[test]
    fn every_problem_comes_with_its_age_and_what_to_do() {
        let ecosystem = sample::calm();
        let kind = OwnProblemKind::Records;
        let problem = OwnProblemEntry {
            kind: kind.into(),
            since: ecosystem.generated_at,
            message: "cannot write the record of app: Read-only \u{1b}[1mfile system".to_owned(),
            advice: kind.advice().to_owned(),
        };
        let text = explain(&health(vec![problem]), &ecosystem, &[], 200, Style::default());
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("heartbeatd is ") && first.contains("unhealthy since "), "{text}");
        assert!(first.ends_with("cannot write the record of app: Read-only ?[1mfile system"), "{text}");
        assert!(text.contains("  problem    adoption-records since "), "{text}");
        assert!(text.contains("  you can    make room on that disk"), "{text}");
    }

    #[test]
    fn an_incident_that_outlives_its_problem_is_told_with_its_end() {
        let ecosystem = sample::calm();
        let mut incident = sample::incident();
        incident.root = NAME.to_owned();
        (incident.reason, incident.message) = (Reason::OwnProblem.into(), "cannot write intent".to_owned());
        let open = [incident.clone(), sample::incident()];
        let text = explain(&health(Vec::new()), &ecosystem, &open, 400, Style::default());
        assert!(text.lines().next().unwrap().contains(" healthy: "), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("  incident ")).collect();
        assert!(
            matches!(lines[..], [line] if line.contains("cannot write intent: it ends by itself")),
            "{text}"
        );
        let kind = OwnProblemKind::Intent;
        let lasting = OwnProblemEntry {
            kind: kind.into(),
            since: ecosystem.generated_at,
            message: incident.message,
            advice: kind.advice().to_owned(),
        };
        let text = explain(&health(vec![lasting]), &ecosystem, &open, 400, Style::default());
        assert!(!text.contains("  incident "), "{text}");
    }

    #[test]
    fn a_configuration_that_cannot_be_loaded_is_told_with_its_age() {
        let mut ecosystem = sample::calm();
        ecosystem.daemon.config_problem = Some("HB101: unknown key `rum`".to_owned());
        ecosystem.daemon.config_problem_since = Some(ecosystem.generated_at);
        let text = explain(&health(Vec::new()), &ecosystem, &[], 200, Style::default());
        assert!(text.lines().next().unwrap().contains(" healthy: "), "{text}");
        assert!(
            text.contains("the file on disk cannot be loaded since ") && text.contains("`rum`"),
            "{text}"
        );
    }

    #[test]
    fn health_is_reported_as_plainly_as_a_fault() {
        let text = explain(&health(Vec::new()), &sample::calm(), &[], 200, Style::default());
        assert!(text.lines().next().unwrap().contains(" healthy: "), "{text}");
        assert!(text.contains("its loop is 1.2ms late (p99), 9.8ms at most"), "{text}");
        assert!(!text.contains("problem") && !text.contains("incidents"), "{text}");
    }
}
