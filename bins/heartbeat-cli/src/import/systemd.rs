//! Units of systemd.

use crate::import::draft::Draft;
use crate::import::ini::{Continuation, parse, words};
use crate::import::values::{duration, list, needs_a_shell, size, text};

/// One unit; its realm has the name of the file.
pub(crate) fn translate(draft: &mut Draft, name: &str, file: &str) -> Result<(), String> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.strip_suffix(".service").unwrap_or(name);
    let realm = draft.realm(name.split('@').next().unwrap_or(name));
    if name.contains('@') {
        draft.approximated(name, "a template: make a realm for each instance and write its name for %i");
    }
    let mut variables: Vec<(String, String)> = Vec::new();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for section in parse(file, Continuation::Backslash) {
        for (key, value) in &section.settings {
            let place = format!("{name}: {key}");
            if value.is_empty() {
                draft.dropped(&place, "it is empty, which resets a list");
                continue;
            }
            if value.contains('%') && key != "CPUQuota" && key != "MemoryMax" {
                draft
                    .approximated(&place, "a specifier such as %i is not replaced: write what it stands for");
            }
            let mut unit = Unit {
                draft,
                realm,
                place: &place,
                variables: &mut variables,
                before: &mut before,
                after: &mut after,
            };
            let done = match section.name.as_str() {
                "Unit" => unit.of_unit(key, value),
                "Service" => unit.of_service(key, value),
                "Install" => {
                    unit.draft.understood();
                    Some(())
                }
                _ => {
                    unit.draft.dropped(&place, "heartbeatd starts services only");
                    Some(())
                }
            };
            if done.is_none() {
                draft.dropped(&place, "its value is not understood");
            }
        }
    }
    if !variables.is_empty() {
        draft.set_env(realm, &format!("{name}: Environment"), variables);
    }
    for (key, commands) in [("start.before", before), ("start.after", after)] {
        if !commands.is_empty() {
            draft.add(realm, key, list(commands.iter().map(String::as_str)));
        }
    }
    if draft.has(realm, "groups") && !draft.has(realm, "user") {
        draft.remove(realm, "groups");
        draft.dropped(&format!("{name}: SupplementaryGroups"), "groups go with `user`");
    }
    if draft.has(realm, "run") { Ok(()) } else { Err("it has no ExecStart".to_owned()) }
}

struct Unit<'a> {
    draft: &'a mut Draft,
    realm: usize,
    place: &'a str,
    variables: &'a mut Vec<(String, String)>,
    before: &'a mut Vec<String>,
    after: &'a mut Vec<String>,
}

