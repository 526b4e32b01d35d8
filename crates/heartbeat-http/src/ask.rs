//! A request with its connection, for targets that are asked often: as few system calls and packets as it takes.
//!
//! The request leaves with the acknowledgement of the connection, so it is out when [`ask`] returns. A server that has
//! closed its side expects nothing more: such a connection is dropped with a reset, which leaves no state behind at either
//! end. A server that has not is left as by every client.

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::brief::{Rendered, Reply, first_read, resume};
use crate::connect::is_its_own_peer;
use crate::{ConnectError, ExchangeError, Stream};

/// A connection over which a request is out.
#[derive(Debug)]
pub struct Asked<'r> {
    stream: TcpStream,
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

async fn connect_and_send(address: SocketAddr, request: &Rendered) -> io::Result<TcpStream> {
    let mut socket = begin(address)?;
    let mut left = request.bytes();
    // A target on this host is connected by now.
    match socket.write(left) {
        Ok(sent) => left = &left[sent..],
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from_std(socket)?;
    while !left.is_empty() {
        stream.writable().await?;
        // The first write says why there is no connection.
        match stream.try_write(left) {
            Ok(sent) => left = &left[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(stream)
}

/// Begins to connect. The request follows at once and carries the acknowledgement.
fn begin(address: SocketAddr) -> io::Result<std::net::TcpStream> {
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
        self.stream.peer_addr().ok()
    }

    /// Waits for the answer, or for the head of one that is not brief.
    ///
    /// # Errors
    /// As for [`send`](crate::send), and [`ExchangeError::SelfConnected`].
    pub async fn reply(self) -> Result<Reply, ExchangeError> {
        let Self { mut stream, request } = self;
        match first_read(&mut stream).await? {
            Ok(brief) => {
                end(stream);
                Ok(Reply::Brief(brief))
            }
            // The own request comes back where the kernel has connected the socket to itself.
            Err(seen) if request.bytes().starts_with(&seen) && is_its_own_peer(&stream) => {
                Err(ExchangeError::SelfConnected)
            }
            // Apart, so that what is pending for the common answer stays small.
            Err(seen) => Box::pin(resume(Stream::Tcp(stream), seen, request)).await,
        }
    }
}

/// Drops a connection that has served: with a reset where the server has closed its side, since then no byte is under way
/// and no process of the server has the connection any more, or it waits for our end alone.
fn end(stream: TcpStream) {
    let closed = {
        let ready = pin!(stream.ready(Interest::READABLE));
        let seen = ready.poll(&mut Context::from_waker(Waker::noop()));
        matches!(seen, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    };
    if closed {
        let _ = stream.set_zero_linger();
    }
}

#[cfg(test)]
mod tests;
