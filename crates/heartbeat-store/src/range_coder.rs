//! Small numbers in few bits: a binary range coder whose probabilities adapt, as the one of LZMA.
//!
//! A number is a class, which is its length in bits, and the bits below its highest one. [`Numbers`] learns how likely
//! each class and each of the next bits is. Numbers that are alike take less than a bit each, where the Huffman codes of
//! deflate take one at least.

/// Probabilities are counted in this many parts.
const WHOLE_BITS: u32 = 16;
const HALF: u16 = 1 << (WHOLE_BITS - 1);
/// No bit is surer than this: 1 part in 2,048 remains for the other.
const LEAST: u16 = 1 << (WHOLE_BITS - 11);
/// A probability moves by one part in this many, once it has seen as many bits.
const MOST_SEEN: u16 = 126;
/// Bits below the highest one that are learnt; the others are as likely 0 as 1.
const LEARNT_BITS: u32 = 3;
/// Classes of a number of 32 bits.
const CLASSES: usize = 33;
/// The range is widened when it falls below this.
const NARROW: u32 = 1 << 24;

/// The probability that a bit is 0.
#[derive(Clone, Copy, Debug)]
struct Bit {
    zero: u16,
    seen: u16,
}

impl Bit {
    const NEW: Self = Self { zero: HALF, seen: 0 };

    /// The part of a range that stands for 0.
    fn share(self, range: u32) -> u32 {
        (range >> WHOLE_BITS) * u32::from(self.zero)
    }

    fn learn(&mut self, bit: bool) {
        let parts = self.seen + 2;
        self.zero = if bit {
            (self.zero - self.zero / parts).max(LEAST)
        } else {
            (self.zero + (u16::MAX - self.zero) / parts).min(u16::MAX - LEAST)
        };
        self.seen = (self.seen + 1).min(MOST_SEEN);
    }
}

/// What is known of the numbers of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    /// Whether a number has more bits than so many.
    more: [Bit; CLASSES],
    /// By class, the bits below the highest one, as a tree.
    below: [[Bit; 1 << LEARNT_BITS]; CLASSES],
}

impl Default for Numbers {
    fn default() -> Self {
        Self { more: [Bit::NEW; CLASSES], below: [[Bit::NEW; 1 << LEARNT_BITS]; CLASSES] }
    }
}

impl Numbers {
    /// The numbers from now on are similar to the former ones, and not of the same kind: what is known of these counts as
    /// little as `seen` bits.
    pub(crate) fn doubt(&mut self, seen: u16) {
        let below = self.below.iter_mut().flatten();
        self.more.iter_mut().chain(below).for_each(|bit| bit.seen = bit.seen.min(seen));
    }

    /// Goes through the bits of a number. `code` takes a bit that is to be coded, and returns the one that is there.
    fn walk(&mut self, number: u32, mut code: impl FnMut(&mut Bit, bool) -> Option<bool>) -> Option<u32> {
        let length = u32::BITS - number.leading_zeros();
        let mut class = 0;
        while class < u32::BITS && code(&mut self.more[class as usize], class < length)? {
            class += 1;
        }
        if class == 0 {
            return Some(0);
        }
        let (mut found, mut at) = (1_u32, 1);
        for place in (0..class - 1).rev() {
            let learnt = class - 2 - place < LEARNT_BITS;
            let mut even = Bit::NEW;
            let bit = if learnt { &mut self.below[class as usize][at] } else { &mut even };
            let is_set = code(bit, number >> place & 1 == 1)?;
            found = found << 1 | u32::from(is_set);
            at = (at << 1 | usize::from(is_set)) % (1 << LEARNT_BITS);
        }
        Some(found)
    }
}

/// Turns numbers into bytes, a number after the other.
#[derive(Debug)]
pub(crate) struct Encoder {
    low: u64,
    range: u32,
    /// The last byte that a carry may still change, and how many of all ones follow it.
    held: Option<u8>,
    ones: usize,
    out: Vec<u8>,
}

