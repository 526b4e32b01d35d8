//! One generation of a realm: its process, and what that has reported. A new generation begins empty.

use alloc::string::String;

use heartbeat_status::{Instant, RunId};

use serde::{Deserialize, Serialize};

use super::Spoken;
use super::encoding::{Via, is_false};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Generation {
    #[serde(with = "Via::<u64>")]
    pub(crate) run: RunId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    #[serde(rename = "started_ns", with = "Via::<Option<u64>>", skip_serializing_if = "Option::is_none")]
    pub(crate) started_at: Option<Instant>,
    /// The started program has ended, and the daemon that it may have left behind is not known yet.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) forked: bool,
    /// The launch was never attempted: the next start is of this generation, too.
    #[serde(rename = "keep_run", skip_serializing_if = "is_false")]
    pub(crate) untried: bool,
    /// A reload changed the realm's process while the realm was paused: it restarts when an operator resumes it.
    #[serde(rename = "renew_owed", skip_serializing_if = "is_false")]
    pub(crate) outdated: bool,
    /// The process that holds the realm's port, when it is not the realm's own.
    #[serde(rename = "stranger", skip_serializing_if = "Option::is_none")]
    pub(crate) port_conflict: Option<String>,
    /// The port that its process was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    #[serde(
        rename = "healthy_since_ns",
        with = "Via::<Option<u64>>",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) healthy_since: Option<Instant>,
    /// The notifications of the process.
    #[serde(rename = "said", skip_serializing_if = "Spoken::is_nothing")]
    pub(crate) spoken: Spoken,
}

impl Generation {
    /// The generation after this one; the same one again where nothing of it was tried.
    pub(crate) fn next(&self) -> Self {
        if self.untried {
            Self { run: self.run, port_conflict: self.port_conflict.clone(), ..Self::default() }
        } else {
            Self { run: self.run.next(), ..Self::default() }
        }
    }
}
