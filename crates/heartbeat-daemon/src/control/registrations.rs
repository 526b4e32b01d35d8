//! The registrations on disk: those that fit beside the configuration are in force, the rest is set aside.

use std::collections::BTreeMap;

use heartbeat_config::{Config, Misfit, Registration, with_what_fits};
use serde_json::Value;

/// The stored registrations that can be parsed. Any other stays on disk.
pub(crate) fn readable(kept: &BTreeMap<String, Value>) -> Vec<Registration> {
    let read = kept.iter().map(|(name, value)| Registration::stored(name, value.clone()));
    let told = read.inspect(|read| {
        if let Err(report) = read {
            tracing::warn!("set aside: {report}");
        }
    });
    told.flatten().collect()
}

/// Merges the stored registrations with the configuration. It sets aside those that do not fit, and logs that. `busy`
/// are names of realms that still have a process: such a realm has to be gone first.
pub(crate) fn beside(
    config: Config,
    kept: &BTreeMap<String, Value>,
    busy: impl Fn(&str) -> bool,
) -> (Config, Vec<String>) {
    let waits = |name: &str| busy(name) && config.registering.declared(name).is_none();
    let (waiting, free): (Vec<_>, Vec<_>) =
        readable(kept).into_iter().partition(|registration| waits(registration.name().as_str()));
    let told = waiting.iter().map(|registration| {
        let name = registration.name();
        format!("the registration of {name}: the realm of that name in the files is yet to be stopped; it is set aside until the next reload")
    });
    let told: Vec<String> = told.collect();
    let (config, aside) = with_what_fits(config, free);
    (config, told.into_iter().chain(aside.iter().flat_map(told_aside)).collect())
}

fn told_aside(misfit: &Misfit) -> Vec<String> {
    let name = &misfit.name;
    let told = |problem: &heartbeat_config::Diagnostic| {
        format!("{problem}; it is set aside until it fits in, or until `heartbeat-cli unregister {name}`")
    };
    misfit.report.iter().map(told).collect()
}
