//! `history`: the states of a realm over time, as a strip and a sparkline.

use std::time::Duration;

use heartbeat_client::{Client, HistoryRange};
use heartbeat_wire::{HistoryDocument, HistoryStep, Known, LatencyEntry, LevelEntry, TimesEntry, UsageTimes};

use crate::age;
use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::style::{Style, visible_width};
use crate::table::WIDE;

/// Columns of a strip, a step each, where there is room for them.
const COLUMNS: usize = 60;
/// Columns before a strip.
const LABEL: usize = 9;
/// Latencies are kept by the minute.
const MIN_STEP_S: u64 = 60;

/// The history of one realm until now.
pub(crate) async fn run(
    client: &Client,
    realm: &str,
    since: Duration,
    probe: Option<&str>,
    console: &mut Console,
) -> Outcome {
    let columns = match console.form {
        Format::Table => console.width().saturating_sub(LABEL + 1).clamp(1, COLUMNS),
        _ => COLUMNS,
    };
    let step_s = since.as_secs().div_ceil(columns as u64).max(MIN_STEP_S);
    let range = HistoryRange::new(since, step_s).of_probe(probe);
    let document = client.history(realm, range).await?;
    match console.form {
        Format::Json => console.json(&document)?,
        Format::Ndjson => document.steps.iter().try_for_each(|step| console.json_line(step))?,
        Format::Plain => {
            console.line(&PLAIN.join("\t"))?;
            document.steps.iter().try_for_each(|step| console.line(&plain(step)))?;
        }
        form => {
            let width = if form == Format::Wide { WIDE } else { console.width() };
            lines(&document, width, console.style).iter().try_for_each(|line| console.prose(line, LABEL))?;
        }
    }
    Ok(Exit::Holds)
}

/// What the columns of `-o plain` are.
const PLAIN: [&str; 15] = [
    "AT",
    "UP_S",
    "DEGRADED_S",
    "DOWN_S",
    "UNKNOWN_S",
    "PAUSED_S",
    "P50_MS",
    "P95_MS",
    "P99_MS",
    "MAX_MS",
    "CPU_PERCENT",
    "RSS_BYTES",
    "FDS",
    "LOAD",
    "DISK_PERCENT",
];

fn plain(step: &HistoryStep) -> String {
    let TimesEntry { up_s, degraded_s, down_s, unknown_s, paused_s } = step.times;
    let latency = step.latency_ms.map_or_else(
        || "\t\t\t".to_owned(),
        |latency| format!("{}\t{}\t{}\t{}", latency.p50, latency.p95, latency.p99, latency.max),
    );
    let max = |level: Option<LevelEntry>| level.map_or_else(String::new, |level| level.max.to_string());
    let UsageTimes { cpu_percent, rss_bytes, fds, load, disk_percent } = step.usage;
    let usage = [cpu_percent, rss_bytes, fds, load, disk_percent].map(max).join("\t");
    format!("{}\t{up_s}\t{degraded_s}\t{down_s}\t{unknown_s}\t{paused_s}\t{latency}\t{usage}", step.at)
}

/// The figures of a strip behind it, or below it where they do not fit.
fn strip(label: &str, strip: &str, figures: &str, width: usize) -> Vec<String> {
    let line = format!("{label:<LABEL$}{strip}");
    if visible_width(&line) + 2 + visible_width(figures) <= width {
        return vec![format!("{line}  {figures}")];
    }
    vec![line, format!("{:LABEL$}{figures}", "")]
}

