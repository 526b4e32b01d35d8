//! How late the driver's own loop is: what heartbeatd has to know before it blames anybody else.

use std::time::Duration;

use heartbeat_status::wire::LagEntry;

/// Wake-ups remembered.
const MAX_SAMPLES: usize = 512;
/// A loop whose 99th percentile is beyond this is not fit to judge others.
pub(crate) const LAG_LIMIT: Duration = Duration::from_millis(250);

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
