//! The registrations that are kept on disk, beside the configuration: what fits in is in force, the rest is set aside.

use std::collections::BTreeMap;

use heartbeat_config::{Config, Misfit, Registration, with_what_fits};
use serde_json::Value;

/// What is kept of registrations, in the form in which they can fit in. What cannot even be read stays on disk.
pub(crate) fn readable(kept: &BTreeMap<String, Value>) -> Vec<Registration> {
    let read = kept.iter().map(|(name, value)| Registration::stored(name, value.clone()));
    let told = read.inspect(|read| {
        if let Err(report) = read {
            tracing::warn!("set aside: {report}");
        }
    });
    told.flatten().collect()
}

/// What is kept of registrations, put beside the configuration. What does not fit in is set aside, and told. `busy` are
/// names that a realm with a process has at this moment: it has to be gone first.
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
