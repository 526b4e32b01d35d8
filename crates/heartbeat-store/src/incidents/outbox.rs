//! The outbox: a row per notification, written in the transaction of its incident.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

use heartbeat_status::{DeliveryState, WallTime};

use crate::StoreError;
use crate::incidents::table::{failed, next, parsed, put, text};
use crate::incidents::{Attempt, AttemptOutcome, Delivery, OutboxEntry};

/// Notifications that are not due and are kept for `notify log`, beside those of open incidents.
const MAX_SETTLED_NOTIFICATIONS: i64 = 20_000;
/// Columns of a row before its checksum.
const COLUMNS: usize = 12;
/// The column behind the checksum: the message that it is part of.
const MESSAGE: usize = COLUMNS + 1;

fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Adds a notification that is due. A batch that was written once changes nothing when it is written again.
pub(super) fn add(connection: &Connection, delivery: &Delivery) -> rusqlite::Result<()> {
    let document = &delivery.document;
    let seq = number(document.seq);
    let known =
        "SELECT 1 FROM outbox WHERE incident = ?1 AND seq = ?2 AND receiver = ?3 AND state <> 'dropped'";
    if connection.prepare(known)?.exists(params![document.id, seq, delivery.receiver])? {
        return Ok(());
    }
    let row = vec![
        next(connection, "outbox")?.into(),
        document.id.clone().into(),
        seq.into(),
        delivery.receiver.clone().into(),
        document.event.to_string().into(),
        DeliveryState::Due.to_string().into(),
        delivery.queued_at.as_millis().into(),
        0.into(),
        Value::Null,
        Value::Null,
        Value::Null,
        text(document).into(),
    ];
    put(connection, "outbox", row, vec![delivery.message.clone().into()])
}

/// Writes what became of a notification that is due.
pub(super) fn attempted(connection: &Connection, attempt: &Attempt) -> rusqlite::Result<()> {
    let find = "SELECT * FROM outbox WHERE incident = ?1 AND seq = ?2 AND receiver = ?3 AND state = 'due'";
    let named = params![attempt.incident, number(attempt.seq), attempt.receiver];
    let row = connection.prepare(find)?.query_row(named, |row| {
        let values = (0..COLUMNS).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<Value>>>()?;
        Ok((values, vec![row.get(MESSAGE)?]))
    });
    let (mut row, mut message) = match row {
        Ok(row) => row,
        Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(()),
        Err(error) => return Err(error),
    };
    let (state, next_at, why) = match &attempt.outcome {
        AttemptOutcome::Delivered { message: called } => {
            if let Some(called) = called {
                message = vec![called.clone().into()];
            }
            (DeliveryState::Delivered, None, None)
        }
        AttemptOutcome::Retried { why, next_at } => (DeliveryState::Due, Some(*next_at), Some(why.clone())),
        AttemptOutcome::GivenUp(why) => (DeliveryState::GivenUp, None, Some(why.clone())),
        AttemptOutcome::Dropped(why) => (DeliveryState::Dropped, None, Some(why.clone())),
    };
    row[5] = state.to_string().into();
    if state != DeliveryState::Dropped {
        let attempts = if let Value::Integer(attempts) = row[7] { attempts } else { 0 };
        (row[7], row[8]) = ((attempts + 1).into(), attempt.at.as_millis().into());
    }
    (row[9], row[10]) = (next_at.map(WallTime::as_millis).into(), why.into());
    if state == DeliveryState::Due {
        return put(connection, "outbox", row, message);
    }
    row[11] = String::new().into();
    put(connection, "outbox", row, message)?;
    // What decides whether an incident's end is sent stays.
    let newest = next(connection, "outbox")?;
    connection
        .prepare(
            "DELETE FROM outbox WHERE n <= ?1 AND state <> 'due'
                AND incident NOT IN (SELECT id FROM incident WHERE resolved_at IS NULL)
                AND incident NOT IN (SELECT incident FROM outbox WHERE state = 'due')",
        )?
        .execute([newest - MAX_SETTLED_NOTIFICATIONS])?;
    Ok(())
}

/// Removes what belongs to incidents that are gone.
pub(super) fn prune(connection: &Connection) -> rusqlite::Result<usize> {
    connection
        .execute("DELETE FROM outbox WHERE state <> 'due' AND incident NOT IN (SELECT id FROM incident)", [])
}

const SELECT: &str = "SELECT outbox.*, incident.id IS NOT NULL AND incident.resolved_at IS NULL
    FROM outbox LEFT JOIN incident ON incident.id = outbox.incident";

/// What the next heartbeatd goes on with.
pub(super) fn unfinished(connection: &Connection) -> Result<Vec<OutboxEntry>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE incident.id IS NOT NULL AND incident.resolved_at IS NULL
            OR outbox.incident IN (SELECT incident FROM outbox WHERE state = 'due') ORDER BY outbox.n"
    );
    entries(connection, &sql, [])
}

/// Everything about one incident.
pub(super) fn of_incident(connection: &Connection, incident: &str) -> Result<Vec<OutboxEntry>, StoreError> {
    entries(connection, &format!("{SELECT} WHERE outbox.incident = ?1 ORDER BY outbox.n"), [incident])
}

fn entries(
    connection: &Connection,
    sql: &str,
    of: impl rusqlite::Params,
) -> Result<Vec<OutboxEntry>, StoreError> {
    let failed = failed(connection);
    let mut statement = connection.prepare(sql).map_err(&failed)?;
    let rows = statement.query_map(of, entry).map_err(&failed)?;
    rows.collect::<rusqlite::Result<_>>().map_err(&failed)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<OutboxEntry> {
    let time =
        |column| -> rusqlite::Result<_> { Ok(row.get::<_, Option<i64>>(column)?.map(WallTime::from_millis)) };
    let state: String = row.get(5)?;
    Ok(OutboxEntry {
        incident: row.get(1)?,
        seq: row.get::<_, i64>(2)?.unsigned_abs(),
        receiver: row.get(3)?,
        event: row.get(4)?,
        // A word of a later version is none that is due.
        state: state.parse().unwrap_or(DeliveryState::Dropped),
        queued_at: WallTime::from_millis(row.get(6)?),
        attempts: row.get(7)?,
        attempted_at: time(8)?,
        next_at: time(9)?,
        why: row.get(10)?,
        document: parsed(&row.get::<_, String>(11)?),
        message: row.get(MESSAGE)?,
        open: row.get(MESSAGE + 1)?,
    })
}
