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
    /// Directory of the sockets (`notify/`) and FIFOs (`ready/`) through which realms report. The first start that
    /// needs one of the two makes it.
    pub runtime: PathBuf,
    /// Directory of the logs on whose file system heartbeatd relies anyway: the launcher opens these by itself, others in
    /// a process that may wait.
    pub own_logs: PathBuf,
    /// Id of the state directory, in every record and in the environment of every realm.
    pub instance_tag: String,
    /// Soft limit of open descriptors for started programs, in descriptors; `None` keeps heartbeatd's. heartbeatd
    /// raises its own, and many programs do not expect such a high limit.
    pub soft_descriptors: Option<u64>,
    /// Directory (cgroup v2) in which every run of a realm gets a control group, as [`own_groups`](crate::own_groups)
    /// finds it; `None`: the reaper finds trees by session, group, descent and tag.
    pub groups: Option<PathBuf>,
    /// Reap orphans: the kernel gives us descendants that lost their parents, and as process 1 every orphan. Default:
    /// false. Only for a program without other children: the reaper takes every exit status.
    pub collects_orphans: bool,
    /// Longest set-up of a launch. Default: 5 s.
    pub launch_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            launcher: "/proc/self/exe".into(),
            records: "/run/heartbeat/realms".into(),
            runtime: "/run/heartbeat".into(),
            own_logs: "/var/lib/heartbeat/log".into(),
            instance_tag: String::new(),
            soft_descriptors: None,
            groups: None,
            collects_orphans: false,
            launch_timeout: Duration::from_secs(5),
        }
    }
}
