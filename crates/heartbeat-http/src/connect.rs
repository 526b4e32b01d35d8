//! Connecting to a name by all of its addresses (RFC 8305).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::weight;
use crate::{Address, ConnectError, Connecting, ResolveError, Sockets};

/// An attempt to connect begins this long after the previous one, or at once when that one has failed (RFC 8305).
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Resolves `address` and connects to it.
///
/// # Errors
/// [`ConnectError`]: no address, or none of them can be connected to.
pub async fn connect(sockets: &dyn Sockets, address: &Address) -> Result<TcpStream, ConnectError> {
    let found = match address.ip() {
        Some(ip) => vec![SocketAddr::new(ip, address.port())],
        None => sockets.resolve(address.host(), address.port()).await?,
    };
    if found.is_empty() {
        return Err(ResolveError::NotFound { host: address.host().to_owned() }.into());
    }
    connect_first(sockets, &found).await
}

/// Connects to all of `addresses`, each `ATTEMPT_DELAY` after the one before, families in turn; the first that
/// connects wins.
///
/// # Errors
/// [`ConnectError`] of the address with the most informative error; [`ConnectError::Io`] when there is no address.
pub async fn connect_first(
    sockets: &dyn Sockets,
    addresses: &[SocketAddr],
) -> Result<TcpStream, ConnectError> {
    let mut left = families_in_turn(addresses).into_iter();
    let mut attempts: Vec<Connecting> = Vec::new();
    let mut worst: Option<ConnectError> = None;
    loop {
        match left.next() {
            Some(address) => attempts.push(sockets.connect(address)),
            None if attempts.is_empty() => {
                let none = || ConnectError::Io { source: io::Error::other("no address to connect to") };
                return Err(worst.unwrap_or_else(none));
            }
            None => {}
        }
        let ended = if left.len() == 0 {
            first_to_end(&mut attempts).await
        } else {
            match timeout(ATTEMPT_DELAY, first_to_end(&mut attempts)).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended.map_err(|source| ConnectError::Io { source }).and_then(checked) {
            Ok(stream) => {
                // A request is a single write: waiting for more data would only delay it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) if worst.as_ref().is_none_or(|worst| weight(&error) > weight(worst)) => {
                worst = Some(error);
            }
            Err(_) => {}
        }
    }
}

/// Refuses a connection that the kernel made from a socket to itself.
fn checked(stream: TcpStream) -> Result<TcpStream, ConnectError> {
    if is_its_own_peer(&stream) { Err(ConnectError::SelfConnected) } else { Ok(stream) }
}

/// Whether the kernel has connected this socket to itself. Its port is then free again at once when it is dropped: the
/// service that should listen there may be about to bind it.
pub(crate) fn is_its_own_peer(stream: &TcpStream) -> bool {
    let own = matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer);
    if own {
        let _ = stream.set_zero_linger();
    }
    own
}

/// Waits until one of the attempts ends, and removes it.
async fn first_to_end(attempts: &mut Vec<Connecting>) -> io::Result<TcpStream> {
    poll_fn(|ctx| {
        for at in 0..attempts.len() {
            if let Poll::Ready(ended) = attempts[at].as_mut().poll(ctx) {
                drop(attempts.remove(at));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

/// The order of RFC 8305: that of the resolver, but with the families in turn.
fn families_in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut one, mut other): (Vec<_>, Vec<_>) =
        addresses.iter().rev().copied().partition(|address| address.is_ipv4() == first_is_v4);
    let mut ordered = Vec::with_capacity(addresses.len());
    while !(one.is_empty() && other.is_empty()) {
        ordered.extend(one.pop());
        ordered.extend(other.pop());
    }
    ordered
}

#[cfg(test)]
mod tests;
