//! "Did you mean": names that resemble an unknown one.

/// The candidates that resemble `name`, nearest first.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    heartbeat_status::suggestions(name, candidates).into_iter().map(ToOwned::to_owned).collect()
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
    fn a_question_names_each_suggestion() {
        assert_eq!(question(&nearest("apii", ["api", "app", "db"].into_iter())), " Did you mean api or app?");
        assert_eq!(question(&[]), "");
    }
}
