//! `why`: status, reason, evidence, root, what happens next, and what to type.

use heartbeat_client::Client;
use heartbeat_status::{RestartResult, Status, WallTime, shortened, without_markup};
use heartbeat_wire::{
    ActionDocument, ExitEntry, ProbeEntry, RealmDocument, RealmEntry, RestartEntry, SaysEntry,
    StatusDocument, TransitionEntry,
};

use crate::advice::{advice, plan_of_way_out};
use crate::age::{age, ahead, clock, human_seconds_f64, latency};
use crate::cells::{counter, mute, next, past as past_result, spaced, why};
use crate::chain::{blocked_by, hop_line, pending, pending_line, upstream};
use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::headline::status_of;
use crate::page::Page;
use crate::select::{is_name, names};
use crate::style::{Hue, Style, hue, wrap};
use crate::why_heartbeatd;

/// Transitions and restarts shown, newest first.
const MAX_PAST_ENTRIES: usize = 5;
/// Longest line about an attempt.
const MAX_ATTEMPT_CHARS: usize = 160;
/// Last lines of its output shown while it is not as it should be.
const MAX_OUTPUT_LINES: usize = 10;

/// `why REALM..`: a page for each realm; exit 0 when all of them are as desired.
pub(crate) async fn run(
    client: &Client,
    selectors: &[String],
    refresh: bool,
    console: &mut Console,
) -> Outcome {
    let (own, selectors): (Vec<String>, Vec<String>) =
        selectors.iter().cloned().partition(|selector| selector == why_heartbeatd::NAME);
    let mut exit = Exit::Holds;
    if !own.is_empty() {
        exit = why_heartbeatd::run(client, console).await?;
    }
    // One name is asked for as it is, so that heartbeatd itself says which names are near.
    let realms = match selectors.as_slice() {
        [name] if is_name(name) => selectors.clone(),
        [] => Vec::new(),
        several => names(client, several).await?,
    };
    for (at, name) in realms.iter().enumerate() {
        if (at > 0 || !own.is_empty()) && !matches!(console.form, Format::Json | Format::Ndjson) {
            console.line("")?;
        }
        if one(client, name, refresh, console).await? != Exit::Holds {
            exit = Exit::NotDesired;
        }
    }
    Ok(exit)
}

async fn one(client: &Client, name: &str, refresh: bool, console: &mut Console) -> Outcome {
    if refresh {
        console.passing_note("asking for fresh probes ...");
    }
    let answer = client.realm(name, refresh).await;
    console.passing_note("");
    let realm = answer?;
    match console.form {
        Format::Json => console.json(&realm)?,
        Format::Ndjson => console.json_line(&realm)?,
        _ => {
            let ecosystem = client.status(false).await?;
            let columns = if console.terminal { console.width() } else { usize::MAX };
            let plan = plan_of_way_out(client, &realm.realm).await;
            console.print(&explain(&realm, &ecosystem, plan.as_ref(), columns, console.style))?;
        }
    }
    Ok(exit_of_realm(&realm))
}

fn exit_of_realm(document: &RealmDocument) -> Exit {
    if status_of(&document.realm).is_ok() { Exit::Holds } else { Exit::NotDesired }
}

