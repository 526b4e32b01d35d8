//! The documentation: its configurations load, its links lead somewhere, and its lists are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use heartbeat_config::load_str;
use heartbeat_status::{Flag, NextAction, OwnProblemKind, Reason, Status};
use heartbeat_tests::{File, other_texts, sources, workspace_root};

/// Fewest configurations that a search which works finds.
const FEWEST_CONFIGURATIONS: usize = 10;
/// Fewest links that a search which works finds.
const FEWEST_LINKS: usize = 50;

fn pages() -> impl Iterator<Item = File> {
    other_texts().into_iter().filter(|file| file.path.ends_with(".md"))
}

/// The fenced blocks of a language, by their first line.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<(usize, &'t str)> {
    let fence = format!("```{language}\n");
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(&fence) {
        let begin = from + at + fence.len();
        let end = begin + text[begin..].find("```").unwrap_or(text.len() - begin);
        found.push((text[..begin].lines().count() + 1, &text[begin..end]));
        from = end;
    }
    found
}

#[test]
fn every_configuration_in_the_documentation_loads() {
    let mut seen = 0;
    for page in pages() {
        for (line, block) in blocks(&page.text, "toml") {
            let ours = ["[heartbeat", "[realm", "[notify", "[defaults"];
            if !ours.iter().any(|table| block.starts_with(table)) {
                continue;
            }
            if let Err(report) = load_str("heartbeat.toml", block, &BTreeMap::new()) {
                panic!("{}:{line}:\n{report}", page.path);
            }
            seen += 1;
        }
    }
    assert!(seen >= FEWEST_CONFIGURATIONS, "only {seen} configurations found");
}

/// Headings as GitHub and mdBook make anchors of them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let kept = line.trim_start_matches('#').trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// Targets of Markdown links outside of code.
fn links(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let prose = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && !line.starts_with("    ")
    });
    prose
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let root = workspace_root();
    let mut seen = 0;
    for page in pages() {
        let folder = root.join(&page.path).parent().map(PathBuf::from).unwrap();
        for link in links(&page.text) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root.join(&page.path) } else { folder.join(path) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.path);
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                assert!(anchors(&text).contains(anchor), "{}: no heading for {link}", page.path);
            }
            seen += 1;
        }
    }
    assert!(seen >= FEWEST_LINKS, "only {seen} links found");
}

/// Where a page of the book links to files that are not in the book.
const REPOSITORY: &str = "https://github.com/heart-beat/heart-beat/";

