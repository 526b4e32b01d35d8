//! Disks that are full, read-only or held by others.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use heartbeat_store::{IncidentRecord, Report};

use crate::scene::{Scene, answer, document, open_numbers, remembered, sqlite, write};

#[test]
fn a_file_that_another_process_holds_is_written_when_it_is_free() {
    let scene = Scene::new();
    let db = scene.incidents();
    write(&db, 1, true).unwrap();
    let other = sqlite(&scene.path("incidents.db"));
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = write(&db, 2, true).unwrap_err().to_string();
    assert!(refused.contains("locked"), "{refused}");
    assert!(scene.reports.failing().contains("locked"));
    other.execute_batch("COMMIT").unwrap();
    scene.reports.wait(|report| *report == Report::Working);
    assert_eq!(open_numbers(&db), [1, 2]);
}

#[test]
fn a_directory_that_is_gone_is_a_problem_until_it_is_back() {
    let scene = Scene::new();
    let (dir, away) = (scene.path("state"), scene.path("away"));
    std::fs::create_dir(&dir).unwrap();
    let start =
        || heartbeat_store::IncidentDb::start(&dir, crate::scene::ticking, scene.reports.reporter()).unwrap();
    let db = start();
    write(&db, 1, true).unwrap();
    std::fs::rename(&dir, &away).unwrap();
    write(&db, 2, true).unwrap_err();
    std::fs::rename(&away, &dir).unwrap();
    scene.reports.wait(|report| *report == Report::Working);
    assert_eq!(open_numbers(&db), [1, 2]);
    assert!(
        !scene.reports.all().iter().any(|report| matches!(report, Report::Removed(_))),
        "it is the same file"
    );
    drop(db);
    assert_eq!(open_numbers(&start()), [1, 2]);
}

#[test]
fn a_file_that_cannot_be_made_is_a_problem_until_it_can() {
    let scene = Scene::new();
    // Even root cannot replace a directory by a file.
    std::fs::create_dir(scene.path("incidents.db.new")).unwrap();
    std::fs::write(scene.path("incidents.db.new/in-the-way"), "").unwrap();
    let db = scene.incidents();
    write(&db, 1, true).unwrap_err();
    std::fs::remove_dir_all(scene.path("incidents.db.new")).unwrap();
    scene.reports.wait(|report| *report == Report::Working);
    write(&db, 2, true).unwrap();
    assert_eq!(open_numbers(&db), [1, 2]);
    let mode = std::fs::metadata(scene.path("incidents.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn when_the_file_is_full_the_oldest_resolved_incidents_go_and_open_ones_stay() {
    let scene = Scene::new();
    let db = scene.incidents();
    write(&db, 1, true).unwrap();
    // 64 MiB in large pieces.
    for no in 2..40 {
        let mut large = document(no, false);
        large.log_tail = vec!["x".repeat(4 << 20)];
        let record = IncidentRecord { document: Arc::new(large), state: None };
        answer(|give| {
            db.record(record, Vec::new(), Some(Box::new(move |written| give.send(written).unwrap())))
        })
        .unwrap();
    }
    let kept = remembered(&db);
    assert_eq!(kept.open.len(), 1);
    let newest = document(39, false).id;
    assert_eq!(kept.resolved[0].id, newest);
    assert!(kept.resolved.len() < 17, "{}", kept.resolved.len());
    let size = std::fs::metadata(scene.path("incidents.db")).unwrap().len();
    assert!(size <= 64 << 20, "{size}");
    assert_eq!(scene.reports.all(), []);
}
