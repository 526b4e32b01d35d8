//! The first line, as a terminal shows it.

use heartbeat_status::{Health, Status};
use heartbeat_wire::{RealmEntry, StatusDocument, Summary};

use crate::style::{Hue, Style};

/// A realm's status, unknown words as unknown.
pub(crate) fn status_of(realm: &RealmEntry) -> Status {
    realm.known_status()
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

/// Names of the selected realms in the first line; more are counted.
const MAX_NAMES: usize = 3;

/// The first line of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstLine {
    pub(crate) text: String,
    pub(crate) hue: Hue,
}

impl FirstLine {
    /// The answer for `named`, or for the whole ecosystem where no realm was named, in about `room` characters.
    pub(crate) fn of(
        document: &StatusDocument,
        named: Option<&[&RealmEntry]>,
        room: usize,
        style: Style,
    ) -> Self {
        match named.filter(|named| named.len() < document.realms.len()) {
            None => {
                let text = style.spelled(document.headline_within(room));
                Self { text, hue: headline_hue(document) }
            }
            Some(named) => {
                let selection = selection(document, named);
                let text = style.spelled(selection.headline_within(room));
                let text = text + &style.text(&others(document, named));
                Self { text, hue: headline_hue(&selection) }
            }
        }
    }
}

/// The document as far as it is about `named`.
fn selection(document: &StatusDocument, named: &[&RealmEntry]) -> StatusDocument {
    let names: Vec<&str> = named.iter().map(|realm| realm.name.as_str()).collect();
    let worst = named.iter().max_by_key(|realm| status_of(realm).severity());
    let mut selection = StatusDocument {
        name: if names.len() > MAX_NAMES {
            format!("{} of {} realms", names.len(), document.realms.len())
        } else {
            names.join(", ")
        },
        ok: named.iter().all(|realm| status_of(realm).is_ok()),
        status: worst.map_or_else(|| document.status.clone(), |realm| realm.status.clone()),
        summary: summary(named, document.summary.open_incidents),
        ..document.clone()
    };
    selection.realms.retain(|realm| names.contains(&realm.name.as_str()));
    selection.roots.retain(|root| names.contains(&root.realm.as_str()));
    selection
}

/// `; not shown: postgres is restarting`: what is wrong beside the selection.
fn others(document: &StatusDocument, named: &[&RealmEntry]) -> String {
    let is_named = |realm: &&RealmEntry| named.iter().any(|one| one.name == realm.name);
    let others = document.realms.iter().filter(|realm| !is_named(realm));
    let bad: Vec<&RealmEntry> = others.filter(|realm| !status_of(realm).is_ok()).collect();
    match bad.as_slice() {
        [] => String::new(),
        [one] => format!("; not shown: {} is {}", one.name, one.status),
        several => format!("; not shown: {} realms that are not fine", several.len()),
    }
}

/// The answer, without colour: `shop: DOWN - postgres is restarting (exit code 1), blocks api`.
pub(crate) fn headline(document: &StatusDocument, style: Style) -> String {
    style.spelled(document.headline())
}

/// Hue of the first line.
pub(crate) fn headline_hue(document: &StatusDocument) -> Hue {
    match document.status.known() {
        _ if document.ok && (!document.daemon.health.is(Health::Healthy) || document.is_all_stopped()) => {
            Hue::Attention
        }
        _ if document.ok => Hue::Ok,
        Some(Status::Starting | Status::Stopping) => Hue::Attention,
        Some(Status::Restarting) if document.roots.is_empty() => Hue::Attention,
        _ => Hue::Bad,
    }
}

#[cfg(test)]
mod tests {
    use heartbeat_status::Reason;

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
    fn a_selection_answers_for_itself_and_names_what_is_wrong_elsewhere() {
        let document = sample::outage();
        let line = |names: &[&str]| {
            let named: Vec<&RealmEntry> =
                document.realms.iter().filter(|realm| names.contains(&realm.name.as_str())).collect();
            FirstLine::of(&document, Some(&named), usize::MAX, Style::default())
        };
        let up = line(&["dashboard"]);
        assert_eq!(
            (up.text.as_str(), up.hue),
            ("dashboard: OK - 1 up; not shown: 3 realms that are not fine", Hue::Ok)
        );
        let blocked = line(&["api", "postgres"]);
        assert_eq!(
            blocked.text,
            "postgres, api: DOWN - postgres is restarting (exit code 1 after 0.2 s, attempt 2 of 6), blocks api, worker; \
             not shown: worker is blocked"
        );
        assert_eq!(blocked.hue, Hue::Bad);
        let most = line(&["postgres", "api", "worker", "dashboard"]);
        assert!(most.text.starts_with("4 of 6 realms: DOWN - postgres"), "{}", most.text);
        assert!(!most.text.contains("not shown"), "{}", most.text);
        let whole = FirstLine::of(&document, None, usize::MAX, Style::default());
        assert_eq!(whole.text, headline(&document, Style::default()));
    }

    #[test]
    fn an_ecosystem_that_is_stopped_is_not_called_fine() {
        let mut document = sample::calm();
        for realm in &mut document.realms {
            realm.status = Status::Stopped.into();
            realm.message = "stopped by root: disk repair".into();
        }
        let text = headline(&document, Style::default());
        assert_eq!(text, "shop: STOPPED - all 6 realms are stopped by root: disk repair");
        assert_eq!(headline_hue(&document), Hue::Attention);
        let mut one = document.clone();
        one.realms.truncate(1);
        assert_eq!(
            headline(&one, Style::default()),
            "shop: STOPPED - the only realm is stopped by root: disk repair"
        );
        one.name = one.realms[0].name.clone();
        assert_eq!(
            headline(&one, Style::default()),
            "postgres: STOPPED - it is stopped by root: disk repair"
        );
        document.realms[0].message = "stopped by user 1000".into();
        let text = headline(&document, Style::default());
        assert_eq!(text, "shop: STOPPED - all 6 realms are stopped: 5 by root: disk repair; 1 by user 1000");
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
        document.roots = vec![heartbeat_wire::RootEntry { realm: need, incident: None, blocks }];
        assert_eq!(headline(&document, Style::default()), expected);
    }

    #[test]
    fn a_fault_that_does_not_count_is_still_reported() {
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
    fn the_words_of_others_are_cut_to_the_room_there_is_and_the_sentence_is_not() {
        let mut document = sample::outage();
        for realm in &mut document.realms {
            realm.message = format!("unhealthy: 503 {}, attempt 1 of 6", "x".repeat(200));
        }
        let expected = |cut: &str| {
            format!(
                "shop: DOWN - postgres is restarting (unhealthy: 503 {cut}, attempt 1 of 6), blocks api, worker"
            )
        };
        assert_eq!(
            document.headline(),
            expected(&"x".repeat(200)),
            "a reader that breaks lines has all of it"
        );
        for room in [120, 160, 240] {
            let line = document.headline_within(room);
            assert_eq!(line.chars().count(), room);
            assert_eq!(line, expected(&format!("{}…", "x".repeat(room - expected("…").chars().count()))));
        }
        let least = document.headline_within(0);
        assert_eq!(least, expected(&format!("{}…", "x".repeat(60 - 32))), "what matters stays on any screen");
        assert!(sample::outage().headline_within(10).contains("(exit code 1 after 0.2 s, attempt 2 of 6)"));
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
