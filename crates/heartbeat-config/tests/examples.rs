//! The examples load, and leave out no kind of probe.

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_config::load_str;
use heartbeat_status::ProbeKind;

#[test]
fn every_kind_of_probe_has_its_line() {
    let text = include_str!("../../../examples/probes/heartbeat.toml");
    let loaded =
        load_str("heartbeat.toml", text, &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}"));
    let infos = loaded.config.plan.infos();
    let shown: BTreeSet<ProbeKind> =
        infos.iter().flat_map(|realm| &realm.probes).map(|probe| probe.kind).collect();
    // The port is a fact of a realm with `port`, and no kind that `health` names.
    let missing: Vec<_> =
        ProbeKind::ALL.iter().filter(|kind| **kind != ProbeKind::Port && !shown.contains(kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
