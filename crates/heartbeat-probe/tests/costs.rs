//! What a probe of a healthy target takes of this process: counts do not depend on the machine.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use heartbeat_probe::{HttpProbe, Probe, clock};
use heartbeat_status::Outcome;

/// Allocations of one measurement: its result, its socket, and the answer.
const MOST_ALLOCATIONS: u64 = 4;
const PROBES: u64 = 50;

#[test]
fn a_probe_that_passes_allocates_next_to_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/health/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let read = stream.read(&mut [0; 1024]).unwrap();
            assert!(read > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").unwrap();
        }
    });
    let probe = Probe::from(HttpProbe::new(&url).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let measure = |count: u64| {
        runtime.block_on(async {
            for _ in 0..count {
                let explained = probe.explain_queued(clock::now(), Duration::from_secs(20)).await;
                assert_eq!(explained.result.outcome, Outcome::Pass, "{explained:?}");
            }
        });
    };
    // The first one fills buffers that stay.
    measure(1);
    let counted = allocation_counter::measure(|| measure(PROBES));
    let each = counted.count_total as f64 / PROBES as f64;
    assert!(each <= MOST_ALLOCATIONS as f64 + 0.5, "{each} allocations a probe");
}
