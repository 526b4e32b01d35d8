//! The places of one listener: how many connections there may be, and which one is closed for a new one.
//!
//! A connection yields while the next step is its client's: it has no request under way and its last answer is with the
//! kernel, or the body of its request does not come, or it does not take its answer. When a listener is full, the
//! connection that has yielded longest gives its place to the one that comes, so that clients which connect and then do
//! nothing cannot keep others out. A connection that the server is answering is closed for another only on the Unix
//! socket, for a user who has none.
//!
//! On the Unix socket the kernel says whose a connection is. Some places are for administrators alone, and some of these
//! for root; no other user has all of the rest; and a place is taken from the user who has the most. However many users
//! have taken the rest, one who has no place gets one: of the user who has the most, and where each has one place, of the
//! user who has had it longest.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::limits::{RESERVED_PLACES, ROOT_PLACES};
use crate::requests::access::Caller;
use crate::requests::role::Role;

/// Streams leave one place in so many to requests that the server answers at once, and at least one where there are two.
const SHARE_OF_REQUESTS: usize = 4;
/// One user leaves one in so many of the common places to others.
const SHARE_OF_OTHERS: usize = 4;

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
    /// The server waits for the body of a request.
    awaits_body: AtomicBool,
    /// The client does not take its answer.
    is_stalled: AtomicBool,
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
            awaits_body: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
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

    /// The next step is the client's. The turn in which it was idle last tells for how long.
    fn yields_since(&self) -> Option<u64> {
        let idle = self.flushed.load(Ordering::SeqCst) && self.under_way.load(Ordering::SeqCst) == 0;
        let yields =
            idle || self.awaits_body.load(Ordering::SeqCst) || self.is_stalled.load(Ordering::SeqCst);
        yields.then(|| self.idle_since.load(Ordering::SeqCst))
    }

    /// The server waits for the body of a request, until the value is dropped.
    pub(crate) fn await_body(&self) -> AwaitsBody<'_> {
        self.awaits_body.store(true, Ordering::SeqCst);
        AwaitsBody(self)
    }

    /// Notes whether the client takes its answer.
    pub(crate) fn note_stalled(&self, stalled: bool) {
        self.is_stalled.store(stalled, Ordering::SeqCst);
    }

    /// Returns when this connection has to close for another.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

/// A request whose body has not come.
#[derive(Debug)]
pub(crate) struct AwaitsBody<'a>(&'a Activity);

impl Drop for AwaitsBody<'_> {
    fn drop(&mut self) {
        self.0.awaits_body.store(false, Ordering::SeqCst);
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

/// The user at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    /// `None` over TCP, and where the kernel does not say it.
    uid: Option<u32>,
    admin: bool,
}

impl User {
    fn of(caller: Caller) -> Self {
        Self { uid: caller.uid(), admin: matches!(caller, Caller::Unix { role: Role::Admin, .. }) }
    }

    fn is_root(self) -> bool {
        self.admin && self.uid == Some(0)
    }
}

/// Connections of which there may be a number at a time.
#[derive(Clone, Copy, Debug)]
enum Group {
    /// Those of one user who is no administrator.
    Own(u32),
    /// Those of everyone but administrators.
    Common,
    /// Those of everyone but root.
    NotRoot,
    All,
}

impl Group {
    fn has(self, user: User) -> bool {
        match self {
            Self::Own(uid) => !user.admin && user.uid == Some(uid),
            Self::Common => !user.admin,
            Self::NotRoot => !user.is_root(),
            Self::All => true,
        }
    }
}

#[derive(Debug)]
struct Taken {
    user: User,
    activity: Arc<Activity>,
    evicted: bool,
}

impl Taken {
    fn evict(&mut self) {
        if !std::mem::replace(&mut self.evicted, true) {
            self.activity.evicted.notify_one();
        }
    }

    fn streams(&self) -> bool {
        self.activity.streams.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeMap<u64, Taken>,
    next: u64,
}

impl State {
    /// A connection of the user who has the most, for a user who has none: a stream rather than a request, the newest.
    /// Where each user has one, all take turns: the oldest stream gives its place away, then the oldest request.
    fn fair_share(&mut self, full: Group) -> Option<&mut Taken> {
        let mut counts: BTreeMap<Option<u32>, usize> = BTreeMap::new();
        for taken in self.taken.values().filter(|taken| !taken.evicted) {
            *counts.entry(taken.user.uid).or_default() += 1;
        }
        let count = |taken: &Taken| counts.get(&taken.user.uid).copied().unwrap_or(0);
        let gives =
            |(_, taken): &(&u64, &mut Taken)| !taken.evicted && !taken.user.admin && full.has(taken.user);
        let order = |(number, taken): &(&u64, &mut Taken)| {
            let age = if count(taken) > 1 { **number } else { u64::MAX - **number };
            (count(taken), taken.streams(), age)
        };
        self.taken.iter_mut().filter(gives).max_by_key(order).map(|(_, taken)| taken)
    }
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
    /// The connection of a stream; `None` for a request that ends by itself.
    stream: Option<Arc<Activity>>,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        if let Some(activity) = &self.stream {
            activity.streams.store(false, Ordering::SeqCst);
        }
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
    /// A connection was asked to close.
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