fn lines(document: &HistoryDocument, width: usize, style: Style) -> Vec<String> {
    let mut lines = vec![format!(
        "{}  {} to {}, {} per column",
        style.text(&document.realm),
        age::moment(document.from),
        age::moment(document.to),
        age::human_seconds_f64(document.step_s),
    )];
    let mut steps: Vec<TimesEntry> = document.steps.iter().map(|step| step.times).collect();
    if let Some(newest) = steps.last_mut() {
        // Its end is not on record yet, which says nothing of the realm.
        newest.unknown_s = 0.0;
        let is_empty =
            [newest.up_s, newest.degraded_s, newest.down_s, newest.paused_s].iter().all(|s| *s <= 0.0);
        if is_empty {
            steps.pop();
        }
    }
    let marked: String = steps.iter().map(|times| mark(times, style)).collect();
    let window_ms = document.to.as_millis() - document.from.as_millis();
    let share = Known::of(&document.times, window_ms as f64 / 1e3).share(document.availability.as_ref());
    lines.extend(strip("status", &marked, &share, width));
    if let Some(latency) = &document.latency_ms {
        let values: Vec<Option<f64>> =
            document.steps.iter().map(|step| step.latency_ms.map(|latency| latency.p95)).collect();
        lines.extend(strip("latency", &sparkline(&values, style), &figures(latency), width));
    }
    for (nth, (phase, latency)) in document.phases_ms.iter().enumerate() {
        let label = if nth == 0 { "phases" } else { "" };
        lines.push(format!("{label:<LABEL$}{}: {}", style.text(phase), figures(latency)));
    }
    for (label, of, text) in QUANTITIES {
        let Some(whole) = of(&document.usage) else { continue };
        let values: Vec<Option<f64>> =
            document.steps.iter().map(|step| of(&step.usage).map(|level| level.max)).collect();
        let (p50, max) = (text(whole.p50), text(whole.max));
        lines.extend(strip(label, &sparkline(&values, style), &format!("p50 {p50}, max {max}"), width));
    }
    let marks = if style.ascii {
        "# up, + degraded, ! down, ? unknown, - stopped or paused, . before the first record"
    } else {
        "█ up, ▓ degraded, ▁ down, ? unknown, - stopped or paused, · before the first record"
    };
    lines.push(format!("         {marks}"));
    if let (Some(probe), true) = (&document.probe, document.latency_ms.is_some()) {
        lines.push(format!(
            "         latency of probe {}: the 95th percentile of each column",
            style.text(probe)
        ));
    }
    lines
}

