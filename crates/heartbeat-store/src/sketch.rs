//! A distribution in constant memory: counts in logarithmic buckets. Two sketches merge without loss, and every
//! percentile is within 2 % of the value that was measured.

use std::time::Duration;

use crate::bytes::{Reader, push_varint};

/// Relative error of a percentile.
const RELATIVE_ERROR: f64 = 0.02;
/// Bucket `n` holds the numbers above `GAMMA^(n-1)` and up to `GAMMA^n`; a latency is a number of microseconds.
const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);
/// The last bucket; it holds everything above 1.2 thousand million. No probe takes that many microseconds, which are 20
/// minutes, and no realm has that many KiB.
const MAX_BUCKETS: u16 = 525;

/// The bucket of a number.
fn bucket(number: f64) -> u16 {
    if number <= 1.0 {
        return 0;
    }
    (number.ln() / GAMMA.ln()).ceil().min(f64::from(MAX_BUCKETS)) as u16
}

/// The number that stands for every number of a bucket.
fn number(bucket: u16) -> f64 {
    2.0 * GAMMA.powi(i32::from(bucket)) / (GAMMA + 1.0)
}

/// A number of microseconds in milliseconds.
fn millis(bucket: u16) -> f64 {
    number(bucket) / 1_000.0
}

/// Counts of values by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Buckets that are not empty, in ascending order.
    counts: Vec<(u16, u32)>,
}

impl Sketch {
    /// Counts one latency.
    pub fn add(&mut self, latency: Duration) {
        self.add_counted(bucket(latency.as_secs_f64() * 1e6), 1);
    }

    /// Counts one value of another quantity.
    pub fn add_number(&mut self, value: f64) {
        self.add_counted(bucket(value), 1);
    }

    fn add_counted(&mut self, bucket: u16, count: u32) {
        match self.counts.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(count),
            Err(at) => self.counts.insert(at, (bucket, count)),
        }
    }

    /// Adds everything that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.counts {
            self.add_counted(*bucket, *count);
        }
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// How many latencies were at most `limit`, give or take those within 2 % of it.
    pub(crate) fn count_within(&self, limit: Duration) -> u64 {
        let last = bucket(limit.as_secs_f64() * 1e6);
        self.counts.iter().take_while(|(bucket, _)| *bucket <= last).map(|(_, count)| u64::from(*count)).sum()
    }

    /// Whether no value was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The bucket below or in which a share of the values lies; `share` is from 0 to 1.
    fn bucket_at(&self, share: f64) -> Option<u16> {
        let rank = (share * self.count() as f64).ceil().max(1.0);
        let mut seen = 0.0;
        self.counts.iter().find_map(|(bucket, count)| {
            seen += f64::from(*count);
            (seen >= rank).then_some(*bucket)
        })
    }

    /// Its summary; `None` of an empty sketch.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        Some(Summary {
            count: self.count(),
            p50: self.bucket_at(0.50)?,
            p95: self.bucket_at(0.95)?,
            p99: self.bucket_at(0.99)?,
            max: self.counts.last()?.0,
        })
    }

    /// The first and the last bucket that are not empty.
    pub(crate) fn span(&self) -> Option<(u16, u16)> {
        Some((self.counts.first()?.0, self.counts.last()?.0))
    }

    /// The count of a bucket.
    pub(crate) fn count_of(&self, bucket: u16) -> u32 {
        self.counts.binary_search_by_key(&bucket, |(bucket, _)| *bucket).map_or(0, |at| self.counts[at].1)
    }

    /// Adds the count of a bucket behind all that it has; `None` when there is no such bucket.
    pub(crate) fn push_count(&mut self, bucket: u16, count: u32) -> Option<()> {
        if bucket > MAX_BUCKETS {
            return None;
        }
        if count > 0 {
            self.counts.push((bucket, count));
        }
        Some(())
    }

    /// Appends its bytes: the number of buckets, then the distance from the previous bucket and the count of each.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        push_varint(out, self.counts.len() as u64);
        let mut previous = 0;
        for (bucket, count) in &self.counts {
            push_varint(out, u64::from(bucket - previous));
            push_varint(out, u64::from(*count));
            previous = *bucket;
        }
    }

    /// Reads what [`Sketch::encode`] has written; `None` of anything else.
    pub(crate) fn decode(bytes: &mut Reader<'_>) -> Option<Self> {
        let buckets = bytes.varint()?;
        let mut sketch = Self::default();
        let mut bucket = 0_u64;
        for nth in 0..buckets {
            let distance = bytes.varint()?;
            bucket = bucket.checked_add(distance).filter(|bucket| *bucket <= u64::from(MAX_BUCKETS))?;
            let count = u32::try_from(bytes.varint()?).ok().filter(|count| *count > 0)?;
            if nth > 0 && distance == 0 {
                return None;
            }
            sketch.counts.push((u16::try_from(bucket).ok()?, count));
        }
        Some(sketch)
    }
}

