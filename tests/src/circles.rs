//! Imports between the files of a crate go one way.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{File, product};

/// The states of the state machine lead to each other, as their diagram does.
const STATES: &str = "crates/heartbeat-supervisor/src/state/";

/// Files that import each other, directly or through others.
#[must_use]
pub fn circle_violations(files: &[File]) -> Vec<String> {
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for (file, _, line) in product(files) {
        if !file.path.starts_with(STATES) {
            let text = texts.entry(&file.path).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    let mut crates: BTreeMap<&str, Modules<'_>> = BTreeMap::new();
    for (path, text) in &texts {
        let Some((root, module)) = path.split_once("/src/") else { continue };
        let module = module.trim_end_matches(".rs").trim_end_matches("/mod");
        let module = if matches!(module, "lib" | "main") { "" } else { module };
        crates.entry(root).or_default().insert(module.replace('/', "::"), (path, text));
    }
    crates.values().flat_map(circles).collect()
}

/// The files of a crate: module to path and text.
type Modules<'a> = BTreeMap<String, (&'a str, &'a str)>;

fn circles(modules: &Modules<'_>) -> Vec<String> {
    let arrows: BTreeMap<&str, BTreeSet<&str>> = modules
        .iter()
        .map(|(module, (_, text))| {
            let named = paths(text, module);
            let mut targets: BTreeSet<&str> = named.iter().filter_map(|path| target(path, modules)).collect();
            targets.remove(module.as_str());
            (module.as_str(), targets)
        })
        .collect();
    let reached = |from: &str| {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = arrows[from].iter().copied().collect();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(&arrows[next]);
            }
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|module| (*module, reached(module))).collect();
    let back = |from: &str, to: &str| all[to].contains(from);
    let mut broken = Vec::new();
    for (from, targets) in &arrows {
        for to in targets.iter().filter(|to| back(from, to)) {
            broken.push(format!("{} imports {}, which leads back", modules[*from].0, modules[*to].0));
        }
    }
    broken
}

/// The module that a path leads to: the longest one that begins it. The root of a crate names modules and is none of
/// them: what it only exports again belongs to another file.
fn target<'a>(path: &[String], modules: &'a Modules<'_>) -> Option<&'a str> {
    let longest = (1..=path.len()).rev().find_map(|count| modules.get_key_value(&path[..count].join("::")));
    match longest {
        Some((module, _)) => Some(module),
        None => exported(path.first()?, modules),
    }
}

/// The module whose item the root exports under `name`.
fn exported<'a>(name: &str, modules: &'a Modules<'_>) -> Option<&'a str> {
    let (_, root) = modules.get("")?;
    let uses = root.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let mut found = uses.filter(|text| text.split(|c: char| !is_part(c)).any(|word| word == name));
    let path = tree(found.next()?).into_iter().find(|path| path.last().is_some_and(|last| last == name))?;
    modules.get_key_value(path[..path.len() - 1].join("::").as_str()).map(|(module, _)| module.as_str())
}

/// Structs of the crates that other projects embed whose fields are public and cannot become more: a new one would break each
/// project that builds such a struct or takes it apart.
#[must_use]
pub fn closed_structs(files: &[File]) -> Vec<String> {
    const EMBEDDED: [&str; 3] = ["heartbeat-probe", "heartbeat-http", "heartbeat-client"];
    let mut closed = Vec::new();
    for file in files {
        if !EMBEDDED.iter().any(|name| file.path.starts_with(&format!("crates/{name}/src/"))) {
            continue;
        }
        let lines: Vec<&str> = file.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if !(line.starts_with("pub struct ") && line.ends_with('{')) {
                continue;
            }
            let mut above = lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/']));
            let mut fields = lines[at + 1..].iter().take_while(|line| **line != "}");
            if fields.any(|line| line.starts_with("    pub "))
                && !above.any(|line| *line == "#[non_exhaustive]")
            {
                closed.push(format!("{}:{}: {line}", file.path, at + 1));
            }
        }
    }
    closed
}

