//! The effects that the core asks for. Adapters carry them out and answer with an [`Input`](crate::Input).

use alloc::boxed::Box;
use core::time::Duration;

use heartbeat_status::{CheckId, CommandId, Hook, ProbeIx, RealmIx, RunId, Signal};

use crate::durable::PersistedRealm;
use crate::{OperatorIntent, Reply};

/// One effect of a step.
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
    /// The core no longer needs the answer to this measurement: stop it and do not answer.
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
    /// Check whether the realm's user can use the program, its interpreter and its directory, and start nothing;
    /// answered by [`RunFact::ProgramChecked`](heartbeat_status::RunFact::ProgramChecked).
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
    /// Send a signal to the main process of a generation alone. If that process has left a daemon behind and the pid
    /// file is not there yet, the signal goes to the tree.
    SignalMain {
        /// The realm concerned.
        realm: RealmIx,
        /// The generation concerned.
        run: RunId,
        /// The signal to send.
        signal: Signal,
    },
    /// Run one of the realm's own commands; answered by [`RunFact::HookDone`](heartbeat_status::RunFact::HookDone)
    /// within `timeout`, after which the adapter kills the command and reports that.
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
    /// Kill a running command; the adapter does not answer.
    CancelHook {
        /// The realm concerned.
        realm: RealmIx,
        /// The generation it belongs to.
        run: RunId,
        /// The command concerned.
        hook: Hook,
    },
    /// Replace the record of a realm. This stands before the effects that follow from the record; the adapter does not
    /// answer.
    Persist {
        /// The realm concerned.
        realm: RealmIx,
        /// The new record; `None`: the realm needs none any more.
        record: Option<Box<PersistedRealm>>,
        /// The operator's last request: it survives reboots, too.
        intent: OperatorIntent,
    },
    /// Answer a command or a refresh.
    Reply {
        /// The number in the input.
        id: CommandId,
        /// The answer itself.
        reply: Reply,
    },
    /// Everything is stopped: end.
    Halt,
}
