//! Problems of heartbeatd itself.

use alloc::string::String;

use crate::Instant;

closed_list! {
    /// The part of heartbeatd that has a problem: one incident for each.
    pub enum OwnProblemKind ("problem of heartbeatd") {
        /// Files of an earlier heartbeatd are damaged or cannot be read.
        Recovery = "recovery",
        /// The adoption records cannot be written.
        Records = "adoption-records",
        /// What operators have asked for cannot be written.
        Intent = "intent",
        /// Open incidents cannot be written.
        OpenIncidents = "open-incidents",
        /// History cannot be written.
        History = "history",
        /// The output of realms cannot be kept, or not within its bound.
        Logs = "logs",
        /// The Unix socket is missing and cannot be made.
        Socket = "socket",
        /// A directory of heartbeatd is missing, full or read-only.
        Directories = "directories",
        /// Realms cannot be started because the host is short of processes, memory or descriptors.
        Starts = "starts",
        /// heartbeatd has too few descriptors left.
        Descriptors = "descriptors",
        /// The driver's loop is late.
        Loop = "loop",
        /// Probes are late or without a conclusive result, through heartbeatd's own fault.
        Probes = "probes",
        /// A receiver of notifications has failed for minutes.
        Notifications = "notifications",
    }
}

impl OwnProblemKind {
    /// What a person can do about the problem.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Recovery => {
                "nothing has to be done about a file: one that was set aside stands beside its place, under a name that ends in .damaged; one that was removed is made anew; and this ends by itself 10 min after the last of them was found. For a realm that is named, it ends when that realm is up, or by `heartbeat-cli reset REALM`"
            }
            Self::Records | Self::Intent | Self::OpenIncidents | Self::History => {
                "make room on that disk, or make the directory writable; heartbeatd writes again by itself"
            }
            Self::Logs => {
                "restart a realm whose log was moved or removed; for a log that cannot be written, make room on that disk or make the log directory writable, and heartbeatd resumes it by itself"
            }
            Self::Socket => {
                "end the process that holds the socket, remove what is in its place, or make room on that disk; heartbeatd makes the socket by itself"
            }
            Self::Directories => {
                "make room on that disk, or make the directory writable for heartbeatd; heartbeatd makes what is missing by itself"
            }
            Self::Starts => {
                "free memory or processes, or raise the limits of heartbeatd; the starts are tried again by themselves"
            }
            Self::Descriptors => {
                "raise the limit of open files of heartbeatd (LimitNOFILE in its unit), or end idle clients"
            }
            Self::Loop => {
                "give heartbeatd more processor time; restarts for health are held until its loop is in time again"
            }
            Self::Notifications => {
                "repair the receiver, or its [notify.NAME] in the configuration; heartbeatd goes on delivering by itself"
            }
            Self::Probes => {
                "`heartbeat-cli why REALM` says what keeps a probe from a result; give heartbeatd more processor time if its probes are late"
            }
        }
    }

    /// Whether an incident for another reason covers the problem: the restart circuit breaker for a late loop, missing
    /// evidence for probes without a result.
    #[must_use]
    pub const fn is_told_otherwise(self) -> bool {
        matches!(self, Self::Loop)
    }
}

/// One problem of heartbeatd itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnProblem {
    /// Which part of heartbeatd it concerns.
    pub kind: OwnProblemKind,
    /// What is wrong, for a person.
    pub message: String,
    /// When it was first reported.
    pub since: Instant,
}
