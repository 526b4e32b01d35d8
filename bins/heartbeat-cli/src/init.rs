//! `init`: looks around and writes a first heartbeat.toml, with what it has guessed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::import::{Draft, judged, read, translated};

/// What is written.
const FILE: &str = "heartbeat.toml";
/// Files of other tools, the most telling first: one of them is enough.
const IMPORTED: [&str; 9] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    "process-compose.yaml",
    "Procfile",
    "supervisord.conf",
    "ecosystem.json",
    "etc/supervisord.conf",
];

/// A first configuration, and what it was made from.
struct First {
    toml: String,
    guessed: Vec<String>,
}

/// `init`: never writes over a file.
pub(crate) fn run(dry_run: bool, console: &mut Console) -> Outcome {
    let dir = std::env::current_dir()?;
    let file = dir.join(FILE);
    if file.exists() && !dry_run {
        let failure = Failure::new(Exit::Refused, format!("{FILE} is there already; nothing was written"));
        return Err(
            failure.help("`heartbeat-cli check` judges it; `init --dry-run` shows what would be written")
        );
    }
    let first = first_steps(&dir)?;
    if dry_run {
        console.print(&first.toml)?;
    } else {
        fs::File::create_new(&file)
            .and_then(|mut new| new.write_all(first.toml.as_bytes()))
            .map_err(|error| Failure::new(Exit::No, format!("cannot write {}: {error}", file.display())))?;
        console.note(&format!("wrote {FILE}"));
    }
    for line in &first.guessed {
        console.note(&format!("  {line}"));
    }
    let exit = judged(&first.toml, console);
    if exit == Exit::Holds {
        console.note("next: heartbeat-cli check, then heartbeatd");
    }
    Ok(exit)
}

fn first_steps(dir: &Path) -> Result<First, Failure> {
    let name = dir.file_name().map_or_else(|| "shop".to_owned(), |name| name.to_string_lossy().into_owned());
    let head = format!(
        "#:schema heartbeat.schema.json\n# (for editors: heartbeat-cli schema > heartbeat.schema.json)\n# `heartbeat-cli explain KEY` explains every key; `heartbeat-cli check` finds every mistake.\n[heartbeat]\nname = {}\n\n",
        serde_json::Value::from(name)
    );
    let mut guessed = Vec::new();
    let mut there = IMPORTED.iter().filter(|name| dir.join(name).is_file());
    let (first, units) = (there.next(), units(dir));
    let mut others: Vec<&str> = there.copied().collect();
    if first.is_some() && !units.is_empty() {
        others.push("*.service");
    }
    let files = first.map_or(units, |name| vec![dir.join(name)]);
    for path in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        guessed.push(format!("made from {name}, as `heartbeat-cli import {name}` does"));
    }
    for other in others {
        guessed.push(format!(
            "{other} is here, too, and was left out: `heartbeat-cli import {other}` prints what it would be"
        ));
    }
    let body = match files.is_empty() {
        false => imported(&files, &mut guessed)?,
        true => own(dir, &mut guessed),
    };
    Ok(First { toml: head + &body, guessed })
}

/// Most units of systemd that are taken from a directory.
const MAX_UNITS: usize = 64;

/// The services of systemd that lie in a directory, by name; a template needs its instances first.
fn units(dir: &Path) -> Vec<PathBuf> {
    let there = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_unit = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.ends_with(".service") && !name.ends_with("@.service") && path.is_file()
    };
    let mut units: Vec<PathBuf> = there.filter(is_unit).collect();
    units.sort();
    units.truncate(MAX_UNITS);
    units
}

/// What files of another tool say, as `import` translates them.
fn imported(files: &[PathBuf], guessed: &mut Vec<String>) -> Result<String, Failure> {
    let mut draft = Draft::default();
    for path in files {
        translated(&mut draft, None, path)?;
    }
    draft.resolve();
    guessed.extend(draft.report());
    Ok(draft.toml())
}

