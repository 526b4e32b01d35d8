//! How late the driver's own loop is: what heartbeatd has to know before it blames anybody else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_status::Instant;
use heartbeat_status::wire::LagEntry;

use crate::{DaemonError, clock};

/// Wake-ups remembered.
const MAX_SAMPLES: usize = 512;
/// A loop whose 99th percentile is beyond this is not fit to judge others.
const LAG_LIMIT: Duration = Duration::from_millis(250);

/// So many wake-ups beyond the limit are no accident.
const HICCUPS: usize = 3;
/// How often the pulse beats.
const BEAT: Duration = Duration::from_millis(250);
/// A beat that is later than this was not late: nothing of heartbeatd ran.
const BLIND_MIN: Duration = Duration::from_millis(750);

/// A thread of its own that does nothing but come by: when it could not, nobody of heartbeatd could (stopped by a signal,
/// frozen, starved). What was measured across such a time says nothing about anybody else.
#[derive(Debug)]
pub(crate) struct Pulse {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The beat before the last blind time that was told.
    told: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// The last beat.
    last: AtomicU64,
    /// The beat before the last blind time, and how long that was.
    blind_from: AtomicU64,
    blind_for: AtomicU64,
    end: Mutex<bool>,
    wake: Condvar,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Pulse {
    pub(crate) fn start() -> Result<Self, DaemonError> {
        let shared = Arc::new(Shared::default());
        shared.last.store(clock::now().as_nanos(), Ordering::Release);
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("hb-pulse".to_owned())
            .spawn(move || own.beat())
            .map_err(|source| DaemonError::Runtime { what: "pulse thread", source })?;
        Ok(Self { shared, thread: Some(thread), told: 0 })
    }

    /// For how long nothing of heartbeatd ran, when that is news.
    pub(crate) fn blind(&mut self, now: Instant) -> Option<Duration> {
        let from = self.shared.blind_from.load(Ordering::Acquire);
        if from > self.told {
            self.told = from;
            return Some(Duration::from_nanos(self.shared.blind_for.load(Ordering::Acquire)));
        }
        // The pulse may be the last to go on.
        let last = self.shared.last.load(Ordering::Acquire);
        let silent = now.since(Instant::from_nanos(last));
        (silent > BEAT + BLIND_MIN && last > self.told).then(|| {
            self.told = last;
            silent
        })
    }
}

impl Shared {
    fn beat(&self) {
        loop {
            let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.wake.wait_timeout_while(end, BEAT, |end| !*end);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
            let now = clock::now();
            let last = self.last.load(Ordering::Relaxed);
            let passed = now.since(Instant::from_nanos(last));
            if passed > BEAT + BLIND_MIN {
                self.blind_for.store(nanos(passed), Ordering::Release);
                self.blind_from.store(last, Ordering::Release);
            }
            self.last.store(now.as_nanos(), Ordering::Release);
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        *self.shared.end.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has nothing left to say.
            let _ = thread.join();
        }
    }
}

/// The lateness of the last wake-ups.
#[derive(Debug, Default)]
pub(crate) struct LagMeter {
    samples: Vec<Duration>,
    next: usize,
}

impl LagMeter {
    /// Notes how much later than its deadline the loop ran.
    pub(crate) fn note(&mut self, late: Duration) {
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(late);
        } else {
            self.samples[self.next] = late;
            self.next = (self.next + 1) % MAX_SAMPLES;
        }
    }

    /// More than one wake-up in a hundred was beyond the limit, and that was no single hiccup.
    pub(crate) fn is_late(&self) -> bool {
        let beyond = self.samples.iter().filter(|late| **late > LAG_LIMIT).count();
        beyond >= HICCUPS.max(self.samples.len() / 100 + 1)
    }

    /// 99th percentile and maximum of the wake-ups remembered.
    pub(crate) fn read(&self) -> (Duration, Duration) {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        let p99 = sorted.get(at).copied().unwrap_or_default();
        (p99, sorted.last().copied().unwrap_or_default())
    }
}

/// For documents.
pub(crate) fn entry((p99, max): (Duration, Duration)) -> LagEntry {
    let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    LagEntry { p99: millis(p99), max: millis(max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blind_time_is_told_once_whoever_sees_it_first() {
        let mut pulse = Pulse { shared: Arc::default(), thread: None, told: 0 };
        let at = |ms| Instant::from_millis(ms);
        pulse.shared.last.store(at(10_000).as_nanos(), Ordering::Release);
        assert_eq!(pulse.blind(at(10_900)), None, "late, and no more than that");
        assert_eq!(
            pulse.blind(at(13_000)),
            Some(Duration::from_secs(3)),
            "the loop goes on before the pulse does"
        );
        assert_eq!(pulse.blind(at(13_001)), None);
        pulse.shared.blind_for.store(nanos(Duration::from_secs(3)), Ordering::Release);
        pulse.shared.blind_from.store(at(10_000).as_nanos(), Ordering::Release);
        pulse.shared.last.store(at(13_002).as_nanos(), Ordering::Release);
        assert_eq!(pulse.blind(at(13_003)), None, "the pulse has seen the same");
        pulse.shared.blind_from.store(at(13_002).as_nanos(), Ordering::Release);
        pulse.shared.last.store(at(20_000).as_nanos(), Ordering::Release);
        assert!(pulse.blind(at(20_001)).is_some(), "the pulse goes on before the loop does");
    }

    #[test]
    fn one_hiccup_is_not_lateness() {
        let mut meter = LagMeter::default();
        for _ in 0..20 {
            meter.note(Duration::from_millis(1));
        }
        meter.note(Duration::from_millis(700));
        meter.note(Duration::from_millis(700));
        assert!(!meter.is_late());
        meter.note(Duration::from_millis(700));
        assert!(meter.is_late());
        for _ in 0..MAX_SAMPLES {
            meter.note(Duration::from_millis(1));
        }
        assert!(!meter.is_late());
    }

    #[test]
    fn the_window_slides() {
        let mut meter = LagMeter::default();
        assert_eq!(meter.read(), (Duration::ZERO, Duration::ZERO));
        meter.note(Duration::from_secs(9));
        for _ in 0..MAX_SAMPLES {
            meter.note(Duration::from_millis(1));
        }
        assert_eq!(meter.read().1, Duration::from_millis(1), "the old peak has left the window");
        for ms in 0..100 {
            meter.note(Duration::from_millis(ms));
        }
        assert!(meter.read().0 >= Duration::from_millis(90));
    }
}
