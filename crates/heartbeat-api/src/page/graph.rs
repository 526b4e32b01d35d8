//! The dependencies as a picture: needs on the left, dependents on the right, a ring around the roots of trouble.

use std::collections::BTreeMap;
use std::fmt::Write;

use heartbeat_status::{EdgeKind, shortened};
use heartbeat_wire::{RealmEntry, StatusDocument};

use super::{escaped, hue};

/// With more realms than this the page shows no picture.
const MAX_REALMS: usize = 150;
/// Longest name in a box, in characters; the whole name is its title.
const MAX_NAME_CHARS: usize = 20;
const BOX_WIDTH: usize = 190;
const BOX_HEIGHT: usize = 28;
const COLUMN_WIDTH: usize = 250;
const ROW_HEIGHT: usize = 40;

/// Left and top corner of each realm.
type Corners<'a> = BTreeMap<&'a str, (usize, usize)>;

pub(super) fn draw(page: &mut String, document: &StatusDocument) {
    if document.realms.len() > MAX_REALMS {
        page.push_str("<p class=\"note\">Too many realms for a picture: <code>heartbeat-cli graph</code> shows them.</p>\n");
        return;
    }
    let (mut corners, mut rows) = (Corners::new(), BTreeMap::<u32, usize>::new());
    for realm in &document.realms {
        let row = rows.entry(realm.tier).or_default();
        let column = usize::try_from(realm.tier.saturating_sub(1)).unwrap_or(0);
        corners.insert(&realm.name, (2 + column * COLUMN_WIDTH, 2 + *row * ROW_HEIGHT));
        *row += 1;
    }
    let columns = rows.keys().next_back().map_or(1, |tier| *tier as usize);
    let height = rows.values().max().copied().unwrap_or(0) * ROW_HEIGHT;
    let width = columns * COLUMN_WIDTH - (COLUMN_WIDTH - BOX_WIDTH) + 4;
    let _ = writeln!(
        page,
        "<svg role=\"img\" aria-label=\"dependencies of {} realms; the table has their states\" width=\"{width}\" height=\"{height}\">",
        document.realms.len()
    );
    for realm in &document.realms {
        edges(page, realm, &corners);
    }
    for realm in &document.realms {
        let root = document.roots.iter().any(|root| root.realm == realm.name);
        node(page, realm, root, corners[realm.name.as_str()]);
    }
    page.push_str("</svg>\n");
}

/// A line from a realm to each realm that it depends on.
fn edges(page: &mut String, realm: &RealmEntry, corners: &Corners<'_>) {
    let (x2, y2) = corners[realm.name.as_str()];
    for need in &realm.needs {
        let Some((x1, y1)) = corners.get(need.realm.as_str()) else { continue };
        let kind = need.kind.known().unwrap_or(EdgeKind::Needs);
        let (x1, y1, y2) = (x1 + BOX_WIDTH, y1 + BOX_HEIGHT / 2, y2 + BOX_HEIGHT / 2);
        let _ = writeln!(page, "<line class=\"{kind}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
    }
}

fn node(page: &mut String, realm: &RealmEntry, root: bool, (x, y): (usize, usize)) {
    let status = realm.known_status();
    let (class, remark) = if root { (" root", ", the root cause") } else { ("", "") };
    let name = escaped(&realm.name);
    let _ = writeln!(
        page,
        "<g class=\"{}{class}\"><title>{name} is {}{remark}</title>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"5\"/>\
         <text x=\"{}\" y=\"{}\">{} {}</text></g>",
        hue(status),
        escaped(&realm.status.to_string()),
        x + 9,
        y + 19,
        status.mark(),
        escaped(&shortened(&realm.name, MAX_NAME_CHARS)),
    );
}
