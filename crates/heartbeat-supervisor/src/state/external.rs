//! External: watched, never started, never signalled; restarted only by a command of its own.

use super::{Intent, no_process, remedy};
use crate::cx::{Around, Cx, Mode};
use crate::judgement::judge;
use crate::realm::Realm;
use crate::timers::TimerKind;
use heartbeat_status::{Hook, RunFact};

pub(crate) fn on_exit(realm: &mut Realm, cx: &mut Cx<'_>, fact: RunFact) {
    match fact {
        RunFact::HookDone { hook: Hook::Restart, failure } => remedy::on_done(realm, cx, failure),
        _ => no_process(cx),
    }
}

pub(crate) fn on_result(realm: &mut Realm, cx: &mut Cx<'_>) {
    remedy::on_result(realm, cx);
    judge(realm, cx);
}

pub(crate) fn on_deadline(realm: &mut Realm, cx: &mut Cx<'_>, timer: TimerKind) {
    if !remedy::on_deadline(realm, cx, timer) {
        judge(realm, cx);
    }
}

pub(crate) fn on_around(realm: &mut Realm, cx: &mut Cx<'_>, was: Around) {
    match (was.mode, realm.around.mode) {
        // What is not configured any more is not watched.
        (Mode::Cold, Mode::Booted) if cx.spec.retired => {}
        (Mode::Cold, Mode::Booted) => realm.start_probing(cx),
        (Mode::Booted, Mode::ShuttingDown | Mode::Killing) => let_go(realm, cx),
        (_, _) => {
            if was.needs.excuses() && !realm.around.needs.excuses() {
                realm.probe_afresh(cx);
            }
            remedy::on_around(realm, cx);
            judge(realm, cx);
        }
    }
}

pub(crate) fn on_command(realm: &mut Realm, cx: &mut Cx<'_>, intent: Intent) {
    match intent {
        Intent::Rest | Intent::Kill if realm.shutting_down() => let_go(realm, cx),
        Intent::Run | Intent::Rest | Intent::Again(_) | Intent::Kill => {
            cx.ignore("an external realm is watched, never started or stopped");
        }
    }
}

/// It is not watched any more.
pub(crate) fn let_go(realm: &mut Realm, cx: &mut Cx<'_>) {
    remedy::call_off(realm, cx);
    realm.stop_probing(cx);
}
