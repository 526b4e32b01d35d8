//! The server, and the way of a request to its answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Either, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::access;
use crate::answer::Answer;
use crate::bodies::Bodies;
use crate::client_stream::Unread;
use crate::feed::Feed;
use crate::incidents;
use crate::limits::MAX_BODY_BYTES;
use crate::places::Places;
use crate::problem::ApiError;
use crate::query::Query;
use crate::route::{self, Route, Rule};
use crate::serving::{self, Closing, Connection, TcpSide, UnixSide};
use crate::{
    Access, Backend, Limits, action, departure, events, graph, health, history, logs, page, registering,
    reload, status, suggestions,
};

/// What happened at the doors since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were served.
    pub connections: u64,
    /// Connections closed unserved, because the listener was full of connections that were being answered.
    pub excess: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Bodies built; all other readers were given one of these.
    pub bodies_built: u64,
}

/// The HTTP server. A clone is the same server: both doors share the bodies and the counts.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    ecosystem: Arc<dyn Backend>,
    pub(crate) limits: Limits,
    pub(crate) access: Access,
    bodies: Bodies,
    socket_feed: Arc<Feed>,
    public_feed: Arc<Feed>,
    pub(crate) connections: AtomicU64,
    pub(crate) excess: AtomicU64,
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
    pub fn new(ecosystem: Arc<dyn Backend>, limits: Limits, access: Access) -> Self {
        let shared = Shared {
            ecosystem,
            limits,
            access,
            bodies: Bodies::default(),
            socket_feed: Arc::new(Feed::new(false)),
            public_feed: Arc::new(Feed::new(true)),
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

    /// Serves the Unix socket until `closing` says otherwise or its sender is gone. Needs a runtime with I/O and time
    /// enabled.
    pub async fn serve_unix(&self, listener: UnixListener, closing: watch::Receiver<Closing>) {
        let places = Places::of_socket(self.shared.limits.max_socket_connections);
        let own_uid = nix::unistd::geteuid().as_raw();
        let side = UnixSide { listener, own_uid, socket_group: self.shared.access.socket_group };
        serving::serve(Arc::clone(&self.shared), side, places, closing).await;
    }

    /// Serves a loopback address in the same way: read-only, or with the token of [`Access`].
    pub async fn serve_tcp(&self, listener: TcpListener, closing: watch::Receiver<Closing>) {
        let listen = match listener.local_addr() {
            Ok(listen) => listen,
            Err(error) => {
                tracing::error!(%error, "the TCP listener has no address and is not served");
                return;
            }
        };
        let places = Places::of_tcp(self.shared.limits.max_connections);
        serving::serve(Arc::clone(&self.shared), TcpSide { listener, listen }, places, closing).await;
    }
}

impl Shared {
    pub(crate) async fn answer(&self, connection: &Connection, request: Request<Incoming>) -> Answer {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match self.respond(connection, request).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.into_answer(),
        }
    }

    async fn respond(&self, connection: &Connection, request: Request<Incoming>) -> Result<Answer, ApiError> {
        let (parts, body) = request.into_parts();
        let body = RequestBody { body, unread: &connection.unread, limit: self.limits.body_timeout };
        body.note_empty();
        let (caller, closing) = (connection.caller, connection.closing.clone());
        caller.check_host(&self.access, &parts)?;
        let caller = caller.authenticated(&self.access, &parts.headers)?;
        let path = parts.uri.path();
        let route = Route::of(path).ok_or_else(|| no_route(path))?;
        let rule = route.rule();
        caller.check_listener(&rule)?;
        check_method(&parts.method, &rule)?;
        caller.check_permission(&rule, &parts.headers)?;
        if !rule.built {
            let detail = format!("{} {} is not built in this version", parts.method, rule.name);
            return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "not-built", detail));
        }
        let query = Query::parse(parts.uri.query(), &rule)?;
        let (ecosystem, bodies, headers) = (&*self.ecosystem, &self.bodies, &parts.headers);
        match &route {
            Route::Page => page::page(ecosystem, bodies).await,
            Route::Livez => Ok(health::live(ecosystem)),
            Route::Readyz => Ok(health::ready(ecosystem)),
            Route::Health => health::document(ecosystem, headers),
            Route::Status | Route::EcosystemHealth => {
                status::ecosystem(ecosystem, bodies, &query, headers, caller, closing).await
            }
            Route::Realm(name) => status::realm(ecosystem, bodies, name, &query, headers, caller).await,
            Route::Graph => graph::graph(ecosystem, bodies, &query, headers).await,
            Route::Events => {
                let feed = if caller.is_public() { &self.public_feed } else { &self.socket_feed };
                let answer = events::follow(&self.ecosystem, feed, &query, headers, &parts.method, closing)?;
                admit(answer, &connection.places)
            }
            Route::Logs(name) => {
                let answer =
                    logs::logs(&self.ecosystem, name, &query, headers, &parts.method, closing).await?;
                admit(answer, &connection.places)
            }
            Route::Incidents => incidents::list(ecosystem, &query, caller).await,
            Route::Incident(id) => incidents::one(ecosystem, id, caller).await,
            Route::Acknowledge(id) => {
                access::check_json(headers)?;
                incidents::acknowledge(ecosystem, id, &body.read().await?, caller.uid()).await
            }
            Route::History(name) => history::realm(ecosystem, name, &query).await,
            Route::Strips => history::strips(ecosystem, &query).await,
            Route::Plan => {
                access::check_json(headers)?;
                action::dry_plan(ecosystem, &body.read().await?).await
            }
            Route::Reload => {
                access::check_json(headers)?;
                reload::reload(ecosystem, &body.read().await?).await
            }
            Route::Leave => {
                access::check_json(headers)?;
                departure::leave(ecosystem, &body.read().await?).await
            }
            Route::Upgrade => {
                access::check_json(headers)?;
                departure::upgrade(ecosystem, &body.read().await?).await
            }
            Route::Act(name, action) => {
                access::check_json(headers)?;
                let body = body.read().await?;
                action::act(ecosystem, name, *action, &body, caller.uid(), closing).await
            }
            Route::Register(name) if parts.method == Method::PUT => {
                access::check_json(headers)?;
                let body = body.read().await?;
                registering::register(ecosystem, name, body, &query, caller.uid()).await
            }
            Route::Register(name) => {
                registering::unregister(ecosystem, name, &body.read().await?, &query, caller.uid()).await
            }
            // Refused above by its rule.
            _ => Err(ApiError::new(
                StatusCode::NOT_IMPLEMENTED,
                "not-built",
                format!("{} is not built", rule.name),
            )),
        }
    }
}

