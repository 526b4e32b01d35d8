//! Uneventful results per second on one core: a thousand realms that are up, and measurements that pass.
//!
//! The goal is 1,000,000 results a second. The same loop counts allocations: there is to be none per result.

use std::alloc::System;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use heartbeat_status::{
    CheckId, CheckResult, Instant, Outcome, PhaseTimes, ProbeInfo, ProbeKind, RealmKind, RealmName, Role,
    Status, Thresholds,
};
use heartbeat_supervisor::{
    Effect, Input, Plan, PlanSettings, ProbeSource, ProbeSpec, RealmSpec, Supervisor,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler<System> = AllocProfiler::system();

const REALMS: usize = 1_000;

fn main() {
    divan::main();
}

fn realm(at: usize) -> RealmSpec {
    let mut spec = RealmSpec::service(RealmName::new(&format!("realm-{at}")).expect("a good name"));
    spec.kind = RealmKind::External;
    let info = ProbeInfo {
        name: "http".to_string(),
        kind: ProbeKind::Http,
        role: Role::Live,
        target: "http://127.0.0.1:1/".to_string(),
        thresholds: Thresholds::default(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
    };
    spec.probes.push(ProbeSpec { info, source: ProbeSource::Measured, grace: None });
    spec
}

fn pass(now: Instant) -> CheckResult {
    CheckResult {
        outcome: Outcome::Pass,
        detail: String::new(),
        started_at: now,
        finished_at: now,
        latency: Some(Duration::from_millis(1)),
        phases: PhaseTimes::default(),
        unattributable: false,
        certificate_until: None,
    }
}

struct Driver {
    supervisor: Supervisor,
    now: Instant,
    asked: Vec<CheckId>,
}

impl Driver {
    /// Everything is up.
    fn new() -> Self {
        let plan = Plan::new(PlanSettings::default(), (0..REALMS).map(realm).collect()).expect("a good plan");
        let mut driver = Self {
            supervisor: Supervisor::new(plan, 1),
            now: Instant::from_millis(1_000),
            asked: Vec::new(),
        };
        driver.supervisor.handle(driver.now, Input::Boot);
        for _ in 0..10 {
            driver.until_asked();
            driver.answer();
        }
        let snapshot = driver.supervisor.snapshot(driver.now);
        assert!(snapshot.realms.iter().all(|realm| realm.status == Status::Up));
        driver
    }

    /// Lets time pass until at least as many measurements as realms are asked for.
    fn until_asked(&mut self) {
        while self.asked.len() < REALMS {
            self.now = self.supervisor.poll_timeout().expect("there is always a next slot");
            self.supervisor.handle_timeout(self.now);
            while let Some(effect) = self.supervisor.poll_effect() {
                if let Effect::Check { id, .. } = effect {
                    self.asked.push(id);
                }
            }
            while self.supervisor.poll_event().is_some() {}
        }
    }

    fn answer(&mut self) {
        for id in self.asked.drain(..) {
            self.supervisor.handle(self.now, Input::Checked { id, result: pass(self.now) });
        }
        while self.supervisor.poll_event().is_some() {}
    }
}

/// One item is one `Input::Checked` that changes nothing.
#[divan::bench(sample_count = 200)]
fn uneventful_results(bencher: Bencher<'_, '_>) {
    let mut driver = Driver::new();
    driver.until_asked();
    let cell = std::cell::RefCell::new(driver);
    bencher
        .counter(ItemsCount::new(REALMS))
        .with_inputs(|| cell.borrow_mut().until_asked())
        .bench_local_values(|()| cell.borrow_mut().answer());
}

/// One item is one measurement from its slot through its answer.
#[divan::bench(sample_count = 200)]
fn whole_rounds(bencher: Bencher<'_, '_>) {
    let mut driver = Driver::new();
    bencher.counter(ItemsCount::new(REALMS)).bench_local(|| {
        driver.until_asked();
        driver.answer();
    });
}
