//! Files that decide what heartbeatd runs: read within bounds, and only where root and heartbeatd's own user alone can
//! have written them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_CLOEXEC, O_NOCTTY, O_NONBLOCK};
use nix::unistd::{Gid, Group, Uid, geteuid};

/// Largest file of the configuration, in bytes.
pub(crate) const MAX_TRUSTED_BYTES: u64 = 16 << 20;

/// Write permission of the group, and of every user.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
/// In a directory with this bit only the owner of a file can replace it.
const STICKY: u32 = 0o1000;

/// Why a file of the configuration is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The operating system refuses.
    #[error("cannot read {}: {}", path.display(), crate::trusted::reason(source))]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// It is not a regular file, so reading it could block or never end.
    #[error("{} is {what}, and only regular files are read", path.display())]
    NotRegular {
        /// The path of the file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It is longer than any configuration.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The path of the file.
        path: PathBuf,
        /// The bound in bytes.
        limit: u64,
    },
    /// It is not UTF-8.
    #[error("{} is not text in UTF-8", path.display())]
    NotText {
        /// The path of the file.
        path: PathBuf,
    },
    /// Another user owns it, and could write into it what heartbeatd would run.
    #[error("{} belongs to {owner}, who could change what heartbeatd runs", path.display())]
    Foreign {
        /// The path of the file or directory.
        path: PathBuf,
        /// Its owner, by name where there is one.
        owner: String,
        /// heartbeatd's own user.
        own: String,
    },
    /// Others may write to it.
    #[error("{} can be written by {who}, who could change what heartbeatd runs", path.display())]
    Writable {
        /// The path of the file or directory.
        path: PathBuf,
        /// The group or users that can also write.
        who: String,
    },
}

impl TrustError {
    /// What a person types to make the file readable, where a command does it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Foreign { path, own, .. } => Some(format!("chown {own} {}", quoted(path))),
            Self::Writable { path, .. } => Some(format!("chmod go-w {}", quoted(path))),
            _ => None,
        }
    }

    /// Nothing is there under this name.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The reason without the number that the standard library appends.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Reads a regular file of at most `MAX_TRUSTED_BYTES`. Opening it does not wait for the writer of a pipe. The file
/// system may still not answer: call it where waiting harms nothing.
///
/// # Errors
/// [`TrustError`]: the file is missing, not regular, too long, not text, or users other than root and heartbeatd's own
/// could have written it.
pub fn read_trusted(path: &Path) -> Result<String, TrustError> {
    let io = |source| TrustError::Io { path: path.to_owned(), source };
    let looked = path.metadata().map_err(io)?;
    regular(path, &looked)?;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(O_NONBLOCK | O_NOCTTY | O_CLOEXEC).open(path).map_err(io)?;
    // The opened file counts: the path may name another one than before.
    let opened = file.metadata().map_err(io)?;
    regular(path, &opened)?;
    only_ours(path, &opened)?;
    directories(path)?;
    let bytes = read_limited(file, path, io)?;
    String::from_utf8(bytes).map_err(|_| TrustError::NotText { path: path.to_owned() })
}

/// Checks a program that heartbeatd is about to run in its own place, by the rule for files of the configuration.
///
/// # Errors
/// [`TrustError`]: the file is missing, not regular, or users other than root and heartbeatd's own could have written
/// it.
pub fn trust_program(path: &Path) -> Result<(), TrustError> {
    let meta = path.metadata().map_err(|source| TrustError::Io { path: path.to_owned(), source })?;
    regular(path, &meta)?;
    only_ours(path, &meta)?;
    directories(path)
}

fn read_limited(
    file: File,
    path: &Path,
    io: impl Fn(std::io::Error) -> TrustError,
) -> Result<Vec<u8>, TrustError> {
    let mut bytes = Vec::new();
    file.take(MAX_TRUSTED_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_TRUSTED_BYTES {
        return Err(TrustError::TooLong { path: path.to_owned(), limit: MAX_TRUSTED_BYTES });
    }
    Ok(bytes)
}

fn regular(path: &Path, meta: &Metadata) -> Result<(), TrustError> {
    let kind = meta.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(TrustError::NotRegular { path: path.to_owned(), what })
}

/// Checks the directory that names the file, and the one that holds it: with a link, they differ.
fn directories(path: &Path) -> Result<(), TrustError> {
    let named = path.parent().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    let resolved = path.canonicalize().ok();
    let lies = resolved.as_deref().and_then(Path::parent);
    for dir in named.into_iter().chain(lies) {
        let meta = dir.metadata().map_err(|source| TrustError::Io { path: dir.to_owned(), source })?;
        only_ours(dir, &meta)?;
    }
    Ok(())
}

/// Checks that only root and heartbeatd's own user own it and can write to it.
fn only_ours(path: &Path, meta: &Metadata) -> Result<(), TrustError> {
    let own = geteuid();
    let owner = Uid::from_raw(meta.uid());
    if !owner.is_root() && owner != own {
        let path = path.to_owned();
        return Err(TrustError::Foreign { path, owner: name_of(owner), own: name_of(own) });
    }
    let mode = meta.mode();
    if meta.is_dir() && mode & STICKY != 0 {
        return Ok(());
    }
    let who = if mode & OTHERS_WRITE != 0 {
        "every user".to_owned()
    } else if mode & GROUP_WRITES != 0 && !private_group(meta.gid(), owner) {
        let gid = Gid::from_raw(meta.gid());
        let name = Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name);
        format!("the group {name}")
    } else {
        return Ok(());
    };
    Err(TrustError::Writable { path: path.to_owned(), who })
}

