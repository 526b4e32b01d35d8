//! `slo`: what is left of the budgets of objectives, and how fast they are used; `report`: a month.

use heartbeat_client::Client;
use heartbeat_status::short_seconds;
use heartbeat_wire::{AvailabilityObjective, Budget, BurnEntry, Known, LatencyObjective, SloEntry};

use crate::age;
use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::markdown;
use crate::select::names;
use crate::style::{Hue, Style};

/// The objectives of the realms that are named, or of every realm.
pub(crate) async fn run(client: &Client, realms: &[String], console: &mut Console) -> Outcome {
    let mut document = client.objectives().await?;
    if !realms.is_empty() {
        let names = names(client, realms).await?;
        document.realms.retain(|entry| names.contains(&entry.realm));
    }
    match console.form {
        Format::Json => console.json(&document)?,
        Format::Ndjson => document.realms.iter().try_for_each(|entry| console.json_line(entry))?,
        _ => {
            if document.realms.is_empty() {
                let which = if realms.is_empty() { "no realm" } else { "none of these realms" };
                let line = format!("{which} has an objective; write slo.availability = \"99.9%\" into it");
                console.prose(&line, 2)?;
            }
            let style = console.style;
            for entry in &document.realms {
                lines(entry, style).iter().try_for_each(|line| console.prose(line, HANG_COLUMNS))?;
            }
        }
    }
    Ok(Exit::Holds)
}

/// Columns of the word before what a line of an objective says.
const HANG_COLUMNS: usize = 14;

/// A month, as heartbeatd writes it; on a terminal its tables are laid out for it.
pub(crate) async fn report(client: &Client, month: Option<&str>, console: &mut Console) -> Outcome {
    let format = match console.form {
        Format::Json | Format::Ndjson => "json",
        Format::Csv | Format::Plain => "csv",
        Format::Html => "html",
        Format::Table | Format::Wide | Format::Name | Format::Md => "md",
    };
    let report = client.report(month, format).await?;
    if console.terminal && matches!(console.form, Format::Table | Format::Wide) {
        let lines = markdown::lines(&report, console.width(), console.style);
        return lines.iter().try_for_each(|line| console.line(line)).map(|()| Exit::Holds);
    }
    console.print(&report)?;
    if !report.ends_with('\n') {
        console.line("")?;
    }
    Ok(Exit::Holds)
}

#[expect(clippy::cast_possible_truncation, reason = "a cast from f64 saturates")]
fn lines(entry: &SloEntry, style: Style) -> Vec<String> {
    let window = short_seconds(entry.window_s as i64);
    let mut lines = vec![style.paint(Hue::Strong, &style.text(&entry.realm))];
    if let Some(objective) = &entry.availability {
        lines.push(format!("  availability  {}", availability(entry, objective, &window)));
        let (hue, left) = budget(objective);
        lines.push(format!("  budget        {}", style.paint(hue, &left)));
        let burns: Vec<String> = objective.burns.iter().map(burn).collect();
        lines.push(format!("  used          {}", burns.join("; ")));
    }
    if let Some(objective) = &entry.latency {
        lines.push(format!("  latency       {}", latency(entry, objective, &window)));
    }
    lines
}

fn availability(entry: &SloEntry, objective: &AvailabilityObjective, window: &str) -> String {
    let wanted = (objective.objective * 1e6).round() / 1e4;
    let budget = Budget::of(&entry.times, objective.objective, entry.window_s);
    let reached = budget.known.share(objective.reached.as_ref());
    // The verdict says how much is known, where that is too little.
    let verdict = objective.met.map_or_else(|| "not judged yet".to_owned(), |_| budget.verdict());
    // What says how much is known names the window itself.
    let within = if budget.known.is_enough() { format!(" in {window}") } else { String::new() };
    format!("{reached}{within}; {wanted} % is wanted: {verdict}")
}

