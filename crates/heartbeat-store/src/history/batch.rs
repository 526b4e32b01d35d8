//! What waits to be written to `history.db`.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use heartbeat_status::{ProbePhase, Reason, Status};

use crate::sketch::Sketch;

/// Changes of statuses that wait. Beyond that only the last one of each realm is kept, and the time in between is
/// unknown.
const MAX_CHANGES: usize = 20_000;
/// Minutes of measurements that wait. Beyond that the oldest goes.
const MAX_MINUTES: usize = 60;

/// A realm has another status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Name of the realm.
    pub realm: String,
    /// The status from then on.
    pub status: Status,
    /// Reason of the state.
    pub reason: Reason,
}

/// A quantity of a realm that history has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// How long the measurements of this probe took.
    Latency(String),
    /// How long this phase of the measurements of a probe took. History has it by the day.
    Phase(String, ProbePhase),
    /// Processor time in hundredths of a percent of one processor.
    Cpu,
    /// Resident memory in KiB.
    Memory,
    /// Number of open descriptors.
    Descriptors,
    /// Load of the host in hundredths: processes that run or wait for a disk, as an average of a minute.
    Load,
    /// Used space of the file system below `state_dir` in hundredths of a percent.
    Disk,
}

impl Quantity {
    /// The name under which it is stored: that of the probe, or one behind `=`. A probe that is called `=x` is `==x`.
    pub(super) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Latency(probe) if probe.starts_with('=') => Cow::Owned(format!("={probe}")),
            Self::Latency(probe) => Cow::Borrowed(probe),
            Self::Phase(probe, phase) => Cow::Owned(format!("=phase:{phase}:{probe}")),
            Self::Cpu => Cow::Borrowed("=cpu"),
            Self::Memory => Cow::Borrowed("=memory"),
            Self::Descriptors => Cow::Borrowed("=fds"),
            Self::Load => Cow::Borrowed("=load"),
            Self::Disk => Cow::Borrowed("=disk"),
        }
    }

    /// The probe that a stored name is of; `None` of another quantity.
    pub(super) fn probe(name: String) -> Option<String> {
        match name.strip_prefix('=') {
            None => Some(name),
            Some(rest) => rest.starts_with('=').then(|| rest.to_owned()),
        }
    }
}

/// What was measured of one quantity of a realm within a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The realm's name.
    pub realm: String,
    /// What was measured.
    pub quantity: Quantity,
    /// Sketch of the measurements.
    pub values: Sketch,
}

/// One thing to write, in the order in which it happened.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// heartbeatd began to look, or the wall clock was set.
    Life { boot: String, at_ms: i64 },
    /// A realm has another status.
    Change(StatusChange),
    /// heartbeatd still looks.
    Alive { at_ms: i64 },
}

#[derive(Default)]
pub(crate) struct Batch {
    pub(super) writes: VecDeque<Write>,
    pub(super) minutes: VecDeque<(i64, Vec<Measured>)>,
    /// The last change of each realm among those that were given up, and when the last of them was.
    pub(super) folded: BTreeMap<String, StatusChange>,
    pub(super) folded_until_ms: Option<i64>,
    minutes_lost: u64,
    changes_lost: u64,
}

impl Batch {
    pub(super) fn push(&mut self, write: Write) {
        if let (Write::Alive { at_ms }, Some(Write::Alive { at_ms: last })) = (&write, self.writes.back_mut())
        {
            *last = *at_ms;
            return;
        }
        self.writes.push_back(write);
        self.bound();
    }

    pub(super) fn push_minute(&mut self, at_ms: i64, measured: Vec<Measured>) {
        self.minutes.push_back((at_ms, measured));
        self.bound();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.minutes.is_empty() && self.folded_until_ms.is_none()
    }

    /// Puts `later` behind.
    pub(super) fn join(&mut self, later: Self) {
        if later.folded_until_ms.is_some() {
            self.fold();
            self.folded.extend(later.folded);
            self.folded_until_ms = later.folded_until_ms;
        }
        self.writes.extend(later.writes);
        self.minutes.extend(later.minutes);
        self.minutes_lost += later.minutes_lost;
        self.changes_lost += later.changes_lost;
        self.bound();
    }

    /// What was given up since the last call, for a person.
    pub(super) fn take_lost(&mut self) -> Option<String> {
        let (minutes, changes) =
            (std::mem::take(&mut self.minutes_lost), std::mem::take(&mut self.changes_lost));
        (minutes + changes > 0).then(|| {
            format!(
                "{minutes} minutes of measurements and {changes} changes of a status do not fit into memory while the disk fails"
            )
        })
    }

    fn bound(&mut self) {
        while self.minutes.len() > MAX_MINUTES {
            self.minutes.pop_front();
            self.minutes_lost += 1;
        }
        if self.writes.len() > MAX_CHANGES {
            self.fold();
        }
    }

    /// Keeps of what waits only what every realm has come to.
    fn fold(&mut self) {
        for write in std::mem::take(&mut self.writes) {
            let at_ms = match write {
                Write::Change(change) => {
                    self.changes_lost += 1;
                    let at_ms = change.at_ms;
                    self.folded.insert(change.realm.clone(), change);
                    at_ms
                }
                Write::Life { at_ms, .. } | Write::Alive { at_ms } => at_ms,
            };
            self.folded_until_ms = Some(at_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_changes_leave_the_last_of_each_realm() {
        let mut batch = Batch::default();
        for at_ms in 0..=20_000 {
            let realm = if at_ms % 2 == 0 { "api" } else { "db" }.to_owned();
            let status = if at_ms > 19_990 { Status::Up } else { Status::Down };
            batch.push(Write::Change(StatusChange { at_ms, realm, status, reason: Reason::Healthy }));
        }
        assert_eq!((batch.folded["api"].at_ms, batch.folded["db"].at_ms), (20_000, 19_999));
        assert_eq!((batch.folded_until_ms, batch.writes.len()), (Some(20_000), 0));
        assert!(batch.take_lost().unwrap().contains("20001 changes"));
        assert_eq!(batch.take_lost(), None);
    }

    #[test]
    fn the_oldest_minute_goes_and_a_sign_of_life_takes_no_room() {
        let mut batch = Batch::default();
        for at_ms in 0..100 {
            batch.push(Write::Alive { at_ms });
            batch.push_minute(at_ms, Vec::new());
        }
        assert_eq!((batch.writes.len(), batch.minutes.len(), batch.minutes[0].0), (1, MAX_MINUTES, 40));
    }
}
