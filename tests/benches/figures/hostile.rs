//! What a thousand targets that misbehave at once cost the prober: its memory, and the time beyond their deadlines. Each
//! round measures all of them; the servers are a process of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use heartbeat_probe::{CheckResult, HttpProbe, Outcome, Probe, TcpProbe, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bed::{self, Running, command, free_port};

const SERVERS: usize = 1_000;
const ROUNDS: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(2);
const DRIP: Duration = Duration::from_millis(20);
/// Connections that wait for a server process that has one thread.
const BACKLOG: u32 = 2_048;
/// A body that claims to be compressed.
const COMPRESSED: &[u8] = &[0; 16 * 1024];

/// Ways to misbehave, one per server in turn.
const WAYS: [&str; 16] = [
    "accepts and says nothing",
    "an endless head in one line",
    "headers without end",
    "a byte of the head every 20 ms",
    "a head, and then nothing",
    "a byte of the body every 20 ms",
    "a body without end, with a condition on it",
    "interim answers without end",
    "junk instead of HTTP",
    "a reset at once",
    "a reset within the head",
    "a reset within the body",
    "a body that is cut short",
    "chunks that are none",
    "a compressed body, with a condition on it",
    "a greeting without end",
];

/// The server process: what it does depends on the address at which it is asked.
pub(crate) fn serve(port: &str) {
    let port: u16 = port.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([0, 0, 0, 0], port).into()).unwrap();
        let listener: TcpListener = socket.listen(BACKLOG).unwrap();
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(misbehave(stream));
            }
        }
    });
}

async fn misbehave(mut stream: TcpStream) -> std::io::Result<()> {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    let std::net::IpAddr::V4(address) = stream.local_addr()?.ip() else { return Ok(()) };
    let [_, _, high, low] = address.octets();
    let way = (usize::from(high) * 250 + usize::from(low) - 1) % WAYS.len();
    if way != 15 {
        let _ = stream.read(&mut [0; 4096]).await?;
    }
    let (head, part, pause): (&[u8], &[u8], Duration) = match way {
        1 => (b"HTTP/1.1 200 OK\r\nx: ", &[b'x'; 4096], Duration::ZERO),
        2 => (b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n", Duration::ZERO),
        3 => (b"HTTP/1.1 200", b" ", DRIP),
        5 => (HEAD, b" ", DRIP),
        6 => (b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 4096], Duration::ZERO),
        7 => (b"", b"HTTP/1.1 100 Continue\r\n\r\n", Duration::ZERO),
        15 => (b"", &[b'x'; 4096], Duration::ZERO),
        way => {
            let answer: &[u8] = match way {
                4 | 11 | 12 => HEAD,
                8 => b"220 mail.example.org ESMTP\r\n",
                10 => b"HTTP/1.1 200 OK\r\nx-a",
                13 => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
                14 => b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n",
                _ => b"",
            };
            stream.write_all(answer).await?;
            if way == 14 {
                stream.write_all(COMPRESSED).await?;
            }
            if matches!(way, 9..=11) {
                stream.set_zero_linger()?;
            } else if matches!(way, 0 | 4) {
                // Until the other side closes.
                let _ = stream.read(&mut [0; 16]).await?;
            }
            return Ok(());
        }
    };
    stream.write_all(head).await?;
    loop {
        stream.write_all(part).await?;
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

pub(crate) fn measure() {
    let port = free_port();
    let server = command(std::env::current_exe().unwrap()).args(["hostile", &port.to_string()]).spawn();
    let _server = Running(server.unwrap());
    bed::await_port(port);
    let probes: Vec<Probe> = (0..SERVERS)
        .map(|at| {
            let address = format!("127.1.{}.{}:{port}", at / 250, at % 250 + 1);
            let http = || HttpProbe::new(&format!("http://{address}/api/health/")).unwrap();
            match at % WAYS.len() {
                6 | 14 => http().with_contains("ok").into(),
                15 => TcpProbe::new(&address).unwrap().with_expect("ready").into(),
                _ => http().into(),
            }
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The first round fills buffers that stay.
    let warm = runtime.block_on(round(&probes));
    let before = memory("VmRSS");
    let mut rounds: Vec<Vec<(usize, CheckResult)>> = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(runtime.block_on(round(&probes)));
    }
    let (after, peak) = (memory("VmRSS"), memory("VmHWM"));
    let results = || rounds.iter().flatten();
    let took = |result: &CheckResult| result.finished_at.since(result.started_at);
    let worst = results().map(|(_, result)| took(result).saturating_sub(TIMEOUT)).max().unwrap_or_default();
    println!(
        "\n### {SERVERS} targets that misbehave at once, a deadline of {} s, {ROUNDS} rounds\n",
        TIMEOUT.as_secs()
    );
    println!("| what | figure |\n|---|---|");
    println!("| measurements | {} |", results().count());
    println!("| worst time beyond a deadline | {:.1} ms |", worst.as_secs_f64() * 1e3);
    println!("| memory of the prober after the first round | {before} KiB |");
    println!("| and after the last one | {after} KiB |");
    println!("| the most at any time | {peak} KiB |");
    println!("\n| way | results | longest, ms |\n|---|---|---|");
    for (at, way) in WAYS.iter().enumerate() {
        let of_way = || results().filter(move |(of, _)| of % WAYS.len() == at).map(|(_, result)| result);
        let longest = of_way().map(took).max().unwrap_or_default();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for result in of_way() {
            *counts.entry(result.outcome.to_string()).or_default() += 1;
        }
        let counts: Vec<String> =
            counts.into_iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        println!("| {way} | {} | {:.0} |", counts.join(", "), longest.as_secs_f64() * 1e3);
    }
    let passed = warm.iter().chain(results()).filter(|(_, result)| result.outcome == Outcome::Pass).count();
    println!("\n{passed} of them passed.");
}

/// Measures all of them at once.
async fn round(probes: &[Probe]) -> Vec<(usize, CheckResult)> {
    let mut under_way = JoinSet::new();
    for (at, probe) in probes.iter().cloned().enumerate() {
        under_way.spawn(async move {
            let began = clock::now();
            (at, probe.measure_queued(began, TIMEOUT).await)
        });
    }
    under_way.join_all().await
}

/// A figure of the memory of this process, in KiB.
fn memory(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}
