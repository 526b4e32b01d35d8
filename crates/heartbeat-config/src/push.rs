//! Heartbeats that a realm or a job sends: how often, or at which times.

use std::fmt;
use std::time::Duration;

use figment::value::{Dict, Value};
use heartbeat_status::written_duration;

use crate::code::Code;
use crate::cron::Cron;
use crate::reader::{Entry, Reader, Section};

/// How late the end of a job may be reported where `grace` does not say it.
pub(crate) const GRACE: Duration = Duration::from_secs(10 * 60);
/// Heartbeats are not expected more often.
const MIN_EVERY: Duration = Duration::from_secs(1);
/// The keys of the table.
const KEYS: [&str; 2] = ["cron", "grace"];
/// How it is written.
const EXAMPLE: &str = "for example push = \"60s\" or push = { cron = \"0 2 * * *\", grace = \"10m\" }";

/// When heartbeats are expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushSchedule {
    /// At least once in this time.
    Every(Duration),
    /// At the times of a job, with this much time to report its end.
    Cron {
        /// Times at which it is due.
        cron: Cron,
        /// Time from the beginning of a run to the report of its end.
        grace: Duration,
    },
}

impl fmt::Display for PushSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(every) => write!(f, "a heartbeat every {}", written_duration(*every)),
            Self::Cron { cron, grace } => {
                write!(f, "a heartbeat at {cron}, within {}", written_duration(*grace))
            }
        }
    }
}

/// What `push` says.
pub(crate) fn read(reader: &Reader<'_>, section: &Section<'_>) -> Option<PushSchedule> {
    let entry = section.get("push")?;
    match entry.value {
        Value::Dict(_, table) => at_times(reader, &entry, table),
        _ => {
            let every = reader.duration(section, "push")?;
            if every < MIN_EVERY {
                let message = "heartbeats are expected at most once per second";
                reader.value_problem(&entry, Code::BadTiming, message, "too often", EXAMPLE);
                return None;
            }
            Some(PushSchedule::Every(every))
        }
    }
}

fn at_times(reader: &Reader<'_>, entry: &Entry<'_>, table: &Dict) -> Option<PushSchedule> {
    let mut known = true;
    let section = Section::new(entry.path.clone(), table);
    for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        known = false;
        if let Some(entry) = section.get(key) {
            let message = format!("`push` has no key `{key}`; there are `cron` and `grace`");
            reader.value_problem(&entry, Code::UnknownKey, message, "here", EXAMPLE);
        }
    }
    let Some(cron) = section.get("cron") else {
        let message = "`push` says nothing of when: `cron` is missing";
        reader.value_problem(entry, Code::BadProbe, message, "this probe", EXAMPLE);
        return None;
    };
    let grace = reader.duration(&section, "grace").unwrap_or(GRACE);
    let cron = reader.parsed(&cron, "0 2 * * *", |text| Cron::parse(text).map_err(|error| error.to_string()));
    Some(PushSchedule::Cron { cron: cron?, grace }).filter(|_| known)
}
