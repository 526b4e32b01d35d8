//! The health table: a pure function of a document, a width and a style.
//!
//! A realm that is fine takes one line. Which columns fit is decided here, before comfy-table sees a cell; what is left
//! out is said in the last line. Why a realm is not fine goes on in the lines below it, and so does next where the screen
//! is too narrow for a column of it: a status is never shown without them.

use comfy_table::{Attribute, Cell as TableCell, Color, ContentArrangement, Table, presets};
use heartbeat_status::{Health, WallTime};
use heartbeat_wire::{RealmEntry, StatusDocument};

use crate::age::human_seconds_f64;
use crate::cells::{Cell, Column, cell, next, why_in_row};
use crate::headline::{FirstLine, status_of};
use crate::style::{Hue, Style, width, wrap};

/// Width at which everything fits.
pub(crate) const WIDE: usize = u16::MAX as usize;
/// Blanks between columns.
const SPACE_COLUMNS: usize = 2;
/// WHY is given this much before an optional column gets in; below it there is no use in a WHY column.
const COMFORTABLE_WHY: usize = 32;
/// Most lines of WHY, or NEXT, of a realm that is not fine.
const MAX_WHY_LINES: usize = 6;
/// Lines of the screen that the first line of all may take.
const MAX_HEADLINE_LINES: usize = 3;
/// The first line has room for this many characters on any screen.
const MIN_HEADLINE_CHARS: usize = 240;
/// Longest a name may be where width matters.
const MAX_REALM_COLUMNS: usize = 24;
/// Longest NEXT may be where width matters.
const MAX_NEXT_COLUMNS: usize = 27;
/// Screens below this have short columns.
const NARROW: usize = 120;
/// Optional columns in groups, the most wanted first: while a column of one group has no place, no later group has one.
const OPTIONAL: [&[Column]; 3] = [
    &[Column::Probe, Column::Time, Column::Port, Column::Process],
    &[Column::Restarts, Column::Uptime, Column::Budget],
    &[Column::Memory, Column::Cpu, Column::Descriptors],
];

/// Characters that the first line of all may take on such a screen.
pub(crate) fn headline_room(columns: usize) -> usize {
    columns.saturating_mul(MAX_HEADLINE_LINES).max(MIN_HEADLINE_CHARS)
}

/// Realms in the order of the table: severity first, then start order.
pub(crate) fn by_severity<'a>(realms: impl IntoIterator<Item = &'a RealmEntry>) -> Vec<&'a RealmEntry> {
    let mut realms: Vec<&RealmEntry> = realms.into_iter().collect();
    realms.sort_by_key(|realm| (std::cmp::Reverse(status_of(realm).severity()), realm.order));
    realms
}