/// A stream takes one of a bounded number of places, so that some are left for requests.
fn admit(mut answer: Answer, places: &Places) -> Result<Answer, ApiError> {
    if let Either::Right(pieces) = answer.body_mut() {
        let place = places.take_stream().ok_or_else(|| {
            let detail =
                "too many readers follow a stream here already; close one of them, or ask again later";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail)
        })?;
        pieces.hold(place);
    }
    Ok(answer)
}

/// The body of a request, which may be left unread.
struct RequestBody<'a> {
    body: Incoming,
    unread: &'a Unread,
    limit: Duration,
}

impl RequestBody<'_> {
    /// Where there is nothing more to read, nothing is left unread at the end of the connection.
    fn note_empty(&self) {
        if self.body.is_end_stream() {
            self.unread.store(false, Ordering::Relaxed);
        }
    }

    /// All of it, in bounded size and time: a JSON object, or nothing.
    async fn read(self) -> Result<Vec<u8>, ApiError> {
        match timeout(self.limit, Limited::new(self.body, MAX_BODY_BYTES).collect()).await {
            Ok(Ok(body)) => {
                self.unread.store(false, Ordering::Relaxed);
                let body: Vec<u8> = body.to_bytes().into();
                access::check_object(&body)?;
                Ok(body)
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let detail = format!("a body has at most {MAX_BODY_BYTES} bytes");
                Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail))
            }
            Ok(Err(error)) => Err(ApiError::bad(format!("the body could not be read: {error}"))),
            Err(_) => {
                let detail = format!("the body did not come within {} s", self.limit.as_secs_f64());
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", detail))
            }
        }
    }
}

fn no_route(path: &str) -> ApiError {
    let near = route::nearest_paths(path);
    let way_out =
        if near.is_empty() { " Start at /api/status/.".to_owned() } else { suggestions::question(&near) };
    let detail = format!("nothing is served at {}.{way_out}", heartbeat_status::sanitise_line(path));
    ApiError::new(StatusCode::NOT_FOUND, "no-such-route", detail).suggest(near)
}

fn check_method(method: &Method, rule: &Rule) -> Result<(), ApiError> {
    if rule.verbs.take(method) {
        return Ok(());
    }
    let allow = rule.verbs.allow();
    let detail =
        format!("{} takes {allow}, not {}", rule.name, heartbeat_status::sanitise_line(method.as_str()));
    Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail).allow(allow))
}
