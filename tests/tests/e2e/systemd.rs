//! heartbeatd under a real systemd: one of its own, in namespaces of its own, on a view of the root directory in which
//! nothing of this machine can be changed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::program::{binary, copy_binary};
use crate::servers::lacking;
use crate::surviving::until;

/// Makes the view and becomes systemd. The second word is the directory that everything lies in.
const BOOT: &str = r#"
set -e
D=$1
R=$D/root
mount --make-rprivate /
mkdir -p $D/up $R
mount -t tmpfs tmpfs $D/up
mkdir -p $D/up/upper $D/up/work
mount -t overlay overlay -o lowerdir=/,upperdir=$D/up/upper,workdir=$D/up/work $R
mount -t proc proc $R/proc
mount -t sysfs sysfs $R/sys
mount -t tmpfs tmpfs $R/sys/fs/cgroup
if grep -q name=systemd /proc/self/cgroup; then
    mkdir $R/sys/fs/cgroup/unified $R/sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 $R/sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup $R/sys/fs/cgroup/systemd
else
    umount $R/sys/fs/cgroup
    mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
fi
mount -t tmpfs tmpfs $R/run
mount -t tmpfs tmpfs $R/dev
for n in null zero full random urandom tty; do touch $R/dev/$n; mount --bind /dev/$n $R/dev/$n; done
mkdir $R/dev/shm $R/dev/pts
rm -rf $R/etc/systemd/system
mkdir -p $R/etc/systemd/system/heartbeat.service.d $R/etc/heartbeat
cp $D/heartbeat.service $R/etc/systemd/system/
printf '[Service]\nWatchdogSec=3s\n' > $R/etc/systemd/system/heartbeat.service.d/quick.conf
cp $D/heartbeatd $R/usr/bin/heartbeatd
cp $D/heartbeat-cli $R/usr/bin/heartbeat-cli
cp $D/heartbeat.toml $R/etc/heartbeat/
printf '[Unit]\nDescription=test\nWants=heartbeat.service\nAllowIsolate=yes\n' > $R/etc/systemd/system/test.target
echo 0123456789abcdef0123456789abcdef > $D/machine-id
rm -f $R/etc/machine-id
cp $D/machine-id $R/etc/machine-id
mount -t tmpfs tmpfs $R/tmp
exec env -i container=test PATH=/usr/bin:/bin:/usr/sbin:/sbin chroot $R /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
"#;

const CONFIG: &str = "[heartbeat]\nname = \"unit\"\nlisten = \"off\"\n[realm.a]\nrun = \"sleep 86360\"\n[realm.b]\nrun = \"sleep 86361\"\nneeds = [\"a\"]\n";

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/heartbeat.service")
}

/// Why there can be no systemd here.
fn missing() -> Option<&'static str> {
    if !Path::new("/lib/systemd/systemd").exists() || !Path::new("/usr/bin/systemd-analyze").exists() {
        return Some("systemd is not installed");
    }
    (!nix::unistd::geteuid().is_root()).then_some("namespaces of its own take root")
}

#[expect(clippy::disallowed_methods, reason = "tools of the host, as a person would run them")]
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    command
}

struct Host {
    child: Child,
    _dir: tempfile::TempDir,
}

