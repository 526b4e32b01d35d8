//! The first line: is it fine, and if not, why.

use heartbeat_status::wire::{RealmEntry, StatusDocument, Summary};
use heartbeat_status::{DaemonPhase, Health, Reason, RestartCause, Status};

use crate::cells::shortened;
use crate::style::{Hue, Style, UNKNOWN};

/// Roots named with their reason; more are counted.
const MAX_ROOTS: usize = 3;
/// Longest message of a root, in characters: the row below has all of it.
const MAX_MESSAGE_CHARS: usize = 80;
/// Longest sentence about the need that is probably to blame, in characters.
const MAX_PROBABLY_CHARS: usize = 120;
/// Dependents named behind a root; more are counted.
const MAX_BLOCKED_REALMS: usize = 4;

/// Problems of heartbeatd itself that the line names; more are counted.
const MAX_NOTES: usize = 2;

/// A realm's status, unknown words as unknown.
pub(crate) fn status_of(realm: &RealmEntry) -> Status {
    realm.status.known().unwrap_or(UNKNOWN)
}

/// The counts of some realms.
pub(crate) fn summary(realms: &[&RealmEntry], open_incidents: u32) -> Summary {
    let count = |status| {
        u32::try_from(realms.iter().filter(|realm| status_of(realm) == status).count()).unwrap_or(u32::MAX)
    };
    Summary {
        total: u32::try_from(realms.len()).unwrap_or(u32::MAX),
        up: count(Status::Up),
        degraded: count(Status::Degraded),
        down: count(Status::Down),
        blocked: count(Status::Blocked),
        failed: count(Status::Failed),
        starting: count(Status::Starting),
        restarting: count(Status::Restarting),
        stopping: count(Status::Stopping),
        stopped: count(Status::Stopped),
        paused: count(Status::Paused),
        done: count(Status::Done),
        unknown: count(Status::Unknown),
        open_incidents,
    }
}

/// The answer, without colour: `shop: DOWN - postgres is restarting (exit code 1), blocks api`.
pub(crate) fn headline(document: &StatusDocument, style: Style) -> String {
    let name = style.text(&document.name);
    let troubles = troubles(document, style);
    let own = own_problems(document, style);
    if document.ok {
        let mut line = format!("{name}: OK - {}", counts(&document.summary));
        if !troubles.is_empty() {
            line.push_str("; not critical: ");
            line.push_str(&troubles);
        }
        return line + &own;
    }
    let faulty = document.realms.iter().any(is_fault) || !document.roots.is_empty();
    let word = match document.status.known().unwrap_or(UNKNOWN) {
        Status::Failed => "FAILED",
        Status::Starting => "STARTING",
        Status::Restarting if !faulty => "RESTARTING",
        Status::Unknown => "UNKNOWN",
        Status::Stopping => "STOPPING",
        _ => "DOWN",
    };
    let why = if troubles.is_empty() { counts(&document.summary) } else { troubles };
    let why = match document.daemon.phase.known() {
        Some(DaemonPhase::Stopping) => format!("heartbeatd is stopping everything; {why}"),
        _ => why,
    };
    format!("{name}: {word} - {why}{own}")
}

/// `; heartbeatd is unhealthy: cannot write ...`: what is wrong with heartbeatd itself, or nothing.
fn own_problems(document: &StatusDocument, style: Style) -> String {
    let daemon = &document.daemon;
    if daemon.health.is(Health::Healthy) {
        return String::new();
    }
    let mut text = format!("; heartbeatd is {}", style.text(&daemon.health.to_string()));
    let shown: Vec<String> = daemon.notes.iter().take(MAX_NOTES).map(|note| style.text(note)).collect();
    if !shown.is_empty() {
        text.push_str(&format!(": {}", shown.join("; ")));
    }
    if daemon.notes.len() > MAX_NOTES {
        text.push_str(&format!("; and {} more", daemon.notes.len() - MAX_NOTES));
    }
    text
}

/// Something has gone wrong with it: a requested restart is no fault.
fn is_fault(realm: &RealmEntry) -> bool {
    let open = realm.restart.as_ref().filter(|restart| restart.result.is_none());
    match status_of(realm) {
        Status::Failed | Status::Down | Status::Blocked => true,
        Status::Restarting | Status::Starting => {
            open.is_some_and(|restart| restart.cause.known().is_none_or(RestartCause::is_debited))
        }
        _ => false,
    }
}

/// Hue of the first line.
pub(crate) fn headline_hue(document: &StatusDocument) -> Hue {
    match document.status.known() {
        _ if document.ok && !document.daemon.health.is(Health::Healthy) => Hue::Attention,
        _ if document.ok => Hue::Ok,
        Some(Status::Starting | Status::Stopping) => Hue::Attention,
        Some(Status::Restarting) if document.roots.is_empty() => Hue::Attention,
        _ => Hue::Bad,
    }
}

