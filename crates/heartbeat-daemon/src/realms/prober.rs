//! Carries out measurements: one task for each, none for an idle probe, and a bound on how many run at a time.
//!
//! The driver hands over what it wants of one turn together: one task of the runtime starts and ends the measurements, so
//! that a turn wakes the runtime once, and the memory of a measurement is taken and given back by the same thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_config::Measure;
use heartbeat_probe::{Explanation, Probe};
use heartbeat_process::COMMAND_DESCRIPTORS;
use heartbeat_status::{
    CheckId, CheckResult, FailReason, InconclusiveReason, Instant, Outcome, PhaseTimes, ProbeIx, ProbeKind,
    RealmIx, RealmKind, RealmName, printed,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use crate::active_config::{ActiveConfig, SharedConfig};
use crate::inbox::Inbox;
use crate::realms::beats::Beats;
use crate::realms::commands::Commands;
use crate::realms::flight_recorder::FlightRecorder;
use crate::realms::owner::{Owners, Question};
use crate::realms::reference::ReferenceGroup;

/// What the driver wants of the runtime, in order.
#[derive(Debug)]
enum ProbeOrder {
    Begin(Measurement),
    /// The result is there.
    Forget(CheckId),
    Cancel(CheckId),
}

/// Measurements in progress. The driver owns this; the tasks know only the inbox.
#[derive(Debug)]
pub(crate) struct Prober {
    inbox: Arc<Inbox>,
    /// Orders of the present turn.
    turn: Vec<ProbeOrder>,
    orders: Arc<ProbeOrders>,
    config: SharedConfig,
    slots: Arc<Semaphore>,
    /// Descriptors for all measurements together, and their number.
    descriptors: (Arc<Semaphore>, u32),
    under_way: BTreeMap<CheckId, (RealmIx, ProbeIx)>,
    owners: Arc<Owners>,
    commands: Arc<Commands>,
    beats: Arc<Beats>,
    reference: Arc<ReferenceGroup>,
    failures: Arc<FlightRecorder>,
}

impl Prober {
    pub(crate) fn new(
        runtime: &Handle,
        inbox: Arc<Inbox>,
        config: SharedConfig,
        (max_in_flight, max_descriptors): (usize, usize),
        owners: Arc<Owners>,
        commands: Arc<Commands>,
        beats: Arc<Beats>,
    ) -> Self {
        let orders: Arc<ProbeOrders> = Arc::default();
        drop(runtime.spawn(dispatch(Arc::clone(&orders))));
        Self {
            inbox,
            turn: Vec::new(),
            orders,
            config,
            slots: places(max_in_flight),
            descriptors: descriptors(max_descriptors),
            under_way: BTreeMap::new(),
            owners,
            commands,
            beats,
            reference: Arc::default(),
            failures: Arc::default(),
        }
    }

    /// Sets the number of descriptors from now on; measurements in progress keep theirs.
    pub(crate) fn grant(&mut self, max_descriptors: usize) {
        self.descriptors = descriptors(max_descriptors);
    }

    /// The probe to measure with; `None` for one that is not measured.
    fn probe(&self, active: &ActiveConfig, realm: RealmIx, probe: ProbeIx) -> Option<Arc<Probe>> {
        let measure = active.realm(realm)?.probes.get(probe.index())?.as_ref()?;
        let info = active.plan.infos().get(realm.index())?;
        Some(match measure {
            Measure::Probe(probe) => Arc::clone(probe),
            Measure::Command { spec, nagios, slow } => {
                let target = info.probes.get(probe.index())?.target.clone();
                let probe = self.commands.probe(target, spec, *nagios);
                Arc::new(slow.iter().copied().fold(probe, Probe::with_slow))
            }
            Measure::Push(schedule) => Arc::new(self.beats.probe(&info.name, schedule)),
            Measure::Resource(bounds) => self.owners.resources(&info.name, probe, bounds),
        })
    }

    /// The reference group, where the realm runs elsewhere.
    fn reference(&mut self, active: &ActiveConfig, realm: RealmIx) -> Option<Arc<ReferenceGroup>> {
        active.plan.realms().get(realm.index()).filter(|spec| spec.kind == RealmKind::External)?;
        if !self.reference.is_of(&active.heartbeat.reference) {
            self.reference = Arc::new(ReferenceGroup::new(&active.heartbeat.reference));
        }
        Some(Arc::clone(&self.reference))
    }

    /// The last failures of each probe.
    pub(crate) fn failures(&self) -> Arc<FlightRecorder> {
        Arc::clone(&self.failures)
    }

    /// The configuration has changed: forgets the failures of realms that it no longer has.
    pub(crate) fn reconfigured(&self) {
        let active = self.config.current();
        self.failures.retain(|realm| active.plan.infos().iter().any(|info| info.name == *realm));
    }

    /// A new generation of a realm begins.
    pub(crate) fn begin(&self, realm: &RealmName) {
        self.beats.begin(realm);
    }

    /// Begins a measurement; its result comes through the inbox. The wait for a free slot does not count. If a process
    /// answered on a port that should be the realm's own, the prober also looks which process that was.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        id: CheckId,
        (realm, probe): (RealmIx, ProbeIx),
        timeout: Duration,
        owner: Option<Question>,
        is_port_fact: bool,
    ) {
        let place = (realm, probe);
        let active = self.config.current();
        let Some(probe) = self.probe(&active, realm, probe) else {
            self.inbox.result(id, no_adapter(now));
            return;
        };
        let wanted =
            if probe.kind().runs_a_command() { COMMAND_DESCRIPTORS.min(self.descriptors.1) } else { 1 };
        let measurement = Measurement {
            id,
            place,
            probe,
            asked_at: now,
            timeout,
            owner,
            is_port_fact,
            inbox: Arc::clone(&self.inbox),
            slots: Arc::clone(&self.slots),
            descriptors: (Arc::clone(&self.descriptors.0), wanted),
            owners: Arc::clone(&self.owners),
            failures: Arc::clone(&self.failures),
            reference: self.reference(&active, realm),
            active,
        };
        self.turn.push(ProbeOrder::Begin(measurement));
        self.under_way.insert(id, place);
    }

    /// The measurement is over. Returns the realm and the probe that it was for.
    pub(crate) fn done(&mut self, id: CheckId) -> Option<(RealmIx, ProbeIx)> {
        let place = self.under_way.remove(&id)?;
        self.turn.push(ProbeOrder::Forget(id));
        Some(place)
    }

    /// The core no longer wants the result: dropping the task closes its connection.
    pub(crate) fn cancel(&mut self, id: CheckId) {
        if self.under_way.remove(&id).is_some() {
            self.turn.push(ProbeOrder::Cancel(id));
        }
    }

    /// The turn of the driver is over: hands over what it wants.
    pub(crate) fn dispatch(&mut self) {
        // What is to be forgotten can wait for something that is to be done.
        if self.turn.iter().any(|order| !matches!(order, ProbeOrder::Forget(_))) {
            self.orders.list().append(&mut self.turn);
            self.orders.given.notify_one();
        }
    }
}