/// A framework that is known by its files; else an example to change.
fn own(dir: &Path, guessed: &mut Vec<String>) -> String {
    let mut parts = Vec::new();
    if dir.join("manage.py").is_file() {
        guessed.push(
            "manage.py: Django, with its migrations first and its development server on port 8000".to_owned(),
        );
        let python = [".venv/bin/python", "venv/bin/python"]
            .into_iter()
            .find(|path| dir.join(path).exists())
            .unwrap_or("python3");
        parts.push(format!(
            "[realm.migrate]\nrun = \"{python} manage.py migrate --noinput\"\noneshot = true\n\n[realm.web]\nrun = \"{python} manage.py runserver --noreload 127.0.0.1:8000\"\nport = 8000\nhealth = \"tcp://127.0.0.1:8000\"\nneeds = [\"migrate\"]\n"
        ));
    }
    let package = read(&dir.join("package.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    if let Some(package) = package
        && package["scripts"]["start"].is_string()
    {
        guessed.push("package.json: `npm start` on port 3000".to_owned());
        parts.push(
            "[realm.node]\nrun = \"npm start\"\nport = 3000\nhealth = \"tcp://127.0.0.1:3000\"\n".to_owned(),
        );
    }
    if parts.is_empty() {
        guessed.push("nothing that it knows is here: an example, to be changed".to_owned());
        parts.push("[realm.app]\nrun = \"sleep 1000\"   # your program\n# port = 8001         # GET /api/health/ on it has to answer 200\n# needs = [\"db\"]\n".to_owned());
    }
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use heartbeat_config::load_str;

    use super::*;

    fn of(files: &[(&str, &str)]) -> First {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let first = first_steps(dir.path()).unwrap_or_else(|failure| panic!("{}", failure.message));
        let loaded = load_str(FILE, &first.toml, &std::collections::BTreeMap::new());
        assert!(loaded.is_ok(), "{}\n{}", loaded.unwrap_err(), first.toml);
        first
    }

    #[test]
    fn what_is_there_decides_and_what_was_guessed_is_said() {
        for (files, realm, guess) in [
            (
                &[("Procfile", "web: python3 app.py\n"), ("manage.py", "")][..],
                "[realm.web]\nrun = \"python3 app.py\"",
                "made from",
            ),
            (
                &[
                    ("b.service", "[Service]\nExecStart=/bin/b\n"),
                    ("a.service", "[Service]\nExecStart=/bin/a\n"),
                ],
                "[realm.a]\nrun = \"/bin/a\"",
                "b.service, as",
            ),
            (&[("manage.py", "")], "[realm.migrate]\nrun = \"python3 manage.py migrate", "Django"),
            (&[("package.json", "{\"scripts\":{\"start\":\"node .\"}}")], "run = \"npm start\"", "port 3000"),
            (&[], "[realm.app]", "an example"),
            (
                &[("Procfile", "web: python3 app.py\n"), ("supervisord.conf", "[program:x]\ncommand=x\n")],
                "[realm.web]",
                "supervisord.conf is here, too, and was left out: `heartbeat-cli import supervisord.conf`",
            ),
            (
                &[
                    ("compose.yaml", "services: { web: { command: x } }\n"),
                    ("Procfile", "job: python3 job.py\n"),
                ],
                "[realm.web]",
                "made from compose.yaml, as `heartbeat-cli import compose.yaml` does",
            ),
            (
                &[
                    ("compose.yaml", "services: { web: { command: x } }\n"),
                    ("Procfile", "job: python3 job.py\n"),
                ],
                "[realm.web]",
                "Procfile is here, too, and was left out: `heartbeat-cli import Procfile`",
            ),
            (
                &[("Procfile", "web: python3 app.py\n"), ("a.service", "[Service]\nExecStart=/bin/a\n")],
                "[realm.web]",
                "*.service is here, too, and was left out: `heartbeat-cli import *.service`",
            ),
        ] {
            let first = of(files);
            assert!(first.toml.contains(realm), "{realm}\n{}", first.toml);
            assert!(first.guessed.iter().any(|line| line.contains(guess)), "{:?}", first.guessed);
        }
    }
}