/// The roots of trouble with what they block, worst first; without roots whatever is not fine.
fn troubles(document: &StatusDocument, style: Style) -> String {
    let mut causes: Vec<(&RealmEntry, &[String])> = Vec::new();
    let suspicious: Vec<&RealmEntry> =
        document.realms.iter().filter(|realm| !realm.suspects.is_empty()).collect();
    causes.extend(suspicious.iter().map(|realm| (*realm, &[][..])));
    for root in &document.roots {
        // What refuses work is named by what fails for that.
        if suspicious.iter().any(|realm| realm.suspects.contains(&root.realm)) {
            continue;
        }
        if let Some(realm) = document.realms.iter().find(|realm| realm.name == root.realm) {
            causes.push((realm, &root.blocks));
        }
    }
    let mut waiting = 0;
    if causes.is_empty() {
        let bad: Vec<&RealmEntry> =
            document.realms.iter().filter(|realm| !status_of(realm).is_ok()).collect();
        // Who only waits for others that are on their way up is counted behind them.
        let (others, first): (Vec<&RealmEntry>, Vec<&RealmEntry>) =
            bad.into_iter().partition(|realm| realm.reason.is(Reason::WaitingForNeed));
        if first.is_empty() {
            causes.extend(others.into_iter().map(|realm| (realm, &[][..])));
        } else {
            waiting = others.len();
            causes.extend(first.into_iter().map(|realm| (realm, &[][..])));
        }
    }
    causes.sort_by_key(|(realm, blocks)| {
        (std::cmp::Reverse(status_of(realm).severity()), std::cmp::Reverse(blocks.len()), realm.order)
    });
    let mut parts: Vec<String> =
        causes.iter().take(MAX_ROOTS).map(|(realm, blocks)| cause(realm, blocks, style)).collect();
    if causes.len() > MAX_ROOTS {
        parts.push(format!("and {} more", causes.len() - MAX_ROOTS));
    }
    if waiting > 0 {
        let (verb, whom) =
            (if waiting == 1 { "waits" } else { "wait" }, if causes.len() == 1 { "it" } else { "them" });
        parts.push(format!("{waiting} {verb} for {whom}"));
    }
    parts.join("; ")
}

fn cause(realm: &RealmEntry, blocks: &[String], style: Style) -> String {
    let mut text = format!("{} is {}", style.text(&realm.name), style.text(&realm.status.to_string()));
    if !realm.suspects.is_empty() {
        // The message begins with the need that is probably to blame.
        let probably = realm.message.split("; ").next().unwrap_or_default();
        text.push_str(&format!(", {}", style.text(&shortened(probably, MAX_PROBABLY_CHARS, style))));
    } else if !realm.message.is_empty() {
        text.push_str(&format!(" ({})", style.text(&shortened(&realm.message, MAX_MESSAGE_CHARS, style))));
    }
    if !blocks.is_empty() {
        let named: Vec<String> =
            blocks.iter().take(MAX_BLOCKED_REALMS).map(|name| style.text(name)).collect();
        text.push_str(&format!(", blocks {}", named.join(", ")));
        if blocks.len() > MAX_BLOCKED_REALMS {
            text.push_str(&format!(" and {} more", blocks.len() - MAX_BLOCKED_REALMS));
        }
    }
    text
}

