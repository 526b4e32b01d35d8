//! Thousands of readers, and what the core notices of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use heartbeat_probe::clock;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{self, Bed, Times, await_stamps, free_port, pause};
use crate::status::{lag_p99, watched};

const REALMS: usize = 100;
/// Readers of each kind.
const READERS: usize = 2_000;
const CHANGES: usize = 10;

/// Reads what comes, and counts every piece that has `word` in it.
async fn reader(port: u16, path: &'static str, word: &'static str, counts: Arc<AtomicUsize>) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        let here = piece[..read].windows(word.len()).filter(|part| *part == word.as_bytes()).count();
        counts.fetch_add(here, Ordering::Relaxed);
    }
}

pub(crate) fn measure() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let bed = Bed::new();
    let port = free_port();
    let (child, stamps) = (bed.path("child"), bed.path("stamps"));
    let realm = |at: usize| {
        format!(
            "[realm.r{at}]\nrun = [\"{child}\", \"{stamps}\", \"{at}\"]\nstart = {{ settle = \"1ms\" }}\nrestart = {{ reset_after = \"1s\" }}\nlog = {{ to = \"none\" }}\n"
        )
    };
    let realms: String = (0..REALMS).map(realm).collect();
    let limit = format!("max_connections = {}\n\n{realms}{}", 2 * READERS + 128, watched(port));
    let _daemon = bed.daemon(Some(port), &limit);
    bed.wait_up();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (followed, polled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let calm = changes(&stamps, 0, &|| {});
    let lag_calm = lag_p99(port);
    for _ in 0..READERS {
        runtime.spawn(reader(port, "/api/events/", "event: ", Arc::clone(&followed)));
        runtime.spawn(reader(
            port,
            "/api/status/?since=other-1&wait=60s",
            "HTTP/1.1 200",
            Arc::clone(&polled),
        ));
    }
    let settled = |counts: &AtomicUsize, least: usize| {
        let deadline = clock::now() + Duration::from_secs(60);
        while counts.load(Ordering::Relaxed) < least {
            assert!(clock::now() < deadline, "{} of {least}", counts.load(Ordering::Relaxed));
            pause(Duration::from_millis(1));
        }
    };
    settled(&followed, READERS);
    settled(&polled, READERS);
    let mut delivered = Times::default();
    let delivery = std::cell::RefCell::new(&mut delivered);
    let loaded = changes(&stamps, CHANGES, &|| {
        let before = clock::now();
        settled(&followed, followed.load(Ordering::Relaxed) / READERS * READERS + READERS);
        delivery.borrow_mut().push(clock::now().since(before));
    });
    let lag_loaded = lag_p99(port);
    println!("\n### {READERS} followers of `/api/events/` and {READERS} readers of `/api/status/`\n");
    println!("| what | nobody reads | everybody reads |\n|---|---|---|");
    println!("| lag of the core's loop, p99 | {lag_calm:.2} ms | {lag_loaded:.2} ms |");
    let ms = |times: &Times| format!("{:.2} ms", times.median().as_secs_f64() * 1e3);
    println!("| crash to exec of the successor, median | {} | {} |", ms(&calm), ms(&loaded));
    println!("| a change to the last follower, median | - | {} |", ms(&delivered));
}

/// Kills one realm after the other, and says how long each took to come back.
fn changes(stamps: &str, from: usize, after: &dyn Fn()) -> Times {
    let mut times = Times::default();
    for _ in 0..CHANGES {
        pause(Duration::from_millis(500));
        let seen = await_stamps(stamps, REALMS);
        let before = clock::now();
        // The oldest: a realm that has not been killed yet.
        bed::signal(seen[from + times.len()].pid, Signal::SIGKILL);
        let seen = await_stamps(stamps, seen.len() + 1);
        times.push(seen.last().unwrap().at.since(before));
        after();
    }
    times
}
