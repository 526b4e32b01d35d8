//! One listener and its connections: who is given a place, and how a connection ends.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::access::{Caller, Role};
use crate::client_stream::{ClientStream, Unread};
use crate::limits::{
    ACCEPT_PAUSE, DRAIN, DRAIN_FIRST_REQUEST, DRAIN_LAST_CALL, DRAIN_NEXT_REQUEST, GRACE, LAST_CALL,
    MAX_HEAD_BYTES, MAX_HEADER_COUNT, RESERVED_PLACES,
};
use crate::problem::Trouble;
use crate::server::Shared;

/// How far a listener is on its way to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closing {
    /// It accepts.
    #[default]
    Open,
    /// It accepts nothing any more, and answers what was accepted: 2 s at most. What connects meanwhile waits with the
    /// kernel for whoever serves the same socket next.
    Draining,
    /// It ends: idle connections at once, requests under way within 1 s.
    Ended,
}

/// Waits until a listener is to accept nothing any more. A sender that is gone has nothing to say but the end.
pub(crate) async fn closes(closing: &mut watch::Receiver<Closing>) {
    let _ = closing.wait_for(|closing| *closing != Closing::Open).await;
}

fn is_draining(closing: &watch::Receiver<Closing>) -> bool {
    *closing.borrow() == Closing::Draining
}

/// Something that accepts.
pub(crate) trait Listener: Send {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Caller)>> + Send;
}

pub(crate) struct UnixSide {
    pub(crate) listener: UnixListener,
    pub(crate) own_uid: u32,
}

impl Listener for UnixSide {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Caller)> {
        let (stream, _) = self.listener.accept().await?;
        let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
        let role = uid.map_or(Role::Read, |uid| Role::of(uid, self.own_uid));
        Ok((stream, Caller::Unix { role, uid }))
    }
}

pub(crate) struct TcpSide {
    pub(crate) listener: TcpListener,
    pub(crate) listen: SocketAddr,
}

impl Listener for TcpSide {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Caller)> {
        let (stream, _) = self.listener.accept().await?;
        // Without it the last segment of a body may wait for an acknowledgement; failing to set it costs only that.
        let _ = stream.set_nodelay(true);
        Ok((stream, Caller::Tcp { listen: self.listen }))
    }
}

/// The places of one listener: so many connections at a time, some of which only administrators are given.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// Those that anybody is given.
    common: Arc<Semaphore>,
    /// Those that a stream may take, which lasts as long as its reader wants.
    streams: Arc<Semaphore>,
}

/// What a connection holds for as long as it lasts.
struct Place {
    _all: OwnedSemaphorePermit,
    _common: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// `reserved` of `most` places are kept for administrators, and for requests that are no streams.
    fn new(most: usize, reserved: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        // A listener with very few places keeps none back.
        let common = if most > reserved { most - reserved } else { most };
        let places = |count| Arc::new(Semaphore::new(count));
        Self { all: places(most), common: places(common), streams: places(common) }
    }

    pub(crate) fn of_tcp(most: usize) -> Self {
        Self::new(most, 0)
    }

    pub(crate) fn of_socket(most: usize) -> Self {
        Self::new(most, RESERVED_PLACES)
    }

    fn take(&self, caller: Caller) -> Option<Place> {
        let common = match caller {
            Caller::Unix { role: Role::Admin, .. } => None,
            Caller::Unix { .. } | Caller::Tcp { .. } => {
                Some(Arc::clone(&self.common).try_acquire_owned().ok()?)
            }
        };
        Some(Place { _all: Arc::clone(&self.all).try_acquire_owned().ok()?, _common: common })
    }

    /// A place for a stream; `None` when there are as many as may be.
    pub(crate) fn take_stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().ok()
    }
}

/// What the code that answers has to know of the connection it answers on.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) caller: Caller,
    pub(crate) places: Arc<Places>,
    pub(crate) closing: watch::Receiver<Closing>,
    pub(crate) unread: Unread,
}

