//! The first line: whether the ecosystem is fine, and if not, why. The terminal, the page and every other reader share
//! it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;

use heartbeat_status::{
    DaemonPhase, Health, NextAction, Reason, RestartCause, Status, WallTime, ahead, sanitise_line, shortened,
    without_markup,
};

use crate::{NextEntry, RealmEntry, StatusDocument, Summary};

/// Roots named with their reason; more are counted.
const MAX_ROOTS: usize = 3;
/// The message of a root has at least this much, in characters, however narrow the screen is.
const MIN_MESSAGE_CHARS: usize = 60;
/// No message is longer than this, in characters.
const MAX_MESSAGE_CHARS: usize = 300;
/// Dependents named behind a root; more are counted.
const MAX_BLOCKED_REALMS: usize = 4;

/// Problems of heartbeatd itself that the line names; more are counted.
const MAX_NOTES: usize = 2;

impl RealmEntry {
    /// Its status; a word that is newer than this program counts as unknown.
    #[must_use]
    pub fn known_status(&self) -> Status {
        self.status.known().unwrap_or(Status::Unknown)
    }
}

impl StatusDocument {
    /// Whether no realm runs or is watched, since each of them was stopped.
    #[must_use]
    pub fn is_all_stopped(&self) -> bool {
        !self.realms.is_empty() && self.realms.iter().all(|realm| realm.known_status() == Status::Stopped)
    }

    /// Whether the ecosystem is fine, and if not, why: `shop: DOWN - postgres is restarting (exit code 1), blocks api`.
    /// The text is safe for a terminal.
    #[must_use]
    pub fn headline(&self) -> String {
        self.headline_with(MAX_MESSAGE_CHARS)
    }

    /// The same in about `room` characters: where it is longer, the messages of the realms are shortened, all of them to
    /// the same length. Names, statuses and counts stay.
    #[must_use]
    pub fn headline_within(&self, room: usize) -> String {
        let whole = self.headline();
        if whole.chars().count() <= room {
            return whole;
        }
        let (mut least, mut most) = (MIN_MESSAGE_CHARS, MAX_MESSAGE_CHARS);
        while least < most {
            let middle = (least + most).div_ceil(2);
            if self.headline_with(middle).chars().count() <= room {
                least = middle;
            } else {
                most = middle - 1;
            }
        }
        self.headline_with(least)
    }

    /// The line with no message longer than `limit` characters.
    fn headline_with(&self, limit: usize) -> String {
        let document = self;
        let name = sanitise_line(&document.name);
        let causes_in_words = causes_in_words(document, limit);
        let own = own_problems(document);
        if document.ok && document.is_all_stopped() {
            return format!("{name}: STOPPED - {}{own}", stopped(document, limit));
        }
        if document.ok {
            let mut line = format!("{name}: OK - {}", document.summary.counts());
            if !causes_in_words.is_empty() {
                line.push_str("; not critical: ");
                line.push_str(&causes_in_words);
            }
            return line + &own;
        }
        let faulty = document.realms.iter().any(is_fault) || !document.roots.is_empty();
        let word = match document.status.known().unwrap_or(Status::Unknown) {
            Status::Failed => "FAILED",
            Status::Starting => "STARTING",
            Status::Restarting if !faulty => "RESTARTING",
            Status::Unknown => "UNKNOWN",
            Status::Stopping => "STOPPING",
            _ => "DOWN",
        };
        let why = if causes_in_words.is_empty() { document.summary.counts() } else { causes_in_words };
        let why = match document.daemon.phase.known() {
            Some(DaemonPhase::Stopping) => format!("heartbeatd is stopping everything; {why}"),
            _ => why,
        };
        format!("{name}: {word} - {why}{own}")
    }
}

/// `all 3 realms are stopped by root: disk repair`.
fn stopped(document: &StatusDocument, limit: usize) -> String {
    let realms = &document.realms;
    let mut whys: Vec<(usize, &str)> = Vec::new();
    for realm in realms.iter() {
        let why = realm.message.strip_prefix("stopped").unwrap_or_default().trim_start_matches([' ', ':']);
        match whys.iter_mut().find(|(_, known)| *known == why) {
            Some((count, _)) => *count += 1,
            None => whys.push((1, why)),
        }
    }
    let all = match realms.as_slice() {
        // A selection is called as what it selects.
        [one] if one.name == document.name => "it is stopped".to_owned(),
        [_] => "the only realm is stopped".to_owned(),
        several => format!("all {} realms are stopped", several.len()),
    };
    whys.sort_by_key(|(count, _)| Reverse(*count));
    let cut = |why: &str| sanitise_line(&shortened(why, limit));
    match whys.as_slice() {
        [] | [(_, "")] => all,
        [(_, why)] => format!("{all} {}", cut(why)),
        several => {
            let named = several.iter().filter(|(_, why)| !why.is_empty()).take(MAX_ROOTS);
            let named: Vec<String> = named.map(|(count, why)| format!("{count} {}", cut(why))).collect();
            format!("{all}: {}", named.join("; "))
        }
    }
}

