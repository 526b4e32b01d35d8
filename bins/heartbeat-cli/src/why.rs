//! `why`: status, reason, evidence, root, what happens next, and what to type.

use std::collections::BTreeSet;

use heartbeat_client::Client;
use heartbeat_status::wire::{
    ExitEntry, NeedEntry, PlanRequest, ProbeEntry, RealmDocument, RealmEntry, RestartEntry, SaysEntry,
    StatusDocument, TransitionEntry,
};
use heartbeat_status::{EdgeKind, Phase, Reason, RestartResult, Status, WallTime};

use crate::age::{age, ahead, clock, human_seconds_f64, latency};
use crate::args::Format;
use crate::cells::{next, past as past_result, shortened, why};
use crate::console::Console;
use crate::exit::Outcome;
use crate::headline::status_of;
use crate::status::exit_of;
use crate::steps::is_refused;
use crate::style::{Hue, Style, hue, width, wrap, wrap_with};
use crate::why_heartbeatd;

/// Transitions and restarts shown, newest first.
const MAX_PAST_ENTRIES: usize = 5;
/// Longest line about an attempt.
const MAX_ATTEMPT_CHARS: usize = 160;
/// Last lines of its output shown while it is not as it should be.
const MAX_OUTPUT_LINES: usize = 10;
/// Columns of the headings on the left.
const LABEL: usize = 10;

/// `why REALM`.
pub(crate) async fn run(client: &Client, name: &str, refresh: bool, console: &mut Console) -> Outcome {
    if name == why_heartbeatd::NAME {
        return why_heartbeatd::run(client, console).await;
    }
    if refresh {
        console.passing_note("asking for fresh probes ...");
    }
    let answer = client.realm(name, refresh).await;
    console.passing_note("");
    let realm = answer?;
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(&realm)?;
        return Ok(exit_of_realm(&realm));
    }
    let ecosystem = client.status(false).await?;
    let columns = if console.terminal { console.width() } else { usize::MAX };
    let restarts = can_restart(client, &realm.realm).await;
    let text = explain(&realm, &ecosystem, restarts, columns, console.style);
    console.print(&text)?;
    Ok(exit_of(&ecosystem, &[name.to_owned()]))
}

/// Whether a restart would be refused; of a realm that heartbeatd only watches, heartbeatd knows it.
async fn can_restart(client: &Client, realm: &RealmEntry) -> bool {
    if !realm.phase.is(Phase::External) || status_of(realm).is_ok() {
        return true;
    }
    let request = PlanRequest { action: "restart".to_owned(), realm: realm.name.clone(), cascade: false };
    client.foresee(&request).await.is_ok_and(|plan| !is_refused(&plan))
}

fn exit_of_realm(document: &RealmDocument) -> crate::exit::Exit {
    if status_of(&document.realm).is_ok() { crate::exit::Exit::Holds } else { crate::exit::Exit::NotDesired }
}

/// An explanation: lines with a heading on the left.
pub(crate) struct Page {
    pub(crate) out: String,
    columns: usize,
    style: Style,
}

impl Page {
    pub(crate) fn new(columns: usize, style: Style) -> Self {
        Self { out: String::new(), columns, style }
    }

    /// A line without a heading, as it is.
    pub(crate) fn push(&mut self, line: &str) {
        self.out += line;
        self.out.push('\n');
    }

    /// A line with a heading; an empty heading continues the last one.
    pub(crate) fn line(&mut self, label: &str, text: &str) {
        let pad = " ".repeat(LABEL.saturating_sub(width(label)));
        let label = self.style.paint(Hue::Neutral, label);
        let indent = " ".repeat(LABEL + 3);
        let room = self.columns.saturating_sub(indent.len());
        for (at, line) in wrap_with(text, room, "  ", self.style).iter().enumerate() {
            let lead = if at == 0 { format!("  {label}{pad} ") } else { indent.clone() };
            self.out += format!("{lead}{line}").trim_end();
            self.out.push('\n');
        }
    }

    fn lines(&mut self, label: &str, lines: impl IntoIterator<Item = String>) {
        for (at, line) in lines.into_iter().enumerate() {
            self.line(if at == 0 { label } else { "" }, &line);
        }
    }
}

/// The whole explanation, at most `columns` wide.
pub(crate) fn explain(
    document: &RealmDocument,
    ecosystem: &StatusDocument,
    restarts: bool,
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
    for line in wrap(answer.trim_end(), columns, style) {
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
    page.line("axes", &axes(realm, style));
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
    if let Some(holder) = &document.holder {
        let command = style.text(&holder.command);
        let user = style.text(&holder.user);
        page.line("port", &format!("held by pid {}, {command}, of user {user}", holder.pid));
    }
    past(&mut page, document);
    if !status.is_ok() {
        let skipped = document.log_tail.len().saturating_sub(MAX_OUTPUT_LINES);
        let last = document.log_tail.iter().skip(skipped);
        page.lines("output", last.map(|line| style.text(line)));
    }
    page.lines("you can", advice(document, chain.as_deref().and_then(<[_]>::last).copied(), restarts, style));
    page.out
}

/// From the first broken need down to the root: the path a person follows by hand otherwise.
fn upstream<'a>(realm: &RealmEntry, ecosystem: &'a StatusDocument) -> Option<Vec<&'a RealmEntry>> {
    let find = |name: &String| ecosystem.realms.iter().find(|realm| realm.name == *name);
    let mut path = Vec::new();
    let mut seen = BTreeSet::from([realm.name.as_str()]);
    let mut blockers = blamed(realm);
    while let Some(hop) = blockers.iter().filter_map(find).find(|hop| !seen.contains(hop.name.as_str())) {
        seen.insert(&hop.name);
        path.push(hop);
        blockers = blamed(hop);
    }
    (!path.is_empty()).then_some(path)
}

