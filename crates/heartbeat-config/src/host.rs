//! Programs and directories that a configuration names and this machine does not have. They may come before the start,
//! so a check only warns of them, and the configuration loads.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use heartbeat_process::{LaunchSpec, LogTarget, User};

use crate::code::Code;
use crate::config::{Measure, ReceiverConfig, ReceiverTarget};
use crate::diagnostic::Diagnostic;
use crate::reader::Reader;
use crate::realm::ReadRealm;
use crate::units;

/// Where programs are looked up without PATH.
const STANDARD_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Looks for everything that the realms would execute, and reports what is missing.
pub(crate) fn look(reader: &Reader<'_>, realms: &[ReadRealm]) {
    // What stands in a line that is no TOML is not what was meant.
    let is_read =
        |realm: &&ReadRealm| realm.enabled && !(reader.is_in_part && reader.has_syntax_error_in(&realm.path));
    for realm in realms.iter().filter(is_read) {
        let config = &realm.config;
        if let Some(launch) = &config.launch
            && !directory(reader, realm, launch)
        {
            continue;
        }
        let hooks = [("start", &config.start_before), ("start", &config.start_after)];
        let hooks = hooks.into_iter().flat_map(|(key, specs)| specs.iter().map(move |spec| (key, spec)));
        let checks = config.probes.iter().flatten().filter_map(|measure| match measure {
            Measure::Command { spec, .. } => Some(("health", spec)),
            Measure::Probe(_) | Measure::Push(_) | Measure::Resource(_) => None,
        });
        let named =
            [("run", &config.launch), ("stop", &config.stop_command), ("restart", &config.restart_command)];
        let named = named.into_iter().filter_map(|(key, spec)| Some((key, spec.as_ref()?)));
        for (key, spec) in named.chain(hooks).chain(checks) {
            program(reader, &Owner::of(realm), key, spec);
            redirection(reader, realm, key, spec);
        }
    }
}

/// What a command belongs to: a realm or a receiver.
struct Owner<'a> {
    name: &'a str,
    path: &'a [String],
}

impl<'a> Owner<'a> {
    fn of(realm: &'a ReadRealm) -> Self {
        Self { name: realm.spec.name.as_str(), path: &realm.path }
    }
}

/// Looks for the programs of receivers.
pub(crate) fn look_for_receivers(reader: &Reader<'_>, receivers: &[ReceiverConfig]) {
    for receiver in receivers {
        let ReceiverTarget::Exec(spec) = &receiver.target else { continue };
        let path = ["notify", &receiver.name].map(ToOwned::to_owned);
        program(reader, &Owner { name: &receiver.name, path: &path }, "exec", spec);
    }
}

/// Where a script reaches what it has as standard output and error.
const OWN_OUTPUT: [&str; 6] =
    ["/dev/stderr", "/dev/stdout", "/proc/self/fd/1", "/proc/self/fd/2", "/dev/fd/1", "/dev/fd/2"];

/// Warns of a shell that opens its own log anew, which empties it: the kernel does so where the log is a file.
fn redirection(reader: &Reader<'_>, realm: &ReadRealm, key: &str, spec: &LaunchSpec) {
    if !matches!(spec.log, LogTarget::File { .. }) {
        return;
    }
    let lines = spec.argv.iter().map(|word| word.to_string_lossy());
    let Some(target) = lines.filter_map(|line| emptied_by(&line)).next() else { return };
    let message = format!("`> {target}` empties the log of {} each time", realm.spec.name);
    let number = if target.ends_with(['1', 't']) { 1 } else { 2 };
    let help = format!("write >&{number}, or >> {target}: a log is a file, and `>` begins it anew");
    let diagnostic = Diagnostic::new(Code::EmptiesLog, message).help(help);
    push(reader, &Owner::of(realm), key, diagnostic, "empties its log");
}

