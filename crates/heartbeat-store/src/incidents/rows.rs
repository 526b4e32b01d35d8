//! What is written into `incidents.db`, and what is read from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use heartbeat_status::WallTime;
use heartbeat_wire::IncidentDocument;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use crate::StoreError;
use crate::file;
use crate::incidents::table::{TABLES, copy, failed, is_whole, next, parsed, put, text};
use crate::incidents::{AuditEntry, Batch, IncidentRecord, Page, Remembered, evidence, outbox};
use crate::worker::{Confirm, Duty};

/// Entries of the audit that are kept; the oldest go first.
const MAX_AUDIT_ENTRIES: i64 = 100_000;
/// Resolved incidents that go at a time when the file is nearly full.
const PRUNED_INCIDENTS: i64 = 100;

/// What the thread of `incidents.db` does.
pub(crate) struct Incidents {
    path: PathBuf,
}

impl Incidents {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError + use<> {
        StoreError::database(what, &self.path)
    }
}

impl Duty for Incidents {
    type Batch = Batch;

    fn is_empty(batch: &Batch) -> bool {
        batch.is_empty()
    }

    fn join(earlier: &mut Batch, later: Batch) -> Option<String> {
        earlier.join(later);
        let given_up = earlier.take_given_up();
        (given_up > 0)
            .then(|| format!("{given_up} records of incidents do not fit into memory while the disk fails"))
    }

    fn confirms(batch: &mut Batch) -> Vec<Confirm> {
        std::mem::take(&mut batch.confirms)
    }

    /// Every row is looked at: they are few, and each counts.
    fn opened(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        for (what, table) in TABLES {
            let mut statement =
                connection.prepare(&format!("SELECT * FROM {table}")).map_err(self.failed("check"))?;
            let mut rows = statement.query([]).map_err(self.failed("check"))?;
            while let Some(row) = rows.next().map_err(self.failed("check"))? {
                if !is_whole(row) {
                    return Err(StoreError::DamagedValue { what, path: self.path.clone() });
                }
            }
        }
        Ok(())
    }

    fn salvage(&mut self, damaged: &Path, connection: &mut Connection) {
        // A named pipe would block.
        if !damaged.is_file() {
            return;
        }
        let Ok(old) = Connection::open_with_flags(damaged, OpenFlags::SQLITE_OPEN_READ_ONLY) else { return };
        for (_, table) in TABLES {
            // A table ends where it cannot be read on.
            let _ = copy(&old, connection, table);
        }
    }

    fn rescue(
        &mut self,
        orphan: &Connection,
        connection: &mut Connection,
    ) -> Result<Option<String>, StoreError> {
        let failed = || self.failed("restore");
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed())?;
        for (_, table) in TABLES {
            copy(orphan, &transaction, table).map_err(failed())?;
        }
        transaction.commit().map_err(failed())?;
        let path = self.path.display();
        Ok(Some(format!(
            "{path} was removed while heartbeatd ran, and was made again with everything that was in it"
        )))
    }

    fn make_room(&mut self, connection: &mut Connection, short: bool) -> Result<(), StoreError> {
        while file::is_crowded(connection, short).map_err(self.failed("look into"))? {
            let gone = connection.execute(
                "DELETE FROM incident WHERE id IN
                    (SELECT id FROM incident WHERE resolved_at IS NOT NULL ORDER BY id LIMIT ?1)",
                [PRUNED_INCIDENTS],
            );
            if gone.map_err(self.failed("prune"))? == 0 {
                break;
            }
            outbox::prune(connection).map_err(self.failed("prune"))?;
            evidence::prune(connection).map_err(self.failed("prune"))?;
        }
        Ok(())
    }

    fn write(&mut self, connection: &mut Connection, batch: &Batch) -> Result<(), StoreError> {
        let failed = || self.failed("write");
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed())?;
        write(&transaction, batch, &self.path)?;
        transaction.commit().map_err(failed())
    }

    fn upkeep(&mut self, _: &mut Connection) -> Result<bool, StoreError> {
        Ok(false)
    }
}

fn write(connection: &Connection, batch: &Batch, path: &Path) -> Result<(), StoreError> {
    let failed = || StoreError::database("write", path);
    for record in batch.incidents.values() {
        let document = &record.document;
        let row = vec![
            document.id.clone().into(),
            document.opened_at.as_millis().into(),
            document.resolved_at.map(WallTime::as_millis).into(),
            document.root.clone().into(),
            document.reason.to_string().into(),
            document.message.clone().into(),
            text(document).into(),
            record.state.clone().into(),
        ];
        put(connection, "incident", row, Vec::new()).map_err(failed())?;
    }
    for delivery in &batch.deliveries {
        outbox::add(connection, delivery).map_err(failed())?;
    }
    for attempt in &batch.attempts {
        outbox::attempted(connection, attempt).map_err(failed())?;
    }
    for entry in &batch.audit {
        let n = next(connection, "audit").map_err(failed())?;
        let row = vec![
            n.into(),
            entry.at.as_millis().into(),
            entry.by.clone().into(),
            entry.action.clone().into(),
            entry.target.clone().into(),
            entry.detail.clone().into(),
        ];
        put(connection, "audit", row, Vec::new()).map_err(failed())?;
        connection.execute("DELETE FROM audit WHERE n <= ?1", [n - MAX_AUDIT_ENTRIES]).map_err(failed())?;
    }
    for (name, body) in &batch.notes {
        put(connection, "note", vec![name.clone().into(), body.clone().into()], Vec::new())
            .map_err(failed())?;
    }
    for ((incident, part), body) in &batch.evidence {
        evidence::keep(connection, incident, part, body).map_err(failed())?;
    }
    Ok(())
}

