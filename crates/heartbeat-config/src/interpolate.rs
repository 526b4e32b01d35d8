//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, and `$${` for a literal `${`.

use std::collections::BTreeMap;

use crate::units::Refusal;

/// Replaces variables in `text`.
pub(crate) fn interpolate(text: &str, variables: &BTreeMap<String, String>) -> Result<String, Refusal> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = &after[2..];
            continue;
        }
        out.push_str(before);
        let end = after.find('}').ok_or_else(|| {
            Refusal::new(
                "`${` is never closed with `}`",
                "close it, or write `$${` for the characters themselves",
            )
        })?;
        out.push_str(&variable(&after[2..end], variables)?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inside: &str, variables: &BTreeMap<String, String>) -> Result<String, Refusal> {
    let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inside.len());
    let (name, rest) = inside.split_at(end);
    if name.is_empty() {
        let help = "write ${NAME}, or `$${` for the characters themselves";
        return Err(Refusal::new(format!("`${{{inside}}}` names no variable"), help));
    }
    // As in a shell: with the colon an empty variable counts as missing.
    let value = variables.get(name).filter(|value| !value.is_empty());
    if let Some(default) = rest.strip_prefix(":-") {
        return Ok(value.map_or_else(|| default.to_owned(), Clone::clone));
    }
    if let Some(message) = rest.strip_prefix(":?") {
        let help = format!("set {name} in the environment of heartbeatd, or write {name}=... into .env");
        return value.cloned().ok_or_else(|| Refusal::new(format!("{name} is not set: {message}"), help));
    }
    if !rest.is_empty() {
        let help = "there are ${NAME}, ${NAME:-default} and ${NAME:?message}";
        return Err(Refusal::new(format!("`${{{inside}}}` is not understood"), help));
    }
    let missing = || {
        let help = format!("set it, write {name}=... into .env, or give a default: ${{{name}:-default}}");
        Refusal::new(format!("{name} is not set"), help)
    };
    variables.get(name).cloned().ok_or_else(missing)
}

/// `NAME=value` lines of an environment file; comments with `#`, values perhaps quoted.
pub(crate) fn env_file(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or_else(|| format!("line {}: not NAME=value", at + 1))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!("line {}: `{name}` is not the name of a variable", at + 1));
        }
        if value.contains('\0') {
            return Err(format!(
                "line {}: the value of {name} has a NUL byte, which no program can be given",
                at + 1
            ));
        }
        let quoted = |quote: char| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        found.push((name.to_owned(), value.to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_defaults_messages_and_literals() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
        let done = |text: &str| interpolate(text, &variables);
        assert_eq!(done("x${A}y${B:-2}${E:-3}").unwrap(), "x1y23");
        assert_eq!(done("$${A} $5").unwrap(), "${A} $5");
        assert!(done("${B:?set it in .env}").unwrap_err().why.contains("set it in .env"));
        for bad in ["${B}", "${A", "${}", "${A!}"] {
            assert!(done(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn environment_files_are_read_line_by_line() {
        let pairs = env_file("# c\nexport A=1\nB=\"x y\"\n\nC='z'\nD=").unwrap();
        let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", "B", "C", "D"]);
        assert_eq!(pairs[1].1, "x y");
        assert!(env_file("A").is_err() && env_file("a-b=1").is_err() && env_file("A=x\0y").is_err());
    }
}
