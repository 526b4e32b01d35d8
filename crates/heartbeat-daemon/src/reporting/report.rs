//! A month in one document.

use heartbeat_api::{HistoryError, HistoryQuestion, IncidentPage, ReportQuestion};
use heartbeat_status::WallTime;
use heartbeat_store::HOST;
use heartbeat_wire::{Budget, IncidentDocument, REPORT_SCHEMA, ReportDocument, ReportIncident, ReportRealm};

use crate::reporting::records::Records;

/// Incidents that a report lists.
const MAX_INCIDENTS: usize = 1_000;
/// Incidents that are read at a time.
const PAGE_INCIDENTS: usize = 200;
const DAY_MS: u64 = 86_400_000;

/// The report of a month, until now.
pub(crate) async fn report(
    records: &Records,
    question: ReportQuestion,
) -> Result<ReportDocument, HistoryError> {
    let ReportQuestion { month, window_ms } = question;
    let (snapshot, now) = (records.snapshot(), records.now());
    let to_ms = window_ms.end.min(now.as_millis()).max(window_ms.start);
    let (incidents, more_incidents) = incidents(records, window_ms.start..to_ms).await;
    let window_s = (window_ms.end - window_ms.start) as f64 / 1_000.0;
    let asked = |realm: &str| HistoryQuestion {
        realm: realm.to_owned(),
        probe: None,
        window_ms: window_ms.start..to_ms,
        step_ms: DAY_MS,
    };
    let first = if window_ms.start < to_ms { records.history(asked(HOST)).await? } else { None };
    let first_seen_at = first.map(|host| host.first_seen_at).filter(|at| at.as_millis() > window_ms.start);
    let mut realms = Vec::new();
    for realm in snapshot.in_start_order() {
        let name = realm.info.name.to_string();
        if window_ms.start == to_ms {
            break;
        }
        let Some(history) = records.history(asked(&name)).await? else { continue };
        if history.first_seen_at.as_millis() >= to_ms {
            continue;
        }
        let objective = records.objective(realm.info.ix);
        let met = objective
            .and_then(|objective| Budget::of(&history.times, objective, window_s).attainment().met());
        realms.push(ReportRealm {
            title: realm.info.title.clone(),
            times: history.times,
            availability: history.availability,
            objective,
            met,
            probe: history.probe,
            latency_ms: history.latency_ms,
            usage: history.usage,
            incidents: incidents.iter().filter(|incident| incident.root == name).count() as u64,
            days: history.steps.iter().map(|step| step.times).collect(),
            name,
        });
    }
    Ok(ReportDocument {
        schema: REPORT_SCHEMA.to_owned(),
        name: records.name(),
        month,
        from: WallTime::from_millis(window_ms.start),
        to: WallTime::from_millis(to_ms),
        generated_at: now,
        first_seen_at,
        realms,
        incidents,
        more_incidents,
    })
}

/// Incidents that were opened within the window, the oldest first, and whether there are more.
async fn incidents(records: &Records, window: std::ops::Range<i64>) -> (Vec<ReportIncident>, bool) {
    let mut found = Vec::new();
    let mut after = Some(identifier_at(window.end));
    loop {
        let page = records.page(IncidentPage { open: false, after, limit: PAGE_INCIDENTS }).await;
        let full = page.len() == PAGE_INCIDENTS;
        after = page.last().map(|incident| incident.id.clone());
        let within = page.iter().take_while(|incident| incident.opened_at.as_millis() >= window.start);
        let before = found.len();
        found.extend(within.map(|incident| entry(incident)));
        let ended = found.len() - before < page.len() || !full;
        if ended || found.len() >= MAX_INCIDENTS {
            found.truncate(MAX_INCIDENTS);
            found.reverse();
            return (found, !ended);
        }
    }
}

fn entry(incident: &IncidentDocument) -> ReportIncident {
    ReportIncident {
        id: incident.id.clone(),
        root: incident.root.clone(),
        reason: incident.reason.clone(),
        message: incident.message.clone(),
        affected: incident.affected.clone(),
        opened_at: incident.opened_at,
        resolved_at: incident.resolved_at,
        duration_s: incident.duration_s,
    }
}

/// No identifier of an incident from before that moment is greater: a UUIDv7 begins with its time.
fn identifier_at(at_ms: i64) -> String {
    let ms = u64::try_from(at_ms).unwrap_or(0);
    format!("{:08x}-{:04x}-", ms >> 16, ms & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_ordered_by_their_time() {
        assert_eq!(identifier_at(0x0193_4567_89ab), "01934567-89ab-");
        assert!("01934567-89aa-7fff-bfff-ffffffffffff" < identifier_at(0x0193_4567_89ab).as_str());
        assert!("01934567-89ab-7000-8000-000000000000" > identifier_at(0x0193_4567_89ab).as_str());
    }
}
