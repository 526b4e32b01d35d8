//! Incidents, notifications, audit.

use std::os::unix::fs::PermissionsExt;

use heartbeat_status::{DeliveryState, WallTime};
use heartbeat_store::{Attempt, AttemptOutcome, AuditEntry, Delivery, IncidentDb, OutboxEntry, Page, Report};

use crate::scene::{Scene, answer, close, document, open_numbers, record, remembered, sqlite, write};

fn page(db: &IncidentDb, page: Page) -> Vec<u64> {
    let found = answer(|give| db.page(page, move |answer| give.send(answer).unwrap())).unwrap();
    found.iter().map(|document| document.id[24..].parse().unwrap()).collect()
}

#[test]
fn what_was_confirmed_is_there_after_a_restart() {
    let scene = Scene::new();
    {
        let db = scene.incidents();
        write(&db, 1, true).unwrap();
        write(&db, 2, true).unwrap();
        write(&db, 2, false).unwrap();
        db.note("breaker", "[1]".to_owned());
        close(db);
    }
    let db = scene.incidents();
    let kept = remembered(&db);
    assert_eq!(kept.open.len(), 1);
    assert_eq!(*kept.open[0].document, document(1, true));
    assert_eq!(kept.open[0].state.as_deref(), Some("{\"no\":1}"));
    assert_eq!(*kept.resolved[0], document(2, false));
    assert_eq!(kept.notes, [("breaker".to_owned(), "[1]".to_owned())]);
    assert_eq!(scene.reports.all(), []);
}

#[test]
fn pages_go_from_the_newest_to_the_oldest_without_a_gap() {
    let scene = Scene::new();
    let db = scene.incidents();
    for no in 1..=7 {
        db.record(record(no, no % 2 == 0), Vec::new(), None);
    }
    let after = |no: u64| Some(document(no, true).id);
    assert_eq!(page(&db, Page { limit: 3, ..Page::default() }), [7, 6, 5]);
    assert_eq!(page(&db, Page { limit: 3, after: after(5), ..Page::default() }), [4, 3, 2]);
    assert_eq!(page(&db, Page { limit: 3, after: after(2), ..Page::default() }), [1]);
    assert_eq!(page(&db, Page { limit: 9, open: true, ..Page::default() }), [6, 4, 2]);
    let one = |id: String| answer(|give| db.one(id, move |answer| give.send(answer).unwrap())).unwrap();
    assert_eq!(*one(document(3, false).id).unwrap(), document(3, false));
    assert_eq!(one("nothing".to_owned()), None);
}