/// From the first need that is on its way up down to the one that waits for no other.
fn pending<'a>(realm: &RealmEntry, ecosystem: &'a StatusDocument) -> Vec<&'a RealmEntry> {
    let mut path: Vec<&RealmEntry> = Vec::new();
    let mut at = realm;
    while at.reason.is(Reason::WaitingForNeed) && path.len() < ecosystem.realms.len() {
        let needs = at.needs.iter().filter(|need| need.kind.is(EdgeKind::Needs));
        let on_its_way =
            |need: &&NeedEntry| need.status.is(Status::Starting) || need.status.is(Status::Restarting);
        let next = needs.filter(on_its_way).find_map(|need| {
            let seen = path.iter().any(|hop| hop.name == need.realm);
            ecosystem.realms.iter().find(|hop| hop.name == need.realm && !seen)
        });
        let Some(next) = next else { break };
        path.push(next);
        at = next;
    }
    path
}

fn pending_line(hop: &RealmEntry, style: Style) -> String {
    let status = status_of(hop);
    let state = format!("{} {}", style.mark(status), style.text(&hop.status.to_string()));
    format!("waits for {}: {}: {}", style.text(&hop.name), style.paint(hue(status), &state), why(hop, style))
}

/// The needs that are broken, or refuse work.
fn blamed(realm: &RealmEntry) -> &[String] {
    if realm.blocked_by.is_empty() { &realm.suspects } else { &realm.blocked_by }
}

fn hop_line(hop: &RealmEntry, is_root: bool, style: Style) -> String {
    let status = status_of(hop);
    let state = format!("{} {}", style.mark(status), style.text(&hop.status.to_string()));
    let root = match status {
        // It serves, and says that something is wrong with it.
        Status::Degraded if is_root => "  <- suspected root cause",
        _ if is_root => "  <- root cause",
        _ => "",
    };
    format!(
        "needs {}: {}: {}{root}",
        style.text(&hop.name),
        style.paint(hue(status), &state),
        why(hop, style)
    )
}

/// Whom this realm holds as a root.
fn blocked_by<'a>(realm: &RealmEntry, ecosystem: &'a StatusDocument) -> &'a [String] {
    let root = ecosystem.roots.iter().find(|root| root.realm == realm.name);
    root.map_or(&[], |root| root.blocks.as_slice())
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
        text += &format!(" {}", style.text(reason));
    }
    if let Some(phase) = probe.phase.as_ref().filter(|_| probe.outcome.as_deref() == Some("fail")) {
        text += &format!(" in {}", style.text(&phase.to_string()));
    }
    if let Some(detail) = probe.detail.as_deref().filter(|detail| !detail.is_empty()) {
        text += &format!(": {}", style.text(detail));
    }
    if let Some(ms) = probe.latency_ms {
        text += &format!(", {}", latency(ms));
    }
    if !probe.progress.is_empty() {
        text += &format!(", {}", style.text(&probe.progress));
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
    parts.push(format!("start number {}", process.generation));
    if let Some(exit) = &process.last_exit {
        parts.push(format!("last ended {} ago with {}", age(exit.at, now), exit_text(exit, style)));
    }
    Some(parts.join(", "))
}

fn exit_text(exit: &ExitEntry, style: Style) -> String {
    let mut text = match (&exit.code, &exit.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {}", style.text(signal)),
        (None, None) => "a status nobody saw".to_owned(),
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
            status.as_ref().map_or_else(String::new, |s: &heartbeat_status::wire::Open<Status>| {
                style.text(&s.to_string())
            })
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
        let text = format!(
            "{}: attempt {}, {}: {}",
            result_of(restart),
            restart.attempt,
            restart.cause.to_string().replace('_', " "),
            restart.detail
        );
        format!("{at}{}", style.text(&shortened(&text, MAX_ATTEMPT_CHARS, style)))
    });
    page.lines("tried", restarts);
}

