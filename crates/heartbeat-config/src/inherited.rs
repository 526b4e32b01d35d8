//! The environment that realms inherit: made once for all realms with the same user and directory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heartbeat_process::User;

use crate::sources::Sources;

/// What belongs to heartbeatd's own unit or session, and to no realm: all `HEARTBEAT_` variables, and exactly these.
const NOT_INHERITED: [&str; 17] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "MAINPID",
    "MANAGERPID",
    "SYSTEMD_EXEC_PID",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "CACHE_DIRECTORY",
    "LOGS_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
];

/// What belongs to the login of heartbeatd's user, and to no other user.
const OF_THE_LOGIN: [&str; 5] =
    ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "MAIL", "TMPDIR"];

/// Variables of one environment.
type Environment = Arc<[(OsString, OsString)]>;

/// What realms inherit from heartbeatd.
#[derive(Default)]
pub(crate) struct Inherited {
    /// Environment of realms without `user`.
    ours: BTreeMap<OsString, OsString>,
    /// By the name of the user and the directory.
    made: RefCell<BTreeMap<(Option<String>, PathBuf), Environment>>,
}

impl Inherited {
    pub(crate) fn of(sources: &Sources) -> Self {
        let text = sources.env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let not_theirs = |name: &OsString| {
            name.as_encoded_bytes().starts_with(b"HEARTBEAT_")
                || NOT_INHERITED.iter().any(|known| name == *known)
        };
        let ours = text.chain(sources.bytes.iter().cloned()).filter(|(name, _)| !not_theirs(name)).collect();
        Self { ours, made: RefCell::default() }
    }

    /// What a realm inherits as its user in its directory.
    pub(crate) fn in_place(&self, user: Option<&User>, dir: &Path) -> Environment {
        let key = (user.map(|user| user.name.clone()), dir.to_owned());
        Arc::clone(self.made.borrow_mut().entry(key).or_insert_with(|| {
            let mut env = self.ours.clone();
            if let Some(user) = user {
                env.retain(|name, _| !OF_THE_LOGIN.iter().any(|known| name == *known));
                env.insert("HOME".into(), user.home.clone().into());
                env.insert("USER".into(), user.name.clone().into());
                env.insert("LOGNAME".into(), user.name.clone().into());
                env.insert("SHELL".into(), user.shell.clone().into());
            }
            env.insert("PWD".into(), dir.into());
            env.into_iter().collect()
        }))
    }
}
