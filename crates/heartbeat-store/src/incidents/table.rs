//! The tables of `incidents.db`. Every row has a checksum: one that is not what was written is damage.

use std::path::PathBuf;
use std::sync::Arc;

use heartbeat_wire::IncidentDocument;
use rusqlite::types::Value;
use rusqlite::{Connection, Row};

use crate::StoreError;
use crate::bytes::row_check;

/// What a row of each table is, and the table.
pub(super) const TABLES: [(&str, &str); 5] = [
    ("incident", "incident"),
    ("notification", "outbox"),
    ("audit entry", "audit"),
    ("note", "note"),
    ("evidence", "evidence"),
];

/// The column with the checksum of those before it, and of those behind it that are not null: what later versions add.
const CHECKSUM: &str = "checksum";

/// The values of a row before its checksum, and those behind it.
fn values_of(row: &Row<'_>) -> rusqlite::Result<(Vec<Value>, Vec<Value>)> {
    let checksum = row.as_ref().column_index(CHECKSUM)?;
    let values =
        |columns: std::ops::Range<usize>| columns.map(|column| row.get(column)).collect::<Result<_, _>>();
    Ok((values(0..checksum)?, values(checksum + 1..row.as_ref().column_count())?))
}

pub(super) fn is_whole(row: &Row<'_>) -> bool {
    let kept: rusqlite::Result<i64> = row.get(CHECKSUM);
    values_of(row).is_ok_and(|(values, added)| kept.is_ok_and(|kept| kept == check_of(&values, &added)))
}

fn bytes_of(value: rusqlite::types::ValueRef<'_>) -> Vec<u8> {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => b"-".to_vec(),
        ValueRef::Integer(number) => [b"i".as_slice(), &number.to_le_bytes()].concat(),
        ValueRef::Real(number) => [b"r".as_slice(), &number.to_le_bytes()].concat(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => [b"t".as_slice(), bytes].concat(),
    }
}

fn check_of(values: &[Value], added: &[Value]) -> i64 {
    let added = added.iter().filter(|value| **value != Value::Null);
    let bytes: Vec<Vec<u8>> = values.iter().chain(added).map(|value| bytes_of(value.into())).collect();
    let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    row_check(&slices)
}

/// Writes a row with its checksum. `added`: the columns behind that.
pub(super) fn put(
    connection: &Connection,
    table: &str,
    mut values: Vec<Value>,
    added: Vec<Value>,
) -> rusqlite::Result<()> {
    values.push(check_of(&values, &added).into());
    values.extend(added);
    let placeholders = vec!["?"; values.len()].join(",");
    connection.execute(
        &format!("INSERT OR REPLACE INTO {table} VALUES ({placeholders})"),
        rusqlite::params_from_iter(values),
    )?;
    Ok(())
}

/// Copies every row that is whole.
pub(super) fn copy(old: &Connection, new: &Connection, table: &str) -> rusqlite::Result<()> {
    let columns = new.prepare(&format!("SELECT * FROM {table}"))?.column_count();
    let mut statement = old.prepare(&format!("SELECT * FROM {table}"))?;
    let mut rows = statement.query([])?;
    // What cannot be read is lost; what cannot be written is an error.
    while let Ok(Some(row)) = rows.next() {
        if is_whole(row) {
            let (values, mut added) = values_of(row)?;
            // An earlier version has written the file.
            added.resize(columns.saturating_sub(values.len() + 1), Value::Null);
            put(new, table, values, added)?;
        }
    }
    Ok(())
}

pub(super) fn text(document: &IncidentDocument) -> String {
    // Its fields are text, numbers and lists of them: nothing in it can fail.
    serde_json::to_string(document).unwrap_or_default()
}

pub(super) fn next(connection: &Connection, table: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("SELECT coalesce(max(n), 0) + 1 FROM {table}"), [], |row| row.get(0))
}

fn path_of(connection: &Connection) -> PathBuf {
    connection.path().map(PathBuf::from).unwrap_or_default()
}

pub(super) fn failed(connection: &Connection) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
    let path = path_of(connection);
    move |error| StoreError::database("read", &path)(error)
}

/// A document that was damaged since the file was opened, or written by a version that knows more, is left out.
pub(super) fn parsed(text: &str) -> Option<Arc<IncidentDocument>> {
    serde_json::from_str(text).ok().map(Arc::new)
}
