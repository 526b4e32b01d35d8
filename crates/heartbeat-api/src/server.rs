//! The doors, their connections, and the way of a request from one to its answer.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::access::{self, Caller, Role};
use crate::answer::Answer;
use crate::bodies::Bodies;
use crate::bounded::Bounded;
use crate::feed::Feed;
use crate::incidents;
use crate::limits::{ACCEPT_PAUSE, GRACE, LAST_CALL, MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_HEADER_COUNT};
use crate::problem::Trouble;
use crate::query::Query;
use crate::route::{self, Route, Rule};
use crate::{
    Ecosystem, Limits, action, departure, events, graph, health, logs, near, page, registering, reload,
    status,
};

/// What happened at the doors since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections served.
    pub connections: u64,
    /// Connections closed unserved, because the door was full.
    pub excess: u64,
    /// Requests answered.
    pub requests: u64,
    /// Bodies built; all other readers were given one of these.
    pub bodies_built: u64,
}

/// The HTTP server. A clone is the same server: both doors share the bodies and the counts.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
}

struct Shared {
    ecosystem: Arc<dyn Ecosystem>,
    limits: Limits,
    bodies: Bodies,
    feed: Arc<Feed>,
    connections: AtomicU64,
    excess: AtomicU64,
    requests: AtomicU64,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("limits", &self.shared.limits)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Api {
    /// A server of `ecosystem` that is not served at any door yet.
    #[must_use]
    pub fn new(ecosystem: Arc<dyn Ecosystem>, limits: Limits) -> Self {
        let shared = Shared {
            ecosystem,
            limits,
            bodies: Bodies::default(),
            feed: Arc::default(),
            connections: AtomicU64::new(0),
            excess: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What happened at the doors so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.shared.connections.load(Ordering::Relaxed),
            excess: self.shared.excess.load(Ordering::Relaxed),
            requests: self.shared.requests.load(Ordering::Relaxed),
            bodies_built: self.shared.bodies.built(),
        }
    }

    /// Serves the Unix socket until `shutdown` says `true` or its sender is gone; then nothing is accepted any
    /// more and requests in flight have 1 s to end. Needs a runtime with I/O and time enabled.
    pub async fn serve_unix(&self, listener: UnixListener, shutdown: watch::Receiver<bool>) {
        let door = UnixDoor { listener, own_uid: nix::unistd::geteuid().as_raw() };
        self.serve(door, self.shared.limits.max_socket_connections, shutdown).await;
    }

    /// Serves a loopback address, read-only, in the same way.
    pub async fn serve_tcp(&self, listener: TcpListener, shutdown: watch::Receiver<bool>) {
        let listen = match listener.local_addr() {
            Ok(listen) => listen,
            Err(error) => {
                tracing::error!(%error, "the TCP door has no address and is not served");
                return;
            }
        };
        self.serve(TcpDoor { listener, listen }, self.shared.limits.max_connections, shutdown).await;
    }

    async fn serve<D: Door>(&self, door: D, most: usize, mut shutdown: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = ended(&mut shutdown) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = door.accept() => accepted,
            };
            match accepted {
                Ok((stream, caller)) => {
                    // An excess connection is closed by dropping it: an answer would cost what there is none of.
                    let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                        self.shared.excess.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    self.shared.connections.fetch_add(1, Ordering::Relaxed);
                    let (shared, shutdown) = (Arc::clone(&self.shared), shutdown.clone());
                    connections.spawn(async move {
                        connection(shared, caller, stream, shutdown).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(door);
        let busy = async { while connections.join_next().await.is_some() {} };
        // Dropping the set ends what is left.
        if timeout(GRACE, busy).await.is_err() {
            tracing::info!("requests still in flight at the end are dropped");
        }
    }
}

async fn ended(shutdown: &mut watch::Receiver<bool>) {
    // A sender that is gone has nothing to say but the end.
    let _ = shutdown.wait_for(|end| *end).await;
}

/// Time for a request that waits to be answered, before its connection is dropped.
async fn last_call(mut shutdown: watch::Receiver<bool>) {
    ended(&mut shutdown).await;
    sleep(LAST_CALL).await;
}

/// One door: something that accepts.
trait Door: Send {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Caller)>> + Send;
}

struct UnixDoor {
    listener: UnixListener,
    own_uid: u32,
}

impl Door for UnixDoor {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Caller)> {
        let (stream, _) = self.listener.accept().await?;
        let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
        let role = uid.map_or(Role::Read, |uid| Role::of(uid, self.own_uid));
        Ok((stream, Caller::Unix { role, uid }))
    }
}

struct TcpDoor {
    listener: TcpListener,
    listen: SocketAddr,
}

impl Door for TcpDoor {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Caller)> {
        let (stream, _) = self.listener.accept().await?;
        // Without it the last segment of a body may wait for an acknowledgement; failing to set it costs only that.
        let _ = stream.set_nodelay(true);
        Ok((stream, Caller::Tcp { listen: self.listen }))
    }
}

async fn connection<S>(shared: Arc<Shared>, caller: Caller, stream: S, mut shutdown: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(Bounded::new(stream, shared.limits.write_timeout));
    let shutdown_of_requests = shutdown.clone();
    let service = service_fn(|request| {
        let (shared, shutdown) = (Arc::clone(&shared), shutdown_of_requests.clone());
        async move {
            let answer = tokio::select! {
                answer = shared.answer(caller, request, shutdown.clone()) => answer,
                () = last_call(shutdown) => Trouble::ending().into_answer(),
            };
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
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = ended(&mut shutdown) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

impl Shared {
    async fn answer(&self, caller: Caller, request: Request<Incoming>, end: watch::Receiver<bool>) -> Answer {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match self.respond(caller, request, end).await {
            Ok(answer) => answer,
            Err(trouble) => trouble.into_answer(),
        }
    }

    async fn respond(
        &self,
        caller: Caller,
        request: Request<Incoming>,
        end: watch::Receiver<bool>,
    ) -> Result<Answer, Trouble> {
        let (parts, body) = request.into_parts();
        caller.check_host(&parts)?;
        let path = parts.uri.path();
        let route = Route::of(path).ok_or_else(|| no_route(path))?;
        let rule = route.rule();
        caller.check_door(&rule)?;
        check_method(&parts.method, &rule)?;
        caller.check_permission(&rule, &parts.headers)?;
        if !rule.built {
            let detail = format!("{} {} is not built in this version", parts.method, rule.name);
            return Err(Trouble::new(StatusCode::NOT_IMPLEMENTED, "not-built", detail));
        }
        let query = Query::parse(parts.uri.query(), rule.query)?;
        let (ecosystem, bodies, headers) = (&*self.ecosystem, &self.bodies, &parts.headers);
        match &route {
            Route::Page => page::page(ecosystem, bodies).await,
            Route::Livez => Ok(health::live(ecosystem)),
            Route::Readyz => Ok(health::ready(ecosystem)),
            Route::Health => health::document(ecosystem, headers),
            Route::Status | Route::EcosystemHealth => {
                status::ecosystem(ecosystem, bodies, &query, headers).await
            }
            Route::Realm(name) => status::realm(ecosystem, bodies, name, &query, headers, caller).await,
            Route::Graph => graph::graph(ecosystem, bodies, &query, headers).await,
            Route::Events => events::follow(&self.ecosystem, &self.feed, &query, headers, &parts.method, end),
            Route::Logs(name) => logs::logs(&self.ecosystem, name, &query, headers, &parts.method, end).await,
            Route::Incidents => incidents::list(ecosystem, &query, caller),
            Route::Incident(id) => incidents::one(ecosystem, id, caller),
            Route::Plan => {
                access::check_json(headers)?;
                action::foresee(ecosystem, &self.read(body).await?).await
            }
            Route::Reload => {
                access::check_json(headers)?;
                reload::reload(ecosystem, &self.read(body).await?).await
            }
            Route::Leave => {
                access::check_json(headers)?;
                self.read(body).await?;
                departure::leave(ecosystem).await
            }
            Route::Upgrade => {
                access::check_json(headers)?;
                self.read(body).await?;
                departure::upgrade(ecosystem).await
            }
            Route::Act(name, action) => {
                access::check_json(headers)?;
                let body = self.read(body).await?;
                action::act(ecosystem, name, *action, &body, caller.uid()).await
            }
            Route::Register(name) if parts.method == Method::PUT => {
                access::check_json(headers)?;
                let body = self.read(body).await?;
                registering::register(ecosystem, name, body, &query, caller.uid()).await
            }
            Route::Register(name) => {
                self.read(body).await?;
                registering::unregister(ecosystem, name, &query, caller.uid()).await
            }
            // Refused above by its rule.
            _ => Err(Trouble::new(
                StatusCode::NOT_IMPLEMENTED,
                "not-built",
                format!("{} is not built", rule.name),
            )),
        }
    }

    /// The whole body, in bounded size and time.
    async fn read(&self, body: Incoming) -> Result<Vec<u8>, Trouble> {
        match timeout(self.limits.body_timeout, Limited::new(body, MAX_BODY_BYTES).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes().into()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let detail = format!("a body has at most {MAX_BODY_BYTES} bytes");
                Err(Trouble::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail))
            }
            Ok(Err(error)) => Err(Trouble::bad(format!("the body could not be read: {error}"))),
            Err(_) => {
                let detail =
                    format!("the body did not come within {} s", self.limits.body_timeout.as_secs_f64());
                Err(Trouble::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", detail))
            }
        }
    }
}

fn no_route(path: &str) -> Trouble {
    let near = route::near_paths(path);
    let way_out = if near.is_empty() { " Start at /api/status/.".to_owned() } else { near::question(&near) };
    let detail = format!("nothing is served at {}.{way_out}", heartbeat_status::sanitise_line(path));
    Trouble::new(StatusCode::NOT_FOUND, "no-such-route", detail).near(near)
}

fn check_method(method: &Method, rule: &Rule) -> Result<(), Trouble> {
    if rule.verbs.take(method) {
        return Ok(());
    }
    let allow = rule.verbs.allow();
    let detail =
        format!("{} takes {allow}, not {}", rule.name, heartbeat_status::sanitise_line(method.as_str()));
    Err(Trouble::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail).allow(allow))
}
