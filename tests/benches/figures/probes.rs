//! What a probe costs, and up to which number of targets heartbeatd is on time: one HTTP request over a fresh connection
//! to each target once a second. Beside it a loop in C that does nothing else, and the checks of HAProxy where that is
//! installed. The probers take turns; each has one core, and the server that all targets are has the other.
//!
//! `HEARTBEAT_BENCH_TARGETS=1000,4000` measures other numbers of targets.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use heartbeat_probe::clock;
use nix::sys::signal::Signal;

use crate::bed::{self, Bed, Running, binary, command, free_port, pause, signal};
use crate::memory::ticks;

const TARGETS: [usize; 4] = [1_000, 4_000, 8_000, 10_000];
/// Everything is up, and each target has been asked, before the measurement.
const SETTLE: Duration = Duration::from_secs(6);
const WINDOW: Duration = Duration::from_secs(10);
/// How long system calls are counted, after the window.
const COUNTING_SECS: &str = "3";
const SOURCE: &str = include_str!("probes.c");
/// Ticks of `/proc/PID/stat` in a second.
const TICKS: f64 = 100.0;

/// One prober that takes its turn.
#[derive(Clone, Copy, Debug)]
enum Prober {
    Loop,
    Haproxy,
    Heartbeatd,
}

impl Prober {
    const fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop in C",
            Self::Haproxy => "HAProxy, `option httpchk`, one thread",
            Self::Heartbeatd => "heartbeatd",
        }
    }
}

/// What a turn gave.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Processor time per probe, in microseconds.
    micros: f64,
    per_second: f64,
    late_percent: f64,
    /// System calls per probe; `None` without strace.
    calls: Option<f64>,
    /// Context switches per probe.
    switches: f64,
}

pub(crate) fn measure() {
    let named = std::env::var("HEARTBEAT_BENCH_TARGETS").ok();
    let sizes: Vec<usize> = match &named {
        Some(list) => list.split(',').map(|size| size.parse().unwrap()).collect(),
        None => TARGETS.to_vec(),
    };
    println!("\n### HTTP probes, a fresh connection each, once a second\n");
    let haproxy = which("haproxy");
    for (missing, what) in [
        (haproxy.is_none(), "haproxy is not installed: nothing to compare with"),
        (which("strace").is_none(), "strace is not installed: system calls are not counted"),
        (!has_priority(), "no real-time priority: other programs on this machine make probes late"),
    ] {
        if missing {
            println!("{what}\n");
        }
    }
    println!(
        "| targets | prober | us of CPU per probe | probes/s | late | system calls | context switches | beside HAProxy |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for targets in sizes {
        let mut beside = None;
        for prober in [Prober::Loop, Prober::Haproxy, Prober::Heartbeatd] {
            if matches!(prober, Prober::Haproxy) && haproxy.is_none() {
                continue;
            }
            let turn = take_turn(prober, targets);
            if matches!(prober, Prober::Haproxy) {
                beside = Some(turn.micros);
            }
            let ratio = beside.map_or("-".to_owned(), |micros| format!("{:.2}", turn.micros / micros));
            let calls = turn.calls.map_or("-".to_owned(), |calls| format!("{calls:.1}"));
            println!(
                "| {targets} | {} | {:.1} | {:.0} | {:.2} % | {calls} | {:.2} | {ratio} |",
                prober.name(),
                turn.micros,
                turn.per_second,
                turn.late_percent,
                turn.switches
            );
        }
    }
}

fn take_turn(prober: Prober, targets: usize) -> Turn {
    let bed = Bed::new();
    let source = bed.path("probes.c");
    std::fs::write(&source, SOURCE).unwrap();
    let built = command("/usr/bin/cc").args(["-O2", "-o", &bed.path("probes"), &source]).status();
    assert!(built.unwrap().success(), "cc cannot build probes.c");
    let (port, counts) = (free_port(), bed.path("counts"));
    let all = targets.to_string();
    let server = alone("1", &bed.path("probes")).args(["serve", &port.to_string(), &counts, &all]).spawn();
    let server = Running(server.unwrap());
    bed::await_port(port);
    let prober = start(prober, &bed, port, targets);
    pause(SETTLE);
    let (probes, late) = counted(&server, &counts);
    let (before, switched, began) = (ticks(prober.pid()), switches(prober.pid()), clock::now());
    pause(WINDOW);
    let (after, switches, ended) = (ticks(prober.pid()), switches(prober.pid()), clock::now());
    let (all_probes, all_late) = counted(&server, &counts);
    let made = (all_probes - probes).max(1) as f64;
    let calls = calls(prober.pid());
    let while_counting = (counted(&server, &counts).0 - all_probes).max(1) as f64;
    Turn {
        micros: (after - before) as f64 / TICKS * 1e6 / made,
        per_second: made / ended.since(began).as_secs_f64(),
        late_percent: (all_late - late) as f64 / made * 100.0,
        calls: calls.map(|calls| calls / while_counting),
        switches: (switches - switched) as f64 / made,
    }
}

