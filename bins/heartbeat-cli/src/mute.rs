//! `mute` and `unmute`: whether receivers of notifications hear of realms.

use std::time::Duration;

use heartbeat_client::Client;
use heartbeat_wire::{MuteDocument, MuteRequest};

use crate::age::moment;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::select::names;
use crate::style::Style;

/// Mutes every realm in turn.
pub(crate) async fn mute(
    client: &Client,
    realms: &[String],
    length: Duration,
    reason: &str,
    console: &mut Console,
) -> Outcome {
    let request = MuteRequest { reason: reason.to_owned(), for_s: length.as_secs_f64() };
    for realm in &names(client, realms).await? {
        let document = client.mute(realm, &request).await?;
        show(&document, console)?;
    }
    Ok(Exit::Holds)
}

/// Ends the mute of every realm in turn.
pub(crate) async fn unmute(client: &Client, realms: &[String], console: &mut Console) -> Outcome {
    for realm in &names(client, realms).await? {
        let document = client.unmute(realm).await?;
        show(&document, console)?;
    }
    Ok(Exit::Holds)
}

fn show(document: &MuteDocument, console: &mut Console) -> Result<(), Failure> {
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(document)?;
        return Ok(());
    }
    let line = line(document, console.style);
    console.prose(&line, 2)?;
    Ok(())
}

fn line(document: &MuteDocument, style: Style) -> String {
    let name = style.text(&document.realm);
    match document.until {
        Some(until) => {
            let until = moment(until);
            format!(
                "{name} is muted until {until}: `heartbeat-cli unmute {name}` ends it. It is supervised as ever"
            )
        }
        None => format!("{name} is no longer muted; what is still open is sent to receivers now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::WallTime;
    use heartbeat_wire::MUTE_SCHEMA;

    #[test]
    fn a_mute_says_when_it_ends_and_how() {
        let muted = MuteDocument {
            schema: MUTE_SCHEMA.to_owned(),
            realm: "api".to_owned(),
            muted: true,
            reason: Some("backup".to_owned()),
            until: Some(WallTime::from_millis(1_795_473_598_310)),
        };
        let said = line(&muted, Style::default());
        assert!(said.starts_with("api is muted until 2026-11-23 22:39:58"), "{said}");
        assert!(said.contains("`heartbeat-cli unmute api` ends it"), "{said}");
        let ended = MuteDocument { muted: false, reason: None, until: None, ..muted };
        assert!(line(&ended, Style::default()).starts_with("api is no longer muted"));
    }
}
