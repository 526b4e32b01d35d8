//! Lives of heartbeatd and changes of statuses, as rows.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, Statement, params};

use crate::availability::{Change, Class, Life};
use crate::bytes::row_check;
use crate::history::StatusChange;

/// Begins a life; its number.
pub(super) fn begin(connection: &Connection, boot: &str, at_ms: i64) -> rusqlite::Result<i64> {
    connection.execute("INSERT INTO life (boot, began, seen) VALUES (?1, ?2, ?2)", params![boot, at_ms])?;
    Ok(connection.last_insert_rowid())
}

/// The life goes on.
pub(super) fn extend(connection: &Connection, no: i64, at_ms: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE life SET seen = max(seen, ?2) WHERE no = ?1", params![no, at_ms])?;
    Ok(())
}

/// Whether a life is on record.
pub(super) fn has(connection: &Connection, no: i64) -> rusqlite::Result<bool> {
    connection.prepare("SELECT 1 FROM life WHERE no = ?1")?.exists([no])
}

/// The number of a realm; a new one gets the next.
pub(super) fn realm(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    if let Some(no) = known_realm(connection, name)? {
        return Ok(no);
    }
    connection.execute("INSERT INTO realm (name) VALUES (?1)", [name])?;
    Ok(connection.last_insert_rowid())
}

/// The number of a realm that is on record.
pub(super) fn known_realm(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT no FROM realm WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// Every realm that is on record.
pub(super) fn realms(connection: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement = connection.prepare("SELECT no, name FROM realm ORDER BY no")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Whether a realm was up at some time since the host booted.
pub(super) fn was_up(connection: &Connection, realm: i64, boot: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM transition WHERE realm = ?1 AND class <= 1
        AND at >= (SELECT min(began) FROM life WHERE boot = ?2) AND life IN (SELECT no FROM life WHERE boot = ?2) LIMIT 1";
    connection.prepare(sql)?.exists(params![realm, boot])
}

/// Writes a change.
pub(super) fn change(
    connection: &Connection,
    (realm, life): (i64, i64),
    change: &StatusChange,
    class: Class,
) -> rusqlite::Result<()> {
    let sql = "SELECT coalesce(max(n) + 1, 0) FROM transition WHERE realm = ?1 AND at = ?2";
    let n: i64 = connection.query_row(sql, params![realm, change.at_ms], |row| row.get(0))?;
    let (status, reason) = (change.status.as_str(), change.reason.as_str());
    let class = i64::from(class.number());
    connection.execute(
        "INSERT INTO transition (realm, at, n, life, status, class, reason, checksum)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            realm,
            change.at_ms,
            n,
            life,
            status,
            class,
            reason,
            check(realm, change.at_ms, life, class, status)
        ],
    )?;
    Ok(())
}

fn check(realm: i64, at_ms: i64, life: i64, class: i64, status: &str) -> i64 {
    let numbers = [realm, at_ms, life, class].map(i64::to_le_bytes).concat();
    // Two bytes are enough to tell damage, and there are many rows.
    row_check(&[&numbers, status.as_bytes()]) & 0x7fff
}

/// The lives that reach into a window, and the one before: by their numbers.
pub(super) fn lives(connection: &Connection, window: &Range<i64>) -> rusqlite::Result<Vec<Life>> {
    let mut statement =
        connection.prepare("SELECT no, began, seen FROM life WHERE seen >= ?1 AND began < ?2 ORDER BY no")?;
    let lives = statement.query_map(params![window.start, window.end], |row| {
        Ok(Life { no: row.get(0)?, began_ms: row.get(1)?, seen_ms: row.get(2)? })
    })?;
    lives.collect()
}

/// When heartbeatd was seen first.
pub(super) fn first_life(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT min(began) FROM life", [], |row| row.get(0))
}

/// The changes of heartbeatd itself: it is up while it lives.
pub(super) fn as_changes(lives: &[Life]) -> Vec<Change> {
    lives.iter().map(|life| Change { life: life.no, at_ms: life.began_ms, class: Class::Up }).collect()
}

/// Reads the changes of one realm after another.
pub(super) struct ChangeReader<'a> {
    first: Statement<'a>,
    before: Statement<'a>,
    within: Statement<'a>,
}

impl<'a> ChangeReader<'a> {
    pub(super) fn new(connection: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            first: connection.prepare("SELECT min(at) FROM transition WHERE realm = ?1")?,
            before: connection.prepare(
                "SELECT at, life, class, status, checksum FROM transition WHERE realm = ?1 AND at < ?2 AND life = ?3
                    ORDER BY at DESC, n DESC LIMIT 1",
            )?,
            within: connection.prepare(
                "SELECT at, life, class, status, checksum FROM transition WHERE realm = ?1 AND at >= ?2 AND at < ?3
                    ORDER BY at, n",
            )?,
        })
    }

    /// When a realm was seen first.
    pub(super) fn first_seen(&mut self, realm: i64) -> rusqlite::Result<Option<i64>> {
        self.first.query_row([realm], |row| row.get(0))
    }

    /// Changes of a realm within a window, and what it was when the window began: by life and in order. `lives` are
    /// those of the window.
    pub(super) fn changes(
        &mut self,
        realm: i64,
        lives: &[Life],
        window: &Range<i64>,
    ) -> rusqlite::Result<Vec<Change>> {
        let row = |row: &rusqlite::Row<'_>| {
            let (at_ms, life, class, status): (i64, i64, i64, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            let whole = row.get::<_, i64>(4)? == check(realm, at_ms, life, class, &status);
            // What was damaged says nothing.
            let class = u8::try_from(class).ok().and_then(Class::from_number).filter(|_| whole);
            Ok(Change { life, at_ms, class: class.unwrap_or(Class::Unknown) })
        };
        let mut changes = Vec::new();
        for life in lives.iter().filter(|life| life.began_ms < window.start) {
            changes.extend(self.before.query_row(params![realm, window.start, life.no], row).optional()?);
        }
        for change in self.within.query_map(params![realm, window.start, window.end], row)? {
            changes.push(change?);
        }
        changes.sort_by_key(|change| change.life);
        Ok(changes)
    }
}
