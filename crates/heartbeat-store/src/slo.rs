//! Objectives: how fast the budget is used up.

use std::time::Duration;

use crate::availability::{Account, Class};

/// A pair of windows in which the budget is used faster than it may be: the long one says that it matters, the short
/// one that it still goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnRule {
    /// How many times faster than the objective allows.
    pub factor: f64,
    /// The long window.
    pub long: Duration,
    /// The short window.
    pub short: Duration,
}

const HOUR: Duration = Duration::from_secs(3_600);

/// The rules of the SRE workbook (chapter 5): the first two wake a person, the third can wait until the day.
pub const BURN_RULES: [BurnRule; 3] = [
    BurnRule { factor: 14.4, long: HOUR, short: Duration::from_secs(300) },
    BurnRule { factor: 6.0, long: Duration::from_secs(6 * 3_600), short: Duration::from_secs(1_800) },
    BurnRule { factor: 1.0, long: Duration::from_secs(3 * 86_400), short: Duration::from_secs(6 * 3_600) },
];

/// How many times faster than the objective allows the budget was used in a window. `objective` is a share below 1. The
/// time of the window that is not known, or not there yet, counts as up: a minute after its start, a realm that was
/// down for a second has used little of its budget.
#[must_use]
pub fn burn_rate(account: &Account, objective: f64, window: Duration) -> f64 {
    let counted = window.as_secs_f64() * 1_000.0 - account.ms(Class::Stopped) as f64;
    account.ms(Class::Down) as f64 / counted.max(1.0) / (1.0 - objective)
}

/// Whether a rule holds for the accounts of its two windows.
#[must_use]
pub fn burns(rule: &BurnRule, long: &Account, short: &Account, objective: f64) -> bool {
    let above = |account, window| burn_rate(account, objective, window) >= rule.factor;
    above(long, rule.long) && above(short, rule.short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(up_ms: u64, down_ms: u64) -> Account {
        let mut account = Account::default();
        account.add(Class::Up, up_ms);
        account.add(Class::Down, down_ms);
        account
    }

    #[test]
    fn a_rule_needs_both_windows() {
        let rule = &BURN_RULES[0];
        let calm = account(3_600_000, 0);
        let bad = account(3_500_000, 100_000);
        assert!(burns(rule, &bad, &bad, 0.999));
        let just_begun = account(5_000, 1_000);
        assert!(!burns(rule, &just_begun, &just_begun, 0.999), "a second of a minute is little of an hour");
        assert!(!burns(rule, &bad, &calm, 0.999), "it is over");
        assert!(!burns(rule, &calm, &bad, 0.999), "it does not matter yet");
        assert!(!burns(rule, &Account::default(), &Account::default(), 0.999), "nothing is known");
    }

    #[test]
    fn a_rate_of_one_uses_exactly_the_budget() {
        let rate = burn_rate(&account(999_000, 1_000), 0.999, Duration::from_secs(1_000));
        assert!((rate - 1.0).abs() < 1e-9, "{rate}");
    }
}
