//! The file with the token that requests over TCP carry.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use heartbeat_api::{ShortTokenError, Token};
use nix::fcntl::OFlag;

/// Largest token file, in bytes.
const MAX_TOKEN_FILE_BYTES: u64 = 4 * 1_024;
/// Permission bits of the group and of all others.
const OTHERS: u32 = 0o077;

/// Why a token file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The file is missing, or may not be read.
    #[error("it cannot be read")]
    Read {
        /// Cause of the failure.
        #[from]
        source: io::Error,
    },
    /// A directory, a pipe or a device.
    #[error("it is not a regular file")]
    NotRegular,
    /// Another user could replace the token.
    #[error("it belongs to uid {uid}; root or heartbeatd's own user has to own it: `chown {own} FILE`")]
    Foreign {
        /// User id of the owner.
        uid: u32,
        /// heartbeatd's own user.
        own: u32,
    },
    /// Other users can read or write it.
    #[error("its mode is {mode:04o}, so other users can read it: `chmod 600 FILE`")]
    TooOpen {
        /// Its permission bits.
        mode: u32,
    },
    /// The file is longer than any token, or not text.
    #[error("it holds no token: it has more than {MAX_TOKEN_FILE_BYTES} bytes, or is not text")]
    NotAToken,
    /// The token is short enough to guess.
    #[error(transparent)]
    Short(#[from] ShortTokenError),
}

/// Reads the token. It checks the file that it opened, so that no process can replace the file in between.
pub(crate) fn read(path: &Path) -> Result<Token, TokenFileError> {
    Ok(Token::new(&read_text(path)?)?)
}

/// Reads a file that only heartbeatd's own user can read.
pub(crate) fn read_text(path: &Path) -> Result<String, TokenFileError> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let (meta, own) = (file.metadata()?, nix::unistd::geteuid().as_raw());
    if !meta.is_file() {
        return Err(TokenFileError::NotRegular);
    }
    if meta.uid() != 0 && meta.uid() != own {
        return Err(TokenFileError::Foreign { uid: meta.uid(), own });
    }
    let mode = meta.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(TokenFileError::TooOpen { mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_TOKEN_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_TOKEN_FILE_BYTES {
        return Err(TokenFileError::NotAToken);
    }
    String::from_utf8(bytes).map_err(|_| TokenFileError::NotAToken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    const GOOD: &str = "0123456789abcdef0123456789abcdef\n";

    #[test]
    fn a_token_file_that_others_can_read_or_that_holds_no_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(matches!(read(&path), Err(TokenFileError::Read { .. })), "it is missing");
        write(&path, GOOD).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = read(&path).unwrap_err();
            assert!(matches!(refused, TokenFileError::TooOpen { mode: found } if found == mode), "{refused}");
        }
        for mode in [0o600, 0o400] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).unwrap(), Token::new(GOOD).unwrap());
        }
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        write(&path, &GOOD[1..]).unwrap();
        assert!(matches!(read(&path), Err(TokenFileError::Short(_))));
        write(&path, "a".repeat(5_000)).unwrap();
        assert!(matches!(read(&path), Err(TokenFileError::NotAToken)));
        write(&path, b"\xff".repeat(40)).unwrap();
        assert!(matches!(read(&path), Err(TokenFileError::NotAToken)));
        assert!(matches!(read(dir.path()), Err(TokenFileError::NotRegular)));
    }
}
