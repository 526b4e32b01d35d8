//! The tables of a configuration.

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// The top level of the file.
    Root,
    /// `[heartbeat]`
    Heartbeat,
    /// `[heartbeat.fuse]`
    Fuse,
    /// `[heartbeat.tls]`
    Tls,
    /// `[notify.NAME]`
    Notify,
    /// `[maintenance.NAME]`
    Maintenance,
    /// `[realm.NAME]` and `[defaults]`
    Realm,
    /// `[realm.NAME.start]`
    Start,
    /// `[realm.NAME.stop]`
    Stop,
    /// `[realm.NAME.restart]`
    Restart,
    /// `[realm.NAME.limits]`
    Limits,
    /// `[realm.NAME.log]`
    Log,
    /// `[realm.NAME.slo]`
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

    /// For messages.
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
