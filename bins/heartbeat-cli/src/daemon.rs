//! `daemon leave|upgrade`: heartbeatd ends, and every realm keeps running.

use std::time::Duration;

use heartbeat_client::{Client, ClientError};
use heartbeat_status::Phase;
use heartbeat_wire::{DEPARTURE_SCHEMA, DepartureDocument, StatusDocument};

use crate::args::Departing;
use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::style::Style;

/// Between two looks for the one that follows.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The next heartbeatd has this long to answer, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks heartbeatd to end; after an upgrade, waits until the next one answers.
pub(crate) async fn run(
    client: &Client,
    what: Departing,
    limit: Option<Duration>,
    console: &mut Console,
) -> Outcome {
    let json = matches!(console.form, Format::Json | Format::Ndjson);
    if what == Departing::Leave {
        let gone = client.depart(false).await?;
        if json {
            console.json(&gone)?;
        } else {
            console
                .line("heartbeatd ends, and every realm runs on; start it again and it takes them back")?;
        }
        return Ok(Exit::Holds);
    }
    // Without an answer here there is nothing to be upgraded. From here on there was a heartbeatd.
    let before = client.summary().await?.instance;
    let gone = match client.depart(true).await {
        Ok(gone) => Some(gone),
        // It may have gone before its answer arrived: which one answers next shows that.
        Err(ClientError::Unreachable { .. } | ClientError::TimedOut { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let follows = async {
        loop {
            if let Ok(document) = client.status(false).await
                && document.instance != before
            {
                break document;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let Ok(document) = tokio::time::timeout(limit.unwrap_or(PATIENCE), follows).await else {
        console.note(match gone {
            Some(_) => "heartbeatd has handed over, and the one that follows does not answer",
            None => "heartbeatd has not answered, and no other one has taken over",
        });
        return Ok(Exit::Deadline);
    };
    if json {
        console.json(&gone.unwrap_or_else(|| departure(before)))?;
    } else {
        let version = console.style.text(&document.daemon.version);
        let unverified = unverified(&document, console.style);
        console.prose(
            &format!(
                "heartbeatd {version} has taken over, under the same pid; every realm runs on{unverified}"
            ),
            2,
        )?;
    }
    Ok(Exit::Holds)
}

/// The realms of which no heartbeatd knows whether what runs is theirs, as the end of a sentence.
fn unverified(document: &StatusDocument, style: Style) -> String {
    let realms = document.realms.iter().filter(|realm| realm.phase.is(Phase::Unverified));
    let names: Vec<String> = realms.map(|realm| style.text(&realm.name)).collect();
    match names.first() {
        None => String::new(),
        Some(first) => format!(
            ", but heartbeatd cannot verify and does not supervise {}: `heartbeat-cli why {first}`",
            names.join(", ")
        ),
    }
}

/// What heartbeatd would have answered.
fn departure(instance: String) -> DepartureDocument {
    DepartureDocument { schema: DEPARTURE_SCHEMA.to_owned(), action: "upgrade".to_owned(), instance }
}
