//! Lists of edges by realm in two flat vectors (compressed sparse rows), so that a plan of a million edges is two
//! allocations a direction and walking it is walking memory.

use alloc::vec::Vec;
use core::ops::Range;

use heartbeat_status::RealmIx;

/// Where the row of each realm begins and ends in a flat vector. Offsets are `u32`: `build` refuses more edges.
#[derive(Clone, Debug)]
pub(crate) struct Offsets(Vec<u32>);

impl Offsets {
    /// From the length of each row.
    pub(crate) fn of(lengths: impl ExactSizeIterator<Item = u32>) -> Self {
        let mut offsets = Vec::with_capacity(lengths.len() + 1);
        let mut end = 0;
        offsets.push(end);
        for length in lengths {
            end += length;
            offsets.push(end);
        }
        Self(offsets)
    }

    /// From the row of each item, for `rows` rows.
    pub(crate) fn counting(rows: usize, row_of_each: impl Iterator<Item = u32>) -> Self {
        let mut lengths = alloc::vec![0; rows];
        for row in row_of_each {
            lengths[row as usize] += 1;
        }
        Self::of(lengths.into_iter())
    }

    /// The begin of each row: the cursors with which a counting sort fills them.
    pub(crate) fn cursors(&self) -> Vec<u32> {
        let mut cursors = self.0.clone();
        cursors.pop();
        cursors
    }

    /// The begin of the row at `at`.
    pub(crate) fn begin(&self, at: usize) -> u32 {
        self.0[at]
    }

    /// Where the row at `at` is.
    pub(crate) fn range(&self, at: usize) -> Range<usize> {
        self.0[at] as usize..self.0[at + 1] as usize
    }
}

/// The rows of one direction.
#[derive(Clone, Debug)]
pub(crate) struct Rows<T> {
    pub(crate) offsets: Offsets,
    pub(crate) flat: Vec<T>,
}

impl<T> Rows<T> {
    /// The row at `at`.
    pub(crate) fn row(&self, at: usize) -> &[T] {
        &self.flat[self.offsets.range(at)]
    }

    /// The row of a realm.
    pub(crate) fn of(&self, ix: RealmIx) -> &[T] {
        self.row(ix.index())
    }
}
