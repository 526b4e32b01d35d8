//! The codes of diagnostics: one enum, each with what it means and what to do about it.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal),+ $(,)?) => {
        /// The code of a diagnostic: `HB0xx` file, `HB1xx` key and value, `HB2xx` graph, `HB3xx` warning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])+ $name),+ }

        impl Code {
            /// Every code, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As it is printed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => concat!("HB", $number)),+ }
            }

            /// What it means and what to do about it.
            #[must_use]
            pub fn explanation(self) -> String {
                let lines: &[&str] = match self { $(Self::$name => &[$($doc),+]),+ };
                lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
            }
        }
    };
}

codes! {
    /// The file is not TOML, or a key or table stands in it twice. The caret shows where reading stopped; a line is `[table]`
    /// or `key = value`, and strings begin and end with a quote on the same line.
    Syntax = "001",
    /// Files, environment and flags do not fit together: one says a table where another says a value.
    Layers = "002",
    /// No configuration file was found in the places that the message lists. Name one with `--config FILE`.
    NoFile = "003",
    /// A file cannot be read: it is missing, or heartbeatd may not read it.
    UnreadableFile = "004",
    /// A pattern of `include` is no glob, or brings in too many files.
    BadInclude = "005",
    /// A realm is declared in two files. Declare it in one; what all realms share belongs in `[defaults]`.
    DeclaredTwice = "006",
    /// `include` and `env_file` of `[heartbeat]` work only in the first file, since they are needed before the others are read.
    TooLate = "007",
    /// Something is there that is not read: a file that others may write, no regular file, one that is too large, or a
    /// registration that is no JSON object. The help says which command changes that.
    Unfit = "008",
    /// A file system or directory service did not answer within 5 s. Nothing was read; bring it back and try again.
    Silent = "009",
    /// There is no such key in this table. The help names the key that is near, or what another tool's word is called here.
    UnknownKey = "101",
    /// The value has the wrong type: a string where a number is needed, a value where a table is needed, or a number outside of
    /// what is possible.
    WrongType = "102",
    /// The key belongs to a later version. It is refused rather than ignored; remove it.
    NotBuilt = "103",
    /// `${NAME}` cannot be filled in: the variable is not set, or there are no variables in this place.
    Variable = "104",
    /// A duration, size, percentage or mode is not understood. Durations and sizes have a unit: `"30s"`, `"64MiB"`.
    BadUnit = "105",
    /// The value is not one of the words that this key takes.
    UnknownWord = "106",
    /// A command is empty, has a quote that is never closed, or needs a shell. Add `shell = true` to have a shell read `run`.
    BadCommand = "107",
    /// A file of variables cannot be read, or has a line that is not NAME=value.
    BadEnvFile = "108",
    /// An environment variable `HEARTBEAT__...` or a flag sets no key.
    BadOverride = "109",
    /// A probe names no kind or several, or it cannot be one of this realm.
    BadProbe = "110",
    /// The target of a probe is not understood: a URL, an address, a method, a status or a pattern.
    BadTarget = "111",
    /// Two probes of a realm have the same name, or it has a second probe of a kind of which there is one.
    ProbeTwice = "112",
    /// The key means nothing for this kind of probe.
    MisplacedKey = "113",
    /// The times of a probe cannot be: zero, a timeout longer than the interval, or a command too often. One measurement runs
    /// at a time, and a command at most once per second: `health = { exec = "app ping", interval = "10s", timeout = "5s" }`.
    BadTiming = "114",
    /// A probe decides after at least one result, and after 1,000 at most.
    BadThreshold = "115",
    /// Two bounds contradict each other, or one of them cannot be: an upper bound is below its lower one.
    BadBounds = "116",
    /// The name of a realm or receiver is not possible: lower-case letters, digits, `-` and `_`, beginning with a letter.
    BadName = "117",
    /// A number is outside of its range.
    OutOfRange = "118",
    /// `listen` is no loopback address and `tls` or `token_file` is missing, `tls` has no certificate or no key, or `hosts`
    /// has what is not the name of a host.
    BadListen = "119",
    /// A realm has neither `run` nor `port` nor `health`: there is nothing to start and nothing to watch.
    NothingToDo = "120",
    /// The key has no effect on a realm of this kind, for example `stop` of one that is only watched.
    NoEffect = "121",
    /// A dependency that is a table names no realm.
    NeedWithoutRealm = "122",
    /// `until` and `while_down` mean something under `needs` only.
    NeedsOnly = "123",
    /// A variable cannot be in an environment, or heartbeatd sets it itself.
    BadVariable = "124",
    /// There is no such user or group on this machine, or `groups` stands without `user`.
    NoSuchUser = "125",
    /// A receiver has no webhook, or one to which nothing can be posted.
    BadReceiver = "126",
    /// A receiver would never be sent anything: `resolved` only follows what was sent before.
    NeverSent = "127",
    /// The path of a Unix socket is longer than the kernel takes.
    LongSocketPath = "128",
    /// A maintenance window needs `realms`, `start` (a time with its zone, or a cron pattern), `for` and `reason`.
    BadMaintenance = "129",
    /// The key is not for a realm that is registered at run time. What starts or changes something belongs in the configuration.
    NotRegistrable = "130",
    /// A registered realm would be probed outside of loopback and `register_networks`.
    Denied = "131",
    /// The name of a registration is declared in the configuration.
    Declared = "132",
    /// A registration is larger, longer or more frequent than is permitted.
    RegistrationBound = "133",
    /// A file or directory that heartbeatd itself needs cannot be used: the token, the certificate or key of `tls`, the secret
    /// of a receiver, or the place of the socket. heartbeatd does not start without it; the help says which command mends it.
    OwnFile = "134",
    /// The realms do not fit together.
    BadPlan = "200",
    /// Realms wait for each other in a ring. The message has the whole ring; remove one of the edges.
    Cycle = "201",
    /// There is no realm of this name.
    UnknownRealm = "202",
    /// A realm depends on one that is not enabled.
    NotEnabled = "203",
    /// A dependency waits for what never happens: `up` of a oneshot, `done` of a service.
    ImpossibleGate = "204",
    /// A realm depends on itself.
    SelfEdge = "205",
    /// A realm depends on another one twice.
    EdgeTwice = "206",
    /// Two realms have the same port on the same host.
    PortTwice = "207",
    /// `restart.with` names something that cannot be restarted along.
    BadCompanion = "208",
    /// A realm has the port on which heartbeatd itself listens.
    OwnPort = "209",
    /// There is no realm at all.
    NoRealm = "301",
    /// A pattern of `include` matches no file.
    NoMatch = "302",
    /// A key that begins with `x-` is ignored, and this one looks as if it was meant.
    Ignored = "303",
    /// `~` is not expanded, since no shell reads the path.
    Tilde = "304",
    /// A program is not on this machine now, or may not be executed. It may come before the start, so this is a warning.
    NoProgram = "305",
    /// The directory of a realm is not on this machine now.
    NoDirectory = "306",
    /// A command redirects into its own standard output or error with `>`, which empties the log each time. Write `>&2` or `>>`.
    EmptiesLog = "307",
    /// `health` asks another port of this machine than the `port` of its realm. heartbeatd checks both; one of them is often a
    /// slip.
    OtherPort = "308",
    /// A maintenance window is over and does not open again. Remove it, or give it another start.
    PastWindow = "309",
    /// The user who checks may not read a file, or not look into a directory, that heartbeatd itself needs, so it was not
    /// checked. Check as the user as whom heartbeatd runs.
    Unchecked = "310",
    /// A command leaves heartbeatd no process to watch: its program makes a daemon of itself or works for another one, and
    /// ends at once. heartbeatd takes that for a failure. The help says how it stays in the foreground.
    NotInForeground = "311",
    /// Every probe of a realm without a process has `role = "info"`, so none says whether the realm is up, and it stays
    /// `unknown`. Leave `role` out of one, or write `role = "ready"`.
    DecidesNothing = "312",
}

impl Code {
    /// The code of this text: `HB101`, in upper or lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(text))
    }

    /// A configuration loads in spite of it.
    pub(crate) const fn is_warning(self) -> bool {
        self as u8 >= Self::NoRealm as u8
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl PartialEq<&str> for Code {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_each_has_a_sentence() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].as_str() < pair[1].as_str(), "{pair:?}");
        }
        for code in Code::ALL {
            assert_eq!(code.is_warning(), code.as_str().starts_with("HB3"), "{code}");
            assert!(code.explanation().ends_with('.') && code.explanation().len() > 20, "{code}");
            assert_eq!(Code::parse(&code.as_str().to_lowercase()), Some(*code));
        }
        assert_eq!(Code::parse("HB999"), None);
    }
}
