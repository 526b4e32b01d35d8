//! heartbeatd: the health monitor and supervisor. Thin: parse, init, run, exit code.

mod args;
mod logging;

use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use heartbeat_config::{Config, Format, Sources, load};
use heartbeat_daemon::demo::{Demo, Script};
use heartbeat_daemon::{
    ConsoleReporter, Daemon, DaemonError, Ended, HeldSignals, Program, ReportStyle, Start,
};
use heartbeat_process::Handover;

use args::{Args, Command, DemoArgs, RealmArgs};

/// Where `heartbeat-cli` looks by itself.
const SYSTEM_SOCKET: &str = "/run/heartbeat/heartbeat.sock";
/// Exit code of a failure at run time.
const FAILED: u8 = 1;
/// Exit code of a wrong configuration or usage.
const CONFIGURATION: u8 = 2;
/// Exit code when another heartbeatd holds the state directory.
const HELD: u8 = 7;

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| heartbeat_process::is_launcher(&name)) {
        return heartbeat_process::launcher_main(&heartbeat_daemon::RealmLogs);
    }
    abort_when_a_thread_panics();
    heartbeat_process::use_one_arena();
    heartbeat_process::leave_child_signals_to_reaper();
    // Before any descriptor is opened or closed.
    let handover = Handover::receive();
    let kept = if handover.is_some() { Vec::new() } else { Handover::receive_from_manager() };
    let args = Args::parse();
    let done = match args.command {
        Some(Command::Check) => return check(args.config),
        Some(Command::CheckState) => check_state(args.config),
        Some(Command::Demo(demo)) => run_demo(&demo),
        Some(Command::DemoRealm(realm)) => return serve_realm(realm),
        Some(Command::Run) | None => run(args.config, handover.unwrap_or_default(), kept),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            say(&format!("heartbeatd: {error:#}"));
            match error.downcast_ref::<DaemonError>() {
                Some(DaemonError::Held { .. }) => ExitCode::from(HELD),
                _ => ExitCode::from(FAILED),
            }
        }
    }
}

/// To standard error; that it cannot be written to is nothing to fail for.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

/// Ends heartbeatd when one of its own threads panics: without its reaper, its driver or its writers it would answer
/// and supervise nothing. The next heartbeatd adopts every realm. A panic in a task of the API ends its connection
/// alone.
fn abort_when_a_thread_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if std::thread::current().name().is_some_and(|name| name.starts_with("hb-") && name != "hb-io") {
            std::process::abort();
        }
    }));
}

fn coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn run(
    file: Option<PathBuf>,
    handover: Handover,
    mut kept: Vec<(String, OwnedFd)>,
) -> anyhow::Result<ExitCode> {
    let held = HeldSignals::hold();
    let sources = Sources::from_process(file);
    let reading = sources.clone();
    let loaded = match held.unless_ended(move || load(&reading)) {
        Some(Ok(loaded)) => loaded,
        None => {
            say("heartbeatd: told to end while it read its configuration; nothing was started");
            return Ok(ExitCode::SUCCESS);
        }
        Some(Err(report)) => {
            say(&report.render(Format::Full, coloured(&std::io::stderr())));
            return Ok(ExitCode::from(CONFIGURATION));
        }
    };
    if !loaded.warnings.is_empty() {
        say(&loaded.warnings.render(Format::Full, coloured(&std::io::stderr())));
    }
    logging::init(&loaded.config.heartbeat.log, &loaded.config.heartbeat.log_format);
    let program = Program::current().context("cannot find the path of this program")?;
    let mut introduction = Some(introduction(&loaded.config));
    let (mut held, mut config, mut handover) = (Some(held), loaded.config, handover);
    loop {
        let style =
            ReportStyle { every_step: false, colour: coloured(&std::io::stdout()), columns: columns() };
        let (reporter, sink) = ConsoleReporter::start(style, std::io::stdout())?;
        let start = Start {
            config,
            sources: Some(sources.clone()),
            sink,
            handover,
            kept: std::mem::take(&mut kept),
            program: Some(program.clone()),
        };
        let daemon = Daemon::start_with(start, || {
            // A closed standard output is no reason not to supervise.
            let _ = introduction.take().map(|lines| writeln!(std::io::stdout(), "{}", style.fitted(&lines)));
        })?;
        daemon.stop_on_signals()?;
        drop(held.take());
        let ended = daemon.wait();
        drop(reporter);
        let Ended::Upgrade(to_follow) = ended? else { return Ok(ExitCode::SUCCESS) };
        // The signals stay held over exec, so that the next program gets those sent meanwhile.
        held = Some(HeldSignals::hold());
        let failed = to_follow.become_program(&program.path, &program.args);
        // The exec failed, so this heartbeatd continues with everything, as the next one would have.
        tracing::error!(program = %program.path.display(), error = ?failed.err(), "cannot be run: this heartbeatd goes on");
        handover = to_follow;
        config = match load(&sources) {
            Ok(loaded) => loaded.config,
            Err(report) => {
                anyhow::bail!("the configuration cannot be read any more; every realm runs on:\n{report}")
            }
        };
    }
}

