//! The reference group: targets of the local network. They show whether the network is lost, or only a target behind
//! it.
//!
//! heartbeatd asks the group only when it has not reached an external realm, before that counts. One round serves every
//! result that waits for it.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_probe::Probe;
use heartbeat_status::{CheckResult, FailReason, InconclusiveReason, Instant, Outcome};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::clock;

/// Longest wait for one of the targets.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A round that is more recent than this counts.
const FRESH: Duration = Duration::from_secs(1);

/// Targets of the local network.
#[derive(Debug, Default)]
pub(crate) struct ReferenceGroup {
    urls: Vec<String>,
    targets: Vec<Arc<Probe>>,
    /// When the last round ended, and whether a target answered.
    last: Mutex<Option<(Instant, bool)>>,
}

impl ReferenceGroup {
    pub(crate) fn new(urls: &[String]) -> Self {
        // The configuration has parsed them before.
        let targets = urls.iter().filter_map(|url| url.parse().ok()).map(Arc::new).collect();
        Self { urls: urls.to_vec(), targets, last: Mutex::default() }
    }

    /// Whether the group has exactly these targets.
    pub(crate) fn is_of(&self, urls: &[String]) -> bool {
        self.urls == urls
    }

    /// `result`, or an inconclusive one if the local network is gone.
    pub(crate) async fn excused(&self, probe: &Probe, result: CheckResult) -> CheckResult {
        if self.targets.is_empty()
            || !is_unreached(&result)
            || probe.is_on_this_host()
            || self.answers().await
        {
            return result;
        }
        let detail = format!("the local network does not answer, nor does the target: {}", result.detail);
        CheckResult { outcome: Outcome::Inconclusive(InconclusiveReason::LocalNetwork), detail, ..result }
    }

    /// Whether a target answers now, or did a moment ago.
    async fn answers(&self) -> bool {
        let asked = clock::now();
        let mut last = self.last.lock().await;
        if let Some((ended, answered)) = *last
            && asked.since(ended) <= FRESH
        {
            return answered;
        }
        let mut round: JoinSet<bool> = JoinSet::new();
        for target in &self.targets {
            let target = Arc::clone(target);
            round.spawn(async move { is_reached(&target.measure(TIMEOUT).await) });
        }
        let mut answered = false;
        while let Some(reached) = round.join_next().await {
            answered = reached.unwrap_or(false);
            if answered {
                break;
            }
        }
        *last = Some((clock::now(), answered));
        answered
    }
}

/// Whether the target has not answered at all.
fn is_unreached(result: &CheckResult) -> bool {
    use FailReason as Reason;

    let Outcome::Fail { reason, .. } = result.outcome else { return false };
    let silent = matches!(
        reason,
        Reason::Unreachable
            | Reason::ConnectTimeout
            | Reason::TlsTimeout
            | Reason::HeadersTimeout
            | Reason::BodyTimeout
            | Reason::NameNotFound
    );
    silent && result.phases.first_byte.is_none()
}

/// Whether the target was there, whatever it said: a refusal also comes from its host.
fn is_reached(result: &CheckResult) -> bool {
    match result.outcome {
        Outcome::Pass | Outcome::Degraded(_) => true,
        Outcome::Fail { .. } => !is_unreached(result),
        Outcome::Inconclusive(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::measured;
    use heartbeat_status::ProbePhase;

    fn failed(reason: FailReason) -> CheckResult {
        let outcome = Outcome::Fail { reason, phase: Some(ProbePhase::Connect) };
        let detail = "no connection within 2 s".to_owned();
        CheckResult { detail, ..measured(Instant::ZERO, outcome) }
    }

    fn probe(url: &str) -> Probe {
        url.parse().unwrap()
    }

    /// A group without an answering target: TEST-NET-1 leads nowhere.
    fn lost() -> ReferenceGroup {
        let group = ReferenceGroup::new(&["tcp://192.0.2.1:53".to_owned()]);
        ReferenceGroup { last: Mutex::new(Some((clock::now() + Duration::from_secs(600), false))), ..group }
    }

    #[tokio::test]
    async fn an_external_target_that_is_not_reached_is_excused_while_no_reference_answers() {
        let lost = lost();
        let far = probe("http://198.51.100.7/api/health/");
        let excused = lost.excused(&far, failed(FailReason::ConnectTimeout)).await;
        assert_eq!(excused.outcome, Outcome::Inconclusive(InconclusiveReason::LocalNetwork));
        assert!(excused.detail.ends_with("no connection within 2 s"), "{}", excused.detail);
        for said in
            [FailReason::Refused, FailReason::UnexpectedStatus, FailReason::CertExpired, FailReason::Reset]
        {
            let result = lost.excused(&far, failed(said)).await;
            assert_eq!(result.outcome, failed(said).outcome, "its host has answered");
        }
        for near in ["http://127.0.0.1/", "tcp://localhost:1", "tcp://[::1]:1", "unix:///run/app.sock"] {
            let result = lost.excused(&probe(near), failed(FailReason::ConnectTimeout)).await;
            assert_eq!(result.outcome, failed(FailReason::ConnectTimeout).outcome, "{near} needs no network");
        }
    }

    #[tokio::test]
    async fn a_reference_that_answers_or_refuses_blames_the_target() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = format!("tcp://{}", listener.local_addr().unwrap());
        for urls in [vec![open.clone()], vec!["tcp://127.0.0.1:1".to_owned()]] {
            let group = ReferenceGroup::new(&urls);
            let result = group.excused(&probe("tcp://198.51.100.7:1"), failed(FailReason::Unreachable)).await;
            assert_eq!(result.outcome, failed(FailReason::Unreachable).outcome, "{urls:?}");
        }
        let none = ReferenceGroup::default();
        let result = none.excused(&probe("tcp://198.51.100.7:1"), failed(FailReason::Unreachable)).await;
        assert_eq!(
            result.outcome,
            failed(FailReason::Unreachable).outcome,
            "without a group nothing is excused"
        );
    }
}
