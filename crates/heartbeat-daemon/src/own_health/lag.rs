//! How late the driver's own loop is: heartbeatd has to know this before it blames a realm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_status::Instant;
use heartbeat_wire::LagEntry;

use crate::clock;
use crate::error::DaemonError;

/// Wake-ups that the meter keeps for documents.
const MAX_SAMPLES: usize = 512;
/// A loop whose 99th percentile is beyond this cannot judge realms ...
const LAG_LIMIT: Duration = Duration::from_millis(250);
/// ... once that has lasted for so long.
const SUSTAINED: Duration = Duration::from_secs(30);
/// The 99th percentile is that of so many seconds.
const WINDOW_SECONDS: usize = 10;
/// Fewer wake-ups beyond the limit within the window are an accident.
const HICCUPS: u32 = 3;
/// How often the runtime that measures looks at its own lateness.
const TICK: Duration = Duration::from_millis(100);

/// How often the pulse beats.
const BEAT: Duration = Duration::from_millis(250);
/// A gap between two beats beyond this is not lateness: no thread of heartbeatd ran.
const BLIND_MIN: Duration = Duration::from_millis(750);

/// A thread that does nothing but beat. A missing beat means that no thread of heartbeatd ran (a signal stopped it, or
/// it was frozen or starved), so a measurement across that time says nothing about its target.
#[derive(Debug)]
pub(crate) struct Pulse {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The beat before the last blind time that was reported.
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

    /// For how long no thread of heartbeatd ran, if that was not reported yet.
    pub(crate) fn blind(&mut self, now: Instant) -> Option<Duration> {
        let from = self.shared.blind_from.load(Ordering::Acquire);
        if from > self.told {
            self.told = from;
            return Some(Duration::from_nanos(self.shared.blind_for.load(Ordering::Acquire)));
        }
        // The pulse may be the last thread to continue.
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
            // A pulse that panicked has no result to report.
            let _ = thread.join();
        }
    }
}

/// The lateness of one loop.
#[derive(Debug, Default)]
pub(crate) struct LagMeter {
    samples: Vec<Duration>,
    next: usize,
    seconds: [Second; WINDOW_SECONDS],
    /// Since when the 99th percentile is beyond the limit.
    beyond_since: Option<Instant>,
}

/// The wake-ups of one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Which second, on the monotonic clock.
    number: u64,
    wakeups: u32,
    beyond: u32,
}

impl LagMeter {
    /// Notes how much later than its deadline the loop ran.
    pub(crate) fn note(&mut self, now: Instant, late: Duration) {
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(late);
        } else {
            self.samples[self.next] = late;
            self.next = (self.next + 1) % MAX_SAMPLES;
        }
        let number = now.since(Instant::ZERO).as_secs();
        let slot = usize::try_from(number % WINDOW_SECONDS as u64).unwrap_or_default();
        let second = &mut self.seconds[slot];
        if second.number != number {
            *second = Second { number, ..Second::default() };
        }
        second.wakeups += 1;
        second.beyond += u32::from(late > LAG_LIMIT);
        let recent = self.seconds.iter().filter(|second| number - second.number < WINDOW_SECONDS as u64);
        let (all, beyond) =
            recent.fold((0, 0), |(all, beyond), second| (all + second.wakeups, beyond + second.beyond));
        if beyond < HICCUPS.max(all / 100 + 1) {
            self.beyond_since = None;
        } else {
            self.beyond_since.get_or_insert(now);
        }
    }

    /// The loop has been late for too long to judge others.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        self.beyond_since.is_some_and(|since| now.since(since) >= SUSTAINED)
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

/// The lateness of the runtime in which the deadlines of probes run.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbingLag(Arc<Mutex<LagMeter>>);

impl ProbingLag {
    fn meter(&self) -> MutexGuard<'_, LagMeter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the lateness of the runtime that it runs on, until that ends.
    pub(crate) async fn watch(self) {
        loop {
            let planned = clock::now() + TICK;
            tokio::time::sleep(TICK).await;
            let now = clock::now();
            self.note(now, now.since(planned));
        }
    }