impl Host {
    fn boot() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(unit(), dir.path().join("heartbeat.service")).unwrap();
        std::fs::write(dir.path().join("heartbeat.toml"), CONFIG).unwrap();
        for name in ["heartbeatd", "heartbeat-cli"] {
            copy_binary(name, &dir.path().join(name));
        }
        let log = std::fs::File::create(dir.path().join("console")).unwrap();
        let child = tool("unshare")
            .args([
                "--pid",
                "--mount",
                "--cgroup",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                "bash",
                "-c",
                BOOT,
                "boot",
            ])
            .arg(dir.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, _dir: dir }
    }

    /// Process 1 of the namespace, by the number it has out here.
    fn init(&self) -> Option<String> {
        let own = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).ok()?;
        children.split_whitespace().next().map(str::to_owned)
    }

    /// Runs a command inside.
    fn run(&self, words: &[&str]) -> Option<String> {
        let init = self.init()?;
        let output = tool("nsenter")
            .args(["--target", &init, "--pid", "--mount", "--cgroup", "--uts", "--ipc", "--root", "--wd=/"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// What systemd says about the service.
    fn says(&self, property: &str) -> String {
        self.run(&["systemctl", "show", "heartbeat", "--value", "-p", property]).unwrap_or_default()
    }

    fn realm(&self, name: &str) -> Option<Value> {
        let text = self.run(&["heartbeat-cli", "status", "--json"])?;
        let document: Value = serde_json::from_str(&text).ok()?;
        document["realms"].as_array()?.iter().find(|realm| realm["name"] == name).cloned()
    }

    fn pid_of(&self, name: &str) -> i64 {
        self.realm(name).and_then(|realm| realm["process"]["pid"].as_i64()).unwrap_or(0)
    }

    fn is_up(&self) -> bool {
        ["a", "b"].iter().all(|name| self.realm(name).is_some_and(|realm| realm["status"] == "up"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let console = std::fs::read_to_string(self._dir.path().join("console")).unwrap_or_default();
            std::io::Write::write_all(&mut std::io::stderr(), console.as_bytes()).unwrap();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_unit_is_one_and_is_as_closed_as_supervision_allows() {
    if let Some(why) = missing().filter(|_| !Path::new("/usr/bin/systemd-analyze").exists()) {
        return lacking(why);
    }
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("heartbeat.service");
    let text = std::fs::read_to_string(unit()).unwrap();
    let program = binary("heartbeatd");
    std::fs::write(&copy, text.replace("/usr/bin/heartbeatd", program.to_str().unwrap())).unwrap();
    let verified = tool("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("heartbeat.service"), "{said}");
    // In tenths: 10 is wide open. What is open has its reason in the unit.
    let rated = tool("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=50"])
        .arg(&copy)
        .output()
        .unwrap();
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
}

#[test]
fn under_a_real_systemd_it_is_ready_watched_restarted_and_stopped() {
    if let Some(why) = missing() {
        return lacking(why);
    }
    let host = Host::boot();
    until("the service to be ready", || host.says("ActiveState") == "active");
    until("its realms", || host.is_up());
    until("the status line", || host.says("StatusText") == "running: 2 up");
    assert_eq!(host.says("NRestarts"), "0");
    until("the identities to be kept", || host.says("NFileDescriptorStore") == "2");
    let (a, b) = (host.pid_of("a"), host.pid_of("b"));
    let main = host.says("MainPID");
    // It is killed, and one of its realms with it: the next one knows how that ended, though another has collected it.
    host.run(&["kill", "-KILL", &main, &b.to_string()]);
    until("the next one", || host.says("NRestarts") == "1" && host.says("ActiveState") == "active");
    until("everything to be up again", || host.is_up() && host.pid_of("b") != b);
    assert_eq!(host.pid_of("a"), a, "what lived lives on");
    let realm = host.realm("b").unwrap();
    assert_eq!(realm["process"]["last_exit"]["signal"], "KILL", "{realm:#}");
    assert_eq!(realm["restarts"]["used"], 1, "{realm:#}");
    // A loop that stands still is not fed for.
    let b = host.pid_of("b");
    let main = host.says("MainPID");
    host.run(&["kill", "-STOP", &main]);
    until("the watchdog", || host.says("NRestarts") == "2" && host.says("ActiveState") == "active");
    until("everything to be up again", || host.is_up());
    assert_eq!((host.pid_of("a"), host.pid_of("b")), (a, b), "no realm has noticed");
    // A reload, and an upgrade in place: the same main process.
    let main = host.says("MainPID");
    host.run(&["systemctl", "reload", "heartbeat"]);
    host.run(&["heartbeat-cli", "daemon", "upgrade"]);
    until("it to be at work", || host.is_up());
    assert_eq!((host.says("MainPID"), host.says("ActiveState")), (main, "active".to_owned()));
    assert_eq!((host.pid_of("a"), host.pid_of("b")), (a, b));
    // Stopped: in order, and nothing is left.
    host.run(&["systemctl", "stop", "heartbeat"]);
    assert_eq!(host.says("ActiveState"), "inactive");
    assert_eq!(host.says("Result"), "success");
    assert_eq!(host.run(&["pgrep", "-c", "sleep"]).as_deref(), Some("0"));
}
