//! A service's own checks, evaluated in the background and served as health+json.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heartbeat_status::{Instant, Outcome};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{Probe, clock};

mod service;

/// Time between two evaluations of a check by default.
const INTERVAL: Duration = Duration::from_secs(5);
/// Longest evaluation of a check by default.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A result older than this many intervals, and the timeout, counts as none.
const MAX_AGE_INTERVALS: u32 = 3;

/// What a check reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Pass,
    /// The service works, but a person should look.
    Warn(String),
    /// The service cannot do its work.
    Fail(String),
}

/// A pending evaluation.
type Evaluation = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// One check: its name, what it evaluates, and how often.
pub struct Check {
    name: String,
    evaluate: Box<dyn Fn() -> Evaluation + Send + Sync>,
    interval: Duration,
    timeout: Duration,
    critical: bool,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Check {
    /// A check that evaluates an async closure: every 5 s, within 2 s, critical.
    pub fn new<F>(name: impl Into<String>, evaluate: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        let evaluate = Box::new(move || -> Evaluation { Box::pin(evaluate()) });
        Self { name: name.into(), evaluate, interval: INTERVAL, timeout: TIMEOUT, critical: true }
    }

    /// A check that measures a probe. An inconclusive measurement warns: the fault is on this side.
    pub fn probe(name: impl Into<String>, probe: impl Into<Probe>) -> Self {
        let probe = Arc::new(probe.into());
        Self::new(name, move || {
            let probe = Arc::clone(&probe);
            async move {
                let result = probe.measure(TIMEOUT).await;
                match result.outcome {
                    Outcome::Pass => Verdict::Pass,
                    Outcome::Degraded(_) | Outcome::Inconclusive(_) => Verdict::Warn(result.detail),
                    Outcome::Fail { .. } => Verdict::Fail(result.detail),
                }
            }
        })
        // The probe keeps the deadline; this one only bounds it.
        .within(TIMEOUT * 2)
    }

    /// Evaluates it this often, from start to start.
    #[must_use]
    pub fn every(self, interval: Duration) -> Self {
        Self { interval: interval.max(Duration::from_millis(1)), ..self }
    }

    /// Fails it when an evaluation takes longer.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Its failure warns, but does not fail the service.
    #[must_use]
    pub fn not_critical(self) -> Self {
        Self { critical: false, ..self }
    }
}

/// The last result of a check.
#[derive(Clone, Debug)]
struct Last {
    verdict: Verdict,
    at: Instant,
    took: Duration,
}

struct Entry {
    check: Check,
    last: Mutex<Option<Last>>,
}

impl Entry {
    async fn evaluate(&self) {
        let began = clock::now();
        let evaluated = timeout(self.check.timeout, (self.check.evaluate)()).await;
        let late = |_| Verdict::Fail(format!("not evaluated within {:?}", self.check.timeout));
        let verdict = evaluated.unwrap_or_else(late);
        let at = clock::now();
        let last = Last { verdict, at, took: at.since(began) };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// Its verdict now, and how long the last evaluation took.
    fn verdict(&self) -> (Verdict, Option<Duration>) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let max_age = self.check.interval * MAX_AGE_INTERVALS + self.check.timeout;
        match last {
            None => (Verdict::Warn("not evaluated yet".to_owned()), None),
            Some(last) if clock::now().since(last.at) > max_age => {
                (Verdict::Fail(format!("not evaluated for more than {max_age:?}")), None)
            }
            Some(last) => {
                let verdict = match last.verdict {
                    Verdict::Fail(why) if !self.check.critical => Verdict::Warn(why),
                    other => other,
                };
                (verdict, Some(last.took))
            }
        }
    }
}

/// The checks of a service. Each is evaluated by a task of its own, so that a request for the health costs none;
/// dropping the last clone ends these tasks.
///
/// The response is health+json (draft-inadarei-api-health-check): 503 when a critical check fails or is stale, else
/// 200. It is a service of hyper, and with the feature `tower` one of tower, so that axum takes it as
/// `route_service("/api/health/", checks)`.
///
/// ```
/// use std::time::Duration;
///
/// use heartbeat_probe::{Check, Checks, TcpProbe, Verdict};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let checks = Checks::start([
///     Check::probe("database", TcpProbe::new("127.0.0.1:5432")?).every(Duration::from_secs(2)),
///     Check::new("queue", async || Verdict::Warn("300 jobs wait".to_owned())).not_critical(),
/// ]);
/// let response = checks.response();
/// assert_eq!(response.headers()["content-type"], "application/health+json");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Checks {
    running: Arc<Running>,
}

struct Running {
    entries: Vec<Arc<Entry>>,
    /// Changes with every evaluation.
    evaluated: watch::Receiver<()>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks").field("checks", &self.running.entries.len()).finish_non_exhaustive()
    }
}

