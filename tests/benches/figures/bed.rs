//! What every measurement needs: programs, daemons, stamps, and the words for what came out.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use heartbeat_probe::clock;
use heartbeat_status::Instant;

/// Nothing measured here takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The first thing it does is to write down when that was: one line with its argument and the monotonic clock in
/// nanoseconds. Then it does nothing.
const CHILD: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    char line[96];
    int n = snprintf(line, sizeof line, "%s %d %lld\n", argv[2], (int)getpid(), t.tv_sec * 1000000000LL + t.tv_nsec);
    int fd = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (write(fd, line, n) != n) return 1;
    close(fd);
    for (;;) pause();
}
"#;

/// Restarts a program for ever, as directly as it can be done.
const LOOP: &str = r#"
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    for (;;) {
        pid_t pid = vfork();
        if (pid == 0) { execv(argv[1], argv + 1); _exit(127); }
        siginfo_t info;
        waitid(P_PID, pid, &info, WEXITED);
    }
}
"#;

/// Starts a program many times, as directly as it can be done.
const MANY: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int count = atoi(argv[1]);
    for (int at = 0; at < count; at++) {
        char name[16];
        snprintf(name, sizeof name, "%d", at);
        char *const words[] = { argv[2], argv[3], name, 0 };
        if (vfork() == 0) { execv(argv[2], words); _exit(127); }
    }
    pause();
}
"#;

#[expect(clippy::disallowed_methods, reason = "measured from outside, as a person would start it")]
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A directory with programs of ours that are built already: they are measured in place of the release build.
const BUILT: &str = "HEARTBEAT_BENCH_BUILT";

/// The release build of one of our programs.
pub(crate) fn binary(name: &str) -> PathBuf {
    if let Some(built) = std::env::var_os(BUILT) {
        return PathBuf::from(built).join(name);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("release").join(name)
}

/// A program of a peer, if it is installed.
pub(crate) fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = dirs.find_map(|dir| Some(dir.join(name)).filter(|program| program.is_file()));
    if found.is_none() {
        println!("{name} is not installed, and is left out.");
    }
    found
}

/// Builds what is measured.
pub(crate) fn build() {
    if std::env::var_os(BUILT).is_some() {
        return;
    }
    let built = command(env!("CARGO"))
        .args(["build", "--release", "-p", "heartbeatd", "-p", "heartbeat-cli"])
        .stderr(Stdio::inherit())
        .status();
    assert!(built.unwrap().success(), "the programs that are measured do not build");
}

