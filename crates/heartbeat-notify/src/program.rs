//! A receiver that is a program: it reads each message from its standard input.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::Exit;
use thiserror::Error;

/// Longest run of a program of a receiver. After that it is killed, with everything that it has started.
pub const PROGRAM_TIMEOUT: Duration = Duration::from_secs(30);

/// A program that takes messages. Printed without its arguments and its environment, where tokens may be.
#[derive(Clone, PartialEq, Eq)]
pub struct Exec {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Environment of the program.
    pub env: Arc<[(OsString, OsString)]>,
    /// Its working directory.
    pub dir: PathBuf,
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.argv.first().map(|program| program.to_string_lossy()).unwrap_or_default();
        match self.argv.len().saturating_sub(1) {
            0 => write!(f, "{program}"),
            1 => write!(f, "{program} (1 argument hidden)"),
            arguments => write!(f, "{program} ({arguments} arguments hidden)"),
        }
    }
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exec({self})")
    }
}

/// Why a program did not take a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// It was not started.
    #[error("the program was not started: {why}")]
    NotStarted {
        /// Operation that failed, with its error.
        why: String,
    },
    /// It ended with anything but exit code 0.
    #[error("the program ended with {exit}{}", said(.output))]
    Ended {
        /// How it ended.
        exit: Exit,
        /// The first line of its output; empty without any.
        output: String,
    },
    /// It was killed at its deadline.
    #[error("the program did not end within {after:?}, and was killed{}", said(.output))]
    TimedOut {
        /// Time limit: [`PROGRAM_TIMEOUT`].
        after: Duration,
        /// The first line of its output; empty without any.
        output: String,
    },
}

fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

/// The end of a program. Dropping it before kills the program.
pub type ProgramFuture = Pin<Box<dyn Future<Output = Result<(), ProgramError>> + Send>>;

/// Runs programs of receivers: the caller's way of starting processes.
pub trait Programs: Send + Sync {
    /// Runs the program with `input` as its standard input, for at most [`PROGRAM_TIMEOUT`].
    fn run(&self, program: &Exec, input: Vec<u8>) -> ProgramFuture;
}

/// Starts no program: for callers without such receivers.
#[derive(Clone, Copy, Debug)]
pub struct NoPrograms;

impl Programs for NoPrograms {
    fn run(&self, _: &Exec, _: Vec<u8>) -> ProgramFuture {
        let why = "this process starts no programs".to_owned();
        Box::pin(std::future::ready(Err(ProgramError::NotStarted { why })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_not_printed_and_errors_say_what_the_program_said() {
        let exec = |argv: &[&str]| Exec {
            argv: argv.iter().map(OsString::from).collect(),
            env: [("TOKEN".into(), "s3cret".into())].into(),
            dir: "/".into(),
        };
        let program = exec(&["/usr/bin/apprise", "-b", "slack://s3cret"]);
        assert_eq!(program.to_string(), "/usr/bin/apprise (2 arguments hidden)");
        assert!(!format!("{program:?}").contains("s3cret"));
        assert_eq!(exec(&["page"]).to_string(), "page");
        let ended = ProgramError::Ended { exit: Exit::code(3), output: "no route".to_owned() };
        assert_eq!(ended.to_string(), "the program ended with exit code 3: no route");
        let after = PROGRAM_TIMEOUT;
        let hung = ProgramError::TimedOut { after, output: String::new() };
        assert_eq!(hung.to_string(), "the program did not end within 30s, and was killed");
    }
}
