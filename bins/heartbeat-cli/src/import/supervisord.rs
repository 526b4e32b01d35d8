//! supervisord.conf.

use crate::import::draft::Draft;
use crate::import::ini::{Continuation, Section, parse, words};
use crate::import::values::{duration, list, needs_a_shell, text};

pub(crate) fn translate(draft: &mut Draft, file: &str) -> Result<(), String> {
    let sections = parse(file, Continuation::Indent);
    let groups: Vec<(&str, Vec<&str>)> = sections
        .iter()
        .filter_map(|section| {
            let name = section.name.strip_prefix("group:")?;
            let (_, programs) = section.settings.iter().find(|(key, _)| key == "programs")?;
            Some((name, programs.split(',').map(str::trim).collect()))
        })
        .collect();
    let mut found = false;
    for section in &sections {
        match section.name.split_once(':') {
            Some(("program", name)) => {
                found = true;
                program(draft, name.trim(), section, &groups);
            }
            Some(("group", name)) => {
                for (key, _) in section.settings.iter().filter(|(key, _)| key != "programs") {
                    draft.dropped(
                        &format!("{name}.{key}"),
                        "the order follows from `needs` and `after`: write those",
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
            _ if section.settings.is_empty() => {}
            _ => draft.dropped(&section.name, "it is about supervisord itself"),
        }
    }
    if found { Ok(()) } else { Err("it has no [program:NAME]".to_owned()) }
}

fn program(draft: &mut Draft, name: &str, section: &Section, groups: &[(&str, Vec<&str>)]) {
    let realm = draft.realm(name);
    if let Some((group, _)) = groups.iter().find(|(_, programs)| programs.contains(&name)) {
        draft.set(realm, "group", text(group));
    }
    for (key, value) in &section.settings {
        let place = format!("{name}.{key}");
        if value.contains("%(") {
            draft.approximated(
                &place,
                "an expansion such as %(here)s is not replaced: write what it stands for",
            );
        }
        if setting(draft, realm, &place, key, value).is_none() {
            draft.dropped(&place, "its value is not understood");
        }
    }
}

fn setting(draft: &mut Draft, realm: usize, place: &str, key: &str, value: &str) -> Option<()> {
    let on = matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1");
    match key {
        "command" => {
            if needs_a_shell(value) || value.contains("%(") {
                // supervisord has no shell either: the words stay as they are.
                let words = words(value);
                draft.set(realm, "run", list(words.iter().map(String::as_str)));
                if !value.contains("sh -c") {
                    draft.approximated(
                        place,
                        "it has characters that are for a shell: write shell = true if they are meant so",
                    );
                }
            } else {
                draft.set(realm, "run", text(value));
            }
        }
        "directory" => draft.set(realm, "dir", text(value)),
        "user" => draft.set(realm, "user", text(value)),
        "umask" => draft.set(realm, "umask", text(value)),
        "environment" => draft.set_env(realm, place, environment(value)?),
        "autostart" if on => draft.understood(),
        "autostart" => draft.set(realm, "manual", "true"),
        "autorestart" => match value {
            "unexpected" => draft.set(realm, "restart.policy", "\"on-failure\""),
            _ if on => draft.set(realm, "restart.policy", "\"always\""),
            _ => draft.set(realm, "restart.policy", "\"never\""),
        },
        "startsecs" => draft.set(realm, "start.settle", duration(value)?),
        "startretries" => draft.set(
            realm,
            "restart.burst",
            value.parse::<u32>().ok().filter(|count| *count > 0)?.to_string(),
        ),
        "exitcodes" => {
            let codes: Option<Vec<u8>> = value.split(',').map(|code| code.trim().parse().ok()).collect();
            draft.set(realm, "restart.success_codes", format!("{:?}", codes?));
        }
        "stopsignal" => draft.set(realm, "stop.signal", text(value.trim_start_matches("SIG"))),
        "stopwaitsecs" => draft.set(realm, "stop.timeout", duration(value)?),
        "stopasgroup" if on => draft.set(realm, "stop.signal_to", "\"tree\""),
        "stopasgroup" | "killasgroup" => draft.understood(),
        "priority" => draft.approximated(place, "the order follows from `needs` and `after`: write those"),
        "numprocs" if value == "1" => draft.understood(),
        "numprocs" => {
            draft.dropped(place, "declare a realm for each process, or let the program start its own workers")
        }
        "process_name" => draft.dropped(place, "a realm has its own name"),
        "redirect_stderr" => draft.understood(),
        "stdout_logfile_maxbytes" | "stderr_logfile_maxbytes" if value == "0" => {
            draft.dropped(place, "a log has a limit; see log.max_size");
        }
        "stdout_logfile_maxbytes" | "stderr_logfile_maxbytes" => {
            draft.set(realm, "log.max_size", crate::import::values::size(value)?)
        }
        "stdout_logfile_backups" | "stderr_logfile_backups" => {
            draft.set(realm, "log.keep", value.parse::<u32>().ok()?.to_string())
        }
        "stdout_logfile" | "stderr_logfile" if value.eq_ignore_ascii_case("none") => {
            draft.set(realm, "log.to", "\"none\"")
        }
        "stdout_logfile" | "stderr_logfile" => {
            draft.approximated(place, "output goes to state_dir/log/REALM.log")
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
