//! What is configured under `restart`.

use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{Exit, ExitKind};

use crate::PolicyError;
use crate::backoff::doubled;

/// When an ended process is started again; systemd's `Restart=` words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RestartWhen {
    /// However it ended.
    Always,
    /// Unless it ended with success.
    OnFailure,
    /// Not at all; also not for failing probes.
    Never,
}

/// What happens when the budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhenSpent {
    /// One trial after a long wait that doubles.
    Cooldown,
    /// Nothing more until a person acts.
    Fail,
}

/// Restart settings as configured, before validation. Defaults: [`PolicySettings::service`] and
/// [`PolicySettings::oneshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySettings {
    /// When to restart (`always`; oneshots `on-failure`).
    pub when: RestartWhen,
    /// Exit codes that count as success besides 0 (none).
    pub success_codes: Vec<i32>,
    /// Exit codes after which it is never restarted (none); systemd's `RestartPreventExitStatus=`.
    pub never_codes: Vec<i32>,
    /// First delay, doubled with every attempt (500 ms).
    pub backoff: Duration,
    /// Longest delay (60 s).
    pub backoff_max: Duration,
    /// Random share added to or taken from every delay, in percent (20).
    pub jitter_percent: u8,
    /// Never two starts within this, whatever the cause (250 ms).
    pub min_gap: Duration,
    /// Continuously healthy for this long resets attempts and delay (60 s).
    pub reset_after: Duration,
    /// Restarts allowed within `window` (6).
    pub burst: u32,
    /// The window of `burst` (10 min).
    pub window: Duration,
    /// What happens when they are spent (`cooldown`).
    pub when_spent: WhenSpent,
    /// First cooldown, doubled with every trial that failed (5 min).
    pub cooldown: Duration,
    /// Longest cooldown (1 h).
    pub cooldown_max: Duration,
    /// How long a restarted realm has to stay healthy before it counts as recovered (5 s).
    pub verify_for: Duration,
}

impl PolicySettings {
    /// Defaults of a service.
    #[must_use]
    pub const fn service() -> Self {
        Self {
            when: RestartWhen::Always,
            success_codes: Vec::new(),
            never_codes: Vec::new(),
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            jitter_percent: 20,
            min_gap: Duration::from_millis(250),
            reset_after: Duration::from_secs(60),
            burst: 6,
            window: Duration::from_secs(600),
            when_spent: WhenSpent::Cooldown,
            cooldown: Duration::from_secs(300),
            cooldown_max: Duration::from_secs(3600),
            verify_for: Duration::from_secs(5),
        }
    }

    /// Every rule that is broken.
    #[must_use]
    pub fn problems(&self) -> Vec<PolicyError> {
        let mut problems = Vec::new();
        let (most_burst, most_jitter) =
            (RestartPolicy::MAX_BURST_RESTARTS, RestartPolicy::MAX_JITTER_PERCENT);
        if self.burst == 0 {
            problems.push(PolicyError::Zero { field: "burst" });
        }
        if self.burst > most_burst {
            problems.push(PolicyError::TooLarge { field: "burst", value: self.burst, limit: most_burst });
        }
        if self.jitter_percent > most_jitter {
            let (value, limit) = (self.jitter_percent.into(), most_jitter.into());
            problems.push(PolicyError::TooLarge { field: "jitter", value, limit });
        }
        let durations = [
            ("backoff", self.backoff),
            ("window", self.window),
            ("reset_after", self.reset_after),
            ("cooldown", self.cooldown),
        ];
        let zero = durations.into_iter().filter(|(_, duration)| duration.is_zero());
        problems.extend(zero.map(|(field, _)| PolicyError::NoDuration { field }));
        if self.backoff_max < self.backoff {
            problems.push(PolicyError::Inverted { upper: "backoff_max", lower: "backoff" });
        }
        if self.cooldown_max < self.cooldown {
            problems.push(PolicyError::Inverted { upper: "cooldown_max", lower: "cooldown" });
        }
        problems
    }

    /// Defaults of a oneshot: tried again only when it failed.
    #[must_use]
    pub fn oneshot() -> Self {
        Self { when: RestartWhen::OnFailure, ..Self::service() }
    }
}

/// Validated restart settings.
///
/// ```
/// use core::time::Duration;
/// use heartbeat_restart::{PolicyError, PolicySettings, RestartPolicy};
///
/// let policy = RestartPolicy::new(PolicySettings { burst: 3, ..PolicySettings::service() }).unwrap();
/// assert_eq!((policy.burst(), policy.window()), (3, Duration::from_secs(600)));
/// let none = PolicySettings { burst: 0, ..PolicySettings::service() };
/// assert_eq!(RestartPolicy::new(none), Err(PolicyError::Zero { field: "burst" }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    settings: PolicySettings,
}