/// Orders that the dispatcher has not taken yet: three at most of each measurement.
#[derive(Debug, Default)]
struct ProbeOrders {
    list: Mutex<Vec<ProbeOrder>>,
    given: Notify,
}

impl ProbeOrders {
    fn list(&self) -> MutexGuard<'_, Vec<ProbeOrder>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts and ends measurements, as the driver orders. Ends with the runtime.
async fn dispatch(orders: Arc<ProbeOrders>) {
    let mut tasks: BTreeMap<CheckId, AbortHandle> = BTreeMap::new();
    let mut turn = Vec::new();
    loop {
        orders.given.notified().await;
        std::mem::swap(&mut turn, &mut *orders.list());
        for order in turn.drain(..) {
            match order {
                ProbeOrder::Begin(measurement) => {
                    tasks.insert(measurement.id, tokio::spawn(measurement.run()).abort_handle());
                }
                ProbeOrder::Forget(id) => drop(tasks.remove(&id)),
                ProbeOrder::Cancel(id) => {
                    if let Some(task) = tasks.remove(&id) {
                        task.abort();
                    }
                }
            }
        }
    }
}

/// One measurement, with everything that it needs.
#[derive(Debug)]
struct Measurement {
    id: CheckId,
    place: (RealmIx, ProbeIx),
    probe: Arc<Probe>,
    asked_at: Instant,
    timeout: Duration,
    owner: Option<Question>,
    is_port_fact: bool,
    active: Arc<ActiveConfig>,
    inbox: Arc<Inbox>,
    slots: Arc<Semaphore>,
    /// Descriptors for all measurements together, and its part of them.
    descriptors: (Arc<Semaphore>, u32),
    owners: Arc<Owners>,
    failures: Arc<FlightRecorder>,
    reference: Option<Arc<ReferenceGroup>>,
}

impl Measurement {
    /// Waits for a place, measures, and says what it found.
    async fn run(self) {
        let Ok(_slot) = self.slots.acquire().await else { return };
        let Ok(_descriptors) = self.descriptors.0.acquire_many(self.descriptors.1).await else { return };
        let Explanation { mut result, conversation, .. } =
            self.probe.explain_queued(self.asked_at, self.timeout).await;
        // Reading stored heartbeats has no latency of its own.
        result.latency =
            result.latency.filter(|_| !matches!(self.probe.kind(), ProbeKind::Push | ProbeKind::Resource));
        // A cut may have taken the end of a quotation.
        result.detail = printed::reclosed(result.detail);
        let answered = result.port_fact().passed() == Some(true);
        if result.outcome != Outcome::Pass || self.owner.is_some() {
            Box::pin(self.examine(&mut result, conversation)).await;
        }
        self.inbox.result(self.id, result);
        if answered && self.owner.is_some() {
            Box::pin(self.look_at_port()).await;
        }
    }

