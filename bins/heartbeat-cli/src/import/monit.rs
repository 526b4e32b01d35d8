//! monitrc: the configuration of monit.

use crate::import::draft::Draft;
use crate::import::monit_test::Connection;
use crate::import::monit_words::{Statement, Word, sentence, starts, statements, value_after, words};
use crate::import::values::{list, needs_a_shell, size, text};

/// monit's own cycle where `set daemon` gives none, in seconds.
const DEFAULT_CYCLE_S: u64 = 30;
/// What monit gives a program that it runs, in seconds.
const DEFAULT_TIMEOUT_S: u64 = 300;

pub(crate) fn translate(draft: &mut Draft, file: &str) -> Result<(), String> {
    let statements = statements(&words(file));
    let cycle_s = statements
        .iter()
        .find(|statement| starts(statement, &["set", "daemon"]))
        .and_then(|statement| statement.get(2)?.text.parse().ok())
        .filter(|seconds| *seconds > 0)
        .unwrap_or(DEFAULT_CYCLE_S);
    let mut check: Option<Check> = None;
    let mut found = false;
    let mut left_out = String::new();
    for statement in &statements {
        if statement[0].is("check") {
            if let Some(done) = check.take() {
                done.finish(draft);
            }
            found = true;
            check = Check::begin(draft, statement, cycle_s);
            left_out = sentence(&statement[..statement.len().min(3)]);
        } else if ["set", "include"].iter().any(|word| statement[0].is(word)) {
            own(draft, statement);
        } else if let Some(check) = &mut check {
            check.take(draft, statement);
        } else {
            draft.dropped(&sentence(statement), &format!("it belongs to `{left_out}`, which is left out"));
        }
    }
    if let Some(done) = check {
        done.finish(draft);
    }
    if found { Ok(()) } else { Err("it has no `check`".to_owned()) }
}

/// A statement about monit itself.
fn own(draft: &mut Draft, statement: &Statement) {
    let place = sentence(&statement[..statement.len().min(2)]);
    let what = statement.get(1).map(|word| word.text.to_ascii_lowercase()).unwrap_or_default();
    match what.as_str() {
        _ if statement[0].is("include") => {
            draft.dropped(&sentence(statement), "import those files as well: heartbeat-cli import FILE..");
        }
        "daemon" => draft.understood(),
        "alert" | "mailserver" | "mail-format" | "eventqueue" => {
            draft.dropped(&place, "receivers of incidents are [notify.NAME]; `smtp` sends mail");
        }
        "httpd" => draft.dropped(&place, "heartbeatd serves its status at `listen`, read-only"),
        _ => draft.dropped(&place, "it is about monit itself"),
    }
}

/// One `check`, and what is said of it.
struct Check {
    realm: usize,
    name: String,
    cycle_s: u64,
    /// How monit finds a process that it did not start.
    found_by: Option<Vec<String>>,
    start: Option<Vec<String>>,
    stop: Option<Vec<String>>,
    restart: Option<Vec<String>>,
    /// Where the most memory stands, and how much it is.
    memory: Option<(String, String)>,
    /// How often it may be restarted.
    budget: Option<(String, u32)>,
    address: String,
    probes: Vec<Connection>,
    /// The check is a program whose exit code counts, within some seconds.
    program: Option<(Vec<String>, u64)>,
}

impl Check {
    fn begin(draft: &mut Draft, statement: &Statement, cycle_s: u64) -> Option<Self> {
        let kind = statement.get(1).map(|word| word.text.to_ascii_lowercase()).unwrap_or_default();
        let name = statement.get(2).map(|word| word.text.clone()).unwrap_or_default();
        let after = |word: &str| value_after(statement, word);
        let why = match kind.as_str() {
            "process" | "host" | "program" if !name.is_empty() => None,
            "file" | "fifo" => {
                Some("write a `file` probe into a realm: health = { file = \"PATH\", max_age = \"1h\" }")
            }
            "filesystem" | "directory" => Some(
                "write a `resource` probe into a realm: health = { resource = true, path = \"/\", min_disk_free = \"10%\" }",
            ),
            _ => Some("heartbeatd watches services, and not the machine"),
        };
        if let Some(why) = why {
            draft.dropped(&sentence(statement), why);
            return None;
        }
        let realm = draft.realm(&name);
        draft.understood();
        let mut check = Self {
            realm,
            name,
            cycle_s,
            found_by: None,
            start: None,
            stop: None,
            restart: None,
            memory: None,
            budget: None,
            address: "127.0.0.1".to_owned(),
            probes: Vec::new(),
            program: None,
        };
        match kind.as_str() {
            "process" => {
                if let Some(file) = after("pidfile") {
                    draft.understood();
                    let script = format!("kill -0 \"$(cat {file})\"");
                    check.found_by = Some(vec!["sh".to_owned(), "-c".to_owned(), script]);
                    draft.add(realm, "pidfile", text(&file));
                } else if let Some(pattern) = after("matching") {
                    draft.understood();
                    check.found_by = Some(vec!["pgrep".to_owned(), "-f".to_owned(), pattern]);
                }
            }
            "host" => {
                if let Some(address) = after("address") {
                    draft.understood();
                    check.address = address;
                }
            }
            _ => {
                let timeout_s =
                    after("timeout").and_then(|word| word.parse().ok()).unwrap_or(DEFAULT_TIMEOUT_S);
                check.program = after("path").map(|path| (split(&path), timeout_s));
            }
        }
        Some(check)
    }

