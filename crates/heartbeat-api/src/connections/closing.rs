//! How a listener comes to its end, for requests that wait.

use tokio::sync::watch;
use tokio::time::sleep;

use crate::limits::{DRAIN_HAND_OVER, DRAIN_LAST_CALL, LAST_CALL};

/// How far a listener is on its way to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closing {
    /// It accepts connections.
    #[default]
    Open,
    /// It accepts nothing any more, and answers what was accepted: 2 s at most. What connects meanwhile waits with the
    /// kernel for the heartbeatd that serves the same socket next.
    Draining,
    /// It ends: idle connections at once, requests under way within 1 s.
    Ended,
}

/// Waits until a listener is to accept nothing any more. A sender that is gone has nothing to say but the end.
pub(crate) async fn closes(closing: &mut watch::Receiver<Closing>) {
    let _ = closing.wait_for(|closing| *closing != Closing::Open).await;
}

pub(crate) fn is_draining(closing: &watch::Receiver<Closing>) -> bool {
    *closing.borrow() == Closing::Draining
}

/// Returns when a request that waits has to be answered, because another heartbeatd takes over. Earlier than
/// [`last_call`], so that the answer can say what was accepted. Never returns at the end of heartbeatd.
pub(crate) async fn handed_over(mut closing: watch::Receiver<Closing>) {
    if closing.wait_for(|closing| *closing == Closing::Draining).await.is_err() {
        return std::future::pending().await;
    }
    sleep(DRAIN_HAND_OVER).await;
}

/// Time for a request that waits for something to be answered, before its connection is dropped.
pub(crate) async fn last_call(mut closing: watch::Receiver<Closing>) {
    closes(&mut closing).await;
    sleep(if is_draining(&closing) { DRAIN_LAST_CALL } else { LAST_CALL }).await;
}
