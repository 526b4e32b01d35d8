//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the password exchange of PostgreSQL.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2, rand};

/// Random bytes of the client's nonce.
const NONCE_BYTES: usize = 18;
/// Most rounds that a server may ask for: it must not keep this processor busy. PostgreSQL's default is 4,096.
const MAX_ROUNDS: u32 = 100_000;

/// The mechanism's name, as servers list it.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";

/// The client's side of one exchange.
pub(super) struct Scram<'a> {
    password: &'a str,
    nonce: String,
}

/// The client's last message, and the server's signature that must answer it.
pub(super) struct Proof {
    pub(super) message: String,
    signature: String,
}

/// Why the exchange cannot go on: what is wrong with the server's message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ScramError {
    NoRandom,
    Malformed,
    TooManyRounds(u32),
    Impostor,
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRandom => f.write_str("the host has no random numbers"),
            Self::Malformed => f.write_str("the server's part of the password exchange is malformed"),
            Self::TooManyRounds(rounds) => {
                write!(f, "the server asks for {rounds} rounds, more than {MAX_ROUNDS}")
            }
            Self::Impostor => f.write_str("the server does not know the password itself"),
        }
    }
}

impl std::error::Error for ScramError {}

impl<'a> Scram<'a> {
    pub(super) fn new(password: &'a str) -> Result<Self, ScramError> {
        let mut bytes = [0; NONCE_BYTES];
        let random = rand::SystemRandom::new();
        rand::SecureRandom::fill(&random, &mut bytes).map_err(|_| ScramError::NoRandom)?;
        Ok(Self { password, nonce: BASE64.encode(bytes) })
    }

    /// The first message. PostgreSQL ignores the user in it.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare())
    }

    fn first_bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Answers the server's first message.
    pub(super) fn answer(&self, server_first: &str) -> Result<Proof, ScramError> {
        let field = |name: &str| {
            let mut fields = server_first.split(',');
            fields.find_map(|field| field.strip_prefix(name)).ok_or(ScramError::Malformed)
        };
        let (nonce, salt, rounds) = (field("r=")?, field("s=")?, field("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Malformed);
        }
        let salt = BASE64.decode(salt).map_err(|_| ScramError::Malformed)?;
        let rounds: u32 = rounds.parse().map_err(|_| ScramError::Malformed)?;
        if rounds > MAX_ROUNDS {
            return Err(ScramError::TooManyRounds(rounds));
        }
        let rounds = NonZeroU32::new(rounds).ok_or(ScramError::Malformed)?;
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, self.password.as_bytes(), &mut salted);
        // "biws" is the header of the first message, "n,,".
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{server_first},{without_proof}", self.first_bare());
        let client_key = mac(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let client_signature = mac(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(client_signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let server_key = mac(&salted, b"Server Key");
        let signature = BASE64.encode(mac(server_key.as_ref(), signed.as_bytes()));
        Ok(Proof { message: format!("{without_proof},p={}", BASE64.encode(proof)), signature })
    }
}

impl Proof {
    /// Verifies the server's last message: only a server that knows the password can sign the exchange.
    pub(super) fn verify(&self, server_last: &str) -> Result<(), ScramError> {
        match server_last.strip_prefix("v=") {
            Some(signature) if signature == self.signature => Ok(()),
            _ => Err(ScramError::Impostor),
        }
    }
}

fn mac(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, with the user that PostgreSQL ignores.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

    fn scram() -> Scram<'static> {
        Scram { password: "pencil", nonce: NONCE.to_owned() }
    }

    #[test]
    fn both_sides_prove_that_they_know_the_password() {
        let first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = scram().answer(first).unwrap();
        assert!(proof.message.starts_with("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p="));
        // The server derives the same signature from what it stores.
        let mut salted = [0; 32];
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let rounds = NonZeroU32::new(4096).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, b"pencil", &mut salted);
        let (without, _) = proof.message.rsplit_once(",p=").unwrap();
        let signed = format!("n=,r={NONCE},{first},{without}");
        let signature = mac(mac(&salted, b"Server Key").as_ref(), signed.as_bytes());
        proof.verify(&format!("v={}", BASE64.encode(signature))).unwrap();
        assert_eq!(proof.verify("v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), Err(ScramError::Impostor));
        assert_eq!(proof.verify("e=other-error"), Err(ScramError::Impostor));
    }

    #[test]
    fn a_message_that_cannot_be_is_refused() {
        for (first, error) in [
            ("", ScramError::Malformed),
            ("r=other,s=W22Z,i=4096", ScramError::Malformed),
            ("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096", ScramError::Malformed),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096", ScramError::Malformed),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=0", ScramError::Malformed),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4000000000", ScramError::TooManyRounds(4_000_000_000)),
        ] {
            assert_eq!(scram().answer(first).err(), Some(error), "{first}");
        }
        assert_ne!(Scram::new("x").unwrap().nonce, Scram::new("x").unwrap().nonce);
    }
}
