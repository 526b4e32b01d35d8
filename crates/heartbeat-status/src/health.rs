//! The health axis of a realm.

closed_list! {
    /// What the probes say, with hysteresis. Green always means recent evidence.
    pub enum Health ("health") {
        /// Every probe that counts passes.
        Healthy = "healthy",
        /// Passes with a warning; counts as healthy for every decision.
        Degraded = "degraded",
        /// A live or ready probe is past its threshold.
        Unhealthy = "unhealthy",
        /// No recent conclusive evidence.
        Unknown = "unknown",
    }
}

impl Health {
    /// Healthy or degraded: satisfies gates, verification and `is up`.
    #[must_use]
    pub const fn is_pass(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }
}
