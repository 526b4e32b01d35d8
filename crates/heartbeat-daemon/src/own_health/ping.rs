//! The dead man's signal: a request per minute to a service elsewhere while heartbeatd works. When the requests stop,
//! that service raises the alarm.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_notify::Endpoint;
use heartbeat_status::OwnProblemKind;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock;
use crate::own_health::own_problems::OwnProblems;
use crate::reporting::status_store::StatusStore;

/// Time between two requests.
const PING_EVERY: Duration = Duration::from_secs(60);

/// The way to the task that sends the requests. The task ends with this value.
#[derive(Debug)]
pub(crate) struct Pinger {
    endpoint: watch::Sender<Option<Endpoint>>,
}

impl Pinger {
    pub(crate) fn start(runtime: &Handle, statuses: Arc<StatusStore>, problems: Arc<OwnProblems>) -> Self {
        let (endpoint, mut changes) = watch::channel(None::<Endpoint>);
        runtime.spawn(async move {
            let mut fails = false;
            loop {
                let endpoint = changes.borrow_and_update().clone();
                if let Some(endpoint) = endpoint.filter(|_| works(&statuses, &problems)) {
                    let sent = heartbeat_notify::ping(&endpoint, clock::unix_s()).await;
                    if let (Err(error), false) = (&sent, fails) {
                        tracing::warn!(%endpoint, %error, "the ping does not arrive");
                    }
                    fails = sent.is_err();
                }
                tokio::select! {
                    () = sleep(PING_EVERY) => {}
                    changed = changes.changed() => if changed.is_err() { return },
                }
            }
        });
        Self { endpoint }
    }

    /// Requests another URL from now on, or none.
    pub(crate) fn set(&self, endpoint: Option<Endpoint>) {
        self.endpoint.send_if_modified(|known| {
            let changes = *known != endpoint;
            *known = endpoint;
            changes
        });
    }
}

/// Whether the driver's loop turns and heartbeatd can write its state.
fn works(statuses: &StatusStore, problems: &OwnProblems) -> bool {
    let unwritten = [OwnProblemKind::OpenIncidents, OwnProblemKind::Intent, OwnProblemKind::Records];
    statuses.loop_turns(clock::now())
        && !problems.list().iter().any(|problem| unwritten.contains(&problem.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    #[test]
    fn it_stops_when_the_loop_stops_or_the_store_does_not_write() {
        let sample = sample("[realm.db]\nrun = \"db\"\n");
        let works = || works(&sample.statuses, &sample.problems);
        sample.statuses.note_turn(clock::now());
        assert!(works());
        sample.problems.report(OwnProblemKind::History, "full");
        assert!(works(), "history is no more than figures");
        sample.problems.report(OwnProblemKind::OpenIncidents, "full");
        assert!(!works());
        sample.problems.clear(OwnProblemKind::OpenIncidents);
        sample.statuses.note_turn(clock::now() - Duration::from_secs(60));
        assert!(!works());
    }
}