/// The whole explanation, at most `columns` wide. `plan` is that of the command which would get the realm going.
pub(crate) fn explain(
    document: &RealmDocument,
    ecosystem: &StatusDocument,
    plan: Option<&ActionDocument>,
    columns: usize,
    style: Style,
) -> String {
    let (realm, now) = (&document.realm, document.generated_at);
    let status = status_of(realm);
    let name = style.text(&realm.name);
    let word = style.text(&realm.status.to_string());
    let state = style.paint(hue(status), &format!("{} {word}", style.mark(status)));
    let since = format!("since {} ({})", clock(realm.since), age(realm.since, now));
    let answer = format!("{} is {state} {since}: {}", style.paint(Hue::Strong, &name), why(realm, style));
    let mut page = Page::new(columns, style);
    for line in wrap(answer.trim_end(), columns) {
        page.push(&line);
    }
    page.line("reason", &style.text(&realm.reason.to_string()));
    let next = next(&realm.next, now, style);
    page.line("next", next.as_deref().unwrap_or("nothing happens by itself"));
    let chain = upstream(realm, ecosystem);
    if let Some((root, path)) = chain.as_ref().and_then(|chain| chain.split_last()) {
        // What is well has no cause to look for, and something upstream to know of.
        let is_well = status.is_ok();
        let hops = path.iter().chain([root]);
        page.lines(
            if is_well { "upstream" } else { "because" },
            hops.map(|hop| hop_line(hop, !is_well && hop.name == root.name, style)),
        );
    } else {
        let pending = pending(realm, ecosystem);
        page.lines("because", pending.into_iter().map(|hop| pending_line(hop, style)));
    }
    let blocked = blocked_by(realm, ecosystem);
    if !blocked.is_empty() {
        let names: Vec<String> = blocked.iter().map(|name| style.text(name)).collect();
        page.line("blocks", &names.join(", "));
    }
    page.line("state", &axes(realm, style));
    if let Some(mute) = mute(realm, style) {
        page.line("muted", &mute);
    }
    page.lines("probes", realm.probes.iter().map(|probe| probe_line(probe, realm, now, style)));
    if let Some(says) = realm.says.as_ref() {
        page.line("says", &says_line(says, style));
    }
    if let Some(process) = process_line(realm, now, style) {
        page.line("process", &process);
        let restarts = &realm.restarts;
        let window = human_seconds_f64(restarts.window_s);
        page.line(
            "restarts",
            &format!("{} of {} used in {window}, {} in all", restarts.used, restarts.burst, restarts.total),
        );
    }
    if let Some(port_owner) = &document.port_owner {
        let command = style.text(&port_owner.command);
        let user = style.text(&port_owner.user);
        page.line("port", &format!("held by pid {}, {command}, of user {user}", port_owner.pid));
    }
    past(&mut page, document);
    if let Some(earlier) = earlier(document, ecosystem) {
        page.line("earlier", &earlier);
    }
    if !status.is_ok() {
        let skipped = document.log_tail.len().saturating_sub(MAX_OUTPUT_LINES);
        let last = document.log_tail.iter().skip(skipped);
        page.lines("output", last.map(|line| style.text(line)));
    }
    let root = chain.as_deref().and_then(<[_]>::last).copied();
    page.lines("you can", advice(document, root, plan, style));
    page.out
}

/// Where to read about the time before this life of heartbeatd, for a realm that is older and has little to show.
fn earlier(document: &RealmDocument, ecosystem: &StatusDocument) -> Option<String> {
    let (realm, since) = (&document.realm, ecosystem.daemon.started_at);
    let adopted = realm.process.as_ref().is_some_and(|process| process.adopted);
    let is_older = adopted || realm.since < since;
    (is_older && document.transitions.len() < MAX_PAST_ENTRIES).then(|| {
        format!(
            "before {}, when this heartbeatd began: `heartbeat-cli incidents`, `heartbeat-cli history {}`",
            clock(since),
            realm.name
        )
    })
}

fn axes(realm: &RealmEntry, style: Style) -> String {
    let mut text = format!("desired {}, phase {}, health {}", realm.desired, realm.phase, realm.health);
    if !realm.flags.is_empty() {
        let flags: Vec<String> = realm.flags.iter().map(ToString::to_string).collect();
        text += &format!(", flags {}", flags.join(" "));
    }
    if !realm.critical {
        text += ", not critical";
    }
    if realm.registered {
        text += ", registered at run time";
    }
    style.text(&text)
}

