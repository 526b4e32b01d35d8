//! Loads a text, and looks at what became of it.

use std::collections::BTreeMap;

use heartbeat_config::{Config, RealmConfig, Report, load_str};
use heartbeat_status::ProbeKind;
use heartbeat_supervisor::{ProbeSource, RealmSpec};

pub(crate) fn text(text: &str) -> Config {
    load_str("heartbeat.toml", text, &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}")).config
}

pub(crate) fn refused(text: &str) -> Report {
    load_str("heartbeat.toml", text, &BTreeMap::new()).expect_err("something is wrong with it")
}

pub(crate) fn realm<'a>(config: &'a Config, name: &str) -> (&'a RealmSpec, &'a RealmConfig) {
    let ix = config.plan.find(name).unwrap_or_else(|| panic!("there is a realm {name}"));
    (config.plan.realm(ix), &config.realms[ix.index()])
}

/// Kind and name, target, and where the results come from.
pub(crate) fn facts(spec: &RealmSpec) -> Vec<(ProbeKind, &str, &str, ProbeSource)> {
    spec.probes
        .iter()
        .map(|probe| (probe.info.kind, probe.info.name.as_str(), probe.info.target.as_str(), probe.source))
        .collect()
}

pub(crate) fn variables(realm: &RealmConfig) -> BTreeMap<String, String> {
    let launch = realm.launch.as_ref().expect("it has a program");
    let text = |value: &std::ffi::OsString| value.to_str().expect("text").to_owned();
    let environment = launch.environment().expect("its env_file can be read");
    environment.iter().map(|(name, value)| (text(name), text(value))).collect()
}
