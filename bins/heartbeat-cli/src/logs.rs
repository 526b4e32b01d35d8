//! `logs`: the output of realms; `-f` follows.

use std::time::Duration;

use heartbeat_client::{Client, ClientError, LogLines};
use heartbeat_status::RealmKind;
use heartbeat_wire::LogsDocument;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::select::names;
use crate::style::{Hue, Style};

/// Between two attempts to follow again.
const RETRY: Duration = Duration::from_secs(1);
/// heartbeatd that is away for longer than this many attempts is not waited for.
const MAX_RETRIES: u32 = 30;
/// Pieces of output that wait to be printed.
const MAX_PIECES_QUEUED: usize = 16;
/// Prefixes of realms take turns with these.
const HUES: [Hue; 3] = [Hue::Ok, Hue::Attention, Hue::Strong];

/// What is asked for.
pub(crate) struct Asked<'a> {
    /// Of which realms; empty for all that heartbeatd runs.
    pub(crate) realms: &'a [String],
    /// How many lines of the past.
    pub(crate) lines: usize,
    /// Goes on until it is interrupted.
    pub(crate) follow: bool,
    /// Of the generation before the newest one.
    pub(crate) previous: bool,
}

/// Shows lines.
pub(crate) async fn run(client: &Client, asked: &Asked<'_>, console: &mut Console) -> Outcome {
    let all = asked.realms.is_empty();
    let realms = match asked.realms {
        [] => with_output(client).await?,
        named => names(client, named).await?,
    };
    let asked = &Asked { realms: &realms, ..*asked };
    if asked.follow {
        return follow(client, asked, all, console).await;
    }
    for at in 0..asked.realms.len() {
        let document = match client.logs(&asked.realms[at], asked.lines, asked.previous).await {
            Ok(document) => document,
            // With all realms, one whose output goes elsewhere is no error.
            Err(ClientError::Problem(problem)) if all => {
                console.note(&console.style.text(&problem.detail));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match console.form {
            Format::Json => console.json(&document)?,
            _ => {
                print(&document, at, asked.realms, console)?;
                if document.lines.is_empty() && document.lost.is_none() && asked.lines > 0 {
                    let name = console.style.text(&asked.realms[at]);
                    console.note(&format!("{name} has written nothing yet"));
                }
            }
        }
    }
    Ok(Exit::Holds)
}

/// Every realm that heartbeatd runs: a watched realm writes elsewhere.
async fn with_output(client: &Client) -> Result<Vec<String>, Failure> {
    let document = client.status(false).await?;
    let runs = document.realms.into_iter().filter(|realm| !realm.kind.is(RealmKind::External));
    Ok(runs.map(|realm| realm.name).collect())
}

/// What a stream has to say.
enum Piece {
    Lines(usize, LogsDocument),
    Note(String),
    Lost(ClientError),
}

/// Follows all of them at once. A stream that breaks is followed again where it broke, without a gap and without
/// repetition, also when another heartbeatd answers then.
async fn follow(client: &Client, asked: &Asked<'_>, all: bool, console: &mut Console) -> Outcome {
    let (pieces, mut printer) = mpsc::channel(MAX_PIECES_QUEUED);
    let mut streams = JoinSet::new();
    for (at, realm) in asked.realms.iter().enumerate() {
        // An unknown realm is an error before anything is shown.
        let lines = match client.follow_logs(realm, asked.lines, None).await {
            Ok(lines) => lines,
            Err(ClientError::Problem(problem)) if all => {
                console.note(&format!("{realm}: {}", console.style.text(&problem.detail)));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let stream = Stream { client: client.clone(), realm: realm.clone(), at, pieces: pieces.clone() };
        streams.spawn(stream.run(lines));
    }
    drop(pieces);
    while let Some(piece) = printer.recv().await {
        match piece {
            Piece::Lines(at, document) => print(&document, at, asked.realms, console)?,
            Piece::Note(note) => console.note(&note),
            Piece::Lost(error) => return Err(error.into()),
        }
        if console.is_closed() {
            break;
        }
    }
    Ok(Exit::Holds)
}

/// One realm that is followed.
struct Stream {
    client: Client,
    realm: String,
    at: usize,
    pieces: mpsc::Sender<Piece>,
}

impl Stream {
    /// Until the printer has ended.
    async fn run(self, mut lines: LogLines) -> Option<()> {
        let mut last = None;
        loop {
            let broken = loop {
                match lines.next().await {
                    Ok(Some(document)) => self.send(Piece::Lines(self.at, document)).await?,
                    Ok(None) => break format!("heartbeatd has ended the stream of {}", self.realm),
                    Err(error) => break error.to_string(),
                }
                last = lines.last_id().map(str::to_owned).or(last);
            };
            self.send(Piece::Note(format!("{broken}; following again"))).await?;
            lines = self.again(last.as_deref()).await?;
        }
    }

    async fn again(&self, since: Option<&str>) -> Option<LogLines> {
        let mut retries = 0;
        loop {
            sleep(RETRY).await;
            match self.client.follow_logs(&self.realm, 0, since).await {
                Ok(lines) => return Some(lines),
                Err(_) if retries < MAX_RETRIES => retries += 1,
                Err(error) => {
                    self.send(Piece::Lost(error)).await?;
                    return None;
                }
            }
        }
    }

    async fn send(&self, piece: Piece) -> Option<()> {
        self.pieces.send(piece).await.ok()
    }
}

fn print(
    document: &LogsDocument,
    at: usize,
    realms: &[String],
    console: &mut Console,
) -> Result<(), Failure> {
    if matches!(console.form, Format::Json | Format::Ndjson) {
        return console.json_line(document);
    }
    let prefix = prefix(at, realms, console.style);
    if document.missed_bytes > 0 {
        console.note(&format!("{}: {} bytes are not shown here", realms[at], document.missed_bytes));
    }
    for line in &document.lines {
        console.line(&format!("{prefix}{}", console.style.output(line)))?;
    }
    if let Some(lost) = &document.lost {
        console.note(&format!("{}: {}", realms[at], console.style.text(&lost.message)));
    }
    Ok(())
}

/// Whose line it is, where there are several.
fn prefix(at: usize, realms: &[String], style: Style) -> String {
    if realms.len() < 2 {
        return String::new();
    }
    let width = realms.iter().map(String::len).max().unwrap_or_default();
    style.paint(HUES[at % HUES.len()], &format!("{:<width$} | ", style.text(&realms[at])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(form: Format, realms: &[&str], document: &LogsDocument) -> (String, String) {
        let (mut console, out, err) = Console::captured(form);
        let realms: Vec<String> = realms.iter().map(ToString::to_string).collect();
        print(document, 0, &realms, &mut console).unwrap();
        (out.text(), err.text())
    }

    #[test]
    fn lines_stay_as_they_are_but_for_what_moves_a_cursor() {
        let long = "x".repeat(1_000);
        let lines =
            vec!["  at\tmain()".to_owned(), String::new(), "\u{1b}[2Jred\nforged".to_owned(), long.clone()];
        let document = LogsDocument { missed_bytes: 7, ..LogsDocument::new("db", lines) };
        let (out, err) = shown(Format::Plain, &["db"], &document);
        assert_eq!(out, format!("  at\tmain()\n\n?[2Jred?forged\n{long}\n"));
        assert_eq!(err, "db: 7 bytes are not shown here\n");
        let (out, _) = shown(Format::Plain, &["db", "worker"], &document);
        assert!(out.starts_with("db     |   at\tmain()\ndb     | \n"), "{out}");
        let (out, err) = shown(Format::Ndjson, &["db"], &document);
        assert_eq!((serde_json::from_str::<LogsDocument>(&out).unwrap(), err.as_str()), (document, ""));
    }

    #[test]
    fn prefixes_have_their_colours() {
        let style = Style { color: true, ..Style::default() };
        let realms = ["a", "b"].map(str::to_owned);
        assert_ne!(prefix(0, &realms, style).replace('a', "b"), prefix(1, &realms, style));
        assert_eq!(prefix(0, &realms[..1], style), "");
    }
}
