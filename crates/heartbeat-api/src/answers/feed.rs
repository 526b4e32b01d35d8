//! Frames of `/api/events/`: one task makes them once, and all clients that follow share them.
//!
//! While a client follows, one task turns published snapshots and events into frames: a fact for every event, a delta
//! for every change of meaning, and a whole snapshot when the set of realms changes. The identifier of a frame is
//! `INSTANCE.REVISION`: a client that has it has seen everything up to that revision. A fact carries the revision that
//! was in force when it happened, so a client that read a fact but not the change that followed gets the fact again.
//! Frames that bring a client up to date carry no identifier until the last one: a client that loses the connection in
//! between gets all of them again. They are shared as well: however many clients are behind, the feed makes a bounded
//! number of them for each revision.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use heartbeat_status::{Instant, RealmStatus, Snapshot, printed};
use heartbeat_wire::{About, DeltaDocument, StatusDocument};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::backend::Backend;
use crate::limits::{BODY_AGE, MAX_CATCH_UP_DELTAS, MAX_FRAMES_SHARED, MAX_PAST_FACTS};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Snapshot,
    Delta,
    EventRecord,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Delta => "delta",
            Self::EventRecord => "fact",
        }
    }
}

/// One event of the stream.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) revision: u64,
    /// Number of the fact; 0 for the others.
    pub(crate) seq: u64,
    bytes: Bytes,
    /// Where the identifier stands in the bytes, with its line end.
    id: Range<usize>,
}

impl Frame {
    /// As it is sent.
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The same without its identifier: a reader who has it does not count as having everything before it.
    pub(crate) fn bytes_without_id(&self) -> Bytes {
        [&self.bytes[..self.id.start], &self.bytes[self.id.end..]].concat().into()
    }

    /// A document as an event. JSON without spaces has no line break in it.
    fn of(kind: Kind, about: &About, revision: u64, seq: u64, document: &impl Serialize) -> Option<Self> {
        let instance = &about.instance;
        let mut text = format!("event: {}\n", kind.as_str()).into_bytes();
        let from = text.len();
        text.extend_from_slice(format!("id: {instance}.{revision}\n").as_bytes());
        let id = from..text.len();
        text.extend_from_slice(b"data: ");
        text.extend(printed::document(serde_json::to_vec(document).ok()?, about.public));
        text.extend_from_slice(b"\n\n");
        Some(Self { kind, revision, seq, bytes: text.into(), id })
    }
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    last: Option<Arc<Snapshot>>,
    /// The revision at which each realm last changed, counted from when this feed began to watch it.
    changed_at: Vec<u64>,
    /// The revision at which the set of realms last changed, or at which this feed began to watch.
    whole_at: u64,
    fact_seq: u64,
    /// The remembered facts, the oldest first.
    facts: VecDeque<Frame>,
    catch_ups: CatchUps,
    /// Frames made so far.
    built: u64,
}

/// Frames for followers that are behind. All followers share them.
#[derive(Debug, Default)]
struct CatchUps {
    revision: u64,
    made_at: Instant,
    /// The whole snapshot.
    whole: Option<Frame>,
    /// What has changed since a revision.
    deltas: Vec<(u64, Frame)>,
}

/// The frames and their making.
#[derive(Debug)]
pub(crate) struct Feed {
    /// For readers without a role.
    public: bool,
    frames: broadcast::Sender<Frame>,
    state: Mutex<State>,
}

impl Feed {
    /// `public`: the readers have no role.
    pub(crate) fn new(public: bool) -> Self {
        Self { public, frames: broadcast::Sender::new(MAX_FRAMES_SHARED), state: Mutex::default() }
    }

    fn about(&self, ecosystem: &dyn Backend) -> About {
        About { public: self.public, ..ecosystem.about() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows from now on.
    pub(crate) fn follow(self: &Arc<Self>, ecosystem: &Arc<dyn Backend>) -> broadcast::Receiver<Frame> {
        let mut state = self.state();
        let receiver = self.frames.subscribe();
        if !std::mem::replace(&mut state.running, true) {
            state.begin(&**ecosystem, &self.about(&**ecosystem));
            tokio::spawn(Arc::clone(self).make(Arc::clone(ecosystem)));
        }
        receiver
    }

    /// Makes frames until no client follows any more.
    async fn make(self: Arc<Self>, ecosystem: Arc<dyn Backend>) {
        let mut changes = ecosystem.changes();
        loop {
            changes.borrow_and_update();
            {
                let mut state = self.advanced(&*ecosystem, &self.about(&*ecosystem));
                if self.frames.receiver_count() == 0 {
                    state.running = false;
                    return;
                }
            }
            if changes.changed().await.is_err() {
                self.state().running = false;
                return;
            }
        }
    }

    /// The remembered facts after the one with the number `after`.
    pub(crate) fn facts(&self, ecosystem: &dyn Backend, after: u64) -> Vec<Frame> {
        let state = self.advanced(ecosystem, &self.about(ecosystem));
        state.facts.iter().filter(|fact| fact.seq > after).cloned().collect()
    }

    /// What a reader of the state at `since` has missed: a delta, or a whole snapshot where the feed cannot tell, or
    /// where others have missed too many other things.
    pub(crate) fn catch_up(&self, ecosystem: &dyn Backend, since: Option<u64>) -> Option<Frame> {
        let about = self.about(ecosystem);
        self.advanced(ecosystem, &about).catch_up(ecosystem.now(), &about, since)
    }

    /// Frames made so far.
    pub(crate) fn built(&self) -> u64 {
        self.state().built
    }

    /// The state after everything that has happened, of which all followers get the frames.
    fn advanced(&self, ecosystem: &dyn Backend, about: &About) -> MutexGuard<'_, State> {
        let mut state = self.state();
        for frame in state.advance(ecosystem, about) {
            // The last follower may have gone meanwhile.
            let _ = self.frames.send(frame);
        }
        state
    }
}

impl State {
    fn begin(&mut self, ecosystem: &dyn Backend, about: &About) {
        self.facts.clear();
        self.fact_seq = 0;
        self.take_facts(ecosystem, about);
        self.catch_ups = CatchUps::default();
        let snapshot = ecosystem.snapshot();
        self.changed_at = vec![snapshot.revision; snapshot.realms.len()];
        self.whole_at = snapshot.revision;
        self.last = Some(snapshot);
    }