    fn place(&self, statement: &[Word]) -> String {
        format!("{}: {}", self.name, sentence(statement))
    }

    fn take(&mut self, draft: &mut Draft, statement: &Statement) {
        let place = self.place(statement);
        let word = statement[0].text.to_ascii_lowercase();
        match word.as_str() {
            "start" | "stop" | "restart" => self.command(draft, &place, &word, statement),
            "if" => self.test(draft, &place, statement),
            "depends" => {
                for name in statement[1..].iter().filter(|word| !word.is("on")) {
                    draft.need(self.realm, "needs", &name.text, None, &place);
                }
            }
            "group" => match statement.get(1) {
                Some(group) if !draft.has(self.realm, "group") => {
                    draft.set(self.realm, "group", text(&group.text))
                }
                _ => draft.approximated(&place, "a realm has one group: write the others into `labels`"),
            },
            "every" => self.every(draft, &place, statement),
            "mode" if statement.get(1).is_some_and(|word| word.is("active")) => draft.understood(),
            "mode" if statement.get(1).is_some_and(|word| word.is("manual")) => {
                draft.set(self.realm, "manual", "true");
            }
            "mode" => draft
                .dropped(&place, "write restart.policy = \"never\" for a service that is only to be watched"),
            "onreboot" if statement.get(1).is_some_and(|word| word.is("nostart")) => {
                draft.set(self.realm, "manual", "true");
            }
            "onreboot" => draft.understood(),
            _ => draft.dropped(&place, "receivers of incidents are [notify.NAME]; `smtp` sends mail"),
        }
    }

    fn command(&mut self, draft: &mut Draft, place: &str, word: &str, statement: &Statement) {
        let Some(line) = statement.iter().find(|word| word.quoted) else {
            draft.dropped(place, "its value is not understood");
            return;
        };
        draft.understood();
        let command = split(&line.text);
        match word {
            "start" => {
                if let Some(user) = value_after(statement, "uid") {
                    draft.set(self.realm, "user", text(&user));
                }
                if let Some(group) = value_after(statement, "gid") {
                    draft.group_of_user(self.realm, place, &group);
                }
                if let Some(seconds) =
                    value_after(statement, "timeout").and_then(|word| word.parse::<u64>().ok())
                {
                    draft.set(self.realm, "start.timeout", text(&format!("{seconds}s")));
                }
                self.start = Some(command);
            }
            "stop" => self.stop = Some(command),
            _ => self.restart = Some(command),
        }
    }

    fn test(&mut self, draft: &mut Draft, place: &str, statement: &Statement) {
        let has = |word: &str| statement.iter().any(|there| there.is(word));
        let number = |at: usize| statement.get(at).and_then(|word| word.text.parse::<u64>().ok());
        if has("failed") && !has("ping") && !has("ping4") && !has("ping6") {
            match Connection::read(statement, &self.address, self.cycle_s) {
                Ok((connection, remarks)) => {
                    draft.understood();
                    for remark in remarks {
                        draft.approximated(place, &remark);
                    }
                    self.probes.push(connection);
                }
                Err(why) => draft.dropped(place, &why),
            }
        } else if has("exist") || has("exists") {
            // heartbeatd restarts what has ended in any case.
            draft.understood();
        } else if has("restarts") || has("restart") && has("within") && number(1).is_some() {
            let (Some(count), Some(cycles)) =
                (number(1), value_after(statement, "within").and_then(|n| n.parse::<u64>().ok()))
            else {
                draft.dropped(place, "its value is not understood");
                return;
            };
            let window = text(&format!("{}s", cycles.max(1).saturating_mul(self.cycle_s)));
            draft.add(self.realm, "restart.window", window);
            self.budget = Some((place.to_owned(), u32::try_from(count).unwrap_or(u32::MAX).max(1)));
        } else if (has("totalmem") || has("memory") || has("mem")) && has("restart") {
            let limit = statement.windows(2).find_map(|pair| {
                pair[0].text.parse::<f64>().ok()?;
                size(&format!("{}{}", pair[0].text, pair[1].text))
            });
            match limit {
                Some(limit) => self.memory = Some((place.to_owned(), limit)),
                None => draft.dropped(place, "heartbeatd limits memory in bytes: limits.memory = \"512MiB\""),
            }
        } else if has("status") && self.program.is_some() {
            draft.understood();
        } else if has("pid") || has("ppid") {
            draft.dropped(place, "`heartbeat-cli events` tells each start");
        } else {
            draft.dropped(place, "heartbeatd has nothing like it");
        }
    }

