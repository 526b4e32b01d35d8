//! The places of one listener: how many connections there may be, and which idle one is closed for a new one.
//!
//! A connection is idle while it has no request under way and its last answer is with the kernel. When a listener is
//! full, the connection that has been idle longest gives its place to the one that comes, so that clients that connect
//! and say nothing cannot keep others out. A connection that is being answered is never closed for another.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::limits::RESERVED_PLACES;
use crate::requests::access::Caller;
use crate::requests::role::Role;

/// Where there are at least this many places, streams leave one in so many to requests that the server answers at once.
const SHARE_OF_REQUESTS: usize = 4;

/// Longest wait for an idle connection to close and leave its place.
const EVICTION_LIMIT: Duration = Duration::from_secs(1);

/// What a connection is doing. Shared by its place, its stream and its requests.
#[derive(Debug)]
pub(crate) struct Activity {
    clock: Arc<AtomicU64>,
    /// Requests and bodies of answers that are not at their end.
    under_way: AtomicUsize,
    /// The kernel has everything that was to be sent.
    flushed: AtomicBool,
    /// The turn in which the connection became idle: the smaller, the longer ago.
    idle_since: AtomicU64,
    /// It is a stream or a long poll, which lasts as long as its reader wants and resumes where it ended.
    streams: AtomicBool,
    /// Another connection wants the place.
    evicted: Notify,
}

impl Activity {
    fn new(clock: Arc<AtomicU64>) -> Self {
        let now = clock.fetch_add(1, Ordering::Relaxed);
        Self {
            clock,
            under_way: AtomicUsize::new(0),
            flushed: AtomicBool::new(true),
            idle_since: AtomicU64::new(now),
            streams: AtomicBool::new(false),
            evicted: Notify::new(),
        }
    }

    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.flushed.store(false, Ordering::SeqCst);
        UnderWay(Arc::clone(self))
    }

    /// The kernel has taken everything that was written so far.
    pub(crate) fn note_flushed(&self) {
        if self.under_way.load(Ordering::SeqCst) == 0 && !self.flushed.swap(true, Ordering::SeqCst) {
            self.idle_since.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::SeqCst);
        }
    }

    fn idle_since(&self) -> Option<u64> {
        let idle = self.flushed.load(Ordering::SeqCst) && self.under_way.load(Ordering::SeqCst) == 0;
        idle.then(|| self.idle_since.load(Ordering::SeqCst))
    }

    /// Returns when this connection has to close for another.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

/// A request, or the body of its answer, that is not at its end.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The body of an answer, which keeps its connection from being idle.
pub(crate) struct Answering<B> {
    pub(crate) body: B,
    pub(crate) _under_way: UnderWay,
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[derive(Debug)]
struct Taken {
    admin: bool,
    activity: Arc<Activity>,
    evicted: bool,
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeMap<u64, Taken>,
    next: u64,
}

/// The places of one listener.
#[derive(Debug)]
pub(crate) struct Places {
    /// The number of places: a reload may change it.
    most: watch::Receiver<usize>,
    /// Places kept for administrators.
    reserved: usize,
    state: Mutex<State>,
    freed: Notify,
    clock: Arc<AtomicU64>,
    streams: AtomicUsize,
}

/// One of the places that streams may take, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    places: Arc<Places>,
    activity: Arc<Activity>,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.activity.streams.store(false, Ordering::SeqCst);
        self.places.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(crate) activity: Arc<Activity>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().taken.remove(&self.number);
        self.places.freed.notify_one();
    }
}

/// What a new connection gets.
enum Found {
    Place(u64, Arc<Activity>),
    /// An idle connection was asked to close.
    Soon,
    Full,
}

