//! The realms and the incidents that tests ask for.

use std::time::Duration;

use heartbeat_restart::RestartPolicy;
use heartbeat_status::{
    EdgeKind, Gate, IncidentStep, ProbeInfo, ProbeIx, ProbeKind, RealmIx, RealmKind, RealmName, Reason, Role,
    Severity, Thresholds, WallTime, WhileDown,
};
use heartbeat_supervisor::{NeedSpec, ProbeSource, ProbeSpec, RealmSpec};
use heartbeat_wire::{INCIDENT_SCHEMA, IncidentDocument, IncidentLinks};

use super::{MAIL, MIGRATE, POSTGRES};

/// An incident of postgres, resolved or still open.
pub(crate) fn incident(id: &str, resolved: bool) -> IncidentDocument {
    let at = WallTime::from_millis(1_795_473_601_123);
    IncidentDocument {
        schema: INCIDENT_SCHEMA.to_owned(),
        event: if resolved { IncidentStep::Resolved } else { IncidentStep::Opened }.into(),
        id: id.to_owned(),
        seq: 1,
        ecosystem: "shop".to_owned(),
        root: "postgres".to_owned(),
        reason: Reason::Exited.into(),
        message: "exit code 1".to_owned(),
        severity: Severity::Critical.into(),
        affected: vec!["api".to_owned()],
        opened_at: at,
        resolved_at: resolved.then_some(at),
        duration_s: resolved.then_some(1.0),
        resolution: resolved.then(|| "healthy again".to_owned()),
        ack: None,
        timeline: Vec::new(),
        log_tail: Vec::new(),
        links: IncidentLinks { this: format!("/api/incidents/{id}/") },
    }
}

fn name(name: &str) -> RealmName {
    RealmName::new(name).unwrap()
}

pub(crate) fn probe(name: &str, kind: ProbeKind, target: &str, source: ProbeSource) -> ProbeSpec {
    let info = ProbeInfo {
        name: name.to_owned(),
        kind,
        role: Role::Live,
        target: target.to_owned(),
        thresholds: Thresholds::default(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
    };
    ProbeSpec { info, source, grace: None }
}

fn needs(realm: RealmIx, until: Gate) -> NeedSpec {
    NeedSpec { realm, kind: EdgeKind::Needs, until, while_down: WhileDown::Ride }
}

/// Four realms: a database, an API on it, a oneshot before it, and an external mail server.
pub(crate) fn shop() -> Vec<RealmSpec> {
    let mut postgres = RealmSpec::service(name("postgres"));
    postgres.probes = vec![
        probe("tcp", ProbeKind::Tcp, "127.0.0.1:5432", ProbeSource::Measured),
        probe("process", ProbeKind::Process, "pid", ProbeSource::Process),
    ];
    let mut api = RealmSpec::service(name("api"));
    api.title = Some("API <1>".to_owned());
    api.port = Some(8001);
    api.labels.insert("team".to_owned(), "core".to_owned());
    api.probes = vec![
        probe("http", ProbeKind::Http, "http://127.0.0.1:8001/api/health/", ProbeSource::Measured),
        probe("port", ProbeKind::Port, "127.0.0.1:8001", ProbeSource::PortOf(ProbeIx(0))),
        probe("process", ProbeKind::Process, "pid", ProbeSource::Process),
    ];
    api.needs = vec![
        needs(POSTGRES, Gate::Up),
        needs(MIGRATE, Gate::Done),
        NeedSpec { realm: MAIL, kind: EdgeKind::Wants, until: Gate::Up, while_down: WhileDown::Ride },
    ];
    let mut migrate = RealmSpec::service(name("migrate"));
    migrate.kind = RealmKind::Oneshot;
    migrate.start.timeout = None;
    migrate.restart = RestartPolicy::oneshot_default();
    migrate.needs = vec![needs(POSTGRES, Gate::Up)];
    let mut mail = RealmSpec::service(name("mail"));
    mail.kind = RealmKind::External;
    mail.critical = false;
    mail.probes = vec![probe("http", ProbeKind::Http, "http://10.0.0.9/healthz", ProbeSource::Measured)];
    vec![postgres, api, migrate, mail]
}

/// `count` independent realms with a probe each.
pub(crate) fn many(count: usize) -> Vec<RealmSpec> {
    (0..count)
        .map(|n| {
            let mut realm = RealmSpec::service(name(&format!("realm-{n}")));
            realm.probes = vec![
                probe("http", ProbeKind::Http, "http://127.0.0.1:8001/api/health/", ProbeSource::Measured),
                probe("process", ProbeKind::Process, "pid", ProbeSource::Process),
            ];
            realm
        })
        .collect()
}

/// Whether heartbeatd measures probes of this kind, and does not look at what it knows of the process.
pub(super) fn is_measured(kind: ProbeKind) -> bool {
    !matches!(kind, ProbeKind::Process | ProbeKind::Port)
}

/// As [`many`], with a port each; every other one is measured by two probes.
pub(crate) fn many_measured(count: usize) -> Vec<RealmSpec> {
    let mut realms = many(count);
    for (n, realm) in realms.iter_mut().enumerate() {
        realm.probes.push(probe("port", ProbeKind::Port, "127.0.0.1:8001", ProbeSource::PortOf(ProbeIx(0))));
        if n % 2 == 1 {
            realm.probes.push(probe("tcp", ProbeKind::Tcp, "127.0.0.1:8002", ProbeSource::Measured));
        }
    }
    realms
}