/// The first two lines: the realms that heartbeatd supervises, and the command that shows their status.
fn introduction(config: &Config) -> String {
    let (heartbeat, count) = (&config.heartbeat, config.plan.realms().len());
    let noun = if count == 1 { "realm" } else { "realms" };
    let file = config.files.first().map(|file| format!(" of {}", file.display())).unwrap_or_default();
    let included = match config.files.len().saturating_sub(1) {
        0 => String::new(),
        1 => " and 1 included file".to_owned(),
        more => format!(" and {more} included files"),
    };
    let socket = heartbeat.socket.display();
    let scheme = if heartbeat.tls.is_some() { "https" } else { "http" };
    let address = heartbeat.listen.map(|address| format!(" and {scheme}://{address}/")).unwrap_or_default();
    let host = if heartbeat.socket == Path::new(SYSTEM_SOCKET) {
        String::new()
    } else {
        format!("-H unix:{socket} ")
    };
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "heartbeatd {version} supervises {count} {noun}{file}{included}\nstatus: heartbeat-cli {host}status (socket {socket}{address})"
    )
}

fn check_state(file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let loaded = match load(&Sources::from_process(file)) {
        Ok(loaded) => loaded,
        Err(report) => {
            say(&report.render(Format::Short, false));
            return Ok(ExitCode::from(CONFIGURATION));
        }
    };
    let records = heartbeat_daemon::check_state(&loaded.config)?;
    say(&format!("heartbeatd {}{}", env!("CARGO_PKG_VERSION"), heartbeat_daemon::can_proceed(records)));
    Ok(ExitCode::SUCCESS)
}

fn check(file: Option<PathBuf>) -> ExitCode {
    let colour = coloured(&std::io::stderr());
    match heartbeat_config::check(&Sources::from_process(file)) {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                say(&loaded.warnings.render(Format::Full, colour));
            }
            let realms = loaded.config.plan.realms().len();
            let noun = if realms == 1 { "realm" } else { "realms" };
            say(&format!("the configuration is fine: {realms} {noun}"));
            ExitCode::SUCCESS
        }
        Err(report) => {
            say(&report.render(Format::Full, colour));
            ExitCode::from(CONFIGURATION)
        }
    }
}

fn run_demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let held = HeldSignals::hold();
    logging::init("warn", "auto");
    let own = OwnDir::make(args.dir.as_deref())?;
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let demo = Demo::prepare(&own.path, &program)?;
    let script = Script {
        victim: (!args.calm).then(|| args.victim.clone()),
        fault: args.fault,
        cli: heartbeat_cli(&program),
    };
    let style = ReportStyle { every_step: true, colour: coloured(&std::io::stdout()), columns: columns() };
    let (reporter, sink) = ConsoleReporter::start(style, std::io::stdout())?;
    let sentences = reporter.sentences().context("the console reporter has ended")?;
    let daemon = demo.start(&script, sentences, sink)?;
    daemon.stop_on_signals()?;
    drop(held);
    let ended = daemon.wait();
    drop(reporter);
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Columns of the terminal on standard output.
fn columns() -> Option<usize> {
    let (terminal_size::Width(columns), _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(columns))
}

/// heartbeat-cli as a person types it here: its name where the shell finds it, its path beside this program, or, where
/// cargo runs this program, by cargo.
fn heartbeat_cli(program: &Path) -> String {
    const NAME: &str = "heartbeat-cli";
    let beside = program.with_file_name(NAME);
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join(NAME)).find(|file| file.is_file())
    });
    if !beside.is_file() {
        let by_cargo = found.is_none() && std::env::var_os("CARGO").is_some();
        return if by_cargo { format!("cargo run -q -p {NAME} --") } else { NAME.to_owned() };
    }
    if found.is_some_and(|found| found == beside) {
        return NAME.to_owned();
    }
    let here = std::env::current_dir().ok();
    let path = here.as_deref().and_then(|here| beside.strip_prefix(here).ok()).unwrap_or(&beside);
    match path.to_string_lossy() {
        path if path == NAME => format!("./{NAME}"),
        path if path.contains(char::is_whitespace) => format!("'{path}'"),
        path => path.into_owned(),
    }
}

/// The directory of a demo: one that was named, or one of its own that goes with it.
struct OwnDir {
    path: PathBuf,
    remove: bool,
}

impl OwnDir {
    fn make(named: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = named {
            return Ok(Self { path: path.to_owned(), remove: false });
        }
        let path = std::env::temp_dir().join(format!("heartbeat-demo-{}", std::process::id()));
        std::fs::create_dir(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(Self { path, remove: true })
    }
}

impl Drop for OwnDir {
    fn drop(&mut self) {
        if self.remove {
            // If it cannot be removed, it stays in the temporary directory, which the system cleans.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn serve_realm(args: RealmArgs) -> ExitCode {
    let Some(listen) = args.listen else { return ExitCode::SUCCESS };
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(heartbeat_daemon::demo::realm::serve(listen, args.asks)));
    match served {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("demo-realm: cannot serve {listen}: {error}"));
            ExitCode::from(FAILED)
        }
    }
}