/// Items that a crate exports and that no file outside its source names. A type is exported all the same when another
/// public item has it, which the name of an alias never needs.
#[must_use]
pub fn lonely_exports(files: &[File]) -> Vec<String> {
    let mut lonely: BTreeSet<(String, String)> = BTreeSet::new();
    for file in files {
        let root = file.path.strip_suffix("lib.rs").filter(|root| root.starts_with("crates/"));
        let uses = file.text.split("\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
        for name in uses.flat_map(tree).filter_map(|path| path.last().cloned()) {
            lonely.extend(root.map(|root| (name, root.to_owned())));
        }
    }
    let names: BTreeSet<String> = lonely.iter().map(|(name, _)| name.clone()).collect();
    for file in files {
        let code = file.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for word in code.flat_map(words).filter(|word| names.contains(*word)) {
            lonely.retain(|(name, root)| name != word || file.path.starts_with(root));
        }
    }
    let is_had = |(name, root): &(String, String)| {
        let is_type = name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase);
        let of_crate =
            || files.iter().filter(|file| file.path.starts_with(root)).map(|file| file.text.as_str());
        let is_alias = of_crate().any(|text| text.contains(&format!("pub type {name} =")));
        is_type && !is_alias && of_crate().any(|text| has(text, name))
    };
    lonely.retain(|export| !is_had(export));
    lonely
        .into_iter()
        .map(|(name, root)| format!("{root}lib.rs exports {name}, which nothing else uses"))
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !is_part(c))
}

/// Whether a public item of the file, other than the type itself, names the type: in a signature, a field, a variant, a
/// method of a trait or an associated type.
fn has(text: &str, name: &str) -> bool {
    let mut end = None;
    text.lines().any(|line| {
        let bare = line.trim_start();
        let column = line.len() - bare.len();
        // The result of a function stands behind the parenthesis that ends its arguments.
        let closes = end.is_some_and(|end| column <= end && !bare.is_empty());
        if closes {
            end = None;
        }
        let exports = bare.starts_with("pub use ") || bare.starts_with("pub mod ");
        let begins = (bare.starts_with("pub ") && !exports) || bare.starts_with("type ");
        if begins && end.is_none() && !bare.starts_with("pub struct") && bare.ends_with(['{', '(']) {
            // What a function does is no part of its signature.
            end = Some(column).filter(|_| bare.ends_with('(') || !bare.contains("fn "));
        }
        let is_own = ["struct", "enum", "trait", "type"].iter().any(|kind| {
            bare.split_once(kind).is_some_and(|(_, rest)| words(rest.trim_start()).next() == Some(name))
        });
        // A macro makes a public enum of such lines.
        let is_variant = bare.ends_with(&format!("({name});"));
        (begins || end.is_some() || is_variant || (closes && bare.starts_with(')')))
            && !bare.starts_with("//")
            && !is_own
            && words(bare).any(|word| word == name)
    })
}

/// Paths from the root of the crate that `text`, the file of `module`, names.
fn paths(text: &str, module: &str) -> Vec<Vec<String>> {
    let own: Vec<String> =
        module.split("::").filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect();
    let mut found = Vec::new();
    for (keyword, levels) in [("crate::", own.len()), ("super::", 1)] {
        for (at, _) in text.match_indices(keyword) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| is_part(c) || c == ':') || levels > own.len() {
                continue;
            }
            let base = &own[..own.len() - levels];
            let named = tree(&text[at + keyword.len()..]);
            found.extend(named.into_iter().map(|path| base.iter().cloned().chain(path).collect()));
        }
    }
    found
}

/// The paths of a tree like `a::{b, c::D}`, as far as `text` begins with one.
fn tree(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        return branches(group).into_iter().flat_map(tree).collect();
    }
    let word: String = text.chars().take_while(|c| is_part(*c)).collect();
    let rest = &text[word.len()..];
    let mut paths = match rest.strip_prefix("::") {
        Some(rest) => tree(rest),
        None => vec![Vec::new()],
    };
    if !word.is_empty() {
        paths.iter_mut().for_each(|path| path.insert(0, word.clone()));
    }
    paths
}

/// What stands between the commas of a group, up to its end.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&group[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.into_iter().filter(|branch| !branch.trim().is_empty()).collect()
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