/// The target of a redirection that is no `>>`, where it is the output that the line has already.
fn emptied_by(line: &str) -> Option<&'static str> {
    line.match_indices('>').find_map(|(at, _)| {
        if line[..at].ends_with('>') || line[at + 1..].starts_with('>') {
            return None;
        }
        let target = line[at + 1..].trim_start_matches(['|', '&', ' ', '\t']);
        let ends = |rest: &str| {
            !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.'))
        };
        OWN_OUTPUT.into_iter().find(|own| target.strip_prefix(own).is_some_and(ends))
    })
}

fn push(reader: &Reader<'_>, owner: &Owner<'_>, key: &str, diagnostic: Diagnostic, label: &str) {
    let path: Vec<String> = owner.path.iter().cloned().chain([key.to_owned()]).collect();
    let place = reader.place(&path).or_else(|| reader.key_place(owner.path));
    reader.push(diagnostic.at(place, label));
}

/// Whether its directory is there; without it nothing of the realm can be looked for.
fn directory(reader: &Reader<'_>, realm: &ReadRealm, launch: &LaunchSpec) -> bool {
    let dir = &launch.dir;
    if reader.files.ask(dir.display().to_string(), || dir.is_dir()) {
        return true;
    }
    let message = format!("{} is started in {}, which is no directory", realm.spec.name, dir.display());
    let help = "make it before the realm is started, or write another `dir`";
    let diagnostic = Diagnostic::new(Code::NoDirectory, message).help(help);
    push(reader, &Owner::of(realm), "dir", diagnostic, "not there now");
    false
}

fn program(reader: &Reader<'_>, owner: &Owner<'_>, key: &str, spec: &LaunchSpec) {
    let Some(program) = spec.argv.first() else { return };
    let (mut label, mut help) =
        ("not there now", "install it before it is needed, or write the whole path".to_owned());
    let why = match reader.files.ask(program.to_string_lossy().into_owned(), || found(program, spec)) {
        Found::Executable => return,
        Found::Nothing if ["CMD", "CMD-SHELL"].iter().any(|word| program == *word) => {
            label = "a word of compose";
            help = match program.as_bytes() {
                b"CMD" => "leave out \"CMD\": the list is the program and its arguments".to_owned(),
                _ => "write [\"sh\", \"-c\", \"...\"] in its place".to_owned(),
            };
            format!("`{}` is no program", program.to_string_lossy())
        }
        Found::Nothing if let Some(words) = several_words(program) => {
            label = "one word of the list";
            help = format!("one word per element: {key} = {words:?}");
            format!(
                "`{}` is the name of one program, and no such program is there",
                program.to_string_lossy()
            )
        }
        Found::Nothing if let Some(instead) = of_a_shell(key, spec) => {
            label = "a word of the shell";
            help = instead;
            format!("`{}` is a word of the shell, and no program", program.to_string_lossy())
        }
        Found::NoInterpreter(path) => {
            label = "no #! line";
            help = format!(
                "begin it with a line such as #!/bin/sh, or write {key} = \"sh {}\"",
                program.to_string_lossy()
            );
            format!("{} has no `#!` line, so the kernel cannot execute it", path.display())
        }
        Found::Nothing if program.as_bytes().contains(&b'/') => {
            format!("{} is not there", tidy(&spec.dir.join(program)).display())
        }
        Found::Nothing => format!("`{}` is in no directory of PATH", program.to_string_lossy()),
        Found::NotExecutable(path) => {
            let user = spec.user.as_ref().map_or_else(|| "heartbeatd".to_owned(), |user| user.name.clone());
            label = "not executable";
            help =
                format!("chmod +x {}, or write {key} = \"sh {}\"", path.display(), program.to_string_lossy());
            format!("{} may not be executed by {user}", path.display())
        }
    };
    let name = owner.name;
    let message = match key {
        "run" => format!("{name} cannot be started: {why}"),
        "health" => format!("a check of {name} cannot run: {why}"),
        "exec" => format!("the program of the receiver {name} cannot run: {why}"),
        _ => format!("a command of `{key}` of {name} cannot run: {why}"),
    };
    push(reader, owner, key, Diagnostic::new(Code::NoProgram, message).help(help), label);
}

