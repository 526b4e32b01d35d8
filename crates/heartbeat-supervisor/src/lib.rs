//! The state machine that decides everything heartbeatd does. Without I/O, without a clock, without a thread.
#![no_std]

extern crate alloc;

mod command;
mod effect;
mod input;
mod plan;

pub use command::{ActionPlan, Command, PlanStep, Refusal, Reply, StepAction};
pub use effect::Effect;
pub use input::{Hook, Input, StartError};
pub use plan::{NeedSpec, Plan, PlanError, PlanSettings, ProbeSource, ProbeSpec, RealmSpec, StartSpec, StopSpec};
