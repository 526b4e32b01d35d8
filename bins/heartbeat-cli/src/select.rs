//! Selectors: which realms a word of the command line means.
//!
//! A name, `all`, a pattern (`web*`), `@group`, `label=value`, `status:down`, `+api` (with what it needs), `api+` (with
//! what needs it). Several are a union.

use std::collections::BTreeSet;

use glob::Pattern;
use heartbeat_client::Client;
use heartbeat_status::{EdgeKind, RealmName, Status};
use heartbeat_wire::{RealmEntry, StatusDocument};

use crate::exit::{Exit, Failure};
use crate::headline::status_of;

/// One selector, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Selector {
    Name(String),
    All,
    Pattern(Pattern),
    Group(String),
    Label(String, String),
    Status(Status),
    WithNeeds(String),
    WithDependents(String),
}

fn parse(text: &str) -> Result<Selector, String> {
    let name = |name: &str| {
        RealmName::new(name)
            .map(|name| name.to_string())
            .map_err(|error| format!("`{name}` names no realm: {error}"))
    };
    if text == "all" {
        return Ok(Selector::All);
    }
    if let Some(group) = text.strip_prefix('@').filter(|group| !group.is_empty()) {
        return Ok(Selector::Group(group.to_owned()));
    }
    if let Some(word) = text.strip_prefix("status:") {
        let status = word.parse().map_err(|_| {
            let words: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
            format!("unknown status `{word}`; there are {}", words.join(", "))
        })?;
        return Ok(Selector::Status(status));
    }
    if let Some((label, value)) = text.split_once('=').filter(|(label, _)| !label.is_empty()) {
        return Ok(Selector::Label(label.to_owned(), value.to_owned()));
    }
    if let Some(rest) = text.strip_prefix('+') {
        return Ok(Selector::WithNeeds(name(rest)?));
    }
    if let Some(rest) = text.strip_suffix('+') {
        return Ok(Selector::WithDependents(name(rest)?));
    }
    if text.contains(['*', '?', '[']) {
        return Pattern::new(text).map(Selector::Pattern).map_err(|error| format!("`{text}`: {}", error.msg));
    }
    name(text).map(Selector::Name)
}

/// Refuses at once what can never mean a realm: a duration, a path, a word in capitals.
///
/// # Errors
/// Why not, and what to write.
pub(crate) fn selector(text: &str) -> Result<String, String> {
    match parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) if crate::age::parse_duration(text).is_ok() => {
            Err(format!("{why}; a time is given as --wait={text} or --timeout {text}"))
        }
        Err(why) => Err(why),
    }
}

/// The realms that the selectors mean, in the document's order, and the selectors that mean none. Nothing selects
/// nothing.
pub(crate) fn chosen<'d, 's>(
    document: &'d StatusDocument,
    selectors: &'s [String],
) -> (Vec<&'d RealmEntry>, Vec<&'s str>) {
    let mut names = BTreeSet::new();
    let mut unmatched = Vec::new();
    for text in selectors {
        let found = matching(document, text);
        if found.is_empty() {
            unmatched.push(text.as_str());
        }
        names.extend(found);
    }
    let realms = document.realms.iter().filter(|realm| names.contains(realm.name.as_str())).collect();
    (realms, unmatched)
}

fn matching<'d>(document: &'d StatusDocument, text: &str) -> BTreeSet<&'d str> {
    let all = || document.realms.iter();
    let those = |wanted: &dyn Fn(&RealmEntry) -> bool| {
        all().filter(|realm| wanted(realm)).map(|realm| realm.name.as_str()).collect()
    };
    match parse(text) {
        Err(_) => BTreeSet::new(),
        Ok(Selector::Name(name)) => those(&|realm| realm.name == name),
        Ok(Selector::All) => those(&|_| true),
        Ok(Selector::Pattern(pattern)) => those(&|realm| pattern.matches(&realm.name)),
        Ok(Selector::Group(group)) => those(&|realm| realm.group.as_deref() == Some(group.as_str())),
        Ok(Selector::Label(label, value)) => those(&|realm| realm.labels.get(&label) == Some(&value)),
        Ok(Selector::Status(status)) => those(&|realm| status_of(realm) == status),
        Ok(Selector::WithNeeds(name)) => closure(document, &name, &|realm| {
            let needs = realm.needs.iter().filter(|need| need.kind.is(EdgeKind::Needs));
            needs.map(|need| need.realm.as_str()).collect()
        }),
        Ok(Selector::WithDependents(name)) => {
            closure(document, &name, &|realm| realm.needed_by.iter().map(String::as_str).collect())
        }
    }
}

