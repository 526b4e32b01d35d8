//! How a process ended, and the signals that end it.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::ParseWordError;

/// How a process ended. Nothing is flattened: a code is not a signal, and unknown is not success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitKind {
    /// Called `exit` with this code.
    Code(i32),
    /// Ended by a signal.
    Signal {
        /// Signal that ended the process.
        signal: Signal,
        /// A core was dumped.
        core: bool,
    },
    /// The process is gone, and its status is not known (an adopted process that another process reaped).
    Unknown,
}

/// How a process ended, and whether heartbeatd asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exit {
    /// Code, signal or unknown.
    pub kind: ExitKind,
    /// The kernel's out-of-memory killer did it.
    pub oom: bool,
}

impl Exit {
    /// An exit with a code.
    #[must_use]
    pub const fn code(code: i32) -> Self {
        Self { kind: ExitKind::Code(code), oom: false }
    }

    /// An exit by a signal without a core.
    #[must_use]
    pub const fn signal(signal: Signal) -> Self {
        Self { kind: ExitKind::Signal { signal, core: false }, oom: false }
    }

    /// An exit whose status is not known.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { kind: ExitKind::Unknown, oom: false }
    }

    /// True for exit code 0 and nothing else; a realm's `success_codes` widen this in the restart policy.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        matches!(self.kind, ExitKind::Code(0))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ExitKind::Code(code) => write!(f, "exit code {code}")?,
            ExitKind::Signal { signal, core } => {
                write!(f, "killed by SIG{signal}")?;
                if core {
                    f.write_str(" (core dumped)")?;
                }
            }
            ExitKind::Unknown => f.write_str("exit status unknown")?,
        }
        if self.oom {
            f.write_str(", out of memory")?;
        }
        Ok(())
    }
}

/// A signal by its Linux number. Displays and parses by name without the `SIG` prefix, e.g. `TERM`.
///
/// ```
/// use heartbeat_status::Signal;
///
/// assert_eq!("SIGTERM".parse::<Signal>().unwrap(), Signal::TERM);
/// assert_eq!("RTMIN+3".parse::<Signal>().unwrap().number(), 37);
/// assert_eq!(Signal::KILL.to_string(), "KILL");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// Names by number on Linux for x86, arm and riscv; index 0 is signal 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// First real-time signal as glibc counts it (the kernel's 32 and 33 belong to the C library).
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

impl Signal {
    /// Hang up (1).
    pub const HUP: Self = Self(1);
    /// Interrupt, number 2.
    pub const INT: Self = Self(2);
    /// Quit with a core (3).
    pub const QUIT: Self = Self(3);
    /// Abort, number 6.
    pub const ABRT: Self = Self(6);
    /// Kill, cannot be caught (9).
    pub const KILL: Self = Self(9);
    /// User-defined 1 (10).
    pub const USR1: Self = Self(10);
    /// User-defined 2 (12).
    pub const USR2: Self = Self(12);
    /// Terminate, number 15.
    pub const TERM: Self = Self(15);
    /// Continue if stopped (18).
    pub const CONT: Self = Self(18);
    /// Stop, cannot be caught (19).
    pub const STOP: Self = Self(19);

    /// A signal by number, 1 to 64.
    #[must_use]
    pub const fn new(number: i32) -> Option<Self> {
        if number >= 1 && number <= RTMAX as i32 { Some(Self(number as u8)) } else { None }
    }

    /// The number of the signal.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0 as i32
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0) - 1) {
            Some(name) => f.pad(name),
            None if self.0 >= RTMIN => write!(f, "RTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Signal {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, ParseWordError> {
        let upper: String = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = if let Some(at) = NAMES.iter().position(|known| *known == name) {
            i32::try_from(at).ok().map(|at| at + 1)
        } else if let Some(offset) = name.strip_prefix("RTMIN+") {
            offset.parse::<u8>().ok().and_then(|n| n.checked_add(RTMIN)).map(i32::from)
        } else if name == "RTMIN" {
            Some(i32::from(RTMIN))
        } else {
            name.parse::<i32>().ok()
        };
        number.and_then(Self::new).ok_or_else(|| ParseWordError::new("signal", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_signal_survives_its_own_name() {
        for number in 1..=64 {
            let signal = Signal::new(number).unwrap();
            assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal, "{number}");
        }
        for bad in ["", "SIG", "TERMINATE", "0", "65", "RTMIN+31", "-9"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn causes_are_kept_apart_in_words() {
        assert_eq!(Exit::code(1).to_string(), "exit code 1");
        assert_eq!(Exit::signal(Signal::KILL).to_string(), "killed by SIGKILL");
        let oom = Exit { kind: ExitKind::Signal { signal: Signal::KILL, core: false }, oom: true };
        assert_eq!(oom.to_string(), "killed by SIGKILL, out of memory");
        assert_eq!(Exit::unknown().to_string(), "exit status unknown");
        assert!(!Exit::unknown().is_zero());
    }
}
