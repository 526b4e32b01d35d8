//! The common exchange over a Unix socket, without a runtime: for a program that asks once and ends.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::brief::{Brief, Rendered};

/// Each read takes up to this many bytes: what a socket holds of an answer as a rule.
const READ_BYTES: usize = 128 * 1024;
/// Reads until the answer has to be whole.
const MAX_READS: usize = 64;
/// When an answer has begun, each further part of it comes within this time.
const NEXT_PART: Duration = Duration::from_millis(250);

/// Asks on the Unix socket at `path`, and waits `patience` for the answer to begin.
///
/// `None` where it is not as simple as that: nothing listens, the answer is not whole in a few reads, it comes in
/// chunks, or it is none. [`send`](crate::send) says what is wrong.
#[must_use]
pub fn ask_at_once(path: &Path, request: &Rendered, patience: Duration) -> Option<Brief> {
    ask_with(path, request, patience, NEXT_PART)
}

fn ask_with(path: &Path, request: &Rendered, patience: Duration, next_part: Duration) -> Option<Brief> {
    let address = SocketAddrUnix::new(path).ok()?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
    // A listener that takes no connections would keep the caller, too.
    set_socket_timeout(&socket, Timeout::Send, Some(patience)).ok()?;
    set_socket_timeout(&socket, Timeout::Recv, Some(patience)).ok()?;
    connect(&socket, &address).ok()?;
    let mut stream = UnixStream::from(socket);
    stream.write_all(request.bytes()).ok()?;
    let mut answer = Vec::new();
    for nth in 0..MAX_READS {
        answer.reserve(READ_BYTES);
        rustix::io::read(&stream, spare_capacity(&mut answer)).ok().filter(|read| *read > 0)?;
        if let Some(whole) = Brief::taken(&mut answer) {
            return Some(whole);
        }
        if nth == 0 {
            stream.set_read_timeout(Some(next_part)).ok()?;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use http::{HeaderMap, Method, StatusCode};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// What is made of an answer that comes in these parts.
    fn asked(parts: &[&str]) -> Option<Brief> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                seen.extend(byte);
            }
            // One that has gone hears nothing.
            parts.iter().for_each(|part| {
                let _ = stream.write_all(part.as_bytes());
            });
            String::from_utf8(seen).unwrap()
        });
        let request = Rendered::new(&Method::GET, "/api/status/", &HeaderMap::new(), &[]).unwrap();
        let answer = ask_with(&path, &request, PATIENCE, PATIENCE);
        assert!(server.join().unwrap().starts_with("GET /api/status/ HTTP/1.1\r\n"));
        answer
    }

    #[test]
    fn an_answer_that_comes_whole_is_one_in_any_number_of_parts() {
        let long = "x".repeat(700_000);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", long.len());
        let answer = asked(&[&head, "\r\n", &long[..300_000], &long[300_000..]]).unwrap();
        assert_eq!((answer.status(), answer.body().len()), (StatusCode::OK, long.len()));
        let refused = asked(&["HTTP/1.1 503 x\r\ncontent-length: 2\r\n\r\nno"]).unwrap();
        assert_eq!((refused.status(), refused.body()), (StatusCode::SERVICE_UNAVAILABLE, &b"no"[..]));
    }

    #[test]
    fn what_is_not_so_simple_is_left_to_the_caller() {
        assert!(
            asked(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"]).is_none()
        );
        assert!(asked(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nno"]).is_none(), "it broke off");
        assert!(asked(&["SSH-2.0\r\n"]).is_none() && asked(&[]).is_none());
        let request = Rendered::new(&Method::GET, "/", &HeaderMap::new(), &[]).unwrap();
        assert!(ask_at_once(Path::new("/nonexistent/s"), &request, PATIENCE).is_none());
        assert!(ask_at_once(Path::new(&"x".repeat(200)), &request, PATIENCE).is_none());
    }
}
