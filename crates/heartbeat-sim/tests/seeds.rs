//! The normal run: 10,000 seeds, the table of what was hit, one seed again, and recordings that replay.

use heartbeat_sim::{Coverage, Options, Recording, Sim};

const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// `HEARTBEAT_SEEDS` and `HEARTBEAT_FIRST` choose other seeds.
#[test]
fn every_invariant_holds_for_every_seed() {
    let first = number("HEARTBEAT_FIRST").unwrap_or(0);
    let count = number("HEARTBEAT_SEEDS").unwrap_or(SEEDS);
    let mut coverage = Coverage::default();
    let mut steps = 0;
    let mut broken = Vec::new();
    for seed in first..first + count {
        let report = Sim::run(seed, Options::default());
        coverage.add(&report.coverage);
        steps += report.steps;
        if report.violation.is_some() {
            broken.push(report);
        }
        if broken.len() >= 10 {
            break;
        }
    }
    println!("{count} seeds, {steps} steps\n{coverage}");
    let words: Vec<String> = broken.iter().map(ToString::to_string).collect();
    assert!(broken.is_empty(), "\n{}", words.join("\n"));
    if count >= SEEDS {
        assert_eq!(coverage.missing(), Vec::<String>::new(), "pairs that were never hit");
    }
}

/// `HEARTBEAT_SEED=n` runs that seed and prints what happened.
#[test]
fn one_seed() {
    let seed = number("HEARTBEAT_SEED").unwrap_or(1);
    let trace = std::env::var_os("HEARTBEAT_SEED").is_some();
    let report = Sim::run(seed, Options { trace, ..Options::default() });
    for line in &report.trace {
        println!("{line}");
    }
    println!("{report}");
    assert!(report.violation.is_none(), "{report}");
    assert_eq!(Sim::run(seed, Options::default()).digest, report.digest, "a seed replays exactly");
}

#[test]
fn a_recording_replays_to_the_same_effects() {
    for seed in 0..50 {
        let report = Sim::run(seed, Options { record: true, ..Options::default() });
        let text = serde_json::to_string(&report.recording.expect("asked for")).expect("plain data");
        let recording: Recording = serde_json::from_str(&text).expect("what was written");
        assert_eq!(Sim::replay(&recording).expect("a valid scenario"), report.digest, "seed {seed}");
    }
}
