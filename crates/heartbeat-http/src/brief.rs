//! The common exchange: a small request in one write, and an answer that arrives whole in one read.
//!
//! What is not common (a head in pieces, chunks, a body that ends with the connection, interim answers, anything that is
//! wrong) goes to hyper together with the bytes that were read, so that both ways read alike.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ExchangeError;
use crate::exchange::{Body, OpenResponse, io_failed, send};

/// Longest request that is rendered ahead. The socket of a fresh connection takes so much in one write.
const MAX_REQUEST_BYTES: usize = 8 * 1024;
/// Longest request that goes out as one segment on any network.
const MAX_SEGMENT_BYTES: usize = 1_200;
/// Size of the buffer for the one read; a longer answer is not brief.
const READ_BYTES: usize = 16 * 1024;
/// Header lines of a brief answer at most.
const MAX_LINES: usize = 64;

thread_local! {
    /// No read lasts beyond one poll, so each thread needs one buffer.
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A request as it goes over the wire, made once and sent many times.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    method: Method,
    bytes: Bytes,
}

impl fmt::Debug for Rendered {
    /// Without its text, in which there may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Rendered {
    /// Renders a request; its target and its headers, `Host` among them, as they are. `None` for one that only
    /// [`send`] can send: a long one, one with a transfer coding, or HEAD and CONNECT, whose answers have no body.
    #[must_use]
    pub fn new(method: &Method, target: &str, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let own_length = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
        if own_length || *method == Method::HEAD || *method == Method::CONNECT {
            return None;
        }
        let mut bytes = BytesMut::new();
        for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        if !body.is_empty() {
            bytes.extend_from_slice(format!("{CONTENT_LENGTH}: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        (bytes.len() <= MAX_REQUEST_BYTES).then(|| Self { method: method.clone(), bytes: bytes.freeze() })
    }

    /// It goes out at once, whether or not the connection waits for acknowledgements.
    #[must_use]
    pub fn fits_a_segment(&self) -> bool {
        self.bytes.len() <= MAX_SEGMENT_BYTES
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The answer to a [`Rendered`] request.
#[derive(Debug)]
pub enum Reply {
    /// It came whole.
    Brief(Brief),
    /// Its head is there.
    Long(OpenResponse),
}

impl From<Reply> for OpenResponse {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Brief(brief) => brief.into_answer(),
            Reply::Long(answer) => answer,
        }
    }
}

/// An answer that came whole: head and body in the bytes of one read.
#[derive(Clone, Debug)]
pub struct Brief {
    status: StatusCode,
    bytes: Bytes,
    head_bytes: usize,
}

impl Brief {
    /// The answer that all of these bytes are; `None` if it is not whole, or not common.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (status, head_bytes, end) = Self::measure(bytes)?;
        Some(Self { status, bytes: Bytes::copy_from_slice(&bytes[..end]), head_bytes })
    }

    /// The same of bytes that are not needed for anything else: they are not copied.
    pub(crate) fn taken(bytes: &mut Vec<u8>) -> Option<Self> {
        let (status, head_bytes, end) = Self::measure(bytes)?;
        Some(Self { status, bytes: Bytes::from(std::mem::take(bytes)).slice(..end), head_bytes })
    }

    /// Status, length of the head, and where the answer ends.
    fn measure(bytes: &[u8]) -> Option<(StatusCode, usize, usize)> {
        let mut lines = [EMPTY_HEADER; MAX_LINES];
        let (code, head_bytes, lines) = parse(bytes, &mut lines)?;
        let status = StatusCode::from_u16(code).ok().filter(|status| !status.is_informational())?;
        let mut length = None;
        for line in lines {
            let is = |name: HeaderName| line.name.eq_ignore_ascii_case(name.as_str());
            // A folded line.
            if is(TRANSFER_ENCODING) || line.value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                return None;
            }
            if is(CONTENT_LENGTH) {
                let digits = !line.value.is_empty() && line.value.iter().all(u8::is_ascii_digit);
                let value = std::str::from_utf8(line.value).ok().filter(|_| digits && length.is_none())?;
                length = Some(value.parse::<usize>().ok()?);
            }
        }
        let length = match status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => 0,
            _ => length?,
        };
        let end = head_bytes.checked_add(length).filter(|end| *end <= bytes.len())?;
        Some((status, head_bytes, end))
    }

