//! Bodies that the server builds once and shares between all readers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use heartbeat_status::{Instant, RealmIx, Snapshot, printed};
use heartbeat_wire::About;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, StatusCode};
use tokio::sync::Mutex as Turn;

use crate::answers::answer::{self, Answer};
use crate::answers::gzip;
use crate::answers::problem::ApiError;
use crate::backend::Backend;
use crate::limits::BODY_AGE;

/// A body and what it was made of.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    /// The same compressed, once a reader has asked for that. All others share it.
    gzip: OnceLock<Option<Bytes>>,
    /// The tag `"INSTANCE-REVISION"`.
    tag: HeaderValue,
    revision: u64,
    snapshot_at: Instant,
    made_at: Instant,
    ok: bool,
}

impl Body {
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The answer with this body: 304 when `headers` say that the reader has this meaning already, unless `status` is
    /// not 200.
    pub(crate) fn answer(&self, status: StatusCode, media_type: HeaderValue, headers: &HeaderMap) -> Answer {
        let known = status == StatusCode::OK && has_tag(headers, &self.tag);
        let is_wanted = self.bytes.len() >= gzip::MIN_BYTES && gzip::is_accepted(headers);
        let gzip = if is_wanted { self.compressed() } else { None };
        let is_gzip = gzip.is_some();
        let mut answer = if known {
            let mut answer = answer::whole(Bytes::new());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            answer
        } else {
            let mut answer = answer::whole(gzip.unwrap_or_else(|| self.bytes()));
            *answer.status_mut() = status;
            answer::set_type(&mut answer, media_type);
            if is_gzip {
                answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            answer
        };
        // A reader may keep it, but asks each time: numbers move without the tag.
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
        answer.headers_mut().insert(ETAG, if is_gzip { weak(&self.tag) } else { self.tag.clone() });
        answer
    }

    fn compressed(&self) -> Option<Bytes> {
        self.gzip.get_or_init(|| gzip::compressed(&self.bytes).map(Bytes::from)).clone()
    }

    /// The ecosystem was ok in the snapshot this was made of.
    pub(crate) fn ok(&self) -> bool {
        self.ok
    }
}

/// How fresh a body the reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The same meaning, with figures up to [`BODY_AGE`] old.
    Recent,
    /// The newest snapshot, for a reader that has just refreshed.
    Newest,
}

/// One document for one kind of reader: its newest body, and the lock under which one task builds the next.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Some of the readers have no role: see [`About::public`].
    public: bool,
    /// It may have text that a command has printed, or that a person has written.
    has_text: bool,
    body: Mutex<Option<Arc<Body>>>,
    building: Turn<()>,
}

/// What a body is made of.
pub(crate) struct Source<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) about: &'a About,
    pub(crate) now: Instant,
}

impl Slot {
    pub(crate) fn new(public: bool) -> Self {
        Self { public, has_text: true, body: Mutex::default(), building: Turn::default() }
    }

    /// For all readers together: names of the configuration, words of closed lists, and numbers.
    fn of_names() -> Self {
        Self { has_text: false, ..Self::new(true) }
    }

    fn current(&self, snapshot: &Snapshot, now: Instant, freshness: Freshness) -> Option<Arc<Body>> {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let young = now.since(body.made_at) < BODY_AGE;
        let seen = freshness == Freshness::Recent || body.snapshot_at >= snapshot.at;
        (body.revision == snapshot.revision && young && seen).then_some(body)
    }
}

/// A document for both kinds of readers.
#[derive(Debug)]
struct Pair {
    own: Slot,
    public: Slot,
}

impl Default for Pair {
    fn default() -> Self {
        Self { own: Slot::new(false), public: Slot::new(true) }
    }
}

impl Pair {
    fn of(&self, public: bool) -> &Slot {
        if public { &self.public } else { &self.own }
    }
}

