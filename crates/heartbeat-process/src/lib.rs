//! Start, signal and reap: inside heartbeatd the only spawner and reaper, for realms, hooks and exec probes alike.
//!
//! # What it is
//! [`Processes`] takes orders without waiting and reports [`Notice`]s from a thread of its own. It starts a program
//! through a *launcher*: a second role of our own binary ([`launcher_main`]) that sets everything up (session, signals,
//! log, user, directory, descriptors), waits until its identity is on record ([`ProcessRecord`]), and then becomes the
//! program. No code of heartbeatd runs between fork and exec. The reaper takes each exit through the pidfd of that
//! process, never by a wait for any child, and sends every signal through a pidfd, never to a number that may have been
//! reused.
//!
//! A realm or a command runs as ourselves or as a [`User`] of the host, for good: the launcher opens its log before the
//! change of user and enters its directory after it. Output goes to a file, nowhere, or, for exec probes, into a fixed
//! piece of memory whose beginning comes back ([`LogTarget::Capture`]); the reaper kills every process that such a
//! command leaves behind.
//!
//! A realm with [`Readiness`] reports its own state: [`RunFact::Said`](heartbeat_status::RunFact::Said) carries only
//! messages from its own process tree.
//!
//! The crate also answers which process holds a port ([`owner_of`], [`port_owner`]). It opens logs through [`LogFiles`],
//! which `heartbeat-logs` implements in heartbeatd.
//!
//! When heartbeatd has died, [`survey`] finds what is left of it from the records and one scan of /proc: which
//! processes are proven to live, which have ended, and which cannot be identified. [`Processes::adopt`] adopts them.
//!
//! # What it is not
//! It decides nothing: the supervisor decides when to start, signal or give up. It reads no clock; its
//! deadlines are the kernel's timers.
//!
//! # How to use it
//! ```no_run
//! use std::sync::Arc;
//!
//! use heartbeat_process::{Key, LaunchSpec, LogTarget, Notice, PlainLogs, Processes, Settings};
//! use heartbeat_status::{RealmIx, RealmName, RunId};
//!
//! // First thing in main: this binary is its own launcher.
//! if std::env::args_os().next().is_some_and(|name| heartbeat_process::is_launcher(&name)) {
//!     let _code = heartbeat_process::launcher_main(&PlainLogs);
//! }
//! let processes = Processes::open(Settings::default(), Arc::new(PlainLogs), |notice: Notice| drop(notice))?;
//! let spec = LaunchSpec {
//!     argv: vec!["sleep".into(), "60".into()],
//!     env: vec![("PATH".into(), "/usr/bin:/bin".into())],
//!     dir: "/".into(),
//!     log: LogTarget::Null,
//!     ..LaunchSpec::default()
//! };
//! processes.launch(Key { realm: RealmIx(0), run: RunId(1) }, &RealmName::new("sleeper").expect("a name"), &spec);
//! # Ok::<(), heartbeat_process::ProcessError>(())
//! ```

mod cgroup;
mod channel;
mod child;
mod env_file;
mod error;
mod exit;
mod failure;
mod handover;
mod identity;
mod launcher;
mod limits;
mod members;
mod notice;
mod notify;
mod output;
mod ports;
mod private_file;
mod processes;
mod program;
mod queue;
mod reaper;
mod record;
mod record_store;
mod reserved_fds;
mod run;
mod settings;
mod spawn;
mod spec;
mod states;
mod survey;
mod sys;
mod tags;
mod timer;
mod tree;
mod trusted;
mod usage;
mod user;

pub use cgroup::own_groups;
pub use env_file::{EnvFileError, EnvLineError, parse_env_file};
pub use error::{CgroupError, ProcessError, RecordError, UserError};
pub use handover::Handover;
pub use identity::{DigestError, Identity, IdentityDigest};
pub use launcher::{is_launcher, launcher_main};
pub use limits::Limits;
pub use notice::{CommandResult, CommandRunId, Key, LaunchError, MAX_OUTPUT_BYTES, Notice, Step};
pub use notify::Readiness;
pub use output::{LogFiles, PlainLogs};
pub use ports::{
    Listener, Listeners, Ownership, PortOwner, Tree, listens_elsewhere, listens_on_other_ports, owner_of,
    port_owner, port_taken,
};
pub use private_file::{MIN_TOKEN_BYTES, PrivateFileError, read_private, read_token};
pub use processes::{Commander, Processes};
pub use reaper::leave_child_signals_to_reaper;
pub use record::{ProcessId, ProcessRecord, boot_id};
pub use settings::Settings;
pub use spec::{COMMAND_DESCRIPTORS, LaunchSpec, LogTarget};
pub use states::ProcessState;
pub use survey::{Condition, Search, Survey, Survivor, survey};
pub use sys::{give_back_free_memory, peer_groups, use_one_arena, work_in_background};
pub use tree::{is_ending, is_process};
pub use trusted::{TrustError, read_trusted, trust_program};
pub use usage::{RunPlace, Usage, UsageReader};
pub use user::{User, group_id};
