//! What goes from `history.db`: what is older than it has to be, and in a full file the oldest.

use rusqlite::Connection;

use crate::history::tiers::{self, DAY_MS};

/// At most so much of the changes goes at a time: what is exact is to reach back as far as there is room.
const MAX_FORGOTTEN_MS: i64 = 30 * DAY_MS;
/// A shorter piece is not worth a look at every change.
const MIN_FORGOTTEN_MS: i64 = 3_600_000;

/// Gives up some of what is there: the oldest of the finest measurements first, then what is recent of them, changes of
/// statuses last. True when there was something.
pub(super) fn make(connection: &Connection) -> rusqlite::Result<bool> {
    let now_ms: Option<i64> = connection.query_row("SELECT max(seen) FROM life", [], |row| row.get(0))?;
    let Some(now_ms) = now_ms else { return Ok(false) };
    for tier in tiers::TIERS {
        if tiers::drop_oldest_but_recent(connection, tier, now_ms)? {
            return Ok(true);
        }
    }
    for drop_some in [tiers::drop_oldest, tiers::drop_oldest_rows] {
        for tier in tiers::TIERS {
            if drop_some(connection, tier)? {
                return Ok(true);
            }
        }
    }
    drop_changes(connection, now_ms)
}

/// Removes the oldest changes of statuses, of at most a quarter of the time; true when there were any.
fn drop_changes(connection: &Connection, now_ms: i64) -> rusqlite::Result<bool> {
    let oldest: Option<i64> = connection.query_row("SELECT min(at) FROM transition", [], |row| row.get(0))?;
    let Some(oldest) = oldest else { return Ok(false) };
    let length_ms = ((now_ms - oldest) / 4).clamp(MIN_FORGOTTEN_MS, MAX_FORGOTTEN_MS);
    // What a realm was last before a time stays: the oldest may be from long before anything that can go.
    let first_day: Option<i64> = connection.query_row("SELECT min(day) FROM day", [], |row| row.get(0))?;
    let mut until_ms = first_day.map_or(oldest, |day| oldest.max(day * DAY_MS)) + length_ms;
    while until_ms < now_ms {
        if forget_before(connection, until_ms)? {
            return Ok(true);
        }
        until_ms += length_ms;
    }
    Ok(false)
}

/// Removes what is older than it has to be; true when there was something.
pub(super) fn forget(connection: &Connection, before_ms: i64) -> rusqlite::Result<bool> {
    let oldest: Option<i64> = connection.query_row("SELECT min(day) FROM day", [], |row| row.get(0))?;
    let day = before_ms.div_euclid(DAY_MS);
    if oldest.is_none_or(|oldest| oldest >= day) {
        return Ok(false);
    }
    forget_before(connection, day * DAY_MS)
}

/// Removes everything about statuses from before `at_ms`, except what each realm was then; true when there was something.
fn forget_before(connection: &Connection, at_ms: i64) -> rusqlite::Result<bool> {
    let mut gone = connection.execute(
        "DELETE FROM transition WHERE at < ?1 AND
            (life IN (SELECT no FROM life WHERE seen < ?1) OR EXISTS
                (SELECT 1 FROM transition AS later WHERE later.realm = transition.realm AND later.at < ?1
                    AND later.life = transition.life AND (later.at, later.n) > (transition.at, transition.n)))",
        [at_ms],
    )?;
    gone += connection.execute("DELETE FROM life WHERE seen < ?1", [at_ms])?;
    gone += connection.execute("DELETE FROM day WHERE day < ?1", [at_ms.div_euclid(DAY_MS)])?;
    Ok(gone > 0)
}
