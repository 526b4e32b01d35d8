//! `is`: one word per realm, and an exit code for scripts.

use heartbeat_client::Client;
use heartbeat_status::Status;
use heartbeat_wire::RealmEntry;

use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::headline::status_of;
use crate::select::chosen;
use crate::status::check_names;

/// `is STATUS REALM..`.
pub(crate) async fn run(client: &Client, word: &str, names: &[String], console: &mut Console) -> Outcome {
    let wanted = parse(word)?;
    let document = client.status(false).await?;
    check_names(&document, names)?;
    let style = console.style;
    // In the order they were asked for.
    let found = |name: &String| chosen(&document, std::slice::from_ref(name)).0;
    let realms: Vec<&RealmEntry> = names.iter().flat_map(found).collect();
    if console.form == Format::Json {
        console.json(&realms)?;
    } else if !console.quiet {
        for realm in &realms {
            let word = style.text(&realm.status.to_string());
            let line = if realms.len() == 1 { word } else { format!("{}\t{word}", style.text(&realm.name)) };
            console.line(&line)?;
        }
    }
    let holds = realms.iter().all(|realm| is(status_of(realm), wanted));
    Ok(if holds { Exit::Holds } else { Exit::No })
}

/// Degraded is a pass with a remark, so it is up; asked for by its own word it is only itself.
const fn is(status: Status, wanted: Status) -> bool {
    match wanted {
        Status::Up => matches!(status, Status::Up | Status::Degraded),
        _ => status as u8 == wanted as u8,
    }
}

fn parse(word: &str) -> Result<Status, Failure> {
    word.parse().map_err(|_| {
        let words: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
        Failure::new(Exit::Usage, format!("unknown status `{word}`"))
            .help(format!("one of {}", words.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degraded_is_up_and_up_is_not_degraded() {
        assert!(is(Status::Degraded, Status::Up) && is(Status::Up, Status::Up));
        assert!(!is(Status::Up, Status::Degraded) && !is(Status::Done, Status::Up));
        assert_eq!(parse("upp").unwrap_err().exit, Exit::Usage);
    }
}