/// Every document that is shared.
#[derive(Debug)]
pub(crate) struct Bodies {
    status: Pair,
    summary: Pair,
    page: Pair,
    graph: Pair,
    pub(crate) dot: Slot,
    pub(crate) mermaid: Slot,
    pub(crate) metrics: Slot,
    pub(crate) metrics_text: Slot,
    /// By realm and kind of reader: at most two per realm of the plan.
    realms: Mutex<BTreeMap<(RealmIx, bool), Arc<Slot>>>,
    built: AtomicU64,
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            status: Pair::default(),
            summary: Pair::default(),
            page: Pair::default(),
            graph: Pair::default(),
            dot: Slot::new(true),
            mermaid: Slot::new(true),
            metrics: Slot::of_names(),
            metrics_text: Slot::of_names(),
            realms: Mutex::default(),
            built: AtomicU64::new(0),
        }
    }
}

impl Bodies {
    /// The slot of the whole status, for the socket or for readers without a role.
    pub(crate) fn status(&self, public: bool) -> &Slot {
        self.status.of(public)
    }

    /// The slot of the status without its realms.
    pub(crate) fn summary(&self, public: bool) -> &Slot {
        self.summary.of(public)
    }

    /// The slot of the graph.
    pub(crate) fn graph(&self, public: bool) -> &Slot {
        self.graph.of(public)
    }

    /// The slot of the page.
    pub(crate) fn page(&self, public: bool) -> &Slot {
        self.page.of(public)
    }

    /// The slot of a realm of the plan, for the socket (with its output) or for readers without a role.
    pub(crate) fn realm(&self, ix: RealmIx, public: bool) -> Arc<Slot> {
        let mut realms = self.realms.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(realms.entry((ix, public)).or_insert_with(|| Arc::new(Slot::new(public))))
    }

    /// Bodies built so far.
    pub(crate) fn built(&self) -> u64 {
        self.built.load(Ordering::Relaxed)
    }

    /// The body of `slot`. `build` makes a new one unless the current one is fresh enough.
    pub(crate) async fn get(
        &self,
        slot: &Slot,
        ecosystem: &dyn Backend,
        freshness: Freshness,
        build: impl FnOnce(&Source<'_>) -> Result<Vec<u8>, serde_json::Error> + Send,
    ) -> Result<Arc<Body>, ApiError> {
        if let Some(body) = slot.current(&ecosystem.snapshot(), ecosystem.now(), freshness) {
            return Ok(body);
        }
        let _turn = slot.building.lock().await;
        // The reader that held the lock before may have built it.
        let (snapshot, now) = (ecosystem.snapshot(), ecosystem.now());
        if let Some(body) = slot.current(&snapshot, now, freshness) {
            return Ok(body);
        }
        let about = About { public: slot.public, ..ecosystem.about() };
        let bytes = build(&Source { snapshot: &snapshot, about: &about, now });
        let mut bytes = bytes.map_err(|error| ApiError::unwritable(&error))?;
        if slot.has_text {
            bytes = printed::document(bytes, slot.public);
        }
        self.built.fetch_add(1, Ordering::Relaxed);
        let body = Arc::new(Body {
            bytes: Bytes::from(bytes),
            gzip: OnceLock::new(),
            tag: tag(&about.instance, snapshot.revision),
            revision: snapshot.revision,
            snapshot_at: snapshot.at,
            made_at: now,
            ok: snapshot.is_ok(),
        });
        *slot.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&body));
        Ok(body)
    }
}

/// Whether `If-None-Match` names `tag` (weak comparison) or any tag at all.
fn has_tag(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let Ok(tag) = tag.to_str() else { return false };
    answer::values(headers, IF_NONE_MATCH)
        .flat_map(|value| value.split(','))
        .map(|known| known.trim())
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// The tag of another form of the same body: byte by byte they differ.
fn weak(tag: &HeaderValue) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from([b"W/", tag.as_bytes()].concat()))
        .unwrap_or_else(|_| tag.clone())
}

fn tag(instance: &str, revision: u64) -> HeaderValue {
    // heartbeatd makes the instance a short word; were it anything else, the tag would match no reader's.
    HeaderValue::from_str(&format!("\"{instance}-{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}
