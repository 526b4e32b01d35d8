//! What the core wants done. Adapters carry it out and answer with an [`Input`](crate::Input).

use alloc::boxed::Box;
use core::time::Duration;

use heartbeat_status::{CheckId, CommandId, Hook, ProbeIx, RealmIx, RunId, Signal};

use crate::durable::PersistedRealm;
use crate::{OperatorIntent, Reply};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Measure; answered by [`Input::Checked`](crate::Input::Checked) within `timeout` and the adapter's own delay.
    Check {
        /// Names this measurement.
        id: CheckId,
        /// The realm concerned.
        realm: RealmIx,
        /// Which of its probes.
        probe: ProbeIx,
        /// The generation measured (0 for external realms).
        run: RunId,
        /// Deadline of the whole measurement.
        timeout: Duration,
    },
    /// The answer to this measurement is no longer of interest: stop it and say nothing.
    CancelCheck {
        /// The measurement concerned.
        id: CheckId,
    },
    /// Start the realm's program; answered by `Started` or `StartFailed`, later by `Exited`.
    Start {
        /// The realm concerned.
        realm: RealmIx,
        /// The new generation.
        run: RunId,
    },
    /// Look whether the program of a realm, its interpreter and its directory can be used, with the rights of its user, and
    /// start nothing; answered by [`RunFact::ProgramChecked`](heartbeat_status::RunFact::ProgramChecked).
    CheckProgram {
        /// The realm concerned.
        realm: RealmIx,
        /// The generation that could not be started.
        run: RunId,
    },
    /// Send a signal to the whole process tree of a generation. For a generation that is still being launched,
    /// KILL calls the launch off (answered by `StartFailed` or `Exited`).
    Signal {
        /// The realm concerned.
        realm: RealmIx,
        /// The generation concerned.
        run: RunId,
        /// The signal to send.
        signal: Signal,
    },
    /// Send a signal to the main process of a generation alone; where that has left a daemon behind whose pid file is still
    /// looked for, to its tree.
    SignalMain {
        /// The realm concerned.
        realm: RealmIx,
        /// The generation concerned.
        run: RunId,
        /// The signal to send.
        signal: Signal,
    },
    /// Run one of the realm's own commands; answered by [`RunFact::HookDone`](heartbeat_status::RunFact::HookDone) within
    /// `timeout`, after which the adapter kills it and says so.
    Hook {
        /// The realm concerned.
        realm: RealmIx,
        /// The generation it belongs to.
        run: RunId,
        /// The command concerned.
        hook: Hook,
        /// How long it may take.
        timeout: Duration,
    },
    /// Kill a running command; no answer is wanted.
    CancelHook {
        /// The realm concerned.
        realm: RealmIx,
        /// The generation it belongs to.
        run: RunId,
        /// The command concerned.
        hook: Hook,
    },
    /// Remember this of a realm, in place of what was remembered before. It stands before the effects that follow
    /// from it, and nothing is answered.
    Persist {
        /// The realm concerned.
        realm: RealmIx,
        /// What is to be remembered; `None`: nothing any more.
        record: Option<Box<PersistedRealm>>,
        /// The last word of an operator: kept over reboots, too.
        intent: OperatorIntent,
    },
    /// Answer a command or a refresh.
    Reply {
        /// As the input named it.
        id: CommandId,
        /// The answer itself.
        reply: Reply,
    },
    /// Everything is stopped: end.
    Halt,
}
