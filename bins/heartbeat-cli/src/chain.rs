//! The way from a realm down to the root of its trouble, through what it needs.

use std::collections::BTreeSet;

use heartbeat_status::{EdgeKind, Reason, Status};
use heartbeat_wire::{NeedEntry, RealmEntry, StatusDocument};

use crate::cells::why;
use crate::headline::status_of;
use crate::style::{Style, hue};

/// From the first broken need down to the root: the path a person follows by hand otherwise.
pub(crate) fn upstream<'a>(realm: &RealmEntry, ecosystem: &'a StatusDocument) -> Option<Vec<&'a RealmEntry>> {
    let find = |name: &String| ecosystem.realms.iter().find(|realm| realm.name == *name);
    let mut path = Vec::new();
    let mut seen = BTreeSet::from([realm.name.as_str()]);
    let mut blockers = blamed(realm);
    while let Some(hop) = blockers.iter().filter_map(find).find(|hop| !seen.contains(hop.name.as_str())) {
        seen.insert(&hop.name);
        path.push(hop);
        blockers = blamed(hop);
    }
    (!path.is_empty()).then_some(path)
}

/// From the first need that is on its way up down to the one that waits for no other.
pub(crate) fn pending<'a>(realm: &RealmEntry, ecosystem: &'a StatusDocument) -> Vec<&'a RealmEntry> {
    let mut path: Vec<&RealmEntry> = Vec::new();
    let mut at = realm;
    while at.reason.is(Reason::WaitingForNeed) && path.len() < ecosystem.realms.len() {
        let needs = at.needs.iter().filter(|need| need.kind.is(EdgeKind::Needs));
        let on_its_way =
            |need: &&NeedEntry| need.status.is(Status::Starting) || need.status.is(Status::Restarting);
        let next = needs.filter(on_its_way).find_map(|need| {
            let seen = path.iter().any(|hop| hop.name == need.realm);
            ecosystem.realms.iter().find(|hop| hop.name == need.realm && !seen)
        });
        let Some(next) = next else { break };
        path.push(next);
        at = next;
    }
    path
}

pub(crate) fn pending_line(hop: &RealmEntry, style: Style) -> String {
    let status = status_of(hop);
    let state = format!("{} {}", style.mark(status), style.text(&hop.status.to_string()));
    format!("waits for {}: {}: {}", style.text(&hop.name), style.paint(hue(status), &state), why(hop, style))
}

/// The needs that are broken, or refuse work.
fn blamed(realm: &RealmEntry) -> &[String] {
    if realm.blocked_by.is_empty() { &realm.suspects } else { &realm.blocked_by }
}

pub(crate) fn hop_line(hop: &RealmEntry, is_root: bool, style: Style) -> String {
    let status = status_of(hop);
    let state = format!("{} {}", style.mark(status), style.text(&hop.status.to_string()));
    let root = match status {
        // It serves, and says that something is wrong with it.
        Status::Degraded if is_root => "  <- suspected root cause",
        _ if is_root => "  <- root cause",
        _ => "",
    };
    format!(
        "needs {}: {}: {}{root}",
        style.text(&hop.name),
        style.paint(hue(status), &state),
        why(hop, style)
    )
}

/// The realms that this one blocks as a root.
pub(crate) fn blocked_by<'a>(realm: &RealmEntry, ecosystem: &'a StatusDocument) -> &'a [String] {
    let root = ecosystem.roots.iter().find(|root| root.realm == realm.name);
    root.map_or(&[], |root| root.blocks.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_chain_ends_at_the_root_even_in_a_ring() {
        let mut ecosystem = sample::outage();
        for realm in &mut ecosystem.realms {
            match realm.name.as_str() {
                "postgres" => realm.blocked_by = vec!["worker".into()],
                "worker" => realm.blocked_by = vec!["postgres".into(), "gone".into()],
                _ => {}
            }
        }
        let api = ecosystem.realms.iter().find(|realm| realm.name == "api").unwrap();
        let chain = upstream(api, &ecosystem).unwrap();
        assert_eq!(chain.iter().map(|hop| hop.name.as_str()).collect::<Vec<_>>(), ["postgres", "worker"]);
    }
}
