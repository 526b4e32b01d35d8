//! What heartbeatd does when it is sent a signal, and that none is lost before it can.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::control::reload::Reloader;
use crate::control::upgrade::Upgrader;
use crate::inbox::{Inbox, Request};

/// What systemd-style managers of containers send to have everything halted: SIGRTMIN+3.
const HALT_ABOVE_RTMIN: i32 = 3;

/// What was begun before an order to end is given this long, so that a start that goes well ends in order.
const AFTER_AN_ORDER: Duration = Duration::from_secs(1);

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

    /// Does `work`, which may take long, in a thread of its own. `None` when an order to end came meanwhile and the work is
    /// not done `AFTER_AN_ORDER` later; the order that comes while all goes well is obeyed once the signals are let go.
    pub fn unless_ended<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let orders: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
        let made = SignalFd::with_flags(&orders, SfdFlags::SFD_CLOEXEC)
            .map_err(io::Error::from)
            .and_then(|signals| Ok((signals, io::pipe()?)));
        // Without the means to wait for both there is only the work.
        let Ok((signals, (done, doing))) = made else { return Some(work()) };
        let (result, taken) = sync_channel(1);
        std::thread::spawn(move || {
            // After an order to end the result is not waited for.
            let _ = result.send(work());
            drop(doing);
        });
        let mut both = [PollFd::new(&done, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        while matches!(poll(&mut both, None), Err(Errno::INTR)) {}
        // Work that is done has left its result already.
        taken.recv_timeout(AFTER_AN_ORDER).ok()
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
                    // Without a file to read again, the terminal is gone: that ends what was started from it.
                    if reloader.has_files() {
                        // The order to stop is heard meanwhile, however slow the files are.
                        let reloader = Arc::clone(&reloader);
                        tokio::spawn(async move { reloader.reload_and_log().await });
                        continue;
                    }
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

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn an_order_to_end_ends_what_does_not_answer_and_is_kept_for_what_does() {
        let held = HeldSignals::hold();
        assert_eq!(held.unless_ended(|| 5), Some(5));
        raise(Signal::SIGTERM).unwrap();
        assert_eq!(held.unless_ended(|| 6), Some(6), "it is obeyed once the signals are let go");
        let (go_on, wait) = sync_channel::<()>(1);
        assert_eq!(held.unless_ended(move || wait.recv().is_ok()), None);
        drop(go_on);
        let term: SigSet = [Signal::SIGTERM].into_iter().collect();
        assert_eq!(term.wait(), Ok(Signal::SIGTERM), "still pending");
    }
}
