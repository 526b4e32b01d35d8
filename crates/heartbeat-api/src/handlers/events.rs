//! `GET /api/events/`: server-sent events. Each follower has a task that waits for the shared frames. A follower that
//! takes frames too slowly gets one update in place of the frames that it missed, which it shares with others; the server
//! drops one that takes nothing.

use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Method};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::timeout;

use crate::answers::answer::{ALIVE, Answer, LAST_EVENT_ID, stream};
use crate::answers::feed::{Feed, Frame, Kind};
use crate::answers::problem::ApiError;
use crate::backend::Backend;
use crate::connections::closing::{Closing, closes};
use crate::limits::{COMMENT_EVERY, MAX_PAST_FACTS};
use crate::requests::query::Query;

/// What a follower asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    /// Snapshots and deltas.
    states: bool,
    /// Events, one by one.
    facts: bool,
    /// How many past facts come first.
    past: usize,
    /// Continues until one side ends it.
    follow: bool,
}

impl Wish {
    fn of(query: &Query<'_>) -> Result<Self, ApiError> {
        let (states, facts) = match query.get("facts") {
            None | Some("0" | "false") => (true, false),
            Some("1" | "true" | "") => (true, true),
            Some("only") => (false, true),
            Some(_) => return Err(ApiError::bad("`facts` is 1, 0, or only (without snapshots and deltas)")),
        };
        let past = match query.get("past") {
            None => 0,
            Some(text) => text.parse().ok().filter(|past| *past <= MAX_PAST_FACTS).ok_or_else(|| {
                ApiError::bad(format!("`past` is a number of facts up to {MAX_PAST_FACTS}"))
            })?,
        };
        if past > 0 && !facts {
            return Err(ApiError::bad("`past` goes with facts=1 or facts=only"));
        }
        let follow = query.get("follow").is_none() || query.switch("follow")?;
        Ok(Self { states, facts, past, follow })
    }
}

/// The state of a follower.
struct Follower {
    ecosystem: Arc<dyn Backend>,
    feed: Arc<Feed>,
    wish: Wish,
    frames: broadcast::Receiver<Frame>,
    out: mpsc::Sender<Bytes>,
    revision: u64,
    seq: u64,
}

/// Begins to answer; a task sends the rest.
pub(crate) fn follow(
    ecosystem: &Arc<dyn Backend>,
    feed: &Arc<Feed>,
    query: &Query<'_>,
    headers: &HeaderMap,
    method: &Method,
    closing: watch::Receiver<Closing>,
) -> Result<Answer, ApiError> {
    let wish = Wish::of(query)?;
    let since = headers.get(LAST_EVENT_ID).map(|id| since(&**ecosystem, id));
    let (out, answer) = stream();
    if *method != Method::HEAD {
        let follower = Follower {
            ecosystem: Arc::clone(ecosystem),
            feed: Arc::clone(feed),
            wish,
            frames: feed.follow(ecosystem),
            out,
            revision: 0,
            seq: 0,
        };
        tokio::spawn(follower.run(since.flatten(), since.is_some(), closing));
    }
    Ok(answer)
}

/// The revision of `INSTANCE.REVISION`; `None` for another life of heartbeatd, or for another form.
fn since(ecosystem: &dyn Backend, id: &HeaderValue) -> Option<u64> {
    let (instance, revision) = id.to_str().ok()?.rsplit_once('.')?;
    (instance == ecosystem.about().instance).then(|| revision.parse().ok())?
}

impl Follower {
    async fn run(mut self, since: Option<u64>, resumes: bool, mut closing: watch::Receiver<Closing>) {
        let working = async {
            self.begin(since, resumes).await?;
            while self.wish.follow {
                self.next().await?;
            }
            Some(())
        };
        tokio::select! {
            // The end of the stream tells the client.
            () = closes(&mut closing) => {}
            _ = working => {}
        }
    }

    /// `None`: the client has gone.
    async fn send(&self, bytes: Bytes) -> Option<()> {
        self.out.send(bytes).await.ok()
    }

    async fn send_frame(&mut self, frame: Frame) -> Option<()> {
        match frame.kind {
            Kind::EventRecord if self.wish.facts && frame.seq > self.seq => self.seq = frame.seq,
            Kind::Snapshot | Kind::Delta if self.wish.states && frame.revision > self.revision => {
                self.revision = frame.revision;
            }
            // The client did not ask for it, or has it already.
            _ => return Some(()),
        }
        self.send(frame.bytes()).await
    }

    /// Sends what the client missed, or the whole state.
    async fn begin(&mut self, since: Option<u64>, resumes: bool) -> Option<()> {
        let mut facts = if self.wish.facts { self.feed.facts(&*self.ecosystem, 0) } else { Vec::new() };
        self.seq = facts.last().map_or(0, |fact| fact.seq);
        match since {
            Some(since) => facts.retain(|fact| fact.revision >= since),
            // The identifier is from another life of heartbeatd, so everything is new to the reader.
            None if resumes => {}
            None => drop(facts.drain(..facts.len().saturating_sub(self.wish.past))),
        }
        self.catch_up(facts, since).await
    }

    /// Sends these facts, and then the state that goes with them. Where the client asked for both, only the state has
    /// an identifier: it comes last, so a client that has it has had everything.
    async fn catch_up(&mut self, facts: Vec<Frame>, since: Option<u64>) -> Option<()> {
        for fact in facts {
            let bytes = if self.wish.states { fact.bytes_without_id() } else { fact.bytes() };
            self.send(bytes).await?;
        }
        if !self.wish.states {
            return Some(());
        }
        let frame = self.feed.catch_up(&*self.ecosystem, since)?;
        self.revision = frame.revision;
        self.send(frame.bytes()).await
    }

    async fn next(&mut self) -> Option<()> {
        match timeout(COMMENT_EVERY, self.frames.recv()).await {
            Ok(Ok(frame)) => self.send_frame(frame).await,
            Ok(Err(RecvError::Lagged(_))) => {
                let facts =
                    if self.wish.facts { self.feed.facts(&*self.ecosystem, self.seq) } else { Vec::new() };
                self.seq = facts.last().map_or(self.seq, |fact| fact.seq);
                self.catch_up(facts, Some(self.revision)).await
            }
            Ok(Err(RecvError::Closed)) => None,
            Err(_) => self.send(ALIVE).await,
        }
    }
}
