//! Commands, their plans and their results; and what went wrong, as RFC 9457 problems.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{OwnProblemKind, WallTime, coarse_seconds};
use serde::{Deserialize, Serialize};

use crate::{Action, LagEntry, Open, Wait};

/// Body of `POST /api/realms/{realm}/{action}`; every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActionRequest {
    /// Why, for the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Stop or restart the dependents that would break, too.
    pub cascade: bool,
    /// Leave the dependents that would break alone.
    pub force: bool,
    /// Also start realms that an operator has stopped, where the command needs them.
    #[serde(skip_serializing_if = "is_false")]
    pub lift_holds: bool,
    /// How far to wait.
    pub wait: Wait,
    /// How long to wait, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
    /// Answer with the plan and change nothing.
    pub dry_run: bool,
    /// `pause` only: for how long, in seconds; until resumed when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_s: Option<f64>,
    /// `signal` only: which one, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// `signal` only: to every process of the realm, and not to its main process alone.
    #[serde(skip_serializing_if = "is_false")]
    pub tree: bool,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Body of `POST /api/plan/`: what would happen, without doing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// `fail`, or any action.
    pub action: String,
    /// Name of the realm.
    pub realm: String,
    /// As in [`ActionRequest`].
    #[serde(default)]
    pub cascade: bool,
}

/// Body of `POST /api/reload/`; every field may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadRequest {
    /// Answer with what would change, and change nothing.
    pub dry_run: bool,
}

/// `heartbeat.reload/1`: what a new configuration changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadDocument {
    /// The schema of the document: [`RELOAD_SCHEMA`](crate::RELOAD_SCHEMA).
    pub schema: String,
    /// Nothing was changed.
    pub dry_run: bool,
    /// Counts up with every configuration that took effect; the one in force now.
    pub config_revision: u64,
    /// Realms that are new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Realms that are stopped and forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Realms that are restarted, since what their process is made of changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarted: Vec<ReloadedRealm>,
    /// Realms that change in place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<ReloadedRealm>,
    /// Keys of `[heartbeat]`, `[notify]` that change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// Warnings, one per line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A realm that a new configuration changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedRealm {
    /// Name of the realm.
    pub realm: String,
    /// The keys that changed.
    pub because: Vec<String>,
}

/// `heartbeat.registration/1`: the result of registering a realm, or removing one, at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationDocument {
    /// The schema of the document: [`REGISTRATION_SCHEMA`](crate::REGISTRATION_SCHEMA).
    pub schema: String,
    /// Nothing was changed.
    pub dry_run: bool,
    /// Counts up with every configuration that took effect; the one in force now.
    pub config_revision: u64,
    /// Name of the realm.
    pub realm: String,
    /// `registered`, `replaced`, `unchanged` or `removed`.
    pub result: String,
    /// The keys that changed, where it was replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// The targets of its probes; of a removed realm, the former ones.
    pub targets: Vec<String>,
    /// The realms it depends upon.
    pub needs: Vec<String>,
    /// A remark for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `heartbeat.action/1`: the steps of a command, and its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionDocument {
    /// The schema of the document: [`ACTION_SCHEMA`](crate::ACTION_SCHEMA).
    pub schema: String,
    /// The action of the command.
    pub action: Open<Action>,
    /// Names of the realms.
    pub realms: Vec<String>,
    /// Nothing was changed.
    pub dry_run: bool,
    /// The steps, in order; steps of one wave run side by side.
    pub steps: Vec<ActionStep>,
    /// `fail` only: what the failure would mean for each realm, in start order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<EffectEntry>,
    /// Running dependents that break and are not part of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breaks: Vec<String>,
    /// Realms that an operator has stopped: those that keep the command from being carried out, or that a realm of the
    /// plan waits for once it has been stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldEntry>,
    /// Why the command is not carried out, in the word of the problem: `would-break`, `held`, ...; absent when it can
    /// be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The result: `accepted`, `up`, `stopped`, `verified`; absent in a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a failure would mean for one realm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectEntry {
    /// Name of the realm.
    pub realm: String,
    /// For a person, to be read after the name: `is stopped, and starts again when api is up`.
    pub message: String,
}

