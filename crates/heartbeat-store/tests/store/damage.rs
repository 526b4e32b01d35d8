//! Truncated and flipped files: every damage is noticed and survived, and what is whole is kept.

use heartbeat_store::Report;

use crate::scene::{Scene, document, open_numbers, remembered, write};

/// A closed `incidents.db` with some incidents.
fn whole(scene: &Scene) -> Vec<u8> {
    {
        let db = scene.incidents();
        for no in 1..=5 {
            write(&db, no, true).unwrap();
        }
    }
    std::fs::read(scene.path("incidents.db")).unwrap()
}

/// Opens what lies there; what it has, which is either everything, or reported as damage.
fn open(scene: &Scene, what: &str) {
    scene.reports.clear();
    let db = scene.incidents();
    let kept = remembered(&db);
    let numbers = open_numbers(&db);
    let said = scene.reports.all();
    let aside = said.iter().any(|report| matches!(report, Report::SetAside(_)));
    if numbers != [1, 2, 3, 4, 5] {
        assert!(aside, "{what}: {numbers:?} silently, {said:?}");
    }
    for record in &kept.open {
        let no = record.document.id[24..].parse().unwrap();
        assert_eq!(*record.document, document(no, true), "{what}: another story");
    }
    assert_eq!(aside, scene.path("incidents.db.damaged").exists(), "{what}");
    write(&db, 9, true).unwrap();
}

fn try_with(scene: &Scene, bytes: &[u8], what: &str) {
    for name in ["incidents.db-wal", "incidents.db-shm", "incidents.db.damaged"] {
        let _ = std::fs::remove_file(scene.path(name));
    }
    std::fs::write(scene.path("incidents.db"), bytes).unwrap();
    open(scene, what);
}

#[test]
fn every_truncation_is_noticed() {
    let scene = Scene::new();
    let bytes = whole(&scene);
    let pages = (0..bytes.len()).step_by(4_096);
    for length in pages.chain([1, 50, 99, 100, 101, 4_095, bytes.len() - 1]) {
        try_with(&scene, &bytes[..length], &format!("cut to {length}"));
    }
}

/// `HEARTBEAT_FLIP_STEP` says how many bits lie between two that are flipped.
#[test]
fn every_flipped_bit_is_noticed_or_harmless() {
    let scene = Scene::new();
    let bytes = whole(&scene);
    // A step that shares nothing with the size of pages and rows.
    let step = std::env::var("HEARTBEAT_FLIP_STEP").map_or(1_999, |step| step.parse().unwrap());
    for bit in (0..bytes.len() * 8).step_by(step) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        try_with(&scene, &flipped, &format!("bit {bit}"));
    }
}

#[test]
fn what_is_whole_in_a_damaged_file_is_kept() {
    let scene = Scene::new();
    let mut bytes = whole(&scene);
    let story = b"\"exit code 3\"";
    let at = bytes.windows(story.len()).position(|part| part == story).unwrap();
    bytes[at + 11] = b'7';
    std::fs::write(scene.path("incidents.db"), &bytes).unwrap();
    scene.reports.clear();
    let db = scene.incidents();
    assert_eq!(open_numbers(&db), [1, 2, 4, 5]);
    let said = scene.reports.wait(|report| matches!(report, Report::SetAside(_)));
    assert!(format!("{said:?}").contains("holds a damaged incident; it was set aside as"), "{said:?}");
}

#[test]
fn what_is_no_database_is_set_aside() {
    let scene = Scene::new();
    for bytes in [b"".as_slice(), b"SQLite format 3\0", b"hello", &[0; 9_000]] {
        std::fs::write(scene.path("incidents.db"), bytes).unwrap();
        open(&scene, &format!("{bytes:?}"));
        std::fs::remove_file(scene.path("incidents.db.damaged")).unwrap();
    }
    let foreign = scene.path("other.db");
    crate::scene::sqlite(&foreign).execute_batch("CREATE TABLE a (b)").unwrap();
    std::fs::rename(&foreign, scene.path("incidents.db")).unwrap();
    open(&scene, "another program's database");
}

#[test]
fn a_damaged_history_is_set_aside_and_begins_anew() {
    let scene = Scene::new();
    std::fs::write(scene.path("history.db"), "no history").unwrap();
    let history = scene.history();
    history.begin("boot".to_owned(), 0);
    let said = scene.reports.wait(|report| matches!(report, Report::SetAside(_)));
    assert!(format!("{said:?}").contains("history.db.damaged"), "{said:?}");
}

#[expect(clippy::disallowed_methods, reason = "the standard library makes no named pipe")]
fn pipe(path: &std::path::Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_is_no_regular_file_is_set_aside_and_blocks_nothing() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    type Make = fn(&std::path::Path);
    let kinds: [(&str, Make); 5] = [
        ("a named pipe", pipe),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("a directory", |path| {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("theirs"), "").unwrap();
        }),
        ("a device", |path| symlink("/dev/full", path).unwrap()),
        ("a named pipe", |path| {
            pipe(&path.with_extension("pipe"));
            symlink(path.with_extension("pipe"), path).unwrap();
        }),
    ];
    for (found, make) in kinds {
        for name in ["incidents.db", "incidents.db-wal"] {
            let scene = Scene::new();
            if name.ends_with("-wal") {
                write(&scene.incidents(), 1, true).unwrap();
                let _ = std::fs::remove_file(scene.path(name));
            }
            make(&scene.path(name));
            let db = scene.incidents();
            write(&db, 2, true).unwrap();
            let said = scene.reports.wait(|report| matches!(report, Report::SetAside(_)));
            assert!(format!("{said:?}").contains(&format!("{name} is {found}")), "{said:?}");
        }
        let scene = Scene::new();
        make(&scene.path("history.db"));
        let history = scene.history();
        history.begin("boot".to_owned(), 0);
        history.minute(60_000, Vec::new());
        scene.reports.wait(|report| matches!(report, Report::SetAside(_)));
    }
}
