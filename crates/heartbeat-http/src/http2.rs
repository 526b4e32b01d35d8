//! One request over HTTP/2, on a connection of its own.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request, response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::ExchangeError;
use crate::exchange::again;
use crate::lenient::{Lenient, Patience};
use crate::limits::MAX_HEAD_BYTES;

/// Most bytes of a body that are under way before the reader has asked for more.
const WINDOW_BYTES: u32 = 64 * 1024;

/// An answer over HTTP/2 whose head is there.
#[derive(Debug)]
#[non_exhaustive]
pub struct Http2Answer {
    /// Status and headers.
    pub head: response::Parts,
    /// The body and the trailers, read on demand.
    pub body: Http2Body,
}

/// The body of an answer over HTTP/2. Dropping it closes the connection.
pub struct Http2Body {
    incoming: RecvStream,
    wire: Wire,
    /// Kept because h2 closes the connection when it is dropped.
    _sender: SendRequest<Bytes>,
}

impl fmt::Debug for Http2Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Body").finish_non_exhaustive()
    }
}

/// A connection that is written to and read from.
type Driving = Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send>>;

/// The connection of an exchange, while it is open. The exchange itself polls it, so no task outlives the exchange.
struct Wire(Option<Driving>);

impl Wire {
    fn drive(&mut self, ctx: &mut Context<'_>) {
        // An error of the connection also ends the exchange, which reports it.
        if self.0.as_mut().is_some_and(|connection| connection.as_mut().poll(ctx).is_ready()) {
            self.0 = None;
        }
    }
}

/// Writes `request`, whose URI has a scheme and an authority, to `stream` as HTTP/2 and waits for the head of the
/// answer.
///
/// # Errors
/// [`ExchangeError`]: the connection broke, the server ended the exchange, or what came is not HTTP/2.
pub async fn send_http2<S>(stream: S, request: Request<Bytes>) -> Result<Http2Answer, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = Patience::new();
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let before = |error: h2::Error| broken(&error, ExchangeError::Closed);
    let hands = builder.handshake(Lenient::new(stream, patience.clone())).await;
    let (mut sender, connection) = hands.map_err(before)?;
    let mut wire = Wire(Some(Box::pin(connection)));
    let (head, body) = request.into_parts();
    let (mut answer, mut sending) =
        sender.send_request(Request::from_parts(head, ()), false).map_err(before)?;
    sending.send_data(body, true).map_err(before)?;
    let answer = poll_fn(|ctx| {
        wire.drive(ctx);
        Pin::new(&mut answer).poll(ctx)
    });
    let (head, incoming) = answer.await.map_err(before)?.into_parts();
    patience.end();
    Ok(Http2Answer { head, body: Http2Body { incoming, wire, _sender: sender } })
}

impl Http2Body {
    /// Reads to the end or to the first `max_bytes`, and then the trailers; `None` for the body where it is longer.
    ///
    /// # Errors
    /// [`ExchangeError`]: the connection broke, or the body ends before its end.
    pub async fn read(&mut self, max_bytes: usize) -> Result<(Option<Vec<u8>>, HeaderMap), ExchangeError> {
        let inside = |error: h2::Error| broken(&error, ExchangeError::Cut);
        let mut read = Vec::new();
        while let Some(data) = poll_fn(|ctx| self.poll_data(ctx)).await.transpose().map_err(inside)? {
            if data.len() > max_bytes - read.len() {
                return Ok((None, HeaderMap::new()));
            }
            read.extend_from_slice(&data);
            // The window has room for the next piece; a stream that has ended needs none.
            let _ = self.incoming.flow_control().release_capacity(data.len());
        }
        let trailers = poll_fn(|ctx| {
            self.wire.drive(ctx);
            self.incoming.poll_trailers(ctx)
        });
        Ok((Some(read), trailers.await.map_err(inside)?.unwrap_or_default()))
    }

    fn poll_data(&mut self, ctx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        self.wire.drive(ctx);
        Poll::Ready(ready!(self.incoming.poll_data(ctx)))
    }
}

/// The meaning of an error of h2; `early` where the server closed the connection.
fn broken(error: &h2::Error, early: ExchangeError) -> ExchangeError {
    if let Some(io) = error.get_io() {
        #[cfg(feature = "tls")]
        if let Some(why) = crate::tls::alert_in(io) {
            return ExchangeError::Tls { why };
        }
        return match io.kind() {
            io::ErrorKind::InvalidData => ExchangeError::NotHttp { why: io.to_string() },
            // h2 reports an end without a last frame as a broken pipe of its own, without a number.
            io::ErrorKind::UnexpectedEof => early,
            io::ErrorKind::BrokenPipe if io.raw_os_error().is_none() => early,
            _ => ExchangeError::Io { source: again(io) },
        };
    }
    match error.reason() {
        Some(reason) if error.is_remote() => ExchangeError::Ended { why: reason.description().to_owned() },
        _ => ExchangeError::NotHttp { why: error.to_string() },
    }
}