impl Encoder {
    pub(crate) const fn new() -> Self {
        Self { low: 0, range: u32::MAX, held: None, ones: 0, out: Vec::new() }
    }

    pub(crate) fn push(&mut self, numbers: &mut Numbers, number: u32) {
        numbers.walk(number, |bit, is_set| {
            let share = bit.share(self.range);
            if is_set {
                self.low += u64::from(share);
                self.range -= share;
            } else {
                self.range = share;
            }
            bit.learn(is_set);
            while self.range < NARROW {
                self.shift();
                self.range <<= 8;
            }
            Some(is_set)
        });
    }

    /// Gives the highest byte away, once no carry can reach it.
    fn shift(&mut self) {
        let carry = (self.low >> 32) as u8;
        let byte = (self.low >> 24) as u8;
        if byte == 0xff && carry == 0 {
            self.ones += 1;
        } else {
            self.out.extend(self.held.map(|held| held.wrapping_add(carry)));
            let ones = std::mem::take(&mut self.ones);
            self.out.extend(std::iter::repeat_n(0xff_u8.wrapping_add(carry), ones));
            self.held = Some(byte);
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    /// The bytes of all numbers.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        for _ in 0..5 {
            self.shift();
        }
        // What comes behind the end reads as 0.
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

/// Turns the bytes back into numbers. Of bytes that no [`Encoder`] has written it reads any numbers.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    bytes: std::slice::Iter<'a, u8>,
    code: u32,
    range: u32,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { bytes: bytes.iter(), code: 0, range: u32::MAX };
        (0..4).for_each(|_| decoder.take());
        decoder
    }

    fn take(&mut self) {
        self.code = self.code << 8 | u32::from(self.bytes.next().copied().unwrap_or(0));
    }

    pub(crate) fn next(&mut self, numbers: &mut Numbers) -> Option<u32> {
        numbers.walk(0, |bit, _| {
            let share = bit.share(self.range);
            let is_set = self.code >= share;
            if is_set {
                self.code -= share;
                self.range -= share;
            } else {
                self.range = share;
            }
            bit.learn(is_set);
            while self.range < NARROW {
                self.take();
                self.range <<= 8;
            }
            Some(is_set)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn coded(numbers: &[u32]) -> Vec<u8> {
        let (mut encoder, mut known) = (Encoder::new(), Numbers::default());
        for (at, number) in numbers.iter().enumerate() {
            if at % 7 == 6 {
                known.doubt(8);
            }
            encoder.push(&mut known, *number);
        }
        encoder.finish()
    }

    fn read(bytes: &[u8], count: usize) -> Vec<u32> {
        let (mut decoder, mut known) = (Decoder::new(bytes), Numbers::default());
        let number = |at| {
            if at % 7 == 6 {
                known.doubt(8);
            }
            decoder.next(&mut known).unwrap()
        };
        (0..count).map(number).collect()
    }

    #[test]
    fn numbers_that_are_alike_take_little() {
        assert!(coded(&[0; 10_000]).len() < 20);
        assert!(coded(&[3; 10_000]).len() < 60);
        let sparse: Vec<u32> = (0..10_000).map(|at| u32::from(at % 100 == 0)).collect();
        assert!(coded(&sparse).len() < 10_000 / 8 / 8, "{}", coded(&sparse).len());
    }

    #[test]
    fn a_carry_goes_through_any_number_of_ones() {
        // Numbers that keep the code close below a boundary for long.
        for length in 0..200 {
            let mut numbers = vec![u32::MAX; length];
            numbers.extend([0, 1, u32::MAX, 0x8000_0000]);
            assert_eq!(read(&coded(&numbers), numbers.len()), numbers, "{length}");
        }
    }

    proptest! {
        #[test]
        fn all_numbers_come_back(
            numbers in prop::collection::vec(prop_oneof![8 => 0_u32..6, 3 => 0_u32..5_000, 1 => any::<u32>()], 0..600),
        ) {
            prop_assert_eq!(read(&coded(&numbers), numbers.len()), numbers);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            read(&bytes, 200);
        }
    }
}
