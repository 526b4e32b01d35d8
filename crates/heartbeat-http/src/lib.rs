//! One HTTP/1 request on one connection.
//!
//! # What it is
//! The only HTTP client of heart-beat: probes, webhooks and the client of heartbeatd's API all use it. It has two
//! halves. [`connect`] finds a way to an [`Address`]: it resolves the name and tries all of its addresses as RFC 8305
//! says. With the feature `tls`, `Tls::handshake` secures the [`Stream`] and verifies the server's certificate.
//! [`send`] writes one request to any stream and reads the answer as curl does: it accepts folded header lines, spaces
//! before the colon, lines that end in a bare LF, header lines that are not headers, and HTTP/1.0 with chunks.
//! [`send_rendered`] does the same for a request that is sent many times, at a fraction of the cost where the answer is
//! small, [`ask`] for one with a connection of its own, and [`ask_at_once`] for a program that asks once over a Unix socket. With the feature `http2`, `send_http2` does the same over HTTP/2. [`daemon_socket`] is
//! where the heartbeatd of this user takes requests.
//!
//! # What it is not
//! It keeps no connections, retries nothing and follows no redirect. It reads no clock and has no deadline of its own:
//! the caller puts one `tokio::time::timeout` around everything. Dropping a future or an [`OpenResponse`] closes the
//! connection; no task is left behind, and only the system's resolver uses threads.
//!
//! # How to use it
//! ```
//! use bytes::Bytes;
//! use heartbeat_http::{Address, SYSTEM, connect, send};
//!
//! async fn status_of(text: &str) -> Result<u16, Box<dyn std::error::Error>> {
//!     let address = Address::parse(text, Some(80)).ok_or("not an address")?;
//!     let stream = connect(&SYSTEM, &address).await?;
//!     let request = http::Request::get("/").header("host", address.host_header(80)).body(Bytes::new())?;
//!     let mut answer = send(stream, request).await?;
//!     let (_first_64_kib, _whole) = answer.body.read(64 * 1024).await?;
//!     Ok(answer.head.status.as_u16())
//! }
//! ```

mod address;
mod ask;
mod at_once;
mod brief;
mod connect;
mod daemon_socket;
mod error;
mod exchange;
#[cfg(feature = "http2")]
mod http2;
mod lenient;
mod limits;
mod resolver;
mod sockets;
mod stream;
#[cfg(feature = "tls")]
mod tls;

pub use address::Address;
pub use ask::{Asked, ask};
pub use at_once::ask_at_once;
pub use brief::{Brief, Rendered, Reply, send_rendered};
pub use connect::{connect, connect_first};
pub use daemon_socket::{SOCKET_VARIABLE, SYSTEM_SOCKET, daemon_socket};
pub use error::{ConnectError, ExchangeError, ResolveError, is_shortage};
pub use exchange::{Body, OpenResponse, send};
#[cfg(feature = "http2")]
pub use http2::{Http2Answer, Http2Body, send_http2};
pub use limits::{MAX_HEAD_BYTES, MAX_HEADER_COUNT};
pub use resolver::{SYSTEM, System};
pub use sockets::{Connecting, Resolving, Sockets};
pub use stream::Stream;
#[cfg(feature = "tls")]
pub use tls::{Certificate, Secured, Tls, TlsError, TlsOptions, TlsOptionsError, TlsServer, TlsServerStream};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
