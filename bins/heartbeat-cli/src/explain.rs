//! `explain`: what a key, a code, a status or any other word of the product means, without heartbeatd. The pages of the
//! reference are made from the same lists.

use heartbeat_config::{Code, Meaning, keys, keys_called, meanings};
use heartbeat_status::{
    DegradedReason, Desired, EdgeKind, FailReason, Flag, Gate, Health, IncidentStep, InconclusiveReason,
    NextAction, OwnProblemKind, Phase, ProbeKind, ProbePhase, RealmKind, Reason, RestartCause, RestartResult,
    RestartStep, Role, StartFailure, Status, What, WhileDown, nearest,
};
use heartbeat_wire::Action;

use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;

/// A closed list of words, and what each of them means.
struct List {
    /// What a word of it is: `status`.
    kind: &'static str,
    /// What the list is about, in a sentence.
    about: &'static str,
    words: Vec<(String, String)>,
}

/// The list of a type made by `closed_list!`.
macro_rules! list {
    ($kind:literal, $type:ty, $about:literal) => {
        List {
            kind: $kind,
            about: $about,
            words: <$type>::ALL
                .iter()
                .map(|word| (word.as_str().to_owned(), sentence(word.meaning())))
                .collect(),
        }
    };
}

/// Lines of a comment as one sentence, without the marks of a link.
fn sentence(lines: &[&str]) -> String {
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    text.replace(['[', ']'], "")
}

fn lists() -> Vec<List> {
    let exits = Exit::ALL.iter().map(|exit| (exit.code().to_string(), exit.meaning().to_owned()));
    vec![
        list!("status", Status, "The one word for a realm; what is worse comes first in `status`."),
        list!("reason", Reason, "Why a status is what it is."),
        list!("flag", Flag, "A remark beside the status."),
        list!("next action", NextAction, "What heartbeatd does next by itself."),
        list!("phase", Phase, "Where a realm is in its life."),
        list!("desired state", Desired, "What an operator has asked for."),
        list!("health", Health, "What the probes say."),
        list!("failure of a probe", FailReason, "Why a probe fails."),
        list!("degraded probe", DegradedReason, "Why a probe passes with a remark."),
        list!(
            "inconclusive probe",
            InconclusiveReason,
            "Why a measurement says nothing: the fault is not the target's."
        ),
        list!("stage of a probe", ProbePhase, "How far a measurement came."),
        list!("kind of probe", ProbeKind, "What a probe looks at."),
        list!("role of a probe", Role, "What its failure causes."),
        list!("start failure", StartFailure, "Why a program could not be started."),
        list!("restart cause", RestartCause, "Why a restart began."),
        list!("restart step", RestartStep, "How far a restart came."),
        list!("restart result", RestartResult, "How a restart ended."),
        list!("event", What, "What `events` shows, one word per fact."),
        list!("incident event", IncidentStep, "What a receiver is sent about an incident."),
        list!("problem of heartbeatd", OwnProblemKind, "What can be wrong with heartbeatd itself."),
        list!("kind of realm", RealmKind, "What kind of realm it is."),
        list!("kind of dependency", EdgeKind, "How a realm depends on another one."),
        list!("gate", Gate, "What a start waits for."),
        list!("while_down", WhileDown, "What a running dependent does while its need is down."),
        list!("action", Action, "What an operator can ask of a realm."),
        List {
            kind: "exit code",
            about: "What heartbeat-cli exits with, the same for every command and format. `nagios` alone uses 0 to 3 as plugins do.",
            words: exits.collect(),
        },
        List {
            kind: "word of the output",
            about: "Words of `status`, `why`, `show` and `events` that stand in no list above.",
            words: OF_THE_OUTPUT
                .iter()
                .map(|(word, meaning)| ((*word).to_owned(), (*meaning).to_owned()))
                .collect(),
        },
    ]
}

/// Everything that is called so, each as a text.
fn explanations(word: &str) -> Vec<String> {
    // As a unit of systemd has it: `Restart=`.
    if word.ends_with('=') && !meanings(word).is_empty() {
        return elsewhere(word);
    }
    let mut found: Vec<String> = keys_called(word).map(|key| key.explanation()).collect();
    found.extend(
        Code::parse(word)
            .map(|code| format!("{code}, a diagnostic of the configuration\n\n  {}\n", code.explanation())),
    );
    for list in lists() {
        let of_list = list.words.iter().filter(|(name, _)| name.eq_ignore_ascii_case(word));
        found.extend(
            of_list.map(|(name, meaning)| {
                format!("{name}, {} {}\n\n  {meaning}\n", article(list.kind), list.kind)
            }),
        );
    }
    if found.is_empty() { elsewhere(word) } else { found }
}

