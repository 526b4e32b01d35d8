//! `boot`: where the time of the last start of heartbeatd went. All of it comes from the event log: the first start of
//! each process, and the first status that another realm may wait for.

use std::collections::BTreeMap;

use heartbeat_client::Client;
use heartbeat_status::{EdgeKind, Gate, RealmKind, Status, WallTime, What};
use heartbeat_wire::{EventEntry, NeedEntry, Open, RealmEntry, StatusDocument, TransitionEntry};
use serde_json::json;

use crate::age::{clock, latency};
use crate::console::Console;
use crate::events::MAX_EVENTS;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::headline::status_of;
use crate::style::{Hue, Style};

/// Column of the names below `--blame`.
const NAME_COLUMN: usize = 30;

/// The start of one realm, in milliseconds since heartbeatd was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Course {
    /// Its process was started first.
    started_ms: Option<i64>,
    /// It was up, degraded or done first.
    ready_ms: Option<i64>,
    adopted: bool,
    /// Why the start of its process is not in the log, although the log has everything.
    remark: Option<&'static str>,
    /// It was stopped or paused when the start was over: what operators do later is no part of the start.
    idle: bool,
}

impl Course {
    /// From the start of its process until it was ready; a realm that is only watched has no process.
    fn took_ms(&self) -> Option<i64> {
        Some(self.ready_ms? - self.started_ms.unwrap_or(0))
    }
}

/// A start of everything.
struct Boot<'a> {
    document: &'a StatusDocument,
    courses: BTreeMap<&'a str, Course>,
    booted_ms: Option<i64>,
}

/// `boot`: 0 when every critical realm came up, else 3.
pub(crate) async fn run(client: &Client, chain: bool, console: &mut Console) -> Outcome {
    let document = client.status(false).await?;
    let mut facts = Vec::new();
    let mut events = client.events(MAX_EVENTS, false, None).await?;
    while let Some(fact) = events.next().await? {
        facts.push(fact);
    }
    let mut changes = BTreeMap::new();
    for realm in &document.realms {
        changes.insert(realm.name.clone(), client.realm(&realm.name, false).await?.transitions);
    }
    let boot = Boot::of(&document, &facts, &changes);
    if !boot.is_known() {
        let what = format!("the events of the start are gone: heartbeatd keeps the newest {MAX_EVENTS}");
        return Err(
            Failure::new(Exit::No, what).help("look sooner after a start, or at `heartbeat-cli incidents`")
        );
    }
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(&boot.json())?;
    } else {
        let style = console.style;
        console.prose(&boot.summary(style), 2)?;
        let lines = if chain { boot.chain(style) } else { boot.blame(style) };
        for line in lines {
            console.prose(&line, NAME_COLUMN)?;
        }
    }
    let fine = boot.critical().all(|(_, course)| course.ready_ms.is_some());
    Ok(if fine { Exit::Holds } else { Exit::NotDesired })
}

impl<'a> Boot<'a> {
    fn of(
        document: &'a StatusDocument,
        facts: &[EventEntry],
        changes: &BTreeMap<String, Vec<TransitionEntry>>,
    ) -> Self {
        let since = |at: WallTime| at.as_millis().saturating_sub(document.daemon.started_at.as_millis());
        let mut courses: BTreeMap<&str, Course> = BTreeMap::new();
        let is_complete = facts.len() < MAX_EVENTS;
        let booted = facts.iter().find(|fact| fact.what.is(What::Booted)).map(|fact| fact.at);
        let over = booted.unwrap_or(document.generated_at);
        for realm in &document.realms {
            let of_it = |fact: &&EventEntry| fact.realm.as_ref() == Some(&realm.name);
            let begun = |fact: &&EventEntry| fact.what.is(What::Started) || fact.what.is(What::Adopted);
            let first = facts.iter().filter(of_it).find(begun);
            let changes = changes.get(&realm.name).map_or(&[][..], Vec::as_slice);
            let at_first = first_status(realm, changes);
            let at_last = changes.iter().find(|change| change.at <= over);
            let at_last = at_last.and_then(|change| known(change.to.as_ref())).unwrap_or(at_first);
            let adopted = first.is_some_and(|fact| fact.what.is(What::Adopted));
            let started_late = first.is_none_or(|fact| fact.at > over);
            let course = if is_idle(at_last) {
                Course {
                    remark: Some("stopped or paused when heartbeatd started"),
                    idle: true,
                    ..Course::default()
                }
            } else if is_ready(at_first) && !adopted && started_late && is_ready(at_last) {
                Course { ready_ms: Some(0), remark: unstarted(realm), ..Course::default() }
            } else {
                let started_ms = first.map(|fact| since(fact.at));
                let came =
                    changes.iter().rev().find(|change| known(change.to.as_ref()).is_some_and(is_ready));
                let ready_ms = if adopted && is_ready(at_first) {
                    started_ms
                } else {
                    came.map(|change| since(change.at))
                };
                let remark = unstarted(realm).filter(|_| first.is_none() && is_complete);
                Course { started_ms, ready_ms, adopted, remark, idle: false }
            };
            courses.insert(&realm.name, course);
        }
        Self { document, courses, booted_ms: booted.map(since) }
    }

