//! Secrets: what signs webhooks, and what receivers know heartbeatd by.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, signature};
use thiserror::Error;

/// Prefix of a secret that both sides know.
const SHARED: &str = "whsec_";
/// Prefix of a private key.
const PRIVATE: &str = "whsk_";
/// Least length of a shared secret, in bytes.
const MIN_SHARED_BYTES: usize = 24;
/// Greatest length of a shared secret, in bytes.
const MAX_SHARED_BYTES: usize = 64;
/// Length of the seed of an Ed25519 key, in bytes.
const SEED_BYTES: usize = 32;

/// Why a text is not a secret of [Standard Webhooks](https://www.standardwebhooks.com).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It has neither prefix.
    #[error("the secret begins with neither `whsec_` (shared) nor `whsk_` (Ed25519)")]
    Prefix,
    /// It is not base64.
    #[error("the secret is not base64 after its prefix")]
    NotBase64,
    /// A shared secret of another length.
    #[error("the secret has {0} bytes, and {MIN_SHARED_BYTES} to {MAX_SHARED_BYTES} are possible")]
    Length(usize),
    /// A private key of another length, or whose halves do not fit.
    #[error("the private key is not an Ed25519 key of 32 or 64 bytes")]
    NotAKey,
}

enum Key {
    Shared(hmac::Key),
    Private(signature::Ed25519KeyPair),
}

/// What signs a webhook: a shared secret (`v1`, HMAC-SHA256) or an Ed25519 key (`v1a`). Never printed.
#[derive(Clone)]
pub struct Secret {
    key: Arc<Key>,
    /// Tells secrets apart without the secrets.
    digest: [u8; digest::SHA256_OUTPUT_LEN],
}

impl Secret {
    /// Takes `whsec_BASE64` or `whsk_BASE64`, with whitespace around it.
    ///
    /// # Errors
    /// [`SecretError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let decoded = |base64: &str| STANDARD.decode(base64).map_err(|_| SecretError::NotBase64);
        let key = if let Some(base64) = text.strip_prefix(SHARED) {
            let bytes = decoded(base64)?;
            if !(MIN_SHARED_BYTES..=MAX_SHARED_BYTES).contains(&bytes.len()) {
                return Err(SecretError::Length(bytes.len()));
            }
            Key::Shared(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        } else if let Some(base64) = text.strip_prefix(PRIVATE) {
            let bytes = decoded(base64)?;
            let (seed, public) = bytes.split_at_checked(SEED_BYTES).ok_or(SecretError::NotAKey)?;
            let pair = if public.is_empty() {
                signature::Ed25519KeyPair::from_seed_unchecked(seed)
            } else {
                signature::Ed25519KeyPair::from_seed_and_public_key(seed, public)
            };
            Key::Private(pair.map_err(|_| SecretError::NotAKey)?)
        } else {
            return Err(SecretError::Prefix);
        };
        let mut own = [0; digest::SHA256_OUTPUT_LEN];
        own.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Ok(Self { key: Arc::new(key), digest: own })
    }

    /// The signature of a request, with its version.
    pub(crate) fn sign(&self, id: &str, unix_s: u64, body: &[u8]) -> String {
        let signed = [format!("{id}.{unix_s}.").as_bytes(), body].concat();
        match &*self.key {
            Key::Shared(key) => format!("v1,{}", STANDARD.encode(hmac::sign(key, &signed))),
            Key::Private(pair) => format!("v1a,{}", STANDARD.encode(pair.sign(&signed))),
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A token that a receiver knows heartbeatd by. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes the text without the whitespace around it; `None` when nothing is left, or when it fits no header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the reference library of Standard Webhooks.
    #[test]
    fn a_shared_secret_signs_as_the_reference_does() {
        let secret = Secret::parse(" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(!format!("{secret:?}").contains("MfKQ"));
    }

    #[test]
    fn a_private_key_signs_what_its_public_key_verifies() {
        use ring::signature::KeyPair;
        let seed = [7; SEED_BYTES];
        let pair = signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let both = [seed.as_slice(), pair.public_key().as_ref()].concat();
        for bytes in [seed.as_slice(), &both] {
            let secret = Secret::parse(&format!("whsk_{}", STANDARD.encode(bytes))).unwrap();
            let signature = secret.sign("a.1", 5, b"{}");
            let signed = STANDARD.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
            let public = signature::UnparsedPublicKey::new(&signature::ED25519, pair.public_key().as_ref());
            public.verify(b"a.1.5.{}", &signed).unwrap();
        }
    }

    #[test]
    fn what_is_no_secret_says_why() {
        let error = |text: &str| Secret::parse(text).unwrap_err();
        assert_eq!(error("hunter2"), SecretError::Prefix);
        assert_eq!(error("whsec_?"), SecretError::NotBase64);
        assert_eq!(error("whsec_aGk="), SecretError::Length(2));
        assert_eq!(error("whsk_aGk="), SecretError::NotAKey);
        assert_eq!(error(&format!("whsk_{}", STANDARD.encode([7; 64]))), SecretError::NotAKey);
        let shared = |byte: u8| Secret::parse(&format!("whsec_{}", STANDARD.encode([byte; 32]))).unwrap();
        assert_ne!(shared(1), shared(2));
        assert_eq!(shared(1), shared(1));
    }

    #[test]
    fn a_token_fits_into_a_header() {
        assert_eq!(Token::new(" tk_1\n").unwrap().reveal(), "tk_1");
        for text in ["", " \n", "a b", "a\nb", "schl\u{fc}ssel"] {
            assert!(Token::new(text).is_none(), "{text:?}");
        }
        assert!(!format!("{:?}", Token::new("s3cret")).contains("s3cret"));
    }
}
