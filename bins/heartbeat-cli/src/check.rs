//! `check`: configuration files, judged exactly as heartbeatd would, without heartbeatd.

use std::path::{Path, PathBuf};

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

fn print(text: &str, console: &mut Console) -> Result<(), Failure> {
    console.line(text.trim_end())
}
