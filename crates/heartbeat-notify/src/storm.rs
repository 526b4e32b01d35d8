//! Storms: of many incidents at once, a receiver gets the first ones one by one, and one digest of all others.
//!
//! A digest is complete before its first attempt, and the outbox knows its members: every attempt has the same key and
//! the same content, also after a restart.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::Instant;

/// Incidents of which a receiver hears one by one within [`STORM_WINDOW`].
pub const STORM_INCIDENTS: usize = 5;
/// More than [`STORM_INCIDENTS`] within this time are a storm. A digest waits no longer than this for its members.
pub const STORM_WINDOW: Duration = Duration::from_secs(30);

/// A message about several notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    /// The key of the message: that of its first notification.
    pub(crate) key: Arc<str>,
    /// It takes notifications until then, and goes out then.
    pub(crate) due_at: Instant,
}

/// How many incidents a receiver has heard of lately.
#[derive(Debug, Default)]
pub(crate) struct Storm {
    /// Incidents with a message of their own within the window, the oldest first; at most [`STORM_INCIDENTS`].
    single: VecDeque<(Instant, Arc<str>)>,
    /// The digest that takes notifications.
    open: Option<Digest>,
}

impl Storm {
    /// The digest that takes this notification; `None` when it goes out on its own.
    pub(crate) fn take(&mut self, now: Instant, id: &Arc<str>, seq: u64) -> Option<Digest> {
        self.open.take_if(|open| open.due_at <= now);
        if self.open.is_some() {
            return self.open.clone();
        }
        while self.single.front().is_some_and(|(at, _)| *at + STORM_WINDOW <= now) {
            self.single.pop_front();
        }
        if self.single.iter().any(|(_, known)| known == id) {
            return None;
        }
        match self.single.front() {
            Some((oldest, _)) if self.single.len() >= STORM_INCIDENTS => {
                let key = format!("{id}.{seq}").into();
                self.open = Some(Digest { key, due_at: *oldest + STORM_WINDOW });
            }
            _ => self.single.push_back((now, Arc::clone(id))),
        }
        self.open.clone()
    }

    /// The digest with this key goes out: it takes no more.
    pub(crate) fn close(&mut self, key: &str) {
        self.open.take_if(|open| *open.key == *key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_incident_within_thirty_seconds_begins_a_digest() {
        let mut storm = Storm::default();
        let at = |ms: u64| Instant::from_millis(1_000) + Duration::from_millis(ms);
        let mut take = |ms: u64, id: &str| storm.take(at(ms), &id.into(), 1).map(|digest| digest.key);
        let first: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|id| take(0, id)).collect();
        assert_eq!(first, vec![None; 5]);
        assert_eq!(take(100, "a"), None, "another step of an incident is not another incident");
        let key = Some("f.1".into());
        assert_eq!([take(200, "f"), take(29_999, "g"), take(29_999, "a")], [key.clone(), key.clone(), key]);
        assert_eq!(take(30_000, "h"), None, "it has gone out by then");
        for id in ["i", "j", "k", "l"] {
            assert_eq!(take(31_000, id), None);
        }
        assert_eq!(
            storm.take(at(32_000), &"m".into(), 3),
            Some(Digest { key: "m.3".into(), due_at: at(60_000) })
        );
        storm.close("f.1");
        assert!(storm.take(at(33_000), &"n".into(), 1).is_some());
        storm.close("m.3");
        assert_eq!(storm.take(at(34_000), &"o".into(), 1).unwrap().key, "o.1".into());
    }
}
