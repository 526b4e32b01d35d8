//! The table's cells for one realm.

use heartbeat_status::{Flag, ProbeKind, WallTime, shortened, without_markup};
use heartbeat_wire::{LastEntry, NextEntry, ProbeEntry, ProcessEntry, RealmEntry};

use crate::age::{age, cpu, human_seconds_f64, latency, moment, size};
use crate::headline::status_of;
use crate::style::{Hue, Style, hue};

/// Longest message of a realm in a row.
const MAX_MESSAGE_CHARS: usize = 280;
/// Longest detail of a probe that fits beside its kind; a longer one is left to `why`.
const MAX_DETAIL_CHARS: usize = 14;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Status,
    Realm,
    Since,
    Why,
    Next,
    Probe,
    Port,
    Time,
    Process,
    Restarts,
    Uptime,
    Cpu,
    Memory,
    Descriptors,
    Budget,
}

impl Column {
    /// In the order they stand in the table.
    pub(crate) const ALL: [Self; 15] = [
        Self::Status,
        Self::Realm,
        Self::Since,
        Self::Why,
        Self::Next,
        Self::Probe,
        Self::Port,
        Self::Time,
        Self::Process,
        Self::Restarts,
        Self::Uptime,
        Self::Cpu,
        Self::Memory,
        Self::Descriptors,
        Self::Budget,
    ];

    /// Its heading.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Status => "STATUS",
            Self::Realm => "REALM",
            Self::Since => "SINCE",
            Self::Why => "WHY",
            Self::Next => "NEXT",
            Self::Probe => "PROBE",
            Self::Port => "PORT",
            Self::Time => "TIME",
            Self::Process => "PROCESS",
            Self::Restarts => "RESTARTS",
            Self::Uptime => "UPTIME",
            Self::Cpu => "CPU",
            Self::Memory => "MEMORY",
            Self::Descriptors => "FDS",
            Self::Budget => "BUDGET",
        }
    }
}

/// Text and what its colour means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) hue: Hue,
}

impl Cell {
    fn new(text: impl Into<String>, hue: Hue) -> Self {
        Self { text: text.into(), hue }
    }

    fn none() -> Self {
        Self::new("-", Hue::Neutral)
    }

    /// Says nothing.
    pub(crate) fn is_none(&self) -> bool {
        self.text == "-"
    }
}

/// The cell of `realm` in `column`, seen at `now`.
pub(crate) fn cell(realm: &RealmEntry, column: Column, now: WallTime, style: Style) -> Cell {
    let status = status_of(realm);
    match column {
        Column::Status => {
            // A word that is newer than this program is shown as it is, and treated as unknown.
            let word = style.text(&realm.status.to_string());
            Cell::new(format!("{} {word}", style.mark(status)), hue(status))
        }
        Column::Realm => Cell::new(style.text(&realm.name), Hue::Strong),
        Column::Since => Cell::new(age(realm.since, now), Hue::Plain),
        Column::Why => Cell::new(why_in_row(realm, style), Hue::Plain),
        Column::Next => match next(&realm.next, now, style) {
            Some(text) => Cell::new(text, Hue::Plain),
            None if status.is_ok() => Cell::none(),
            None => Cell::new("needs you", Hue::Bad),
        },
        Column::Probe => probe(realm, now, style),
        Column::Port => port(realm, style),
        Column::Time => time(realm, style),
        Column::Process => process(realm, style),
        Column::Restarts => match &realm.process {
            None => Cell::none(),
            Some(_) => {
                let restarts = &realm.restarts;
                let hue = if restarts.used == 0 { Hue::Neutral } else { Hue::Attention };
                Cell::new(format!("{}/{}", restarts.used, restarts.burst), hue)
            }
        },
        Column::Uptime => {
            let process = realm.process.as_ref().filter(|process| process.pid.is_some());
            let uptime = process.and_then(|process| process.uptime_s);
            uptime.map_or_else(Cell::none, |seconds| Cell::new(human_seconds_f64(seconds), Hue::Plain))
        }
        Column::Cpu => used(realm, |process| process.cpu_percent.map(cpu)),
        Column::Memory => used(realm, |process| process.rss_bytes.map(size)),
        Column::Budget => budget(realm),
        Column::Descriptors => used(realm, |process| process.fds.map(|count| count.to_string())),
    }
}

/// What is left of the budget of its objective: `41m left`.
fn budget(realm: &RealmEntry) -> Cell {
    let Some(slo) = realm.slo else { return Cell::none() };
    let slow = if slo.latency_met == Some(false) { "slow" } else { "" };
    let (text, hue) = match slo.left_min {
        None if slow.is_empty() => ("met".to_owned(), Hue::Ok),
        None => (slow.to_owned(), Hue::Attention),
        Some(left) if left < 0.0 => (format!("{:.0}m over", -left), Hue::Bad),
        Some(left) => {
            let hue = if slo.burning || !slow.is_empty() { Hue::Attention } else { Hue::Ok };
            (format!("{left:.0}m left{}", if slo.burning { ", burning" } else { "" }), hue)
        }
    };
    Cell::new(text, hue)
}

