//! What is remembered comes back: `v1.json` is a record as the first version wrote it, with nothing as in a new realm.
//! A new realm takes it up and writes the same.

use alloc::string::ToString;
use core::time::Duration;

use heartbeat_status::{ProbeInfo, ProbeKind, RealmName, Role, RunId, Thresholds};

use super::*;
use crate::durable::History;
use crate::{ProbeSource, ProbeSpec};

const TARGET: &str = "http://127.0.0.1:1/";

fn spec(kind: RealmKind) -> RealmSpec {
    let mut spec = RealmSpec::service(RealmName::new("a").unwrap());
    spec.kind = kind;
    let info = ProbeInfo {
        name: "http".to_string(),
        kind: ProbeKind::Http,
        role: Role::Live,
        target: TARGET.to_string(),
        thresholds: Thresholds::default(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
    };
    spec.probes.push(ProbeSpec { info, source: ProbeSource::Measured, grace: None });
    spec
}

/// The state of a realm, with what is stored beside it.
const STATES: &[&str] = &[
    r#"{"state":"waiting"}"#,
    r#"{"state":"mended"}"#,
    r#"{"state":{"preparing":{"launching":true,"before":false}}}"#,
    r#"{"state":{"preparing":{"launching":false,"before":true}}}"#,
    r#"{"state":"started"}"#,
    r#"{"state":{"running":{"ready_ns":40}},"restart_owed":true}"#,
    r#"{"state":{"stopping":{"cause":"reloaded","exit":{"signal":[6,true],"oom":true},"killing":true,"launching":false,"told":false,"deadline_ns":41}}}"#,
    r#"{"state":{"stopping":{"cause":null,"exit":null,"killing":false,"launching":false,"told":true,"deadline_ns":44}}}"#,
    r#"{"state":{"backoff":{"until_ns":42}}}"#,
    r#"{"state":{"cooldown":{"until_ns":43,"why":{"gone":"unhealthy"}}}}"#,
    r#"{"state":"stopped","start_owed":true}"#,
    r#"{"state":{"failed":{"why":{"exited":{"signal":[6,true],"oom":true}}}}}"#,
    r#"{"state":"done"}"#,
    r#"{"state":"stuck","stuck_for":"exited"}"#,
    r#"{"state":{"unverified":{"what":"pid 7"}},"stuck_for":"exited"}"#,
    r#"{"state":"external"}"#,
];

fn records(kind: RealmKind) -> impl Iterator<Item = serde_json::Value> {
    STATES.iter().map(move |state| {
        let mut record: serde_json::Value = serde_json::from_str(include_str!("v1.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(state).unwrap();
        for (key, value) in state.as_object().unwrap() {
            record[key] = value.clone();
        }
        record["kind"] = kind.to_string().into();
        record
    })
}

fn read(record: serde_json::Value) -> PersistedRealm {
    serde_json::from_value(record).unwrap()
}

#[test]
fn what_an_older_heartbeatd_wrote_is_taken_up_and_written_again() {
    for record in records(RealmKind::Oneshot) {
        let spec = spec(RealmKind::Oneshot);
        let mut realm = Realm::new(&spec);
        realm.take_up(&spec, read(record.clone()));
        let again = realm.record(&spec, Some(Instant::from_nanos(41)));
        assert_eq!(serde_json::to_value(&again).unwrap(), record);
        let text = serde_json::to_string(&again).unwrap();
        assert_eq!(serde_json::from_str::<PersistedRealm>(&text).unwrap(), again, "{text}");
    }
}

#[test]
fn a_record_without_a_key_has_its_default() {
    let spec = spec(RealmKind::Service);
    let mut realm = Realm::new(&spec);
    realm.take_up(&spec, read(serde_json::json!({ "kind": "service", "run": 3 })));
    assert_eq!((realm.generation.run, realm.wish.desired), (RunId(3), Desired::Up));
    assert!(matches!(realm.state, State::Waiting(_)) && realm.history == History::default());
}

#[test]
fn a_probe_that_measures_something_else_begins_anew() {
    let mut spec = spec(RealmKind::Service);
    spec.probes[0].info.target = "http://127.0.0.1:2/".to_string();
    for record in records(RealmKind::Service) {
        let mut realm = Realm::new(&spec);
        realm.take_up(&spec, read(record));
        let probe = &realm.evidence.probes[0];
        assert_eq!((probe.tally.verdict(), probe.last.is_none(), probe.stale), (None, true, false));
    }
}

#[test]
fn a_realm_of_another_kind_begins_anew_with_its_numbers() {
    let spec = spec(RealmKind::Service);
    for record in records(RealmKind::Oneshot) {
        let mut realm = Realm::new(&spec);
        realm.take_up(&spec, read(record));
        let numbers = (realm.generation.run, realm.history.restarts_opened);
        assert_eq!(numbers, (RunId(7), 25), "late answers find nobody");
        assert!(matches!(realm.state, State::Waiting(_)) && realm.generation.pid.is_none());
    }
}
