//! From a fault that only a probe can see to the exec of the successor: a site that answers 500, and one that hangs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use heartbeat_probe::clock;

use crate::bed::{Bed, Times, await_stamps, free_port, head, pause};

const ROUNDS: u64 = 12;

fn break_it(port: u16, fault: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET /{fault} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("200"), "{answer}");
}

fn with_daemon(bed: &Bed, fault: &str) -> Times {
    let port = free_port();
    let stamps = bed.path(&format!("{fault}.stamps"));
    let this = std::env::current_exe().unwrap();
    // The circuit breaker would hold the thirteenth restart: it remembers those of the heartbeatd before.
    let realm = format!(
        "[heartbeat.fuse]\nrestarts = 1000\n\n[realm.site]\nrun = [\"{}\", \"serve\", \"{port}\", \"{stamps}\"]\nstop = {{ signal = \"KILL\" }}\nhealth = {{ http = \"http://127.0.0.1:{port}/api/health/\", interval = \"1s\", timeout = \"1s\", fail_after = 1, pass_after = 1 }}\nrestart = {{ burst = 1000, reset_after = \"100ms\", verify_for = \"1ms\" }}\n",
        this.display()
    );
    let _daemon = bed.daemon(None, &realm);
    bed.wait_up();
    let mut times = Times::default();
    for round in 0..ROUNDS {
        // At another moment of the interval each time.
        pause(Duration::from_millis(2_000 + round * 1_000 / ROUNDS));
        bed.wait_up();
        let count = await_stamps(&stamps, 1).len();
        let before = clock::now();
        break_it(port, fault);
        let seen = await_stamps(&stamps, count + 1);
        times.push(seen.last().unwrap().at.since(before));
    }
    times
}

pub(crate) fn measure() {
    let bed = Bed::new();
    let mut floor = Times::default();
    // Half an interval passes until the next measurement; a hang takes the timeout on top.
    floor.push(Duration::from_millis(500));
    let mut hang_floor = Times::default();
    hang_floor.push(Duration::from_millis(1_500));
    let (broken, hung) = (with_daemon(&bed, "500"), with_daemon(&bed, "hang"));
    head("Fault to exec of the successor; interval 1 s, timeout 1 s, fail_after 1", "the least possible");
    println!("{}", broken.row("answers 500 (least possible: half an interval)", &floor));
    println!("{}", hung.row("hangs (least possible: half an interval and the timeout)", &hang_floor));
}