    /// Looks closer at a result that is no plain pass, or whose port belongs to a realm.
    async fn examine(&self, result: &mut CheckResult, conversation: Vec<String>) {
        let Self { owners, owner, .. } = self;
        if let Some(reference) = &self.reference {
            let seen = std::mem::replace(result, no_adapter(self.asked_at));
            *result = reference.excused(&self.probe, seen).await;
        }
        let refused = matches!(result.outcome, Outcome::Fail { reason: FailReason::Refused, .. });
        if let Some(question) = owner.as_ref().filter(|_| refused)
            && let Some(words) = elsewhere(owners, question).await
        {
            result.detail = words;
        }
        if owner.as_ref().is_some_and(|question| owners.is_unattributable(question)) {
            result.unattributable = true;
            if self.is_port_fact {
                result.outcome = result.port_fact();
            }
        }
        let (realm, probe) = self.place;
        if matches!(result.outcome, Outcome::Fail { .. })
            && let Some(info) = self.active.plan.infos().get(realm.index())
            && let Some(probe) = info.probes.get(probe.index())
        {
            let failure = Explanation::new(result.clone(), conversation);
            self.failures.note(&info.name, &probe.name, failure);
        }
    }

    /// Which process has the port. Reading /proc takes a while on a busy host: no result waits for it, and one look at a
    /// time is enough.
    async fn look_at_port(&self) {
        let (Some(question), Some(turn)) = (self.owner.clone(), self.owners.turn()) else { return };
        let (realm, run) = (question.realm, question.run);
        let owners = Arc::clone(&self.owners);
        let told = tokio::task::spawn_blocking(move || {
            let told = owners.port_conflict(&question);
            drop(turn);
            told
        });
        if let Ok(Some(port_conflict)) = told.await {
            self.inbox.port_owner(realm, run, port_conflict);
        }
    }
}

fn places(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)))
}

