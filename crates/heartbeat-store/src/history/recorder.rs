//! What the thread of `history.db` does: it writes lives, changes and measurements, packs what is over, and gives up the
//! oldest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::StoreError;
use crate::availability::Class;
use crate::file;
use crate::history::batch::{Batch, Write};
use crate::history::{Measured, Quantity, StatusChange, days, lives, room, tiers};
use crate::worker::{Confirm, Duty};

/// The thread's own memory of what it has written.
#[derive(Clone, Debug, Default)]
struct Now {
    boot: String,
    /// The life that goes on; `None` before the first, and in a file that does not have it.
    life: Option<i64>,
    /// The last moment that was written.
    at_ms: i64,
    /// The last change of each realm.
    realms: BTreeMap<String, StatusChange>,
    was_up: BTreeSet<String>,
    series: BTreeMap<(String, Quantity), i64>,
}

pub(crate) struct Recorder {
    path: PathBuf,
    /// How long changes and hours are kept.
    keep_ms: i64,
    now: Now,
}

impl Recorder {
    pub(crate) fn new(path: PathBuf, keep_ms: i64) -> Self {
        Self { path, keep_ms, now: Now::default() }
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError + use<> {
        StoreError::database(what, &self.path)
    }
}

impl Duty for Recorder {
    type Batch = Batch;

    fn is_empty(batch: &Batch) -> bool {
        batch.is_empty()
    }

    fn join(earlier: &mut Batch, later: Batch) -> Option<String> {
        earlier.join(later);
        earlier.take_lost()
    }

    fn confirms(_: &mut Batch) -> Vec<Confirm> {
        Vec::new()
    }

    fn opened(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        self.now.series.clear();
        self.now.was_up.clear();
        if let Some(life) = self.now.life
            && !lives::has(connection, life).map_err(self.failed("read"))?
        {
            self.now.life = None;
        }
        Ok(())
    }

    /// History can be lost.
    fn salvage(&mut self, _: &Path, _: &mut Connection) {}

    /// History may be deleted at any time, and begins anew then.
    fn rescue(&mut self, _: &Connection, _: &mut Connection) -> Result<Option<String>, StoreError> {
        let path = self.path.display();
        Ok(Some(format!(
            "{path} was removed while heartbeatd ran: history began anew, and what was in it is lost"
        )))
    }

    fn make_room(&mut self, connection: &mut Connection, short: bool) -> Result<(), StoreError> {
        while file::is_crowded(connection, short).map_err(self.failed("look into"))? {
            if !room::make(connection).map_err(self.failed("prune"))? {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, connection: &mut Connection, batch: &Batch) -> Result<(), StoreError> {
        let before = self.now.clone();
        let written = self.now.write(connection, batch);
        if written.is_err() {
            self.now = before;
        }
        written.map_err(self.failed("write"))
    }

    fn upkeep(&mut self, connection: &mut Connection) -> Result<bool, StoreError> {
        let now_ms = self.now.at_ms;
        let keep_ms = self.keep_ms;
        let mut keep_up = || -> rusqlite::Result<bool> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let more = tiers::pack_one(&transaction, now_ms, keep_ms)?
                || days::write_one(&transaction, now_ms)?
                || room::forget(&transaction, now_ms - keep_ms)?;
            transaction.commit()?;
            Ok(more)
        };
        if now_ms == 0 {
            return Ok(false);
        }
        keep_up().map_err(self.failed("pack"))
    }
}

impl Now {
    fn write(&mut self, connection: &mut Connection, batch: &Batch) -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(until_ms) = batch.folded_until_ms {
            self.realms.extend(batch.folded.iter().map(|(realm, change)| (realm.clone(), change.clone())));
            self.resume(&transaction, until_ms)?;
        }
        for write in &batch.writes {
            match write {
                Write::Life { boot, at_ms } => {
                    self.boot.clone_from(boot);
                    self.realms.clear();
                    self.resume(&transaction, *at_ms)?;
                }
                Write::Change(change) => {
                    self.alive(&transaction, change.at_ms)?;
                    self.change(&transaction, change)?;
                }
                Write::Alive { at_ms } => self.alive(&transaction, *at_ms)?,
            }
        }
        for (at_ms, measured) in &batch.minutes {
            self.minute(&transaction, *at_ms, measured)?;
        }
        if let Some(life) = self.life {
            lives::extend(&transaction, life, self.at_ms)?;
        }
        transaction.commit()
    }

    /// Begins a life in which every realm is what it was last.
    fn resume(&mut self, connection: &Connection, at_ms: i64) -> rusqlite::Result<()> {
        if let Some(life) = self.life {
            lives::extend(connection, life, self.at_ms)?;
        }
        self.life = Some(lives::begin(connection, &self.boot, at_ms)?);
        self.at_ms = at_ms;
        for change in std::mem::take(&mut self.realms).into_values() {
            self.change(connection, &StatusChange { at_ms, ..change })?;
        }
        Ok(())
    }

    fn alive(&mut self, connection: &Connection, at_ms: i64) -> rusqlite::Result<()> {
        if self.boot.is_empty() {
            // No life has begun yet.
            return Ok(());
        }
        if self.life.is_none() {
            self.resume(connection, at_ms)?;
        }
        self.at_ms = self.at_ms.max(at_ms);
        Ok(())
    }

    fn change(&mut self, connection: &Connection, change: &StatusChange) -> rusqlite::Result<()> {
        let Some(life) = self.life else { return Ok(()) };
        let realm = lives::realm(connection, &change.realm)?;
        let was_up = self.was_up.contains(&change.realm) || lives::was_up(connection, realm, &self.boot)?;
        let class = Class::of(change.status, was_up);
        if was_up || matches!(class, Class::Up | Class::Degraded) {
            self.was_up.insert(change.realm.clone());
        }
        lives::change(connection, (realm, life), change, class)?;
        self.realms.insert(change.realm.clone(), change.clone());
        Ok(())
    }

    fn minute(&mut self, connection: &Connection, at_ms: i64, measured: &[Measured]) -> rusqlite::Result<()> {
        let (mut numbered, mut by_day) = (Vec::with_capacity(measured.len()), Vec::new());
        for Measured { realm, quantity, values } in measured {
            let key = (realm.clone(), quantity.clone());
            let no = match self.series.get(&key) {
                Some(no) => *no,
                None => *self.series.entry(key).or_insert(series(connection, realm, &quantity.name())?),
            };
            let to = if matches!(quantity, Quantity::Phase(..)) { &mut by_day } else { &mut numbered };
            to.push((no, values));
        }
        numbered.sort_by_key(|(no, _)| *no);
        tiers::add_minute(connection, at_ms, &numbered)?;
        tiers::add_to_day(connection, at_ms, &by_day)
    }
}

fn series(connection: &Connection, realm: &str, name: &str) -> rusqlite::Result<i64> {
    let find = "SELECT no FROM series WHERE realm = ?1 AND probe = ?2";
    if let Some(no) = connection.query_row(find, params![realm, name], |row| row.get(0)).optional()? {
        return Ok(no);
    }
    connection.execute("INSERT INTO series (realm, probe) VALUES (?1, ?2)", params![realm, name])?;
    Ok(connection.last_insert_rowid())
}
