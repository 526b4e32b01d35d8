//! "Did you mean": words that resemble an unknown one.

use alloc::vec::Vec;

/// Most words offered.
const MAX_WORDS: usize = 3;
/// A longer name is not compared: the time grows with its square.
const MAX_NAME_BYTES: usize = 200;

/// The words within two edits of `name`, or a third of its characters: the nearest first, at most three.
///
/// ```
/// use heartbeat_status::suggestions;
///
/// assert_eq!(suggestions("prot", ["path", "port"].into_iter()), ["port"]);
/// ```
#[must_use]
pub fn suggestions<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    if name.len() > MAX_NAME_BYTES {
        return Vec::new();
    }
    let bound = (name.chars().count() / 3).max(2);
    let mut found: Vec<(usize, &str)> = words
        .map(|word| (strsim::osa_distance(name, word), word))
        .filter(|(distance, word)| *distance <= bound && *distance < word.chars().count())
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MAX_WORDS).map(|(_, word)| word).collect()
}

/// The first of the [`suggestions`].
#[must_use]
pub fn nearest<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    suggestions(name, words).first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_first_and_nothing_far_fetched() {
        let names = || ["api", "auth-api", "app", "postgres", "app"].into_iter();
        assert_eq!(suggestions("apii", names()), ["api", "app"]);
        assert_eq!(suggestions("postgers", names()), ["postgres"]);
        assert!(suggestions("zzz", names()).is_empty());
        assert!(suggestions(&"a".repeat(300), names()).is_empty());
    }
}
