//! `heartbeat-cli`: the terminal health table, and everything else a person asks heartbeatd.
//!
//! Thin: [`mod@line`] reads the command line that [`args`] defines ([`meant`] answers one that is none), a module a command
//! asks through `heartbeat-client` and writes what a pure function made of the answer, [`exit`] holds the exit codes of
//! the contract. Nothing is decided here that heartbeatd could decide, and no clock is read: ages are counted from the
//! moment a document was made.
//!
//! * [`status`], [`table`], [`cells`], [`headline`]: the health table;
//! * [`why`] (with [`chain`] and [`advice`] on a [`page`]), [`graph`], [`ask`], [`wait`] (with [`verify`]): questions;
//! * [`act`] (with [`steps`]): start, stop, restart; [`hold`]: pause, resume, reset, signal; [`plan`];
//! * [`incidents`], [`events`], [`logs`];
//! * configuration: [`check`], [`reload`], [`register`];
//! * heartbeatd itself: [`daemon`], and [`reach`] where it does not answer;
//! * [`console`], [`style`], [`age`]: what it all looks like.

mod act;
mod advice;
mod age;
mod archive;
mod args;
mod ask;
mod beat;
mod boot;
mod cells;
mod chain;
mod check;
mod complete;
mod config;
mod console;
mod daemon;
mod doctor;
mod events;
mod exit;
mod explain;
mod export;
mod global;
mod graph;
mod headline;
mod help;
mod history;
mod hold;
mod import;
mod incidents;
mod init;
mod line;
mod logs;
mod man;
mod markdown;
mod meant;
mod mute;
mod nagios;
mod notification;
mod notify;
mod page;
mod plan;
mod probe;
mod reach;
#[cfg(test)]
mod reference;
mod register;
mod reload;
#[cfg(test)]
mod sample;
mod screen;
mod select;
mod show;
mod slo;
mod status;
mod steps;
mod style;
mod table;
#[cfg(test)]
mod tests;
mod verify;
mod wait;
mod why;
mod why_heartbeatd;

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::CompleteEnv;
use heartbeat_client::{Client, Host};
use heartbeat_wire::{AckRequest, Action, ActionRequest};

use crate::args::{Cli, Command};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::{Format, Global};
use crate::line::{parse, with_joined_wait};
use crate::meant::usage;

fn main() -> ExitCode {
    // A shell that asks for completions is answered, and nothing else happens.
    if std::env::var_os(complete::VARIABLE).is_some() {
        CompleteEnv::with_factory(Cli::command).var(complete::VARIABLE).complete();
    }
    let cli = match parse(&with_joined_wait(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage(&error)),
    };
    if !cli.global.utc {
        age::show_local_times();
    }
    let mut console = Console::of_process(&cli.global);
    let exit = at_once(&cli, &mut console).unwrap_or_else(|| in_runtime(&cli, &mut console));
    let exit = exit.unwrap_or_else(|failure| {
        console.error(&failure);
        failure.exit
    });
    ExitCode::from(exit.code())
}

/// `status` as it is asked for most often: one question over the socket, which needs no runtime. `None` for everything
/// else, and where the answer is not as simple as that.
fn at_once(cli: &Cli, console: &mut Console) -> Option<Outcome> {
    let Some(Command::Status(args)) = &cli.command else { return None };
    let is_simple = status::is_one_question(args) && !cli.global.verbose && !console.form.is_of_report();
    let document = match is_simple.then(|| client(cli, console))? {
        Ok(client) => client.status_at_once()?,
        Err(failure) => return Some(Err(failure)),
    };
    // The process ends with this answer, and the memory of thousands of small parts with it.
    let document = std::mem::ManuallyDrop::new(document);
    Some(status::show(&document, args, console))
}

fn in_runtime(cli: &Cli, console: &mut Console) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::No, format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(until_interrupted(cli, console));
    // A question that a person has not answered must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Asks where the command line, the environment or the configuration says.
fn client(cli: &Cli, console: &mut Console) -> Result<Client, Failure> {
    let host = reach::host(&cli.global)?;
    if cli.global.verbose {
        console.note(&format!("asking {host}"));
    }
    let client = Client::new(host);
    let client = match &cli.global.token {
        Some(token) => client.with_token(token.clone()),
        None => client,
    };
    Ok(match cli.global.timeout.filter(|_| !waits(cli.command.as_ref())) {
        Some(limit) => client.with_deadline(limit),
        None => client,
    })
}

