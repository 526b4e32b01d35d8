//! Files of environment variables, as people write them for foreman, honcho, dotenv, compose and systemd.
//!
//! No crate reads this format: dotenvy replaces `$NAME` within values, which damages passwords, and rejects blanks in
//! an unquoted value, which compose and systemd accept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::trusted::read_trusted;
use crate::{LaunchSpec, TrustError};

/// A line of an environment file that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct EnvLineError {
    /// The line number, from 1.
    pub line: usize,
    /// What is wrong with the line.
    pub why: String,
}

/// A file of environment variables that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvFileError {
    /// The file is missing, or heartbeatd refuses to read it.
    #[error(transparent)]
    File(#[from] TrustError),
    /// A line of the file is not understood.
    #[error("{path}: {source}")]
    Line {
        /// The path of the file.
        path: String,
        /// The line, and what is wrong with it.
        source: EnvLineError,
    },
}

/// The variables of a file, in its order: `NAME=value` lines, comments with `#`, values in quotes over several lines,
/// and `\n`, `\r`, `\t`, `\"`, `\\`, `\$` within double quotes.
///
/// # Errors
/// [`EnvLineError`]: the first line that is not understood.
pub fn parse_env_file(text: &str) -> Result<Vec<(String, String)>, EnvLineError> {
    let mut rest = Text { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut found = Vec::new();
    while !rest.rest.is_empty() {
        let line = rest.rest.split('\n').next().unwrap_or_default();
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest.end_line();
            continue;
        }
        found.push(rest.assignment(line)?);
    }
    Ok(found)
}

/// Reads a file of environment variables.
///
/// # Errors
/// [`EnvFileError`]: it cannot be read, or a line of it is not understood.
pub(crate) fn read_env_file(path: &Path) -> Result<Vec<(String, String)>, EnvFileError> {
    let text = read_trusted(path)?;
    parse_env_file(&text).map_err(|source| EnvFileError::Line { path: path.display().to_string(), source })
}

struct Text<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Text<'a> {
    fn error(&self, why: impl Into<String>) -> EnvLineError {
        EnvLineError { line: self.line, why: why.into() }
    }

    /// Takes the rest of the line.
    fn end_line(&mut self) -> &'a str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        line
    }

    fn assignment(&mut self, line: &str) -> Result<(String, String), EnvLineError> {
        let (name, _) = line.split_once('=').ok_or_else(|| self.error("not NAME=value"))?;
        let length = name.len() + 1;
        let name = name.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim_start);
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(self.error(format!("`{name}` is not the name of a variable")));
        }
        self.rest = &self.rest[length..];
        let blanks = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        self.rest = &self.rest[blanks..];
        let first = self.line;
        let value = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote, name)?,
            _ => plain(self.end_line(), blanks > 0),
        };
        if value.contains('\0') {
            let why = format!("the value of {name} has a NUL byte, which no program can be given");
            return Err(EnvLineError { line: first, why });
        }
        Ok((name.to_owned(), value))
    }

    /// A value in quotes, which may span several lines. Only a comment may follow it.
    fn quoted(&mut self, quote: char, name: &str) -> Result<String, EnvLineError> {
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        let end = loop {
            match chars.next() {
                Some((at, c)) if c == quote => break at + 1,
                Some((_, '\\')) if quote == '"' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 'r')) => value.push('\r'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, c @ ('"' | '\\' | '$'))) => value.push(c),
                    Some((_, c)) => value.extend(['\\', c]),
                    None => return Err(self.error(format!("the quote of {name} is never closed"))),
                },
                Some((_, c)) => value.push(c),
                None => return Err(self.error(format!("the quote of {name} is never closed"))),
            }
        };
        self.line += self.rest[..end].matches('\n').count();
        self.rest = &self.rest[end..];
        let after = self.rest.split('\n').next().unwrap_or_default().trim();
        if !after.is_empty() && !after.starts_with('#') {
            return Err(self.error(format!("after the closing quote of {name} stands `{after}`")));
        }
        self.end_line();
        Ok(value.replace("\r\n", "\n"))
    }
}

