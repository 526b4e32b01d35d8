//! The token that requests over TCP carry.

use std::fmt;

use heartbeat_process::MIN_TOKEN_BYTES;

/// A secret. heartbeatd neither shows nor serialises it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

/// A token that is short enough to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has {bytes} bytes, and at least {MIN_TOKEN_BYTES} are needed: `openssl rand -hex 32` makes a good one"
)]
pub struct ShortTokenError {
    /// Its length without the blanks around it, in bytes.
    pub bytes: usize,
}

impl Token {
    /// The token that `text` holds, without the blanks around it.
    ///
    /// # Errors
    /// [`ShortTokenError`] when it has fewer than 32 bytes.
    pub fn new(text: &str) -> Result<Self, ShortTokenError> {
        let token = text.trim().as_bytes().to_vec();
        if token.len() < MIN_TOKEN_BYTES {
            Err(ShortTokenError { bytes: token.len() })
        } else {
            Ok(Self(token))
        }
    }

    /// Compares every byte, so that the time does not tell how many bytes were right.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let differ = self.0.iter().zip(given).fold(0, |differ, (own, given)| differ | (own ^ given));
        differ == 0 && self.0.len() == given.len()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_is_compared_whole() {
        let text = "0123456789abcdef0123456789abcdef";
        let token = Token::new(&format!(" {text}\n")).unwrap();
        assert!(token.is(text.as_bytes()));
        for other in ["", &text[1..], &format!("{text}0"), &text.replace('f', "e")] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert_eq!(Token::new(&text[1..]), Err(ShortTokenError { bytes: 31 }));
        assert_eq!(
            Token::new(&format!("{}{}", &text[1..], " ".repeat(40))),
            Err(ShortTokenError { bytes: 31 })
        );
        assert_eq!(format!("{token:?}"), "Token");
    }
}
