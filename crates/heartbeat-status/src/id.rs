//! Identifiers. Inside the core a realm is a dense index; names live at the rim.

use alloc::string::ToString;
use alloc::sync::Arc;
use core::fmt;

use crate::NameError;

/// Index of a realm in its plan: dense, starting at 0, stable for the life of one plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RealmIx(pub u32);

impl RealmIx {
    /// The index as a `usize`, for indexing a `Vec` laid out by realm.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Index of a probe within its realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeIx(pub u16);

impl ProbeIx {
    /// The index as a `usize`.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One start of one realm: every effect carries the run it belongs to, and an answer for an older run is counted and
/// dropped.
///
/// The low half is the generation: 0 before the first start, then one more with every spawn. The high half counts the
/// realms that had the place in the plan before, so that a late answer about one of them never fits this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

impl RunId {
    /// The bits of the generation.
    const GENERATION_BITS: u32 = 32;

    /// The run after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The run before the first one of another realm that takes the place of this one.
    #[must_use]
    pub const fn of_next_realm(self) -> Self {
        Self(((self.0 >> Self::GENERATION_BITS) + 1) << Self::GENERATION_BITS)
    }

    /// The number of this start of its realm, for people: 1 for the first one, 0 before it.
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.0 & ((1 << Self::GENERATION_BITS) - 1)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One probe measurement; the number is unique within the life of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub u64);

/// One operator command. Its submitter chooses the number, which is unique within the life of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// One restart transaction of one realm: the realm's restart counter at the moment it opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestartId(pub u64);

/// A realm's validated name: `[a-z][a-z0-9_-]{0,62}`, and none of the reserved words.
///
/// Cheap to clone. A DNS label with `_` allowed, so that a name fits a URL path, a file name and a metric label.
///
/// ```
/// use heartbeat_status::RealmName;
///
/// assert_eq!(RealmName::new("auth-api").unwrap().as_str(), "auth-api");
/// assert!(RealmName::new("Auth").is_err());
/// assert!(RealmName::new("all").is_err(), "reserved: selectors use it");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RealmName(Arc<str>);

impl RealmName {
    /// Longest name in bytes (a DNS label).
    pub const MAX_BYTES: usize = 63;
    /// Names that selectors, incidents about ourselves and API paths use.
    pub const RESERVED: &'static [&'static str] = &["all", "heartbeatd", "ecosystem-health"];

    /// Validates a name.
    ///
    /// # Errors
    /// [`NameError`] names the rule that was broken.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        for (at, c) in name.chars().enumerate() {
            let good = c.is_ascii_lowercase() || (at > 0 && (c.is_ascii_digit() || c == '-' || c == '_'));
            if !good {
                return Err(NameError::BadCharacter { name: name.to_string(), found: c, position: at + 1 });
            }
        }
        if name.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong { name: name.to_string(), length: name.len() });
        }
        if Self::RESERVED.contains(&name) {
            return Err(NameError::Reserved { name: name.to_string() });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RealmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RealmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl AsRef<str> for RealmName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        let longest = "a".repeat(63);
        for good in ["a", "api", "auth-api", "web_2", longest.as_str()] {
            assert!(RealmName::new(good).is_ok(), "{good}");
        }
        assert_eq!(RealmName::new(""), Err(NameError::Empty));
        assert!(matches!(
            RealmName::new("2web"),
            Err(NameError::BadCharacter { found: '2', position: 1, .. })
        ));
        assert!(matches!(
            RealmName::new("web.api"),
            Err(NameError::BadCharacter { found: '.', position: 4, .. })
        ));
        assert!(matches!(RealmName::new(&"a".repeat(64)), Err(NameError::TooLong { length: 64, .. })));
        for reserved in RealmName::RESERVED {
            assert!(matches!(RealmName::new(reserved), Err(NameError::Reserved { .. })), "{reserved}");
        }
    }
}
