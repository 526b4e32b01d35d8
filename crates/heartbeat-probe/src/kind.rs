//! The shape that every kind of probe has: a new kind is one file with an `impl Kind`, and one line in `probe.rs`.
//!
//! The driver in `probe.rs` owns the deadline, the phases, `slow`, the networks and the sockets. A kind says what it
//! is, where it connects to, and what it observes there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{Outcome, ProbeKind};

use crate::measure::Seen;
use crate::progress::Progress;
use crate::target::Target;

/// One kind of probe.
pub(crate) trait Kind {
    /// As the wire format writes it.
    fn kind(&self) -> ProbeKind;

    /// The target, for people.
    fn target(&self) -> String;

    /// Where it connects to; `None` for a kind that makes no connection.
    fn connection(&self) -> Option<&Target> {
        None
    }

    /// The same, to change it.
    fn connection_mut(&mut self) -> Option<&mut Target> {
        None
    }

    /// Time beyond the timeout, for a kind that enforces the target's deadline itself.
    fn grace(&self) -> Duration {
        Duration::ZERO
    }

    /// Notes the request that was sent, where [`Progress::sent_unnoted`] says that it has to be.
    fn note_sent(&self, _: &Progress<'_>) {}

    /// Observes the target once. The driver drops the future at the deadline.
    async fn observe(&self, progress: &mut Progress<'_>) -> Seen;
}

/// The `impl Kind` of a probe that talks to one server: its kind, its target for people, its field `target`, its method
/// `talk`. The conversation has memory of its own: a measurement has room for the most common one, which is HTTP.
macro_rules! talks {
    ($probe:ty, $own:ident => $kind:expr, $target:expr) => {
        impl crate::kind::Kind for $probe {
            fn kind(&self) -> heartbeat_status::ProbeKind {
                let $own = self;
                let _ = $own;
                $kind
            }

            fn target(&self) -> String {
                let $own = self;
                $target.to_string()
            }

            fn connection(&self) -> Option<&crate::target::Target> {
                Some(&self.target)
            }

            fn connection_mut(&mut self) -> Option<&mut crate::target::Target> {
                Some(&mut self.target)
            }

            async fn observe(&self, progress: &mut crate::progress::Progress<'_>) -> crate::measure::Seen {
                Box::pin(self.talk(progress)).await
            }
        }
    };
}
pub(crate) use talks;

/// A pending observation: the outcome, and what a person reads beside it.
pub type Observing<'a> = Pin<Box<dyn Future<Output = (Outcome, String)> + Send + 'a>>;

/// A kind of probe that the embedder brings. [`Probe::measure`](crate::Probe::measure) gives it the same deadline, the
/// same excuse for lag and the same `slow` as the kinds of this crate.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use heartbeat_probe::{Observe, Observing, Probe};
/// use heartbeat_status::{FailReason, Outcome, ProbeKind};
///
/// #[derive(Debug)]
/// struct Spool;
///
/// impl Observe for Spool {
///     fn kind(&self) -> ProbeKind {
///         ProbeKind::File
///     }
///     fn target(&self) -> String {
///         "/var/spool/shop".to_owned()
///     }
///     fn observe(&self) -> Observing<'_> {
///         Box::pin(async {
///             match std::path::Path::new("/var/spool/shop/stuck").exists() {
///                 false => (Outcome::Pass, String::new()),
///                 true => (Outcome::Fail { reason: FailReason::ConditionFailed, phase: None }, "stuck".to_owned()),
///             }
///         })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let probe = Probe::from(Arc::new(Spool) as Arc<dyn Observe>).with_slow(Duration::from_millis(50));
/// assert_eq!(probe.measure(Duration::from_secs(2)).await.outcome, Outcome::Pass);
/// # }
/// ```
pub trait Observe: Send + Sync + fmt::Debug {
    /// The kind under which its results are shown.
    fn kind(&self) -> ProbeKind;

    /// The target, for people.
    fn target(&self) -> String;

    /// Observes the target once. Must not block: the deadline drops the future.
    fn observe(&self) -> Observing<'_>;
}

/// A probe by an observer of the embedder.
#[derive(Clone, Debug)]
pub struct ObserverProbe(Arc<dyn Observe>);

impl PartialEq for ObserverProbe {
    /// The same observer.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Arc<dyn Observe>> for ObserverProbe {
    fn from(observer: Arc<dyn Observe>) -> Self {
        Self(observer)
    }
}

impl Kind for ObserverProbe {
    fn kind(&self) -> ProbeKind {
        self.0.kind()
    }

    fn target(&self) -> String {
        self.0.target()
    }

    async fn observe(&self, _: &mut Progress<'_>) -> Seen {
        Ok(self.0.observe().await)
    }
}