    /// Closes the connections that exceed the number of places: the newest streams, of which some places stay free for
    /// requests; then those that have yielded longest, and then more of the newest streams. A request in progress is
    /// answered first.
    pub(crate) fn shrink(&self) {
        let mut state = self.state();
        let staying = |taken: &&mut Taken| !taken.evicted;
        // In the order in which they came.
        let streams: Vec<&mut Taken> =
            state.taken.values_mut().filter(staying).filter(|taken| taken.streams()).collect();
        let beyond = streams.len().saturating_sub(self.most_streams());
        streams.into_iter().rev().take(beyond).for_each(Taken::evict);
        let staying_count = state.taken.values().filter(|taken| !taken.evicted).count();
        let excess = staying_count.saturating_sub(self.most());
        let mut candidates: Vec<((bool, u64), &mut Taken)> = state
            .taken
            .iter_mut()
            .filter(|(_, taken)| !taken.evicted)
            .filter_map(|(number, taken)| {
                let order = match taken.activity.yields_since() {
                    Some(since) => (false, since),
                    None if taken.streams() => (true, u64::MAX - number),
                    None => return None,
                };
                Some((order, taken))
            })
            .collect();
        candidates.sort_by_key(|(order, _)| *order);
        candidates.into_iter().take(excess).for_each(|(_, taken)| taken.evict());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection. If none is free, a connection that yields gives up its place; `None` when the server
    /// is answering every connection that could.
    pub(crate) async fn take(self: &Arc<Self>, caller: Caller) -> Option<Place> {
        let user = User::of(caller);
        let attempt = async {
            loop {
                match self.find(user) {
                    Found::Place(number, activity) => return Some((number, activity)),
                    Found::Soon => self.freed.notified().await,
                    Found::Full => return None,
                }
            }
        };
        let (number, activity) = timeout(EVICTION_LIMIT, attempt).await.ok().flatten()?;
        Some(Place { places: Arc::clone(self), number, activity })
    }

    /// The groups that a user's connection belongs to, the narrowest first, with their sizes.
    fn groups(&self, user: User) -> impl Iterator<Item = (Group, usize)> {
        let (most, common) = (self.most(), self.common());
        let own =
            user.uid.filter(|_| !user.admin).map(|uid| (Group::Own(uid), common - common / SHARE_OF_OTHERS));
        let common = (!user.admin).then_some((Group::Common, common));
        let reserves = most > self.reserved && self.reserved > 0;
        let not_root = (reserves && !user.is_root()).then(|| (Group::NotRoot, most - ROOT_PLACES));
        [own, common, not_root, Some((Group::All, most))].into_iter().flatten()
    }

    fn find(&self, user: User) -> Found {
        let mut state = self.state();
        let count = |group: Group| state.taken.values().filter(|taken| group.has(taken.user)).count();
        let Some((full, _)) = self.groups(user).find(|(group, most)| count(*group) >= *most) else {
            let (number, activity) = (state.next, Arc::new(Activity::new(Arc::clone(&self.clock))));
            state.next += 1;
            state.taken.insert(number, Taken { user, activity: Arc::clone(&activity), evicted: false });
            return Found::Place(number, activity);
        };
        let mut counts: BTreeMap<Option<u32>, usize> = BTreeMap::new();
        for taken in state.taken.values() {
            *counts.entry(taken.user.uid).or_default() += 1;
        }
        let of = |user: User| counts.get(&user.uid).copied().unwrap_or(0);
        // A user takes no place from one who has fewer, unless as an administrator.
        let gives = |taken: &&mut Taken| {
            full.has(taken.user) && (of(taken.user) >= of(user) || (user.admin && !taken.user.admin))
        };
        let candidates = state.taken.values_mut().filter(gives);
        let yielding = candidates.filter_map(|taken| Some((taken.activity.yields_since()?, taken)));
        let order = |(since, taken): &(u64, &mut Taken)| {
            (taken.evicted, taken.user.admin, Reverse(of(taken.user)), *since)
        };
        let given = match yielding.min_by_key(order) {
            Some((_, taken)) => Some(taken),
            None if !user.admin && user.uid.is_some() && of(user) == 0 => state.fair_share(full),
            None => None,
        };
        given.map_or(Found::Full, |taken| {
            taken.evict();
            Found::Soon
        })
    }

    /// The places that streams may take.
    fn most_streams(&self) -> usize {
        let most = self.most();
        let kept = (most / SHARE_OF_REQUESTS).max(usize::from(most > 1));
        self.common().min(most - kept)
    }

    /// A place for a stream or a long poll on that connection; `None` when all stream places are taken.
    pub(crate) fn take_stream(self: &Arc<Self>, activity: &Arc<Activity>) -> Option<StreamPlace> {
        if !self.count_stream() {
            return None;
        }
        activity.streams.store(true, Ordering::SeqCst);
        Some(StreamPlace { places: Arc::clone(self), stream: Some(Arc::clone(activity)) })
    }

    /// One of the same places for a request that waits for probes.
    pub(crate) fn take_wait(self: &Arc<Self>) -> Option<StreamPlace> {
        self.count_stream().then(|| StreamPlace { places: Arc::clone(self), stream: None })
    }

    fn count_stream(&self) -> bool {
        let streams = self.most_streams();
        let one_more = |taken: usize| (taken < streams).then_some(taken + 1);
        self.streams.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVER_TCP: Caller = Caller::Tcp {
        listen: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1),
    };

    /// A user of that role, each with a number of its own.
    fn caller(role: Role) -> Caller {
        let uid = match role {
            Role::Admin => 0,
            Role::Operate => 1_000,
            Role::Read => 2_000,
        };
        Caller::Unix { role, uid: Some(uid) }
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
    async fn busy(places: &Arc<Places>, caller: Caller, count: usize) -> Vec<(Place, UnderWay)> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let Some(place) = places.take(caller).await else { break };
            let under_way = place.activity.begin();
            taken.push((place, under_way));
        }
        taken
    }

