//! Manual pages: of both programs, and of the file that they read.

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use heartbeat_config::{Key, Table, keys};

use crate::args::{Cli, ManualPage};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};

/// heartbeatd renders it from its own command line.
const HEARTBEATD: &str = include_str!("../../../packaging/man/heartbeatd.8");
const MANUAL: &str = "heart-beat";

/// `man [PAGE]`.
pub(crate) fn run(page: ManualPage, console: &mut Console) -> Outcome {
    console.print(&render(page)?)?;
    Ok(Exit::Holds)
}

fn render(page: ManualPage) -> Result<String, Failure> {
    match page {
        ManualPage::HeartbeatCli => own(),
        ManualPage::Heartbeatd => Ok(HEARTBEATD.to_owned()),
        ManualPage::HeartbeatToml => Ok(of_file().render()),
    }
}

fn own() -> Result<String, Failure> {
    let mut page = Vec::new();
    let man = Man::new(Cli::command()).manual(MANUAL);
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    commands(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut end = Roff::new();
    end.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        end.control("TP", [] as [&str; 0]);
        end.text([bold(exit.code().to_string())]);
        end.text([roman(exit.meaning())]);
    }
    see_also(&mut end, &["heartbeatd(8)", "heartbeat.toml(5)"]);
    // Without the preamble, which stands at the beginning of the page already.
    let page = String::from_utf8_lossy(&page).replace("[\\fIsubcommands\\fR]", "\\fICOMMAND\\fR ...");
    Ok(without_preambles(&page) + &end.to_roff())
}

/// Each section brings the preamble of a whole page.
fn without_preambles(page: &str) -> String {
    let is_preamble = |line: &&str| line.starts_with(".ie \\n(.g") || line.starts_with(".el .ds Aq");
    let (first, rest): (Vec<&str>, Vec<&str>) = page.lines().partition(is_preamble);
    first.into_iter().take(2).chain(rest).flat_map(|line| [line, "\n"]).collect()
}

/// Every command with its own options: there are no pages of single commands.
fn commands(page: &mut Vec<u8>) -> Result<(), Failure> {
    let mut heading = Roff::new();
    heading.control("SH", ["COMMANDS"]);
    page.extend(heading.to_roff().bytes());
    for command in Cli::command().get_subcommands() {
        let mut command = command.clone().disable_help_flag(true);
        let usage = command.render_usage().to_string();
        let mut section = Roff::new();
        section.control("SS", [usage.trim_start_matches("Usage: ")]);
        section.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
        page.extend(section.to_roff().bytes());
        let mut options = Vec::new();
        Man::new(command).render_options_section(&mut options)?;
        let options = String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "");
        page.extend(options.bytes());
    }
    Ok(())
}

fn see_also(page: &mut Roff, pages: &[&str]) {
    page.control("SH", ["SEE ALSO"]);
    page.text([roman(pages.join(", "))]);
}

/// heartbeat.toml(5), from the keys.
fn of_file() -> Roff {
    let mut page = Roff::new();
    page.control(
        "TH",
        ["heartbeat.toml", "5", "", &format!("heart-beat {}", env!("CARGO_PKG_VERSION")), MANUAL],
    );
    page.control("SH", ["NAME"]);
    page.text([roman("heartbeat.toml - the configuration of heartbeatd")]);
    page.control("SH", ["SYNOPSIS"]);
    for place in
        ["./heartbeat.toml", "$XDG_CONFIG_HOME/heartbeat/heartbeat.toml", "/etc/heartbeat/heartbeat.toml"]
    {
        page.text([italic(place)]);
        page.control("br", [] as [&str; 0]);
    }
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "The first of these files that is there is read, and then the files of its key `include`. Three keys make a realm: \
         `run`, `health` and `needs`. A realm without `run` is watched and never started. A key that is not on this page is an \
         error; a key of your own begins with `x-`. Durations are strings with a unit, such as \"250ms\" or \"1h30m\", and sizes \
         such as \"64MiB\".",
    )]);
    page.control("PP", [] as [&str; 0]);
    page.text([roman(
        "Strings may have variables: ${NAME}, ${NAME:-default} and ${NAME:?message}. The environment of heartbeatd wins over the \
         file: HEARTBEAT__REALM__API__PORT sets `port` of the realm `api`, and what a realm says wins over [defaults]. \
         `heartbeat-cli check` finds every mistake, and `heartbeat-cli config --sources` shows where each value comes from.",
    )]);
    page.control("SH", ["EXAMPLE"]);
    page.control("EX", [] as [&str; 0]);
    page.text([roman(
        "[realm.db]\nrun    = \"postgres -D data\"\nhealth = \"postgres://127.0.0.1:5432\"\n\n[realm.api]\nrun   = \"gunicorn \
         shop.wsgi --bind 127.0.0.1:8001\"\nport  = 8001\nneeds = [\"db\"]\n",
    )]);
    page.control("EE", [] as [&str; 0]);
    for table in Table::ALL {
        page.control("SH", [table.heading().to_uppercase().as_str()]);
        for key in keys().filter(|key| key.table == table) {
            of_key(&mut page, key);
        }
    }
    see_also(&mut page, &["heartbeatd(8)", "heartbeat-cli(1)"]);
    page
}

fn of_key(page: &mut Roff, key: &Key) {
    page.control("TP", [] as [&str; 0]);
    page.text([bold(key.name), roman(format!(" ({})", key.takes.words()))]);
    let default = match key.default_text() {
        none if none.is_empty() => String::new(),
        default => format!(" Default: {default}."),
    };
    page.text([roman(format!("{}{default} Example: {}", key.doc, key.usage()))]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_in_the_repository_are_these() {
        for (page, name) in
            [(ManualPage::HeartbeatCli, "heartbeat-cli.1"), (ManualPage::HeartbeatToml, "heartbeat.toml.5")]
        {
            let path =
                std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/man").join(name);
            let text = render(page).unwrap_or_else(|failure| panic!("{}", failure.message));
            if std::env::var_os("HEARTBEAT_BLESS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == text, "HEARTBEAT_BLESS=1 renders {}", path.display());
        }
    }

    #[test]
    fn the_page_of_the_file_has_every_key() {
        let text = of_file().render();
        for key in keys() {
            assert!(text.contains(&format!("\\fB{}\\fR", key.name.replace('-', "\\-"))), "{}", key.name);
        }
        assert!(render(ManualPage::Heartbeatd).is_ok_and(|page| page.contains("check\\-state")));
    }
}