#[test]
fn a_notification_is_due_until_it_is_settled_and_never_twice() {
    let scene = Scene::new();
    let record = record(1, true);
    let queued_at = WallTime::from_millis(1_000);
    let to = |receiver: &str| Delivery {
        receiver: receiver.to_owned(),
        document: record.document.clone(),
        queued_at,
        message: (receiver == "pager").then(|| "0001.1".to_owned()),
    };
    let attempt = |receiver: &str, at: i64, outcome: AttemptOutcome| Attempt {
        receiver: receiver.to_owned(),
        incident: record.document.id.clone(),
        seq: 1,
        at: WallTime::from_millis(at),
        outcome,
    };
    let next_at = WallTime::from_millis(9_000);
    {
        let db = scene.incidents();
        db.record(record.clone(), vec![to("ops"), to("pager"), to("chat")], None);
        db.record(record.clone(), vec![to("ops")], None);
        let message = Some("C1 17.1".to_owned());
        db.attempted(attempt("ops", 2_000, AttemptOutcome::Delivered { message }));
        db.attempted(attempt("ops", 3_000, AttemptOutcome::GivenUp("too late".to_owned())));
        for at in [2_000, 4_000] {
            let why = "answered 500 Internal Server Error".to_owned();
            db.attempted(attempt("pager", at, AttemptOutcome::Retried { why, next_at }));
        }
        db.attempted(attempt("chat", 2_000, AttemptOutcome::Dropped("removed".to_owned())));
        db.attempted(attempt("nobody", 2_000, AttemptOutcome::GivenUp("404".to_owned())));
        close(db);
    }
    let db = scene.incidents();
    let entry = |receiver: &str, state: DeliveryState| OutboxEntry {
        receiver: receiver.to_owned(),
        incident: record.document.id.clone(),
        seq: 1,
        event: "opened".to_owned(),
        open: true,
        state,
        queued_at,
        attempts: 1,
        attempted_at: Some(WallTime::from_millis(2_000)),
        next_at: None,
        why: None,
        document: None,
        message: None,
    };
    let expected = [
        OutboxEntry { message: Some("C1 17.1".to_owned()), ..entry("ops", DeliveryState::Delivered) },
        OutboxEntry {
            attempts: 2,
            attempted_at: Some(WallTime::from_millis(4_000)),
            next_at: Some(next_at),
            why: Some("answered 500 Internal Server Error".to_owned()),
            document: Some(record.document.clone()),
            message: Some("0001.1".to_owned()),
            ..entry("pager", DeliveryState::Due)
        },
        OutboxEntry {
            attempts: 0,
            attempted_at: None,
            why: Some("removed".to_owned()),
            ..entry("chat", DeliveryState::Dropped)
        },
    ];
    assert_eq!(remembered(&db).outbox, expected);
    let id = record.document.id.clone();
    let log = answer(|give| db.outbox_of(id, move |answer| give.send(answer).unwrap())).unwrap();
    assert_eq!(log, expected);
    assert_eq!(scene.reports.all(), []);
}

#[test]
fn what_was_sent_of_an_incident_is_known_until_its_end_was_sent() {
    let scene = Scene::new();
    let sent = |no: u64, open: bool, seq: u64| {
        let mut record = record(no, open);
        let document = std::sync::Arc::make_mut(&mut record.document);
        document.seq = seq;
        let delivery = Delivery {
            receiver: "ops".to_owned(),
            document: record.document.clone(),
            queued_at: WallTime::from_millis(0),
            message: None,
        };
        (record, vec![delivery])
    };
    let db = scene.incidents();
    let delivered = |no: u64, seq: u64| {
        db.attempted(Attempt {
            receiver: "ops".to_owned(),
            incident: document(no, true).id,
            seq,
            at: WallTime::from_millis(0),
            outcome: AttemptOutcome::Delivered { message: None },
        });
    };
    for no in [1, 2] {
        let (record, deliveries) = sent(no, true, 1);
        db.record(record, deliveries, None);
        delivered(no, 1);
    }
    let (record, deliveries) = sent(2, false, 2);
    db.record(record, deliveries, None);
    let states = |db: &IncidentDb| {
        let outbox = remembered(db).outbox;
        outbox.iter().map(|entry| (entry.seq, entry.open, entry.state)).collect::<Vec<_>>()
    };
    let (delivered_one, due) = (DeliveryState::Delivered, DeliveryState::Due);
    assert_eq!(states(&db), [(1, true, delivered_one), (1, false, delivered_one), (2, false, due)]);
    delivered(2, 2);
    assert_eq!(states(&db), [(1, true, delivered_one)], "the second one is over");
}

#[test]
fn a_database_of_the_first_form_gets_an_outbox() {
    let scene = Scene::new();
    let first = include_str!("../../src/incidents/v1.sql");
    drop(scene.incidents());
    let path = scene.path("incidents.db");
    let old = sqlite(&path);
    for drop in [
        "VIEW timeline",
        "VIEW action",
        "VIEW acknowledgement",
        "TABLE incident",
        "TABLE outbox",
        "TABLE audit",
        "TABLE note",
        "TABLE evidence",
    ] {
        old.execute_batch(&format!("DROP {drop}")).unwrap();
    }
    old.execute_batch(first).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let db = scene.incidents();
    let record = record(1, true);
    let delivery = Delivery {
        receiver: "ops".to_owned(),
        document: record.document.clone(),
        queued_at: WallTime::from_millis(0),
        message: None,
    };
    db.record(record, vec![delivery], None);
    assert_eq!(remembered(&db).outbox.len(), 1);
    assert_eq!(scene.reports.all(), []);
}