fn descriptors(most: usize) -> (Arc<Semaphore>, u32) {
    (places(most), u32::try_from(most.max(1)).unwrap_or(u32::MAX))
}

/// Whether the realm listens at another address or on another port, and what to do about it.
async fn elsewhere(owners: &Arc<Owners>, question: &Question) -> Option<String> {
    let turn = owners.turn()?;
    let (owners, question) = (Arc::clone(owners), question.clone());
    let look = tokio::task::spawn_blocking(move || {
        let words = owners.elsewhere(&question);
        drop(turn);
        words
    });
    look.await.ok()?
}

/// A measured probe without an adapter would be a defect of heartbeatd, so heartbeatd alone is to blame.
fn no_adapter(now: Instant) -> CheckResult {
    CheckResult {
        outcome: Outcome::Inconclusive(InconclusiveReason::MonitorResources),
        detail: "this probe has no adapter".to_owned(),
        started_at: now,
        finished_at: now,
        latency: None,
        phases: PhaseTimes::default(),
        unattributable: false,
        certificate_until: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::inbox::Batch;
    use crate::realms::usage::Sampler;
    use crate::sample;
    use heartbeat_process::UsageReader;
    use std::io::Read;
    use std::net::TcpListener;

    /// Nothing that these tests wait for takes nearly this long.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Bench {
        runtime: tokio::runtime::Runtime,
        inbox: Arc<Inbox>,
        prober: Prober,
    }

    /// A prober of external realms with these health checks, in order.
    fn bench(checks: &[String], max_in_flight: usize) -> Bench {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inbox = Arc::new(Inbox::default());
        let reader = UsageReader::new(None, "no-such-mark".to_owned());
        let sampler = Arc::new(Sampler::new(reader));
        let owners = Arc::new(Owners::new("no-such-mark".to_owned(), sampler));
        let dir = tempfile::tempdir().unwrap();
        let processes = sample::processes(dir.path());
        let commands = Arc::new(Commands::new(processes.commander(), Arc::default()));
        processes.close();
        let beats = Arc::new(Beats::open(dir.path(), clock::anchor()));
        let in_flight = (max_in_flight, max_in_flight);
        let realms: String = checks
            .iter()
            .enumerate()
            .map(|(at, check)| format!("[realm.r{at:03}]\nhealth = \"{check}\"\n"))
            .collect();
        let config = SharedConfig::new(sample::active(&realms));
        let handle = runtime.handle().clone();
        let prober = Prober::new(&handle, Arc::clone(&inbox), config, in_flight, owners, commands, beats);
        Bench { runtime, inbox, prober }
    }

    impl Bench {
        fn check(&mut self, id: u64, realm: u32, timeout: Duration) {
            self.prober.check(clock::now(), CheckId(id), (RealmIx(realm), ProbeIx(0)), timeout, None, false);
            self.prober.dispatch();
        }

        /// The next `COUNT` results, by their numbers.
        fn results<const COUNT: usize>(&self) -> [(CheckId, CheckResult); COUNT] {
            let (mut batch, mut results) = (Batch::default(), Vec::new());
            while results.len() < COUNT {
                self.inbox.take(&mut batch, PATIENCE);
                assert!(!batch.results.is_empty(), "a result in time");
                results.extend(batch.results.drain(..));
            }
            results.sort_by_key(|(id, _)| *id);
            results.try_into().unwrap()
        }
    }

    fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    #[test]
    fn a_result_comes_through_the_inbox_under_its_own_number() {
        let (_listener, address) = listener();
        let mut bench = bench(&[format!("tcp://{address}")], 8);
        bench.check(7, 0, Duration::from_secs(2));
        let [(id, result)] = bench.results();
        assert_eq!((id, &result.outcome), (CheckId(7), &Outcome::Pass));
        bench.prober.done(id);
        assert!(bench.prober.under_way.is_empty());
    }

    #[test]
    fn a_probe_that_cannot_be_measured_blames_heartbeatd() {
        let (_listener, address) = listener();
        let mut bench = bench(&[format!("tcp://{address}")], 8);
        for (realm, probe) in [(0, 9), (9, 0)] {
            let at = (RealmIx(realm), ProbeIx(probe));
            bench.prober.check(clock::now(), CheckId(1), at, Duration::from_secs(1), None, false);
            let [(_, result)] = bench.results();
            assert_eq!(result.outcome, Outcome::Inconclusive(InconclusiveReason::MonitorResources));
        }
    }

    #[test]
    fn a_measurement_that_is_cancelled_closes_its_connection_and_says_nothing() {
        let (listener, address) = listener();
        let mut bench = bench(&[format!("http://{address}/")], 8);
        bench.check(1, 0, Duration::from_secs(600));
        let (mut stream, _) = listener.accept().unwrap();
        bench.prober.cancel(CheckId(1));
        bench.prober.dispatch();
        let mut request = Vec::new();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Ends when the prober has closed the connection: a reset is an end, too.
        let _ = stream.read_to_end(&mut request);
        assert!(bench.prober.under_way.is_empty());
        bench.runtime.shutdown_timeout(PATIENCE);
        let mut batch = Batch::default();
        bench.inbox.take(&mut batch, Duration::ZERO);
        assert!(batch.is_empty(), "{batch:?}");
    }

    #[test]
    fn targets_that_hang_hold_up_no_others() {
        const EACH: usize = 100;
        let ((_hangs, hanging), (answers, answering)) = (listener(), listener());
        std::thread::spawn(move || answers.incoming().for_each(drop));
        let hanging = vec![format!("http://{hanging}/"); EACH];
        let answering = vec![format!("tcp://{answering}"); EACH];
        let mut bench = bench(&[hanging, answering].concat(), 2 * EACH);
        let (mut id, long) = (0, Duration::from_secs(600));
        let mut check = |bench: &mut Bench, realm: usize| {
            id += 1;
            bench.check(id, u32::try_from(realm).unwrap(), long);
        };
        (0..EACH).for_each(|realm| check(&mut bench, realm));
        // Three rounds of the others begin and end while every one that hangs is under way.
        for _ in 0..3 {
            (EACH..2 * EACH).for_each(|realm| check(&mut bench, realm));
            let results: [_; EACH] = bench.results();
            for (id, result) in results {
                assert_eq!(result.outcome, Outcome::Pass, "{result:?}");
                assert!(bench.prober.done(id).is_some_and(|(realm, _)| realm.index() >= EACH));
            }
            assert_eq!(bench.prober.under_way.len(), EACH, "those that hang");
        }
    }

    #[test]
    fn measurements_wait_for_a_place_and_are_not_blamed_for_it() {
        let ((hangs, hanging), (_answers, answering)) = (listener(), listener());
        let mut bench = bench(&[format!("http://{hanging}/"), format!("tcp://{answering}")], 1);
        bench.check(1, 0, Duration::from_millis(300));
        // The first one has its place.
        let _held = hangs.accept().unwrap();
        let asked = clock::now();
        bench.check(2, 1, Duration::from_secs(60));
        let results: [_; 2] = bench.results();
        let (first, waited) = (&results[0].1, &results[1].1);
        assert_ne!(first.outcome, Outcome::Pass, "it hangs until its deadline");
        assert_eq!(waited.outcome, Outcome::Pass);
        assert!(waited.started_at >= first.finished_at, "{first:?}, {waited:?}");
        let queued = waited.phases.queue.unwrap_or_default();
        assert!(!queued.is_zero() && queued <= waited.started_at.since(asked), "{:?}", waited.phases);
        let took = waited.finished_at.since(waited.started_at);
        assert!(waited.latency.unwrap() <= took, "the wait is no part of its latency");
    }
}