impl RestartPolicy {
    /// Largest `burst`: every debit inside the window is remembered.
    pub const MAX_BURST_RESTARTS: u32 = 1_000;
    /// Largest `jitter`, so that a delay can never become nothing.
    pub const MAX_JITTER_PERCENT: u8 = 90;

    /// Validates settings.
    ///
    /// # Errors
    /// [`PolicyError`]: the first rule that is broken. [`PolicySettings::problems`] has all of them.
    pub fn new(settings: PolicySettings) -> Result<Self, PolicyError> {
        match settings.problems().into_iter().next() {
            Some(error) => Err(error),
            None => Ok(Self { settings }),
        }
    }

    /// Defaults of a service.
    #[must_use]
    pub const fn service_default() -> Self {
        Self { settings: PolicySettings::service() }
    }

    /// Defaults of a oneshot.
    #[must_use]
    pub fn oneshot_default() -> Self {
        Self { settings: PolicySettings::oneshot() }
    }

    /// All of its settings.
    #[must_use]
    pub const fn settings(&self) -> &PolicySettings {
        &self.settings
    }

    /// When an ended process is started again.
    #[must_use]
    pub const fn when(&self) -> RestartWhen {
        self.settings.when
    }

    /// Restarts allowed within [`RestartPolicy::window`].
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.settings.burst
    }

    /// The window of the budget.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.settings.window
    }

    /// The cooldown that follows `before` of them in a row.
    #[must_use]
    pub fn cooldown(&self, before: u32) -> Duration {
        doubled(self.settings.cooldown, before, self.settings.cooldown_max)
    }

    /// Never two starts within this.
    #[must_use]
    pub const fn min_gap(&self) -> Duration {
        self.settings.min_gap
    }

    /// Continuous health that resets attempts and delay.
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        self.settings.reset_after
    }

    /// How long a restarted realm has to stay healthy.
    #[must_use]
    pub const fn verify_for(&self) -> Duration {
        self.settings.verify_for
    }

    /// Exit code 0 or one of `success_codes`. A signal and an unknown status are never success.
    #[must_use]
    pub fn is_success(&self, exit: &Exit) -> bool {
        match exit.kind {
            ExitKind::Code(code) => code == 0 || self.settings.success_codes.contains(&code),
            ExitKind::Signal { .. } | ExitKind::Unknown => false,
        }
    }

    /// An exit code after which it is never restarted.
    #[must_use]
    pub fn is_final(&self, exit: &Exit) -> bool {
        matches!(exit.kind, ExitKind::Code(code) if self.settings.never_codes.contains(&code))
    }

    /// Whether an end of this kind is followed by a start at all. `None`: ended for another cause than by itself.
    pub(crate) fn restarts_after(&self, exit: Option<&Exit>) -> bool {
        if exit.is_some_and(|exit| self.is_final(exit)) {
            return false;
        }
        match self.when() {
            RestartWhen::Always => true,
            RestartWhen::OnFailure => !exit.is_some_and(|exit| self.is_success(exit)),
            RestartWhen::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::Signal;

    #[test]
    fn impossible_settings_are_refused_by_name() {
        let service = PolicySettings::service;
        let cases = [
            (PolicySettings { burst: 0, ..service() }, PolicyError::Zero { field: "burst" }),
            (
                PolicySettings { burst: 1_001, ..service() },
                PolicyError::TooLarge { field: "burst", value: 1_001, limit: 1_000 },
            ),
            (
                PolicySettings { jitter_percent: 91, ..service() },
                PolicyError::TooLarge { field: "jitter", value: 91, limit: 90 },
            ),
            (
                PolicySettings { backoff: Duration::ZERO, ..service() },
                PolicyError::NoDuration { field: "backoff" },
            ),
            (
                PolicySettings { backoff_max: Duration::from_millis(1), ..service() },
                PolicyError::Inverted { upper: "backoff_max", lower: "backoff" },
            ),
            (
                PolicySettings { cooldown_max: Duration::from_secs(1), ..service() },
                PolicyError::Inverted { upper: "cooldown_max", lower: "cooldown" },
            ),
        ];
        for (settings, error) in cases {
            assert_eq!(RestartPolicy::new(settings), Err(error));
        }
    }

    #[test]
    fn what_counts_as_success_and_as_final() {
        let settings = PolicySettings {
            when: RestartWhen::OnFailure,
            success_codes: alloc::vec![3],
            never_codes: alloc::vec![78],
            ..PolicySettings::service()
        };
        let policy = RestartPolicy::new(settings).unwrap();
        for (exit, restarts) in [
            (Exit::code(0), false),
            (Exit::code(3), false),
            (Exit::code(78), false),
            (Exit::code(1), true),
            (Exit::signal(Signal::TERM), true),
            (Exit::unknown(), true),
        ] {
            assert_eq!(policy.restarts_after(Some(&exit)), restarts, "{exit}");
        }
        assert!(policy.restarts_after(None));
    }
}