/// What a word of another tool is called here.
fn elsewhere(word: &str) -> Vec<String> {
    let shown = heartbeat_status::sanitise_line(word);
    let mut found: Vec<String> = Vec::new();
    for meaning in meanings(word) {
        let text = match meaning {
            Meaning::Key(key) => {
                format!("{shown}, in other tools: here it is {}\n\n{}", key.full_name(), key.explanation())
            }
            Meaning::Advice(sentence) => format!("{shown}, in other tools\n\n  {sentence}.\n"),
        };
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// Every word that can be explained.
pub(crate) fn words() -> Vec<String> {
    let mut words: Vec<String> = keys().flat_map(|key| [key.name.to_owned(), key.full_name()]).collect();
    words.extend(Code::ALL.iter().map(|code| code.as_str().to_owned()));
    words.extend(lists().into_iter().flat_map(|list| list.words.into_iter().map(|(word, _)| word)));
    words.sort_unstable();
    words.dedup();
    words
}

/// `explain WORD..`.
pub(crate) fn run(asked: &[String], console: &mut Console) -> Outcome {
    if asked.is_empty() {
        return overview(console);
    }
    for (at, word) in asked.iter().enumerate() {
        let found = explanations(word);
        if found.is_empty() {
            return Err(unknown(word));
        }
        if matches!(console.form, Format::Json | Format::Ndjson) {
            console.json_line(&serde_json::json!({ "word": word, "explanations": found }))?;
            continue;
        }
        let text = if at > 0 { format!("\n{}", found.join("\n")) } else { found.join("\n") };
        text.trim_end().lines().try_for_each(|line| console.prose(line, hang(line)))?;
    }
    Ok(Exit::Holds)
}

/// Columns by which the later lines of `  default    6` begin behind its first blanks: below what is said of the word.
fn hang(line: &str) -> usize {
    let body = line.trim_start();
    let Some(gap) = body.find("  ").filter(|_| line.starts_with("  ")) else { return 0 };
    body.len() - body[gap..].trim_start().len()
}

/// Words of the output that are no key, no code and in no closed list.
const OF_THE_OUTPUT: &[(&str, &str)] = &[
    ("adopted", "An earlier heartbeatd started the process, and this one goes on watching it."),
    (
        "attempt",
        "A restart because of a fault, counted from the first one: `attempt 2 of 6` is the second of the budget.",
    ),
    (
        "budget",
        "The restarts because of a fault that a realm has within restart.window: restart.burst of them. Restarts that an operator asks for use none of it.",
    ),
    (
        "desired",
        "What an operator has asked for: up or down; kept over restarts of heartbeatd and of the host.",
    ),
    ("generation", "The number of a process of a realm: each start counts one up."),
    (
        "hold",
        "The stop of an operator, which no boot, reload or start of another realm undoes; `start` of the realm itself or --lift-holds ends it.",
    ),
    (
        "incident",
        "An outage that heartbeatd has confirmed: one for each root cause, with an id, what happened when, and what heartbeatd did.",
    ),
    (
        "inconclusive",
        "A measurement that says nothing about its target, since heartbeatd itself or its host was at fault; it moves no counter.",
    ),
    (
        "phase",
        "Of a realm: where its process is, from waiting over starting and running to stopped. Of a probe: the step in which it failed or how long each step took.",
    ),
    (
        "root",
        "The realm whose fault is the cause; realms that need it are blocked by it and have no incident of their own.",
    ),
    (
        "tier",
        "How deep a realm stands in the order of the start: one of tier 1 needs nothing, and every other one stands a tier above what it needs.",
    ),
    (
        "trial",
        "The one start after a cooldown: a realm that is well then gets its budget back, and one that fails waits longer.",
    ),
    (
        "verified",
        "A restart that has helped: the realm passes its probes, and has done so for restart.verify_for.",
    ),
];

fn unknown(word: &str) -> Failure {
    let shown = heartbeat_status::sanitise_line(word);
    let failure = Failure::new(Exit::Usage, format!("nothing is called `{shown}`"));
    let words = words();
    match nearest(word, words.iter().map(String::as_str)) {
        Some(suggestion) => failure.help(format!("did you mean {suggestion}?")),
        None => failure.help("`heartbeat-cli explain` lists what can be explained"),
    }
}

/// What there is to explain, list by list.
fn overview(console: &mut Console) -> Outcome {
    let keys: Vec<String> = keys().map(heartbeat_config::Key::full_name).collect();
    console.prose(&format!("keys of the configuration: {}", keys.join(", ")), 4)?;
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    console.prose(&format!("codes of diagnostics: {}", codes.join(", ")), 4)?;
    for list in lists() {
        let words: Vec<&str> = list.words.iter().map(|(word, _)| word.as_str()).collect();
        console.line("")?;
        console.prose(&format!("{}: {}", list.kind, list.about), 4)?;
        console.prose(&format!("  {}", words.join(", ")), 2)?;
    }
    Ok(Exit::Holds)
}

/// The page of all words, as Markdown.
#[cfg(test)]
fn page() -> String {
    use std::fmt::Write;
    let mut page = String::from(
        "# Words\n\n\
         This page is made from the code. Documents of the API, `heartbeat-cli` and notifications use these words and no others;\n\
         `heartbeat-cli explain WORD` says the same. A client treats a word that it does not know as `unknown`.\n",
    );
    for list in lists() {
        let mut title = list.kind.to_owned();
        title[..1].make_ascii_uppercase();
        let _ = write!(page, "\n## {title}\n\n{}\n\n| word | meaning |\n|---|---|\n", list.about);
        for (word, meaning) in &list.words {
            let _ = writeln!(page, "| `{word}` | {} |", meaning.replace('|', "\\|"));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_words_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/words.md");
        let page = page();
        if std::env::var_os("HEARTBEAT_BLESS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == page,
            "docs/reference/words.md is out of date: HEARTBEAT_BLESS=1 cargo test -p heartbeat-cli explain"
        );
    }

    #[test]
    fn every_word_has_a_meaning() {
        for list in lists() {
            for (word, meaning) in &list.words {
                assert!(
                    meaning.ends_with(['.', ')']) && meaning.len() > 5,
                    "{} {word}: {meaning}",
                    list.kind
                );
            }
        }
        for word in words() {
            assert!(!explanations(&word).is_empty(), "{word}");
        }
    }

    #[test]
    fn a_word_of_another_tool_leads_to_ours() {
        for (word, ours) in [
            ("depends_on", "here it is needs"),
            ("ExecStart=", "here it is run"),
            ("Restart=", "here it is restart.policy"),
            ("autorestart", "here it is restart.policy"),
            ("unless-stopped", "here it is restart.policy"),
            ("RestartSec", "here it is restart.backoff"),
            ("healthcheck", "here it is health"),
            ("livenessProbe", "here it is health"),
            ("minuptime", "here it is restart.reset_after"),
            ("min_uptime", "here it is restart.reset_after"),
            ("startsecs", "here it is start.settle"),
            ("environment", "here it is env"),
            ("numprocs", "declare a realm for each process"),
            ("volumes", "it runs programs, not containers"),
            ("discord", "`exec` runs a program for each step"),
        ] {
            let found = explanations(word).join("\n");
            assert!(found.contains(ours), "{word}: {found}");
        }
        assert!(explanations("no-such-word").is_empty());
        let of_unit = explanations("EnvironmentFile");
        assert!(of_unit.len() == 1 && of_unit[0].contains("a NAME=value per line"), "{of_unit:?}");
    }

    #[test]
    fn what_is_said_of_a_word_stands_in_its_own_column() {
        assert_eq!(
            [hang("  default    6"), hang("  The restart budget."), hang("burst in x"), hang("")],
            [11, 0, 0, 0]
        );
        let (console, out, _) = Console::captured(Format::Table);
        run(&["burst".to_owned()], &mut console.with_screen(40)).unwrap();
        let text = out.text();
        assert!(text.contains("\n  elsewhere  max, retries,") && text.contains("\n             "), "{text}");
    }

    #[test]
    fn a_word_of_several_lists_is_explained_in_each() {
        let found = explanations("restart");
        assert!(found.len() >= 3, "a key, an action and a next action: {found:?}");
        assert!(explanations("hb101")[0].starts_with("HB101, a diagnostic"));
        assert!(explanations("budgetspent").iter().any(|text| text.starts_with("BudgetSpent, a reason")));
        assert!(explanations("7")[0].starts_with("7, an exit code"));
        assert_eq!(unknown("backof").help.as_deref(), Some("did you mean backoff?"));
    }
}
