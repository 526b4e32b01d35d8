//! `import`: files of other tools as a heartbeat.toml on stdout, and on stderr what became of everything that they say.
//!
//! A translator takes each setting in turn: it becomes a key, an approximation with a remark, or is dropped with one.
//! What a translator does not know is dropped by name, so nothing is lost in silence.

mod checks;
mod compose;
mod draft;
mod hosts;
mod ini;
mod monit;
mod monit_test;
mod monit_words;
mod pm2;
mod ports;
mod process_compose;
mod procfile;
mod rules;
mod supervisord;
mod systemd;
mod systemd_command;
mod unknown;
mod values;
mod variables;
mod yaml;

use std::path::Path;
use std::path::PathBuf;

use heartbeat_config::{Code, Diagnostic, load_str};

use crate::args::ImportKind;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
pub(crate) use crate::import::draft::Draft;

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// `import FILE..`.
pub(crate) fn run(files: &[PathBuf], kind: Option<ImportKind>, console: &mut Console) -> Outcome {
    let mut draft = Draft::default();
    for file in files {
        translated(&mut draft, kind, file)?;
    }
    draft.resolve();
    let text = draft.toml();
    if matches!(console.form, Format::Json | Format::Ndjson) {
        let notes: Vec<serde_json::Value> = draft
            .notes()
            .iter()
            .map(|note| serde_json::json!({ "fate": note.fate.word(), "place": note.place, "text": note.text }))
            .collect();
        console.json(&serde_json::json!({ "toml": text, "mapped": draft.mapped(), "notes": notes }))?;
    } else {
        console.print(&text)?;
        for line in draft.report() {
            console.note(&line);
        }
    }
    let exit = judged(&text, console);
    if exit == Exit::Holds {
        console.note("next: heartbeat-cli check heartbeat.toml (where you have saved it), then heartbeatd");
    }
    Ok(exit)
}

/// Says what keeps a configuration that was just made from being loaded. What this host lacks is no fault of the
/// translation: users and files may be those of another host.
pub(crate) fn judged(toml: &str, console: &mut Console) -> Exit {
    let Err(report) = load_str("heartbeat.toml", toml, &std::env::vars().collect()) else {
        return Exit::Holds;
    };
    let is_of_host = |problem: &&Diagnostic| [Code::NoSuchUser, Code::BadEnvFile].contains(&problem.code);
    let (of_host, own): (Vec<_>, Vec<_>) = report.errors().partition(is_of_host);
    for (problems, what) in [
        (&own, "it does not load as it is:"),
        (&of_host, "this host lacks what these lines name; it loads where that is there:"),
    ] {
        if !problems.is_empty() {
            console.note(what);
        }
        problems.iter().for_each(|problem| console.note(&format!("  {problem}")));
    }
    if own.is_empty() { Exit::Holds } else { Exit::No }
}

/// Adds what a file says.
pub(crate) fn translated(draft: &mut Draft, kind: Option<ImportKind>, file: &Path) -> Result<(), Failure> {
    let text = read(file)?;
    let help = || unknown::help(file, &text);
    let Some(kind) = kind.or_else(|| guess(file, &text)).filter(|_| !unknown::is_program(file)) else {
        let what = format!("{} is no file that `import` translates", file.display());
        return Err(Failure::new(Exit::Usage, what).help(help()));
    };
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    translate(draft, kind, &whole.display().to_string(), &text)
        .map_err(|why| Failure::new(Exit::Usage, format!("{} is not read: {why}", file.display())))
}

pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    let refused = |why: String| Failure::new(Exit::Usage, format!("cannot read {}: {why}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| refused(error.to_string()))?.len();
    if length > MAX_FILE_BYTES {
        return Err(refused(format!("it has {length} bytes, and at most {MAX_FILE_BYTES} are read")));
    }
    std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))
}

/// What a file is, by its name and, where that says nothing, by what is in it.
fn guess(file: &Path, text: &str) -> Option<ImportKind> {
    let name = file.file_name()?.to_string_lossy().to_ascii_lowercase();
    let ends = |end: &str| name.ends_with(end);
    if name.starts_with("procfile") {
        return Some(ImportKind::Procfile);
    }
    if ends(".service") {
        return Some(ImportKind::Systemd);
    }
    if ends(".yaml") || ends(".yml") {
        let is_compose = text.lines().any(|line| line.starts_with("services:"));
        let is_process_compose = text.lines().any(|line| line.starts_with("processes:"));
        let is_pm2 = text.lines().any(|line| line.starts_with("apps:"));
        return match (is_compose, is_process_compose) {
            (true, _) => Some(ImportKind::Compose),
            (false, true) => Some(ImportKind::ProcessCompose),
            (false, false) => is_pm2.then_some(ImportKind::Pm2),
        };
    }
    if text.contains("[program:") {
        return Some(ImportKind::Supervisord);
    }
    if name.starts_with("monitrc") || text.lines().any(|line| line.trim_start().starts_with("check process"))
    {
        return Some(ImportKind::Monit);
    }
    (ends(".json") && text.contains("\"apps\"")).then_some(ImportKind::Pm2)
}

fn translate(draft: &mut Draft, kind: ImportKind, name: &str, text: &str) -> Result<(), String> {
    match kind {
        ImportKind::Compose => compose::compose(draft, name, &yaml::parse(text)?),
        ImportKind::ProcessCompose => process_compose::translate(draft, &yaml::parse(text)?),
        ImportKind::Procfile => procfile::translate(draft, name, text),
        ImportKind::Systemd => systemd::translate(draft, name, text),
        ImportKind::Supervisord => supervisord::translate(draft, name, text),
        ImportKind::Pm2 => pm2::translate(draft, text),
        ImportKind::Monit => monit::translate(draft, text),
    }
}

#[cfg(test)]
mod kept;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
