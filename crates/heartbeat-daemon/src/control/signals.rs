//! The signals that heartbeatd handles, and holding them until it can.

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

/// systemd-style managers of containers send this to halt everything: SIGRTMIN+3.
const HALT_ABOVE_RTMIN: i32 = 3;

/// After an order to end, work that has begun may take this long, so that a start that succeeds ends in order.
const AFTER_AN_ORDER: Duration = Duration::from_secs(1);

/// Holds back the signals that heartbeatd handles for as long as this value lives: before the handlers are installed,
/// such a signal would end heartbeatd and leave its realms alone. Held signals arrive afterwards. Create it in the main
/// thread, before any other thread starts.
#[derive(Debug)]
#[must_use]
pub struct HeldSignals(SigSet);

impl HeldSignals {
    /// Holds signals from now on.
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
        // This fails only for an invalid set of signals.
        let _ = held.thread_block();
        Self(held)
    }

    /// Runs `work`, which may take long, in a thread of its own. `None` when an order to end came meanwhile and the
    /// work is not done `AFTER_AN_ORDER` later; if the work succeeds, the handlers get the order when the signals are
    /// released.
    pub fn unless_ended<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let orders: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
        let made = SignalFd::with_flags(&orders, SfdFlags::SFD_CLOEXEC)
            .map_err(io::Error::from)
            .and_then(|signals| Ok((signals, io::pipe()?)));
        // Without a way to wait for both, only the work runs.
        let Ok((signals, (done, doing))) = made else { return Some(work()) };
        let (result, taken) = sync_channel(1);
        std::thread::spawn(move || {
            // After an order to end no thread waits for the result.
            let _ = result.send(work());
            drop(doing);
        });
        let mut both = [PollFd::new(&done, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        while matches!(poll(&mut both, None), Err(Errno::INTR)) {}
        // Finished work has left its result already.
        taken.recv_timeout(AFTER_AN_ORDER).ok()
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        let _ = self.0.thread_unblock();
    }
}

/// Handles signals from now on.
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
                    // Without a file to read again, SIGHUP means that the terminal is gone: that ends what was started
                    // from it.
                    if reloader.has_files() {
                        // In a task of its own, so that slow files do not delay an order to stop.
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