fn probe_line(probe: &ProbeEntry, realm: &RealmEntry, now: WallTime, style: Style) -> String {
    let unmeasured = probe.outcome.is_none() && probe.last.is_some();
    let (mark, hue) = if unmeasured { style.unmeasured() } else { style.outcome(probe.outcome.as_deref()) };
    let outcome = style.text(probe.outcome.as_deref().unwrap_or("not measured yet"));
    let outcome = if unmeasured { not_measured(realm) } else { outcome };
    let name = style.text(&probe.name);
    let mark = if unmeasured { style.mark(Status::Stopped) } else { mark };
    let mut text = format!("{} {outcome}", style.paint(hue, &format!("{mark} {name}")));
    if let Some(reason) = &probe.reason {
        text += &format!(", {}", style.text(&spaced(reason)));
    }
    if let Some(phase) = probe.phase.as_ref().filter(|_| probe.outcome.as_deref() == Some("fail")) {
        text += &format!(" in {}", style.text(&phase.to_string().replace('_', " ")));
    }
    if let Some(detail) = probe.detail.as_deref().filter(|detail| !detail.is_empty()) {
        text += &format!(": {}", style.text(&without_markup(detail)));
    }
    if let Some(ms) = probe.latency_ms {
        text += &format!(", {}", latency(ms));
    }
    if let Some(counter) = counter(probe) {
        text += &format!(", {counter}");
    }
    if let Some(last) = &probe.last {
        text += &format!(", {}", past_result(last, now));
        let detail = last.detail.as_deref().filter(|detail| !detail.is_empty());
        text += &detail.map_or_else(String::new, |detail| format!(": {}", style.text(detail)));
    }
    if let Some(at) = probe.at {
        text += &format!(", {} ago", age(at, now));
    }
    if let Some(at) = probe.next_at {
        text += &format!(", again {}", ahead(at, now));
    }
    if probe.stale {
        text += ", stale";
    }
    text + &format!(
        "  ({} {}, {})",
        style.text(&probe.kind.to_string()),
        style.text(&probe.target),
        probe_role(probe)
    )
}

/// Why there is no result of this generation.
fn not_measured(realm: &RealmEntry) -> String {
    let process = realm.process.as_ref().filter(|process| process.pid.is_none());
    match process.and_then(|process| process.last_exit.as_ref()) {
        Some(exit) => format!("not measured: no process since {}", clock(exit.at)),
        None if process.is_some() => "not measured: no process".to_owned(),
        None => "not measured yet".to_owned(),
    }
}

fn probe_role(probe: &ProbeEntry) -> String {
    heartbeat_status::sanitise_line(&probe.role.to_string())
}

/// What it says of itself, as it is and for as long as it says so.
fn says_line(says: &SaysEntry, style: Style) -> String {
    let mut text = style.text(&says.state.to_string());
    if let Some(status) = &says.status {
        text += &format!(": {}", style.text(status));
    }
    if let Some(ms) = says.watchdog_ms {
        text += &format!(" (well at least every {})", human_seconds_f64(ms as f64 / 1_000.0));
    }
    text
}

fn process_line(realm: &RealmEntry, now: WallTime, style: Style) -> Option<String> {
    let process = realm.process.as_ref()?;
    let mut parts = Vec::new();
    match process.pid {
        Some(pid) => parts.push(format!("pid {pid}")),
        None => parts.push("none".to_owned()),
    }
    if let Some(uptime) = process.uptime_s.filter(|_| process.pid.is_some()) {
        parts.push(format!("up {}", human_seconds_f64(uptime)));
    }
    parts.push(match process.generation {
        0 => "not started yet".to_owned(),
        generation => format!("generation {generation}"),
    });
    if let Some(exit) = &process.last_exit {
        parts.push(format!("last ended {} ago with {}", age(exit.at, now), exit_text(exit, style)));
    }
    Some(parts.join(", "))
}

fn exit_text(exit: &ExitEntry, style: Style) -> String {
    let mut text = match (&exit.code, &exit.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {}", style.text(signal)),
        (None, None) => "exit status unknown".to_owned(),
    };
    if exit.core {
        text += ", core dumped";
    }
    if exit.oom {
        text += ", out of memory";
    }
    text
}

