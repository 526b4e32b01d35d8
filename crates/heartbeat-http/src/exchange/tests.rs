use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::{Rendered, Reply, send_rendered};

const LONG: Duration = Duration::from_secs(10);

/// What is heard of an answer: its status, its body and its headers.
type Heard = (u16, String, Vec<(String, String)>);

/// A server that answers with these bytes, in pieces of this size, and closes. Both ways of sending hear the same.
async fn asked(answer: &[u8], piece: usize) -> Result<Heard, ExchangeError> {
    let heard = asked_by(answer, piece, false).await;
    let rendered = asked_by(answer, piece, true).await;
    let text = String::from_utf8_lossy(answer);
    assert_eq!(format!("{heard:?}"), format!("{rendered:?}"), "{text:?} in pieces of {piece}");
    heard
}

async fn asked_by(answer: &[u8], piece: usize, is_rendered: bool) -> Result<Heard, ExchangeError> {
    let (near, mut far) = duplex(64 * 1024);
    let answer = answer.to_vec();
    let server = tokio::spawn(async move {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(far.read_u8().await.unwrap());
        }
        assert_eq!(String::from_utf8_lossy(&request), "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        for piece in answer.chunks(piece) {
            // The other end hangs up once it has seen enough.
            if far.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    });
    let request = Request::get("/").header("host", "x").body(Bytes::new()).unwrap();
    let exchange = async {
        let mut answer = if is_rendered {
            let rendered = Rendered::new(request.method(), "/", request.headers(), request.body()).unwrap();
            send_rendered(near, &rendered).await?.into()
        } else {
            send(near, request).await?
        };
        let (body, whole) = answer.body.read(64 * 1024).await?;
        assert!(whole);
        let headers = answer.head.headers.iter();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
        Ok((answer.head.status.as_u16(), text(&body), headers))
    };
    let seen = tokio::time::timeout(LONG, exchange).await.unwrap();
    server.abort();
    seen
}

