//! What a value must be: a number within a bound, or a text.

/// A comparison that the operators of a condition name; longer ones first.
const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("==", Operator::Equal),
    ("!=", Operator::Other),
    ("<", Operator::Below),
    (">", Operator::Above),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Below,
    AtMost,
    Equal,
    Other,
    AtLeast,
    Above,
}

/// What a value must be, as a configuration writes it: `"< 100"` compares numbers, everything else is a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expectation {
    Number(Comparison),
    Text(String),
}

/// An operator and the number on its right side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Comparison {
    operator: Operator,
    bound: f64,
}

/// A comparison with something that is not a number: no answer could satisfy it as a number, nor is it meant as a text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpectationError {
    /// The text as given.
    pub text: String,
}

impl std::fmt::Display for ExpectationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` compares with something that is not a number; a comparison is like `< 100`",
            self.text
        )
    }
}

impl std::error::Error for ExpectationError {}

impl Expectation {
    /// A text that begins with an operator is a comparison, unless it is a text like `<html>`.
    pub(crate) fn parse(text: &str) -> Result<Self, ExpectationError> {
        let trimmed = text.trim();
        let operator =
            OPERATORS.iter().find_map(|(sign, found)| Some((sign, *found, trimmed.strip_prefix(sign)?)));
        let Some((sign, operator, right)) = operator else { return Ok(Self::Text(text.to_owned())) };
        match right.trim().parse() {
            Ok(bound) if f64::is_finite(bound) => Ok(Self::Number(Comparison { operator, bound })),
            _ if sign.len() == 1
                && right.starts_with(|letter: char| letter.is_alphabetic() || "!/?<>".contains(letter)) =>
            {
                Ok(Self::Text(text.to_owned()))
            }
            _ => Err(ExpectationError { text: text.to_owned() }),
        }
    }

    /// Checks a text that a server answered: a number that satisfies the comparison, or a text that contains the
    /// expected one. The error says what is wrong with it, without repeating it.
    #[cfg(any(feature = "redis", feature = "postgres"))]
    pub(crate) fn check(&self, found: &str) -> Result<(), Unmet<'_>> {
        match self {
            Self::Text(text) if found.contains(text.as_str()) => Ok(()),
            Self::Text(text) => Err(Unmet::Without { text }),
            Self::Number(comparison) => match found.trim().parse() {
                Ok(number) if comparison.holds(number) => Ok(()),
                Ok(_) => Err(Unmet::Other { comparison: *comparison }),
                Err(_) => Err(Unmet::NoNumber),
            },
        }
    }
}

/// What is wrong with a text that a server answered.
#[cfg(any(feature = "redis", feature = "postgres"))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unmet<'e> {
    Without { text: &'e str },
    Other { comparison: Comparison },
    NoNumber,
}

#[cfg(any(feature = "redis", feature = "postgres"))]
impl std::fmt::Display for Unmet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Without { text } => write!(f, "does not contain {}", crate::expected(text)),
            Self::Other { comparison } => write!(f, "is not {comparison}"),
            Self::NoNumber => f.write_str("is not a number"),
        }
    }
}

impl Comparison {
    pub(crate) fn holds(self, number: f64) -> bool {
        match self.operator {
            Operator::Below => number < self.bound,
            Operator::AtMost => number <= self.bound,
            Operator::Equal => number.total_cmp(&self.bound).is_eq(),
            Operator::Other => number.total_cmp(&self.bound).is_ne(),
            Operator::AtLeast => number >= self.bound,
            Operator::Above => number > self.bound,
        }
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = OPERATORS.iter().find(|(_, operator)| *operator == self.operator);
        write!(f, "{} {}", sign.map_or("", |(sign, _)| sign), self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_numbers_and_the_rest_is_text() {
        for (text, passes, fails) in [
            ("< 100", 99.0, 100.0),
            ("<=100", 100.0, 101.0),
            (" > -1.5 ", -1.0, -1.5),
            (">= 1e3", 1000.0, 999.0),
            ("== 0", 0.0, 1.0),
            ("!= 0", 1.0, 0.0),
        ] {
            let Ok(Expectation::Number(comparison)) = Expectation::parse(text) else { panic!("{text}") };
            assert!(comparison.holds(passes) && !comparison.holds(fails), "{text}");
            assert!(!comparison.holds(f64::NAN) || text.starts_with("!="), "{text}");
        }
        for text in ["ok", "<html>", "<!DOCTYPE html>", "</a>", "<?xml", "<NaN>", ">>> ", "a < 5", "= 5", ""]
        {
            assert_eq!(Expectation::parse(text), Ok(Expectation::Text(text.to_owned())));
        }
        for text in [
            "< many", "<", "< NaN", "< inf", "<= abc", ">=", "== ok", "==ok", "!= ok", "< 5 6", "<5x", ">-",
            "< 1e999",
        ] {
            assert_eq!(Expectation::parse(text), Err(ExpectationError { text: text.to_owned() }));
        }
    }
}