fn start(prober: Prober, bed: &Bed, port: u16, targets: usize) -> Running {
    let address = |at: usize| format!("127.{}.{}.{}:{port}", at / 62_500 + 1, at / 250 % 250, at % 250 + 1);
    let mut command = match prober {
        Prober::Loop => {
            let mut command = alone("0", &bed.path("probes"));
            command.args(["probe", &port.to_string(), &targets.to_string()]);
            command
        }
        Prober::Haproxy => {
            let servers: String =
                (0..targets).map(|at| format!("  server s{at} {} check inter 1s\n", address(at))).collect();
            let text = format!(
                "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n  timeout check 1s\nfrontend none\n  bind unix@{}\n  default_backend targets\nbackend targets\n  option httpchk GET /api/health/\n{servers}",
                bed.path("haproxy.sock")
            );
            let file = bed.path("haproxy.cfg");
            std::fs::write(&file, text).unwrap();
            let mut command = alone("0", which("haproxy").as_deref().unwrap());
            command.args(["-q", "-db", "-f", &file]);
            command
        }
        Prober::Heartbeatd => {
            let realms: String = (0..targets)
                .map(|at| {
                    format!(
                        "[realm.t{at}]\nhealth = {{ http = \"http://{}/api/health/\", interval = \"1s\", timeout = \"1s\" }}\n",
                        address(at)
                    )
                })
                .collect();
            let file = bed.configure(None, &realms);
            let mut command = alone("0", &binary("heartbeatd").to_string_lossy());
            command.args(["--config", &file]);
            let running = Running(command.spawn().unwrap());
            bed.wait_up();
            return running;
        }
    };
    Running(command.spawn().unwrap())
}

/// A program on one core, before everything else where the kernel permits that.
fn alone(core: &str, program: &str) -> Command {
    let mut alone = command("/usr/bin/taskset");
    alone.args(["-c", core]);
    if has_priority() {
        alone.args(["chrt", "-r", "20"]);
    }
    alone.arg(program);
    alone
}

fn has_priority() -> bool {
    command("/usr/bin/chrt").args(["-r", "20", "/bin/true"]).status().is_ok_and(|status| status.success())
}

fn which(program: &str) -> Option<String> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|dir| format!("{dir}/{program}"))
        .find(|path| Path::new(path).exists())
}

/// How many requests the server has had, and how many of them too late.
fn counted(server: &Running, file: &str) -> (u64, u64) {
    let lines = || std::fs::read_to_string(file).unwrap_or_default();
    let known = lines().lines().count();
    signal(server.pid(), Signal::SIGUSR1);
    loop {
        let text = lines();
        if let Some(line) = text.lines().nth(known).filter(|_| text.ends_with('\n')) {
            let (probes, late) = line.split_once(' ').unwrap();
            return (probes.parse().unwrap(), late.parse().unwrap());
        }
        pause(Duration::from_millis(1));
    }
}

/// Context switches of all threads so far.
fn switches(pid: i32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    // A thread may have ended since.
    let status = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let of_task = |text: String| -> u64 {
        let counts = text.lines().filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
        counts.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum()
    };
    status.map(of_task).sum()
}

/// System calls of all threads during a while, by strace. It makes them slow, so that there are fewer probes meanwhile.
fn calls(pid: i32) -> Option<f64> {
    let mut counting = command("/usr/bin/timeout");
    counting.args(["-s", "INT", COUNTING_SECS, &which("strace")?, "-c", "-f", "-p", &pid.to_string()]);
    let counted = counting.output().unwrap();
    let text = String::from_utf8_lossy(&counted.stderr);
    let total = text.lines().find(|line| line.ends_with(" total"))?;
    // Share, seconds, microseconds per call, calls, errors.
    total.split_whitespace().nth(3)?.parse().ok()
}
