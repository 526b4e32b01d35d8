//! `nagios`: one line with performance data, and the exit codes of a plugin.

use std::fmt::Write;

use heartbeat_client::Client;
use heartbeat_status::Status;
use heartbeat_wire::{RealmEntry, StatusDocument};

use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::headline::{headline, status_of};
use crate::select::no_such;
use crate::style::Style;
use crate::verify::{counted, unknown};

/// What a plugin says, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Plugin {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl Plugin {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The exit of the same number: 0, 1, 2, 3.
    const fn exit(self) -> Exit {
        match self {
            Self::Ok => Exit::Holds,
            Self::Warning => Exit::No,
            Self::Critical => Exit::Usage,
            Self::Unknown => Exit::NotDesired,
        }
    }
}

/// `nagios [REALM..]`: whatever goes wrong here is UNKNOWN, since nothing is known then.
pub(crate) async fn run(client: &Client, selectors: &[String], console: &mut Console) -> Outcome {
    let (plugin, line) = match ask(client, selectors).await {
        Ok(document) => answer(&document, selectors, console.style),
        Err(failure) => (Plugin::Unknown, console.style.text(&failure.message)),
    };
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json_line(&serde_json::json!({ "state": plugin.word(), "line": line }))?;
    } else {
        console.line(&format!("HEARTBEAT {} - {line}", plugin.word()))?;
    }
    Ok(plugin.exit())
}

async fn ask(client: &Client, selectors: &[String]) -> Result<StatusDocument, Failure> {
    let document = client.status(false).await?;
    match unknown(&document, selectors).first() {
        Some(missing) => Err(no_such(&document, missing)),
        None => Ok(document),
    }
}

fn answer(document: &StatusDocument, selectors: &[String], style: Style) -> (Plugin, String) {
    let realms = counted(document, selectors);
    let plugin = realms.iter().map(|realm| of(status_of(realm))).max().unwrap_or(Plugin::Ok);
    let words = if selectors.is_empty() {
        headline(document, style)
    } else {
        let told = realms.iter().filter(|realm| of(status_of(realm)) == plugin);
        told.map(|realm| crate::verify::reason_line(realm, style)).collect::<Vec<_>>().join("; ")
    };
    // What stands behind the bar is data, so none may stand before it.
    (plugin, format!("{}|{}", words.replace('|', "/"), data(document, &realms, style)))
}

const fn of(status: Status) -> Plugin {
    match status {
        Status::Up | Status::Done | Status::Stopping | Status::Stopped | Status::Paused => Plugin::Ok,
        Status::Degraded | Status::Starting => Plugin::Warning,
        Status::Unknown => Plugin::Unknown,
        Status::Down | Status::Failed | Status::Blocked | Status::Restarting => Plugin::Critical,
    }
}

/// Counts of the realms, how late heartbeatd is, and the response time of each realm that has one.
fn data(document: &StatusDocument, realms: &[&RealmEntry], style: Style) -> String {
    let mut data = format!("realms={}", realms.len());
    for plugin in [Plugin::Ok, Plugin::Warning, Plugin::Critical, Plugin::Unknown] {
        let count = realms.iter().filter(|realm| of(status_of(realm)) == plugin).count();
        let _ = write!(data, " {}={count}", plugin.word().to_ascii_lowercase());
    }
    let _ = write!(
        data,
        " incidents={} lag_p99={:.1}ms",
        document.summary.open_incidents, document.daemon.lag_ms.p99
    );
    for realm in realms {
        if let Some(ms) = realm.probes.iter().find_map(|probe| probe.latency_ms) {
            let _ = write!(data, " {}={:.4}s", style.text(&realm.name), ms / 1_000.0);
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_worst_realm_decides_and_data_comes_behind_one_bar() {
        let (plugin, line) = answer(&sample::outage(), &[], Style::default());
        assert_eq!((plugin, plugin.exit().code()), (Plugin::Critical, 2));
        let (words, data) = line.split_once('|').unwrap();
        assert!(words.starts_with("shop: DOWN - postgres is restarting"), "{words}");
        assert!(data.starts_with("realms=5 ok=2 warning=0 critical=3 unknown=0 incidents="), "{data}");
        assert!(data.contains(" api=0.0122s") && !data.contains('|'), "{data}");

        let (plugin, line) = answer(&sample::outage(), &["mail".to_owned()], Style::default());
        assert_eq!((plugin, plugin.exit().code()), (Plugin::Warning, 1), "degraded is a warning");
        assert!(line.starts_with("mail is degraded: "), "{line}");
        assert_eq!(answer(&sample::calm(), &["api".to_owned()], Style::default()).0, Plugin::Ok);
    }
}
