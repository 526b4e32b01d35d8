//! Every help that shows TOML is followed: the file that results has no error in that place, and what the person had
//! written is still there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::keys::{self, Table};
use crate::words;
use crate::{Code, Diagnostic, Severity, load_str};

/// A realm beside the one with the mistake, whose port is the one of our examples.
const OTHER: &str = "[realm.db]\nrun = \"true\"\nport = 8001\n";

/// What stands around a wrong line (`#LINE`), for each table.
const FILES: &[(Table, &str)] = &[
    (Table::Realm, "[realm.api]\nrun = \"true\"\n#LINE\n"),
    (Table::Realm, "[realm.api]\nrun = \"true\"\nport = 9000\n#LINE\n"),
    (Table::Realm, "[realm.api]\nrun = \"true\"\nhealth = \"http://127.0.0.1:9000/x\"\n#LINE\n"),
    (Table::Realm, "[realm.api]\nrun = \"true\"\nhealth = { tcp = \"127.0.0.1:9000\" }\n#LINE\n"),
    (
        Table::Realm,
        "[realm.api]\nrun = \"true\"\nstart = { timeout = \"9m\" }\nstop = { command = \"true\" }\nrestart = { jitter = \"20%\" }\n\
         limits = { nice = 1 }\nlog = { keep = 1 }\n#LINE\n",
    ),
    (Table::Start, "[realm.api]\nrun = \"true\"\n[realm.api.start]\n#LINE\n"),
    (
        Table::Start,
        "[realm.api]\nrun = \"true\"\nmanual = true\nrestart = { burst = 3 }\n[realm.api.start]\n#LINE\n",
    ),
    (Table::Stop, "[realm.api]\nrun = \"true\"\n[realm.api.stop]\n#LINE\n"),
    (Table::Restart, "[realm.api]\nrun = \"true\"\n[realm.api.restart]\n#LINE\n"),
    (Table::Limits, "[realm.api]\nrun = \"true\"\n[realm.api.limits]\n#LINE\n"),
    (Table::Log, "[realm.api]\nrun = \"true\"\n[realm.api.log]\n#LINE\n"),
    (
        Table::Health,
        "[realm.api]\nrun = \"true\"\n[realm.api.health]\nhttp = \"http://127.0.0.1:9000/x\"\n#LINE\n",
    ),
    (Table::Slo, "[realm.api]\nrun = \"true\"\n[realm.api.slo]\navailability = \"99%\"\n#LINE\n"),
    (Table::Health, "[realm.api]\nrun = \"true\"\n[realm.api.health]\n#LINE\n"),
    (Table::Need, "[realm.api]\nrun = \"true\"\nneeds = [{ realm = \"db\", #LINE }]\n"),
    (Table::Heartbeat, "[heartbeat]\n#LINE\n[realm.api]\nrun = \"true\"\n"),
    (Table::Fuse, "[realm.api]\nrun = \"true\"\n[heartbeat]\n[heartbeat.fuse]\n#LINE\n"),
    (
        Table::Notify,
        "[realm.api]\nrun = \"true\"\n[notify.ops]\nwebhook = \"http://127.0.0.1:3000/\"\n#LINE\n",
    ),
    (
        Table::Maintenance,
        "[realm.api]\nrun = \"true\"\n[maintenance.night]\nrealms = [\"api\"]\nstart = \"@daily\"\nfor = \"1h\"\nreason = \"x\"\n#LINE\n",
    ),
];

/// What people write as values.
const VALUES: &[&str] = &[
    "true",
    "7",
    "1.5",
    "99999",
    "\"word\"",
    "\"/path\"",
    "\"127.0.0.1:9000\"",
    "\"http://127.0.0.1:9000/x\"",
    "\"true && true\"",
    "\"7s\"",
    "\"7 minutes\"",
    "\"512mb\"",
    "[\"true\"]",
    "[\"A=b\"]",
    "[\"8000:80\"]",
    "[\"CMD\", \"true\"]",
    "{ test = [\"CMD\", \"true\"], timeout = \"30s\" }",
    "{ httpGet = { path = \"/healthz\", port = 9000 }, periodSeconds = 7 }",
];

