//! Why a configuration does not take effect: every mistake, and the one that the status shows.

use std::time::Duration;

use heartbeat_config::{MergeError, Report};
use heartbeat_http::TlsOptionsError;
use heartbeat_notify::NotifyError;
use heartbeat_status::sanitise_line;
use heartbeat_wire::ConfigProblem;

use crate::error::ReceiverError;
use crate::own_health::descriptors::TooManyRealms;

/// Why a configuration does not take effect. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The configuration came from no file.
    #[error("this configuration was made by heartbeatd itself; there is no file to read again")]
    NoFiles,
    /// A file system does not answer.
    #[error("the configuration was not read within {} s; nothing was changed", limit.as_secs())]
    NotRead {
        /// Time limit of the read.
        limit: Duration,
    },
    /// The files have mistakes.
    #[error("{0}")]
    Invalid(Report),
    /// The files are valid, and do not fit the configuration in force.
    #[error("{}", in_lines(.0))]
    Unmerged(Vec<MergeError>),
    /// The limit of open files is too low for the realms.
    #[error(transparent)]
    Descriptors(#[from] TooManyRealms),
    /// A receiver of notifications cannot be used.
    #[error("the receiver {name} cannot be notified: {}", source.in_full())]
    Receiver {
        /// Name of the receiver in the configuration.
        name: String,
        /// Cause of the failure.
        source: ReceiverError,
    },
    /// A URL that heartbeatd would send to cannot be used.
    #[error("`{key}` cannot be used: {source}")]
    Url {
        /// The key in the configuration.
        key: &'static str,
        /// Cause of the failure.
        source: NotifyError,
    },
    /// The certificate of the TCP listener cannot be used.
    #[error("`tls` cannot be used: {source}")]
    Tls {
        /// Cause of the failure.
        source: TlsOptionsError,
    },
    /// heartbeatd takes no configuration any more.
    #[error("heartbeatd is stopping everything")]
    Stopping,
}

fn in_lines(errors: &[MergeError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl ReloadError {
    /// Every mistake, one line each. Warnings are none.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        match self {
            Self::Invalid(report) => report.errors().map(ToString::to_string).collect(),
            Self::Unmerged(errors) => errors.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        }
    }

    /// The line of the status: the first mistake, and the number of the others. `None` when the files are not at fault.
    pub(crate) fn problem(&self) -> Option<ConfigProblem> {
        let place = match self {
            Self::NoFiles | Self::Stopping => return None,
            // It has no text of any file.
            Self::NotRead { .. } => return Some(ConfigProblem::new(self.to_string(), self.to_string())),
            Self::Invalid(report) => report.errors().next().map(heartbeat_config::Diagnostic::public),
            Self::Unmerged(_)
            | Self::Descriptors(_)
            | Self::Receiver { .. }
            | Self::Url { .. }
            | Self::Tls { .. } => None,
        };
        let mistakes = self.mistakes();
        let first = sanitise_line(mistakes.first().map_or("", String::as_str));
        let more = match mistakes.len() {
            0 | 1 => String::new(),
            count => format!("; and {} more", count - 1),
        };
        let public = match place {
            Some(place) => {
                format!("{}{more}; run `heartbeat-cli check` on the host", sanitise_line(&place))
            }
            None => "it does not fit the one in force; run `heartbeat-cli reload --dry-run` on the host"
                .to_owned(),
        };
        Some(ConfigProblem::new(format!("{first}{more}"), public))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_first_error_is_the_reason_even_where_a_warning_comes_first() {
        let text = "[realm.db]\nrun = \"/nowhere/db\"\nx-rum = 1\nx-port = 2\n[realm.web]\nrun = \"web\"\nprot = 1\nhealt = 2\n";
        let report = heartbeat_config::load_str("heartbeat.toml", text, &BTreeMap::new()).unwrap_err();
        let error = ReloadError::Invalid(report);
        assert_eq!(error.mistakes().len(), 2, "{:?}", error.mistakes());
        let problem = error.problem().unwrap();
        assert!(
            problem.text(false).starts_with("heartbeat.toml:7:1: HB101: unknown key `prot`"),
            "{problem:?}"
        );
        assert!(problem.text(false).ends_with("; and 1 more"), "{problem:?}");
        assert_eq!(
            problem.text(true),
            "heartbeat.toml:7, HB101; and 1 more; run `heartbeat-cli check` on the host"
        );
    }
}