#[test]
fn a_notification_of_the_second_form_stays_and_damage_to_a_message_is_seen() {
    let scene = Scene::new();
    let record = record(1, true);
    let to = |receiver: &str, message: Option<&str>| Delivery {
        receiver: receiver.to_owned(),
        document: record.document.clone(),
        queued_at: WallTime::from_millis(0),
        message: message.map(ToOwned::to_owned),
    };
    let db = scene.incidents();
    db.record(record.clone(), vec![to("ops", None)], None);
    close(db);
    let path = scene.path("incidents.db");
    let old = sqlite(&path);
    old.execute_batch("ALTER TABLE outbox DROP COLUMN message; DROP TABLE evidence").unwrap();
    old.pragma_update(None, "user_version", 2).unwrap();
    drop(old);
    let db = scene.incidents();
    let outbox = remembered(&db).outbox;
    assert_eq!((outbox.len(), &outbox[0].message), (1, &None));
    db.record(record.clone(), vec![to("chat", Some("0001.1"))], None);
    assert_eq!(remembered(&db).outbox.len(), 2);
    assert_eq!(scene.reports.all(), []);
    close(db);
    sqlite(&path).execute("UPDATE outbox SET message = NULL WHERE receiver = 'chat'", []).unwrap();
    let outbox = remembered(&scene.incidents()).outbox;
    let receivers: Vec<&str> = outbox.iter().map(|entry| entry.receiver.as_str()).collect();
    assert_eq!(receivers, ["ops"], "the other row is not what was written");
}

#[test]
fn the_newest_thousand_incidents_have_evidence_over_a_restart() {
    let scene = Scene::new();
    let db = scene.incidents();
    let evidence = |db: &IncidentDb, no: u64| {
        let id = format!("{no:08}");
        answer(|give| db.evidence(id, move |answer| give.send(answer).unwrap())).unwrap()
    };
    assert_eq!(evidence(&db, 1), []);
    for no in 0..=1_000 {
        db.keep_evidence(&format!("{no:08}"), "opened", &format!("what was seen of {no}"));
        // Before more waits than memory may hold.
        if no % 100 == 0 {
            evidence(&db, no);
        }
    }
    db.keep_evidence("00001000", "resolved", "the end");
    let part = |part: &str, body: &str| (part.to_owned(), body.to_owned());
    let expected = [part("opened", "what was seen of 1000"), part("resolved", "the end")];
    assert_eq!(evidence(&db, 1_000), expected);
    assert_eq!(evidence(&db, 0), [], "the oldest goes");
    close(db);
    let db = scene.incidents();
    assert_eq!(evidence(&db, 1_000), expected);
    assert_eq!(evidence(&db, 1), [part("opened", "what was seen of 1")]);
    assert_eq!(scene.reports.all(), []);
}

#[test]
fn the_audit_names_who_has_changed_what() {
    let scene = Scene::new();
    let db = scene.incidents();
    let entry = |target: &str| AuditEntry {
        at: WallTime::from_millis(7),
        by: "uid 1000".to_owned(),
        action: "stop".to_owned(),
        target: target.to_owned(),
        detail: "maintenance".to_owned(),
    };
    db.audit(entry("api"));
    db.audit(entry("db"));
    let found = answer(|give| db.audited(1, move |answer| give.send(answer).unwrap())).unwrap();
    assert_eq!(found, [entry("db")]);
}