async fn until_interrupted(cli: &Cli, console: &mut Console) -> Outcome {
    if matches!(cli.command, Some(Command::RunBeat { .. })) {
        // A signal is the command's to hear; its end is reported in any case.
        return tokio::select! {
            biased;
            () = unheard() => Ok(Exit::Interrupted),
            outcome = run(cli, console) => outcome,
        };
    }
    tokio::select! {
        // Registered before the first question, so that there is no moment in which Ctrl-C is not heard.
        biased;
        _ = tokio::signal::ctrl_c() => {}
        // Ending by being dropped gives the terminal back; the default action would not.
        () = terminated() => {}
        outcome = run(cli, console) => return outcome,
    }
    console.passing_note("");
    if matches!(cli.command, Some(Command::Start(_) | Command::Stop(_) | Command::Restart(_))) {
        console.note("interrupted; heartbeatd carries on with what it has accepted");
    }
    Ok(Exit::Interrupted)
}

/// Takes Ctrl-C and SIGTERM, and never returns.
async fn unheard() {
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = terminated() => {}
        }
    }
}

/// SIGTERM. Where it cannot be heard, its default action stands.
async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// `--timeout` bounds the whole of such a command; each of its questions keeps its own deadline.
fn waits(command: Option<&Command>) -> bool {
    match command {
        Some(Command::Start(_) | Command::Stop(_) | Command::Restart(_) | Command::Wait { .. }) => true,
        Some(Command::Status(args)) => args.wait.is_some(),
        _ => false,
    }
}

async fn run(cli: &Cli, console: &mut Console) -> Outcome {
    carry_out(cli, console).await.map_err(|mut failure| {
        if failure.not_running && cli.command.as_ref().is_some_and(Command::only_asks_what_would_be) {
            let alone = "heartbeatd knows what it would do; without it, `heartbeat-cli check` says whether the configuration loads";
            failure.lines.push(alone.to_owned());
        }
        reach::explained(failure, &cli.global)
    })
}

async fn carry_out(cli: &Cli, console: &mut Console) -> Outcome {
    let limit = cli.global.timeout;
    let connect = |console: &mut Console| client(cli, console);
    if console.form.is_of_report() && !matches!(cli.command, Some(Command::Report { .. })) {
        let why = "-o html, md and csv are formats of `heartbeat-cli report`".to_owned();
        return Err(Failure::new(Exit::Usage, why));
    }
    let acting = act::Leave { yes: cli.global.yes, limit };
    match &cli.command {
        None => overview(&connect(console)?, &cli.global, console).await,
        Some(Command::Status(args)) => status::run(&connect(console)?, args, limit, console).await,
        Some(Command::Why { realms, refresh }) => {
            why::run(&connect(console)?, realms, *refresh, console).await
        }
        Some(Command::Start(args::StartArgs(args))) => {
            act::run(&connect(console)?, Action::Start, args, &acting, console).await
        }
        Some(Command::Stop(args::StopArgs(args))) => {
            act::run(&connect(console)?, Action::Stop, args, &acting, console).await
        }
        Some(Command::Restart(args)) => {
            act::run(&connect(console)?, Action::Restart, args, &acting, console).await
        }
        Some(Command::Wait { realms, goal }) => {
            wait::run(&connect(console)?, realms, *goal, limit, console).await
        }
        Some(Command::Is { status, realms }) => ask::run(&connect(console)?, status, realms, console).await,
        Some(Command::Pause { realms, reason, duration }) => {
            let request = hold::pause(reason, *duration);
            hold::run(&connect(console)?, Action::Pause, realms, &request, console).await
        }
        Some(Command::Resume { realms }) => {
            hold::run(&connect(console)?, Action::Resume, realms, &ActionRequest::default(), console).await
        }
        Some(Command::Mute { realms, duration, reason }) => {
            mute::mute(&connect(console)?, realms, *duration, reason, console).await
        }
        Some(Command::Unmute { realms }) => mute::unmute(&connect(console)?, realms, console).await,
        Some(Command::Reset { realms, lift_holds }) => {
            let request = ActionRequest { lift_holds: *lift_holds, ..ActionRequest::default() };
            hold::run(&connect(console)?, Action::Reset, realms, &request, console).await
        }
        Some(Command::Signal { signal, realms, tree }) => {
            let signal = Some(signal.clone());
            let request = ActionRequest { signal, tree: *tree, ..ActionRequest::default() };
            hold::run(&connect(console)?, Action::Signal, realms, &request, console).await
        }
        Some(Command::Plan { what, realms, cascade }) => {
            plan::run(&connect(console)?, *what, realms, *cascade, console).await
        }
        Some(Command::Reload { dry_run }) => reload::run(&connect(console)?, *dry_run, console).await,
        Some(Command::Register(args)) => register::register(&connect(console)?, args, console).await,
        Some(Command::Unregister { realm, dry_run }) => {
            register::unregister(&connect(console)?, realm, *dry_run, console).await
        }
        Some(Command::Daemon { what }) => daemon::run(&connect(console)?, *what, limit, console).await,
        Some(Command::Incidents { id: Some(id), export: Some(path), .. }) => {
            export::run(&connect(console)?, id, path, console).await
        }
        Some(Command::Incidents { id: Some(id), .. }) => {
            incidents::one(&connect(console)?, id, console).await
        }
        Some(Command::Incidents { id: None, open, limit, .. }) => {
            incidents::list(&connect(console)?, *open, *limit, console).await
        }
        Some(Command::Notify { what: args::Notify::Log { id } }) => {
            notify::log(&connect(console)?, id, console).await
        }
        Some(Command::Notify { what: args::Notify::Test { receiver, dry_run } }) => {
            notify::test(&connect(console)?, receiver.as_deref(), *dry_run, console).await
        }
        Some(Command::History { realm, since, probe }) => {
            history::run(&connect(console)?, realm, *since, probe.as_deref(), console).await
        }
        Some(Command::Slo { realms }) => slo::run(&connect(console)?, realms, console).await,
        Some(Command::Report { month }) => slo::report(&connect(console)?, month.as_deref(), console).await,
        Some(Command::Ack { id, note, by }) => {
            let request = AckRequest { by: by.clone(), note: note.clone() };
            incidents::acknowledge(&connect(console)?, id, &request, console).await
        }
        Some(Command::Beat { realm, event, run, message }) => {
            beat::run(&connect(console)?, realm, *event, run.as_deref(), message, console).await
        }
        Some(Command::RunBeat { realm, command }) => {
            beat::wrap(&connect(console)?, realm, command, console).await
        }
        Some(Command::Events { realms, follow, since, lines }) => {
            // What is bounded by its age is not bounded by its number as well.
            let past = if since.is_some() { events::MAX_EVENTS } else { usize::from(*lines) };
            let asked = events::Asked { realms, past, since: *since, follow: *follow };
            events::run(&connect(console)?, &asked, console).await
        }
        Some(Command::Logs { realms, follow, lines, previous }) => {
            let lines = usize::from(*lines);
            let asked = logs::Asked { realms, lines, follow: *follow, previous: *previous };
            logs::run(&connect(console)?, &asked, console).await
        }
        Some(Command::Boot { chain, .. }) => boot::run(&connect(console)?, *chain, console).await,
        Some(Command::Graph { format }) => graph::run(&connect(console)?, *format, console).await,
        Some(Command::Check { files, format }) => check::run(files, *format, console),
        Some(Command::Probe(args)) if args.failures => {
            probe::failures(&connect(console)?, &args.target, console).await
        }
        Some(Command::Probe(args)) => probe::run(args, limit, console).await,
        Some(Command::Explain { words }) => explain::run(words, console),
        Some(Command::Schema) => {
            console.json(&heartbeat_config::schema())?;
            Ok(Exit::Holds)
        }
        Some(Command::Show { realms }) => show::run(&connect(console)?, realms, console).await,
        Some(Command::Config { prefixes, sources, .. }) => config::run(prefixes, *sources, console),
        Some(Command::Init { dry_run }) => init::run(*dry_run, console),
        Some(Command::Import { files, from }) => import::run(files, *from, console),
        Some(Command::Doctor) => {
            doctor::run(&connect(console).unwrap_or_else(|_| Client::new(Host::from_environment())), console)
                .await
        }
        Some(Command::Nagios { realms }) => nagios::run(&connect(console)?, realms, console).await,
        Some(Command::Completion { shell }) => complete::script(&shell.to_string(), console),
        Some(Command::Man { page }) => man::run(*page, console),
        Some(Command::Version) => version(&connect(console)?, console).await,
    }
}