    /// The log still reaches back to the start: of each realm that runs a process, the start of one is there, or the log
    /// has everything, and there was none.
    fn is_known(&self) -> bool {
        let runs = self.document.realms.iter().filter(|realm| !realm.kind.is(RealmKind::External));
        let mut with_process =
            runs.filter(|realm| realm.process.as_ref().is_some_and(|it| it.generation > 0));
        with_process.all(|realm| {
            let course = &self.courses[realm.name.as_str()];
            course.started_ms.is_some() || course.remark.is_some()
        })
    }

    /// The critical realms that the start was to bring up.
    fn critical(&self) -> impl Iterator<Item = (&RealmEntry, &Course)> {
        let realms = self.document.realms.iter().filter(|realm| realm.critical);
        let with_course = realms.map(|realm| (realm, &self.courses[realm.name.as_str()]));
        with_course.filter(|(realm, course)| {
            !course.idle && (course.ready_ms.is_some() || !is_idle(status_of(realm)))
        })
    }

    fn last_ready_ms(&self) -> Option<i64> {
        self.critical().filter_map(|(_, course)| course.ready_ms).max()
    }

    fn summary(&self, style: Style) -> String {
        let name = style.text(&self.document.name);
        let began = clock(self.document.daemon.started_at);
        let missing: Vec<String> = self
            .critical()
            .filter(|(_, course)| course.ready_ms.is_none())
            .map(|(realm, _)| format!("{} is {}", style.text(&realm.name), status_of(realm)))
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return style.paint(Hue::Bad, &format!("{name}: started at {began}, and not yet up: {missing}"));
        }
        let took =
            self.last_ready_ms().map_or_else(String::new, |ms| format!(", all up after {}", seconds(ms)));
        style.paint(Hue::Ok, &format!("{name}: started at {began}{took}"))
    }

    /// The realms by the time that each took, longest first.
    fn blame(&self, style: Style) -> Vec<String> {
        let mut rows: Vec<(&RealmEntry, &Course)> =
            self.document.realms.iter().map(|realm| (realm, &self.courses[realm.name.as_str()])).collect();
        rows.sort_by_key(|(realm, course)| {
            (course.idle, std::cmp::Reverse(course.took_ms().unwrap_or(i64::MAX)), realm.order)
        });
        let head =
            style.paint(Hue::Strong, &format!("{:>8}  {:>8}  {:>8}  REALM", "TOOK", "STARTED", "READY"));
        let rows = rows.into_iter().map(|(realm, course)| {
            let at = |ms: Option<i64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("+{}", seconds(ms)));
            let took = course.took_ms().map_or_else(|| "-".to_owned(), seconds);
            let remark = match (course.adopted, realm.kind.is(RealmKind::External)) {
                (true, _) => "  (it was running already)".to_owned(),
                (_, true) => "  (watched only)".to_owned(),
                _ => course.remark.map_or_else(String::new, |remark| format!("  ({remark})")),
            };
            let name = style.text(&realm.name);
            let (started, ready) = (at(course.started_ms), at(course.ready_ms));
            format!("{took:>8}  {started:>8}  {ready:>8}  {name}{remark}")
        });
        std::iter::once(head).chain(rows).collect()
    }

    /// The realm that was ready last, below it the need that it waited for longest, and so on.
    fn chain(&self, style: Style) -> Vec<String> {
        let mut lines = Vec::new();
        // What is not ready yet is the last of all.
        let ready = |realm: &RealmEntry| self.courses[realm.name.as_str()].ready_ms.unwrap_or(i64::MAX);
        let mut at = self.critical().map(|(realm, _)| realm).max_by_key(|realm| (ready(realm), realm.order));
        while let Some(realm) = at {
            let course = &self.courses[realm.name.as_str()];
            let arm = match (lines.len(), style.ascii) {
                (0, _) => String::new(),
                (depth, true) => format!("{}`- ", "   ".repeat(depth - 1)),
                (depth, false) => format!("{}└─ ", "   ".repeat(depth - 1)),
            };
            let times = match (course.ready_ms, course.took_ms()) {
                (Some(ready), Some(took)) => format!("ready at +{}, took {}", seconds(ready), seconds(took)),
                _ => format!("{}, not ready yet", status_of(realm)),
            };
            lines.push(format!("{arm}{}  {times}", style.text(&realm.name)));
            at = realm
                .needs
                .iter()
                .filter(|need| is_waited_for(need))
                .filter_map(|need| self.document.realms.iter().find(|other| other.name == need.realm))
                .filter(|other| course.ready_ms.is_none() || !self.courses[other.name.as_str()].idle)
                .max_by_key(|other| (self.gate_ms(realm, other), other.order));
        }
        lines
    }

    /// When a need let a realm start.
    fn gate_ms(&self, realm: &RealmEntry, need: &RealmEntry) -> i64 {
        let course = &self.courses[need.name.as_str()];
        let until_started =
            realm.needs.iter().any(|entry| entry.realm == need.name && entry.until.is(Gate::Started));
        let at = if until_started { course.started_ms } else { course.ready_ms };
        at.unwrap_or(i64::MAX)
    }

    fn json(&self) -> serde_json::Value {
        let s = |ms: Option<i64>| ms.map(|ms| ms as f64 / 1_000.0);
        let realms: Vec<serde_json::Value> = self
            .document
            .realms
            .iter()
            .map(|realm| {
                let course = &self.courses[realm.name.as_str()];
                let mut entry = json!({ "realm": realm.name, "adopted": course.adopted });
                let figures = [
                    ("started_s", s(course.started_ms)),
                    ("ready_s", s(course.ready_ms)),
                    ("took_s", s(course.took_ms())),
                ];
                for (key, value) in figures {
                    if let Some(value) = value {
                        entry[key] = value.into();
                    }
                }
                entry
            })
            .collect();
        let mut document = json!({ "started_at": self.document.daemon.started_at, "realms": realms });
        for (key, value) in [("booted_s", s(self.booted_ms)), ("ready_s", s(self.last_ready_ms()))] {
            if let Some(value) = value {
                document[key] = value.into();
            }
        }
        document
    }
}