/// A value without quotes: a blank and `#` begin a comment.
fn plain(value: &str, after_blank: bool) -> String {
    if after_blank && value.starts_with('#') {
        return String::new();
    }
    let comment = [" #", "\t#"].iter().filter_map(|sign| value.find(sign)).min();
    comment.map_or(value, |at| &value[..at]).trim().to_owned()
}

impl LaunchSpec {
    /// The whole environment of a start now: `inherited`, overridden by the current `env_file`, overridden by `env`.
    ///
    /// # Errors
    /// [`EnvFileError`]: the `env_file` cannot be read.
    pub fn environment(&self) -> Result<BTreeMap<OsString, OsString>, EnvFileError> {
        let mut environment: BTreeMap<OsString, OsString> = self.inherited.iter().cloned().collect();
        if let Some(path) = &self.env_file {
            let pairs = read_env_file(path)?;
            environment.extend(pairs.into_iter().map(|(name, value)| (name.into(), value.into())));
        }
        environment.extend(self.env.iter().cloned());
        Ok(environment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse_env_file(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    #[test]
    fn values_are_what_foreman_dotenv_and_compose_make_of_them() {
        for (line, value) in [
            ("A=1", "1"),
            ("export A=1", "1"),
            ("  A = 1  ", "1"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("A=#fff", "#fff"),
            ("A=5432   # its port", "5432"),
            ("A=5432\t# its port", "5432"),
            ("A=x y z", "x y z"),
            ("A=pa$$w${ord}#1", "pa$$w${ord}#1"),
            ("A=\"localhost\" # where it is", "localhost"),
            ("A=\"first\\nsecond\"", "first\nsecond"),
            ("A=\"a\\tb\\rc\"", "a\tb\rc"),
            ("A=\"she said \\\"no\\\" to C:\\\\temp\"", "she said \"no\" to C:\\temp"),
            ("A=\"\\$HOME \\d\"", "$HOME \\d"),
            ("A='it is \\n \"so\"' # c", "it is \\n \"so\""),
            ("A=\"# no comment\"", "# no comment"),
            ("A=a'b'c", "a'b'c"),
            ("A=\"\"", ""),
            ("A=b=c", "b=c"),
        ] {
            assert_eq!(read(line), [("A".to_owned(), value.to_owned())], "{line}");
        }
    }

    #[test]
    fn several_lines_byte_order_marks_and_line_ends_of_windows() {
        let key = "T_KEY=\"-----BEGIN KEY-----\nMIIabc==\n-----END KEY-----\"\nT_B=2\n";
        let value = "-----BEGIN KEY-----\nMIIabc==\n-----END KEY-----";
        let expected = [("T_KEY".to_owned(), value.to_owned()), ("T_B".to_owned(), "2".to_owned())];
        assert_eq!(read(key), expected);
        assert_eq!(read(&key.replace('"', "'")), expected);
        assert_eq!(read(&format!("\u{feff}{}", key.replace('\n', "\r\n"))), expected);
        assert_eq!(read("\u{feff}# c\r\n\r\nA=1\r\nB=\"2\"\r\n").len(), 2);
        assert_eq!(read(""), []);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (text, line, why) in [
            ("A=1\nB", 2, "not NAME=value"),
            ("a-b=1", 1, "`a-b` is not the name of a variable"),
            ("=1", 1, "`` is not the name"),
            ("A=1\n\n# c\nB=\"x", 4, "the quote of B is never closed"),
            ("A='x\ny\nB=2", 1, "the quote of A is never closed"),
            ("A=\"x\\", 1, "never closed"),
            ("A=\"x\" y", 1, "after the closing quote of A stands `y`"),
            ("A=\"x\ny\"z", 2, "after the closing quote of A stands `z`"),
            ("A=\"x\"\"y\"", 1, "after the closing quote"),
            ("A=x\0y", 1, "NUL byte"),
        ] {
            let error = parse_env_file(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(error.why.contains(why), "{text:?}: {error}");
        }
    }
}
