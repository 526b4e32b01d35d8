//! `daemon leave|upgrade`: heartbeatd goes, and every realm stays.

use std::time::Duration;

use heartbeat_client::Client;

use crate::args::{Departing, Format};
use crate::console::Console;
use crate::exit::{Exit, Outcome};

/// Between two looks for the one that follows.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The one that follows has this long to answer, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells it to go; after an upgrade, waits until the one that follows answers.
pub(crate) async fn run(
    client: &Client,
    what: Departing,
    limit: Option<Duration>,
    console: &mut Console,
) -> Outcome {
    let gone = client.depart(what == Departing::Upgrade).await?;
    let json = matches!(console.form, Format::Json | Format::Ndjson);
    if what == Departing::Leave {
        if json {
            console.json(&gone)?;
        } else {
            console
                .line("heartbeatd ends, and every realm runs on; start it again and it takes them back")?;
        }
        return Ok(Exit::Holds);
    }
    let follows = async {
        loop {
            if let Ok(document) = client.summary().await
                && document.instance != gone.instance
            {
                break document;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let Ok(document) = tokio::time::timeout(limit.unwrap_or(PATIENCE), follows).await else {
        console.note("heartbeatd has handed over, and the one that follows does not answer");
        return Ok(Exit::Deadline);
    };
    if json {
        console.json(&gone)?;
    } else {
        let version = console.style.text(&document.daemon.version);
        console
            .line(&format!("heartbeatd {version} has taken over, under the same pid; every realm runs on"))?;
    }
    Ok(Exit::Holds)
}
