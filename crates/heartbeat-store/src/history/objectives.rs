//! How realms stand with their objectives.

use std::time::Duration;

use rusqlite::Connection;

use crate::availability::{Account, account};
use crate::history::lives::{self, ChangeReader};
use crate::history::{Quantity, series_of, tiers};
use crate::sketch::Summary;
use crate::slo::BURN_RULES;

/// The objectives of a realm.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Name of the realm.
    pub realm: String,
    /// The probe whose latencies count; `None`: the first that was measured.
    pub probe: Option<String>,
    /// The time over which the objectives count.
    pub window: Duration,
    /// Measurements that take at most this are fast enough; `None` without such an objective.
    pub latency: Option<Duration>,
}

/// What history says about an objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// What it was asked about.
    pub objective: Objective,
    /// The whole window.
    pub account: Account,
    /// The long and the short window of each of [`BURN_RULES`].
    pub burns: [(Account, Account); BURN_RULES.len()],
    /// Latencies within the window, and how many of them were fast enough.
    pub latency: Option<(Summary, u64)>,
}

/// One for each objective of a realm that is on record.
pub(super) fn standings(
    connection: &Connection,
    objectives: &[Objective],
    now_ms: i64,
) -> rusqlite::Result<Vec<Standing>> {
    let mut reader = ChangeReader::new(connection)?;
    let mut found = Vec::with_capacity(objectives.len());
    for objective in objectives {
        let Some(no) = lives::known_realm(connection, &objective.realm)? else { continue };
        let Some(first) = reader.first_seen(no)? else { continue };
        let longest = BURN_RULES.iter().map(|rule| rule.long).chain([objective.window]).max();
        let since = |window: Duration| {
            let ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
            // Before it was there nothing is missing.
            now_ms.saturating_sub(ms).max(first).min(now_ms)..now_ms
        };
        let all = since(longest.unwrap_or_default());
        let lives_of_all = lives::lives(connection, &all)?;
        let changes = reader.changes(no, &lives_of_all, &all)?;
        let of = |window: Duration| account(&lives_of_all, &changes, &since(window));
        found.push(Standing {
            account: of(objective.window),
            burns: BURN_RULES.map(|rule| (of(rule.long), of(rule.short))),
            latency: latency(connection, objective, since(objective.window).start, now_ms)?,
            objective: objective.clone(),
        });
    }
    Ok(found)
}

fn latency(
    connection: &Connection,
    objective: &Objective,
    from_ms: i64,
    now_ms: i64,
) -> rusqlite::Result<Option<(Summary, u64)>> {
    let Some(limit) = objective.latency else { return Ok(None) };
    let probe = objective.probe.clone().map(Quantity::Latency);
    let Some((series, _)) = series_of(connection, &objective.realm, probe.as_ref())? else { return Ok(None) };
    let sum = tiers::sum(connection, series, (from_ms, now_ms))?;
    Ok(sum.summary().map(|summary| (summary, sum.count_within(limit))))
}
