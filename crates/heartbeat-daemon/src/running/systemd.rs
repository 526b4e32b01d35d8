//! Messages to a service manager (systemd), and descriptors that it keeps for heartbeatd: sd_notify(3).
//!
//! A thread of its own sends them, since the manager may be slow to listen; the core loop only queues them. Only the
//! loop feeds the watchdog, so that the manager notices a loop that stands still.

use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_status::{Instant, RealmName, Snapshot, Status};
use rustix::process::{Pid, PidfdFlags};
use sd_notify::NotifyState;

/// Longest interval of a watchdog. A longer one, such as the infinity of systemd, stands for none.
const MAX_WATCHDOG: Duration = Duration::from_secs(366 * 24 * 3_600);
/// Most messages that wait for the manager; the rest is dropped.
const MAX_MESSAGES_QUEUED: usize = 4_096;
/// Prefix of the names of descriptors kept for realms.
const KEPT_PREFIX: &str = "realm.";

enum Message {
    States(Vec<Told>),
    /// Keep the identity of a realm's main process: it shows how that process ended.
    Keep(RealmName, u32, u64),
    /// The identity is of no use any more.
    Forget(RealmName),
}

enum Told {
    Ready,
    Reloading(Instant),
    Stopping,
    Extend(Duration),
    Status(String),
    Watchdog,
}

/// The way to the manager; without a manager it sends nothing.
pub(crate) struct Manager {
    messages: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    /// How often heartbeatd feeds the watchdog: half of the watchdog's interval.
    beat: Option<Duration>,
    next_beat: Instant,
    status: String,
}

/// Half of the watchdog's interval; `None` for an interval that stands for none.
fn beat_of(interval: Duration) -> Option<Duration> {
    if interval.is_zero() || interval > MAX_WATCHDOG {
        tracing::warn!(?interval, "WATCHDOG_USEC is not the interval of a watchdog: heartbeatd feeds none");
        return None;
    }
    Some(interval / 2)
}

impl Manager {
    /// Looks for a service manager in the environment.
    pub(crate) fn find() -> Self {
        let with = |messages, thread, beat| Self {
            messages,
            thread,
            beat,
            next_beat: Instant::ZERO,
            status: String::new(),
        };
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return with(None, None, None);
        }
        let (messages, queue) = sync_channel(MAX_MESSAGES_QUEUED);
        let thread = std::thread::Builder::new().name("hb-manager".to_owned());
        match thread.spawn(move || tell_all(&queue)) {
            Ok(thread) => {
                let beat = sd_notify::watchdog_enabled().and_then(beat_of);
                with(Some(messages), Some(thread), beat)
            }
            // Without the thread heartbeatd works all the same, and the manager reports that it got no message.
            Err(_) => with(None, None, None),
        }
    }

    fn send(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // The manager does not listen: heartbeatd does not wait for it.
            let _ = messages.try_send(message);
        }
    }

    fn tell(&self, told: Vec<Told>) {
        self.send(Message::States(told));
    }

    pub(crate) fn ready(&self) {
        self.tell(vec![Told::Ready]);
    }

    pub(crate) fn reloading(&self, now: Instant) {
        self.tell(vec![Told::Reloading(now)]);
    }

    /// Reports that everything is being stopped, within `limit`.
    pub(crate) fn stopping(&self, limit: Duration) {
        self.tell(vec![Told::Stopping, Told::Extend(limit)]);
    }

    /// When the loop has to turn at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.beat.map(|_| self.next_beat)
    }

    /// The loop has turned.
    pub(crate) fn beat(&mut self, now: Instant) {
        if let Some(every) = self.beat.filter(|_| now >= self.next_beat) {
            self.next_beat = now + every;
            self.tell(vec![Told::Watchdog]);
        }
    }

    /// Reports the status in one line, when it has changed.
    pub(crate) fn status(&mut self, snapshot: &Snapshot) {
        if self.messages.is_none() {
            return;
        }
        let status = line(snapshot);
        if status != self.status {
            self.status.clone_from(&status);
            self.tell(vec![Told::Status(status)]);
        }
    }

    pub(crate) fn keep(&self, realm: &RealmName, pid: u32, start_time: u64) {
        self.send(Message::Keep(realm.clone(), pid, start_time));
    }

    pub(crate) fn forget(&self, realm: &RealmName) {
        self.send(Message::Forget(realm.clone()));
    }

    /// The realm of a kept descriptor.
    pub(crate) fn kept(name: &str) -> Option<RealmName> {
        RealmName::new(name.strip_prefix(KEPT_PREFIX)?).ok()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to send.
            let _ = thread.join();
        }
    }
}

fn line(snapshot: &Snapshot) -> String {
    let mut counts: Vec<(Status, usize)> = Vec::new();
    for realm in snapshot.in_start_order() {
        match counts.iter_mut().find(|(status, _)| *status == realm.status) {
            Some((_, count)) => *count += 1,
            None => counts.push((realm.status, 1)),
        }
    }
    counts.sort_by_key(|(status, _)| std::cmp::Reverse(status.severity()));
    let counts: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let roots: Vec<&str> = snapshot
        .incidents
        .iter()
        .filter_map(|incident| Some(snapshot.realm(incident.root?)?.info.name.as_str()))
        .collect();
    let roots = if roots.is_empty() { String::new() } else { format!("; root: {}", roots.join(", ")) };
    format!("{}: {}{roots}", snapshot.phase, counts.join(", "))
}

fn tell_all(queue: &Receiver<Message>) {
    for message in queue {
        // A manager that is gone needs no message.
        let _ = match message {
            Message::States(told) => {
                let words: Vec<String> = told.iter().map(words).collect();
                let states: Vec<NotifyState<'_>> =
                    words.iter().map(|words| NotifyState::Custom(words)).collect();
                sd_notify::notify(&states)
            }
            Message::Keep(realm, pid, start_time) => keep(&realm, pid, start_time),
            Message::Forget(realm) => {
                let name = format!("{KEPT_PREFIX}{realm}");
                sd_notify::notify(&[NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::FdName(&name)])
            }
        };
    }
}

fn words(told: &Told) -> String {
    match told {
        Told::Ready => "READY=1".to_owned(),
        Told::Reloading(now) => format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_nanos() / 1_000),
        Told::Stopping => "STOPPING=1".to_owned(),
        Told::Extend(by) => format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()),
        // One line: a line break would begin another message.
        Told::Status(status) => format!("STATUS={}", heartbeat_status::sanitise_line(status)),
        Told::Watchdog => "WATCHDOG=1".to_owned(),
    }
}

/// Gives the manager the pidfd for the next heartbeatd, which asks it how the process has ended. The manager keeps it
/// after the process has ended: that is its purpose.
fn keep(realm: &RealmName, pid: u32, start_time: u64) -> std::io::Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidInput)?;
    let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty())?;
    if !heartbeat_process::is_process(pid, start_time) {
        // The process has ended, and its number may belong to another one.
        return Ok(());
    }
    let name = format!("{KEPT_PREFIX}{realm}");
    let forget = [NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::FdName(&name)];
    sd_notify::notify(&forget)?;
    let states = [NotifyState::FdStore, NotifyState::FdName(&name), NotifyState::Custom("FDPOLL=0")];
    sd_notify::notify_with_fds(&states, &[pidfd.as_fd()])
}
