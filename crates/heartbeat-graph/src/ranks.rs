//! The place of each realm among all names in alphabetical order: names are compared once, numbers ever after.

use alloc::vec::Vec;

use heartbeat_status::{RealmIx, RealmName};

/// Bytes of a name that are compared as one number.
const KEY_BYTES: usize = 16;

/// Ranks by realm and realms by rank.
pub(crate) struct Ranks {
    rank: Vec<u32>,
    by_rank: Vec<RealmIx>,
}

impl Ranks {
    /// Ranks `names`; equal names by index.
    ///
    /// A name lives behind a pointer, so comparing two costs two cache misses. The sort therefore looks at the
    /// 16 bytes that follow the prefix which all names share, packed into one integer, and at the names themselves
    /// only where those are equal.
    pub(crate) fn of(names: &[RealmName]) -> Self {
        let shared = shared_prefix(names);
        let mut keyed: Vec<(u128, u32)> =
            (0u32..).zip(names).map(|(ix, name)| (key(&name.as_str().as_bytes()[shared..]), ix)).collect();
        keyed.sort_unstable_by(|a, b| {
            let names = || names[a.1 as usize].cmp(&names[b.1 as usize]);
            a.0.cmp(&b.0).then_with(names).then(a.1.cmp(&b.1))
        });
        let by_rank: Vec<RealmIx> = keyed.into_iter().map(|(_, ix)| RealmIx(ix)).collect();
        let mut rank = alloc::vec![0; names.len()];
        for (at, ix) in (0u32..).zip(&by_rank) {
            rank[ix.index()] = at;
        }
        Self { rank, by_rank }
    }

    /// How many realms there are.
    pub(crate) fn len(&self) -> usize {
        self.rank.len()
    }

    /// The rank of a realm, `None` when there is no such realm.
    pub(crate) fn get(&self, ix: RealmIx) -> Option<u32> {
        self.rank.get(ix.index()).copied()
    }

    /// The rank of a realm that exists.
    pub(crate) fn rank(&self, at: usize) -> u32 {
        self.rank[at]
    }

    /// The realm at a rank.
    pub(crate) fn realm(&self, rank: u32) -> RealmIx {
        self.by_rank[rank as usize]
    }
}

/// How many bytes all names begin with in common.
fn shared_prefix(names: &[RealmName]) -> usize {
    let Some((first, rest)) = names.split_first() else { return 0 };
    let first = first.as_str().as_bytes();
    let mut shared = first.len();
    for name in rest {
        let same = first[..shared].iter().zip(name.as_str().as_bytes()).take_while(|(a, b)| a == b);
        shared = same.count();
    }
    shared
}

/// The first bytes as a number that compares as they do. Names have no NUL, so the shorter of two comes first.
fn key(bytes: &[u8]) -> u128 {
    let mut padded = [0; KEY_BYTES];
    let len = bytes.len().min(KEY_BYTES);
    padded[..len].copy_from_slice(&bytes[..len]);
    u128::from_be_bytes(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(names: &[&str]) -> Vec<u32> {
        let names: Vec<RealmName> = names.iter().map(|name| RealmName::new(name).unwrap()).collect();
        Ranks::of(&names).by_rank.iter().map(|ix| ix.0).collect()
    }

    #[test]
    fn names_rank_alphabetically_whatever_they_share() {
        assert_eq!(ranked(&[]), [] as [u32; 0]);
        assert_eq!(ranked(&["only"]), [0]);
        assert_eq!(ranked(&["b", "a", "c"]), [1, 0, 2]);
        assert_eq!(ranked(&["web-2", "web", "web-10", "web_1"]), [1, 2, 0, 3], "the shared prefix is a name");
        assert_eq!(
            ranked(&["x-the-same-sixteen-bytes-b", "x-the-same-sixteen-bytes-a", "xa"]),
            [1, 0, 2],
            "names that differ behind the packed bytes"
        );
        assert_eq!(ranked(&["same", "same", "a"]), [2, 0, 1], "equal names by index");
    }
}
