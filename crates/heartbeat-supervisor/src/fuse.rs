//! The restart circuit breaker (`fuse`): when many realms turn unhealthy at once, the cause is more likely heartbeatd
//! or something that they share, and restarting them all makes it worse.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::time::Duration;

use heartbeat_status::{Instant, RealmIx};

/// Bounds of health restarts over all realms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuseSettings {
    /// It trips when more than this share of the supervised realms, in percent, ...
    pub unhealthy_percent: u32,
    /// ... and at least this many, ...
    pub min_realms: u32,
    /// ... turn unhealthy by their probes within this time.
    pub window: Duration,
    /// How long health restarts are then held, at most.
    pub hold: Duration,
    /// Most health restarts ...
    pub restarts: u32,
    /// ... within this time, ...
    pub per: Duration,
    /// ... and most of them at a time.
    pub parallel: u32,
}

impl Default for FuseSettings {
    fn default() -> Self {
        Self {
            unhealthy_percent: 40,
            min_realms: 3,
            window: Duration::from_secs(15),
            hold: Duration::from_secs(60),
            restarts: 12,
            per: Duration::from_secs(300),
            parallel: 2,
        }
    }
}

/// Whether a health restart may begin now; otherwise what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// It may begin.
    Now,
    /// The circuit breaker is tripped.
    Tripped,
    /// The limit of parallel restarts is reached.
    Parallel,
    /// The limit of restarts within the time is reached; the oldest of them leaves the window at `until`.
    Exhausted {
        /// The end of the wait.
        until: Instant,
    },
}

/// Launches while it is tripped: at most 10 a second.
pub(crate) const TRIPPED_LAUNCH_GAP: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Restarts go through.
    Closed,
    /// Restarts are held until this time, or until every realm has been measured afresh.
    Tripped { since: Instant, until: Instant },
    /// One restart may be tried; `running` is its realm once it has begun.
    Trial { since: Instant, running: Option<RealmIx> },
}

#[derive(Clone, Debug)]
pub(crate) struct Fuse {
    state: State,
    /// Realms that turned unhealthy by their probes, and when; bounded by the number of realms.
    turned: VecDeque<(Instant, RealmIx)>,
    /// When health restarts were allowed; bounded by `restarts`.
    granted: VecDeque<Instant>,
    /// The driver's loop is late.
    lagging: bool,
}

impl Fuse {
    pub(crate) fn new() -> Self {
        Self { state: State::Closed, turned: VecDeque::new(), granted: VecDeque::new(), lagging: false }
    }