/// `4 up, 1 restarting, 1 blocked`: what there is, worst first.
pub(crate) fn counts(summary: &Summary) -> String {
    let parts: Vec<String> = [
        (summary.failed, "failed"),
        (summary.down, "down"),
        (summary.blocked, "blocked"),
        (summary.restarting, "restarting"),
        (summary.unknown, "unknown"),
        (summary.starting, "starting"),
        (summary.degraded, "degraded"),
        (summary.up, "up"),
        (summary.done, "done"),
        (summary.stopping, "stopping"),
        (summary.stopped, "stopped"),
        (summary.paused, "paused"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    if parts.is_empty() { "no realms".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_root_comes_with_its_reason_and_its_victims() {
        assert_eq!(
            headline(&sample::outage(), Style::default()),
            "shop: DOWN - postgres is restarting (exit code 1 after 0.2 s, attempt 2 of 6), blocks api, worker"
        );
        assert_eq!(headline(&sample::calm(), Style::default()), "shop: OK - 1 degraded, 4 up, 1 done");
    }

    #[test]
    fn a_need_that_refuses_work_is_named_with_what_fails_for_it() {
        let mut document = sample::calm();
        (document.ok, document.status) = (false, Status::Down.into());
        document.realms.truncate(2);
        let (need, dependent) = (document.realms[0].name.clone(), &mut document.realms[1]);
        dependent.status = Status::Down.into();
        dependent.suspects = vec![need.clone()];
        let sentence = format!("probably because {need} is degraded: sorry, too many clients already");
        dependent.message = format!("{sentence}; http: 503 (3/3)");
        let blocks = vec![dependent.name.clone()];
        let expected = format!("shop: DOWN - {} is down, {sentence}", dependent.name);
        document.roots = vec![heartbeat_status::wire::RootEntry { realm: need, incident: None, blocks }];
        assert_eq!(headline(&document, Style::default()), expected);
    }

    #[test]
    fn trouble_that_does_not_count_is_still_told() {
        let mut document = sample::outage();
        document.ok = true;
        let line = headline(&document, Style::default());
        assert!(
            line.starts_with("shop: OK - ") && line.contains("; not critical: postgres is restarting"),
            "{line}"
        );
        document.realms.clear();
        document.ok = false;
        assert_eq!(
            headline(&document, Style::default()),
            "shop: DOWN - 2 blocked, 1 restarting, 1 degraded, 1 up, 1 done"
        );
    }

    /// Everything is on its way up, and `postgres` is what the others wait for.
    fn booting() -> StatusDocument {
        let mut document = sample::outage();
        document.roots.clear();
        document.status = Status::Starting.into();
        for realm in &mut document.realms {
            realm.status = Status::Starting.into();
            realm.reason = Reason::WaitingForNeed.into();
            realm.message = "waits for postgres, which is starting".into();
            realm.restart = None;
            if realm.name == "postgres" {
                realm.reason = Reason::Starting.into();
                realm.message = "started, not ready yet; http: Refused".into();
            }
        }
        document
    }

    #[test]
    fn a_boot_is_starting_and_names_what_the_others_wait_for() {
        let mut document = booting();
        assert_eq!(
            headline(&document, Style::default()),
            "shop: STARTING - postgres is starting (started, not ready yet; http: Refused); 5 wait for it"
        );
        assert_eq!(headline_hue(&document), Hue::Attention);
        document.realms.truncate(2);
        assert!(headline(&document, Style::default()).ends_with("; 1 waits for it"));
    }

    #[test]
    fn a_restart_that_was_asked_for_is_not_down() {
        let mut document = booting();
        document.status = Status::Restarting.into();
        let postgres = document.realms.iter_mut().find(|realm| realm.name == "postgres").unwrap();
        postgres.status = Status::Restarting.into();
        postgres.message = "being stopped for a restart: requested".into();
        let line = headline(&document, Style::default());
        assert!(line.starts_with("shop: RESTARTING - postgres is restarting (being stopped"), "{line}");
        assert_eq!(headline_hue(&document), Hue::Attention);
        // The same after a crash.
        let outage = sample::outage();
        let crashed = outage.realms.iter().find(|realm| realm.name == "postgres").unwrap().clone();
        document.realms.retain(|realm| realm.name != "postgres");
        document.realms.push(crashed);
        document.roots = outage.roots;
        assert!(headline(&document, Style::default()).starts_with("shop: DOWN - postgres is restarting"));
        assert_eq!(headline_hue(&document), Hue::Bad);
    }

    #[test]
    fn problems_of_heartbeatd_itself_are_told_whether_or_not_the_realms_are_fine() {
        for document in [sample::calm(), sample::outage()] {
            let (mut sick, before) = (document.clone(), headline(&document, Style::default()));
            sick.daemon.health = Health::Unhealthy.into();
            sick.daemon.notes =
                vec!["cannot write \u{1b}[1mx".into(), "the socket is gone".into(), "and this".into()];
            let told = "; heartbeatd is unhealthy: cannot write ?[1mx; the socket is gone; and 1 more";
            assert_eq!(headline(&sick, Style::default()), before + told);
        }
    }

    #[test]
    fn the_words_of_others_are_cut_and_the_sentence_is_not() {
        let mut document = sample::outage();
        for realm in &mut document.realms {
            realm.message = format!("unhealthy: 503 {}, attempt 1 of 6", "x".repeat(250));
        }
        let line = headline(&document, Style::default());
        let expected = format!(
            "shop: DOWN - postgres is restarting (unhealthy: 503 {}…, attempt 1 of 6), blocks api, worker",
            "x".repeat(80 - 32)
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn many_roots_are_counted() {
        let mut document = sample::outage();
        document.roots.clear();
        for realm in &mut document.realms {
            realm.status = Status::Down.into();
        }
        assert!(headline(&document, Style::default()).ends_with("; and 3 more"));
    }
}
