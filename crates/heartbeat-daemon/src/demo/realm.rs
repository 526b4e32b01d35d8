//! A realm of the demo: a small server with a health check, and a request that breaks it.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long a realm takes to get ready, as real ones do.
const WARM_UP: Duration = Duration::from_millis(1_200);
/// How long a health check waits for the realms that it asks.
const ASK_TIMEOUT: Duration = Duration::from_millis(300);
/// Longest request head read.
const MAX_HEAD_BYTES: usize = 4_096;
/// How long a client may take to send it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Exit code of a crash.
const CRASH_CODE: u8 = 1;

/// How a realm can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process exits.
    Crash,
    /// It accepts connections and never answers again.
    Hang,
    /// Its health check answers 500.
    Fail,
}

impl Fault {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::Fail => "500",
        }
    }
}

/// The word names no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fault; these are: crash, hang, 500")]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        [Self::Crash, Self::Hang, Self::Fail]
            .into_iter()
            .find(|fault| fault.as_str() == text)
            .ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

const WELL: u8 = 0;
const HUNG: u8 = 1;
const FAILING: u8 = 2;

/// Serves until it is told to crash. Returns the exit code.
///
/// # Errors
/// When the port cannot be bound.
pub async fn serve(listen: SocketAddr, asks: Vec<SocketAddr>) -> std::io::Result<u8> {
    tokio::time::sleep(WARM_UP).await;
    let listener = TcpListener::bind(listen).await?;
    let condition = Arc::new(AtomicU8::new(WELL));
    let asks: Arc<[SocketAddr]> = asks.into();
    let (crash, mut crashed) = tokio::sync::mpsc::channel(1);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (condition, asks, crash) = (Arc::clone(&condition), Arc::clone(&asks), crash.clone());
                tokio::spawn(async move {
                    if answer(stream, &condition, &asks).await == Some(Fault::Crash) {
                        // The server is ending already when the channel is full or closed.
                        let _ = crash.send(()).await;
                    }
                });
            }
            _ = crashed.recv() => return Ok(CRASH_CODE),
        }
    }
}

/// Answers one request. Returns the fault it asked for.
async fn answer(mut stream: TcpStream, condition: &AtomicU8, asks: &[SocketAddr]) -> Option<Fault> {
    let head = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut stream)).await.ok()??;
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    if method == "POST" {
        let fault: Fault = path.strip_prefix("/break/")?.parse().ok()?;
        match fault {
            Fault::Crash => {}
            Fault::Hang => condition.store(HUNG, Ordering::Relaxed),
            Fault::Fail => condition.store(FAILING, Ordering::Relaxed),
        }
        respond(&mut stream, "202 Accepted", "{}").await;
        return Some(fault);
    }
    match condition.load(Ordering::Relaxed) {
        HUNG => std::future::pending::<()>().await,
        FAILING => respond(&mut stream, "500 Internal Server Error", r#"{"status":"fail"}"#).await,
        _ => {
            for asked in asks {
                if !healthy(*asked).await {
                    let body = format!(r#"{{"status":"fail","output":"{asked} does not answer"}}"#);
                    respond(&mut stream, "503 Service Unavailable", &body).await;
                    return None;
                }
            }
            respond(&mut stream, "200 OK", r#"{"status":"pass"}"#).await;
        }
    }
    None
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut chunk = [0; 512];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await.ok()?;
        if read == 0 || head.len() + read > MAX_HEAD_BYTES {
            return None;
        }
        head.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8(head).ok()
}

async fn respond(stream: &mut TcpStream, status: &str, body: &str) {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/health+json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    // A client that has gone needs no answer.
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn healthy(asked: SocketAddr) -> bool {
    let answer = tokio::time::timeout(ASK_TIMEOUT, request(asked, "GET", "/api/health/")).await;
    matches!(answer, Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200"))
}

/// Breaks the realm at `address`.
///
/// # Errors
/// When it cannot be reached.
pub async fn break_it(address: SocketAddr, fault: Fault) -> std::io::Result<()> {
    request(address, "POST", &format!("/break/{}", fault.as_str())).await.map(|_| ())
}

async fn request(address: SocketAddr, method: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_HEAD_BYTES as u64).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