/// What people write for keys of other tables.
const ELSEWHERE: [&str; 4] = ["true", "7", "\"7s\"", "[\"true\"]"];

/// A machine may lack what a value names, a name may be of no realm, and a key may not go with another one that is there:
/// that is another mistake.
fn is_of_the_value(problem: &Diagnostic) -> bool {
    const CODES: [Code; 7] = [
        Code::NoSuchUser,
        Code::BadEnvFile,
        Code::UnknownRealm,
        Code::BadCompanion,
        Code::BadBounds,
        Code::BadTiming,
        Code::OutOfRange,
    ];
    const WORDS: [&str; 4] = ["No such file", "for a oneshot", "there is no receiver", "is for https://"];
    CODES.contains(&problem.code) || WORDS.iter().any(|word| problem.message.contains(word))
}

fn errors(text: &str) -> Vec<Diagnostic> {
    let report = load_str("heartbeat.toml", text, &BTreeMap::new()).err();
    let errors = report.iter().flatten().filter(|problem| problem.severity == Severity::Error);
    errors.cloned().collect()
}

/// Something to type.
#[derive(Debug)]
struct Advice<'h> {
    /// `key = value`, or a value alone.
    toml: &'h str,
    key: Option<&'h str>,
    /// What stands behind it in the sentence.
    behind: &'h str,
    is_example: bool,
}

/// The end of the longest value that begins here.
fn value_end(text: &str) -> Option<usize> {
    let is_value = |end: &usize| {
        text.is_char_boundary(*end)
            && !text[..*end].ends_with(char::is_whitespace)
            && format!("x = {}", &text[..*end]).parse::<toml::Table>().is_ok()
    };
    (1..=text.len()).rev().find(is_value)
}

/// Everything in a help that can be typed.
fn advice(help: &str) -> Vec<Advice<'_>> {
    let mut found: Vec<Advice<'_>> = Vec::new();
    let mut from = 0;
    while let Some(at) = help[from..].find(['=', '"', '{']).map(|at| from + at) {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let (begin, key, value) = if help[at..].starts_with("= ") && help[..at].ends_with(' ') {
            let key = help[..at].trim_end().rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
            (at - 1 - key.len(), Some(key), at + 2)
        } else {
            (at, None, at)
        };
        let Some(length) = value_end(&help[value..]) else {
            from = at + 1;
            continue;
        };
        let end = value + length;
        let before = &help[..begin];
        if before.ends_with("write ")
            || before.ends_with("example ")
            || before.ends_with("add ")
            || key.is_some()
        {
            let is_example = before.contains("example");
            found.push(Advice { toml: &help[begin..end], key, behind: &help[end..], is_example });
        }
        from = end;
    }
    found
}

