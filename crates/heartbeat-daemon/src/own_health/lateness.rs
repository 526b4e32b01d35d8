//! Whether heartbeatd runs on time: its loops may lag, or none of its threads may have run for a while.

use std::time::Duration;

use heartbeat_status::Instant;

use crate::own_health::lag::{LagMeter, ProbingLag, Pulse};

/// The host slept when the clock that counts suspends has run ahead by more than this.
const SUSPEND_MIN: Duration = Duration::from_millis(500);

/// How late the loop that decides and the threads that measure are.
#[derive(Debug)]
pub(crate) struct Lateness {
    pulse: Pulse,
    deciding: LagMeter,
    probing: ProbingLag,
    /// By how much the clock that counts suspends was ahead at the last look.
    ahead: Option<Duration>,
    late: bool,
}

impl Lateness {
    pub(crate) fn new(pulse: Pulse, probing: ProbingLag) -> Self {
        Self { pulse, deciding: LagMeter::default(), probing, ahead: None, late: false }
    }

    /// For how long no thread of heartbeatd ran, or the host slept, if that was not reported yet. `ahead` is how far
    /// the clock that counts suspends is ahead of `now`.
    pub(crate) fn blind(&mut self, now: Instant, ahead: Duration) -> Option<Duration> {
        let stopped = self.pulse.blind(now);
        let known = *self.ahead.get_or_insert(ahead);
        let slept = (ahead > known + SUSPEND_MIN).then(|| {
            self.ahead = Some(ahead);
            ahead - known
        });
        stopped.into_iter().chain(slept).max()
    }

    /// The driver's loop woke up `by` too late. Returns the new problem, or its end; `None` when nothing changed.
    pub(crate) fn note(&mut self, now: Instant, by: Duration) -> Option<Option<String>> {
        self.deciding.note(now, by);
        let deciding = self.deciding.is_late(now);
        let late = deciding || self.probing.is_late(now);
        if std::mem::replace(&mut self.late, late) == late {
            return None;
        }
        Some(late.then(|| {
            let (what, lag) = if deciding {
                ("the loop that decides", self.deciding.read())
            } else {
                ("the loop that measures", self.probing.read())
            };
            format!("heartbeatd is overloaded: {what} lags by {} ms (p99)", lag.0.as_millis())
        }))
    }

    /// The worse of both: its 99th percentile, and its maximum.
    pub(crate) fn read(&self) -> (Duration, Duration) {
        let (deciding, probing) = (self.deciding.read(), self.probing.read());
        (deciding.0.max(probing.0), deciding.1.max(probing.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn lateness() -> Lateness {
        Lateness::new(Pulse::start().unwrap(), ProbingLag::default())
    }

    #[test]
    fn a_suspend_is_noticed_once_and_a_drift_of_the_clocks_is_none() {
        let mut lateness = lateness();
        let (now, ms) = (clock::now(), Duration::from_millis);
        assert_eq!(lateness.blind(now, ms(7_000)), None, "what was before the start is no suspend");
        assert_eq!(lateness.blind(now, ms(7_500)), None);
        assert_eq!(lateness.blind(now, ms(7_501)), Some(ms(501)));
        assert_eq!(lateness.blind(now, ms(7_501)), None, "once");
        assert_eq!(lateness.blind(now, ms(67_501)), Some(ms(60_000)), "from the last one on");
    }

    #[test]
    fn lateness_is_news_when_it_begins_and_when_it_is_over() {
        let mut lateness = lateness();
        let mut now = Instant::from_millis(1_000_000);
        let mut run = |by: u64, seconds: u64| {
            let mut news = Vec::new();
            for _ in 0..seconds * 10 {
                now = now + Duration::from_millis(100);
                news.extend(lateness.note(now, Duration::from_millis(by)));
            }
            news
        };
        assert_eq!(run(0, 60), []);
        let news = run(900, 120);
        assert_eq!(news.len(), 1, "{news:?}");
        let words = news[0].as_deref().unwrap();
        assert!(words.contains("the loop that decides lags by 900 ms"), "{words}");
        assert_eq!(run(0, 300), [None], "over");
    }

    /// Deadlines are kept by the threads that measure: the driver may be on time while they are not.
    #[test]
    fn threads_that_measure_late_are_news_while_the_driver_is_on_time() {
        let probing = ProbingLag::default();
        let mut lateness = Lateness::new(Pulse::start().unwrap(), probing.clone());
        let mut now = Instant::from_millis(1_000_000);
        let mut run = |by: u64, seconds: u64| {
            let mut news = Vec::new();
            for _ in 0..seconds * 10 {
                now = now + Duration::from_millis(100);
                probing.note(now, Duration::from_millis(by));
                news.extend(lateness.note(now, Duration::ZERO));
            }
            news
        };
        assert_eq!(run(0, 60), []);
        let news = run(900, 120);
        assert_eq!(news.len(), 1, "{news:?}");
        let words = news[0].as_deref().unwrap();
        assert!(words.contains("the loop that measures lags by 900 ms"), "{words}");
        assert_eq!(run(0, 300), [None], "over");
    }
}
