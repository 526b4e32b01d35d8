//! The way of a request to the handler of its route, and what all handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, Request, StatusCode};
use http_body_util::Either;
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::answers::answer::Answer;
use crate::answers::bodies::Bodies;
use crate::answers::feed::Feed;
use crate::answers::problem::ApiError;
use crate::backend::Backend;
use crate::connections::connection::Connection;
use crate::connections::places::StreamPlace;
use crate::handlers::{
    action, beat, departure, events, graph, health, history, incidents, logs, metrics, notifying,
    registering, reload, report, status,
};
use crate::limits::Limits;
use crate::page;
use crate::requests::access::Access;
use crate::requests::body::{RequestBody, check_json};
use crate::requests::query::Query;
use crate::requests::route::{self, Endpoint, Route};
use crate::requests::rule::{Rule, Verbs};
use crate::requests::suggestions;

/// State that the requests of all connections share.
pub(crate) struct Shared {
    pub(crate) ecosystem: Arc<dyn Backend>,
    pub(crate) limits: Limits,
    pub(crate) access: Access,
    /// How many connections each listener may have.
    pub(crate) tcp_places: watch::Sender<usize>,
    pub(crate) socket_places: watch::Sender<usize>,
    pub(crate) bodies: Bodies,
    pub(crate) socket_feed: Arc<Feed>,
    pub(crate) public_feed: Arc<Feed>,
    pub(crate) connections: AtomicU64,
    pub(crate) excess: AtomicU64,
    pub(crate) requests: AtomicU64,
}

impl Shared {
    pub(crate) async fn answer(&self, connection: &Connection, request: Request<Incoming>) -> Answer {
        self.requests.fetch_add(1, Ordering::Relaxed);
        // Until the caller has proven a role.
        let mut public = true;
        match self.respond(connection, request, &mut public).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.into_answer(public),
        }
    }

    /// `public` becomes whether the caller has no role, once that is known.
    async fn respond(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
        public: &mut bool,
    ) -> Result<Answer, ApiError> {
        let (parts, body) = request.into_parts();
        let body = RequestBody {
            body,
            unread: &connection.unread,
            activity: &connection.activity,
            limit: self.limits.body_timeout,
        };
        body.note_empty();
        let (caller, closing) = (connection.caller, connection.closing.clone());
        caller.check_host(&self.access, &parts)?;
        let caller = caller.authenticated(&self.access, &parts.headers)?;
        *public = caller.is_public();
        let path = parts.uri.path();
        if let Some(name) = route::reserved(path) {
            let detail = format!("{name} is not built in this version");
            return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "not-built", detail));
        }
        let Route { endpoint, rule, name, event } = Route::of(path).ok_or_else(|| no_route(path))?;
        caller.check_listener(rule)?;
        check_method(&parts.method, rule)?;
        caller.check_permission(rule, &parts.headers)?;
        let query = Query::parse(parts.uri.query(), rule)?;
        let (ecosystem, bodies, headers) = (&*self.ecosystem, &self.bodies, &parts.headers);
        let (name, uid) = (name.as_str(), caller.uid());
        let is_text = endpoint == Endpoint::Beat;
        if matches!(parts.method, Method::POST | Method::PUT) && !is_text {
            check_json(headers)?;
        }
        let body = match rule.verbs {
            Verbs::Get => Vec::new(),
            _ if is_text => body.read_any().await?,
            _ => body.read().await?,
        };
        match endpoint {
            Endpoint::Page => page::page(ecosystem, bodies, caller).await,
            Endpoint::Livez => Ok(health::live(ecosystem)),
            Endpoint::Readyz => Ok(health::ready(ecosystem)),
            Endpoint::Health => health::document(ecosystem, headers, caller),
            Endpoint::Status => {
                let _place = waiting_place(connection, &query)?;
                status::ecosystem(ecosystem, bodies, &query, headers, caller, closing).await
            }
            Endpoint::Realm => {
                let _place = waiting_place(connection, &query)?;
                status::realm(ecosystem, bodies, name, &query, headers, caller).await
            }
            Endpoint::Graph => graph::graph(ecosystem, bodies, &query, headers, caller).await,
            Endpoint::Metrics => metrics::metrics(ecosystem, bodies, headers).await,
            Endpoint::Events => {
                let feed = if caller.is_public() { &self.public_feed } else { &self.socket_feed };
                let answer = events::follow(&self.ecosystem, feed, &query, headers, &parts.method, closing)?;
                admit(answer, connection)
            }
            Endpoint::Logs => {
                let answer =
                    logs::logs(&self.ecosystem, name, &query, headers, &parts.method, closing).await?;
                admit(answer, connection)
            }
            Endpoint::Incidents => incidents::list(ecosystem, &query, caller).await,
            Endpoint::Incident => incidents::one(ecosystem, name, caller).await,
            Endpoint::Evidence => incidents::evidence(ecosystem, name).await,
            Endpoint::Notifications => incidents::notifications(ecosystem, name).await,
            Endpoint::TestReceiver => notifying::test(ecosystem, name, &body).await,
            Endpoint::Acknowledge => incidents::acknowledge(ecosystem, name, &body, uid).await,
            Endpoint::History => history::realm(ecosystem, name, &query).await,
            Endpoint::Strips => history::strips(ecosystem, &query).await,
            Endpoint::Slo => history::objectives(ecosystem).await,
            Endpoint::Report => report::report(ecosystem, &query, headers).await,
            Endpoint::Beat => beat::take(ecosystem, name, event.as_deref(), &query, &body).await,
            Endpoint::Plan => action::dry_plan(ecosystem, &body).await,
            Endpoint::Reload => reload::reload(ecosystem, &body).await,
            Endpoint::Leave => departure::leave(ecosystem, &body).await,
            Endpoint::Upgrade => departure::upgrade(ecosystem, &body).await,
            Endpoint::Act(action) => action::act(ecosystem, name, action, &body, uid, closing).await,
            Endpoint::Mute => notifying::mute(ecosystem, name, &body, uid).await,
            Endpoint::Unmute => notifying::unmute(ecosystem, name, &body).await,
            Endpoint::Register if parts.method == Method::PUT => {
                registering::register(ecosystem, name, body, &query, uid).await
            }
            Endpoint::Register => registering::unregister(ecosystem, name, &body, &query, uid).await,
        }
    }
}

