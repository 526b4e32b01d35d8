//! A notification in one line.

use heartbeat_status::DeliveryState;
use heartbeat_wire::NotificationEntry;

use crate::age::moment;
use crate::style::Style;

/// One notification: to whom, what, since when, with what result.
pub(crate) fn line(entry: &NotificationEntry, style: Style) -> String {
    let event = entry.event.to_string();
    let (receiver, since) = (style.text(&entry.receiver), moment(entry.queued_at));
    format!("{receiver:<12}  {event:<9}  {since:<23}  {}", result(entry, style))
}

fn result(entry: &NotificationEntry, style: Style) -> String {
    let attempts = match entry.attempts {
        0 => String::new(),
        1 => " after 1 attempt".to_owned(),
        attempts => format!(" after {attempts} attempts"),
    };
    let why = entry.why.as_ref().map_or_else(String::new, |why| format!(": {}", style.text(why)));
    let next = entry.next_at.map_or_else(String::new, |at| format!("; the next at {}", moment(at)));
    let at = entry.attempted_at.map_or_else(String::new, |at| format!(" at {}", moment(at)));
    match entry.state.known() {
        Some(DeliveryState::Delivered) => format!("delivered{attempts}{at}"),
        Some(DeliveryState::GivenUp) => format!("given up{attempts}{at}{why}"),
        Some(DeliveryState::Dropped) => format!("not sent{why}"),
        Some(DeliveryState::Due) if entry.attempts > 0 => format!("not delivered yet{attempts}{why}{next}"),
        Some(DeliveryState::Due) => "to be sent in its turn".to_owned(),
        None => format!("{}{attempts}{why}", entry.state),
    }
}
