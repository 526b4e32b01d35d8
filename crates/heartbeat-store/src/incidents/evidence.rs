//! Evidence of incidents: texts that only their owner understands.

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use rusqlite::{Connection, params};

use crate::StoreError;
use crate::incidents::table::{failed, put};

/// Incidents with evidence; that of the oldest goes first.
const MAX_INCIDENTS: i64 = 1_000;
/// Bytes of one part.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Level of the compression, from 0 to 10.
const LEVEL: u8 = 6;

pub(super) fn deflated(body: &str) -> Vec<u8> {
    compress_to_vec(body.as_bytes(), LEVEL)
}

/// Writes one part, and forgets what is too old.
pub(super) fn keep(connection: &Connection, incident: &str, part: &str, body: &[u8]) -> rusqlite::Result<()> {
    let row = vec![incident.to_owned().into(), part.to_owned().into(), body.to_vec().into()];
    put(connection, "evidence", row, Vec::new())?;
    connection.execute(
        "DELETE FROM evidence WHERE incident <=
            (SELECT DISTINCT incident FROM evidence ORDER BY incident DESC LIMIT 1 OFFSET ?1)",
        [MAX_INCIDENTS],
    )?;
    Ok(())
}

/// Forgets the evidence of incidents that are older than every incident on record.
pub(super) fn prune(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM evidence WHERE incident < (SELECT min(id) FROM incident)", [])?;
    Ok(())
}

/// Parts that cannot be read are left out.
pub(super) fn of_incident(
    connection: &Connection,
    incident: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    let failed = failed(connection);
    let mut statement = connection
        .prepare("SELECT part, body FROM evidence WHERE incident = ?1 ORDER BY part")
        .map_err(&failed)?;
    let rows = statement
        .query_map(params![incident], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))
        .map_err(&failed)?;
    let mut parts = Vec::new();
    for row in rows {
        let (part, body) = row.map_err(&failed)?;
        let body = decompress_to_vec_with_limit(&body, MAX_BYTES).ok();
        parts.extend(body.and_then(|body| String::from_utf8(body).ok()).map(|body| (part, body)));
    }
    Ok(parts)
}
