//! Units of systemd.

use std::path::Path;

use heartbeat_status::Signal;

use crate::import::draft::{Draft, ToolDefault};
use crate::import::ini::{Continuation, parse, words};
use crate::import::systemd_command::Command;
use crate::import::values::{duration, list, literal, size, text};

const DEFAULTS: &[ToolDefault] = &[
    ToolDefault { key: "restart.policy", theirs: "no restart", ours: "\"always\"" },
    ToolDefault { key: "start.timeout", theirs: "90 s", ours: "60 s" },
    ToolDefault { key: "stop.timeout", theirs: "90 s", ours: "10 s" },
    ToolDefault {
        key: "stop.signal_to",
        theirs: "the whole control group",
        ours: "the main process, and then what is left",
    },
];

/// One unit; its realm has the name of the file.
pub(crate) fn translate(draft: &mut Draft, name: &str, file: &str) -> Result<(), String> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.strip_suffix(".service").unwrap_or(name);
    draft.of_tool("systemd", DEFAULTS);
    let realm = draft.realm(name.strip_suffix('@').unwrap_or(name));
    if name.ends_with('@') {
        draft.approximated(name, "a template: make a realm for each instance and write its name for %i");
    }
    let mut variables: Vec<(String, String)> = Vec::new();
    let (mut before, mut after, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut group, mut burst) = (None, None);
    let is_oneshot = parse(file, Continuation::Backslash)
        .iter()
        .flat_map(|section| &section.settings)
        .any(|(key, value)| key == "Type" && value == "oneshot");
    for section in parse(file, Continuation::Backslash) {
        for (key, value) in &section.settings {
            let place = format!("{name}: {key}");
            if value.is_empty() {
                match key.as_str() {
                    "ExecStart" => starts.clear(),
                    "ExecStartPre" => before.clear(),
                    "ExecStartPost" => after.clear(),
                    "Environment" => variables.clear(),
                    _ => {}
                }
                draft.approximated(&place, "it is empty: what stands before it does not count");
                continue;
            }
            let value = &match key.as_str() {
                "CPUQuota" | "MemoryMax" | "MemoryHigh" | "TasksMax" => value.clone(),
                _ => {
                    let (value, unknown) = specified(value, name);
                    for letter in unknown {
                        let what = format!("%{letter} is not replaced: write what it stands for");
                        draft.approximated(&place, &what);
                    }
                    value
                }
            };
            let mut unit = Unit {
                draft,
                realm,
                place: &place,
                variables: &mut variables,
                before: &mut before,
                after: &mut after,
                starts: &mut starts,
                group: &mut group,
                burst: &mut burst,
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
    program(draft, realm, &format!("{name}: ExecStart"), &mut before, starts, is_oneshot);
    for (key, commands) in [("start.before", before), ("start.after", after)] {
        if !commands.is_empty() {
            draft.add(realm, key, list(commands.iter().map(String::as_str)));
        }
    }
    if let Some(group) = group {
        draft.group_of_user(realm, &format!("{name}: Group"), &group);
    }
    if let Some(burst) = burst {
        let place = format!("{name}: StartLimitBurst");
        let is_set = draft.has(realm, "restart.window");
        let counts = if is_set { "systemd counts starts" } else { "systemd counts starts, and within 10 s" };
        if draft.says(realm, "restart.window") {
            draft.dropped(&place, "StartLimitIntervalSec=0 turns it off");
        } else if draft.budget(realm, &place, burst, counts).is_none() {
            draft.dropped(&place, "its value is not understood");
        }
    }
    if draft.has(realm, "groups") && !draft.has(realm, "user") {
        draft.remove(realm, "groups");
        draft.dropped(&format!("{name}: SupplementaryGroups"), "groups go with `user`");
    }
    if draft.has(realm, "run") { Ok(()) } else { Err("it has no ExecStart".to_owned()) }
}

/// The signal of a `kill` of the main process.
fn signal_of(line: &str) -> Option<String> {
    let words = words(line);
    let (last, rest) = words.split_last()?;
    let (program, options) = rest.split_first()?;
    let is_kill =
        program.rsplit('/').next() == Some("kill") && ["$MAINPID", "${MAINPID}"].contains(&last.as_str());
    let signal = match options {
        [] => "TERM",
        [option, signal] if ["-s", "--signal"].contains(&option.as_str()) => signal,
        [option] => option.strip_prefix("--signal=").or_else(|| option.strip_prefix('-'))?,
        _ => return None,
    };
    let signal = signal.trim_start_matches("SIG");
    (is_kill && signal.parse::<Signal>().is_ok()).then(|| signal.to_owned())
}

/// The last command is the program; those before it, which a oneshot may have, run before the start.
fn program(
    draft: &mut Draft,
    realm: usize,
    place: &str,
    before: &mut Vec<String>,
    mut starts: Vec<Command>,
    is_oneshot: bool,
) {
    let Some(command) = starts.pop() else { return };
    if !starts.is_empty() {
        let what = if is_oneshot {
            format!("of {} commands the last is `run`, and the others are start.before", starts.len() + 1)
        } else {
            format!(
                "only a oneshot has {} commands: the last is `run`, the others start.before",
                starts.len() + 1
            )
        };
        draft.approximated(place, &what);
        before.extend(starts.iter().map(|command| command.hook(false)));
    }
    let (run, by_shell) = command.run();
    draft.set(realm, "run", run);
    if by_shell {
        draft.add(realm, "shell", "true");
        draft.approximated(
            place,
            "a shell reads the line, since only it fills in the variables; by `exec` the program takes its place",
        );
    }
}

/// A value with its specifiers replaced, and those that are not.
fn specified(value: &str, unit: &str) -> (String, Vec<char>) {
    let (mut out, mut unknown) = (String::new(), Vec::new());
    let mut chars = value.chars();
    let (prefix, instance) = unit.split_once('@').unwrap_or((unit, ""));
    let full = format!("{unit}.service");
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(letter) = chars.next() else {
            out.push('%');
            break;
        };
        out += match letter {
            '%' => "%",
            'n' => &full,
            'N' => unit,
            'p' => prefix,
            'i' | 'I' if !instance.is_empty() => instance,
            't' => "/run",
            'S' => "/var/lib",
            'C' => "/var/cache",
            'L' => "/var/log",
            'E' => "/etc",
            'T' => "/tmp",
            'V' => "/var/tmp",
            letter => {
                unknown.push(letter);
                out.push('%');
                out.push(letter);
                continue;
            }
        };
    }
    (out, unknown)
}

/// What may stand in front of a program.
const SIGNS: [char; 6] = ['-', '@', ':', '+', '!', '|'];

/// What stands in front of the program of a line.
fn signs(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches(SIGNS).len()]
}