/// Without a command: where to begin, and the one line about how it is.
async fn overview(client: &Client, global: &Global, console: &mut Console) -> Outcome {
    const FIRST: [&str; 4] = [
        "heartbeat-cli status [--refresh|--watch|--wait=90s]   the health table",
        "heartbeat-cli why REALM                               why it is as it is",
        "heartbeat-cli start|stop|restart REALM                the plan first, then a line a step",
        "heartbeat-cli wait|is|graph|check                     for scripts and people; --help lists all",
    ];
    FIRST.iter().try_for_each(|line| console.prose(line, 4))?;
    console.line("")?;
    match client.status(false).await {
        Ok(document) => {
            let line = headline::headline(&document, console.style);
            let line = console.style.paint(headline::headline_hue(&document), &line);
            console.prose(&line, 2)?;
        }
        Err(error) => console.error(&reach::explained(error.into(), global)),
    }
    Ok(Exit::Holds)
}

/// Our own version, and heartbeatd's where it answers: not reaching it is no failure of this command.
async fn version(client: &Client, console: &mut Console) -> Outcome {
    let own = env!("CARGO_PKG_VERSION");
    let daemon = client.health().await.ok().map(|health| console.style.text(&health.version));
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(&serde_json::json!({ "heartbeat-cli": own, "heartbeatd": daemon }))?;
        return Ok(Exit::Holds);
    }
    console.line(&format!("heartbeat-cli {own}"))?;
    if let Some(daemon) = daemon {
        console.line(&format!("heartbeatd {daemon}"))?;
    }
    Ok(Exit::Holds)
}