/// Many systems give every user a group of the same name, without other members.
fn private_group(gid: u32, owner: Uid) -> bool {
    let Ok(Some(group)) = Group::from_gid(Gid::from_raw(gid)) else { return gid == 0 };
    let name = name_of(owner);
    group.name == name && group.mem.iter().all(|member| *member == name)
}

/// The name of a user, or the number where it has none.
pub(crate) fn name_of(uid: Uid) -> String {
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| format!("{uid}"), |user| user.name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::sys::stat::Mode;
    use nix::unistd::{chown, mkfifo};

    use super::*;

    fn written(dir: &Path, name: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, "a = 1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn only_regular_files_are_read_and_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_trusted(&written(dir.path(), "a", 0o600)).unwrap(), "a = 1\n");
        let pipe = dir.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let said = |path: &Path| read_trusted(path).unwrap_err().to_string();
        assert_eq!(
            said(&pipe),
            format!("{} is a named pipe, and only regular files are read", pipe.display())
        );
        assert_eq!(said(Path::new("/dev/zero")), "/dev/zero is a device, and only regular files are read");
        assert!(said(dir.path()).contains("is a directory"));
        let missing = read_trusted(&dir.path().join("none")).unwrap_err();
        assert!(
            missing.is_missing() && missing.to_string().ends_with("No such file or directory"),
            "{missing}"
        );
        std::fs::write(dir.path().join("b"), [0xff]).unwrap();
        assert!(said(&dir.path().join("b")).ends_with("is not text in UTF-8"));
        let long = File::create(dir.path().join("long")).unwrap();
        long.set_len(MAX_TRUSTED_BYTES + 1).unwrap();
        assert!(said(&dir.path().join("long")).contains("is longer than 16777216 bytes"));
    }

    #[test]
    fn what_others_can_write_is_refused_with_what_to_type() {
        let dir = tempfile::tempdir().unwrap();
        let open = written(dir.path(), "open file", 0o666);
        let error = read_trusted(&open).unwrap_err();
        assert!(error.to_string().contains("can be written by every user"), "{error}");
        assert_eq!(error.help(), Some(format!("chmod go-w '{}'", open.display())));
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let closed = written(&inner, "closed", 0o644);
        assert!(read_trusted(&closed).is_ok());
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = read_trusted(&closed).unwrap_err();
        assert_eq!(error.help(), Some(format!("chmod go-w {}", inner.display())));
        // A link in a safe directory does not make up for an unsafe directory that holds the file.
        let link = dir.path().join("link");
        symlink(&closed, &link).unwrap();
        assert!(matches!(read_trusted(&link), Err(TrustError::Writable { .. })));
        // A program is judged by the same rule.
        for program in [&open, &closed, &link] {
            assert!(matches!(trust_program(program), Err(TrustError::Writable { .. })), "{program:?}");
        }
        assert!(matches!(trust_program(dir.path()), Err(TrustError::NotRegular { .. })));
        assert!(trust_program(&written(dir.path(), "program", 0o755)).is_ok());
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(read_trusted(&closed).is_ok(), "in a sticky directory nobody else can replace it");
    }

    #[test]
    fn what_another_user_owns_is_refused() {
        if !geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let theirs = written(dir.path(), "theirs", 0o600);
        chown(&theirs, Some(Uid::from_raw(65_534)), None).unwrap();
        let error = read_trusted(&theirs).unwrap_err();
        assert!(matches!(error, TrustError::Foreign { .. }), "{error}");
        assert_eq!(error.help(), Some(format!("chown root {}", theirs.display())));
        let ours = written(dir.path(), "ours", 0o660);
        chown(&ours, None, Some(Gid::from_raw(65_534))).unwrap();
        assert!(
            matches!(read_trusted(&ours), Err(TrustError::Writable { who, .. }) if who.starts_with("the group"))
        );
        chown(dir.path(), Some(Uid::from_raw(65_534)), None).unwrap();
        let ours = written(dir.path(), "mine", 0o600);
        assert!(matches!(read_trusted(&ours), Err(TrustError::Foreign { path, .. }) if path == dir.path()));
    }
}