    /// A whole answer, or the beginning of one that is not brief.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Bytes> {
        Self::read(bytes).ok_or_else(|| Bytes::copy_from_slice(bytes))
    }

    /// Status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&[u8]> {
        let mut lines = [EMPTY_HEADER; MAX_LINES];
        let (_, _, lines) = parse(&self.bytes, &mut lines)?;
        lines.iter().find(|line| line.name.eq_ignore_ascii_case(name.as_str())).map(|line| line.value)
    }

    /// Body of the answer.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.head_bytes..]
    }

    /// The same as an answer of [`send`].
    #[must_use]
    pub fn into_answer(self) -> OpenResponse {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        let mut lines = [EMPTY_HEADER; MAX_LINES];
        if let Some((_, _, lines)) = parse(&self.bytes, &mut lines) {
            for line in lines {
                let value = HeaderValue::from_maybe_shared(self.bytes.slice_ref(line.value));
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(line.name.as_bytes()), value) {
                    response.headers_mut().append(name, value);
                }
            }
        }
        let body = Body::whole(self.bytes.slice(self.head_bytes..));
        OpenResponse { head: response.into_parts().0, body }
    }
}

/// Status, length and lines of a head that is complete; as lenient as [`send`].
fn parse<'l, 'b>(bytes: &'b [u8], lines: &'l mut [Header<'b>]) -> Option<(u16, usize, &'l [Header<'b>])> {
    let mut head = httparse::Response::new(lines);
    let parsed = ParserConfig::default()
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .parse_response(&mut head, bytes);
    let Ok(Status::Complete(head_bytes)) = parsed else { return None };
    Some((head.code?, head_bytes, head.headers))
}

/// Writes a rendered request to `stream` and waits for the answer, or for the head of one that is not brief.
///
/// # Errors
/// As for [`send`].
pub async fn send_rendered<S>(mut stream: S, request: &Rendered) -> Result<Reply, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut left = &request.bytes[..];
    let write = poll_fn(|ctx| {
        while !left.is_empty() {
            let written = ready!(Pin::new(&mut stream).poll_write(ctx, left))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            left = &left[written..];
        }
        Pin::new(&mut stream).poll_flush(ctx)
    });
    write.await.map_err(|error| io_failed(&error))?;
    match first_read(&mut stream).await? {
        Ok(brief) => Ok(Reply::Brief(brief)),
        Err(seen) => resume(stream, seen, request).await,
    }
}

/// Lends the buffer for a read.
pub(crate) fn with_buffer<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    READ.with_borrow_mut(|buffer| read(buffer))
}

/// Reads once: a whole answer, or the beginning of one that is not brief.
async fn first_read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Result<Brief, Bytes>, ExchangeError> {
    let read = poll_fn(|ctx| {
        with_buffer(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(ctx, &mut buffer))?;
            Poll::Ready(Ok(Brief::of(buffer.filled())))
        })
    });
    read.await.map_err(|error| io_failed(&error))
}

/// Waits for the head of an answer that began with `seen`.
pub(crate) async fn resume<S>(stream: S, seen: Bytes, request: &Rendered) -> Result<Reply, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if seen.is_empty() {
        return Err(ExchangeError::Closed);
    }
    let mut asked = Request::new(Bytes::new());
    *asked.method_mut() = request.method.clone();
    send(Resumed { stream, seen, asked: false, waiting: None }, asked).await.map(Reply::Long)
}

/// A connection in the middle of an exchange: the request is out, and the beginning of the answer was read.
struct Resumed<S> {
    stream: S,
    seen: Bytes,
    /// hyper has written its request, so that it expects an answer.
    asked: bool,
    waiting: Option<Waker>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Resumed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            self.waiting = Some(ctx.waker().clone());
            return Poll::Pending;
        }
        if self.seen.is_empty() {
            return Pin::new(&mut self.stream).poll_read(ctx, buf);
        }
        let part = self.seen.len().min(buf.remaining());
        buf.put_slice(&self.seen.split_to(part));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Resumed<S> {
    /// Takes what hyper writes: the request is out already.
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(ctx)
    }
}
