//! From a crash to the exec of the successor, which writes down its own start.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use heartbeat_probe::clock;
use heartbeat_process::{Key, LaunchSpec, LogTarget, Notice, PlainLogs, Processes, Settings};
use heartbeat_status::{RealmIx, RealmName, RunFact, RunId};
use nix::sys::signal::Signal;

use crate::bed::{self, Bed, Times, await_stamps, command, head, pause};

const ROUNDS: usize = 60;
/// Longer than `min_gap`, so that the successor is due at once.
const BETWEEN: Duration = Duration::from_millis(350);

/// Kills the newest process of a file of stamps, `ROUNDS` times.
fn kill_again_and_again(stamps: &str) -> Times {
    let mut times = Times::default();
    let mut seen = await_stamps(stamps, 1);
    for _ in 0..ROUNDS {
        pause(BETWEEN);
        let before = clock::now();
        bed::signal(seen.last().unwrap().pid, Signal::SIGKILL);
        seen = await_stamps(stamps, seen.len() + 1);
        times.push(seen.last().unwrap().at.since(before));
    }
    times
}

fn with_daemon(bed: &Bed) -> Times {
    let stamps = bed.path("daemon.stamps");
    let realm = format!(
        "[realm.one]\nrun = [\"{}\", \"{stamps}\", \"one\"]\nstart = {{ settle = \"1ms\" }}\nrestart = {{ burst = 1000, reset_after = \"10ms\", verify_for = \"1ms\" }}\n",
        bed.path("child")
    );
    let _daemon = bed.daemon(None, &realm);
    kill_again_and_again(&stamps)
}

fn with_dinit(bed: &Bed) -> Option<Times> {
    let stamps = bed.path("dinit.stamps");
    let text = format!("type = process\ncommand = {} {stamps} one", bed.path("child"));
    let _dinit = bed.dinit(&[("one".to_owned(), text)], "one")?;
    Some(kill_again_and_again(&stamps))
}

/// The process adapter alone.
fn with_adapter(bed: &Bed) -> Times {
    let stamps = bed.path("adapter.stamps");
    let records = bed.dir.path().join("records");
    std::fs::create_dir(&records).unwrap();
    let (tell, told) = sync_channel(64);
    let settings = Settings { records, ..Settings::default() };
    let processes = Processes::open(settings, Arc::new(PlainLogs), move |notice| {
        if matches!(notice, Notice::Run { fact: RunFact::Exited { .. }, .. }) {
            let _ = tell.try_send(());
        }
    });
    let processes = Arc::new(processes.unwrap());
    let name = RealmName::new("one").unwrap();
    let spec = LaunchSpec {
        pidfile: None,
        argv: vec![bed.path("child").into(), stamps.clone().into(), "one".into()],
        env: Vec::new(),
        dir: "/".into(),
        log: LogTarget::Null,
        ..LaunchSpec::default()
    };
    let launch = move |run| processes.launch(Key { realm: RealmIx(0), run: RunId(run) }, &name, &spec);
    launch(1);
    std::thread::spawn(move || {
        let mut run = 1;
        while told.recv().is_ok() {
            run += 1;
            launch(run);
        }
    });
    let times = kill_again_and_again(&stamps);
    if let Some(last) = bed::stamps(&stamps).last() {
        // The successor of this one goes with the benchmark.
        bed::signal(last.pid, Signal::SIGKILL);
    }
    times
}

fn with_loop(bed: &Bed, name: &str) -> Times {
    let stamps = bed.path(&format!("{name}.stamps"));
    let run = command(bed.path("loop")).args([&bed.path("child"), &stamps, "one"]).spawn().unwrap();
    let _running = bed::Running(run);
    let times = kill_again_and_again(&stamps);
    drop(_running);
    if let Some(last) = bed::stamps(&stamps).last() {
        bed::signal(last.pid, Signal::SIGKILL);
    }
    times
}

pub(crate) fn measure() {
    let bed = Bed::new();
    let before = with_loop(&bed, "before");
    let dinit = with_dinit(&bed);
    let daemon = with_daemon(&bed);
    let adapter = with_adapter(&bed);
    let floor = with_loop(&bed, "after");
    head("Crash to exec of the successor", "the loop in C (after)");
    println!("{}", before.row("loop in C: waitid, vfork, exec (before)", &floor));
    println!("{}", floor.row("the same (after)", &floor));
    dinit.iter().for_each(|dinit| println!("{}", dinit.row("dinit", &floor)));
    println!("{}", daemon.row("heartbeatd", &floor));
    println!("{}", adapter.row("the process adapter alone, without control groups", &floor));
}
