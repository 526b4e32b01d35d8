//! The bench of a test: the adapter with a directory of its own, and what it reports.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heartbeat_process::{Key, LaunchSpec, LogFiles, LogTarget, Notice, PlainLogs, Processes, Settings, User};
use heartbeat_status::{Exit, RealmIx, RealmName, RunFact, RunId};

/// Bounds a hang; nothing here takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const MAX_NOTICES: usize = 10_000;

pub(crate) struct Bench {
    pub(crate) processes: Processes,
    pub(crate) notices: Receiver<Notice>,
    /// While a test holds the lock, the reaper does not continue after a notice.
    pub(crate) gate: Arc<Mutex<()>>,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::within(LAUNCH_TIMEOUT)
    }

    /// With another bound for launches.
    pub(crate) fn within(launch_timeout: Duration) -> Self {
        Self::on(tempfile::tempdir().unwrap(), launch_timeout)
    }

    /// Ends the adapter, and opens another one on the same directory.
    pub(crate) fn next_heartbeatd(self) -> Self {
        self.processes.close();
        Self::on(self.dir, LAUNCH_TIMEOUT)
    }

    fn on(dir: tempfile::TempDir, launch_timeout: Duration) -> Self {
        let (sender, notices) = sync_channel(MAX_NOTICES);
        let settings = Settings {
            groups: groups(),
            records: dir.path().into(),
            runtime: dir.path().join("run"),
            own_logs: dir.path().into(),
            instance_tag: instance_tag(),
            soft_descriptors: Some(777),
            launch_timeout,
            ..Settings::default()
        };
        let gate = Arc::new(Mutex::new(()));
        let of_reaper = Arc::clone(&gate);
        let sink = move |notice| {
            // No test listens any more when it has failed.
            let _ = sender.send(notice);
            drop(of_reaper.lock());
        };
        let processes = Processes::open(settings, Arc::new(TestLogs), sink).unwrap();
        Self { processes, notices, gate, dir }
    }

    pub(crate) fn shell(&self, script: &str) -> LaunchSpec {
        shell(self.dir.path(), script)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("out.log")
    }

    pub(crate) fn launch(&self, run: u64, spec: &LaunchSpec) -> Key {
        let key = key(run);
        self.processes.launch(key, &name(), spec);
        key
    }

    pub(crate) fn next(&self) -> Notice {
        self.notices.recv_timeout(PATIENCE).expect("a notice")
    }

    pub(crate) fn started(&self) -> u32 {
        match self.next() {
            Notice::Started { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    /// Reads the log until `wanted` stands in it: the child has come so far.
    pub(crate) fn wait_for_output(&self, wanted: &str) -> String {
        let mut tries = 0u32;
        loop {
            let text = std::fs::read_to_string(self.log()).unwrap_or_default();
            if text.contains(wanted) {
                return text;
            }
            tries += 1;
            assert!(tries < 60_000, "waited for {wanted:?}, have {text:?}");
            rustix_yield();
        }
    }
}

pub(crate) fn shell(dir: &Path, script: &str) -> LaunchSpec {
    LaunchSpec {
        argv: ["sh", "-c", script].map(OsString::from).to_vec(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        dir: "/".into(),
        log: LogTarget::File { path: dir.join("out.log"), max_bytes: 1 << 20, keep: 2 },
        ..LaunchSpec::default()
    }
}

/// The name of a log whose file system never answers.
pub(crate) const HANGING_LOG: &str = "hanging.log";

/// Plain files; what they say of memory is true.
#[derive(Debug)]
pub(crate) struct TestLogs;

impl LogFiles for TestLogs {
    fn open(&self, log: &LogTarget, user: Option<&User>, run: Option<u64>) -> std::io::Result<OwnedFd> {
        if matches!(log, LogTarget::File { path, .. } if path.ends_with(HANGING_LOG)) {
            loop {
                nix::unistd::pause();
            }
        }
        PlainLogs.open(log, user, run)
    }

    fn memory(&self) -> std::io::Result<OwnedFd> {
        PlainLogs.memory()
    }

    fn begin(&self, _: &LogTarget, _: Option<&User>, _: (u64, u32), output: &Path) -> bool {
        std::fs::read_link(output).is_ok_and(|output| output.to_string_lossy().starts_with("/memfd:hb-log"))
    }

    fn take_over(&self, log: &LogTarget, user: Option<&User>, run: u64, pid: u32) -> bool {
        self.begin(log, user, (run, pid), Path::new(&format!("/proc/{pid}/fd/1")))
    }

    fn end(&self, _: &LogTarget, _: u64) {}
}

/// Every test runs twice: without control groups, and with, where this machine lets us have some.
pub(crate) static GROUPS: Mutex<Option<PathBuf>> = Mutex::new(None);

pub(crate) fn groups() -> Option<PathBuf> {
    GROUPS.lock().unwrap().clone()
}

/// Tells one that is to be killed whose it is.
pub(crate) const MARK: &str = "HB_TEST_MARK";

/// Of this run of the tests alone: others may run beside it, and their processes are none of ours.
pub(crate) fn instance_tag() -> String {
    std::env::var(MARK).unwrap_or_else(|_| format!("test-{}", std::process::id()))
}

/// Gives the processor away for a moment: a poll of a condition, not a wait for a time.
pub(crate) fn rustix_yield() {
    let mut fds: [nix::poll::PollFd<'_>; 0] = [];
    let _ = nix::poll::poll(&mut fds, 1u16);
}

pub(crate) fn key(run: u64) -> Key {
    Key { realm: RealmIx(0), run: RunId(run) }
}

pub(crate) fn name() -> RealmName {
    RealmName::new("db").unwrap()
}

pub(crate) fn exit_of(notice: &Notice) -> (Exit, bool) {
    match notice {
        Notice::Run { fact: RunFact::Exited { exit, empty }, .. } => (*exit, *empty),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn libc_errno(name: &str) -> i32 {
    match name {
        "ENOENT" => nix::errno::Errno::ENOENT as i32,
        "EAGAIN" => nix::errno::Errno::EAGAIN as i32,
        _ => nix::errno::Errno::EACCES as i32,
    }
}
