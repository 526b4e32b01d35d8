//! Real files, on a file system that can collapse them and on one that cannot.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::aside::numbered;
use crate::{LogFollower, last_lines, previous_lines};

const PIECE: u64 = 64 * 1024;

struct Bench {
    dir: tempfile::TempDir,
    log: KeptLog,
}

impl Bench {
    /// In a directory of that file system; `None` where there is none.
    fn at(place: &str, keep: u32) -> Option<Self> {
        let dir = tempfile::tempdir_in(place).ok()?;
        let log = KeptLog { path: dir.path().join("db.log"), max_bytes: PIECE, keep };
        Some(Self { dir, log })
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.log.path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Numbered lines of ten bytes each.
    fn number(&self, from: u64, count: u64) {
        let lines: String = (from..from + count).map(|number| format!("{number:09}\n")).collect();
        self.append(&lines);
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.log.path).unwrap().len()
    }

    /// Everything there is, the oldest first.
    fn all(&self) -> String {
        let mut parts = vec![std::fs::read_to_string(&self.log.path).unwrap()];
        let aside = (1..).map_while(|number| std::fs::read_to_string(numbered(&self.log.path, number)).ok());
        parts.extend(aside);
        parts.reverse();
        parts.concat()
    }
}

fn begin(log: &Path, run: u64) {
    let size = std::fs::metadata(log).map_or(0, |meta| meta.len());
    let mut index = LogIndex::lock(log).unwrap();
    index.begin(run, size);
    index.write().unwrap();
}

/// Whether the file system of a directory can collapse files.
fn can_collapse(dir: &Path) -> bool {
    let path = dir.join("probe");
    std::fs::write(&path, vec![1; 1 << 20]).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let can = rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, PIECE).is_ok();
    std::fs::remove_file(&path).unwrap();
    can
}

#[test]
fn pieces_go_to_files_of_their_own_and_no_byte_is_lost() {
    for place in [std::env::temp_dir().to_str().unwrap(), "/dev/shm"] {
        let Some(bench) = Bench::at(place, 100) else { continue };
        let collapses = can_collapse(bench.dir.path());
        bench.number(0, 6_000);
        assert!(!bench.log.hold().unwrap().moved, "within its bound");
        let mut written = 6_000;
        for count in [1_000, 7_000, 30_000, 1] {
            bench.number(written, count);
            written += count;
            let held = bench.log.hold().unwrap();
            assert_eq!(held.lost.cut_bytes + held.lost.dropped_bytes, 0);
            assert!(bench.size() <= PIECE);
            assert_eq!(held.lost.truncations > 0, held.moved && !collapses, "{place}");
        }
        let all = bench.all();
        assert_eq!(all.lines().count(), usize::try_from(written).unwrap());
        assert!(all.lines().enumerate().all(|(at, line)| line == format!("{at:09}")), "in order");
        let size = std::fs::metadata(numbered(&bench.log.path, 3)).unwrap().len();
        assert!((PIECE..2 * PIECE).contains(&size), "{size}");
    }
}

#[test]
fn no_more_is_kept_than_asked_for_and_what_goes_anyway_is_not_copied() {
    for (place, keep) in
        [(std::env::temp_dir().to_str().unwrap(), 2), ("/dev/shm", 2), ("/dev/shm", 0), ("/tmp", 0)]
    {
        let Some(bench) = Bench::at(place, keep) else { continue };
        bench.number(0, 100_000);
        bench.log.hold().unwrap();
        bench.number(100_000, 100_000);
        bench.log.hold().unwrap();
        assert!(bench.size() <= PIECE);
        let all = bench.all();
        assert!(all.len() as u64 <= u64::from(keep + 1) * PIECE + PIECE, "{}", all.len());
        assert!(!numbered(&bench.log.path, keep + 1).exists());
        if keep > 0 {
            assert!(all.ends_with("\n000199999\n"), "the newest are there");
            assert!(all.len() as u64 >= u64::from(keep) * PIECE);
            assert_eq!(all.split_once('\n').unwrap().1.lines().next().map(str::len), Some(9));
            let fewer = KeptLog { keep: 1, ..bench.log.clone() };
            bench.number(0, 10_000);
            fewer.hold().unwrap();
            assert!(!numbered(&bench.log.path, 2).exists(), "fewer are to be kept");
        }
    }
}

