//! Many entries in few bytes: columns, deflated, or sketches, bucket by bucket in a range coder; under a checksum.

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use crate::bytes::{Reader, push_varint, sealed, unsealed};
use crate::range_coder::{Decoder, Encoder, Numbers};
use crate::sketch::{Sketch, Summary};

/// Level of the compression, from 0 to 10.
const LEVEL: u8 = 9;
/// Most sketches of one chunk: more than there are slots in one.
const MAX_CODED_ENTRIES: usize = 16 * 1024;
/// Largest chunk that is unpacked, in bytes.
const MAX_CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Packs bytes for one row.
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    sealed(&compress_to_vec(bytes, LEVEL))
}

/// Unpacks what [`pack`] has packed; `None` of anything else.
pub(super) fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    decompress_to_vec_with_limit(unsealed(bytes)?, MAX_CHUNK_BYTES).ok()
}

/// What a tier keeps of each slot.
pub(super) trait Entry: Sized {
    /// Entries by ascending slot, as bytes.
    fn pack_all(entries: &[(i64, Self)]) -> Vec<u8>;
    /// Entries from bytes; `None` when they are damaged.
    fn unpack_all(bytes: &[u8]) -> Option<Vec<(i64, Self)>>;
    /// One entry as bytes.
    fn one(&self) -> Vec<u8>;
    /// One entry from bytes; `None` when they are damaged.
    fn from_one(bytes: &[u8]) -> Option<Self>;
    /// Adds another entry of the same slot.
    fn add(&mut self, other: &Self);
}

/// Appends a slot as its distance from the one before.
fn push_slot(out: &mut Vec<u8>, previous: &mut i64, slot: i64) {
    push_varint(out, u64::try_from(slot - *previous).unwrap_or(0));
    *previous = slot;
}

fn read_slot(bytes: &mut Reader<'_>, previous: &mut i64) -> Option<i64> {
    *previous = previous.checked_add(i64::try_from(bytes.varint()?).ok()?)?;
    Some(*previous)
}

/// As earlier versions have packed them: each sketch behind its slot.
fn one_by_one(bytes: &mut Reader<'_>) -> Option<Vec<(i64, Sketch)>> {
    let (mut previous, mut entries) = (0, Vec::new());
    while !bytes.is_empty() {
        entries.push((read_slot(bytes, &mut previous)?, Sketch::decode(bytes)?));
    }
    Some(entries)
}

/// As earlier versions have packed them after that: the counts of one bucket after those of another.
fn by_bucket(raw: &[u8]) -> Option<Vec<(i64, Sketch)>> {
    let mut bytes = Reader::new(raw);
    bytes.varint()?;
    // Each takes at least a byte, so this is no more than there can be.
    let count = usize::try_from(bytes.varint()?).ok().filter(|count| *count <= raw.len())?;
    let mut previous = 0;
    let slots: Option<Vec<i64>> = (0..count).map(|_| read_slot(&mut bytes, &mut previous)).collect();
    let mut sketches = vec![Sketch::default(); count];
    let mut bucket = || u16::try_from(bytes.varint()?).ok();
    let (first, last) = (bucket()?, bucket()?);
    for bucket in first..=last {
        for sketch in &mut sketches {
            sketch.push_count(bucket, u32::try_from(bytes.varint()?).ok()?)?;
        }
    }
    bytes.is_empty().then_some(())?;
    Some(slots?.into_iter().zip(sketches).collect())
}

/// In the place of the first slot, which is never 0: the counts stand by bucket, and not sketch after sketch.
const BY_BUCKET: u8 = 0;
/// The first bytes of a chunk whose sketches are in a range coder. No deflated chunk begins so: this would be a block of a
/// kind that does not exist.
const CODED: u8 = 0b111;
/// What the counts of one bucket say about those of the next, in bits.
const SEEN_IN_NEIGHBOUR: u16 = 8;

impl Entry for Sketch {
    /// Bucket by bucket: the counts of one bucket in all sketches are alike.
    fn pack_all(entries: &[(i64, Self)]) -> Vec<u8> {
        let (mut raw, mut previous) = (vec![CODED], 0);
        push_varint(&mut raw, entries.len() as u64);
        let spans = || entries.iter().filter_map(|(_, sketch)| sketch.span());
        let first = spans().map(|(first, _)| first).min().unwrap_or(0);
        let last = spans().map(|(_, last)| last).max().unwrap_or(0);
        push_varint(&mut raw, u64::from(first));
        push_varint(&mut raw, u64::from(last));
        let (mut encoder, mut slots, mut counts) = (Encoder::new(), Numbers::default(), Numbers::default());
        for (slot, _) in entries {
            // In 32 bits, minutes since 1970 reach for thousands of years.
            encoder.push(&mut slots, u32::try_from(slot - previous).unwrap_or(0));
            previous = *slot;
        }
        for bucket in first..=last {
            entries.iter().for_each(|(_, sketch)| encoder.push(&mut counts, sketch.count_of(bucket)));
            counts.doubt(SEEN_IN_NEIGHBOUR);
        }
        raw.extend(encoder.finish());
        sealed(&raw)
    }

