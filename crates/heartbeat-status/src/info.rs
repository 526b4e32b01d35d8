//! The constant part of a plan: names, edges, roles, targets.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{RealmIx, RealmName, Thresholds};

closed_list! {
    /// What a realm is to its supervisor.
    pub enum RealmKind ("realm kind") {
        /// Runs until it is stopped.
        Service = "service",
        /// Runs once and is done when it succeeds.
        Oneshot = "oneshot",
        /// Has no `run`: watched, never started.
        External = "external",
    }
}

closed_list! {
    /// How a dependency binds (`behaviour` section 3).
    pub enum EdgeKind ("dependency kind") {
        /// Starts it too, and waits for it; the realm is blocked while it is broken.
        Needs = "needs",
        /// Starts it too, and waits until it has settled, 10 s at most.
        Wants = "wants",
        /// Order of starts alone.
        After = "after",
    }
}

closed_list! {
    /// What a dependent waits for.
    pub enum Gate ("gate") {
        /// Healthy or degraded; without probes running past `start.settle`.
        Up = "up",
        /// The exec of the program succeeded.
        Started = "started",
        /// A oneshot that succeeded.
        Done = "done",
    }
}

closed_list! {
    /// What a running dependent does while a need of it is down.
    pub enum WhileDown ("while_down") {
        /// The realm keeps running.
        Ride = "ride",
        /// Is stopped, and starts when the need is back.
        Stop = "stop",
        /// Keeps running, and is restarted when the need is back.
        Restart = "restart",
    }
}

closed_list! {
    /// What a probe's failure may cause.
    pub enum Role ("probe role") {
        /// Failing can restart the realm.
        Live = "live",
        /// Failing makes it unhealthy and holds dependents; never restarts it.
        Ready = "ready",
        /// An event only.
        Info = "info",
    }
}

closed_list! {
    /// The kinds of probe of the contract. A kind that is not built is refused at load, by name.
    pub enum ProbeKind ("probe kind") {
        /// An HTTP request.
        Http = "http",
        /// TCP connect, send, expect.
        Tcp = "tcp",
        /// The listening port of a realm with `port = N`.
        Port = "port",
        /// The realm's process itself.
        Process = "process",
        /// HTTP or TCP over a Unix socket.
        Unix = "unix",
        /// A PING to Redis.
        Redis = "redis",
        /// PostgreSQL start-up exchange.
        Postgres = "postgres",
        /// The health service of gRPC.
        Grpc = "grpc",
        /// TLS handshake, days left.
        Tls = "tls",
        /// A query to a name server.
        Dns = "dns",
        /// A command: exit code 0 passes, everything else fails.
        Exec = "exec",
        /// A command with the exit codes of Nagios plugins.
        Nagios = "nagios",
        /// A file's existence and age.
        File = "file",
        /// Heartbeats that the realm sends.
        Push = "push",
        /// sd_notify READY and WATCHDOG.
        Notify = "notify",
        /// Memory, cpu, descriptors of the process tree.
        Resource = "resource",
    }
}

impl ProbeKind {
    /// It starts a process for every measurement.
    #[must_use]
    pub const fn runs_a_command(self) -> bool {
        matches!(self, Self::Exec | Self::Nagios)
    }
}

/// One edge of the dependency graph, seen from the dependent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedInfo {
    /// The realm depended upon.
    pub realm: RealmIx,
    /// Name from the configuration.
    pub name: RealmName,
    /// How it binds.
    pub kind: EdgeKind,
    /// The condition that the start waits for.
    pub until: Gate,
    /// What a running dependent does while the need is down.
    pub while_down: WhileDown,
}

/// A probe as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeInfo {
    /// Name, unique within the realm.
    pub name: String,
    /// Kind of the probe.
    pub kind: ProbeKind,
    /// What its failure may cause.
    pub role: Role,
    /// The target for people: a URL, an address, `pid`.
    pub target: String,
    /// How many results decide.
    pub thresholds: Thresholds,
    /// Configured start-to-start interval.
    pub interval: Duration,
    /// Deadline of one whole measurement.
    pub timeout: Duration,
}

impl ProbeInfo {
    /// The target without the parts that may hold a secret: the arguments of a command, the query of a URL.
    #[must_use]
    pub fn public_target(&self) -> &str {
        let ends = if self.kind.runs_a_command() {
            char::is_whitespace
        } else {
            |letter: char| matches!(letter, '?' | '#')
        };
        self.target.split(ends).next().unwrap_or_default()
    }
}

/// A realm as configured: shared by every snapshot of one plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmInfo {
    /// Index in the plan.
    pub ix: RealmIx,
    /// Name of the realm.
    pub name: RealmName,
    /// Title for people; absent when the name says it all.
    pub title: Option<String>,
    /// Where to read about it.
    pub docs: Option<String>,
    /// Who is responsible for it.
    pub owner: Option<String>,
    /// Service, oneshot or external.
    pub kind: RealmKind,
    /// Label for selectors.
    pub group: Option<String>,
    /// Labels from the configuration.
    pub labels: BTreeMap<String, String>,
    /// Counts for `ok` and for the ecosystem's status.
    pub critical: bool,
    /// Port that heartbeatd assigned.
    pub port: Option<u16>,
    /// heartbeatd restarts it when it fails: its policy is not `never`.
    pub restarts: bool,
    /// It has a restart command of its own.
    pub restart_command: bool,
    /// It was registered at run time, and is in no file.
    pub registered: bool,
    /// Length of the longest dependency path below it, counted from 1.
    pub tier: u32,
    /// Position in the start order, counted from 0.
    pub order: u32,
    /// What it depends on, in start order.
    pub needs: Vec<NeedInfo>,
    /// Its direct dependents, in start order.
    pub needed_by: Vec<RealmIx>,
    /// Probes of the realm.
    pub probes: Vec<ProbeInfo>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_probe_shows_the_public_no_argument_and_no_query() {
        for &kind in ProbeKind::ALL {
            let target = if kind.runs_a_command() {
                "/usr/lib/nagios/plugins/check_db --password canary"
            } else {
                "http://127.0.0.1:8000/health?token=canary"
            };
            let probe = ProbeInfo {
                name: "probe".into(),
                kind,
                role: Role::Live,
                target: target.into(),
                thresholds: Thresholds::default(),
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(1),
            };
            let shown = probe.public_target();
            assert!(!shown.contains("canary") && target.starts_with(shown) && !shown.is_empty(), "{kind:?}");
        }
    }
}