/// A directory with the programs in C in it.
pub(crate) struct Bed {
    pub(crate) dir: tempfile::TempDir,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("child", CHILD), ("loop", LOOP), ("many", MANY)] {
            let source = dir.path().join(format!("{name}.c"));
            std::fs::write(&source, text).unwrap();
            let program = dir.path().join(name);
            let built =
                command("/usr/bin/cc").args(["-O2", "-static", "-o"]).arg(program).arg(source).status();
            assert!(built.unwrap().success(), "cc cannot build {name}.c");
        }
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    /// Starts heartbeatd on realms, with everything of its own in the directory.
    pub(crate) fn daemon(&self, listen: Option<u16>, realms: &str) -> Running {
        let file = self.configure(listen, realms);
        Running(command(binary("heartbeatd")).args(["--config", &file]).spawn().unwrap())
    }

    /// Writes the configuration of a heartbeatd with everything of its own in the directory. Returns its file.
    pub(crate) fn configure(&self, listen: Option<u16>, realms: &str) -> String {
        let listen = listen.map_or("off".to_owned(), |port| format!("127.0.0.1:{port}"));
        let root = self.dir.path().display();
        let text = format!(
            "[heartbeat]\nname = \"bench\"\nlisten = \"{listen}\"\nsocket = \"{root}/run/heartbeat.sock\"\nstate_dir = \"{root}/state\"\nruntime_dir = \"{root}/run\"\n\n{realms}"
        );
        let file = self.path("heartbeat.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Starts dinit on its services, each with its name and what comes after the common lines; `None` where it is not
    /// installed. Each program is restarted at once, and for ever.
    pub(crate) fn dinit(&self, services: &[(String, String)], boot: &str) -> Option<Running> {
        let program = peer("dinit")?;
        let dir = self.dir.path().join("dinit.d");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        for (name, text) in services {
            let common =
                "restart = true\nrestart-delay = 0\nrestart-limit-count = 0\nsmooth-recovery = true\n";
            let common = if text.contains("type = internal") { "" } else { common };
            std::fs::write(dir.join(name), format!("{common}{text}\n")).unwrap();
        }
        let socket = self.path("dinit.sock");
        let dir = dir.to_string_lossy().into_owned();
        Some(Running(command(program).args(["-q", "-u", "-d", &dir, "-p", &socket, boot]).spawn().unwrap()))
    }

    pub(crate) fn cli(&self) -> Command {
        let mut cli = command(binary("heartbeat-cli"));
        cli.args(["-H", &format!("unix:{}", self.path("run/heartbeat.sock"))]);
        cli
    }

    /// Waits until everything is up, or started.
    pub(crate) fn wait_up(&self) {
        let up = self.cli().args(["status", "--wait=100s"]).status().unwrap();
        assert!(up.success(), "not everything came up");
    }
}

/// A program that ends with the measurement.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        signal(self.pid(), nix::sys::signal::Signal::SIGTERM);
        // What does not end by itself has nothing to clean up.
        let deadline = clock::now() + Duration::from_secs(30);
        while matches!(self.0.try_wait(), Ok(None)) {
            if clock::now() > deadline {
                let _ = self.0.kill();
            }
            pause(Duration::from_millis(5));
        }
    }
}

pub(crate) fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// A port that no process listens on now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until a program listens on a port.
pub(crate) fn await_port(port: u16) {
    let deadline = clock::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(clock::now() < deadline, "nothing listens on port {port}");
        pause(Duration::from_millis(1));
    }
}

/// Lets time pass between two measurements.
pub(crate) fn pause(time: Duration) {
    let until = clock::now() + time;
    while clock::now() < until {
        std::thread::park_timeout(until.since(clock::now()));
    }
}

/// One start: whose, which process, when.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) name: String,
    pub(crate) pid: i32,
    pub(crate) at: Instant,
}

/// Every start so far, in the order in which they were written down.
pub(crate) fn stamps(file: &str) -> Vec<Stamp> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let (name, pid, at) = (words.next()?, words.next()?, words.next()?);
        Some(Stamp {
            name: name.to_owned(),
            pid: pid.parse().ok()?,
            at: Instant::from_nanos(at.parse().ok()?),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Waits until there are `count` of them.
pub(crate) fn await_stamps(file: &str, count: usize) -> Vec<Stamp> {
    let deadline = clock::now() + PATIENCE;
    loop {
        let stamps = stamps(file);
        if stamps.len() >= count {
            return stamps;
        }
        assert!(clock::now() < deadline, "{} of {count} starts", stamps.len());
        pause(Duration::from_millis(1));
    }
}

/// Times of one thing, sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        let at = self.0.partition_point(|known| *known < time);
        self.0.insert(at, time);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(50)
    }

    /// A row of a table: median, tenth and ninetieth percentile, how many, and the ratio of the medians.
    pub(crate) fn row(&self, what: &str, beside: &Self) -> String {
        let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
        let ratio = self.median().as_secs_f64() / beside.median().as_secs_f64();
        format!(
            "| {what} | {} | {} | {} | {} | {ratio:.2} |",
            ms(self.median()),
            ms(self.at(10)),
            ms(self.at(90)),
            self.0.len()
        )
    }
}

/// The head of a table of times.
pub(crate) fn head(title: &str, beside: &str) {
    println!(
        "\n### {title}\n\n| what | median ms | p10 | p90 | n | beside {beside} |\n|---|---|---|---|---|---|"
    );
}
