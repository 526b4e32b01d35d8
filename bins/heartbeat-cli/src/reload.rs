//! `reload`, and `plan reload`.

use heartbeat_client::Client;
use heartbeat_wire::{ReloadDocument, ReloadedRealm};

use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::style::Style;

/// Has heartbeatd read its configuration again; `dry_run`: and only say what it would change.
pub(crate) async fn run(client: &Client, dry_run: bool, console: &mut Console) -> Outcome {
    let document = client.reload(dry_run).await?;
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(&document)?;
        return Ok(Exit::Holds);
    }
    for line in lines(&document, console.style) {
        console.prose(&line, 2)?;
    }
    for warning in &document.warnings {
        let warning = console.style.text(warning);
        console.note(&format!("warning: {warning}"));
    }
    Ok(Exit::Holds)
}

/// What a configuration changes, a line a kind of change.
fn lines(document: &ReloadDocument, style: Style) -> Vec<String> {
    let names = |names: &[String]| names.iter().map(|name| style.text(name)).collect::<Vec<_>>().join(", ");
    let because = |realms: &[ReloadedRealm]| {
        let told = realms.iter().map(|realm| {
            let keys: Vec<String> = realm.because.iter().map(|key| style.text(key)).collect();
            format!("{} ({})", style.text(&realm.realm), keys.join(", "))
        });
        told.collect::<Vec<_>>().join(", ")
    };
    let kinds = [
        ("added", names(&document.added)),
        ("removed", names(&document.removed)),
        ("restarted", because(&document.restarted)),
        ("in place", because(&document.changed)),
        ("settings", names(&document.settings)),
    ];
    let told: Vec<String> = kinds
        .into_iter()
        .filter(|(_, told)| !told.is_empty())
        .map(|(kind, told)| format!("  {kind:<9}  {told}"))
        .collect();
    let revision = document.config_revision;
    let head = match (told.is_empty(), document.dry_run) {
        (true, _) => format!("nothing changed: configuration {revision} stays in force"),
        (false, true) => "would change, nothing was done:".to_owned(),
        (false, false) => format!("configuration {revision} is in force:"),
    };
    std::iter::once(head).chain(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_has_its_line() {
        let mut document = ReloadDocument {
            schema: heartbeat_wire::RELOAD_SCHEMA.to_owned(),
            dry_run: true,
            config_revision: 3,
            added: vec!["mail".to_owned()],
            removed: Vec::new(),
            restarted: vec![ReloadedRealm {
                realm: "api".to_owned(),
                because: vec!["run".to_owned(), "env".to_owned()],
            }],
            changed: Vec::new(),
            settings: vec!["notify.ops".to_owned()],
            warnings: Vec::new(),
        };
        let style = Style { color: false, ascii: true, words: true };
        let expected = [
            "would change, nothing was done:",
            "  added      mail",
            "  restarted  api (run, env)",
            "  settings   notify.ops",
        ];
        assert_eq!(lines(&document, style), expected);
        document.dry_run = false;
        assert_eq!(lines(&document, style)[0], "configuration 3 is in force:");
        document.added.clear();
        document.restarted.clear();
        document.settings.clear();
        assert_eq!(lines(&document, style), ["nothing changed: configuration 3 stays in force"]);
    }
}
