//! What a handler knows of the connection that it answers on.

use std::sync::Arc;

use tokio::sync::watch;

use crate::connections::client_stream::Unread;
use crate::connections::closing::Closing;
use crate::connections::places::{Activity, Places};
use crate::requests::access::Caller;

/// The caller, and the connection, which may close.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) caller: Caller,
    pub(crate) places: Arc<Places>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) closing: watch::Receiver<Closing>,
    pub(crate) unread: Unread,
}