impl Unit<'_> {
    fn set(&mut self, key: &str, value: impl Into<String>) {
        self.draft.set(self.realm, key, value);
    }

    fn of_unit(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "Description" => self.set("title", text(value)),
            "Documentation" => self.set("docs", text(value.split_whitespace().next()?)),
            "Requires" | "Requisite" | "BindsTo" | "PartOf" => self.units("needs", value),
            "Wants" => self.units("wants", value),
            "After" => self.units("after", value),
            "Before" => self.draft.dropped(self.place, "write `after` in the realm that comes later"),
            "StartLimitBurst" => self.set("restart.burst", value.parse::<u32>().ok()?.to_string()),
            "StartLimitIntervalSec" | "StartLimitInterval" => self.set("restart.window", duration(value)?),
            _ => self.draft.dropped(self.place, "heartbeatd has nothing like it"),
        }
        Some(())
    }

    fn units(&mut self, kind: &'static str, value: &str) {
        for unit in value.split_whitespace() {
            match unit.strip_suffix(".service") {
                Some(name) => self.draft.need(self.realm, kind, name, None, self.place),
                None if unit.contains('.') => {
                    self.draft.dropped(
                        self.place,
                        &format!("{unit} is none of a realm; heartbeatd itself starts after it"),
                    );
                }
                None => self.draft.need(self.realm, kind, unit, None, self.place),
            }
        }
    }

    /// A command without the signs in front of it, and with braces that are meant for a shell.
    fn command(&mut self, line: &str) -> String {
        let bare = line.trim_start_matches(['-', '@', ':', '+', '!']);
        if bare.len() < line.len() {
            self.draft.approximated(
                self.place,
                &format!(
                    "the signs `{}` in front of the program are left out",
                    &line[..line.len() - bare.len()]
                ),
            );
        }
        let mut words: Vec<&str> = bare.split_whitespace().collect();
        if line[..line.len() - bare.len()].contains('@') && words.len() > 1 {
            // The name that the program is given for itself.
            words.remove(1);
        }
        words.join(" ").replace("${", "$${")
    }

    fn of_service(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "ExecStart" => {
                let line = self.command(value);
                self.set("run", text(&line));
                if needs_a_shell(&line) {
                    self.draft.add(self.realm, "shell", "true");
                    self.draft.approximated(self.place, "a shell reads the line, since only it expands variables");
                }
            }
            "ExecStartPre" | "ExecStartPost" => {
                let line = self.command(value);
                let list = if key == "ExecStartPre" { &mut *self.before } else { &mut *self.after };
                list.push(line);
                self.draft.understood();
            }
            "ExecStop" => {
                let line = self.command(value);
                self.set("stop.command", text(&line));
            }
            "ExecReload" => self.draft.dropped(self.place, "send it a signal: heartbeat-cli signal HUP REALM"),
            "Type" => match value {
                "simple" | "exec" | "idle" => self.draft.understood(),
                "oneshot" => self.set("oneshot", "true"),
                "notify" | "notify-reload" => self.set("health", "{ notify = true }"),
                "forking" => self.draft.approximated(self.place, "a program that makes a daemon of itself needs `pidfile`; better, let it stay in the foreground"),
                _ => return None,
            },
            "PIDFile" => self.set("pidfile", text(value)),
            "WorkingDirectory" => self.set("dir", text(value.trim_start_matches('-'))),
            "User" => self.set("user", text(value)),
            "SupplementaryGroups" => self.set("groups", list(value.split_whitespace())),
            "Group" => self.draft.dropped(self.place, "the group is that of the user; see `groups`"),
            "Environment" => {
                for word in words(value) {
                    let (name, value) = word.split_once('=')?;
                    self.variables.retain(|(known, _)| known != name);
                    self.variables.push((name.to_owned(), value.to_owned()));
                }
                self.draft.understood();
            }
            "EnvironmentFile" => {
                if value.starts_with('-') {
                    self.draft.approximated(self.place, "the file has to be there");
                }
                self.set("env_file", text(value.trim_start_matches('-')));
            }
            "Restart" => match value {
                "always" => self.set("restart.policy", "\"always\""),
                "no" => self.set("restart.policy", "\"never\""),
                "on-failure" => self.set("restart.policy", "\"on-failure\""),
                "on-abnormal" | "on-abort" | "on-watchdog" => {
                    self.set("restart.policy", "\"on-failure\"");
                    self.draft.approximated(self.place, "on-failure comes nearest");
                }
                _ => return None,
            },
            "RestartSec" => self.set("restart.backoff", duration(value)?),
            "SuccessExitStatus" => self.codes("restart.success_codes", value)?,
            "RestartPreventExitStatus" => self.codes("restart.never_codes", value)?,
            "TimeoutStartSec" => self.set("start.timeout", duration(value)?),
            "TimeoutStopSec" => self.set("stop.timeout", duration(value)?),
            "TimeoutSec" => {
                self.set("start.timeout", duration(value)?);
                self.draft.add(self.realm, "stop.timeout", duration(value)?);
            }
            "KillSignal" => self.set("stop.signal", text(value.trim_start_matches("SIG"))),
            "KillMode" => match value {
                "control-group" => self.set("stop.signal_to", "\"tree\""),
                "mixed" => self.draft.understood(),
                _ => self.draft.dropped(self.place, "a stop always ends the whole tree"),
            },
            "UMask" => self.set("umask", text(value)),
            "Nice" => self.set("limits.nice", value.parse::<i32>().ok()?.to_string()),
            "OOMScoreAdjust" => self.set("limits.oom_score", value.parse::<i32>().ok()?.to_string()),
            "LimitNOFILE" => self.set("limits.nofile", limit(value)?),
            "LimitNPROC" => self.set("limits.nproc", limit(value)?),
            "MemoryMax" | "MemoryLimit" => self.set("limits.memory", if value == "infinity" { text("unlimited") } else { size(value)? }),
            "CPUQuota" => self.set("limits.cpu", text(value)),
            "TasksMax" => self.set("limits.tasks", limit(value)?),
            "NoNewPrivileges" => self.set("no_new_privileges", matches!(value, "yes" | "true" | "1" | "on").to_string()),
            "StandardOutput" | "StandardError" if value.starts_with("journal") => self.set("log.to", "\"journal\""),
            "StandardOutput" | "StandardError" if value == "null" => self.set("log.to", "\"none\""),
            "SyslogIdentifier" => self.draft.dropped(self.place, "the identifier is the name of the realm"),
            "WatchdogSec" => {
                self.set("health", format!("{{ notify = true, watchdog = {} }}", duration(value)?));
            }
            _ => self.draft.dropped(self.place, "heartbeatd has nothing like it"),
        }
        Some(())
    }

    fn codes(&mut self, key: &str, value: &str) -> Option<()> {
        let codes: Vec<String> = value
            .split_whitespace()
            .filter_map(|word| word.parse::<u8>().ok())
            .map(|code| code.to_string())
            .collect();
        if codes.len() < value.split_whitespace().count() {
            self.draft.approximated(self.place, "only numbers are taken, and no signals");
        }
        self.set(key, format!("[{}]", codes.join(", ")));
        Some(())
    }
}

/// The hard limit of `soft:hard`.
fn limit(value: &str) -> Option<String> {
    let value = value.rsplit(':').next()?;
    if value == "infinity" { Some(text("unlimited")) } else { Some(value.parse::<u64>().ok()?.to_string()) }
}
