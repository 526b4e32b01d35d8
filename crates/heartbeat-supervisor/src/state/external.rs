//! External: watched, never started, never signalled.

use super::{Fact, Intent, no_process};
use crate::cx::{Around, Cx, Mode};
use crate::judgement::judge;
use crate::realm::Realm;

pub(crate) fn on_exit(_realm: &mut Realm, cx: &mut Cx<'_>, _fact: Fact) {
    no_process(cx);
}

pub(crate) fn on_around(realm: &mut Realm, cx: &mut Cx<'_>, was: Around) {
    match (was.mode, realm.around.mode) {
        (Mode::Cold, Mode::Booted) => realm.start_probing(cx),
        (Mode::Booted, Mode::ShuttingDown | Mode::Killing) => realm.stop_probing(cx),
        (_, _) => {
            if was.need_broken && !realm.around.need_broken {
                realm.probe_afresh(cx);
            }
            judge(realm, cx);
        }
    }
}

pub(crate) fn on_command(realm: &mut Realm, cx: &mut Cx<'_>, intent: Intent) {
    match intent {
        Intent::Rest | Intent::Kill if realm.shutting_down() => realm.stop_probing(cx),
        Intent::Run | Intent::Rest | Intent::Again(_) | Intent::Kill => {
            cx.ignore("an external realm is watched, never started or stopped");
        }
    }
}
