//! Carries out measurements: one task each, none for a probe that rests, and a bound on how many at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_config::RealmConfig;
use heartbeat_probe::Probe;
use heartbeat_status::{
    CheckId, CheckResult, FailReason, InconclusiveReason, Instant, Outcome, PhaseTimes, ProbeIx, RealmIx,
};
use heartbeat_supervisor::Plan;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::commands::Commands;
use crate::inbox::Inbox;
use crate::owner::{Owners, Question};

/// Measurements under way. Owned by the driver; the tasks know only the inbox.
#[derive(Debug)]
pub(crate) struct Prober {
    runtime: Handle,
    inbox: Arc<Inbox>,
    slots: Arc<Semaphore>,
    under_way: BTreeMap<CheckId, AbortHandle>,
    owners: Arc<Owners>,
    commands: Arc<Commands>,
    /// By realm and probe; `None` for those that are not measured.
    probes: Vec<Vec<Option<Arc<Probe>>>>,
}

impl Prober {
    pub(crate) fn new(
        runtime: Handle,
        inbox: Arc<Inbox>,
        max_in_flight: usize,
        owners: Arc<Owners>,
        commands: Arc<Commands>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(max_in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        Self { runtime, inbox, slots, under_way: BTreeMap::new(), owners, commands, probes: Vec::new() }
    }

    /// From now on these are measured; what is under way goes on.
    pub(crate) fn equip(&mut self, plan: &Plan, realms: &[RealmConfig]) {
        let infos = plan.infos().iter();
        self.probes =
            infos.zip(realms).map(|(info, realm)| self.commands.equip(&info.probes, realm)).collect();
    }

    /// Begins a measurement; its result comes through the inbox. The wait for a free slot is not part of it. Where
    /// somebody answered on a port that should be the realm's own, it is also looked at who that was.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        id: CheckId,
        (realm, probe): (RealmIx, ProbeIx),
        timeout: Duration,
        owner: Option<Question>,
        is_port_fact: bool,
    ) {
        let probes = self.probes.get(realm.index());
        let Some(probe) = probes.and_then(|probes| probes.get(probe.index())?.clone()) else {
            self.inbox.result(id, no_adapter(now));
            return;
        };
        let (inbox, slots) = (Arc::clone(&self.inbox), Arc::clone(&self.slots));
        let owners = Arc::clone(&self.owners);
        let task = self.runtime.spawn(async move {
            let Ok(_slot) = slots.acquire_owned().await else { return };
            let mut result = probe.measure_queued(now, timeout).await;
            let answered = result.port_fact().passed() == Some(true);
            let refused = matches!(result.outcome, Outcome::Fail { reason: FailReason::Refused, .. });
            if let Some(question) = owner.as_ref().filter(|_| refused)
                && let Some(words) = elsewhere(&owners, question).await
            {
                result.detail = words;
            }
            if owner.as_ref().is_some_and(|question| owners.is_unattributable(question)) {
                result.unattributable = true;
                if is_port_fact {
                    result.outcome = result.port_fact();
                }
            }
            inbox.result(id, result);
            // Reading /proc takes a while on a busy host: no result waits for it, and one look at a time is enough.
            if let Some(question) = owner.filter(|_| answered)
                && let Some(turn) = owners.turn()
            {
                let (realm, run) = (question.realm, question.run);
                let told = tokio::task::spawn_blocking(move || {
                    let told = owners.stranger(&question);
                    drop(turn);
                    told
                });
                if let Ok(Some(stranger)) = told.await {
                    inbox.holder(realm, run, stranger);
                }
            }
        });
        self.under_way.insert(id, task.abort_handle());
    }

    /// A result arrived: the measurement is over.
    pub(crate) fn done(&mut self, id: CheckId) {
        self.under_way.remove(&id);
    }

    /// Nobody wants the result any more: dropping the task closes its connection.
    pub(crate) fn cancel(&mut self, id: CheckId) {
        if let Some(task) = self.under_way.remove(&id) {
            task.abort();
        }
    }
}

/// Whether the realm listens on its port at another address, and what to do about it.
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

/// A measured probe without anything to measure with would be a defect of ours, so it blames us and nobody else.
fn no_adapter(now: Instant) -> CheckResult {
    CheckResult {
        outcome: Outcome::Inconclusive(InconclusiveReason::MonitorResources),
        detail: "this probe has no adapter".to_owned(),
        started_at: now,
        finished_at: now,
        latency: None,
        phases: PhaseTimes::default(),
        unattributable: false,
    }
}
