//! Delivers heartbeatd's incidents to webhooks, Alertmanager, ntfy, Slack, PagerDuty, mail and programs, in order and
//! with retries.
//!
//! # What it is
//! It takes `heartbeat.incident/1` documents ([`IncidentDocument`](heartbeat_wire::IncidentDocument)) and posts
//! them, in the form of its [`Target`], to each [`Receiver`] that asked for them. Each receiver has a queue and a
//! worker of its own, so a receiver that hangs, fails or floods does not delay the others, and [`Notifier::notify`]
//! never waits.
//!
//! To a receiver it promises:
//! - **Order.** One notification after the other; the next starts when the last has arrived or is abandoned.
//! - **At least once, with a constant key.** `webhook-id` is the same at every attempt (`ID.SEQ`), as
//!   [Standard Webhooks](https://www.standardwebhooks.com) have it, so a receiver recognises a repetition.
//!   `webhook-timestamp` is the time of the attempt, and `webhook-signature` signs both with the body.
//! - **`resolved` if and only if `opened`.** A receiver that knows of an outage gets its end, and never the end of an
//!   outage that it does not know of, also when the queue overflows or a delivery is abandoned.
//! - **Retries.** An attempt has [`ATTEMPT_TIMEOUT`]; 2xx is success. The worker retries everything else after 1 s,
//!   doubling up to 5 min (± 20 %), not before the `Retry-After` of the answer (seconds or a date, at most 1 h), for
//!   [`ABANDON_AFTER`]. It abandons a notification at once after a 4xx other than 408, 425 and 429. `410 Gone` disables
//!   the receiver. The worker follows no redirect.
//!
//! A receiver of messages for people hears of [`STORM_INCIDENTS`] incidents within [`STORM_WINDOW`] one by one; of all
//! others it gets one digest at the end of that time, under one key.
//!
//! A receiver that fails for [`FAILING_AFTER`] is reported, and so is its recovery. Its `fallback` then hears of the
//! incident of heartbeatd itself that follows from the report, whichever realms that receiver asked for.
//!
//! A receiver that asked for certain realms joins an incident when the first of these becomes part of it; it gets
//! `opened` then, with the `seq` the incident has by that time. One that did not ask for `updated` gets `opened` again
//! when another realm turns out to be the root.
//!
//! # The outbox
//! The caller keeps the outbox. [`Notifier::admit`] says what each receiver is to get; the caller writes that in the
//! transaction of the incident and calls [`Notifier::release`]. Each [`Report`] changes one row. After a restart the
//! rows come back as [`Restored`], and every promise above holds over kill -9 and a reboot. While the outbox cannot be
//! written, the caller releases without it: deliveries go on from the queues in memory, which hold at most
//! [`MAX_QUEUED_NOTIFICATIONS`] each.
//!
//! # What it is not
//! It does not decide what an incident is or how it develops: the core does. It opens no file, and starts programs by the way that the
//! caller gives it ([`Programs`]).
//!
//! # How to use it
//! ```
//! use std::time::Duration;
//!
//! use heartbeat_notify::{
//!     Clock, Endpoint, NoPrograms, Notifier, NotifyError, Outside, Receiver, Report, Target, Webhook,
//! };
//! use heartbeat_status::{Instant, WallTime};
//!
//! async fn example() -> Result<(), NotifyError> {
//!     let endpoint = Endpoint::new("http://127.0.0.1:3000/api/incidents/")?;
//!     let ops = Receiver::new("ops", Target::Webhook(Webhook { endpoint, secrets: Vec::new() }));
//!     let runtime = tokio::runtime::Handle::current();
//!     let clock = Clock {
//!         now: Box::new(|| Instant::from_millis(1)), // the caller's clocks
//!         wall: Box::new(|| WallTime::from_millis(1_764_000_000_000)),
//!     };
//!     let notifier = Notifier::start(vec![ops], Vec::new(), runtime, Outside::new(clock, NoPrograms), |report| match report {
//!         Report::GivenUp { receiver, error, .. } => println!("{receiver}: {error}"),
//!         other => println!("{other:?}"),
//!     });
//!     // notifier.notify(document) with every document that is made
//!     assert_eq!(notifier.backlog(), [("ops".to_owned(), 0)]);
//!     notifier.close(Duration::from_secs(5)).await;
//!     Ok(())
//! }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

mod backoff;
mod deliver;
mod endpoint;
mod error;
mod failing;
mod mail;
mod mirror;
mod notifier;
mod outside;
mod program;
mod queue;
mod receiver;
mod report;
mod restored;
mod retry_after;
mod secret;
mod storm;
mod target;
mod test_message;
mod worker;

pub use deliver::{ATTEMPT_TIMEOUT, PostError, ping, post_json};
pub use endpoint::Endpoint;
pub use error::{DeliveryError, NotifyError};
pub use failing::FAILING_AFTER;
pub use heartbeat_http::{Sockets, TlsOptions, TlsOptionsError};
pub use heartbeat_template::{Template, TemplateError};
pub use mail::MailError;
pub use notifier::{Admitted, Notification, Notifier};
pub use outside::{Clock, Outside};
pub use program::{Exec, NoPrograms, PROGRAM_TIMEOUT, ProgramError, ProgramFuture, Programs};
pub use queue::{ABANDON_AFTER, MAX_QUEUED_NOTIFICATIONS};
pub use receiver::{DEFAULT_STEPS, Receiver};
pub use report::{Report, WhyDropped};
pub use restored::{Restored, RestoredState};
pub use secret::{Secret, SecretError, Token};
pub use storm::{STORM_INCIDENTS, STORM_WINDOW};
pub use target::{Alertmanager, Login, Ntfy, PagerDuty, Slack, SlackBot, Smtp, Target, Webhook};
pub use test_message::{TestMessage, Tested};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
