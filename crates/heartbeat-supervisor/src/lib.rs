//! The state machine that decides everything heartbeatd does. Without I/O, without a clock, without a thread.
//!
//! # What it is
//! One deterministic function, `(state, now, input) -> (state', effects, events)`. [`Supervisor`] holds the state of
//! every realm of a [`Plan`]. An [`Input`] is a fact (a process ended, a measurement came back) or a wish (a
//! [`Command`]); an [`Effect`] is something an adapter has to do (measure, start, signal); an
//! [`Event`](heartbeat_status::Event) is a fact in the past tense for readers. The three are never
//! one type. Every state of a realm is a file of its own with the same functions, and every state answers every
//! input: `docs/realm-transitions.md` shows all pairs.
//!
//! # What it is not
//! It performs nothing. It reads no clock: time is an argument, a [`heartbeat_status::Instant`]. It rolls no dice:
//! jitter comes from the seed of the constructor, so the same inputs at the same times give the same effects. It
//! cannot fail: an input that makes no sense now is counted and reported as
//! [`EventKind::Ignored`](heartbeat_status::EventKind::Ignored), and nothing changes. The crate is `no_std`.
//!
//! # How to use it
//! The contract of the driver, in the manner of quinn-proto:
//!
//! 1. Feed: [`Supervisor::handle`] with what happened, or [`Supervisor::handle_timeout`] when the time of
//!    [`Supervisor::poll_timeout`] has come. `now` never goes back.
//! 2. Poll [`Supervisor::poll_effect`] and [`Supervisor::poll_event`] until both are empty. Effects are carried out
//!    in order. Answers carry the generation ([`RunId`](heartbeat_status::RunId)) or the
//!    [`CheckId`](heartbeat_status::CheckId) of their question; one that comes too late is dropped by the core, so
//!    an adapter need not care.
//! 3. Ask [`Supervisor::poll_timeout`] again, since every feed may change it, and sleep until then. Calling
//!    `handle_timeout` early is harmless, late is what a busy driver does.
//! 4. When there were events, publish [`Supervisor::snapshot`]: it is rebuilt only where something was touched.
//!
//! A realm from boot to `up`:
//!
//! ```
//! use heartbeat_status::{Instant, RealmName, RunFact, Status};
//! use heartbeat_supervisor::{Effect, Input, Plan, PlanSettings, RealmSpec, Supervisor};
//!
//! let web = RealmSpec::service(RealmName::new("web").unwrap());
//! let plan = Plan::new(PlanSettings::default(), vec![web]).unwrap();
//! let mut supervisor = Supervisor::new(plan, 7);
//!
//! let mut now = Instant::from_millis(1_000);
//! supervisor.handle(now, Input::Boot);
//! let effects: Vec<Effect> = std::iter::from_fn(|| supervisor.poll_effect()).collect();
//! // What has to be remembered comes first, then what is to be done.
//! let [Effect::Persist { .. }, Effect::Start { realm, run }] = effects[..] else { panic!("{effects:?}") };
//!
//! // An adapter has exec'd the program and says so.
//! supervisor.handle(now, Input::Run { realm, run, fact: RunFact::Started { pid: 4711 } });
//! assert_eq!(supervisor.snapshot(now).realms[0].status, Status::Starting);
//!
//! // Nothing is measured here, so it counts as ready once it has run for `start.settle`.
//! now = supervisor.poll_timeout().expect("the settling time");
//! supervisor.handle_timeout(now);
//! while let Some(event) = supervisor.poll_event() {
//!     println!("{event:?}");
//! }
//! let snapshot = supervisor.snapshot(now);
//! assert_eq!(snapshot.realms[0].status, Status::Up);
//! assert_eq!(snapshot.realms[0].why.message, "the process runs");
//! ```
#![no_std]

extern crate alloc;

mod assessment;
mod breaker_review;
mod cadence;
mod command;
mod ctx;
mod dependency_view;
mod dispatch;
mod durable;
mod effect;
mod evaluation;
mod evidence;
mod execution;
mod flapping;
mod fuse;
mod granting;
mod incident_review;
mod incidents;
mod input;
mod memory;
mod memory_limit;
mod outage;
mod own_problem_review;
mod own_problems;
mod plan;
mod planning;
mod probing;
mod process_probe;
mod realm;
mod record;
mod refresh;
mod refusal;
mod reload;
mod restart;
mod restoring;
mod said;
mod shown;
mod snapshot;
mod spec;
mod state;
mod status;
mod supervisor;
mod suspicion;
mod timers;
mod why;
mod words;

pub use command::{
    ActionPlan, Command, Held, OperatorHold, PlanStep, Refusal, Reply, Signalling, StepAction,
};
pub use durable::PersistedRealm;
pub use effect::Effect;
pub use fuse::FuseSettings;
pub use input::Input;
pub use memory::{Found, OperatorIntent, Restored, RestoredState};
pub use plan::{Plan, PlanError, PlanSettings};
pub use spec::{NeedSpec, ProbeSource, ProbeSpec, RealmSpec, SignalTo, StartSpec, StopSpec};
pub use supervisor::Supervisor;
