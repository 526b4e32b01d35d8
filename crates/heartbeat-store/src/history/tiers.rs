//! Latencies at four resolutions, each kept for its own time: rows while they are recent, packed chunks later.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::history::chunk::Entry;
use crate::sketch::{Sketch, Summary};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A UTC day.
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;
/// Series that are packed at a time: some 100 ms of work.
const PACKED_SERIES: i64 = 12;

/// One resolution of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tier {
    no: i64,
    /// Length of a slot.
    pub(super) slot_ms: i64,
    /// Rows are packed in pieces of this length: the file has to have room for the rows until then.
    pack_ms: i64,
    /// A piece stays in rows for so long after its end: to read what was measured lately, nothing is unpacked. The same
    /// for all sketches, so that those of a tier are complete before the next one is made of them.
    rows_ms: i64,
    /// In which units the beginnings of chunks are counted.
    chunk_ms: i64,
    /// How many of these units a chunk holds. Larger chunks waste less of the last page of each.
    chunk_units: i64,
    /// How long chunks are kept; `None`: for good.
    keep_ms: Option<i64>,
    /// In a full file, chunks that end less than this ago go only when no older one of any tier is left: a large host has
    /// little time in its file, and its last day is worth more than an hour of last year.
    recent_ms: i64,
}

/// Summaries of one minute.
pub(super) const MINUTES: Tier = Tier {
    no: 0,
    slot_ms: MINUTE_MS,
    pack_ms: HOUR_MS,
    rows_ms: 0,
    chunk_ms: HOUR_MS,
    chunk_units: 24,
    keep_ms: Some(WEEK_MS),
    recent_ms: DAY_MS,
};
/// Sketches of ten minutes.
pub(super) const TENS: Tier = Tier {
    no: 1,
    slot_ms: 10 * MINUTE_MS,
    pack_ms: DAY_MS / 4,
    rows_ms: HOUR_MS,
    chunk_ms: WEEK_MS,
    chunk_units: 2,
    keep_ms: Some(90 * DAY_MS),
    recent_ms: WEEK_MS,
};
/// Sketches of one hour.
pub(super) const HOURS: Tier = Tier {
    no: 2,
    slot_ms: HOUR_MS,
    pack_ms: DAY_MS,
    rows_ms: HOUR_MS,
    chunk_ms: WEEK_MS,
    chunk_units: 4,
    keep_ms: Some(730 * DAY_MS),
    recent_ms: 90 * DAY_MS,
};
/// Sketches of one day.
pub(super) const DAYS: Tier = Tier {
    no: 3,
    slot_ms: DAY_MS,
    pack_ms: WEEK_MS,
    rows_ms: HOUR_MS,
    chunk_ms: 4 * WEEK_MS,
    chunk_units: 1,
    keep_ms: None,
    recent_ms: 730 * DAY_MS,
};

/// The finest first.
pub(super) const TIERS: [Tier; 4] = [MINUTES, TENS, HOURS, DAYS];

impl Tier {
    const fn slot(&self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.slot_ms)
    }

    /// The slots of the piece of `length_ms` that `at_ms` lies in.
    const fn piece(&self, at_ms: i64, length_ms: i64) -> (i64, i64) {
        let first = at_ms.div_euclid(length_ms) * (length_ms / self.slot_ms);
        (first, first + length_ms / self.slot_ms)
    }

    /// The beginning of the chunk that `at_ms` lies in. Earlier versions had smaller chunks, which stay where they are.
    const fn chunk(&self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.chunk_ms).div_euclid(self.chunk_units) * self.chunk_units
    }

    const fn start_ms(&self, slot: i64) -> i64 {
        slot * self.slot_ms
    }
}

/// Counts the latencies of a minute.
pub(super) fn add_minute(
    connection: &Connection,
    at_ms: i64,
    latencies: &[(i64, &Sketch)],
) -> rusqlite::Result<()> {
    let mut get = connection.prepare(GET_ENTRY)?;
    let mut put = connection.prepare(PUT_ENTRY)?;
    for (series, sketch) in latencies {
        let Some(summary) = sketch.summary() else { continue };
        let minute = MINUTES.slot(at_ms);
        let known = get.query_row(params![MINUTES.no, minute, series], bytes).optional()?;
        let summary = with(summary, known.as_deref().and_then(Summary::from_one));
        put.execute(params![MINUTES.no, minute, series, summary.one()])?;
        let ten = TENS.slot(at_ms);
        let known = get.query_row(params![TENS.no, ten, series], bytes).optional()?;
        let merged = with((*sketch).clone(), known.as_deref().and_then(Sketch::from_one));
        put.execute(params![TENS.no, ten, series, merged.one()])?;
    }
    Ok(())
}

