//! How the adapter works.

use std::path::PathBuf;
use std::time::Duration;

/// How the adapter works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The program that becomes a launcher (`/proc/self/exe`); its `main` calls
    /// [`launcher_main`](crate::launcher_main) when [`is_launcher`](crate::is_launcher) says so.
    pub launcher: PathBuf,
    /// Directory of adoption records; must exist.
    pub records: PathBuf,
    /// Directory below which realms that are asked to say something of themselves are heard: in `notify/` and `ready/`, which
    /// are made when the first one is started.
    pub runtime: PathBuf,
    /// Id of the state directory, in every record and in the environment of every realm.
    pub instance_tag: String,
    /// Soft limit of open descriptors for what is started, in descriptors; `None` leaves ours. heartbeatd raises
    /// its own, and many programs do not expect to be given more than they were.
    pub soft_descriptors: Option<u64>,
    /// Directory of control groups (cgroup v2) in which every run of a realm gets a control group, as [`own_groups`](crate::own_groups)
    /// finds it; `None`: trees are found by session, group, descent and tag.
    pub groups: Option<PathBuf>,
    /// Collect processes that are nobody else's: descendants that lost their parents come to us, and as process 1 so does
    /// everybody (false). Only for a program that has no other children: it takes every exit status.
    pub collects_orphans: bool,
    /// Longest set-up of a launch (5 s).
    pub launch_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            launcher: "/proc/self/exe".into(),
            records: "/run/heartbeat/realms".into(),
            runtime: "/run/heartbeat".into(),
            instance_tag: String::new(),
            soft_descriptors: None,
            groups: None,
            collects_orphans: false,
            launch_timeout: Duration::from_secs(5),
        }
    }
}