/// An operator's stop that only a start of the realm itself, or `lift_holds`, ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoldEntry {
    /// Name of the realm.
    pub realm: String,
    /// The user who stopped it: `root`, or a number; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<WallTime>,
    /// How long ago that was, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ago_s: Option<f64>,
    /// Why, if the operator gave a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl HoldEntry {
    /// `redis was stopped by an operator (root) 2m ago: disk repair until 17:00`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let by = self.by.as_ref().map_or_else(String::new, |by| format!(" ({by})"));
        // Never negative, and far from the end of the range.
        let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
        let ago = self.ago_s.map_or_else(String::new, |ago| format!(" {} ago", coarse_seconds(seconds(ago))));
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        format!("{} was stopped by an operator{by}{ago}{reason}", self.realm)
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionStep {
    /// Position, from 1; equal numbers run side by side.
    pub wave: u32,
    /// Name of the realm.
    pub realm: String,
    /// The action of this step.
    pub action: Open<Action>,
    /// Longest it may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_s: Option<f64>,
    /// The condition that it waits for, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// `application/problem+json` (RFC 9457), with this API's own members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank` or a code of ours, e.g. `heartbeat:no-such-realm`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// What happened, and what to do.
    pub detail: String,
    /// Names that resemble an unknown one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "near")]
    pub suggestions: Vec<String>,
    /// The plan that was refused, or not finished in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<ActionDocument>,
    /// heartbeatd carried out the command all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<bool>,
    /// What is wrong with a configuration that was refused, each with file, line and column.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// `heartbeat.graph/1`: the dependencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphDocument {
    /// The schema of the document: [`GRAPH_SCHEMA`](crate::GRAPH_SCHEMA).
    pub schema: String,
    /// As in the status document.
    pub revision: u64,
    /// When this body was made.
    pub generated_at: WallTime,
    /// Realms in start order.
    pub nodes: Vec<GraphNode>,
    /// Edges, by dependent in start order.
    pub edges: Vec<GraphEdge>,
    /// Names in start order; the stop order is its reverse.
    pub start_order: Vec<String>,
}

/// A realm in the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphNode {
    /// Name of the realm.
    pub name: String,
    /// Longest dependency path below it, from 1.
    pub tier: u32,
    /// Position in the start order, from 0.
    pub order: u32,
    /// Status of the realm now.
    pub status: Open<heartbeat_status::Status>,
    /// Why, for a person.
    pub message: String,
}

/// A dependency in the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphEdge {
    /// Name of the dependent.
    pub from: String,
    /// The realm that it depends on.
    pub to: String,
    /// How it binds.
    pub kind: Open<heartbeat_status::EdgeKind>,
    /// What the start waits for.
    pub until: Open<heartbeat_status::Gate>,
    /// What a running dependent does while the other one is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub while_down: Option<Open<heartbeat_status::WhileDown>>,
}

/// `heartbeat.health/1`: heartbeatd's own health, as `GET /api/health/` answers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthDocument {
    /// `pass` or `fail` (health+json's words).
    pub status: String,
    /// Version of the software.
    pub version: String,
    /// This life of heartbeatd.
    pub instance: String,
    /// What is wrong, for a person; empty when nothing is.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The same, with the details of each problem.
    #[serde(default)]
    pub problems: Vec<OwnProblemEntry>,
    /// How late the loop of heartbeatd is.
    #[serde(default)]
    pub lag_ms: LagEntry,
}

/// One problem of heartbeatd itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnProblemEntry {
    /// Which part of heartbeatd it concerns.
    pub kind: Open<OwnProblemKind>,
    /// When it was first reported.
    pub since: WallTime,
    /// What is wrong, for a person.
    pub message: String,
    /// What a person can do about it.
    pub advice: String,
}

/// heartbeatd ends, and every realm keeps running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartureDocument {
    /// The schema of the document: [`DEPARTURE_SCHEMA`](crate::DEPARTURE_SCHEMA).
    pub schema: String,
    /// `leave` or `upgrade`.
    pub action: String,
    /// Which life of heartbeatd ends.
    pub instance: String,
}