/// What the processes of the realm use, as far as it is known.
fn used(realm: &RealmEntry, text: impl Fn(&ProcessEntry) -> Option<String>) -> Cell {
    let text = realm.process.as_ref().and_then(text);
    text.map_or_else(Cell::none, |text| Cell::new(text, Hue::Plain))
}

/// The message, or the code when there is none.
pub(crate) fn why(realm: &RealmEntry, style: Style) -> String {
    if realm.message.is_empty() {
        style.text(&realm.reason.to_string())
    } else {
        style.text(&shortened(&without_markup(&realm.message), MAX_MESSAGE_CHARS))
    }
}

/// The same in a row, which has no other place for a mute. First, so that it is not cut off.
pub(crate) fn why_in_row(realm: &RealmEntry, style: Style) -> String {
    let why = why(realm, style);
    if is_muted(realm) { format!("muted; {why}") } else { why }
}

fn is_muted(realm: &RealmEntry) -> bool {
    realm.flags.iter().any(|flag| flag.is(Flag::Muted))
}

/// Who mutes the realm and how that ends, if it is muted.
pub(crate) fn mute(realm: &RealmEntry, style: Style) -> Option<String> {
    let name = style.text(&realm.name);
    let Some(mute) = &realm.mute else {
        // An older heartbeatd says no more than the flag.
        return is_muted(realm).then(|| {
            format!("by an operator (`heartbeat-cli unmute {name}` ends it) or a maintenance window: nothing is sent about it")
        });
    };
    let (until, by, reason) = (moment(mute.until), style.text(&mute.by), style.text(&mute.reason));
    let end = if mute.by.starts_with("maintenance ") {
        String::new()
    } else {
        format!("; `heartbeat-cli unmute {name}` ends it")
    };
    Some(format!("until {until} by {by} ({reason}): nothing is sent about it{end}"))
}

/// What happens next by itself; `None` for nothing.
pub(crate) fn next(next: &NextEntry, now: WallTime, style: Style) -> Option<String> {
    next.sentence(now).map(|sentence| style.spelled(sentence))
}

/// The severity of an outcome, for choosing the probe to show for a realm.
fn rank(probe: &ProbeEntry) -> u8 {
    match probe.outcome.as_deref() {
        Some("fail") => 4,
        Some("degraded") => 3,
        Some("pass") => 1,
        Some(_) => 2,
        None => 0,
    }
}

/// The probe to show for the realm: the worst of those that ask the realm itself.
fn spokesman(realm: &RealmEntry) -> Option<&ProbeEntry> {
    let asks = |probe: &&ProbeEntry| !probe.kind.is(ProbeKind::Port) && !probe.kind.is(ProbeKind::Process);
    // The first of the worst: `max_by_key` would give the last.
    realm.probes.iter().filter(asks).rev().max_by_key(|probe| rank(probe))
}

fn of_kind(realm: &RealmEntry, kind: ProbeKind) -> Option<&ProbeEntry> {
    realm.probes.iter().find(|probe| probe.kind.is(kind))
}

/// A result that is history, as `passed 57s ago`.
pub(crate) fn past(last: &LastEntry, now: WallTime) -> String {
    let verb = match last.outcome.as_str() {
        "pass" => "passed",
        "degraded" => "passed with a remark",
        "fail" => "failed",
        _ => "was inconclusive",
    };
    format!("{verb} {} ago", age(last.at, now))
}

fn probe(realm: &RealmEntry, now: WallTime, style: Style) -> Cell {
    let Some(probe) = spokesman(realm) else { return Cell::none() };
    if let (None, Some(last)) = (&probe.outcome, &probe.last) {
        let (mark, hue) = style.unmeasured();
        let kind = style.text(&probe.kind.to_string());
        let words = if style.words { "" } else { " not measured" };
        return Cell::new(format!("{mark} {kind}{words}, {}", past(last, now)), hue);
    }
    let (mark, hue) = style.outcome(probe.outcome.as_deref());
    let mut text = format!("{mark} {}", style.text(&probe.kind.to_string()));
    let detail = probe.detail.as_deref().filter(|detail| detail.chars().count() <= MAX_DETAIL_CHARS);
    // Programs read the plain form, so it has the code.
    let reason = probe.reason.as_deref().map(|code| if style.words { code.to_owned() } else { spaced(code) });
    if let Some(said) = detail.map(ToOwned::to_owned).or(reason).filter(|said| !said.is_empty()) {
        text.push(' ');
        text.push_str(&style.text(&said));
    }
    // A failure that does not decide yet shows how many do.
    let goal = probe.progress.split_once('/').filter(|(have, want)| probe.fails > 0 && have != want);
    if let (Some("fail"), Some((have, want))) = (probe.outcome.as_deref(), goal) {
        let words = if style.words { format!("{have}/{want}") } else { format!("{have} of {want}") };
        text.push(' ');
        text.push_str(&style.text(&words));
    }
    if probe.stale {
        text.push_str(" stale");
    }
    Cell::new(text, hue)
}

