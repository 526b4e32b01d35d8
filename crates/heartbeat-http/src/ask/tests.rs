use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Nothing that these tests wait for takes nearly this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn request() -> Rendered {
    Rendered::new(&Method::GET, "/", &HeaderMap::new(), b"").unwrap()
}

/// A connection over which the request is out, and what the server has of it.
async fn asked(request: &Rendered) -> (Asked<'_>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = ask(listener.local_addr().unwrap(), request).await.unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = vec![0; request.bytes().len()];
    server.read_exact(&mut heard).unwrap();
    assert_eq!(heard, request.bytes());
    (asked, server)
}

fn is_brief(reply: &Reply) -> bool {
    matches!(reply, Reply::Brief(brief) if brief.status() == 200 && brief.body() == b"ok")
}

#[tokio::test]
async fn a_server_that_has_not_closed_sees_an_ordinary_end() {
    let request = request();
    let (asked, mut server) = asked(&request).await;
    server.write_all(ANSWER).unwrap();
    let reply = asked.reply().await.unwrap();
    assert!(is_brief(&reply), "{reply:?}");
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_leaves_no_state_behind() {
    let request = request();
    let (asked, mut server) = asked(&request).await;
    server.write_all(ANSWER).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    while !asked.stream.ready(Interest::READABLE).await.unwrap().ready().is_read_closed() {
        tokio::task::yield_now().await;
    }
    let reply = asked.reply().await.unwrap();
    assert!(is_brief(&reply), "{reply:?}");
    let error = server.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_longer_answer_is_read_over_the_same_connection() {
    let request = request();
    let (asked, mut server) = asked(&request).await;
    server.write_all(&ANSWER[..ANSWER.len() - 1]).unwrap();
    let reply = asked.reply().await.unwrap();
    server.write_all(b"k").unwrap();
    let Reply::Long(mut answer) = reply else { panic!("{reply:?}") };
    assert_eq!(answer.body.read(10).await.unwrap(), (b"ok".to_vec(), true));
}

#[tokio::test]
async fn the_first_write_says_why_there_is_no_connection() {
    // Bound, so that no other process takes the port, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let request = request();
    let error = ask(socket.local_addr().unwrap(), &request).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Io { source } if source.kind() == io::ErrorKind::ConnectionRefused),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_request_follows_a_connection_that_takes_a_while() {
    /// More than the queue of the listener takes.
    const MANY: usize = 6;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let request = request();
    let client = async {
        let mut open = Vec::new();
        for _ in 0..MANY {
            open.push(ask(address, &request).await.unwrap());
        }
        for asked in open {
            let reply = asked.reply().await.unwrap();
            assert!(is_brief(&reply), "{reply:?}");
        }
    };
    let server = async {
        let mut open = Vec::new();
        for _ in 0..MANY {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; request.bytes().len()];
            stream.read_exact(&mut heard).await.unwrap();
            stream.write_all(ANSWER).await.unwrap();
            open.push(stream);
        }
        open
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(client, server) }).await.unwrap();
}

#[tokio::test]
async fn a_request_that_comes_back_reached_nothing() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let own = socket.local_addr().unwrap();
    let stream = socket.connect(own).await.unwrap();
    let request = request();
    assert_eq!(stream.try_write(request.bytes()).unwrap(), request.bytes().len());
    let stream = watched(stream.into_std().unwrap(), Interest::READABLE).unwrap();
    let error = Asked { stream, request: &request }.reply().await.unwrap_err();
    assert!(matches!(error, ExchangeError::SelfConnected), "{error:?}");
}