fn closure<'d>(
    document: &'d StatusDocument,
    from: &str,
    next: &dyn Fn(&'d RealmEntry) -> Vec<&'d str>,
) -> BTreeSet<&'d str> {
    let find = |name: &str| document.realms.iter().find(|realm| realm.name == name);
    let mut found = BTreeSet::new();
    let mut waiting: Vec<&RealmEntry> = find(from).into_iter().collect();
    while let Some(realm) = waiting.pop() {
        if found.insert(realm.name.as_str()) {
            waiting.extend(next(realm).into_iter().filter_map(find));
        }
    }
    found
}

/// Whether a selector is the name of one realm.
pub(crate) fn is_name(text: &str) -> bool {
    matches!(parse(text), Ok(Selector::Name(_)))
}

/// The names of the realms that are meant.
///
/// # Errors
/// Exit 4 when a selector means no realm; what the client says.
pub(crate) async fn names(client: &Client, selectors: &[String]) -> Result<Vec<String>, Failure> {
    let document = client.status(false).await?;
    let (realms, unmatched) = chosen(&document, selectors);
    match unmatched.first() {
        Some(missing) => Err(no_such(&document, missing)),
        None => Ok(realms.into_iter().map(|realm| realm.name.clone()).collect()),
    }
}

/// There is no such realm; one with a name that is near is a question, and nothing is done to it.
pub(crate) fn no_such(document: &StatusDocument, selector: &str) -> Failure {
    let shown = heartbeat_status::sanitise_line(selector);
    if !is_name(selector) {
        return Failure::new(Exit::NoSuchRealm, format!("`{shown}` selects no realm"))
            .help("`heartbeat-cli status` lists them");
    }
    let failure = Failure::new(Exit::NoSuchRealm, format!("no realm is called `{shown}`"));
    let names = document.realms.iter().map(|realm| realm.name.as_str());
    match heartbeat_status::nearest(selector, names) {
        Some(suggestion) => failure.help(format!("did you mean {suggestion}?")),
        None => failure.help("`heartbeat-cli status` lists them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn of(document: &StatusDocument, selectors: &[&str]) -> (Vec<String>, Vec<String>) {
        let selectors: Vec<String> = selectors.iter().map(ToString::to_string).collect();
        let (realms, unmatched) = chosen(document, &selectors);
        (
            realms.into_iter().map(|realm| realm.name.clone()).collect(),
            unmatched.into_iter().map(ToOwned::to_owned).collect(),
        )
    }

    #[test]
    fn every_kind_of_selector_means_its_realms() {
        let mut document = sample::outage();
        for realm in &mut document.realms {
            if ["api", "worker"].contains(&realm.name.as_str()) {
                realm.group = Some("web".into());
                realm.labels.insert("team".into(), "core".into());
            }
        }
        let everything: Vec<String> = document.realms.iter().map(|realm| realm.name.clone()).collect();
        let chosen = |selectors: &[&str]| of(&document, selectors).0;
        assert_eq!(chosen(&["all"]), everything);
        assert_eq!(chosen(&["@web"]), ["api", "worker"]);
        assert_eq!(chosen(&["team=core"]), ["api", "worker"]);
        assert_eq!(chosen(&["w*", "[a]pi"]), ["api", "worker"]);
        assert_eq!(chosen(&["status:restarting"]), ["postgres"]);
        assert_eq!(
            chosen(&["worker", "api", "api"]),
            ["api", "worker"],
            "in the document's order, each once"
        );
        assert!(
            chosen(&["+api"]).contains(&"postgres".to_owned())
                && !chosen(&["+api"]).contains(&"mail".to_owned())
        );
        assert!(chosen(&["postgres+"]).contains(&"api".to_owned()));
        assert_eq!(of(&document, &["none", "@none", "z*", "mail"]).1, ["none", "@none", "z*"]);
        assert!(chosen(&[]).is_empty());
    }

    #[test]
    fn what_can_never_be_a_realm_is_refused_at_once() {
        for good in ["api", "all", "web*", "@web", "a=b", "status:down", "+api", "api+", "a-b_1"] {
            assert!(selector(good).is_ok(), "{good}");
        }
        for bad in ["5s", "Api", "", "@", "status:fine", "+5s", "a/b", "[a", "-x"] {
            assert!(selector(bad).is_err(), "{bad}");
        }
        assert!(selector("5s").unwrap_err().ends_with("a time is given as --wait=5s or --timeout 5s"));
    }

    #[test]
    fn a_realm_that_is_not_there_comes_with_the_one_that_is_near() {
        let document = sample::outage();
        let told = |selector: &str| no_such(&document, selector);
        assert_eq!(told("wrker").help.as_deref(), Some("did you mean worker?"));
        assert_eq!(told("elsewhere").help.as_deref(), Some("`heartbeat-cli status` lists them"));
        assert_eq!(told("@web").message, "`@web` selects no realm");
        assert_eq!(told("wrker").exit, Exit::NoSuchRealm);
    }
}
