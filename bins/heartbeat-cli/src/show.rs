//! `show REALM`: everything that heartbeatd knows of a realm, on one page.

use heartbeat_client::Client;
use heartbeat_status::ProbeKind;
use heartbeat_wire::{NeedEntry, ProbeEntry, RealmDocument, RestartEntry};

use crate::age::{age, cpu, human_seconds_f64, latency, moment, size};
use crate::cells::{mute, why};
use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::headline::status_of;
use crate::page::Page;
use crate::select::{is_name, names};
use crate::style::{Hue, Style, hue};

/// `show REALM..`: a page for each.
pub(crate) async fn run(client: &Client, selectors: &[String], console: &mut Console) -> Outcome {
    // One name is asked for as it is, so that heartbeatd itself says which names are near.
    let realms = match selectors {
        [name] if is_name(name) => selectors.to_vec(),
        several => names(client, several).await?,
    };
    for (at, name) in realms.iter().enumerate() {
        let document = client.realm(name, false).await?;
        match console.form {
            Format::Json => console.json(&document)?,
            Format::Ndjson => console.json_line(&document)?,
            _ => {
                if at > 0 {
                    console.line("")?;
                }
                let columns = if console.terminal { console.width() } else { usize::MAX };
                console.print(&page(&document, columns, console.style))?;
            }
        }
    }
    Ok(Exit::Holds)
}

fn page(document: &RealmDocument, columns: usize, style: Style) -> String {
    let (realm, now) = (&document.realm, document.generated_at);
    let mut page = Page::new(columns, style);
    page.push(&style.paint(Hue::Strong, &style.text(&realm.name)));
    for (label, value) in
        [("title", &realm.title), ("docs", &realm.docs), ("owner", &realm.owner), ("group", &realm.group)]
    {
        if let Some(value) = value {
            page.line(label, &style.text(value));
        }
    }
    let labels = realm.labels.iter().map(|(name, value)| style.text(&format!("{name}={value}")));
    page.lines("labels", labels);
    let status = status_of(realm);
    let word = style
        .paint(hue(status), &format!("{} {}", style.mark(status), style.text(&realm.status.to_string())));
    page.line(
        "status",
        &format!("{word} since {} ({}): {}", moment(realm.since), age(realm.since, now), why(realm, style)),
    );
    page.line("reason", &style.text(&realm.reason.to_string()));
    let registered = if realm.registered { ", registered at run time" } else { "" };
    let critical = if realm.critical { "critical" } else { "not critical" };
    page.line(
        "kind",
        &format!("{}{registered}, {critical}, tier {}", style.text(&realm.kind.to_string()), realm.tier),
    );
    page.line(
        "state",
        &style.text(&format!("desired {}, phase {}, health {}", realm.desired, realm.phase, realm.health)),
    );
    page.lines("flags", realm.flags.iter().map(|flag| style.text(&flag.to_string())));
    if let Some(pause) = &realm.pause {
        let until = pause.until.map_or_else(|| "resumed".to_owned(), moment);
        page.line("paused", &format!("until {until}: {}", style.text(&pause.reason)));
    }
    if let Some(mute) = mute(realm, style) {
        page.line("muted", &mute);
    }
    page.lines("needs", realm.needs.iter().map(|need| need_line(need, style)));
    page.lines("needed by", realm.needed_by.iter().map(|name| style.text(name)));
    if let Some(port) = realm.port {
        page.line("port", &port.to_string());
    }
    page.lines("probes", realm.probes.iter().map(|probe| probe_line(probe, style)));
    if let Some(process) = &realm.process {
        let pid = process.pid.map_or_else(|| "none".to_owned(), |pid| format!("pid {pid}"));
        let began = process.started_at.map_or_else(String::new, |at| format!(", started {}", moment(at)));
        let adopted = if process.adopted { ", adopted from an earlier heartbeatd" } else { "" };
        page.line("process", &format!("{pid}, generation {}{began}{adopted}", process.generation));
        let used = [
            process.cpu_percent.map(|percent| format!("cpu {}", cpu(percent))),
            process.rss_bytes.map(|bytes| format!("memory {}", size(bytes))),
            process.fds.map(|count| format!("{count} descriptors")),
        ];
        let used: Vec<String> = used.into_iter().flatten().collect();
        if !used.is_empty() {
            page.line("uses", &used.join(", "));
        }
        let restarts = &realm.restarts;
        let window = human_seconds_f64(restarts.window_s);
        page.line(
            "restarts",
            &format!("{} of {} used in {window}, {} in all", restarts.used, restarts.burst, restarts.total),
        );
    }
    if let Some(slo) = &realm.slo {
        let left = slo.left_min.map(|left| format!("{left:.1} minutes of the budget are left"));
        let burning = slo.burning.then(|| "it is used too fast".to_owned());
        let latency = slo
            .latency_met
            .map(|met| format!("the objective of latency is {}", if met { "met" } else { "missed" }));
        let words: Vec<String> = [left, burning, latency].into_iter().flatten().collect();
        page.line("objective", &format!("{}; more: heartbeat-cli slo", words.join(", ")));
    }
    page.lines("attempts", document.recent.iter().map(|restart| restart_line(restart, style)));
    page.lines(
        "changes",
        document
            .transitions
            .iter()
            .map(|entry| format!("{} {}", moment(entry.at), style.text(&entry.message))),
    );
    page.lines(
        "failures",
        document.failures.iter().map(|entry| format!("{} {}", moment(entry.at), style.text(&entry.message))),
    );
    if let Some(incident) = &realm.incident {
        page.line("incident", &style.text(incident));
    }
    page.out
}

