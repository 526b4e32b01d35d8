//! One request and its answer.

use std::error::Error as _;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::ExchangeError;
use crate::lenient::{Lenient, Patience};
use crate::limits::{MAX_HEAD_BYTES, MAX_HEADER_COUNT};

/// An answer whose head is there.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenResponse {
    /// Status and headers.
    pub head: response::Parts,
    /// The body, read on demand.
    pub body: Body,
}

/// The body of an answer. Dropping it closes the connection.
pub struct Body(Source);

enum Source {
    /// All of it; empty once it was read.
    Whole(Bytes),
    Arriving {
        incoming: Incoming,
        wire: Wire,
        /// Kept because hyper ends the exchange when it is dropped.
        _sender: http1::SendRequest<Full<Bytes>>,
    },
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

/// The connection of an exchange. The exchange itself polls it, so no task outlives the exchange.
struct Wire {
    connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    open: bool,
}

impl Wire {
    fn drive(&mut self, ctx: &mut Context<'_>) {
        // An error of the connection also ends the exchange, which reports it.
        if self.open && self.connection.as_mut().poll(ctx).is_ready() {
            self.open = false;
        }
    }
}

/// Writes `request` to `stream` and waits for the head of the answer. Its target and its headers, `Host` among them,
/// are sent as they are.
///
/// # Errors
/// [`ExchangeError`]: the connection broke, or what came is not the head of an HTTP answer.
pub async fn send<S>(stream: S, request: Request<Bytes>) -> Result<OpenResponse, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADER_COUNT)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    let patience = Patience::new();
    let hands = builder.handshake(TokioIo::new(Lenient::new(stream, patience.clone()))).await;
    let (mut sender, connection) = hands.map_err(|error| broken(&error, false))?;
    let mut wire = Wire { connection: Box::pin(connection), open: true };
    let mut answer = pin!(sender.send_request(request.map(Full::new)));
    let answer = poll_fn(|ctx| {
        wire.drive(ctx);
        answer.as_mut().poll(ctx)
    });
    let (head, incoming) = answer.await.map_err(|error| broken(&error, false))?.into_parts();
    patience.end();
    Ok(OpenResponse { head, body: Body(Source::Arriving { incoming, wire, _sender: sender }) })
}

impl Body {
    /// A body that is there.
    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(bytes))
    }

    /// Lower bound of the bytes that are still to come, from what the server announced.
    #[must_use]
    pub fn announced_bytes(&self) -> u64 {
        match &self.0 {
            Source::Whole(bytes) => bytes.len() as u64,
            Source::Arriving { incoming, .. } => incoming.size_hint().lower(),
        }
    }

    /// The next piece; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// [`ExchangeError`]: the connection broke, or the body ends before its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        poll_fn(|ctx| self.poll_chunk(ctx)).await
    }

    fn poll_chunk(&mut self, ctx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ExchangeError>> {
        let (incoming, wire) = match &mut self.0 {
            Source::Whole(bytes) => {
                let all = std::mem::take(bytes);
                return Poll::Ready(Ok((!all.is_empty()).then_some(all)));
            }
            Source::Arriving { incoming, wire, .. } => (incoming, wire),
        };
        loop {
            wire.drive(ctx);
            return match Pin::new(&mut *incoming).poll_frame(ctx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(None) => Poll::Ready(Ok(None)),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(broken(&error, true))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Poll::Ready(Ok(Some(data))),
                    // Trailers.
                    Err(_) => continue,
                },
            };
        }
    }

    /// Reads to the end, or the first `max_bytes`; says whether that is all of it.
    ///
    /// # Errors
    /// As for [`chunk`](Self::chunk).
    pub async fn read(&mut self, max_bytes: usize) -> Result<(Vec<u8>, bool), ExchangeError> {
        let mut read = Vec::new();
        while let Some(data) = self.chunk().await? {
            let room = max_bytes - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok((read, false));
            }
        }
        Ok((read, true))
    }
}

/// The meaning of an error of hyper, before the head or in the body.
fn broken(error: &hyper::Error, in_body: bool) -> ExchangeError {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(io) = source.filter(|io| io.kind() != io::ErrorKind::UnexpectedEof) {
        return io_failed(io);
    }
    if in_body {
        return ExchangeError::Cut;
    }
    // hyper keeps the kind of a parse error to itself.
    if error.is_parse() && error.to_string().contains("too large") {
        return ExchangeError::HeadTooLarge;
    }
    // A connection that is closed before the request is out cancels the exchange.
    if error.is_incomplete_message() || error.is_canceled() {
        return ExchangeError::Closed;
    }
    ExchangeError::NotHttp { why: error.to_string() }
}

/// The meaning of an error of the connection before the end of the head.
pub(crate) fn io_failed(io: &io::Error) -> ExchangeError {
    #[cfg(feature = "tls")]
    if let Some(why) = crate::tls::alert_in(io) {
        return ExchangeError::Tls { why };
    }
    match io.kind() {
        io::ErrorKind::UnexpectedEof => ExchangeError::Closed,
        // The decoder of chunks reports garbage as an error of input.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            ExchangeError::NotHttp { why: io.to_string() }
        }
        _ => ExchangeError::Io { source: again(io) },
    }
}

/// Copies an I/O error, which is not `Clone`, by its number or kind.
pub(crate) fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests;