    fn unpack_all(bytes: &[u8]) -> Option<Vec<(i64, Self)>> {
        let Some((&CODED, coded)) = unsealed(bytes)?.split_first() else {
            let raw = unpack(bytes)?;
            return match raw.first() {
                Some(&BY_BUCKET) => by_bucket(&raw),
                _ => one_by_one(&mut Reader::new(&raw)),
            };
        };
        let mut bytes = Reader::new(coded);
        let count = usize::try_from(bytes.varint()?).ok().filter(|count| *count <= MAX_CODED_ENTRIES)?;
        let mut bucket = || u16::try_from(bytes.varint()?).ok();
        let (first, last) = (bucket()?, bucket()?);
        let mut decoder = Decoder::new(bytes.rest());
        let (mut slots, mut counts) = (Numbers::default(), Numbers::default());
        let mut entries = Vec::with_capacity(count);
        let mut slot = 0_i64;
        for _ in 0..count {
            slot += i64::from(decoder.next(&mut slots)?);
            entries.push((slot, Self::default()));
        }
        for bucket in first..=last {
            for (_, sketch) in &mut entries {
                sketch.push_count(bucket, decoder.next(&mut counts)?)?;
            }
            counts.doubt(SEEN_IN_NEIGHBOUR);
        }
        Some(entries)
    }

    fn one(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        sealed(&bytes)
    }

    fn from_one(bytes: &[u8]) -> Option<Self> {
        Self::decode(&mut Reader::new(unsealed(bytes)?))
    }

    fn add(&mut self, other: &Self) {
        self.merge(other);
    }
}

impl Entry for Summary {
    /// Column by column, since the numbers of one column are alike.
    fn pack_all(entries: &[(i64, Self)]) -> Vec<u8> {
        let (mut raw, mut previous) = (Vec::new(), 0);
        push_varint(&mut raw, entries.len() as u64);
        for (slot, _) in entries {
            push_slot(&mut raw, &mut previous, *slot);
        }
        for column in 0..COLUMNS {
            for (_, summary) in entries {
                push_varint(&mut raw, summary.columns()[column]);
            }
        }
        pack(&raw)
    }

    fn unpack_all(bytes: &[u8]) -> Option<Vec<(i64, Self)>> {
        let raw = unpack(bytes)?;
        let (mut bytes, mut previous) = (Reader::new(&raw), 0);
        // Each takes at least six bytes, so this is no more than there can be.
        let count = usize::try_from(bytes.varint()?).ok().filter(|count| *count <= raw.len())?;
        let slots: Option<Vec<i64>> = (0..count).map(|_| read_slot(&mut bytes, &mut previous)).collect();
        let mut columns = vec![[0; COLUMNS]; count];
        for column in 0..COLUMNS {
            for row in &mut columns {
                row[column] = bytes.varint()?;
            }
        }
        let summaries: Option<Vec<Self>> = columns.into_iter().map(Self::from_columns).collect();
        Some(slots?.into_iter().zip(summaries?).collect())
    }

    fn one(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in self.columns() {
            push_varint(&mut bytes, number);
        }
        sealed(&bytes)
    }

    fn from_one(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Reader::new(unsealed(bytes)?);
        let mut columns = [0; COLUMNS];
        for column in &mut columns {
            *column = bytes.varint()?;
        }
        Self::from_columns(columns)
    }

    fn add(&mut self, other: &Self) {
        *self = self.at_most(*other);
    }
}

const COLUMNS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn sketch(micros: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        for value in micros {
            sketch.add(Duration::from_micros(*value));
        }
        sketch
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(entries in prop::collection::vec((1_i64..50, prop::collection::vec(1_u64..9_000_000, 1..20)), 0..40)) {
            let mut slot = 0;
            let sketches: Vec<(i64, Sketch)> = entries.iter().map(|(gap, values)| { slot += gap; (slot, sketch(values)) }).collect();
            let summaries: Vec<(i64, Summary)> = sketches.iter().map(|(slot, sketch)| (*slot, sketch.summary().unwrap())).collect();
            prop_assert_eq!(Sketch::unpack_all(&Sketch::pack_all(&sketches)), Some(sketches.clone()));
            prop_assert_eq!(Summary::unpack_all(&Summary::pack_all(&summaries)), Some(summaries.clone()));
            for ((_, sketch), (_, summary)) in sketches.iter().zip(&summaries) {
                prop_assert_eq!(Sketch::from_one(&sketch.one()), Some(sketch.clone()));
                prop_assert_eq!(Summary::from_one(&summary.one()), Some(*summary));
            }
        }

        #[test]
        fn chunks_of_earlier_versions_are_read(entries in prop::collection::vec((1_i64..50, prop::collection::vec(1_u64..9_000_000, 1..20)), 1..40)) {
            let mut slot = 0;
            let sketches: Vec<(i64, Sketch)> = entries.iter().map(|(gap, values)| { slot += gap; (slot, sketch(values)) }).collect();
            let (mut raw, mut previous) = (Vec::new(), 0);
            for (slot, sketch) in &sketches {
                push_slot(&mut raw, &mut previous, *slot);
                sketch.encode(&mut raw);
            }
            prop_assert_eq!(Sketch::unpack_all(&pack(&raw)), Some(sketches.clone()));
            let (mut raw, mut previous) = (vec![BY_BUCKET], 0);
            push_varint(&mut raw, sketches.len() as u64);
            sketches.iter().for_each(|(slot, _)| push_slot(&mut raw, &mut previous, *slot));
            raw.extend([0, 0xff, 0x03]);
            for bucket in 0..=511 {
                sketches.iter().for_each(|(_, sketch)| push_varint(&mut raw, u64::from(sketch.count_of(bucket))));
            }
            prop_assert_eq!(Sketch::unpack_all(&pack(&raw)), Some(sketches));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Sketch::unpack_all(&pack(&bytes));
            let _ = Summary::unpack_all(&pack(&bytes));
            let _ = Sketch::unpack_all(&sealed(&[&[CODED], bytes.as_slice()].concat()));
            prop_assert!(Sketch::unpack_all(&bytes).is_none_or(|entries| entries.is_empty()));
        }
    }
}