#[test]
fn the_file_is_private_and_answers_to_sql() {
    let scene = Scene::new();
    let db = scene.incidents();
    write(&db, 1, true).unwrap();
    let path = scene.path("incidents.db");
    for name in ["incidents.db", "incidents.db-wal"] {
        let mode = std::fs::metadata(scene.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let reader = sqlite(&path);
    let sql = "SELECT root || ' ' || message FROM incident WHERE resolved_at IS NULL";
    assert_eq!(reader.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap(), "db exit code 1");
    for view in ["timeline", "action", "acknowledgement"] {
        let count = reader.query_row(&format!("SELECT count(*) FROM {view}"), [], |row| row.get::<_, i64>(0));
        assert_eq!(count.unwrap(), 0, "{view}");
    }
}

#[test]
fn a_file_of_a_newer_version_is_left_alone_and_said_so() {
    let scene = Scene::new();
    drop(scene.incidents());
    let path = scene.path("incidents.db");
    sqlite(&path).pragma_update(None, "user_version", 9).unwrap();
    let db = scene.incidents();
    let why = scene.reports.failing();
    assert!(why.contains("newer heartbeatd") && why.contains("up to 4"), "{why}");
    write(&db, 1, true).unwrap_err();
    drop(db);
    let version: i64 = sqlite(&path).pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 9);
}

#[test]
fn a_file_that_somebody_deletes_is_made_again_with_everything_that_was_in_it() {
    let scene = Scene::new();
    let (dir, other) = (scene.path("state"), scene.path("other"));
    std::fs::create_dir(&dir).unwrap();
    let start = || IncidentDb::start(&dir, crate::scene::ticking, scene.reports.reporter()).unwrap();
    let db = start();
    let queued_at = WallTime::from_millis(1_000);
    let document = record(1, true).document;
    let delivery = Delivery { receiver: "ops".to_owned(), document, queued_at, message: None };
    answer(|give| {
        let confirm = Box::new(move |written| give.send(written).unwrap());
        db.record(record(1, true), vec![delivery.clone()], Some(confirm));
    })
    .unwrap();
    // As by `rm -rf`, with the write-ahead log; and another process makes the directory again.
    std::fs::remove_dir_all(&dir).unwrap();
    write(&db, 2, true).unwrap_err();
    std::fs::create_dir(&dir).unwrap();
    scene.reports.wait(|report| *report == Report::Working);
    scene.reports.wait(|report| matches!(report, Report::Removed(said) if said.contains("was removed")));
    assert_eq!(open_numbers(&db), [1, 2]);
    // Without any write: the caretaker finds it.
    scene.reports.clear();
    std::fs::rename(&dir, &other).unwrap();
    std::fs::create_dir(&dir).unwrap();
    db.look_after();
    scene.reports.wait(|report| matches!(report, Report::Removed(_)));
    write(&db, 3, true).unwrap();
    // What another process puts there is not harmed by the end of the old connection.
    close(db);
    let remembered = remembered(&start());
    let open: Vec<&str> = remembered.open.iter().map(|record| record.document.message.as_str()).collect();
    assert_eq!(open, ["exit code 1", "exit code 2", "exit code 3"]);
    let due: Vec<_> = remembered.outbox.iter().map(|entry| (&*entry.receiver, entry.state)).collect();
    assert_eq!(due, [("ops", DeliveryState::Due)]);
}

#[test]
fn a_disk_does_not_answer_when_many_looks_find_it_busy_and_a_long_pause_of_heartbeatd_is_none() {
    let scene = Scene::new();
    let db = scene.incidents();
    let (begins, begun) = std::sync::mpsc::sync_channel(1);
    let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
    // The thread is busy for as long as the test wants.
    let confirm = Box::new(move |_| {
        begins.send(()).unwrap();
        let _ = held.recv();
    });
    db.record(record(1, true), Vec::new(), Some(confirm));
    begun.recv().unwrap();
    let slow = |report: &Report| matches!(report, Report::Failing(why) if why.contains("does not answer"));
    for look in 1..=9 {
        // The clock of the scene goes on by much more than a slow disk takes between two looks.
        db.look_after();
        assert_eq!(scene.reports.all().iter().any(slow), look > 5, "look {look}");
    }
    release.send(()).unwrap();
    scene.reports.wait(|report| *report == Report::Working);
    assert_eq!(scene.reports.all().iter().filter(|report| slow(report)).count(), 1);
}