/// `; heartbeatd is unhealthy: cannot write ...`: what is wrong with heartbeatd itself, or nothing.
fn own_problems(document: &StatusDocument) -> String {
    let daemon = &document.daemon;
    if daemon.health.is(Health::Healthy) {
        return String::new();
    }
    let mut text = format!("; heartbeatd is {}", sanitise_line(&daemon.health.to_string()));
    let shown: Vec<String> = daemon.notes.iter().take(MAX_NOTES).map(|note| sanitise_line(note)).collect();
    if !shown.is_empty() {
        text.push_str(&format!(": {}", shown.join("; ")));
    }
    if daemon.notes.len() > MAX_NOTES {
        text.push_str(&format!("; and {} more", daemon.notes.len() - MAX_NOTES));
    }
    text
}

/// Whether the realm has a fault: a requested restart is none.
fn is_fault(realm: &RealmEntry) -> bool {
    let open = realm.restart.as_ref().filter(|restart| restart.result.is_none());
    match realm.known_status() {
        Status::Failed | Status::Down | Status::Blocked => true,
        Status::Restarting | Status::Starting => {
            open.is_some_and(|restart| restart.cause.known().is_none_or(RestartCause::is_debited))
        }
        _ => false,
    }
}

/// The roots of trouble with the realms that they block, worst first; without roots, every realm that is not fine.
fn causes_in_words(document: &StatusDocument, limit: usize) -> String {
    let mut causes: Vec<(&RealmEntry, &[String])> = Vec::new();
    let suspicious: Vec<&RealmEntry> =
        document.realms.iter().filter(|realm| !realm.suspects.is_empty()).collect();
    causes.extend(suspicious.iter().map(|realm| (*realm, &[][..])));
    for root in &document.roots {
        // The realm that fails names the need that refuses work.
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
            document.realms.iter().filter(|realm| !realm.known_status().is_ok()).collect();
        // Realms that only wait for others on their way up come behind these, as a count.
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
        (Reverse(realm.known_status().severity()), Reverse(blocks.len()), realm.order)
    });
    let mut parts: Vec<String> =
        causes.iter().take(MAX_ROOTS).map(|(realm, blocks)| cause(realm, blocks, limit)).collect();
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

fn cause(realm: &RealmEntry, blocks: &[String], limit: usize) -> String {
    let mut text = format!("{} is {}", sanitise_line(&realm.name), sanitise_line(&realm.status.to_string()));
    if !realm.suspects.is_empty() {
        // The message begins with the need that is probably to blame.
        let probably = realm.message.split("; ").next().unwrap_or_default();
        text.push_str(&format!(", {}", sanitise_line(&shortened(probably, limit))));
    } else if !realm.message.is_empty() {
        text.push_str(&format!(" ({})", sanitise_line(&shortened(&without_markup(&realm.message), limit))));
    }
    if !blocks.is_empty() {
        let named: Vec<String> =
            blocks.iter().take(MAX_BLOCKED_REALMS).map(|name| sanitise_line(name)).collect();
        text.push_str(&format!(", blocks {}", named.join(", ")));
        if blocks.len() > MAX_BLOCKED_REALMS {
            text.push_str(&format!(" and {} more", blocks.len() - MAX_BLOCKED_REALMS));
        }
    }
    text
}

impl Summary {
    /// The number of realms per status, worst first: `1 blocked, 4 up`.
    #[must_use]
    pub fn counts(&self) -> String {
        let summary = self;
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
}

impl NextEntry {
    /// What happens next by itself, seen at `now`: `start in 3s`, `probe when postgres is up`; `None` for nothing.
    #[must_use]
    pub fn sentence(&self, now: WallTime) -> Option<String> {
        if self.action.is(NextAction::None) {
            return None;
        }
        let action = sanitise_line(&self.action.to_string());
        Some(match (self.at, self.when.as_deref().map(sanitise_line)) {
            (Some(at), Some(when)) => format!("{action} {} if {when}", ahead(at, now)),
            (Some(at), None) => format!("{action} {}", ahead(at, now)),
            (None, Some(when)) => format!("{action} when {when}"),
            (None, None) => action,
        })
    }
}
