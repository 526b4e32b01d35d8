//! The durable half as the core last emitted it, without the probes' results: those change with every measurement.

use heartbeat_status::{Instant, NeedState, RestartCause, Status};

use super::{Generation, History, StoredState, Wish};

#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    wish: Wish,
    history: History,
    generation: Generation,
    place: Option<Place>,
}

/// The state of the realm, and since when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) state: StoredState,
    pub(crate) status: (Status, Instant),
    pub(crate) excuse: NeedState,
    pub(crate) refuses_since: Option<Instant>,
    pub(crate) stuck_for: Option<RestartCause>,
    pub(crate) start_due: bool,
    pub(crate) restart_with_need: bool,
}

impl Written {
    /// Takes the durable half as it is now. True when it differs from the last one.
    pub(crate) fn take(
        &mut self,
        wish: &Wish,
        history: &History,
        generation: &Generation,
        place: Place,
    ) -> bool {
        let same = self.place.as_ref() == Some(&place)
            && self.wish == *wish
            && self.history == *history
            && self.generation == *generation;
        if !same {
            let (wish, history, generation) = (wish.clone(), history.clone(), generation.clone());
            *self = Self { wish, history, generation, place: Some(place) };
        }
        !same
    }
}