#[test]
fn generations_and_followers_find_their_place_again() {
    for place in [std::env::temp_dir().to_str().unwrap(), "/dev/shm"] {
        let Some(bench) = Bench::at(place, 9) else { continue };
        begin(&bench.log.path, 1);
        bench.append("first\n");
        begin(&bench.log.path, 2);
        bench.append("second begins\n");
        let start = last_lines(&bench.log.path, 0, false).unwrap().next;
        bench.number(0, 20_000);
        bench.append("second ends\n");
        begin(&bench.log.path, 3);
        bench.append("third\n");
        // Read again as it stands in the header of an event.
        let mut follower = LogFollower::new(bench.log.path.clone(), start.to_string().parse().unwrap());
        let first = follower.look().unwrap();
        assert!(first.more && first.missed_bytes == 0 && first.lines[0] == "000000000");
        bench.log.hold().unwrap();
        assert!(bench.size() < 200_000, "it was shortened in between");
        let mut seen = first.lines;
        loop {
            let batch = follower.look().unwrap();
            assert_eq!(batch.missed_bytes, 0);
            seen.extend(batch.lines);
            if !batch.more {
                break;
            }
        }
        assert_eq!(seen.len(), 20_002, "{place}");
        assert!(seen[..20_000].iter().enumerate().all(|(at, line)| *line == format!("{at:09}")));
        let previous = previous_lines(&bench.log.path, 100_000).unwrap().unwrap();
        assert_eq!((previous.generation, previous.lines.len(), previous.cut), (Some(2), 20_002, false));
        assert_eq!(
            (previous.lines[0].as_str(), previous.lines[20_001].as_str()),
            ("second begins", "second ends")
        );
    }
}

#[test]
fn a_follower_is_told_what_it_missed() {
    let bench = Bench::at("/dev/shm", 1).or_else(|| Bench::at("/tmp", 1)).unwrap();
    bench.append("one\n");
    let mut follower =
        LogFollower::new(bench.log.path.clone(), last_lines(&bench.log.path, 0, false).unwrap().next);
    assert_eq!(follower.look().unwrap().lines, Vec::<String>::new());
    bench.append("unfinis");
    assert_eq!(follower.look().unwrap().lines, Vec::<String>::new());
    bench.append("hed\n");
    assert_eq!(follower.look().unwrap().lines, ["unfinished"]);
    bench.append("prompt> ");
    let looks = (0..20).map(|_| follower.look().unwrap().lines).filter(|lines| !lines.is_empty());
    assert_eq!(looks.collect::<Vec<_>>(), [["prompt> "]], "once, and not never");
    // Rotated away before it was read.
    bench.number(0, 50_000);
    bench.log.hold().unwrap();
    let batch = follower.look().unwrap();
    assert!(batch.missed_bytes > 200_000 && !batch.lines.is_empty(), "{}", batch.missed_bytes);
    // More than a follower reads.
    bench.number(0, 1_000_000);
    let batch = follower.look().unwrap();
    assert!(batch.missed_bytes > 9_000_000, "{}", batch.missed_bytes);
    assert!(batch.lines.iter().all(|line| line.len() == 9), "from the beginning of a line");
    // Another process empties the log.
    std::fs::write(&bench.log.path, "anew\n").unwrap();
    assert_eq!(follower.look().unwrap().lines, ["anew"]);
}

/// A program appends as fast as the disk takes it, and never learns of the keeper.
#[test]
fn a_writer_at_full_speed_loses_nothing_where_the_file_system_can() {
    let bench = Bench::at(std::env::temp_dir().to_str().unwrap(), 10_000).unwrap();
    if !can_collapse(bench.dir.path()) {
        return;
    }
    let done = Arc::new(AtomicBool::new(false));
    let (path, end) = (bench.log.path.clone(), Arc::clone(&done));
    std::fs::write(&path, "").unwrap();
    let writer = std::thread::spawn(move || {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        for number in 0..500_000 {
            writeln!(file, "{number:09}").unwrap();
        }
        end.store(true, Ordering::SeqCst);
    });
    let mut moves = 0;
    while !done.load(Ordering::SeqCst) {
        moves += u32::from(bench.log.hold().unwrap().moved);
    }
    writer.join().unwrap();
    assert!(moves > 3, "{moves}");
    let all = bench.all();
    let wrong = all.lines().enumerate().find(|(at, line)| *line != format!("{at:09}"));
    assert_eq!((wrong, all.lines().count()), (None, 500_000));
}

