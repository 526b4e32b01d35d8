//! The first line, as a terminal shows it.

use heartbeat_status::wire::{RealmEntry, StatusDocument, Summary};
use heartbeat_status::{Health, Status};

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

/// The answer, without colour: `shop: DOWN - postgres is restarting (exit code 1), blocks api`.
pub(crate) fn headline(document: &StatusDocument, style: Style) -> String {
    style.spelled(document.headline())
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
