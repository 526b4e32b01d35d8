//! What the API may see and ask, carried over to the core's inbox and the published snapshot.

use std::pin::Pin;
use std::sync::Arc;

use heartbeat_api::{Ecosystem, OwnHealth, Past};
use heartbeat_status::wire::About;
use heartbeat_status::{DaemonPhase, Instant, RealmIx, Snapshot};
use heartbeat_supervisor::{ActionPlan, Command, Reply};
use tokio::sync::{oneshot, watch};

use crate::clock;
use crate::inbox::{Inbox, Request};
use crate::published::Published;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The daemon as the API sees it.
#[derive(Debug)]
pub(crate) struct Surface {
    inbox: Arc<Inbox>,
    published: Arc<Published>,
}

impl Surface {
    pub(crate) fn new(inbox: Arc<Inbox>, published: Arc<Published>) -> Self {
        Self { inbox, published }
    }

    /// Asks the core; `None` when it takes no more requests or ends before it has answered.
    fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Boxed<Option<T>> {
        let (reply, answer) = oneshot::channel();
        let taken = self.inbox.request(request(reply));
        Box::pin(async move { if taken { answer.await.ok() } else { None } })
    }
}

impl Ecosystem for Surface {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.published.snapshot()
    }

    fn now(&self) -> Instant {
        clock::now()
    }

    fn about(&self) -> About {
        self.published.about()
    }

    fn past(&self, realm: RealmIx) -> Past {
        let (recent, failures, transitions) = self.published.past(realm);
        Past { recent, failures, transitions }
    }

    fn own_health(&self) -> OwnHealth {
        let notes = self.published.troubles();
        let ready = self.published.snapshot().phase != DaemonPhase::Stopping;
        OwnHealth { ok: notes.is_empty(), ready, notes }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.published.changes()
    }

    fn plan(&self, command: Command) -> Boxed<Option<ActionPlan>> {
        self.ask(|reply| Request::Plan(command, reply))
    }

    fn command(&self, command: Command) -> Boxed<Option<Reply>> {
        self.ask(|reply| Request::Command(command, reply))
    }

    fn refresh(&self, realm: Option<RealmIx>) -> Boxed<Option<Reply>> {
        self.ask(|reply| Request::Refresh(realm, reply))
    }
}