/// The file once the advice is followed for the line `wrong`.
fn followed(text: &str, wrong: &str, problem: &Diagnostic, advice: &Advice<'_>) -> String {
    let own = wrong.split(" = ").next().unwrap_or_default();
    let heading = advice.behind.strip_prefix(" in [").and_then(|rest| rest.split(']').next());
    let below = |text: String, heading: &str| {
        text.replacen(&format!("[{heading}]\n"), &format!("[{heading}]\n{}\n", advice.toml), 1)
    };
    // A key within the value.
    let named = problem.message.split('`').nth(1).unwrap_or_default();
    let inner = [", ", "{ "].iter().find_map(|before| wrong.find(&format!("{before}{named} = ")));
    if let (Some(at), Some(key)) = (inner, advice.key)
        && key != own
        && (named != own || problem.column > 1)
    {
        let (begin, value) = (at + 2, at + 2 + named.len() + 3);
        let end = value + value_end(&wrong[value..]).unwrap_or_default();
        let with =
            |toml: &str| text.replacen(wrong, &format!("{}{toml}{}", &wrong[..begin], &wrong[end..]), 1);
        return match heading {
            Some(heading) => below(with("x-it = 0"), heading),
            None => with(advice.toml),
        };
    }
    let Some(key) = advice.key else {
        return text.replacen(wrong, &format!("{own} = {}", advice.toml), 1);
    };
    let without = || text.replacen(wrong, "", 1);
    if let Some(table) = advice.behind.strip_prefix(" to `").and_then(|rest| rest.split('`').next()) {
        let text = without();
        let inline = format!("{table} = {{ ");
        return match text.find(&inline) {
            Some(_) => text.replacen(&inline, &format!("{inline}{}, ", advice.toml), 1),
            None => text.replacen(&format!("{table}]\n"), &format!("{table}]\n{}\n", advice.toml), 1),
        };
    }
    if let Some(heading) = heading {
        return below(without(), heading);
    }
    // A key that is there already is written anew.
    let line = format!("{key} = ");
    let lines = text.lines().filter(|other| *other == wrong || !other.starts_with(&line));
    lines.fold(String::new(), |text, line| text + line + "\n").replacen(wrong, advice.toml, 1)
}

/// A piece of what was written is in the help: a number or a word.
fn keeps(written: &str, advised: &str) -> bool {
    let mut pieces = written.split(|c: char| !c.is_ascii_alphanumeric()).filter(|piece| !piece.is_empty());
    written == "true"
        || written == "1.5"
        || pieces.any(|piece| {
            let number: String = piece.chars().take_while(char::is_ascii_digit).collect();
            advised.contains(piece) || (!number.is_empty() && advised.contains(&number))
        })
}

/// Every word that a person may write into the table: its own keys, and what other tools call them.
fn words(table: Table) -> impl Iterator<Item = &'static str> {
    let own = keys::of(table).flat_map(|key| key.also.iter().copied().chain([key.name]));
    own.chain(words::words(table))
}

#[test]
fn a_file_that_follows_a_help_has_one_mistake_less() {
    const LEAST: usize = 5_000;
    let (mut wrong, mut tried) = (BTreeMap::<String, String>::new(), 0);
    for (table, file) in FILES {
        let foreign = keys::keys().filter(|key| key.table != *table).map(|key| (key.name, &ELSEWHERE[..]));
        let own = words(*table).map(|word| (word, VALUES));
        let tried_here: BTreeMap<&str, &[&str]> = foreign.chain(own).collect();
        for (word, values) in tried_here {
            for value in values {
                let line = format!("{word} = {value}");
                if file.contains(&format!("\n{word} = ")) {
                    continue;
                }
                let text = format!("{OTHER}{}", file.replace("#LINE", &line));
                let at = text.lines().position(|other| other.contains(&line)).map_or(0, |at| at + 1);
                let before = errors(&text);
                for problem in before.iter().filter(|problem| problem.line == at) {
                    let help = problem.help.as_deref().unwrap_or_default();
                    for advice in advice(help) {
                        tried += 1;
                        let new = followed(&text, &line, problem, &advice);
                        let left = errors(&new);
                        // What is wrong elsewhere is not the subject of this help.
                        let is_other = |left: &&Diagnostic| {
                            before.iter().any(|old| old != problem && old.message == left.message)
                        };
                        let left: Vec<_> =
                            left.iter().filter(|left| !is_of_the_value(left) && !is_other(left)).collect();
                        let lost = !advice.is_example && !keeps(value, help);
                        if new == text || !left.is_empty() || lost {
                            let mut said = format!("{text}--- {help}\n--- {new}lost: {lost}\n");
                            for left in left {
                                let _ = writeln!(said, "{left}");
                            }
                            wrong.entry(format!("{table:?} {word}")).or_insert(said);
                        }
                    }
                }
            }
        }
    }
    assert!(tried >= LEAST, "{tried}");
    let shown: Vec<&str> = wrong.values().map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} of {tried}\n{}", wrong.len(), shown.join("\n"));
}
