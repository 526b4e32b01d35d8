//! Why a start has failed, as far as a decision depends on it.

closed_list! {
    /// Why a program could not be started. `heartbeat-process` makes it once, from the step that failed and the error.
    pub enum StartFailure ("start failure") {
        /// The program, the interpreter of its `#!` line, its directory or its `env_file` is missing or must not be used:
        /// a start succeeds as soon as it is there.
        ProgramUnusable = "program_unusable",
        /// The host has no process, memory or descriptor left, or the program is being written.
        HostExhausted = "host_exhausted",
        /// The start was not tried: the launcher was gone.
        NeverTried = "never_tried",
        /// The start was not tried: another process listens on the port of the realm.
        PortTaken = "port_taken",
        /// Any other error of the set-up or of execve.
        Other = "other",
    }
}