/// A quantity that has a line: its label, its level within a time, and its text.
type Line = (&'static str, fn(&UsageTimes) -> Option<LevelEntry>, fn(f64) -> String);

/// What the processes of a realm use, and what the host uses.
const QUANTITIES: [Line; 5] = [
    ("cpu", |usage| usage.cpu_percent, age::cpu),
    ("memory", |usage| usage.rss_bytes, |bytes| age::size(bytes as u64)),
    ("fds", |usage| usage.fds, |count| format!("{count:.0}")),
    ("load", |usage| usage.load, |load| format!("{load:.2}")),
    ("disk", |usage| usage.disk_percent, |percent| format!("{percent:.0}%")),
];

/// The worst status within a column, so that a second of downtime still shows in a day.
fn mark(times: &TimesEntry, style: Style) -> char {
    let marks =
        if style.ascii { ['!', '+', '?', '#', '-', '.'] } else { ['▁', '▓', '?', '█', '-', '·'] };
    let found = [times.down_s, times.degraded_s, times.unknown_s, times.up_s, times.paused_s];
    let at = found.iter().position(|seconds| *seconds > 0.0).unwrap_or(marks.len() - 1);
    marks[at]
}

fn figures(latency: &LatencyEntry) -> String {
    format!(
        "p50 {}, p95 {}, p99 {}, max {} ({} measurements)",
        age::latency(latency.p50),
        age::latency(latency.p95),
        age::latency(latency.p99),
        age::latency(latency.max),
        latency.count
    )
}

/// Values from zero to the largest; a step without one is blank.
fn sparkline(values: &[Option<f64>], style: Style) -> String {
    let levels: &[char] = if style.ascii {
        &['_', '.', '-', '=', '+', '*', '#', '@']
    } else {
        &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
    };
    let largest = values.iter().flatten().fold(0.0_f64, |largest, value| largest.max(*value));
    let level = |value: f64| {
        let at =
            if largest > 0.0 { (value / largest * (levels.len() - 1) as f64).round() as usize } else { 0 };
        levels[at.min(levels.len() - 1)]
    };
    values.iter().map(|value| value.map_or(' ', level)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{ "schema": "heartbeat.history/1", "realm": "api", "probe": "http", "from": "2026-11-23T22:00:00.000Z",
        "to": "2026-11-23T22:04:00.000Z", "step_s": 60.0, "first_seen_at": "2026-11-23T22:01:00.000Z",
        "up_s": 130.0, "degraded_s": 0.0, "down_s": 10.0, "unknown_s": 40.0, "paused_s": 0.0,
        "availability": { "share": 0.99999, "at_least": 0.72225, "at_most": 0.94445, "unknown_s": 40.0 },
        "latency_ms": { "p50": 9.0, "p95": 18.2, "p99": 41.0, "max": 701.4, "count": 36 },
        "cpu_percent": { "p50": 2.0, "max": 50.0 }, "rss_bytes": { "p50": 4194304, "max": 8388608 },
        "steps": [
          { "at": "2026-11-23T22:00:00.000Z", "up_s": 0.0, "degraded_s": 0.0, "down_s": 0.0, "unknown_s": 0.0, "paused_s": 0.0 },
          { "at": "2026-11-23T22:01:00.000Z", "up_s": 60.0, "degraded_s": 0.0, "down_s": 0.0, "unknown_s": 0.0, "paused_s": 0.0,
            "latency_ms": { "p50": 9.0, "p95": 10.0, "p99": 41.0, "max": 701.4, "count": 12 },
            "cpu_percent": { "p50": 2.0, "max": 50.0 }, "rss_bytes": { "p50": 4194304, "max": 8388608 } },
          { "at": "2026-11-23T22:02:00.000Z", "up_s": 50.0, "degraded_s": 0.0, "down_s": 10.0, "unknown_s": 0.0, "paused_s": 0.0,
            "latency_ms": { "p50": 9.0, "p95": 80.0, "p99": 91.0, "max": 701.4, "count": 12 } },
          { "at": "2026-11-23T22:03:00.000Z", "up_s": 20.0, "degraded_s": 0.0, "down_s": 0.0, "unknown_s": 40.0, "paused_s": 0.0 } ] }"#;

    #[test]
    fn a_column_shows_the_worst_and_a_share_never_looks_like_more_than_it_is() {
        let document: HistoryDocument = serde_json::from_str(SAMPLE).unwrap();
        let shown = lines(&document, 100, Style::default());
        assert!(shown[1].starts_with("status   ·█▁█  99.99 % (72.22-94.44, unknown 40"), "{shown:#?}");
        assert!(shown[2].starts_with("latency   ▂█   p50 9"), "{shown:#?}");
        let ascii = lines(&document, 100, Style { ascii: true, ..Style::default() });
        assert!(ascii.iter().all(|line| line.is_ascii()) && ascii[1].contains(".#!#"), "{ascii:#?}");
        let mut young = document.clone();
        young.steps[3].times.up_s = 0.0;
        assert!(
            lines(&young, 100, Style::default())[1].starts_with("status   ·█▁  99"),
            "nothing of it is on record"
        );
        young.steps[2].times.down_s = 0.0;
        young.steps[2].times.unknown_s = 10.0;
        assert!(
            lines(&young, 100, Style::default())[1].starts_with("status   ·█?  99"),
            "an older gap is one"
        );
        let mut phased = document.clone();
        let latency = phased.latency_ms.unwrap();
        phased.phases_ms = [("connect".to_owned(), latency), ("first_byte".to_owned(), latency)].into();
        let shown_phases = lines(&phased, 100, Style::default());
        assert!(shown_phases[3].starts_with("phases   connect: p50 9"), "{shown_phases:#?}");
        assert!(shown_phases[4].starts_with("         first_byte: p50 9"), "{shown_phases:#?}");
        assert_eq!(shown[3], "cpu       █    p50 2.0%, max 50%");
        assert_eq!(shown[4], "memory    █    p50 4.0MiB, max 8.0MiB");
        let narrow = lines(&document, 40, Style::default());
        assert_eq!(
            narrow[1..3],
            ["status   ·█▁█", "         99.99 % (72.22-94.44, unknown 40s)"],
            "{narrow:#?}"
        );
        assert!(document.steps.iter().all(|step| plain(step).split('\t').count() == PLAIN.len()));
        assert!(plain(&document.steps[1]).ends_with("\t50\t8388608\t\t\t"), "{}", plain(&document.steps[1]));
    }
}
