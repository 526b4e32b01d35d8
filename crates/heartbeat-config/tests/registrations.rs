//! Whatever is sent as a registration: it is refused, or it is a realm that is only watched.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;

use heartbeat_config::{Config, Measure, Registration, keys, load_str, with_registered, with_what_fits};
use heartbeat_status::{ProbeKind, RealmKind};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const FILE: &str = "[defaults]\nenv = { A = \"1\" }\nhealth = { exec = \"x\" }\nlabels = { a = \"${HOME:-b}\" }\n[realm.db]\nrun = \"db\"\n[realm.done]\nrun = \"x\"\noneshot = true\n";

fn files() -> Config {
    load_str("heartbeat.toml", FILE, &BTreeMap::new()).unwrap().config
}

fn leaf() -> impl Strategy<Value = Value> {
    let words = [
        "http://127.0.0.1:8001/",
        "tcp://127.0.0.1:1",
        "redis://127.0.0.1:1",
        "http://10.0.0.1/",
        "127.0.0.1:1",
        "169.254.169.254:80",
        "localhost:1",
        "db",
        "done",
        "shop",
        "other",
        "5s",
        "GET",
        "POST",
        "up",
        "${A}",
        "\u{1b}",
        "",
        "200",
        "3 of 5",
        "live",
        "sh -c id",
        "/etc/shadow",
        "true",
        "(",
        "/status",
    ];
    prop_oneof![
        8 => proptest::sample::select(words.to_vec()).prop_map(|word| json!(word)),
        2 => prop_oneof![Just(json!(null)), Just(json!(true)), Just(json!(0)), Just(json!(8001)), Just(json!(1.5)), Just(json!(u64::MAX))],
        1 => ".{0,12}".prop_map(|text| json!(text)),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    let names: Vec<&str> = keys().map(|key| key.name).chain(["x-own", "file", "no-such-key"]).collect();
    leaf().prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((proptest::sample::select(names.clone()), inner), 0..5).prop_map(
                |members| {
                    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                }
            ),
        ]
    })
}

/// One that would be fine, and one or two members of something else.
fn nearly_right() -> impl Strategy<Value = Value> {
    let names: Vec<&str> = keys().map(|key| key.name).collect();
    let more = proptest::collection::vec((proptest::sample::select(names), anything(), any::<bool>()), 0..3);
    more.prop_map(|more| {
        let mut probe = Map::from_iter([("http".to_owned(), json!("http://127.0.0.1:1/"))]);
        let mut realm = Map::from_iter([("port".to_owned(), json!(8001))]);
        for (name, value, inside) in more {
            if inside {
                probe.insert(name.to_owned(), value)
            } else {
                realm.insert(name.to_owned(), value)
            };
        }
        realm.entry("health").or_insert(Value::Object(probe));
        Value::Object(realm)
    })
}

fn only_watched(config: &Config, name: &str) {
    let at = config.plan.find(name).unwrap();
    let (spec, realm) = (config.plan.realm(at), &config.realms[at.index()]);
    assert!(spec.registered && spec.kind == RealmKind::External && !spec.manual);
    assert!(!spec.restart_command && !spec.start.before && !spec.start.after && !spec.stop.command);
    assert!(spec.restart_with.is_empty() && spec.memory_limit.is_none());
    assert!(realm.launch.is_none() && realm.restart_command.is_none() && realm.stop_command.is_none());
    assert!(realm.start_before.is_empty() && realm.start_after.is_empty());
    for measure in realm.probes.iter().flatten() {
        let Measure::Probe(probe) = measure else { panic!("a command: {measure:?}") };
        assert!(matches!(probe.kind(), ProbeKind::Http | ProbeKind::Tcp), "{probe:?}");
        let there = ["10.0.0.1", "169.254"].iter().any(|address| probe.target().contains(address));
        assert!(!there, "{probe:?}");
        assert!(format!("{probe:?}").contains("within: Some"), "not fenced in: {probe:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sent_is_refused_or_only_watched(value in prop_oneof![anything(), nearly_right()]) {
        let Ok(registration) = Registration::parse("shop", value.to_string().as_bytes()) else { return Ok(()) };
        let files = files();
        match with_registered(&files, std::slice::from_ref(&registration)) {
            Ok(config) => {
                only_watched(&config, "shop");
                // What was kept comes back the same.
                let again = Registration::stored("shop", registration.value()).unwrap();
                prop_assert_eq!(&again, &registration);
                let (same, aside) = with_what_fits(files, vec![again]);
                prop_assert!(aside.is_empty() && same.plan.realms() == config.plan.realms());
            }
            Err(misfits) => {
                prop_assert!(!misfits.is_empty() && misfits.iter().all(|misfit| !misfit.report.is_empty()));
                let (config, aside) = with_what_fits(files, vec![registration]);
                prop_assert_eq!((config.plan.realms().len(), aside.len()), (2, 1));
            }
        }
    }

    #[test]
    fn no_bytes_at_all_are_a_crash(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(registration) = Registration::parse("shop", &bytes) {
            let _ = with_registered(&files(), &[registration]);
        }
    }
}

#[test]
fn some_of_what_is_nearly_right_is_right() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let files = files();
    let mut taken = 0;
    for _ in 0..500 {
        let value = nearly_right().new_tree(&mut runner).unwrap().current();
        let Ok(registration) = Registration::parse("shop", value.to_string().as_bytes()) else { continue };
        taken += usize::from(with_registered(&files, &[registration]).is_ok());
    }
    assert!((50..500).contains(&taken), "the property is about something: {taken}");
}