    fn every(&mut self, draft: &mut Draft, place: &str, statement: &Statement) {
        match statement.get(1).and_then(|word| word.text.parse::<u64>().ok()) {
            Some(cycles) if cycles > 0 => {
                self.cycle_s = self.cycle_s.saturating_mul(cycles);
                draft.understood();
            }
            _ => draft.dropped(place, "heartbeatd probes at an interval, and not by the clock"),
        }
    }

    /// Writes what became known only at the end: whether it is started here, and its probes.
    fn finish(mut self, draft: &mut Draft) {
        if let Some((program, timeout_s)) = self.program.take() {
            self.bounds(draft, false);
            let (interval, timeout) = (self.cycle_s, timeout_s.min(self.cycle_s));
            let words = list(program.iter().map(String::as_str));
            let probe = format!(
                "{{ exec = {words}, interval = \"{interval}s\", timeout = \"{timeout}s\", fail_after = 1 }}"
            );
            draft.set(self.realm, "health", probe);
            return;
        }
        let elsewhere = self.start.as_deref().is_some_and(is_started_elsewhere);
        if let Some(start) = self.start.take() {
            if elsewhere {
                self.watched(draft, &start);
            } else {
                self.started(draft, &start);
            }
        }
        let runs = draft.has(self.realm, "run");
        self.bounds(draft, runs);
        if !runs {
            draft.remove(self.realm, "pidfile");
        }
        if !runs && let Some(found_by) = &self.found_by {
            let words = list(found_by.iter().map(String::as_str));
            let interval = self.cycle_s;
            self.probes.insert(
                0,
                Connection::other(format!("exec = {words}, name = \"process\", interval = \"{interval}s\"")),
            );
        }
        if self.probes.is_empty() && !runs {
            draft
                .approximated(&self.name, "nothing says how to watch it: write health = \"tcp://HOST:PORT\"");
            draft.add(self.realm, "enabled", "false");
            draft.add(self.realm, "health", "\"tcp://127.0.0.1:1\"");
        } else if !self.probes.is_empty() {
            draft.add(self.realm, "health", Connection::all(&self.probes, self.cycle_s));
        }
    }

    /// What it may use, and how often it is restarted.
    fn bounds(&mut self, draft: &mut Draft, runs: bool) {
        if let Some((place, limit)) = self.memory.take() {
            if runs {
                draft.set(self.realm, "limits.memory", limit);
                draft.approximated(&place, "the limit holds at once, and not after some cycles");
            } else {
                draft.dropped(&place, "heartbeatd limits the memory of what it starts: it takes `run`");
            }
        }
        if let Some((place, most)) = self.budget.take() {
            if runs || draft.has(self.realm, "restart.command") {
                _ = draft.budget(self.realm, &place, most, "monit then watches it no more");
            } else {
                draft.remove(self.realm, "restart.window");
                draft.dropped(&place, "heartbeatd does not restart it");
            }
        }
    }

    /// Another supervisor starts it, so heartbeatd watches it, and restarts it by that one's command.
    fn watched(&mut self, draft: &mut Draft, start: &[String]) {
        for key in ["user", "groups", "start.timeout"] {
            draft.remove(self.realm, key);
        }
        let restart = self.restart.take().unwrap_or_else(|| {
            start
                .iter()
                .map(|word| if word == "start" { "restart".to_owned() } else { word.clone() })
                .collect()
        });
        draft.add(self.realm, "restart.command", list(restart.iter().map(String::as_str)));
        draft.approximated(
            &self.name,
            &format!(
                "`{}` starts it outside of heartbeatd: it is watched, and restarted by that command; with `run` heartbeatd starts it itself",
                start.join(" ")
            ),
        );
    }

    fn started(&mut self, draft: &mut Draft, start: &[String]) {
        draft.add(self.realm, "run", list(start.iter().map(String::as_str)));
        if let Some(stop) = self.stop.take() {
            draft.add(self.realm, "stop.command", list(stop.iter().map(String::as_str)));
        }
        if self.restart.is_some() {
            draft.approximated(
                &self.name,
                "heartbeatd stops and starts it; write restart.command for a restart in place",
            );
        }
        if self.found_by.is_some() {
            draft.approximated(
                &self.name,
                "its start command should stay in the foreground: then leave out `pidfile` and stop.command",
            );
        }
        if start.iter().any(|word| needs_a_shell(word)) {
            draft.approximated(
                &self.name,
                "it has characters that are for a shell: write shell = true if they are meant so",
            );
        }
    }
}

/// The command asks another supervisor, whose process tree is its own.
fn is_started_elsewhere(command: &[String]) -> bool {
    command.first().is_some_and(|program| {
        program.contains("/init.d/")
            || program.contains("/rc.d/")
            || ["systemctl", "service", "initctl", "rc-service", "docker", "supervisorctl"]
                .contains(&program.rsplit('/').next().unwrap_or_default())
    })
}

fn split(line: &str) -> Vec<String> {
    crate::import::ini::words(line)
}
