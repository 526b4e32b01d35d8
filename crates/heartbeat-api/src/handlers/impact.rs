//! What the failure of one realm would mean: which realms notice, and what heartbeatd would do.

use heartbeat_status::wire::{ACTION_SCHEMA, Action, ActionDocument, ActionStep, Open};
use heartbeat_status::{EdgeKind, Gate, RealmIx, RealmKind, RealmStatus, Snapshot, Status, WhileDown};

/// The blast radius of `failed`. It comes from the graph alone; the core is not asked.
pub(crate) fn document(snapshot: &Snapshot, failed: RealmIx) -> ActionDocument {
    let name = |ix: RealmIx| snapshot.realm(ix).map(|realm| realm.info.name.to_string()).unwrap_or_default();
    let mut hit = vec![failed];
    let mut breaks = Vec::new();
    let mut steps = Vec::new();
    let watched_only =
        |realm: &RealmStatus| realm.info.kind == RealmKind::External && !realm.info.restart_command;
    if !snapshot.realm(failed).is_some_and(|realm| watched_only(realm)) {
        steps.push(step(1, name(failed), Action::Restart, None));
    }
    // In start order, so that a realm that is hit through others comes after them.
    for realm in snapshot.in_start_order() {
        let binding = realm.info.needs.iter().filter(|need| {
            need.kind == EdgeKind::Needs && need.until != Gate::Done && hit.contains(&need.realm)
        });
        let mut through = Vec::new();
        let mut reaction = WhileDown::Ride;
        for need in binding {
            through.push(need.name.to_string());
            reaction = reaction.max(need.while_down);
        }
        // A realm that is done or at rest does not notice.
        if through.is_empty() || matches!(realm.status, Status::Done | Status::Stopping | Status::Stopped) {
            continue;
        }
        hit.push(realm.info.ix);
        breaks.push(realm.info.name.to_string());
        let until = Some(format!("{} is up", through.join(", ")));
        match reaction {
            WhileDown::Ride => {}
            WhileDown::Stop => steps.push(step(1, realm.info.name.to_string(), Action::Stop, None)),
            WhileDown::Restart => steps.push(step(2, realm.info.name.to_string(), Action::Restart, until)),
        }
    }
    let message = match (breaks.len(), snapshot.realms.len()) {
        (0, _) => format!("no realm needs {}", name(failed)),
        (1, all) => format!("1 of {all} realms would be blocked; it would not be restarted"),
        (some, all) => format!("{some} of {all} realms would be blocked; they would not be restarted"),
    };
    ActionDocument {
        schema: ACTION_SCHEMA.to_owned(),
        action: Open::Unknown("fail".to_owned()),
        realms: vec![name(failed)],
        dry_run: true,
        steps,
        breaks,
        holds: Vec::new(),
        refusal: None,
        result: None,
        message: Some(message),
    }
}

fn step(wave: u32, realm: String, action: Action, until: Option<String>) -> ActionStep {
    ActionStep { wave, realm, action: action.into(), limit_s: None, until }
}
