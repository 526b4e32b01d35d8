//! Embeddable health probes: measure a target within one deadline and report the result.
//!
//! # What it is
//! [`Probe`] is one measurement of one target: an HTTP request ([`HttpProbe`]), a TCP connection ([`TcpProbe`]), a
//! process ([`ProcessProbe`]), a file ([`FileProbe`]), a command ([`ExecProbe`], run by the embedder), or, with their
//! features, Redis, PostgreSQL, gRPC, DNS and TLS, each in its own protocol. Its [`CheckResult`] has four kinds of
//! outcome: pass, degraded, fail with a reason and the phase in which it happened, and *inconclusive*, which means that
//! the fault was ours (no descriptors, our own lag) and nothing is known about the target. Phases are timed separately.
//!
//! # What it is not
//! A probe does not schedule, retry or count: thresholds belong to the caller ([`Tally`] counts results). It starts no
//! task, and no thread but those on which the system's resolver blocks: at most eight, and none for an address or `localhost`.
//!
//! # How to use it
//! ```no_run
//! use std::time::Duration;
//! use heartbeat_probe::{HttpProbe, Probe};
//!
//! # async fn example() -> Result<(), heartbeat_probe::HttpError> {
//! let probe: Probe = HttpProbe::new("http://127.0.0.1:8001/api/health/")?.into();
//! let result = probe.measure(Duration::from_secs(2)).await;
//! println!("{} {}", result.outcome, result.detail);
//! # Ok(())
//! # }
//! ```
//! For a target from outside, [`Networks`] restrict the addresses that a probe connects to: it checks them after each
//! resolution and connects to a checked address.
//!
//! Whatever the server does (one byte a second, endless headers, a body without end), the measurement is over
//! when the timeout is.
//!
#![cfg_attr(feature = "tower", doc = include_str!("front-page.md"))]

mod broken;
#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "http")]
mod checks;
pub mod clock;
#[cfg(feature = "http")]
mod condition;
mod conversation;
#[cfg(feature = "dns")]
mod dns;
mod error;
mod exec;
#[cfg(any(feature = "http", feature = "redis", feature = "postgres"))]
mod expectation;
mod file;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod html;
#[cfg(feature = "http")]
mod http;
mod kind;
mod measure;
mod network;
#[cfg(feature = "postgres")]
mod postgres;
mod probe;
mod process;
mod progress;
#[cfg(feature = "http")]
mod redirect;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "http")]
mod registration;
#[cfg(feature = "http")]
mod request;
#[cfg(feature = "tls")]
mod secure;
#[cfg(any(feature = "grpc", feature = "redis", feature = "postgres"))]
mod server;
#[cfg(feature = "http")]
mod snippet;
#[cfg(feature = "http")]
mod status_set;
mod target;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod url;
#[cfg(feature = "http")]
mod verdict;

#[cfg(feature = "http")]
pub use crate::http::HttpProbe;
#[cfg(feature = "http")]
pub use checks::{Check, Checks, Verdict};
pub use conversation::Explanation;
#[cfg(feature = "dns")]
pub use dns::{DnsError, DnsProbe, DnsRecord};
#[cfg(feature = "http")]
pub use error::HttpError;
pub use error::TcpError;
#[cfg(feature = "tls")]
pub use error::TlsProbeError;
pub use exec::{ExecError, ExecFuture, ExecOutput, ExecProbe, Spawn};
#[cfg(any(feature = "http", feature = "redis", feature = "postgres"))]
pub use expectation::ExpectationError;
pub use file::FileProbe;
#[cfg(feature = "grpc")]
pub use grpc::GrpcProbe;
pub use heartbeat_http::{Connecting, ResolveError, Resolving, Sockets};
#[cfg(feature = "tls")]
pub use heartbeat_http::{TlsOptions, TlsOptionsError};
/// What a measurement returns, and what counts its results.
pub use heartbeat_status::{
    CheckResult, DegradedReason, FailReason, FailWindow, InconclusiveReason, Instant, Outcome, OutcomeReason,
    PhaseTimes, ProbeKind, ProbePhase, Tally, Thresholds,
};
pub use kind::{Observe, ObserverProbe, Observing};
pub use network::{Denied, Network, NetworkError, Networks};
#[cfg(feature = "postgres")]
pub use postgres::PostgresProbe;
pub use probe::Probe;
pub use process::ProcessProbe;
#[cfg(feature = "redis")]
pub use redis::RedisProbe;
#[cfg(feature = "http")]
pub use registration::{Registered, Registration, RegistrationError};
#[cfg(any(feature = "grpc", feature = "redis", feature = "postgres"))]
pub use server::ServerError;
#[cfg(feature = "http")]
pub use status_set::StatusSet;
pub use tcp::TcpProbe;
#[cfg(feature = "tls")]
pub use tls::TlsProbe;
pub use url::UrlError;

/// How probes name themselves to servers.
#[cfg(any(feature = "http", feature = "grpc"))]
const AGENT: &str = concat!("heartbeat-probe/", env!("CARGO_PKG_VERSION"));

/// An expected text in a detail. It is a text of the configuration, which not every reader of a detail may read.
fn expected(text: &str) -> String {
    heartbeat_status::printed::quoted(&format!("{text:?}"))
}

/// The examples of the README, as tests.
#[cfg(all(doctest, feature = "tower"))]
#[doc = include_str!("../README.md")]
struct Readme;