/// The counter that moves toward a verdict: `failed 1 of 3 times in a row`, `passing again, 1 of 2 needed`. Nothing while
/// a verdict has nothing to add.
pub(crate) fn counter(probe: &ProbeEntry) -> Option<String> {
    let (count, goal) = probe.progress.split_once('/')?;
    let (count, goal): (u32, u32) = (count.parse().ok()?, goal.parse().ok()?);
    let passes_now = matches!(probe.outcome.as_deref(), Some("pass" | "degraded"));
    match (probe.fails, probe.passes) {
        (0, 0) => None,
        // What has failed since, or is not measured any more, passes no longer.
        (0, _) if !passes_now => None,
        (0, _) => (count < goal).then(|| format!("passing again, {count} of {goal} needed")),
        (fails, _) if fails < goal => Some(format!("failed {count} of {goal} times in a row")),
        (1, _) => None,
        (fails, _) => Some(format!("failed {fails} times in a row")),
    }
}

/// A code as words: `HeadersTimeout` is `headers timeout`.
pub(crate) fn spaced(code: &str) -> String {
    let mut words = String::with_capacity(code.len() + 4);
    for (at, c) in code.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

fn port(realm: &RealmEntry, style: Style) -> Cell {
    let probe = of_kind(realm, ProbeKind::Port);
    let Some(port) = realm.port else { return Cell::none() };
    match probe {
        Some(probe) => {
            let (mark, hue) = match (&probe.outcome, &probe.last) {
                (None, Some(_)) => style.unmeasured(),
                (outcome, _) => style.outcome(outcome.as_deref()),
            };
            Cell::new(format!("{mark} {port}"), hue)
        }
        None => Cell::new(format!("  {port}"), Hue::Plain),
    }
}

fn time(realm: &RealmEntry, style: Style) -> Cell {
    let Some(probe) = spokesman(realm) else { return Cell::none() };
    let timed_out = probe.reason.as_deref().is_some_and(|reason| reason.ends_with("Timeout"));
    let outcome = match probe.outcome.as_deref() {
        // The answer was wrong, but it came in time.
        Some("fail") if probe.latency_ms.is_some() && !timed_out => Some("pass"),
        Some("degraded") if probe.reason.as_deref() != Some("Slow") => Some("pass"),
        other => other,
    };
    let (mark, hue) = style.outcome(outcome);
    match probe.latency_ms {
        _ if timed_out => Cell::new(format!("{mark} timeout"), hue),
        Some(ms) => Cell::new(format!("{mark} {}", latency(ms)), hue),
        None => Cell::none(),
    }
}

fn process(realm: &RealmEntry, style: Style) -> Cell {
    let Some(process) = &realm.process else { return Cell::none() };
    if let Some(pid) = process.pid {
        let outcome =
            of_kind(realm, ProbeKind::Process).map_or(Some("pass"), |probe| probe.outcome.as_deref());
        let (mark, hue) = style.outcome(outcome);
        return Cell::new(format!("{mark} {pid}"), hue);
    }
    let Some(exit) = &process.last_exit else { return Cell::none() };
    let (mark, hue) = if status_of(realm).is_ok() {
        (if style.words { "ended" } else { style.mark(heartbeat_status::Status::Stopped) }, Hue::Neutral)
    } else {
        style.outcome(Some("fail"))
    };
    let how = match (&exit.code, &exit.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("SIG{}", style.text(signal)),
        (None, None) => "ended".to_owned(),
    };
    Cell::new(format!("{mark} {how}"), hue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use heartbeat_wire::MuteEntry;

    fn text(realm: &RealmEntry, column: Column) -> String {
        cell(realm, column, sample::outage().generated_at, Style::default()).text
    }

    #[test]
    fn the_four_facts_of_a_port_realm_each_have_their_own_mark() {
        let document = sample::outage();
        let api = document.realms.iter().find(|realm| realm.name == "api").unwrap();
        assert_eq!(text(api, Column::Probe), "✗ http 503");
        assert_eq!(text(api, Column::Port), "● 8001");
        assert_eq!(text(api, Column::Time), "● 12ms");
        assert_eq!(text(api, Column::Process), "● 4120");
        assert_eq!(text(api, Column::Next), "probe when postgres is up");
    }

    #[test]
    fn what_is_not_measured_claims_nothing() {
        let document = sample::outage();
        let mut postgres = document.realms.iter().find(|realm| realm.name == "postgres").unwrap().clone();
        let probe = &mut postgres.probes[0];
        probe.outcome = None;
        probe.last = Some(LastEntry {
            outcome: "pass".into(),
            reason: None,
            phase: None,
            detail: None,
            at: WallTime::from_millis(document.generated_at.as_millis() - 57_000),
            latency_ms: Some(0.2),
        });
        (probe.reason, probe.detail, probe.latency_ms) = (None, None, None);
        let seen = cell(&postgres, Column::Probe, document.generated_at, Style::default());
        assert_eq!((seen.text.as_str(), seen.hue), ("○ tcp not measured, passed 57s ago", Hue::Neutral));
        assert_eq!(text(&postgres, Column::Time), "-");
    }

    #[test]
    fn a_dead_process_says_how_it_ended() {
        let document = sample::outage();
        let of = |name: &str| document.realms.iter().find(|realm| realm.name == name).unwrap();
        assert_eq!(text(of("postgres"), Column::Process), "✗ exit 1");
        assert_eq!(text(of("postgres"), Column::Next), "start in 2s");
        assert_eq!(text(of("postgres"), Column::Restarts), "2/6");
        assert_eq!(text(of("migrate"), Column::Process), "○ exit 0");
        assert_eq!(text(of("mail"), Column::Process), "-");
    }

    #[test]
    fn a_mute_is_seen() {
        let mut api = sample::outage().realms.into_iter().find(|realm| realm.name == "api").unwrap();
        assert!(mute(&api, Style::default()).is_none() && !text(&api, Column::Why).contains("muted"));
        api.flags.push(Flag::Muted.into());
        assert!(text(&api, Column::Why).starts_with("muted; needs postgres"), "{}", text(&api, Column::Why));
        assert!(mute(&api, Style::default()).unwrap().contains("`heartbeat-cli unmute api` ends it"));
        let mut entry = MuteEntry { reason: "move".to_owned(), until: api.since, by: "uid 1000".to_owned() };
        api.mute = Some(entry.clone());
        let said = mute(&api, Style::default()).unwrap();
        assert!(said.starts_with("until 2026-11-23 22:39:59"), "{said}");
        assert!(
            said.contains(" by uid 1000 (move): nothing is sent about it; `heartbeat-cli unmute api`"),
            "{said}"
        );
        entry.by = "maintenance night".to_owned();
        api.mute = Some(entry);
        let said = mute(&api, Style::default()).unwrap();
        assert!(said.ends_with(" by maintenance night (move): nothing is sent about it"), "{said}");
    }

    #[test]
    fn a_counter_says_what_it_counts() {
        let mut probe = sample::outage().realms[0].probes[0].clone();
        let mut words = |passes, fails, progress: &str| {
            (probe.passes, probe.fails, probe.progress) = (passes, fails, progress.into());
            probe.outcome = Some(if fails > 0 { "fail" } else { "pass" }.to_owned());
            counter(&probe)
        };
        assert_eq!(words(1, 0, "1/2").as_deref(), Some("passing again, 1 of 2 needed"));
        assert_eq!(words(0, 1, "1/3").as_deref(), Some("failed 1 of 3 times in a row"));
        assert_eq!(words(0, 7, "3/3").as_deref(), Some("failed 7 times in a row"));
        assert_eq!((words(9, 0, "2/2"), words(0, 1, "1/1"), words(0, 0, "")), (None, None, None));
        (probe.passes, probe.fails, probe.progress) = (1, 0, "1/2".into());
        for outcome in [Some("fail"), None] {
            probe.outcome = outcome.map(Into::into);
            assert_eq!(counter(&probe), None, "{outcome:?} does not pass");
        }
    }

    #[test]
    fn a_failure_that_does_not_count_yet_shows_its_progress() {
        let mut api = sample::outage().realms.into_iter().find(|realm| realm.name == "api").unwrap();
        let http = api.probes.iter_mut().find(|probe| probe.name == "http").unwrap();
        (http.fails, http.progress) = (1, "1/3".into());
        http.reason = Some("HeadersTimeout".into());
        http.detail = Some("no answer within two whole seconds".into());
        http.latency_ms = None;
        assert_eq!(text(&api, Column::Probe), "✗ http headers timeout 1 of 3");
        assert_eq!(text(&api, Column::Time), "✗ timeout");
        // While it comes up its failures do not count, and the counter is that of passes.
        let http = api.probes.iter_mut().find(|probe| probe.name == "http").unwrap();
        (http.fails, http.progress) = (0, "0/2".into());
        assert_eq!(text(&api, Column::Probe), "✗ http headers timeout");
    }
}