/// The whole screen for `realms` of `document`, ending with a line end.
pub(crate) fn render(
    document: &StatusDocument,
    first: &FirstLine,
    realms: &[&RealmEntry],
    columns: usize,
    style: Style,
) -> String {
    let mut out = String::new();
    for line in wrap(&first.text, columns) {
        push_line(&mut out, &style.paint(first.hue, &line));
    }
    let now = document.generated_at;
    let hidden = if realms.is_empty() {
        Vec::new()
    } else {
        match Plan::of(realms, now, columns, style) {
            Some(plan) => plan.draw(&mut out, realms, now, style),
            None => stacked(&mut out, realms, now, columns, style),
        }
    };
    footer(&mut out, document, realms, columns, style);
    if !hidden.is_empty() {
        let text = format!("hidden at {columns} columns: {}; -o wide shows all", hidden.join(", "));
        for line in wrap(&text, columns) {
            push_line(&mut out, &style.paint(Hue::Neutral, &line));
        }
    }
    out
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn footer(out: &mut String, document: &StatusDocument, realms: &[&RealmEntry], columns: usize, style: Style) {
    let total = document.summary.total;
    let shown = if u32::try_from(realms.len()) == Ok(total) {
        String::new()
    } else {
        format!("{} of ", realms.len())
    };
    let noun = if total == 1 { "realm" } else { "realms" };
    let version = style.text(&document.daemon.version);
    let uptime = human_seconds_f64(document.daemon.uptime_s);
    // When all is well the first line has the counts already.
    let sums = if document.ok || !shown.is_empty() {
        String::new()
    } else {
        format!(": {}", document.summary.counts())
    };
    let health = &document.daemon.health;
    let sick = if health.is(Health::Healthy) {
        String::new()
    } else {
        format!(", {}", style.text(&health.to_string()))
    };
    let text = format!("{shown}{total} {noun}{sums}; heartbeatd {version} up {uptime}{sick}");
    for line in wrap(&text, columns) {
        push_line(out, &style.paint(Hue::Neutral, &line));
    }
    if let Some(name) = worst(document, realms) {
        push_line(out, &style.cut(&format!("more: heartbeat-cli why {}", style.text(name)), columns));
    }
    if !health.is(Health::Healthy) {
        push_line(out, &style.cut("more: heartbeat-cli why heartbeatd", columns));
    }
}

/// The realm to look at first: the worst that is shown, or the root of its trouble.
fn worst<'a>(document: &'a StatusDocument, realms: &[&'a RealmEntry]) -> Option<&'a str> {
    let first = realms.first().filter(|realm| !status_of(realm).is_ok())?;
    let root = document.roots.iter().find(|root| root.blocks.contains(&first.name));
    Some(root.map_or(first.name.as_str(), |root| root.realm.as_str()))
}

/// Columns that fit, and their widths.
struct Plan {
    columns: Vec<Column>,
    widths: Vec<usize>,
    rows: Vec<Vec<Cell>>,
    hidden: Vec<&'static str>,
    /// NEXT has no column, and goes below what is not fine.
    next_below: bool,
    screen: usize,
}

/// What stands under its realm when NEXT has no column.
const NEXT_HIDDEN: &str = "NEXT of what is up";

impl Plan {
    /// `None` when status, name, age and why do not fit beside each other.
    fn of(realms: &[&RealmEntry], now: WallTime, screen: usize, style: Style) -> Option<Self> {
        let all: Vec<Vec<Cell>> = realms
            .iter()
            .map(|realm| Column::ALL.iter().map(|column| cell(realm, *column, now, style)).collect())
            .collect();
        let natural = |column: Column| {
            let cells = all.iter().map(|row| width(&row[column as usize].text)).max().unwrap_or(0);
            cells.max(column.title().len())
        };
        let narrow = screen < NARROW;
        let wanted = |column: Column| match column {
            Column::Realm if screen < WIDE => natural(column).min(MAX_REALM_COLUMNS),
            Column::Next if narrow => natural(column).min(MAX_NEXT_COLUMNS),
            _ => natural(column),
        };
        let mut fixed = vec![Column::Status, Column::Realm, Column::Since, Column::Next];
        let base =
            |fixed: &[Column]| fixed.iter().map(|column| wanted(*column) + SPACE_COLUMNS).sum::<usize>();
        let wished = natural(Column::Why).min(if screen < WIDE { COMFORTABLE_WHY } else { WIDE });
        let next_below = screen < base(&fixed) + wished;
        let mut hidden = Vec::new();
        if next_below {
            fixed.pop();
            if realms.iter().any(|realm| status_of(realm).severity() == 0) {
                hidden.push(NEXT_HIDDEN);
            }
        }
        let mut room = screen.checked_sub(base(&fixed)).filter(|room| *room >= wished)?;
        let mut chosen = Vec::new();
        for group in OPTIONAL {
            let is_first_choice = hidden.iter().all(|title| *title == NEXT_HIDDEN);
            for column in group {
                if all.iter().all(|row| row[*column as usize].is_none()) {
                    continue;
                }
                let cost = wanted(*column) + SPACE_COLUMNS;
                if is_first_choice && room >= wished + cost {
                    room -= cost;
                    chosen.push(*column);
                } else {
                    hidden.push(column.title());
                }
            }
        }
        let is_shown =
            |column: &Column| *column == Column::Why || fixed.contains(column) || chosen.contains(column);
        let columns: Vec<Column> = Column::ALL.iter().copied().filter(is_shown).collect();
        let width_of = |column: &Column| match column {
            Column::Why => natural(*column).min(room),
            _ => wanted(*column),
        };
        let widths = columns.iter().map(width_of).collect();
        let pick = |row: Vec<Cell>| columns.iter().map(|column| row[*column as usize].clone()).collect();
        let rows = all.into_iter().map(pick).collect();
        Some(Self { columns, widths, rows, hidden, next_below, screen })
    }

    /// Appends the table; returns what is hidden.
    fn draw(
        self,
        out: &mut String,
        realms: &[&RealmEntry],
        now: WallTime,
        style: Style,
    ) -> Vec<&'static str> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        // Whether there is colour has been decided; comfy-table shall not ask the environment again.
        table.force_no_tty();
        if style.color {
            table.enforce_styling();
            table.style_text_only();
        }
        let header = |column: &Column| table_cell(column.title(), Hue::Neutral, style);
        table.set_header(self.columns.iter().map(header).collect::<Vec<_>>());
        let why_at = self.columns.iter().take_while(|column| **column != Column::Why).count();
        let mut below: Vec<Vec<String>> = Vec::new();
        for (row, realm) in self.rows.iter().zip(realms) {
            let mut why = match status_of(realm).severity() {
                0 => vec![style.cut(&row[why_at].text, self.widths[why_at])],
                _ => style.lines(&row[why_at].text, self.widths[why_at], MAX_WHY_LINES),
            };
            let first = why.remove(0);
            below.push(why);
            let fit = |(at, (cell, width)): (usize, (&Cell, &usize))| {
                let text = if at == why_at { first.clone() } else { style.cut(&cell.text, *width) };
                table_cell(&text, cell.hue, style)
            };
            table.add_row(row.iter().zip(&self.widths).enumerate().map(fit).collect::<Vec<_>>());
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, u16::try_from(SPACE_COLUMNS).unwrap_or(0)));
        }
        let mut lines = table.lines();
        push_line(out, &lines.next().unwrap_or_default());
        let indent: usize = self.widths[..why_at].iter().map(|width| width + SPACE_COLUMNS).sum();
        for ((line, realm), mut below) in lines.zip(realms).zip(below) {
            push_line(out, &line);
            if self.next_below && status_of(realm).severity() > 0 {
                let room = self.screen.saturating_sub(indent);
                below.extend(style.lines(&next_line(realm, now, style), room, MAX_WHY_LINES));
            }
            for text in below {
                push_line(out, &format!("{}{text}", " ".repeat(indent)));
            }
        }
        self.hidden
    }
}

