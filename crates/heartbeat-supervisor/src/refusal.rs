//! Why the core refuses a command.

use heartbeat_status::{Action, RealmIx, RealmKind};

use crate::ctx::Mode;
use crate::state::State;
use crate::{Command, Plan, Refusal, Supervisor};

/// Why the core refuses a command on `targets`, if it does; `breaks` are the dependents that would break, and `held`: it
/// would have to start a realm that an operator has stopped.
pub(crate) fn refusal(
    supervisor: &Supervisor,
    plan: &Plan,
    command: &Command,
    targets: &[RealmIx],
    breaks: &[RealmIx],
    held: bool,
) -> Option<Refusal> {
    if matches!(supervisor.mode, Mode::ShuttingDown | Mode::Killing) {
        return Some(Refusal::ShuttingDown);
    }
    if command.action != Action::Stop
        && let Some(removed) = targets.iter().find(|ix| plan.realm(**ix).retired)
    {
        return Some(Refusal::Removed(*removed));
    }
    if matches!(command.action, Action::Pause | Action::Resume) {
        return None;
    }
    if command.action == Action::Signal {
        // A signal needs a process.
        let gone = targets.iter().find(|ix| supervisor.realms[ix.index()].generation.pid.is_none());
        return gone.copied().map(Refusal::NotRunning);
    }
    // A realm with a restart command can be restarted and reset, but never started or stopped.
    let commanded = |ix: &RealmIx| {
        plan.realm(*ix).restart_command && matches!(command.action, Action::Restart | Action::Reset)
    };
    let external = |ix: &&RealmIx| plan.realm(**ix).kind == RealmKind::External && !commanded(ix);
    if let Some(external) = targets.iter().find(external) {
        return Some(Refusal::External(*external));
    }
    if matches!(command.action, Action::Start | Action::Restart)
        && let Some(stuck) =
            targets.iter().find(|ix| matches!(supervisor.realms[ix.index()].state, State::Stuck { .. }))
    {
        return Some(Refusal::Stuck(*stuck));
    }
    if matches!(command.action, Action::Start | Action::Restart)
        && let Some(unverified) =
            targets.iter().find(|ix| matches!(supervisor.realms[ix.index()].state, State::Unverified { .. }))
    {
        return Some(Refusal::Unverified(*unverified));
    }
    if held {
        return Some(Refusal::Held);
    }
    if !breaks.is_empty() && !command.force {
        return Some(Refusal::WouldBreak);
    }
    None
}