fn known(status: Option<&Open<Status>>) -> Option<Status> {
    status.and_then(Open::known)
}

const fn is_ready(status: Status) -> bool {
    matches!(status, Status::Up | Status::Degraded | Status::Done)
}

const fn is_idle(status: Status) -> bool {
    matches!(status, Status::Stopped | Status::Stopping | Status::Paused)
}

/// What the realm was when heartbeatd took over; `changes` are those since then, newest first.
fn first_status(realm: &RealmEntry, changes: &[TransitionEntry]) -> Status {
    changes.last().and_then(|change| known(change.from.as_ref())).unwrap_or_else(|| status_of(realm))
}

/// Why a realm with `run` has no start in a log that has everything.
fn unstarted(realm: &RealmEntry) -> Option<&'static str> {
    let process = realm.process.as_ref()?;
    Some(match status_of(realm) {
        Status::Done => "done before heartbeatd was restarted",
        _ if process.last_exit.is_some() => "started before heartbeatd was restarted",
        _ => "never started",
    })
}

/// Its start waits for this need.
fn is_waited_for(need: &NeedEntry) -> bool {
    need.kind.is(EdgeKind::Needs) || need.kind.is(EdgeKind::Wants)
}

#[expect(clippy::cast_precision_loss, reason = "a start takes less than 2^53 ms")]
fn seconds(ms: i64) -> String {
    latency(ms.max(0) as f64)
}

