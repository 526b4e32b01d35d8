//! The options that every command has.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use clap::{ColorChoice, ValueEnum};
use heartbeat_client::{Host, Token};

use crate::age::parse_duration;

/// Options of every command.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where heartbeatd listens: unix:PATH, https://NAME:PORT or http://ADDRESS:PORT [default: the configured socket]
    #[arg(short = 'H', long, global = true, value_name = "HOST")]
    pub(crate) host: Option<Host>,
    /// File with the token of heartbeatd's `token_file`, for https:// and loopback addresses
    #[arg(long = "token-file", global = true, value_name = "FILE", value_parser = read_token)]
    pub(crate) token: Option<Token>,
    /// Output format [default: table on a terminal, otherwise plain]
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    pub(crate) output: Option<Format>,
    /// Same as -o json
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colors
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
    /// Use ASCII characters only
    #[arg(long, global = true)]
    pub(crate) ascii: bool,
    /// Show times in UTC instead of the local time zone
    #[arg(long, global = true)]
    pub(crate) utc: bool,
    /// Print only the requested output
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print which heartbeatd is asked
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Answer yes to every question; running dependents are left alone
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Give up after this time, e.g. 90s
    #[arg(long, global = true, value_name = "DUR", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

impl Global {
    /// The output format, given whether stdout is a terminal.
    pub(crate) fn form(&self, terminal: bool) -> Format {
        match self.output {
            _ if self.json => Format::Json,
            Some(form) => form,
            None if terminal => Format::Table,
            None => Format::Plain,
        }
    }
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns that fit the terminal
    Table,
    /// Every column in full
    Wide,
    /// Tab-separated columns
    Plain,
    /// JSON, as heartbeatd answers it
    Json,
    /// One JSON object per line
    Ndjson,
    /// Names only
    Name,
    /// One page that prints well, of `report`
    Html,
    /// Tables in Markdown, of `report`
    Md,
    /// One line per realm for a spreadsheet, of `report`
    Csv,
}

impl Format {
    /// A format that only `report` has.
    pub(crate) const fn is_of_report(self) -> bool {
        matches!(self, Self::Html | Self::Md | Self::Csv)
    }
}

/// Longest token file that is read, in bytes.
const MAX_TOKEN_FILE_BYTES: u64 = 4 * 1_024;

fn read_token(path: &str) -> Result<Token, String> {
    let mut text = String::new();
    // Opening a named pipe would wait for a writer.
    let is_file =
        std::fs::metadata(path).map_err(|error| format!("{path} cannot be read: {error}"))?.is_file();
    if !is_file {
        return Err(format!("{path} is no regular file"));
    }
    let read = File::open(path).and_then(|file| file.take(MAX_TOKEN_FILE_BYTES).read_to_string(&mut text));
    read.map_err(|error| format!("{path} cannot be read: {error}"))?;
    Token::new(&text).ok_or_else(|| format!("{path} holds no token: it is empty, or has blanks in it"))
}
