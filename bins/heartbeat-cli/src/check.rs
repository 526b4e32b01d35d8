//! `check`: configuration files, judged exactly as heartbeatd would, without heartbeatd.

use std::path::{Path, PathBuf};

use anstream::adapter::strip_str;
use heartbeat_config::{Format as ReportFormat, Sources};

use crate::args::CheckForm;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;

/// `check [FILE..]`: every file on its own, all errors of all of them; without a file the one heartbeatd would find.
pub(crate) fn run(files: &[PathBuf], form: CheckForm, console: &mut Console) -> Outcome {
    let format = match form {
        _ if matches!(console.form, Format::Json | Format::Ndjson) => ReportFormat::Json,
        CheckForm::Full => ReportFormat::Full,
        CheckForm::Short => ReportFormat::Short,
        CheckForm::Json => ReportFormat::Json,
        CheckForm::Github => ReportFormat::Github,
    };
    if files.is_empty() {
        return one(None, format, console);
    }
    let mut exit = Exit::Holds;
    for file in files {
        if one(Some(file), format, console)? != Exit::Holds {
            exit = Exit::Usage;
        }
    }
    Ok(exit)
}

fn one(file: Option<&Path>, format: ReportFormat, console: &mut Console) -> Outcome {
    let color = console.style.color;
    let (report, exit, verdict) =
        match heartbeat_config::check(&Sources::from_process(file.map(Path::to_path_buf))) {
            Ok(loaded) => {
                let realms = loaded.config.plan.realms().len();
                let name =
                    file.map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string());
                let noun = if realms == 1 { "realm" } else { "realms" };
                let warnings = match loaded.warnings.iter().count() {
                    0 => String::new(),
                    1 => ", 1 warning".to_owned(),
                    count => format!(", {count} warnings"),
                };
                let verdict = format!("{} is fine: {realms} {noun}{warnings}", console.style.text(&name));
                (loaded.warnings, Exit::Holds, Some(verdict))
            }
            Err(report) => (report, Exit::Usage, None),
        };
    // In JSON even nothing is a document; for people nothing is nothing.
    if !report.is_empty() || format == ReportFormat::Json {
        print(&report.render(format, color), console)?;
    }
    if let Some(verdict) = verdict {
        console.note(&verdict);
    }
    Ok(exit)
}

/// Writes findings. Sentences are broken between words on a terminal; what is quoted of the file stays as it is.
fn print(text: &str, console: &mut Console) -> Result<(), Failure> {
    text.trim_end().lines().try_for_each(|line| match hang(line) {
        Some(hang) => console.prose(line, hang),
        None => console.line(line),
    })
}

/// By how much the later lines of a sentence are indented more than its first; `None` for a line of the file.
fn hang(line: &str) -> Option<usize> {
    const HELP: &str = "= help: ";
    let plain = strip_str(line).to_string();
    let blanks = |text: &str| text.len() - text.trim_start_matches(' ').len();
    if plain.trim_start().starts_with(HELP) {
        return Some(blanks(&plain) + HELP.len() - blanks(line));
    }
    ["error[", "warning["].iter().any(|word| plain.starts_with(word)).then_some(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_fit_the_terminal_and_the_excerpt_stays_whole() {
        let source = format!("run = \"{}\"", "x".repeat(100));
        let text = format!(
            "error[HB101]: unknown key `watcher` in a realm that has very many keys already\n  --> a.toml:1:1\n  |\n1 | {source}\n  |\n  = help: heartbeatd does not have that: it watches no files\n"
        );
        let (console, out, _) = Console::captured(Format::Table);
        print(&text, &mut console.with_screen(40)).unwrap();
        let shown = out.text();
        assert!(shown.contains(&source), "{shown}");
        assert!(
            shown.contains("\n  = help: heartbeatd does not have that:\n          it watches no files\n"),
            "{shown}"
        );
        assert!(shown.lines().filter(|line| !line.contains("xxx")).all(|line| line.len() <= 40), "{shown}");
        let (mut console, out, _) = Console::captured(Format::Plain);
        print(&text, &mut console).unwrap();
        assert_eq!(out.text(), text, "what a program reads has a line per line");
    }
}
