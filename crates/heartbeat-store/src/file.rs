//! One database file: made whole or not at all, checked when it is opened, migrated forwards, set aside when it is
//! damaged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::StoreError;

/// Stands in the header of every file of ours: `hbst`.
const APPLICATION_ID: i64 = 0x6862_7374;
/// How long another process may hold the file before a write fails, and is tried again later.
const LOCKED_WAIT: Duration = Duration::from_millis(500);
/// The write-ahead log is cut to this after a checkpoint, in bytes.
const MAX_IDLE_LOG_BYTES: i64 = 4 * 1024 * 1024;
const PAGE_BYTES: u64 = 4_096;

/// What a database is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema {
    /// The steps from one form to the next; `user_version` counts those that were made.
    pub(crate) migrations: &'static [&'static str],
    /// Whether a commit survives a power cut, and not only the end of heartbeatd.
    pub(crate) durable: bool,
    /// The file never grows beyond this, in bytes.
    pub(crate) max_bytes: u64,
}

impl Schema {
    const fn version(&self) -> i64 {
        self.migrations.len() as i64
    }
}

/// Opens the database at `path`, or makes it. `check`: look at every page first.
pub(crate) fn open(path: &Path, schema: &Schema, check: bool) -> Result<Connection, StoreError> {
    for ending in FILES {
        check_regular(&beside(path, ending))?;
    }
    if !path.try_exists().map_err(StoreError::file("look for", path))? {
        make(path, schema)?;
    }
    let connection = connect(path, schema)?;
    if check {
        quick_check(&connection, path)?;
    }
    migrate(connection, path, schema)
}

/// The files of a database, by what follows its name.
const FILES: [&str; 3] = ["", "-wal", "-shm"];

/// Refuses what is there and is no regular file, which may block the thread that opens it. A link counts as what it leads to.
fn check_regular(path: &Path) -> Result<(), StoreError> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    let kind = metadata.file_type();
    let found = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(StoreError::NotAFile { path: path.to_owned(), found })
}

/// Writes one page, and changes nothing: whether a disk works again is known only from a write.
pub(crate) fn try_write(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

/// Makes a connection to a file that has lost its name leave alone what has that name now: SQLite removes the log of a
/// database by its name when the last connection closes.
pub(crate) fn disown(connection: &Connection) -> rusqlite::Result<bool> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
}

/// Gives a damaged database another name, with what belongs to it, so that a new one can take its place.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let aside = beside(path, ".damaged");
    for ending in FILES {
        let (from, to) = (beside(path, ending), beside(&aside, ending));
        if from.is_dir() || to.is_dir() {
            // A directory cannot replace a file, and a file cannot replace a directory.
            drop(std::fs::rename(&to, beside(&to, ".before")));
        }
        match std::fs::rename(&from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::file("set aside", &from)(error));
            }
            // The one of an earlier damage is not this one's.
            Err(_) => drop(std::fs::remove_file(beside(&aside, ending))),
            Ok(()) => {}
        }
    }
    Ok(aside)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut other = path.as_os_str().to_owned();
    other.push(ending);
    PathBuf::from(other)
}

/// A new database under another name, renamed when it is whole: an empty or unfinished file is always damage.
fn make(path: &Path, schema: &Schema) -> Result<(), StoreError> {
    let fresh = beside(path, ".new");
    for ending in ["", "-wal", "-shm", "-journal"] {
        let old = beside(&fresh, ending);
        match std::fs::remove_file(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::file("remove", &old)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh);
    drop(file.map_err(StoreError::file("make", &fresh))?);
    let failed = |what| StoreError::database(what, &fresh);
    let made = Connection::open_with_flags(&fresh, flags()).map_err(failed("make"))?;
    made.pragma_update(None, "journal_mode", "DELETE").map_err(failed("make"))?;
    // No step of an unfinished file has to survive: the whole is put on disk once, before it has its name.
    made.pragma_update(None, "synchronous", "OFF").map_err(failed("make"))?;
    made.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed("make"))?;
    let made = migrate(made, &fresh, schema)?;
    made.close().map_err(|(_, error)| failed("make")(error))?;
    let synced = File::open(&fresh).and_then(|file| file.sync_all());
    synced.map_err(StoreError::file("make", &fresh))?;
    // A log that an earlier database of this name has left behind is not this one's.
    for ending in ["-wal", "-shm"] {
        drop(std::fs::remove_file(beside(path, ending)));
    }
    std::fs::rename(&fresh, path).map_err(StoreError::file("make", path))?;
    if let Some(dir) = path.parent() {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(StoreError::file("make", path))?;
    }
    Ok(())
}

fn flags() -> OpenFlags {
    // The file exists by now: SQLite is not to make one with the permissions of the umask.
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn connect(path: &Path, schema: &Schema) -> Result<Connection, StoreError> {
    let failed = |error| StoreError::database("open", path)(error);
    let metadata = std::fs::metadata(path).map_err(StoreError::file("open", path))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, private).map_err(StoreError::file("protect", path))?;
    }
    let connection = Connection::open_with_flags(path, flags()).map_err(failed)?;
    connection.busy_timeout(LOCKED_WAIT).map_err(failed)?;
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    if id != APPLICATION_ID {
        return Err(StoreError::DamagedValue { what: "header", path: path.to_owned() });
    }
    let synchronous = if schema.durable { "FULL" } else { "NORMAL" };
    let pages = i64::try_from(schema.max_bytes / PAGE_BYTES).unwrap_or(i64::MAX);
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", synchronous).map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", MAX_IDLE_LOG_BYTES).map_err(failed)?;
    connection.pragma_update(None, "max_page_count", pages).map_err(failed)?;
    connection.pragma_update(None, "mmap_size", 0).map_err(failed)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    connection.pragma_update(None, "cell_size_check", true).map_err(failed)?;
    Ok(connection)
}

fn quick_check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(StoreError::database("check", path))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(StoreError::DamagedValue { what: "page", path: path.to_owned() })
}

/// Migrates the schema, forwards only.
fn migrate(mut connection: Connection, path: &Path, schema: &Schema) -> Result<Connection, StoreError> {
    let failed = |error| StoreError::database("migrate", path)(error);
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found > schema.version() {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: schema.version() });
    }
    let Ok(done) = usize::try_from(found) else {
        return Err(StoreError::DamagedValue { what: "header", path: path.to_owned() });
    };
    for (version, sql) in (1_i64..).zip(schema.migrations).skip(done) {
        // The step and its number together, or neither.
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        transaction.execute_batch(sql).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(connection)
}

/// The oldest goes when so much of the largest size is used, in percent.
const FULL_PERCENT: i64 = 90;
/// The oldest goes until so much is used when something did not fit, in percent.
const SHORT_PERCENT: i64 = 50;

/// Whether the oldest is to go; `short` when something did not fit.
pub(crate) fn is_crowded(connection: &Connection, short: bool) -> rusqlite::Result<bool> {
    Ok(used_percent(connection)? >= if short { SHORT_PERCENT } else { FULL_PERCENT })
}

/// How much of the largest size the data takes, in percent.
fn used_percent(connection: &Connection) -> rusqlite::Result<i64> {
    let number = |pragma: &str| -> rusqlite::Result<i64> {
        connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
    };
    let used = number("page_count")? - number("freelist_count")?;
    Ok(used * 100 / number("max_page_count")?.max(1))
}