/// Counts measurements in the sketch of their day alone.
pub(super) fn add_to_day(
    connection: &Connection,
    at_ms: i64,
    measured: &[(i64, &Sketch)],
) -> rusqlite::Result<()> {
    let mut get = connection.prepare(GET_ENTRY)?;
    let mut put = connection.prepare(PUT_ENTRY)?;
    let day = DAYS.slot(at_ms);
    for (series, sketch) in measured {
        let known = get.query_row(params![DAYS.no, day, series], bytes).optional()?;
        let merged = with((*sketch).clone(), known.as_deref().and_then(Sketch::from_one));
        put.execute(params![DAYS.no, day, series, merged.one()])?;
    }
    Ok(())
}

const GET_ENTRY: &str = "SELECT data FROM entry WHERE tier = ?1 AND slot = ?2 AND series = ?3";
const PUT_ENTRY: &str = "INSERT OR REPLACE INTO entry (tier, slot, series, data) VALUES (?1, ?2, ?3, ?4)";

fn bytes(row: &rusqlite::Row<'_>) -> rusqlite::Result<Vec<u8>> {
    row.get(0)
}

fn with<E: Entry>(mut entry: E, other: Option<E>) -> E {
    if let Some(other) = other {
        entry.add(&other);
    }
    entry
}

/// Does one piece of what is due at `now_ms` in a history that reaches back for `history_ms`; true when it has found something to do.
pub(super) fn pack_one(connection: &Connection, now_ms: i64, history_ms: i64) -> rusqlite::Result<bool> {
    Ok(pack::<Summary>(connection, MINUTES, None, now_ms)?
        || pack::<Sketch>(connection, TENS, Some(HOURS), now_ms)?
        || pack::<Sketch>(connection, HOURS, Some(DAYS), now_ms)?
        || pack::<Sketch>(connection, DAYS, None, now_ms)?
        || expire(connection, now_ms, history_ms)?)
}

/// Packs the rows of the oldest piece that is over, of some series; `coarser` gets what they amount to.
fn pack<E: Entry>(
    connection: &Connection,
    tier: Tier,
    coarser: Option<Tier>,
    now_ms: i64,
) -> rusqlite::Result<bool> {
    let oldest: Option<i64> =
        connection.query_row("SELECT min(slot) FROM entry WHERE tier = ?1", [tier.no], |row| row.get(0))?;
    let Some(oldest) = oldest else { return Ok(false) };
    let (first, end) = tier.piece(tier.start_ms(oldest), tier.pack_ms);
    if now_ms < tier.start_ms(end) + tier.rows_ms {
        return Ok(false);
    }
    let from: i64 = connection.query_row(
        "SELECT min(series) FROM entry WHERE tier = ?1 AND slot = ?2",
        params![tier.no, oldest],
        |row| row.get(0),
    )?;
    let to = from.saturating_add(PACKED_SERIES);
    let mut by_series: BTreeMap<i64, Vec<(i64, E)>> = BTreeMap::new();
    let mut rows_of = connection.prepare(
        "SELECT series, data FROM entry WHERE tier = ?1 AND slot = ?2 AND series >= ?3 AND series < ?4",
    )?;
    for slot in first..end {
        let mut rows = rows_of.query(params![tier.no, slot, from, to])?;
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(1)?;
            // One that is damaged is as if it had not been measured.
            if let Some(entry) = E::from_one(&bytes) {
                by_series.entry(row.get(0)?).or_default().push((slot, entry));
            }
        }
    }
    for (series, entries) in by_series {
        if let Some(coarser) = coarser {
            sum_up(connection, (tier, coarser), series, &entries)?;
        }
        append(connection, tier, (tier.start_ms(first), series), entries)?;
    }
    let mut remove = connection
        .prepare("DELETE FROM entry WHERE tier = ?1 AND slot = ?2 AND series >= ?3 AND series < ?4")?;
    for slot in first..end {
        remove.execute(params![tier.no, slot, from, to])?;
    }
    Ok(true)
}