/// A stream holds its place for as long as it lasts.
fn admit(mut answer: Answer, connection: &Connection) -> Result<Answer, ApiError> {
    if let Either::Right(pieces) = answer.body_mut() {
        pieces.hold(stream_place(connection)?);
    }
    Ok(answer)
}

/// Streams, long polls and requests that wait for fresh probes take one of a bounded number of places, so that some are
/// left for requests that the server answers at once.
fn stream_place(connection: &Connection) -> Result<StreamPlace, ApiError> {
    connection.places.take_stream(&connection.activity).ok_or_else(too_many_streams)
}

/// A long poll holds its connection as a stream does; a refresh for as long as the probes take.
fn waiting_place(connection: &Connection, query: &Query<'_>) -> Result<Option<StreamPlace>, ApiError> {
    if query.get("wait").is_some() {
        return stream_place(connection).map(Some);
    }
    let waits = query.switch("refresh")?;
    waits.then(|| connection.places.take_wait().ok_or_else(too_many_streams)).transpose()
}

fn too_many_streams() -> ApiError {
    let detail = "too many clients follow a stream or wait for fresh probes here already; ask again later";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail)
}

fn no_route(path: &str) -> ApiError {
    let suggestions = route::nearest_paths(path);
    let way_out = if suggestions.is_empty() {
        " Start at /api/status/.".to_owned()
    } else {
        suggestions::question(&suggestions)
    };
    let detail = format!("nothing is served at {}.{way_out}", heartbeat_status::sanitise_line(path));
    ApiError::new(StatusCode::NOT_FOUND, "no-such-route", detail).suggest(suggestions)
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
