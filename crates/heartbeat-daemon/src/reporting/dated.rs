//! A value that a producer replaces now and then: when the producer stands still, readers see none rather than an old one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heartbeat_status::Instant;

/// Figures of all realms come once per minute, and looks at processes at least every two minutes.
const BELIEVED_FOR: Duration = Duration::from_secs(300);

/// The newest value, and since when it is known.
#[derive(Debug, Default)]
pub(crate) struct Dated<T> {
    newest: Mutex<Option<(Arc<T>, Instant)>>,
}

impl<T: Default> Dated<T> {
    pub(crate) fn set(&self, now: Instant, value: T) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::new(value), now));
    }

    /// The newest value, unless it is too old to be believed: then the default one.
    pub(crate) fn get(&self, now: Instant) -> Arc<T> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let believed = newest.as_ref().filter(|(_, at)| now.since(*at) <= BELIEVED_FOR);
        believed.map(|(value, _)| Arc::clone(value)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_replaced_is_believed_for_five_minutes() {
        let (value, now) = (Dated::<u32>::default(), Instant::from_millis(1_000));
        assert_eq!(*value.get(now), 0);
        value.set(now, 7);
        assert_eq!(*value.get(now + BELIEVED_FOR), 7);
        assert_eq!(*value.get(now + BELIEVED_FOR + Duration::from_millis(1)), 0);
        value.set(now + BELIEVED_FOR, 8);
        assert_eq!(*value.get(now + BELIEVED_FOR * 2), 8);
    }
}