/// What the entries amount to at the next resolution.
fn sum_up<E: Entry>(
    connection: &Connection,
    (tier, coarser): (Tier, Tier),
    series: i64,
    entries: &[(i64, E)],
) -> rusqlite::Result<()> {
    let mut get = connection.prepare(GET_ENTRY)?;
    let mut put = connection.prepare(PUT_ENTRY)?;
    let mut sums: BTreeMap<i64, Vec<&E>> = BTreeMap::new();
    for (slot, entry) in entries {
        sums.entry(coarser.slot(tier.start_ms(*slot))).or_default().push(entry);
    }
    for (slot, parts) in sums {
        let Some((first, others)) = parts.split_first() else { continue };
        let Some(mut sum) = E::from_one(&first.one()) else { continue };
        others.iter().for_each(|other| sum.add(other));
        let known = get.query_row(params![coarser.no, slot, series], bytes).optional()?;
        let sum = with(sum, known.as_deref().and_then(E::from_one));
        put.execute(params![coarser.no, slot, series, sum.one()])?;
    }
    Ok(())
}

fn append<E: Entry>(
    connection: &Connection,
    tier: Tier,
    (at_ms, series): (i64, i64),
    mut entries: Vec<(i64, E)>,
) -> rusqlite::Result<()> {
    let start = tier.chunk(at_ms);
    let known: Option<Vec<u8>> = connection
        .query_row(
            "SELECT data FROM chunk WHERE tier = ?1 AND start = ?2 AND series = ?3",
            params![tier.no, start, series],
            bytes,
        )
        .optional()?;
    if let Some(mut all) = known.and_then(|bytes| E::unpack_all(&bytes)) {
        all.append(&mut entries);
        all.sort_by_key(|(slot, _)| *slot);
        all.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1.add(&later.1);
            }
            same
        });
        entries = all;
    }
    connection.execute(
        "INSERT OR REPLACE INTO chunk (tier, start, series, data) VALUES (?1, ?2, ?3, ?4)",
        params![tier.no, start, series, E::pack_all(&entries)],
    )?;
    Ok(())
}

/// Removes a chunk's worth of time that has been kept for long enough; true when there was one. Nothing but sketches of
/// days is kept for longer than history reaches.
fn expire(connection: &Connection, now_ms: i64, history_ms: i64) -> rusqlite::Result<bool> {
    for tier in TIERS {
        let Some(keep_ms) = tier.keep_ms else { continue };
        let before = tier.chunk(now_ms - keep_ms.min(history_ms));
        if oldest_chunk(connection, tier)?.is_some_and(|start| start < before) {
            return drop_oldest(connection, tier);
        }
    }
    Ok(false)
}

fn oldest_chunk(connection: &Connection, tier: Tier) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT min(start) FROM chunk WHERE tier = ?1", [tier.no], |row| row.get(0))
}

/// Removes the oldest chunks of a tier, unless they are recent at `now_ms`; true when there were any.
pub(super) fn drop_oldest_but_recent(
    connection: &Connection,
    tier: Tier,
    now_ms: i64,
) -> rusqlite::Result<bool> {
    let Some(start) = oldest_chunk(connection, tier)? else { return Ok(false) };
    let end_ms = (start + tier.chunk_units) * tier.chunk_ms;
    Ok(end_ms <= now_ms - tier.recent_ms && drop_oldest(connection, tier)?)
}

/// Removes the oldest chunks of a tier; true when there were any.
pub(super) fn drop_oldest(connection: &Connection, tier: Tier) -> rusqlite::Result<bool> {
    let Some(start) = oldest_chunk(connection, tier)? else { return Ok(false) };
    let gone =
        connection.execute("DELETE FROM chunk WHERE tier = ?1 AND start = ?2", params![tier.no, start])?;
    Ok(gone > 0)
}

/// Removes the oldest rows of a tier; true when there were any.
pub(super) fn drop_oldest_rows(connection: &Connection, tier: Tier) -> rusqlite::Result<bool> {
    let oldest = "SELECT min(slot) FROM entry WHERE tier = ?1";
    let gone = connection
        .execute(&format!("DELETE FROM entry WHERE tier = ?1 AND slot = ({oldest})"), params![tier.no])?;
    Ok(gone > 0)
}