    /// As of [`LagMeter`].
    pub(crate) fn note(&self, now: Instant, by: Duration) {
        self.meter().note(now, by);
    }

    /// As of [`LagMeter`].
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        self.meter().is_late(now)
    }

    /// As of [`LagMeter`].
    pub(crate) fn read(&self) -> (Duration, Duration) {
        self.meter().read()
    }
}

/// The figures for documents.
pub(crate) fn entry((p99, max): (Duration, Duration)) -> LagEntry {
    let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    LagEntry { p99: millis(p99), max: millis(max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_reported_once_by_the_first_that_sees_it() {
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

    const IN_TIME: Duration = Duration::from_millis(1);
    const LATE: Duration = Duration::from_millis(251);

    /// Wakes up ten times per second for `seconds`, late every `every`th time; returns whether the meter was late at
    /// the end.
    fn run(meter: &mut LagMeter, from_ms: &mut u64, seconds: u64, every: Option<u64>) -> bool {
        for wakeup in 0..seconds * 10 {
            *from_ms += 100;
            let late = every.is_some_and(|every| wakeup % every == 0);
            meter.note(Instant::from_millis(*from_ms), if late { LATE } else { IN_TIME });
        }
        meter.is_late(Instant::from_millis(*from_ms))
    }

    #[test]
    fn a_loop_is_late_after_half_a_minute_of_lateness_and_until_that_is_over() {
        let (mut meter, mut at) = (LagMeter::default(), 1_000_000);
        assert!(!run(&mut meter, &mut at, 60, None));
        assert!(!run(&mut meter, &mut at, 29, Some(20)), "for less than 30 s");
        assert!(run(&mut meter, &mut at, 8, Some(20)), "one wake-up in twenty, for 30 s");
        assert!(!run(&mut meter, &mut at, 11, None), "in time again for the window");
        assert!(!run(&mut meter, &mut at, 29, Some(1)), "counted anew");
    }

    #[test]
    fn hiccups_are_not_lateness() {
        let (mut meter, mut at) = (LagMeter::default(), 1_000_000);
        // One burst leaves the window long before it could last.
        run(&mut meter, &mut at, 1, Some(1));
        assert!(!run(&mut meter, &mut at, 60, None));
        assert!(!run(&mut meter, &mut at, 60, Some(50)), "two in ten seconds are hiccups");
        assert!(run(&mut meter, &mut at, 60, Some(25)), "four are not");
    }

    #[test]
    fn one_late_wake_up_in_a_hundred_is_within_the_percentile() {
        for (every, late) in [(100, false), (90, true)] {
            let mut meter = LagMeter::default();
            // A thousand per second: far more late ones than hiccups.
            for wakeup in 0..60_000 {
                let by = if wakeup % every == 0 { LATE } else { IN_TIME };
                meter.note(Instant::from_millis(1_000_000 + wakeup), by);
            }
            assert_eq!(meter.is_late(Instant::from_millis(1_060_000)), late, "one in {every}");
        }
    }

    #[tokio::test]
    async fn a_runtime_that_stands_still_is_seen_to_be_late() {
        let lag = ProbingLag::default();
        let watching = tokio::spawn(lag.clone().watch());
        let began = clock::now();
        while lag.read().1 < LATE {
            tokio::task::yield_now().await;
            let blocked = clock::now();
            while clock::now().since(blocked) < TICK * 5 {
                std::hint::spin_loop();
            }
            tokio::time::sleep(TICK).await;
            assert!(clock::now().since(began) < Duration::from_secs(60), "never seen");
        }
        watching.abort();
    }

    #[test]
    fn the_window_slides() {
        let mut meter = LagMeter::default();
        assert_eq!(meter.read(), (Duration::ZERO, Duration::ZERO));
        meter.note(Instant::ZERO, Duration::from_secs(9));
        for _ in 0..MAX_SAMPLES {
            meter.note(Instant::ZERO, Duration::from_millis(1));
        }
        assert_eq!(meter.read().1, Duration::from_millis(1), "the old peak has left the window");
        for ms in 0..100 {
            meter.note(Instant::ZERO, Duration::from_millis(ms));
        }
        assert!(meter.read().0 >= Duration::from_millis(90));
    }
}