fn table_cell(text: &str, hue: Hue, style: Style) -> TableCell {
    let cell = TableCell::new(text);
    match hue {
        _ if !style.color => cell,
        Hue::Plain => cell,
        Hue::Ok => cell.fg(Color::DarkGreen),
        Hue::Attention => cell.fg(Color::DarkYellow),
        Hue::Bad => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
        Hue::Neutral => cell.add_attribute(Attribute::Dim),
        Hue::Strong => cell.add_attribute(Attribute::Bold),
    }
}

fn next_line(realm: &RealmEntry, now: WallTime, style: Style) -> String {
    let next = next(&realm.next, now, style);
    format!("next: {}", next.as_deref().unwrap_or("nothing by itself"))
}

/// One line for what is fine; for everything else why and next below it.
fn stacked(
    out: &mut String,
    realms: &[&RealmEntry],
    now: WallTime,
    screen: usize,
    style: Style,
) -> Vec<&'static str> {
    let part = |realm: &RealmEntry, column| cell(realm, column, now, style);
    let widest =
        |column: Column| realms.iter().map(|realm| width(&part(realm, column).text)).max().unwrap_or(0);
    let (status_width, since_width) = (widest(Column::Status), widest(Column::Since));
    let room = screen.saturating_sub(status_width + since_width + 2 * SPACE_COLUMNS);
    let realm_width = widest(Column::Realm).min(room);
    let mut shortened = false;
    for realm in realms {
        let [status, name, since] =
            [Column::Status, Column::Realm, Column::Since].map(|column| part(realm, column));
        let pad = |text: &str, to: usize| " ".repeat(to.saturating_sub(width(text)) + SPACE_COLUMNS);
        let name_text = style.cut(&name.text, realm_width);
        let mut line = style.paint(status.hue, &status.text) + &pad(&status.text, status_width);
        line += &(style.paint(name.hue, &name_text) + &pad(&name_text, realm_width));
        line += &since.text;
        push_line(out, &line);
        if status_of(realm).severity() == 0 {
            shortened = true;
            continue;
        }
        for text in [why_in_row(realm, style), next_line(realm, now, style)] {
            for line in style.lines(&text, screen.saturating_sub(4), MAX_WHY_LINES) {
                push_line(out, &format!("    {line}"));
            }
        }
    }
    let mut hidden = if shortened { vec!["WHY and NEXT of what is up"] } else { Vec::new() };
    let told = |column: &Column| realms.iter().any(|realm| !part(realm, *column).is_none());
    hidden.extend(OPTIONAL.concat().iter().filter(|column| told(column)).map(|column| column.title()));
    hidden
}

/// Tab-separated, nothing cut, no colour: the first line answers, the second names the columns.
pub(crate) fn plain(
    document: &StatusDocument,
    first: &FirstLine,
    realms: &[&RealmEntry],
    style: Style,
) -> String {
    let style = Style { color: false, words: true, ..style };
    let mut out = String::new();
    push_line(&mut out, &first.text);
    push_line(&mut out, &Column::ALL.map(Column::title).join("\t"));
    for realm in realms {
        let fields = Column::ALL.iter().map(|column| match column {
            // A word alone and a moment that does not move: what scripts compare.
            Column::Status => style.text(&realm.status.to_string()),
            Column::Since => realm.since.to_string(),
            Column::Next => plain_next(realm, style),
            _ => cell(realm, *column, document.generated_at, style).text.trim().to_owned(),
        });
        push_line(&mut out, &fields.collect::<Vec<_>>().join("\t"));
    }
    out
}

fn plain_next(realm: &RealmEntry, style: Style) -> String {
    match (&realm.next.at, &realm.next.when) {
        (Some(at), _) => format!("{} at {at}", style.text(&realm.next.action.to_string())),
        (None, _) => next(&realm.next, WallTime::default(), style).unwrap_or_else(|| "-".to_owned()),
    }
}

#[cfg(test)]
mod tests;
