//! The tables of a configuration.

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// The top level of the file.
    Root,
    /// The table `[heartbeat]`.
    Heartbeat,
    /// The table `[heartbeat.fuse]`.
    Fuse,
    /// The table `[heartbeat.tls]`.
    Tls,
    /// The table `[notify.NAME]`.
    Notify,
    /// The table `[maintenance.NAME]`.
    Maintenance,
    /// `[realm.NAME]` and `[defaults]`
    Realm,
    /// The table `[realm.NAME.start]`.
    Start,
    /// The table `[realm.NAME.stop]`.
    Stop,
    /// The table `[realm.NAME.restart]`.
    Restart,
    /// The table `[realm.NAME.limits]`.
    Limits,
    /// The table `[realm.NAME.log]`.
    Log,
    /// The table `[realm.NAME.slo]`.
    Slo,
    /// An entry of `health`
    Health,
    /// An entry of `needs`, `wants` or `after` written as a table
    Need,
}

impl Table {
    /// Every table, in the order of the reference.
    pub const ALL: [Self; 15] = [
        Self::Root,
        Self::Heartbeat,
        Self::Fuse,
        Self::Tls,
        Self::Realm,
        Self::Need,
        Self::Health,
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Limits,
        Self::Log,
        Self::Slo,
        Self::Notify,
        Self::Maintenance,
    ];

    /// The table in which the key at the end of a path stands, and the way to it; an item of a list counts as its list.
    pub(crate) fn of(path: &[String]) -> Option<(Self, &[String])> {
        let is_item = |word: &String| word.bytes().all(|byte| byte.is_ascii_digit());
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let (table, length) = match words.as_slice() {
            ["heartbeat", "fuse", _, ..] => (Self::Fuse, 2),
            ["heartbeat", "tls", _, ..] => (Self::Tls, 2),
            ["heartbeat", _, ..] => (Self::Heartbeat, 1),
            ["notify", _, _, ..] => (Self::Notify, 2),
            ["maintenance", _, _, ..] => (Self::Maintenance, 2),
            [first, rest @ ..] if ["defaults", "realm"].contains(first) => {
                let above = if *first == "realm" { 2 } else { 1 };
                match rest.get(above - 1..)? {
                    ["start", _, ..] => (Self::Start, above + 1),
                    ["stop", _, ..] => (Self::Stop, above + 1),
                    ["restart", _, ..] => (Self::Restart, above + 1),
                    ["limits", _, ..] => (Self::Limits, above + 1),
                    ["log", _, ..] => (Self::Log, above + 1),
                    ["slo", _, ..] => (Self::Slo, above + 1),
                    ["health", at, _, ..] if is_item(&(*at).to_owned()) => (Self::Health, above + 2),
                    ["health", at, ..] if !is_item(&(*at).to_owned()) => (Self::Health, above + 1),
                    ["needs" | "wants" | "after", _, _, ..] => (Self::Need, above + 2),
                    [_, ..] => (Self::Realm, above),
                    [] => return None,
                }
            }
            [_] => (Self::Root, 0),
            _ => return None,
        };
        Some((table, path.get(..length)?))
    }

    /// The name of the table for messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "the file",
            Self::Heartbeat => "[heartbeat]",
            Self::Fuse => "fuse",
            Self::Tls => "tls",
            Self::Notify => "a receiver",
            Self::Maintenance => "a maintenance window",
            Self::Realm => "a realm",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Limits => "limits",
            Self::Log => "log",
            Self::Slo => "slo",
            Self::Health => "health",
            Self::Need => "a dependency",
        }
    }

    /// Its heading in a file.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Root => "top level",
            Self::Heartbeat => "[heartbeat]",
            Self::Fuse => "[heartbeat.fuse]",
            Self::Tls => "[heartbeat.tls]",
            Self::Notify => "[notify.NAME]",
            Self::Maintenance => "[maintenance.NAME]",
            Self::Realm => "[realm.NAME]",
            Self::Start => "[realm.NAME.start]",
            Self::Stop => "[realm.NAME.stop]",
            Self::Restart => "[realm.NAME.restart]",
            Self::Limits => "[realm.NAME.limits]",
            Self::Log => "[realm.NAME.log]",
            Self::Slo => "[realm.NAME.slo]",
            Self::Health => "[realm.NAME.health]",
            Self::Need => "an entry of needs, wants or after",
        }
    }

    /// A key of it with the names of the tables above, without those that a person has chosen: `restart.backoff`.
    #[must_use]
    pub fn name_of(self, key: &str) -> String {
        match self {
            Self::Root | Self::Realm => key.to_owned(),
            Self::Heartbeat => format!("heartbeat.{key}"),
            Self::Fuse => format!("heartbeat.fuse.{key}"),
            Self::Tls => format!("heartbeat.tls.{key}"),
            Self::Notify => format!("notify.{key}"),
            Self::Maintenance => format!("maintenance.{key}"),
            Self::Need => format!("needs.{key}"),
            within => format!("{}.{key}", within.as_str()),
        }
    }
}
