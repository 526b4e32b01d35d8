//! heartbeatd is back after its own death: the realms on record continue.

use alloc::sync::Arc;
use alloc::vec::Vec;

use heartbeat_status::{Desired, EventKind, Instant, RealmInfo, RealmIx};

use crate::ctx::Mode;
use crate::durable::Resting;
use crate::memory::Survivor;
use crate::reload::renew;
use crate::state::{self, State, StateRequest};
use crate::{Found, Restored, RestoredState, Supervisor};

impl Supervisor {
    /// Takes the records of an earlier heartbeatd of this boot, and what was found of its processes. Call this once,
    /// before [`Input::Boot`](crate::Input::Boot): then living realms continue, and the core notices those that have
    /// ended. It ignores realms that the plan does not have.
    pub fn restore(&mut self, now: Instant, memory: RestoredState) {
        if self.mode != Mode::Cold {
            self.ignore(now, "restored after boot");
            return;
        }
        let plan = Arc::clone(&self.plan);
        for restored in memory.realms {
            let Restored { realm: name, record, run, found, intent, changed } = restored;
            let Some(ix) = plan.find(name.as_str()) else { continue };
            let spec = plan.realm(ix);
            let realm = &mut self.realms[ix.index()];
            let is_fresh = record.is_none() && found == Found::Nothing;
            if !is_fresh {
                self.survivors.insert(ix, Survivor { found, changed });
            }
            if let Some(record) = record {
                realm.take_up(spec, record);
            }
            realm.generation.run = run.unwrap_or(realm.generation.run);
            if let Some(intent) = intent {
                realm.take_intent(intent);
            }
            if spec.retired {
                (realm.wish.desired, realm.wish.resting) = (Desired::Down, Resting::Removed);
            }
            if realm.wish.desired == Desired::Up && matches!(realm.state, State::Stopped { .. }) && is_fresh {
                realm.state = State::waiting();
            } else if realm.wish.desired == Desired::Down && matches!(realm.state, State::Waiting(_)) {
                realm.state = State::Stopped { start_due: false };
            }
            realm.shown.dirty = true;
        }
        self.own_problems.restore(now, &memory.incidents);
        self.incidents.restore(memory.incidents);
        self.fuse.restore(memory.health_restarts);
        let open: Vec<_> = self.incidents.open.iter().map(|open| (open.root, open.opened_at)).collect();
        for (root, opened_at) in open {
            if let Some(ix) = root {
                self.vouch_for_needs(ix, opened_at);
            }
        }
        for at in 0..self.start_order.len() {
            let ix = self.start_order[at];
            self.realms[ix.index()].dependencies = self.dependency_view(ix);
            self.refresh_facts(now, ix);
            let realm = &mut self.realms[ix.index()];
            realm.shown.status = realm.derive_status(plan.realm(ix));
        }
        let count = |found: usize| u32::try_from(found).unwrap_or(u32::MAX);
        self.launching =
            count(self.realms.iter().filter(|realm| state::starting::holds_launch_slot(realm)).count());
        self.healing = count(self.realms.iter().filter(|realm| realm.is_healing()).count());
        let suspicious = |info: &&Arc<RealmInfo>| self.realms[info.ix.index()].history.suspicion.is_some();
        self.suspicious = plan.infos().iter().filter(suspicious).map(|info| info.ix).collect();
        self.queue.clear();
        self.queued.fill(false);
        self.out.events.clear();
        self.out.remember.clear();
    }

    /// When health restarts were allowed, oldest first: the budget of the host, to be stored beside incidents.
    #[must_use]
    pub fn health_restarts(&self) -> Vec<Instant> {
        self.fuse.granted().collect()
    }

    /// Resumes every realm on record, in start order. The core knows which have ended before it acts on that.
    pub(crate) fn resume(&mut self, now: Instant) {
        for at in 0..self.start_order.len() {
            let ix = self.start_order[at];
            if let Some(until) = self.realms[ix.index()].wish.pause.as_ref().and_then(|pause| pause.until) {
                self.step(now, ix, |_, ctx| ctx.arm(crate::timers::TimerKind::Pause, until.max(ctx.now)));
            }
            let Some(Survivor { found, changed }) = self.survivors.remove(&ix) else { continue };
            self.realms[ix.index()].dependencies = self.dependency_view(ix);
            let adopted = matches!(found, Found::Alive { .. } | Found::Forked { .. });
            self.step(now, ix, |realm, ctx| {
                state::resume(realm, ctx, found);
                realm.resume_suspicion(ctx);
                if adopted && let Some(pid) = realm.generation.pid {
                    ctx.event(EventKind::Adopted { run: realm.generation.run, pid });
                }
            });
            self.reconcile(now, ix, changed);
        }
    }

    /// The desired state may have changed after the record was written.
    fn reconcile(&mut self, now: Instant, ix: RealmIx, changed: bool) {
        let realm = &self.realms[ix.index()];
        let runs = matches!(
            realm.state,
            State::Waiting(_)
                | State::Starting(_)
                | State::Running(_)
                | State::Backoff(_)
                | State::Cooldown(_)
        );
        match realm.wish.desired {
            Desired::Down if runs => {
                self.step(now, ix, |realm, ctx| state::on_command(realm, ctx, StateRequest::Rest))
            }
            Desired::Up if matches!(realm.state, State::Stopped { .. }) => {
                self.step(now, ix, |realm, ctx| state::on_command(realm, ctx, StateRequest::Run));
            }
            Desired::Up if changed => self.step(now, ix, |realm, ctx| renew(realm, ctx, None)),
            Desired::Up | Desired::Down => {}
        }
    }
}