impl Places {
    fn new(most: watch::Receiver<usize>, reserved: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            reserved,
            state: Mutex::default(),
            freed: Notify::new(),
            clock: Arc::default(),
            streams: AtomicUsize::new(0),
        })
    }

    pub(crate) fn of_tcp(most: watch::Receiver<usize>) -> Arc<Self> {
        Self::new(most, 0)
    }

    pub(crate) fn of_socket(most: watch::Receiver<usize>) -> Arc<Self> {
        Self::new(most, RESERVED_PLACES)
    }

    fn most(&self) -> usize {
        *self.most.borrow()
    }

    /// The places for callers other than administrators. A listener with very few places reserves none.
    fn common(&self) -> usize {
        let most = self.most();
        if most > self.reserved { most - self.reserved } else { most }
    }

    /// The number of places, from now on.
    pub(crate) fn sizes(&self) -> watch::Receiver<usize> {
        self.most.clone()
    }

    /// Closes the connections that exceed the number of places: those that have been idle longest, then the oldest
    /// streams. A request in progress is answered first.
    pub(crate) fn shrink(&self) {
        let most = self.most();
        let mut state = self.state();
        let leaving = state.taken.values().filter(|taken| taken.evicted).count();
        let excess = state.taken.len().saturating_sub(leaving + most);
        let mut candidates: Vec<(bool, u64, &mut Taken)> = state
            .taken
            .iter_mut()
            .filter(|(_, taken)| !taken.evicted)
            .filter_map(|(number, taken)| {
                let idle = taken.activity.idle_since();
                let streams = taken.activity.streams.load(Ordering::SeqCst);
                let since = idle.or(streams.then_some(*number))?;
                Some((idle.is_none(), since, taken))
            })
            .collect();
        candidates.sort_by_key(|(streams, since, _)| (*streams, *since));
        for (_, _, taken) in candidates.into_iter().take(excess) {
            taken.evicted = true;
            taken.activity.evicted.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection. If none is free, the connection that has been idle longest gives up its place;
    /// `None` when every connection is being answered.
    pub(crate) async fn take(self: &Arc<Self>, caller: Caller) -> Option<Place> {
        let admin = matches!(caller, Caller::Unix { role: Role::Admin, .. });
        let attempt = async {
            loop {
                match self.find(admin) {
                    Found::Place(number, activity) => return Some((number, activity)),
                    Found::Soon => self.freed.notified().await,
                    Found::Full => return None,
                }
            }
        };
        let (number, activity) = timeout(EVICTION_LIMIT, attempt).await.ok().flatten()?;
        Some(Place { places: Arc::clone(self), number, activity })
    }

    fn find(&self, admin: bool) -> Found {
        let mut state = self.state();
        let common = state.taken.values().filter(|taken| !taken.admin).count();
        let common_full = !admin && common >= self.common();
        if state.taken.len() < self.most() && !common_full {
            let (number, activity) = (state.next, Arc::new(Activity::new(Arc::clone(&self.clock))));
            state.next += 1;
            state.taken.insert(number, Taken { admin, activity: Arc::clone(&activity), evicted: false });
            return Found::Place(number, activity);
        }
        // The connection that has been idle longest; only of readers, where readers have their whole share.
        let candidates = state.taken.values_mut().filter(|taken| !common_full || !taken.admin);
        let idle = candidates.filter_map(|taken| Some((taken.activity.idle_since()?, taken)));
        match idle.min_by_key(|(since, taken)| (taken.evicted, *since)) {
            None => Found::Full,
            Some((_, taken)) => {
                if !taken.evicted {
                    taken.evicted = true;
                    taken.activity.evicted.notify_one();
                }
                Found::Soon
            }
        }
    }

    /// A place for a stream or a long poll on that connection; `None` when all stream places are taken.
    pub(crate) fn take_stream(self: &Arc<Self>, activity: &Arc<Activity>) -> Option<StreamPlace> {
        let most = self.most();
        let streams = self.common().min(most - most / SHARE_OF_REQUESTS);
        let one_more = |taken: usize| (taken < streams).then_some(taken + 1);
        self.streams.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        activity.streams.store(true, Ordering::SeqCst);
        Some(StreamPlace { places: Arc::clone(self), activity: Arc::clone(activity) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role) -> Caller {
        Caller::Unix { role, uid: Some(0) }
    }

    /// Takes `count` places, for as long as the sender lives.
    fn places(
        of: fn(watch::Receiver<usize>) -> Arc<Places>,
        most: usize,
    ) -> (Arc<Places>, watch::Sender<usize>) {
        let (sender, receiver) = watch::channel(most);
        (of(receiver), sender)
    }

    fn activity() -> Arc<Activity> {
        Arc::new(Activity::new(Arc::default()))
    }

    /// Places whose connections are all being answered.
    async fn busy(places: &Arc<Places>, role: Role, count: usize) -> Vec<(Place, UnderWay)> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let Some(place) = places.take(caller(role)).await else { break };
            let under_way = place.activity.begin();
            taken.push((place, under_way));
        }
        taken
    }

    #[tokio::test]
    async fn readers_cannot_take_the_places_of_administrators() {
        let (places, _most) = places(Places::of_socket, 32);
        let readers = busy(&places, Role::Read, 40).await;
        assert_eq!(readers.len(), 24);
        let admins = busy(&places, Role::Admin, 40).await;
        assert_eq!(admins.len(), 8);
        drop(readers);
        assert!(places.take(caller(Role::Read)).await.is_some());
    }

    #[tokio::test]
    async fn streams_leave_places_for_requests() {
        let (many, _most) = places(Places::of_socket, 32);
        let mut streams: Vec<_> = (0..40).filter_map(|_| many.take_stream(&activity())).collect();
        assert_eq!(streams.len(), 24);
        streams.pop();
        assert!(many.take_stream(&activity()).is_some(), "free again");
        let (many, _most) = places(Places::of_tcp, 256);
        let streams: Vec<_> = (0..300).filter_map(|_| many.take_stream(&activity())).collect();
        assert_eq!(streams.len(), 192, "followers leave places for requests");
        let (few, _most) = places(Places::of_socket, 2);
        assert!(few.take(caller(Role::Read)).await.is_some() && few.take_stream(&activity()).is_some());
    }

    #[tokio::test]
    async fn the_connection_that_is_idle_longest_gives_its_place_away() {
        let (places, _most) = places(Places::of_tcp, 3);
        let answered = places.take(caller(Role::Read)).await.unwrap();
        let under_way = answered.activity.begin();
        let idle = places.take(caller(Role::Read)).await.unwrap();
        let later = places.take(caller(Role::Read)).await.unwrap();
        let closes = tokio::spawn(async move {
            idle.activity.evicted().await;
            drop(idle);
        });
        let new = places.take(caller(Role::Read)).await.expect("the idle one gives way");
        closes.await.unwrap();
        let new_request = new.activity.begin();
        let later_request = later.activity.begin();
        assert!(places.take(caller(Role::Admin)).await.is_none(), "all are being answered");
        // The answer is complete but not yet with the kernel: the server must not cut it off.
        drop(under_way);
        assert!(places.take(caller(Role::Read)).await.is_none());
        answered.activity.note_flushed();
        // A connection that does not close in time keeps its place.
        assert!(places.take(caller(Role::Read)).await.is_none());
        drop((answered, new_request, later_request, later, new));
        assert!(places.take(caller(Role::Read)).await.is_some());
    }

    #[tokio::test]
    async fn where_there_are_fewer_places_idle_connections_close_and_then_streams_but_no_request() {
        let (places, most) = places(Places::of_tcp, 6);
        let mut taken = Vec::new();
        for _ in 0..6 {
            taken.push(places.take(caller(Role::Read)).await.unwrap());
        }
        // A request under way, two streams, of which the second is the younger, and three idle connections.
        let _under_way: Vec<UnderWay> = taken[..3].iter().map(|place| place.activity.begin()).collect();
        let _streams: Vec<_> = taken[1..3].iter().map(|place| places.take_stream(&place.activity)).collect();
        let closes = |at: usize| {
            let activity = Arc::clone(&taken[at].activity);
            async move { timeout(Duration::from_millis(20), activity.evicted()).await.is_ok() }
        };
        let mut sizes = places.sizes();
        most.send_replace(5);
        sizes.changed().await.unwrap();
        places.shrink();
        places.shrink();
        assert!(closes(3).await && !closes(4).await, "the one that is idle longest, and once");
        most.send_replace(2);
        places.shrink();
        assert!(
            closes(4).await && closes(5).await && closes(1).await && !closes(2).await,
            "the older stream"
        );
        most.send_replace(0);
        places.shrink();
        assert!(closes(2).await && !closes(0).await, "a request under way is answered");
        assert!(places.take(caller(Role::Read)).await.is_none() && places.take_stream(&activity()).is_none());
        most.send_replace(7);
        assert!(places.take(caller(Role::Read)).await.is_some());
    }

    #[tokio::test]
    async fn a_reader_never_closes_the_connection_of_an_administrator_for_more_than_its_share() {
        let (places, _most) = places(Places::of_socket, 10);
        let admin = places.take(caller(Role::Admin)).await.unwrap();
        let readers = busy(&places, Role::Read, 2).await;
        assert_eq!(readers.len(), 2);
        assert!(places.take(caller(Role::Read)).await.is_none());
        let told = timeout(Duration::from_millis(50), admin.activity.evicted()).await;
        assert!(told.is_err(), "it was left alone");
    }
}