/// How an attempt came out, which is what a person looks for.
fn result_of(restart: &RestartEntry) -> String {
    let Some(result) = &restart.result else { return "under way".to_owned() };
    let word = match result.known() {
        Some(RestartResult::Abandoned) => "given up for a later order".to_owned(),
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

/// What a person can type about a realm that heartbeatd only watches.
fn advice_external(realm: &RealmEntry, restarts: bool, style: Style) -> Vec<String> {
    let name = style.text(&realm.name);
    let mut lines = vec![format!("heartbeat-cli why --refresh {name} # ask for fresh probes")];
    if restarts {
        lines.push(format!("heartbeat-cli restart {name} # run its own restart command now"));
    }
    lines.push(format!("heartbeat-cli pause {name} --reason TEXT # alert nobody while it is repaired"));
    if realm.registered {
        lines.push(format!("heartbeat-cli unregister {name} # do not watch it any more"));
    }
    lines
}

/// What a person can type now; `restarts`: a restart is possible.
fn advice(document: &RealmDocument, root: Option<&RealmEntry>, restarts: bool, style: Style) -> Vec<String> {
    let realm = &document.realm;
    if realm.phase.is(Phase::External) && !status_of(realm).is_ok() && status_of(realm) != Status::Blocked {
        return advice_external(realm, restarts, style);
    }
    if let Some(holder) = &document.holder {
        let name = style.text(&realm.name);
        return vec![
            format!("kill {} # if it should not be there; {name} starts by itself then", holder.pid),
            format!(
                "verify_owner = false # in [realm.{name}], if it serves for {name}: a proxy, a container runtime"
            ),
        ];
    }
    let name = style.text(&realm.name);
    let say = |command: &str, name: &str, does: &str| format!("heartbeat-cli {command} {name} # {does}");
    if let Some(suspect) = realm.suspects.first() {
        return vec![say("why", &style.text(suspect), "the suspected root cause")];
    }
    match status_of(realm) {
        // Also one that still passes beside a broken need.
        Status::Blocked | Status::Up | Status::Degraded => {
            let root = root.map_or_else(String::new, |root| style.text(&root.name));
            let what =
                if status_of(realm) == Status::Blocked { "the root cause" } else { "what is wrong there" };
            if root.is_empty() { Vec::new() } else { vec![say("why", &root, what)] }
        }
        Status::Failed => vec![say("restart", &name, "try again once the cause is gone")],
        Status::Down | Status::Restarting => vec![
            say("restart", &name, "try now instead of later"),
            say("stop", &name, "stop trying; what needs it stays blocked"),
        ],
        Status::Stopping => vec![say("wait", &format!("{name} --for stopped"), "come back when it is gone")],
        Status::Stopped => vec![say("start", &name, "run it again")],
        Status::Unknown if realm.phase.to_string() == Phase::Unverified.as_str() => vec![
            "kill PID # the process that was found, if it should not be there; it is started by itself then"
                .to_owned(),
            say("reset", &name, "it is nothing of this realm: go on without it"),
        ],
        Status::Unknown => vec![say("why --refresh", &name, "ask for fresh probes")],
        Status::Starting => vec![say("wait", &name, "come back when it is up")],
        Status::Done | Status::Paused => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use heartbeat_status::RestartCause;
    use heartbeat_status::wire::HolderEntry;

    #[test]
    fn an_explanation_is_the_committed_one() {
        let mut held = sample::realm();
        held.holder =
            Some(HolderEntry { pid: 4711, command: "python -m http.server 8001".into(), user: "eve".into() });
        held.log_tail = (1..=12).map(|line| format!("line {line} \u{1b}[31mof its output")).collect();
        let pages = [("", sample::realm()), (", and a stranger on its port", held)].map(|(what, realm)| {
            [80, 200].map(|columns| {
                let text = explain(&realm, &sample::outage(), true, columns, Style::default());
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
    fn what_is_well_has_something_upstream_and_no_root_cause() {
        let mut realm = sample::realm();
        let page = |realm: &RealmDocument| explain(realm, &sample::outage(), true, 200, Style::default());
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
        let text = explain(&realm, &sample::outage(), true, 400, Style::default());
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
            let text = explain(&realm, &sample::outage(), true, 200, Style::default());
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
        let text = explain(&document, &ecosystem, true, 200, Style::default());
        let because = text.lines().find(|line| line.contains("because")).unwrap();
        assert!(
            because.contains(&format!("needs {suspect}: ")) && because.ends_with("<- suspected root cause"),
            "{text}"
        );
        assert!(text.contains(&format!("heartbeat-cli why {suspect} # the suspected root cause")), "{text}");
    }

    #[test]
    fn the_chain_ends_at_the_root_even_in_a_ring() {
        let mut ecosystem = sample::outage();
        for realm in &mut ecosystem.realms {
            match realm.name.as_str() {
                "postgres" => realm.blocked_by = vec!["worker".into()],
                "worker" => realm.blocked_by = vec!["postgres".into(), "gone".into()],
                _ => {}
            }
        }
        let api = ecosystem.realms.iter().find(|realm| realm.name == "api").unwrap();
        let chain = upstream(api, &ecosystem).unwrap();
        assert_eq!(chain.iter().map(|hop| hop.name.as_str()).collect::<Vec<_>>(), ["postgres", "worker"]);
    }
}
