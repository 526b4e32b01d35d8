//! Over many graphs: the root of a fault, the incident of a host, and the order of a plan.

use heartbeat_status::{EventKind, Exit, IncidentStep, Outcome, RealmIx};
use heartbeat_supervisor::{Command, RealmSpec, Reply, StepAction};
use heartbeat_wire::Action;

use crate::drive::{Depends, Drive, FAIL, external, probed, secs};

/// Faults that are injected.
const FAULTS: u64 = 200;
const REALMS: u32 = 7;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}

/// A graph in which each realm needs some of those before it, and who needs whom, directly or through others.
fn graph(dice: &mut Dice) -> (Vec<RealmSpec>, Vec<Vec<RealmIx>>) {
    let (mut specs, mut below): (Vec<RealmSpec>, Vec<Vec<RealmIx>>) = (Vec::new(), Vec::new());
    for at in 0..REALMS {
        let mut spec = probed(&format!("realm-{at}"));
        let mut needs = Vec::new();
        for need in 0..at {
            if dice.below(3) == 0 {
                spec = spec.needs(RealmIx(need));
                needs.push(RealmIx(need));
                needs.extend(below[need as usize].clone());
            }
        }
        specs.push(spec);
        below.push(needs);
    }
    (specs, below)
}

#[test]
fn the_root_of_a_fault_is_the_realm_that_was_broken() {
    let mut wrong = Vec::new();
    for seed in 0..FAULTS {
        let mut dice = Dice(seed);
        let (specs, below) = graph(&mut dice);
        let broken = RealmIx(dice.below(REALMS));
        let mut d = Drive::up(specs);
        if dice.below(2) == 0 {
            d.exit(broken, Exit::code(1));
        }
        // What needs it answers no better than itself.
        d.live(secs(40), |realm| {
            let hit = realm == broken || below[realm.index()].contains(&broken);
            if hit { FAIL } else { Outcome::Pass }
        });
        let incidents = d.sup.snapshot(d.now).incidents;
        let roots: Vec<RealmIx> = incidents.iter().filter_map(|incident| incident.root).collect();
        if roots != [broken] {
            wrong.push((seed, broken, roots));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_loss_of_a_host_is_one_incident() {
    const ON_THE_HOST: u32 = 30;
    let host = RealmIx(0);
    let mut specs = vec![external("host")];
    specs.extend((0..ON_THE_HOST).map(|at| external(&format!("realm-{at}")).needs(host)));
    let mut d = Drive::stable(specs);
    d.live(secs(60), |_| FAIL);
    let opened: Vec<Option<RealmIx>> = d
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Incident { step: IncidentStep::Opened, incident, .. } => Some(incident.root),
            _ => None,
        })
        .collect();
    assert_eq!(opened, [Some(host)]);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(incidents[0].affected.len(), ON_THE_HOST as usize);
}

#[test]
fn what_is_planned_is_done_in_that_order() {
    const PLANS: u64 = 60;
    for seed in 0..PLANS {
        let mut dice = Dice(seed);
        let (specs, _) = graph(&mut dice);
        let mut d = Drive::stable(specs);
        let target = RealmIx(dice.below(REALMS));
        let reply = d.command(Command { cascade: true, ..Command::new(Action::Restart, target) });
        let Reply::Accepted { plan, .. } = reply else { panic!("{reply:?}") };
        d.live(secs(120), |_| Outcome::Pass);
        let mut done: Vec<(RealmIx, StepAction)> = Vec::new();
        for event in &d.events {
            let Some((realm, _)) = &event.realm else { continue };
            let action = match event.kind {
                EventKind::Signalled { .. } => StepAction::Stop,
                EventKind::RunStarted { .. } => StepAction::Start,
                _ => continue,
            };
            // A stop may take more than one signal.
            if !done.contains(&(*realm, action)) {
                done.push((*realm, action));
            }
        }
        let wave = |(realm, action): &(RealmIx, StepAction)| {
            let mut steps = plan.steps.iter();
            steps.find(|step| step.realm == *realm && step.action == *action).map(|step| step.wave)
        };
        let waves: Option<Vec<u32>> = done.iter().map(wave).collect();
        let waves =
            waves.unwrap_or_else(|| panic!("{seed}: something else was done: {done:?} of {:?}", plan.steps));
        assert!(waves.is_sorted(), "{seed}: {done:?} of {:?}", plan.steps);
        assert_eq!(done.len(), plan.steps.len(), "{seed}: {done:?} of {:?}", plan.steps);
    }
}
