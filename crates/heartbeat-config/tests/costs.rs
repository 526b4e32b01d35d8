//! What loading costs, in counts that do not depend on the machine.

use std::collections::BTreeMap;

use allocation_counter::{AllocationInfo, measure};
use heartbeat_config::{Loaded, load_str};

/// Allocations to read one realm of the kind below, and bytes that it occupies once it is loaded.
const MAX_ALLOCATIONS_PER_REALM: u64 = 300;
const MAX_BYTES_PER_REALM: i64 = 4_096;

/// Services with a port, a probe, a policy and two needs each.
fn load(realms: usize) -> (Loaded, AllocationInfo) {
    let keys = "run = \"sleep 1000\"\nhealth = { process = true }\nrestart = { backoff = \"1s\" }";
    let needs = |at: usize| match at {
        0..3 => String::new(),
        _ => format!("needs = [\"r{:05}\", \"r{:05}\"]", at - 1, at - 3),
    };
    let realm = |at| format!("[realm.r{at:05}]\nport = {}\n{keys}\n{}\n", 10_000 + at, needs(at));
    let text: String = (0..realms).map(realm).collect();
    let variables = (0..40).map(|at| (format!("VARIABLE_{at}"), "x".repeat(60)));
    let env: BTreeMap<String, String> = variables.collect();
    let mut loaded = None;
    let cost = measure(|| loaded = load_str("heartbeat.toml", &text, &env).ok());
    (loaded.expect("it is right"), cost)
}

#[test]
fn a_realm_costs_a_bounded_number_of_allocations_and_bytes_however_many_there_are() {
    let [(_few, few), (_many, many)] = [100, 1_100].map(load);
    let allocations = (many.count_total - few.count_total) / 1_000;
    let bytes = (many.bytes_current - few.bytes_current) / 1_000;
    let seen = format!("{allocations} allocations and {bytes} bytes per realm");
    assert!(allocations <= MAX_ALLOCATIONS_PER_REALM && bytes <= MAX_BYTES_PER_REALM, "{seen}");
    println!("{seen}");
}
