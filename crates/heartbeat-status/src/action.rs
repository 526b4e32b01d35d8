//! The actions that an operator can ask for.

closed_list! {
    /// The actions that an operator can ask for.
    pub enum Action ("action") {
        /// Run it, and what it needs.
        Start = "start",
        /// Stop it and keep it stopped.
        Stop = "stop",
        /// Stop it and run it again.
        Restart = "restart",
        /// Suspend its supervision: it keeps running and is still probed, without restarts and alerts.
        Pause = "pause",
        /// End its pause.
        Resume = "resume",
        /// Clear its attempts, backoff and cooldown, and start it if it should run.
        Reset = "reset",
        /// Send a signal to its process.
        Signal = "signal",
    }
}

impl Action {
    /// Whether it may take processes down.
    #[must_use]
    pub const fn stops(self) -> bool {
        matches!(self, Self::Stop | Self::Restart)
    }
}

closed_list! {
    /// How far a caller wants to wait.
    #[derive(Default)]
    pub enum Wait ("wait") {
        /// Answer as soon as it is under way.
        #[default]
        Accepted = "accepted",
        /// Until every realm of the command is up (for `stop`: stopped).
        Up = "up",
        /// Until every restart of the command is verified.
        Verified = "verified",
    }
}
