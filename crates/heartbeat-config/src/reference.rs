//! The reference of keys and codes, made from their items: what `explain` says and what the pages in `docs/reference`
//! have.

use std::fmt::Write;

use crate::code::Code;
use crate::keys::{self, Key, Table, Takes};

impl Key {
    /// Everything about it in a few lines: `explain KEY`.
    #[must_use]
    pub fn explanation(&self) -> String {
        let mut text = format!("{} in {}\n\n  {}\n\n", self.name, self.table.heading(), self.doc);
        let mut line = |label: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(text, "  {label:<10} {value}");
            }
        };
        line("takes", &self.takes.words());
        line("default", &self.default_text());
        line("example", &self.usage());
        line("elsewhere", &self.also.join(", "));
        if self.registrable {
            line("register", "a realm that is registered at run time may have it");
        }
        if let Takes::Table(table) | Takes::Tables(table) = self.takes {
            line("keys", &keys::names(table).collect::<Vec<_>>().join(", "));
        }
        text
    }

    /// The example as a line of a file.
    #[must_use]
    pub fn usage(&self) -> String {
        format!("{} = {}", self.name, self.example)
    }
}

/// The keys of this name, with or without the tables above it: `backoff`, `restart.backoff`.
pub fn keys_called(name: &str) -> impl Iterator<Item = &'static Key> {
    let name = name.trim_start_matches("realm.NAME.").to_owned();
    keys::keys().filter(move |key| key.name == name || key.full_name() == name)
}

/// The page of all keys, as Markdown.
#[must_use]
pub fn keys_page() -> String {
    let mut page = String::from(
        "# Keys of heartbeat.toml\n\n\
         This page is made from the code. `heartbeat-cli explain KEY` says the same, and `heartbeat-cli schema` prints a JSON Schema\n\
         for editors. A key that is not on this page is an error; a key of your own begins with `x-`.\n\n\
         Strings may have variables: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`; `$${` is a literal `${`. Keys of\n\
         `[heartbeat]`, `[defaults]` and realms can also be set by the environment of heartbeatd: `HEARTBEAT__HEARTBEAT__LISTEN`, `HEARTBEAT__REALM__API__PORT`,\n\
         `HEARTBEAT__DEFAULTS__STOP__TIMEOUT`. A key marked with * may also be set by a registration at run time.\n",
    );
    for table in Table::ALL {
        let _ = write!(
            page,
            "\n## {}\n\n| key | takes | default | meaning |\n|---|---|---|---|\n",
            table.heading()
        );
        for key in keys::of(table) {
            let star = if key.registrable { " *" } else { "" };
            let cell = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(
                page,
                "| `{}`{star} | {} | {} | {} Example: `{}` |",
                key.name,
                cell(&key.takes.words()),
                cell(&key.default_text()),
                cell(key.doc),
                cell(&key.usage()),
            );
        }
    }
    page += "\n## Words of other tools\n\nheartbeatd refuses these and names its own key.\n\n| here | elsewhere (case, `-` and `_` do not matter) |\n|---|---|\n";
    for key in keys::keys().filter(|key| !key.also.is_empty()) {
        let _ = writeln!(page, "| `{}` | {} |", key.full_name(), key.also.join(", "));
    }
    page
}

/// The page of all codes of diagnostics, as Markdown.
#[must_use]
pub fn codes_page() -> String {
    let mut page = String::from(
        "# Codes of diagnostics\n\n\
         This page is made from the code. `heartbeat-cli check FILE` prints every mistake of a configuration with one of these codes,\n\
         its place, and what to type. `HB0xx` is about files, `HB1xx` about keys and values, `HB2xx` about realms together; `HB3xx`\n\
         are warnings.\n\n| code | meaning |\n|---|---|\n",
    );
    for code in Code::ALL {
        let _ = writeln!(page, "| {code} | {} |", code.explanation().replace('|', "\\|"));
    }
    page
}
