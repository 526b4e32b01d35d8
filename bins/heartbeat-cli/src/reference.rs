//! The reference page of the command line, and the command lines in documentation.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};

use crate::args::Cli;
use crate::line::with_joined_wait;

/// Columns of the help on the page.
const PAGE_WIDTH: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The help of the program and of each command, as Markdown.
fn page() -> String {
    let command = Cli::command().term_width(PAGE_WIDTH);
    let mut page =
        "# heartbeat-cli\n\nThe help of every command. A test of `heartbeat-cli` renders this page\n\
                    (`HEARTBEAT_BLESS=1 cargo test -p heartbeat-cli reference`).\n"
            .to_owned();
    let mut section = |title: &str, mut command: clap::Command| {
        let help = command.render_long_help().to_string();
        let help = crate::help::grouped(&help, PAGE_WIDTH).unwrap_or(help);
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## {title}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    };
    section("heartbeat-cli", command.clone());
    for sub in command.get_subcommands() {
        let name = format!("heartbeat-cli {}", sub.get_name());
        section(&name, sub.clone().bin_name(name.clone()).term_width(PAGE_WIDTH));
    }
    page
}

#[test]
fn the_reference_page_is_the_help_of_every_command() {
    let path = root().join("docs/reference/heartbeat-cli.md");
    if std::env::var_os("HEARTBEAT_BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page(),
        "docs/reference/heartbeat-cli.md is not the help; HEARTBEAT_BLESS=1 renders it"
    );
}

/// Pages that show commands.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("examples/shop/README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Words as a shell splits them, which is all that documentation needs: quotes, and no escapes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote, mut word) = (Vec::new(), None, None::<String>);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '>' | '&') => break,
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_in_documentation_is_one_that_the_program_takes() {
    let mut seen = 0;
    for path in pages() {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.starts_with("```");
            let command = line.trim_start().trim_start_matches("$ ");
            if !command.starts_with("heartbeat-cli ") || !(fenced || line.starts_with("    ")) {
                continue;
            }
            let words = with_joined_wait(words(command).into_iter().map(Into::into));
            if let Err(error) = Cli::try_parse_from(words)
                && error.exit_code() != 0
            {
                panic!("{}: {line}\n{error}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} commands found");
}
