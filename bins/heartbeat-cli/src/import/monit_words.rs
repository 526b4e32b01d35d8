//! The words and statements of a monitrc.

/// A word, and whether it stood between quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) quoted: bool,
}

impl Word {
    /// It is this word of the language, in any case.
    pub(crate) fn is(&self, word: &str) -> bool {
        !self.quoted && self.text.eq_ignore_ascii_case(word)
    }
}

pub(crate) type Statement = Vec<Word>;

pub(crate) fn starts(statement: &[Word], words: &[&str]) -> bool {
    words.iter().enumerate().all(|(at, word)| statement.get(at).is_some_and(|there| there.is(word)))
}

/// The word that stands behind another, past `=` and words without a meaning.
pub(crate) fn value_after(statement: &[Word], word: &str) -> Option<String> {
    let at = statement.iter().position(|there| there.is(word))?;
    let noise = |word: &&Word| ["=", "==", "is", "with", "of"].iter().any(|noise| word.is(noise));
    statement[at + 1..].iter().find(|word| !noise(word)).map(|word| word.text.clone())
}

/// A statement in one line, for the report.
pub(crate) fn sentence(statement: &[Word]) -> String {
    let secret = |at: usize| at > 0 && statement[at - 1].is("password");
    let shown =
        statement.iter().enumerate().map(|(at, word)| if secret(at) { "..." } else { word.text.as_str() });
    shown.collect::<Vec<_>>().join(" ")
}

/// Words and quoted texts; a comment ends its line.
pub(crate) fn words(file: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut chars = file.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '#' => while chars.next().is_some_and(|c| c != '\n') {},
            '"' | '\'' => {
                let text: String = chars.by_ref().take_while(|end| *end != c).collect();
                words.push(Word { text, quoted: true });
            }
            c if c.is_whitespace() || c == ',' || c == ';' => {}
            '=' | '>' | '<' | '!' => {
                let mut text = c.to_string();
                text.extend(chars.next_if_eq(&'='));
                words.push(Word { text, quoted: false });
            }
            c => {
                let mut text = c.to_string();
                let ends = |c: &char| !c.is_whitespace() && !matches!(c, ',' | ';' | '"' | '=' | '>' | '<');
                while let Some(c) = chars.next_if(ends) {
                    text.push(c);
                }
                words.push(Word { text, quoted: false });
            }
        }
    }
    words
}

/// Statements: each begins with its own word, where that word is not part of the one before.
pub(crate) fn statements(words: &[Word]) -> Vec<Statement> {
    const FIRST: [&str; 14] = [
        "set", "include", "check", "start", "stop", "restart", "if", "depends", "group", "every", "mode",
        "onreboot", "alert", "noalert",
    ];
    // What follows one of these is an action, or a value.
    const WITHIN: [&str; 9] = ["then", "else", "onreboot", "mode", "set", "repeat", "not", "and", "use"];
    let mut statements: Vec<Statement> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let opens = FIRST.iter().any(|first| word.is(first));
        let within = at > 0 && WITHIN.iter().any(|before| words[at - 1].is(before));
        let commands = ["start", "stop", "restart"].iter().any(|command| word.is(command));
        let is_command = !commands
            || words.get(at + 1).is_some_and(|next| next.is("program") || next.is("=") || next.quoted);
        if statements.is_empty() || opens && !within && is_command {
            statements.push(Vec::new());
        }
        if let Some(statement) = statements.last_mut() {
            statement.push(word.clone());
        }
    }
    statements
}
