//! The HTTP server of heartbeatd: status, graph and commands, over a Unix socket and loopback TCP.
//!
//! # What it is
//! An adapter in front of one trait, [`Backend`]: it reads the newest published snapshot, renders the documents
//! of `heartbeat_wire`, and hands commands to the implementation of the trait. Two listeners lead to the same
//! routes. The Unix socket takes everything and identifies callers by their credentials; the loopback address
//! serves reading only.
//!
//! One table lists the routes of the contract, each with the role that it takes. Paths that are reserved for later
//! answer 501 with their name; nothing is accepted and ignored.
//!
//! Arrows between files go one way: the server, the loop that accepts, the table that finds a handler, the handlers,
//! and below them requests, answers and connections.
//!
//! The server builds a body at most once per revision and quarter of a second, and gives every reader the same bytes: a
//! thousand readers cost one serialisation.
//!
//! # What it is not
//! It decides nothing, keeps no state of its own but those bodies, reads no clock ([`Backend::now`] stamps), and
//! never locks the core: a slow or hostile client costs one of a bounded number of connections, for a bounded time
//! ([`Limits`]).
//!
//! # How to use it
//! Implement [`Backend`], bind the listeners, serve until the channel says otherwise:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use heartbeat_api::{Access, Api, Closing, Backend, Limits, bind_unix};
//! # async fn serve(ecosystem: Arc<dyn Backend>) -> Result<(), Box<dyn std::error::Error>> {
//! let socket = bind_unix("/run/heartbeat/heartbeat.sock".as_ref(), 0o660, None)?;
//! let (closing, open) = tokio::sync::watch::channel(Closing::Open);
//! let api = Api::new(ecosystem, Limits::default(), Access::default());
//! api.serve_unix(tokio::net::UnixListener::from_std(socket)?, open).await; // until `closing` says otherwise
//! # drop(closing);
//! # Ok(())
//! # }
//! ```

mod answers;
mod backend;
mod connections;
mod dispatch;
mod error;
mod handlers;
mod limits;
mod page;
mod requests;
mod server;
mod serving;

pub use backend::{
    Acknowledged, Backend, Beat, BeatError, BeatEvent, BoxFuture, Commanded, EventRecord, HistoryError,
    HistoryQuestion, IncidentPage, Mute, NotificationCount, Output, OwnHealth, Past, ProbeCounts,
    RealmCounts, Rejection, RejectionKind, ReloadRefusal, ReportQuestion, UnknownReceiver, UpgradeError,
};
pub use connections::closing::Closing;
pub use connections::listener::{bind_tcp, bind_unix, permit_unix};
pub use error::BindError;
pub use limits::Limits;
pub use requests::access::Access;
pub use requests::token::{ShortTokenError, Token};
pub use server::{Api, Counts};