struct Unit<'a> {
    draft: &'a mut Draft,
    realm: usize,
    place: &'a str,
    variables: &'a mut Vec<(String, String)>,
    before: &'a mut Vec<String>,
    after: &'a mut Vec<String>,
    starts: &'a mut Vec<Command>,
    group: &'a mut Option<String>,
    burst: &'a mut Option<u32>,
}

impl Unit<'_> {
    fn set(&mut self, key: &str, value: impl Into<String>) {
        self.draft.set(self.realm, key, value);
    }

    fn of_unit(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "Description" => self.set("title", text(value)),
            "Documentation" => self.set("docs", text(value.split_whitespace().next()?)),
            "Requires" | "Requisite" => self.units("needs", None, value),
            "BindsTo" => self.units("needs", Some("stop"), value),
            "PartOf" => {
                self.units("needs", Some("restart"), value);
                self.draft.approximated(
                    self.place,
                    "it is a need with while_down = \"restart\": it also waits for the other one at its start",
                );
            }
            "Wants" => self.units("wants", None, value),
            "After" => self.units("after", None, value),
            "Before" => self.draft.dropped(self.place, "write `after` in the realm that comes later"),
            "StartLimitBurst" | "StartLimitIntervalSec" | "StartLimitInterval" => {
                self.start_limit(key, value)?
            }
            "OnFailure" => self
                .draft
                .dropped(self.place, "a receiver of incidents is [notify.NAME], for example with `exec`"),
            key if key.starts_with("Condition") || key.starts_with("Assert") => {
                self.draft.dropped(
                    self.place,
                    "heartbeatd skips no start: leave the realm out where it does not hold",
                );
            }
            _ => self.draft.dropped(self.place, "heartbeatd has nothing like it"),
        }
        Some(())
    }

    /// How often it may be restarted; older units say so in `[Service]`.
    fn start_limit(&mut self, key: &str, value: &str) -> Option<()> {
        if ["0", "infinity"].contains(&value) {
            self.draft.dropped(self.place, "restarts have a budget here: raise restart.burst, up to 1000");
            if key != "StartLimitBurst" && value == "0" {
                self.draft.is_said(self.realm, "restart.window");
            }
        } else if key == "StartLimitBurst" {
            *self.burst = Some(value.parse().ok()?);
        } else {
            self.set("restart.window", duration(value)?);
        }
        Some(())
    }

    fn units(&mut self, kind: &'static str, while_down: Option<&'static str>, value: &str) {
        for unit in value.split_whitespace() {
            match unit.strip_suffix(".service") {
                Some(name) if let Some(how) = while_down => {
                    self.draft.tied(self.realm, name, how, self.place)
                }
                Some(name) => self.draft.need(self.realm, kind, name, None, self.place),
                None if unit.contains('.') => {
                    let why = match unit.rsplit('.').next() {
                        Some("socket") => "heartbeatd opens no socket for a program: it has to listen itself",
                        Some("timer") => "heartbeatd starts nothing by the clock: keep the timer",
                        Some("target") => "it is no service: order the unit of heartbeatd itself after it",
                        _ => "heartbeatd has nothing like it: order the unit of heartbeatd itself after it",
                    };
                    self.draft.dropped(self.place, &format!("{unit}: {why}"));
                }
                None => self.draft.need(self.realm, kind, unit, None, self.place),
            }
        }
    }

    /// A command without the signs in front of it.
    fn command(&mut self, line: &str) -> Command {
        let bare = line.trim_start_matches(SIGNS);
        let signs = signs(line);
        for (sign, what) in [
            ('@', "`@`: the program gets its own name as the first argument"),
            ('+', "`+`: it runs as `user`, without more rights"),
            ('!', "`!`: it runs as `user`, without more rights"),
            ('|', "`|`: no login shell runs it"),
        ] {
            if signs.contains(sign) {
                self.draft.approximated(self.place, what);
            }
        }
        // With `@`, the second word is the name that the program is given for itself.
        let line = match bare.split_once(char::is_whitespace) {
            Some((program, rest)) if signs.contains('@') => {
                let rest = rest.trim_start().split_once(char::is_whitespace).map_or("", |(_, rest)| rest);
                format!("{program} {}", rest.trim_start()).trim_end().to_owned()
            }
            _ => bare.trim().to_owned(),
        };
        Command::new(&line, !signs.contains(':'))
    }

    fn of_service(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "ExecStart" => {
                if value.starts_with('-') {
                    self.draft.approximated(self.place, "`-`: here a failure of it counts");
                }
                let command = self.command(value);
                self.starts.push(command);
            }
            "ExecStartPre" | "ExecStartPost" => {
                let ignored = signs(value).contains('-');
                let line = self.command(value).hook(ignored);
                let list = if key == "ExecStartPre" { &mut *self.before } else { &mut *self.after };
                list.push(line);
                self.draft.understood();
            }
            "ExecStop" => {
                let command = self.command(value);
                let line = value.trim_start_matches(SIGNS);
                if let Some(signal) = signal_of(line) {
                    self.set("stop.signal", text(&signal));
                } else if line.contains("$MAINPID") || line.contains("${MAINPID}") {
                    self.draft.dropped(self.place, "stop.command is given no pid: write one that needs none, or let stop.signal end it");
                } else {
                    self.set("stop.command", command.value());
                }
            }
            "ExecCondition" => self.draft.dropped(self.place, "heartbeatd skips no start: put it into start.before, where a failure counts"),
            "ExecStopPost" => self.draft.dropped(self.place, "heartbeatd runs nothing after a stop"),
            "RemainAfterExit" => self.draft.understood(),
            "ExecReload" => self.draft.dropped(self.place, "a program reloads by a signal: heartbeat-cli signal HUP REALM"),
            "Type" => match value {
                "simple" | "exec" | "idle" => self.draft.understood(),
                "oneshot" => self.set("oneshot", "true"),
                // WatchdogSec may stand before it.
                "notify" | "notify-reload" if self.draft.has(self.realm, "health") => self.draft.understood(),
                "notify" | "notify-reload" => self.set("health", "{ notify = true }"),
                "dbus" => self.draft.approximated(self.place, "a name on the bus is no sign of readiness here: add `health`"),
                "forking" => self.draft.approximated(self.place, "a program that makes a daemon of itself needs `pidfile`; better, let it stay in the foreground"),
                _ => return None,
            },
            "PIDFile" => self.set("pidfile", text(value)),
            "WorkingDirectory" if value.starts_with('~') => {
                self.draft.dropped(self.place, "write the directory itself as `dir`: `~` is not expanded");
            }
            "WorkingDirectory" => self.set("dir", text(value.trim_start_matches('-'))),
            "User" => self.set("user", text(value)),
            "SupplementaryGroups" => self.set("groups", list(value.split_whitespace())),
            "Group" => *self.group = Some(value.to_owned()),
            "Environment" => {
                for word in words(value) {
                    let (name, value) = word.split_once('=')?;
                    self.variables.retain(|(known, _)| known != name);
                    self.variables.push((name.to_owned(), literal(value)));
                }
                self.draft.understood();
            }
            "EnvironmentFile" => {
                let optional = value.strip_prefix('-');
                // systemd takes absolute paths only.
                if optional.is_none_or(|file| self.draft.has_optional_file(self.place, file, Path::new("/"))) {
                    self.set("env_file", text(optional.unwrap_or(value)));
                }
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
            "RestartSec" if value.trim_end_matches(|c: char| c.is_ascii_alphabetic()) == "0" => {
                self.draft.approximated(self.place, "the first restart comes at once, and then restart.backoff counts");
            }
            "RestartSec" => self.set("restart.backoff", duration(value)?),
            "RestartMaxDelaySec" => self.set("restart.backoff_max", duration(value)?),
            "StartLimitBurst" | "StartLimitIntervalSec" | "StartLimitInterval" => self.start_limit(key, value)?,
            "SuccessExitStatus" => self.codes("restart.success_codes", value)?,
            "RestartPreventExitStatus" => self.codes("restart.never_codes", value)?,
            "TimeoutStartSec" | "TimeoutStopSec" | "TimeoutSec" if ["infinity", "0"].contains(&value) => {
                self.draft.dropped(self.place, "every wait has an end here: write the longest into start.timeout or stop.timeout");
                for (of_it, known) in [("TimeoutStopSec", "start.timeout"), ("TimeoutStartSec", "stop.timeout")] {
                    if key != of_it {
                        self.draft.is_said(self.realm, known);
                    }
                }
            }
            "TimeoutStartSec" => self.set("start.timeout", duration(value)?),
            "TimeoutStopSec" => self.set("stop.timeout", duration(value)?),
            "TimeoutSec" => {
                self.set("start.timeout", duration(value)?);
                self.draft.add(self.realm, "stop.timeout", duration(value)?);
            }
            "KillSignal" => self.set("stop.signal", text(value.trim_start_matches("SIG"))),
            "KillMode" => match value {
                "control-group" => self.set("stop.signal_to", "\"tree\""),
                "mixed" => self.set("stop.signal_to", "\"main\""),
                _ => {
                    self.draft.is_said(self.realm, "stop.signal_to");
                    self.draft.dropped(self.place, "a stop always ends the whole tree");
                }
            },
            "UMask" => self.set("umask", text(value)),
            "Nice" => self.set("limits.nice", value.parse::<i32>().ok()?.to_string()),
            "OOMScoreAdjust" => self.draft.oom_score(self.realm, value)?,
            "LimitNOFILE" | "LimitNPROC" | "LimitCORE" | "LimitMEMLOCK" | "LimitFSIZE" => {
                let name = key.trim_start_matches("Limit").to_ascii_lowercase();
                self.draft.limit(self.realm, &name, hard(value))?;
            }
            "MemoryMax" | "MemoryLimit" => self.set("limits.memory", if value == "infinity" { text("unlimited") } else { size(value)? }),
            "CPUQuota" => self.set("limits.cpu", text(value)),
            "TasksMax" if value == "infinity" => self.set("limits.tasks", text("unlimited")),
            "TasksMax" => self.set("limits.tasks", value.parse::<u32>().ok().filter(|most| *most > 0)?.to_string()),
            "NoNewPrivileges" => self.set("no_new_privileges", matches!(value, "yes" | "true" | "1" | "on").to_string()),
            "StandardOutput" | "StandardError" if value.starts_with("journal") => self.set("log.to", "\"journal\""),
            "StandardOutput" | "StandardError" if value == "null" => self.set("log.to", "\"none\""),
            "StandardOutput" | "StandardError" | "StandardInput" if value == "inherit" => self.draft.understood(),
            "StandardOutput" | "StandardError" => self.draft.approximated(self.place, "output goes to state_dir/log/REALM.log"),
            "SyslogIdentifier" => self.draft.dropped(self.place, "the identifier is the name of the realm"),
            "WatchdogSec" if ["0", "infinity"].contains(&value) => self.draft.understood(),
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
fn hard(value: &str) -> &str {
    value.rsplit(':').next().unwrap_or(value)
}
