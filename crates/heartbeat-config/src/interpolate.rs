//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, and `$${` for a literal `${`.

use std::collections::BTreeMap;

use crate::units::Refusal;

/// What `${}` may name.
#[derive(Clone, Copy)]
pub(crate) struct Variables<'a> {
    of_all: &'a BTreeMap<String, String>,
    /// `PORT`, which each realm has for itself.
    port: Option<&'a str>,
}

impl<'a> Variables<'a> {
    pub(crate) const fn new(of_all: &'a BTreeMap<String, String>) -> Self {
        Self { of_all, port: None }
    }

    /// The same for a realm with this port.
    pub(crate) const fn with_port(self, port: &'a str) -> Self {
        Self { port: Some(port), ..self }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.port.filter(|_| name == "PORT").or_else(|| self.of_all.get(name).map(String::as_str))
    }
}

/// Replaces variables in `text`.
pub(crate) fn interpolate(text: &str, variables: Variables<'_>) -> Result<String, Refusal> {
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

fn variable(inside: &str, variables: Variables<'_>) -> Result<String, Refusal> {
    let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inside.len());
    let (name, rest) = inside.split_at(end);
    if name.is_empty() {
        let help = "write ${NAME}, or `$${` for the characters themselves";
        return Err(Refusal::new(format!("`${{{inside}}}` names no variable"), help));
    }
    // As in a shell: with the colon an empty variable counts as missing.
    let value = variables.get(name).filter(|value| !value.is_empty());
    if let Some(default) = rest.strip_prefix(":-") {
        return Ok(value.unwrap_or(default).to_owned());
    }
    if let Some(message) = rest.strip_prefix(":?") {
        let help = format!("set {name} in the environment of heartbeatd, or write {name}=... into .env");
        let unset = || Refusal::new(format!("{name} is not set: {message}"), help).of_unset(name);
        return value.map(ToOwned::to_owned).ok_or_else(unset);
    }
    if !rest.is_empty() {
        let help = "there are ${NAME}, ${NAME:-default} and ${NAME:?message}";
        return Err(Refusal::new(format!("`${{{inside}}}` is not understood"), help));
    }
    let missing = || {
        let help = format!("set it, write {name}=... into .env, or give a default: ${{{name}:-default}}");
        Refusal::new(format!("{name} is not set"), help).of_unset(name)
    };
    variables.get(name).map(ToOwned::to_owned).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_defaults_messages_and_literals() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
        let done = |text: &str| interpolate(text, Variables::new(&variables));
        assert_eq!(done("x${A}y${B:-2}${E:-3}").unwrap(), "x1y23");
        assert_eq!(done("$${A} $5").unwrap(), "${A} $5");
        assert!(done("${B:?set it in .env}").unwrap_err().why.contains("set it in .env"));
        for bad in ["${B}", "${A", "${}", "${A!}"] {
            assert!(done(bad).is_err(), "{bad}");
        }
    }
}
