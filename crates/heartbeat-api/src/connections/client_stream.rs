//! The stream of one client: the client has to take its answers in time, and a refusal reaches it before the connection
//! closes.
//!
//! A socket that is closed with unread bytes in it resets the connection, and the client may lose the answer that it
//! has not read yet. Therefore the end of a connection lingers: the server sends its end, and drops what the client
//! still sends.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::connections::places::Activity;
use crate::connections::unreadable;
use crate::limits::{LINGER, MAX_LINGER_BYTES, TAKE_PATIENCE};

/// Bytes to read at a time from a client whose input the server drops.
const SCRATCH_BYTES: usize = 4 * 1_024;

/// Whether the client may have sent more than the server read of its request. Shared with the code that answers.
pub(crate) type Unread = Arc<AtomicBool>;

/// A stream that fails when a write or flush makes no progress for `limit`.
#[derive(Debug)]
pub(crate) struct ClientStream<S> {
    stream: S,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs from the first write that had to wait until everything is with the kernel.
    patience: Option<Pin<Box<Sleep>>>,
    unread: Unread,
    /// The client has sent something.
    began: bool,
    /// The rest of the answer to what is no request; the connection ends with it.
    refusal: Vec<u8>,
    activity: Arc<Activity>,
    /// The server has sent its end, and drops what the client still sends until then.
    lingering: Option<Pin<Box<Sleep>>>,
    dropped_bytes: usize,
}

impl<S> ClientStream<S> {
    pub(crate) fn new(stream: S, limit: Duration, unread: Unread, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            limit,
            stalled: None,
            patience: None,
            unread,
            began: false,
            refusal: Vec::new(),
            activity,
            lingering: None,
            dropped_bytes: 0,
        }
    }

    /// Passes progress on; without any, arms the timer and fails when it has run out.
    fn watch<T>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(TAKE_PATIENCE)));
        if !patience.is_elapsed() && patience.as_mut().poll(context).is_ready() {
            self.activity.note_stalled(true);
        }
        let limit = self.limit;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buf);
        if buf.filled().len() > before {
            self.unread.store(true, Ordering::Relaxed);
            if !std::mem::replace(&mut self.began, true)
                && let Some(refusal) = unreadable::begins_http_2(&buf.filled()[before..])
            {
                // For hyper the client has ended its side.
                buf.set_filled(before);
                self.refusal = refusal.into_bytes();
            }
        }
        read
    }
}

impl<S: AsyncRead + Unpin> ClientStream<S> {
    /// Drops what the client still sends, until the client closes its side or a limit is reached.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; SCRATCH_BYTES];
        while self.dropped_bytes <= MAX_LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.dropped_bytes += buf.filled().len();
                    self.unread.store(true, Ordering::Relaxed);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if !self.unread.load(Ordering::Relaxed) => return Poll::Ready(()),
                Poll::Pending => {
                    return self
                        .lingering
                        .get_or_insert_with(|| Box::pin(sleep(LINGER)))
                        .as_mut()
                        .poll(context);
                }
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncWrite + Unpin> ClientStream<S> {
    /// Writes the answer to what is no request.
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let progress = Pin::new(&mut self.stream).poll_write(context, &self.refusal);
            match ready!(self.watch(context, progress))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.refusal.drain(..written),
            };
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(refusal) = unreadable::refused_by_hyper(buf) {
            self.refusal = refusal.into_bytes();
            return Poll::Ready(Ok(buf.len()));
        }
        let progress = Pin::new(&mut self.stream).poll_write(context, buf);
        self.watch(context, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(progress, Poll::Ready(Ok(()))) {
            self.activity.note_flushed();
        }
        // A flush with nothing to write says nothing about the peer: the timer of a write runs on.
        match progress {
            Poll::Ready(Ok(())) if self.stalled.is_some() => Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) => {
                if self.patience.take().is_some() {
                    self.activity.note_stalled(false);
                }
                Poll::Ready(Ok(()))
            }
            progress => self.watch(context, progress),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(self.poll_refusal(context))?;
            let progress = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.watch(context, progress))?;
        }
        ready!(self.poll_linger(context));
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = bufs {
            return self.poll_write(context, head);
        }
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, bufs);
        self.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
