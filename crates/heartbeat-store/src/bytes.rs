//! Numbers as bytes, and bytes under a checksum.

/// Bytes of the checksum that [`sealed`] puts in front.
const CHECK_BYTES: usize = 2;

/// Appends a number, seven bits per byte, the lowest first.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Reads numbers from bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What is not read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next number; `None` at the end, and when it has no end.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

/// The bytes behind a checksum of two bytes: SQLite finds a damaged page, but not a damaged value within one.
pub(crate) fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(CHECK_BYTES + bytes.len());
    out.extend_from_slice(&check_of(bytes));
    out.extend_from_slice(bytes);
    out
}

/// The bytes that [`sealed`] was given; `None` when they are not those any more.
pub(crate) fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (check, rest) = bytes.split_first_chunk::<CHECK_BYTES>()?;
    (*check == check_of(rest)).then_some(rest)
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let sum = crc32fast::hash(bytes);
    let [a, b, c, d] = sum.to_le_bytes();
    [a ^ c, b ^ d]
}

/// A checksum of the columns of a row.
pub(crate) fn row_check(columns: &[&[u8]]) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    for column in columns {
        sum.update(&(column.len() as u64).to_le_bytes());
        sum.update(column);
    }
    i64::from(sum.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
            let mut bytes = Vec::new();
            for number in &numbers {
                push_varint(&mut bytes, *number);
            }
            let mut reader = Reader::new(&bytes);
            for number in numbers {
                prop_assert_eq!(reader.varint(), Some(number));
            }
            prop_assert!(reader.is_empty() && reader.varint().is_none());
        }

        #[test]
        fn every_flipped_bit_is_found(bytes in prop::collection::vec(any::<u8>(), 0..64), at in any::<prop::sample::Index>()) {
            let mut kept = sealed(&bytes);
            prop_assert_eq!(unsealed(&kept), Some(bytes.as_slice()));
            let bit = at.index(kept.len() * 8);
            kept[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(unsealed(&kept), None);
        }
    }

    #[test]
    fn a_check_tells_columns_apart() {
        assert_ne!(row_check(&[b"ab", b"c"]), row_check(&[b"a", b"bc"]));
    }
}
