//! Runs the real binaries and reads what they print.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Nothing here takes this long on the slowest machine; it bounds a hang, not a speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Lines kept for a test that reads slowly.
const MAX_LINES_QUEUED: usize = 65_536;

/// The path of one of the workspace's binaries, as `cargo test --workspace` built it.
pub(crate) fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "{} is not built: run `cargo test --workspace`", path.display());
    path
}

#[expect(clippy::disallowed_methods, reason = "the tests start the binaries as a person would")]
fn command(program: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.stdin(Stdio::null()).env("NO_COLOR", "1").env_remove("HEARTBEAT_SOCKET");
    command
}

/// Runs a binary to its end.
pub(crate) fn run(name: &str, args: &[&str]) -> Output {
    command(&binary(name)).args(args).output().unwrap()
}

/// The same with more in its environment.
pub(crate) fn run_with(name: &str, args: &[&str], env: &[(&str, &str)]) -> Output {
    command(&binary(name)).args(args).envs(env.iter().copied()).output().unwrap()
}

/// Runs any program to its end.
pub(crate) fn run_program(program: &Path, args: &[&str]) -> Output {
    command(program).args(args).output().unwrap()
}

/// Copies one of the binaries. Another process does it: a descriptor for writing in this one would be inherited by a
/// program that another test starts at that moment, and a file that is open for writing cannot be executed.
pub(crate) fn copy_binary(name: &str, to: &Path) {
    let (from, to) = (binary(name), to.to_str().unwrap());
    let copied = run_program(Path::new("cp"), &[from.to_str().unwrap(), to]);
    assert!(copied.status.success(), "{}", told(&copied));
}

/// What a finished program printed and how it ended, for messages.
pub(crate) fn told(output: &Output) -> String {
    format!(
        "{:?}\n--- stdout\n{}\n--- stderr\n{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A running binary whose standard output is read line by line.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<std::thread::JoinHandle<String>>,
    /// Everything read so far.
    pub(crate) seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(name: &str, args: &[&str]) -> Self {
        Self::start_with(name, args, &[])
    }

    /// With more in its environment.
    pub(crate) fn start_with(name: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_program(&binary(name), args, env)
    }

    /// A program that lies somewhere else.
    pub(crate) fn start_program(program: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = command(program);
        command.args(args).envs(env.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = sync_channel(MAX_LINES_QUEUED);
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut err = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        Self { child, lines, errors: Some(errors), seen: Vec::new() }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Reads until a line for which `wanted` holds.
    pub(crate) fn read_until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("waited for {what}:\n{}", self.seen.join("\n")),
                Err(RecvTimeoutError::Disconnected) => {
                    let errors = self.errors.take().map(|errors| errors.join().unwrap()).unwrap_or_default();
                    panic!("ended before {what}:\n{}\n--- stderr\n{errors}", self.seen.join("\n"));
                }
            }
        }
    }

    /// Waits until it is gone, by a signal it was sent.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Waits for its end and returns its exit code and standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        let code = self.child.wait().unwrap().code();
        (code, self.errors.take().map(|errors| errors.join().unwrap()).unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed must not leave a supervisor behind: the second TERM kills at once.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::SIGTERM);
            self.signal(Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// Pids of processes that have to do with a directory: by their command line, their working directory, or the
/// environment they were started with.
pub(crate) fn processes_around(dir: &str) -> Vec<i32> {
    let mut found = processes_with(dir);
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let env = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if cwd.starts_with(dir) || String::from_utf8_lossy(&env).contains(dir) {
            found.push(pid);
        }
    }
    found
}

/// Pids of processes in whose command line `word` stands.
pub(crate) fn processes_with(word: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(word) {
            found.push(pid);
        }
    }
    found
}

/// Waits until it holds, bounded by [`PATIENCE`]: looks a hundred times a second.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 10 {
        if holds() {
            return;
        }
        let mut nothing: [nix::poll::PollFd<'_>; 0] = [];
        let _ = nix::poll::poll(&mut nothing, 10u16);
    }
    panic!("waited for {what}");
}
