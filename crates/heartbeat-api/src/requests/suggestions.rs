//! "Did you mean": names that resemble an unknown one.

/// Most names offered.
const MAX_NAMES: usize = 3;
/// A longer name is not compared.
const MAX_CHARS: usize = 200;

/// The candidates within two edits, or a third of the name, nearest first.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    if name.len() > MAX_CHARS {
        return Vec::new();
    }
    let bound = (name.chars().count() / 3).max(2);
    let mut found: Vec<(usize, &str)> = candidates
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= bound && *distance < candidate.chars().count())
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MAX_NAMES).map(|(_, candidate)| candidate.to_owned()).collect()
}

/// ` Did you mean a or b?`, or nothing.
pub(crate) fn question(suggestions: &[String]) -> String {
    if suggestions.is_empty() {
        String::new()
    } else {
        format!(" Did you mean {}?", suggestions.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_first_and_nothing_far_fetched() {
        let names = ["api", "auth-api", "app", "postgres"];
        assert_eq!(nearest("apii", names.into_iter()), ["api", "app"]);
        assert_eq!(nearest("postgers", names.into_iter()), ["postgres"]);
        assert!(nearest("zzz", names.into_iter()).is_empty());
        assert!(nearest(&"a".repeat(300), names.into_iter()).is_empty());
        assert_eq!(question(&["a".into(), "b".into()]), " Did you mean a or b?");
    }
}
