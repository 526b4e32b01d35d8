//! What every realm was on each UTC day that is over, packed, so that the strips of months are read at once.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::availability::{Account, Class, account};
use crate::bytes::{Reader, push_varint};
use crate::history::chunk::{pack, unpack};
use crate::history::lives::{self, ChangeReader};
use crate::history::tiers::DAY_MS;

/// Writes the oldest day that is over and not written yet; true when there was one.
pub(super) fn write_one(connection: &Connection, now_ms: i64) -> rusqlite::Result<bool> {
    let today = now_ms.div_euclid(DAY_MS);
    // A clock that was ahead once may have left later ones.
    let written = "SELECT max(day) FROM day WHERE day < ?1";
    let written: Option<i64> = connection.query_row(written, [today], |row| row.get(0))?;
    let from = written.map_or(i64::MIN / DAY_MS, |day| day + 1) * DAY_MS;
    // Days without any life say nothing: a host may begin in 1970.
    let next = "SELECT min(max(began, ?1)) FROM life WHERE seen >= ?1";
    let next: Option<i64> = connection.query_row(next, [from], |row| row.get(0))?;
    let Some(day) = next.map(|at_ms| at_ms.div_euclid(DAY_MS)).filter(|day| *day < today) else {
        return Ok(false);
    };
    let mut raw = Vec::new();
    for (realm, account) in of_day(connection, day)? {
        push_varint(&mut raw, u64::try_from(realm).unwrap_or(0));
        for class in Class::ALL {
            push_varint(&mut raw, account.ms(class));
        }
    }
    connection.execute("INSERT OR REPLACE INTO day (day, data) VALUES (?1, ?2)", params![day, pack(&raw)])?;
    Ok(true)
}

/// What every realm was on a day, from its changes.
fn of_day(connection: &Connection, day: i64) -> rusqlite::Result<Vec<(i64, Account)>> {
    let window = day * DAY_MS..(day + 1) * DAY_MS;
    let lives_of_day = lives::lives(connection, &window)?;
    let mut reader = ChangeReader::new(connection)?;
    let mut accounts = Vec::new();
    for (realm, _) in lives::realms(connection)? {
        let Some(first) = reader.first_seen(realm)?.filter(|first| *first < window.end) else {
            continue;
        };
        let window = window.start.max(first)..window.end;
        let changes = reader.changes(realm, &lives_of_day, &window)?;
        accounts.push((realm, account(&lives_of_day, &changes, &window)));
    }
    Ok(accounts)
}

/// What every realm was on a day that is over; empty when nothing is on record. A day that is damaged is computed anew.
fn read(connection: &Connection, day: i64) -> rusqlite::Result<Vec<(i64, Account)>> {
    let packed: Option<Vec<u8>> =
        connection.query_row("SELECT data FROM day WHERE day = ?1", [day], |row| row.get(0)).optional()?;
    let Some(packed) = packed else { return Ok(Vec::new()) };
    match unpack(&packed).as_deref().and_then(parse) {
        Some(accounts) => Ok(accounts),
        None => of_day(connection, day),
    }
}

fn parse(raw: &[u8]) -> Option<Vec<(i64, Account)>> {
    let mut bytes = Reader::new(raw);
    let mut accounts = Vec::new();
    while !bytes.is_empty() {
        let realm = i64::try_from(bytes.varint()?).ok()?;
        let mut account = Account::default();
        for class in Class::ALL {
            account.add(class, bytes.varint()?);
        }
        accounts.push((realm, account));
    }
    Some(accounts)
}

/// What every realm was on each of `days` days, the last of which is that of `now_ms`, up to that moment.
pub(super) fn strips(
    connection: &Connection,
    days: i64,
    now_ms: i64,
) -> rusqlite::Result<BTreeMap<String, Vec<Account>>> {
    let today = now_ms.div_euclid(DAY_MS);
    let first = today - days + 1;
    let length = usize::try_from(days).unwrap_or(0);
    let names = lives::realms(connection)?;
    let mut by_realm: BTreeMap<i64, Vec<Account>> =
        names.iter().map(|(realm, _)| (*realm, vec![Account::default(); length])).collect();
    for (at, day) in (first..today).enumerate() {
        for (realm, account) in read(connection, day)? {
            if let Some(slot) = by_realm.get_mut(&realm).and_then(|strip| strip.get_mut(at)) {
                *slot = account;
            }
        }
    }
    let begun = today * DAY_MS..now_ms;
    let lives_of_day = lives::lives(connection, &begun)?;
    let mut reader = ChangeReader::new(connection)?;
    for (realm, strip) in &mut by_realm {
        let first = reader.first_seen(*realm)?.unwrap_or(begun.end);
        let window = begun.start.max(first)..begun.end;
        let changes = reader.changes(*realm, &lives_of_day, &window)?;
        if let Some(slot) = strip.last_mut() {
            *slot = account(&lives_of_day, &changes, &window);
        }
    }
    Ok(names.into_iter().filter_map(|(realm, name)| Some((name, by_realm.remove(&realm)?))).collect())
}
