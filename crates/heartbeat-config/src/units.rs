//! Durations, sizes and percentages as people write them. A number without a unit is refused.

use std::time::Duration;

/// `250ms`, `2s`, `5m`, `1h30m`, `7d`: number and unit, as often as wanted, largest first.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let mut rest = text.trim();
    let mut millis = 0u64;
    let mut last = u64::MAX;
    if rest.is_empty() {
        return Err("a duration is empty".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| format!("`{text}` is not a duration"))?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
            return Err(if unit.is_empty() {
                format!("`{text}` has no unit")
            } else {
                format!("`{unit}` is not a unit of time")
            });
        };
        if *scale >= last {
            return Err(format!("`{text}`: units go from large to small"));
        }
        last = *scale;
        let part = number.checked_mul(*scale);
        millis =
            part.and_then(|part| millis.checked_add(part)).ok_or_else(|| format!("`{text}` is too long"))?;
        rest = &rest[letters..];
    }
    Ok(Duration::from_millis(millis))
}

/// `64MiB`, `10KiB`, `512B`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| format!("`{text}` is not a size"))?;
    let scale = match text[digits..].trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" => return Err(format!("`{text}` has no unit")),
        unit => return Err(format!("`{unit}` is not a unit of size; there are B, KiB, MiB and GiB")),
    };
    number.checked_mul(scale).ok_or_else(|| format!("`{text}` is too large"))
}

/// `20%`.
pub(crate) fn percentage(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').ok_or_else(|| format!("`{text}` has no `%`"))?;
    number
        .parse::<u8>()
        .ok()
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| format!("`{text}` is not a percentage"))
}

/// Splits a command as a shell would, without a shell: blanks, quotes and backslashes, nothing else.
pub(crate) fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(inner) if inner == c => break,
                        Some('\\') if c == '"' => match chars.next() {
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                            Some(other) => word.extend(['\\', other]),
                            None => return Err(format!("the quote {c} is never closed")),
                        },
                        Some(inner) => word.push(inner),
                        None => return Err(format!("the quote {c} is never closed")),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("a backslash stands at the end".to_owned()),
            },
            // What only a shell would understand is not guessed at.
            '|' | '&' | ';' | '<' | '>' | '`' => {
                return Err(format!(
                    "`{c}` needs a shell, and `run` has none; quote it, or put it into a script"
                ));
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() { Err("the command is empty".to_owned()) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let millis = |text: &str| duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("7d"), Ok(604_800_000));
        for bad in ["", "5", "5x", "s", "1.5s", "1s1m", "1s 2s", "-1s", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_percentages() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(percentage("20%"), Ok(20));
        assert!(
            size("64MB").is_err()
                && size("64").is_err()
                && percentage("20").is_err()
                && percentage("101%").is_err()
        );
    }

    #[test]
    fn commands_are_split_and_shells_are_not_imitated() {
        assert_eq!(words(r#"a 'b c' "d \" e" f\ g """#).unwrap(), ["a", "b c", "d \" e", "f g", ""]);
        for bad in ["", "  ", "a 'b", "a \"b", "a \\", "a | b", "a && b", "a > b"] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }
}
