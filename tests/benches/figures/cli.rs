//! `heartbeat-cli status` as a whole process, and heartbeatd to its first answer.

use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use heartbeat_probe::clock;

use crate::bed::{Bed, Running, Times, await_stamps, command, head, pause, peer};

const REALMS: usize = 100;
const ROUNDS: usize = 100;

/// The same with dinit: its socket is there when it answers; `None` where it is not installed.
fn with_dinit(bed: &Bed) -> Option<(Running, Command)> {
    let program = peer("dinitctl")?;
    let (child, stamps) = (bed.path("child"), bed.path("dinit.stamps"));
    let service =
        |at: usize| (format!("r{at}"), format!("type = process\ncommand = {child} {stamps} {at}\n"));
    let all: String = (0..REALMS).map(|at| format!("waits-for: r{at}\n")).collect();
    let boot = ("all".to_owned(), format!("type = internal\n{all}"));
    let services: Vec<(String, String)> = (0..REALMS).map(service).chain([boot]).collect();
    let dinit = bed.dinit(&services, "all")?;
    await_stamps(&stamps, REALMS);
    let mut list = command(program);
    list.args(["-p", &bed.path("dinit.sock"), "list"]);
    Some((dinit, list))
}

pub(crate) fn measure() {
    let bed = Bed::new();
    let (child, stamps) = (bed.path("child"), bed.path("stamps"));
    let realm = |at: usize| format!("[realm.r{at}]\nrun = [\"{child}\", \"{stamps}\", \"{at}\"]\n");
    let realms: String = (0..REALMS).map(realm).collect();
    let _daemon = bed.daemon(None, &realms);
    bed.wait_up();
    let mut dinit = with_dinit(&bed);
    let (mut ours, mut theirs, mut bare) = (Times::default(), Times::default(), Times::default());
    for _ in 0..ROUNDS {
        if let Some((_, list)) = &mut dinit {
            let before = clock::now();
            assert!(list.status().unwrap().success());
            theirs.push(clock::now().since(before));
        }
        let before = clock::now();
        assert!(bed.cli().arg("status").status().unwrap().success());
        ours.push(clock::now().since(before));
        let before = clock::now();
        assert!(command("/bin/true").status().unwrap().success());
        bare.push(clock::now().since(before));
    }
    head("`heartbeat-cli status` with 100 realms, the whole process", "/bin/true");
    println!("{}", bare.row("/bin/true", &bare));
    println!("{}", ours.row("heartbeat-cli status", &bare));
    if theirs.len() > 0 {
        println!("{}", theirs.row("dinitctl list", &bare));
    }
}

pub(crate) fn measure_boot() {
    let (mut ours, mut bare) = (Times::default(), Times::default());
    for _ in 0..20 {
        let bed = Bed::new();
        let socket = bed.path("run/heartbeat.sock");
        let before = clock::now();
        let daemon = bed.daemon(None, "[realm.one]\nrun = \"sleep 86380\"\nmanual = true\n");
        while UnixStream::connect(&socket).is_err() {
            pause(Duration::from_micros(200));
        }
        assert!(bed.cli().args(["status", "-q"]).status().is_ok());
        ours.push(clock::now().since(before));
        drop(daemon);
        let before = clock::now();
        assert!(command("/bin/true").status().unwrap().success());
        bare.push(clock::now().since(before));
    }
    head("Start of heartbeatd to its first answered status, `heartbeat-cli` included", "/bin/true");
    println!("{}", bare.row("/bin/true", &bare));
    println!("{}", ours.row("heartbeatd and heartbeat-cli status", &bare));
}
