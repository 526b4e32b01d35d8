//! The token of a heartbeatd.

use std::fmt;
use std::sync::Arc;

/// A token, as `token_file` of heartbeatd holds it. It never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// The text of a token file, without the blanks around it; `None` when it cannot be sent in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        let is_sendable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_sendable.then(|| Self(text.into()))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_a_header_can_carry_and_does_not_show_itself() {
        let token = Token::new(" 0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(token.reveal(), "0123456789abcdef0123456789abcdef");
        assert!(!format!("{token:?}").contains("0123"));
        for bad in ["", " \n", "a b", "a\nb", "\u{e9}"] {
            assert_eq!(Token::new(bad), None, "{bad:?}");
        }
    }
}
