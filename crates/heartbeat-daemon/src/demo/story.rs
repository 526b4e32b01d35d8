//! The story of the demo, in sentences between the events: what happens next, what has happened, and what to type.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{Snapshot, Status};
use tokio::sync::watch;

use super::realm::{Fault, break_it};
use crate::Sentences;
use crate::reporting::status_store::StatusStore;

/// How long everything has to be up before the fault comes.
const CALM: Duration = Duration::from_secs(3);
/// Time for the events of the recovery before the last sentence.
const PAUSE: Duration = Duration::from_millis(200);

/// The realm that breaks, and its fault.
pub(super) struct Victim {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) fault: Fault,
}

/// The story and its output.
pub(super) struct Story {
    pub(super) sentences: Sentences,
    /// heartbeat-cli as a person types it, with the socket of the demo.
    pub(super) cli: String,
    /// `None`: nothing breaks.
    pub(super) victim: Option<Victim>,
}

impl Story {
    pub(super) fn begin(&self) {
        self.sentences.write(format!(
            "Six small realms start, each as soon as the realms that it needs are up. To watch them, type in another \
             terminal:\n\n    {} status --watch",
            self.cli
        ));
    }

    /// Breaks the victim once everything is up, and ends when the last realm is up again. `None` when the demo ends
    /// before the story.
    pub(super) async fn tell(
        self,
        mut changes: watch::Receiver<u64>,
        statuses: Arc<StatusStore>,
    ) -> Option<()> {
        until(&mut changes, &statuses, all_up).await?;
        let Some(Victim { name, address, fault }) = self.victim else {
            self.sentences.write("All six realms are up, and nothing will break. Ctrl-C stops everything.");
            return Some(());
        };
        let (will, does) = match fault {
            Fault::Crash => ("crash", "crashes: its process exits with code 1"),
            Fault::Hang => ("hang", "hangs: it accepts connections and never answers"),
            Fault::Fail => ("fail", "fails: its health check answers 500"),
        };
        self.sentences.write(format!("All six realms are up. In {} s, {name} will {will}.", CALM.as_secs()));
        tokio::time::sleep(CALM).await;
        self.sentences.write(format!("Now {name} {does}."));
        // A realm that crashes cannot answer any more.
        let _ = break_it(address, fault).await;
        let broken = |now: &Snapshot| !all_up(now);
        until(&mut changes, &statuses, broken).await?;
        until(&mut changes, &statuses, all_up).await?;
        tokio::time::sleep(PAUSE).await;
        let cli = &self.cli;
        self.sentences.write(format!(
            "That is all: heartbeatd noticed the failure, restarted {name} and no other realm, and verified that it is \
             healthy. Ctrl-C stops everything, dependents first. To look around before, type in another \
             terminal:\n\n    {cli} why {name}\n    {cli} incidents\n    {cli} plan fail store"
        ));
        Some(())
    }
}

fn all_up(now: &Snapshot) -> bool {
    now.realms.iter().all(|realm| matches!(realm.status, Status::Up | Status::Done))
}

/// Waits for a snapshot that fulfils `condition`; `None` when there are no more.
async fn until(
    changes: &mut watch::Receiver<u64>,
    statuses: &StatusStore,
    condition: impl Fn(&Snapshot) -> bool,
) -> Option<()> {
    while !condition(&statuses.snapshot()) {
        changes.changed().await.ok()?;
    }
    Some(())
}