pub(super) fn remembered(connection: &Connection, resolved: usize) -> Result<Remembered, StoreError> {
    let failed = failed(connection);
    let mut remembered = Remembered::default();
    let mut open = connection
        .prepare("SELECT document, state FROM incident WHERE resolved_at IS NULL ORDER BY id")
        .map_err(&failed)?;
    let rows = open.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).map_err(&failed)?;
    for row in rows {
        let (text, state) = row.map_err(&failed)?;
        remembered.open.extend(parsed(&text).map(|document| IncidentRecord { document, state }));
    }
    remembered.resolved = documents(
        connection,
        "SELECT document FROM incident WHERE resolved_at IS NOT NULL AND id < ?1 ORDER BY id DESC LIMIT ?2",
        LAST_ID,
        resolved,
    )?;
    remembered.outbox = outbox::unfinished(connection)?;
    let mut notes = connection.prepare("SELECT name, body FROM note").map_err(&failed)?;
    let rows = notes.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(&failed)?;
    remembered.notes = rows.collect::<rusqlite::Result<_>>().map_err(&failed)?;
    Ok(remembered)
}

/// Behind every identifier.
const LAST_ID: &str = "~";

fn documents(
    connection: &Connection,
    sql: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<Arc<IncidentDocument>>, StoreError> {
    let failed = failed(connection);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare(sql).map_err(&failed)?;
    let rows = statement.query_map(params![after, limit], |row| row.get::<_, String>(0)).map_err(&failed)?;
    let mut found = Vec::new();
    for row in rows {
        found.extend(parsed(&row.map_err(&failed)?));
    }
    Ok(found)
}

pub(super) fn page(connection: &Connection, page: &Page) -> Result<Vec<Arc<IncidentDocument>>, StoreError> {
    let sql = if page.open {
        "SELECT document FROM incident WHERE resolved_at IS NULL AND id < ?1 ORDER BY id DESC LIMIT ?2"
    } else {
        "SELECT document FROM incident WHERE id < ?1 ORDER BY id DESC LIMIT ?2"
    };
    documents(connection, sql, page.after.as_deref().unwrap_or(LAST_ID), page.limit)
}

pub(super) fn one(connection: &Connection, id: &str) -> Result<Option<Arc<IncidentDocument>>, StoreError> {
    Ok(documents(connection, "SELECT document FROM incident WHERE id = ?1 LIMIT ?2", id, 1)?.pop())
}

pub(super) fn audited(connection: &Connection, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
    let failed = failed(connection);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection
        .prepare("SELECT at, by, action, target, detail FROM audit ORDER BY n DESC LIMIT ?1")
        .map_err(&failed)?;
    let rows = statement.query_map([limit], |row| {
        Ok(AuditEntry {
            at: WallTime::from_millis(row.get(0)?),
            by: row.get(1)?,
            action: row.get(2)?,
            target: row.get(3)?,
            detail: row.get(4)?,
        })
    });
    rows.map_err(&failed)?.collect::<rusqlite::Result<_>>().map_err(&failed)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use heartbeat_status::{IncidentStep, Reason, Severity};
    use heartbeat_wire::{INCIDENT_SCHEMA, IncidentLinks};

    pub(crate) fn document(id: &str, open: bool) -> IncidentDocument {
        IncidentDocument {
            schema: INCIDENT_SCHEMA.to_owned(),
            event: IncidentStep::Opened.into(),
            id: id.to_owned(),
            seq: 1,
            ecosystem: "shop".to_owned(),
            root: "db".to_owned(),
            reason: Reason::Exited.into(),
            message: "exit code 1".to_owned(),
            severity: Severity::Critical.into(),
            affected: Vec::new(),
            opened_at: WallTime::from_millis(1_700_000_000_000),
            resolved_at: (!open).then(|| WallTime::from_millis(1_700_000_060_000)),
            duration_s: None,
            resolution: None,
            ack: None,
            timeline: Vec::new(),
            log_tail: Vec::new(),
            links: IncidentLinks { this: format!("/api/incidents/{id}/") },
        }
    }
}