#[test]
fn the_book_links_to_its_own_pages_or_to_the_repository() {
    let root = workspace_root();
    for page in pages().filter(|page| page.path.starts_with("docs/")) {
        let depth = page.path.matches('/').count() - 1;
        for link in links(&page.text) {
            if let Some(rest) = link.strip_prefix(REPOSITORY) {
                let path = ["blob/main/", "tree/main/"].iter().find_map(|tree| rest.strip_prefix(tree));
                let exists = path.is_some_and(|path| root.join(path).exists());
                assert!(exists, "{}: {link} leads nowhere", page.path);
            } else if !link.contains("://") {
                let up = link.matches("../").count();
                assert!(
                    up <= depth,
                    "{}: {link} is outside of the book; write {REPOSITORY}blob/main/...",
                    page.path
                );
            }
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the book is built by a program of its own")]
fn the_book_builds_without_a_warning_where_mdbook_is_installed() {
    let target = tempfile::tempdir().unwrap();
    let built = std::process::Command::new("mdbook")
        .arg("build")
        .arg(workspace_root().join("docs"))
        .arg("--dest-dir")
        .arg(target.path())
        .output();
    let Ok(built) = built else {
        println!("skipped: mdbook is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && !said.contains("WARN") && !said.contains("ERROR"), "{said}");
    assert!(target.path().join("first-hour.html").exists());
}

#[test]
fn the_book_has_every_page_once() {
    let summary = std::fs::read_to_string(workspace_root().join("docs/SUMMARY.md")).unwrap();
    let listed: Vec<String> = links(&summary).into_iter().map(|link| format!("docs/{link}")).collect();
    let book =
        pages().map(|page| page.path).filter(|path| path.starts_with("docs/") && path != "docs/SUMMARY.md");
    let missing: Vec<String> =
        book.filter(|path| listed.iter().filter(|link| *link == path).count() != 1).collect();
    assert!(missing.is_empty(), "write them into docs/SUMMARY.md, each once: {missing:?}");
}

#[test]
fn every_status_reason_and_flag_is_explained() {
    let page = std::fs::read_to_string(workspace_root().join("docs/reference/statuses.md")).unwrap();
    let explained = |word: &str| page.contains(&format!("| `{word}` |"));
    let words = Status::ALL.iter().map(|it| it.as_str());
    let words = words.chain(Reason::ALL.iter().map(|it| it.as_str()));
    for word in words.chain(Flag::ALL.iter().map(|it| it.as_str())) {
        assert!(explained(word), "`{word}` is not explained");
    }
    for action in NextAction::ALL {
        assert!(page.contains(&format!("`{}`", action.as_str())), "`{}` is not explained", action.as_str());
    }
}

#[test]
fn the_list_of_problems_is_the_one_of_the_code() {
    let page = std::fs::read_to_string(workspace_root().join("docs/surviving.md")).unwrap();
    let (_, section) = page.split_once("\n## Problems of heartbeatd itself\n").expect("the section");
    let (_, list) = section.split_once("what it cannot do:").expect("the list");
    let (list, _) = list.split_once('.').expect("the end of the list");
    let named: BTreeSet<&str> = quoted(list).into_iter().collect();
    let known: BTreeSet<&str> = OwnProblemKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(named, known);
}

/// Text between backquotes, outside of fences.
fn quoted(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let prose = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && !line.starts_with("```")
    });
    prose.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_file_and_function_that_the_architecture_names_exists() {
    let files = sources();
    let mut seen = 0;
    for page in ["docs/ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(workspace_root().join(page)).unwrap();
        for name in quoted(&text) {
            if name.ends_with(".rs") {
                let found = files.iter().any(|file| format!("/{}", file.path).ends_with(&format!("/{name}")));
                assert!(found, "{page}: there is no {name}");
            } else if let Some(function) = name.strip_suffix("()") {
                let function = function.rsplit("::").next().unwrap();
                let forms = [format!("fn {function}("), format!("fn {function}<")];
                let found = files.iter().any(|file| forms.iter().any(|form| file.text.contains(form)));
                assert!(found, "{page}: there is no {name}");
            } else if let Some((kind, item)) = name.split_once("::")
                && kind.starts_with(char::is_uppercase)
                && item.starts_with(char::is_uppercase)
            {
                let defined = |file: &&File| {
                    ["enum", "trait"].iter().any(|word| file.text.contains(&format!("{word} {kind} ")))
                };
                let has = |file: &File| {
                    file.text.split_whitespace().any(|word| word.trim_end_matches([',', '(']) == item)
                };
                assert!(files.iter().filter(defined).any(has), "{page}: there is no {name}");
            } else {
                continue;
            }
            seen += 1;
        }
    }
    assert!(seen > FEWEST_LINKS, "only {seen} files and functions found");
}

/// The program on the front page of the probe crate is run by its doctest, and, as an example, against heartbeatd.
#[test]
fn the_front_page_of_the_probe_crate_is_the_program_that_is_run() {
    const MAX_LINES: usize = 40;
    let root = workspace_root();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let page = read("crates/heartbeat-probe/src/front-page.md");
    let (_, code) = page.split_once("```standalone_crate\n").unwrap();
    let is_shown = |line: &&str| !line.starts_with("# ") && *line != "#" && *line != "```";
    let shown: String = code.lines().filter(is_shown).map(|line| format!("{line}\n")).collect();
    assert!(shown.lines().count() <= MAX_LINES && shown.ends_with("\n}\n"), "{shown}");
    for path in ["crates/heartbeat-probe/README.md", "examples/embed-probe/src/bin/axum-shop.rs"] {
        assert!(read(path).contains(&shown), "{path} does not have the program of the front page:\n{shown}");
    }
}
