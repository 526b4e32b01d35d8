//! Does what is desired hold yet? The evaluation behind `status --wait` and `wait`, apart from waiting itself.

use heartbeat_status::{StartFailure, Status};
use heartbeat_wire::{RealmEntry, StatusDocument};

use crate::args::Goal;
use crate::headline::status_of;
use crate::select::chosen;
use crate::style::Style;

/// What has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Every realm in its desired state: the named ones, or all critical ones.
    Desired,
    /// A goal of `wait`.
    Goal(Goal),
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Evaluation {
    /// It holds.
    Holds,
    /// A realm failed, so it will not hold by itself: which, and why.
    Failed(Vec<String>),
    /// What is missing, and why.
    Missing(Vec<String>),
}

/// The realms that count: the named ones, or all critical ones when none is named.
pub(crate) fn counted<'a>(document: &'a StatusDocument, names: &[String]) -> Vec<&'a RealmEntry> {
    if names.is_empty() {
        return document.realms.iter().filter(|realm| realm.critical).collect();
    }
    chosen(document, names).0
}

/// Selectors that mean no realm of the document.
pub(crate) fn unknown<'a>(document: &StatusDocument, names: &'a [String]) -> Vec<&'a str> {
    chosen(document, names).1
}

/// Realms whose start fails until a person has put in place what is missing. heartbeatd keeps looking, so they are not
/// failed yet; the waiting command ends at once.
pub(crate) fn unstartable(document: &StatusDocument, names: &[String], style: Style) -> Vec<String> {
    let line = |realm: &&RealmEntry| {
        format!(
            "{} cannot be started: {}; heartbeatd looks again every second",
            style.text(&realm.name),
            style.text(&realm.message)
        )
    };
    counted(document, names).iter().filter(|realm| is_unusable(realm)).map(line).collect()
}

/// Its program, or what that needs, is not there, and heartbeatd looks for it.
fn is_unusable(realm: &RealmEntry) -> bool {
    let failure = realm.start_failure.as_ref().and_then(|failure| failure.known());
    failure == Some(StartFailure::ProgramUnusable) && status_of(realm) != Status::Failed
}

/// Judges a document. A realm that is not known yet is missing, not an error.
pub(crate) fn evaluate(
    document: &StatusDocument,
    names: &[String],
    wanted: Wanted,
    style: Style,
) -> Evaluation {
    let realms = counted(document, names);
    if fails_on_failure(wanted) {
        let failed: Vec<String> = realms
            .iter()
            .filter(|realm| status_of(realm) == Status::Failed && !holds(realm, wanted))
            .map(|realm| reason_line(realm, style))
            .collect();
        if !failed.is_empty() {
            return Evaluation::Failed(failed);
        }
    }
    let mut missing: Vec<String> =
        realms.iter().filter(|realm| !holds(realm, wanted)).map(|realm| missing_line(realm, style)).collect();
    missing.extend(unknown(document, names).iter().map(|name| not_known(name, style)));
    if missing.is_empty() { Evaluation::Holds } else { Evaluation::Missing(missing) }
}

const fn fails_on_failure(wanted: Wanted) -> bool {
    !matches!(wanted, Wanted::Goal(Goal::Settled))
}

fn holds(realm: &RealmEntry, wanted: Wanted) -> bool {
    let status = status_of(realm);
    match wanted {
        Wanted::Desired => status.is_ok(),
        Wanted::Goal(Goal::Up) => matches!(status, Status::Up | Status::Degraded | Status::Done),
        Wanted::Goal(Goal::Stopped) => matches!(status, Status::Stopped | Status::Done),
        Wanted::Goal(Goal::Done) => status == Status::Done,
        Wanted::Goal(Goal::Settled) => {
            status == Status::Failed || (status.is_ok() && status != Status::Stopping)
        }
    }
}

/// What a person can do about a start that fails until then.
const REPAIR: &str =
    "put it in place, or correct `run` and type heartbeat-cli reload: it starts by itself then";

/// The same with what to do, where only a person can do it.
fn missing_line(realm: &RealmEntry, style: Style) -> String {
    let line = reason_line(realm, style);
    if is_unusable(realm) { format!("{line}; {REPAIR}") } else { line }
}

/// What is missing as far as no table of the realms says it: names that heartbeatd does not know, and what to do.
pub(crate) fn beside_the_table(document: &StatusDocument, names: &[String], style: Style) -> Vec<String> {
    let realms = counted(document, names).into_iter().filter(|realm| is_unusable(realm));
    let repairs = realms.map(|realm| format!("{}: {REPAIR}", style.text(&realm.name)));
    repairs.chain(unknown(document, names).iter().map(|name| not_known(name, style))).collect()
}

fn not_known(name: &str, style: Style) -> String {
    format!("{} is not known yet", style.text(name))
}