    /// When health restarts were allowed: the budget of the host.
    pub(crate) fn granted(&self) -> impl Iterator<Item = Instant> + '_ {
        self.granted.iter().copied()
    }

    /// Continues with an earlier budget, closed: new evidence decides whether it trips.
    pub(crate) fn restore(&mut self, granted: alloc::vec::Vec<Instant>) {
        self.granted = granted.into();
    }

    /// Realms that turned unhealthy within the window that ends with the latest one.
    pub(crate) fn turned(&self) -> impl Iterator<Item = RealmIx> + '_ {
        self.turned.iter().map(|(_, realm)| *realm)
    }

    pub(crate) fn is_tripped(&self) -> bool {
        self.state != State::Closed
    }

    /// Since when the circuit breaker is not closed.
    pub(crate) fn tripped_since(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Tripped { since, .. } | State::Trial { since, .. } => Some(since),
        }
    }

    /// When the circuit breaker changes by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Tripped { until, .. } => Some(until),
            State::Closed | State::Trial { .. } => None,
        }
    }

    /// A realm has turned unhealthy by its probes. Returns the evidence, in words, when this trips the circuit breaker.
    pub(crate) fn note_down(
        &mut self,
        settings: &FuseSettings,
        now: Instant,
        realm: RealmIx,
        supervised: usize,
    ) -> Option<String> {
        self.turned.retain(|(at, known)| now.since(*at) <= settings.window && *known != realm);
        self.turned.push_back((now, realm));
        let many = self.turned.len() >= settings.min_realms as usize
            && self.turned.len() * 100 > supervised * settings.unhealthy_percent as usize;
        if self.is_tripped() || !many {
            return None;
        }
        self.trip(settings, now);
        Some(alloc::format!(
            "{} of {supervised} realms turned unhealthy within {} s: restarts for health are held",
            self.turned.len(),
            settings.window.as_secs(),
        ))
    }

    /// The index belongs to another realm now, which has not turned unhealthy.
    pub(crate) fn forget(&mut self, realm: RealmIx) {
        self.turned.retain(|(_, known)| *known != realm);
    }

    /// The driver's loop is late (or in time again). Returns the evidence, in words, when this trips the circuit
    /// breaker.
    pub(crate) fn note_lag(&mut self, settings: &FuseSettings, now: Instant, late: bool) -> Option<String> {
        let was_late = core::mem::replace(&mut self.lagging, late);
        if let State::Tripped { since, .. } = &mut self.state
            && was_late
        {
            // What was measured while heartbeatd was late proves nothing.
            *since = now;
        }
        if !late || self.is_tripped() {
            return None;
        }
        self.trip(settings, now);
        Some("heartbeatd itself is late: restarts for health are held".into())
    }

    fn trip(&mut self, settings: &FuseSettings, now: Instant) {
        self.state = State::Tripped { since: now, until: now + settings.hold };
    }

    /// Time has passed, or every realm has been measured afresh since the circuit breaker tripped.
    pub(crate) fn proceed(&mut self, settings: &FuseSettings, now: Instant, fresh_round: bool) {
        let State::Tripped { since, until } = self.state else { return };
        if self.lagging {
            if now >= until {
                self.state = State::Tripped { since, until: now + settings.hold };
            }
        } else if now >= until || fresh_round {
            self.state = State::Trial { since, running: None };
        }
    }

    /// No realm is unhealthy any more. True when this closes the circuit breaker.
    pub(crate) fn all_well(&mut self) -> bool {
        if !self.is_tripped() || self.lagging {
            return false;
        }
        self.release();
        true
    }

    fn release(&mut self) {
        self.state = State::Closed;
        self.turned.clear();
    }

    /// Whether a health restart of `realm` may begin now, beside `under_way` others.
    pub(crate) fn ask(
        &mut self,
        settings: &FuseSettings,
        now: Instant,
        realm: RealmIx,
        under_way: u32,
    ) -> Grant {
        while self.granted.front().is_some_and(|at| now.since(*at) >= settings.per) {
            self.granted.pop_front();
        }
        let others = match self.state {
            _ if self.lagging => return Grant::Tripped,
            State::Tripped { .. } => return Grant::Tripped,
            State::Trial { running: Some(trial), .. } if trial != realm => return Grant::Tripped,
            State::Trial { .. } => 1,
            State::Closed => settings.parallel,
        };
        if self.granted.len() >= settings.restarts as usize {
            let oldest = self.granted.front().copied().unwrap_or(now);
            return Grant::Exhausted { until: oldest + settings.per };
        }
        if under_way >= others {
            return Grant::Parallel;
        }
        Grant::Now
    }

    /// A health restart of `realm` begins now, as [`Fuse::ask`] has allowed.
    pub(crate) fn begin(&mut self, now: Instant, realm: RealmIx) {
        self.granted.push_back(now);
        if let State::Trial { running, .. } = &mut self.state {
            *running = Some(realm);
        }
    }

    /// The restart of `realm` has ended. True when it was the trial, and this closes the circuit breaker.
    pub(crate) fn restart_ended(
        &mut self,
        settings: &FuseSettings,
        now: Instant,
        realm: RealmIx,
        verified: bool,
    ) -> bool {
        let State::Trial { running: Some(trial), .. } = self.state else { return false };
        if trial != realm {
            return false;
        }
        if verified {
            self.release();
        } else {
            // Before the next trial, every realm has to be measured afresh again.
            self.trip(settings, now);
        }
        verified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: FuseSettings = FuseSettings {
        unhealthy_percent: 40,
        min_realms: 3,
        window: Duration::from_secs(15),
        hold: Duration::from_secs(60),
        restarts: 12,
        per: Duration::from_secs(300),
        parallel: 2,
    };

    /// Grants the restart if it is allowed.
    fn grant(fuse: &mut Fuse, at: Instant, realm: RealmIx, under_way: u32) -> Grant {
        let grant = fuse.ask(&S, at, realm, under_way);
        if grant == Grant::Now {
            fuse.begin(at, realm);
        }
        grant
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn it_trips_on_many_failures_and_not_on_a_few() {
        let mut fuse = Fuse::new();
        assert!(fuse.note_down(&S, at(0), RealmIx(0), 5).is_none());
        assert!(fuse.note_down(&S, at(1), RealmIx(1), 5).is_none());
        assert!(fuse.note_down(&S, at(1), RealmIx(1), 5).is_none(), "the same realm counts once");
        assert!(fuse.note_down(&S, at(20), RealmIx(2), 5).is_none(), "the first two are out of the window");
        assert!(fuse.note_down(&S, at(21), RealmIx(3), 5).is_none());
        assert!(fuse.note_down(&S, at(22), RealmIx(4), 5).is_some());
        assert_ne!(grant(&mut fuse, at(23), RealmIx(4), 0), Grant::Now);
    }

    #[test]
    fn after_the_hold_one_trial_then_two_at_a_time() {
        let mut fuse = Fuse::new();
        for n in 0..3 {
            fuse.note_down(&S, at(0), RealmIx(n), 5);
        }
        fuse.proceed(&S, at(59), false);
        assert_ne!(grant(&mut fuse, at(59), RealmIx(0), 0), Grant::Now);
        fuse.proceed(&S, at(60), false);
        assert_eq!(grant(&mut fuse, at(60), RealmIx(0), 0), Grant::Now);
        assert_ne!(grant(&mut fuse, at(60), RealmIx(1), 1), Grant::Now, "one trial");
        assert!(!fuse.restart_ended(&S, at(61), RealmIx(0), false), "a trial that failed holds again");
        assert_eq!(fuse.tripped_since(), Some(at(61)), "until each realm has been measured after that");
        fuse.proceed(&S, at(62), true);
        assert_eq!(grant(&mut fuse, at(62), RealmIx(0), 0), Grant::Now);
        assert!(fuse.restart_ended(&S, at(70), RealmIx(0), true));
        assert_eq!(grant(&mut fuse, at(71), RealmIx(1), 1), Grant::Now);
        assert_eq!(grant(&mut fuse, at(71), RealmIx(2), 2), Grant::Parallel, "two at a time");
    }

    #[test]
    fn twelve_in_five_minutes_and_no_more() {
        let mut fuse = Fuse::new();
        for n in 0..12 {
            assert_eq!(grant(&mut fuse, at(n * 10), RealmIx(0), 0), Grant::Now, "{n}");
        }
        assert_eq!(grant(&mut fuse, at(299), RealmIx(0), 0), Grant::Exhausted { until: at(300) });
        assert_eq!(grant(&mut fuse, at(300), RealmIx(0), 0), Grant::Now, "the first has left the window");
    }

    #[test]
    fn our_own_lag_holds_as_long_as_it_lasts() {
        let mut fuse = Fuse::new();
        assert!(fuse.note_lag(&S, at(0), true).is_some());
        fuse.proceed(&S, at(120), true);
        assert_eq!(grant(&mut fuse, at(120), RealmIx(0), 0), Grant::Tripped);
        assert!(!fuse.all_well());
        assert!(fuse.note_lag(&S, at(121), false).is_none());
        assert_eq!(fuse.tripped_since(), Some(at(121)), "what was measured before proves nothing");
        assert!(fuse.all_well());
    }

    #[test]
    fn exactly_the_share_does_not_trip_it() {
        let mut fuse = Fuse::new();
        for n in 0..4 {
            assert!(fuse.note_down(&S, at(0), RealmIx(n), 10).is_none(), "{n}: 40 % of ten is not more");
        }
        assert!(fuse.note_down(&S, at(0), RealmIx(4), 10).is_some());
    }

    #[test]
    fn no_trial_is_made_while_heartbeatd_is_late() {
        let mut fuse = Fuse::new();
        for n in 0..3 {
            fuse.note_down(&S, at(0), RealmIx(n), 5);
        }
        fuse.proceed(&S, at(60), false);
        assert!(fuse.note_lag(&S, at(61), true).is_none(), "it is tripped already");
        assert_eq!(grant(&mut fuse, at(61), RealmIx(0), 0), Grant::Tripped);
        fuse.note_lag(&S, at(62), false);
        assert_eq!(grant(&mut fuse, at(62), RealmIx(0), 0), Grant::Now);
    }
}
