//! What heartbeatd does when it is sent a signal, and that none is lost before it can.

use std::io;
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::inbox::{Inbox, Request};
use crate::reload::Reloader;
use crate::upgrade::Upgrader;

/// What systemd-style managers of containers send to have everything halted: SIGRTMIN+3.
const HALT_ABOVE_RTMIN: i32 = 3;

/// Holds back the signals that heartbeatd obeys for as long as this lives: until its handlers are there, they would end it
/// and leave its realms alone. What was sent meanwhile is obeyed then. Make it in the main thread, before any other is
/// started.
#[derive(Debug)]
#[must_use]
pub struct HeldSignals(SigSet);

impl HeldSignals {
    /// From now on.
    pub fn hold() -> Self {
        let held: SigSet = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGUSR2,
            Signal::SIGPWR,
        ]
        .into_iter()
        .collect();
        // Only a set that is no set would make it fail.
        let _ = held.thread_block();
        Self(held)
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        let _ = self.0.thread_unblock();
    }
}

/// Does what signals say from now on.
pub(crate) fn obey(
    runtime: &Runtime,
    inbox: &Arc<Inbox>,
    reloader: &Arc<Reloader>,
    upgrader: &Arc<Upgrader>,
) -> io::Result<()> {
    let entered = runtime.enter();
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut upgrade = signal(SignalKind::user_defined2())?;
    let mut power = signal(SignalKind::from_raw(nix::libc::SIGPWR))?;
    let mut halt = signal(SignalKind::from_raw(nix::libc::SIGRTMIN() + HALT_ABOVE_RTMIN))?;
    drop(entered);
    let (inbox, reloader, upgrader) = (Arc::clone(inbox), Arc::clone(reloader), Arc::clone(upgrader));
    runtime.spawn(async move {
        let mut now = false;
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    // The order to stop is heard meanwhile, however slow the files are.
                    let reloader = Arc::clone(&reloader);
                    tokio::spawn(async move { reloader.reload_and_log().await });
                    continue;
                }
                _ = power.recv() => {}
                _ = halt.recv() => {}
                _ = quit.recv() => {
                    upgrader.leave();
                    continue;
                }
                _ = upgrade.recv() => {
                    let upgrader = Arc::clone(&upgrader);
                    tokio::spawn(async move {
                        if let Err(why) = upgrader.upgrade().await {
                            tracing::error!("SIGUSR2: nothing was changed: {why}");
                        }
                    });
                    continue;
                }
            }
            inbox.request(Request::Shutdown { now });
            now = true;
        }
    });
    Ok(())
}
