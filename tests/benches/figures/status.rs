//! `/api/status/` with a thousand realms, beside a server that does nothing but answer the same bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use heartbeat_probe::clock;

use crate::bed::{self, Bed, command, free_port, pause};

const REALMS: usize = 1_000;
const CLIENTS: usize = 16;
const LOAD: Duration = Duration::from_secs(5);

/// Realms that heartbeatd measures often, so that its loop has deadlines to be late for. Their target is the API
/// itself.
pub(crate) fn watched(port: u16) -> String {
    let realm = |at: usize| {
        format!(
            "[realm.door{at}]\nhealth = {{ tcp = \"127.0.0.1:{port}\", interval = \"250ms\", timeout = \"250ms\" }}\n"
        )
    };
    (0..20).map(realm).collect()
}

/// One answer over a connection that stays open; its body.
fn ask(reader: &mut BufReader<TcpStream>, port: u16) -> Option<Vec<u8>> {
    let request = format!("GET /api/status/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    reader.get_mut().write_all(request.as_bytes()).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn connect(port: u16) -> BufReader<TcpStream> {
    let deadline = clock::now() + Duration::from_secs(30);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_nodelay(true).unwrap();
                return BufReader::with_capacity(256 * 1024, stream);
            }
            Err(error) => assert!(clock::now() < deadline, "{error}"),
        }
        pause(Duration::from_millis(5));
    }
}

/// Answers a second for `CLIENTS` at a time.
fn load(port: u16) -> f64 {
    let (answers, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (answers, end) = (Arc::clone(&answers), Arc::clone(&end));
            std::thread::spawn(move || {
                let mut reader = connect(port);
                while !end.load(Ordering::Relaxed) {
                    ask(&mut reader, port).expect("an answer");
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let before = clock::now();
    pause(LOAD);
    end.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    answers.load(Ordering::Relaxed) as f64 / clock::now().since(before).as_secs_f64()
}

pub(crate) fn lag_p99(port: u16) -> f64 {
    let body = ask(&mut connect(port), port).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
    document["daemon"]["lag_ms"]["p99"].as_f64().unwrap()
}

pub(crate) fn measure() {
    let bed = Bed::new();
    let port = free_port();
    let (child, stamps) = (bed.path("child"), bed.path("stamps"));
    let realm = |at: usize| {
        format!("[realm.r{at}]\nrun = [\"{child}\", \"{stamps}\", \"{at}\"]\nlog = {{ to = \"none\" }}\n")
    };
    let realms: String = (0..REALMS).map(realm).collect();
    let _daemon = bed.daemon(Some(port), &(realms + &watched(port)));
    bed.wait_up();
    let body = ask(&mut connect(port), port).unwrap();
    std::fs::write(bed.path("body.json"), &body).unwrap();
    let other = free_port();
    let this = std::env::current_exe().unwrap();
    let fixed = command(this).args(["static", &other.to_string(), &bed.path("body.json")]).spawn().unwrap();
    let _fixed = bed::Running(fixed);
    pause(Duration::from_secs(5));
    let calm = lag_p99(port);
    let mut rates = Vec::new();
    for _ in 0..3 {
        rates.push((load(port), load(other)));
    }
    let loaded = lag_p99(port);
    println!("\n### `/api/status/` with 1,000 realms ({} KiB), {CLIENTS} clients\n", body.len() / 1024);
    println!("| round | heartbeatd, answers/s | static server, answers/s | ratio |\n|---|---|---|---|");
    for (round, (ours, theirs)) in rates.iter().enumerate() {
        println!("| {} | {ours:.0} | {theirs:.0} | {:.2} |", round + 1, ours / theirs);
    }
    println!("\nLag of the core's loop, p99: {calm:.2} ms before, {loaded:.2} ms after the load.");
}
