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

impl Expectation {
    pub(crate) fn parse(text: &str) -> Self {
        let compared = OPERATORS.iter().find_map(|(sign, operator)| {
            let bound: f64 = text.trim().strip_prefix(sign)?.trim().parse().ok()?;
            bound.is_finite().then_some(Comparison { operator: *operator, bound })
        });
        compared.map_or_else(|| Self::Text(text.to_owned()), Self::Number)
    }

    /// Checks a text that a server answered: a number that satisfies the comparison, or a text that contains the
    /// expected one. The error says what is wrong with it, without repeating it.
    #[cfg(any(feature = "redis", feature = "postgres"))]
    pub(crate) fn check(&self, found: &str) -> Result<(), String> {
        match self {
            Self::Text(text) if found.contains(text.as_str()) => Ok(()),
            Self::Text(text) => Err(format!("does not contain {text:?}")),
            Self::Number(comparison) => match found.trim().parse() {
                Ok(number) if comparison.holds(number) => Ok(()),
                Ok(_) => Err(format!("is not {comparison}")),
                Err(_) => Err("is not a number".to_owned()),
            },
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
            let Expectation::Number(comparison) = Expectation::parse(text) else { panic!("{text}") };
            assert!(comparison.holds(passes) && !comparison.holds(fails), "{text}");
            assert!(!comparison.holds(f64::NAN) || text.starts_with("!="), "{text}");
        }
        for text in ["ok", "<html>", "< many", "<", "", "< NaN", "< inf"] {
            assert_eq!(Expectation::parse(text), Expectation::Text(text.to_owned()));
        }
    }
}