/// Accepts until told otherwise, then waits for what is under way.
pub(crate) async fn serve<L: Listener>(
    shared: Arc<Shared>,
    listener: L,
    places: Places,
    mut closing: watch::Receiver<Closing>,
) {
    let places = Arc::new(places);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = closes(&mut closing) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, caller)) => {
                // An excess connection is closed by dropping it: an answer would cost what there is none of.
                let Some(place) = places.take(caller) else {
                    shared.excess.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let connection = Connection {
                    caller,
                    places: Arc::clone(&places),
                    closing: closing.clone(),
                    unread: Arc::default(),
                };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    answer_all(shared, connection, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let busy = async { while connections.join_next().await.is_some() {} };
    let most = if is_draining(&closing) { DRAIN } else { GRACE };
    // Dropping the set ends what is left.
    if timeout(most, busy).await.is_err() {
        tracing::info!("requests still in flight at the end are dropped");
    }
}

/// Time for a request that waits for something to be answered, before its connection is dropped.
async fn last_call(mut closing: watch::Receiver<Closing>) {
    closes(&mut closing).await;
    sleep(if is_draining(&closing) { DRAIN_LAST_CALL } else { LAST_CALL }).await;
}

/// Requests of one connection, for those who wait for the next one.
#[derive(Default)]
struct Requests {
    any: AtomicBool,
    begun: Notify,
}

async fn answer_all<S>(shared: Arc<Shared>, connection: Connection, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unread = Arc::clone(&connection.unread);
    let stream = TokioIo::new(ClientStream::new(stream, shared.limits.write_timeout, unread));
    let requests = Arc::new(Requests::default());
    let service = service_fn(|request| {
        requests.any.store(true, Ordering::Relaxed);
        requests.begun.notify_one();
        let (shared, connection) = (Arc::clone(&shared), connection.clone());
        async move {
            let last_call = last_call(connection.closing.clone());
            let mut answer = tokio::select! {
                answer = shared.answer(&connection, request) => answer,
                () = last_call => Trouble::ending().into_answer(),
            };
            if *connection.closing.borrow() != Closing::Open {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.head_timeout)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADER_COUNT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(stream, service);
    let mut served = pin!(served);
    let mut closing = connection.closing.clone();
    let result = tokio::select! {
        result = served.as_mut() => Some(result),
        () = closes(&mut closing) => None,
    };
    let result = match result {
        Some(result) => result,
        None if is_draining(&closing) => {
            let patience = next_request(&requests);
            let result = tokio::select! {
                result = served.as_mut() => Some(result),
                () = patience => None,
            };
            match result {
                Some(result) => result,
                None => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            }
        }
        None => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Returns when a request is being answered, or none will come: who has connected is about to ask.
async fn next_request(requests: &Requests) {
    let patience: Duration =
        if requests.any.load(Ordering::Relaxed) { DRAIN_NEXT_REQUEST } else { DRAIN_FIRST_REQUEST };
    // One that has begun already and is not over does not wait either: it is answered in any case.
    let _ = timeout(patience, requests.begun.notified()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role) -> Caller {
        Caller::Unix { role, uid: Some(0) }
    }

    #[test]
    fn readers_cannot_take_the_places_of_administrators() {
        let places = Places::of_socket(32);
        let readers: Vec<_> = (0..40).filter_map(|_| places.take(caller(Role::Read))).collect();
        assert_eq!(readers.len(), 24);
        let admins: Vec<_> = (0..40).filter_map(|_| places.take(caller(Role::Admin))).collect();
        assert_eq!(admins.len(), 8);
        drop(readers);
        assert!(places.take(caller(Role::Read)).is_some());
    }

    #[test]
    fn streams_leave_places_for_requests() {
        let places = Places::of_socket(32);
        let streams: Vec<_> = (0..40).filter_map(|_| places.take_stream()).collect();
        assert_eq!(streams.len(), 24);
        let places = Places::of_socket(2);
        assert!(places.take(caller(Role::Read)).is_some() && places.take_stream().is_some());
    }
}