    #[tokio::test]
    async fn readers_cannot_take_the_places_of_administrators() {
        let (places, _most) = places(Places::of_socket, 32);
        let readers = busy(&places, caller(Role::Read), 40).await;
        assert_eq!(readers.len(), 18, "and some are left for other readers");
        let operators = busy(&places, caller(Role::Operate), 40).await;
        assert_eq!(operators.len(), 6);
        let own = busy(&places, Caller::Unix { role: Role::Admin, uid: Some(500) }, 40).await;
        assert_eq!(own.len(), 6, "the user of heartbeatd leaves places for root");
        let root = busy(&places, caller(Role::Admin), 40).await;
        assert_eq!(root.len(), 2);
        drop(readers);
        assert!(places.take(caller(Role::Read)).await.is_some());
    }

    /// Closes a connection when it has to make room, as the server does.
    fn closing(place: Place) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            place.activity.evicted().await;
            drop(place);
        })
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_gives_its_place_to_those_who_wait() {
        let (places, _most) = places(Places::of_socket, 32);
        let of = |uid| Caller::Unix { role: Role::Operate, uid: Some(uid) };
        let mut waiting = Vec::new();
        // One user has sent heads alone, on every place that it can get; another one is idle, and was there before.
        let idle = places.take(of(2)).await.unwrap();
        for _ in 0..18 {
            let place = places.take(of(1)).await.unwrap();
            let activity = Arc::clone(&place.activity);
            waiting.push((activity, closing(place)));
        }
        let under_way: Vec<_> = waiting.iter().map(|(activity, _)| activity.begin()).collect();
        let answered = places.take(of(1));
        assert!(answered.await.is_none(), "all of them are being answered");
        let bodies: Vec<_> = waiting.iter().map(|(activity, _)| activity.await_body()).collect();
        for newcomer in 3..20 {
            let place = places.take(of(newcomer)).await.expect("the oldest body gives way");
            std::mem::forget(place.activity.begin());
            std::mem::forget(place);
        }
        assert!(waiting[..12].iter().all(|(_, closed)| closed.is_finished()));
        assert!(places.take(of(2)).await.is_some(), "the idle one had nothing to give");
        drop((under_way, bodies, idle));
    }

    #[tokio::test]
    async fn however_many_users_are_answered_one_who_has_no_place_gets_one() {
        let (places, _most) = places(Places::of_socket, 32);
        let of = |uid| Caller::Unix { role: Role::Read, uid: Some(uid) };
        let mut answered = Vec::new();
        // Two users have all common places, and the server is answering each of their connections.
        for (uid, most) in [(1, 18), (2, 6)] {
            for _ in 0..most {
                let place = places.take(of(uid)).await.unwrap();
                let activity = Arc::clone(&place.activity);
                std::mem::forget(activity.begin());
                answered.push((uid, activity, closing(place)));
            }
        }
        // One of them is a stream, which resumes elsewhere.
        let _stream = places.take_stream(&answered[3].1).unwrap();
        assert!(places.take(of(1)).await.is_none() && places.take(of(2)).await.is_none());
        let mut newcomers = Vec::new();
        for uid in 3..25 {
            let place = places.take(of(uid)).await.unwrap_or_else(|| panic!("the user {uid} is kept out"));
            let activity = Arc::clone(&place.activity);
            std::mem::forget(activity.begin());
            newcomers.push((uid, activity, closing(place)));
            if uid == 3 {
                assert!(answered[3].2.is_finished(), "the stream ends first");
            }
            assert!(places.take(of(uid)).await.is_none(), "and no more than one");
        }
        let left =
            |of: u32| answered.iter().filter(|(uid, _, closed)| *uid == of && !closed.is_finished()).count();
        assert_eq!((left(1), left(2)), (1, 1), "both have as many as the newcomers");
        // Now each user has one place, and all are being answered: the next ones take turns with the oldest.
        let _stream = places.take_stream(&newcomers[4].1).unwrap();
        for (uid, gives) in
            [(100, &newcomers[4].2), (101, &answered[0].2), (102, &answered[18].2), (103, &newcomers[0].2)]
        {
            assert!(!gives.is_finished(), "not before {uid} comes");
            let place = places.take(of(uid)).await.unwrap_or_else(|| panic!("the user {uid} is kept out"));
            std::mem::forget(place.activity.begin());
            std::mem::forget(place);
            assert!(gives.is_finished(), "the oldest gives its place to {uid}");
        }
        let admin = places.take(caller(Role::Admin)).await.expect("root has places of its own");
        drop(admin);
    }

    #[tokio::test]
    async fn streams_leave_places_for_requests() {
        let (many, _most) = places(Places::of_socket, 32);
        let mut streams: Vec<_> = (0..40).filter_map(|_| many.take_stream(&activity())).collect();
        assert_eq!(streams.len(), 24);
        streams.pop();
        let waits = many.take_wait().expect("free again");
        assert!(many.take_stream(&activity()).is_none() && many.take_wait().is_none());
        drop(waits);
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
        let answered = places.take(OVER_TCP).await.unwrap();
        let under_way = answered.activity.begin();
        let idle = places.take(OVER_TCP).await.unwrap();
        let later = places.take(OVER_TCP).await.unwrap();
        let closes = closing(idle);
        let new = places.take(OVER_TCP).await.expect("the idle one gives way");
        closes.await.unwrap();
        let new_request = new.activity.begin();
        let later_request = later.activity.begin();
        assert!(places.take(OVER_TCP).await.is_none(), "all are being answered");
        let (activity, closes) = (Arc::clone(&answered.activity), closing(answered));
        drop(under_way);
        assert!(places.take(OVER_TCP).await.is_none(), "the answer is complete but not yet with the kernel");
        activity.note_flushed();
        let newest = places.take(OVER_TCP).await.expect("the answered one gives way");
        closes.await.unwrap();
        // A connection that does not close in time keeps its place.
        assert!(places.take(OVER_TCP).await.is_none());
        drop((newest, new_request, later_request, later, new));
        assert!(places.take(OVER_TCP).await.is_some());
    }

    #[tokio::test]
    async fn where_there_are_fewer_places_idle_connections_close_and_then_streams_but_no_request() {
        let (places, most) = places(Places::of_tcp, 6);
        let mut taken = Vec::new();
        for _ in 0..6 {
            taken.push(places.take(OVER_TCP).await.unwrap());
        }
        // A request under way, two streams, of which the second is the younger, and three idle connections.
        let _under_way: Vec<UnderWay> = taken[..3].iter().map(|place| place.activity.begin()).collect();
        let streams: Vec<_> = taken[1..3].iter().map(|place| places.take_stream(&place.activity)).collect();
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
            closes(4).await && closes(5).await && closes(2).await && !closes(1).await,
            "the newer stream, so that a place is left for requests"
        );
        most.send_replace(0);
        places.shrink();
        assert!(closes(1).await && !closes(0).await, "a request under way is answered");
        drop(streams);
        assert!(places.take(OVER_TCP).await.is_none() && places.take_stream(&activity()).is_none());
        most.send_replace(7);
        assert!(places.take(OVER_TCP).await.is_some());
    }

    #[tokio::test]
    async fn a_reader_never_closes_the_connection_of_an_administrator_for_more_than_its_share() {
        let (places, _most) = places(Places::of_socket, 10);
        let admin = places.take(caller(Role::Admin)).await.unwrap();
        let readers = busy(&places, caller(Role::Read), 2).await;
        assert_eq!(readers.len(), 2);
        assert!(places.take(caller(Role::Read)).await.is_none());
        let told = timeout(Duration::from_millis(50), admin.activity.evicted()).await;
        assert!(told.is_err(), "it was left alone");
    }
}