/// Everything a tier has of a series from `from_ms` and before `to_ms`: when a slot began, and what was in it.
fn read<E: Entry>(
    connection: &Connection,
    tier: Tier,
    series: i64,
    (from_ms, to_ms): (i64, i64),
) -> rusqlite::Result<Vec<(i64, E)>> {
    let mut found: Vec<(i64, E)> = Vec::new();
    let mut entry = connection.prepare(GET_ENTRY)?;
    let recent: Option<i64> =
        connection.query_row("SELECT min(slot) FROM entry WHERE tier = ?1", [tier.no], |row| row.get(0))?;
    for slot in tier.slot(from_ms).max(recent.unwrap_or(i64::MAX))..=tier.slot(to_ms - 1) {
        let row = entry.query_row(params![tier.no, slot, series], bytes).optional()?;
        found.extend(row.and_then(|bytes| E::from_one(&bytes)).map(|entry| (slot, entry)));
    }
    // What lies before the piece of the first row is packed.
    let unpacked_ms = found.first().map_or(i64::MAX, |(slot, _)| {
        let (first, _) = tier.piece(tier.start_ms(*slot), tier.pack_ms);
        tier.start_ms(first)
    });
    let mut chunk =
        connection.prepare("SELECT data FROM chunk WHERE tier = ?1 AND start = ?2 AND series = ?3")?;
    let oldest = oldest_chunk(connection, tier)?.unwrap_or(i64::MAX);
    let last = (to_ms.min(unpacked_ms) - 1).div_euclid(tier.chunk_ms);
    if from_ms < unpacked_ms {
        for start in tier.chunk(from_ms).max(oldest)..=last {
            let packed = chunk.query_row(params![tier.no, start, series], bytes).optional()?;
            found.extend(packed.and_then(|bytes| E::unpack_all(&bytes)).into_iter().flatten());
        }
    }
    let wanted = tier.slot(from_ms)..=tier.slot(to_ms - 1);
    found.retain(|(slot, _)| wanted.contains(slot));
    // A small chunk of an earlier version may lie within a large one.
    found.sort_by_key(|(slot, _)| *slot);
    Ok(found.into_iter().map(|(slot, entry)| (tier.start_ms(slot), entry)).collect())
}

/// Minute summaries of a series.
pub(super) fn minutes(
    connection: &Connection,
    series: i64,
    window: (i64, i64),
) -> rusqlite::Result<Vec<(i64, Summary)>> {
    read(connection, MINUTES, series, window)
}

/// Everything of a series within a window, in one sketch. Whole days come from the sketches of days, and whole hours from
/// those of hours, so that months are read at once.
pub(super) fn sum(
    connection: &Connection,
    series: i64,
    (from_ms, to_ms): (i64, i64),
) -> rusqlite::Result<Sketch> {
    let mut sum = Sketch::default();
    add_whole(connection, (series, &[DAYS, HOURS]), (from_ms, to_ms), &mut sum)?;
    Ok(sum)
}

/// Adds what a series has within a window: whole slots of the first of these tiers, and what lies before, between and
/// behind the slots that are there in finer pieces.
fn add_whole(
    connection: &Connection,
    (series, tiers): (i64, &[Tier]),
    (from_ms, to_ms): (i64, i64),
    sum: &mut Sketch,
) -> rusqlite::Result<()> {
    let Some((tier, finer)) = tiers.split_first() else {
        sketches(connection, series, (from_ms, to_ms))?.iter().for_each(|(_, sketch)| sum.merge(sketch));
        return Ok(());
    };
    let up = |ms: i64| tier.start_ms(tier.slot(ms + tier.slot_ms - 1));
    let whole = (up(from_ms), tier.start_ms(tier.slot(to_ms)));
    let slots: Vec<(i64, Sketch)> =
        if whole.0 < whole.1 { read(connection, *tier, series, whole)? } else { Vec::new() };
    let mut at = from_ms;
    for (slot, sketch) in slots.iter().map(|(slot, sketch)| (*slot, Some(sketch))).chain([(to_ms, None)]) {
        if at < slot {
            add_whole(connection, (series, finer), (at, slot), sum)?;
        }
        at = slot + tier.slot_ms;
        sketch.into_iter().for_each(|sketch| sum.merge(sketch));
    }
    Ok(())
}

/// Sketches of a series, the finest there are: ten minutes, before that hours, before that days.
pub(super) fn sketches(
    connection: &Connection,
    series: i64,
    (from_ms, to_ms): (i64, i64),
) -> rusqlite::Result<Vec<(i64, Sketch)>> {
    let mut end = to_ms;
    let mut found = Vec::new();
    for tier in [TENS, HOURS, DAYS] {
        if from_ms >= end {
            break;
        }
        let mut older: Vec<(i64, Sketch)> = read(connection, tier, series, (from_ms, end))?;
        if let Some((first, _)) = older.first() {
            end = first.div_euclid(DAY_MS) * DAY_MS;
        }
        older.append(&mut found);
        found = older;
    }
    Ok(found)
}
