//! A request with its connection, for targets that are asked often: as few system calls and packets as it takes.
//!
//! The request leaves with the acknowledgement of the connection, so it is out when [`ask`] returns. A server that has
//! closed its side expects nothing more: such a connection is dropped with a reset, which leaves no state behind at either
//! end. A server that has not is left as by every client.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::brief::{Brief, Rendered, Reply, resume, with_buffer};
use crate::connect::is_its_own_peer;
use crate::exchange::io_failed;
use crate::{ConnectError, ExchangeError, Stream};

/// A connection over which a request is out.
#[derive(Debug)]
pub struct Asked<'r> {
    stream: AsyncFd<TcpStream>,
    request: &'r Rendered,
}

/// Connects to one address by a socket of the system and sends a request that
/// [fits a segment](Rendered::fits_a_segment).
///
/// # Errors
/// [`ConnectError::Io`]: it cannot be connected to.
pub async fn ask(address: SocketAddr, request: &Rendered) -> Result<Asked<'_>, ConnectError> {
    let stream = connect_and_send(address, request).await.map_err(|source| ConnectError::Io { source })?;
    Ok(Asked { stream, request })
}

async fn connect_and_send(address: SocketAddr, request: &Rendered) -> io::Result<AsyncFd<TcpStream>> {
    let mut socket = begin(address)?;
    let mut left = request.bytes();
    // A target on this host is connected by now.
    match socket.write(left) {
        Ok(sent) => left = &left[sent..],
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    // With nothing left to write, the kernel need not report that there is room to write.
    let writes = if left.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
    let stream = watched(socket, writes)?;
    while !left.is_empty() {
        // The first write says why there is no connection.
        let sent = stream.async_io(Interest::WRITABLE, |mut socket| socket.write(left)).await?;
        left = &left[sent..];
    }
    Ok(stream)
}

/// Has the reactor watch a socket.
#[expect(
    deprecated,
    reason = "its successor is unsafe for types that lose their descriptor; a `TcpStream` keeps its own"
)]
fn watched(socket: TcpStream, events: Interest) -> io::Result<AsyncFd<TcpStream>> {
    AsyncFd::with_interest(socket, events)
}

/// Begins to connect. The request follows at once and carries the acknowledgement.
fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // Without it there is a packet more.
    let _ = sockopt::set_tcp_quickack(&socket, false);
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(errno) => Err(errno.into()),
    }
}

impl Asked<'_> {
    /// The other end of the connection.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.get_ref().peer_addr().ok()
    }

    /// Waits for the answer, or for the head of one that is not brief.
    ///
    /// # Errors
    /// As for [`send`](crate::send), and [`ExchangeError::SelfConnected`].
    pub async fn reply(self) -> Result<Reply, ExchangeError> {
        let read = poll_fn(|ctx| read(&self.stream, ctx)).await;
        match read.map_err(|error| io_failed(&error))? {
            (Ok(brief), closed) => {
                end(&self.stream, closed);
                Ok(Reply::Brief(brief))
            }
            // Apart, so that what is pending for the common answer stays small.
            (Err(seen), _) => Box::pin(self.long(seen)).await,
        }
    }

    /// Waits for the head of an answer that is not brief.
    async fn long(self, seen: Bytes) -> Result<Reply, ExchangeError> {
        let stream = tokio::net::TcpStream::from_std(self.stream.into_inner());
        let stream = stream.map_err(|error| io_failed(&error))?;
        // The own request comes back where the kernel has connected the socket to itself.
        if self.request.bytes().starts_with(&seen) && is_its_own_peer(&stream) {
            return Err(ExchangeError::SelfConnected);
        }
        resume(Stream::Tcp(stream), seen, self.request).await
    }
}

/// Reads once: a whole answer, or the beginning of one that is not brief; and whether the server has closed its side.
fn read(
    stream: &AsyncFd<TcpStream>,
    ctx: &mut Context<'_>,
) -> Poll<io::Result<(Result<Brief, Bytes>, bool)>> {
    loop {
        let mut ready = ready!(stream.poll_read_ready(ctx))?;
        let seen = with_buffer(|buffer| {
            ready.try_io(|stream| {
                let read = stream.get_ref().read(buffer)?;
                Ok(Brief::of(&buffer[..read]))
            })
        });
        if let Ok(seen) = seen {
            return Poll::Ready(seen.map(|seen| (seen, ready.ready().is_read_closed())));
        }
    }
}

/// Drops a connection that has served: with a reset where the server has closed its side, since then no byte is under way
/// and no process of the server has the connection any more, or it waits for our end alone.
fn end(stream: &AsyncFd<TcpStream>, closed: bool) {
    if closed {
        let _ = sockopt::set_socket_linger(stream.get_ref(), Some(Duration::ZERO));
    }
}

#[cfg(test)]
mod tests;