fn budget(objective: &AvailabilityObjective) -> (Hue, String) {
    let left = format!("{:.1} of {:.1} minutes are left", objective.left_min, objective.budget_min);
    match objective.burning() {
        _ if objective.left_min < 0.0 => {
            let over = -objective.left_min;
            (Hue::Bad, format!("{over:.1} minutes more than {:.1} were used", objective.budget_min))
        }
        Some(_) => (Hue::Attention, left),
        None => (Hue::Ok, left),
    }
}

/// `0.3x in 1h and 0.0x in 5m`, with a word when that is too fast.
fn burn(burn: &BurnEntry) -> String {
    let span = |seconds: u64| short_seconds(i64::try_from(seconds).unwrap_or(i64::MAX));
    let too_fast = if burn.burning { ", too fast" } else { "" };
    format!(
        "{:.1}x in {} and {:.1}x in {}{too_fast}",
        burn.long_rate,
        span(burn.long_s),
        burn.short_rate,
        span(burn.short_s)
    )
}

#[expect(clippy::cast_possible_truncation, reason = "a share is far from the bounds of a number")]
fn latency(entry: &SloEntry, objective: &LatencyObjective, window: &str) -> String {
    // Rounded down, so that less than everything never looks like everything.
    let fast = (objective.fast_share * 1e4) as i64 as f64 / 1e2;
    let known = Known::of(&entry.times, entry.window_s);
    let result = match objective.met {
        Some(true) => "met".to_owned(),
        Some(false) => "missed".to_owned(),
        None if known.is_enough() => "not judged yet".to_owned(),
        None => format!("not judged yet, {known}"),
    };
    format!(
        "p95 {} in {window}; {} is wanted, {fast:.2} % of {} measurements are within: {result}",
        age::latency(objective.p95_ms),
        age::latency(objective.objective_ms),
        objective.count
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_wire::TimesEntry;

    const SAMPLE: &str = r#"{ "realm": "api", "window_s": 2592000.0,
        "up_s": 2579000.0, "degraded_s": 0.0, "down_s": 306.0, "unknown_s": 10800.0, "paused_s": 0.0,
        "availability": { "objective": 0.999, "reached": { "share": 0.99951, "at_least": 0.999, "at_most": 0.9997, "unknown_s": 10800.0 },
            "budget_min": 43.2, "left_min": 38.1, "met": true, "burns": [
              { "factor": 14.4, "long_s": 3600, "short_s": 300, "long_rate": 20.0, "short_rate": 33.3, "burning": true },
              { "factor": 1.0, "long_s": 259200, "short_s": 21600, "long_rate": 0.3, "short_rate": 3.4, "burning": false } ] },
        "latency": { "objective_ms": 300.0, "p95_ms": 120.0, "fast_share": 0.99999, "count": 500000, "met": true } }"#;

    #[test]
    fn a_budget_is_told_with_what_is_left_and_how_fast_it_goes() {
        let mut entry: SloEntry = serde_json::from_str(SAMPLE).unwrap();
        let shown = lines(&entry, Style::default());
        assert_eq!(
            shown,
            [
                "api",
                "  availability  99.95 % (99.90-99.97, unknown 3h) in 30d; 99.9 % is wanted: met as far as is known",
                "  budget        38.1 of 43.2 minutes are left",
                "  used          20.0x in 1h and 33.3x in 5m, too fast; 0.3x in 3d and 3.4x in 6h",
                "  latency       p95 120ms in 30d; 300ms is wanted, 99.99 % of 500000 measurements are within: met",
            ]
        );
        let mut young = entry.clone();
        young.times = TimesEntry { up_s: 8.0, ..TimesEntry::default() };
        young.availability.as_mut().unwrap().met = None;
        young.latency.as_mut().unwrap().met = None;
        let shown = lines(&young, Style::default());
        assert!(shown[1].ends_with(", known for 8s of 30d; 99.9 % is wanted: not judged yet"), "{shown:#?}");
        assert!(shown[4].ends_with("are within: not judged yet, known for 8s of 30d"), "{shown:#?}");
        entry.availability.as_mut().unwrap().left_min = -1.5;
        assert_eq!(
            lines(&entry, Style::default())[2],
            "  budget        1.5 minutes more than 43.2 were used"
        );
    }
}
