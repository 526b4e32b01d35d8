//! Command lines of systemd: no shell reads them, `$$` is a dollar, and a variable stands alone or in braces.

use crate::import::ini::words;
use crate::import::values::{list, literal, needs_a_shell, text, without_a_shell};

/// A part of a word.
enum Piece {
    Text(String),
    Variable(String),
}

/// One command.
pub(super) struct Command {
    line: String,
    words: Vec<String>,
    /// Variables are filled in, which `:` in front of it forbids.
    expands: bool,
}

impl Command {
    pub(super) fn new(line: &str, expands: bool) -> Self {
        Self { line: line.to_owned(), words: words(line), expands }
    }

    /// `run`, and whether a shell reads it: only a shell fills in variables. It gives its process to the program, which
    /// then has the signals.
    pub(super) fn run(&self) -> (String, bool) {
        if self.has_variables() {
            (text(&literal(&format!("exec {}", self.for_shell()))), true)
        } else if self.line.contains('$') {
            let words: Vec<String> = self.plain().iter().map(|word| literal(word)).collect();
            (list(words.iter().map(String::as_str)), false)
        } else {
            (without_a_shell(&self.line), false)
        }
    }

    /// An entry of a list of hooks: a line of words. With `ignored`, its failure does not count.
    pub(super) fn hook(&self, ignored: bool) -> String {
        let line = if ignored {
            format!("sh -c {}", quoted(&format!("{} || true", self.for_shell())))
        } else if self.has_variables() {
            format!("sh -c {}", quoted(&self.for_shell()))
        } else if needs_a_shell(&self.line) {
            self.plain().iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
        } else {
            self.line.clone()
        };
        literal(&line)
    }

    /// A command as a value of its own, such as stop.command.
    pub(super) fn value(&self) -> String {
        if self.has_variables() {
            list(["sh", "-c", literal(&self.for_shell()).as_str()])
        } else {
            self.run().0
        }
    }

    fn has_variables(&self) -> bool {
        let of_word =
            |word: &String| self.pieces(word).iter().any(|piece| matches!(piece, Piece::Variable(_)));
        self.words.iter().any(of_word)
    }

    /// The words where none has a variable.
    fn plain(&self) -> Vec<String> {
        let of_piece = |piece| match piece {
            Piece::Text(text) => text,
            Piece::Variable(name) => format!("${{{name}}}"),
        };
        self.words.iter().map(|word| self.pieces(word).into_iter().map(of_piece).collect()).collect()
    }

    /// The same command for a shell.
    fn for_shell(&self) -> String {
        let of_word = |word: &String| match self.pieces(word).as_slice() {
            // One that stands alone is split at blanks.
            [Piece::Variable(name)] if !word.contains('{') => format!("${name}"),
            pieces if pieces.iter().any(|piece| matches!(piece, Piece::Variable(_))) => {
                let parts = pieces.iter().map(|piece| match piece {
                    Piece::Text(text) => escaped(text),
                    Piece::Variable(name) => format!("${{{name}}}"),
                });
                format!("\"{}\"", parts.collect::<String>())
            }
            pieces => {
                let texts = pieces.iter().filter_map(|piece| match piece {
                    Piece::Text(text) => Some(text.as_str()),
                    Piece::Variable(_) => None,
                });
                quoted(&texts.collect::<String>())
            }
        };
        self.words.iter().map(of_word).collect::<Vec<_>>().join(" ")
    }

    fn pieces(&self, word: &str) -> Vec<Piece> {
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !self.expands {
            return vec![Piece::Text(word.to_owned())];
        }
        if let Some(name) = word.strip_prefix('$').filter(|name| is_name(name)) {
            return vec![Piece::Variable(name.to_owned())];
        }
        let (mut pieces, mut before, mut rest) = (Vec::new(), String::new(), word);
        while let Some((head, tail)) = rest.split_once('$') {
            before += head;
            let braces = tail.strip_prefix('{').and_then(|tail| tail.split_once('}'));
            rest = match braces.filter(|(name, _)| is_name(name)) {
                Some((name, after)) => {
                    if !before.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut before)));
                    }
                    pieces.push(Piece::Variable(name.to_owned()));
                    after
                }
                None => {
                    before.push('$');
                    tail.strip_prefix('$').unwrap_or(tail)
                }
            };
        }
        before += rest;
        if !before.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces
    }
}

/// A word for a shell, which reads it as it stands.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty()
        && word.chars().all(is_plain)
        && !word.split('/').next().unwrap_or_default().contains('=')
    {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A text between the double quotes of a shell.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_means_what_it_means_under_systemd() {
        for (line, run, by_shell, hook) in [
            ("/bin/app --x", "\"/bin/app --x\"", false, "/bin/app --x"),
            (
                "/bin/app $OPTS 'a b'",
                "\"exec /bin/app $OPTS 'a b'\"",
                true,
                "sh -c '/bin/app $OPTS '\\''a b'\\'''",
            ),
            (
                "/bin/app -d${DIR}/x",
                "\"exec /bin/app \\\"-d$${DIR}/x\\\"\"",
                true,
                "sh -c '/bin/app \"-d$${DIR}/x\"'",
            ),
            ("/bin/app $A; b", "[\"/bin/app\", \"$A;\", \"b\"]", false, "/bin/app '$A;' b"),
            (
                "/bin/sh -c 'echo $$HOME; exec x'",
                "[\"/bin/sh\", \"-c\", \"echo $HOME; exec x\"]",
                false,
                "/bin/sh -c 'echo $HOME; exec x'",
            ),
            ("/bin/app $$", "[\"/bin/app\", \"$\"]", false, "/bin/app '$'"),
        ] {
            let command = Command::new(line, true);
            assert_eq!(command.run(), (run.to_owned(), by_shell), "{line}");
            assert_eq!(command.hook(false), hook, "{line}");
        }
        let literal = Command::new("/bin/app $A $$", false);
        assert_eq!(literal.run(), ("[\"/bin/app\", \"$A\", \"$$\"]".to_owned(), false));
        assert_eq!(Command::new("/bin/app $A", true).hook(true), "sh -c '/bin/app $A || true'");
    }
}
