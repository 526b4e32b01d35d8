//! Kernel timers, and event counters that are drained.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

/// A timer that fires once, for work that has to wait a moment.
#[derive(Debug)]
pub(crate) struct OneShot {
    timer: OwnedFd,
    armed: bool,
}

impl OneShot {
    /// # Errors
    /// The kernel cannot make a timer.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { timer: new_timer()?, armed: false })
    }

    /// Sets the timer, unless it is set already. False: it cannot be set.
    pub(crate) fn set(&mut self, after: Duration) -> bool {
        self.armed = self.armed || set_timer(&self.timer, after, false).is_ok();
        self.armed
    }

    /// Marks the timer as unset: it has fired, or is no longer needed.
    pub(crate) fn take(&mut self) {
        drain(&self.timer);
        self.armed = false;
    }
}

impl AsFd for OneShot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// A timer that fires again and again.
///
/// # Errors
/// The kernel cannot make a timer.
pub(crate) fn periodic(every: Duration) -> io::Result<OwnedFd> {
    let timer = new_timer()?;
    set_timer(&timer, every, true)?;
    Ok(timer)
}

/// A timer that is not armed.
pub(crate) fn new_timer() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?)
}

pub(crate) fn set_timer(timer: &OwnedFd, after: Duration, again: bool) -> io::Result<()> {
    let value = Timespec {
        tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        // Zero would disarm it.
        tv_nsec: i64::from(after.subsec_nanos()).max(i64::from(after.as_secs() == 0)),
    };
    let interval = if again { value } else { Timespec { tv_sec: 0, tv_nsec: 0 } };
    let setting = Itimerspec { it_interval: interval, it_value: value };
    rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &setting)?;
    Ok(())
}

pub(crate) fn drain(events: impl AsFd) {
    let mut count = [0; 8];
    // Only resets the counter; that it is zero already is no error.
    let _ = rustix::io::read(events, &mut count);
}
