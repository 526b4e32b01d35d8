//! The HTTP statuses that pass.

use std::fmt;
use std::str::FromStr;

use crate::HttpError;

/// A set of HTTP statuses: `200`, `2xx`, `200-299`, or several of them with commas. Default `2xx`.
///
/// ```
/// use heartbeat_probe::StatusSet;
///
/// let set: StatusSet = "2xx, 401".parse().unwrap();
/// assert!(set.contains(204) && set.contains(401) && !set.contains(500));
/// assert!("2x".parse::<StatusSet>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet {
    ranges: Vec<(u16, u16)>,
}

impl Default for StatusSet {
    fn default() -> Self {
        Self { ranges: vec![(200, 299)] }
    }
}

impl StatusSet {
    /// Exactly one status.
    ///
    /// # Errors
    /// [`HttpError::Status`] outside 100 to 599.
    pub fn only(status: u16) -> Result<Self, HttpError> {
        status.to_string().parse()
    }

    /// Whether `status` passes.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

impl FromStr for StatusSet {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        let refused = || HttpError::Status { text: text.to_owned() };
        let valid =
            |status: &str| status.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status));
        let range = |part: &str| {
            let part = part.trim();
            if let Some(class) = part.strip_suffix("xx") {
                let class = class.parse::<u16>().ok().filter(|class| (1..=5).contains(class))?;
                return Some((class * 100, class * 100 + 99));
            }
            match part.split_once('-') {
                Some((low, high)) => Some((valid(low)?, valid(high)?)).filter(|(low, high)| low <= high),
                None => valid(part).map(|status| (status, status)),
            }
        };
        let ranges = text.split(',').map(range).collect::<Option<Vec<_>>>().ok_or_else(refused)?;
        Ok(Self { ranges })
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (low, high)) in self.ranges.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match (low, high) {
                (low, high) if low == high => write!(f, "{low}")?,
                (low, high) if low % 100 == 0 && *high == low + 99 => write!(f, "{}xx", low / 100)?,
                (low, high) => write!(f, "{low}-{high}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_parse_print_and_refuse() {
        for text in ["2xx", "200", "200-204", "200,301-302,5xx"] {
            assert_eq!(text.parse::<StatusSet>().unwrap().to_string(), text);
        }
        for bad in ["", "99", "600", "6xx", "204-200", "2xx,", "ok"] {
            assert!(bad.parse::<StatusSet>().is_err(), "{bad}");
        }
    }
}