#[cfg(test)]
mod tests {
    use heartbeat_wire::EVENT_SCHEMA;

    use super::*;
    use crate::sample;

    fn fact(at: WallTime, realm: Option<&str>, what: What) -> EventEntry {
        EventEntry {
            schema: EVENT_SCHEMA.to_owned(),
            seq: 1,
            at,
            realm: realm.map(ToOwned::to_owned),
            what: what.into(),
            detail: String::new(),
            incident: None,
        }
    }

    /// Each realm with the times at which it was started and ready, in milliseconds.
    fn with(times: &[(&str, Option<i64>, Option<i64>)], test: impl FnOnce(&Boot<'_>)) {
        let mut document = sample::calm();
        document.realms.retain(|realm| times.iter().any(|(name, ..)| *name == realm.name));
        for realm in &mut document.realms {
            if times.iter().any(|(name, _, ready)| *name == realm.name && ready.is_none()) {
                realm.status = Status::Starting.into();
            }
        }
        for (realm, needs) in [("api", &["postgres", "migrate"][..]), ("dashboard", &["api"])] {
            let realm = document.realms.iter_mut().find(|it| it.name == realm);
            let need = |name: &&str| NeedEntry {
                realm: (*name).to_owned(),
                kind: EdgeKind::Needs.into(),
                until: Gate::Up.into(),
                status: Status::Up.into(),
            };
            realm.into_iter().for_each(|realm| realm.needs = needs.iter().map(need).collect());
        }
        let zero = document.daemon.started_at.as_millis();
        let at = |ms: i64| WallTime::from_millis(zero + ms);
        let facts: Vec<EventEntry> = times
            .iter()
            .filter_map(|(name, started, _)| Some(fact(at((*started)?), Some(name), What::Started)))
            .collect();
        let changes = times
            .iter()
            .map(|(name, _, ready)| {
                let change = ready.map(|ms| TransitionEntry {
                    at: at(ms),
                    from: Some(Status::Starting.into()),
                    to: Some(Status::Up.into()),
                    reason: None,
                    message: String::new(),
                });
                ((*name).to_owned(), change.into_iter().collect())
            })
            .collect();
        test(&Boot::of(&document, &facts, &changes));
    }

    #[test]
    fn the_chain_follows_the_need_that_was_ready_last() {
        let times = [
            ("postgres", Some(0), Some(2_300)),
            ("migrate", Some(0), Some(200)),
            ("api", Some(2_300), Some(5_300)),
            ("dashboard", Some(5_300), Some(6_500)),
        ];
        with(&times, |boot| {
            let chain = boot.chain(Style::default());
            assert_eq!(
                chain,
                [
                    "dashboard  ready at +6.5s, took 1.2s",
                    "└─ api  ready at +5.3s, took 3.0s",
                    "   └─ postgres  ready at +2.3s, took 2.3s",
                ]
            );
            let blame = boot.blame(Style::default());
            let names: Vec<&str> = blame.iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
            assert_eq!(names, ["REALM", "api", "postgres", "dashboard", "migrate"], "{blame:?}");
            assert!(
                boot.summary(Style::default()).ends_with("all up after 6.5s"),
                "{}",
                boot.summary(Style::default())
            );
            assert_eq!(boot.json()["ready_s"], 6.5);
        });
    }

    #[test]
    fn what_is_not_up_yet_is_named_first() {
        with(&[("postgres", Some(0), None)], |boot| {
            assert!(boot.summary(Style::default()).contains("not yet up: postgres is starting"));
            assert!(boot.blame(Style::default())[1].contains("  postgres"));
            assert!(boot.chain(Style::default())[0].ends_with("not ready yet"));
            assert!(boot.is_known());
        });
    }

    /// The changes of a realm in the order in which they happened, as a document has them.
    fn changes(zero: WallTime, of: &[(i64, Status, Status)]) -> Vec<TransitionEntry> {
        let entry = |(ms, from, to): &(i64, Status, Status)| TransitionEntry {
            at: WallTime::from_millis(zero.as_millis() + ms),
            from: Some((*from).into()),
            to: Some((*to).into()),
            reason: None,
            message: String::new(),
        };
        of.iter().rev().map(entry).collect()
    }

    /// heartbeatd has taken over running realms: an upgrade, or a start after a kill.
    #[test]
    fn what_was_up_at_a_takeover_counts_as_up_then_and_later_orders_are_no_part_of_it() {
        let mut document = sample::calm();
        document.realms.retain(|realm| ["postgres", "migrate", "api", "dashboard"].contains(&&*realm.name));
        for realm in &mut document.realms {
            let status = if realm.name == "migrate" { Status::Done } else { Status::Up };
            (realm.status, realm.critical) = (status.into(), true);
        }
        let zero = document.daemon.started_at;
        let at = |ms: i64| WallTime::from_millis(zero.as_millis() + ms);
        let facts = [
            fact(at(20), Some("postgres"), What::Adopted),
            fact(at(20), Some("api"), What::Adopted),
            fact(at(50), None, What::Booted),
            fact(at(90_000), Some("api"), What::Started),
            fact(at(95_000), Some("dashboard"), What::Started),
            fact(at(99_000), Some("migrate"), What::Started),
        ];
        let restarted = [
            (80_000, Status::Up, Status::Stopped),
            (90_000, Status::Stopped, Status::Starting),
            (91_000, Status::Starting, Status::Up),
        ];
        let started = [(95_000, Status::Stopped, Status::Starting), (96_000, Status::Starting, Status::Up)];
        let again = [(99_000, Status::Done, Status::Starting), (99_500, Status::Starting, Status::Done)];
        let of_all = BTreeMap::from([
            ("api".to_owned(), changes(zero, &restarted)),
            ("dashboard".to_owned(), changes(zero, &started)),
            ("migrate".to_owned(), changes(zero, &again)),
        ]);
        let boot = Boot::of(&document, &facts, &of_all);
        assert!(boot.is_known());
        let ready = |name: &str| boot.courses[name].ready_ms;
        assert_eq!(
            ["postgres", "api", "migrate", "dashboard"].map(ready),
            [Some(20), Some(20), Some(0), None]
        );
        let summary = boot.summary(Style::default());
        assert!(
            summary.contains(", all up after 0.02s") || summary.contains(", all up after 20"),
            "{summary}"
        );
        assert!(!boot.chain(Style::default()).join("\n").contains("dashboard"));
        let blame = boot.blame(Style::default());
        assert!(blame.last().unwrap().contains("dashboard  (stopped or paused when"), "{blame:?}");
        // While it is restarted at a takeover, it is not up yet.
        let api = document.realms.iter_mut().find(|realm| realm.name == "api").unwrap();
        api.status = Status::Restarting.into();
        let boot = Boot::of(&document, &facts[..3], &BTreeMap::new());
        assert!(boot.summary(Style::default()).contains("not yet up: api is restarting"));
    }

    #[test]
    fn a_realm_that_was_not_started_is_no_lost_event() {
        let mut document = sample::calm();
        document.realms.retain(|realm| ["postgres", "migrate"].contains(&realm.name.as_str()));
        let postgres = document.realms.iter_mut().find(|realm| realm.name == "postgres").unwrap();
        postgres.status = Status::Failed.into();
        postgres.process.as_mut().unwrap().last_exit = None;
        assert!(document.realms.iter().all(|realm| realm.process.as_ref().unwrap().generation > 0));
        let boot = Boot::of(&document, &[], &BTreeMap::new());
        assert!(boot.is_known());
        let blame = boot.blame(Style::default()).join("\n");
        assert!(blame.contains("  postgres  (never started)"), "{blame}");
        assert!(blame.contains("  migrate  (done before heartbeatd was restarted)"), "{blame}");
        let full = vec![fact(document.generated_at, Some("migrate"), What::ProbePassed); MAX_EVENTS];
        assert!(!Boot::of(&document, &full, &BTreeMap::new()).is_known(), "the start may have been dropped");
    }
}