impl Checks {
    /// Starts to evaluate `checks`, each in a task of the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(checks: impl IntoIterator<Item = Check>) -> Self {
        let entry = |check| Arc::new(Entry { check, last: Mutex::new(None) });
        let entries: Vec<Arc<Entry>> = checks.into_iter().map(entry).collect();
        let (sender, evaluated) = watch::channel(());
        let sender = Arc::new(sender);
        let start = |entry: &Arc<Entry>| {
            let (entry, sender) = (Arc::clone(entry), Arc::clone(&sender));
            let task = tokio::spawn(async move {
                let mut slots = interval(entry.check.interval);
                slots.set_missed_tick_behavior(MissedTickBehavior::Skip);
                loop {
                    slots.tick().await;
                    entry.evaluate().await;
                    sender.send_replace(());
                }
            });
            task.abort_handle()
        };
        let tasks = entries.iter().map(start).collect();
        Self { running: Arc::new(Running { entries, evaluated, tasks }) }
    }

    /// Waits until the checks together pass, warn or fail otherwise than `known` does.
    pub(crate) async fn changed_from(&self, known: &Verdict) {
        let mut evaluated = self.running.evaluated.clone();
        while std::mem::discriminant(&self.verdict()) == std::mem::discriminant(known) {
            if evaluated.changed().await.is_err() {
                // There are no checks.
                return std::future::pending().await;
            }
        }
    }

    /// The verdict of all checks: the worst of them, with the names of those that are not well.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let (mut warnings, mut failures) = (Vec::new(), Vec::new());
        for entry in &self.running.entries {
            match entry.verdict().0 {
                Verdict::Pass => {}
                Verdict::Warn(why) => warnings.push(format!("{}: {why}", entry.check.name)),
                Verdict::Fail(why) => failures.push(format!("{}: {why}", entry.check.name)),
            }
        }
        match (failures.is_empty(), warnings.is_empty()) {
            (false, _) => Verdict::Fail(failures.join(", ")),
            (true, false) => Verdict::Warn(warnings.join(", ")),
            (true, true) => Verdict::Pass,
        }
    }

    /// The answer to `GET /api/health/`. A handler of axum returns it as it is; a service of hyper maps its body.
    #[must_use]
    pub fn response(&self) -> http::Response<String> {
        let verdict = self.verdict();
        let status = match verdict {
            Verdict::Fail(_) => http::StatusCode::SERVICE_UNAVAILABLE,
            Verdict::Pass | Verdict::Warn(_) => http::StatusCode::OK,
        };
        let mut body = described(&verdict);
        body["checks"] = self.running.entries.iter().map(|entry| entry.document()).collect();
        let mut response = http::Response::new(body.to_string());
        *response.status_mut() = status;
        let json = http::HeaderValue::from_static("application/health+json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        response
            .headers_mut()
            .insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
        response
    }
}

impl Entry {
    fn document(&self) -> (String, Value) {
        let (verdict, took) = self.verdict();
        let mut document = described(&verdict);
        if let Some(took) = took {
            document["observedValue"] = json!((took.as_secs_f64() * 10_000.0).round() / 10.0);
            document["observedUnit"] = json!("ms");
        }
        (self.check.name.clone(), json!([document]))
    }
}

/// `status` and `output` of health+json.
fn described(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Pass => json!({ "status": "pass" }),
        Verdict::Warn(why) => json!({ "status": "warn", "output": why }),
        Verdict::Fail(why) => json!({ "status": "fail", "output": why }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn evaluated(checks: &Checks) -> (u16, Value) {
        for entry in &checks.running.entries {
            while entry.last.lock().unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        }
        let response = checks.response();
        (response.status().as_u16(), serde_json::from_str(response.body()).unwrap())
    }

    fn check(name: &str, verdict: Verdict) -> Check {
        Check::new(name, move || std::future::ready(verdict.clone()))
    }

    #[tokio::test]
    async fn the_worst_critical_check_decides() {
        let warn = || Verdict::Warn("slow".to_owned());
        let fail = || Verdict::Fail("gone".to_owned());
        for (checks, status, word) in [
            (vec![], 200, "pass"),
            (vec![check("a", Verdict::Pass)], 200, "pass"),
            (vec![check("a", Verdict::Pass), check("b", warn())], 200, "warn"),
            (vec![check("a", warn()), check("b", fail()).not_critical()], 200, "warn"),
            (vec![check("a", warn()), check("b", fail())], 503, "fail"),
        ] {
            let (code, body) = evaluated(&Checks::start(checks)).await;
            assert_eq!((code, body["status"].as_str()), (status, Some(word)), "{body}");
        }
        let (_, body) = evaluated(&Checks::start([check("db", fail())])).await;
        assert_eq!(body["output"], "db: gone");
        assert_eq!(
            (&body["checks"]["db"][0]["status"], &body["checks"]["db"][0]["output"]),
            (&json!("fail"), &json!("gone"))
        );
        // What this crate serves, its HTTP probe reads.
        let (_, text) = crate::verdict::reported(body.to_string().as_bytes(), true).unwrap();
        assert!(text.contains("db (gone)"), "{text}");
    }

    #[tokio::test]
    async fn a_check_that_hangs_fails_and_a_request_starts_none() {
        let hangs = Check::new("hangs", std::future::pending).within(Duration::from_millis(5));
        let (code, body) = evaluated(&Checks::start([hangs])).await;
        assert_eq!(
            (code, body["checks"]["hangs"][0]["output"].as_str()),
            (503, Some("not evaluated within 5ms"))
        );
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let checks = Checks::start([Check::new("counted", move || {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Verdict::Pass)
        })
        .every(Duration::from_secs(3600))]);
        for _ in 0..100 {
            evaluated(&checks).await;
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn dropping_the_checks_ends_their_tasks() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let checks = Checks::start([Check::new("held", move || {
            let _ = &held;
            std::future::ready(Verdict::Pass)
        })]);
        evaluated(&checks).await;
        drop(checks);
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_check_that_was_never_evaluated_warns_and_a_stale_one_fails() {
        let entry = |last| Entry { check: check("a", Verdict::Pass), last: Mutex::new(last) };
        assert!(matches!(entry(None).verdict(), (Verdict::Warn(_), None)));
        let old = Last { verdict: Verdict::Pass, at: Instant::from_nanos(0), took: Duration::ZERO };
        assert!(matches!(entry(Some(old.clone())).verdict().0, Verdict::Fail(_)));
        assert_eq!(entry(Some(Last { at: clock::now(), ..old })).verdict().0, Verdict::Pass);
    }
}
