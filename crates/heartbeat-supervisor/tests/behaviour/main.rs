//! What the supervisor does, as scripts in virtual time.

mod breaker;
mod drive;
mod evidence;
mod held;
mod history;
mod holds;
mod incidents;
mod limits;
mod needs;
mod oneshots;
mod own_problems;
mod planning;
mod plugins;
mod probing;
mod reloading;
mod remedies;
mod restarting;
mod restoring;
mod saying;
mod scenarios;
mod starting;
mod starting_up;
mod stopping;
mod suspicion;
mod transitions;
mod unusable;