/// What remains of a minute: a count, and buckets of its percentiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many values were counted.
    pub count: u64,
    p50: u16,
    p95: u16,
    p99: u16,
    max: u16,
}

impl Summary {
    /// Half of the values are at most this, as a number.
    #[must_use]
    pub fn p50(&self) -> f64 {
        number(self.p50)
    }

    /// The largest value as a number.
    #[must_use]
    pub fn max(&self) -> f64 {
        number(self.max)
    }

    /// Half of the values are at most this, in milliseconds.
    #[must_use]
    pub fn p50_ms(&self) -> f64 {
        millis(self.p50)
    }

    /// 95 % of the values are at most this, in milliseconds.
    #[must_use]
    pub fn p95_ms(&self) -> f64 {
        millis(self.p95)
    }

    /// 99 % of the values are at most this, in milliseconds.
    #[must_use]
    pub fn p99_ms(&self) -> f64 {
        millis(self.p99)
    }

    /// The largest value in milliseconds.
    #[must_use]
    pub fn max_ms(&self) -> f64 {
        millis(self.max)
    }

    /// Its numbers in the order in which they are stored.
    pub(crate) fn columns(&self) -> [u64; 5] {
        let bucket = u64::from;
        [self.count, bucket(self.p50), bucket(self.p95), bucket(self.p99), bucket(self.max)]
    }

    /// From its numbers; `None` when one of them is no bucket.
    pub(crate) fn from_columns([count, p50, p95, p99, max]: [u64; 5]) -> Option<Self> {
        let bucket = |number| u16::try_from(number).ok().filter(|bucket| *bucket <= MAX_BUCKETS);
        Some(Self { count, p50: bucket(p50)?, p95: bucket(p95)?, p99: bucket(p99)?, max: bucket(max)? })
    }

    /// Of several minutes: the largest of each percentile, which is at least the true one.
    #[must_use]
    pub fn at_most(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            p50: self.p50.max(other.p50),
            p95: self.p95.max(other.p95),
            p99: self.p99.max(other.p99),
            max: self.max.max(other.max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(values: &mut [u64], share: f64) -> f64 {
        values.sort_unstable();
        let rank = ((share * values.len() as f64).ceil() as usize).max(1);
        values[rank - 1] as f64 / 1_000.0
    }

    fn of(micros: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        for value in micros {
            sketch.add(Duration::from_micros(*value));
        }
        sketch
    }

    #[test]
    fn an_empty_sketch_has_no_summary() {
        assert_eq!(Sketch::default().summary(), None);
        assert_eq!(Sketch::default().count(), 0);
    }

    #[test]
    fn what_is_longer_than_any_probe_is_in_the_last_bucket() {
        let bucket = |seconds: f64| bucket(seconds * 1e6);
        assert_eq!(bucket(86_400.0), MAX_BUCKETS);
        assert!(bucket(1_200.0) < MAX_BUCKETS);
        assert_eq!(bucket(0.0), 0);
        let mut memory = Sketch::default();
        memory.add_number(1024.0 * 1024.0 * 1024.0);
        assert!(memory.counts[0].0 < MAX_BUCKETS, "a tebibyte in KiB");
    }

    proptest! {
        #[test]
        fn every_percentile_is_within_two_percent(mut micros in prop::collection::vec(1_u64..1_000_000_000, 1..400)) {
            let summary = of(&micros).summary().unwrap();
            for (share, shown) in
                [(0.5, summary.p50_ms()), (0.95, summary.p95_ms()), (0.99, summary.p99_ms()), (1.0, summary.max_ms())]
            {
                let exact = exact(&mut micros, share);
                prop_assert!((shown - exact).abs() <= exact * 0.020_01, "{share}: {shown} is not {exact}");
            }
        }

        #[test]
        fn merging_is_the_same_as_counting_everything(
            a in prop::collection::vec(0_u64..2_000_000_000, 0..200),
            b in prop::collection::vec(0_u64..2_000_000_000, 0..200),
        ) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let all: Vec<u64> = a.iter().chain(&b).copied().collect();
            prop_assert_eq!(&merged, &of(&all));
            prop_assert_eq!(merged.count(), all.len() as u64);
        }

        #[test]
        fn bytes_come_back(a in prop::collection::vec(0_u64..2_000_000_000, 0..200)) {
            let sketch = of(&a);
            let mut bytes = Vec::new();
            sketch.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Sketch::decode(&mut reader), Some(sketch));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sketch::decode(&mut Reader::new(&bytes));
        }
    }
}