fn past(page: &mut Page, document: &RealmDocument) {
    let (style, now) = (page.style, document.generated_at);
    let changed = |entry: &TransitionEntry| {
        let word = |status: &Option<_>| {
            status
                .as_ref()
                .map_or_else(String::new, |s: &heartbeat_wire::Open<Status>| style.text(&s.to_string()))
        };
        let change = match (&entry.from, &entry.to) {
            (None, None) => String::new(),
            (from, to) => format!("{} -> {}: ", word(from), word(to)),
        };
        format!("{} ({} ago) {change}{}", clock(entry.at), age(entry.at, now), style.text(&entry.message))
    };
    page.lines("changes", document.transitions.iter().take(MAX_PAST_ENTRIES).map(changed));
    page.lines("failures", document.failures.iter().take(MAX_PAST_ENTRIES).map(changed));
    let restarts = document.recent.iter().take(MAX_PAST_ENTRIES).map(|restart| {
        let at = restart.steps.first().map_or_else(String::new, |step| format!("{}  ", clock(step.at)));
        let cause = restart.cause.to_string().replace('_', " ");
        // What was requested has no other detail than that.
        let detail = if restart.detail == cause { String::new() } else { format!(": {}", restart.detail) };
        let what = match restart.attempt {
            Some(attempt) => format!("attempt {attempt}, {cause}{detail}"),
            // The budget does not count it: the detail alone says why.
            None if restart.detail.is_empty() => cause,
            None => restart.detail.clone(),
        };
        let text = format!("{}: {what}", result_of(restart));
        format!("{at}{}", style.text(&shortened(&text, MAX_ATTEMPT_CHARS)))
    });
    page.lines("tried", restarts);
}

