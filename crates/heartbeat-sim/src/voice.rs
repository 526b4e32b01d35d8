//! What the processes of the scripted world say of themselves: that they are ready, well, reloading, ending, in need of
//! time or of help; and sometimes nothing.

use std::time::Duration;

use heartbeat_status::{Beat, Instant, Said};

/// One process that is asked to say how it is.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    watchdog: Option<Duration>,
    /// What it has said of its watchdog, which stands whatever is configured later.
    said: Option<Duration>,
    ready: bool,
    /// When it speaks next; `None`: never again by itself.
    pub(crate) next: Option<Instant>,
}

impl Voice {
    pub(crate) fn new(rng: &mut fastrand::Rng, now: Instant, watchdog: Option<Duration>) -> Self {
        Self {
            watchdog,
            said: None,
            ready: false,
            next: Some(now + Duration::from_millis(rng.u64(0..6_000))),
        }
    }

    /// It is to beat at another rate.
    pub(crate) fn follow(&mut self, now: Instant, watchdog: Option<Duration>) {
        self.watchdog = watchdog;
        self.next = Some(now);
    }

    /// heartbeatd was not there until `back`: what it said meanwhile went nowhere.
    pub(crate) fn survive(&mut self, rng: &mut fastrand::Rng, back: Instant) {
        if let Some(next) = self.next.filter(|next| *next < back) {
            self.ready |= rng.bool();
            self.next = Some(next.max(back));
        }
    }

    /// From now on it does what it should.
    pub(crate) fn calm(&mut self, now: Instant) {
        (self.ready, self.next) = (false, Some(now + Duration::from_millis(20)));
    }

    fn again(&mut self, now: Instant, percent: u32) {
        let watchdog = self.watchdog.into_iter().chain(self.said).min().unwrap_or(Duration::from_secs(10));
        self.next = Some(now + watchdog.mul_f64(f64::from(percent) / 100.0));
    }

    /// What it says now. `ends`: it has been told to end.
    pub(crate) fn speak(
        &mut self,
        rng: &mut fastrand::Rng,
        now: Instant,
        (ends, faults): (bool, bool),
    ) -> Said {
        let dice = if faults { rng.u32(0..100) } else { 99 };
        let some_time = |rng: &mut fastrand::Rng| Duration::from_millis(rng.u64(100..20_000));
        let mut said = Said::default();
        if ends {
            self.next = None;
            said.stopping = true;
            if dice < 40 {
                said.extend = Some(some_time(rng));
                self.next = Some(now + some_time(rng));
            }
            return said;
        }
        let percent = if faults { rng.u32(20..80) } else { 30 };
        self.again(now, percent);
        match (self.ready, dice) {
            (false, 0..=4) => self.next = None,
            (false, 5..=19) => {
                said.extend = Some(some_time(rng));
                said.status = Some("loading".to_string());
            }
            (false, 20..=24) => said.beat = Some(Beat::Alive),
            (false, 25..=27) => said.stopping = true,
            (false, 28..=29) => said.beat = Some(Beat::Trigger),
            (false, _) => {
                self.ready = true;
                said.ready = true;
                // What it said of its watchdog may have gone nowhere.
                said.watchdog = self.watchdog.filter(|_| !faults);
                self.said = said.watchdog.or(self.said);
            }
            (true, 0..=3) => self.next = None,
            (true, 4..=5) => said.beat = Some(Beat::Trigger),
            (true, 6..=8) => said.stopping = true,
            (true, 9..=14) => (said.reloading, self.ready) = (true, false),
            (true, 15..=17) => {
                let own = if rng.bool() { some_time(rng) } else { Duration::ZERO };
                said.watchdog = Some(own);
                self.watchdog = Some(own).filter(|own| !own.is_zero());
                self.again(now, percent);
            }
            (true, 18..=22) => {
                said.extend = Some(some_time(rng));
                said.beat = Some(Beat::Alive);
            }
            (true, 23..=30) => said.status = Some(format!("request {}", rng.u32(0..9))),
            (true, _) => said.beat = Some(Beat::Alive),
        }
        said
    }
}
