//! Exit codes of the contract, the same for every command and output format, and how a command fails.

use std::io;

use heartbeat_client::ClientError;

/// What the process exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked holds.
    Holds,
    /// No (`is`), or what was asked for failed.
    No,
    /// Usage or configuration.
    Usage,
    /// Realms that are not in their desired state.
    NotDesired,
    /// No such realm.
    NoSuchRealm,
    /// heartbeatd cannot be reached.
    Unreachable,
    /// Not permitted.
    Forbidden,
    /// Refused: needs `--yes` or `--cascade`.
    Refused,
    /// The deadline passed.
    Deadline,
    /// Ctrl-C.
    Interrupted,
    /// The exit code of the command that `run-beat` has run.
    Child(u8),
}

impl Exit {
    /// Every exit, by its number.
    pub(crate) const ALL: [Self; 10] = [
        Self::Holds,
        Self::No,
        Self::Usage,
        Self::NotDesired,
        Self::NoSuchRealm,
        Self::Unreachable,
        Self::Forbidden,
        Self::Refused,
        Self::Deadline,
        Self::Interrupted,
    ];

    /// What it says to a script.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Holds => {
                "The condition holds, or the command did what was asked. A realm that is stopped or paused on purpose, and a finished oneshot, count as fine."
            }
            Self::No => "The condition does not hold (`is`), or the command failed.",
            Self::Usage => "The command line or the configuration is wrong.",
            Self::NotDesired => "Realms are not in their desired state.",
            Self::NoSuchRealm => "There is no such realm.",
            Self::Unreachable => "heartbeatd cannot be reached.",
            Self::Forbidden => "This user may not do that.",
            Self::Refused => {
                "heartbeatd refuses it; the answer names what it needs: --cascade, --leave-dependents or --lift-holds."
            }
            Self::Deadline => "The deadline passed; the answer lists what is missing.",
            Self::Interrupted => "Interrupted by Ctrl-C.",
            Self::Child(_) => "The exit code of the command.",
        }
    }

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Holds => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::NotDesired => 3,
            Self::NoSuchRealm => 4,
            Self::Unreachable => 5,
            Self::Forbidden => 6,
            Self::Refused => 7,
            Self::Deadline => 124,
            Self::Interrupted => 130,
            Self::Child(code) => code,
        }
    }
}

/// A command that could not do its work: what to say on stderr, and the exit.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// All mistakes, where there is more than one: one line each.
    pub(crate) lines: Vec<String>,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// No heartbeatd listens there: the way to start it depends on where it was looked for.
    pub(crate) not_running: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), lines: Vec::new(), help: None, not_running: false }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = match &error {
            ClientError::Problem(problem) => plain_words(&problem.detail),
            ClientError::NotFound { detail, .. } => {
                // The help names the near names once.
                plain_words(detail.split(". ").next().unwrap_or(detail).trim_end_matches('.'))
            }
            other => plain_words(&other.to_string()),
        };
        match error {
            ClientError::BadHost(_) => Self::new(Exit::Usage, message),
            ClientError::Unreachable { ref source, .. } if is_denied(source.as_ref()) => Self::new(Exit::Unreachable, message)
                .help("run it with sudo or as heartbeatd's user, widen `socket_mode` in [heartbeat], or only read: -H http://127.0.0.1:4327"),
            ClientError::Unreachable { .. } => {
                Self { not_running: true, ..Self::new(Exit::Unreachable, message) }
            }
            ClientError::TimedOut { .. } => Self::new(Exit::Unreachable, message),
            ClientError::NotFound { suggestions, .. } => {
                let is_realm = message.starts_with("no realm");
                let failure = Self::new(Exit::NoSuchRealm, message);
                match suggestions.as_slice() {
                    [] if is_realm => failure.help("`heartbeat-cli status` lists them"),
                    [] => failure,
                    suggestions => failure.help(format!("did you mean {}?", suggestions.join(" or "))),
                }
            }
            ClientError::Forbidden { .. } => Self::new(Exit::Forbidden, message),
            ClientError::Refused { .. } => Self::new(Exit::Refused, message),
            ClientError::Deadline { .. } => Self::new(Exit::Deadline, message),
            // What cannot be asked, and a configuration that is refused, with all of its mistakes.
            ClientError::Problem(problem) if matches!(problem.status, 400 | 422) => {
                let several = problem.problems.len() > 1;
                let lines = if several { problem.problems } else { Vec::new() };
                Self { lines, ..Self::new(Exit::Usage, message) }
            }
            // NotRemembered, Problem, Protocol, and what a later client adds: it failed, or not all of it was done.
            _ => Self::new(Exit::No, message),
        }
    }
}