/// The words of a program's name that is a whole command line: `["sleep 100"]` names one program.
fn several_words(program: &OsStr) -> Option<Vec<String>> {
    let words = units::words(program.to_str()?, "").ok()?;
    (words.len() > 1).then_some(words)
}

/// What to write in place of a command whose program is a word that only a shell knows.
fn of_a_shell(key: &str, spec: &LaunchSpec) -> Option<String> {
    let words: Vec<&str> = spec.argv.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
    let to_a_shell = match key {
        "run" => "write shell = true beside it to have a shell read the line".to_owned(),
        // A list is several commands there.
        "start" => {
            format!("write {:?} to have a shell read the line", units::through_sh(&units::joined(&words)))
        }
        _ => format!("write {:?} to have a shell read the line", ["sh", "-c", &units::joined(&words)]),
    };
    units::in_place_of_a_builtin(&words, &to_a_shell)
}

enum Found {
    Executable,
    NotExecutable(PathBuf),
    /// A text that names no interpreter.
    NoInterpreter(PathBuf),
    Nothing,
}

/// Looks as execvpe(3) would.
fn found(program: &OsStr, spec: &LaunchSpec) -> Found {
    let bytes = program.as_bytes();
    let path = spec.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_bytes());
    let places: Vec<PathBuf> = if bytes.contains(&b'/') {
        vec![spec.dir.join(program)]
    } else {
        let dirs = path.unwrap_or(STANDARD_PATH.as_bytes()).split(|byte| *byte == b':');
        dirs.map(|dir| spec.dir.join(OsStr::from_bytes(dir)).join(program)).collect()
    };
    let mut refused = None;
    for place in places {
        match place.metadata() {
            Ok(meta) if meta.is_file() && may_execute(&meta, spec.user.as_ref()) => {
                return if is_bare_text(&place) {
                    Found::NoInterpreter(tidy(&place))
                } else {
                    Found::Executable
                };
            }
            Ok(meta) if meta.is_file() => refused = refused.or(Some(tidy(&place))),
            // A directory that only the realm's user can enter hides what is in it from others.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Found::Executable,
            Ok(_) | Err(_) => {}
        }
    }
    refused.map_or(Found::Nothing, Found::NotExecutable)
}

/// A path without `.` in its middle.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Whether a program is a text without a `#!` line. One that cannot be read says nothing of itself.
fn is_bare_text(path: &Path) -> bool {
    let mut first = [0; 64];
    let read = std::fs::File::open(path).and_then(|file| file.read_at(&mut first, 0)).unwrap_or(0);
    let first = &first[..read];
    read > 0
        && !first.starts_with(b"#!")
        && first.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

fn may_execute(meta: &Metadata, user: Option<&User>) -> bool {
    let bits = match user {
        Some(user) if user.uid != 0 => {
            if meta.uid() == user.uid {
                0o100
            } else if meta.gid() == user.gid || user.groups.contains(&meta.gid()) {
                0o010
            } else {
                0o001
            }
        }
        // Root may execute a file that has any execute bit.
        _ => 0o111,
    };
    meta.mode() & bits != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_opens_its_own_output_anew_is_named() {
        for (line, target) in [
            ("echo x > /dev/stderr", Some("/dev/stderr")),
            ("echo x >/dev/stdout; echo y", Some("/dev/stdout")),
            ("serve 2> /proc/self/fd/2", Some("/proc/self/fd/2")),
            ("serve &>/dev/stderr", Some("/dev/stderr")),
            ("echo x >> /dev/stderr", None),
            ("echo x >&2", None),
            ("serve > /dev/stderr.log", None),
            ("serve > /dev/fd/12", None),
            ("serve > /dev/null 2>&1", None),
            ("echo 'a > b'", None),
        ] {
            assert_eq!(emptied_by(line), target, "{line}");
        }
    }
}
