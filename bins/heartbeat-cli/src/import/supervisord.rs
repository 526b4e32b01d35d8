//! supervisord.conf.

use std::path::Path;

use crate::import::draft::{Draft, ToolDefault};
use crate::import::ini::{Continuation, Section, parse};
use crate::import::values::{duration, literal, needs_a_shell, size, text, without_a_shell};

/// What the programs of supervisord get from it.
const INHERITED: [&str; 5] = ["user", "umask", "environment", "minfds", "minprocs"];
/// Processes of one program that become realms.
const MAX_PROCESSES: u32 = 64;
/// The variable that heartbeatd sets by itself, to the `port` of a realm.
const PORT: &str = "PORT";

const DEFAULTS: &[ToolDefault] = &[
    ToolDefault { key: "restart.policy", theirs: "unexpected: not after exit code 0", ours: "\"always\"" },
    ToolDefault {
        key: "restart.burst",
        theirs: "3 tries, then FATAL",
        ours: "6 in 10 min, then a trial per cooldown",
    },
];

/// The file `name`, in whose directory `%(here)s` is.
pub(crate) fn translate(draft: &mut Draft, name: &str, file: &str) -> Result<(), String> {
    let here = Path::new(name).parent().filter(|dir| dir.is_absolute()).map(|dir| dir.display().to_string());
    let sections = parse(file, Continuation::Indent);
    let groups: Vec<(&str, Vec<&str>)> = sections
        .iter()
        .filter_map(|section| {
            let name = section.name.strip_prefix("group:")?;
            let (_, programs) = section.settings.iter().find(|(key, _)| key == "programs")?;
            Some((name, programs.split(',').map(str::trim).collect()))
        })
        .collect();
    draft.of_tool("supervisord", DEFAULTS);
    let own = sections.iter().find(|section| section.name == "supervisord");
    let mut found = false;
    for section in &sections {
        match section.name.split_once(':') {
            Some(("program", name)) => {
                found = true;
                let name = name.trim();
                let group =
                    groups.iter().find(|(_, programs)| programs.contains(&name)).map(|(group, _)| *group);
                let number_of = |key: &str| {
                    let found = section.settings.iter().find(|(known, _)| known == key);
                    found.and_then(|(_, number)| number.parse::<u16>().ok()).map(u32::from)
                };
                let count = number_of("numprocs").unwrap_or(1);
                let first = number_of("numprocs_start").unwrap_or(0);
                let here = here.as_deref();
                let of = |number| Process { program: name, group, here, count, first, number, own };
                program(draft, section, &of(first));
                for number in first + 1..first + count.min(MAX_PROCESSES) {
                    draft.once_more(|draft| program(draft, section, &of(number)));
                }
            }
            Some(("group", name)) => {
                for (key, _) in section.settings.iter().filter(|(key, _)| key != "programs") {
                    draft.dropped(
                        &format!("{name}.{key}"),
                        "realms start in the order of `needs` and `after`: write those",
                    );
                }
            }
            Some(("fcgi-program", _)) => {
                draft.dropped(&section.name, "heartbeatd opens no socket for a program")
            }
            _ if section.name == "include" => {
                draft.dropped("include", "import those files as well: heartbeat-cli import FILE..")
            }
            Some(("eventlistener", _)) => draft.dropped(
                &section.name,
                "follow heartbeatd with `heartbeat-cli events -f --json`, or [notify.NAME]",
            ),
            _ => about_itself(draft, section),
        }
    }
    if found { Ok(()) } else { Err("it has no [program:NAME]".to_owned()) }
}

/// The settings of `[supervisord]`; its programs inherit some of them.
fn about_itself(draft: &mut Draft, section: &Section) {
    let (inherited, others): (Vec<&str>, Vec<&str>) = section
        .settings
        .iter()
        .map(|(key, _)| key.as_str())
        .partition(|key| section.name == "supervisord" && INHERITED.contains(key));
    let has_port = |(key, value): &(String, String)| {
        key == "environment"
            && environment(value).is_some_and(|pairs| pairs.iter().any(|(name, _)| name == PORT))
    };
    if section.name == "supervisord" && section.settings.iter().any(has_port) {
        draft.dropped(
            "supervisord.environment",
            "heartbeatd sets PORT to the `port` of a realm, and two realms cannot have one: write `port` where it is listened on",
        );
    }
    if !inherited.is_empty() {
        draft.approximated(
            &format!("supervisord: {}", inherited.join(", ")),
            "each realm has it that says nothing else, as the programs of supervisord do",
        );
    }
    if !others.is_empty() {
        let what = format!("it is about supervisord itself: {}", others.join(", "));
        draft.dropped(&section.name, &what);
    }
}