/// The socket does not let this user in.
fn is_denied(source: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// heartbeatd answers in the words of its API; a person at a terminal types commands.
pub(crate) fn plain_words(text: &str) -> String {
    // `/api/realms/{realm}/restart/ is served on the Unix socket only`
    if let Some(at) = text.find(" is served on the Unix socket only") {
        let before = text[..at].rsplit_once("/api/").map_or("", |(before, _)| before);
        return format!(
            "{before}heartbeatd takes that on its Unix socket only; leave out -H, or write -H unix:PATH"
        );
    }
    const COMMANDS: [(&str, &str); 10] = [
        ("/api/incidents/ lists those", "`heartbeat-cli incidents` lists those"),
        ("/api/status/ shows whether", "`heartbeat-cli status` shows whether"),
        ("/api/status/ lists all realms", "`heartbeat-cli status` lists them"),
        ("/api/status/ shows how", "`heartbeat-cli status` shows how"),
        ("/api/health/ says how heartbeatd is", "`heartbeat-cli why heartbeatd` says how it is"),
        ("/api/status/ has its config_revision", "`heartbeat-cli reload --dry-run` shows what is left to do"),
        ("`cascade` takes dependents along", "`--cascade` takes dependents along"),
        ("`force` leaves them to ride it out", "`--leave-dependents` leaves them to ride it out"),
        ("`lift_holds` starts", "`--lift-holds` starts"),
        ("or `reset` the realm", "or `heartbeat-cli reset` the realm"),
    ];
    COMMANDS.iter().fold(text.to_owned(), |text, (api, command)| text.replace(api, command))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::No, format!("cannot write: {error}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Exit::No, format!("cannot write JSON: {error}"))
    }
}

/// What a command ends with.
pub(crate) type Outcome = Result<Exit, Failure>;

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_client::Host;
    use std::time::Duration;

    #[test]
    fn no_answer_speaks_of_paths_of_the_api() {
        for text in [
            "no realm is called `x`. /api/status/ lists all realms.",
            "accepted, but not up within 5 s: x. It goes on; /api/status/ shows how",
            "not taken within 5 s and may still be carried out; /api/health/ says how heartbeatd is",
            "no incident is called `x`; /api/incidents/ lists those that are remembered",
            "not remembered within 5 s; it may still take effect, /api/status/ shows whether it has",
            "it may still take effect, /api/status/ has its config_revision",
        ] {
            let plain = plain_words(text);
            assert!(!plain.contains("/api/") && plain.contains("`heartbeat-cli "), "{plain}");
        }
    }

    #[test]
    fn every_client_error_has_the_code_of_the_contract() {
        let host = || Host::Unix("/run/h.sock".into());
        let plain = |text: &str| text.to_owned();
        let cases = [
            ("x".parse::<Host>().unwrap_err().into(), 2),
            (
                ClientError::Unreachable {
                    host: host(),
                    why: plain("no"),
                    source: Box::new(io::Error::from(io::ErrorKind::NotFound)),
                },
                5,
            ),
            (ClientError::TimedOut { host: host(), after: Duration::from_secs(5), connected: true }, 5),
            (ClientError::NotFound { detail: plain("no such realm"), suggestions: vec![plain("api")] }, 4),
            (ClientError::Forbidden { detail: plain("no") }, 6),
            (ClientError::Refused { detail: plain("no"), plan: None }, 7),
            (ClientError::Deadline { detail: plain("late"), plan: None }, 124),
            (ClientError::NotRemembered { detail: plain("stop db was carried out"), plan: None }, 1),
            (ClientError::Protocol { host: host(), why: plain("odd") }, 1),
        ];
        for (error, code) in cases {
            let text = error.to_string();
            assert_eq!(Failure::from(error).exit.code(), code, "{text}");
        }
        let suggestions = Failure::from(ClientError::NotFound {
            detail: plain("d"),
            suggestions: vec![plain("a"), plain("b")],
        });
        assert_eq!(suggestions.help.as_deref(), Some("did you mean a or b?"));
    }
}
