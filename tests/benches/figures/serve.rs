//! Servers that measurements need: a site that can be broken, and one that answers the same bytes for ever.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use heartbeat_probe::clock;

use crate::bed::pause;

/// `serve PORT STAMPS`: `/api/health/` answers 200 until `/500` or `/hang` was asked for.
pub(crate) fn site(port: &str, stamps: &str) {
    let line = format!("{port} {} {}\n", std::process::id(), clock::now().as_nanos());
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(stamps).unwrap();
    file.write_all(line.as_bytes()).unwrap();
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    let fault = Arc::new(AtomicU8::new(0));
    for stream in listener.incoming().flatten() {
        let fault = Arc::clone(&fault);
        std::thread::spawn(move || answer(stream, &fault));
    }
}

fn answer(stream: TcpStream, fault: &AtomicU8) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let path = request(&mut reader)?;
    match path.as_str() {
        "/500" => fault.store(1, Ordering::SeqCst),
        "/hang" => fault.store(2, Ordering::SeqCst),
        _ if fault.load(Ordering::SeqCst) == 2 => pause(Duration::from_secs(3_600)),
        _ => {}
    }
    let broken = path == "/api/health/" && fault.load(Ordering::SeqCst) == 1;
    let status = if broken { "500 Broken" } else { "200 OK" };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    reader.get_mut().write_all(head.as_bytes()).ok()
}

/// The path of one request; `None` at the end of the connection.
fn request(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut path = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            return path;
        }
        path = path.or_else(|| line.split(' ').nth(1).map(ToOwned::to_owned));
    }
}

/// `static PORT FILE`: the bytes of the file to every client, over connections that stay open.
pub(crate) fn fixed(port: &str, file: &str) {
    let body = std::fs::read(file).unwrap();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    let answer = Arc::new(answer);
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    for stream in listener.incoming().flatten() {
        let answer = Arc::clone(&answer);
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let mut reader = BufReader::new(stream);
            while request(&mut reader).is_some() {
                if reader.get_mut().write_all(&answer).is_err() {
                    return;
                }
            }
        });
    }
}