#[test]
fn what_is_no_file_of_its_own_is_left_alone() {
    let bench = Bench::at("/tmp", 3).unwrap();
    let victim = bench.dir.path().join("victim");
    std::fs::write(&victim, vec![b'x'; 200_000]).unwrap();
    std::os::unix::fs::symlink(&victim, &bench.log.path).unwrap();
    assert!(bench.log.hold().is_err(), "a link");
    assert!(last_lines(&bench.log.path, 1, true).is_err(), "nor is it read");
    std::fs::remove_file(&bench.log.path).unwrap();
    std::fs::hard_link(&victim, &bench.log.path).unwrap();
    assert!(bench.log.hold().is_err(), "two names");
    assert_eq!(std::fs::metadata(&victim).unwrap().len(), 200_000);
    // A link in the way of a copy is replaced, not followed.
    std::fs::remove_file(&bench.log.path).unwrap();
    bench.number(0, 20_000);
    std::os::unix::fs::symlink(&victim, aside::beside(&bench.log.path, ".new")).unwrap();
    std::os::unix::fs::symlink(&victim, numbered(&bench.log.path, 1)).unwrap();
    assert!(bench.log.hold().unwrap().moved);
    assert_eq!(std::fs::read(&victim).unwrap(), vec![b'x'; 200_000]);
}

/// A file system of its own that only this thread sees; `None` where that is not permitted.
fn on_a_small_disk(bytes: u64) -> Option<tempfile::TempDir> {
    use nix::mount::{MsFlags, mount};
    let dir = tempfile::tempdir().unwrap();
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).ok()?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).ok()?;
    let size = format!("size={bytes}");
    mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).ok()?;
    Some(dir)
}

#[test]
fn a_full_disk_neither_stops_the_bound_nor_costs_more_than_it_must() {
    let Some(dir) = on_a_small_disk(6 * PIECE) else {
        assert!(std::env::var_os("CI").is_none() || !nix::unistd::geteuid().is_root(), "not permitted");
        return;
    };
    let log = KeptLog { path: dir.path().join("db.log"), max_bytes: PIECE, keep: 2 };
    let bench = Bench { dir: tempfile::tempdir().unwrap(), log };
    bench.number(0, 8_000);
    assert!(bench.log.hold().unwrap().lost.dropped_bytes == 0);
    // Another program takes all the room there is.
    let filler = dir.path().join("filler");
    let fill = || {
        let mut file = OpenOptions::new().append(true).create(true).open(&filler).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
    };
    // heartbeatd drops older files to make room.
    bench.number(8_000, 8_000);
    fill();
    let held = bench.log.hold().unwrap();
    assert!(held.moved && held.lost.dropped_bytes == 80_000, "{held:?}");
    assert_eq!(held.why.as_ref().and_then(io::Error::raw_os_error), Some(libc::ENOSPC));
    assert_eq!((bench.size(), bench.all().lines().count()), (0, 8_000), "the newest are there");
    // Without older files the live bytes go, and the bound holds all the same.
    std::fs::remove_file(numbered(&bench.log.path, 1)).unwrap();
    bench.number(16_000, 8_000);
    fill();
    let held = bench.log.hold().unwrap();
    assert!(held.moved && held.lost.dropped_bytes == 80_000, "{held:?}");
    assert_eq!(bench.size(), 0);
    bench.append("after that\n");
    let page = last_lines(&bench.log.path, 5, true).unwrap();
    assert_eq!((page.lines.as_slice(), page.lost.dropped_bytes), (&["after that".to_owned()][..], 160_000));
    // With room again everything is as before.
    std::fs::remove_file(&filler).unwrap();
    bench.number(24_000, 8_000);
    let held = bench.log.hold().unwrap();
    assert!(held.moved && held.lost.dropped_bytes == 0);
    assert!(bench.all().ends_with("000031999\n"));
    nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
}
