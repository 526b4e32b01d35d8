//! Selectors of realms in a configuration: a name, `all`, a pattern (`web*`), `@group`, `label=value`, `+api` (with what
//! it needs), `api+` (with what needs it). Several are a union.

use std::collections::BTreeSet;

use glob::Pattern;
use heartbeat_status::{EdgeKind, RealmName, nearest};

use crate::code::Code;
use crate::reader::{Entry, Reader};
use crate::realm::ReadRealm;

/// The realms that the items of `entry` select, in the order of the configuration. A selector that selects none is an
/// error.
pub(crate) fn chosen(reader: &Reader<'_>, entry: &Entry<'_>, realms: &[ReadRealm]) -> Vec<RealmName> {
    let mut names = BTreeSet::new();
    for item in reader.filled(entry, "a realm, or \"all\"") {
        let Some(text) = reader.text(&item) else { continue };
        let found = matching(&text, realms);
        if found.is_empty() {
            refuse(reader, &item, &text, realms);
        }
        names.extend(found);
    }
    realms
        .iter()
        .map(|realm| &realm.spec.name)
        .filter(|name| names.contains(name.as_str()))
        .cloned()
        .collect()
}

fn refuse(reader: &Reader<'_>, item: &Entry<'_>, text: &str, realms: &[ReadRealm]) {
    let (message, help) = if text.starts_with("status:") {
        let message = format!("`{text}` selects other realms from one moment to the next");
        (message, "name the realms, their group (`@web`) or a label (`team=core`)".to_owned())
    } else if RealmName::new(text).is_ok() {
        let suggestion = nearest(text, realms.iter().map(|realm| realm.spec.name.as_str()));
        let help = suggestion.map_or_else(
            || format!("declare it: [realm.{text}]"),
            |suggestion| format!("did you mean `{suggestion}`?"),
        );
        (format!("there is no realm `{text}`"), help)
    } else {
        let help = "a name, `all`, a pattern (`web*`), `@group`, `label=value`, `+api` or `api+`";
        (format!("`{text}` selects no realm"), help.to_owned())
    };
    reader.value_problem(item, Code::UnknownRealm, message, "unknown realm", &help);
}

fn matching<'r>(text: &str, realms: &'r [ReadRealm]) -> BTreeSet<&'r str> {
    let those = |wanted: &dyn Fn(&ReadRealm) -> bool| -> BTreeSet<&'r str> {
        realms.iter().filter(|realm| wanted(realm)).map(|realm| realm.spec.name.as_str()).collect()
    };
    let needs = |from: &ReadRealm, to: &str| {
        from.needs.iter().any(|need| need.kind == EdgeKind::Needs && need.name == to)
    };
    if text == "all" {
        those(&|_| true)
    } else if let Some(group) = text.strip_prefix('@') {
        those(&|realm| realm.spec.group.as_deref() == Some(group))
    } else if let Some((label, value)) = text.split_once('=') {
        those(&|realm| realm.spec.labels.get(label).is_some_and(|of| of == value))
    } else if let Some(name) = text.strip_prefix('+') {
        closure(name, realms, |known, other| needs(known, other.spec.name.as_str()))
    } else if let Some(name) = text.strip_suffix('+') {
        closure(name, realms, |known, other| needs(other, known.spec.name.as_str()))
    } else if text.contains(['*', '?', '[']) {
        Pattern::new(text).map_or_else(
            |_| BTreeSet::new(),
            |pattern| those(&|realm| pattern.matches(realm.spec.name.as_str())),
        )
    } else {
        those(&|realm| realm.spec.name.as_str() == text)
    }
}

/// The realm and every realm that `leads` reaches from it.
fn closure<'r>(
    name: &str,
    realms: &'r [ReadRealm],
    leads: impl Fn(&ReadRealm, &ReadRealm) -> bool,
) -> BTreeSet<&'r str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&ReadRealm> = realms.iter().filter(|realm| realm.spec.name.as_str() == name).collect();
    while let Some(realm) = next.pop() {
        if found.insert(realm.spec.name.as_str()) {
            next.extend(realms.iter().filter(|other| leads(realm, other)));
        }
    }
    found
}