/// One process of a program, of which there may be several.
struct Process<'a> {
    program: &'a str,
    group: Option<&'a str>,
    here: Option<&'a str>,
    count: u32,
    /// The number of the first of them.
    first: u32,
    number: u32,
    /// The settings of `[supervisord]`.
    own: Option<&'a Section>,
}

impl Process<'_> {
    /// Its variables with those of supervisord, of which its own come first.
    fn with_own(&self, mut variables: Vec<(String, String)>) -> Vec<(String, String)> {
        let of_all =
            self.own.into_iter().flat_map(|own| &own.settings).filter(|(key, _)| key == "environment");
        for (_, value) in of_all {
            let pairs = environment(&self.expanded(value).0).unwrap_or_default();
            for pair in of_every_realm(pairs) {
                if !variables.iter().any(|(known, _)| *known == pair.0) {
                    variables.push(pair);
                }
            }
        }
        variables
    }

    /// A value as ours, and the expansions in it that are not replaced.
    fn expanded(&self, value: &str) -> (String, Vec<String>) {
        let (mut out, mut unknown) = (String::new(), Vec::new());
        let mut rest = value;
        while let Some(at) = rest.find('%') {
            out += &literal(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                out.push('%');
                rest = after;
                continue;
            }
            let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) else {
                out.push('%');
                continue;
            };
            // `s`, `d`, `02d`.
            let end = after.find(['s', 'd']).map_or(after.len(), |at| at + 1);
            let (form, after) = after.split_at(end);
            rest = after;
            let width = form.trim_end_matches(['s', 'd']).parse().unwrap_or(0);
            let text = match (name, name.strip_prefix("ENV_")) {
                (_, Some(variable)) => Some(format!("${{{variable}}}")),
                ("program_name", _) => Some(self.program.to_owned()),
                ("group_name", _) => Some(self.group.unwrap_or(self.program).to_owned()),
                ("process_num", _) => Some(format!("{:0width$}", self.number)),
                ("numprocs", _) => Some(self.count.to_string()),
                ("here", _) => self.here.map(literal),
                _ => None,
            };
            out += &text.unwrap_or_else(|| {
                unknown.push(format!("%({name}){form}"));
                format!("%({name}){form}")
            });
        }
        (out + &literal(rest), unknown)
    }
}

fn program(draft: &mut Draft, section: &Section, process: &Process<'_>) {
    let name = process.program;
    let realm = match process.count {
        1 => draft.realm(name),
        _ => draft.realm(&format!("{name}-{}", process.number)),
    };
    if let Some(group) = process.group.or((process.count > 1).then_some(name)) {
        draft.set(realm, "group", text(group));
    }
    for (key, value) in &section.settings {
        let place = format!("{name}.{key}");
        let (value, unknown) = process.expanded(value);
        for expansion in unknown {
            draft.approximated(&place, &format!("{expansion} is not replaced: write what it stands for"));
        }
        if setting(draft, realm, &place, key, &value, process).is_none() {
            draft.dropped(&place, "its value is not understood");
        }
    }
    for (key, value) in process.own.into_iter().flat_map(|own| &own.settings) {
        let (value, _) = process.expanded(value);
        inherit(draft, realm, key, &value, section);
    }
}

/// The variables of `[supervisord]` that each realm can have: a port is of one of them.
fn of_every_realm(pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs.into_iter().filter(|(name, _)| name != PORT).collect()
}

/// A setting of supervisord itself, in a realm of a program that does not say it.
fn inherit(draft: &mut Draft, realm: usize, key: &str, value: &str, section: &Section) {
    let of_program = section.settings.iter().find(|(known, _)| known == key).map(|(_, value)| value);
    let place = format!("supervisord.{key}");
    let done = match key {
        "user" | "umask" if of_program.is_none() => {
            draft.add(realm, key, text(value));
            Some(())
        }
        "environment" if of_program.is_none() => {
            environment(value).map(|pairs| draft.set_env(realm, &place, of_every_realm(pairs)))
        }
        "minfds" => draft.limit(realm, "nofile", value),
        "minprocs" => draft.limit(realm, "nproc", value),
        _ => Some(()),
    };
    if done.is_none() {
        draft.dropped(&place, "its value is not understood");
    }
}

