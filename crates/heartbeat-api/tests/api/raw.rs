//! Bytes in, bytes out: a client that knows no more of HTTP than a test needs, and a server at both listeners.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heartbeat_api::{Access, Api, Closing, Limits, bind_tcp, bind_unix};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fake::Fake;

/// Nothing a test waits for takes longer, by far.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A server at both listeners; it ends with the test.
pub(crate) struct Listeners {
    pub(crate) api: Api,
    pub(crate) socket: PathBuf,
    pub(crate) address: SocketAddr,
    closing: watch::Sender<Closing>,
    serving: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Listeners {
    pub(crate) fn open(fake: &Arc<Fake>) -> Self {
        // The server must not close a connection only because this machine is busy.
        let limits = Limits { head_timeout: PATIENCE, write_timeout: PATIENCE, ..Limits::default() };
        Self::with(fake, Limits { max_connections: 2_000, max_socket_connections: 2_000, ..limits })
    }

    pub(crate) fn with(fake: &Arc<Fake>, limits: Limits) -> Self {
        Self::made(fake, limits, Access::default())
    }

    /// With a token, or names.
    pub(crate) fn guarded(fake: &Arc<Fake>, access: Access) -> Self {
        Self::made(
            fake,
            Limits { max_connections: 2_000, max_socket_connections: 2_000, ..Limits::default() },
            access,
        )
    }

    fn made(fake: &Arc<Fake>, limits: Limits, access: Access) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("hb.sock");
        let unix = UnixListener::from_std(bind_unix(&socket, 0o600, None).unwrap()).unwrap();
        let tcp = TcpListener::from_std(bind_tcp("127.0.0.1:0".parse().unwrap(), false).unwrap()).unwrap();
        let address = tcp.local_addr().unwrap();
        let api = Api::new(fake.clone(), limits, access);
        let (closing, open) = watch::channel(Closing::Open);
        let serving = vec![
            tokio::spawn({
                let (api, open) = (api.clone(), open.clone());
                async move { api.serve_unix(unix, open).await }
            }),
            tokio::spawn({
                let api = api.clone();
                async move { api.serve_tcp(tcp, open).await }
            }),
        ];
        Self { api, socket, address, closing, serving, _dir: dir }
    }

    /// Over the socket.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.unix("GET", path, &[], "").await
    }

    /// A command over the socket.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        post(&self.socket, path, body).await
    }

    pub(crate) async fn unix(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        exchange(stream, &request(method, path, &[&["Host: localhost"], headers].concat(), body)).await
    }

    pub(crate) async fn tcp(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let host = format!("Host: {}", self.address);
        self.tcp_bare(method, path, &[&[host.as_str()], headers].concat(), body).await
    }

    /// Without a Host of our own.
    pub(crate) async fn tcp_bare(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        exchange(stream, &request(method, path, headers, body)).await
    }

    /// Tells both listeners to end.
    pub(crate) fn end(&self) {
        self.closing.send_replace(Closing::Ended);
    }

    /// Tells both listeners to answer what was accepted, and to accept nothing more.
    pub(crate) fn drain(&self) {
        self.closing.send_replace(Closing::Draining);
    }

    /// Waits until both listeners have ended.
    pub(crate) async fn ended(self) {
        for task in self.serving {
            timeout(PATIENCE, task).await.expect("ends in time").unwrap();
        }
    }
}

pub(crate) async fn get(socket: &Path, path: &str) -> Answer {
    let stream = UnixStream::connect(socket).await.unwrap();
    exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: heartbeat\r\nConnection: close\r\n\r\n")).await
}

pub(crate) async fn post(socket: &Path, path: &str, body: &str) -> Answer {
    let stream = UnixStream::connect(socket).await.unwrap();
    exchange(stream, &request("POST", path, &["Host: localhost", "Content-Type: application/json"], body))
        .await
}

fn request(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    if !body.is_empty() || method == "POST" {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request + "\r\n" + body
}

/// Sends all, reads to the end.
pub(crate) async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Answer {
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    Answer::parse(&read_all(stream).await)
}

pub(crate) async fn read_all(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset after the answer is the answer's end, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes in time");
    bytes
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let (head, body) = (String::from_utf8(bytes[..end].to_vec()).unwrap(), &bytes[end + 4..]);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Self { status, head, body: String::new() };
        let body = match answer.header("content-encoding") {
            // A head of ten bytes, and eight at the end.
            Some("gzip") => miniz_oxide::inflate::decompress_to_vec(&body[10..body.len() - 8]).unwrap(),
            _ => body.to_vec(),
        };
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The problem of a refusal, whose status is `status`.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> heartbeat_wire::Problem {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem: heartbeat_wire::Problem = self.json();
        assert_eq!(problem.status, status);
        assert!(problem.kind.starts_with("heartbeat:"), "{problem:?}");
        assert!(!problem.detail.is_empty());
        problem
    }
}

/// Polls a condition; fails the test when it does not become true.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let polled = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, polled).await.unwrap_or_else(|_| panic!("never so: {what}"));
}