fn need_line(need: &NeedEntry, style: Style) -> String {
    style.text(&format!("{} ({}, until {}): {}", need.realm, need.kind, need.until, need.status))
}

fn probe_line(probe: &ProbeEntry, style: Style) -> String {
    let (mark, hue) = style.outcome(probe.outcome.as_deref());
    let mut text = format!("{} {} {}", probe.kind, probe.target, probe.role);
    if let Some(ms) = probe.interval_ms {
        text += &format!(", every {}", latency(i32::try_from(ms).map_or(f64::INFINITY, f64::from)));
    }
    text += &format!(", {} passes and {} failures in a row", probe.passes, probe.fails);
    if let Some(phases) = &probe.phases_ms {
        let stages = [
            ("queue", phases.queue),
            ("resolve", phases.resolve),
            ("connect", phases.connect),
            ("tls", phases.tls),
            ("first byte", phases.first_byte),
            ("body", phases.body),
        ];
        // The port of a realm is what the connection of another probe says of it.
        let is_port = probe.kind.is(ProbeKind::Port);
        let stages = stages.iter().filter(|(name, _)| !is_port || *name == "connect");
        let stages: Vec<String> =
            stages.filter_map(|(name, ms)| ms.map(|ms| format!("{name} {}", latency(ms)))).collect();
        text += &format!("; {}", stages.join(", "));
    }
    if let Some(detail) = probe.detail.as_deref().filter(|detail| !detail.is_empty()) {
        text += &format!(": {}", heartbeat_status::without_markup(detail));
    }
    format!("{} {}", style.paint(hue, &format!("{mark} {}", style.text(&probe.name))), style.text(&text))
}

fn restart_line(restart: &RestartEntry, style: Style) -> String {
    let steps: Vec<String> =
        restart.steps.iter().map(|step| format!("{} {}", step.step, moment(step.at))).collect();
    let result = restart.result.as_ref().map_or_else(|| "under way".to_owned(), ToString::to_string);
    style.text(
        &format!(
            "{}: {result} ({}: {}); {}",
            restart.attempt.map_or_else(|| "restart".to_owned(), |attempt| format!("attempt {attempt}")),
            restart.cause,
            restart.detail,
            steps.join(", ")
        )
        .replace('_', " "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_page_has_what_the_document_has() {
        let text = page(&sample::realm(), 200, Style::default());
        for line in [
            "api\n",
            "  labels     team=core",
            "  status     ⊘ blocked since 2026-11-23 22:39:59Z (2s): needs postgres, which is restarting",
            "  kind       service, critical, tier 3",
            "  probes     ✗ http http http://127.0.0.1:8001/api/health/ live, every 5.0s, 0 passes and 3 failures in a row; queue 0.1ms",
            "  restarts   0 of 6 used in 10m00s, 1 in all",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let mut muted = sample::realm();
        assert!(!text.contains("muted"), "{text}");
        muted.realm.flags.push(heartbeat_status::Flag::Muted.into());
        let muted = page(&muted, 200, Style::default());
        assert!(
            muted.contains("  muted      by an operator (`heartbeat-cli unmute api` ends it)"),
            "{muted}"
        );
        let narrow = page(&sample::realm(), 40, Style::default());
        assert!(narrow.lines().all(|line| crate::style::width(line) <= 40), "{narrow}");
    }
}