fn setting(
    draft: &mut Draft,
    realm: usize,
    place: &str,
    key: &str,
    value: &str,
    process: &Process<'_>,
) -> Option<()> {
    let on = matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1");
    match key {
        "command" => {
            // supervisord has no shell either: the words stay as they are.
            draft.set(realm, "run", without_a_shell(value));
            if needs_a_shell(&value.replace("${", ""))
                && !["sh -c", "'", "\""].iter().any(|quoted| value.contains(quoted))
            {
                draft.approximated(
                    place,
                    "no shell reads it, as under supervisord; write it as one string with shell = true where one should",
                );
            }
        }
        "directory" => draft.set(realm, "dir", text(value)),
        "user" => draft.set(realm, "user", text(value)),
        "umask" => draft.set(realm, "umask", text(value)),
        "environment" => draft.set_env(realm, place, process.with_own(environment(value)?)),
        "autostart" if on => draft.understood(),
        "autostart" => draft.set(realm, "manual", "true"),
        "autorestart" => match value {
            "unexpected" => draft.set(realm, "restart.policy", "\"on-failure\""),
            _ if on => draft.set(realm, "restart.policy", "\"always\""),
            _ => draft.set(realm, "restart.policy", "\"never\""),
        },
        "startsecs" => draft.set(realm, "start.settle", duration(value)?),
        "startretries" if value == "0" => {
            draft.is_said(realm, "restart.burst");
            draft.dropped(
                place,
                "a start is tried again here; restart.policy = \"never\" keeps a realm from that",
            );
        }
        "startretries" => {
            let counts = "supervisord counts only starts that fail one after another";
            draft.budget(realm, place, value.parse().ok()?, counts)?;
        }
        "exitcodes" => {
            let codes: Option<Vec<u8>> = value.split(',').map(|code| code.trim().parse().ok()).collect();
            draft.set(realm, "restart.success_codes", format!("{:?}", codes?));
        }
        "stopsignal" => draft.set(realm, "stop.signal", text(value.trim_start_matches("SIG"))),
        "stopwaitsecs" => draft.set(realm, "stop.timeout", duration(value)?),
        "stopasgroup" if on => draft.set(realm, "stop.signal_to", "\"tree\""),
        "stopasgroup" | "killasgroup" => draft.understood(),
        "priority" => draft.dropped(place, "realms start in the order of `needs` and `after`: write those"),
        "numprocs" if process.count > MAX_PROCESSES => {
            draft.approximated(place, &format!("the first {MAX_PROCESSES} of {value} processes are realms"));
        }
        "numprocs" if process.count > 1 => {
            let (name, first) = (process.program, process.first);
            let (last, group) = (first + process.count - 1, process.group.unwrap_or(name));
            let what = format!("{value} realms, {name}-{first} to {name}-{last}: `@{group}` names them all");
            draft.approximated(place, &what);
        }
        "numprocs" | "numprocs_start" => draft.understood(),
        "process_name" => draft.dropped(place, "the realm is called as its program"),
        "serverurl" => draft.dropped(place, "it is about supervisord itself"),
        "stdout_events_enabled" | "stderr_events_enabled" => {
            draft.dropped(place, "heartbeatd follows the output with `heartbeat-cli logs -f`");
        }
        "redirect_stderr" => draft.understood(),
        "stdout_logfile_maxbytes" | "stderr_logfile_maxbytes" if value == "0" => {
            draft.dropped(place, "a log has a limit; see log.max_size");
        }
        "stdout_logfile_maxbytes" | "stderr_logfile_maxbytes" => {
            draft.set(realm, "log.max_size", size(value)?)
        }
        "stdout_logfile_backups" | "stderr_logfile_backups" => {
            draft.set(realm, "log.keep", value.parse::<u32>().ok()?.to_string())
        }
        "stdout_logfile" | "stderr_logfile" if value.eq_ignore_ascii_case("none") => {
            draft.set(realm, "log.to", "\"none\"")
        }
        "stdout_logfile" | "stderr_logfile" => {
            draft.approximated(place, "output goes to state_dir/log/REALM.log");
        }
        _ => draft.dropped(place, "heartbeatd has nothing like it"),
    }
    Some(())
}

/// `A="b",C="d,e"`.
fn environment(value: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=')?;
        let tail = tail.trim_start();
        let (value, tail) = match tail.chars().next() {
            Some(quote @ ('"' | '\'')) => tail[1..].split_once(quote)?,
            _ => tail.split_once(',').map_or((tail, ""), |(value, rest)| (value, rest)),
        };
        pairs.push((name.trim().to_owned(), value.trim().to_owned()));
        rest = tail.trim_start().trim_start_matches(',').trim_start();
    }
    Some(pairs)
}
