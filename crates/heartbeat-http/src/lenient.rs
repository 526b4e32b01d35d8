//! Leniency that hyper has no switch for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes before the end of the answer's head, `1xx` answers included. hyper reads `1xx` answers in a loop that
/// does not yield, so a server that sends them without end would outlast every deadline.
const MAX_BYTES_BEFORE_ANSWER: usize = 4 * crate::MAX_HEAD_BYTES;

/// The remaining byte budget for everything up to the end of the answer's head.
#[derive(Clone, Debug)]
pub(crate) struct Patience(Arc<AtomicUsize>);

impl Patience {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(MAX_BYTES_BEFORE_ANSWER)))
    }

    /// Lifts the bound: the head is complete, and the reader of the body bounds the rest.
    pub(crate) fn end(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            usize::MAX => Ok(()),
            0 => {
                let why =
                    format!("more than {} KiB before the end of its head", MAX_BYTES_BEFORE_ANSWER / 1024);
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
            left => {
                self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

/// The beginning of an HTTP/1.0 answer. Only its last byte is rewritten.
const OLD: &[u8; 8] = b"HTTP/1.0";

/// A stream whose answer calls itself HTTP/1.1, also when it said HTTP/1.0. On a connection with one request the only
/// difference is that hyper then accepts chunks, which RFC 9112 (6.1) wants recipients to process and then to close.
#[derive(Debug)]
pub(crate) struct Lenient<S> {
    inner: S,
    /// Bytes of [`OLD`] that have been read so far; its length once the beginning is over.
    seen: usize,
    patience: Patience,
}

impl<S> Lenient<S> {
    pub(crate) const fn new(inner: S, patience: Patience) -> Self {
        Self { inner, seen: 0, patience }
    }

    fn rewrite(&mut self, read: &mut [u8]) {
        for byte in read {
            match OLD.get(self.seen) {
                Some(expected) if byte == expected => self.seen += 1,
                Some(_) => self.seen = OLD.len() + 1,
                None => return,
            }
            if self.seen == OLD.len() {
                *byte = b'1';
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(ctx, buf);
        if self.seen < OLD.len() && matches!(polled, Poll::Ready(Ok(()))) {
            self.rewrite(&mut buf.filled_mut()[before..]);
        }
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.patience.take(buf.filled().len() - before)?;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(mut self: Pin<&mut Self>, ctx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(ctx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(ctx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(ctx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(ctx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_of_the_first_line_is_rewritten_however_it_comes() {
        for (said, heard) in [
            ("HTTP/1.0 200 OK\r\nx: HTTP/1.0\r\n", "HTTP/1.1 200 OK\r\nx: HTTP/1.0\r\n"),
            ("HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
            ("HTTP/1.", "HTTP/1."),
            ("SSH-2.0 HTTP/1.0", "SSH-2.0 HTTP/1.0"),
            ("HHTTP/1.0", "HHTTP/1.0"),
        ] {
            for piece in [1, 3, 8, 100] {
                let mut stream = Lenient::new((), Patience::new());
                let mut bytes = said.as_bytes().to_vec();
                for piece in bytes.chunks_mut(piece) {
                    stream.rewrite(piece);
                }
                assert_eq!(String::from_utf8_lossy(&bytes), heard, "in pieces of {piece}");
            }
        }
    }
}
