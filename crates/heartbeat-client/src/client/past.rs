//! What has happened: history, objectives, reports, events and output.

use std::time::Duration;

use heartbeat_status::WallTime;
use heartbeat_wire::{HistoryDocument, LogsDocument, SloDocument};

use super::{Client, segment};
use crate::ClientError;
use crate::events::{Events, LogLines};

/// Which part of a history is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryRange<'a> {
    /// How far back.
    pub since: Duration,
    /// Length of a step in seconds.
    pub step_s: u64,
    /// Latencies of this probe; `None`: of the first that was measured.
    pub probe: Option<&'a str>,
}

impl<'a> HistoryRange<'a> {
    /// The time since then in steps of so many seconds, with the latencies of the probe that was measured first.
    #[must_use]
    pub const fn new(since: Duration, step_s: u64) -> Self {
        Self { since, step_s, probe: None }
    }

    /// The same with the latencies of another probe.
    #[must_use]
    pub const fn of_probe(self, probe: Option<&'a str>) -> Self {
        Self { probe, ..self }
    }
}

impl Client {
    /// What a realm was over time, until now.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when nothing is on record of it.
    pub async fn history(
        &self,
        realm: &str,
        range: HistoryRange<'_>,
    ) -> Result<HistoryDocument, ClientError> {
        let now = self.summary().await?.generated_at;
        let back = i64::try_from(range.since.as_millis()).unwrap_or(i64::MAX);
        let from = WallTime::from_millis(now.as_millis().saturating_sub(back));
        let probe = range.probe.map_or_else(String::new, |probe| format!("&probe={}", segment(probe)));
        let path =
            format!("/api/history/{}/?from={from}&to={now}&step={}s{probe}", segment(realm), range.step_s);
        self.read(&path, self.deadline).await
    }

    /// How the objectives of all realms stand.
    ///
    /// # Errors
    /// As of every question: heartbeatd is not reached, or does not answer.
    pub async fn objectives(&self) -> Result<SloDocument, ClientError> {
        self.read("/api/slo/", self.deadline).await
    }

    /// The report of a month such as `2026-11`, the present one by default: `json`, `csv`, `md` or `html`, as
    /// heartbeatd writes it.
    ///
    /// # Errors
    /// As of every question, and when it is no month.
    pub async fn report(&self, month: Option<&str>, format: &str) -> Result<String, ClientError> {
        let month = month.map_or_else(String::new, |month| format!("&month={}", segment(month)));
        self.read_text(&format!("/api/report/?format={format}{month}"), self.deadline).await
    }

    /// What has happened, the last `past` facts first; with `follow` it goes on as it happens. With `since`, the
    /// identifier of the last event that was read ([`Events::last_id`]), it goes on after that instead.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(
        &self,
        past: usize,
        follow: bool,
        since: Option<&str>,
    ) -> Result<Events, ClientError> {
        let path = match since {
            Some(_) => format!("/api/events/?facts=only&follow={}", u8::from(follow)),
            None => format!("/api/events/?facts=only&past={past}&follow={}", u8::from(follow)),
        };
        Ok(Events::new(self.host.clone(), self.stream(&path, since).await?))
    }

    /// The last lines of a realm's output; with `previous` those of the generation before the newest one.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when there is no such realm, and [`ClientError::Problem`] with status 404 when it has
    /// no log or no such generation, with what to do instead.
    pub async fn logs(&self, name: &str, lines: usize, previous: bool) -> Result<LogsDocument, ClientError> {
        let previous = if previous { "&previous=1" } else { "" };
        self.read(&format!("/api/logs/{}/?lines={lines}{previous}", segment(name)), self.deadline).await
    }

    /// The last lines of a realm's output, and then what it writes. With `since`, the identifier of the last event that
    /// was read ([`LogLines::last_id`]), it goes on after that instead.
    ///
    /// # Errors
    /// As for [`Client::logs`].
    pub async fn follow_logs(
        &self,
        name: &str,
        lines: usize,
        since: Option<&str>,
    ) -> Result<LogLines, ClientError> {
        let path = format!("/api/logs/{}/?follow=1&lines={lines}", segment(name));
        Ok(LogLines::new(self.host.clone(), self.stream(&path, since).await?))
    }
}
