//! Files that only heartbeatd can read: the token of its API, and secrets of receivers.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Largest file of a secret, in bytes.
const MAX_PRIVATE_BYTES: u64 = 4 * 1_024;
/// Shortest token of the API, in bytes.
pub const MIN_TOKEN_BYTES: usize = 32;
/// Permission bits of the group and of all others.
const OTHERS: u32 = 0o077;

/// Why a file of a secret is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateFileError {
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
    /// Another user could replace the secret.
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
    /// The file is longer than any secret, or not text.
    #[error("it holds no secret: it has more than {MAX_PRIVATE_BYTES} bytes, or is not text")]
    NotASecret,
    /// The token has blanks or line breaks within it.
    #[error("its token has blanks or line breaks within it, and no request can carry such a one")]
    Words,
    /// The token is short enough to guess.
    #[error(
        "its token has {bytes} bytes, and at least {MIN_TOKEN_BYTES} are needed: `openssl rand -hex 32` makes a good one"
    )]
    Short {
        /// Length of the token without the blanks around it, in bytes.
        bytes: usize,
    },
}

impl PrivateFileError {
    /// What a person types to make the file usable, where a command does it.
    #[must_use]
    pub fn help(&self, path: &Path) -> Option<String> {
        let path = crate::trusted::quoted(path);
        match self {
            Self::Foreign { own, .. } => Some(format!("chown {own} {path}")),
            Self::TooOpen { .. } => Some(format!("chmod 600 {path}")),
            Self::Short { .. } | Self::Words => Some(format!("openssl rand -hex 32 > {path}")),
            Self::Read { source } if source.kind() == io::ErrorKind::NotFound => {
                Some(format!("(umask 077; openssl rand -hex 32 > {path})"))
            }
            Self::Read { .. } | Self::NotRegular | Self::NotASecret => None,
        }
    }

    /// The error with its cause.
    #[must_use]
    pub fn in_full(&self) -> String {
        match self {
            Self::Read { source } => format!("{self}: {}", crate::trusted::reason(source)),
            _ => self.to_string(),
        }
    }

    /// Whether the user who asks may not read the file: heartbeatd may run as another.
    #[must_use]
    pub fn is_of_permission(&self) -> bool {
        matches!(self, Self::Read { source } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Reads the token of the API, without the blanks around it.
///
/// # Errors
/// As [`read_private`]; [`PrivateFileError::Words`] for one that no request can carry, and
/// [`PrivateFileError::Short`] for one that can be guessed.
pub fn read_token(path: &Path) -> Result<String, PrivateFileError> {
    let text = read_private(path)?;
    let bytes = text.trim().len();
    if !text.trim().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(PrivateFileError::Words);
    }
    if bytes < MIN_TOKEN_BYTES { Err(PrivateFileError::Short { bytes }) } else { Ok(text.trim().to_owned()) }
}

/// Reads a file that only heartbeatd's own user can read. It checks the file that it opened, so that no process can
/// replace the file in between.
///
/// # Errors
/// [`PrivateFileError`]: the file is missing, not regular, too long, not text, or other users can read or replace it.
pub fn read_private(path: &Path) -> Result<String, PrivateFileError> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let (meta, own) = (file.metadata()?, nix::unistd::geteuid().as_raw());
    if !meta.is_file() {
        return Err(PrivateFileError::NotRegular);
    }
    if meta.uid() != 0 && meta.uid() != own {
        return Err(PrivateFileError::Foreign { uid: meta.uid(), own });
    }
    let mode = meta.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(PrivateFileError::TooOpen { mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_PRIVATE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PRIVATE_BYTES {
        return Err(PrivateFileError::NotASecret);
    }
    String::from_utf8(bytes).map_err(|_| PrivateFileError::NotASecret)
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
        assert!(matches!(read_token(&path), Err(PrivateFileError::Read { .. })), "it is missing");
        write(&path, GOOD).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = read_token(&path).unwrap_err();
            assert!(
                matches!(refused, PrivateFileError::TooOpen { mode: found } if found == mode),
                "{refused}"
            );
        }
        for mode in [0o600, 0o400] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_token(&path).unwrap(), GOOD.trim());
        }
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        write(&path, &GOOD[1..]).unwrap();
        assert!(matches!(read_token(&path), Err(PrivateFileError::Short { bytes: 31 })));
        for inner in [" ", "\n", "\t", "\u{e9}"] {
            write(&path, GOOD.replace('8', inner)).unwrap();
            assert!(matches!(read_token(&path), Err(PrivateFileError::Words)), "{inner:?}");
        }
        write(&path, "a".repeat(5_000)).unwrap();
        assert!(matches!(read_token(&path), Err(PrivateFileError::NotASecret)));
        write(&path, b"\xff".repeat(40)).unwrap();
        assert!(matches!(read_token(&path), Err(PrivateFileError::NotASecret)));
        assert!(matches!(read_token(dir.path()), Err(PrivateFileError::NotRegular)));
    }
}
