//! The figures of `docs/benchmarks.md`: `cargo bench -p heartbeat-tests --bench figures [-- NAME..]`.
//!
//! Each figure is a ratio against something simple that does the same work in the same run: a loop in C, a server that
//! does nothing else, `/bin/true`. Names: crash, health, start, memory, probes, hostile, status,
//! readers, cli, boot, adoption; all of them by default.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on panics")]
#![expect(clippy::print_stdout, reason = "the tables are what it is for")]

use std::process::ExitCode;

mod adoption;
mod bed;
mod cli;
mod crash;
mod health;
mod hostile;
mod memory;
mod probes;
mod readers;
mod serve;
mod start;
mod status;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    // Roles that the measurements give to this same program.
    if std::env::args_os().next().is_some_and(|name| heartbeat_process::is_launcher(&name)) {
        return heartbeat_process::launcher_main(&heartbeat_process::PlainLogs);
    }
    let named: Vec<String> = words.by_ref().collect();
    match named.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", port, stamps] => {
            serve::site(port, stamps);
            return ExitCode::SUCCESS;
        }
        ["static", port, file] => {
            serve::fixed(port, file);
            return ExitCode::SUCCESS;
        }
        ["hostile", port] => {
            hostile::serve(port);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let figures: [(&str, fn()); 10] = [
        ("crash", crash::measure),
        ("health", health::measure),
        ("start", start::measure),
        ("memory", memory::measure),
        ("probes", probes::measure),
        ("status", status::measure),
        ("readers", readers::measure),
        ("cli", cli::measure),
        ("boot", cli::measure_boot),
        ("adoption", adoption::measure),
    ];
    let is_wanted = |name: &str| named.is_empty() || named.iter().any(|wanted| wanted == name);
    // This program is the prober.
    if is_wanted("hostile") {
        hostile::measure();
    }
    if figures.iter().any(|(name, _)| is_wanted(name)) {
        bed::build();
    }
    for (_, measure) in figures.into_iter().filter(|(name, _)| is_wanted(name)) {
        measure();
    }
    ExitCode::SUCCESS
}
