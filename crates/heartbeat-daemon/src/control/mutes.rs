//! Mutes of operators and maintenance windows: of which realms receivers hear nothing now, and which realms a window
//! pauses. Neither touches supervision; the core shows the flag.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use heartbeat_config::{MaintenanceConfig, MaintenanceEffect};
use heartbeat_notify::Notifier;
use heartbeat_status::{Mute, RealmName, WallTime};
use heartbeat_supervisor::Command;
use heartbeat_wire::Action;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use crate::active_config::SharedConfig;
use crate::clock;
use crate::inbox::{Inbox, Request};
use crate::reporting::incident_writer::Announcer;
use crate::storage::intent::{IntentError, IntentWriter};
use crate::storage::stored::StoredMute;

/// Longest wait for the next change: the wall clock may be stepped meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Shortest wait, so that a clock that stands still costs no time.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// The ways to those who act on a change.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) config: SharedConfig,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) notifier: Weak<Notifier>,
    pub(crate) announcer: Announcer,
    pub(crate) intent: IntentWriter,
}

#[derive(Debug, Default)]
struct State {
    /// Mutes of operators, by realm.
    asked: BTreeMap<String, StoredMute>,
    /// The muted realms, as last applied; `None` when they must be applied again.
    muted: Option<BTreeMap<String, Mute>>,
    /// The end of each window, by name, whose pauses have been commanded.
    paused: BTreeMap<String, WallTime>,
}

/// Mutes in force.
#[derive(Debug)]
pub(crate) struct Mutes {
    state: Mutex<State>,
    ways: Ways,
    wake: Notify,
}

/// What holds at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Moment<'c> {
    /// The mute of each muted realm that ends last.
    muted: BTreeMap<String, Mute>,
    /// Windows that pause, with their ends.
    pausing: Vec<(&'c MaintenanceConfig, WallTime)>,
    /// When something changes next.
    next: Option<WallTime>,
}

impl Moment<'_> {
    fn mute(&mut self, realm: &str, mute: Mute) {
        if self.muted.get(realm).is_none_or(|known| known.until < mute.until) {
            self.muted.insert(realm.to_owned(), mute);
        }
    }
}

/// What holds at `now`.
fn moment<'c>(
    now: WallTime,
    asked: &BTreeMap<String, StoredMute>,
    windows: &'c [MaintenanceConfig],
) -> Moment<'c> {
    let mut moment = Moment::default();
    let mut borders = Vec::new();
    for (realm, mute) in asked.iter().filter(|(_, mute)| now < mute.until) {
        let by = mute.by.map_or_else(|| "an operator".to_owned(), |uid| format!("uid {uid}"));
        moment.mute(realm, Mute { reason: mute.reason.clone(), until: mute.until, by });
        borders.push(mute.until);
    }
    for window in windows {
        borders.extend(window.next_start(now));
        let Some(end) = window.open_until(now) else { continue };
        borders.push(end);
        match window.effect {
            MaintenanceEffect::Mute => {
                let by = format!("maintenance {}", window.name);
                let mute = Mute { reason: window.reason.clone(), until: end, by };
                window.realms.iter().for_each(|realm| moment.mute(realm.as_str(), mute.clone()));
            }
            MaintenanceEffect::Pause => moment.pausing.push((window, end)),
        }
    }
    moment.next = borders.into_iter().min();
    moment
}

/// The realms of a window that opens, by the end of their pause: that of the last of the open windows that pause them, so
/// that a short window within a long one ends nothing.
fn pauses<'c>(
    window: &'c MaintenanceConfig,
    open: &[(&'c MaintenanceConfig, WallTime)],
) -> BTreeMap<WallTime, Vec<&'c RealmName>> {
    let mut ends: BTreeMap<WallTime, Vec<&RealmName>> = BTreeMap::new();
    for realm in &window.realms {
        let of_it = open.iter().filter(|(window, _)| window.realms.contains(realm)).map(|(_, end)| *end);
        if let Some(end) = of_it.max() {
            ends.entry(end).or_default().push(realm);
        }
    }
    ends
}

impl Mutes {
    pub(crate) fn new(asked: BTreeMap<String, StoredMute>, ways: Ways) -> Self {
        Self { state: Mutex::new(State { asked, ..State::default() }), ways, wake: Notify::new() }
    }