#[tokio::test]
async fn answers_that_curl_reads_are_read() {
    let answers: &[(&str, &[u8], (&str, &str))] = &[
        (
            "a folded header line",
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b;\r\n\tPath=/\r\nContent-Length: 2\r\n\r\nok",
            ("set-cookie", "a=b; Path=/"),
        ),
        (
            "a space before the colon",
            b"HTTP/1.1 200 OK\r\nX-Served-By : app\r\nContent-Length : 2\r\n\r\nok",
            ("x-served-by", "app"),
        ),
        (
            "HTTP/1.0 with chunks",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ("transfer-encoding", "chunked"),
        ),
        ("HTTP/1.0", b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nok", ("x", "y")),
        ("bare line feeds", b"HTTP/1.1 200 OK\nX: y\nContent-Length: 2\n\nok", ("x", "y")),
        ("mixed line ends", b"HTTP/1.1 200 OK\nX: y\r\nContent-Length: 2\n\r\nok", ("x", "y")),
        ("no reason phrase", b"HTTP/1.1 200\r\nX: y\r\nContent-Length: 2\r\n\r\nok", ("x", "y")),
        (
            "a line that is no header",
            b"HTTP/1.1 200 OK\r\nthis is none\r\nX: y\r\nContent-Length: 2\r\n\r\nok",
            ("x", "y"),
        ),
        (
            "a name with a space in it",
            b"HTTP/1.1 200 OK\r\nnot a name: z\r\nX: y\r\nContent-Length: 2\r\n\r\nok",
            ("x", "y"),
        ),
        (
            "a control character in a value",
            b"HTTP/1.1 200 OK\r\nZ: \x1b[31m\r\nX: y\r\nContent-Length: 2\r\n\r\nok",
            ("x", "y"),
        ),
        (
            "bytes that are not ASCII",
            b"HTTP/1.1 200 OK\r\nX: caf\xe9\r\nContent-Length: 2\r\n\r\nok",
            ("x", "caf\u{fffd}"),
        ),
        (
            "the same length twice",
            b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            ("x", "y"),
        ),
    ];
    for (what, answer, (name, value)) in answers {
        for piece in [1, 7, 4096] {
            let (status, body, headers) =
                asked(answer, piece).await.unwrap_or_else(|error| panic!("{what}, {piece}: {error}"));
            assert_eq!((status, body.as_str()), (200, "ok"), "{what}");
            let found = headers.iter().find(|(other, _)| other == name);
            assert_eq!(found.map(|(_, value)| value.as_str()), Some(*value), "{what}: {headers:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    for answer in [
        &b"hello\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/9.1 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a size\r\nhello",
    ] {
        let error = asked(answer, 4096).await.unwrap_err();
        let text = String::from_utf8_lossy(answer);
        assert!(matches!(error, ExchangeError::NotHttp { .. }), "{text}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_too_early_says_where() {
    for (answer, head) in [
        (&b""[..], true),
        (b"HTTP/1.1 200 OK\r\nx: ", true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", false),
        (b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", false),
    ] {
        let error = asked(answer, 4096).await.unwrap_err();
        let expected =
            if head { matches!(error, ExchangeError::Closed) } else { matches!(error, ExchangeError::Cut) };
        assert!(expected, "{}: {error:?}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_before_the_request_is_no_other_protocol() {
    let request = || Request::get("/").header("host", "x").body(Bytes::new()).unwrap();
    let (near, far) = duplex(1024);
    drop(far);
    let error = send(near, request()).await.unwrap_err();
    assert!(matches!(error, ExchangeError::Closed | ExchangeError::Io { .. }), "{error:?}");
    let (near, mut far) = duplex(1024);
    far.shutdown().await.unwrap();
    let error = send(near, request()).await.unwrap_err();
    assert!(matches!(error, ExchangeError::Closed), "{error:?}");

    /// A connection on which the server sent a reset before anything else.
    struct Reset;
    impl AsyncRead for Reset {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }
    impl AsyncWrite for Reset {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let error = send(Reset, request()).await.unwrap_err();
    assert!(matches!(error, ExchangeError::Closed | ExchangeError::Io { .. }), "{error:?}");
}

#[tokio::test]
async fn a_head_has_a_limit() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADER_COUNT + 1));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD_BYTES));
    for head in [many, long] {
        let error = asked(head.as_bytes(), 4096).await.unwrap_err();
        assert!(matches!(error, ExchangeError::HeadTooLarge), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_dropped_closes_the_connection() {
    let (near, mut far) = duplex(64 * 1024);
    let request = Request::get("/").header("host", "x").body(Bytes::new()).unwrap();
    let server = async {
        let mut request = [0; 1024];
        while !request.starts_with(b"GET / HTTP/1.1\r\n") {
            assert!(far.read(&mut request).await.unwrap() > 0);
        }
        far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\nsome").await.unwrap();
        far
    };
    let (answer, mut far) = tokio::join!(send(near, request), server);
    let mut answer = answer.unwrap();
    assert_eq!(answer.body.chunk().await.unwrap().unwrap(), Bytes::from_static(b"some"));
    drop(answer);
    let mut rest = Vec::new();
    tokio::time::timeout(LONG, far.read_to_end(&mut rest)).await.unwrap().unwrap();
}

/// Once it is asked, it sends the same bytes for ever, and is always ready.
struct Endless {
    piece: &'static [u8],
    asked: bool,
}

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _ctx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            return Poll::Pending;
        }
        while buf.remaining() >= self.piece.len() {
            buf.put_slice(self.piece);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(mut self: Pin<&mut Self>, ctx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        ctx.waker().wake_by_ref();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn informational_answers_without_end_are_no_http() {
    let request = Request::get("/").header("host", "x").body(Bytes::new()).unwrap();
    let rendered = Rendered::new(request.method(), "/", request.headers(), &[]).unwrap();
    let endless = || Endless { piece: b"HTTP/1.1 100 Continue\r\n\r\n", asked: false };
    for seen in
        [send(endless(), request).await, send_rendered(endless(), &rendered).await.map(OpenResponse::from)]
    {
        let Err(ExchangeError::NotHttp { why }) = seen else { panic!("{seen:?}") };
        assert!(why.contains("128 KiB before the end of its head"), "{why}");
    }
}

#[tokio::test]
async fn some_informational_answers_are_passed_over() {
    let mut answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100);
    answer.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    answer.resize(answer.len() + 50_000, b'x');
    let (near, mut far) = duplex(256 * 1024);
    let server = tokio::spawn(async move {
        while far.read_u8().await.unwrap() != b'\n' {}
        far.write_all(&answer).await.unwrap();
        // A large body that comes at once is read all the same.
        far.write_all(&[b'x'; 50_000]).await.unwrap();
        far
    });
    let request = Request::get("/").header("host", "x").body(Bytes::new()).unwrap();
    let mut seen = send(near, request).await.unwrap();
    assert_eq!(seen.head.status, 200);
    let (body, whole) = seen.body.read(200_000).await.unwrap();
    assert_eq!((body.len(), whole), (100_000, true));
    server.await.unwrap();
}

/// The reply to a rendered request, when the answer arrives at once.
async fn replied(method: &str, body: &[u8], answer: &'static [u8]) -> (String, Reply) {
    let (near, mut far) = duplex(64 * 1024);
    let headers = [(http::header::HOST, "x".parse().unwrap())].into_iter().collect();
    let rendered = Rendered::new(&method.parse().unwrap(), "/a?b", &headers, body).unwrap();
    let server = async {
        let mut request = vec![0; 1024];
        let read = far.read(&mut request).await.unwrap();
        far.write_all(answer).await.unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    };
    let (reply, request) = tokio::join!(send_rendered(near, &rendered), server);
    (request, reply.unwrap())
}

#[tokio::test]
async fn a_small_answer_that_arrives_at_once_is_brief() {
    let answer =
        b"HTTP/1.0 503 Busy\r\nX-One : a\r\nno header\r\nx-one: b\r\nContent-Length: 2\r\n\r\nokmore";
    let (request, reply) = replied("POST", b"{}", answer).await;
    assert_eq!(request, "POST /a?b HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}");
    let Reply::Brief(brief) = reply else { panic!("{reply:?}") };
    assert_eq!((brief.status().as_u16(), brief.body()), (503, &b"ok"[..]));
    assert_eq!(brief.header(&http::HeaderName::from_static("x-one")), Some(&b"a"[..]));
    assert_eq!(brief.header(&http::HeaderName::from_static("server")), None);
    let answer = brief.into_answer();
    assert_eq!(answer.head.headers.get_all("x-one").iter().count(), 2);
    let (_, empty) = replied("GET", b"", b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n").await;
    assert!(matches!(&empty, Reply::Brief(brief) if brief.body().is_empty()), "{empty:?}");
}

#[tokio::test]
async fn what_is_not_common_is_not_brief() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let (_, reply) = replied("GET", b"", answer).await;
        let text = String::from_utf8_lossy(answer);
        let Reply::Long(answer) = reply else { panic!("{text}: {reply:?}") };
        assert_eq!(answer.head.status, 200, "{text}");
    }
}

#[test]
fn a_request_that_cannot_be_rendered_is_left_to_hyper() {
    let none = http::HeaderMap::new();
    let long = vec![b'x'; 9 * 1024];
    for (method, headers, body) in [
        ("HEAD", &none, &b""[..]),
        ("CONNECT", &none, b""),
        ("POST", &none, &long),
        ("POST", &[(http::header::CONTENT_LENGTH, "2".parse().unwrap())].into_iter().collect(), b"{}"),
        (
            "POST",
            &[(http::header::TRANSFER_ENCODING, "chunked".parse().unwrap())].into_iter().collect(),
            b"{}",
        ),
    ] {
        assert_eq!(Rendered::new(&method.parse().unwrap(), "/", headers, body), None, "{method}");
    }
    let secret = [(http::header::AUTHORIZATION, "hunter2".parse().unwrap())].into_iter().collect();
    let rendered = Rendered::new(&http::Method::GET, "/", &secret, b"").unwrap();
    assert!(!format!("{rendered:?}").contains("hunter2"));
}
