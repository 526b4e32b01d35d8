//! The query of a request: known names, each at most once.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::answers::problem::ApiError;
use crate::requests::rule::Rule;
use crate::requests::suggestions;

/// A parsed query.
#[derive(Debug, Default)]
pub(crate) struct Query<'a> {
    pairs: Vec<(&'static str, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// Refuses a name that is not `known`: a misspelt `gate` must not look like a passing one.
    pub(crate) fn parse(query: Option<&'a str>, rule: &Rule) -> Result<Self, ApiError> {
        let known = rule.query;
        let mut pairs: Vec<(&'static str, Cow<'a, str>)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name);
            let Some(name) = known.iter().copied().find(|known| *known == name) else {
                if rule.any_query {
                    continue;
                }
                return Err(unknown(&name, known));
            };
            if pairs.iter().any(|(seen, _)| *seen == name) {
                return Err(ApiError::bad(format!("`{name}` is given twice; once is enough")));
            }
            pairs.push((name, decoded(value)));
        }
        Ok(Self { pairs })
    }

    /// The value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// A switch: `1` or `true` (or no value), `0` or `false`; off when absent.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true" | "") => Ok(true),
            Some(_) => Err(ApiError::bad(format!("`{name}` is 1 or 0"))),
        }
    }
}

fn unknown(name: &str, known: &[&str]) -> ApiError {
    let suggestions = suggestions::nearest(name, known.iter().copied());
    let takes = if known.is_empty() {
        "this route takes none".to_owned()
    } else {
        format!("this route takes {}", known.join(", "))
    };
    let detail = format!("no parameter `{}`; {takes}", heartbeat_status::sanitise_line(name));
    ApiError::bad(detail).suggest(suggestions)
}

/// Percent-decoding; what does not decode to UTF-8 stays as it was sent.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8().unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(query: &'static [&'static str]) -> Rule {
        Rule { query, ..crate::requests::rule::read("/") }
    }

    #[test]
    fn names_are_known_and_given_once() {
        let query =
            Query::parse(Some("refresh=1&gate&fields=sum%6Dary"), &rule(&["refresh", "gate", "fields"]))
                .unwrap();
        assert!(query.switch("refresh").unwrap() && query.switch("gate").unwrap());
        assert_eq!(query.get("fields"), Some("summary"));
        for bad in ["gat=1", "gate=1&gate=0", "gate=yes", "%zz=1"] {
            let parsed = Query::parse(Some(bad), &rule(&["gate"])).and_then(|query| query.switch("gate"));
            assert!(parsed.is_err(), "{bad}");
        }
        let health = crate::requests::rule::health("/api/health/");
        assert!(Query::parse(Some("cachebuster=0.1&x=1&x=2"), &health).is_ok(), "health routes take any");
        assert_eq!(decoded("a%2"), "a%2");
        assert_eq!(decoded("%ff"), "%ff");
        assert_eq!(decoded("%C3%A9+"), "é+");
    }
}