/// How an attempt came out, which is what a person looks for.
fn result_of(restart: &RestartEntry) -> String {
    let Some(result) = &restart.result else { return "under way".to_owned() };
    let word = match result.known() {
        Some(RestartResult::Abandoned) => "cancelled".to_owned(),
        _ => result.to_string().replace('_', " "),
    };
    match restart.steps.as_slice() {
        [first, .., last] => {
            let ms = last.at.as_millis().saturating_sub(first.at.as_millis()).max(0);
            format!("{word} after {}", latency(i32::try_from(ms).map_or(f64::INFINITY, f64::from)))
        }
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::style::width;
    use heartbeat_status::RestartCause;
    use heartbeat_wire::PortOwnerEntry;

    #[test]
    fn an_explanation_is_the_committed_one() {
        let mut held = sample::realm();
        held.port_owner = Some(PortOwnerEntry {
            pid: 4711,
            command: "python -m http.server 8001".into(),
            user: "eve".into(),
        });
        held.log_tail = (1..=12).map(|line| format!("line {line} \u{1b}[31mof its output")).collect();
        let pages = [("", sample::realm()), (", and a stranger on its port", held)].map(|(what, realm)| {
            [80, 200].map(|columns| {
                let text = explain(&realm, &sample::outage(), None, columns, Style::default());
                assert!(text.lines().all(|line| width(line) <= columns), "{text}");
                format!("== {columns} columns{what}\n{text}\n")
            })
        });
        let text = pages.as_flattened().concat();
        assert!(!text.contains('\u{1b}') && text.contains("line 12") && !text.contains("line 2 "));
        if std::env::var_os("HEARTBEAT_BLESS").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/why.txt");
            std::fs::write(file, &text).unwrap();
            return;
        }
        let committed = include_str!("../samples/why.txt");
        assert!(text == committed, "samples/why.txt should read:\n{text}");
    }

    #[test]
    fn a_realm_that_was_taken_over_says_where_its_past_is() {
        let mut realm = sample::realm();
        let text = |realm: &RealmDocument| explain(realm, &sample::outage(), None, 200, Style::default());
        assert!(!text(&realm).contains("earlier"), "{}", text(&realm));
        realm.realm.process.as_mut().unwrap().adopted = true;
        realm.transitions.clear();
        assert!(
            text(&realm).contains("`heartbeat-cli incidents`, `heartbeat-cli history api`"),
            "{}",
            text(&realm)
        );
    }

    #[test]
    fn a_server_without_the_default_path_is_told_the_key_to_set() {
        let mut realm = sample::realm();
        let advice =
            "health = \"http://127.0.0.1:8001/\" # in [realm.api], with the path where its health is";
        let text = |realm: &RealmDocument| explain(realm, &sample::outage(), None, 200, Style::default());
        assert!(!text(&realm).contains("health ="));
        realm.realm.probes[0].detail = Some("404 Not Found: Error response".into());
        assert!(text(&realm).contains(advice), "{}", text(&realm));
    }

    #[test]
    fn what_is_well_has_something_upstream_and_no_root_cause() {
        let mut realm = sample::realm();
        let page = |realm: &RealmDocument| explain(realm, &sample::outage(), None, 200, Style::default());
        let text = page(&realm);
        assert!(
            text.contains("  because ") && text.contains("<- root cause") && !text.contains("upstream "),
            "{text}"
        );
        realm.realm.status = Status::Up.into();
        let text = page(&realm);
        assert!(text.contains("  upstream   needs postgres: ↻ restarting"), "{text}");
        assert!(!text.contains("root cause") && !text.contains("  because "), "{text}");
    }

    #[test]
    fn the_result_of_an_attempt_comes_first_and_survives_a_long_detail() {
        let mut realm = sample::realm();
        let restart = &mut realm.recent[0];
        restart.detail = "x".repeat(400);
        restart.cause = RestartCause::StartTimedOut.into();
        restart.steps.push(restart.steps[0].clone());
        let last = restart.steps.len() - 1;
        restart.steps[last].at = WallTime::from_millis(restart.steps[0].at.as_millis() + 8_900);
        let text = explain(&realm, &sample::outage(), None, 400, Style::default());
        assert!(text.contains("verified after 8.9s: attempt 1, start timed out: xxx"), "{text}");
        assert!(!text.contains(&"x".repeat(160)), "{text}");
    }

    #[test]
    fn what_a_realm_says_of_itself_is_shown_whatever_its_status_and_does_no_harm() {
        let mut realm = sample::realm();
        realm.realm.status = Status::Up.into();
        let says = |status: Option<&str>, watchdog_ms| SaysEntry {
            state: heartbeat_status::SaidState::Ready.into(),
            status: status.map(str::to_owned),
            watchdog_ms,
        };
        for (entry, line) in [
            (says(None, None), "  says       ready\n"),
            (
                says(Some("3 \u{1b}[31mclients"), Some(30_000)),
                "  says       ready: 3 ?[31mclients (well at least every 30s)\n",
            ),
        ] {
            realm.realm.says = Some(entry);
            let text = explain(&realm, &sample::outage(), None, 200, Style::default());
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn a_need_that_refuses_work_is_the_suspected_root_cause() {
        let mut ecosystem = sample::calm();
        ecosystem.realms[0].status = Status::Degraded.into();
        let suspect = ecosystem.realms[0].name.clone();
        let mut document = sample::realm();
        document.realm.status = Status::Down.into();
        document.realm.blocked_by.clear();
        document.realm.suspects = vec![suspect.clone()];
        let text = explain(&document, &ecosystem, None, 200, Style::default());
        let because = text.lines().find(|line| line.contains("because")).unwrap();
        assert!(
            because.contains(&format!("needs {suspect}: ")) && because.ends_with("<- suspected root cause"),
            "{text}"
        );
        assert!(text.contains(&format!("heartbeat-cli why {suspect} # the suspected root cause")), "{text}");
    }
}
