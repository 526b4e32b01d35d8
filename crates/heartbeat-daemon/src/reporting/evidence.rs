//! Evidence of incidents: what the witness sees when one is opened and when it is resolved. The incident writer asks
//! it, so nothing here holds supervision.

use std::sync::Arc;

use heartbeat_process::{ProcessState, RunPlace, UsageReader};
use heartbeat_status::{Incident, RealmIx, Snapshot};
use heartbeat_wire::{
    About, DeltaDocument, OpeningEvidence, ProcessStateEntry, RealmEntry, ResolvingEvidence,
};

use crate::clock;
use crate::control::config_listings::ConfigListings;
use crate::realms::flight_recorder::FlightRecorder;
use crate::reporting::status_store::StatusStore;

/// Realms in the evidence of an incident.
const MAX_REALMS: usize = 20;
/// Failed measurements in the evidence of an incident.
const MAX_FAILURES: usize = 3;

/// Sees what the evidence of an incident needs.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) statuses: Arc<StatusStore>,
    pub(crate) reader: UsageReader,
    pub(crate) failures: Arc<FlightRecorder>,
    pub(crate) listings: Arc<ConfigListings>,
}

impl Witness {
    /// The evidence of an incident that was opened just now; `before` is from before its cause was known, and `seen` was
    /// seen when it was detected. A process that was not seen then is as it is now.
    pub(crate) fn opening(
        &self,
        incident: &Incident,
        before: &Snapshot,
        seen: &[ProcessState],
    ) -> OpeningEvidence {
        let about = self.statuses.about();
        let root = incident.root.and_then(|root| before.realm(root));
        let processes = root.and_then(|realm| {
            let main = realm.process.pid?;
            let place = RunPlace { realm: realm.info.name.clone(), run: realm.process.run, main };
            let later = self.reader.states(&place).into_iter();
            let others = later.filter(|now| seen.iter().all(|before| before.pid != now.pid));
            Some(seen.iter().cloned().chain(others).map(process).collect())
        });
        let mut failures =
            root.map_or_else(Vec::new, |realm| self.failures.of(&realm.info.name, about.anchor));
        failures.truncate(MAX_FAILURES);
        let needs = root.into_iter().flat_map(|realm| realm.info.needs.iter().map(|need| need.realm));
        let named = incident.root.into_iter().chain(needs).filter_map(|ix| before.realm(ix));
        let tables = named.map(|realm| format!("realm.{}", realm.info.name)).chain(["heartbeat".to_owned()]);
        OpeningEvidence {
            at: about.anchor.wall(clock::now()),
            before: self.realms(incident, before),
            processes: processes.unwrap_or_default(),
            failures,
            config: self.listings.evidence(&tables.collect::<Vec<_>>(), about.anchor),
        }
    }

    /// The evidence of an incident that was resolved just now.
    pub(crate) fn resolving(&self, incident: &Incident) -> ResolvingEvidence {
        let after = self.realms(incident, &self.statuses.snapshot());
        ResolvingEvidence { at: self.statuses.about().anchor.wall(clock::now()), after }
    }

    /// The root, its needs, and what it affects.
    fn realms(&self, incident: &Incident, snapshot: &Snapshot) -> Vec<RealmEntry> {
        let Some(root) = incident.root else { return Vec::new() };
        let needs = snapshot.realm(root).into_iter().flat_map(|realm| realm.info.needs.iter());
        let all =
            [root].into_iter().chain(needs.map(|need| need.realm)).chain(incident.affected.iter().copied());
        let wanted: Vec<RealmIx> = all.take(MAX_REALMS).collect();
        // Evidence is for persons elsewhere, too, so it has what the public may see.
        let about = About { public: true, ..self.statuses.about() };
        DeltaDocument::render(snapshot, &about, clock::now(), |realm| wanted.contains(&realm.info.ix)).realms
    }
}

fn process(state: ProcessState) -> ProcessStateEntry {
    ProcessStateEntry {
        pid: state.pid,
        parent: state.parent,
        name: heartbeat_status::sanitise_line(&state.name),
        state: state.state.to_string(),
        waits_in: state.waits_in,
        threads: state.threads,
        cpu_s: state.cpu.as_secs_f64(),
        rss_bytes: state.memory_bytes,
        fds: state.descriptors,
    }
}