/// `api is blocked: needs postgres, which is restarting`.
pub(crate) fn reason_line(realm: &RealmEntry, style: Style) -> String {
    let why = crate::cells::why(realm, style);
    format!("{} is {}: {why}", style.text(&realm.name), style.text(&realm.status.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn named(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn evaluated(document: &StatusDocument, names: &[&str], wanted: Wanted) -> Evaluation {
        evaluate(document, &named(names), wanted, Style::default())
    }

    #[test]
    fn everything_desired_holds_or_is_listed_with_its_reason() {
        assert_eq!(evaluated(&sample::calm(), &[], Wanted::Desired), Evaluation::Holds);
        let Evaluation::Missing(missing) = evaluated(&sample::outage(), &[], Wanted::Desired) else {
            panic!()
        };
        assert_eq!(missing.len(), 3);
        assert_eq!(missing[0], "postgres is restarting: exit code 1 after 0.2 s, attempt 2 of 6");
        assert_eq!(evaluated(&sample::outage(), &["mail", "migrate"], Wanted::Desired), Evaluation::Holds);
    }

    #[test]
    fn a_realm_that_is_not_critical_counts_only_by_name() {
        let mut document = sample::calm();
        let mail = document.realms.iter_mut().find(|realm| realm.name == "mail").unwrap();
        mail.status = Status::Failed.into();
        assert_eq!(evaluated(&document, &[], Wanted::Desired), Evaluation::Holds);
        assert!(matches!(evaluated(&document, &["mail"], Wanted::Desired), Evaluation::Failed(_)));
        assert_eq!(evaluated(&document, &["mail"], Wanted::Goal(Goal::Settled)), Evaluation::Holds);
    }

    #[test]
    fn each_goal_holds_in_its_own_statuses_and_in_no_other() {
        use Status::{Degraded, Done, Failed, Paused, Stopped, Stopping, Up};
        let table: [(Wanted, &[Status]); 5] = [
            (Wanted::Desired, &[Up, Degraded, Done, Stopping, Stopped, Paused]),
            (Wanted::Goal(Goal::Up), &[Up, Degraded, Done]),
            (Wanted::Goal(Goal::Stopped), &[Stopped, Done]),
            (Wanted::Goal(Goal::Done), &[Done]),
            (Wanted::Goal(Goal::Settled), &[Up, Degraded, Done, Failed, Stopped, Paused]),
        ];
        for (wanted, statuses) in table {
            for status in Status::ALL {
                let mut document = sample::calm();
                let api = document.realms.iter_mut().find(|realm| realm.name == "api").unwrap();
                api.status = (*status).into();
                let evaluation = evaluated(&document, &["api"], wanted);
                let words = format!("{wanted:?}, {status}: {evaluation:?}");
                assert_eq!(evaluation == Evaluation::Holds, statuses.contains(status), "{words}");
                // A failed realm ends the wait for every goal but one.
                let ends = *status == Failed && !statuses.contains(status);
                assert_eq!(matches!(evaluation, Evaluation::Failed(_)), ends, "{words}");
            }
        }
    }

    #[test]
    fn a_stop_is_over_when_the_process_is_gone() {
        let mut document = sample::calm();
        let api = document.realms.iter_mut().find(|realm| realm.name == "api").unwrap();
        api.status = Status::Stopping.into();
        let stopped = Wanted::Goal(Goal::Stopped);
        assert!(matches!(evaluated(&document, &["api"], stopped), Evaluation::Missing(_)));
        let api = document.realms.iter_mut().find(|realm| realm.name == "api").unwrap();
        api.status = Status::Stopped.into();
        assert_eq!(evaluated(&document, &["api"], stopped), Evaluation::Holds);
        assert!(matches!(evaluated(&document, &["api"], Wanted::Goal(Goal::Up)), Evaluation::Missing(_)));
    }

    #[test]
    fn a_start_that_fails_until_a_person_acts_is_told_before_it_counts_as_failed() {
        let mut document = sample::calm();
        let api = document.realms.iter_mut().find(|realm| realm.name == "api").unwrap();
        (api.status, api.message) =
            (Status::Starting.into(), "`gunicornn` is in no directory of PATH".to_owned());
        assert!(unstartable(&document, &[], Style::default()).is_empty());
        let api = document.realms.iter_mut().find(|realm| realm.name == "api").unwrap();
        api.start_failure = Some(StartFailure::ProgramUnusable.into());
        assert_eq!(
            unstartable(&document, &[], Style::default()),
            [
                "api cannot be started: `gunicornn` is in no directory of PATH; heartbeatd looks again every second"
            ]
        );
        let beside = beside_the_table(&document, &named(&["api", "later"]), Style::default());
        assert_eq!(beside.len(), 2, "{beside:?}");
        assert!(
            beside[0].starts_with("api: put it in place") && beside[1] == "later is not known yet",
            "{beside:?}"
        );
        let missing = named(&[
            "api is starting: `gunicornn` is in no directory of PATH; put it in place, or correct `run` and type heartbeat-cli reload: it starts by itself then",
        ]);
        assert_eq!(evaluated(&document, &[], Wanted::Desired), Evaluation::Missing(missing));
    }

    #[test]
    fn what_is_not_known_yet_is_waited_for() {
        let evaluation = evaluated(&sample::calm(), &["api", "later"], Wanted::Goal(Goal::Up));
        assert_eq!(evaluation, Evaluation::Missing(named(&["later is not known yet"])));
    }
}