    /// Frames of everything that happened since the last call, in the order of their identifiers.
    fn advance(&mut self, ecosystem: &dyn Backend, about: &About) -> Vec<Frame> {
        let facts = self.take_facts(ecosystem, about);
        let snapshot = ecosystem.snapshot();
        let (mut frames, later): (Vec<Frame>, Vec<Frame>) =
            facts.into_iter().partition(|fact| fact.revision < snapshot.revision);
        frames.extend(self.change(ecosystem.now(), about, &snapshot));
        frames.extend(later);
        frames
    }

    /// Frames of the facts since the last call, which are remembered.
    fn take_facts(&mut self, ecosystem: &dyn Backend, about: &About) -> Vec<Frame> {
        let frame = |fact: crate::backend::EventRecord| {
            Frame::of(Kind::EventRecord, about, fact.revision, fact.entry.seq, &*fact.entry)
        };
        let facts: Vec<Frame> = ecosystem.facts(self.fact_seq).into_iter().filter_map(frame).collect();
        self.built += facts.len() as u64;
        self.fact_seq = facts.last().map_or(self.fact_seq, |fact| fact.seq);
        self.facts.extend(facts.iter().cloned());
        self.facts.drain(..self.facts.len().saturating_sub(MAX_PAST_FACTS));
        facts
    }

    /// Brings a follower of the state at `since` up to date.
    fn catch_up(&mut self, now: Instant, about: &About, since: Option<u64>) -> Option<Frame> {
        let snapshot = self.last.clone()?;
        let revision = snapshot.revision;
        let caught_up = &mut self.catch_ups;
        if caught_up.revision != revision || now.since(caught_up.made_at) >= BODY_AGE {
            *caught_up = CatchUps { revision, made_at: now, ..CatchUps::default() };
        }
        if let Some(since) = since.filter(|since| *since >= self.whole_at && *since <= revision) {
            if let Some((_, delta)) = caught_up.deltas.iter().find(|(of, _)| *of == since) {
                return Some(delta.clone());
            }
            if caught_up.deltas.len() < MAX_CATCH_UP_DELTAS {
                let missed = |realm: &RealmStatus| {
                    self.changed_at.get(realm.info.ix.index()).is_none_or(|changed| *changed > since)
                };
                let delta = DeltaDocument::render(&snapshot, about, now, missed);
                let frame = Frame::of(Kind::Delta, about, revision, 0, &delta)?;
                self.built += 1;
                caught_up.deltas.push((since, frame.clone()));
                return Some(frame);
            }
        }
        if caught_up.whole.is_none() {
            let document = StatusDocument::render(&snapshot, about, now);
            caught_up.whole = Frame::of(Kind::Snapshot, about, revision, 0, &document);
            self.built += 1;
        }
        caught_up.whole.clone()
    }

    fn change(&mut self, now: Instant, about: &About, snapshot: &Arc<Snapshot>) -> Option<Frame> {
        let last = self.last.replace(Arc::clone(snapshot))?;
        if last.revision == snapshot.revision {
            return None;
        }
        let revision = snapshot.revision;
        self.built += 1;
        let infos = |snapshot: &Snapshot| {
            let infos = snapshot.realms.iter().map(|realm| Arc::as_ptr(&realm.info));
            infos.collect::<Vec<_>>()
        };
        if last.start_order != snapshot.start_order || infos(&last) != infos(snapshot) {
            self.changed_at = vec![revision; snapshot.realms.len()];
            self.whole_at = revision;
            let document = StatusDocument::render(snapshot, about, now);
            return Frame::of(Kind::Snapshot, about, revision, 0, &document);
        }
        let pairs = self.changed_at.iter_mut().zip(last.realms.iter().zip(&snapshot.realms));
        for (changed_at, (before, after)) in pairs {
            if !Arc::ptr_eq(before, after) && !after.means_the_same(before) {
                *changed_at = revision;
            }
        }
        let changed = |realm: &RealmStatus| self.changed_at.get(realm.info.ix.index()) == Some(&revision);
        let delta = DeltaDocument::render(snapshot, about, now, changed);
        Frame::of(Kind::Delta, about, revision, 0, &delta)
    }
}
