//! How a listener ends, for requests that wait.

use tokio::sync::watch;
use tokio::time::sleep;

use crate::limits::{DRAIN_HAND_OVER, DRAIN_LAST_CALL, LAST_CALL};

/// How far the end of a listener has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closing {
    /// It accepts connections.
    #[default]
    Open,
    /// It accepts no more connections, and answers the accepted ones within 2 s. A client that connects meanwhile waits
    /// in the kernel's queue for the heartbeatd that serves the same socket next.
    Draining,
    /// It ends: idle connections at once, requests in progress within 1 s.
    Ended,
}

/// Waits until the listener has to stop accepting. A sender that is gone means the end as well.
pub(crate) async fn closes(closing: &mut watch::Receiver<Closing>) {
    let _ = closing.wait_for(|closing| *closing != Closing::Open).await;
}

pub(crate) fn is_draining(closing: &watch::Receiver<Closing>) -> bool {
    *closing.borrow() == Closing::Draining
}

/// Returns when a waiting request has to be answered because another heartbeatd takes over. This is earlier than
/// [`last_call`], so that the answer can say which command was accepted. Never returns at the end of heartbeatd.
pub(crate) async fn handed_over(mut closing: watch::Receiver<Closing>) {
    if closing.wait_for(|closing| *closing == Closing::Draining).await.is_err() {
        return std::future::pending().await;
    }
    sleep(DRAIN_HAND_OVER).await;
}

/// Returns when a request that still waits has to be answered, before its connection is dropped.
pub(crate) async fn last_call(mut closing: watch::Receiver<Closing>) {
    closes(&mut closing).await;
    sleep(if is_draining(&closing) { DRAIN_LAST_CALL } else { LAST_CALL }).await;
}
