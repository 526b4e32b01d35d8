//! What the failure of one realm would mean: which realms notice, and what heartbeatd would do.

use heartbeat_status::{
    Desired, EdgeKind, Gate, NeedInfo, ProbeKind, RealmIx, RealmKind, RealmStatus, Snapshot, Status,
    WhileDown,
};
use heartbeat_wire::{ACTION_SCHEMA, Action, ActionDocument, ActionStep, EffectEntry, Open};

/// The consequences of the failure of `failed`, one statement per realm. They come from the graph and the state of
/// each realm; the core is not asked.
pub(crate) fn document(snapshot: &Snapshot, failed: RealmIx) -> ActionDocument {
    let name = snapshot.realm(failed).map(|realm| realm.info.name.to_string()).unwrap_or_default();
    let mut impact =
        Impact { failed, hit: vec![failed], effects: Vec::new(), steps: Vec::new(), breaks: Vec::new() };
    if let Some(realm) = snapshot.realm(failed) {
        impact.of_itself(realm);
    }
    // In start order, so that a realm that is hit through others comes after them.
    for realm in snapshot.in_start_order().filter(|realm| realm.info.ix != failed) {
        impact.of_dependent(realm);
    }
    let message = match impact.hit.len() - 1 {
        0 => "no other realm is affected".to_owned(),
        1 => "1 other realm is affected".to_owned(),
        some => format!("{some} other realms are affected"),
    };
    ActionDocument {
        schema: ACTION_SCHEMA.to_owned(),
        action: Open::Unknown("fail".to_owned()),
        realms: vec![name],
        dry_run: true,
        steps: impact.steps,
        effects: impact.effects,
        breaks: impact.breaks,
        holds: Vec::new(),
        refusal: None,
        result: None,
        message: Some(message),
    }
}

struct Impact {
    failed: RealmIx,
    /// The realm that fails, and those that it affects.
    hit: Vec<RealmIx>,
    effects: Vec<EffectEntry>,
    steps: Vec<ActionStep>,
    breaks: Vec<String>,
}

impl Impact {
    fn tell(&mut self, realm: &RealmStatus, message: impl Into<String>) {
        self.effects.push(EffectEntry { realm: realm.info.name.to_string(), message: message.into() });
    }

    fn step(&mut self, wave: u32, realm: &RealmStatus, action: Action, until: Option<String>) {
        let realm = realm.info.name.to_string();
        self.steps.push(ActionStep { wave, realm, action: action.into(), limit_s: None, until });
    }

    fn of_itself(&mut self, realm: &RealmStatus) {
        let info = &realm.info;
        let without = if realm.desired == Desired::Down {
            Some("cannot fail: it is stopped")
        } else if realm.pause.is_some() {
            Some("is not restarted: it is paused")
        } else if info.kind == RealmKind::External && !info.restart_command {
            Some("is not restarted: heartbeatd only watches it")
        } else if !info.restarts {
            Some("is not restarted: its restart policy is `never`")
        } else {
            None
        };
        if let Some(without) = without {
            return self.tell(realm, without);
        }
        self.step(1, realm, Action::Restart, None);
        self.tell(
            realm,
            match (info.kind, info.restart_command) {
                (RealmKind::Oneshot, _) => "is run again",
                (_, true) => "is restarted by its restart command",
                (_, false) => "is restarted",
            },
        );
    }

    fn of_dependent(&mut self, realm: &RealmStatus) {
        let needs: Vec<&NeedInfo> = realm
            .info
            .needs
            .iter()
            .filter(|need| need.kind == EdgeKind::Needs && self.hit.contains(&need.realm))
            .collect();
        let runs = realm.process.pid.is_some() || realm.info.kind == RealmKind::External;
        // A gate that has let a realm pass once holds nothing back.
        let (binding, passed): (Vec<&NeedInfo>, Vec<&NeedInfo>) =
            needs.into_iter().partition(|need| need.until != Gate::Done || !runs);
        if binding.is_empty() {
            return self.of_loose_dependent(realm, &passed);
        }
        match realm.status {
            Status::Done => return self.tell(realm, "is not affected: it is done"),
            Status::Stopping | Status::Stopped => {
                // A realm that the configuration no longer has is no dependent.
                return if realm.desired == Desired::Down
                    && binding.iter().any(|need| need.realm == self.failed)
                {
                    self.tell(realm, "is not affected: it is stopped");
                };
            }
            _ => {}
        }
        self.hit.push(realm.info.ix);
        let through = joined(&binding);
        let back = binding.iter().map(|need| format!("{} is {}", need.name, need.until)).collect::<Vec<_>>();
        let back = back.join(" and ");
        let reaction = binding.iter().map(|need| need.while_down).max().unwrap_or(WhileDown::Ride);
        match reaction {
            _ if !runs => {
                self.breaks.push(realm.info.name.to_string());
                self.tell(realm, format!("starts only when {back}"));
            }
            WhileDown::Stop => {
                self.step(1, realm, Action::Stop, None);
                self.tell(realm, format!("is stopped, and starts again when {back}"));
            }
            WhileDown::Restart => {
                self.step(2, realm, Action::Restart, Some(back.clone()));
                self.tell(realm, format!("keeps running, and is restarted when {back} again"));
            }
            WhileDown::Ride => {
                self.breaks.push(realm.info.name.to_string());
                let is_probed = realm.info.probes.iter().any(|probe| probe.kind != ProbeKind::Process);
                let while_failing = if is_probed {
                    format!("; if its own probes fail too, it is blocked by {through}, and not restarted")
                } else {
                    String::new()
                };
                self.tell(realm, format!("keeps running{while_failing}"));
            }
        }
    }

    /// A realm that depends on the failed one in a way that holds nothing up.
    fn of_loose_dependent(&mut self, realm: &RealmStatus, passed: &[&NeedInfo]) {
        if realm.desired == Desired::Down {
            return;
        }
        if !passed.is_empty() {
            let names = joined(passed);
            return self.tell(realm, format!("is not affected: it needed {names} only for its start"));
        }
        let edge = realm.info.needs.iter().find(|need| need.realm == self.failed);
        let name = edge.map(|need| need.name.to_string()).unwrap_or_default();
        match edge.map(|need| need.kind) {
            Some(EdgeKind::Wants) => {
                self.tell(realm, format!("is not affected: it wants {name}, but does not need it"));
            }
            Some(EdgeKind::After) => {
                self.tell(realm, format!("is not affected: it only starts after {name}"))
            }
            Some(EdgeKind::Needs) | None => {}
        }
    }
}

fn joined(needs: &[&NeedInfo]) -> String {
    needs.iter().map(|need| need.name.as_str()).collect::<Vec<_>>().join(", ")
}
