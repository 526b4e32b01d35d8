//! The body of an answer that is a stream.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// A body that ends when its sender does.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    /// Held until the stream is over.
    place: Option<Box<dyn fmt::Debug + Send + Sync>>,
}

impl Pieces {
    /// The sender's end and the body. One piece waits to be taken.
    pub(crate) fn channel() -> (mpsc::Sender<Bytes>, Self) {
        let (out, pieces) = mpsc::channel(1);
        (out, Self { pieces, place: None })
    }

    /// Holds a place among the streams for as long as this one lasts.
    pub(crate) fn hold(&mut self, place: impl fmt::Debug + Send + Sync + 'static) {
        self.place = Some(Box::new(place));
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
