//! The runs of the reaper, by their numbers and by their owners.

use std::collections::BTreeMap;

use crate::run::{Owner, Run};

/// Orders for a launch that came while the spawn thread had it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    pub(super) cancelled: bool,
    pub(super) silent: bool,
}

/// At most one run per owner.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Each in an allocation of its own: a run is large, and half of the places in a tree are empty.
    by_id: BTreeMap<u64, Box<Run>>,
    by_owner: BTreeMap<Owner, u64>,
    /// Requested runs that the spawn thread has not spawned yet.
    expected: BTreeMap<Owner, Expected>,
    last_id: u64,
}

impl Runs {
    /// The spawn thread is about to start a run of that owner.
    pub(super) fn expect(&mut self, owner: Owner) {
        self.expected.insert(owner, Expected::default());
    }

    pub(super) fn expected(&mut self, owner: Owner) -> Option<&mut Expected> {
        self.expected.get_mut(&owner)
    }

    pub(super) fn no_longer_expected(&mut self, owner: Owner) -> Option<Expected> {
        self.expected.remove(&owner)
    }

    pub(super) fn expects_any(&self) -> bool {
        !self.expected.is_empty()
    }

    /// A number that no run has had; from 1 on.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn insert(&mut self, id: u64, run: Box<Run>) {
        self.by_owner.insert(run.owner, id);
        self.by_id.insert(id, run);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Box<Run>> {
        let run = self.by_id.remove(&id)?;
        self.by_owner.remove(&run.owner);
        Some(run)
    }

    pub(super) fn id_of(&self, owner: Owner) -> Option<u64> {
        self.by_owner.get(&owner).copied()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Run> {
        self.by_id.get(&id).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Run> {
        self.by_id.get_mut(&id).map(Box::as_mut)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u64, &Run)> {
        self.by_id.iter().map(|(id, run)| (*id, run.as_ref()))
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (u64, &mut Run)> {
        self.by_id.iter_mut().map(|(id, run)| (*id, run.as_mut()))
    }
}
