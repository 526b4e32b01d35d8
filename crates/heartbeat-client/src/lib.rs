//! Typed client of the heartbeatd API.
//!
//! # What it is
//! What `heartbeat-cli`, another realm or a test uses to ask heartbeatd: a [`Host`] says where it listens (the Unix
//! socket by default, loopback TCP for reading), a [`Client`] asks, and the answers are the documents of
//! [`heartbeat_wire`]. Every request has a deadline and every answer a size limit, so a heartbeatd that
//! hangs or floods cannot hang or flood its caller.
//!
//! # What it is not
//! No retries, no caching, no connection pool: one connection per request, which on a Unix socket costs less than
//! keeping one alive correctly. It decides nothing about what an answer means; the caller does.
//!
//! # How to use it
//! ```
//! use heartbeat_client::{Client, ClientError, Host};
//!
//! # async fn example() -> Result<(), ClientError> {
//! let client = Client::new("unix:/run/heartbeat/heartbeat.sock".parse::<Host>()?);
//! match client.status(false).await {
//!     Ok(document) if document.ok => println!("{} is fine", document.name),
//!     Ok(document) => println!("{} is {}", document.name, document.status),
//!     Err(ClientError::Unreachable { host, .. }) => println!("no heartbeatd answers at {host}"),
//!     Err(other) => return Err(other),
//! }
//! # Ok(())
//! # }
//! # let host: Host = "http://127.0.0.1:4327".parse().unwrap();
//! # assert_eq!(host.to_string(), "http://127.0.0.1:4327");
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

mod client;
mod error;
mod events;
mod host;
mod resume;
mod token;
mod transport;

pub use client::{BeatEvent, Client, GraphFormat, HistoryRange};
pub use error::ClientError;
pub use events::{Events, LogLines};
pub use heartbeat_http::{SOCKET_VARIABLE, SYSTEM_SOCKET};
pub use host::{DEFAULT_PORT, Host, HostError};
pub use token::Token;
pub use transport::MAX_BODY_BYTES;

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
