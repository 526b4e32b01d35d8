//! heartbeatd is killed over a thousand realms: how long until the next one answers for all of them, beside one look at
//! every process in /proc.

use std::process::Stdio;

use heartbeat_probe::clock;
use nix::sys::signal::Signal;

use crate::bed::{Bed, Times, head, pause, signal};

const REALMS: usize = 1_000;
const ROUNDS: usize = 10;

/// What reading /proc once takes: the stat line and the environment of every process.
fn read_proc() -> usize {
    let mut bytes = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()) {
            for file in ["stat", "environ"] {
                bytes += std::fs::read(entry.path().join(file)).map_or(0, |text| text.len());
            }
        }
    }
    bytes
}

/// How many realms are up by the status of heartbeatd, and were taken over.
fn adopted(bed: &Bed) -> usize {
    let output = bed.cli().args(["status", "--json"]).stdout(Stdio::piped()).output().unwrap();
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else { return 0 };
    let realms = document["realms"].as_array().map(Vec::as_slice).unwrap_or_default();
    realms.iter().filter(|realm| realm["process"]["adopted"] == true && realm["status"] == "up").count()
}

pub(crate) fn measure() {
    let bed = Bed::new();
    let (child, stamps) = (bed.path("child"), bed.path("stamps"));
    let realm = |at: usize| {
        format!("[realm.r{at}]\nrun = [\"{child}\", \"{stamps}\", \"{at}\"]\nlog = {{ to = \"none\" }}\n")
    };
    let realms: String = (0..REALMS).map(realm).collect();
    let mut daemon = bed.daemon(Some(0), &realms);
    bed.wait_up();
    let starts = crate::bed::stamps(&stamps).len();
    let (mut back, mut floor) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        signal(daemon.pid(), Signal::SIGKILL);
        drop(daemon);
        let began = clock::now();
        std::hint::black_box(read_proc());
        floor.push(clock::now().since(began));
        let began = clock::now();
        daemon = bed.daemon(Some(0), &realms);
        while adopted(&bed) < REALMS {
            pause(std::time::Duration::from_millis(1));
        }
        back.push(clock::now().since(began));
    }
    head("Taking 1,000 realms back after a kill", "one look at /proc");
    println!("{}", floor.row("stat and environ of every process in /proc, once", &floor));
    println!(
        "{}",
        back.row("start of the next heartbeatd to all 1,000 up and adopted, as its CLI says", &floor)
    );
    let again = crate::bed::stamps(&stamps).len() - starts;
    println!("\nRealms that were started again meanwhile: {again}.");
}