    /// Mutes a realm, or ends its mute, and says whether that is on disk. `None` when heartbeatd is ending.
    pub(crate) async fn set(
        &self,
        realm: String,
        mute: Option<StoredMute>,
    ) -> Option<Result<(), IntentError>> {
        let asked = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = clock::wall();
            state.asked.retain(|_, mute| now < mute.until);
            match mute {
                Some(mute) => state.asked.insert(realm, mute),
                None => state.asked.remove(&realm),
            };
            state.asked.clone()
        };
        self.apply();
        self.wake.notify_one();
        self.ways.intent.write_mutes(asked).await
    }

    /// Another configuration is in force: its realms and windows count.
    pub(crate) fn reconfigured(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).muted = None;
        self.wake.notify_one();
    }

    /// Applies what holds now; returns when something changes next.
    pub(crate) fn apply(&self) -> Option<WallTime> {
        let (now, active) = (clock::wall(), self.ways.config.current());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Moment { muted, pausing, next } = moment(now, &state.asked, &active.maintenance);
        state.paused.retain(|_, end| now < *end);
        for (window, end) in &pausing {
            if state.paused.insert(window.name.clone(), *end) != Some(*end) {
                for (end, realms) in pauses(window, &pausing) {
                    self.pause(window, &realms, now, end);
                }
            }
        }
        if state.muted.as_ref() != Some(&muted) {
            state.muted = Some(muted.clone());
            if let Some(notifier) = self.ways.notifier.upgrade() {
                notifier.mute(muted.keys().cloned().collect());
            }
            self.ways.inbox.request(Request::Muted(muted));
            // What is still open after a mute is sent now.
            self.ways.announcer.announce();
        }
        next
    }

    /// Commands pauses of a window, which end by themselves.
    fn pause(&self, window: &MaintenanceConfig, realms: &[&RealmName], now: WallTime, end: WallTime) {
        let active = self.ways.config.current();
        let left_ms = u64::try_from(end.as_millis().saturating_sub(now.as_millis())).unwrap_or(0);
        let command = Command {
            action: Action::Pause,
            realms: realms.iter().filter_map(|realm| active.plan.find(realm.as_str())).collect(),
            cascade: false,
            force: false,
            lift_holds: false,
            by: None,
            at: Some(now),
            reason: Some(format!("maintenance {}: {}", window.name, window.reason)),
            duration: Some(Duration::from_millis(left_ms)),
            extends_only: true,
            signal: None,
        };
        tracing::info!(window = window.name, until = %end, "maintenance: pauses its realms");
        let (reply, _) = oneshot::channel();
        self.ways.inbox.request(Request::Command(command, reply));
    }

    /// Applies every change when it is due.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            let wait = self.apply().map(|next| {
                let ms = next.as_millis().saturating_sub(clock::wall().as_millis());
                Duration::from_millis(u64::try_from(ms).unwrap_or(0)).clamp(SHORTEST_WAIT, LONGEST_WAIT)
            });
            match wait {
                Some(wait) => tokio::select! {
                    () = sleep(wait) => {}
                    () = self.wake.notified() => {}
                },
                None => self.wake.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_config::WindowStart;

    fn at(seconds: i64) -> WallTime {
        WallTime::from_millis(1_795_473_598_000 + seconds * 1_000)
    }

    fn window(name: &str, realm: &str, effect: MaintenanceEffect, start: i64) -> MaintenanceConfig {
        MaintenanceConfig {
            name: name.to_owned(),
            realms: vec![RealmName::new(realm).unwrap()],
            start: WindowStart::Once(at(start)),
            length: Duration::from_secs(100),
            effect,
            reason: "backup".to_owned(),
        }
    }

    #[test]
    fn a_realm_is_muted_until_just_before_the_end_of_the_last_of_its_mutes() {
        let mute = StoredMute { reason: "move".to_owned(), until: at(50), by: None, at: at(0) };
        let asked = BTreeMap::from([("db".to_owned(), mute)]);
        let windows = [
            window("night", "db", MaintenanceEffect::Mute, 40),
            window("move", "web", MaintenanceEffect::Pause, 60),
        ];
        let muted = |seconds: i64| moment(at(seconds), &asked, &windows).muted.contains_key("db");
        for seconds in 0..200 {
            assert_eq!(muted(seconds), seconds < 140, "{seconds}");
        }
        let who = |seconds: i64| moment(at(seconds), &asked, &windows).muted["db"].clone();
        assert_eq!(who(0), Mute { reason: "move".to_owned(), until: at(50), by: "an operator".to_owned() });
        let night = Mute { reason: "backup".to_owned(), until: at(140), by: "maintenance night".to_owned() };
        assert_eq!((who(40), who(139)), (night.clone(), night), "the one that ends last");
        let pausing = |seconds: i64| moment(at(seconds), &asked, &windows).pausing.len();
        assert_eq!((pausing(59), pausing(60), pausing(159), pausing(160)), (0, 1, 1, 0));
        let next: Vec<Option<WallTime>> =
            [0, 40, 50, 60, 140, 160].iter().map(|now| moment(at(*now), &asked, &windows).next).collect();
        let expected = [40, 50, 60, 140, 160].map(|seconds| Some(at(seconds)));
        assert_eq!((&next[..5], next[5]), (&expected[..], None));
    }

    #[test]
    fn a_short_window_within_a_long_one_ends_no_pause_of_it() {
        let long = window("long", "db", MaintenanceEffect::Pause, 0);
        let mut short = window("short", "db", MaintenanceEffect::Pause, 10);
        short.realms.push(RealmName::new("web").unwrap());
        let (end, early) = (at(100), at(30));
        let open = [(&long, end), (&short, early)];
        let [db, web] = &short.realms[..] else { panic!("two realms") };
        assert_eq!(pauses(&short, &open), BTreeMap::from([(early, vec![web]), (end, vec![db])]));
        assert_eq!(pauses(&long, &open[..1]), BTreeMap::from([(end, vec![db])]));
    }
}
