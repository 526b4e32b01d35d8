//! One listener and its connections: which connection gets a place, and how a connection ends.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heartbeat_http::TlsServer;
use http::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::answers::problem::ApiError;
use crate::connections::client_stream::ClientStream;
use crate::connections::closing::{Closing, closes, is_draining, last_call};
use crate::connections::connection::Connection;
use crate::connections::places::{Answering, Places};
use crate::connections::tcp_session::TcpSession;
use crate::dispatch::Shared;
use crate::limits::{
    ACCEPT_PAUSE, DRAIN, DRAIN_FIRST_REQUEST, DRAIN_NEXT_REQUEST, GRACE, MAX_HEAD_BYTES, MAX_HEADER_COUNT,
};
use crate::requests::access::Caller;
use crate::requests::role::{Peer, Role};

/// A socket that accepts connections.
pub(crate) trait Listener: Send {
    /// A connection that the kernel has accepted.
    type Accepted: Send + 'static;
    /// A connection on which requests come.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Accepted, Caller)>> + Send;

    /// Shakes hands with the client where the listener does. Its connection has its place meanwhile.
    fn open(accepted: Self::Accepted) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The caller, with what the handshake has proven.
    fn proven(caller: Caller, _: &Self::Stream) -> Caller {
        caller
    }
}

pub(crate) struct UnixSide {
    pub(crate) listener: UnixListener,
    pub(crate) own_uid: u32,
    pub(crate) socket_group: Option<u32>,
}

impl UnixSide {
    /// The kernel's credentials of the process at the other end; empty where it reports none.
    fn peer(&self, stream: &UnixStream) -> Peer {
        let Ok(credentials) = stream.peer_cred() else { return Peer::default() };
        let mut groups = vec![credentials.gid()];
        if self.socket_group.is_some() {
            groups.extend(heartbeat_process::peer_groups(stream.as_fd()).unwrap_or_default());
        }
        Peer { uid: Some(credentials.uid()), groups }
    }
}

impl Listener for UnixSide {
    type Accepted = UnixStream;
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Caller)> {
        let (stream, _) = self.listener.accept().await?;
        let peer = self.peer(&stream);
        let role = Role::of(&peer, self.own_uid, self.socket_group);
        Ok((stream, Caller::Unix { role, uid: peer.uid }))
    }

    async fn open(accepted: UnixStream) -> io::Result<UnixStream> {
        Ok(accepted)
    }
}

pub(crate) struct TcpSide {
    pub(crate) listener: TcpListener,
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<watch::Receiver<TlsServer>>,
}

impl Listener for TcpSide {
    type Accepted = (TcpStream, Option<TlsServer>);
    type Stream = TcpSession;

    async fn accept(&self) -> io::Result<(Self::Accepted, Caller)> {
        let (stream, _) = self.listener.accept().await?;
        // Without this, the last segment of a body may wait for an acknowledgement. A failure costs only that delay.
        let _ = stream.set_nodelay(true);
        let tls = self.tls.as_ref().map(|tls| tls.borrow().clone());
        Ok(((stream, tls), Caller::Tcp { listen: self.listen }))
    }

    async fn open((stream, tls): Self::Accepted) -> io::Result<TcpSession> {
        TcpSession::open(stream, tls).await
    }

    fn proven(caller: Caller, session: &TcpSession) -> Caller {
        match caller {
            Caller::Tcp { listen } if session.has_certificate() => Caller::Proven { listen },
            caller => caller,
        }
    }
}

/// Accepts until `closing` says otherwise, then waits for the requests in progress.
pub(crate) async fn serve<L: Listener>(
    shared: Arc<Shared>,
    listener: L,
    places: Arc<Places>,
    mut closing: watch::Receiver<Closing>,
) {
    let mut connections = JoinSet::new();
    let mut sizes = places.sizes();
    loop {
        let accepted = tokio::select! {
            biased;
            () = closes(&mut closing) => break,
            Ok(()) = sizes.changed() => {
                places.shrink();
                continue;
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, caller)) => {
                // Dropping closes the excess connection: an answer would cost the very resource that is missing.
                let Some(place) = places.take(caller).await else {
                    shared.excess.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let connection = Connection {
                    caller,
                    places: Arc::clone(&places),
                    activity: Arc::clone(&place.activity),
                    closing: closing.clone(),
                    unread: Arc::default(),
                };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let answering = async {
                        match timeout(shared.limits.head_timeout, L::open(stream)).await {
                            Ok(Ok(stream)) => {
                                let caller = L::proven(connection.caller, &stream);
                                answer_all(shared, Connection { caller, ..connection }, stream).await;
                            }
                            Ok(Err(error)) => tracing::debug!(%error, "a connection ended in its handshake"),
                            Err(_) => tracing::debug!("a connection ended: no handshake in time"),
                        }
                    };
                    tokio::select! {
                        () = answering => {}
                        () = place.activity.evicted() => {}
                    }
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
    // Dropping the set ends the remaining connections.
    if timeout(most, busy).await.is_err() {
        tracing::info!("requests still in flight at the end are dropped");
    }
}

/// Requests of one connection, for tasks that wait for the next one.
#[derive(Default)]
struct Requests {
    any: AtomicBool,
    begun: Notify,
}

async fn answer_all<S>(shared: Arc<Shared>, connection: Connection, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (unread, activity) = (Arc::clone(&connection.unread), Arc::clone(&connection.activity));
    let stream =
        TokioIo::new(ClientStream::new(stream, shared.limits.write_timeout, unread, Arc::clone(&activity)));
    let requests = Arc::new(Requests::default());
    let service = service_fn(|request| {
        requests.any.store(true, Ordering::Relaxed);
        requests.begun.notify_one();
        let (shared, connection) = (Arc::clone(&shared), connection.clone());
        let under_way = activity.begin();
        async move {
            let last_call = last_call(connection.closing.clone());
            let mut answer = tokio::select! {
                answer = shared.answer(&connection, request) => answer,
                () = last_call => ApiError::ending().into_answer(true),
            };
            if *connection.closing.borrow() != Closing::Open {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer.map(|body| Answering { body, _under_way: under_way }))
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

/// Returns when a request is being answered, or when none comes in time. A client that has just connected is about to
/// send one.
async fn next_request(requests: &Requests) {
    let patience: Duration =
        if requests.any.load(Ordering::Relaxed) { DRAIN_NEXT_REQUEST } else { DRAIN_FIRST_REQUEST };
    // A request that has begun already does not wait either: the server answers it in any case.
    let _ = timeout(patience, requests.begun.notified()).await;
}
